package main

import (
	"fmt"
	"testing"
)

// TestNothingKeptAfterTheHead: once the head of the response has been passed on there is no other try, so what of the
// request comes after it is neither kept nor counted as too long to be.
func TestNothingKeptAfterTheHead(t *testing.T) {
	t.Parallel()
	body := noise(3 << 20)
	p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) {
		c.head()
		c.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(body)))
		got := c.bytes(len(body))
		_, _ = c.Write([]byte(got))
	}), "", `"retry_policy": {"retry_on": "5xx"}`, ""))
	c := dial(t, p.addr(""))
	c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", len(body)))
	c.wantHead("200 OK")
	_, _ = c.Write(body)
	if got := c.bytes(len(body)); got != string(body) {
		t.Errorf("%d bytes came back that differ", len(got))
	}
	p.wantStat("cluster.web.retry_or_shadow_abandoned", 0)
}
