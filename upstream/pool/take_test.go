package pool

import (
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"testing"
	"time"

	"millrace/engine"
	"millrace/upstream"
)

// siblings are two loops of one process, with the same clock and the same cluster.
type siblings struct {
	t      testing.TB
	a, b   *world
	ca, cb *Cluster
	shared *upstream.Cluster
}

func newSiblings(t testing.TB, cfg *upstream.Config, edit func(*engine.LoopConfig)) *siblings {
	t.Helper()
	s := &siblings{t: t, a: newWorld(t)}
	now := s.a.now
	s.b = newWorldWith(t, func(c *engine.LoopConfig) {
		c.Clock = func() int64 { return *now }
		if edit != nil {
			edit(c)
		}
	})
	s.b.now = now
	s.a.table.SetSiblings()
	s.b.table.SetSiblings()
	s.ca = s.a.set(cfg, nil)
	s.shared = s.ca.Shared()
	s.b.do(func() { s.b.table.Set(s.shared) })
	s.cb = s.b.table.Cluster(0)
	return s
}

// changed returns the cluster with another config.
func (s *siblings) changed(edit func(*upstream.Config)) *upstream.Cluster {
	s.t.Helper()
	cfg := *s.shared.Config
	edit(&cfg)
	next, err := upstream.New(0, &cfg, s.shared)
	if err != nil {
		s.t.Fatal(err)
	}
	return next
}

// until steps both loops until cond holds.
func (s *siblings) until(what string, cond func() bool) {
	s.t.Helper()
	for start := time.Now(); !cond(); {
		s.a.turn(time.Millisecond)
		s.b.turn(time.Millisecond)
		if time.Since(start) > patience {
			s.t.Fatalf("%s: still not after %s", what, patience)
		}
	}
}

// settle steps both loops until there is nothing to do.
func (s *siblings) settle() {
	s.t.Helper()
	for range 3 {
		s.a.settle()
		s.b.settle()
	}
}

// wait moves the clock.
func (s *siblings) wait(d time.Duration) {
	*s.a.now += int64(d)
	s.a.turn(0)
	s.b.turn(0)
}

// want checks what the loops have counted: connections open, and how they changed loops.
func (s *siblings) want(open int64, taken, refused, lost uint64) {
	s.t.Helper()
	a, b := &s.ca.Stats, &s.cb.Stats
	if n := a.CxActive.Load() + b.CxActive.Load(); n != open {
		s.t.Errorf("%d connections are active, want %d", n, open)
	}
	if n := s.shared.Budgets[upstream.Default].Active(upstream.Connections); n != open {
		s.t.Errorf("the budget has %d connections, want %d", n, open)
	}
	if n := s.shared.Hosts()[0].CxActive.Load(); n != open {
		s.t.Errorf("the host has %d connections, want %d", n, open)
	}
	if n := s.shared.Hosts()[0].RqActive.Load(); n != 0 {
		s.t.Errorf("the host has %d requests, want 0", n)
	}
	if n := a.CxTaken.Load() + b.CxTaken.Load(); n != taken {
		s.t.Errorf("%d were taken, want %d", n, taken)
	}
	if n := a.CxGiven.Load() + b.CxGiven.Load(); n != taken+lost {
		s.t.Errorf("%d were given, want %d", n, taken+lost)
	}
	if n := a.CxTakeRefused.Load() + b.CxTakeRefused.Load(); n != refused {
		s.t.Errorf("%d were refused, want %d", n, refused)
	}
	if n := a.CxTakeLost.Load() + b.CxTakeLost.Load(); n != lost {
		s.t.Errorf("%d were lost, want %d", n, lost)
	}
	for _, c := range []*Cluster{s.ca, s.cb} {
		idle := int64(0)
		for _, p := range c.pools[upstream.Default] {
			if p != nil {
				idle += int64(p.resting())
				if p.asked() != 0 || p.connecting != 0 {
					s.t.Errorf("a pool waits for %d answers and %d connections", p.asked(), p.connecting)
				}
			}
		}
		if br := c.breakers[upstream.Default]; br != nil && br.member.Idle.Load() != idle {
			s.t.Errorf("the member has %d idle connections, the pools have %d", br.member.Idle.Load(), idle)
		}
	}
}

// A loop without an idle connection gets that of a sibling; it keeps its age and what it has carried.
func TestTake(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	s := newSiblings(t, config(func(c *upstream.Config) {
		c.MaxRequestsPerConnection = 3
		c.MaxConnectionDuration = time.Hour
	}, o.addr), nil)
	o.w = s.a
	p := s.a.exchange(s.ca, o, nil)
	s.wait(150 * time.Millisecond)
	born := s.ca.pools[0][0].idle.createdAt
	x := newOwner()
	if r := s.b.lease(s.cb, x); r != LeasePending {
		t.Fatalf("Lease = %v, want pending", r)
	}
	s.until("taken", func() bool { return s.cb.Stats.CxTaken.Load() == 1 })
	p.w = s.b
	p.wantHead("GET / HTTP/1.1")
	p.send(ok)
	s.until("the answer", func() bool { return x.done })
	s.b.wantLog(x, "ready", "head 200", "end")
	o.wantNone()
	s.want(1, 1, 0, 0)
	if got := s.ca.Stats.CxTotal.Load() + s.cb.Stats.CxTotal.Load(); got != 1 {
		t.Errorf("%d connections were opened, want 1", got)
	}
	if !x.x.Reused() {
		t.Error("Reused = false")
	}
	if c := s.cb.pools[0][0].idle; c == nil || c.requests != 2 || c.createdAt != born {
		t.Fatalf("the connection has %+v", c)
	}
	if rx, tx := s.ca.Stats.CxRxBytes.Load(), s.cb.Stats.CxRxBytes.Load(); rx != uint64(len(ok)) || tx != rx {
		t.Errorf("%d and %d bytes received, want %d each", rx, tx, len(ok))
	}
	// Its third request is its last: max_requests_per_connection counts on.
	s.b.exchange(s.cb, o, p)
	p.wantClosed()
	s.want(0, 1, 0, 0)
}

// What makes a loop open a connection instead.
func TestNotTaken(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		edit    func(*upstream.Config)
		prepare func(s *siblings)
		wait    time.Duration
		prio    upstream.Priority
		fresh   bool
	}{
		{"idle for too short a time", nil, nil, 50 * time.Millisecond, upstream.Default, false},
		{"switched off", func(c *upstream.Config) { c.ShareIdleConnections = false }, nil, time.Second, upstream.Default, false},
		{"another priority", nil, nil, time.Second, upstream.High, false},
		{"a fresh one is wanted", nil, nil, time.Second, upstream.Default, true},
		{"switched off since", nil, func(s *siblings) {
			next := s.changed(func(c *upstream.Config) { c.ShareIdleConnections = false })
			s.b.do(func() { s.b.table.Set(next) })
		}, time.Second, upstream.Default, false},
		{"the process drains", nil, func(s *siblings) { s.a.do(s.a.table.Drain) }, time.Second, upstream.Default, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOrigin(newWorld(t))
			s := newSiblings(t, config(tt.edit, o.addr), nil)
			o.w = s.a
			s.a.exchange(s.ca, o, nil)
			s.wait(tt.wait)
			if tt.prepare != nil {
				tt.prepare(s)
			}
			x := newOwner()
			x.onReady = func() { x.x.SendHead(get("/"), true) }
			s.b.do(func() { s.cb.Lease(s.shared.Hosts()[0], tt.prio, &x.x, tt.fresh) })
			o.w = s.b
			p := o.accept()
			s.settle()
			p.wantHead("GET / HTTP/1.1")
			p.send(ok)
			s.until("the answer", func() bool { return x.done })
			if n := s.ca.Stats.CxGiven.Load() + s.cb.Stats.CxTakeRefused.Load(); n != 0 {
				t.Errorf("%d connections were asked for", n)
			}
		})
	}
}

// The sibling needs the connection itself before it is asked: the answer is no, and one is opened.
func TestTakeRefused(t *testing.T) {
	t.Parallel()
	o := newOrigin(newWorld(t))
	s := newSiblings(t, config(nil, o.addr), nil)
	o.w = s.a
	p := s.a.exchange(s.ca, o, nil)
	s.wait(time.Second)
	x, y := newOwner(), newOwner()
	s.a.loop.Post(func() { leaseNow(s.ca, s.shared.Hosts()[0], y, false) }) // runs before the question
	s.b.lease(s.cb, x)
	s.until("refused", func() bool { return s.cb.Stats.CxTakeRefused.Load() == 1 })
	o.w = s.b
	q := o.accept()
	s.settle()
	q.wantHead("GET / HTTP/1.1")
	q.send(ok)
	p.wantHead("GET / HTTP/1.1")
	p.send(ok)
	s.until("both answers", func() bool { return x.done && y.done })
	s.want(2, 0, 1, 0)
}

// A sibling that does not answer is not waited for. What it gives late becomes idle.
func TestTakeLate(t *testing.T) {
	t.Parallel()
	o := newOrigin(newWorld(t))
	s := newSiblings(t, config(nil, o.addr), nil)
	o.w = s.a
	p := s.a.exchange(s.ca, o, nil)
	s.wait(time.Second)
	x := newOwner()
	s.b.lease(s.cb, x)
	*s.a.now += int64(5 * time.Millisecond) // and loop a does not turn
	s.b.turn(0)
	s.b.turn(0)
	o.w = s.b
	q := o.accept()
	q.wantHead("GET / HTTP/1.1")
	s.until("given", func() bool { return s.cb.Stats.CxTaken.Load() == 1 })
	p.w = s.b
	p.wantOpen()
	q.send(ok)
	s.until("the answer", func() bool { return x.done })
	s.want(2, 1, 1, 0)
	if n := s.cb.pools[0][0].resting(); n != 2 {
		t.Errorf("%d idle connections, want 2", n)
	}
}

// Many miss at once: what there is goes round, the rest is opened.
func TestTakeMany(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go misbehave(ln)
	s := newSiblings(t, config(nil, ln.Addr().String()), nil)
	run := func(w *world, c *Cluster, n int) {
		t.Helper()
		list := make([]*owner, n)
		w.do(func() {
			for i := range list {
				x := newOwner()
				x.onReady = func() { x.x.SendHead(get("/ok"), true) }
				list[i] = x
				leaseNow(c, s.shared.Hosts()[0], x, false)
			}
		})
		s.until("all answers", func() bool {
			for _, x := range list {
				if !x.done {
					return false
				}
			}
			return true
		})
		s.settle()
	}
	run(s.a, s.ca, 10)
	s.wait(time.Second)
	run(s.b, s.cb, 4)
	s.want(10, 4, 0, 0)
	s.wait(time.Second)
	run(s.b, s.cb, 14)
	if n := s.cb.Stats.CxTaken.Load(); n != 10 {
		t.Errorf("%d taken, want 10", n)
	}
	s.wait(time.Second)
	run(s.a, s.ca, 3)
	if n := s.ca.Stats.CxTaken.Load(); n != 3 {
		t.Errorf("%d taken, want 3", n)
	}
}

// A connection whose taker wants it no more, or ends, is closed, and counted nowhere.
func TestTakeLost(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		edit func(*engine.LoopConfig)
		meet func(s *siblings) // after loop b has asked
		lost uint64
		dial bool
		left int64
	}{
		{"removed", nil, func(s *siblings) {
			s.b.loop.Post(func() { s.b.table.Remove(0) })
			s.a.turn(0) // gives
		}, 1, true, 0},
		{"another config", nil, func(s *siblings) {
			next := s.changed(func(c *upstream.Config) { c.MaxHeadersCount = 7 })
			s.b.loop.Post(func() { s.b.table.Set(next) })
			s.a.turn(0)
		}, 1, true, 0},
		{"loop full", func(c *engine.LoopConfig) { c.ConnsMax = 0 }, func(s *siblings) { s.a.turn(0) }, 1, false, 0},
		{"loop ended", nil, func(s *siblings) { s.a.turn(0); s.b.loop.Close() }, 0, false, 0},
		{"loop ended before", nil, func(s *siblings) { s.b.loop.Close(); s.a.turn(0) }, 0, false, 0},
		{"giver ended", nil, func(s *siblings) { s.a.loop.Close(); s.b.advance(5 * time.Millisecond) }, 0, true, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOrigin(newWorld(t))
			s := newSiblings(t, config(nil, o.addr), tt.edit)
			o.w = s.a
			p := s.a.exchange(s.ca, o, nil)
			s.wait(time.Second)
			x := newOwner()
			s.b.lease(s.cb, x)
			tt.meet(s)
			if tt.dial {
				o.w = s.b
				s.b.settle()
				q := o.accept()
				q.wantHead("GET / HTTP/1.1")
				q.send(ok)
				s.b.until("the answer", func() bool { return x.done })
			} else if tt.edit != nil {
				s.b.until("the end", func() bool { return x.done })
			}
			p.w = newWorld(t)
			p.wantClosed()
			if n := s.cb.Stats.CxTakeLost.Load(); n != tt.lost {
				t.Errorf("%d lost, want %d", n, tt.lost)
			}
			open := s.shared.Hosts()[0].CxActive.Load()
			if n := s.shared.Budgets[upstream.Default].Active(upstream.Connections); n != open {
				t.Errorf("the budget has %d connections, the host %d", n, open)
			}
			if open != tt.left {
				t.Errorf("%d connections are left, want %d", open, tt.left)
			}
		})
	}
}

func TestTakeWithTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert := ca.issue("host.test")
	addr := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{cert}}, []string{"http/1.1"},
		func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "ok") })
	for _, version := range []string{"1.2", "1.3"} {
		s := newSiblings(t, config(ca.secured(func(c *upstream.Config) { c.TLS.MinVersion, c.TLS.MaxVersion = version, version }), addr), nil)
		s.a.fetch(s.ca)
		for i := range 4 {
			s.settle()
			s.wait(time.Second)
			w, c := s.b, s.cb
			if i%2 == 1 {
				w, c = s.a, s.ca
			}
			x := newOwner()
			w.lease(c, x)
			s.until("the exchange", func() bool { return x.done })
			if x.x.Session() == nil || string(x.body) != "ok" {
				t.Fatalf("session %v, body %q after %q", x.x.Session(), x.body, x.log)
			}
		}
		s.want(1, 4, 0, 0)
		if n := s.ca.TLSStats.Handshake.Load() + s.cb.TLSStats.Handshake.Load(); n != 1 {
			t.Errorf("%d handshakes, want 1", n)
		}
	}
}

// The host ends the connection at any point of the move: the request fails as on any connection that has lain idle, and is retried.
func TestTakeHostCloses(t *testing.T) {
	t.Parallel()
	for at := range 6 {
		o := newOrigin(newWorld(t))
		s := newSiblings(t, config(nil, o.addr), nil)
		o.w = s.a
		p := s.a.exchange(s.ca, o, nil)
		s.wait(time.Second)
		x := newOwner()
		steps := []func(){
			func() { s.b.loop.Post(func() { leaseNow(s.cb, s.shared.Hosts()[0], x, false) }) },
			func() { s.b.turn(0) },
			func() { s.a.turn(0) },
			func() { s.b.turn(0) },
			func() { s.b.turn(0) },
			s.settle,
		}
		for i, step := range steps {
			if i == at {
				p.c.Close()
			}
			step()
		}
		s.settle()
		switch {
		case !x.done: // it was closed before it was given, and another one opened
			q := o.accept()
			s.settle()
			q.w = s.b
			q.wantHead("GET / HTTP/1.1")
			q.send(ok)
			s.until("the answer", func() bool { return x.done })
		case !x.x.Reused():
			t.Errorf("step %d: %q, and Reused = false", at, x.log)
		}
		open := s.shared.Hosts()[0].CxActive.Load()
		if n := s.ca.Stats.CxActive.Load() + s.cb.Stats.CxActive.Load(); n != open || s.shared.Budgets[0].Active(upstream.Connections) != open {
			t.Errorf("step %d: host %d, loops %d connections", at, open, n)
		}
	}
}

// Leases, cancels, ends and changes of the config on both loops in any order: at the end the counts are those of what is there.
func TestTakeChaos(t *testing.T) {
	t.Parallel()
	all := uint64(0)
	for seed := range uint64(9) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			go misbehave(ln)
			rng := rand.New(rand.NewPCG(seed, 7))
			paths := []string{"/ok", "/ok", "/ok", "/chunked", "/last", "/lie", "/never", "/reset"}
			s := newSiblings(t, config(func(c *upstream.Config) {
				c.IdleTimeout = 700 * time.Millisecond
				c.MaxRequestsPerConnection = 9
				switch seed % 3 { // loops wait for one another's connections too
				case 1:
					c.CircuitBreakers.MaxConnections = 6
				case 2:
					c.CircuitBreakers.PerHostThresholds.MaxConnections = 6
				}
			}, ln.Addr().String()), nil)
			loops := []*world{s.a, s.b}
			clusters := []*Cluster{s.ca, s.cb}
			live := map[*owner]bool{}
			for range 800 {
				i := rng.IntN(2)
				switch rng.IntN(7) {
				case 0, 1, 2:
					x := newOwner()
					path := paths[rng.IntN(len(paths))]
					x.onReady = func() { x.x.SendHead(get(path), true) }
					x.onEnd = func() { delete(live, x) }
					x.onReset = x.onEnd
					loops[i].loop.Post(func() {
						live[x] = true
						if leaseNow(clusters[i], s.shared.Hosts()[0], x, rng.IntN(5) == 0) == LeaseOverflow {
							delete(live, x)
						}
					})
				case 3:
					loops[i].turn(0)
				case 4:
					*s.a.now += int64(rng.IntN(200)) * int64(time.Millisecond)
				case 5:
					for x := range live {
						if on := x.x.pool; on != nil {
							on.cluster.loop.Post(func() {
								if live[x] {
									x.x.Cancel()
									delete(live, x)
								}
							})
							break
						}
					}
				case 6:
					s.until("a moment", func() bool { return true })
					s.a.turn(time.Millisecond)
					s.b.turn(time.Millisecond)
				}
			}
			s.until("all ends", func() bool { return len(live) == 0 })
			s.settle()
			s.wait(5 * time.Millisecond)
			s.settle()
			open := s.shared.Hosts()[0].CxActive.Load()
			a, b := &s.ca.Stats, &s.cb.Stats
			taken := a.CxTaken.Load() + b.CxTaken.Load()
			s.want(open, taken, a.CxTakeRefused.Load()+b.CxTakeRefused.Load(), a.CxTakeLost.Load()+b.CxTakeLost.Load())
			if d := a.CxTotal.Load() + b.CxTotal.Load() - a.CxDestroy.Load() - b.CxDestroy.Load() - a.CxConnectFail.Load() - b.CxConnectFail.Load(); int64(d) < open {
				t.Errorf("%d connections opened and not ended, %d are open", d, open)
			}
			all += taken
			t.Logf("%d taken, %d refused", taken, a.CxTakeRefused.Load()+b.CxTakeRefused.Load())
		})
	}
	if all == 0 {
		t.Error("nothing was taken")
	}
}

// TestShareAllocs: what a loop tells its siblings costs a request no allocation.
func TestShareAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	y := newShared(t)
	if n := testing.AllocsPerRun(500, y.run); n != 0 {
		t.Errorf("an exchange on a shared pool allocates %v times, want 0", n)
	}
}

// newShared is a warm pool whose siblings may take from it.
func newShared(t testing.TB) *cycle {
	y := newCycle(t, nil, get("/"), "", ok)
	y.c.settings.shares = true
	y.run()
	if len(y.c.Shared().Hosts()[0].Idle.List()) != 1 {
		t.Fatal("the pool is not shared")
	}
	return y
}

// BenchmarkLeaseShared is BenchmarkLease where siblings may take from the pool.
func BenchmarkLeaseShared(b *testing.B) { newShared(b).lease(b) }
