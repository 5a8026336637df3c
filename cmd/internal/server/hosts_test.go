package server

import (
	"testing"

	"millrace/upstream"
)

// TestHostsChange: what changes the health of hosts, or the hosts themselves, reaches the loops and the counters.
func TestHostsChange(t *testing.T) {
	t.Parallel()
	r := start(t, `{"listeners": [], "clusters": [{"name": "web", "hosts": ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]}]}`)
	c := r.snapshot.Load().Cluster("web")
	c.Hosts()[0].SetHealth(upstream.FailedActiveCheck, true)
	c.Hosts()[1].SetHealth(upstream.DegradedActiveCheck, true)
	r.healthChanged("web")
	r.healthChanged("gone") // a cluster that a reload has removed
	r.wantStat("cluster.web.membership_healthy", 1)
	r.wantStat("cluster.web.membership_degraded", 1)
	first := c.HostSet()
	err := r.control.Do(t.Context(), func() error {
		return r.setHosts("web", []upstream.HostConfig{{Address: "127.0.0.1:2", Weight: 1}, {Address: "127.0.0.1:4", Weight: 1}})
	})
	if err != nil || len(c.Hosts()) != 2 || c.Hosts()[0] != first.Hosts[1] {
		t.Errorf("setHosts: %v, hosts %v", err, c.Hosts())
	}
	r.wantStat("cluster.web.membership_total", 2)
	r.wantStat("cluster.web.membership_change", 2)
	if err := r.control.Do(t.Context(), func() error { return r.setHosts("gone", nil) }); err != nil {
		t.Errorf("setHosts of a cluster that is gone: %v", err)
	}
	for _, w := range r.workers {
		answers := make(chan *upstream.Host, 1)
		w.loop.Post(func() { answers <- w.clusters.Cluster(c.ID).Pick(&upstream.Pick{}) })
		if h := <-answers; h == nil || !c.HostSet().Has(h) {
			t.Errorf("loop %d picks a host that is gone", w.loop.Index())
		}
	}
}
