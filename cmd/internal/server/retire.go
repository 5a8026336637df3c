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

// retire notes the listeners whose chains drain on every loop now: their logs stay open meanwhile.
func (s *Server) retire(diff *control.Diff) {
	for i := range diff.Listeners {
		if c := &diff.Listeners[i]; c.Retires() {
			s.leaving[c.Old] = len(s.workers)
		}
	}
	s.publishRetired()
}

// publishRetired shows the retired listeners to the admin port.
func (s *Server) publishRetired() {
	list := slices.Collect(maps.Keys(s.leaving))
	s.retired.Store(&list)
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
	type swept struct {
		released []*control.Listener
		left     bool
	}
	again := false
	for _, a := range each(s, func(w *worker) swept {
		released := w.sweep(now)
		return swept{released, len(w.retired)+len(w.leaving) > 0}
	}) {
		for _, l := range a.released {
			s.release(l)
		}
		again = again || a.left
	}
	s.registerSets()
	s.publishRetired()
	if again {
		s.sweeper.Reset(max(sweepEveryMin, min(sweepEvery, s.snapshot.Load().DrainTime)))
	}
}

// release closes the logs of a retired listener when its last loop has released it.
func (s *Server) release(l *control.Listener) {
	if s.leaving[l]--; s.leaving[l] > 0 {
		return
	}
	delete(s.leaving, l)
	s.closers.Go(func() { closeLogs(l.Logs) }) // a file may not take its lines for a while
}
