package engine_test

import (
	"strings"
	"testing"
	"time"

	"millrace/engine"
	"millrace/engine/enginetest"
)

// Both conns have an event in one batch; the handler of the first closes the second.
func TestConnCloseInsideBatch(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	var cs [2]*engine.Conn
	var recs [2]enginetest.Recorder
	var peers [2]*enginetest.Peer
	for i := range recs {
		cs[i], peers[i] = tl.Pair(&recs[i])
		recs[i].DataFunc = func(b []byte) int { cs[1-i].Close(); return len(b) }
	}
	tl.Settle()
	peers[0].Write("x")
	peers[1].Write("x")
	tl.Step()
	if n := len(recs[0].Calls) + len(recs[1].Calls); n != 1 {
		t.Errorf("handlers were called %d times, want 1: %q %q", n, recs[0].Calls, recs[1].Calls)
	}
	if n := tl.Stats().StaleEvents.Load(); n != 1 {
		t.Errorf("loop_stale_events = %d, want 1", n)
	}
	if n := tl.Conns(); n != 1 {
		t.Errorf("Conns = %d, want 1", n)
	}
}

// A freed slot is used again, under another token.
func TestConnSlotIsReused(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	c, _ := tl.Pair(enginetest.NewRecorder())
	first := c.Token()
	c.Close()
	tl.Step()
	c2, _ := tl.Pair(enginetest.NewRecorder())
	if second := c2.Token(); second.Slot != first.Slot || second.Gen == first.Gen {
		t.Errorf("tokens %v, %v; want the same slot with another generation", first, second)
	}
}

func TestConnCloseInEachCallback(t *testing.T) {
	t.Parallel()
	for _, linger := range []bool{false, true} {
		for _, call := range []string{"data", "eof", "timeout", "low"} {
			tl := enginetest.NewLoop(t)
			rec := enginetest.NewRecorder()
			c, peer := tl.Pair(rec)
			end := func() {
				if linger {
					c.CloseLinger(time.Second)
				} else {
					c.Close()
				}
			}
			switch call {
			case "data":
				rec.DataFunc = func([]byte) int { end(); return 0 }
				peer.Write("abc")
			case "eof":
				rec.EOFFunc = end
				peer.CloseWrite()
			case "timeout":
				rec.TimeoutFunc = end
				c.SetDeadline(tl.Now() + 1)
			case "low":
				rec.LowFunc = end
				c.SetWatermarks(10, 5)
				c.Write([]byte(strings.Repeat("x", 100)))
				c.Full()
			}
			tl.Advance(10 * time.Millisecond)
			if len(rec.Calls) != 1 {
				t.Errorf("%s: calls %q, want one", call, rec.Calls)
			}
			peer.Read()
			peer.Close()
			tl.Settle()
			if len(rec.Calls) != 1 || tl.Conns() != 0 {
				t.Errorf("%s: calls %q and %d conns after the close; want one and none", call, rec.Calls, tl.Conns())
			}
		}
	}
}

func TestConnHalfCloseByPeer(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	rec := enginetest.NewRecorder()
	c, peer := tl.Pair(rec)
	peer.Write("all")
	peer.CloseWrite()
	tl.Settle()
	rec.Want(t, `data "all"`, "eof")
	c.Write([]byte("answer"))
	c.CloseWrite()
	tl.Settle()
	if got := peer.Read(); got != "answer" || !peer.AtEOF() {
		t.Errorf("peer got %q, at EOF %v; want the answer and EOF", got, peer.AtEOF())
	}
	rec.Want(t)
	c.Close()
}

func TestConnHalfCloseByUs(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	tl.Faults.WriteChunk = 10
	rec := enginetest.NewRecorder()
	c, peer := tl.Pair(rec)
	c.Write([]byte(strings.Repeat("x", 1000)))
	c.CloseWrite()
	tl.Settle()
	if got := peer.Read(); len(got) != 1000 || !peer.AtEOF() {
		t.Errorf("peer got %d bytes, at EOF %v; want 1000 and EOF", len(got), peer.AtEOF())
	}
	peer.Write("still here")
	tl.Settle()
	rec.Want(t, `data "still here"`)
	peer.CloseWrite()
	tl.Settle()
	rec.Want(t, "eof")
}

func TestConnCloseLinger(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	tl.Faults.WriteChunk = 7
	rec := enginetest.NewRecorder()
	c, peer := tl.Pair(rec)
	c.Write([]byte("the last answer"))
	c.CloseLinger(time.Second)
	tl.Settle()
	if got := peer.Read(); got != "the last answer" || !peer.AtEOF() {
		t.Errorf("peer got %q, at EOF %v", got, peer.AtEOF())
	}
	peer.Write("what we do not want to hear")
	tl.Settle()
	if tl.Conns() != 1 {
		t.Fatal("closed before the peer did")
	}
	peer.CloseWrite()
	tl.Settle()
	if tl.Conns() != 0 {
		t.Error("still open after the peer has closed")
	}
	rec.Want(t)
}

func TestConnCloseLingerTimesOut(t *testing.T) {
	t.Parallel()
	for _, stuck := range []bool{false, true} { // with and without a peer that reads
		tl := enginetest.NewLoop(t)
		c, peer := tl.Pair(enginetest.NewRecorder())
		if stuck {
			c.Write([]byte(strings.Repeat("x", 1<<20)))
		}
		c.CloseLinger(time.Second)
		timeout := time.Second
		if stuck {
			timeout = 30 * time.Second
		}
		tl.Advance(timeout - 100*time.Millisecond)
		if tl.Conns() != 1 {
			t.Errorf("stuck=%v: closed before the timeout", stuck)
		}
		tl.Advance(200 * time.Millisecond)
		if tl.Conns() != 0 {
			t.Errorf("stuck=%v: open after the timeout", stuck)
		}
		peer.Close()
	}
}

// CloseLinger(0) closes behind the last byte, and does not wait for ever for a peer that
// takes none.
func TestConnCloseLingerZero(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	c, peer := tl.Pair(enginetest.NewRecorder())
	c.Write([]byte("bye"))
	c.CloseLinger(0)
	tl.Step()
	if got := peer.Read(); got != "bye" || !peer.AtEOF() || tl.Conns() != 0 {
		t.Errorf("peer got %q, %d conns left", got, tl.Conns())
	}
	c, _ = tl.Pair(enginetest.NewRecorder())
	c.Write([]byte(strings.Repeat("x", 1<<20)))
	c.CloseLinger(0)
	tl.Advance(time.Second)
	if tl.Conns() != 1 {
		t.Error("closed with bytes queued")
	}
	tl.Advance(time.Minute)
	if tl.Conns() != 0 {
		t.Error("a peer that does not read holds the conn for ever")
	}
}

func TestConnDeadline(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	rec := enginetest.NewRecorder()
	c, _ := tl.Pair(rec)
	start := tl.Now()
	for i := range 1000 { // as each request does
		c.SetDeadline(start + int64(time.Second)*int64(i+1))
	}
	if n := tl.Wheel().Len(); n != 1 {
		t.Errorf("%d timers in the wheel, want 1", n)
	}
	tl.Advance(999 * time.Second)
	rec.Want(t)
	tl.Advance(1100 * time.Millisecond)
	rec.Want(t, "timeout")
	tl.Advance(time.Hour)
	rec.Want(t)
	c.SetDeadline(tl.Now() + 10)
	c.SetDeadline(0)
	tl.Advance(time.Hour)
	rec.Want(t)
	c.SetDeadline(tl.Now() + int64(time.Hour))
	c.SetDeadline(tl.Now() + int64(time.Second))
	tl.Advance(2 * time.Second)
	rec.Want(t, "timeout")
}

func TestConnDetachAttach(t *testing.T) {
	t.Parallel()
	from, to := enginetest.NewLoop(t), enginetest.NewLoop(t)
	rec := &enginetest.Recorder{DataFunc: lines}
	c, peer := from.Pair(rec)
	peer.Write("one\nunfini")
	from.Settle()
	rec.Want(t, `data "one\nunfini"`)
	if !c.Quiet() {
		t.Fatal("Quiet = false")
	}
	d := c.Detach()
	peer.Write("shed\n") // arrives while it is on no loop
	from.Settle()
	if kept := d.Kept(); string(kept) != "unfini" || from.Conns() != 0 {
		t.Errorf("kept %q with %d conns left; want %q and 0", kept, from.Conns(), "unfini")
	}
	next := &enginetest.Recorder{DataFunc: lines}
	c2, err := to.Join(d, next)
	if err != nil {
		t.Fatal(err)
	}
	to.Settle()
	if got := string(next.Data); got != "unfinished\n" {
		t.Errorf("the second loop consumed %q, want %q", got, "unfinished\n")
	}
	c2.Write([]byte("answer"))
	to.Settle()
	if got := peer.Read(); got != "answer" {
		t.Errorf("peer got %q", got)
	}
	rec.Want(t)
	wantNoBlocks(t, from)
	wantNoBlocks(t, to)
}

func TestLoopCloseTellsHandlers(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	rec := enginetest.NewRecorder()
	_, peer := tl.Pair(rec)
	tl.Close()
	rec.Want(t, "close loop_end")
	if !peer.AtEOF() {
		t.Error("the socket is still open")
	}
}

// Closing in the middle of a long read stops the calls at once, and the handler may go on
// to use the bytes it was shown.
func TestConnCloseInsideLongRead(t *testing.T) {
	t.Parallel()
	for _, linger := range []time.Duration{-1, 0, time.Second} {
		tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.ScratchBytes = 8 << 10 })
		rec := &enginetest.Recorder{Quiet: true}
		c, peer := tl.Pair(rec)
		other, po := tl.Pair(enginetest.NewRecorder())
		calls := 0
		rec.DataFunc = func(b []byte) int {
			if len(b) < 8<<10 {
				return 0 // kept, so that the next call shows a block
			}
			calls++
			c.Write([]byte("enough"))
			if linger < 0 {
				c.Close()
			} else {
				c.CloseLinger(linger)
			}
			tl.Attach(-1, nil, nil) // fails, and must not disturb
			other.WriteRef(b)
			return 0
		}
		for range 3 {
			peer.Write(strings.Repeat("x", 2500))
			tl.Settle()
		}
		peer.Write(strings.Repeat("x", 40<<10))
		tl.Settle()
		if calls != 1 {
			t.Errorf("linger %v: %d calls, want 1", linger, calls)
		}
		if got := po.Read(); got != strings.Repeat("x", 8<<10) {
			t.Errorf("linger %v: the other conn sent %d bytes, or wrong ones", linger, len(got))
		}
		if got := peer.Read(); linger > 0 && got != "enough" {
			t.Errorf("linger %v: peer got %q", linger, got)
		}
		peer.Close()
		tl.Settle()
		if tl.Conns() != 1 || tl.Arena().Leased() != 16<<10 {
			t.Errorf("linger %v: %d conns, %d bytes leased", linger, tl.Conns(), tl.Arena().Leased())
		}
	}
}

func TestConnWriteAfterCloseWrite(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	rec := enginetest.NewRecorder()
	c, peer := tl.Pair(rec)
	c.Write([]byte("all"))
	c.CloseWrite()
	c.Write([]byte("too late"))
	tl.Settle()
	if got := peer.Read(); got != "all" {
		t.Errorf("peer got %q", got)
	}
	rec.Want(t)
}
