package main

import (
	"net"
	"net/http"
	"strconv"
	"testing"
)

// TestPipeliningClientResets: a client that has sent more requests and breaks off in a long response must
// not hold its upstream connection until stream_idle_timeout, though what it sent is still unread.
func TestPipeliningClientResets(t *testing.T) {
	t.Parallel()
	body := noise(32 << 20)
	p := startProxy(t, oneRoute(origin(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	}), "", `"timeout": "0s"`, ""))
	for range 8 {
		c := dial(t, p.addr(""))
		for range 4 {
			c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		}
		c.wantHead("200 OK")
		c.bytes(2 << 20)
		_ = c.Conn.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
	p.wantStat("http.e2e.downstream_cx_active", 0)
	p.wantStat("http.e2e.downstream_rq_active", 0)
	p.wantStat("cluster.web.upstream_rq_active", 0)
}
