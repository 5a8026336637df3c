package main

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// twoLoops starts a proxy with two loops. /loop answers with the loop of the connection, all else goes to the cluster.
func twoLoops(t *testing.T, cluster, top string) *proxy {
	t.Helper()
	return startProxy(t, `{"concurrency": 2, `+top+`
		"listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {"stat_prefix": "edge",
		"route_config": {"routes": [
			{"match": {"path": "/loop"}, "direct_response": {"status": 200}, "response_headers_to_add": [{"key": "x-conn", "value": "%CONNECTION_ID%"}]},
			{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}}}]}],
		"clusters": [{"name": "c", `+cluster+`}]}`)
}

// loopOf asks which loop accepted a connection.
func loopOf(c *rawConn) int {
	c.t.Helper()
	c.send("GET /loop HTTP/1.1\r\nHost: a\r\n\r\n")
	head := c.head()
	for _, line := range strings.Split(head, "\r\n") {
		if id, ok := strings.CutPrefix(strings.ToLower(line), "x-conn: "); ok {
			n, err := strconv.ParseUint(id, 10, 64)
			if err != nil {
				c.t.Fatal(err)
			}
			return int(n & 0xff)
		}
	}
	c.t.Fatalf("no x-conn in %q", head)
	return -1
}

// onLoop dials until a connection is accepted by the loop.
func (p *proxy) onLoop(loop int) *rawConn {
	p.t.Helper()
	for range 200 {
		c := dial(p.t, p.addr(""))
		if loopOf(c) == loop {
			return c
		}
		c.Close()
	}
	p.t.Fatalf("no connection is accepted by loop %d", loop)
	return nil
}

// fetch asks for / and wants "ok".
func (c *rawConn) fetch() {
	c.t.Helper()
	c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	c.wantHead("HTTP/1.1 200 OK", "Content-Length: 2")
	if body := c.bytes(2); body != "ok" {
		c.t.Fatalf("body %q, want ok", body)
	}
}

// TestTakeIdleConnection: what one loop has left idle serves the requests of another, unless that is switched off.
func TestTakeIdleConnection(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{true, false} {
		t.Run(fmt.Sprint(on), func(t *testing.T) {
			t.Parallel()
			accepted := make(chan *rawConn, 100)
			addr := rawOrigin(t, func(c *rawConn) {
				accepted <- c
				for strings.HasPrefix(c.head(), "GET") {
					c.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			})
			p := twoLoops(t, fmt.Sprintf(`"share_idle_connections": %v, "hosts": [%q]`, on, addr), "")
			clients := []*rawConn{p.onLoop(0), p.onLoop(1)}
			const rounds = 6
			for i := range rounds {
				clients[i%2].fetch()
				time.Sleep(130 * time.Millisecond) // idle for longer than a loop keeps what it may need itself
			}
			want := int64(1)
			if !on {
				want = 2
			}
			if n := int64(len(accepted)); n != want {
				t.Errorf("the origin accepted %d connections, want %d", n, want)
			}
			p.wantStat("cluster.c.upstream_cx_total", want)
			p.wantStat("cluster.c.upstream_cx_active", want)
			p.wantStat("cluster.c.upstream_rq_total", rounds)
			taken := p.stat("cluster.c.upstream_cx_taken")
			if on && taken != rounds-1 || !on && taken != 0 || p.stat("cluster.c.upstream_cx_given") != taken {
				t.Errorf("%d taken, %d given", taken, p.stat("cluster.c.upstream_cx_given"))
			}
			p.wantStat("cluster.c.upstream_cx_take_lost", 0)
		})
	}
}
