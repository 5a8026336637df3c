package engine_test

import (
	"hash/fnv"
	"strings"
	"testing"

	"millrace/engine"
	"millrace/engine/enginetest"
)

// pattern fills b with bytes that depend on their place in the stream.
func pattern(b []byte, at int) {
	for i := range b {
		n := at + i
		b[i] = byte(n ^ n>>8 ^ n>>16)
	}
}

// 64 MiB through a reader that takes a little at a time: the content is right, and what
// is held in between stays within the kernel's buffers.
func TestSpliceSlowReader(t *testing.T) {
	t.Parallel()
	size := 64 << 20
	if testing.Short() || raceEnabled {
		size = 4 << 20
	}
	tl := enginetest.NewLoop(t)
	src := &enginetest.Recorder{Quiet: true}
	cs, ps := tl.Pair(src)
	cd, pd := tl.Pair(enginetest.NewRecorder())
	moved := int64(0)
	src.SpliceFunc = func(n int64, _, _ bool) { moved += n }
	if !cs.Splice(cd, int64(size)) {
		t.Fatal("Splice = false")
	}
	out, in, want := make([]byte, 256<<10), make([]byte, 48<<10), make([]byte, 48<<10)
	sent, got, held := 0, 0, 0
	sum := fnv.New64a()
	for turn := 0; got < size; turn++ {
		b := out[:min(len(out), size-sent)]
		pattern(b, sent)
		sent += ps.TryWrite(b)
		tl.Step()
		if n := pd.ReadSome(in); n > 0 {
			pattern(want[:n], got)
			if string(in[:n]) != string(want[:n]) {
				t.Fatalf("bytes after %d are wrong", got)
			}
			sum.Write(in[:n])
			got += n
		}
		held = max(held, sent-got)
		if turn > 1_000_000 {
			t.Fatalf("stuck at %d of %d bytes", got, size)
		}
	}
	tl.Settle()
	src.Want(t, "splice done")
	if moved != int64(size) {
		t.Errorf("OnSplice reported %d bytes, want %d", moved, size)
	}
	if held > 4<<20 {
		t.Errorf("%d bytes were under way at once", held)
	}
	if n := cs.Buffered() + cd.Buffered(); n != 0 {
		t.Errorf("%d bytes in write queues", n)
	}
	ps.Write("after")
	tl.Settle()
	src.Want(t)
	if got := string(src.Data); got != "after" {
		t.Errorf("after the span OnData got %q, want %q", got, "after")
	}
}

func TestSpliceCutAnywhere(t *testing.T) {
	t.Parallel()
	for _, chunk := range []int{1, 2, 5, 1600, -1, -2, -5, -1600} {
		for _, eagain := range []bool{false, true} {
			tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) {
				if chunk < 0 { // through a pipe whatever the size
					c.SpliceBytesMin, chunk = 1, -chunk
				}
			})
			tl.Faults = enginetest.Faults{ReadChunk: chunk, WriteChunk: chunk, EAGAIN: eagain}
			src := &enginetest.Recorder{Quiet: true}
			cs, ps := tl.Pair(src)
			cd, pd := tl.Pair(enginetest.NewRecorder())
			in := strings.Repeat("0123456789", 20)
			ps.Write(in)
			ps.CloseWrite()
			if !cs.Splice(cd, -1) {
				t.Fatal("Splice = false")
			}
			tl.Settle()
			if got := pd.Read(); got != in {
				t.Errorf("chunk=%d eagain=%v: peer got %q", chunk, eagain, got)
			}
			src.Want(t, "splice done eof", "eof")
		}
	}
}

// What OnData leaves when it starts a splice is sent first; what was written to dst before
// goes ahead of that.
func TestSpliceBehindWrites(t *testing.T) {
	t.Parallel()
	for _, batch := range []bool{false, true} {
		tl := enginetest.NewLoop(t)
		src := enginetest.NewRecorder()
		cs, ps := tl.Pair(src)
		cd, pd := tl.Pair(enginetest.NewRecorder())
		cd.SetBatch(batch)
		src.DataFunc = func(b []byte) int {
			if string(b) == "next" {
				return 4
			}
			cd.Staged(append(cd.Stage(), "head;"...))
			if !cs.Splice(cd, 8) {
				t.Fatal("Splice = false")
			}
			return 2
		}
		ps.Write("h:four")
		tl.Settle()
		ps.Write("morenext")
		tl.Settle()
		if got, want := pd.Read(), "head;fourmore"; got != want {
			t.Errorf("batch=%v: peer got %q, want %q", batch, got, want)
		}
		src.Want(t, `data "h:four"`, "splice 4", "splice 4 done", `data "next"`)
	}
}

func TestSpliceRefused(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	other := enginetest.NewLoop(t)
	rec := &enginetest.Recorder{DataFunc: lines}
	c, p := tl.Pair(rec)
	d, _ := tl.Pair(enginetest.NewRecorder())
	o, _ := other.Pair(enginetest.NewRecorder())
	closed, _ := tl.Pair(enginetest.NewRecorder())
	closed.Close()
	if c.Splice(o, -1) || c.Splice(c, -1) || c.Splice(closed, -1) || closed.Splice(d, -1) || c.Splice(d, 0) {
		t.Error("Splice = true for a conn it cannot go to")
	}
	p.Write("kept")
	tl.Settle()
	if !d.Splice(c, -1) {
		t.Error("Splice = false between plain conns")
	}
	if d.Splice(c, -1) {
		t.Error("Splice = true for a conn that is spliced")
	}
	d.StopSplice()
	c.CloseWrite()
	if d.Splice(c, -1) {
		t.Error("Splice = true to a conn that has ended its direction")
	}
}

// What is kept goes first, and counts; what is left of it behind the span is shown again.
func TestSpliceKept(t *testing.T) {
	t.Parallel()
	for _, inside := range []bool{false, true} {
		for _, tt := range []struct {
			span  int64
			want  string
			calls []string
		}{
			{4, "four", []string{"splice 4 done", `data "andmore"`}},
			{11, "fourandmore", []string{"splice 11 done"}},
			{-1, "fourandmore", []string{"splice 11"}},
		} {
			tl := enginetest.NewLoop(t)
			src := enginetest.NewRecorder()
			cs, ps := tl.Pair(src)
			cd, pd := tl.Pair(enginetest.NewRecorder())
			done := false
			src.DataFunc = func(b []byte) int {
				if inside && !done {
					done = cs.Splice(cd, tt.span)
				}
				if string(b) == "andmore" {
					return 7
				}
				return 0
			}
			ps.Write("fourandmore")
			tl.Settle()
			if !inside && !cs.Splice(cd, tt.span) {
				t.Fatal("Splice = false")
			}
			tl.Settle()
			src.Want(t, append([]string{`data "fourandmore"`}, tt.calls...)...)
			if got := pd.Read(); got != tt.want {
				t.Errorf("inside=%v span=%d: peer got %q, want %q", inside, tt.span, got, tt.want)
			}
			wantNoBlocks(t, tl)
		}
	}
}

// A pipe is used again only when it is empty.
func TestSplicePipeReuse(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	for i, full := range []bool{false, true, false} {
		src := &enginetest.Recorder{Quiet: true}
		cs, ps := tl.Pair(src)
		cd, pd := tl.Pair(enginetest.NewRecorder())
		if !cs.Splice(cd, 1<<40) { // known to be long: a pipe from the start
			t.Fatal("Splice = false")
		}
		ps.Write("some")
		for n := 1; full && n > 0; tl.Settle() {
			n = ps.TryWrite(make([]byte, 64<<10))
		}
		tl.Settle()
		cs.Close()
		cd.Close()
		tl.Settle()
		want := int64(1)
		if full {
			want = 0 // closed with bytes in it
		}
		if got := tl.Stats().SplicePipes.Load(); got != want {
			t.Errorf("round %d: %d pipes open, want %d", i, got, want)
		}
		ps.Close()
		pd.Close()
	}
}

func TestSpliceStopKeepsBytes(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	src := &enginetest.Recorder{Quiet: true}
	cs, ps := tl.Pair(src)
	cd, pd := tl.Pair(enginetest.NewRecorder())
	cs.Splice(cd, 1<<40)
	sent := 0
	for n := 1; n > 0; tl.Settle() {
		b := make([]byte, 64<<10)
		pattern(b, sent)
		n = ps.TryWrite(b)
		sent += n
	}
	cs.StopSplice()
	if cd.Buffered() == 0 {
		t.Error("nothing was queued out of the pipe")
	}
	for turn := 0; turn < 1000; turn++ {
		tl.Settle()
		got := pd.Read()
		if got == "" {
			break
		}
		sent -= len(got)
	}
	if sent != len(src.Data) {
		t.Errorf("%d bytes not accounted for", sent-len(src.Data))
	}
}

// A dst that breaks is told itself; the source goes on with OnData.
func TestSpliceDstBreaks(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	src, dst := enginetest.NewRecorder(), enginetest.NewRecorder()
	cs, ps := tl.Pair(src)
	cd, pd := tl.Pair(dst)
	cs.Splice(cd, -1)
	tl.Settle()
	pd.Close()
	ps.Write("lost")
	tl.Settle()
	ps.Write("seen")
	tl.Settle()
	if len(dst.Calls) != 2 || dst.Calls[0] != "eof" || dst.Calls[1] != "close reset" {
		t.Errorf("dst was called with %q", dst.Calls)
	}
	src.Want(t, `data "seen"`)
}

func TestSpliceBothWays(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	a, b := &enginetest.Recorder{Quiet: true}, &enginetest.Recorder{Quiet: true}
	ca, pa := tl.Pair(a)
	cb, pb := tl.Pair(b)
	a.EOFFunc = func() { cb.CloseWrite() }
	b.EOFFunc = func() { ca.CloseWrite() }
	if !ca.Splice(cb, -1) || !cb.Splice(ca, -1) {
		t.Fatal("Splice = false")
	}
	pa.Write("ping")
	pb.Write("pong")
	pa.CloseWrite()
	tl.Settle()
	if got := pb.Read(); got != "ping" || !pb.AtEOF() {
		t.Errorf("b got %q, EOF %v", got, pb.AtEOF())
	}
	pb.Write(" again")
	pb.CloseWrite()
	tl.Settle()
	if got := pa.Read(); got != "pong again" || !pa.AtEOF() {
		t.Errorf("a got %q, EOF %v", got, pa.AtEOF())
	}
	a.Want(t, "splice done eof", "eof")
	b.Want(t, "splice done eof", "eof")
}

// A tunnel whose one side breaks while it is itself spliced hears of it as a reset, not as
// an orderly end: nothing else would end a tunnel whose other side is silent.
func TestSpliceBothWaysOneBreaks(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	a, b := &enginetest.Recorder{Quiet: true}, &enginetest.Recorder{Quiet: true}
	ca, pa := tl.Pair(a)
	cb, pb := tl.Pair(b)
	ca.Splice(cb, -1)
	cb.Splice(ca, -1)
	tl.Settle()
	pb.Write("last words")
	pb.Close()
	pa.Write("too late") // in the same batch
	tl.Settle()
	if got := pa.Read(); got != "last words" {
		t.Errorf("a got %q", got)
	}
	if n := len(b.Calls); n == 0 || b.Calls[n-1] != "close reset" {
		t.Errorf("b was called with %q, want close reset in the end", b.Calls)
	}
	if tl.Stats().SplicePipes.Load() > 2 || tl.Conns() != 1 {
		t.Errorf("%d pipes, %d conns", tl.Stats().SplicePipes.Load(), tl.Conns())
	}
}
