package server

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// drainPoll is how often a draining process looks whether connections are left.
const drainPoll = 20 * time.Millisecond

// Quit begins to end the process at once.
func (s *Server) Quit() { s.quitOnce.Do(func() { close(s.quit) }) }

// Wait serves until the process is to end, and handles signals meanwhile: SIGHUP reloads,
// SIGUSR1 reopens logs, SIGTERM and SIGINT drain, and a second one of these ends at once.
func (s *Server) Wait() {
	ch := make(chan os.Signal, 8)
	signal.Notify(ch, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(ch)
	ended := make(chan struct{})
	draining := false
	for {
		select {
		case <-s.quit:
			return
		case <-ended:
			return
		case sig := <-ch:
			switch sig {
			case syscall.SIGHUP:
				go s.Reload(context.Background())
			case syscall.SIGUSR1:
				_ = s.ReopenLogs()
				s.log.Info("reopened logs")
			default:
				if draining {
					s.log.Info("second signal: leaving now", "connections", s.connections())
					return
				}
				draining = true
				go s.Drain(ended)
			}
		}
	}
}

// Drain stops accepting once what is queued has been accepted, asks every connection to end, and
// closes ended when none is left or the drain time is over.
func (s *Server) Drain(ended chan<- struct{}) {
	defer close(ended)
	limit := s.snapshot.Load().DrainTime
	s.log.Info("draining", "connections", s.connections(), "drain_time", limit.String())
	s.draining.Store(true)
	_ = s.control.Do(context.Background(), func() {
		_ = s.onEach(func(w *worker) error { w.drain(false); return nil })
	})
	for end := time.Now().Add(limit); s.connections() > 0 && time.Now().Before(end); {
		time.Sleep(drainPoll)
	}
	s.log.Info("drained", "connections_left", s.connections())
}
