package engine

import (
	"errors"
	"io"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrWouldBlock tells that the socket has no more bytes for now. Its methods are those
// of net.Error, temporary, which is what keeps a crypto/tls connection alive over it.
var ErrWouldBlock error = wouldBlock{}

type wouldBlock struct{}

func (wouldBlock) Error() string   { return "would block" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

// A Transport stands between the bytes of a conn and those of its socket: TLS. A conn
// without one is plain. It is called on the loop only, and not by several conns.
type Transport interface {
	// Handshake goes on with the handshake when the wire is readable, and once at the
	// start. It reports whether it is complete. Long computations belong on another
	// goroutine, which posts Wire.Established to the loop when it is done.
	Handshake(w *Wire) (done bool, err error)
	// Read decrypts into dst. It may return bytes and an error; ErrWouldBlock when it
	// has used up the wire, io.EOF at an orderly end. Another error
	// ends the conn; Read is not called again.
	Read(w *Wire, dst []byte) (n int, err error)
	// Write encrypts the pieces of v, in order, as the one stretch of bytes that they are. It never
	// would block: what the socket does not take is queued. v and its bytes are valid during the call. What is
	// written before the handshake is complete leaves after it.
	Write(w *Wire, v [][]byte) error
	// CloseWrite writes the transport's own end of data to the wire (close_notify).
	CloseWrite(w *Wire)
	// Close gives up what the transport holds.
	Close()
}

// A Wire is the socket side of a conn as its Transport sees it. Read and Write have the
// form of net.Conn's.
type Wire struct {
	conn  *Conn
	t     Transport
	head  *keptData // read before there was a transport: Read begins with it
	ready bool      // the handshake is complete
	more  bool      // reading stopped before the transport would block
	dials bool      // OnConnect is due when the handshake is complete
	shut  bool      // CloseWrite was called

	lingerMs int32 // see Linger

	err  error
	due  error   // of the transport, for a handler that has paused
	seal *sealed // the kernel seals what is written; nil while the transport does
}

// SetTransport puts t between c and its socket, in OnAccept, after Dial, or later: what is kept of
// the input by then, or what the OnData that calls it leaves, is the first that Wire.Read returns, and an end
// that was seen follows it. What was written before leaves as it is. For a dialled conn OnConnect waits for the handshake.
//
// Precondition: c has no transport yet, and no splice goes on from or to it.
func (c *Conn) SetTransport(t Transport) {
	c.loop.owner.assert()
	if c.flags&(flagClosed|flagFailed|flagLinger) != 0 {
		t.Close()
		return
	}
	if c.wire != nil || c.splice != nil || c.feeder != nil {
		panic("BUG: engine: SetTransport on a conn that has a transport or a splice")
	}
	if c.loop.stage.owner == c {
		c.loop.unstage(c)
	}
	c.wire = &Wire{conn: c, t: t, more: true, dials: c.flags&(flagConnecting|flagConnectDue) != 0}
	c.flags &^= flagConnectDue | flagStuck
	if c.flags&flagInData != 0 {
		c.flags |= flagUpgrade
	} else {
		c.upgrade()
	}
	if c.flags&flagConnecting == 0 {
		c.loop.markReady(c)
	}
}

// upgrade gives what is kept of the input to the transport, which comes before the handler now.
func (c *Conn) upgrade() {
	c.flags &^= flagUpgrade
	if c.flags&(flagClosed|flagFailed) != 0 {
		return
	}
	c.wire.head, c.kept = c.kept, nil
	c.flags &^= flagOffer
	if c.flags&flagEOF != 0 { // the transport reads it once more: the handler hears when it says so
		c.flags &^= flagEOF | flagEOFDue
		c.flags |= flagReadable | flagHup
	}
}

// readHead reads what came before there was a transport.
func (w *Wire) readHead(b []byte) int {
	k := w.head
	n := copy(b, k.bytes())
	k.off, k.n = k.off+n, k.n-n
	if k.n == 0 {
		w.dropHead()
	}
	return n
}

// dropHead gives the block of the head back.
func (w *Wire) dropHead() {
	if k := w.head; k != nil {
		w.head = nil
		w.conn.loop.arena.Return(k.block)
		w.conn.loop.freeKept(k)
	}
}

// Transport returns what SetTransport was given, nil for a plain conn.
func (c *Conn) Transport() Transport {
	if c.wire == nil {
		return nil
	}
	return c.wire.t
}

// Conn returns the conn of the wire.
func (w *Wire) Conn() *Conn { return w.conn }

// gone reports whether the conn of the wire is over: a handshake on another goroutine may
// post its end to a conn whose slot is someone else's by now.
func (w *Wire) gone() bool {
	return w.conn.wire != w || w.conn.flags&(flagClosed|flagFailed) != 0
}

// Read reads bytes of the socket.
func (w *Wire) Read(b []byte) (int, error) {
	c := w.conn
	switch {
	case len(b) == 0:
		return 0, nil
	case w.gone():
		return 0, io.ErrClosedPipe
	case w.head != nil:
		return w.readHead(b), nil
	case c.flags&flagReadable == 0:
		return 0, ErrWouldBlock
	}
	n, errno := c.recv(b)
	switch {
	case n > 0:
		c.in += uint64(n)
		if n < len(b) && c.flags&flagHup == 0 {
			c.flags &^= flagReadable
		}
		return n, nil
	case errno == 0:
		return 0, io.EOF
	case errno == unix.EAGAIN || errno == unix.EINTR:
		if errno == unix.EAGAIN {
			c.flags &^= flagReadable
		}
		return 0, ErrWouldBlock
	}
	c.errno = uint16(errno)
	return 0, errno
}

// Write gives bytes to the socket, and queues those that it does not take: it takes all of them. Those of
// a conn in batch mode leave at the end of the turn.
func (w *Wire) Write(b []byte) (int, error) {
	c := w.conn
	switch {
	case w.gone():
		return 0, io.ErrClosedPipe
	case c.flags&flagBroken != 0 || len(b) == 0:
		return len(b), nil // swallowed: OnClose is on its way
	}
	rest, batch := b, c.flags&flagBatch != 0 && !c.loop.flushing
	if c.out == nil && c.flags&flagWritable != 0 && !batch {
		n, ok := c.send(b)
		if !ok {
			return len(b), nil
		}
		rest = b[n:]
	}
	if len(rest) > 0 {
		c.growQueue(len(rest))
		c.out.Append(rest)
		c.loop.markDirty(c)
	}
	return len(b), nil
}

// Established tells the conn that the handshake is complete. Called on the loop, by Post.
func (w *Wire) Established() {
	c := w.conn
	if w.ready || w.gone() {
		return
	}
	w.ready = true
	c.loop.markDirty(c) // what was written meanwhile
	if w.dials {
		c.flags |= flagConnectDue
		c.loop.notice(c)
	}
	w.more = true
	c.loop.markReady(c)
	if c.flags&(flagShut|flagShutDone) == flagShut && c.out == nil {
		c.flushed()
	}
}

// ReadAgain makes Transport.Read be called again, in the same turn unless the handler has paused, although the socket
// may have nothing new: a transport that answered ErrWouldBlock for a reason of its own, such as a filter that
// waits for an answer, has something again. Called on the loop.
func (w *Wire) ReadAgain() {
	if !w.gone() {
		w.more = true
		w.conn.loop.markReady(w.conn)
	}
}

// Fail ends the conn because its transport cannot go on, such as after a handshake that
// failed on another goroutine. What is on the wire already is flushed if the socket takes it
// now: the alert that says why. Called on the loop.
func (w *Wire) Fail(err error) {
	c := w.conn
	if w.gone() {
		return
	}
	w.err = err
	if c.out != nil && c.flags&flagWritable != 0 {
		c.flushQueue()
	}
	if c.flags&flagLast != 0 {
		c.sendLast()
	}
	c.fail(CloseTransport, 0)
}

// Linger makes the end that Fail brings, or an error of the transport, an orderly one for the peer: the handler
// hears OnClose as ever, but the socket is then flushed and shut, and its input discarded until the peer has
// closed too or timeout is over. It is for the last word of a transport, an alert: closing a socket with
// unread input would reset it, and the reset can overtake what was sent. Called on the loop.
func (w *Wire) Linger(timeout time.Duration) { w.lingerMs = int32(timeout / time.Millisecond) }

// lingers makes a conn that has failed, and whose transport wants it, a lingering one. It reports whether it has.
func (c *Conn) lingers() bool {
	w := c.wire
	if w == nil || w.lingerMs <= 0 || w.err == nil || c.flags&(flagBroken|flagClosed|flagReset) != 0 || CloseReason(c.pauses) != CloseTransport {
		return false
	}
	c.flags &^= flagFailed | flagShut
	c.flags |= flagReadable | flagHup // fail has taken the edge away
	c.pauses = 0
	c.CloseLinger(time.Duration(w.lingerMs) * time.Millisecond)
	return true
}

// readWire is read for conns with a transport.
func (c *Conn) readWire() {
	w, l := c.wire, c.loop
	if !w.ready && !w.handshake() {
		return
	}
	if w.due != nil {
		if c.flags&(cannotRead|flagOffer) == 0 {
			c.wireFailed(w.due)
		}
		return
	}
	// The transport may hold bytes that epoll does not see, until it says it would block.
	w.more = true
	for share := l.readShare; c.flags&cannotRead == 0; {
		buf, front := l.scratch, 0
		if c.kept != nil {
			if c.flags&flagOffer != 0 {
				break // as in read
			}
			if buf, front = c.keptRoom(); buf == nil {
				return
			}
		}
		if most := front + int(c.most); c.most > 0 && most < len(buf) {
			buf = buf[:most]
		}
		n, err := w.t.Read(w, buf[front:])
		if n > 0 {
			c.offer(buf[:front+n], front, front > keptCopyMax)
			share -= n
		}
		if c.flags&flagClosed != 0 {
			return
		}
		if c.out != nil {
			l.markDirty(c) // an alert, or the answer to a key update
		}
		if c.flags&flagLinger != 0 {
			return // the handler has left: nobody is to hear of the end that came with the bytes
		}
		if err != nil {
			c.wireEnd(err)
			return
		}
		if share <= 0 {
			l.stats.ReadShareHit.Inc()
			l.again(c)
			return
		}
	}
}

// handshake reports whether the handshake is complete.
func (w *Wire) handshake() bool {
	done, err := w.t.Handshake(w)
	switch {
	case err != nil && !errors.Is(err, ErrWouldBlock):
		w.conn.wireFailed(err)
	case done:
		w.Established()
		return true
	}
	w.more = false
	return false
}

// wireEnd handles the error of a Transport.Read.
func (c *Conn) wireEnd(err error) {
	switch {
	case errors.Is(err, ErrWouldBlock):
		c.wire.more = false
	case err == io.EOF && c.flags&(flagPaused|flagEOF) == 0:
		c.onEOF()
	case err == io.EOF:
		c.wire.more = true // told after ResumeRead
	default:
		c.wireFailed(err)
	}
}

// wireFailed ends c with an error of its transport, or one of the socket that came through it. A paused conn that holds bytes
// from before the error hears of it when it has taken them: an answer may be complete although the peer then ended badly.
func (c *Conn) wireFailed(err error) {
	if c.kept != nil && c.flags&flagPaused != 0 && c.flags&flagEager == 0 {
		c.wire.due, c.wire.more = err, true
		return
	}
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		c.wire.err = err
		c.fail(CloseReset, errno)
		return
	}
	c.wire.Fail(err)
}

// TransportError returns the error a transport ended with.
func (c *Conn) TransportError() error {
	if c.wire == nil {
		return nil
	}
	return c.wire.err
}

// stageToWire encrypts what is staged.
func (c *Conn) stageToWire(s *stage) {
	w := c.wire
	if w.err != nil {
		return
	}
	v := s.list()
	err := w.t.Write(w, v)
	clear(v)
	if err != nil {
		w.Fail(err)
	}
}

// shutWire writes the transport's end of data, once. It reports whether that still has to
// leave: then flushed is called again.
func (c *Conn) shutWire() (wait bool) {
	w := c.wire
	if c.flags&flagLast != 0 {
		return true // sendLast comes back
	}
	if w == nil || w.shut {
		return false
	}
	if !w.ready && w.err == nil && c.flags&(flagLinger|flagConnecting) == 0 {
		return true // Established comes back: what was written before has to leave first
	}
	w.shut = true
	if !w.ready || w.err != nil {
		return false
	}
	w.t.CloseWrite(w)
	if c.out == nil {
		return c.flags&flagLast != 0
	}
	if c.flags&flagWritable != 0 {
		c.flushQueue()
	}
	return true
}
