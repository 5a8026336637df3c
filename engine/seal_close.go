package engine

import (
	"time"

	"millrace/engine/internal/sys"
	"millrace/engine/timer"
)

const (
	// leftoverFirst is when a socket with a leftover is looked at again, and leftoverRarely the longest time between two looks.
	leftoverFirst  = 2 * time.Millisecond
	leftoverRarely = 128 * time.Millisecond
)

// A leftover is the socket of a closed conn, of whose sealed records the kernel holds some that TCP has no room for yet: see
// sealed.holds. The kernel gives no sign when it has, so it is looked at by the clock.
type leftover struct {
	loop    *Loop
	fd      int
	seal    sealed
	outSum  uint64
	written uint64 // by TCP, at the last look
	since   int64  // when that has last grown
	wait    time.Duration
	timer   timer.Timer
}

// leave keeps the socket of c open if the kernel holds bytes of it. It reports whether it does.
func (l *Loop) leave(c *Conn) bool {
	if c.wire == nil || c.wire.seal == nil {
		return false
	}
	if c.wire.seal.cut {
		c.flags |= flagReset // the peer must not take what it has for the whole
	}
	if c.flags&flagReset != 0 || !c.holds() {
		return false
	}
	// The conn is gone: what epoll would report belongs to nobody.
	_ = sys.EpollDel(l.epfd, int(c.fd))
	o := &leftover{loop: l, fd: int(c.fd), seal: *c.wire.seal, outSum: c.outSum, since: l.now, wait: leftoverFirst}
	o.timer.Init(o)
	if l.leftovers == nil {
		l.leftovers = map[*leftover]struct{}{}
	}
	l.leftovers[o] = struct{}{}
	l.stats.Leftovers.Inc()
	l.wheel.Set(&o.timer, l.now+int64(o.wait))
	return true
}

// OnTimer implements timer.Firer.
func (o *leftover) OnTimer(now int64) {
	written, errno := sys.TCPWritten(o.fd)
	if written != o.written {
		o.written, o.since = written, now
	}
	switch {
	case errno != 0 || !o.seal.holds(o.fd, o.outSum):
		o.close()
	case now-o.since >= int64(lingerFlushMax):
		// As with a queue: who has not got all of it must not take what it has for the whole.
		_ = sys.SetLingerZero(o.fd)
		o.close()
	default:
		o.wait = min(2*o.wait, leftoverRarely)
		o.loop.wheel.Set(&o.timer, now+int64(o.wait))
	}
}

// close closes the socket.
func (o *leftover) close() {
	delete(o.loop.leftovers, o)
	o.loop.stats.Leftovers.Dec()
	o.loop.wheel.Unlink(&o.timer)
	sys.Close(o.fd)
	o.loop.fdFreed()
}
