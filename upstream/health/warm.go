package health

import "millrace/upstream"

// Warm checks hosts of a cluster that is not in force yet, beside those of the one of its name that is, and calls f once all
// of them have been checked. Called again it goes on with other hosts. Cool ends it.
func (s *Scheduler) Warm(c *upstream.Cluster, hosts []*upstream.Host, f func()) {
	s.mu.Lock()
	cl := s.warm[c.Name]
	if cl == nil {
		cl = newCluster(s.ctx, c, &Stats{})
		s.warm[c.Name] = cl
	}
	cl.waiting = append(cl.waiting, f)
	calls := s.setHosts(cl, hosts)
	s.mu.Unlock()
	call(calls)
}

// Cool ends what Warm has begun. The hosts keep the health that was found.
func (s *Scheduler) Cool(cluster string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.warm[cluster]; c != nil {
		s.end(c)
		delete(s.warm, cluster)
	}
}
