package pool

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"millrace/codec"
	"millrace/upstream"
)

// TestPauseRead: a paused response waits, also in the middle of what has been read already.
func TestPauseRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(nil, o.addr), nil)
	a := newOwner()
	a.onHead = func() { a.x.PauseRead() }
	a.onData = func([]byte) { a.x.PauseRead(); a.x.PauseRead() }
	w.lease(c, a)
	p := o.accept()
	p.wantHead("GET / HTTP/1.1")
	p.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n2\r\nho\r\n0\r\n\r\n")
	w.wantLog(a, "ready", "head 200")
	if len(a.body) != 0 {
		t.Fatalf("body %q while paused", a.body)
	}
	w.do(a.x.ResumeRead)
	w.settle()
	if string(a.body) != "hi" {
		t.Fatalf("body %q after one resume, want %q", a.body, "hi")
	}
	w.do(a.x.ResumeRead)
	w.settle()
	if string(a.body) != "hi" {
		t.Fatalf("body %q with one of two pauses left, want %q", a.body, "hi")
	}
	a.onData = nil
	w.do(a.x.ResumeRead)
	w.settle()
	w.wantLog(a, "ready", "head 200", "end")
	if string(a.body) != "hiho" {
		t.Errorf("body %q, want %q", a.body, "hiho")
	}
	w.wantIdle(c, 1)
	if c.Stats.FlowPaused.Load() != 2 || c.Stats.FlowResumed.Load() != 2 {
		t.Errorf("paused %d times, resumed %d; want 2, 2", c.Stats.FlowPaused.Load(), c.Stats.FlowResumed.Load())
	}
	w.do(a.x.ResumeRead) // after the end: nothing
	w.exchange(c, o, p)
}

// TestPausedThenEnded: pauses end with the exchange, also when the connection goes on.
func TestPausedThenEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(nil, o.addr), nil)
	a := newOwner()
	a.onReady = func() { a.x.PauseRead(); a.x.Cancel() }
	w.lease(c, a)
	p := o.accept()
	w.settle()
	w.exchange(c, o, p)
	w.wantIdle(c, 1)
}

// TestFull: a host that does not read makes the exchange full, and low again when it reads.
func TestFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(func(c *upstream.Config) { c.PerConnectionBufferLimitBytes = 64 << 10 }, o.addr), nil)
	a := newOwner()
	a.onReady = func() { a.x.SendHead(request(codec.MethodPOST, "/", -1), false) }
	w.lease(c, a)
	p := o.accept()
	p.wantHead("POST / HTTP/1.1")
	piece := bytes.Repeat([]byte("x"), 32<<10)
	sent, full := 0, false
	for !full && sent < 1<<30 {
		w.do(func() {
			a.x.SendData(piece, false)
			sent += len(piece)
		})
		w.do(func() { full = a.x.Full() })
	}
	if !full {
		t.Fatalf("not full after %d bytes that nobody read", sent)
	}
	w.wantLog(a, "ready")
	got := make(chan int64)
	go func() {
		n, _ := io.Copy(io.Discard, p.r)
		got <- n
	}()
	w.until("low", func() bool { return len(a.log) == 2 })
	w.wantLog(a, "ready", "low")
	if a.x.Full() {
		t.Error("Full after OnWriteLow")
	}
	w.do(func() { a.x.SendData(nil, true) })
	w.until("all taken", func() bool { return a.x.BytesSent() > uint64(sent) && a.x.Conn().Buffered() == 0 })
	w.do(a.x.Cancel)
	if n := <-got; n <= int64(sent) {
		t.Errorf("the host got %d bytes, want more than the %d of the body", n, sent)
	}
	if c.Stats.FlowBackedUp.Load() != 1 || c.Stats.FlowDrained.Load() != 1 {
		t.Errorf("backed up %d times, drained %d; want 1, 1", c.Stats.FlowBackedUp.Load(), c.Stats.FlowDrained.Load())
	}
}

// upgrade builds a WebSocket request.
func upgrade() *codec.RequestHead {
	h := get("/ws")
	h.AddString("Connection", "upgrade")
	h.AddString("Upgrade", "websocket")
	h.Upgrade = true
	return h
}

func TestTunnels(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		head *codec.RequestHead
		line string
		yes  string
		log  string
	}{
		{"upgrade", upgrade(), "GET /ws HTTP/1.1",
			"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "head 101"},
		{"connect", request(codec.MethodCONNECT, "", -1), "CONNECT example.com HTTP/1.1", "HTTP/1.1 200 OK\r\n\r\n", "head 200"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o := newOrigin(w)
			c := w.set(config(nil, o.addr), nil)
			a := newOwner()
			a.onReady = func() { a.x.SendHead(tt.head, false) }
			w.lease(c, a)
			p := o.accept()
			p.wantHead(tt.line)
			p.send(tt.yes + "hello")
			w.wantLog(a, "ready", tt.log)
			if !a.x.Upgraded() || string(a.body) != "hello" {
				t.Fatalf("upgraded %t, body %q; want true, %q", a.x.Upgraded(), a.body, "hello")
			}
			w.do(func() { a.x.SendData([]byte("GET / HTTP/1.1"), false) })
			p.wantBytes("GET / HTTP/1.1")
			w.do(func() { a.x.SendData([]byte("bye"), true) })
			p.wantBytes("bye")
			p.wantClosed() // in this direction
			p.send(" you")
			p.close()
			w.wantLog(a, "ready", tt.log, "end")
			if string(a.body) != "hello you" {
				t.Errorf("body %q, want %q", a.body, "hello you")
			}
			w.wantIdle(c, 0)
		})
	}
}

// TestUpgradeRefused: a plain answer to an upgrade request leaves the connection as it was.
func TestUpgradeRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(nil, o.addr), nil)
	a := newOwner()
	a.onReady = func() { a.x.SendHead(upgrade(), false) }
	w.lease(c, a)
	p := o.accept()
	p.wantHead("GET /ws HTTP/1.1")
	p.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
	w.wantLog(a, "ready", "head 403", "end")
	w.exchange(c, o, p)
}

// TestBigResponse: more than one read, in whatever pieces the kernel has it.
func TestBigResponse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(nil, o.addr), nil)
	a := newOwner()
	w.lease(c, a)
	p := o.accept()
	p.wantHead("GET / HTTP/1.1")
	body := strings.Repeat("0123456789abcdef", 1<<16)
	wrote := make(chan error)
	go func() {
		_, err := io.WriteString(p.c, "HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n"+body)
		wrote <- err
	}()
	w.until("response", func() bool { return a.done })
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	w.wantLog(a, "ready", "head 200", "end")
	if string(a.body) != body {
		t.Errorf("body of %d bytes differs from the %d sent", len(a.body), len(body))
	}
	w.wantIdle(c, 1)
}

// TestAnswerBeforeAllIsTaken: a host that answers while the rest of a body still waits for it may never
// read that, so its connection is not used again.
func TestAnswerBeforeAllIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := newOrigin(w)
	c := w.set(config(func(c *upstream.Config) { c.PerConnectionBufferLimitBytes = 64 << 10 }, o.addr), nil)
	a := newOwner()
	a.onReady = func() { a.x.SendHead(request(codec.MethodPOST, "/", -1), false) }
	w.lease(c, a)
	p := o.accept()
	p.wantHead("POST / HTTP/1.1")
	piece := bytes.Repeat([]byte("x"), 32<<10)
	for full := false; !full; {
		w.do(func() { a.x.SendData(piece, false) })
		w.do(func() { full = a.x.Full() })
	}
	w.do(func() { a.x.SendData(nil, true) })
	p.send(ok)
	w.wantLog(a, "ready", "head 200", "end")
	w.wantIdle(c, 0)
}
