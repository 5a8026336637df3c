package httpconn

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/engine"
	"millrace/filters"
	"millrace/filters/route"
	"millrace/filters/router"
	"millrace/upstream"
	"millrace/upstream/lb"
	"millrace/upstream/pool"
)

// proxy is a connection manager with a router and a pool on a loop that runs by itself, in front of an origin that speaks HTTP/1.1.
type proxy struct {
	t      testing.TB
	addr   string
	loop   *engine.Loop
	m      *Manager
	client *http.Client
}

func proxyConfig() *Config {
	return &Config{
		ServerName: "millrace", UseRemoteAddress: true, GenerateRequestID: true, Proxy100Continue: true, Via: "edge",
		MaxRequestHeadersKb: 60, MaxHeadersCount: 100, AcceptHTTP10: true, DelayedCloseTimeout: time.Second, DrainTimeout: time.Second,
		IdleTimeout: time.Hour, RequestHeadersTimeout: 10 * time.Second, StreamIdleTimeout: 5 * time.Minute,
		HTTP2ProtocolOptions: DefaultHTTP2Config(),
	}
}

// newProxy starts a proxy in front of an origin.
func newProxy(t testing.TB, origin string, edit func(*Config, *route.ForwardConfig)) *proxy {
	t.Helper()
	loopConfig := engine.DefaultLoopConfig()
	loopConfig.BlocksMax = 64 << 20
	loopConfig.OnPanic = func(v any, stack []byte) { t.Errorf("panic on the loop: %v\n%s", v, stack) }
	loop, err := engine.NewLoop(0, loopConfig)
	if err != nil {
		t.Fatal(err)
	}
	table := pool.NewTable(loop, func(c *upstream.Cluster) upstream.Balancer {
		b, err := lb.New(c.Config.LbPolicy, c.Config, mrand.New(mrand.NewPCG(1, 2)))
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
	clusterConfig := upstream.DefaultConfig("web")
	clusterConfig.Hosts = []upstream.HostConfig{{Address: origin, Weight: 1}}
	cluster, err := upstream.New(0, &clusterConfig, nil)
	if err != nil {
		t.Fatal(err)
	}
	table.Set(cluster)
	forward := route.ForwardConfig{Cluster: "web", ClusterNotFoundResponseCode: 503, Timeout: 15 * time.Second, Priority: "default"}
	cfg := proxyConfig()
	if edit != nil {
		edit(cfg, &forward)
	}
	routes, problems := route.Compile(&route.Config{Routes: []route.RouteConfig{
		{Match: route.MatchConfig{ConnectMatcher: &route.ConnectMatcherConfig{}}, Route: &forward},
		{Match: route.MatchConfig{Prefix: "/"}, Route: &forward},
	}},
		func(string) (uint32, bool) { return 0, true }, nil)
	if routes == nil {
		t.Fatal(problems)
	}
	chain := filters.NewChain(router.New(&router.Config{}, router.Deps{Loop: loop, Clusters: table}))
	m, err := NewManager(cfg, Deps{Loop: loop, Chain: chain, Routes: routes})
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
	var done sync.WaitGroup
	done.Go(func() {
		if err := loop.Run(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { loop.Stop(); done.Wait() })
	p := &proxy{t: t, addr: bound.String(), loop: loop, m: m}
	p.client = h2Client()
	t.Cleanup(p.client.CloseIdleConnections)
	return p
}

// h2Client speaks HTTP/2 with prior knowledge.
func h2Client() *http.Client {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{Protocols: &protocols}, Timeout: 30 * time.Second}
}

// newOrigin starts an origin.
func newOrigin(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func (p *proxy) do(method, path string, body io.Reader, edit func(*http.Request)) (*http.Response, string) {
	p.t.Helper()
	req, err := http.NewRequest(method, "http://"+p.addr+path, body)
	if err != nil {
		p.t.Fatal(err)
	}
	if edit != nil {
		edit(req)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatalf("%s %s: body: %v after %d bytes", method, path, err, len(b))
	}
	return resp, string(b)
}

// TestHTTP2Requests: requests and responses of all shapes, by HTTP/2 to an upstream of HTTP/1.1.
func TestHTTP2Requests(t *testing.T) {
	t.Parallel()
	big := make([]byte, 3<<20)
	_, _ = rand.Read(big)
	origin := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/big":
			w.Header().Set("Content-Length", fmt.Sprint(len(big)))
			_, _ = w.Write(big)
		case "/echo":
			w.Header().Set("Trailer", "X-Sum")
			b, _ := io.ReadAll(r.Body)
			_, _ = w.Write(b)
			w.Header().Set("X-Sum", fmt.Sprint(len(b))+r.Trailer.Get("x-end"))
		case "/none":
			w.WriteHeader(204)
		case "/hints":
			w.Header().Set("Link", "</a>")
			w.WriteHeader(103)
			fmt.Fprint(w, "late")
		case "/early":
			w.Header().Set("Content-Length", "2")
			fmt.Fprint(w, "no")
		default:
			fmt.Fprintf(w, "%s %s %s %s %s via=%s", r.Method, r.Host, r.Proto, r.Header.Get("Cookie"), r.Header.Get("X-Forwarded-Proto"), r.Header.Get("Via"))
		}
	})
	p := newProxy(t, origin, nil)
	resp, body := p.do("GET", "/", nil, func(r *http.Request) {
		r.Host = "www.example.com"
		r.AddCookie(&http.Cookie{Name: "a", Value: "1"})
		r.AddCookie(&http.Cookie{Name: "b", Value: "2"})
	})
	if want := "GET www.example.com HTTP/1.1 a=1; b=2 http via=2 edge"; resp.StatusCode != 200 || resp.ProtoMajor != 2 || body != want {
		t.Errorf("GET: %s %q; want HTTP/2 200 %q", resp.Status, body, want)
	}
	if resp, body = p.do("HEAD", "/big", nil, nil); resp.StatusCode != 200 || body != "" || resp.ContentLength != int64(len(big)) {
		t.Errorf("HEAD: %s, content-length %d, body of %d", resp.Status, resp.ContentLength, len(body))
	}
	if resp, body = p.do("GET", "/none", nil, nil); resp.StatusCode != 204 || body != "" {
		t.Errorf("204: %s %q", resp.Status, body)
	}
	if _, body = p.do("GET", "/big", nil, nil); body != string(big) {
		t.Errorf("a long response differs: %d bytes, want %d", len(body), len(big))
	}
	if _, body = p.do("GET", "/hints", nil, nil); body != "late" {
		t.Errorf("after a 103: %q", body)
	}
	for _, n := range []int{1, 128, 20_000, 3 << 20} {
		resp, body = p.do("POST", "/echo", bytes.NewReader(big[:n]), nil)
		if body != string(big[:n]) || resp.Trailer.Get("X-Sum") != fmt.Sprint(n) {
			t.Errorf("echo of %d: %d bytes, trailers %v", n, len(body), resp.Trailer)
		}
	}
	resp, body = p.do("POST", "/echo", io.MultiReader(strings.NewReader("ab"), bytes.NewReader(big[:100_000])), func(r *http.Request) {
		r.Trailer = http.Header{"X-End": {"!"}}
	})
	if len(body) != 100_002 || resp.Trailer.Get("X-Sum") != "100002!" {
		t.Errorf("trailers: %d bytes, %v", len(body), resp.Trailer)
	}
	if resp, body = p.do("POST", "/early", bytes.NewReader(big), nil); resp.StatusCode != 200 || body != "no" {
		t.Errorf("early response: %s %q", resp.Status, body)
	}
}

// TestHTTP2Concurrent: many streams of one connection, each with what is its own.
func TestHTTP2Concurrent(t *testing.T) {
	t.Parallel()
	origin := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s:%s", r.URL.Path, b)
		if len(b) > 0 {
			_, _ = w.Write(bytes.Repeat(b[:1], 200_000))
		}
	})
	p := newProxy(t, origin, nil)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			in := strings.Repeat(string(rune('a'+i%26)), i*50)
			_, body := p.do("POST", fmt.Sprintf("/%d", i), strings.NewReader(in), nil)
			want := fmt.Sprintf("/%d:%s", i, in)
			if i > 0 {
				want += strings.Repeat(in[:1], 200_000)
			}
			if body != want {
				t.Errorf("stream %d: %d bytes, want %d", i, len(body), len(want))
			}
		})
	}
	wg.Wait()
}

// TestHTTP2Streaming: pieces go through at once in either direction, and what the reader does not take stops the writer.
func TestHTTP2Streaming(t *testing.T) {
	t.Parallel()
	sent := make(chan int64, 1)
	origin := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/flood" {
			var n int64
			for b := make([]byte, 64<<10); ; {
				k, err := w.Write(b)
				if n += int64(k); err != nil || r.Context().Err() != nil {
					sent <- n
					return
				}
			}
		}
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(200)
		b := make([]byte, 1024)
		for {
			_ = http.NewResponseController(w).Flush()
			n, err := r.Body.Read(b)
			_, _ = w.Write(b[:n])
			if err != nil {
				return
			}
		}
	})
	p := newProxy(t, origin, nil)
	pr, pw := io.Pipe()
	req, _ := http.NewRequest("POST", "http://"+p.addr+"/", pr)
	resp, err := p.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	for i := range 50 {
		word := fmt.Sprintf("word %d", i)
		fmt.Fprint(pw, word)
		if n, err := io.ReadFull(resp.Body, b[:len(word)]); err != nil || string(b[:n]) != word {
			t.Fatalf("read %q, %v; want %q", b[:n], err, word)
		}
	}
	_ = pw.Close()
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("end: %q, %v", rest, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	req, _ = http.NewRequestWithContext(ctx, "GET", "http://"+p.addr+"/flood", nil)
	if resp, err = p.client.Do(req); err != nil {
		t.Fatal(err)
	}
	_, body := p.do("POST", "/", strings.NewReader("meanwhile"), nil) // another stream does not mind
	if body != "meanwhile" {
		t.Errorf("another stream: %q", body)
	}
	cancel()
	_, err = io.ReadAll(resp.Body)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("after cancel: %v", err)
	}
	if n := <-sent; n > 64<<20 {
		t.Errorf("the origin could send %d bytes that nobody read", n)
	}
}

// TestHTTP2Sniffed: one listener serves both versions.
func TestHTTP2Sniffed(t *testing.T) {
	t.Parallel()
	p := newProxy(t, newOrigin(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }), nil)
	resp, err := http.Get("http://" + p.addr)
	if err != nil || resp.ProtoMajor != 1 || resp.StatusCode != 200 {
		t.Errorf("HTTP/1.1: %v %v", resp, err)
	}
	if resp, body := p.do("GET", "/", nil, nil); resp.ProtoMajor != 2 || body != "ok" {
		t.Errorf("HTTP/2: %v %q", resp, body)
	}
	c, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, b := range []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00") { // byte by byte
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	head := make([]byte, 9)
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(c, head); err != nil || head[3] != 4 {
		t.Errorf("the answer begins with %x, %v; want SETTINGS", head, err)
	}
}

// TestHTTP2SlowOrigin: an upload that the origin does not read stops, and goes on when it does.
func TestHTTP2SlowOrigin(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	read := make(chan bool)
	origin := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			return
		}
		<-read
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	})
	p := newProxy(t, origin, nil)
	body := &counted{left: size}
	done := make(chan string)
	go func() {
		_, text := p.do("POST", "/", body, nil)
		done <- text
	}()
	var last int64
	for quiet := 0; quiet < 100; { // until nothing moves any more
		p.do("GET", "/", nil, nil) // other requests do
		if n := body.read.Load(); n == last && n > 0 {
			quiet++
		} else {
			last, quiet = n, 0
		}
	}
	if last > size/2 {
		t.Errorf("%d bytes were taken that nobody reads", last)
	}
	close(read)
	if text := <-done; text != fmt.Sprint(size, nil) {
		t.Errorf("the origin has read %s", text)
	}
}

// counted is a body that counts what is read of it.
type counted struct {
	left int64
	read atomic.Int64
}

func (c *counted) Read(b []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(b)), c.left))
	c.left -= int64(n)
	c.read.Add(int64(n))
	return n, nil
}

// TestHTTP2BrokenResponse: a response that the origin breaks off is reset, whatever else goes on.
func TestHTTP2BrokenResponse(t *testing.T) {
	t.Parallel()
	origin := originOf(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if req.Header.Get("Expect") != "" {
				_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
				b, _ := io.ReadAll(req.Body)
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(b), b)
				continue
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
			return
		}
	})
	p := newProxy(t, origin, nil)
	c := dial2(t, p.addr, nil)
	c.write(get2(1, "/"))
	c.want("HEADERS 1 200", "DATA 1 4", "RST 1 INTERNAL_ERROR")
	c.write(post2(3, "/", "expect: 100-continue"))
	c.want("HEADERS 3 100")
	c.write(frame2(frameData, 0, 3, "now") + frame2(frameData, flagEnd, 3, ""))
	c.want("HEADERS 3 200", "DATA 3 3 end")
}
