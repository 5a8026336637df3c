package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"millrace/engine"
	"millrace/engine/enginetest"
)

// Whatever the socket takes at a time, the bytes arrive in the order they were written.
func TestConnWriteCutAnywhere(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("0123456789", 500)
	for _, chunk := range []int{0, 1, 2, 3, 7, 100, 4096} {
		for _, eagain := range []bool{false, true} {
			t.Run(fmt.Sprintf("chunk=%d/eagain=%v", chunk, eagain), func(t *testing.T) {
				tl := enginetest.NewLoop(t)
				tl.Faults.WriteChunk, tl.Faults.EAGAIN = chunk, eagain
				rec := enginetest.NewRecorder()
				c, peer := tl.Pair(rec)
				rec.DataFunc = func(b []byte) int {
					c.Staged(append(c.Stage(), "head "...))
					c.WriteRef([]byte(big))
					c.Staged(append(c.Stage(), " middle "...))
					c.WriteRef([]byte("small"))
					c.Write([]byte(big))
					c.Write([]byte(" tail"))
					return len(b)
				}
				peer.Write("go")
				want := "head " + big + " middle small" + big + " tail"
				got := ""
				for turn := 0; len(got) < len(want) && turn < 1000; turn++ {
					tl.Settle() // as far as the kernel's buffer goes
					got += peer.Read()
				}
				if got != want {
					t.Errorf("peer got %d bytes, want %d equal ones", len(got), len(want))
				}
				if c.Buffered() != 0 || tl.Stats().QueuedBytes.Load() != 0 {
					t.Errorf("Buffered = %d, loop_queued_bytes = %d; want 0", c.Buffered(), tl.Stats().QueuedBytes.Load())
				}
			})
		}
	}
}

func TestConnWatermarks(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	rec := enginetest.NewRecorder()
	c, peer := tl.Pair(rec)
	c.SetWatermarks(100_000, 10_000)
	tl.Settle()
	chunk := []byte(strings.Repeat("x", 4000))
	sum := 0
	for !c.Full() {
		c.Write(chunk)
		tl.Step()
		sum += len(chunk)
	}
	if n := c.Buffered(); n < 100_000 || n > 104_000 {
		t.Errorf("Buffered = %d when Full, want about 100000", n)
	}
	rec.Want(t)
	got := 0
	for turn := 0; len(rec.Calls) == 0 && turn < 1000; turn++ {
		got += len(peer.Read())
		tl.Settle()
	}
	rec.Want(t, "low")
	if c.Full() {
		t.Error("Full = true after OnWriteLow")
	}
	got += len(peer.Read())
	tl.Settle()
	got += len(peer.Read())
	if got != sum {
		t.Errorf("peer got %d bytes, want %d", got, sum)
	}
	rec.Want(t)
}

// A conn that is full only with staged bytes, which then all leave, must say so too.
func TestConnFullWhileStaged(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	rec := enginetest.NewRecorder()
	c, peer := tl.Pair(rec)
	c.SetWatermarks(1000, 500)
	rec.DataFunc = func(b []byte) int {
		c.Staged(append(c.Stage(), strings.Repeat("x", 1500)...))
		if !c.Full() {
			t.Error("Full = false with 1500 bytes staged over a mark of 1000")
		}
		return len(b)
	}
	peer.Write("go")
	tl.Settle()
	rec.Want(t, `data "go"`, "low")
}

// Two conns that write in turns share one stage: each one's bytes stay in order.
func TestConnStageChangesHands(t *testing.T) {
	t.Parallel()
	for _, batch := range []bool{false, true} {
		t.Run(fmt.Sprintf("batch=%v", batch), func(t *testing.T) {
			tl := enginetest.NewLoop(t)
			a, b := enginetest.NewRecorder(), enginetest.NewRecorder()
			ca, pa := tl.Pair(a)
			cb, pb := tl.Pair(b)
			ca.SetBatch(batch)
			cb.SetBatch(batch)
			tl.Settle()
			want := ""
			a.DataFunc = func(in []byte) int {
				for i := range 5 {
					s := fmt.Sprintf("%d;", i)
					want += s
					ca.Staged(append(ca.Stage(), s...))
					cb.Write([]byte(s))
				}
				return len(in)
			}
			pa.Write("go")
			tl.Step()
			if got := pa.Read(); got != want {
				t.Errorf("first peer got %q, want %q", got, want)
			}
			if got := pb.Read(); got != want {
				t.Errorf("second peer got %q, want %q", got, want)
			}
		})
	}
}

// writeSizes notes how long writes are.
type writeSizes struct{ sizes []int }

func (f *writeSizes) ReadMax(want int) int { return want }

func (f *writeSizes) WriteMax(want int) int {
	f.sizes = append(f.sizes, want)
	return want
}

// A batch conn that acknowledges what came, and hands it to another one, acknowledges last: the other's peer is waited for.
// What is added to something queued goes with it.
func TestConnBatchWritesLastStagedLast(t *testing.T) {
	t.Parallel()
	const request, acknowledgement = "a request", "ack"
	for _, tt := range []struct {
		name   string
		before string // written to the one that acknowledges, before the request
		want   []int
	}{
		{"acknowledgement", "", []int{len(request), len(acknowledgement)}},
		{"more", "more", []int{len("more" + acknowledgement), len(request)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			log := &writeSizes{}
			tl := enginetest.NewLoop(t, func(cfg *engine.LoopConfig) { cfg.Faults = log })
			a, b := enginetest.NewRecorder(), enginetest.NewRecorder()
			ca, pa := tl.Pair(a)
			cb, pb := tl.Pair(b)
			ca.SetBatch(true)
			cb.SetBatch(true)
			tl.Settle()
			a.DataFunc = func(in []byte) int {
				ca.Write([]byte(tt.before))
				cb.Write([]byte(request))
				ca.Write([]byte(acknowledgement))
				return len(in)
			}
			pa.Write("go")
			tl.Step()
			if !slices.Equal(log.sizes, tt.want) {
				t.Errorf("writes of %v bytes, want %v", log.sizes, tt.want)
			}
			if got, want := pa.Read(), tt.before+acknowledgement; got != want {
				t.Errorf("the first peer got %q, want %q", got, want)
			}
			if got := pb.Read(); got != request {
				t.Errorf("the second peer got %q, want %q", got, request)
			}
		})
	}
}

type taskFunc func()

func (f taskFunc) RunTask() { f() }

// What a batch conn writes in several events and a task of one turn leaves in one write.
func TestConnBatchLeavesAtTheEndOfTheTurn(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	out := enginetest.NewRecorder()
	co, po := tl.Pair(out)
	co.SetBatch(true)
	var peers []*enginetest.Peer
	for range 3 {
		r := enginetest.NewRecorder()
		c, p := tl.Pair(r)
		peers = append(peers, p)
		r.DataFunc = func(b []byte) int {
			co.Write(b)
			c.Write([]byte("ok")) // takes the stage away
			if got := po.Read(); got != "" {
				t.Errorf("a batch conn wrote %q before the end of the turn", got)
			}
			return len(b)
		}
	}
	tl.Settle()
	for i, p := range peers {
		p.Write(fmt.Sprint(i))
	}
	tl.Later(taskFunc(func() { co.Write([]byte("!")) }))
	tl.Step()
	if got, want := po.Read(), "012!"; got != want {
		t.Errorf("peer got %q, want %q", got, want)
	}
}

// Memory given to WriteRef belongs to scratch: it must leave before the next read.
func TestConnWriteRefOfScratch(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.ScratchBytes = 4 << 10 })
	tl.Faults.WriteChunk = 1000
	rec := &enginetest.Recorder{Quiet: true}
	c, peer := tl.Pair(rec)
	rec.DataFunc = func(b []byte) int { c.WriteRef(b); return len(b) }
	var in strings.Builder
	for i := range 8000 {
		fmt.Fprintf(&in, "%d,", i)
	}
	peer.Write(in.String())
	tl.Settle()
	if got := peer.Read(); got != in.String() {
		t.Errorf("echo of %d bytes gave %d, or others", in.Len(), len(got))
	}
}

func TestConnBrokenSwallowsWrites(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	rec := enginetest.NewRecorder()
	c, peer := tl.Pair(rec)
	tl.Settle()
	peer.Write("early answer")
	peer.Close() // resets us as soon as we write: the peer reads no more
	c.Write([]byte("request"))
	if len(rec.Calls) != 0 {
		t.Errorf("the handler was called inside Write: %q", rec.Calls)
	}
	tl.Settle()
	// What had arrived is read, then the end is told.
	rec.Want(t, `data "early answer"`, "close reset")
	c.Write([]byte("more")) // a handler that does not know yet
	tl.Settle()
	rec.Want(t)
}

// The answer of an origin that closes early is read although writing to it fails.
func TestConnBrokenReadsOn(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	rec := enginetest.NewRecorder()
	c, peer := tl.Pair(rec)
	tl.Settle()
	c.PauseRead()
	peer.Write("413 too large")
	peer.Close()
	c.Write([]byte("request"))
	tl.Settle()
	c.Write([]byte("request"))
	tl.Settle()
	rec.Want(t)
	c.ResumeRead()
	tl.Settle()
	rec.Want(t, `data "413 too large"`, "close reset")
}
