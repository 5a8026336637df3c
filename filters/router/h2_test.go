package router_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/codec"
	"millrace/codec/h2"
	"millrace/engine"
	"millrace/filters"
	"millrace/filters/httpconn"
	"millrace/filters/route"
	"millrace/filters/router"
	"millrace/upstream"
	"millrace/upstream/lb"
	"millrace/upstream/pool"
)

// h2origin is a host that speaks HTTP/2 and does what the path asks for.
type h2origin struct {
	mu   sync.Mutex
	seen map[string]int // requests by path

	echo    []byte // of the tunnel
	echoEnd bool
}

// times counts a request to path, and returns how many there were before.
func (o *h2origin) times(path string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen[path]++
	return o.seen[path] - 1
}

// serve serves one connection.
func (o *h2origin) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	l := codec.DefaultLimits()
	opt := h2.DefaultOptions(&l)
	opt.ConnectProtocol = true
	s := h2.NewServer(&opt, &h2.Scratch{})
	ev := &codec.Event{Request: new(codec.RequestHead), Trailers: new(codec.Fields)}
	paths := map[codec.StreamID]string{}
	var kept []byte
	buf := make([]byte, 16<<10)
	for {
		if _, err := c.Write(s.AppendControl(nil)); err != nil {
			return
		}
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		kept = append(kept, buf[:n]...)
		for {
			n, err := s.Feed(kept, ev)
			kept = kept[n:]
			if ev.Kind == codec.EventNone && err == nil {
				break
			}
			if err != nil && err.Scope == codec.ScopeConn {
				return
			}
			if ev.Kind == codec.EventHead {
				paths[ev.Stream] = string(ev.Request.Path())
			}
			if ev.Kind == codec.EventData {
				s.Consume(ev.Stream, len(ev.Data))
			}
			if paths[1] == "/tunnel" {
				if _, err := c.Write(o.tunnel(s, ev)); err != nil {
					return
				}
				continue
			}
			if !ev.End {
				continue
			}
			if _, err := c.Write(o.answer(s, ev.Stream, paths[ev.Stream])); err != nil {
				return
			}
		}
	}
}

// tunnel echoes.
func (o *h2origin) tunnel(s *h2.Server, ev *codec.Event) []byte {
	dst := s.AppendControl(nil)
	switch ev.Kind {
	case codec.EventHead:
		h := new(codec.ResponseHead)
		h.Reset()
		if h.Status = 200; string(ev.Request.Protocol()) != "websocket" {
			h.Status = 400
		}
		dst = s.AppendResponseHead(dst, ev.Stream, h, false)
	case codec.EventData:
		o.echo, o.echoEnd = append(o.echo, ev.Data...), ev.End
	}
	for id := codec.StreamID(1); len(o.echo) > 0; { // the only one
		n := min(s.Writable(id), s.FrameMax(), len(o.echo))
		if n == 0 {
			break
		}
		dst = append(s.AppendDataPrefix(dst, id, n, o.echoEnd && n == len(o.echo)), o.echo[:n]...)
		o.echo = o.echo[n:]
	}
	if o.echoEnd && len(o.echo) == 0 {
		dst = s.AppendDataPrefix(dst, 1, 0, true)
	}
	return dst
}

// answer answers a request.
func (o *h2origin) answer(s *h2.Server, id codec.StreamID, path string) []byte {
	first := o.times(path) == 0
	h := new(codec.ResponseHead)
	h.Reset()
	h.Status = 200
	switch path {
	case "/hang":
		return nil
	case "/refuse":
		if first {
			s.Reset(id, h2.RefusedStream)
			return nil
		}
	case "/refuse-always":
		s.Reset(id, h2.RefusedStream)
		return nil
	case "/goaway":
		if first {
			s.SendGoAway(uint32(id)-1, h2.NoError)
			return nil
		}
	case "/unavailable", "/notfound":
		if first {
			status := "14"
			if path == "/notfound" {
				status = "5"
			}
			h.AddString("grpc-status", status)
			return s.AppendResponseHead(s.AppendControl(nil), id, h, true)
		}
	}
	dst := s.AppendResponseHead(s.AppendControl(nil), id, h, false)
	dst = append(s.AppendDataPrefix(dst, id, 4, false), "body"...)
	t := new(codec.Fields)
	t.AddString("grpc-status", "0")
	return s.AppendTrailers(dst, id, t)
}

// h2path is connection manager, router and pool in front of an h2origin, on a loop of its own.
type h2path struct {
	addr    string
	origin  *h2origin
	cluster *pool.Cluster
	client  *http.Client
}

func newH2Path(t *testing.T, edit func(*route.ForwardConfig)) *h2path {
	t.Helper()
	origins, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &h2origin{seen: map[string]int{}}
	go func() {
		for {
			c, err := origins.Accept()
			if err != nil {
				return
			}
			go o.serve(c)
		}
	}()
	loop, err := engine.NewLoop(0, engine.DefaultLoopConfig())
	if err != nil {
		t.Fatal(err)
	}
	table := pool.NewTable(loop, func(c *upstream.Cluster) upstream.Balancer {
		b, err := lb.New(c.Config.LbPolicy, c.Config, loop.Rand())
		if err != nil {
			t.Error(err)
		}
		return b
	})
	cfg := upstream.DefaultConfig("web")
	cfg.Protocol = "http2"
	cfg.Hosts = []upstream.HostConfig{{Address: origins.Addr().String(), Weight: 1}}
	cluster, err := upstream.New(0, &cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	table.Set(cluster)
	forward := route.ForwardConfig{Cluster: "web", ClusterNotFoundResponseCode: 503, Timeout: 15 * time.Second, Priority: "default"}
	edit(&forward)
	routes, problems := route.Compile(&route.Config{Routes: []route.RouteConfig{{Match: route.MatchConfig{Prefix: "/"}, Route: &forward}}},
		func(string) (uint32, bool) { return 0, true }, nil)
	if routes == nil {
		t.Fatal(problems)
	}
	chain := filters.NewChain(router.New(&router.Config{}, router.Deps{Loop: loop, Clusters: table}))
	m, err := httpconn.NewManager(&httpconn.Config{
		ServerName: "millrace", UseRemoteAddress: true, MaxRequestHeadersKb: 60, MaxHeadersCount: 100,
		IdleTimeout: time.Hour, RequestHeadersTimeout: 10 * time.Second, StreamIdleTimeout: 5 * time.Minute,
	}, httpconn.Deps{Loop: loop, Chain: chain, Routes: routes})
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
	if _, err := loop.AddListener(fd, engine.ListenerOptions{}, acceptor{m}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- loop.Run() }()
	p := &h2path{addr: bound.String(), origin: o, cluster: table.Cluster(0), client: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(func() {
		p.client.CloseIdleConnections()
		loop.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = origins.Close()
	})
	return p
}

// do runs one request with fields "name: value".
func (p *h2path) do(t *testing.T, method, path, body string, fields ...string) (*http.Response, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	rq, err := http.NewRequestWithContext(ctx, method, "http://"+p.addr+path, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		rq.Header.Set(name, value)
	}
	rs, err := p.client.Do(rq)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rs.Body.Close() }()
	b, err := io.ReadAll(rs.Body)
	if err != nil {
		t.Fatal(err)
	}
	return rs, string(b)
}

// TestHTTP2Upstream: what the router makes of the ways in which a request over HTTP/2 can go.
func TestHTTP2Upstream(t *testing.T) {
	t.Parallel()
	retry := func(on string) func(*route.ForwardConfig) {
		return func(f *route.ForwardConfig) {
			f.RetryPolicy = &route.RetryPolicyConfig{RetryOn: on, NumRetries: 1}
			f.RetryPolicy.RetryBackOff.BaseInterval = time.Millisecond
		}
	}
	deadline := func(f *route.ForwardConfig) {
		most := 300 * time.Millisecond
		f.MaxStreamDuration = &route.StreamDurationConfig{GRPCTimeoutHeaderMax: &most}
	}
	grpc := []string{"Content-Type: application/grpc", "TE: trailers"}
	for _, tt := range []struct {
		name   string
		edit   func(*route.ForwardConfig)
		method string
		path   string
		body   string
		fields []string
		status int
		want   string // body
		grpc   string // grpc-status, of head or trailers
		asked  int    // how often the origin was
	}{
		{"plain", nil, "POST", "/", "abc", nil, 200, "body", "0", 1},
		{"refused once, free of charge", nil, "POST", "/refuse", "", nil, 200, "body", "0", 2},
		{"refused, the body is gone", nil, "POST", "/refuse", "abc", nil, 503, "", "", 1},
		{"refused, the body is kept", retry("5xx"), "POST", "/refuse", "abc", nil, 200, "body", "0", 2},
		{"refused always", nil, "GET", "/refuse-always", "", nil, 503, "", "", 2},
		{"refused always, with retries", retry("refused-stream"), "GET", "/refuse-always", "", nil, 503, "", "", 3},
		{"not processed before GOAWAY", nil, "POST", "/goaway", "", nil, 200, "body", "0", 2},
		{"unavailable", retry("unavailable"), "POST", "/unavailable", "abc", grpc, 200, "body", "0", 2},
		{"unavailable, asked for by the request", nil, "POST", "/unavailable", "",
			append(slices.Clone(grpc), "x-envoy-retry-grpc-on: cancelled,unavailable"), 200, "body", "0", 2},
		{"unavailable is not covered", retry("cancelled"), "POST", "/unavailable", "abc", grpc, 200, "", "14", 1},
		{"not found", retry("unavailable"), "POST", "/notfound", "abc", grpc, 200, "", "5", 1},
		{"deadline", deadline, "POST", "/hang", "abc", append(slices.Clone(grpc), "grpc-timeout: 5S"), 200, "", "4", 1},
		{"local reply to gRPC", nil, "POST", "/refuse-always", "", grpc, 200, "", "14", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			edit := tt.edit
			if edit == nil {
				edit = func(*route.ForwardConfig) {}
			}
			p := newH2Path(t, edit)
			rs, body := p.do(t, tt.method, tt.path, tt.body, tt.fields...)
			if rs.StatusCode != tt.status || tt.status == 200 && body != tt.want {
				t.Errorf("status %d, body %q; want %d, %q", rs.StatusCode, body, tt.status, tt.want)
			}
			status := rs.Header.Get("grpc-status")
			if status == "" {
				status = rs.Trailer.Get("grpc-status")
			}
			if status != tt.grpc {
				t.Errorf("grpc-status %q, want %q; head %v", status, tt.grpc, rs.Header)
			}
			p.origin.mu.Lock()
			if p.origin.seen[tt.path] != tt.asked {
				t.Errorf("the origin was asked %d times, want %d", p.origin.seen[tt.path], tt.asked)
			}
			p.origin.mu.Unlock()
			if tt.fields != nil {
				good, bad := p.cluster.Stats.GRPCSuccess.Load(), p.cluster.Stats.GRPCFailure.Load()
				if (tt.grpc == "0") != (good == 1) || good+bad > 1 {
					t.Errorf("grpc.success %d, grpc.failure %d", good, bad)
				}
			}
		})
	}
}

// TestUpgradeToHTTP2: an upgrade of HTTP/1.1 goes on as extended CONNECT, and carries data both ways until either side ends.
func TestUpgradeToHTTP2(t *testing.T) {
	t.Parallel()
	p := newH2Path(t, func(f *route.ForwardConfig) { f.Upgrades = &[]string{"websocket"} })
	c, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, "GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
	r := bufio.NewReader(c)
	rs, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if rs.StatusCode != 101 || rs.Header.Get("Upgrade") != "websocket" || rs.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("status %d, %v", rs.StatusCode, rs.Header)
	}
	sent := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // a mebibyte: beyond all windows
	go func() {
		_, _ = c.Write(sent)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes came back, %v", len(got), len(sent), err)
	}
}
