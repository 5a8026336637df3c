package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestMirrorUnderTraffic: a host of copies that is stopped, killed or slow changes nothing for clients.
func TestMirrorUnderTraffic(t *testing.T) {
	t.Parallel()
	var direct atomic.Int64
	main := origin(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Host, "shadow") {
			t.Errorf("host %s", r.Host)
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		direct.Add(1)
		fmt.Fprint(w, "page")
	})
	stopped, killed := processOrigin(t, "127.0.0.1:0"), processOrigin(t, "127.0.0.1:0")
	slow := origin(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	p := startProxy(t, fmt.Sprintf(`{"listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {"stat_prefix": "edge",
		"route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c", "timeout": "1s", "request_mirror_policies": [
			{"cluster": "stopped"}, {"cluster": "killed"}, {"cluster": "slow"}]}}]}}}]}],
		"clusters": [{"name": "c", "hosts": [%q]}, {"name": "stopped", "hosts": [%q]}, {"name": "killed", "hosts": [%q]}, {"name": "slow", "hosts": [%q]}]}`,
		main, stopped.addr(""), killed.addr(""), slow))
	if resp, err := http.Get(p.url("/")); err != nil || bodyOf(t, resp) != "page" {
		t.Fatal(err)
	}
	for _, c := range []string{"stopped", "killed"} {
		p.wantStat("cluster."+c+".upstream_rq_2xx", 1)
	}
	stopped.signal(syscall.SIGSTOP)
	defer stopped.signal(syscall.SIGCONT)
	_ = killed.cmd.Process.Kill()
	stop := traffic(t, p.url("/"))
	begun := time.Now()
	const body = 100_000
	slowest := time.Duration(0)
	for time.Since(begun) < 1500*time.Millisecond {
		at := time.Now()
		resp, err := http.Post(p.url("/"), "text/plain", strings.NewReader(strings.Repeat("x", body)))
		if err != nil {
			t.Fatal(err)
		}
		if got := bodyOf(t, resp); got != "page" {
			t.Errorf("status %d: %s", resp.StatusCode, got)
		}
		slowest = max(slowest, time.Since(at))
	}
	good, bad := stop()
	t.Logf("%d requests, the slowest POST %v; %d copies", direct.Load(), slowest.Round(time.Millisecond), p.stat("http.edge.rq_mirrored"))
	if bad != "" || good == 0 {
		t.Errorf("%d good answers, but %s", good, bad)
	}
	if slowest > 900*time.Millisecond { // the copies wait for a second
		t.Errorf("a request took %v", slowest)
	}
	for _, c := range []string{"stopped", "killed", "slow"} { // nothing is left of the copies
		p.wantStat("cluster."+c+".upstream_rq_active", 0)
		p.wantStat("cluster."+c+".upstream_rq_pending_active", 0)
	}
	if p.stat("cluster.slow.upstream_rq_timeout") == 0 || p.stat("cluster.killed.upstream_cx_connect_fail") == 0 {
		t.Error("what the copies met is not counted")
	}
}

// driveMirrorExample: all requests of the checkout have a copy.
func driveMirrorExample(t *testing.T, p *proxy) {
	for _, gauge := range []string{"upstream_rq_active", "upstream_rq_pending_active"} { // of the requests before
		p.wantStat("cluster.next."+gauge, 0)
	}
	before := p.stat("cluster.next.upstream_rq_total")
	for range 20 {
		resp, err := http.Get(p.url("/checkout"))
		if err != nil {
			t.Fatal(err)
		}
		if bodyOf(t, resp); resp.StatusCode != 200 {
			t.Errorf("status %d, want 200", resp.StatusCode)
		}
	}
	p.wantStat("cluster.next.upstream_rq_total", before+20)
}
