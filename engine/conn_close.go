package engine

import (
	"time"

	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
)

// lingerFlushMax bounds how long CloseLinger waits for a peer that takes nothing of the queue.
const lingerFlushMax = 30 * time.Second

// CloseWrite sends a FIN once everything written has left. Reading goes on.
func (c *Conn) CloseWrite() {
	c.loop.owner.assert()
	if c.flags&(flagClosed|flagFailed|flagBroken|flagShut) != 0 {
		return
	}
	if c.loop.stage.owner == c {
		c.loop.unstage(c)
	}
	c.flags |= flagShut
	if c.out == nil && c.flags&flagConnecting == 0 {
		c.flushed()
	}
}

// flushed goes on with what waited for an empty queue: shutdown or the end of lingering.
func (c *Conn) flushed() {
	if c.flags&flagLast != 0 && !c.sendLast() || c.flags&flagClosed != 0 {
		return
	}
	if c.flags&flagLinger != 0 {
		c.lingerFlushed()
		return
	}
	c.shutWrite()
}

// shutWrite sends the FIN.
func (c *Conn) shutWrite() {
	if c.flags&(flagShutDone|flagBroken) != 0 || c.shutWire() {
		return
	}
	c.flags |= flagShutDone
	if c.holds() {
		return // close_notify is among it: the peer sees the end, and the FIN comes with the close
	}
	// An error means that the peer is gone, which reading will tell.
	_ = sys.Shutdown(int(c.fd), unix.SHUT_WR)
}

// Close closes c now. What is queued is lost. The handler is not called again.
func (c *Conn) Close() {
	c.loop.owner.assert()
	if c.flags&flagClosed == 0 {
		c.closeNow()
	}
}

// Reset closes c with a reset, so that the peer cannot take it for an orderly end.
func (c *Conn) Reset() {
	c.loop.owner.assert()
	if c.flags&flagClosed != 0 {
		return
	}
	c.flags |= flagReset
	c.closeNow()
}

// CloseLinger flushes what was written, sends a FIN and discards input until the peer has closed too or
// timeout is over: closing a socket with unread input would reset it, and the reset can
// overtake the last bytes we sent. The handler is detached at once. A peer that takes nothing of
// the queue for 30 seconds is reset.
//
// A timeout of 0 closes as soon as the queue is flushed, with one system call: right when
// nothing more is expected from the peer.
func (c *Conn) CloseLinger(timeout time.Duration) {
	c.loop.owner.assert()
	if c.flags&(flagClosed|flagLinger) != 0 {
		return
	}
	if c.flags&(flagFailed|flagBroken|flagConnecting) != 0 {
		c.closeNow()
		return
	}
	if c.loop.stage.owner == c {
		c.loop.unstage(c)
		if c.flags&(flagClosed|flagFailed|flagBroken) != 0 {
			c.closeNow()
			return
		}
	}
	c.endSplice()
	if c.wire != nil && c.feeder != nil {
		c.feeder.breakSplice() // close_notify comes now, or a reset if the pipe is not empty
	}
	c.handler = nil
	c.dropKept()
	c.flags &^= flagPaused | flagStuck | flagOffer | flagBatch | flagLowDue | flagEOFDue
	c.flags |= flagLinger
	if timeout <= 0 {
		c.pauses = 1 // close as soon as the queue is flushed; see lingerFlushed
	} else {
		c.pauses = 0
	}
	c.low = int32(min(timeout/time.Millisecond, 1<<30)) // the watermarks have no use any more
	switch {
	case c.out == nil:
		c.lingerFlushed()
	case c.flags&flagWritable != 0:
		c.flushQueue() // a batch conn
	}
	if c.flags&flagClosed == 0 {
		c.armLinger()
	}
}

// armLinger sets the deadline of a lingering conn. high keeps how much the socket had taken by now.
func (c *Conn) armLinger() {
	wait := lingerFlushMax
	if c.out == nil && c.flags&flagLast == 0 {
		wait = time.Duration(c.low) * time.Millisecond
	}
	c.high = int32(c.outSum) // cut off: it is only compared
	c.loop.wheel.Set(&c.timer, c.loop.now+int64(wait))
}

// lingerTimeout ends a lingering conn, unless its queue has moved since the deadline was set. A peer that has
// not got all of it must not take what it has for the whole.
func (c *Conn) lingerTimeout() {
	if c.out != nil || c.flags&flagLast != 0 {
		if c.high != int32(c.outSum) {
			c.armLinger()
			return
		}
		c.flags |= flagReset
	}
	c.closeNow()
}

// lingerFlushed goes on with a lingering conn whose queue is empty.
func (c *Conn) lingerFlushed() {
	if c.flags&flagEOF != 0 || c.pauses == 1 {
		if !c.shutWire() && c.flags&flagClosed == 0 { // its last word may have found the peer gone, and c closed
			c.closeNow()
		}
		return
	}
	if c.flags&(flagHup|flagReadable) == flagHup|flagReadable {
		// The FIN may be next: then closing says all that a shutdown would.
		c.drainLinger()
		if c.flags&flagClosed != 0 {
			return
		}
	}
	c.shutWrite()
	if c.flags&flagClosed != 0 {
		return
	}
	c.armLinger()
	if c.flags&flagReadable != 0 {
		c.loop.markReady(c)
	}
}

// drainLinger discards input until the peer has closed.
func (c *Conn) drainLinger() {
	l := c.loop
	for share := l.readShare; c.flags&(flagReadable|flagClosed) == flagReadable; {
		n, errno := c.recv(l.scratch)
		switch {
		case n > 0:
			if n < len(l.scratch) && c.flags&flagHup == 0 {
				c.flags &^= flagReadable
			}
			if share -= n; share <= 0 {
				l.again(c)
				return
			}
		case errno == unix.EAGAIN:
			c.flags &^= flagReadable
		case errno == 0:
			c.flags |= flagEOF
			c.flags &^= flagReadable
			if c.out == nil {
				c.closeNow()
			}
		default:
			c.closeNow()
		}
	}
}

// closeNow closes the fd and gives back what the conn holds. The slot is freed at the end
// of the turn: pointers to c in this batch stay valid, and see flagClosed.
func (c *Conn) closeNow() {
	l := c.loop
	if c.release(); l.leave(c) {
		c.fd = -1
		return
	}
	if c.flags&flagReset != 0 {
		_ = sys.SetLingerZero(int(c.fd)) // else it closes in order, which is all we can do
	}
	// The fd was never duplicated (Detach removes it from epoll instead), so closing it
	// takes it out of epoll.
	sys.Close(int(c.fd))
	l.fdFreed()
	c.fd = -1
}

// release ends all of c but its fd.
func (c *Conn) release() {
	l := c.loop
	if c.flags&flagClosed != 0 {
		panic("BUG: engine: conn closed twice")
	}
	if c.flags&flagRacing != 0 {
		c.endRace()
	}
	c.endSplice()
	if c.feeder != nil {
		c.feeder.breakSplice()
	}
	if l.stage.owner == c {
		l.stage.reset()
	}
	if c.wire != nil {
		c.wire.t.Close()
		c.wire.dropHead()
	}
	c.dropQueue()
	c.dropKept()
	l.wheel.Unlink(&c.timer)
	c.handler = nil
	c.flags |= flagClosed
	c.flags &^= flagReadable | flagWritable
	l.dead = append(l.dead, c)
	l.stats.ConnsOpen.Dec()
}
