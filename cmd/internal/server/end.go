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

// Signals returns the signals a process is sent. It is called before Start, so that one that comes
// early waits instead of ending the process.
func Signals() chan os.Signal {
	signal.Ignore(syscall.SIGPIPE) // a log nobody reads any more must not end the proxy
	ch := make(chan os.Signal, 8)
	signal.Notify(ch, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGTERM, syscall.SIGINT)
	return ch
}

// Quit begins to end the process at once.
func (s *Server) Quit() { s.quitOnce.Do(func() { close(s.quit) }) }

// Wait serves until the process is to end, and handles signals meanwhile: SIGHUP reloads,
// SIGUSR1 reopens logs, SIGTERM and SIGINT drain, and a second one of these ends at once.
func (s *Server) Wait(signals <-chan os.Signal) {
	var drained chan struct{}
	for {
		select {
		case <-s.quit:
			return
		case <-drained:
			return
		case sig := <-signals:
			switch sig {
			case syscall.SIGHUP:
				s.hup()
			case syscall.SIGUSR1:
				_ = s.ReopenLogs()
				s.log.Info("reopened logs")
			default:
				if drained != nil {
					s.log.Info("second signal: leaving now", "connections", s.openConnections())
					return
				}
				drained = make(chan struct{})
				go func() {
					defer close(drained)
					s.Drain()
				}()
			}
		}
	}
}

// hup reloads, without waiting for it. Signals that come while one waits for its turn are one.
func (s *Server) hup() {
	if !s.reloading.CompareAndSwap(false, true) {
		return
	}
	go func() {
		_ = s.control.Do(context.Background(), func() error { s.reloading.Store(false); return nil })
		s.Reload(context.Background())
	}()
}

// Drain stops accepting once what is queued has been accepted, asks every connection to end, and
// returns when none is left, the drain time is over or Quit was called.
func (s *Server) Drain() {
	limit := s.snapshot.Load().DrainTime
	s.log.Info("draining", "connections", s.openConnections(), "drain_time", limit.String())
	s.setDraining(false)
	err := s.control.Do(context.Background(), func() error {
		_ = s.stopListening(false)
		each(s, func(w *worker) error { w.drain(); return nil })
		return nil
	})
	begun := time.Now()
	for err == nil && time.Since(begun) < limit && (time.Since(begun) < 2*socketLinger || s.openConns() > 0) {
		select {
		case <-time.After(drainPoll):
		case <-s.quit:
			return
		}
	}
	s.log.Info("drained", "connections_left", s.openConnections())
}

// stopListening closes the listening sockets, or those of inbound listeners, after the last connection that is queued
// on them.
//
// Precondition: called on the control goroutine.
func (s *Server) stopListening(inboundOnly bool) error {
	if s.stopped || inboundOnly && s.inboundStopped {
		return nil
	}
	if !inboundOnly {
		s.dropWarming(errDraining)
	}
	snap := s.snapshot.Load()
	for _, l := range snap.Listeners {
		if !s.isStopped(l) && (l.Inbound || !inboundOnly) {
			s.counts.listeners.Stopped.Inc()
		}
	}
	s.stopped, s.inboundStopped = !inboundOnly, true
	if !inboundOnly {
		removeSocketFiles(snap, nil)
	}
	each(s, func(w *worker) error { w.stopListening(inboundOnly); return nil })
	return nil
}

// openConns counts the connections and UDP sessions of all loops, also those that only wait until their last bytes are
// taken.
func (s *Server) openConns() (n int) {
	for _, k := range each(s, func(w *worker) int { return w.loop.Conns() + w.sessions() }) {
		n += k
	}
	return n
}
