package server

import (
	"context"
	"maps"
	"slices"
	"time"

	"millrace/cmd/internal/control"
)

// Retired chains and removed clusters are looked after at every reload, and as often as this while there
// are any: every second, or as often as a shorter drain time asks for.
const (
	sweepEvery    = time.Second
	sweepEveryMin = 10 * time.Millisecond
)

// draining are the parts of earlier snapshots that some loop still uses: how many loops that are.
type draining struct {
	chains    map[*control.Chain]int
	inPlace   map[*control.Chain]bool // those whose listener stays
	listeners map[*control.Listener]int
}

// retire notes what drains on every loop now: its logs stay open meanwhile. What only new connections
// used is let go of at once.
func (s *Server) retire(diff *control.Diff) {
	n := len(s.workers)
	for i := range diff.Listeners {
		switch c := &diff.Listeners[i]; {
		case c.Retires():
			s.leaving.listeners[c.Old] = n
			for _, chain := range c.Old.AllChains() {
				s.leaving.chains[chain] = n
			}
		case c.InPlace():
			for k := range c.Chains {
				if change := &c.Chains[k]; change.Retires() {
					s.leaving.chains[change.Old] = n
					s.leaving.inPlace[change.Old] = true
				}
			}
			if c.Old.FilterHeld != c.New.FilterHeld {
				s.drop(c.Old.FilterHeld)
			}
			if c.Old.LogHeld != c.New.LogHeld {
				s.drop(c.Old.LogHeld)
			}
		}
	}
	s.publishRetired()
}

// publishRetired shows the retired listeners to the admin port.
func (s *Server) publishRetired() {
	list := slices.Collect(maps.Keys(s.leaving.listeners))
	s.retired.Store(&list)
	s.chainsDraining.Store(int64(len(s.leaving.inPlace)))
}

// retiring returns the listeners that were replaced or removed and still have connections.
func (s *Server) retiring() []*control.Listener {
	if p := s.retired.Load(); p != nil {
		return *p
	}
	return nil
}

// newSweeper returns the timer of sweep, stopped.
func (s *Server) newSweeper() *time.Timer {
	t := time.AfterFunc(time.Hour, func() {
		_ = s.control.Do(context.Background(), func() error { s.sweep(); return nil }) // or the process ends
	})
	t.Stop()
	return t
}

// sweep ends what has drained for long enough and lets go of what has ended.
//
// Precondition: called on the control goroutine.
func (s *Server) sweep() {
	now := time.Now()
	again := false
	for _, a := range each(s, func(w *worker) released { return w.sweep(now) }) {
		for _, c := range a.chains {
			s.releaseChain(c)
		}
		for _, l := range a.listeners {
			s.releaseListener(l)
		}
		again = again || a.left
	}
	s.registerSets()
	s.publishRetired()
	if again {
		s.sweeper.Reset(max(sweepEveryMin, min(sweepEvery, s.snapshot.Load().DrainTime)))
	}
}

// releaseChain lets go of what a retired chain keeps open when its last loop has released it.
func (s *Server) releaseChain(c *control.Chain) {
	if s.leaving.chains[c]--; s.leaving.chains[c] > 0 {
		return
	}
	delete(s.leaving.chains, c)
	delete(s.leaving.inPlace, c)
	s.drop(c.Held)
}

// releaseListener is releaseChain for a replaced or removed listener.
func (s *Server) releaseListener(l *control.Listener) {
	if s.leaving.listeners[l]--; s.leaving.listeners[l] > 0 {
		return
	}
	delete(s.leaving.listeners, l)
	s.drop(l.FilterHeld)
	s.drop(l.LogHeld)
}
