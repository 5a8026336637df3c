package pool

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"millrace/engine"
	"millrace/engine/certs"
	"millrace/upstream"
)

// running is two loops that run, on a clock that can be moved, with the same cluster.
type running struct {
	b        testing.TB
	loops    [2]*engine.Loop
	tables   [2]*Table
	clusters [2]*Cluster
	ahead    atomic.Int64
}

func startPair(b testing.TB, cfg *upstream.Config) *running {
	b.Helper()
	r := &running{b: b}
	base := time.Now()
	shared, err := upstream.New(0, cfg, nil)
	if err != nil {
		b.Fatal(err)
	}
	if cfg.TLS != nil {
		if shared.TLS, err = certs.NewStore(certs.StoreOptions{}).Client(cfg.TLS); err != nil {
			b.Fatal(err)
		}
	}
	for i := range r.loops {
		lc := engine.DefaultLoopConfig()
		lc.Clock = func() int64 { return int64(time.Hour) + int64(time.Since(base)) + r.ahead.Load() }
		if r.loops[i], err = engine.NewLoop(i, lc); err != nil {
			b.Fatal(err)
		}
		r.tables[i] = NewTable(r.loops[i], func(*upstream.Cluster) upstream.Balancer { return &inTurn{} })
		r.tables[i].SetSiblings()
		done := make(chan struct{})
		go func() { defer close(done); _ = r.loops[i].Run() }()
		b.Cleanup(func() { r.loops[i].Stop(); <-done })
		r.on(i, func() { r.tables[i].Set(shared); r.clusters[i] = r.tables[i].Cluster(0) })
	}
	return r
}

func (r *running) on(i int, f func()) {
	done := make(chan struct{})
	r.loops[i].Post(func() { f(); close(done) })
	<-done
}

// timed runs one exchange on loop i and returns how long it waited for its connection.
func (r *running) timed(i int) (wait time.Duration) {
	done := make(chan struct{})
	x := newOwner()
	r.loops[i].Post(func() {
		begun := time.Now()
		x.onReady = func() { wait = time.Since(begun); x.x.SendHead(get("/ok"), true) }
		x.onEnd = func() { close(done) }
		leaseNow(r.clusters[i], r.clusters[i].Shared().Hosts()[0], x, false)
	})
	<-done
	return wait
}

// BenchmarkMiss is how long a request waits for a connection that its loop has not got: opened, or taken from another loop that sleeps.
func BenchmarkMiss(b *testing.B) {
	ca := newAuthority(b)
	cert := ca.issue("host.test")
	for _, secured := range []bool{false, true} {
		for _, shared := range []bool{false, true} {
			b.Run(fmt.Sprintf("tls=%v/taken=%v", secured, shared), func(b *testing.B) {
				edit := func(c *upstream.Config) {
					c.ShareIdleConnections = shared
					c.IdleTimeout = 150 * time.Millisecond
					if shared {
						c.IdleTimeout = time.Hour
					}
				}
				var addr string
				if secured {
					addr = serveTLS(b, &tls.Config{Certificates: []tls.Certificate{cert}}, []string{"http/1.1"},
						func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "ok") })
					edit = ca.secured(edit)
				} else {
					ln, err := net.Listen("tcp", "127.0.0.1:0")
					if err != nil {
						b.Fatal(err)
					}
					defer ln.Close()
					go misbehave(ln)
					addr = ln.Addr().String()
				}
				r := startPair(b, config(edit, addr))
				r.timed(0)
				i, sum := 0, time.Duration(0)
				for b.Loop() {
					i++
					r.ahead.Add(int64(200 * time.Millisecond))
					for l := range r.loops { // they see the time, and end what is idle too long
						r.on(l, func() {})
						r.on(l, func() {})
					}
					sum += r.timed(i % 2)
				}
				b.ReportMetric(float64(sum.Microseconds())/float64(b.N), "µs-wait/op")
				b.ReportMetric(float64(r.clusters[0].Stats.CxTotal.Load()+r.clusters[1].Stats.CxTotal.Load())/float64(b.N), "dials/op")
			})
		}
	}
}
