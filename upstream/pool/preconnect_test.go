package pool

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"testing"

	"millrace/codec"
	"millrace/codec/h2"
	"millrace/upstream"
)

func TestShouldConnect(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pending, active, anticipated, spare int
		ratio                               float64
		want                                bool
	}{
		{0, 0, 0, 0, 3, false},        // nothing asks for anything
		{1, 0, 0, 0, 1, true},         // ratio 1: more wait
		{1, 0, 0, 1, 1, false},        // than connections open
		{0, 100, 0, 0, 1, false},      // and what is active does not count
		{0, 1, 0, 0, 1.5, true},       // 1.5 > 1
		{0, 1, 0, 1, 1.5, false},      // 1.5 > 2
		{0, 2, 0, 1, 1.5, false},      // 3 > 3
		{0, 3, 0, 1, 1.5, true},       // 4.5 > 4
		{2, 4, 0, 5, 1.5, false},      // 9 > 9
		{2, 4, 0, 4, 1.5, true},       // 9 > 8
		{0, 0, 1, 0, 2, true},         // 2 > 0
		{0, 0, 1, 2, 2, false},        // 2 > 2
		{0, 100, 0, 100, 3, true},     // 300 > 200: one HTTP/2 connection of two is full
		{0, 50, 0, 50, 1.9999, false}, // 99.995 > 100
	} {
		if got := shouldConnect(tt.pending, tt.active, tt.anticipated, tt.spare, tt.ratio); got != tt.want {
			t.Errorf("%+v: got %t", tt, got)
		}
	}
}

// preconnects edits preconnect_policy.
func preconnects(perHost, predictive float64, more func(*upstream.Config)) func(*upstream.Config) {
	return func(c *upstream.Config) {
		c.PreconnectPolicy = upstream.PreconnectConfig{PerUpstreamPreconnectRatio: perHost, PredictivePreconnectRatio: predictive}
		if more != nil {
			more(c)
		}
	}
}

// TestPreconnectAhead: the connections to a host are enough for ratio times the requests it has.
func TestPreconnectAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(preconnects(2, 1, nil), o.addr), nil)
	st := &c.Stats
	for i, want := range []int64{2, 4, 6} { // connections, for one more request each time
		a := newOwner()
		w.lease(c, a)
		w.until("connections", func() bool { return st.CxConnectMs.Snapshot().Count == uint64(want) })
		w.settle()
		if n := st.CxActive.Load(); n != want || st.RqActive.Load() != int64(i+1) || !a.x.Active() {
			t.Fatalf("%d connections for %d requests, want %d", n, st.RqActive.Load(), want)
		}
		if i > 0 && len(a.log) != 0 {
			t.Errorf("request %d waited", i)
		}
	}
	if n := st.CxPreconnect.Load(); n != 5 {
		t.Errorf("upstream_cx_preconnect = %d, want 5 of the 6: one was waited for", n)
	}
}

// TestPreconnectNot: nothing is opened ahead to a host that is not well, beyond a limit, or for the sake of those that
// could not be opened.
func TestPreconnectNot(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		edit func(*upstream.Config)
		host func(*upstream.Host)
	}{
		{"off", preconnects(1, 1, nil), nil},
		{"unhealthy", preconnects(3, 1, func(c *upstream.Config) { c.HealthyPanicThreshold = 100 }), func(h *upstream.Host) { h.SetHealth(upstream.FailedActiveCheck, true) }},
		{"degraded", preconnects(3, 1, nil), func(h *upstream.Host) { h.SetHealth(upstream.DegradedActiveCheck, true) }},
		{"max_connections", preconnects(3, 1, thresholds(func(b *upstream.CircuitBreakers) { b.MaxConnections = 1 })), nil},
		{"per_host_thresholds", preconnects(3, 1, perHost(1)), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o := newOrigin(w)
			c := w.set(config(tt.edit, o.addr), nil)
			if tt.host != nil {
				tt.host(c.Shared().Hosts()[0])
				c.Shared().Rebuild()
				w.do(func() { w.table.Refresh(0) })
			}
			p := w.exchange(c, o, nil)
			w.exchange(c, o, p)
			o.wantNone()
			w.wantIdle(c, 1)
			if c.Stats.CxPreconnect.Load() != 0 || c.Stats.CxOverflow.Load() != 0 {
				t.Errorf("%d opened ahead, %d overflows; want none", c.Stats.CxPreconnect.Load(), c.Stats.CxOverflow.Load())
			}
		})
	}
}

// TestPreconnectRefused: a host that refuses connections is not asked again before there is another request.
func TestPreconnectRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	o.ln.Close()
	c := w.set(config(preconnects(3, 1, nil), o.addr), nil)
	a := newOwner()
	w.lease(c, a)
	w.until("failure", func() bool { return a.done })
	w.settle()
	if n := c.Stats.CxTotal.Load(); n != 3 {
		t.Errorf("%d connections were tried for one request at ratio 3, want 3", n)
	}
	w.wantIdle(c, 0)
}

// TestPreconnectHTTP2: capacity is counted in streams.
func TestPreconnectHTTP2(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, o, p := w.startH2(preconnects(1.5, 1, nil), func(opt *h2.Options) { opt.ConcurrentStreams = 4 })
	var owners []*owner
	for range 2 { // 2 of 4 streams: 3 wanted
		a := newOwner()
		w.lease(c, a)
		owners = append(owners, a)
	}
	p.want("3 GET / end", "5 GET / end")
	o.wantNone()
	a := newOwner() // 3 of 4: 4.5 wanted
	w.lease(c, a)
	p.want("7 GET / end")
	q := o.acceptH2(func(opt *h2.Options) { opt.ConcurrentStreams = 4 })
	q.want()
	for i, a := range append(owners, a) {
		p.answer([]codec.StreamID{3, 5, 7}[i])
		w.wantLog(a, "head 200", "end")
	}
	w.wantIdle(c, 2)
	if n := c.Stats.CxPreconnect.Load(); n != 1 {
		t.Errorf("upstream_cx_preconnect = %d, want 1", n)
	}
}

// TestPreconnectTLS: what is opened ahead has its handshake behind it.
func TestPreconnectTLS(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"http1", "http2", "auto"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			ca := newAuthority(t)
			w := newWorld(t)
			block := make(chan struct{})
			addr := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{ca.issue("host.test")}}, []string{"h2", "http/1.1"}, func(rw http.ResponseWriter, _ *http.Request) {
				<-block
				fmt.Fprint(rw, "ok")
			})
			c := w.set(config(ca.secured(preconnects(3, 1, func(c *upstream.Config) {
				c.Protocol, c.MaxRequestsPerConnection = protocol, 1
			})), addr), nil)
			a := newOwner()
			w.lease(c, a)
			w.until("handshakes", func() bool { return c.Stats.CxConnectMs.Snapshot().Count == 3 && a.x.Active() })
			b := newOwner()
			if r := w.lease(c, b); r != LeaseReady {
				t.Errorf("the second Lease = %d, want ready", r)
			}
			close(block)
			w.until("answers", func() bool { return a.done && b.done })
			w.settle()
		})
	}
}

// TestPredictivePreconnect: connections to the hosts that come next are open before their requests come, and the hosts
// come in the order they would have come in without.
func TestPredictivePreconnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var addrs []string
	var origins []*origin
	for range 4 {
		o := newOrigin(w)
		origins, addrs = append(origins, o), append(addrs, o.addr)
	}
	c := w.set(config(preconnects(1, 2.5, nil), addrs...), nil)
	h := c.Shared().Hosts()
	var pick upstream.Pick
	var order []*upstream.Host
	waited := 0
	for range 8 {
		at := c.Pick(&pick)
		order = append(order, at)
		a := newOwner()
		if w.leaseTo(c, at, a, false) == LeasePending {
			waited++
		}
		w.until("connection", func() bool { return a.x.Active() })
		w.settle()
	}
	for i := range order[:4] {
		if order[i] != order[i+4] || order[i] == order[(i+1)%4] {
			t.Errorf("request %d went out of turn", i)
		}
	}
	// For the first, 2.5 × 1: it waits, and two hosts more are connected to. Of the others none waits.
	if n := c.Stats.CxPreconnect.Load(); waited != 1 || n < 8 {
		t.Errorf("%d requests waited, %d connections were opened ahead; want 1, at least 8", waited, n)
	}
	if c.ahead.count > len(h) {
		t.Errorf("%d hosts are picked ahead, of %d", c.ahead.count, len(h))
	}
	w.do(func() { w.table.Remove(0) })
	_ = origins
}

// TestPeekIsTaken: picks made ahead are given to requests, are forgotten when the hosts change, and no more are made than
// there are hosts.
func TestPeekIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.set(config(nil, "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"), nil)
	var pick upstream.Pick
	var ahead []*upstream.Host
	for h := c.peek(); h != nil; h = c.peek() {
		ahead = append(ahead, h)
	}
	if len(ahead) != 3 {
		t.Fatalf("%d hosts are picked ahead, want 3 of 3", len(ahead))
	}
	pick.Reselect = 1
	c.Pick(&pick) // another host for a request whose first was rejected is none of those
	pick.Reselect = 0
	for i, want := range ahead[:2] {
		if got := c.Pick(&pick); got != want {
			t.Errorf("pick %d is %s, want %s as picked ahead", i, got.Name, want.Name)
		}
	}
	ahead[2].SetHealth(upstream.FailedActiveCheck, true)
	c.Shared().Rebuild()
	w.do(func() { w.table.Refresh(0) })
	for range 4 {
		if c.Pick(&pick) == ahead[2] {
			t.Error("a host that was picked ahead and failed since gets a request")
		}
	}
}
