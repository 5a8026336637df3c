package server

import (
	"context"
	"time"

	"millrace/cmd/internal/control"
)

// sweepEvery is how often retired chains and removed clusters are looked after while there are any.
const sweepEvery = time.Second

// retire notes the listeners whose chains drain on every loop now: their logs stay open meanwhile.
func (s *Server) retire(diff *control.Diff) {
	for i := range diff.Listeners {
		if c := &diff.Listeners[i]; c.Retires() {
			s.leaving[c.Old] = len(s.workers)
		}
	}
	s.retiring.Store(int64(len(s.leaving)))
}

// scheduleSweep makes the control goroutine look after what drains, soon.
func (s *Server) scheduleSweep() {
	if s.sweeping {
		return
	}
	s.sweeping = true
	wait := min(sweepEvery, s.snapshot.Load().DrainTime)
	s.sweeper = time.AfterFunc(wait, func() {
		_ = s.control.Do(context.Background(), func() error { s.sweep(); return nil }) // or the process ends
	})
}

// sweep ends what has drained for long enough and lets go of what has ended.
//
// Precondition: called on the control goroutine.
func (s *Server) sweep() {
	s.sweeping = false
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
	s.retiring.Store(int64(len(s.leaving)))
	if again {
		s.scheduleSweep()
	}
}

// release closes the logs of a retired listener when its last loop has released it.
func (s *Server) release(l *control.Listener) {
	if s.leaving[l]--; s.leaving[l] > 0 {
		return
	}
	delete(s.leaving, l)
	closeLogs(l.Logs)
}
