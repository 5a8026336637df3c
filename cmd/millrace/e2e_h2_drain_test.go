package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// h2Load is clients that ask over few connections of HTTP/2, many requests at once.
type h2Load struct {
	stop     atomic.Bool
	requests atomic.Int64
	failures atomic.Int64
	first    atomic.Pointer[string] // the first failure
	clients  sync.WaitGroup
}

// startH2Load starts connections with some requests at once on each until wait is called. A client ends by itself when
// nobody accepts any more.
func startH2Load(t *testing.T, url string, connections, streams int) *h2Load {
	t.Helper()
	l := &h2Load{}
	for range connections {
		client := &http.Client{Transport: h2Transport(t), Timeout: waitMax}
		for range streams {
			l.clients.Go(func() {
				for !l.stop.Load() && l.ask(client, url) {
				}
			})
		}
	}
	t.Cleanup(func() { l.stop.Store(true); l.clients.Wait() })
	return l
}

// ask makes a request with a body and reports whether there may be another.
func (l *h2Load) ask(client *http.Client, url string) bool {
	var resp *http.Response
	var err error
	if strings.HasSuffix(url, "/get") {
		resp, err = client.Get(url)
	} else {
		resp, err = client.Post(url, "", strings.NewReader("hello"))
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return false
	}
	var b []byte
	if err == nil {
		b, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
	}
	l.requests.Add(1)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, b)
	}
	if err != nil {
		text := err.Error()
		l.failures.Add(1)
		l.first.CompareAndSwap(nil, &text)
	}
	return true
}

// wait ends the load and checks that nothing failed.
func (l *h2Load) wait(t *testing.T) {
	t.Helper()
	l.stop.Store(true)
	l.clients.Wait()
	if n := l.failures.Load(); n > 0 {
		t.Errorf("%d of %d requests failed, the first: %s", n, l.requests.Load(), *l.first.Load())
	}
	if l.requests.Load() == 0 {
		t.Error("the load made no request")
	}
}

// waitRequests waits until the load has made n requests more.
func (l *h2Load) waitRequests(t *testing.T, n int64) {
	t.Helper()
	from := l.requests.Load()
	if !eventually(func() bool { return l.requests.Load() >= from+n }) {
		t.Errorf("%d requests in %s, want %d", l.requests.Load()-from, waitMax, n)
	}
}

// steadyOrigin starts an origin for the load.
func steadyOrigin(t *testing.T) string {
	return bothVersions(t, func(w http.ResponseWriter, r *http.Request) {
		if b, err := io.ReadAll(r.Body); err != nil || string(b) != "hello" {
			w.WriteHeader(http.StatusBadRequest)
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 1000))
	})
}

// TestH2Reload: reloads that change the listener, the route or the cluster fail no request of a client that keeps its
// connections: those that have to end say so with GOAWAY and answer what was asked before.
func TestH2Reload(t *testing.T) {
	t.Parallel()
	for _, v := range h2Versions {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			host, port := steadyOrigin(t), freePort(t)
			config := func(n int) string {
				text := oneRoute(host, fmt.Sprintf(`"server_name": "edge-%d"`, n/3), fmt.Sprintf(`"timeout": "%ds"`, 60+n/2), v.cluster)
				text = strings.Replace(text, `"address": "127.0.0.1:0"`, fmt.Sprintf(`"name": "front", "address": "127.0.0.1:%d", "per_connection_buffer_limit_bytes": %d`, port, 1<<20+n), 1)
				return strings.Replace(text, `"concurrency": 1`, `"concurrency": 1, "drain_time": "2s"`, 1)
			}
			p := startProxy(t, config(0))
			l := startH2Load(t, fmt.Sprintf("http://127.0.0.1:%d/", port), 4, 8)
			l.waitRequests(t, 100)
			for n := 1; n <= 6; n++ {
				p.write(config(n))
				if code, text := p.adminPost("/reload"); code != http.StatusOK {
					t.Fatalf("reload: %d %s", code, text)
				}
				l.waitRequests(t, 100)
			}
			l.wait(t)
			p.wantStat("listener_manager.total_listeners_draining", 0)
			p.wantQuiet()
		})
	}
}

// TestH2Drain: at SIGTERM connections hear GOAWAY, what was asked is answered, and the process ends.
func TestH2Drain(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	host := bothVersions(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			_, _ = io.WriteString(w, "slow")
			_ = http.NewResponseController(w).Flush()
			<-release
		}
		_, _ = io.WriteString(w, "done")
	})
	p := startProxy(t, strings.Replace(oneRoute(host, "", `"timeout": "0s"`, `"protocol": "http2"`), `"concurrency": 1`, `"concurrency": 1, "drain_time": "15s"`, 1))
	client := &http.Client{Transport: h2Transport(t)}
	slow, err := client.Get(p.url("/slow"))
	if err != nil {
		t.Fatal(err)
	}
	idle := &http.Client{Transport: h2Transport(t)}
	if resp, err := idle.Get(p.url("/")); err != nil || bodyOf(t, resp) != "done" {
		t.Fatal(err)
	}
	p.wantStat("http.e2e.downstream_cx_active", 2)
	p.signal(os.Interrupt)
	if !eventually(func() bool { // nobody new is let in
		c, err := net.Dial("tcp", p.addr(""))
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	}) {
		t.Error("connections are still accepted")
	}
	close(release)
	if got := bodyOf(t, slow); got != "slowdone" {
		t.Errorf("the request under way: %q, want slowdone", got)
	}
	p.wantExit(exitFine)
}

// handedListener gives a server connections that another one accepts, so that servers can follow one another on a port.
type handedListener struct {
	net.Listener
	conns <-chan net.Conn
	ended chan struct{}
	once  sync.Once
}

// Accept implements net.Listener.
func (l *handedListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.ended:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *handedListener) Close() error {
	l.once.Do(func() { close(l.ended) })
	return nil
}

// TestH2UpstreamGoesAway: origins that say GOAWAY and leave, while others take over on the same port, fail no request: what
// they did not process is sent again, with a body if a policy has it kept.
func TestH2UpstreamGoesAway(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, path, route, cluster string }{
		{"without a body", "/get", "", ""},
		{"with a body", "/post", `"retry_policy": {"retry_on": "refused-stream", "num_retries": 3}`, `, "circuit_breakers": {"max_retries": 1000}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = ln.Close() })
			p := startProxy(t, oneRoute(ln.Addr().String(), "", tt.route, `"protocol": "http2"`+tt.cluster))
			follow(t, ln, startH2Load(t, p.url(tt.path), 4, 8))
			p.wantQuiet()
			if p.stat("cluster.web.upstream_cx_http2_total") < 6 {
				t.Error("the origins did not follow one another")
			}
		})
	}
}

// follow serves a load by one server after the other, each of which leaves in order.
func follow(t *testing.T, ln net.Listener, l *h2Load) {
	t.Helper()
	conns := make(chan net.Conn)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns <- c
		}
	}()
	serve := func() *http.Server {
		srv := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if b, err := io.ReadAll(r.Body); err != nil || r.Method == http.MethodPost && string(b) != "hello" {
				w.WriteHeader(http.StatusBadRequest)
			}
		})}
		srv.Protocols.SetUnencryptedHTTP2(true)
		go func() { _ = srv.Serve(&handedListener{Listener: ln, conns: conns, ended: make(chan struct{})}) }()
		return srv
	}
	now := serve()
	l.waitRequests(t, 200)
	for range 6 {
		next := serve()
		if err := now.Shutdown(t.Context()); err != nil {
			t.Errorf("an origin does not get rid of its connections: %v", err)
		}
		now = next
		l.waitRequests(t, 100)
	}
	l.wait(t)
	_ = now.Close()
}
