package server

import (
	"fmt"

	"millrace/cmd/internal/control"
	"millrace/engine/stats"
)

// secureCluster gives a cluster with "tls" what it needs to speak it: that of the cluster it replaces, if nothing differs.
func (b *building) secureCluster(c, old *control.Cluster) error {
	cfg := c.Config
	switch {
	case cfg.TLS == nil:
		return nil
	case old != nil && old.Config.TLS != nil && cfg.SameTLS(old.Config):
		c.TLS, c.Held = old.TLS, old.Held
		return nil
	}
	client, err := b.server.tls.certs.Client(cfg.TLS)
	if err != nil {
		return fmt.Errorf("cluster %q: tls: %w", c.Name, err)
	}
	client.UsedBy("cluster " + c.Name)
	c.TLS, c.Held = client, b.hold()
	c.Held.Close = append(c.Held.Close, client.Close)
	b.server.registerCertificates(stats.ClusterScope(cfg.StatName()), cfg.TLS.Certificates, c.Held)
	return nil
}

// leaveClusters lets go of what clusters have kept open that were changed or removed: what still drains has what it needs.
func (s *Server) leaveClusters(changes []control.ClusterChange) {
	for i := range changes {
		c := &changes[i]
		if c.Old == nil || c.Old.Held == nil || c.New != nil && c.New.Held == c.Old.Held {
			continue
		}
		s.drop(c.Old.Held)
	}
}
