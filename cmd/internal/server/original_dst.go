package server

import (
	"context"
	"time"

	"millrace/cmd/internal/control"
)

// awaitSweep has the destinations of a cluster swept after its cleanup_interval. That goes on while there are any.
//
// Precondition: called on the control goroutine.
func (s *Server) awaitSweep(c *control.Cluster) {
	name := c.Name
	if c.Destinations == nil || len(c.Hosts()) == 0 || s.sweeps[name] {
		return
	}
	s.sweeps[name] = true
	time.AfterFunc(c.Config.CleanupInterval, func() {
		_ = s.control.Do(context.Background(), func() error { s.sweepDestinations(name); return nil }) // fails only at the end
	})
}

// sweepDestinations lets go of the destinations that nobody has used for a while.
func (s *Server) sweepDestinations(name string) {
	delete(s.sweeps, name)
	c := s.snapshot.Load().Cluster(name)
	if c == nil || c.Destinations == nil {
		return // it is gone meanwhile
	}
	if c.Destinations.Sweep() {
		s.rebuildHosts(map[string]bool{name: true})
		return
	}
	s.awaitSweep(c)
}
