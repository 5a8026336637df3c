package engine

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
	"millrace/engine/timer"
)

// A Listener is a listening socket on one loop. It accepts within limits and gives each
// connection to its Acceptor.
//
//	active ── Pause, out of fds, ConnsMax ──▶ paused ── Resume, an fd is freed ──▶ active
//	  │ Detach: the fd goes to a successor
//	  │ DrainAndClose: accepts what is queued, then closes
//	  ▼
//	gone
//
// Deviation from edge-triggered: a listener is level-triggered, so that an accept batch
// need not end with a call that finds nothing.
type Listener struct {
	loop     *Loop
	fd       int
	slot     uint32 // with slotListener set
	gen      uint32
	unix     bool
	acceptor Acceptor
	perTurn  int // most accepts in one turn

	batch  int // accepts tried in one turn; grows while all of them succeed
	full   int // turns in a row in which all of the batch succeeded
	pauses int // Pause minus Resume
	short  bool
	retry  timer.Timer // while short of fds
	drain  timer.Timer
	gone   bool
}

const (
	// batchGrowAfter full batches in a row double the batch. At a low rate one accept a
	// turn finds the one connection there is; guessing higher costs a failing call.
	batchGrowAfter = 4
	// listenBits are the events of a listener that is not paused.
	listenBits = sys.In
)

// AddListener starts to accept on fd, which becomes the loop's; on error it stays the
// caller's. A unix socket may be on several loops: each needs a duplicate of the fd of its
// own, see DupFd.
func (l *Loop) AddListener(fd int, opts ListenerOptions, a Acceptor) (*Listener, error) {
	l.owner.assert()
	addr, err := LocalAddr(fd)
	if err != nil {
		return nil, fmt.Errorf("engine: add listener: %w", err)
	}
	ls := &Listener{loop: l, fd: fd, unix: addr.IsUnix(), acceptor: a, batch: 1}
	ls.SetAcceptsPerTurn(opts.AcceptsPerTurn)
	l.listenerGen++
	ls.gen = l.listenerGen
	ls.slot = slotListener | uint32(l.listenerSlot())
	if errno := sys.EpollAdd(l.epfd, fd, ls.bits(), ls.slot, ls.gen); errno != 0 {
		return nil, fmt.Errorf("engine: add listener: epoll_ctl: %w", errno)
	}
	ls.retry.Init((*listenerRetry)(ls))
	ls.drain.Init((*listenerDrain)(ls))
	l.listeners[ls.slot&^slotListener] = ls
	return ls, nil
}

// DupFd duplicates a listening socket for another loop.
func DupFd(fd int) (int, error) {
	n, errno := sys.Dup(fd)
	if errno != 0 {
		return -1, fmt.Errorf("dup: %w", errno)
	}
	return n, nil
}

// listenerSlot returns a free index in l.listeners.
func (l *Loop) listenerSlot() int {
	for i, ls := range l.listeners {
		if ls == nil {
			return i
		}
	}
	l.listeners = append(l.listeners, nil)
	return len(l.listeners) - 1
}

// SetAcceptor makes a decide about the connections accepted from now on.
func (ls *Listener) SetAcceptor(a Acceptor) { ls.acceptor = a }

// SetAcceptsPerTurn bounds the connections accepted in one turn from now on. 0 means
// LoopConfig.AcceptsPerTurn.
func (ls *Listener) SetAcceptsPerTurn(n int) {
	if n == 0 {
		n = ls.loop.cfg.AcceptsPerTurn
	}
	ls.perTurn = n
	ls.batch = min(ls.batch, n)
}

// Fd returns the listening socket. It stays the listener's.
func (ls *Listener) Fd() int { return ls.fd }

// Addr returns the address listened on.
func (ls *Listener) Addr() Addr {
	a, err := LocalAddr(ls.fd)
	if err != nil {
		return Addr{}
	}
	return a
}

// Detach stops accepting and gives the fd back, for a successor: what is queued on it is
// not lost.
func (ls *Listener) Detach() int {
	if ls.gone {
		return -1
	}
	fd := ls.fd
	// The fd may be duplicated in another process or loop, so closing it later does not
	// take it out of this epoll.
	_ = sys.EpollDel(ls.loop.epfd, fd)
	ls.remove()
	return fd
}

// DrainAndClose goes on accepting until nothing is queued and at least d has passed, then
// closes. With d 0 it accepts what is queued now and closes at once. Closing one socket
// of a SO_REUSEPORT group resets what is queued on it: if there is a successor, Detach.
//
// New connections are turned away from the start: the socket drops the packets that ask for them, their
// peers ask again, and find a successor or nobody. So d is the time that handshakes under way have.
func (ls *Listener) DrainAndClose(d time.Duration) {
	if ls.gone {
		return
	}
	if !ls.unix {
		_ = sys.DropSyns(ls.fd) // without it there is a moment in which connections are lost
	}
	if d > 0 {
		ls.loop.wheel.Set(&ls.drain, ls.loop.now+int64(d))
		return
	}
	ls.drainNow()
}

// drainNow accepts what is queued, then closes.
func (ls *Listener) drainNow() {
	l := ls.loop
	for left := backlogDefault; left > 0 && !ls.gone && l.Conns() < l.cfg.ConnsMax; left-- {
		if !ls.acceptOne() {
			break
		}
	}
	if fd := ls.Detach(); fd >= 0 {
		sys.Close(fd)
	}
}

// Pause stops accepting until Resume has been called as often. Connections wait in the kernel's queue.
func (ls *Listener) Pause() {
	ls.pauses++
	ls.update()
}

// Resume takes one Pause back.
func (ls *Listener) Resume() {
	if ls.pauses == 0 {
		panic("BUG: engine: listener resumed more often than paused")
	}
	ls.pauses--
	ls.update()
}

// update tells epoll whether to report connections.
func (ls *Listener) update() {
	if ls.gone {
		return
	}
	bits := uint32(0)
	if ls.pauses == 0 && !ls.short {
		bits = ls.bits()
	}
	if ls.unix { // EPOLLEXCLUSIVE cannot be modified
		_ = sys.EpollDel(ls.loop.epfd, ls.fd)
		if bits != 0 {
			_ = sys.EpollAdd(ls.loop.epfd, ls.fd, bits, ls.slot, ls.gen)
		}
		return
	}
	_ = sys.EpollMod(ls.loop.epfd, ls.fd, bits, ls.slot, ls.gen)
}

func (ls *Listener) bits() uint32 {
	if ls.unix {
		return listenBits | sys.Exclusive
	}
	return listenBits
}

// remove takes the listener off the loop.
func (ls *Listener) remove() {
	ls.gone = true
	ls.loop.listeners[ls.slot&^slotListener] = nil
	ls.loop.wheel.Unlink(&ls.retry)
	ls.loop.wheel.Unlink(&ls.drain)
	if ls.short {
		ls.short = false
		ls.loop.shortListeners--
	}
	ls.fd = -1
}

// accept takes queued connections, a bounded batch a turn.
//
// Hot path for connection-per-request traffic: accept4 and epoll_ctl are all it costs.
func (ls *Listener) accept() {
	l := ls.loop
	for i := range ls.batch {
		if ls.pauses > 0 || ls.short || ls.gone {
			return
		}
		if l.Conns() >= l.cfg.ConnsMax {
			l.stats.ConnsMaxHit.Inc()
			ls.pauseShort()
			return
		}
		if !ls.acceptOne() {
			ls.batch, ls.full = max(i, 1), 0
			return
		}
	}
	ls.full++
	if ls.full >= batchGrowAfter {
		ls.batch, ls.full = min(ls.batch*2, ls.perTurn), 0
	}
}

// acceptOne takes one connection. It reports false when no more can be had now.
func (ls *Listener) acceptOne() bool {
	l := ls.loop
	fd, errno := l.accept4(ls.fd)
	if errno != 0 {
		return ls.acceptFailed(errno)
	}
	l.stats.Accepted.Inc()
	c, err := l.adopt(fd, fromKernel(&l.sockaddr), nil, flagWritable)
	if err != nil { // no memory, or fs.epoll.max_user_watches
		sys.Close(fd)
		l.stats.AcceptErrors.Inc()
		ls.pauseShort()
		return false
	}
	l.current = c
	h := ls.acceptor.OnAccept(c)
	l.endEvent()
	switch {
	case c.flags&(flagClosed|flagLinger) != 0:
	case h == nil:
		c.closeNow()
	default:
		c.handler = h
	}
	return true
}

// accept4 is the system call, or what a test puts in its place.
func (l *Loop) accept4(fd int) (int, syscall.Errno) {
	if l.acceptFault != 0 {
		return -1, l.acceptFault
	}
	return sys.Accept4(fd, &l.sockaddr)
}

// acceptFailed sorts the errors of accept4. It reports whether to try again.
func (ls *Listener) acceptFailed(errno syscall.Errno) bool {
	l := ls.loop
	switch errno {
	case unix.EAGAIN:
		return false
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
		l.stats.AcceptsPaused.Inc()
		ls.pauseShort()
		return false
	default:
		// The connection was gone before we took it (ECONNABORTED), or the network has
		// an error to report for it (accept(2)): the next one may be fine.
		l.stats.AcceptErrors.Inc()
		return true
	}
}

// pauseShort pauses until a conn of the loop is closed, or for AcceptRetry. Without it a
// level-triggered listener would be reported again and again.
func (ls *Listener) pauseShort() {
	if ls.short {
		return
	}
	ls.short = true
	ls.loop.shortListeners++
	ls.loop.wheel.Set(&ls.retry, ls.loop.now+int64(ls.loop.cfg.AcceptRetry))
	ls.update()
}

// resumeShort ends pauseShort.
func (ls *Listener) resumeShort() {
	if !ls.short {
		return
	}
	ls.short = false
	ls.loop.shortListeners--
	ls.retry.Stop()
	ls.update()
}

// fdFreed is called when an fd of the loop has been closed.
func (l *Loop) fdFreed() {
	if l.shortListeners == 0 {
		return
	}
	for _, ls := range l.listeners {
		if ls != nil {
			ls.resumeShort()
		}
	}
}

// listenerRetry and listenerDrain are a Listener as its timers see it.
type (
	listenerRetry Listener
	listenerDrain Listener
)

// OnTimer implements timer.Firer.
func (r *listenerRetry) OnTimer(int64) { (*Listener)(r).resumeShort() }

// OnTimer implements timer.Firer.
func (d *listenerDrain) OnTimer(int64) { (*Listener)(d).drainNow() }
