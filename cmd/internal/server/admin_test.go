package server

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/cmd/internal/admin"
	"millrace/engine"
	"millrace/upstream"
)

// page returns a page of the admin port.
func (r *running) page(path string) string {
	r.t.Helper()
	client := &http.Client{Timeout: waitMax, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + r.AdminAddr() + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

// withAdmin adds an admin port to a configuration.
func withAdmin(text string) string {
	return strings.Replace(text, "{", `{"admin": {"address": "127.0.0.1:0"}, `, 1)
}

// TestListenersInEachState: active, replaced with connections left, draining.
func TestListenersInEachState(t *testing.T) {
	a := freeAddr(t)
	conf := func(limit int) string {
		return strings.Replace(withAdmin(whole([]string{says("a", a, "x", fmt.Sprintf(`"per_connection_buffer_limit_bytes": %d,`, limit), `"drain_timeout": "1h",`)})), "300ms", "1h", 1)
	}
	r := start(t, conf(4096))
	want := func(states ...string) {
		t.Helper()
		var got []string
		for _, l := range r.adminListeners() {
			got = append(got, l.Name+" "+l.Address+" "+l.State)
		}
		if !slices.Equal(got, states) {
			t.Errorf("listeners %q, want %q", got, states)
		}
	}
	want("a " + a + " active")
	c, err := net.Dial("tcp", a)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(waitMax))
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if n, err := c.Read(make([]byte, 4096)); n == 0 {
		t.Fatal(err)
	}
	r.mustLoad(conf(8192))
	want("a "+a+" active", "a "+a+" draining")
	if got := r.page("/listeners"); got != "a::"+a+"\n" {
		t.Errorf("/listeners is %q", got)
	}
	if got := r.page("/listeners?format=json"); strings.Count(got, `"draining"`) != 1 || strings.Count(got, `"active"`) != 1 {
		t.Errorf("/listeners?format=json is %s", got)
	}
	if n := r.statOf("listener_manager.total_listeners_draining"); n != 1 {
		t.Errorf("total_listeners_draining = %d, want 1", n)
	}
	c.Close()
	if err := r.drainListeners(admin.DrainOptions{Graceful: true, SkipExit: true}); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return len(r.retiring()) == 0 }) {
		t.Error("the replaced listener is still there")
	}
	want("a " + a + " draining")
}

func TestClustersShowHealth(t *testing.T) {
	r := start(t, withAdmin(whole(nil, cluster("web", "127.0.0.1:9"))))
	h := r.snapshot.Load().Cluster("web").Hosts()[0]
	for _, tt := range []struct {
		flags upstream.HealthFlag
		want  string
	}{
		{0, "healthy"},
		{upstream.FailedActiveCheck, "/failed_active_hc"},
		{upstream.FailedOutlier | upstream.FailedDiscovery, "/failed_outlier_check/failed_eds_health"},
	} {
		for _, f := range []upstream.HealthFlag{upstream.FailedActiveCheck, upstream.FailedOutlier, upstream.FailedDiscovery} {
			h.SetHealth(f, tt.flags&f != 0)
		}
		if got := r.page("/clusters"); !strings.Contains(got, "web::127.0.0.1:9::health_flags::"+tt.want+"\n") {
			t.Errorf("flags %d: want health_flags::%s in\n%s", tt.flags, tt.want, got)
		}
	}
}

// TestBreakerGauges: the gauges of circuit breakers follow budget and name of their cluster.
func TestBreakerGauges(t *testing.T) {
	conf := func(alt string, conns int) string {
		return withAdmin(whole(nil, fmt.Sprintf(
			`{"name": "web", "alt_stat_name": %q, "hosts": ["127.0.0.1:9"], "circuit_breakers": {"max_connections": %d}}`, alt, conns)))
	}
	r := start(t, conf("", 2))
	const prefix = "cluster.web.circuit_breakers.default."
	want := func(name string, n int64) {
		t.Helper()
		if got := r.statOf(name); got != n {
			t.Errorf("%s = %d, want %d", name, got, n)
		}
	}
	want(prefix+"cx_open", 0)
	want(prefix+"remaining_cx", 2)
	b := r.snapshot.Load().Cluster("web").Budgets[upstream.Default]
	for b.TryConnection() {
	}
	want(prefix+"cx_open", 1)
	want(prefix+"remaining_cx", 0)
	want(prefix+"rq_retry_open", 0)
	want("cluster.web.circuit_breakers.high.remaining_retries", 3)
	const line = `envoy_cluster_circuit_breakers_default_cx_open{envoy_cluster_name="web"} 1`
	if got := r.page("/stats/prometheus"); !strings.Contains(got, line+"\n") {
		t.Errorf("/stats/prometheus does not have %s", line)
	}
	r.mustLoad(conf("", 3))
	want(prefix+"remaining_cx", 1)
	r.mustLoad(conf("shop", 3))
	for _, name := range []string{"circuit_breakers.default.cx_open", "membership_total", "upstream_rq_total"} {
		want("cluster.web."+name, -1)
		if r.statOf("cluster.shop."+name) < 0 {
			t.Errorf("cluster.shop.%s is missing", name)
		}
	}
	b.ReleaseConnection()
	b.ReleaseConnection()
	r.mustLoad(withAdmin(whole(nil)))
	for _, name := range []string{"circuit_breakers.default.cx_open", "membership_total", "upstream_rq_total"} {
		want("cluster.shop."+name, -1)
	}
}

// TestMemoryMax: the sum of docs/memory.md, as the log prints it.
func TestMemoryMax(t *testing.T) {
	log := fmt.Sprintf(`"access_log": [{"path": %q, "ring_size": "3MiB", "buffer_size": "1MiB"}],`, t.TempDir()+"/a.log")
	conf := func(limit string) string {
		return withAdmin(whole([]string{says("a", "127.0.0.1:0", "x", limit, log)}, cluster("web", "127.0.0.1:9")))
	}
	r := start(t, conf(""))
	loops, cfg := int64(len(r.workers)), engine.DefaultLoopConfig()
	m := r.memoryMax(r.snapshot.Load())
	wantSum := loops*(cfg.BlocksMax+int64(cfg.StageBytes)+int64(cfg.SplicePipesMax*cfg.SplicePipeBytes)+4<<20) + 1<<20 + admin.BytesMax
	if m.sum() != wantSum {
		t.Errorf("sum = %d, want %d", m.sum(), wantSum)
	}
	if want := int64(1<<20 + cfg.ScratchBytes); m.each != want || m.queues != loops*cfg.QueuedBytesMax {
		t.Errorf("each = %d, queues %d; want %d and the limit of the loops, %d", m.each, m.queues, want, loops*cfg.QueuedBytesMax)
	}
	if got := r.log.String(); !strings.Contains(got, `msg="memory at most" sum_mib=`) || !strings.Contains(got, "connection_queue_kib=1152") {
		t.Errorf("the log does not say it:\n%s", got)
	}
	small := int64(64<<10 + cfg.ScratchBytes)
	for _, tt := range []struct {
		limit string
		most  int // max_active_downstream_connections
		want  int64
	}{
		{`"connection_limit": 10,`, 0, 10 * small},
		{`"connection_limit": 10,`, 20, 10 * small},
		{`"connection_limit": 10,`, 5, 5 * small},
		{``, 5, 5 * small},
		{`"connection_limit": 10, "ignore_global_conn_limit": true,`, 5, 10 * small},
	} {
		r.mustLoad(strings.NewReplacer(
			`{"admin"`, fmt.Sprintf(`{"overload": {"max_active_downstream_connections": %d}, "admin"`, tt.most),
			`"hosts":`, `"per_connection_buffer_limit_bytes": "64KiB", "circuit_breakers": {"default": {"max_connections": 3}, "high": {"max_connections": 4}}, "hosts":`,
		).Replace(conf(tt.limit + `"per_connection_buffer_limit_bytes": "64KiB",`)))
		if m = r.memoryMax(r.snapshot.Load()); m.queues != tt.want+7*small {
			t.Errorf("%s and %d in all: queues = %d, want %d", tt.limit, tt.most, m.queues, tt.want+7*small)
		}
	}
	r.mustLoad(whole([]string{forwardsUDP("u", "127.0.0.1:0", "web", "1s")}, cluster("web", "127.0.0.1:9")))
	if m = r.memoryMax(r.snapshot.Load()); m.udp != loops*engine.PacketBytesMax+10_000*udpSessionBytes {
		t.Errorf("UDP takes %d", m.udp)
	}
}
