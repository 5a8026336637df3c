package pool

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/codec"
	"millrace/engine"
	"millrace/upstream"
)

// behaviours are what a host does, by the path it is asked for. Each returns whether the
// connection goes on.
var behaviours = map[string]func(c net.Conn) bool{
	"/ok": func(c net.Conn) bool { return say(c, ok) },
	"/chunked": func(c net.Conn) bool {
		return say(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
	},
	"/hints": func(c net.Conn) bool { return say(c, "HTTP/1.1 103 Early Hints\r\n\r\n"+ok) },
	"/big": func(c net.Conn) bool {
		return say(c, "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n"+strings.Repeat("x", 300000))
	},
	"/last": func(c net.Conn) bool {
		say(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		return false
	},
	"/lie":     func(c net.Conn) bool { say(c, ok); return false }, // says keep-alive, closes
	"/until":   func(c net.Conn) bool { say(c, "HTTP/1.1 200 OK\r\n\r\nabc"); return false },
	"/half":    func(c net.Conn) bool { say(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"); return false },
	"/garbage": func(c net.Conn) bool { return say(c, "220 smtp ready\r\n") },
	"/extra":   func(c net.Conn) bool { return say(c, ok+"HTTP/1.1 200 OK\r\n") },
	"/never":   func(c net.Conn) bool { return false },
	"/reset": func(c net.Conn) bool {
		if tc, isTCP := c.(*net.TCPConn); isTCP {
			_ = tc.SetLinger(0)
		}
		return false
	},
}

func say(c net.Conn, s string) bool {
	_, err := io.WriteString(c, s)
	return err == nil
}

// misbehave serves ln by behaviours.
func misbehave(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			for r := bufio.NewReader(c); ; {
				rq, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				if do := behaviours[rq.URL.Path]; do == nil || !do(c) { // nil: the preface of HTTP/2
					return
				}
				if _, err := io.Copy(io.Discard, rq.Body); err != nil {
					return
				}
			}
		}()
	}
}

// chaos is many owners that do what they like, on a cluster that changes under them.
type chaos struct {
	t       *testing.T
	w       *world
	rng     *rand.Rand
	c       *Cluster
	addrs   []string
	paths   []string
	owners  []*imp
	started int
	limit   int
	edit    func(*upstream.Config)
	body    string
	names   []string // one of which TLS asks for
	twin    *chaos   // on another loop that has the same cluster, or nil
	seen    []*Cluster
}

// all returns the loops.
func (ch *chaos) all() []*chaos {
	if ch.twin == nil {
		return []*chaos{ch}
	}
	return []*chaos{ch, ch.twin}
}

// addOwners makes those that lease.
func (ch *chaos) addOwners(n int) {
	for range n {
		o := &imp{ch: ch}
		o.x.Owner = o
		ch.owners = append(ch.owners, o)
	}
}

// now takes note of the cluster that is in force on the loop.
func (ch *chaos) now(c *Cluster) {
	if ch.c = c; len(ch.seen) == 0 || ch.seen[len(ch.seen)-1] != c {
		ch.seen = append(ch.seen, c)
	}
}

// imp leases, sends, pauses and cancels at random, and checks that it is told of one end.
type imp struct {
	ch     *chaos
	x      Exchange
	head   codec.ResponseHead
	leased bool
	body   bool // a body is still to be sent
	paused int
}

func (o *imp) begin() {
	ch := o.ch
	if ch.started >= ch.limit {
		return
	}
	ch.started++
	var p upstream.Pick
	h := ch.c.Pick(&p)
	if h == nil {
		return
	}
	o.leased, o.paused = true, 0
	var name []byte
	if len(ch.names) > 0 {
		name = []byte(ch.names[ch.rng.IntN(len(ch.names))])
	}
	switch ch.c.LeaseNamed(name, h, upstream.Priority(ch.rng.IntN(8)/7), &o.x, ch.rng.IntN(4) == 0) {
	case LeaseReady:
		o.OnReady()
	case LeaseOverflow:
		o.leased = false
	}
}

// over is called for each end of an exchange, told or not.
func (o *imp) over(what string) {
	if !o.leased {
		o.ch.t.Errorf("%s of an exchange that is over", what)
	}
	if o.x.Active() || o.x.Pending() {
		o.ch.t.Errorf("%s, but the exchange is not free", what)
	}
	o.leased = false
	if o.ch.rng.IntN(3) == 0 {
		o.begin()
	}
}

func (o *imp) maybeCancel(odds int) bool {
	if o.leased && o.ch.rng.IntN(odds) == 0 {
		o.x.Cancel()
		o.over("Cancel")
		return true
	}
	return false
}

func (o *imp) OnReady() {
	if !o.leased || !o.x.Active() {
		o.ch.t.Error("OnReady of an exchange without a connection")
	}
	if o.maybeCancel(10) {
		return
	}
	path := o.ch.paths[o.ch.rng.IntN(len(o.ch.paths))]
	if o.body = o.ch.rng.IntN(3) == 0; o.body {
		o.x.SendHead(request(codec.MethodPOST, path, int64(len(o.ch.body))), false)
	} else {
		o.x.SendHead(get(path), true)
	}
	o.maybeCancel(20)
}

func (o *imp) ResponseHead() *codec.ResponseHead { return &o.head }

func (o *imp) OnResponseHead(end bool) {
	if end {
		o.over("head")
	} else if !o.maybeCancel(20) && o.ch.rng.IntN(5) == 0 {
		o.x.PauseRead()
		o.paused++
	}
}

func (o *imp) OnResponseData(_ []byte, end bool) {
	if end {
		o.over("data")
	} else if !o.maybeCancel(20) && o.ch.rng.IntN(5) == 0 {
		o.x.PauseRead()
		o.paused++
	}
}

func (o *imp) OnResponseTrailers(*codec.Fields) { o.over("trailers") }
func (o *imp) OnWriteLow()                      {}
func (o *imp) OnReset(why ResetReason, _ string) {
	o.over("reset " + why.String())
}

// step does one thing from outside.
func (o *imp) step() {
	switch {
	case !o.leased:
		o.begin()
	case o.paused > 0:
		o.paused--
		o.x.ResumeRead()
	case o.body && o.x.Active():
		o.body = false
		o.x.SendData([]byte(o.ch.body), true)
	default:
		o.maybeCancel(30)
	}
}

// reload changes the cluster.
func (ch *chaos) reload() {
	cfg := config(ch.edit)
	for _, a := range ch.addrs {
		if ch.rng.IntN(4) > 0 {
			cfg.Hosts = append(cfg.Hosts, upstream.HostConfig{Address: a, Weight: 1})
		}
	}
	cfg.IdleTimeout = time.Duration(1+ch.rng.IntN(2)) * time.Minute
	cfg.MaxRequestsPerConnection = uint32(ch.rng.IntN(3) * 4)
	cfg.CircuitBreakers.MaxConnections = uint32(ch.rng.IntN(6))
	cfg.CircuitBreakers.MaxPendingRequests = uint32(4 + ch.rng.IntN(20))
	cfg.CircuitBreakers.MaxRequests = uint32(4 + ch.rng.IntN(20))
	cfg.CircuitBreakers.PerHostThresholds.MaxConnections = uint32(ch.rng.IntN(4))
	cfg.PreconnectPolicy.PerUpstreamPreconnectRatio = 1 + float64(ch.rng.IntN(3))
	cfg.PreconnectPolicy.PredictivePreconnectRatio = 1 + float64(ch.rng.IntN(3))
	cfg.CircuitBreakers.MaxPendingDuration = time.Duration(ch.rng.IntN(3)) * 20 * time.Second
	prev := (*upstream.Cluster)(nil)
	if ch.c != nil {
		prev = ch.c.Shared()
	}
	if ch.c != nil && ch.rng.IntN(10) == 0 {
		for _, at := range ch.all() {
			at.w.do(func() { at.w.table.Remove(0) })
		}
		prev = nil
	}
	ch.now(ch.w.set(cfg, prev))
	if at := ch.twin; at != nil {
		shared := ch.c.Shared()
		at.w.do(func() { at.w.table.Set(shared) })
		at.now(at.w.table.Cluster(0))
	}
}

// faults makes reads and writes short.
type faults struct{ rng *rand.Rand }

func (f faults) ReadMax(want int) int  { return f.rng.IntN(min(want, 1<<15) + 1) }
func (f faults) WriteMax(want int) int { return f.rng.IntN(want + 1) }

// TestChaos: whatever hosts, owners and reloads do, each exchange ends once, and at the end nothing is
// left counted.
func TestChaos(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 99))
			w := newWorldWith(t, func(l *engine.LoopConfig) {
				if seed%2 == 1 {
					l.Faults = faults{rng}
				}
			})
			ch := &chaos{t: t, w: w, rng: rng, limit: 1500, body: "abc"}
			for path := range behaviours {
				ch.paths = append(ch.paths, path)
			}
			for range 3 {
				o := newOrigin(ch.w)
				go misbehave(o.ln)
				ch.addrs = append(ch.addrs, o.addr)
			}
			dead := newOrigin(ch.w)
			dead.ln.Close()
			ch.addrs = append(ch.addrs, dead.addr)
			ch.addOwners(12)
			ch.run()
		})
	}
}

func (ch *chaos) run() {
	for start := time.Now(); ch.started < ch.limit; {
		if time.Since(start) > 2*patience {
			ch.t.Fatalf("%d of %d exchanges after %s", ch.started, ch.limit, 2*patience)
		}
		if ch.c == nil || ch.rng.IntN(40) == 0 {
			ch.reload()
		}
		for _, at := range ch.all() {
			o := at.owners[ch.rng.IntN(len(at.owners))]
			at.w.do(o.step)
		}
		if ch.rng.IntN(200) == 0 {
			ch.w.advance(time.Minute)
		}
	}
	for _, at := range ch.all() {
		for _, o := range at.owners {
			at.w.do(func() {
				if o.leased {
					o.x.Cancel()
					o.leased = false
				}
			})
		}
		at.w.do(func() { at.w.table.Remove(0) })
	}
	for _, at := range ch.all() {
		at.w.until("connects", func() bool {
			for _, other := range ch.all() {
				other.w.turn(0)
			}
			return !slices.ContainsFunc(at.seen, func(c *Cluster) bool { return c.Stats.CxActive.Load() != 0 })
		})
	}
	for _, at := range ch.all() {
		at.wantNothing()
	}
}

// wantNothing checks that nothing is left of the clusters.
func (ch *chaos) wantNothing() {
	for _, c := range ch.seen {
		ch.w.wantIdle(c, 0)
		if c.idle != 0 || c.connecting != 0 || c.muxSpare != 0 {
			ch.t.Errorf("%d idle, %d connecting, room for %d; want none", c.idle, c.connecting, c.muxSpare)
		}
		for _, b := range c.Shared().Budgets {
			if b.Members() != 0 || b.Waiting() || b.Active(upstream.Connections) != 0 {
				ch.t.Errorf("%d members left, waiting %t, %d connections; want none", b.Members(), b.Waiting(), b.Active(upstream.Connections))
			}
		}
		for _, h := range c.Shared().Hosts() {
			if h.Room.Members() != 0 || h.Room.Waiting() || h.CxActive.Load() != 0 || len(h.Idle.List()) != 0 {
				ch.t.Errorf("host %s: %d members left, waiting %t, %d connections, %d pools that share; want none",
					h.Name, h.Room.Members(), h.Room.Waiting(), h.CxActive.Load(), len(h.Idle.List()))
			}
		}
	}
}

// TestPanicInACallback: a panic of the owner ends its connection and leaks nothing.
func TestPanicInACallback(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"head", "end"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			panics := 0
			w := newWorldWith(t, func(l *engine.LoopConfig) { l.OnPanic = func(any, []byte) { panics++ } })
			o := newOrigin(w)
			c := w.set(config(nil, o.addr), nil)
			a := newOwner()
			if where == "head" {
				a.onHead = func() { panic("test") }
			} else {
				a.onEnd = func() { panic("test") }
			}
			w.lease(c, a)
			p := o.accept()
			p.wantHead("GET / HTTP/1.1")
			p.send(ok)
			p.wantClosed()
			if panics != 1 {
				t.Errorf("%d panics, want 1", panics)
			}
			w.wantIdle(c, 0)
			w.exchange(c, o, nil)
		})
	}
}
