package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// echo answers with what it was asked.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %s\n", r.Method, r.RequestURI, r.Host)
	_ = r.Header.Write(w)
	fmt.Fprintf(w, "\n%s", body)
}

func TestForward(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(origin(t, echo), `"use_remote_address": true, "via": "edge"`, "", ""))
	c := dial(t, p.addr(""))
	c.send("POST /a?b=c HTTP/1.1\r\nHost: example.com\r\nConnection: x-secret, keep-alive\r\nX-Secret: 1\r\n" +
		"X-CusTom: v\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip\r\nContent-Length: 4\r\n\r\nbody")
	h := c.wantHead("HTTP/1.1 200 OK\r\n", "server: millrace\r\n", "x-envoy-upstream-service-time: ", "via: 1.1 edge\r\n")
	var n int
	if _, err := fmt.Sscanf(h[strings.Index(h, "Content-Length: "):], "Content-Length: %d", &n); err != nil {
		t.Fatalf("no Content-Length in %q", h)
	}
	body := c.bytes(n)
	for _, want := range []string{
		"POST /a?b=c example.com\n", "X-Custom: v\r\n", "X-Forwarded-For: 127.0.0.1\r\n",
		"X-Forwarded-Proto: http\r\n", "X-Request-Id: ", "Via: 1.1 edge\r\n", "X-Envoy-Internal: true\r\n", "\n\nbody",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the origin got %q without %q", body, want)
		}
	}
	for _, no := range []string{"X-Secret", "Keep-Alive", "Proxy-Connection", "Te:", "Connection"} {
		if strings.Contains(body, no) {
			t.Errorf("the origin got %q with %q", body, no)
		}
	}
}

func TestPipelining(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(origin(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) }), "", "", ""))
	c := dial(t, p.addr(""))
	const n = 50
	var all strings.Builder
	for i := range n {
		fmt.Fprintf(&all, "GET /%02d HTTP/1.1\r\nHost: a\r\n\r\n", i)
	}
	c.send(all.String())
	for i := range n {
		c.wantHead("200 OK", "Content-Length: 3\r\n")
		if got, want := c.bytes(3), fmt.Sprintf("/%02d", i); got != want {
			t.Fatalf("answer %d is %q, want %q", i, got, want)
		}
	}
	p.wantStat("http.e2e.downstream_rq_total", n)
	p.wantStat("http.e2e.downstream_rq_active", 0)
}

func TestBodiesBothWays(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(origin(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	}), "", "", ""))
	for _, n := range []int{0, 1, 1000, 65536, 3 << 20} {
		for _, chunked := range []bool{false, true} {
			want := strings.Repeat("0123456789abcdef", n/16+1)[:n]
			var body io.Reader = strings.NewReader(want)
			if chunked {
				body = io.MultiReader(body) // hides the length
			}
			resp, err := http.Post(p.url("/"), "text/plain", body)
			if err != nil {
				t.Fatal(err)
			}
			if got := bodyOf(t, resp); got != want {
				t.Errorf("%d bytes, chunked %v: got %d bytes back", n, chunked, len(got))
			}
		}
	}
}

func TestInformationalResponses(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) {
		c.wantHead("Expect: 100-continue\r\n", "Content-Length: 2\r\n")
		c.send("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
		c.send("HTTP/1.1 100 Continue\r\n\r\n")
		if got := c.bytes(2); got != "hi" {
			t.Errorf("the origin got %q", got)
		}
		c.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		c.rest()
	}), "", "", ""))
	c := dial(t, p.addr(""))
	c.send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
	c.wantHead("HTTP/1.1 103 Early Hints\r\n", "Link: </x>\r\n")
	c.wantHead("HTTP/1.1 100 Continue\r\n")
	c.send("hi")
	c.wantHead("HTTP/1.1 200 OK\r\n")
	if got := c.bytes(2); got != "ok" {
		t.Errorf("body %q", got)
	}
}

func TestUpgrade(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) {
		c.wantHead("Upgrade: websocket\r\n", "onnection: ")
		c.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
		if got := c.bytes(4); got != "ping" {
			t.Errorf("the origin got %q", got)
		}
		c.send("pong")
		if got := c.rest(); got != "last" {
			t.Errorf("the origin got %q before the end", got)
		}
		c.send("bye")
	}), "", `"upgrades": ["websocket"]`, ""))
	c := dial(t, p.addr(""))
	c.send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	c.wantHead("HTTP/1.1 101 Switching Protocols\r\n", "Upgrade: websocket\r\n")
	if got := c.bytes(5); got != "hello" {
		t.Errorf("got %q", got)
	}
	c.send("ping")
	if got := c.bytes(4); got != "pong" {
		t.Errorf("got %q", got)
	}
	p.wantStat("http.e2e.downstream_cx_upgrades_active", 1)
	c.send("last")
	c.closeWrite()
	if got := c.rest(); got != "bye" {
		t.Errorf("got %q after our end", got)
	}
	p.wantStat("http.e2e.downstream_cx_upgrades_active", 0)
	p.wantStat("http.e2e.downstream_cx_active", 0)
}

func TestUpgradeRefused(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(origin(t, echo), "", "", ""))
	c := dial(t, p.addr(""))
	c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
	c.wantHead("HTTP/1.1 403 Forbidden\r\n", "onnection: close\r\n")
	c.wantEnd()
}

func TestHalfClosedClientGetsItsResponse(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	p := startProxy(t, oneRoute(origin(t, func(w http.ResponseWriter, _ *http.Request) { <-release; _, _ = io.WriteString(w, "late") }), "", "", ""))
	c := dial(t, p.addr(""))
	c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	c.closeWrite()
	p.wantStat("cluster.web.upstream_rq_active", 1)
	close(release)
	c.wantHead("HTTP/1.1 200 OK\r\n", "onnection: close\r\n")
	if got := c.rest(); got != "late" {
		t.Errorf("body %q", got)
	}
}

func TestAbortOnHalfClose(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	p := startProxy(t, oneRoute(origin(t, func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(gone)
	}), `"abort_on_half_close": true`, "", ""))
	c := dial(t, p.addr(""))
	c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	p.wantStat("cluster.web.upstream_rq_active", 1)
	c.closeWrite()
	<-gone
	p.wantStat("http.e2e.downstream_rq_rx_reset", 1)
	p.wantStat("http.e2e.downstream_rq_active", 0)
}

func TestHeadHasNoBody(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(startNginx(t, `location / { return 200 "0123456789"; }`), "", "", ""))
	c := dial(t, p.addr(""))
	c.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	c.wantHead("200 OK", "Content-Length: 10\r\n")
	c.wantHead("200 OK", "Content-Length: 10\r\n")
	if got := c.rest(); got != "0123456789" {
		t.Errorf("body %q", got)
	}
}
