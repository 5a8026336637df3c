package pool

import (
	"testing"
	"time"

	"millrace/upstream"
)

// TestMaxPendingDuration: what has waited too long is refused in the order of its arrival; what is served in time is not.
func TestMaxPendingDuration(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"http1", "http2"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c := w.set(config(func(c *upstream.Config) {
				c.Protocol, c.ConnectTimeout = protocol, time.Hour
				c.CircuitBreakers.MaxPendingDuration = 2 * time.Second
			}, deafOrigin(t)), nil)
			a, b, again := newOwner(), newOwner(), newOwner()
			a.onReset = func() { leaseNow(c, c.Shared().Hosts()[0], again, false) }
			w.lease(c, a)
			w.advance(1500 * time.Millisecond)
			w.lease(c, b)
			w.advance(600 * time.Millisecond) // a is late, b is not
			w.wantLog(a, "reset pending_timeout")
			w.wantLog(b)
			w.advance(1500 * time.Millisecond) // b is late, what a leased anew is not
			w.wantLog(b, "reset pending_timeout")
			w.wantLog(again)
			w.advance(time.Second)
			w.wantLog(again, "reset pending_timeout")
			if n := c.Stats.RqPendingTimeout.Load(); n != 3 || c.Stats.RqPendingActive.Load() != 0 {
				t.Errorf("upstream_rq_pending_timeout = %d, %d wait; want 3, 0", n, c.Stats.RqPendingActive.Load())
			}
			w.do(func() { w.table.Remove(0) })
			w.advance(2 * time.Hour) // connect_timeout
			w.settle()
			w.wantIdle(c, 0)
		})
	}
}

// TestMaxPendingDurationBehindOthers: the queue of a host that is at its limit is bounded in time, and a reload may
// shorten it.
func TestMaxPendingDurationBehindOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	limits := func(wait time.Duration) func(*upstream.Config) {
		return thresholds(func(b *upstream.CircuitBreakers) {
			b.PerHostThresholds.MaxConnections, b.MaxPendingDuration = 1, wait
		})
	}
	c := w.set(config(limits(time.Minute), o.addr), nil)
	x, y, z := newOwner(), newOwner(), newOwner()
	w.lease(c, x)
	p := o.accept()
	p.wantHead("GET / HTTP/1.1")
	w.lease(c, y)
	w.advance(30 * time.Second)
	w.wantLog(y)
	c = w.set(config(limits(20*time.Second), o.addr), c.Shared())
	w.advance(10 * time.Millisecond)
	w.wantLog(y, "reset pending_timeout")
	w.lease(c, z)
	w.advance(19 * time.Second)
	p.send(ok)
	p.wantHead("GET / HTTP/1.1")
	w.advance(time.Minute) // it waits no more
	p.send(ok)
	w.wantLog(z, "ready", "head 200", "end")
	o.wantNone()
	w.wantIdle(c, 1)
}
