package engine

import (
	"slices"
	"syscall"
	"time"

	"millrace/engine/internal/sys"
	"millrace/engine/timer"
)

// raceDelay is how long an attempt to connect has before the next address is tried beside it: the "Connection Attempt Delay".
// RFC 8305 section 5 recommends 250 ms; Envoy has 300.
const raceDelay = 300 * time.Millisecond

// A race connects one conn to whichever of several addresses accepts first (RFC 8305). The conn is that of the first address
// until another one wins: then it takes over the socket of that attempt. Its owner sees one conn that connects.
//
//	DialAny ─▶ the conn itself ── raceDelay, or a failure ──▶ attempt ── raceDelay, or a failure ──▶ attempt …
//	               │ accepted: the attempts close               │ accepted: its socket becomes the conn's
type race struct {
	conn     *Conn
	rest     []Addr // not tried so far
	options  *DialOptions
	attempts []*raceAttempt // that connect, beside the conn's own
	own      bool           // the conn's own goes on
	errno    syscall.Errno  // of the last one that failed
	timer    timer.Timer
}

// raceAttempt is the handler of an attempt that is not the conn's own.
type raceAttempt struct {
	race *race
	conn *Conn
}

// DialAny is DialFrom for several addresses of one peer: others are tried beside addr when it does not accept soon, or fails, in
// their order. They are not written to.
func (l *Loop) DialAny(addr *Addr, others []Addr, o *DialOptions, h Handler) (*Conn, error) {
	c, err := l.DialFrom(addr, o, h)
	if err != nil && len(others) > 0 { // such as a source of the other family
		return l.DialAny(&others[0], others[1:], o, h)
	}
	if err != nil || len(others) == 0 || c.flags&(flagConnecting|flagFailed) == 0 {
		return c, err
	}
	r := &race{conn: c, rest: others, own: true}
	if o != nil {
		copied := *o // the caller may use it for the next one
		r.options = &copied
	}
	r.timer.Init(r)
	if l.races == nil {
		l.races = map[uint32]*race{}
	}
	l.races[c.slot] = r
	c.flags |= flagRacing
	if c.flags&flagFailed != 0 { // at once, such as for a family without a route
		errno := syscall.Errno(c.errno)
		c.flags, c.errno, c.pauses = c.flags&^flagFailed|flagConnecting, 0, 0
		if !r.ownFailed(errno) {
			c.fail(CloseConnectFailed, errno)
		}
		return c, nil
	}
	l.wheel.Set(&r.timer, l.now+int64(raceDelay))
	return c, nil
}

// raceOn goes on without the socket of c, which has failed. It reports whether there is another one.
func (c *Conn) raceOn(errno syscall.Errno) bool {
	return c.flags&flagRacing != 0 && c.loop.races[c.slot].ownFailed(errno)
}

// ownFailed takes in that the conn's own attempt has failed. It reports whether another one goes on, or begins.
func (r *race) ownFailed(errno syscall.Errno) bool {
	r.own, r.errno = false, errno
	_ = sys.EpollDel(r.conn.loop.epfd, int(r.conn.fd)) // it would be taken for open, as its error has been read
	return r.next() || len(r.attempts) > 0
}

// next begins the next attempt that can begin. It reports whether there is one.
func (r *race) next() bool {
	l := r.conn.loop
	for len(r.rest) > 0 {
		a := &raceAttempt{race: r}
		to := &r.rest[0]
		r.rest = r.rest[1:]
		c, err := l.DialFrom(to, r.options, a)
		if err != nil { // such as a source of the other family
			continue
		}
		a.conn = c
		r.attempts = append(r.attempts, a)
		if len(r.rest) > 0 {
			l.wheel.Set(&r.timer, l.now+int64(raceDelay))
		}
		return true
	}
	return false
}

// OnTimer implements timer.Firer: nobody has accepted so far.
func (r *race) OnTimer(int64) { r.next() }

// endRace closes all other attempts: c is connected, or closed.
func (c *Conn) endRace() {
	l := c.loop
	r := l.races[c.slot]
	delete(l.races, c.slot)
	c.flags &^= flagRacing
	l.wheel.Unlink(&r.timer)
	for _, a := range r.attempts {
		a.conn.Close()
	}
	r.attempts = nil
}

// OnConnect implements Handler: the conn takes over the socket. Epoll has told all it had to of the one before, since notices
// come after events.
func (a *raceAttempt) OnConnect() {
	r, won := a.race, a.conn
	c, l, fd := r.conn, a.conn.loop, int(a.conn.fd)
	r.attempts = slices.DeleteFunc(r.attempts, func(b *raceAttempt) bool { return a == b })
	_ = sys.EpollDel(l.epfd, fd) // or the fd would go on being reported under the other token
	won.release()
	won.fd = -1
	if r.own {
		_ = sys.EpollDel(l.epfd, int(c.fd))
	}
	sys.Close(int(c.fd))
	l.fdFreed()
	c.fd, c.peer = int32(fd), won.peer
	if c.flags&flagLocalSet == 0 {
		c.local = nil
	}
	if errno := sys.EpollAdd(l.epfd, fd, sys.In|sys.Out|sys.RdHup|sys.Edge, c.slot, c.gen); errno != 0 {
		c.fail(CloseConnectFailed, errno)
		return
	}
	c.endRace()
	c.connected()
}

// OnClose implements Handler: the attempt has failed.
func (a *raceAttempt) OnClose(why CloseReason) {
	r := a.race
	r.attempts = slices.DeleteFunc(r.attempts, func(b *raceAttempt) bool { return a == b })
	r.errno = a.conn.Errno()
	if why != CloseLoopEnd && !r.next() && len(r.attempts) == 0 && !r.own {
		r.conn.fail(CloseConnectFailed, r.errno)
	}
}

// The other methods of Handler are not called before OnConnect.

func (a *raceAttempt) OnData(b []byte) int        { return len(b) }
func (a *raceAttempt) OnEOF()                     {}
func (a *raceAttempt) OnWriteLow()                {}
func (a *raceAttempt) OnSplice(int64, bool, bool) {}
func (a *raceAttempt) OnTimeout()                 {}
