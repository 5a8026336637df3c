package pool

import (
	"testing"
	"time"

	"millrace/codec"
	"millrace/upstream"
)

func TestExchange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(nil, o.addr), nil)
	a := newOwner()
	if r := w.lease(c, a); r != LeasePending {
		t.Fatalf("Lease on a cold pool = %d, want pending", r)
	}
	p := o.accept()
	p.wantHead("GET / HTTP/1.1")
	p.send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
	p.send("0\r\nT: v\r\n\r\n")
	w.wantLog(a, "ready", "head 103", "head 200", "trailer T: v", "end")
	if string(a.body) != "hi" || a.x.Reused() || !a.x.Written() || a.x.BytesReceived() == 0 {
		t.Errorf("body %q, reused %t, written %t, received %d", a.body, a.x.Reused(), a.x.Written(), a.x.BytesReceived())
	}
	b := newOwner()
	if r := w.lease(c, b); r != LeaseReady || !b.x.Reused() {
		t.Fatalf("Lease on a warm pool = %d, reused %t; want ready, true", r, b.x.Reused())
	}
	p.wantHead("GET / HTTP/1.1")
	p.send("HTTP/1.1 204 No Content\r\n\r\n")
	w.wantLog(b, "head 204", "end")
	w.wantIdle(c, 1)
	if n := c.Stats.RqTotal.Load(); n != 2 || c.Stats.CxTotal.Load() != 1 || c.Stats.RqPendingTotal.Load() != 1 {
		t.Errorf("%d requests on %d connections, %d waited; want 2, 1, 1", n, c.Stats.CxTotal.Load(), c.Stats.RqPendingTotal.Load())
	}
	if rx, tx := c.Stats.CxRxBytes.Load(), c.Stats.CxTxBytes.Load(); rx == 0 || tx != a.x.BytesSent()+b.x.BytesSent() {
		t.Errorf("%d bytes received, %d sent; want some, %d", rx, tx, a.x.BytesSent()+b.x.BytesSent())
	}
}

func TestReuseIsLastInFirstOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(nil, o.addr), nil)
	var owners [3]*owner
	var peers [3]*peer
	for i := range owners {
		owners[i] = newOwner()
		w.lease(c, owners[i])
		peers[i] = o.accept()
		peers[i].wantHead("GET / HTTP/1.1")
	}
	for _, i := range []int{1, 2, 0} {
		peers[i].send(ok)
	}
	w.exchange(c, o, peers[0])
	w.exchange(c, o, peers[0])
	w.wantIdle(c, 3)
	if p := c.pools[0][0]; p.oldest.newer == nil || p.oldest.newer.newer != p.idle {
		t.Error("the stack of idle connections is not linked both ways")
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, o := range []*origin{listen(w, "unix", t.TempDir()+"/s"), listen(w, "unix", "@millrace-pool-test-"+t.Name())} {
		c := w.set(config(nil, o.addr), nil)
		w.exchange(c, o, w.exchange(c, o, nil))
		w.wantIdle(c, 1)
		w.do(func() { w.table.Remove(0) })
	}
}

func TestIdleConnectionEnds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		edit  func(*upstream.Config)
		cause func(w *world, p *peer)
		count func(*upstream.ClusterStats) uint64
	}{
		{"closed by the host", nil, func(_ *world, p *peer) { p.close() },
			func(s *upstream.ClusterStats) uint64 { return s.CxDestroyRemote.Load() }},
		{"unasked bytes", nil, func(_ *world, p *peer) { p.send("HTTP/1.1 200 OK\r\n\r\n") },
			func(s *upstream.ClusterStats) uint64 { return s.CxProtocolError.Load() }},
		{"idle timeout", func(c *upstream.Config) { c.IdleTimeout = time.Minute },
			func(w *world, _ *peer) { w.advance(time.Minute + time.Second) },
			func(s *upstream.ClusterStats) uint64 { return s.CxIdleTimeout.Load() }},
		{"max duration", func(c *upstream.Config) { c.MaxConnectionDuration = time.Minute },
			func(w *world, _ *peer) { w.advance(time.Minute + time.Second) },
			func(s *upstream.ClusterStats) uint64 { return s.CxMaxDuration.Load() }},
		{"drain", nil, func(w *world, _ *peer) { w.do(w.table.Drain) },
			func(s *upstream.ClusterStats) uint64 { return s.CxDestroyLocal.Load() }},
		{"removed", nil, func(w *world, _ *peer) { w.do(func() { w.table.Remove(0) }) },
			func(s *upstream.ClusterStats) uint64 { return s.CxDestroyLocal.Load() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o := newOrigin(w)
			c := w.set(config(tt.edit, o.addr), nil)
			p := w.exchange(c, o, nil)
			w.wantIdle(c, 1)
			tt.cause(w, p)
			w.settle()
			w.wantIdle(c, 0)
			if n := tt.count(&c.Stats); n != 1 || c.Stats.CxDestroy.Load() != 1 || c.Stats.CxDestroyActive.Load() != 0 {
				t.Errorf("counted %d, destroyed %d, %d of them active; want 1, 1, 0", n, c.Stats.CxDestroy.Load(), c.Stats.CxDestroyActive.Load())
			}
		})
	}
}

// TestIdleTimeoutStartsAnew: each use of a connection puts its idle timeout off.
func TestIdleTimeoutStartsAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(func(c *upstream.Config) { c.IdleTimeout = time.Minute }, o.addr), nil)
	p := w.exchange(c, o, nil)
	for range 5 {
		w.advance(40 * time.Second)
		w.exchange(c, o, p)
	}
	a := newOwner() // a request that takes longer than the timeout
	w.lease(c, a)
	p.wantHead("GET / HTTP/1.1")
	w.advance(3 * time.Minute)
	p.send(ok)
	w.wantLog(a, "head 200", "end")
	w.wantIdle(c, 1)
	w.advance(30 * time.Second)
	w.wantIdle(c, 1)
	w.advance(31 * time.Second)
	w.wantIdle(c, 0)
	p.wantClosed()
}

func TestMaxRequestsPerConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(func(c *upstream.Config) { c.MaxRequestsPerConnection = 2 }, o.addr), nil)
	p := w.exchange(c, o, nil)
	w.exchange(c, o, p)
	p.wantClosed()
	w.exchange(c, o, nil)
	w.wantIdle(c, 1)
	if n := c.Stats.CxMaxRequests.Load(); n != 1 {
		t.Errorf("upstream_cx_max_requests = %d, want 1", n)
	}
}

// TestResponseEnds: ends of a response after which the connection cannot be used again.
func TestResponseEnds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		answer string
		close  bool
		log    []string
		body   string
	}{
		{"connection close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", false,
			[]string{"ready", "head 200", "end"}, "ok"},
		{"until close", "HTTP/1.1 200 OK\r\n\r\nall of it", true, []string{"ready", "head 200", "end"}, "all of it"},
		{"http/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false, []string{"ready", "head 200", "end"}, "ok"},
		{"more than asked", ok + "HTTP/1.1 200 OK\r\n\r\n", false, []string{"ready", "head 200", "end"}, "ok"},
		{"garbage", "SSH-2.0-OpenSSH\r\n", false, []string{"ready", "reset protocol_error"}, ""},
		{"garbage in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", false,
			[]string{"ready", "head 200", "reset protocol_error"}, ""},
		{"closed before", "", true, []string{"ready", "reset connection_termination"}, ""},
		{"closed in the head", "HTTP/1.1 200 OK\r\nConte", true, []string{"ready", "reset connection_termination"}, ""},
		{"closed in the body", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", true,
			[]string{"ready", "head 200", "reset connection_termination"}, "ok"},
		{"closed in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok", true,
			[]string{"ready", "head 200", "reset connection_termination"}, "ok"},
		{"closed after a 1xx", "HTTP/1.1 103 Early Hints\r\n\r\n", true,
			[]string{"ready", "head 103", "reset connection_termination"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o := newOrigin(w)
			c := w.set(config(nil, o.addr), nil)
			a := newOwner()
			w.lease(c, a)
			p := o.accept()
			p.wantHead("GET / HTTP/1.1")
			if p.send(tt.answer); tt.close {
				p.close()
			}
			w.wantLog(a, tt.log...)
			if string(a.body) != tt.body {
				t.Errorf("body %q, want %q", a.body, tt.body)
			}
			w.wantIdle(c, 0)
			if !tt.close {
				p.wantClosed()
			}
			w.exchange(c, o, nil)
		})
	}
}

// TestAnswerBeforeAsked: bytes on a leased connection whose request has not been sent are not its answer.
func TestAnswerBeforeAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(nil, o.addr), nil)
	a := newOwner()
	a.onReady = func() {}
	w.lease(c, a)
	p := o.accept()
	p.send(ok)
	w.wantLog(a, "ready", "reset connection_termination")
	if a.x.Written() {
		t.Error("Written of a request that was not sent = true")
	}
	w.wantIdle(c, 0)
}

// TestEarlyResponse: an answer before the request is complete ends both.
func TestEarlyResponse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(nil, o.addr), nil)
	a := newOwner()
	a.onReady = func() { a.x.SendHead(request(codec.MethodPOST, "/up", 10), false) }
	w.lease(c, a)
	p := o.accept()
	p.wantHead("POST /up HTTP/1.1")
	w.do(func() { a.x.SendData([]byte("01234"), false) })
	p.wantBytes("01234")
	p.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
	w.wantLog(a, "ready", "head 413", "end")
	w.do(func() { a.x.SendData([]byte("56789"), true) }) // goes nowhere
	p.wantClosed()
	w.wantIdle(c, 0)
}

func TestRequestBodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(nil, o.addr), nil)
	var p *peer
	for _, tt := range []struct {
		name   string
		length int64
		send   func(x *Exchange)
		want   string
	}{
		{"length", 4, func(x *Exchange) { x.SendData([]byte("ab"), false); x.SendData([]byte("cd"), true) }, "abcd"},
		{"length, end alone", 2, func(x *Exchange) { x.SendData([]byte("ab"), false); x.SendData(nil, true) }, "ab"},
		{"chunked", -1, func(x *Exchange) { x.SendData([]byte("abc"), false); x.SendData(nil, true) }, "3\r\nabc\r\n0\r\n\r\n"},
		{"chunked, one piece", -1, func(x *Exchange) { x.SendData([]byte("abc"), true) }, "3\r\nabc\r\n0\r\n\r\n"},
		{"trailers", -1, func(x *Exchange) {
			x.SendData([]byte("abc"), false)
			var t codec.Fields
			t.AddString("T", "v")
			x.SendTrailers(&t)
		}, "3\r\nabc\r\n0\r\nT: v\r\n\r\n"},
	} {
		a := newOwner()
		a.onReady = func() {
			a.x.SendHead(request(codec.MethodPOST, "/", tt.length), false)
			tt.send(&a.x)
		}
		w.lease(c, a)
		if p == nil {
			p = o.accept()
		}
		p.wantHead("POST / HTTP/1.1")
		p.wantBytes(tt.want)
		p.send(ok)
		if !a.done || string(a.body) != "ok" {
			t.Errorf("%s: told %q, body %q", tt.name, a.log, a.body)
		}
		w.wantIdle(c, 1)
	}
}

// TestStaleIdleConnection: a host that closed while a request was on its way is told apart by Reused, and a
// fresh lease gets a connection that did not lie around.
func TestStaleIdleConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(nil, o.addr), nil)
	first := w.exchange(c, o, nil)
	second := newOwner()
	third := newOwner()
	w.lease(c, second)
	w.lease(c, third)
	p2 := o.accept()
	p2.wantHead("GET / HTTP/1.1")
	p2.send(ok) // now two idle ones: first is busy with second's request
	first.wantHead("GET / HTTP/1.1")
	retry := newOwner()
	second.onReset = func() {
		if !second.x.Reused() {
			t.Error("Reused of a second request on a connection = false")
		}
		if r := leaseNow(c, c.Shared().Hosts()[0], retry, true); r != LeasePending {
			t.Errorf("fresh Lease beside an idle connection = %d, want pending", r)
		}
	}
	first.close()
	w.wantLog(second, "reset connection_termination")
	p3 := o.accept()
	p3.wantHead("GET / HTTP/1.1")
	p3.send(ok)
	w.wantLog(retry, "ready", "head 200", "end")
	if retry.x.Reused() {
		t.Error("Reused of a fresh connection = true")
	}
	w.wantIdle(c, 2)
}

// TestLeaseFromInsideTheEnd: the connection is free before its owner hears of the end.
func TestLeaseFromInsideTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(nil, o.addr), nil)
	a := newOwner()
	again := true
	a.onEnd = func() {
		if again {
			again = false
			if r := leaseNow(c, c.Shared().Hosts()[0], a, false); r != LeaseReady {
				t.Errorf("Lease from inside the end = %d, want ready", r)
			}
		}
	}
	w.lease(c, a)
	p := o.accept()
	p.wantHead("GET / HTTP/1.1")
	p.send(ok)
	p.wantHead("GET / HTTP/1.1")
	p.send(ok)
	w.wantLog(a, "ready", "head 200", "end", "head 200", "end")
	w.wantIdle(c, 1)
}
