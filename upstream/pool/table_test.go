package pool

import (
	"slices"
	"testing"
	"time"

	"millrace/upstream"
)

func TestTableUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.do(func() {
		w.table.Remove(7)
		w.table.Refresh(7)
	})
	if w.table.Cluster(7) != nil {
		t.Error("Cluster of an unknown ID is not nil")
	}
}

func TestPick(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.set(config(nil), nil)
	var p upstream.Pick
	if h := c.Pick(&p); h != nil || c.Stats.CxNoneHealthy.Load() != 1 {
		t.Errorf("Pick without hosts = %v, counted %d; want nil, 1", h, c.Stats.CxNoneHealthy.Load())
	}
	c = w.set(config(nil, "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"), c.Shared())
	hosts := c.Shared().Hosts()
	hosts[0].SetHealth(upstream.FailedActiveCheck, true)
	c.Shared().Rebuild()
	w.do(func() { w.table.Refresh(0) })
	got := map[*upstream.Host]bool{}
	for range 6 {
		got[c.Pick(&p)] = true
	}
	if len(got) != 2 || got[hosts[0]] {
		t.Errorf("%d hosts picked, want the 2 healthy ones", len(got))
	}
	hosts[1].SetHealth(upstream.FailedActiveCheck, true)
	c.Shared().Rebuild()
	w.do(func() { w.table.Refresh(0) })
	for range 6 {
		got[c.Pick(&p)] = true
	}
	if len(got) != 3 || c.Stats.HealthyPanic.Load() != 6 {
		t.Errorf("%d hosts picked in panic, counted %d; want 3, 6", len(got), c.Stats.HealthyPanic.Load())
	}
}

// TestReplace: what a reload does to idle and leased connections and to requests that wait.
func TestReplace(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		edit func(c *upstream.Config, other string) // the new config
		keep bool                                   // the pools
	}{
		{"same", func(*upstream.Config, string) {}, true},
		{"policy and timeout", func(c *upstream.Config, _ string) { c.LbPolicy, c.ConnectTimeout = "random", time.Second }, true},
		{"another host more", func(c *upstream.Config, other string) {
			c.Hosts = append([]upstream.HostConfig{{Address: other, Weight: 1}}, c.Hosts...)
		}, true},
		{"weight", func(c *upstream.Config, _ string) { c.Hosts[0].Weight = 5 }, true},
		{"breakers", func(c *upstream.Config, _ string) { c.CircuitBreakers.MaxConnections = 1 }, true},
		{"idle timeout", func(c *upstream.Config, _ string) { c.IdleTimeout = time.Minute }, false},
		{"another host instead", func(c *upstream.Config, other string) { c.Hosts[0].Address = other }, false},
		{"no host", func(c *upstream.Config, _ string) { c.Hosts = nil }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o, other := newOrigin(w), newOrigin(w)
			c := w.set(config(nil, o.addr), nil)
			host := c.Shared().Hosts()[0]
			var owners [2]*owner
			var peers [2]*peer
			for i := range owners {
				owners[i] = newOwner()
				w.lease(c, owners[i])
				peers[i] = o.accept()
				peers[i].wantHead("GET / HTTP/1.1")
			}
			peers[0].send(ok) // idle; peers[1] is leased
			cfg := config(nil, o.addr)
			tt.edit(cfg, other.addr)
			if w.set(cfg, c.Shared()) != c {
				t.Fatal("Set made another Cluster")
			}
			w.settle()
			peers[1].send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
			peers[1].send("k")
			w.wantLog(owners[1], "ready", "head 200", "end")
			if tt.keep {
				peers[0].wantOpen()
				peers[1].wantOpen()
				a := newOwner()
				if r := w.leaseTo(c, host, a, false); r != LeaseReady {
					t.Errorf("Lease after the change = %d, want ready", r)
				}
				w.do(a.x.Cancel)
				return
			}
			peers[0].wantClosed()
			peers[1].wantClosed()
			w.wantIdle(c, 0)
			if host.CxActive.Load() != 0 || host.RqActive.Load() != 0 {
				t.Errorf("the old host has %d connections, %d requests; want none", host.CxActive.Load(), host.RqActive.Load())
			}
			if len(cfg.Hosts) > 0 && !slices.Contains(c.Shared().Hosts(), host) {
				w.exchange(c, other, nil)
			}
		})
	}
}

// TestWaitingSurvivesRemoval: a request that waits for a host that leaves is served all the same.
func TestWaitingSurvivesRemoval(t *testing.T) {
	t.Parallel()
	one := thresholds(func(b *upstream.CircuitBreakers) { b.MaxConnections = 1 })
	for _, remove := range []struct {
		name string
		do   func(w *world, c *Cluster)
	}{
		{"cluster", func(w *world, _ *Cluster) { w.do(func() { w.table.Remove(0) }) }},
		{"host", func(w *world, c *Cluster) { w.set(config(one), c.Shared()) }},
	} {
		t.Run(remove.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o := newOrigin(w)
			c := w.set(config(one, o.addr), nil)
			host, budget := c.Shared().Hosts()[0], c.Shared().Budgets[upstream.Default]
			a, b := newOwner(), newOwner()
			w.lease(c, a)
			p := o.accept()
			p.wantHead("GET / HTTP/1.1")
			w.lease(c, b)
			remove.do(w, c)
			late := newOwner() // the router may have picked the host before
			if r := w.leaseTo(c, host, late, false); r != LeasePending {
				t.Errorf("Lease on a host that has left = %d, want pending", r)
			}
			p2 := o.accept()
			p2.wantHead("GET / HTTP/1.1")
			p2.send(ok)
			p.send(ok)
			p.wantHead("GET / HTTP/1.1")
			p.send(ok)
			p.wantClosed()
			p2.wantClosed()
			for _, o := range []*owner{a, b, late} {
				w.wantLog(o, "ready", "head 200", "end")
			}
			w.wantIdle(c, 0)
			if n := budget.Active(upstream.Connections); n != 0 || budget.Waiting() {
				t.Errorf("%d connections left, waiting %t; want 0, false", n, budget.Waiting())
			}
			w.do(func() { w.table.Remove(0) })
			if n := budget.Members(); n != 0 {
				t.Errorf("%d members of the budget left, want 0", n)
			}
		})
	}
}

// TestHigherLimitHelpsTheWaiting: a reload that raises max_connections lets waiting requests go on.
func TestHigherLimitHelpsTheWaiting(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(thresholds(func(b *upstream.CircuitBreakers) { b.MaxConnections = 1 }), o.addr), nil)
	a, b := newOwner(), newOwner()
	w.lease(c, a)
	o.accept().wantHead("GET / HTTP/1.1")
	w.lease(c, b)
	w.settle()
	w.wantLog(b)
	w.set(config(nil, o.addr), c.Shared())
	p := o.accept()
	p.wantHead("GET / HTTP/1.1")
	p.send(ok)
	w.wantLog(b, "ready", "head 200", "end")
}
