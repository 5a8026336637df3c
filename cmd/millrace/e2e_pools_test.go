package main

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// gateOrigin answers with its name once it is let go, and notes how many requests it has at most at a time.
type gateOrigin struct {
	addr      string
	now, most atomic.Int64
	letGo     chan struct{}
}

func newGateOrigin(t *testing.T, name string) *gateOrigin {
	g := &gateOrigin{letGo: make(chan struct{})}
	g.addr = origin(t, func(w http.ResponseWriter, r *http.Request) {
		n := g.now.Add(1)
		for old := g.most.Load(); n > old && !g.most.CompareAndSwap(old, n); old = g.most.Load() {
		}
		defer g.now.Add(-1)
		select {
		case <-g.letGo:
		case <-r.Context().Done():
		}
		_, _ = w.Write([]byte(name))
	})
	return g
}

// ask sends n requests at once and returns what to wait with, and how many had which status.
func ask(t *testing.T, url string, n int) (wait func(), statuses func(int) int) {
	var all sync.WaitGroup
	var mu sync.Mutex
	had := map[int]int{}
	for range n {
		all.Go(func() {
			client := &http.Client{Timeout: waitMax, Transport: &http.Transport{DisableKeepAlives: true}}
			resp, err := client.Get(url)
			if err != nil {
				t.Error(err)
				return
			}
			bodyOf(t, resp)
			mu.Lock()
			defer mu.Unlock()
			had[resp.StatusCode]++
		})
	}
	return all.Wait, func(status int) int {
		mu.Lock()
		defer mu.Unlock()
		return had[status]
	}
}

// poolsConfig is one route to a cluster of these hosts.
func poolsConfig(cluster string, hosts ...string) string {
	return `{"concurrency": 2, "listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {
		"stat_prefix": "edge", "route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}}}]}],
		"clusters": [{"name": "c", ` + cluster + `, "hosts": ["` + strings.Join(hosts, `", "`) + `"]}]}`
}

// TestPerHostConnections: two loops together open no more connections to a host than it may have, but for the one that each
// may. What does not find one waits, and is served.
func TestPerHostConnections(t *testing.T) {
	t.Parallel()
	const most, loops = 4, 2
	a, b := newGateOrigin(t, "a"), newGateOrigin(t, "b")
	p := startProxy(t, poolsConfig(`"circuit_breakers": {"per_host_thresholds": {"max_connections": 4}}`, a.addr, b.addr))
	wait, _ := ask(t, p.url("/"), 30)
	if !eventually(func() bool {
		n := a.now.Load() + b.now.Load()
		return n >= 2*most && n+p.stat("cluster.c.upstream_rq_pending_active") == 30
	}) {
		t.Fatalf("the hosts have %d and %d requests, %d wait; want 8 or a little more, and 30 in all", a.now.Load(), b.now.Load(), p.stat("cluster.c.upstream_rq_pending_active"))
	}
	close(a.letGo)
	close(b.letGo)
	wait()
	for _, o := range []*gateOrigin{a, b} {
		if n := o.most.Load(); n < most || n > most+loops-1 {
			t.Errorf("a host had %d requests at a time, want 4, or one more", n)
		}
	}
	if p.stat("cluster.c.upstream_cx_overflow") == 0 {
		t.Error("upstream_cx_overflow = 0, want some")
	}
	p.wantStat("cluster.c.upstream_rq_200", 30)
}

// TestPendingDuration: what waits too long for a connection gets 503, soon; what has one goes on.
func TestPendingDuration(t *testing.T) {
	t.Parallel()
	o := newGateOrigin(t, "o")
	p := startProxy(t, poolsConfig(`"circuit_breakers": {"max_connections": 2, "max_pending_duration": "300ms"}`, o.addr))
	first, _ := ask(t, p.url("/"), 2)
	if !eventually(func() bool { return o.now.Load() == 2 }) {
		t.Fatalf("the host has %d requests, want 2", o.now.Load())
	}
	begun := time.Now()
	// Either loop may have both connections, and then the other one may have one more.
	wait, statuses := ask(t, p.url("/"), 10)
	if !eventually(func() bool { return statuses(503) >= 9 }) {
		t.Fatalf("%d of 10 requests were answered with 503", statuses(503))
	}
	if took := time.Since(begun); took < 300*time.Millisecond {
		t.Errorf("they were refused after %v, want 300ms", took)
	}
	if n, m := p.stat("cluster.c.upstream_rq_pending_timeout"), p.stat("cluster.c.upstream_rq_503"); n < 9 || n != m {
		t.Errorf("upstream_rq_pending_timeout = %d of %d responses with 503, want all, 9 or more", n, m)
	}
	close(o.letGo)
	first()
	wait()
	p.wantStat("cluster.c.upstream_rq_pending_active", 0)
}

// TestPreconnect: a cluster at ratio 3 has connections for what is to come, and hosts that come next have one already.
func TestPreconnect(t *testing.T) {
	t.Parallel()
	a, b := newGateOrigin(t, "a"), newGateOrigin(t, "b")
	p := startProxy(t, poolsConfig(`"preconnect_policy": {"per_upstream_preconnect_ratio": 2, "predictive_preconnect_ratio": 3}`, a.addr, b.addr))
	wait, _ := ask(t, p.url("/"), 1)
	if !eventually(func() bool { return a.now.Load()+b.now.Load() == 1 }) {
		t.Fatal("no request has come")
	}
	// The host that was asked has 2 connections, and at least one was opened to that which comes next.
	if !eventually(func() bool { return p.stat("cluster.c.upstream_cx_active") >= 3 }) {
		t.Errorf("%d connections, want 3 or more", p.stat("cluster.c.upstream_cx_active"))
	}
	if n, total := p.stat("cluster.c.upstream_cx_preconnect"), p.stat("cluster.c.upstream_cx_total"); n < total-1 {
		t.Errorf("%d of %d connections were opened ahead, want all but one at least", n, total)
	}
	close(a.letGo)
	close(b.letGo)
	wait()
}

// driveConnectionPoolsExample looks at the limits, and that connections open ahead.
func driveConnectionPoolsExample(t *testing.T, p *proxy) {
	p.wantStat("cluster.shop.circuit_breakers.default.remaining_pending", 500)
	p.wantStat("cluster.shop.circuit_breakers.default.cx_open", 0)
	if n := p.stat("cluster.shop.upstream_cx_preconnect"); n == 0 {
		t.Error("upstream_cx_preconnect = 0 after a request, want some")
	}
	p.wantStat("cluster.shop.upstream_rq_pending_timeout", 0)
}
