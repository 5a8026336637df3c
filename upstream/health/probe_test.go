package health

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"millrace/engine/certs"
	"millrace/upstream"
)

const checkMax = 10 * time.Second

// hostAt returns the host of a cluster that has one, at an address.
func hostAt(t *testing.T, cfg *upstream.Config, addr string) *upstream.Host {
	t.Helper()
	cfg.Hosts = []upstream.HostConfig{{Address: addr, Weight: 1}}
	c, err := upstream.New(0, cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c.Hosts()[0]
}

// probeOf returns a probe of a host.
func probeOf(t *testing.T, addr string, h upstream.HealthCheckConfig, client *certs.Client) probe {
	t.Helper()
	cfg := upstream.DefaultConfig("web")
	cfg.HealthChecks = []upstream.HealthCheckConfig{h}
	p := newProbes(&cfg, client)(context.Background(), hostAt(t, &cfg, addr))
	t.Cleanup(p.end)
	return p
}

// wantCheck does one check.
func wantCheck(t *testing.T, p probe, want Result) {
	t.Helper()
	if got := p.check(time.Now().Add(checkMax)); got != want {
		t.Errorf("check = %+v, want %+v", got, want)
	}
}

// httpServer starts a server for either version of HTTP and counts its connections.
func httpServer(t *testing.T, h http.HandlerFunc) (addr string, conns *atomic.Int64) {
	t.Helper()
	conns = &atomic.Int64{}
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = &http.Protocols{}
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), conns
}

// eachVersion runs a test for HTTP/1.1 and HTTP/2.
func eachVersion(t *testing.T, f func(t *testing.T, h upstream.HealthCheckConfig)) {
	for _, version := range []string{"http1", "http2"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			h := upstream.DefaultHealthCheckConfig("http")
			h.Path, h.CodecClientType = "/healthz", version
			f(t, h)
		})
	}
}

func TestHTTPJudges(t *testing.T) {
	t.Parallel()
	wrong := Result{Outcome: Wrong}
	verified := Result{Outcome: Passed, Verified: true}
	for _, tt := range []struct {
		name   string
		edit   func(*upstream.HealthCheckConfig)
		answer http.HandlerFunc
		want   Result
	}{
		{"200", nil, func(w http.ResponseWriter, _ *http.Request) {}, Result{}},
		{"with a body", nil, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "fine") }, Result{}},
		{"with a large body", nil, func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 300<<10)) }, Result{}},
		{"503", nil, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, wrong},
		{"204", nil, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, wrong},
		{"expected", func(h *upstream.HealthCheckConfig) {
			h.ExpectedStatuses = []upstream.StatusRange{{Start: 200, End: 300}}
		},
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, Result{}},
		{"the end is not in the range", func(h *upstream.HealthCheckConfig) {
			h.ExpectedStatuses = []upstream.StatusRange{{Start: 201, End: 204}}
		},
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, wrong},
		{"retriable", func(h *upstream.HealthCheckConfig) {
			h.RetriableStatuses = []upstream.StatusRange{{Start: 429, End: 430}}
		},
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }, Result{Outcome: Wrong, Retriable: true}},
		{"degraded", nil, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("x-envoy-degraded", "") }, Result{Degraded: true}},
		{"immediate failure", nil, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("x-envoy-immediate-health-check-fail", "true")
			w.WriteHeader(503)
		}, Result{Outcome: Wrong, Exclude: true}},
		{"service", func(h *upstream.HealthCheckConfig) { h.ServiceName = "shop" },
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("x-envoy-upstream-healthchecked-cluster", "shop-eu")
			}, verified},
		{"another service", func(h *upstream.HealthCheckConfig) { h.ServiceName = "shop" },
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("x-envoy-upstream-healthchecked-cluster", "blog")
			}, Result{Outcome: Wrong, Verified: true}},
		{"no service", func(h *upstream.HealthCheckConfig) { h.ServiceNameMatcher = &upstream.NameMatcher{Exact: "shop"} },
			func(w http.ResponseWriter, _ *http.Request) {}, Result{Outcome: Wrong, Verified: true}},
		{"body", func(h *upstream.HealthCheckConfig) { h.Receive = []upstream.Payload{{String: "db: ok"}, {Hex: "6f6b"}} },
			func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "db: ok\ncache: ok\n") }, Result{}},
		{"the order counts", func(h *upstream.HealthCheckConfig) { h.Receive = []upstream.Payload{{String: "cache"}, {String: "db"}} },
			func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "db: ok\ncache: ok\n") }, wrong},
		{"beyond the buffer", func(h *upstream.HealthCheckConfig) {
			h.ResponseBufferSize, h.Receive = 5, []upstream.Payload{{String: "ok"}}
		}, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "db: ok") }, wrong},
		{"body after a large one", func(h *upstream.HealthCheckConfig) {
			h.ResponseBufferSize, h.Receive = 1<<20, []upstream.Payload{{String: "ok"}}
		}, func(w http.ResponseWriter, _ *http.Request) { w.Write(append(make([]byte, 200<<10), "ok"...)) }, Result{}},
		{"HEAD", func(h *upstream.HealthCheckConfig) { h.Method = "HEAD" },
			func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "7") }, Result{}},
		{"POST", func(h *upstream.HealthCheckConfig) {
			h.Method, h.Send, h.Receive = "POST", &upstream.Payload{String: "ping"}, []upstream.Payload{{String: "ping"}}
		}, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }, Result{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			eachVersion(t, func(t *testing.T, h upstream.HealthCheckConfig) {
				if tt.edit != nil {
					tt.edit(&h)
				}
				addr, _ := httpServer(t, tt.answer)
				p := probeOf(t, addr, h, nil)
				wantCheck(t, p, tt.want)
				wantCheck(t, p, tt.want)
			})
		})
	}
}

func TestHTTPRequest(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, h upstream.HealthCheckConfig) {
		seen := make(chan *http.Request, 1)
		addr, _ := httpServer(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r })
		h.Path, h.Host = "/up?deep=1", "checks.example:81"
		h.RequestHeadersToAdd = []upstream.HealthHeaderConfig{
			{Key: "x-from", Value: "a"}, {Key: "X-From", Value: "b", AppendAction: "add_if_absent"},
			{Key: "authorization", Value: "c", AppendAction: "overwrite_if_exists"}, {Key: "x-two", Value: "1"}, {Key: "x-two", Value: "2"},
		}
		h.RequestHeadersToRemove = []string{"User-Agent"}
		wantCheck(t, probeOf(t, addr, h, nil), Result{})
		r := <-seen
		if r.Host != h.Host || r.RequestURI != h.Path || r.Method != "GET" || r.UserAgent() != "" ||
			fmt.Sprint(r.Header.Values("x-from"), r.Header.Values("x-two"), r.Header.Values("authorization")) != "[a] [1 2] []" {
			t.Errorf("request %s %s, host %s, %v", r.Method, r.RequestURI, r.Host, r.Header)
		}
		h.Host, h.RequestHeadersToRemove = "", nil
		wantCheck(t, probeOf(t, addr, h, nil), Result{})
		if r = <-seen; r.Host != "web" || r.UserAgent() != userAgent {
			t.Errorf("host %q, user agent %q; want the cluster and %q", r.Host, r.UserAgent(), userAgent)
		}
	})
}

func TestHTTPConnections(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, h upstream.HealthCheckConfig) {
		for reuse, want := range map[bool]int64{true: 1, false: 3} {
			addr, conns := httpServer(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "fine") })
			h.ReuseConnection = reuse
			p := probeOf(t, addr, h, nil)
			for range 3 {
				wantCheck(t, p, Result{})
			}
			if n := conns.Load(); n != want {
				t.Errorf("reuse_connection %t: 3 checks on %d connections, want %d", reuse, n, want)
			}
		}
	})
}

// TestStaleConnection: a host may close a connection between two checks without being taken to be ill.
// TestMovedHost: the host of a logical_dns cluster is checked where its name leads to now, on a new connection.
func TestMovedHost(t *testing.T) {
	t.Parallel()
	first, _ := httpServer(t, func(http.ResponseWriter, *http.Request) {})
	second, conns := httpServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	cfg := upstream.DefaultConfig("web")
	cfg.Type = upstream.LogicalDNS
	check := upstream.DefaultHealthCheckConfig("http")
	check.Path = "/"
	cfg.HealthChecks = []upstream.HealthCheckConfig{check}
	c, err := upstream.New(0, &cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	move := func(addr string) {
		if _, err := c.SetHosts([]upstream.HostConfig{{Address: addr, Hostname: "web.example", Weight: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	move(first)
	p := newProbes(&cfg, nil)(context.Background(), c.Hosts()[0])
	t.Cleanup(p.end)
	wantCheck(t, p, Result{Outcome: Passed})
	move(second)
	wantCheck(t, p, Result{Outcome: Wrong})
	if conns.Load() != 1 {
		t.Errorf("%d connections to the new address, want 1", conns.Load())
	}
}

func TestStaleConnection(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, h upstream.HealthCheckConfig) {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		s.Config.Protocols = &http.Protocols{}
		s.Config.Protocols.SetHTTP1(true)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
		defer s.Close()
		p := probeOf(t, s.Listener.Addr().String(), h, nil)
		for range 3 {
			wantCheck(t, p, Result{})
			s.CloseClientConnections()
		}
		s.Close()
		wantCheck(t, p, Result{Outcome: Network})
		wantCheck(t, p, Result{Outcome: Network})
	})
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	l := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	for _, h := range []upstream.HealthCheckConfig{
		{Type: "http", Path: "/", Method: "GET", CodecClientType: "http1", ReuseConnection: true},
		{Type: "http", Path: "/", Method: "GET", CodecClientType: "http2", ReuseConnection: true},
		{Type: "grpc"}, {Type: "redis", ReuseConnection: true},
		{Type: "tcp", ReuseConnection: true, Receive: []upstream.Payload{{String: "x"}}},
	} {
		t.Run(h.Type+h.CodecClientType, func(t *testing.T) {
			t.Parallel()
			p := probeOf(t, l, h, nil)
			for range 2 {
				begun := time.Now()
				if got := p.check(begun.Add(50 * time.Millisecond)); got != (Result{Outcome: Timeout}) || time.Since(begun) > 5*time.Second {
					t.Errorf("check of a silent host = %+v after %v", got, time.Since(begun))
				}
			}
		})
	}
}

// listen starts a server that does f with each connection.
func listen(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); f(c) }()
		}
	}()
	return l.Addr().String()
}

// TestOddAnswers: what no server of the protocol sends.
func TestOddAnswers(t *testing.T) {
	t.Parallel()
	http1 := upstream.HealthCheckConfig{Type: "http", Path: "/", Method: "GET", CodecClientType: "http1", ReuseConnection: true}
	redis := upstream.HealthCheckConfig{Type: "redis", ReuseConnection: true}
	for _, tt := range []struct {
		name, answer string
		h            upstream.HealthCheckConfig
		want         Outcome
	}{
		{"garbage", "\x00\x01\x02 what", http1, Network},
		{"closed at once", "", http1, Network},
		{"half a head", "HTTP/1.1 200 OK\r\nx: ", http1, Network},
		{"half a body", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", http1, Network},
		{"a head without end", "HTTP/1.1 200 OK\r\nx: " + strings.Repeat("y", 1<<20), http1, Network},
		{"until the connection ends", "HTTP/1.1 200 OK\r\n\r\nfine", http1, Passed},
		{"a head of 20 KiB", "HTTP/1.1 200 OK\r\nx: " + strings.Repeat("y", 20<<10) + "\r\ncontent-length: 0\r\n\r\n", http1, Passed},
		{"100 first", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", http1, Passed},
		{"chunked", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n", http1, Passed},
		{"HTTP/2 is not spoken", "HTTP/1.1 400 Bad Request\r\n\r\n", upstream.HealthCheckConfig{Type: "grpc"}, Network},
		{"an error", "-NOAUTH Authentication required.\r\n", redis, Wrong},
		{"more than was asked for", "+PONG\r\n+PONG\r\n", redis, Wrong},
		{"a line without end", strings.Repeat("+", 1000), redis, Wrong},
		{"half a line", "+PO", redis, Network},
		{"too much", strings.Repeat("n", 100<<10), upstream.HealthCheckConfig{Type: "tcp", Receive: []upstream.Payload{{String: "y"}}}, Wrong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			addr := listen(t, func(c net.Conn) {
				if _, err := bufio.NewReader(c).ReadByte(); tt.h.Type != "tcp" && err != nil {
					return
				}
				io.WriteString(c, tt.answer)
				c.(*net.TCPConn).CloseWrite()
				io.Copy(io.Discard, c)
			})
			h := tt.h
			if h.Type == "tcp" {
				h.Send = &upstream.Payload{String: "?"}
			}
			p := probeOf(t, addr, h, nil)
			for range 2 {
				if got := p.check(time.Now().Add(checkMax)); got.Outcome != tt.want {
					t.Errorf("check = %+v, want %v", got, tt.want)
				}
			}
		})
	}
}

func TestTCP(t *testing.T) {
	t.Parallel()
	var conns atomic.Int64
	echo := listen(t, func(c net.Conn) { conns.Add(1); io.Copy(c, c) })
	h := upstream.HealthCheckConfig{Type: "tcp", ReuseConnection: true}
	p := probeOf(t, echo, h, nil)
	wantCheck(t, p, Result{})
	wantCheck(t, p, Result{})
	h.Send = &upstream.Payload{Hex: "50494e47ff50"}
	h.Receive = []upstream.Payload{{String: "PI"}, {Hex: "ff50"}}
	p = probeOf(t, echo, h, nil)
	for range 3 {
		wantCheck(t, p, Result{})
	}
	if n := conns.Load(); n != 3 {
		t.Errorf("%d connections, want 2 for connecting and 1 for talking", n)
	}
	h.Receive = []upstream.Payload{{String: "NG"}, {String: "PI"}}
	if got := probeOf(t, echo, h, nil).check(time.Now().Add(50 * time.Millisecond)); got.Outcome != Timeout {
		t.Errorf("what does not come: %+v, want a timeout", got)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	h = upstream.HealthCheckConfig{Type: "tcp"}
	wantCheck(t, probeOf(t, l.Addr().String(), h, nil), Result{Outcome: Network})
	h.Port = uint16(l.Addr().(*net.TCPAddr).Port)
	wantCheck(t, probeOf(t, echo, h, nil), Result{Outcome: Network}) // port replaces that of the host
	dir := t.TempDir()
	u, err := net.Listen("unix", dir+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	wantCheck(t, probeOf(t, "unix:"+dir+"/s", upstream.HealthCheckConfig{Type: "tcp"}, nil), Result{})
}

func TestGRPC(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, hs := grpc.NewServer(), grpchealth.NewServer()
	healthpb.RegisterHealthServer(s, hs)
	go s.Serve(l)
	defer s.Stop()
	h := upstream.DefaultHealthCheckConfig("grpc")
	all := probeOf(t, l.Addr().String(), h, nil)
	h.ServiceName = "shop.Orders"
	one := probeOf(t, l.Addr().String(), h, nil)
	wantCheck(t, all, Result{})
	wantCheck(t, one, Result{Outcome: Wrong}) // NOT_FOUND
	hs.SetServingStatus("shop.Orders", healthpb.HealthCheckResponse_SERVING)
	wantCheck(t, one, Result{})
	hs.SetServingStatus("shop.Orders", healthpb.HealthCheckResponse_NOT_SERVING)
	wantCheck(t, one, Result{Outcome: Wrong})
	hs.SetServingStatus("shop.Orders", healthpb.HealthCheckResponse_SERVING)
	wantCheck(t, one, Result{})
	s.Stop()
	wantCheck(t, one, Result{Outcome: Network})

	l, err = net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	none := grpc.NewServer() // UNIMPLEMENTED
	go none.Serve(l)
	defer none.Stop()
	wantCheck(t, probeOf(t, l.Addr().String(), h, nil), Result{Outcome: Wrong})
	addr, _ := httpServer(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "a web site") })
	wantCheck(t, probeOf(t, addr, h, nil), Result{Outcome: Wrong})
}

func FuzzServing(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 2, 8, 1})
	f.Add([]byte{0, 0, 0, 0, 2, 8, 2})
	f.Add([]byte{1, 0, 0, 0, 2, 8, 1})
	f.Add([]byte{0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if serving(b) && len(b) < grpcPrefix+2 {
			t.Errorf("%x says SERVING", b)
		}
	})
}

func TestRedis(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("no redis-server:", err)
	}
	sock := t.TempDir() + "/r"
	cmd := exec.Command(path, "--port", "0", "--unixsocket", sock, "--save", "", "--appendonly", "no", "--daemonize", "no")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	h := upstream.DefaultHealthCheckConfig("redis")
	ping := probeOf(t, "unix:"+sock, h, nil)
	for end := time.Now().Add(checkMax); ping.check(time.Now().Add(checkMax)).Outcome != Passed; {
		if time.Now().After(end) {
			t.Fatal("redis-server does not answer")
		}
	}
	wantCheck(t, ping, Result{})
	h.RedisKey = "maintenance"
	key := probeOf(t, "unix:"+sock, h, nil)
	wantCheck(t, key, Result{})
	c, err := net.Dial("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, cmd := range []string{"SET maintenance 1", "DEL maintenance"} {
		fmt.Fprintf(c, "%s\r\n", cmd)
		if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		if want := (Result{Outcome: Wrong}); strings.HasPrefix(cmd, "SET") {
			wantCheck(t, key, want)
		}
	}
	wantCheck(t, key, Result{})
	wantCheck(t, ping, Result{})
}

// TestEnd: a check under way ends soon when its probe does.
func TestEnd(t *testing.T) {
	t.Parallel()
	arrived := make(chan bool, 8)
	l := listen(t, func(c net.Conn) { arrived <- true; io.Copy(io.Discard, c) })
	for _, h := range []upstream.HealthCheckConfig{
		{Type: "http", Path: "/", Method: "GET", CodecClientType: "http1"},
		{Type: "http", Path: "/", Method: "GET", CodecClientType: "http2"},
		{Type: "grpc"}, {Type: "redis"}, {Type: "tcp", Receive: []upstream.Payload{{String: "x"}}},
	} {
		p := probeOf(t, l, h, nil)
		done := make(chan Result, 1)
		go func() { done <- p.check(time.Now().Add(time.Hour)) }()
		<-arrived
		p.end()
		select {
		case <-done:
		case <-time.After(checkMax):
			t.Fatalf("a check of type %s goes on", h.Type)
		}
		if r := p.check(time.Now().Add(time.Hour)); r.Outcome != Network {
			t.Errorf("a check after the end: %+v", r)
		}
	}
}
