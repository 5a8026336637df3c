package main

import "testing"

// TestConnectionGoesOnAfterRefusedBody: a short body whose request is answered by the proxy is thrown away, also when
// reading had been paused for the upstream, and the connection carries the next request.
func TestConnectionGoesOnAfterRefusedBody(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(closedPort(t), "", "", ""))
	t.Run("end of the client", func(t *testing.T) {
		c := dial(t, p.addr(""))
		c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo")
		p.wantStat("http.e2e.downstream_rq_5xx", 1)
		c.closeWrite()
		c.wantHead("503 ")
		_ = c.bytes(98)
		c.wantEnd()
	})
	for _, test := range []struct{ name, first, then string }{
		{"one piece", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", ""},
		{"body later", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n", "body"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := dial(t, p.addr(""))
			for range 3 {
				c.send(test.first)
				if test.then == "" {
					c.wantHead("503 ", "content-length: 98\r\n")
					_ = c.bytes(98)
					continue
				}
				c.wantHead("503 ")
				_ = c.bytes(98)
				c.send(test.then)
			}
		})
	}
}
