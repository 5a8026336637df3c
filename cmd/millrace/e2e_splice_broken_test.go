package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
)

// TestClientLeavesSplice: clients that go in the middle of a spliced response end that request, and nothing else.
func TestClientLeavesSplice(t *testing.T) {
	t.Parallel()
	body := noise(16 << 20)
	p := startProxy(t, oneRoute(origin(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body)
	}), "", "", ""))
	const clients = 30
	for range clients {
		c := dial(t, p.addr(""))
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		c.wantHead("200 OK")
		_ = c.bytes(4 << 20)
		_ = c.Conn.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
	p.wantStat("http.e2e.downstream_rq_active", 0)
	p.wantStat("cluster.web.upstream_cx_active", 0)
	p.wantStat("server.loop_panics", 0)
	if p.stat("server.loop_spliced_bytes") == 0 {
		t.Error("nothing was spliced")
	}
}

// TestOriginLeavesSplice: origins that go in the middle of a spliced request end that request, and nothing else.
// What the origin has taken is not known then, so the connection of the client ends too.
func TestOriginLeavesSplice(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, answer string
	}{
		{"silent", ""},
		{"answers", "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) {
				c.head()
				_ = c.bytes(2 << 20)
				c.send(test.answer)
				_ = c.Conn.(*net.TCPConn).SetLinger(0)
			}), "", "", ""))
			body := noise(8 << 20)
			const clients = 30
			for range clients {
				c := dial(t, p.addr(""))
				c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", len(body)))
				_, _ = c.Write(body)
				_, _ = io.Copy(io.Discard, c.r)
				_ = c.Close()
			}
			p.wantStat("http.e2e.downstream_rq_active", 0)
			p.wantStat("http.e2e.downstream_cx_active", 0)
			p.wantStat("server.loop_panics", 0)
			if p.stat("server.loop_spliced_bytes") == 0 {
				t.Error("nothing was spliced")
			}
		})
	}
}
