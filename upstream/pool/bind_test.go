package pool

import (
	"testing"

	"millrace/upstream"
)

// TestBindErrors: connections whose source address the machine does not have are counted as such, and fail what waits.
func TestBindErrors(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"http1", "http2"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o := newOrigin(w)
			c := w.set(config(func(c *upstream.Config) {
				c.Protocol, c.UpstreamBindConfig = protocol, &upstream.BindConfig{SourceAddress: "192.0.2.1:0"}
			}, o.addr), nil)
			a := newOwner()
			w.lease(c, a)
			w.until("failure", func() bool { return a.done })
			w.wantLog(a, "reset connect_failure", "engine: dial "+o.addr+": bind to source 192.0.2.1:0: cannot assign requested address")
			var tcp TCP
			w.do(func() {
				if r, _ := c.OpenTCP(&tcp, &TCPTarget{Host: c.Shared().Hosts()[0]}, nil); r != TCPFailed {
					t.Errorf("OpenTCP = %d, want failed", r)
				}
			})
			if n := c.Stats.BindErrors.Load(); n != 2 || c.Stats.CxConnectFail.Load() != 2 {
				t.Errorf("bind_errors = %d, upstream_cx_connect_fail = %d; want 2, 2", n, c.Stats.CxConnectFail.Load())
			}
			w.wantIdle(c, 0)
		})
	}
}
