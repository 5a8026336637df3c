package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestDownstreamTimeouts: what a client takes too long for gets a status, the end of the connection, a counter and its line.
func TestDownstreamTimeouts(t *testing.T) {
	t.Parallel()
	const head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
	for _, tt := range []struct {
		name, config, route, send string
		status, body, log, stat   string
	}{
		{name: "head", config: `"request_headers_timeout": "100ms"`, send: "GET / HTTP/1.1\r\nHost: a\r\nX: y", status: "408 Request Timeout",
			body: "request header timeout", log: "408 - request_header_timeout 0", stat: "downstream_rq_header_timeout"},
		{name: "request line", config: `"request_headers_timeout": "100ms"`, send: "G", status: "408 ",
			body: "request header timeout", log: "408 - request_header_timeout 0", stat: "downstream_rq_header_timeout"},
		{name: "request", config: `"request_timeout": "100ms"`, send: head + "abc", status: "408 ",
			body: "request timeout", log: "408 - request_overall_timeout 1", stat: "downstream_rq_timeout"},
		{name: "idle body", config: `"stream_idle_timeout": "100ms"`, send: head + "abc", status: "408 ",
			body: "stream timeout", log: "408 SI stream_idle_timeout 1", stat: "downstream_rq_idle_timeout"},
		{name: "idle origin", config: `"stream_idle_timeout": "100ms"`, send: getRoot, status: "504 ",
			body: "stream timeout", log: "504 SI stream_idle_timeout 1", stat: "downstream_rq_idle_timeout"},
		{name: "idle on a route", route: `"idle_timeout": "100ms"`, send: getRoot, status: "504 ",
			body: "stream timeout", log: "504 SI stream_idle_timeout 1", stat: "downstream_rq_idle_timeout"},
		{name: "idle body on a route", route: `"idle_timeout": "100ms"`, config: `"stream_idle_timeout": "0s"`, send: head, status: "408 ",
			body: "stream timeout", log: "408 SI stream_idle_timeout 1", stat: "downstream_rq_idle_timeout"},
		{name: "duration", config: `"max_stream_duration": "100ms"`, send: getRoot, status: "504 ",
			body: "downstream duration timeout", log: "504 DT max_duration_timeout 1", stat: "downstream_rq_max_duration_reached"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			log := newFailureLog(t)
			p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) { c.head(); c.rest() }), log.config()+leadingComma(tt.config), tt.route, ""))
			c := dial(t, p.addr(""))
			c.send(tt.send)
			resp, err := http.ReadResponse(c.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body := bodyOf(t, resp); !strings.HasPrefix(resp.Status, tt.status) || body != tt.body || !resp.Close {
				t.Errorf("got %s, %q, close %v; want %s, %q, close", resp.Status, body, resp.Close, tt.status, tt.body)
			}
			c.wantEnd()
			log.want(tt.log)
			p.wantStat("http.e2e."+tt.stat, 1)
			p.wantStat("http.e2e.downstream_rq_active", 0)
			p.wantStat("cluster.web.upstream_rq_active", 0)
		})
	}
}

// TestIdleTimeoutIsNotForBusyStreams: bytes that trickle keep a stream alive in both directions.
func TestIdleTimeoutIsNotForBusyStreams(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) {
		c.head()
		if got := c.bytes(8); got != "abcdefgh" {
			t.Errorf("the origin got %q", got)
		}
		c.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
		for range 8 {
			pause(100 * time.Millisecond)
			c.send("x")
		}
		c.rest()
	}), `"stream_idle_timeout": "600ms"`, "", ""))
	c := dial(t, p.addr(""))
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n")
	for _, b := range "abcdefgh" {
		pause(100 * time.Millisecond)
		c.send(string(b))
	}
	c.wantHead("200 OK")
	if got := c.bytes(8); got != "xxxxxxxx" {
		t.Errorf("body %q", got)
	}
}

// TestConnectionTimeouts: connections without a request end in order.
func TestConnectionTimeouts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, config, send, stat string }{
		{"silent", `"request_headers_timeout": "100ms"`, "", "downstream_rq_header_timeout"},
		{"silent, no limit on heads", `"request_headers_timeout": "0s", "idle_timeout": "100ms"`, "", "downstream_cx_idle_timeout"},
		{"idle", `"idle_timeout": "100ms"`, getRoot, "downstream_cx_idle_timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := startProxy(t, oneRoute(origin(t, echo), tt.config, "", ""))
			c := dial(t, p.addr(""))
			c.send(tt.send)
			if tt.send != "" {
				resp, err := http.ReadResponse(c.r, nil)
				if err != nil {
					t.Fatal(err)
				}
				bodyOf(t, resp)
			}
			c.wantEnd()
			p.wantStat("http.e2e."+tt.stat, 1)
			p.wantStat("http.e2e.downstream_cx_active", 0)
		})
	}
}

func TestMaxRequestsPerConnection(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(origin(t, func(http.ResponseWriter, *http.Request) {}), `"max_requests_per_connection": 3`, "", `"max_requests_per_connection": 2`))
	c := dial(t, p.addr(""))
	for i := range 3 {
		c.send(getRoot)
		h := c.wantHead("200 OK")
		if ends := strings.Contains(h, "connection: close\r\n"); ends != (i == 2) {
			t.Errorf("response %d: %q", i, h)
		}
	}
	c.wantEnd()
	p.wantStat("http.e2e.downstream_cx_max_requests_reached", 1)
	p.wantStat("cluster.web.upstream_cx_max_requests", 1)
	p.wantStat("cluster.web.upstream_cx_total", 2)
}

func TestMaxConnectionDuration(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(origin(t, func(http.ResponseWriter, *http.Request) {}), `"max_connection_duration": "200ms"`, "", ""))
	c := dial(t, p.addr(""))
	c.send(getRoot)
	c.wantHead("200 OK")
	c.wantEnd() // idle at that time
	p.wantStat("http.e2e.downstream_cx_max_duration_reached", 1)
}

func TestUpstreamIdleTimeout(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(origin(t, echo), "", "", `"idle_timeout": "100ms"`))
	get(t, p.url("/"))
	p.wantStat("cluster.web.upstream_cx_idle_timeout", 1)
	p.wantStat("cluster.web.upstream_cx_active", 0)
	if status, _ := get(t, p.url("/")); status != 200 {
		t.Errorf("status %d after the idle connection ended", status)
	}
}

// TestTunnelOutlivesTimeouts: a route's timeout is for responses, not for what follows a 101.
func TestTunnelOutlivesTimeouts(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) {
		c.head()
		c.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		for {
			b := c.bytes(1)
			if b == "" {
				return
			}
			c.send(b)
		}
	}), "", `"upgrades": ["websocket"], "timeout": "200ms", "retry_policy": {"retry_on": "5xx", "per_try_timeout": "100ms"}`, ""))
	c := dial(t, p.addr(""))
	c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
	c.wantHead("101 Switching Protocols")
	for i := range 6 {
		pause(100 * time.Millisecond)
		c.send("p")
		if got := c.bytes(1); got != "p" {
			t.Fatalf("echo %d is %q", i, got)
		}
	}
	p.wantStat("cluster.web.upstream_rq_timeout", 0)
}

// TestPerTryTimeoutEndsWithTheHead: a try has answered with its head, however early that came and long the body takes.
func TestPerTryTimeoutEndsWithTheHead(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) {
		c.head()
		c.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
		got := c.bytes(4) // the rest of the request comes after the head of the response
		pause(400 * time.Millisecond)
		c.send(got)
		c.rest()
	}), "", `"retry_policy": {"retry_on": "5xx", "per_try_timeout": "150ms"}`, ""))
	c := dial(t, p.addr(""))
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
	c.wantHead("200 OK")
	c.send("body")
	if got := c.bytes(4); got != "body" {
		t.Errorf("body %q", got)
	}
	p.wantStat("cluster.web.upstream_rq_per_try_timeout", 0)
}

// TestTimeoutInsideResponse: a response that takes longer than the route's timeout is broken off.
func TestTimeoutInsideResponse(t *testing.T) {
	t.Parallel()
	log := newFailureLog(t)
	p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) {
		c.head()
		c.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
		c.rest()
	}), log.config(), `"timeout": "150ms"`, ""))
	c := dial(t, p.addr(""))
	c.send(getRoot)
	c.head()
	if got := c.bytes(4); len(got) == 4 {
		t.Errorf("body %q", got)
	}
	log.want("200 UT upstream_response_timeout 1")
	p.wantStat("http.e2e.downstream_rq_tx_reset", 1)
}

// TestTimeoutHeaders: a request from inside may set its timeouts, and the origin is told.
func TestTimeoutHeaders(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(origin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-r.Context().Done()
		}
		fmt.Fprint(w, r.Header.Get("X-Envoy-Expected-Rq-Timeout-Ms"), r.Header.Get("X-Envoy-Upstream-Rq-Timeout-Ms"))
	}), `"use_remote_address": true`, "", ""))
	for _, tt := range []struct {
		path, value string
		status      int
		body        string
	}{
		{"/", "", 200, "15000"}, {"/", "2000", 200, "2000"}, {"/slow", "100", 504, "upstream request timeout"}, {"/", "x", 200, "15000"},
	} {
		req, _ := http.NewRequest(http.MethodGet, p.url(tt.path), nil)
		if tt.value != "" {
			req.Header.Set("X-Envoy-Upstream-Rq-Timeout-Ms", tt.value)
		}
		resp, err := noFollow.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if body := bodyOf(t, resp); resp.StatusCode != tt.status || body != tt.body {
			t.Errorf("%s with %q: got %d %q, want %d %q", tt.path, tt.value, resp.StatusCode, body, tt.status, tt.body)
		}
	}
}
