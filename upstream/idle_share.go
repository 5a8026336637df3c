package upstream

import (
	"slices"
	"sync/atomic"

	"millrace/engine"
	"millrace/engine/stats"
)

// IdleShare is what one loop tells its siblings of its idle connections to a host: enough to know whether asking for one
// makes sense. See share_idle_connections.
type IdleShare struct {
	// Immutable.
	Loop *engine.Loop
	// Budget and ServerName tell connections apart that cannot stand for one another: those of another priority, and those whose
	// TLS asks for another name.
	Budget     *Budget
	ServerName string
	// Owner is for Loop alone.
	Owner any

	// Since is when the connection that has lain idle longest became idle, on the clock that all loops have in common; 0
	// without one. Written by the loop.
	Since stats.Gauge
}

// IdleShares are those of all loops for one host. The zero value is empty.
type IdleShares struct {
	list atomic.Pointer[[]*IdleShare] // copied on write, when a loop comes to have an idle connection for the first time
}

// List returns the shares as of now.
func (s *IdleShares) List() []*IdleShare {
	if p := s.list.Load(); p != nil {
		return *p
	}
	return nil
}

// Join adds a share.
func (s *IdleShares) Join(x *IdleShare) {
	s.edit(func(old []*IdleShare) []*IdleShare { return append(old, x) })
}

// Leave removes it.
func (s *IdleShares) Leave(x *IdleShare) {
	s.edit(func(old []*IdleShare) []*IdleShare {
		return slices.DeleteFunc(old, func(o *IdleShare) bool { return o == x })
	})
}

// edit replaces the list by an edited copy.
func (s *IdleShares) edit(edit func([]*IdleShare) []*IdleShare) {
	for {
		old := s.list.Load()
		var list []*IdleShare
		if old != nil {
			list = append(list, *old...)
		}
		list = edit(list)
		if s.list.CompareAndSwap(old, &list) {
			return
		}
	}
}
