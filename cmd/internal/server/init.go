package server

import (
	"context"
	"slices"
	"sync"
	"time"
)

// initMax bounds how long listeners wait at the start for what they need to serve well. What has not come by then may
// come later.
const initMax = 15 * time.Second

// An initManager is what the start waits for before the listeners accept: a first round of health checks, a first answer
// of DNS. Any goroutine may use it.
type initManager struct {
	done chan struct{} // closed when there is nothing to wait for any more

	mu     sync.Mutex
	left   []string // what is waited for, sorted neither way
	sealed bool     // the configuration is in force: whoever had to register has done so
	over   bool     // done is closed
}

func newInitManager() *initManager { return &initManager{done: make(chan struct{})} }

// waitFor makes the listeners wait until the function it returns has been called, once or more often. After the start it
// does nothing. What is waited for appears in the log if it does not come in time.
func (m *initManager) waitFor(what string) (done func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over {
		return func() {}
	}
	m.left = append(m.left, what)
	return sync.OnceFunc(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if i := slices.Index(m.left, what); i >= 0 {
			m.left = slices.Delete(m.left, i, i+1)
		}
		m.check()
	})
}

// seal says that nothing registers any more but on behalf of what is waited for.
func (m *initManager) seal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sealed = true
	m.check()
}

// check ends the waiting if nothing is left.
func (m *initManager) check() {
	if m.sealed && len(m.left) == 0 && !m.over {
		m.over = true
		close(m.done)
	}
}

// giveUp ends the waiting and returns what had not come.
func (m *initManager) giveUp() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	left := m.left
	m.left, m.sealed = nil, true
	m.check()
	return left
}

// isOver reports whether the listeners wait no more.
func (m *initManager) isOver() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.over
}

// initialize lets the listeners accept once what they need is there. If it is not yet, that happens later: signals and
// the admin port do not wait.
func (s *Server) initialize(ctx context.Context) error {
	s.initial.seal()
	if s.initial.isOver() {
		return s.open()
	}
	s.closers.Go(func() {
		timer := time.NewTimer(initMax)
		defer timer.Stop()
		select {
		case <-s.initial.done:
		case <-timer.C:
			if left := s.initial.giveUp(); len(left) > 0 {
				s.log.Warn("listeners accept without having waited any longer", "first", left[0], "count", len(left))
			}
		case <-ctx.Done():
			return
		}
		_ = s.open() // or the process ends
	})
	return nil
}

// open lets the listeners accept.
func (s *Server) open() error {
	return s.control.Do(context.Background(), func() error {
		if err := s.flushHosts(); err != nil { // what the first round has found reaches the loops before the first request
			return err
		}
		each(s, func(w *worker) error { w.open(); return nil })
		s.live.Store(true)
		s.tls.acme.Start()
		s.logStart()
		return nil
	})
}

// open lets the listeners of the loop accept, those that come later too.
func (w *worker) open() {
	w.accepting = true
	for _, ls := range w.sockets {
		ls.Resume()
	}
	for _, sv := range w.serving {
		w.attach(sv)
	}
}
