package router_test

import (
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"millrace/engine"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/filters/httpconn"
	"millrace/filters/route"
	"millrace/filters/router"
	"millrace/upstream"
	"millrace/upstream/lb"
	"millrace/upstream/pool"
)

// path is one request's way through connection manager, router and pool, on loopback sockets and one loop that the test turns.
type path struct {
	t      testing.TB
	loop   *engine.Loop
	client int // descriptors of the two ends
	origin int
	addr   string // of the listener
	buf    []byte
	panics int    // so far
	h2     *h2end // what the origin speaks, if it is HTTP/2
	asked  int    // requests the origin of HTTP/2 gets for each
}

// newPath makes a path with filters in front of the router, and a logger. They see its first request, to "/", too.
func newPath(t testing.TB, edit func(*httpconn.Config, *route.ForwardConfig), list ...any) *path {
	t.Helper()
	p := &path{t: t, buf: make([]byte, 64<<10)}
	origins, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = origins.Close() })
	loopConfig := engine.DefaultLoopConfig()
	loopConfig.BlocksMax = 16 << 20
	loopConfig.OnPanic = func(v any, stack []byte) {
		if p.panics++; v != "expected" {
			t.Errorf("panic on the loop: %v\n%s", v, stack)
		}
	}
	loop, err := engine.NewLoop(0, loopConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(loop.Close)
	table := pool.NewTable(loop, func(c *upstream.Cluster) upstream.Balancer {
		b, err := lb.New(c.Config.LbPolicy, c.Config, rand.New(rand.NewPCG(1, 2)))
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
	clusterConfig := upstream.DefaultConfig("web")
	if slices.Contains(list, any(http2Origin)) {
		clusterConfig.Protocol, p.h2 = "http2", newH2End()
	}
	clusterConfig.Hosts = []upstream.HostConfig{{Address: origins.Addr().String(), Weight: 1}}
	cluster, err := upstream.New(0, &clusterConfig, nil)
	if err != nil {
		t.Fatal(err)
	}
	table.Set(cluster)

	forward := route.ForwardConfig{Cluster: "web", ClusterNotFoundResponseCode: 503, Timeout: 15 * time.Second, Priority: "default"}
	cfg := &httpconn.Config{
		ServerName: "millrace", UseRemoteAddress: true, GenerateRequestID: true, Proxy100Continue: true, Via: "edge",
		MaxRequestHeadersKb: 60, MaxHeadersCount: 100, AcceptHTTP10: true, DelayedCloseTimeout: time.Second,
		IdleTimeout: time.Hour, RequestHeadersTimeout: 10 * time.Second, StreamIdleTimeout: 5 * time.Minute,
	}
	if edit != nil {
		edit(cfg, &forward)
	}
	if p.asked = 1; forward.RequestMirrorPolicies != nil {
		p.asked += len(*forward.RequestMirrorPolicies)
	}
	routes, problems := route.Compile(&route.Config{Routes: []route.RouteConfig{{Match: route.MatchConfig{Prefix: "/"}, Route: &forward}}},
		func(string) (uint32, bool) { return 0, true }, nil)
	if routes == nil {
		t.Fatal(problems)
	}
	terminal := router.New(&router.Config{}, router.Deps{Loop: loop, Clusters: table})
	chain := filters.NewChain(terminal)
	var logger *accesslog.Logger
	for _, f := range list {
		if f == any(http2Origin) {
			continue
		}
		if l, ok := f.(*accesslog.Logger); ok {
			logger = l
			continue
		}
		if err := chain.Add("test", f); err != nil {
			t.Fatal(err)
		}
	}
	m, err := httpconn.NewManager(cfg, httpconn.Deps{Loop: loop, Chain: chain, Routes: routes, Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := engine.ParseAddr("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := engine.Listen(addr, engine.ListenerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bound, err := engine.LocalAddr(fd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := loop.AddListener(fd, engine.ListenerOptions{}, acceptor{m}); err != nil {
		t.Fatal(err)
	}
	p.loop, p.addr = loop, bound.String()
	client, err := net.Dial("tcp", bound.String())
	if err != nil {
		t.Fatal(err)
	}
	p.client = p.descriptor(client)
	if _, err := unix.Write(p.client, []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := origins.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	for end := time.Now().Add(10 * time.Second); p.origin == 0; p.turn() {
		select {
		case c := <-accepted:
			p.origin = p.descriptor(c)
		default:
			if time.Now().After(end) {
				t.Fatal("no connection to the origin")
			}
		}
	}
	if p.h2 != nil {
		p.serveH2()
	} else {
		p.pass(p.origin)
		p.send(p.origin, []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	}
	p.pass(p.client)
	return p
}

// descriptor returns the blocking descriptor of a connection, on which a read gives up after a while.
func (p *path) descriptor(c net.Conn) (fd int) {
	p.t.Cleanup(func() { _ = c.Close() })
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := raw.Control(func(d uintptr) { fd = int(d) }); err != nil {
		p.t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 1000}); err != nil {
		p.t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		p.t.Fatal(err)
	}
	return fd
}

func (p *path) turn() {
	if err := p.loop.Turn(0); err != nil {
		panic(err)
	}
}

func (p *path) send(fd int, b []byte) {
	if _, err := unix.Write(fd, b); err != nil {
		panic(err)
	}
}

// pass turns the loop until something has arrived at fd, and returns it.
func (p *path) pass(fd int) []byte {
	for range 10_000 {
		p.turn()
		n, err := unix.Read(fd, p.buf)
		switch {
		case n > 0:
			return p.buf[:n]
		case n == 0 && err == nil:
			panic("the proxy ended the connection")
		}
	}
	panic("nothing arrived")
}

// run runs one request.
func (p *path) run(request, answer []byte) {
	p.send(p.client, request)
	if p.h2 != nil {
		p.serveH2()
	} else {
		p.pass(p.origin)
		p.send(p.origin, answer)
	}
	p.pass(p.client)
}

// TestRequestAllocs: a request on kept connections costs no allocation anywhere between the sockets.
func TestRequestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	browser := "GET /index.html?q=1 HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: text/html,*/*;q=0.8\r\n" +
		"Accept-Encoding: gzip, deflate, br\r\nCookie: a=b; c=d\r\nConnection: keep-alive\r\nX-Forwarded-For: 203.0.113.1\r\n\r\n"
	small := "HTTP/1.1 200 OK\r\nServer: o\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
	for _, tt := range []struct {
		name, request, answer string
		edit                  func(*httpconn.Config, *route.ForwardConfig)
	}{
		{"get", browser, small, nil},
		{"post", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", small, nil},
		{"chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", nil},
		{"4 KiB body", browser, "HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n" + strings.Repeat("x", 4096), nil},
		{"no content", browser, "HTTP/1.1 204 No Content\r\n\r\n", nil},
		{"rewrites", browser, small, func(c *httpconn.Config, f *route.ForwardConfig) {
			c.NormalizePath, c.MergeSlashes = true, true
			f.PrefixRewrite, f.HostRewriteLiteral = "/other/", "inner.example.com"
		}},
		{"retries allowed", browser, small, func(_ *httpconn.Config, f *route.ForwardConfig) {
			f.RetryPolicy = &route.RetryPolicyConfig{RetryOn: "5xx", NumRetries: 1}
		}},
		{"hedging allowed", browser, small, func(_ *httpconn.Config, f *route.ForwardConfig) {
			f.HedgePolicy = &route.HedgePolicyConfig{HedgeOnPerTryTimeout: true}
			f.RetryPolicy = &route.RetryPolicyConfig{
				RetryOn: "5xx", NumRetries: 1, PerTryTimeout: time.Second, PerTryIdleTimeout: time.Second, RetryHostPredicate: []string{"previous_hosts"},
				RateLimitedRetryBackOff: &route.RateLimitedBackOffConfig{ResetHeaders: []route.ResetHeaderConfig{{Name: "retry-after"}}},
			}
		}},
		{"steered by the request", "GET / HTTP/1.1\r\nHost: a\r\nx-envoy-retry-on: 5xx,retriable-headers,retriable-status-codes\r\nx-envoy-max-retries: 2\r\n" +
			"x-envoy-retriable-status-codes: 404\r\nx-envoy-retriable-header-names: x-again\r\nx-envoy-hedge-on-per-try-timeout: true\r\n" +
			"x-envoy-upstream-rq-per-try-timeout-ms: 500\r\n\r\n", small, func(c *httpconn.Config, _ *route.ForwardConfig) {
			c.InternalAddressConfig.CIDRRanges = []string{"127.0.0.0/8"}
		}},
		{"body kept", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", small, func(_ *httpconn.Config, f *route.ForwardConfig) {
			f.RetryPolicy = &route.RetryPolicyConfig{RetryOn: "5xx", NumRetries: 1}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPath(t, tt.edit)
			request, answer := []byte(tt.request), []byte(tt.answer)
			run := func() { p.run(request, answer) }
			for range 200 {
				run()
			}
			if n := testing.AllocsPerRun(500, run); n != 0 {
				t.Errorf("a request allocates %v times, want 0", n)
			}
		})
	}
}

// BenchmarkRequest includes the system calls of all four ends.
func BenchmarkRequest(b *testing.B) {
	p := newPath(b, nil)
	request := []byte("GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
	p.run(request, answer)
	b.ReportAllocs()
	for b.Loop() {
		p.run(request, answer)
	}
}

// acceptor is a connection manager right behind a socket.
type acceptor struct{ *httpconn.Manager }

func (a acceptor) OnAccept(io *engine.Conn) engine.Handler { return a.Accept(io, nil) }
