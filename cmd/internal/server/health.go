package server

import (
	"millrace/cmd/internal/control"
	"millrace/upstream"
)

// setChecks brings active health checks and outlier detection in line with changed clusters. At the start the listeners wait for their first
// round.
//
// Precondition: called on the control goroutine, when the changes are in force and counted.
func (s *Server) setChecks(changes []control.ClusterChange) {
	for i := range changes {
		c := &changes[i]
		if c.Action == control.Removed {
			s.health.Remove(c.Old.Name)
			s.outliers.Remove(c.Old.Name)
			continue
		}
		checked := c.New.Config.HealthCheck() != nil
		if checked || c.Old != nil && c.Old.Config.HealthCheck() != nil {
			s.health.Set(c.New.Cluster, &s.clusterSets[c.New.Name].checks)
		}
		if c.New.Config.OutlierDetection != nil || c.Old != nil && c.Old.Config.OutlierDetection != nil {
			s.outliers.Set(c.New.Cluster, &s.clusterSets[c.New.Name].outliers)
		}
		if checked {
			s.awaitRound(c.New.Cluster)
		}
	}
}

// checkHosts brings active health checks and outlier detection in line with changed hosts.
//
// Precondition: called on the control goroutine.
func (s *Server) checkHosts(c *upstream.Cluster) {
	if c.Config.OutlierDetection != nil {
		s.outliers.SetHosts(c.Name, c.Hosts())
	}
	if c.Config.HealthCheck() != nil {
		s.health.SetHosts(c.Name, c.Hosts())
		s.awaitRound(c)
	}
}

// awaitRound makes the listeners wait, at the start, until all hosts that a cluster has now have been checked.
func (s *Server) awaitRound(c *upstream.Cluster) {
	if c.Config.WaitForWarmOnInit && !s.initial.isOver() {
		s.health.FirstRound(c.Name, s.initial.waitFor("health checks of cluster "+c.Name))
	}
}
