package server

import (
	"millrace/cmd/internal/config"
	"millrace/cmd/internal/control"
	"millrace/upstream"
)

// newLocal returns what zone-aware routing reckons with, nil without a local cluster. Only a restart changes its names.
func newLocal(cfg *config.Config) *upstream.Local {
	if cfg.ClusterManager.LocalClusterName == "" {
		return nil
	}
	return upstream.NewLocal(cfg.ClusterManager.LocalClusterName, cfg.Node.Locality)
}

// followLocal takes up the hosts of the local cluster of a snapshot, and returns the clusters that go by zones if these
// changed: the loops have to be told.
//
// Precondition: called on the control goroutine.
func (s *Server) followLocal(snap *control.Snapshot) (ids []upstream.ClusterID) {
	if s.local == nil {
		return nil
	}
	var local *upstream.Cluster
	if c := snap.Cluster(s.local.Name()); c != nil {
		local = c.Cluster
	}
	if !s.local.Update(local) {
		return nil
	}
	for _, c := range snap.Clusters {
		if c.Rezone() {
			ids = append(ids, c.ID)
		}
	}
	return ids
}
