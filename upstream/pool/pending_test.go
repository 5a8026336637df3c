package pool

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"millrace/engine"
	"millrace/upstream"
)

// thresholds edits the limits of priority default.
func thresholds(edit func(*upstream.CircuitBreakers)) func(*upstream.Config) {
	return func(c *upstream.Config) { edit(&c.CircuitBreakers) }
}

// TestPendingQueue: what waits is served first in first out by whatever connection comes free.
func TestPendingQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(thresholds(func(b *upstream.CircuitBreakers) {
		b.MaxConnections, b.MaxPendingRequests = 1, 3
	}), o.addr), nil)
	var order []int
	var owners []*owner
	for i := range 5 {
		a := newOwner()
		a.onReady = func() { order = append(order, i); a.x.SendHead(get(fmt.Sprintf("/%d", i)), true) }
		owners = append(owners, a)
		want := LeasePending
		if i == 4 {
			want = LeaseOverflow
		}
		if i == 1 { // the first has its connection and waits no more
			w.until("first", func() bool { return owners[0].x.Active() })
		}
		if r := w.lease(c, a); r != want {
			t.Fatalf("Lease number %d = %d, want %d", i, r, want)
		}
	}
	if n := c.Stats.RqPendingActive.Load(); n != 3 || c.Stats.RqPendingOverflow.Load() != 1 {
		t.Errorf("%d wait, %d refused; want 3, 1", n, c.Stats.RqPendingOverflow.Load())
	}
	if owners[4].x.Pending() || owners[4].x.Host() != nil {
		t.Error("a refused exchange is not free")
	}
	p := o.accept()
	for i := range 4 {
		p.wantHead(fmt.Sprintf("GET /%d HTTP/1.1", i))
		p.send(ok)
	}
	if !slices.Equal(order, []int{0, 1, 2, 3}) {
		t.Errorf("served in the order %v, want first in first out", order)
	}
	o.wantNone()
	w.wantIdle(c, 1)
	if c.Stats.CxOverflow.Load() == 0 {
		t.Error("upstream_cx_overflow = 0, want some")
	}
}

// TestMaxRequests: a request beyond max_requests is refused, at once or when its turn comes.
func TestMaxRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(thresholds(func(b *upstream.CircuitBreakers) { b.MaxRequests = 1 }), o.addr), nil)
	a, b, d := newOwner(), newOwner(), newOwner()
	w.lease(c, a)
	p := o.accept()
	p.wantHead("GET / HTTP/1.1")
	w.lease(c, b)
	w.until("its turn", func() bool { return b.done })
	w.wantLog(b, "reset overflow")
	if r := w.lease(c, d); r != LeaseOverflow {
		t.Errorf("Lease with an idle connection at max_requests = %d, want overflow", r)
	}
	p.send(ok)
	w.wantLog(a, "ready", "head 200", "end")
	if n := c.Stats.RqPendingOverflow.Load(); n != 2 {
		t.Errorf("upstream_rq_pending_overflow = %d, want 2", n)
	}
	w.wantIdle(c, 2)
}

func TestConnectRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	o.ln.Close()
	c := w.set(config(nil, o.addr), nil)
	a, b := newOwner(), newOwner()
	again := newOwner()
	a.onReset = func() { // a retry from inside waits for a connection of its own
		if r := leaseNow(c, c.Shared().Hosts()[0], again, true); r != LeasePending {
			t.Errorf("Lease from inside OnReset = %d, want pending", r)
		}
	}
	w.do(func() {
		leaseNow(c, c.Shared().Hosts()[0], a, false)
		leaseNow(c, c.Shared().Hosts()[0], b, false)
	})
	w.until("failures", func() bool { return a.done && b.done && again.done })
	for _, o := range []*owner{a, b, again} {
		w.wantLog(o, "reset connect_failure", "connection refused")
	}
	if a.x.Written() || a.x.Reused() {
		t.Error("a request that had no connection was written, or reused one")
	}
	w.settle()
	w.wantIdle(c, 0)
	st, h := &c.Stats, c.Shared().Hosts()[0]
	if st.CxConnectFail.Load() != st.CxTotal.Load() || h.CxConnectFail.Load() != st.CxTotal.Load() || st.RqPendingFailureEject.Load() != 3 {
		t.Errorf("%d of %d connects failed (host: %d), %d ejected; want all, all, 3",
			st.CxConnectFail.Load(), st.CxTotal.Load(), h.CxConnectFail.Load(), st.RqPendingFailureEject.Load())
	}
}

// TestNoDescriptor: a connection that cannot even be begun fails what waits, after Lease has answered.
func TestNoDescriptor(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, func(l *engine.LoopConfig) { l.ConnsMax = 1 })
	o := newOrigin(w)
	c := w.set(config(nil, o.addr), nil)
	a, b := newOwner(), newOwner()
	w.lease(c, a)
	p := o.accept()
	p.wantHead("GET / HTTP/1.1")
	if r := w.lease(c, b); r != LeasePending {
		t.Errorf("Lease at the limit of the loop = %d, want pending", r)
	}
	w.settle()
	w.wantLog(b, "reset connect_failure", engine.ErrConnsMax.Error())
	p.send(ok)
	w.wantLog(a, "ready", "head 200", "end")
	w.exchange(c, o, p)
	w.wantIdle(c, 1)
}

// deafOrigin returns an address where connecting hangs: a listener whose queue is full.
func deafOrigin(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port)
	for range 8 {
		c, err := net.DialTimeout("tcp", addr, 50*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Skip("a listener with a backlog of 0 takes 8 connections here")
	return ""
}

func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	addr := deafOrigin(t)
	c := w.set(config(func(c *upstream.Config) { c.ConnectTimeout = 3 * time.Second }, addr), nil)
	a := newOwner()
	w.lease(c, a)
	w.advance(2 * time.Second)
	w.wantLog(a)
	w.advance(1100 * time.Millisecond)
	w.wantLog(a, "reset connect_timeout")
	w.settle()
	w.wantIdle(c, 0)
	if c.Stats.CxConnectTimeout.Load() != 1 || c.Stats.CxConnectFail.Load() != 1 {
		t.Errorf("connect_timeout %d, connect_fail %d; want 1, 1", c.Stats.CxConnectTimeout.Load(), c.Stats.CxConnectFail.Load())
	}
}

// TestCancel gives an exchange up in each of its states.
func TestCancel(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		run  func(w *world, c *Cluster, o *origin, a *owner) // cancels a.x
		idle int64                                           // connections left
	}{
		{"free", func(w *world, _ *Cluster, _ *origin, a *owner) { w.do(a.x.Cancel) }, 0},
		{"pending", func(w *world, c *Cluster, o *origin, a *owner) {
			w.do(func() { leaseNow(c, c.Shared().Hosts()[0], a, false); a.x.Cancel() })
			o.accept()
		}, 1},
		{"pending behind another", func(w *world, c *Cluster, o *origin, a *owner) {
			b := newOwner()
			w.do(func() {
				leaseNow(c, c.Shared().Hosts()[0], a, false)
				leaseNow(c, c.Shared().Hosts()[0], b, false)
				a.x.Cancel()
			})
			o.accept()
			o.accept()
			w.until("the other", func() bool { return b.x.Active() })
			w.do(b.x.Cancel)
		}, 1},
		{"ready, nothing sent", func(w *world, c *Cluster, o *origin, a *owner) {
			a.onReady = func() { a.x.Cancel() }
			w.lease(c, a)
			o.accept().wantOpen()
		}, 1},
		{"sent", func(w *world, c *Cluster, o *origin, a *owner) {
			w.lease(c, a)
			p := o.accept()
			p.wantHead("GET / HTTP/1.1")
			w.do(a.x.Cancel)
			p.wantClosed()
		}, 0},
		{"inside the head", func(w *world, c *Cluster, o *origin, a *owner) {
			a.onHead = func() { a.x.Cancel() }
			w.lease(c, a)
			p := o.accept()
			p.wantHead("GET / HTTP/1.1")
			p.send(ok)
			p.wantClosed()
		}, 0},
		{"inside data", func(w *world, c *Cluster, o *origin, a *owner) {
			a.onData = func([]byte) { a.x.Cancel() }
			w.lease(c, a)
			p := o.accept()
			p.wantHead("GET / HTTP/1.1")
			p.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n2\r\nho\r\n")
			p.wantClosed()
			if string(a.body) != "hi" {
				w.t.Errorf("body %q after Cancel, want %q", a.body, "hi")
			}
		}, 0},
		{"inside the end", func(w *world, c *Cluster, o *origin, a *owner) {
			a.onEnd = func() { a.x.Cancel() }
			w.lease(c, a)
			p := o.accept()
			p.wantHead("GET / HTTP/1.1")
			p.send(ok)
			p.wantOpen()
		}, 1},
		{"inside OnReset", func(w *world, c *Cluster, o *origin, a *owner) {
			a.onReset = func() { a.x.Cancel() }
			w.lease(c, a)
			p := o.accept()
			p.wantHead("GET / HTTP/1.1")
			p.close()
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o := newOrigin(w)
			c := w.set(config(nil, o.addr), nil)
			a := newOwner()
			tt.run(w, c, o, a)
			w.settle()
			for _, line := range a.log[max(0, len(a.log)-1):] {
				if line == "reset local_close" {
					t.Error("Cancel told the owner")
				}
			}
			if a.x.Active() || a.x.Pending() || a.x.Conn() != nil {
				t.Error("the exchange is not free after Cancel")
			}
			w.settle()
			w.wantIdle(c, tt.idle)
		})
	}
}

// TestEndOfLoop: whatever is leased or waits when the loop ends is told so.
func TestEndOfLoop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	deaf := deafOrigin(t)
	c := w.set(config(nil, o.addr, deaf), nil)
	w.exchange(c, o, nil)
	active, waiting := newOwner(), newOwner()
	w.lease(c, active)
	w.leaseTo(c, c.Shared().Hosts()[1], waiting, false)
	waiting.onReset = func() { leaseNow(c, c.Shared().Hosts()[1], waiting, false) } // to no avail
	w.loop.Close()
	w.wantLog(active, "reset local_close")
	w.wantLog(waiting, "reset local_close")
}
