package server

import (
	"context"
	"sync"
	"time"

	"millrace/cmd/internal/control"
	"millrace/upstream"
)

// hostsMergeTime is how long changes of health are gathered before the loops hear of them: a thousand hosts that flap
// make each cluster anew as often as this allows, and no more.
const hostsMergeTime = 20 * time.Millisecond

// hostChanges are the clusters whose hosts have changed their health, or that have come to have another destination, since
// the loops heard of them last. Any goroutine adds to it.
type hostChanges struct {
	mu    sync.Mutex
	names map[string]bool // of clusters
	due   bool            // flushHosts is on its way
}

// healthChanged has the loops told that hosts of a cluster are well or ill now: what SetHealth reported. It may be called
// on any goroutine, and returns at once.
func (s *Server) healthChanged(cluster string) {
	h := &s.hostChanges
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.names == nil {
		h.names = map[string]bool{}
	}
	h.names[cluster] = true
	if !h.due {
		h.due = true
		time.AfterFunc(hostsMergeTime, func() { _ = s.control.Do(context.Background(), s.flushHosts) }) // fails only at the end
	}
}

// flushHosts sorts the hosts of all clusters that healthChanged has named, and tells the loops.
func (s *Server) flushHosts() error {
	h := &s.hostChanges
	h.mu.Lock()
	names := h.names
	h.names, h.due = nil, false
	h.mu.Unlock()
	s.rebuildHosts(names)
	return nil
}

// rebuildHosts sorts the hosts of clusters anew and tells the loops.
func (s *Server) rebuildHosts(names map[string]bool) {
	snap := s.snapshot.Load()
	ids := make([]upstream.ClusterID, 0, len(names))
	for name := range names {
		c := snap.Cluster(name)
		if c == nil {
			continue // it is gone meanwhile
		}
		before := c.HostSet().Membership
		c.Rebuild()
		s.rebuilt(c, before)
		ids = append(ids, c.ID)
	}
	s.tellLoops(ids)
}

// rebuilt does what is due when the host set of a cluster is new, but tell the loops. before is what Membership was.
func (s *Server) rebuilt(c *control.Cluster, before uint64) {
	members := &s.clusterSets[c.Name].members
	members.Refresh(c.Cluster)
	if c.HostSet().Membership != before {
		members.Change.Inc()
		s.checkHosts(c.Cluster)
	}
	if c.Ramping() {
		s.slowStartLater(c.Name)
	}
	s.awaitSweep(c)
}

// tellLoops makes the loops take up the new host sets of clusters, and the new plans of others if the local cluster has
// changed.
func (s *Server) tellLoops(ids []upstream.ClusterID) {
	s.refreshHosts(append(ids, s.followLocal(s.snapshot.Load())...))
}

// setHosts replaces the hosts of a cluster of the running snapshot by what its source has found. Called on the control
// goroutine.
func (s *Server) setHosts(cluster string, hosts []upstream.HostConfig) error {
	c := s.snapshot.Load().Cluster(cluster)
	if c == nil {
		return nil // it is gone meanwhile
	}
	before := c.HostSet().Membership
	changed, err := c.SetHosts(hosts)
	if err != nil || !changed {
		return err
	}
	s.rebuilt(c, before)
	s.tellLoops([]upstream.ClusterID{c.ID})
	return nil
}

// refreshHosts makes the loops take up the host sets of clusters, a bounded number in a turn. It does not wait for them.
func (s *Server) refreshHosts(ids []upstream.ClusterID) {
	for len(ids) > 0 {
		n := min(len(ids), clustersPerTurn)
		part := ids[:n]
		ids = ids[n:]
		for _, w := range s.workers {
			w.loop.Post(func() {
				for _, id := range part {
					w.clusters.Refresh(id)
				}
			})
		}
	}
}
