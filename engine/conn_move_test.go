package engine_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"millrace/engine"
	"millrace/engine/enginetest"
)

// All that a conn was told goes with it.
func TestMoveKeepsState(t *testing.T) {
	t.Parallel()
	from, to := enginetest.NewLoop(t), enginetest.NewLoop(t)
	rec, next := enginetest.NewRecorder(), enginetest.NewRecorder()
	c, peer := from.Pair(rec)
	far, near := mustAddr(t, "unix:/run/far.sock"), mustAddr(t, "192.0.2.1:80")
	c.SetRemoteAddr(far)
	c.SetLocalAddr(near)
	c.SetWatermarks(10, 5)
	c.SetBatch(true)
	c.SetDeadline(from.Now() + int64(time.Minute))
	peer.Write("12345")
	c.Write([]byte("123"))
	from.Settle()
	token := c.Token()
	d := c.Detach()
	from.Settle()
	if d.BytesIn() != 5 || d.BytesOut() != 3 || from.Conns() != 0 || from.Wheel().Len() != 0 {
		t.Errorf("%d bytes in, %d out, %d conns and %d timers left; want 5, 3, 0, 0", d.BytesIn(), d.BytesOut(), from.Conns(), from.Wheel().Len())
	}
	if again, _ := from.Pair(enginetest.NewRecorder()); again.Token() == token {
		t.Error("the token of the conn is given again")
	} else {
		again.Close()
	}
	moved, err := to.Join(d, next)
	if err != nil {
		t.Fatal(err)
	}
	if moved.Loop() != to.Loop || moved.RemoteAddr() != far || moved.LocalAddr() != near || moved.BytesIn() != 5 || moved.BytesOut() != 3 {
		t.Errorf("remote %s, local %s, %d bytes in, %d out", moved.RemoteAddr(), moved.LocalAddr(), moved.BytesIn(), moved.BytesOut())
	}
	if moved.Write(make([]byte, 10)); !moved.Full() {
		t.Error("the watermarks stayed behind")
	}
	to.Settle()
	next.Want(t, "low")
	to.Advance(time.Minute + time.Second)
	next.Want(t, "timeout")
	rec.Want(t, `data "12345"`)
	d.Close() // it has nothing any more
	if _, err := to.Join(d, next); err == nil {
		t.Error("Join twice = nil, want an error")
	}
	if g, tk := from.Stats().ConnsGiven.Load(), to.Stats().ConnsTaken.Load(); g != 1 || tk != 1 {
		t.Errorf("%d given, %d taken; want 1, 1", g, tk)
	}
	if g, o := from.Stats().ConnsOpen.Load(), to.Stats().ConnsOpen.Load(); g != 0 || o != 1 {
		t.Errorf("conns_open is %d and %d, want 0 and 1", g, o)
	}
}

// What the peer does while the connection is on no loop, or just before, is heard on the next one.
func TestMoveLosesNothing(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		before func(p *enginetest.Peer) // not seen by the first loop
		during func(p *enginetest.Peer)
		want   []string
	}{
		{"bytes during", nil, func(p *enginetest.Peer) { p.Write("x") }, []string{`data "x"`}},
		{"bytes before", func(p *enginetest.Peer) { p.Write("x") }, nil, []string{`data "x"`}},
		{"bytes and end", func(p *enginetest.Peer) { p.Write("x") }, (*enginetest.Peer).CloseWrite, []string{`data "x"`, "eof"}},
		{"end", nil, (*enginetest.Peer).CloseWrite, []string{"eof"}},
		{"close before", (*enginetest.Peer).Close, nil, []string{"eof"}},
		{"reset", nil, (*enginetest.Peer).Reset, []string{"close reset"}},
		{"reset before", (*enginetest.Peer).Reset, nil, []string{"close reset"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from, to := enginetest.NewLoop(t), enginetest.NewLoop(t)
			rec, next := enginetest.NewRecorder(), enginetest.NewRecorder()
			acc := &acceptAll{}
			ls := listen(t, from, "127.0.0.1:0", acc)
			c, peer := tcpPair(t, from, ls, acc)
			c.SetHandler(rec)
			c.FailAtReset()
			from.Settle()
			rec.Want(t)
			for _, f := range []func(*enginetest.Peer){tt.before, tt.during} {
				if f != nil {
					f(peer)
				}
			}
			d := c.Detach()
			from.Settle()
			if _, err := to.Join(d, next); err != nil {
				t.Fatal(err)
			}
			to.Until(func() bool { return len(next.Calls) >= len(tt.want) })
			next.Want(t, tt.want...)
			rec.Want(t)
		})
	}
}

// An event of the batch in which a conn leaves is stale; the next loop hears of it from the kernel.
func TestMoveInsideBatch(t *testing.T) {
	t.Parallel()
	from, to := enginetest.NewLoop(t), enginetest.NewLoop(t)
	mover, rec, next := enginetest.NewRecorder(), enginetest.NewRecorder(), enginetest.NewRecorder()
	_, p1 := from.Pair(mover)
	c, p2 := from.Pair(rec)
	from.Settle()
	var d *engine.Detached
	mover.DataFunc = func(b []byte) int { d = c.Detach(); return len(b) }
	p1.Write("go")
	p2.Write("late")
	from.Step()
	if d == nil || from.Stats().StaleEvents.Load() != 1 {
		t.Fatalf("detached: %v, %d stale events, want 1", d != nil, from.Stats().StaleEvents.Load())
	}
	if _, err := to.Join(d, next); err != nil {
		t.Fatal(err)
	}
	to.Settle()
	rec.Want(t)
	next.Want(t, `data "late"`)
}

func TestNotQuiet(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		busy func(tl *enginetest.Loop, c *engine.Conn, p *enginetest.Peer)
	}{
		{"staged", func(_ *enginetest.Loop, c *engine.Conn, _ *enginetest.Peer) { c.Staged(append(c.Stage(), 'x')) }},
		{"queued", func(tl *enginetest.Loop, c *engine.Conn, _ *enginetest.Peer) {
			c.Write(make([]byte, 4<<20))
			tl.Settle()
		}},
		{"paused", func(_ *enginetest.Loop, c *engine.Conn, _ *enginetest.Peer) { c.PauseRead() }},
		{"end seen", func(tl *enginetest.Loop, c *engine.Conn, p *enginetest.Peer) { p.CloseWrite(); tl.Settle() }},
		{"shut", func(_ *enginetest.Loop, c *engine.Conn, _ *enginetest.Peer) { c.CloseWrite() }},
		{"closed", func(_ *enginetest.Loop, c *engine.Conn, _ *enginetest.Peer) { c.Close() }},
		{"lingering", func(_ *enginetest.Loop, c *engine.Conn, _ *enginetest.Peer) { c.CloseLinger(time.Second) }},
		{"handshake", func(_ *enginetest.Loop, c *engine.Conn, _ *enginetest.Peer) { c.SetTransport(&movingXor{}) }},
		{"transport stays", func(tl *enginetest.Loop, c *engine.Conn, _ *enginetest.Peer) {
			c.SetTransport(&xorTransport{})
			tl.Settle()
		}},
		{"transport busy", func(tl *enginetest.Loop, c *engine.Conn, _ *enginetest.Peer) {
			c.SetTransport(&movingXor{busy: true})
			tl.Settle()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tl := enginetest.NewLoop(t)
			c, p := tl.Pair(enginetest.NewRecorder())
			tl.Settle()
			if !c.Quiet() {
				t.Fatal("Quiet = false of an idle conn")
			}
			if tt.busy(tl, c, p); c.Quiet() {
				t.Error("Quiet = true")
			}
		})
	}
}

// movingXor is a transport that can move.
type movingXor struct {
	xorTransport
	busy bool
	left int
}

func (x *movingXor) Movable() bool { return !x.busy }
func (x *movingXor) Leave()        { x.left++ }

// A transport goes on where it was.
func TestMoveWithTransport(t *testing.T) {
	t.Parallel()
	from, to := enginetest.NewLoop(t), enginetest.NewLoop(t)
	x := &movingXor{}
	rec, next := enginetest.NewRecorder(), enginetest.NewRecorder()
	c, peer := from.Pair(rec)
	c.SetTransport(x)
	peer.Write("abc")
	from.Settle()
	rec.Want(t, `data "ABC"`)
	d := c.Detach()
	if d.Transport() != engine.Transport(x) || x.left != 1 || x.closed != 0 {
		t.Errorf("transport %v, left %d times, closed %d", d.Transport(), x.left, x.closed)
	}
	peer.Write("def")
	moved, err := to.Join(d, next)
	if err != nil {
		t.Fatal(err)
	}
	moved.Write([]byte("ghi"))
	to.Settle()
	next.Want(t, `data "DEF"`)
	if got := peer.Read(); got != "GHI" {
		t.Errorf("the peer got %q, want GHI", got)
	}
	d = moved.Detach()
	d.Close()
	if x.closed != 1 || !peer.AtEOF() {
		t.Errorf("the transport was closed %d times, the socket is shut: %v; want 1, true", x.closed, peer.AtEOF())
	}
	to.Settle()
}

// A loop that is full does not take a conn; the one before takes it back.
func TestMoveRefused(t *testing.T) {
	t.Parallel()
	from := enginetest.NewLoop(t)
	to := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.ConnsMax = 1 })
	to.Pair(enginetest.NewRecorder())
	rec := enginetest.NewRecorder()
	c, peer := from.Pair(rec)
	from.Settle()
	d := c.Detach()
	if _, err := to.Join(d, enginetest.NewRecorder()); !errors.Is(err, engine.ErrConnsMax) {
		t.Fatalf("Join = %v, want ErrConnsMax", err)
	}
	peer.Write("x")
	if _, err := from.Join(d, rec); err != nil {
		t.Fatal(err)
	}
	from.Settle()
	rec.Want(t, `data "x"`)
	if to.Conns() != 1 || from.Conns() != 1 {
		t.Errorf("%d and %d conns, want 1 and 1", to.Conns(), from.Conns())
	}
}

// What is handed to a loop that ends comes back to whoever handed it over, whenever the loop ends.
func TestPostOr(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	ran, lost := 0, 0
	post := func() { tl.PostOr(func() { ran++ }, func() { lost++ }) }
	post()
	tl.Step()
	post()
	tl.Post(func() { t.Error("ran after the end") })
	tl.Close()
	post()
	if ran != 1 || lost != 2 {
		t.Errorf("%d ran, %d were lost; want 1, 2", ran, lost)
	}
}

// FuzzMove: whenever a conn changes loops and whatever its peer does meanwhile, each byte is shown once and in order, the end once, on the
// loop that has it last, and nothing stays behind.
func FuzzMove(f *testing.F) {
	f.Add([]byte{0, 2, 0, 3, 1, 0, 2, 3}, uint8(0), false)
	f.Add([]byte{2, 0, 3, 0, 2, 0, 1, 3, 4, 0, 2, 3}, uint8(3), true)
	f.Add(bytes.Repeat([]byte{0, 2, 1, 3, 1}, 8), uint8(1), true)
	f.Fuzz(func(t *testing.T, script []byte, chunk uint8, eagain bool) {
		loops := [2]*enginetest.Loop{enginetest.NewLoop(t), enginetest.NewLoop(t)}
		for _, tl := range loops {
			tl.Faults.ReadChunk, tl.Faults.EAGAIN = int(chunk), eagain
		}
		var sent, got []byte
		ends, at := 0, 0
		var d *engine.Detached
		var c *engine.Conn
		handler := func(i int) *enginetest.Recorder {
			r := &enginetest.Recorder{Quiet: true}
			r.DataFunc = func(b []byte) int {
				if i != at || d != nil {
					t.Fatal("a loop that has not got the conn is shown bytes")
				}
				got = append(got, b...)
				return len(b)
			}
			r.EOFFunc = func() { ends++ }
			return r
		}
		c, peer := loops[0].Pair(handler(0))
		ended := false
		for i, op := range script[:min(len(script), 60)] {
			switch op % 5 {
			case 0:
				if !ended {
					b := []byte{byte(i), byte(i >> 4), 'x'}
					peer.Write(string(b))
					sent = append(sent, b...)
				}
			case 1:
				loops[at].Step()
			case 2:
				if d == nil && c.Quiet() {
					d = c.Detach()
				}
			case 3:
				if d != nil {
					at = 1 - at
					var err error
					if c, err = loops[at].Join(d, handler(at)); err != nil {
						t.Fatal(err)
					}
					d = nil
				}
			case 4:
				loops[1-at].Step()
				if !ended && i > 30 {
					ended = true
					peer.CloseWrite()
				}
			}
		}
		if d != nil {
			if _, err := loops[at].Join(d, handler(at)); err != nil {
				t.Fatal(err)
			}
			d = nil
		}
		if !ended {
			peer.CloseWrite()
		}
		loops[at].Settle()
		loops[1-at].Settle()
		if !bytes.Equal(got, sent) || ends != 1 {
			t.Errorf("got %q and %d ends, want %q and 1", got, ends, sent)
		}
		if n := loops[0].Conns() + loops[1].Conns(); n != 1 {
			t.Errorf("%d conns, want 1", n)
		}
	})
}

// A ring of running loops, on which conns move on after each message, while peers send, end and reset, and a loop ends.
func TestMoveChaos(t *testing.T) {
	defer goleak.VerifyNone(t) // not parallel: it looks at all goroutines
	const loops, clients, rounds = 3, 12, 60
	r := &ring{t: t}
	done := make(chan error, loops)
	for i := range loops {
		l, err := engine.NewLoop(i, engine.DefaultLoopConfig())
		if err != nil {
			t.Fatal(err)
		}
		r.loops = append(r.loops, l)
	}
	fd, err := engine.Listen(mustAddr(t, "127.0.0.1:0"), engine.ListenerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := engine.LocalAddr(fd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.loops[0].AddListener(fd, engine.ListenerOptions{}, r); err != nil {
		t.Fatal(err)
	}
	for _, l := range r.loops {
		go func() { done <- l.Run() }()
	}
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() { r.client(addr.String(), i, rounds) })
	}
	wg.Wait()
	if r.moves.Load() < rounds {
		t.Errorf("%d moves, want at least %d", r.moves.Load(), rounds)
	}
	// Conns on their way to a loop that has ended come back.
	var ends []net.Conn
	for range clients {
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, c)
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	r.loops[1].Stop()
	r.loops[2].Stop()
	r.loops[0].Stop()
	for range loops {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for _, c := range ends {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, err := io.Copy(io.Discard, c) // ends, in order or not
		if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
			t.Error("a conn is left open")
		}
		c.Close()
	}
	for i, l := range r.loops {
		if n := l.Stats().ConnsOpen.Load(); n != 0 {
			t.Errorf("loop %d: conns_open is %d, want 0", i, n)
		}
	}
}

// ring moves each conn to the next loop when it has answered.
type ring struct {
	t     *testing.T
	loops []*engine.Loop
	moves atomic.Int64
}

// client sends rounds messages and checks the echo, then ends in one way or another.
func (r *ring) client(addr string, i, rounds int) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		r.t.Error(err)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	msg := bytes.Repeat([]byte{byte('a' + i)}, 1+i*700)
	got := make([]byte, len(msg))
	for n := range rounds {
		if _, err := c.Write(msg); err != nil {
			r.t.Errorf("client %d, round %d: %v", i, n, err)
			return
		}
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, msg) {
			r.t.Errorf("client %d, round %d: echo of %d bytes is wrong: %v", i, n, len(msg), err)
			return
		}
	}
	if i%3 == 0 {
		_ = c.(*net.TCPConn).SetLinger(0)
	}
}

func (r *ring) OnAccept(c *engine.Conn) engine.Handler { return &rider{r: r, c: c} }

// rider echoes, and moves on.
type rider struct {
	r    *ring
	c    *engine.Conn
	gone bool
	due  bool
}

func (h *rider) OnConnect() {}
func (h *rider) OnData(b []byte) int {
	h.c.Write(b)
	if !h.due {
		h.due = true
		h.c.Loop().Later(h)
	}
	return len(b)
}
func (h *rider) OnEOF()                     { h.gone = true; h.c.Close() }
func (h *rider) OnWriteLow()                {}
func (h *rider) OnSplice(int64, bool, bool) {}
func (h *rider) OnTimeout()                 {}
func (h *rider) OnClose(engine.CloseReason) { h.gone = true }

// RunTask implements engine.Task.
func (h *rider) RunTask() {
	h.due = false
	if h.gone || !h.c.Quiet() {
		return
	}
	l := h.c.Loop()
	next := h.r.loops[(l.Index()+1)%len(h.r.loops)]
	d := h.c.Detach()
	h.r.moves.Add(1)
	next.PostOr(func() {
		c, err := next.Join(d, h)
		if err != nil {
			h.r.t.Errorf("Join: %v", err)
			d.Close()
			return
		}
		h.c = c
	}, d.Close)
}
