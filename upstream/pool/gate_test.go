package pool

import (
	"testing"

	"millrace/upstream"
)

// perHost bounds the connections to each host.
func perHost(most uint32) func(*upstream.Config) {
	return thresholds(func(b *upstream.CircuitBreakers) { b.PerHostThresholds.MaxConnections = most })
}

// TestHostLimitMovesAConnectionToTheLoopThatWaits: one loop sits on a connection of a host that is at its limit; the
// other, whose request waits, gets it.
func TestHostLimitMovesAConnectionToTheLoopThatWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	p := newPair(t, config(perHost(2), o.addr))
	first, second := &origin{t: t, w: p.a, ln: o.ln}, &origin{t: t, w: p.b, ln: o.ln}
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
	xp.send(ok)
	p.b.wantLog(y, "ready", "head 200", "end")
	h := p.cb.Shared().Hosts()[0]
	if a, n := p.ca.Stats.CxActive.Load(), h.CxActive.Load(); a != 0 || n != 2 {
		t.Errorf("the first loop has %d connections, the host %d; want 0, 2", a, n)
	}
	for _, w := range []*world{p.a, p.b} {
		w.do(func() { w.table.Remove(0) })
	}
	p.settle()
	if h.Room.Members() != 0 || h.Room.Waiting() || h.CxActive.Load() != 0 {
		t.Errorf("%d members left, waiting %t, %d connections; want none", h.Room.Members(), h.Room.Waiting(), h.CxActive.Load())
	}
}

// TestHostLimitWakesTheLoopThatWaits: a connection that becomes free on one loop is given up for a request that waits
// for the same host on another.
func TestHostLimitWakesTheLoopThatWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	p := newPair(t, config(perHost(2), o.addr))
	first, second := &origin{t: t, w: p.a, ln: o.ln}, &origin{t: t, w: p.b, ln: o.ln}
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
	if p.cb.Shared().Hosts()[0].Room.Waiting() {
		t.Error("someone still waits")
	}
}

// TestHostLimitPassesOn: requests go to a host that has room while there is one, and then wait.
func TestHostLimitPassesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o, o2 := newOrigin(w), newOrigin(w)
	c := w.set(config(perHost(1), o.addr, o2.addr), nil)
	h := c.Shared().Hosts()
	x := newOwner()
	w.leaseTo(c, h[0], x, false)
	p := o.accept()
	p.wantHead("GET / HTTP/1.1")
	var pick upstream.Pick
	for range 4 {
		if got := c.Pick(&pick); got != h[1] {
			t.Fatalf("picked %s, want the host that has room", got.Name)
		}
	}
	y := newOwner()
	w.leaseTo(c, h[1], y, false)
	q := o2.accept()
	q.wantHead("GET / HTTP/1.1")
	z := newOwner()
	if r := w.leaseTo(c, h[0], z, false); r != LeasePending {
		t.Fatalf("Lease of a host at its limit = %d, want pending", r)
	}
	o.wantNone()
	for range 4 {
		if got := c.Pick(&pick); got != h[1] {
			t.Errorf("with no room anywhere %s is picked, want the host for which nothing waits", got.Name)
		}
	}
	p.send(ok)
	p.wantHead("GET / HTTP/1.1")
	p.send(ok)
	q.send(ok)
	w.wantLog(z, "ready", "head 200", "end")
	if n := c.Stats.CxOverflow.Load(); n != 1 {
		t.Errorf("upstream_cx_overflow = %d, want 1", n)
	}
	if got := c.Pick(&pick); got == nil || c.Pick(&pick) == got {
		t.Error("idle connections do not make room")
	}
	w.wantIdle(c, 2)
}

// TestHostLimitOfTCP: a connection of tcp_proxy is refused at the limit of its host, and counts against it.
func TestHostLimitOfTCP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(perHost(1), o.addr), nil)
	h := c.Shared().Hosts()[0]
	x := newOwner()
	w.lease(c, x)
	p := o.accept()
	p.wantHead("GET / HTTP/1.1")
	var tcp TCP
	w.do(func() {
		if r, _ := c.OpenTCP(&tcp, &TCPTarget{Host: h}, nil); r != TCPOverflow {
			t.Errorf("OpenTCP of a host at its limit = %d, want overflow", r)
		}
	})
	p.send(ok)
	w.wantIdle(c, 1)
}
