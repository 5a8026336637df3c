package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// twoLoops starts a proxy with two loops. /loop answers with the loop of the connection, all else goes to the cluster.
func twoLoops(t *testing.T, cluster, top string) *proxy {
	t.Helper()
	return startProxy(t, `{"concurrency": 2, `+top+`
		"listeners": [{"address": "127.0.0.1:0", "stat_prefix": "front", "filters": [{"name": "http_connection_manager", "config": {"stat_prefix": "edge",
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
			taken, late := p.stat("cluster.c.upstream_cx_taken"), p.stat("cluster.c.upstream_cx_take_refused")
			want := 1 + late // a loop that gets no processor does not answer in time
			if !on {
				want = 2
			}
			if n := int64(len(accepted)); n != want {
				t.Errorf("the origin accepted %d connections, want %d", n, want)
			}
			p.wantStat("cluster.c.upstream_cx_total", want)
			p.wantStat("cluster.c.upstream_cx_active", want)
			p.wantStat("cluster.c.upstream_rq_total", rounds)
			if on && taken != rounds-1 && late == 0 || on && taken == 0 || !on && taken != 0 || p.stat("cluster.c.upstream_cx_given") != taken {
				t.Errorf("%d taken, %d given, %d late", taken, p.stat("cluster.c.upstream_cx_given"), late)
			}
			p.wantStat("cluster.c.upstream_cx_take_lost", 0)
		})
	}
}

// asker is a client that asks without a pause.
type asker struct {
	c      *rawConn
	stop   atomic.Bool
	done   chan error
	served int
}

// ask asks for / until stop is set.
func (a *asker) ask() {
	r := bufio.NewReader(a.c.Conn)
	req, _ := http.NewRequest("GET", "http://a/", nil)
	for !a.stop.Load() {
		if err := req.Write(a.c.Conn); err != nil {
			a.done <- err
			return
		}
		res, err := http.ReadResponse(r, req)
		if err != nil {
			a.done <- err
			return
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != 200 || string(body) != "ok" {
			a.done <- fmt.Errorf("status %d, body %q, %w", res.StatusCode, body, err)
			return
		}
		a.served++
	}
	a.done <- nil
}

// workerConns returns how many client connections each loop has.
func (p *proxy) workerConns() (list [2]int64) {
	for i := range list {
		list[i] = p.stat(fmt.Sprintf("listener.front.worker_%d.downstream_cx_active", i))
	}
	return list
}

// TestUnevenLoops: clients that all came to one loop are spread, without a request lost, and then stay where they are.
func TestUnevenLoops(t *testing.T) {
	t.Parallel()
	addr := origin(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	p := twoLoops(t, fmt.Sprintf(`"hosts": [%q]`, addr), `"loop_balancing": {"interval": "100ms", "min_busy_percent": 3}, `)
	const clients = 10
	askers := make([]*asker, clients)
	for i := range askers {
		askers[i] = &asker{c: p.onLoop(0), done: make(chan error, 1)}
	}
	t.Log(p.workerConns())
	for _, a := range askers {
		go a.ask()
	}
	even := eventually(func() bool {
		n := p.workerConns()
		return n[0] >= 2 && n[1] >= 2
	})
	t.Logf("%v, busy %d %%, at most %d %%", p.workerConns(), p.stat("server.loop_busy_mean_percent"), p.stat("server.loop_busy_most_percent"))
	if !even {
		t.Errorf("connections by loop: %v", p.workerConns())
	}
	for _, a := range askers {
		a.stop.Store(true)
	}
	for _, a := range askers {
		if err := <-a.done; err != nil {
			t.Errorf("after %d requests: %v", a.served, err)
		}
	}
	n, moved := p.workerConns(), p.stat("server.loop_balance_moved")
	if n[0]+n[1] != clients || moved < 2 || p.stat("http.edge.downstream_cx_active") != clients || p.stat("server.total_connections") != clients {
		t.Errorf("connections by loop: %v, %d moved", n, moved)
	}
	p.wantStat("server.loop_balance_lost", 0)
}
