package main

import (
	"testing"
	"time"
)

// TestTunnelEnds: a tunnel ends when its origin has ended, and at once: a client that then ends too waits for nothing.
// A client that ends first still gets what the origin has to say.
func TestTunnelEnds(t *testing.T) {
	t.Parallel()
	const upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
	p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) {
		c.head()
		c.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		got := c.bytes(3)
		if got == "x" {
			pause(300 * time.Millisecond)
		}
		c.send("you said " + got)
	}), `"request_timeout": "100ms"`, `"upgrades": ["x"], "timeout": "100ms"`, ""))
	t.Run("no timeout", func(t *testing.T) {
		c := dial(t, p.addr(""))
		c.send(upgrade)
		c.wantHead("101 Switching")
		pause(300 * time.Millisecond)
		c.send("x")
		c.closeWrite()
		if got := c.rest(); got != "you said x" {
			t.Errorf("got %q", got)
		}
		p.wantStat("http.e2e.downstream_rq_active", 0)
	})
	t.Run("origin first", func(t *testing.T) {
		c := dial(t, p.addr(""))
		c.send(upgrade)
		c.wantHead("101 Switching")
		c.send("bye")
		if got := c.rest(); got != "you said bye" {
			t.Errorf("got %q", got)
		}
		p.wantStat("http.e2e.downstream_rq_active", 0)
		p.wantStat("http.e2e.downstream_cx_upgrades_active", 0)
		_ = c.Close()
		p.wantStat("http.e2e.downstream_cx_active", 0)
	})
	t.Run("client first", func(t *testing.T) {
		c := dial(t, p.addr(""))
		c.send(upgrade)
		c.wantHead("101 Switching")
		c.send("b")
		c.closeWrite()
		if got := c.rest(); got != "you said b" {
			t.Errorf("got %q", got)
		}
		p.wantStat("http.e2e.downstream_rq_active", 0)
	})
	t.Run("client before the answer", func(t *testing.T) {
		start := time.Now()
		c := dial(t, p.addr(""))
		c.send(upgrade)
		c.closeWrite()
		c.wantHead("101 Switching")
		if got := c.rest(); got != "you said " || time.Since(start) > waitMax/2 {
			t.Errorf("got %q after %v", got, time.Since(start))
		}
		p.wantStat("http.e2e.downstream_rq_active", 0)
	})
	p.wantStat("http.e2e.downstream_rq_tx_reset", 0)
	p.wantStat("http.e2e.downstream_rq_rx_reset", 0)
}
