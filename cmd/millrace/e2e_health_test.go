package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// processOrigin is an origin that is a process of its own, so that it can be killed and stopped.
func processOrigin(t *testing.T, address string) *proxy {
	t.Helper()
	return startProxy(t, `{"listeners": [{"address": "`+address+`", "filters": [{"name": "http_connection_manager", "config": {
		"route_config": {"routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": "process"}}]}}}]}], "clusters": []}`)
}

// traffic asks for a page again and again until stop is called, which returns how many answers were good and the first
// that was not.
func traffic(t *testing.T, url string) (stop func() (good int64, bad string)) {
	t.Helper()
	var n atomic.Int64
	var first atomic.Value
	done := make(chan struct{})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			client := &http.Client{Timeout: waitMax, Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for {
				select {
				case <-done:
					return
				case <-time.After(2 * time.Millisecond):
				}
				resp, err := client.Get(url)
				switch {
				case err != nil:
					first.CompareAndSwap(nil, err.Error())
				case bodyOf(t, resp) == "" || resp.StatusCode != 200:
					first.CompareAndSwap(nil, resp.Status)
				default:
					n.Add(1)
				}
			}
		})
	}
	return func() (int64, string) {
		close(done)
		all.Wait()
		bad, _ := first.Load().(string)
		return n.Load(), bad
	}
}

// flagsOf returns the health flags of a host.
func (p *proxy) flagsOf(host string) string {
	p.t.Helper()
	for line := range strings.Lines(p.adminGet("/clusters")) {
		if _, flags, ok := strings.Cut(line, host+"::health_flags::"); ok {
			return strings.TrimSpace(flags)
		}
	}
	p.t.Fatalf("no host %s", host)
	return ""
}

// wantFlags waits for the health flags of a host.
func (p *proxy) wantFlags(host, want string) {
	p.t.Helper()
	if !eventually(func() bool { return p.flagsOf(host) == want }) {
		p.t.Errorf("host %s: %s, want %s", host, p.flagsOf(host), want)
	}
}

// TestHealthUnderTraffic: hosts that are killed, stopped, slow, close every connection or answer 503 leave, and come back when they are well,
// without a client seeing anything of it.
func TestHealthUnderTraffic(t *testing.T) {
	t.Parallel()
	a, b := processOrigin(t, loopbackPort(t)), processOrigin(t, "127.0.0.1:0")
	hostA, hostB := a.addr(""), b.addr("")
	var mode atomic.Value
	mode.Store("")
	hostC := origin(t, func(w http.ResponseWriter, r *http.Request) {
		switch m := mode.Load(); {
		case m == "slow":
			select {
			case <-time.After(waitMax):
			case <-r.Context().Done():
			}
		case m == "503":
			w.WriteHeader(503)
		case m == "reset":
			panic(http.ErrAbortHandler)
		case m == "degraded":
			w.Header().Set("x-envoy-degraded", "1")
		}
		fmt.Fprint(w, "page")
	})
	log := filepath.Join(t.TempDir(), "events")
	p := startProxy(t, `{"listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {
		"route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c",
		"retry_policy": {"retry_on": "5xx,reset,connect-failure", "num_retries": 6, "per_try_timeout": "1s"}}}]}}}]}],
		"clusters": [{"name": "c", "healthy_panic_threshold": 0, "circuit_breakers": {"max_retries": 1000},
		"health_checks": [{"type": "http", "path": "/", "interval": "50ms", "no_traffic_interval": "50ms", "timeout": "500ms",
			"unhealthy_threshold": 2, "healthy_threshold": 2, "event_log_path": "`+log+`"}],
		"hosts": ["`+hostA+`", "`+hostB+`", "`+hostC+`"]}]}`)
	p.wantStat("cluster.c.membership_healthy", 3) // at once: listeners have waited for it
	stop := traffic(t, p.url("/"))

	begun := time.Now()
	_ = a.cmd.Process.Kill()
	p.wantFlags(hostA, "/failed_active_hc")
	t.Logf("killed: out after %v", time.Since(begun).Round(time.Millisecond))
	p.wantStat("cluster.c.membership_healthy", 2)
	processOrigin(t, hostA)
	p.wantFlags(hostA, "healthy")

	begun = time.Now()
	b.signal(syscall.SIGSTOP)
	p.wantFlags(hostB, "/failed_active_hc/active_hc_timeout")
	t.Logf("stopped: out after %v", time.Since(begun).Round(time.Millisecond))
	b.signal(syscall.SIGCONT)
	p.wantFlags(hostB, "healthy")

	for _, m := range []struct{ mode, flags string }{
		{"slow", "/failed_active_hc/active_hc_timeout"}, {"503", "/failed_active_hc"}, {"reset", "/failed_active_hc"}, {"degraded", "/degraded_active_hc"},
	} {
		mode.Store(m.mode)
		p.wantFlags(hostC, m.flags)
		if m.mode == "degraded" {
			p.wantStat("cluster.c.health_check.degraded", 1)
			p.wantStat("cluster.c.membership_degraded", 1)
		}
		mode.Store("")
		p.wantFlags(hostC, "healthy")
	}
	if good, bad := stop(); bad != "" || good == 0 {
		t.Errorf("%d good answers, but %s", good, bad)
	}
	if n := p.stat("cluster.c.health_check.failure"); n == 0 || p.stat("cluster.c.health_check.network_failure") == 0 {
		t.Error("failures are not counted")
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	events := map[string]int{}
	for line := range strings.Lines(string(text)) {
		var ev map[string]any
		if err := json.Unmarshal([]byte(line), &ev); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for _, k := range []string{"add_healthy_event", "eject_unhealthy_event", "degraded_healthy_host"} {
			if ev[k] != nil {
				events[k]++
			}
		}
	}
	if events["eject_unhealthy_event"] < 4 || events["add_healthy_event"] < 7 || events["degraded_healthy_host"] < 1 {
		t.Errorf("events %v", events)
	}
}

// TestImmediateFailure: a host that says so in any response is out at once.
func TestImmediateFailure(t *testing.T) {
	t.Parallel()
	var leaving atomic.Bool
	answer := func(w http.ResponseWriter, r *http.Request) {
		if leaving.Load() {
			w.Header().Set("x-envoy-immediate-health-check-fail", "true")
		}
		fmt.Fprint(w, "leaving")
	}
	hosts := []string{origin(t, answer), origin(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "stays") })}
	p := startProxy(t, `{"listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {
		"route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}}}]}],
		"clusters": [{"name": "c", "health_checks": [{"type": "tcp", "interval": "1h", "no_traffic_interval": "1h"}],
		"hosts": ["`+strings.Join(hosts, `", "`)+`"]}]}`)
	p.wantStat("cluster.c.membership_healthy", 2)
	leaving.Store(true)
	if !eventually(func() bool { _, body := get(t, p.url("/")); return body == "leaving" }) {
		t.Fatal("the host is not asked")
	}
	p.wantFlags(hosts[0], "/failed_active_hc/excluded_via_immediate_hc_fail")
	p.wantStat("cluster.c.membership_healthy", 1)
	p.wantStat("cluster.c.membership_excluded", 1)
	p.wantStat("cluster.c.health_check.passive_failure", 1)
	for range 10 {
		if status, body := get(t, p.url("/")); status != 200 || body != "stays" {
			t.Errorf("%d %q", status, body)
		}
	}
}

// TestHealthCheckFilterOfAProxy: one proxy checks another: the name of its group, its clusters, and that it drains.
func TestHealthCheckFilterOfAProxy(t *testing.T) {
	t.Parallel()
	var well atomic.Bool
	well.Store(true)
	behind := origin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/up" && !well.Load() {
			w.WriteHeader(500)
		}
		fmt.Fprint(w, "page")
	})
	inner := startProxy(t, `{"node": {"cluster": "shop-edge"}, "listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {
		"http_filters": [{"name": "health_check", "config": {"path": "/healthz", "cluster_min_healthy_percentages": {"c": 50}}}, {"name": "router"}],
		"route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}}}]}],
		"clusters": [{"name": "c", "health_checks": [{"type": "http", "path": "/up", "interval": "20ms", "no_traffic_interval": "20ms"}], "hosts": ["`+behind+`"]}]}`)
	host := inner.addr("")
	outer := startProxy(t, `{"listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {
		"route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}}}]}],
		"clusters": [{"name": "c", "health_checks": [{"type": "http", "path": "/healthz", "service_name": "shop", "interval": "20ms", "no_traffic_interval": "20ms"}],
		"hosts": ["`+host+`"]}]}`)
	outer.wantFlags(host, "healthy")
	well.Store(false)
	outer.wantFlags(host, "/failed_active_hc")
	well.Store(true)
	outer.wantFlags(host, "healthy")
	inner.adminPost("/healthcheck/fail")
	outer.wantFlags(host, "/failed_active_hc/excluded_via_immediate_hc_fail")
	inner.adminPost("/healthcheck/ok")
	outer.wantFlags(host, "healthy")
	if n := outer.stat("cluster.c.health_check.verify_cluster"); n == 0 {
		t.Error("the name of the service was not looked at")
	}
}

// driveHealthExample: /ready tells the truth, and both kinds of checks are made.
func driveHealthExample(t *testing.T, p *proxy) {
	if got := strings.TrimSpace(p.adminGet("/ready")); got != "LIVE" {
		t.Errorf("/ready: %s", got)
	}
	page := p.adminGet("/clusters")
	var flags []string
	for line := range strings.Lines(page) {
		if _, f, ok := strings.Cut(line, "::health_flags::"); ok {
			flags = append(flags, strings.TrimSpace(f))
		}
	}
	if slices.Contains(flags, "/failed_active_hc") || len(flags) != 3 {
		t.Errorf("health flags %q, want three hosts that are well", flags)
	}
	for _, name := range []string{"shop", "orders"} {
		if p.stat("cluster."+name+".health_check.success") == 0 {
			t.Errorf("cluster %s was not checked", name)
		}
	}
}
