package router_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/engine"
	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/httpconn"
	"millrace/filters/route"
	"millrace/filters/router"
	"millrace/upstream"
	"millrace/upstream/lb"
	"millrace/upstream/pool"
)

// mix is connection manager, router and pool in front of one origin, on a loop of its own, with all their counters.
type mix struct {
	t        *testing.T
	addr     string
	origins  net.Listener
	loop     *engine.Loop
	registry *stats.Registry
	cluster  *pool.Cluster
	leased   int64 // of the arena, before there was any connection
}

// newMix makes a mix whose origin speaks HTTP/1.1 or 2. Its listener is the caller's to serve.
func newMix(t *testing.T, http2 bool, edit func(*httpconn.Config, *route.ForwardConfig, *upstream.Config)) *mix {
	t.Helper()
	m := &mix{t: t, registry: &stats.Registry{}}
	var err error
	if m.origins, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	lc := engine.DefaultLoopConfig()
	lc.OnPanic = func(v any, stack []byte) { t.Errorf("panic on the loop: %v\n%s", v, stack) }
	if m.loop, err = engine.NewLoop(0, lc); err != nil {
		t.Fatal(err)
	}
	register := func(scope stats.Scope, set any) any {
		m.registry.Add(scope, set)
		return set
	}
	table := pool.NewTable(m.loop, func(c *upstream.Cluster) upstream.Balancer {
		b, err := lb.New(c.Config.LbPolicy, c.Config, m.loop.Rand())
		if err != nil {
			t.Error(err)
		}
		return b
	})
	cluster := upstream.DefaultConfig("web")
	if http2 {
		cluster.Protocol = "http2"
	}
	cluster.Hosts = []upstream.HostConfig{{Address: m.origins.Addr().String(), Weight: 1}}
	forward := route.ForwardConfig{Cluster: "web", ClusterNotFoundResponseCode: 503, Timeout: 15 * time.Second, Priority: "default"}
	cfg := &httpconn.Config{
		ServerName: "millrace", UseRemoteAddress: true, MaxRequestHeadersKb: 60, MaxHeadersCount: 100, Proxy100Continue: true,
		IdleTimeout: time.Hour, RequestHeadersTimeout: 10 * time.Second, StreamIdleTimeout: 5 * time.Minute,
		DrainTimeout: 5 * time.Second, DelayedCloseTimeout: time.Second,
	}
	if edit != nil {
		edit(cfg, &forward, &cluster)
	}
	compiled, err := upstream.New(0, &cluster, nil)
	if err != nil {
		t.Fatal(err)
	}
	table.Set(compiled)
	m.cluster = table.Cluster(0)
	m.registry.Add(stats.ClusterScope("web"), &m.cluster.Stats)
	plain := forward
	if c := forward.ConnectConfig; c != nil {
		post := *c
		connect := *c
		plain.ConnectConfig, forward.ConnectConfig = nil, &connect
		if connect.AllowPost = false; post.AllowPost {
			plain.ConnectConfig = &post
		}
	}
	routes, problems := route.Compile(&route.Config{Routes: []route.RouteConfig{
		{Match: route.MatchConfig{Prefix: "/"}, Route: &plain},
		{Match: route.MatchConfig{ConnectMatcher: &route.ConnectMatcherConfig{}}, Route: &forward},
	}}, func(string) (uint32, bool) { return 0, true }, nil)
	if routes == nil {
		t.Fatal(problems)
	}
	chain := filters.NewChain(router.New(&router.Config{}, router.Deps{Loop: m.loop, Clusters: table, Stats: register, Scope: stats.HTTPScope("in")}))
	manager, err := httpconn.NewManager(cfg, httpconn.Deps{
		Loop: m.loop, Chain: chain, Routes: routes, Stats: register, Scope: stats.HTTPScope("in"), ListenerScope: stats.ListenerScope("l"),
	})
	if err != nil {
		t.Fatal(err)
	}
	at, err := engine.ParseAddr("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := engine.Listen(at, engine.ListenerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bound, err := engine.LocalAddr(fd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.loop.AddListener(fd, engine.ListenerOptions{}, acceptor{manager}); err != nil {
		t.Fatal(err)
	}
	m.addr, m.leased = bound.String(), m.loop.Arena().Leased()
	done := make(chan error)
	go func() { done <- m.loop.Run() }()
	t.Cleanup(func() {
		m.loop.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = m.origins.Close()
	})
	return m
}

// on runs f on the loop and waits for it.
func (m *mix) on(f func()) {
	done := make(chan struct{})
	m.loop.Post(func() { f(); close(done) })
	<-done
}

// active returns the gauges that are not 0 of requests and streams, and the counters whose names are given.
func (m *mix) active(counters ...string) string {
	var text strings.Builder
	m.registry.Each(func(x *stats.Metric) bool {
		name := x.Scope.Prefix + x.Name
		show := x.Kind == stats.KindGauge && x.Value != 0 && !strings.Contains(name, "cx_") && !strings.Contains(name, "membership")
		for _, c := range counters {
			show = show || x.Name == c && x.Value != 0
		}
		if show {
			fmt.Fprintf(&text, "%s=%d ", name, x.Value)
		}
		return true
	})
	return strings.TrimSpace(text.String())
}

// wantQuiet waits until no request is under way anywhere, and checks that nothing is left of any.
func (m *mix) wantQuiet() {
	m.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		got := m.active()
		var leased int64
		m.on(func() { leased = m.loop.Arena().Leased() })
		if got == "" {
			return
		}
		if time.Now().After(end) {
			m.t.Fatalf("left: %s, %d bytes of blocks", got, leased-m.leased)
		}
	}
}

// noise is a body that is told by its seed.
type noise struct {
	seed uint64
	left int
	off  uint64
}

func (n *noise) Read(p []byte) (int, error) {
	if n.left == 0 {
		return 0, io.EOF
	}
	p = p[:min(len(p), n.left)]
	for i := range p {
		var b [8]byte
		at := n.off + uint64(i)
		binary.LittleEndian.PutUint64(b[:], (n.seed*0x9e3779b97f4a7c15+at/8)*0xd6e8feb86659fd93)
		p[i] = b[at%8] ^ byte(at>>11)
	}
	n.off += uint64(len(p))
	n.left -= len(p)
	return len(p), nil
}

// check reads all of r, which must be the noise of a seed and a size.
func check(r io.Reader, seed uint64, size int) error {
	want := &noise{seed: seed, left: size}
	got, expected := make([]byte, 8<<10), make([]byte, 8<<10)
	total := 0
	for {
		n, err := r.Read(got)
		k, _ := io.ReadFull(want, expected[:n])
		if k != n || !bytes.Equal(got[:n], expected[:n]) {
			return fmt.Errorf("%w of %d at about %d", errForeign, seed, total)
		}
		total += n
		if err == io.EOF {
			if total != size {
				return fmt.Errorf("%w: %d bytes of %d, want %d", errForeign, total, seed, size)
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// errForeign says that a body is not what it should be.
var errForeign = errors.New("foreign bytes")

// slow pauses now and then.
type slow struct {
	io.Reader
	rng *rand.Rand
}

func (s slow) Read(p []byte) (int, error) {
	if s.rng.IntN(20) == 0 {
		time.Sleep(time.Duration(s.rng.IntN(2000)) * time.Microsecond)
	}
	return s.Reader.Read(p[:min(len(p), 1+s.rng.IntN(40000))])
}

// serveNoise answers each request with noise, as its fields say, after or while it checks that the request is noise.
func serveNoise(t *testing.T) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		num := func(name string) int {
			n, err := strconv.Atoi(r.Header.Get(name))
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			return n
		}
		seed := num("X-Seed")
		rng := rand.New(rand.NewPCG(uint64(seed), 3))
		err := make(chan error, 1)
		read := func() { err <- check(slow{r.Body, rand.New(rand.NewPCG(uint64(seed), 4))}, uint64(seed), num("X-Up")) }
		if r.Header.Get("X-Full-Duplex") != "" && r.ProtoMajor == 2 {
			go read()
		} else {
			read()
		}
		if r.Header.Get("X-Length") != "" {
			w.Header().Set("Content-Length", r.Header.Get("X-Down"))
		}
		w.Header().Set("Trailer", "X-Sum")
		left := &noise{seed: uint64(seed) + 1, left: num("X-Down")}
		buf := make([]byte, 32<<10)
		die := rng.IntN(10) == 0 && r.Header.Get("X-May-Die") != ""
		for {
			n, e := slow{left, rng}.Read(buf)
			if e != nil {
				break
			}
			if die && rng.IntN(4) == 0 {
				panic(http.ErrAbortHandler)
			}
			if _, e := w.Write(buf[:n]); e != nil {
				return
			}
			if rng.IntN(8) == 0 {
				_ = http.NewResponseController(w).Flush()
			}
		}
		if e := <-err; errors.Is(e, errForeign) && r.Context().Err() == nil {
			t.Errorf("request: %v", e)
		}
		w.Header().Set("X-Sum", strconv.Itoa(seed))
	})
}

// TestMixedVersions: whatever versions meet, with bodies of any size both ways, pauses, and ends in the middle, each
// message arrives as it was sent and nothing is left in the end.
func TestMixedVersions(t *testing.T) {
	t.Parallel()
	for _, v := range []struct{ down, up bool }{{true, false}, {true, true}, {false, true}, {false, false}} {
		t.Run(fmt.Sprintf("h%d to h%d", 1+btoi(v.down), 1+btoi(v.up)), func(t *testing.T) {
			t.Parallel()
			runMixed(t, v.down, v.up)
		})
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func protocols(http2 bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(!http2)
	p.SetUnencryptedHTTP2(http2)
	return p
}

func runMixed(t *testing.T, down, up bool) {
	m := newMix(t, up, func(_ *httpconn.Config, _ *route.ForwardConfig, c *upstream.Config) {
		c.HTTP2.InitialStreamWindowSize, c.HTTP2.InitialConnectionWindowSize = 65535, 80000
	})
	origin := &http.Server{Handler: serveNoise(t), Protocols: protocols(up)}
	go func() { _ = origin.Serve(m.origins) }()
	transport := &http.Transport{Protocols: protocols(down), MaxConnsPerHost: 20}
	var wg sync.WaitGroup
	var good, cut sync.Map
	for worker := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(worker), 9))
			for i := range 15 {
				seed := worker<<10 | i
				sizes := []int{0, 1, 100, 16384, 70000, 200000, rng.IntN(400000)}
				upSize, downSize := sizes[rng.IntN(len(sizes))], sizes[rng.IntN(len(sizes))]
				ctx, cancel := context.WithCancel(context.Background())
				if rng.IntN(5) == 0 {
					time.AfterFunc(time.Duration(rng.IntN(8000))*time.Microsecond, cancel)
				}
				body := io.Reader(slow{&noise{seed: uint64(seed), left: upSize}, rand.New(rand.NewPCG(uint64(seed), 5))}) // read by another goroutine
				rq, err := http.NewRequestWithContext(ctx, "POST", "http://"+m.addr+"/", body)
				if err != nil {
					t.Error(err)
				}
				if rng.IntN(2) == 0 && upSize > 0 {
					rq.ContentLength = int64(upSize)
				}
				rq.Header.Set("X-Seed", strconv.Itoa(seed))
				rq.Header.Set("X-Up", strconv.Itoa(upSize))
				rq.Header.Set("X-Down", strconv.Itoa(downSize))
				rq.Header.Set("TE", "trailers")
				for _, f := range []string{"X-Length", "X-Full-Duplex", "X-May-Die"} {
					if rng.IntN(2) == 0 {
						rq.Header.Set(f, "1")
					}
				}
				rs, err := transport.RoundTrip(rq)
				if err == nil {
					if rs.StatusCode == 200 {
						err = check(slow{rs.Body, rng}, uint64(seed)+1, downSize)
						if err == nil && rs.Trailer.Get("X-Sum") != "" && rs.Trailer.Get("X-Sum") != strconv.Itoa(seed) {
							err = fmt.Errorf("%w: trailer", errForeign)
						}
					} else {
						err = fmt.Errorf("status %d", rs.StatusCode)
					}
					_ = rs.Body.Close()
				}
				switch {
				case err == nil:
					good.Store(seed, true)
				case errors.Is(err, errForeign):
					t.Errorf("response of %d: %v", seed, err)
				case ctx.Err() == nil && rq.Header.Get("X-May-Die") == "":
					t.Errorf("%d: %v", seed, err)
				default:
					cut.Store(seed, true)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	m.wantQuiet()
	transport.CloseIdleConnections()
	_ = origin.Close()
	size := func(s *sync.Map) (n int) { s.Range(func(any, any) bool { n++; return true }); return n }
	t.Logf("%d whole, %d cut off", size(&good), size(&cut))
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var leased int64
		m.on(func() { leased = m.loop.Arena().Leased() })
		if cx := m.cluster.Stats.CxActive.Load(); cx == 0 {
			if most := int64(1 << 20); leased-m.leased > most { // what is kept for the next requests
				t.Errorf("%d bytes of blocks are left, want at most %d", leased-m.leased, most)
			}
			break
		}
		if time.Now().After(end) {
			t.Fatalf("connections to the origin are left: %d", m.cluster.Stats.CxActive.Load())
		}
	}
}
