package engine

import (
	"syscall"

	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
	"millrace/engine/timer"
)

// A Conn is one non-blocking socket on one loop, and the Handler it calls.
//
//	Dial ─▶ connecting ─▶ open ◀── accepted, attached
//	             │          │ Close, Reset           ▲ flagClosed until the end of the
//	             │          ├──────────▶ closed ─────┘ turn, then the slot is free
//	             │          │ CloseLinger               ▲
//	             │          ├──────────▶ lingering ─────┤ EOF or timeout
//	             └──────────┴──────────▶ failed ────────┘ OnClose, later in the turn
//
// A handler must not use its Conn after Close, CloseLinger, Reset, Detach or OnClose.
type Conn struct {
	// What each event touches: one cache line.
	flags   flags     // owned by the loop
	gen     uint32    // immutable while open, as are slot, fd and loop
	fd      int32     //
	slot    uint32    //
	loop    *Loop     //
	handler Handler   // owned by the loop, as is all that follows
	kept    *keptData // what OnData left; nil when nothing
	wire    *Wire     // nil for plain sockets
	out     *Queue    // what the socket did not take. Invariant: nil when empty

	in     uint64 // bytes read
	outSum uint64 // bytes written
	splice *splicer
	feeder *Conn // the conn whose splice ends here
	high   int32 // watermarks of the queue
	low    int32
	most   uint32 // SetReadMax; 0 is no limit
	pauses uint16 // PauseRead minus ResumeRead
	errno  uint16
	timer  timer.Timer
	peer   inetAddr // immutable while open
	local  *Addr    // known after the first LocalAddr
}

type flags uint32

const (
	flagReadable   flags = 1 << iota // an edge was seen and is not used up
	flagWritable                     // the socket has not refused bytes since the last edge
	flagHup                          // RDHUP, HUP, ERR or PRI was seen: a short read does not mean drained
	flagPaused                       // pauses > 0
	flagEOF                          // the peer has finished sending
	flagConnecting                   // connect has not completed
	flagClosed                       // the fd is closed; the slot is freed at the end of the turn
	flagFailed                       // OnClose is due
	flagBroken                       // writing failed; what can still be read is read first
	flagLinger                       // flushed, shut and drained without a handler
	flagSplice                       // the splice of this conn takes what is readable
	flagStuck                        // kept bytes are at their maximum; reading waits for ResumeRead
	flagWasFull                      // the queue reached the high watermark
	flagLowDue                       // OnWriteLow is due
	flagConnectDue                   // OnConnect is due
	flagOffer                        // kept bytes are to be shown again
	flagReady                        // on the ready list
	flagNotice                       // on the notice list
	flagDirty                        // on the dirty list
	flagBatch                        // SetBatch(true)
	flagShut                         // CloseWrite was called
	flagShutDone                     // shutdown(SHUT_WR) was called
	flagInData                       // inside OnData
	flagReset                        // closes with a reset
	flagFed                          // feeder is set
	flagEager                        // FailAtReset
	flagEOFDue                       // OnEOF is due: the handler before heard it
	flagUpgrade                      // SetTransport was called inside OnData: what that leaves goes to the wire
	flagPeerPath                     // Loop.peerPaths has the address of the peer
	flagLocalSet                     // SetLocalAddr was called
	flagLast                         // the last record of Wire.WriteLast is due
	flagRacing                       // Loop.races has other attempts to connect c
)

// cannotRead is what keeps a readable conn from being read.
const cannotRead = flagPaused | flagEOF | flagConnecting | flagConnectDue | flagClosed | flagFailed | flagLinger | flagSplice | flagStuck

// Loop returns the loop of c.
func (c *Conn) Loop() *Loop { return c.loop }

// Token returns what names c to epoll. It tells conns apart that lie in the same slot
// one after the other.
func (c *Conn) Token() Token { return Token{c.slot, c.gen} }

// Handler returns who is told of c now.
func (c *Conn) Handler() Handler { return c.handler }

// SetHandler makes h the owner of what happens from now on. It may be called from any call of the
// handler before, and from outside.
//
// What is kept of the input, or what the OnData that calls it leaves, is shown to h later in the
// same turn, without waiting for new bytes. If the peer has finished sending and was heard, OnEOF
// follows. While reading is paused both wait for ResumeRead.
//
// All else stays as it is: the deadline, the watermarks, SetBatch, the count of PauseRead, a splice
// that goes on, and calls that are due already (OnConnect, OnWriteLow, OnClose), which go to h.
// In OnAccept the handler returned wins.
func (c *Conn) SetHandler(h Handler) {
	c.loop.owner.assert()
	if c.flags&(flagClosed|flagLinger) != 0 {
		return
	}
	c.handler = h
	if c.kept != nil || c.flags&flagInData != 0 {
		c.flags |= flagOffer
	}
	if c.flags&flagEOF != 0 {
		c.flags |= flagEOFDue
	}
	if c.flags&(flagOffer|flagEOFDue) != 0 {
		c.loop.markReady(c)
	}
}

// Connected reports whether c is open in both directions as far as connecting goes: it
// was accepted, or the peer has accepted.
func (c *Conn) Connected() bool { return c.flags&(flagConnecting|flagClosed|flagFailed) == 0 }

// Errno returns the error that ended c, 0 when there was none.
func (c *Conn) Errno() syscall.Errno { return syscall.Errno(c.errno) }

// BytesIn returns the bytes read from the socket, before decryption.
func (c *Conn) BytesIn() uint64 { return c.in }

// BytesOut returns the bytes the socket has taken.
func (c *Conn) BytesOut() uint64 { return c.outSum }

// SetDeadline arms OnTimeout for the time at of the loop's clock; 0 disarms it. Moving
// the deadline to a later time costs one store.
func (c *Conn) SetDeadline(at int64) {
	c.loop.owner.assert()
	if at == 0 || c.flags&flagClosed != 0 {
		c.timer.Stop()
		return
	}
	c.loop.wheel.Set(&c.timer, at)
}

// SetWatermarks sets the write queue lengths at which Full begins to report true and at
// which OnWriteLow follows, in bytes. low must be below high.
func (c *Conn) SetWatermarks(high, low int) {
	c.high, c.low = int32(min(high, 1<<30)), int32(min(low, 1<<30))
}

// SetBatch makes what c writes leave at the end of the turn instead of the end of the
// event, together with what other events of the turn add.
func (c *Conn) SetBatch(on bool) {
	c.loop.owner.assert()
	if on {
		c.flags |= flagBatch
		return
	}
	c.flags &^= flagBatch
}

// FailAtReset makes a reset by the peer, or a write that fails, end c at once, although bytes that came
// before it have not been taken. It is for conns whose peer asks and waits for the answer: what a
// paused handler has not looked at is of no use when the answer cannot be sent. Without it a paused
// conn hears of a reset only when everything before it has been read.
func (c *Conn) FailAtReset() { c.flags |= flagEager }

// Fd returns the file descriptor, for socket options. It stays the conn's.
func (c *Conn) Fd() int { return int(c.fd) }

// connTimer is a Conn as its own timer sees it.
type connTimer Conn

// OnTimer implements timer.Firer.
func (t *connTimer) OnTimer(int64) {
	c := (*Conn)(t)
	switch {
	case c.flags&(flagClosed|flagFailed) != 0:
	case c.flags&flagLinger != 0:
		c.lingerTimeout()
	default:
		c.loop.current = c
		c.handler.OnTimeout()
		c.loop.endEvent()
		c.loop.current = nil // the next timer may be someone else's
	}
}

// onEvent takes the readiness bits of one event.
//
// Hot path: guarded by BenchmarkEcho.
func (c *Conn) onEvent(bits uint32) {
	if bits&sys.In != 0 {
		c.flags |= flagReadable
	}
	if bits&(sys.RdHup|sys.Hup|sys.Err|sys.Pri) != 0 {
		c.onHup(bits)
	}
	if bits&sys.Out != 0 { // reported with each event while it holds
		if c.flags&(flagConnecting|flagFed|flagLast) == 0 && c.out == nil {
			c.flags |= flagWritable
		} else {
			c.onWritable()
		}
	}
	if c.flags&flagReadable != 0 {
		c.onReadable()
	}
}

// onHup handles what is rare: half-close, reset, urgent data.
func (c *Conn) onHup(bits uint32) {
	c.flags |= flagReadable | flagHup
	if bits&sys.Err == 0 || c.flags&(flagConnecting|flagClosed|flagFailed) != 0 {
		return
	}
	switch {
	case c.flags&(flagEOF|flagEager) != 0:
		c.failSocket(CloseReset)
	case c.flags&(flagPaused|flagStuck) != 0 && c.kept == nil && sys.Unread(int(c.fd)) == 0:
		// Nothing is left to be read, so there is no point in waiting for ResumeRead.
		c.failSocket(CloseReset)
	}
}

func (c *Conn) onWritable() {
	if c.flags&flagConnecting != 0 {
		c.finishConnect()
		return
	}
	c.flags |= flagWritable
	if c.out != nil {
		c.flushQueue()
	} else if c.flags&flagLast != 0 && c.sendLast() && c.flags&(flagShut|flagLinger) != 0 {
		c.flushed()
	}
	if c.feeder != nil && c.out == nil {
		c.feeder.pump()
	}
}

// onReadable uses up the readable edge, or as much of it as its share of the turn allows.
func (c *Conn) onReadable() {
	switch {
	case c.flags&flagLinger != 0:
		c.drainLinger()
	case c.flags&flagSplice != 0:
		c.pump()
	case c.wire != nil:
		c.readWire()
	default:
		c.read()
	}
}

// runReady goes on with a conn of the ready list.
func (c *Conn) runReady() {
	if c.flags&flagOffer != 0 {
		c.flags &^= flagOffer
		c.offerKept()
	}
	if c.flags&(flagEOFDue|flagOffer|flagPaused) == flagEOFDue {
		c.tellEOF()
	}
	if c.flags&flagWritable != 0 && (c.out != nil || c.feeder != nil || c.flags&flagLast != 0) {
		c.onWritable()
	}
	if c.flags&(flagReadable|flagSplice) != 0 || c.wire != nil && c.wire.more {
		c.onReadable()
	}
}

// runNotice tells the handler what has come up since the last notice.
func (c *Conn) runNotice() {
	l := c.loop
	if c.flags&flagFailed != 0 {
		h, why := c.handler, CloseReason(c.pauses)
		if !c.lingers() {
			c.closeNow()
		}
		if h != nil {
			h.OnClose(why)
			l.endEvent()
		}
		return
	}
	if c.flags&(flagConnectDue|flagLinger) == flagConnectDue {
		c.flags &^= flagConnectDue
		c.handler.OnConnect()
		l.endEvent()
		if c.flags&flagReadable != 0 {
			l.markReady(c)
		}
	}
	if c.flags&(flagLowDue|flagClosed|flagLinger) == flagLowDue {
		c.flags &^= flagLowDue
		c.handler.OnWriteLow()
		l.endEvent()
	}
}

// fail ends c: its handler hears OnClose later in the turn. pauses has no use any more
// and takes the reason.
func (c *Conn) fail(why CloseReason, errno syscall.Errno) {
	if c.flags&(flagClosed|flagFailed) != 0 {
		return
	}
	if c.flags&flagLinger != 0 {
		c.closeNow()
		return
	}
	c.flags |= flagFailed
	c.flags &^= flagWritable | flagReadable
	c.errno = uint16(errno)
	c.pauses = uint16(why)
	c.loop.notice(c)
}

// failSocket is fail with the error the kernel holds for the socket.
func (c *Conn) failSocket(why CloseReason) {
	errno := sys.SocketError(int(c.fd))
	if errno == 0 {
		errno = unix.ECONNRESET
	}
	c.fail(why, errno)
}
