package pool

import (
	"bufio"
	"net"
	"net/http"
	"testing"
	"time"

	"millrace/engine"
	"millrace/upstream"
)

// pair is two loops that share a cluster, both stepped by the test.
type pair struct {
	a, b   *world
	ca, cb *Cluster
}

func newPair(t *testing.T, cfg *upstream.Config) *pair {
	t.Helper()
	p := &pair{a: newWorld(t), b: newWorld(t)}
	p.ca = p.a.set(cfg, nil)
	shared := p.ca.Shared()
	p.b.do(func() { p.b.table.Set(shared) })
	p.cb = p.b.table.Cluster(0)
	return p
}

// settle steps both loops until there is nothing to do.
func (p *pair) settle() {
	for range 3 {
		p.a.settle()
		p.b.settle()
	}
}

// TestIdleConnectionMovesToTheLoopThatWaits: one loop sits on the only connection; the other gets it.
func TestIdleConnectionMovesToTheLoopThatWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	p := newPair(t, config(thresholds(func(b *upstream.CircuitBreakers) { b.MaxConnections = 2 }), o.addr))
	first := &origin{t: t, w: p.a, ln: o.ln}
	second := &origin{t: t, w: p.b, ln: o.ln}
	p.a.exchange(p.ca, first, nil) // a: one idle
	x, y := newOwner(), newOwner()
	p.b.lease(p.cb, x) // b: one active, of two
	xp := second.accept()
	xp.wantHead("GET / HTTP/1.1")
	p.b.lease(p.cb, y) // b: waits, and asks a to give its idle one up
	p.settle()
	yp := second.accept()
	yp.wantHead("GET / HTTP/1.1")
	yp.send(ok)
	p.b.wantLog(y, "ready", "head 200", "end")
	xp.send(ok)
	if n := p.ca.Stats.CxActive.Load(); n != 0 {
		t.Errorf("the first loop has %d connections, want 0: it gave its idle one up", n)
	}
	if n := p.cb.Shared().Budgets[upstream.Default].Active(upstream.Connections); n != 2 {
		t.Errorf("%d connections, want the 2 of max_connections", n)
	}
}

// TestReleaseWakesTheLoopThatWaits: a connection that becomes free on one loop is given up for a
// request that waits on another.
func TestReleaseWakesTheLoopThatWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	p := newPair(t, config(thresholds(func(b *upstream.CircuitBreakers) { b.MaxConnections = 2 }), o.addr))
	first := &origin{t: t, w: p.a, ln: o.ln}
	second := &origin{t: t, w: p.b, ln: o.ln}
	x, y, z := newOwner(), newOwner(), newOwner()
	p.a.lease(p.ca, x)
	xp := first.accept()
	xp.wantHead("GET / HTTP/1.1")
	p.b.lease(p.cb, y)
	yp := second.accept()
	yp.wantHead("GET / HTTP/1.1")
	p.b.lease(p.cb, z)
	p.settle()
	p.b.wantLog(z)
	xp.send(ok)
	p.settle()
	xp.wantClosed()
	zp := second.accept()
	zp.wantHead("GET / HTTP/1.1")
	zp.send(ok)
	yp.send(ok)
	p.b.wantLog(z, "ready", "head 200", "end")
	p.settle()
	if p.cb.Shared().Budgets[upstream.Default].Waiting() {
		t.Error("someone still waits")
	}
}

// TestFirstConnectionIsAlwaysAllowed: an open breaker does not keep a loop from a host it has no connection to.
func TestFirstConnectionIsAlwaysAllowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o, o2 := newOrigin(w), newOrigin(w)
	c := w.set(config(thresholds(func(b *upstream.CircuitBreakers) { b.MaxConnections = 0 }), o.addr, o2.addr), nil)
	x, y := newOwner(), newOwner()
	w.lease(c, x)
	w.leaseTo(c, c.Shared().Hosts()[1], y, false)
	xp, yp := o.accept(), o2.accept()
	xp.wantHead("GET / HTTP/1.1")
	yp.wantHead("GET / HTTP/1.1")
	xp.send(ok)
	yp.send(ok)
	w.wantLog(x, "ready", "head 200", "end")
	w.wantLog(y, "ready", "head 200", "end")
	if n := c.Stats.CxOverflow.Load(); n != 2 {
		t.Errorf("upstream_cx_overflow = %d, want 2", n)
	}
}

// TestFreshMakesRoom: a fresh lease at max_connections replaces an idle connection.
func TestFreshMakesRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(thresholds(func(b *upstream.CircuitBreakers) { b.MaxConnections = 1 }), o.addr), nil)
	old := w.exchange(c, o, nil)
	a := newOwner()
	w.leaseTo(c, c.Shared().Hosts()[0], a, true)
	old.wantClosed()
	p := o.accept()
	p.wantHead("GET / HTTP/1.1")
	p.send(ok)
	w.wantLog(a, "ready", "head 200", "end")
	w.wantIdle(c, 1)
}

// TestPrioritiesAreApart: each priority has its own connections and budget.
func TestPrioritiesAreApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(thresholds(func(b *upstream.CircuitBreakers) { b.MaxPendingRequests = 0 }), o.addr), nil)
	h := c.Shared().Hosts()[0]
	a, b := newOwner(), newOwner()
	if r := w.lease(c, a); r != LeaseOverflow {
		t.Errorf("Lease with max_pending_requests 0 = %d, want overflow", r)
	}
	b.onReady = func() { b.x.SendHead(get("/"), true) }
	w.do(func() {
		if r := c.Lease(h, upstream.High, &b.x, false); r != LeasePending {
			t.Errorf("Lease of the other priority = %d, want pending", r)
		}
	})
	p := o.accept()
	p.wantHead("GET / HTTP/1.1")
	p.send(ok)
	if n := c.Shared().Budgets[upstream.High].Active(upstream.Connections); n != 1 {
		t.Errorf("%d connections of priority high, want 1", n)
	}
}

// client sends requests one after the other, until told to stop.
type client struct {
	owner
	c    *Cluster
	left int
	done chan<- struct{}
}

func (c *client) next() {
	if c.left == 0 {
		c.done <- struct{}{}
		return
	}
	c.left--
	switch c.c.Lease(c.c.Shared().Hosts()[0], upstream.Default, &c.x, false) {
	case LeaseReady:
		c.OnReady()
	case LeaseOverflow:
		panic("overflow")
	}
}

func (c *client) OnReady() { c.x.SendHead(get("/"), true) }

func (c *client) OnResponseHead(end bool) {
	if end {
		c.next()
	}
}

func (c *client) OnResponseData(_ []byte, end bool) {
	if end {
		c.next()
	}
}

func (c *client) OnReset(ResetReason, string) { c.left++; c.next() }

// TestLoopsShareConnections: two running loops with more requests than max_connections, on one host that
// closes connections now and then. All requests are answered, and nothing leaks.
func TestLoopsShareConnections(t *testing.T) {
	t.Parallel()
	const loops, clients, requests, limit = 2, 6, 150, 3
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go serveAll(ln, 7)
	cfg := config(thresholds(func(b *upstream.CircuitBreakers) { b.MaxConnections = limit }), ln.Addr().String())
	shared, err := upstream.New(0, cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{}, loops*clients)
	var running []*engine.Loop
	ended := make(chan error, loops)
	for i := range loops {
		lc := engine.DefaultLoopConfig()
		lc.BlocksMax = 16 << 20
		lc.OnPanic = func(v any, stack []byte) { t.Errorf("panic on the loop: %v\n%s", v, stack) }
		l, err := engine.NewLoop(i, lc)
		if err != nil {
			t.Fatal(err)
		}
		running = append(running, l)
		go func() { ended <- l.Run() }()
		l.Post(func() {
			table := NewTable(l, func(*upstream.Cluster) upstream.Balancer { return &inTurn{} })
			table.Set(shared)
			for range clients {
				c := &client{c: table.Cluster(0), left: requests, done: done}
				c.x.Owner = c
				c.next()
			}
		})
	}
	b := shared.Budgets[upstream.Default]
	for late, n := time.After(2*patience), 0; n < loops*clients; {
		select {
		case <-done:
			n++
		case <-late:
			t.Errorf("%d of %d clients done; connections %d, waiting %t", n, loops*clients, b.Active(upstream.Connections), b.Waiting())
			n = loops * clients
		}
	}
	for _, l := range running {
		l.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	for _, r := range []upstream.Resource{upstream.Connections, upstream.Pending, upstream.Requests} {
		if n := b.Active(r); n != 0 {
			t.Errorf("budget %s = %d after the end, want 0", r, n)
		}
	}
}

// serveAll answers requests; each connection ends after every-th one.
func serveAll(ln net.Listener, every int) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			r := bufio.NewReader(c)
			for range every {
				if _, err := http.ReadRequest(r); err != nil {
					return
				}
				if _, err := c.Write([]byte(ok)); err != nil {
					return
				}
			}
		}()
	}
}
