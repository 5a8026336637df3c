package server

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"millrace/cmd/internal/admin"
)

// byName is a cluster whose one host is found by a resolver. more goes into it.
func byName(cluster, port, resolver, more string) string {
	return fmt.Sprintf(`{"name": %q, "type": "strict_dns", "hosts": ["app.test:%s"], "dns_resolvers": [%q], "dns_lookup_family": "v4_only", "dns_refresh_rate": "20ms"%s}`,
		cluster, port, resolver, more)
}

// loading is a load that is under way: its report comes when it is in force, or will never be.
func (r *running) loading(text string) <-chan admin.Report {
	r.t.Helper()
	r.opt.Text = []byte(text)
	reports := make(chan admin.Report, 1)
	if err := r.control.Do(r.t.Context(), func() error { r.reload(reports); return nil }); err != nil {
		r.t.Fatal(err)
	}
	return reports
}

// wantWarming checks which clusters and listeners are waited for.
func (r *running) wantWarming(clusters, listeners []string) {
	r.t.Helper()
	w := r.configStatus().Warming
	if w == nil || !slices.Equal(w.Clusters, clusters) || !slices.Equal(w.Listeners, listeners) || w.Hash == r.configStatus().Hash {
		r.t.Fatalf("warming %+v; want clusters %q and listeners %q", w, clusters, listeners)
	}
	r.wantStat("cluster_manager.warming_clusters", int64(len(clusters)))
	r.wantStat("listener_manager.total_listeners_warming", int64(len(listeners)))
}

// wantWarm checks that nothing is waited for.
func (r *running) wantWarm() {
	r.t.Helper()
	if w := r.configStatus().Warming; w != nil {
		r.t.Errorf("warming %+v", w)
	}
	r.wantStat("cluster_manager.warming_clusters", 0)
	r.wantStat("listener_manager.total_listeners_warming", 0)
}

// TestReloadWarmsNames: a cluster whose name nobody has resolved so far takes no requests; the configuration before serves
// until there is an answer.
func TestReloadWarmsNames(t *testing.T) {
	t.Parallel()
	d, resolver := serveDNS(t)
	d.set("127.0.0.1")
	_, port, _ := net.SplitHostPort(origin(t, "new"))
	at := freeAddr(t)
	r := start(t, whole([]string{forwards("front", at, "web", "")}, cluster("web", origin(t, "old"))))
	d.mu.Lock() // no answer from here on
	reports := r.loading(whole([]string{forwards("front", at, "names", "")}, byName("names", port, resolver, "")))
	r.wantWarming([]string{"names"}, []string{"front"})
	comesAbout(t, "a question", func() bool { return d.asked.Load() > 0 })
	r.wantGet("front", "old")
	d.mu.Unlock()
	if rep := <-reports; !rep.Applied || rep.Warmed != 1 || rep.WarmedFor <= 0 || rep.WarmedFor > rep.Took || len(rep.Warnings) != 0 {
		t.Errorf("report %+v", rep)
	}
	r.wantGet("front", "new") // at once
	r.wantWarm()

	// A reload that does not change where hosts come from waits for nothing.
	d.mu.Lock()
	rep := r.mustLoad(whole([]string{forwards("front", at, "names", "")}, byName("names", port, resolver, `, "connect_timeout": "1s"`)))
	if rep.Warmed != 0 {
		t.Errorf("report %+v", rep)
	}
	// Nor does one of a cluster that is not to be waited for.
	rep = r.mustLoad(whole([]string{forwards("front", at, "names", "")}, byName("names", port, resolver, `, "dns_jitter": "1ms", "wait_for_warm_on_init": false`)))
	if rep.Warmed != 0 {
		t.Errorf("report %+v", rep)
	}
	d.mu.Unlock()
	r.wantGet("front", "new")
}

// TestReloadWarmsChecks: a host that is new in a cluster with health checks is checked before requests find only it.
func TestReloadWarmsChecks(t *testing.T) {
	t.Parallel()
	first, _, _ := checkedOrigin(t)
	second, status, asked := checkedOrigin(t)
	const slow = `, "health_checks": [{"type": "http", "path": "/healthz", "interval": "10ms", "no_traffic_interval": "10ms", "timeout": "500ms"}]`
	r := start(t, checked(slow, first))
	comesAbout(t, "the start", r.live.Load)
	status.Store(0) // no answer: the check times out
	reports := r.loading(checked(slow, second))
	r.wantWarming([]string{"web"}, nil)
	comesAbout(t, "a check", func() bool { return asked.Load() > 0 })
	if h := r.snapshot.Load().Cluster("web").Hosts(); len(h) != 1 || h[0].Name != first {
		t.Errorf("hosts %v while the new one is checked", h)
	}
	if rep := <-reports; !rep.Applied || rep.Warmed != 1 { // one round, whatever comes of it
		t.Errorf("report %+v", rep)
	}
	r.wantStat("cluster.web.membership_healthy", 0)
	r.wantWarm()

	r = start(t, checked(slow, first))
	comesAbout(t, "the start", r.live.Load)
	status.Store(200)
	if rep := r.mustLoad(checked(slow, first, second)); rep.Warmed != 1 {
		t.Errorf("report %+v", rep)
	}
	if hs := r.snapshot.Load().Cluster("web").HostSet(); hs.Healthy() != 2 {
		t.Errorf("%d hosts are well as the configuration comes into force", hs.Healthy())
	}
}

// TestReloadWarmsBoth: hosts are found, then checked.
func TestReloadWarmsBoth(t *testing.T) {
	t.Parallel()
	d, resolver := serveDNS(t)
	d.set("127.0.0.1")
	addr, _, asked := checkedOrigin(t)
	_, port, _ := net.SplitHostPort(addr)
	r := start(t, checked(fastChecks, addr))
	comesAbout(t, "the start", r.live.Load)
	changed := strings.Replace(checked("", addr), fmt.Sprintf(`{"name": "web", "hosts": [%q]}`, addr), byName("web", port, resolver, fastChecks), 1)
	before := asked.Load()
	if rep := r.mustLoad(changed); rep.Warmed != 1 {
		t.Errorf("report %+v", rep)
	}
	if hs := r.snapshot.Load().Cluster("web").HostSet(); hs.Healthy() != 1 || hs.Hosts[0].Hostname != "app.test" || asked.Load() == before {
		t.Errorf("hosts %v, %d well, %d checks", hs.Hosts, hs.Healthy(), asked.Load()-before)
	}
}

// TestReloadSuperseded: a load that waits gives way to the next one, not to one that is refused.
func TestReloadSuperseded(t *testing.T) {
	t.Parallel()
	d, resolver := serveDNS(t)
	d.set("127.0.0.1")
	d.mu.Lock()
	_, port, _ := net.SplitHostPort(origin(t, "found"))
	at := freeAddr(t)
	front := func(cluster string) []string { return []string{forwards("front", at, cluster, "")} }
	r := start(t, whole(front("web"), cluster("web", origin(t, "old"))))
	first := r.loading(whole(front("one"), byName("one", port, resolver, "")))
	if rep := r.load(whole(front("nowhere"))); rep.Applied || len(rep.Errors) == 0 {
		t.Errorf("a file with a mistake: %+v", rep)
	}
	r.wantWarming([]string{"one"}, []string{"front"})
	second := r.loading(whole(front("two"), byName("two", port, resolver, ""), byName("three", port, resolver, "")))
	if rep := <-first; rep.Applied || !rep.Dropped || len(rep.Errors) != 1 {
		t.Errorf("the load that was superseded: %+v", rep)
	}
	r.wantWarming([]string{"three", "two"}, []string{"front"})
	if rep := r.mustLoad(whole(front("web"), cluster("web", origin(t, "newest")))); rep.Warmed != 0 {
		t.Errorf("report %+v", rep)
	}
	if rep := <-second; rep.Applied || !rep.Dropped {
		t.Errorf("the second load that was superseded: %+v", rep)
	}
	r.wantWarm()
	r.wantGet("front", "newest")
	d.mu.Unlock()
	if st := r.configStatus(); st.Loads != 5 || st.Refusals != 1 || !st.Last.Applied {
		t.Errorf("status %+v", st)
	}
	r.wantGet("front", "newest")
}

// TestReloadCold: a cluster that does not become warm in time is used as it is, and the report says so.
func TestReloadCold(t *testing.T) {
	t.Parallel()
	d, resolver := serveDNS(t)
	d.set("127.0.0.1")
	d.mu.Lock()
	_, port, _ := net.SplitHostPort(origin(t, "found"))
	at := freeAddr(t)
	r := start(t, whole(nil))
	reports := r.loading(whole([]string{forwards("front", at, "names", "")}, byName("names", port, resolver, "")))
	if err := r.control.Do(t.Context(), func() error { r.warming.install(); return nil }); err != nil { // as after initMax
		t.Fatal(err)
	}
	rep := <-reports
	if !rep.Applied || len(rep.Warnings) != 1 || !strings.Contains(rep.Warnings[0], `cluster "names": not warm after 15s`) {
		t.Errorf("report %+v", rep)
	}
	r.wantWarm()
	d.mu.Unlock()
	comesAbout(t, "an answer", func() bool { return r.get("front") == "found" })
}

// TestDrainWhileWarming: the end does not wait for clusters, and tells who does.
func TestDrainWhileWarming(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		end  func(r *running)
	}{{"drain", func(r *running) { r.Drain() }}, {"close", func(r *running) { r.Close() }}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, resolver := serveDNS(t)
			d.mu.Lock()
			defer d.mu.Unlock()
			r := start(t, whole(nil))
			reports := r.loading(whole([]string{forwards("front", freeAddr(t), "names", "")}, byName("names", "80", resolver, fastChecks)))
			tt.end(r)
			if rep := <-reports; rep.Applied || !rep.Dropped {
				t.Errorf("report %+v", rep)
			}
		})
	}
}
