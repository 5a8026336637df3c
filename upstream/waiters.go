package upstream

import (
	"sync/atomic"

	"millrace/engine/stats"
)

// Waiters are the loops that have a part in a limit of connections, some of which wait for room under it. The zero
// value has none. Nobody blocks: a loop that waits is called when there may be room.
type Waiters struct {
	waiting atomic.Int32              // members that wait
	next    atomic.Uint32             // where the next search for one starts
	members atomic.Pointer[[]*Member] // copied on write, when a loop takes a cluster up
}

// Member is one loop's part.
type Member struct {
	// Idle is how many of the loop's connections under the limit carry no request.
	// Written by the loop.
	Idle stats.Gauge

	waiting atomic.Bool
	wake    func() // called on any loop: there may be room for a connection
	shed    func() // called on any loop: someone waits, give an idle connection up
}

// Join adds a member. wake and shed are called on the goroutines of other loops, so they
// only post.
func (w *Waiters) Join(wake, shed func()) *Member {
	m := &Member{wake: wake, shed: shed}
	w.editMembers(func(old []*Member) []*Member { return append(old, m) })
	return m
}

// Leave removes a member. Its connections may outlive it.
func (w *Waiters) Leave(m *Member) {
	w.editMembers(func(old []*Member) []*Member {
		for i := range old {
			if old[i] == m {
				return append(old[:i], old[i+1:]...)
			}
		}
		return old
	})
	w.StopWaiting(m)
}

// editMembers replaces the list by an edited copy.
func (w *Waiters) editMembers(edit func([]*Member) []*Member) {
	for {
		old := w.members.Load()
		var list []*Member
		if old != nil {
			list = append(list, *old...)
		}
		list = edit(list)
		if w.members.CompareAndSwap(old, &list) {
			return
		}
	}
}

// Members returns how many members there are.
func (w *Waiters) Members() int { return len(w.from()) }

// Waiting reports whether any loop waits.
func (w *Waiters) Waiting() bool { return w.waiting.Load() != 0 }

// Mark makes m one that waits. Whoever calls it tries once more afterwards, since what was given back a moment ago woke
// nobody. If that try succeeds m waits all the same, for it may have other pools that do, and a needless wake does no
// harm.
func (w *Waiters) Mark(m *Member) {
	if m.waiting.CompareAndSwap(false, true) {
		w.waiting.Add(1)
	}
}

// StopWaiting ends the wait of m, whose needs were met otherwise.
func (w *Waiters) StopWaiting(m *Member) {
	if m.waiting.CompareAndSwap(true, false) {
		w.waiting.Add(-1)
	}
}

// askToShed asks one member with an idle connection to give it up.
func (w *Waiters) askToShed() {
	for _, o := range w.from() {
		if o.Idle.Load() > 0 {
			o.shed()
			return
		}
	}
}

// wake wakes one waiting member, if there is one; members take turns.
func (w *Waiters) wake() {
	if !w.Waiting() {
		return
	}
	list := w.from()
	start := int(w.next.Add(1))
	for i := range list {
		m := list[(start+i)%len(list)]
		if m.waiting.CompareAndSwap(true, false) {
			w.waiting.Add(-1)
			m.wake()
			return
		}
	}
}

// from returns the members as of now.
func (w *Waiters) from() []*Member {
	if p := w.members.Load(); p != nil {
		return *p
	}
	return nil
}
