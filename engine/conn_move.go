package engine

import (
	"fmt"

	"millrace/engine/internal/sys"
)

// A Detached is a connection that is on no loop: plain data, on its way to another loop or process.
//
//	conn ── Conn.Detach ──▶ Detached ── Loop.Join ──▶ conn
//	                            └────── Close
//
// It may be passed on to another goroutine by whatever orders memory, such as Loop.Post. What the socket gets meanwhile
// waits in the kernel, and is reported when the next loop registers it.
type Detached struct {
	fd        int // -1 when the socket is another's or closed
	kept      []byte
	wire      *Wire
	peer      Addr
	local     Addr
	knowLocal bool

	in, out   uint64
	deadline  int64
	high, low int32
	most      uint32
	flags     flags // those of movedFlags
}

// movedFlags are what a conn takes along.
const movedFlags = flagBatch | flagEager | flagLocalSet

// A Mover is a Transport that can go to another loop with its conn.
type Mover interface {
	Transport
	// Movable reports whether it holds nothing of its loop: no block, no half record, no handshake.
	Movable() bool
	// Leave forgets the loop. Before the next call it is told what belongs to the new one, by its owner.
	Leave()
}

// Detach takes c off its loop. The handler is not called again.
//
// Precondition: a quiet point, see Quiet.
func (c *Conn) Detach() *Detached {
	l := c.loop
	l.owner.assert()
	if !c.Quiet() {
		panic("BUG: engine: detached a conn that is not quiet")
	}
	d := &Detached{
		fd: int(c.fd), wire: c.wire, peer: Addr{inet: c.peer}, in: c.in, out: c.outSum, deadline: c.timer.At(),
		high: c.high, low: c.low, most: c.most, flags: c.flags & movedFlags,
	}
	if c.flags&flagPeerPath != 0 {
		d.peer = l.peerPaths[c.slot]
	}
	if c.local != nil {
		d.local, d.knowLocal = *c.local, true
	}
	if c.kept != nil {
		d.kept = append(d.kept, c.kept.bytes()...)
	}
	if c.wire != nil {
		c.wire.t.(Mover).Leave()
		c.wire = nil
	}
	// The fd lives on, so epoll would go on reporting it under this token.
	_ = sys.EpollDel(l.epfd, d.fd)
	c.release()
	c.fd = -1
	l.fdFreed()
	l.stats.ConnsGiven.Inc()
	return d
}

// Quiet reports whether c can be detached now: it is open in both directions, nothing is to be written or told to its
// handler, reading is not paused, and its transport is at rest too.
func (c *Conn) Quiet() bool {
	const busy = flagClosed | flagFailed | flagBroken | flagLinger | flagConnecting | flagConnectDue | flagInData |
		flagShut | flagEOF | flagEOFDue | flagPaused | flagStuck | flagLowDue | flagUpgrade | flagLast
	return c.flags&busy == 0 && c.out == nil && c.splice == nil && c.feeder == nil && c.loop.stage.owner != c &&
		(c.wire == nil || c.wire.quiet())
}

// quiet reports whether nothing of the wire or its transport is under way, and the kernel seals nothing: a close of such a socket
// is not over when it is closed.
func (w *Wire) quiet() bool {
	m, moves := w.t.(Mover)
	return moves && w.ready && !w.more && !w.shut && w.head == nil && w.seal == nil && w.err == nil && w.due == nil && w.conn.kept == nil && m.Movable()
}

// Join makes a conn of one that was detached. Bytes it came with are shown to h in the next turn at the latest. On error d is as before:
// it may go elsewhere, or be closed.
func (l *Loop) Join(d *Detached, h Handler) (*Conn, error) {
	l.owner.assert()
	if l.Conns() >= l.cfg.ConnsMax {
		l.stats.ConnsMaxHit.Inc()
		return nil, ErrConnsMax
	}
	c, err := l.attach(d.fd, d.peer.inet, d.kept, h)
	if err != nil {
		return nil, err
	}
	l.stats.ConnsTaken.Inc()
	c.flags |= d.flags
	c.in, c.outSum, c.high, c.low, c.most = d.in, d.out, d.high, d.low, d.most
	if d.peer.IsUnix() && d.peer.path != "" {
		c.SetRemoteAddr(d.peer)
	}
	if d.knowLocal {
		c.local = l.intern(d.local)
	}
	if c.wire = d.wire; c.wire != nil {
		c.wire.conn = c
	}
	if d.deadline != 0 {
		l.wheel.Set(&c.timer, d.deadline)
	}
	d.fd, d.wire = -1, nil
	return c, nil
}

// Fd returns the socket, -1 when it is another's or closed. It stays d's.
func (d *Detached) Fd() int { return d.fd }

// Kept returns the bytes that were read and not consumed.
func (d *Detached) Kept() []byte { return d.kept }

// Transport returns the transport of the connection, nil for a plain one.
func (d *Detached) Transport() Transport {
	if d.wire == nil {
		return nil
	}
	return d.wire.t
}

// BytesIn returns the bytes read from the socket so far.
func (d *Detached) BytesIn() uint64 { return d.in }

// BytesOut returns the bytes the socket has taken so far.
func (d *Detached) BytesOut() uint64 { return d.out }

// Close closes the socket, unless a loop has it. It may be called from anywhere.
func (d *Detached) Close() {
	if d.wire != nil {
		d.wire.t.Close()
		d.wire = nil
	}
	if d.fd >= 0 {
		sys.Close(d.fd)
		d.fd = -1
	}
}

// Attach makes a conn of a connected, non-blocking socket, which becomes the loop's, and
// of bytes read from it before. They are shown to h in the next turn at the latest. On
// error the socket stays the caller's.
func (l *Loop) Attach(fd int, kept []byte, h Handler) (*Conn, error) {
	l.owner.assert()
	var peer inetAddr
	if sys.PeerAddr(fd, &l.sockaddr) == 0 {
		peer = fromKernel(&l.sockaddr)
	}
	return l.attach(fd, peer, kept, h)
}

// attach is Attach for a socket whose peer is known.
func (l *Loop) attach(fd int, peer inetAddr, kept []byte, h Handler) (*Conn, error) {
	if len(kept) > len(l.scratch) {
		return nil, fmt.Errorf("engine: attach: %d kept bytes exceed the maximum of %d", len(kept), len(l.scratch))
	}
	c, err := l.adopt(fd, peer, h, flagWritable)
	if err != nil {
		return nil, err
	}
	if len(kept) > 0 {
		c.keepNew(kept)
		if c.flags&flagFailed == 0 {
			c.flags |= flagOffer
			l.markReady(c)
		}
	}
	return c, nil
}
