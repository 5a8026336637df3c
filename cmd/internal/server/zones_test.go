package server

import (
	"fmt"
	"strings"
	"testing"

	"millrace/upstream"
)

// zoned is a configuration with so many proxies, and two hosts, in each of the zones a and b. The proxy is in a.
func zoned(local string, a, b int) string {
	var list []string
	for i := range a + b {
		zone := "a"
		if i >= a {
			zone = "b"
		}
		list = append(list, fmt.Sprintf(`{"address": "10.0.0.%d:80", "locality": {"zone": %q}}`, i+1, zone))
	}
	return `{"node": {"locality": {"zone": "a"}}, "cluster_manager": {"local_cluster_name": "` + local + `"}, "listeners": [], "clusters": [
		{"name": "proxies", "hosts": [` + strings.Join(list, ", ") + `]},
		{"name": "web", "zone_aware_lb_config": {"min_cluster_size": 2, "routing_enabled": 100}, "hosts": [
			{"address": "127.0.0.1:1", "locality": {"zone": "a"}}, {"address": "127.0.0.1:2", "locality": {"zone": "b"}}]}]}`
}

// picks has a loop pick n hosts of a cluster.
func (r *running) picks(cluster string, n int) {
	r.t.Helper()
	id, done := r.snapshot.Load().Cluster(cluster).ID, make(chan struct{})
	w := r.workers[0]
	w.loop.Post(func() {
		defer close(done)
		for range n {
			w.clusters.Cluster(id).Pick(&upstream.Pick{})
		}
	})
	<-done
}

// TestZonesFollowTheLocalCluster: a reload that changes the proxies changes what other clusters make of zones, and so does
// their health; the name of the local cluster stays until a restart.
func TestZonesFollowTheLocalCluster(t *testing.T) {
	t.Parallel()
	r := start(t, zoned("proxies", 1, 1))
	web := r.snapshot.Load().Cluster("web").HostSet()
	r.picks("web", 10)
	r.wantStat("cluster.web.lb_zone_routing_all_directly", 10)

	r.mustLoad(zoned("proxies", 3, 1)) // three quarters of the proxies, half of the hosts: two thirds stay
	r.picks("web", 300)
	r.wantStat("cluster.web.lb_zone_routing_all_directly", 10)
	sampled, cross := r.statOf("cluster.web.lb_zone_routing_sampled"), r.statOf("cluster.web.lb_zone_routing_cross_zone")
	if sampled+cross != 300 || sampled < 160 || sampled > 240 {
		t.Errorf("%d requests stay and %d go, want about 200 and 100", sampled, cross)
	}
	if now := r.snapshot.Load().Cluster("web").HostSet(); now == web || now.Membership != web.Membership {
		t.Error("the hosts of the other cluster are not the same ones with another plan")
	}

	for _, h := range r.snapshot.Load().Cluster("proxies").Hosts()[:2] {
		h.SetHealth(upstream.FailedActiveCheck, true) // one in each zone is left
	}
	before := r.snapshot.Load().Cluster("web").HostSet()
	r.healthChanged("proxies")
	if !eventually(func() bool { return r.snapshot.Load().Cluster("web").HostSet() != before }) {
		t.Fatal("the health of the proxies makes no difference")
	}
	if err := r.control.Do(t.Context(), func() error { return nil }); err != nil { // the loops have been told
		t.Fatal(err)
	}
	r.picks("web", 10)
	r.wantStat("cluster.web.lb_zone_routing_all_directly", 20)

	rep := r.mustLoad(strings.Replace(zoned("web", 1, 0), `"proxies"`, `"others"`, 1)) // the local cluster is gone
	if want := `cluster_manager.local_cluster_name: changed from "proxies" to "web"; this needs a restart`; len(rep.Warnings) != 1 || !strings.Contains(rep.Warnings[0], want) {
		t.Errorf("warnings %q, want %s", rep.Warnings, want)
	}
	r.picks("web", 10)
	r.wantStat("cluster.web.lb_zone_routing_all_directly", 20)
}

// TestSlowStartSteps: the weights of new hosts are computed anew until they are what was configured, and then no more.
func TestSlowStartSteps(t *testing.T) {
	t.Parallel()
	r := start(t, `{"listeners": [], "clusters": [{"name": "web", "hosts": ["127.0.0.1:1"],
		"round_robin_lb_config": {"slow_start_config": {"slow_start_window": "1s"}}}]}`)
	c := r.snapshot.Load().Cluster("web")
	steps := func() (n int) {
		if err := r.control.Do(t.Context(), func() error { n = len(r.slowStarts); return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if steps() != 0 {
		t.Error("hosts that begin together are in slow start")
	}
	err := r.control.Do(t.Context(), func() error {
		return r.setHosts("web", []upstream.HostConfig{{Address: "127.0.0.1:1", Weight: 1}, {Address: "127.0.0.1:2", Weight: 1}})
	})
	if err != nil || steps() != 1 {
		t.Fatalf("a new host: %v, %d clusters in slow start, want 1", err, steps())
	}
	if !eventually(func() bool { return steps() == 0 }) {
		t.Fatal("slow start does not end")
	}
	if b, _ := c.HostSet().Choose(0, &upstream.Pick{}); b.Weights != nil {
		t.Errorf("weights are %v after slow start, want equal ones", b.Weights)
	}
}
