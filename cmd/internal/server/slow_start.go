package server

import (
	"context"
	"time"
)

// slowStartStep is how often the weights of hosts in slow start follow the time.
const slowStartStep = time.Second

// slowStartLater has the weights of a cluster computed once more. All clusters with hosts in slow start move in one step;
// while there is none, nothing happens.
//
// Precondition: called on the control goroutine.
func (s *Server) slowStartLater(cluster string) {
	if len(s.slowStarts) == 0 {
		s.slowStarts = map[string]bool{}
		time.AfterFunc(slowStartStep, func() { _ = s.control.Do(context.Background(), s.stepSlowStart) }) // fails only at the end
	}
	s.slowStarts[cluster] = true
}

// stepSlowStart moves all clusters on that are in slow start.
func (s *Server) stepSlowStart() error {
	names := s.slowStarts
	s.slowStarts = nil
	s.rebuildHosts(names)
	return nil
}
