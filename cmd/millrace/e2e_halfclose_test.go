package main

import (
	"net"
	"net/http"
	"strconv"
	"testing"
)

// TestHalfCloseKeepsQueuedResponse: a client that ends its direction when the response is complete, but not yet taken
// by its socket, still gets all of it.
func TestHalfCloseKeepsQueuedResponse(t *testing.T) {
	t.Parallel()
	body := noise(256 << 10)
	p := startProxy(t, oneRoute(origin(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	}), "", "", ""))
	c := dial(t, p.addr(""))
	_ = c.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	done, queued := 0, int64(0)
	for ; queued == 0 && done < 100; done++ {
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		p.wantStat("http.e2e.downstream_rq_2xx", int64(done+1))
		p.wantStat("http.e2e.downstream_rq_active", 0)
		queued = p.stat("server.loop_queued_bytes")
	}
	if queued == 0 {
		t.Skip("the kernel takes everything")
	}
	c.closeWrite()
	for range done {
		c.wantHead("200 OK")
		if got := c.bytes(len(body)); got != string(body) {
			t.Fatalf("got %d of %d bytes; %d were queued", len(got), len(body), queued)
		}
	}
	p.wantStat("http.e2e.downstream_cx_active", 0)
}
