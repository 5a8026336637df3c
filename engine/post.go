package engine

import (
	"runtime"
	"sync/atomic"

	"millrace/engine/internal/sys"
)

// mailbox is the one door into a loop from outside: a stack that anyone pushes to and the
// loop takes whole, and an eventfd that is written only when the loop may be asleep.
type mailbox struct {
	// Shared.
	head   atomic.Pointer[letter]
	asleep atomic.Bool
	users  atomic.Int32 // Post calls about to write the eventfd
	closed atomic.Bool

	// Owned by the loop.
	local *letter // taken from head, in order, not run yet
}

type letter struct {
	fn   func()
	lost func() // runs instead if the loop ends before; may be nil
	next *letter
}

// refused is what the stack of a loop that has ended holds for ever.
var refused letter

// Post runs fn on the loop, soon. It may be called from anywhere. Functions posted by one
// goroutine run in order; those posted after the loop ended never run.
func (l *Loop) Post(fn func()) { l.PostOr(fn, nil) }

// PostOr is Post of a function that hands something over: if the loop ends before fn could run, lost runs instead, on
// whatever goroutine.
func (l *Loop) PostOr(fn, lost func()) {
	n := &letter{fn: fn, lost: lost}
	for {
		old := l.mail.head.Load()
		if old == &refused {
			if lost != nil {
				lost()
			}
			return
		}
		n.next = old
		if l.mail.head.CompareAndSwap(old, n) {
			break
		}
	}
	l.wake()
}

// wake makes sure the loop does not sleep on what was just stored.
func (l *Loop) wake() {
	m := &l.mail
	if !m.asleep.Load() || !m.asleep.CompareAndSwap(true, false) {
		return
	}
	// users keeps the loop from closing the eventfd in between.
	m.users.Add(1)
	if !m.closed.Load() {
		sys.Signal(l.wakeFd)
	}
	m.users.Add(-1)
}

// sleep announces that the loop is about to sleep. It reports false when there is mail,
// or the loop is to stop: whoever stored that before saw a loop that was awake.
func (m *mailbox) sleep(stop *atomic.Bool) bool {
	m.asleep.Store(true)
	if m.head.Load() != nil || stop.Load() {
		m.asleep.Store(false)
		return false
	}
	return true
}

func (m *mailbox) awake() { m.asleep.Store(false) }

// refuse gives back what has come and will not run, and takes no more.
func (m *mailbox) refuse() {
	late := reverse(m.head.Swap(&refused))
	for _, list := range []*letter{m.local, late} {
		for n := list; n != nil; n = n.next {
			if n.lost != nil {
				n.lost()
			}
		}
	}
	m.local = nil
}

// close waits for the last writers of the eventfd.
func (m *mailbox) close() {
	m.closed.Store(true)
	m.asleep.Store(false)
	for m.users.Load() > 0 {
		runtime.Gosched()
	}
}

// runPosted runs posted functions, a bounded number a turn.
func (l *Loop) runPosted() {
	m := &l.mail
	l.current = nil
	for range l.cfg.PostedPerTurn {
		if m.local == nil {
			if m.head.Load() == nil {
				return
			}
			m.local = reverse(m.head.Swap(nil))
		}
		fn := m.local.fn
		m.local = m.local.next
		l.stats.Posted.Inc()
		fn()
		l.endEvent()
	}
}

func reverse(n *letter) *letter {
	var first *letter
	for n != nil {
		next := n.next
		n.next = first
		first, n = n, next
	}
	return first
}
