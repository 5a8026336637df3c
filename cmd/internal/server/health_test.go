package server

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"millrace/cmd/internal/admin"
	"millrace/upstream"
)

// checked is a configuration of one listener and one cluster with health checks.
func checked(checks string, hosts ...string) string {
	return `{"listeners": [{"name": "l", "address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {
		"route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "web"}}]}}}]}],
		"clusters": [{"name": "web", "hosts": ["` + strings.Join(hosts, `", "`) + `"]` + checks + `}]}`
}

const fastChecks = `, "health_checks": [{"type": "http", "path": "/healthz", "interval": "10ms", "no_traffic_interval": "10ms", "timeout": "10s"}]`

// checkedOrigin answers health checks with a status, 0 for not before the test is over, and counts them.
func checkedOrigin(t *testing.T) (addr string, status, asked *atomic.Int64) {
	t.Helper()
	status, asked = &atomic.Int64{}, &atomic.Int64{}
	status.Store(200)
	over := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			fmt.Fprint(w, "page")
			return
		}
		asked.Add(1)
		if status.Load() == 0 {
			<-over
		}
		w.WriteHeader(int(max(status.Load(), 200)))
	}))
	t.Cleanup(func() { close(over); s.Close() })
	return s.Listener.Addr().String(), status, asked
}

// comesAbout waits until a condition holds.
func comesAbout(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if !eventually(ok) {
		t.Fatalf("%s did not come about", what)
	}
}

// TestStartWaitsForChecks: nothing is accepted, and the state says so, before the first round of checks.
func TestStartWaitsForChecks(t *testing.T) {
	t.Parallel()
	addr, status, asked := checkedOrigin(t)
	status.Store(0)
	r := start(t, checked(`, "health_checks": [{"type": "http", "path": "/healthz", "timeout": "500ms"}]`, addr))
	comesAbout(t, "the first check", func() bool { return asked.Load() > 0 })
	if r.state() != admin.StateInitializing {
		t.Errorf("state %v during the first round", r.state())
	}
	r.wantStat("listener_manager.total_listeners_warming", 1)
	if got := r.get("l"); got != "page" { // in a panic all hosts are used
		t.Errorf("answer %q", got)
	}
	if r.state() != admin.StateLive {
		t.Errorf("state %v after it", r.state())
	}
	r.wantStat("listener_manager.total_listeners_warming", 0)
	r.wantStat("cluster.web.health_check.network_failure", 1)
	r.wantStat("cluster.web.membership_healthy", 0)
}

// TestCloseWhileInitializing: the end does not wait for checks.
func TestCloseWhileInitializing(t *testing.T) {
	t.Parallel()
	addr, status, asked := checkedOrigin(t)
	status.Store(0)
	r := start(t, checked(`, "health_checks": [{"type": "http", "path": "/healthz", "timeout": "1h"}]`, addr))
	comesAbout(t, "the first check", func() bool { return asked.Load() > 0 })
	r.mustLoad(checked(`, "connect_timeout": "1s", "health_checks": [{"type": "http", "path": "/healthz", "timeout": "1h"}]`, addr))
	c, err := net.Dial("tcp", r.ListenerAddr("l"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r.Drain()
}

// TestHealthReload: what does not concern the checks does not touch them, and they come and go with the configuration.
func TestHealthReload(t *testing.T) {
	t.Parallel()
	addr, status, _ := checkedOrigin(t)
	r := start(t, checked(fastChecks, addr))
	h := r.snapshot.Load().Cluster("web").Hosts()[0]
	comesAbout(t, "the first check", h.Healthy)
	r.wantStat("cluster.web.health_check.healthy", 1)
	r.mustLoad(checked(fastChecks+`, "connect_timeout": "2s"`, addr))
	if r.snapshot.Load().Cluster("web").Hosts()[0] != h || !h.Healthy() {
		t.Error("the host began anew")
	}
	status.Store(503)
	r.wantStat("cluster.web.membership_healthy", 0)
	if got := r.get("l"); got != "page" {
		t.Errorf("in a panic: %q", got)
	}
	if f := healthFlags(h.Health()); len(f) != 1 || f[0] != "/failed_active_hc" {
		t.Errorf("flags %q", f)
	}
	r.mustLoad(checked("", addr))
	r.wantStat("cluster.web.membership_healthy", 1)
	r.wantStat("cluster.web.health_check.healthy", -1)
	r.mustLoad(checked(fastChecks, addr))
	r.wantStat("cluster.web.membership_healthy", 0)
	r.mustLoad(`{"listeners": [], "clusters": []}`)
	if names := r.health.Clusters(); len(names) != 0 {
		t.Errorf("checks of %q go on", names)
	}
}

// TestHealthOfNewHosts: a host that joins is not used before its first check.
func TestHealthOfNewHosts(t *testing.T) {
	t.Parallel()
	addr, _, _ := checkedOrigin(t)
	other, status, asked := checkedOrigin(t)
	status.Store(0)
	r := start(t, checked(fastChecks+`, "ignore_new_hosts_until_first_hc": true`, addr))
	r.wantStat("cluster.web.membership_healthy", 1)
	err := r.control.Do(t.Context(), func() error {
		return r.setHosts("web", []upstream.HostConfig{{Address: addr, Weight: 1}, {Address: other, Weight: 1}})
	})
	if err != nil {
		t.Fatal(err)
	}
	comesAbout(t, "the first check of the new host", func() bool { return asked.Load() > 0 })
	r.wantStat("cluster.web.membership_excluded", 1)
	h := r.snapshot.Load().Cluster("web").Hosts()[1]
	if f := healthFlags(h.Health()); fmt.Sprint(f) != "[/failed_active_hc /pending_active_hc]" {
		t.Errorf("flags of the new host: %q", f)
	}
}
