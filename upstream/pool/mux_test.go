package pool

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"millrace/codec"
	"millrace/codec/h2"
	"millrace/upstream"
)

func TestStreamsShareAConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, o, p := w.startH2(nil, nil)
	w.wantIdle(c, 1)
	owners := make([]*owner, 10)
	for i := range owners {
		owners[i] = newOwner()
		if r := w.lease(c, owners[i]); r != LeaseReady {
			t.Fatalf("lease %d = %d, want ready", i, r)
		}
	}
	var want []string
	for i := range owners {
		want = append(want, fmt.Sprintf("%d GET / end", 3+2*i))
	}
	p.want(want...)
	for i := range owners { // in another order
		p.answer(codec.StreamID(3 + 2*((i*7)%10)))
	}
	for _, a := range owners {
		w.wantLog(a, "head 200", "end")
		if string(a.body) != "ok" || !a.x.Reused() || a.x.ConnID() == 0 || !a.x.Written() || a.x.BytesReceived() == 0 {
			t.Errorf("body %q, reused %t, conn %d, written %t, received %d", a.body, a.x.Reused(), a.x.ConnID(), a.x.Written(), a.x.BytesReceived())
		}
	}
	o.wantNone()
	w.wantIdle(c, 1)
	if c.Stats.CxHTTP2Total.Load() != 1 || c.Stats.CxHTTP1Total.Load() != 0 || c.Stats.H2StreamsActive.Load() != 0 {
		t.Errorf("http2 %d, http1 %d, streams %d", c.Stats.CxHTTP2Total.Load(), c.Stats.CxHTTP1Total.Load(), c.Stats.H2StreamsActive.Load())
	}
}

// TestStreamsFull: beyond what host or config allow another connection opens, and what waits gets whatever is free first.
func TestStreamsFull(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		edit func(*upstream.Config)
		host func(*h2.Options)
	}{
		{"host", nil, func(o *h2.Options) { o.ConcurrentStreams = 2 }},
		{"config", func(c *upstream.Config) { c.HTTP2.MaxConcurrentStreams = 2 }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c, o, p := w.startH2(tt.edit, tt.host)
			a, b, x, y := newOwner(), newOwner(), newOwner(), newOwner()
			if r := w.lease(c, a); r != LeaseReady {
				t.Fatal(r)
			}
			if r := w.lease(c, b); r != LeaseReady {
				t.Fatal(r)
			}
			if r := w.lease(c, x); r != LeasePending {
				t.Fatal(r)
			}
			if r := w.lease(c, y); r != LeasePending {
				t.Fatal(r)
			}
			p.want("3 GET / end", "5 GET / end")
			q := o.acceptH2(tt.host)
			o.wantNone()
			q.want("1 GET / end", "3 GET / end")
			p.answer(3)
			q.answer(1)
			q.answer(3)
			p.answer(5)
			w.wantLog(x, "ready", "head 200", "end")
			w.wantIdle(c, 2)
		})
	}
}

// TestStreamWaitsForStream: with max_connections reached, what waits gets the first stream that ends.
func TestStreamWaitsForStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, o, p := w.startH2(func(c *upstream.Config) { c.CircuitBreakers.MaxConnections = 1; c.HTTP2.MaxConcurrentStreams = 1 }, nil)
	a, b := newOwner(), newOwner()
	w.lease(c, a)
	if r := w.lease(c, b); r != LeasePending {
		t.Fatal(r)
	}
	p.want("3 GET / end")
	p.answer(3)
	p.want("5 GET / end")
	p.answer(5)
	o.wantNone()
	w.wantLog(b, "ready", "head 200", "end")
	if c.Stats.CxOverflow.Load() != 1 {
		t.Errorf("overflow %d", c.Stats.CxOverflow.Load())
	}
	w.wantIdle(c, 1)
}

func TestMaxRequestsCountsStreams(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, _, p := w.startH2(func(c *upstream.Config) { c.CircuitBreakers.MaxRequests = 2 }, nil)
	a, b, x := newOwner(), newOwner(), newOwner()
	w.lease(c, a)
	w.lease(c, b)
	if r := w.lease(c, x); r != LeaseOverflow {
		t.Fatalf("third lease = %d, want overflow", r)
	}
	p.read()
	p.answer(3)
	p.answer(5)
	if r := w.lease(c, x); r != LeaseReady {
		t.Fatalf("lease = %d, want ready", r)
	}
	w.do(x.x.Cancel)
	w.wantIdle(c, 1)
}

// TestBodiesAndWindows: bodies larger than all windows pass in both directions, and the sender is told when to stop.
func TestBodiesAndWindows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, _, p := w.startH2(nil, func(o *h2.Options) { o.StreamWindow, o.ConnWindow = 65535, 65535 })
	p.hold = true
	a := newOwner()
	a.onReady = func() { a.x.SendHead(request(codec.MethodPOST, "/up", -1), false) }
	w.lease(c, a)
	body := strings.Repeat("b", 100000)
	w.do(func() { a.x.SendData([]byte(body), false) })
	if !a.x.Full() {
		t.Fatal("not full beyond the window")
	}
	w.do(func() { a.x.SendData([]byte("end"), false) })
	tr := new(codec.Fields)
	tr.AddString("x-t", "v")
	w.do(func() { a.x.SendTrailers(tr) })
	if n := c.Stats.H2PendingBytes.Load(); n != 100003-65535 {
		t.Errorf("pending_send_bytes %d", n)
	}
	p.want("3 POST /up")
	if p.open[3] != 65535 {
		t.Fatalf("the host got %d bytes beyond its window of 65535", p.open[3])
	}
	p.hold = false
	p.s.Consume(3, 65535)
	p.flush(nil)
	p.want("3 trailers v after 100003 end")
	w.wantLog(a, "low")
	if a.x.Full() || c.Stats.H2PendingBytes.Load() != 0 {
		t.Errorf("full %t, pending %d", a.x.Full(), c.Stats.H2PendingBytes.Load())
	}

	p.head(3, 200, false)
	w.do(a.x.PauseRead)
	sent := 0
	for p.s.Writable(3) > 0 { // all of the window comes, and nothing of it is passed on
		n := min(p.s.Writable(3), 16384)
		p.data(3, strings.Repeat("r", n), false)
		sent += n
	}
	if len(a.body) != 0 || sent != 256<<10 {
		t.Fatalf("%d bytes passed on while paused, %d sent; want 0, %d", len(a.body), sent, 256<<10)
	}
	b := newOwner() // another stream is not held up
	w.lease(c, b)
	p.want("5 GET / end")
	p.answer(5)
	w.wantLog(b, "head 200", "end")
	a.onData = func([]byte) { a.onData = nil; a.x.PauseRead() } // again, in the middle
	w.do(a.x.ResumeRead)
	w.settle()
	if len(a.body) == 0 || len(a.body) == sent {
		t.Fatalf("%d bytes passed on", len(a.body))
	}
	w.do(a.x.ResumeRead)
	w.settle()
	p.read()
	if len(a.body) != sent || p.s.Writable(3) == 0 {
		t.Fatalf("%d bytes passed on, the window is %d", len(a.body), p.s.Writable(3))
	}
	w.do(a.x.PauseRead)
	p.data(3, "last", false)
	h := new(codec.Fields)
	h.AddString("grpc-status", "0")
	p.flush(p.s.AppendTrailers(nil, 3, h))
	p.close() // what is whole survives the connection
	if a.done {
		t.Fatal("the end came while paused")
	}
	w.do(a.x.ResumeRead)
	w.settle()
	w.wantLog(a, "low", "head 200", "trailer grpc-status: 0", "end")
	if string(a.body[sent:]) != "last" {
		t.Errorf("the body ends with %q", a.body[sent:])
	}
	w.wantIdle(c, 0)
}

// TestResets: what becomes of one exchange, and that the others do not notice.
func TestResets(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		do   func(p *h2peer)
		want []string
		stat func(*upstream.ClusterStats) uint64
	}{
		{"cancel", func(p *h2peer) { p.reset(3, h2.Cancel) }, []string{"reset remote_reset"},
			func(s *upstream.ClusterStats) uint64 { return s.H2RxReset.Load() }},
		{"refused", func(p *h2peer) { p.reset(3, h2.RefusedStream) }, []string{"reset refused_stream"},
			func(s *upstream.ClusterStats) uint64 { return s.H2Refused.Load() }},
		{"inside", func(p *h2peer) { p.head(3, 200, false); p.data(3, "a", false); p.reset(3, h2.InternalError) },
			[]string{"head 200", "reset remote_reset"}, func(s *upstream.ClusterStats) uint64 { return s.H2RxReset.Load() }},
		{"bad", func(p *h2peer) { p.head(3, 200, false, "content-length: 1"); p.data(3, "abc", false) },
			nil, func(s *upstream.ClusterStats) uint64 { return 1 }},
		{"informational", func(p *h2peer) { p.head(3, 103, false); p.answer(3) }, []string{"head 103", "head 200", "end"},
			func(s *upstream.ClusterStats) uint64 { return 1 }},
		{"head only", func(p *h2peer) { p.head(3, 204, true) }, []string{"head 204", "end"},
			func(s *upstream.ClusterStats) uint64 { return 1 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c, _, p := w.startH2(nil, nil)
			a, b := newOwner(), newOwner()
			w.lease(c, a)
			w.lease(c, b)
			p.want("3 GET / end", "5 GET / end")
			tt.do(p)
			if tt.want != nil {
				w.wantLog(a, tt.want...)
			}
			if tt.stat(&c.Stats) != 1 {
				t.Errorf("stat %d", tt.stat(&c.Stats))
			}
			p.answer(5)
			w.wantLog(b, "head 200", "end")
			w.do(a.x.Cancel)
			w.wantIdle(c, 1)
		})
	}
}

func TestCancelStreams(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, _, p := w.startH2(nil, nil)
	a, b := newOwner(), newOwner()
	b.onReady = func() {} // asks nothing yet
	w.lease(c, a)
	w.lease(c, b)
	w.do(a.x.Cancel)
	w.do(b.x.Cancel)
	w.wantIdle(c, 1)
	p.want("3 GET / end", "3 reset CANCEL")
	// an answer that was under way is passed over
	w.exchangeH2(c, p, 5)
	// the answer came before the request was whole
	d := newOwner()
	d.onReady = func() { d.x.SendHead(request(codec.MethodPOST, "/", 10), false) }
	w.lease(c, d)
	p.want("7 POST /")
	p.head(7, 413, true)
	w.wantLog(d, "head 413", "end")
	p.want("7 reset CANCEL")
	w.exchangeH2(c, p, 9)
	w.wantIdle(c, 1)
}

// exchangeH2 runs one exchange on a warm pool.
func (w *world) exchangeH2(c *Cluster, p *h2peer, id codec.StreamID) {
	w.t.Helper()
	a := newOwner()
	w.lease(c, a)
	p.want(fmt.Sprintf("%d GET / end", id))
	p.answer(id)
	w.wantLog(a, "head 200", "end")
}

// TestGoAway: what the host has not processed is told so, the rest goes on, and new requests go elsewhere.
func TestGoAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, o, p := w.startH2(nil, nil)
	a, b := newOwner(), newOwner()
	w.lease(c, a)
	w.lease(c, b)
	p.want("3 GET / end", "5 GET / end")
	p.s.SendGoAway(h2.GoAwayLater, h2.NoError)
	p.flush(nil)
	if len(a.log)+len(b.log) != 0 {
		t.Fatalf("a warning ended %q, %q", a.log, b.log)
	}
	p.s.SendGoAway(3, h2.NoError)
	p.flush(nil)
	w.wantLog(b, "reset refused_stream")
	d := newOwner()
	if r := w.lease(c, d); r != LeasePending {
		t.Fatalf("lease after GOAWAY = %d, want pending", r)
	}
	q := o.acceptH2(nil)
	q.want("1 GET / end")
	q.answer(1)
	p.answer(3)
	w.wantLog(a, "head 200", "end")
	w.wantLog(d, "ready", "head 200", "end")
	p.read()
	if !p.eof {
		t.Error("the drained connection is open")
	}
	if c.Stats.CxCloseNotify.Load() != 1 || c.Stats.H2Refused.Load() != 1 {
		t.Errorf("close_notify %d, refused %d", c.Stats.CxCloseNotify.Load(), c.Stats.H2Refused.Load())
	}
	w.wantIdle(c, 1)
}

// TestGoAwayMovesTheQueue: what waits for a stream of a connection that takes no more gets another connection.
func TestGoAwayMovesTheQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, o, p := w.startH2(func(c *upstream.Config) { c.HTTP2.MaxConcurrentStreams = 1; c.CircuitBreakers.MaxConnections = 2 }, nil)
	a, b, d := newOwner(), newOwner(), newOwner()
	w.lease(c, a)
	w.lease(c, b)
	q := o.acceptH2(nil)
	w.lease(c, d) // waits: both connections are in use
	w.do(func() { // and there may be a third now
		cfg := config(http2(func(c *upstream.Config) { c.HTTP2.MaxConcurrentStreams = 1; c.CircuitBreakers.MaxConnections = 3 }), o.addr)
		next, err := upstream.New(0, cfg, c.Shared())
		if err != nil {
			t.Error(err)
		}
		next.Apply()
	})
	p.s.SendGoAway(3, h2.NoError)
	p.flush(nil)
	r := o.acceptH2(nil)
	r.want("1 GET / end")
	for _, x := range []*h2peer{p, q, r} {
		x.read()
	}
	p.answer(3)
	q.answer(1)
	r.answer(1)
	w.wantLog(d, "ready", "head 200", "end")
	w.wantIdle(c, 2)
}

// TestLostConnection: all that a connection carries ends with it.
func TestLostConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, _, p := w.startH2(nil, nil)
	a, b, d := newOwner(), newOwner(), newOwner()
	a.onReset = func() { b.x.Cancel() } // from inside
	for _, x := range []*owner{b, a, d} {
		w.lease(c, x)
	}
	p.read()
	p.close()
	w.wantLog(a, "reset connection_termination")
	w.wantLog(d, "reset connection_termination")
	w.do(b.x.Cancel)
	w.wantIdle(c, 0)
}

// TestNoHTTP2: a host that speaks something else, or closes, gets no request.
func TestNoHTTP2(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, say, want string }{
		{"http1", "HTTP/1.1 400 Bad Request\r\n\r\n", "reset protocol_error"},
		{"nothing", "", "reset connect_failure"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o := newOrigin(w)
			c := w.set(config(http2(nil), o.addr), nil)
			a := newOwner()
			w.lease(c, a)
			p := o.accept()
			p.wantBytes(h2.Preface)
			if tt.say != "" {
				p.send(tt.say)
			}
			p.c.Close()
			w.until("reset", func() bool { return a.done })
			if a.log[0] != tt.want {
				t.Errorf("told %q, want %q", a.log, tt.want)
			}
			w.wantIdle(c, 0)
		})
	}
}

func TestStreamTimes(t *testing.T) {
	t.Parallel()
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		c, _, p := w.startH2(func(c *upstream.Config) { c.IdleTimeout = time.Minute }, nil)
		w.advance(59 * time.Second)
		w.exchangeH2(c, p, 3)
		w.advance(59 * time.Second)
		w.wantIdle(c, 1)
		w.advance(2 * time.Second)
		p.want("0 goaway NO_ERROR", "eof")
		w.wantIdle(c, 0)
		if c.Stats.CxIdleTimeout.Load() != 1 {
			t.Error("not counted")
		}
	})
	t.Run("old", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		c, o, p := w.startH2(func(c *upstream.Config) { c.MaxConnectionDuration = time.Minute; c.MaxConnectionDurationJitter = 50 }, nil)
		a := newOwner()
		w.lease(c, a)
		w.advance(90 * time.Second)
		if r := w.lease(c, newOwner()); r != LeasePending {
			t.Fatalf("lease on an old connection = %d", r)
		}
		q := o.acceptH2(nil)
		q.read()
		q.answer(1)
		p.read()
		p.answer(3)
		w.wantLog(a, "head 200", "end")
		w.wantIdle(c, 1)
		if c.Stats.CxMaxDuration.Load() != 1 {
			t.Error("not counted")
		}
	})
	t.Run("spent", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		c, o, p := w.startH2(func(c *upstream.Config) { c.MaxRequestsPerConnection = 2 }, nil)
		w.exchangeH2(c, p, 3)
		w.wantIdle(c, 0)
		a := newOwner()
		w.lease(c, a)
		o.acceptH2(nil).want("1 GET / end")
		if c.Stats.CxMaxRequests.Load() != 1 {
			t.Error("not counted")
		}
	})
	t.Run("silent", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		c, _, p := w.startH2(func(c *upstream.Config) {
			c.HTTP2.ConnectionKeepalive = &upstream.KeepaliveConfig{Interval: time.Minute, Timeout: time.Second}
		}, nil)
		w.advance(61 * time.Second)
		p.read() // and answer
		w.advance(2 * time.Second)
		w.advance(61 * time.Second)
		w.wantIdle(c, 1)
		a := newOwner()
		w.lease(c, a)
		w.advance(2 * time.Second)
		w.wantLog(a, "reset connection_termination")
		if c.Stats.H2Keepalive.Load() != 1 {
			t.Errorf("keepalive_timeout %d", c.Stats.H2Keepalive.Load())
		}
		w.wantIdle(c, 0)
	})
	t.Run("silent after a rest", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		c, _, p := w.startH2(func(c *upstream.Config) {
			c.HTTP2.ConnectionKeepalive = &upstream.KeepaliveConfig{ConnectionIdleInterval: time.Minute, Timeout: time.Second}
		}, nil)
		w.exchangeH2(c, p, 3) // too soon to ask
		w.advance(2 * time.Minute)
		w.exchangeH2(c, p, 5) // asks, and is answered
		w.advance(2 * time.Minute)
		if c.Stats.H2Keepalive.Load() != 0 {
			t.Fatal("an answer was not taken for one")
		}
		a := newOwner()
		w.lease(c, a)
		w.advance(2 * time.Second)
		w.wantLog(a, "reset connection_termination")
		if c.Stats.H2Keepalive.Load() != 1 {
			t.Errorf("keepalive_timeout %d", c.Stats.H2Keepalive.Load())
		}
		w.wantIdle(c, 0)
	})
	t.Run("settings", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		o := newOrigin(w)
		c := w.set(config(http2(nil), o.addr), nil)
		a := newOwner()
		w.lease(c, a)
		p := o.accept()
		p.wantBytes(h2.Preface)
		p.send("\x00\x00\x00\x04\x00\x00\x00\x00\x00") // SETTINGS, and no acknowledgement
		w.wantLog(a, "ready")
		w.advance(11 * time.Second)
		w.wantLog(a, "ready", "reset protocol_error")
		if c.Stats.H2SettingsTimeout.Load() != 1 {
			t.Error("not counted")
		}
		w.wantIdle(c, 0)
	})
	t.Run("connect", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		o := newOrigin(w)
		c := w.set(config(http2(nil), o.addr), nil)
		a := newOwner()
		w.lease(c, a)
		o.accept().wantBytes(h2.Preface)
		w.advance(6 * time.Second)
		w.wantLog(a, "reset connect_timeout")
		w.wantIdle(c, 0)
	})
}

// TestReloadDrains: after a change of what connections depend on, or the end of the cluster, streams go on and the
// connection closes with the last.
func TestReloadDrains(t *testing.T) {
	t.Parallel()
	for _, remove := range []bool{false, true} {
		t.Run(fmt.Sprint(remove), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c, o, p := w.startH2(nil, nil)
			a := newOwner()
			w.lease(c, a)
			if remove {
				w.do(func() { w.table.Remove(0) })
			} else {
				w.set(config(http2(func(c *upstream.Config) { c.HTTP2.MaxConcurrentStreams = 7 }), o.addr), c.Shared())
			}
			p.want("3 GET / end")
			p.answer(3)
			w.wantLog(a, "head 200", "end")
			p.want("0 goaway NO_ERROR", "eof")
			w.wantIdle(c, 0)
		})
	}
}

func TestStreamTunnels(t *testing.T) {
	t.Parallel()
	upgradeHead := func() *codec.RequestHead {
		h := get("/chat")
		h.Upgrade = true
		h.AddString("Connection", "Upgrade")
		h.AddString("Upgrade", "websocket")
		h.AddString("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
		return h
	}
	t.Run("websocket", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		c, _, p := w.startH2(nil, func(o *h2.Options) { o.ConnectProtocol = true })
		a := newOwner()
		h := upgradeHead()
		a.onReady = func() { a.x.SendHead(h, true) }
		a.onHead = func() {
			if got := string(a.head.Lookup("sec-websocket-accept")); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
				t.Errorf("Sec-WebSocket-Accept %q", got)
			}
			if string(a.head.Get(codec.FieldUpgrade)) != "websocket" || !a.x.Upgraded() {
				t.Errorf("upgrade %q, %t", a.head.Get(codec.FieldUpgrade), a.x.Upgraded())
			}
		}
		w.lease(c, a)
		p.want("3 CONNECT /chat websocket")
		if h.Method() != codec.MethodGET || h.Protocol() != nil {
			t.Error("the request is changed")
		}
		p.head(3, 200, false)
		w.do(func() { a.x.SendData([]byte("hello"), false) })
		p.data(3, "welcome", false)
		w.do(func() { a.x.SendData(nil, true) })
		p.want("3 data 5 end")
		p.data(3, "", true)
		w.wantLog(a, "head 101", "end")
		w.wantIdle(c, 1)
	})
	t.Run("declined", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		c, _, p := w.startH2(nil, func(o *h2.Options) { o.ConnectProtocol = true })
		a := newOwner()
		a.onReady = func() { a.x.SendHead(upgradeHead(), true) }
		w.lease(c, a)
		p.want("3 CONNECT /chat websocket")
		p.head(3, 403, false)
		p.data(3, "no", true)
		w.wantLog(a, "head 403", "end")
		w.wantIdle(c, 1)
	})
	t.Run("unknown", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		c, _, _ := w.startH2(nil, nil)
		a := newOwner()
		a.onReady = func() { a.x.SendHead(upgradeHead(), true) }
		w.lease(c, a)
		w.settle()
		w.wantLog(a, "reset remote_reset")
		w.wantIdle(c, 1)
	})
	t.Run("connect", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		c, _, p := w.startH2(nil, nil)
		a := newOwner()
		h := get("/")
		h.SetMethod(codec.MethodCONNECT)
		a.onReady = func() { a.x.SendHead(h, true) }
		w.lease(c, a)
		p.want("3 CONNECT ")
		p.head(3, 200, false)
		if !a.x.Upgraded() {
			t.Error("no tunnel")
		}
		w.do(func() { a.x.SendData([]byte("x"), true) })
		p.want("3 data 1 end")
		p.data(3, "y", true)
		w.wantLog(a, "head 200", "end")
	})
}

// goServer is the standard library's server, which echoes bodies and adds a trailer.
func goServer(t testing.TB, edit func(*http.HTTP2Config)) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{Protocols: &protocols, HTTP2: &http.HTTP2Config{}, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Trailer", "X-Sum")
		n, _ := io.Copy(rw, r.Body)
		rw.Header().Set("X-Sum", fmt.Sprint(n))
	})}
	if edit != nil {
		edit(srv.HTTP2)
	}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	return ln.Addr().String()
}

// TestStreamsWithGo: the standard library's server answers many streams with large bodies, echoed.
func TestStreamsWithGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.set(config(http2(nil), goServer(t, func(c *http.HTTP2Config) { c.MaxConcurrentStreams = 4 })), nil)
	const count, size = 20, 300 << 10
	owners := make([]*owner, count)
	for i := range owners {
		a := newOwner()
		owners[i] = a
		a.onReady = func() { a.x.SendHead(request(codec.MethodPOST, "/", size), false) }
		a.onHead = func() {
			for range 3 {
				a.x.SendData([]byte(strings.Repeat("x", size/3)), false)
			}
			a.x.SendData(nil, true)
		}
		send := a.onHead
		a.onHead = nil
		ready := a.onReady
		a.onReady = func() { ready(); send() }
		w.lease(c, a)
	}
	w.until("answers", func() bool {
		for _, a := range owners {
			if !a.done {
				return false
			}
		}
		return true
	})
	for _, a := range owners {
		last := a.log[len(a.log)-2]
		if len(a.body) != size || last != fmt.Sprintf("trailer x-sum: %d", size) {
			t.Errorf("%d bytes, %q", len(a.body), a.log)
		}
	}
	w.settle()
	w.wantIdle(c, c.Stats.CxActive.Load())
	if n := c.Stats.CxTotal.Load(); n < 5 || n > 20 {
		t.Errorf("%d connections for %d streams, 4 on each", n, count)
	}
}
