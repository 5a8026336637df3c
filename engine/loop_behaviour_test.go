package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"millrace/engine"
	"millrace/engine/enginetest"
)

func TestPostFromManyGoroutines(t *testing.T) {
	defer goleak.VerifyNone(t) // not parallel: it looks at all goroutines
	l, err := engine.NewLoop(3, engine.DefaultLoopConfig())
	if err != nil {
		t.Fatal(err)
	}
	if l.Index() != 3 {
		t.Errorf("Index = %d, want 3", l.Index())
	}
	done := make(chan error, 1)
	go func() { done <- l.Run() }()
	const posters, each = 8, 2000
	last := make([]int, posters) // written on the loop only
	var wg, ran sync.WaitGroup
	ran.Add(posters * each)
	for p := range posters {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range each {
				l.Post(func() {
					if last[p] != i {
						t.Errorf("goroutine %d: function %d ran after %d others", p, i, last[p])
					}
					last[p]++
					ran.Done()
				})
				if i%100 == 0 {
					runtime.Gosched() // let the loop go to sleep in between
				}
			}
		}()
	}
	wg.Wait()
	ran.Wait()
	l.Stop()
	l.Post(func() {}) // may come too late for its last turn; must not block
	if err := <-done; err != nil {
		t.Error(err)
	}
	l.Post(func() { t.Error("ran after the end") })
	l.Stop()
}

func TestPostedPerTurn(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.PostedPerTurn = 3 })
	ran := 0
	for range 7 {
		tl.Post(func() { ran++ })
	}
	for _, want := range []int{3, 6, 7} {
		tl.Step()
		if ran != want {
			t.Errorf("%d posted functions ran, want %d", ran, want)
		}
	}
}

// Steps of a turn, in order: events, posted, timers, ready conns, notices, tasks.
func TestTurnOrder(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	var order []string
	note := func(s string) { order = append(order, s) }
	a, b := enginetest.NewRecorder(), enginetest.NewRecorder()
	ca, pa := tl.Pair(a)
	cb, pb := tl.Pair(b)
	tl.Settle()
	cb.PauseRead()
	pb.Write("x")
	tl.Settle()
	a.DataFunc = func(in []byte) int { note("event"); return len(in) }
	a.TimeoutFunc = func() {
		note("timer")
		tl.Later(taskFunc(func() { note("task") }))
		cb.ResumeRead()
	}
	b.DataFunc = func(in []byte) int { note("ready"); return len(in) }
	ca.SetDeadline(tl.Now() + 1)
	tl.Post(func() { note("posted") })
	pa.Write("x")
	tl.Advance(10 * time.Millisecond)
	if got, want := strings.Join(order, " "), "event posted timer ready task"; got != want {
		t.Errorf("order %q, want %q", got, want)
	}
}

// A handler that panics loses its conn; the others of the batch are served.
func TestPanicEndsOneConn(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"data", "eof", "timeout", "low", "splice", "accept", "posted"} {
		t.Run(call, func(t *testing.T) {
			var stacks []string
			tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) {
				c.OnPanic = func(v any, stack []byte) { stacks = append(stacks, fmt.Sprint(v)+string(stack)) }
			})
			var recs [5]enginetest.Recorder
			var cs [5]*engine.Conn
			var ps [5]*enginetest.Peer
			for i := range recs {
				cs[i], ps[i] = tl.Pair(&recs[i])
			}
			tl.Settle()
			boom := func() { panic("boom in " + call) }
			bad, c, p := &recs[2], cs[2], ps[2]
			bad.CloseFunc = func(engine.CloseReason) { panic("and again") }
			wantConns := 4
			switch call {
			case "data":
				bad.DataFunc = func([]byte) int { c.Write([]byte("half")); boom(); return 0 }
			case "eof":
				bad.EOFFunc = boom
				p.CloseWrite()
			case "timeout":
				bad.TimeoutFunc = boom
				c.SetDeadline(tl.Now() + 1)
			case "low":
				bad.LowFunc = boom
				c.SetWatermarks(1, 0)
				c.Write([]byte("x"))
				c.Full()
			case "splice":
				bad.SpliceFunc = func(int64, bool, bool) { boom() }
				c.Splice(cs[4], 1)
			case "posted":
				tl.Post(func() {
					if before := tl.Blame(cs[0]); before != nil {
						t.Error("somebody is blamed before the post")
					}
					if before := tl.Blame(c); before != cs[0] {
						t.Error("Blame does not return the one before")
					}
					boom()
				})
			case "accept":
				acc := &acceptAll{setup: func(*engine.Conn, *enginetest.Recorder) { boom() }}
				ls := listen(t, tl, abstract("panic"), acc)
				addr := ls.Addr()
				if _, err := tl.Dial(&addr, enginetest.NewRecorder()); err != nil {
					t.Fatal(err)
				}
				wantConns = 6 // the dialling end as well
			}
			for i, p := range ps {
				if i != 2 || call == "data" || call == "splice" {
					p.Write("x")
				}
			}
			tl.Advance(10 * time.Millisecond)
			tl.Settle()
			if n := tl.Conns(); n != wantConns {
				t.Errorf("%d conns left, want %d", n, wantConns)
			}
			for i := range recs {
				if i != 2 && string(recs[i].Data) != "x" {
					t.Errorf("conn %d got %q, want its byte", i, recs[i].Data)
				}
			}
			if call == "data" && p.Read() != "" {
				t.Error("half a message of the panicked handler was sent")
			}
			if len(stacks) == 0 || !strings.Contains(stacks[0], "boom in "+call) || !strings.Contains(stacks[0], "loop_behaviour_test.go") {
				t.Errorf("OnPanic got %q", stacks)
			}
			if tl.Stats().Panics.Load() == 0 {
				t.Error("loop_panics is 0")
			}
			if call != "accept" && recs[2].Calls[len(recs[2].Calls)-1] != "close panic" {
				t.Errorf("the handler was called with %q, want close panic last", recs[2].Calls)
			}
		})
	}
}

func TestTooManyPanics(t *testing.T) {
	t.Parallel()
	given := 0
	tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) {
		c.OnTooManyPanics = func() { given++ }
	})
	for range 10 {
		tl.Post(func() { panic("posted") })
	}
	tl.Settle()
	if given != 0 || tl.Stats().Panics.Load() != 10 {
		t.Errorf("gave up %d times after %d panics, want 10 survived", given, tl.Stats().Panics.Load())
	}
	tl.Advance(2 * time.Minute)
	for range 11 {
		tl.Post(func() { panic("posted") })
	}
	tl.Settle()
	if given != 1 {
		t.Errorf("gave up %d times after 11 panics in a minute, want once", given)
	}
}

// Two conns that resume each other for ever do not hold up the turn.
func TestSettleIsBounded(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	var recs [2]enginetest.Recorder
	var cs [2]*engine.Conn
	calls := 0
	for i := range recs {
		var p *enginetest.Peer
		recs[i].Quiet = true
		recs[i].DataFunc = func(b []byte) int {
			calls++
			if !cs[i].ReadPaused() {
				cs[i].PauseRead()
			}
			if other := cs[1-i]; other.ReadPaused() {
				other.ResumeRead()
			}
			return 0
		}
		cs[i], p = tl.Pair(&recs[i])
		p.Write("x")
	}
	tl.Step()
	if calls < 10 || calls > 100 {
		t.Errorf("%d calls in one turn, want them bounded", calls)
	}
	if !tl.Pending() {
		t.Error("Pending = false with a conn ready")
	}
	cs[0].Close()
	tl.Settle()
}

func TestClock(t *testing.T) {
	t.Parallel()
	l, err := engine.NewLoop(0, engine.DefaultLoopConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	before := l.Now()
	if err := l.Turn(3 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if d := l.Now() - before; d < int64(time.Millisecond) {
		t.Errorf("Now moved by %v over a turn that waited 3ms", time.Duration(d))
	}
	if d := time.Since(time.Unix(0, l.Unix())); d < 0 || d > time.Minute {
		t.Errorf("Unix is %v behind", d)
	}
	if l.Stats().Waits.Load() == 0 || l.Stats().Turns.Load() == 0 {
		t.Error("loop_waits or loop_turns is 0")
	}
}

// countingFaults counts the system calls it lets pass.
type countingFaults struct{ reads, writes int }

func (f *countingFaults) ReadMax(n int) int  { f.reads++; return n }
func (f *countingFaults) WriteMax(n int) int { f.writes++; return n }

// In steady state a request costs one read and one write on each side.
func TestSyscallsPerRequest(t *testing.T) {
	t.Parallel()
	var count countingFaults
	tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.Faults = &count })
	down, up := &enginetest.Recorder{Quiet: true}, &enginetest.Recorder{Quiet: true}
	cd, pd := tl.Pair(down)
	cu, pu := tl.Pair(up)
	down.DataFunc = func(b []byte) int {
		cu.Staged(append(cu.Stage(), "head;"...))
		cu.WriteRef(b)
		cd.SetDeadline(tl.Now() + int64(time.Second))
		return len(b)
	}
	up.DataFunc = func(b []byte) int {
		cd.Staged(append(cd.Stage(), "answer;"...))
		cd.WriteRef(b)
		return len(b)
	}
	tl.Settle()
	count = countingFaults{}
	const requests = 50
	for range requests {
		pd.Write("request")
		tl.Step()
		if got := pu.Read(); got != "head;request" {
			t.Fatalf("upstream got %q", got)
		}
		pu.Write("ok")
		tl.Step()
		if got := pd.Read(); got != "answer;ok" {
			t.Fatalf("downstream got %q", got)
		}
		down.Data, up.Data = nil, nil
	}
	if count.reads != 2*requests || count.writes != 2*requests {
		t.Errorf("%d reads and %d writes for %d requests, want 2 and 2 each", count.reads, count.writes, requests)
	}
}

// upper is a Transport that changes case, and talks before it is ready.
type upper struct {
	greeted bool
	fail    error
	closed  bool
}

func (u *upper) Handshake(w *engine.Wire) (bool, error) {
	if !u.greeted {
		u.greeted = true
		if _, err := w.Write([]byte("HELLO;")); err != nil {
			return false, err
		}
	}
	var b [6]byte
	n, err := w.Read(b[:])
	if err != nil {
		return false, err
	}
	if string(b[:n]) != "hello;" {
		return false, errors.New("bad greeting")
	}
	return true, nil
}

func (u *upper) Read(w *engine.Wire, dst []byte) (int, error) {
	n, err := w.Read(dst[:min(len(dst), 5)])
	for i := range n {
		dst[i] ^= 0x20
	}
	return n, err
}

func (u *upper) Write(w *engine.Wire, v [][]byte) error {
	if u.fail != nil {
		return u.fail
	}
	for _, c := range bytes.Join(v, nil) {
		if _, err := w.Write([]byte{c ^ 0x20}); err != nil {
			return err
		}
	}
	return nil
}

func (u *upper) CloseWrite(w *engine.Wire) { _, _ = w.Write([]byte("BYE")) }
func (u *upper) Close()                    { u.closed = true }

func TestTransport(t *testing.T) {
	t.Parallel()
	for _, eagain := range []bool{false, true} {
		tl := enginetest.NewLoop(t)
		tl.Faults = enginetest.Faults{EAGAIN: eagain}
		if eagain {
			tl.Faults.ReadChunk, tl.Faults.WriteChunk = 6, 3
		}
		rec := &enginetest.Recorder{Quiet: true}
		c, peer := tl.Pair(rec)
		u := &upper{}
		c.SetTransport(u)
		tl.Settle()
		if got := peer.Read(); got != "HELLO;" {
			t.Fatalf("peer got %q before it said anything", got)
		}
		peer.Write("hello;ABCDEFGHIJ")
		tl.Settle()
		if got := string(rec.Data); got != "abcdefghij" {
			t.Errorf("handler got %q", got)
		}
		c.PauseRead()
		peer.Write("KLMNOPQRST")
		tl.Settle()
		c.Staged(append(c.Stage(), "some"...))
		c.WriteRef([]byte("thing"))
		c.ResumeRead()
		tl.Settle()
		if got := string(rec.Data); got != "abcdefghijklmnopqrst" {
			t.Errorf("handler got %q after the resume", got)
		}
		c.CloseWrite()
		tl.Settle()
		if got := peer.Read(); got != "SOMETHINGBYE" || !peer.AtEOF() {
			t.Errorf("peer got %q, at EOF %v", got, peer.AtEOF())
		}
		if c.Splice(c, -1) {
			t.Error("Splice = true through a transport")
		}
		peer.CloseWrite()
		tl.Settle()
		rec.Want(t, "eof")
		c.CloseLinger(time.Second)
		tl.Settle()
		if !u.closed || tl.Conns() != 0 {
			t.Errorf("transport closed %v, %d conns left", u.closed, tl.Conns())
		}
	}
}

// slurp is a Transport that reads the wire dry and hands it out in pieces, as a TLS
// implementation does with records.
type slurp struct {
	upper
	held []byte
}

func (s *slurp) Handshake(*engine.Wire) (bool, error) { return true, nil }
func (s *slurp) Read(w *engine.Wire, dst []byte) (int, error) {
	for len(s.held) == 0 {
		var b [64 << 10]byte
		n, err := w.Read(b[:])
		s.held = append(s.held, b[:n]...)
		if err != nil {
			return 0, err
		}
	}
	n := copy(dst[:min(len(dst), 1000)], s.held)
	s.held = s.held[n:]
	return n, nil
}

// Bytes the transport holds are read although the socket has none left: when the share of a
// turn ran out, and after a pause.
func TestTransportHoldsBytes(t *testing.T) {
	t.Parallel()
	for _, pause := range []bool{false, true} {
		tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.ReadBytesPerTurn = 5000 })
		rec := &enginetest.Recorder{Quiet: true}
		c, peer := tl.Pair(rec)
		c.SetTransport(&slurp{})
		tl.Settle()
		if pause {
			rec.DataFunc = func(b []byte) int {
				if len(rec.Data) == 3000 {
					c.PauseRead()
				}
				return len(b)
			}
		}
		for round := 1; round <= 2; round++ {
			peer.Write(strings.Repeat("x", 20_000))
			tl.Settle()
			if c.ReadPaused() {
				c.ResumeRead()
				tl.Settle()
			}
			if len(rec.Data) != round*20_000 {
				t.Errorf("pause %v: handler got %d bytes, want %d", pause, len(rec.Data), round*20_000)
			}
		}
	}
}

func TestTransportFails(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	for _, greeting := range []string{"HTTP/1", "hello;"} {
		rec := &enginetest.Recorder{Quiet: true}
		c, peer := tl.Pair(rec)
		u := &upper{}
		c.SetTransport(u)
		var told error
		rec.CloseFunc = func(engine.CloseReason) { told = c.TransportError() }
		peer.Write(greeting)
		tl.Settle()
		if greeting == "hello;" {
			rec.Want(t)
			u.fail = io.ErrShortWrite
			c.Write([]byte("x"))
			tl.Settle()
		}
		rec.Want(t, "close transport")
		if told == nil || !u.closed {
			t.Errorf("TransportError = %v in OnClose, transport closed %v", told, u.closed)
		}
	}
}

// A handshake that ends after its conn does not reach the conn that has the slot now.
func TestTransportLateHandshake(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	c, _ := tl.Pair(enginetest.NewRecorder())
	u := &keepWire{}
	c.SetTransport(u)
	tl.Settle()
	c.Close()
	tl.Step()
	rec := enginetest.NewRecorder()
	_, peer := tl.Pair(rec)
	u.w.Established()
	u.w.Fail(io.ErrUnexpectedEOF)
	if n, err := u.w.Write([]byte("stray")); n != 0 || err == nil {
		t.Errorf("Write on a wire that is gone = %d, %v", n, err)
	}
	peer.Write("x")
	tl.Settle()
	rec.Want(t, `data "x"`)
	if got := peer.Read(); got != "" {
		t.Errorf("the next conn in the slot sent %q", got)
	}
}

// keepWire is a Transport whose handshake never ends.
type keepWire struct {
	upper
	w *engine.Wire
}

func (k *keepWire) Handshake(w *engine.Wire) (bool, error) {
	k.w = w
	return false, nil
}

// A handler that panics while it writes to another conn takes that with it: what was staged for it is lost.
func TestPanicEndsTheConnWrittenTo(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.OnPanic = func(any, []byte) {} })
	var from, to, other enginetest.Recorder
	_, p := tl.Pair(&from)
	c, _ := tl.Pair(&to)
	tl.Pair(&other)
	from.DataFunc = func([]byte) int { c.Write([]byte("half")); panic("boom") }
	p.Write("x")
	tl.Settle()
	if n := tl.Conns(); n != 1 {
		t.Errorf("%d conns left, want 1", n)
	}
	if len(to.Calls) == 0 || to.Calls[len(to.Calls)-1] != "close panic" {
		t.Errorf("the handler was called with %q, want close panic last", to.Calls)
	}
}
