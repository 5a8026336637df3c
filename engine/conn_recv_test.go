package engine_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"millrace/engine"
	"millrace/engine/arena"
	"millrace/engine/enginetest"
)

// lines consumes whole lines.
func lines(b []byte) int { return bytes.LastIndexByte(b, '\n') + 1 }

// wantNoBlocks checks that only the scratch block is leased: idle conns hold none.
func wantNoBlocks(t *testing.T, tl *enginetest.Loop) {
	t.Helper()
	if got, want := tl.Arena().Leased(), int64(256<<10); got != want {
		t.Errorf("arena has %d bytes leased, want %d (scratch alone)", got, want)
	}
}

func TestConnReadCutAnywhere(t *testing.T) {
	t.Parallel()
	in := "GET / HTTP/1.1\nHost: a\n\nsecond\n"
	for chunk := 1; chunk <= len(in); chunk++ {
		for _, eagain := range []bool{false, true} {
			t.Run(fmt.Sprintf("chunk=%d/eagain=%v", chunk, eagain), func(t *testing.T) {
				tl := enginetest.NewLoop(t)
				tl.Faults.ReadChunk, tl.Faults.EAGAIN = chunk, eagain
				rec := &enginetest.Recorder{Quiet: true, DataFunc: lines}
				_, peer := tl.Pair(rec)
				peer.Write(in)
				tl.Settle()
				if string(rec.Data) != in {
					t.Errorf("consumed %q, want %q", rec.Data, in)
				}
				wantNoBlocks(t, tl)
			})
		}
	}
}

func TestConnKeptIsShownAgain(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	rec := &enginetest.Recorder{DataFunc: lines}
	_, peer := tl.Pair(rec)
	peer.Write("one")
	tl.Settle()
	peer.Write(" two\nthr")
	tl.Settle()
	peer.Write("ee\n")
	tl.Settle()
	rec.Want(t, `data "one"`, `data "one two\nthr"`, `data "three\n"`)
	peer.Close()
	tl.Settle()
	rec.Want(t, "eof")
	wantNoBlocks(t, tl)
}

// A head longer than what is copied to scratch is read behind its own block, which grows.
func TestConnKeptGrows(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	rec := &enginetest.Recorder{Quiet: true, DataFunc: lines}
	_, peer := tl.Pair(rec)
	var in strings.Builder
	for i := range 60 {
		piece := strings.Repeat(string(rune('a'+i%26)), 1000)
		in.WriteString(piece)
		peer.Write(piece)
		tl.Settle()
	}
	in.WriteString("\nrest\n")
	peer.Write("\nre")
	tl.Settle()
	peer.Write("st\n")
	tl.Settle()
	if got := string(rec.Data); got != in.String() {
		t.Errorf("consumed %d bytes, want %d equal ones", len(got), in.Len())
	}
	wantNoBlocks(t, tl)
}

func TestConnKeptMaximum(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.ScratchBytes = 8 << 10 })
	var seen int
	rec := &enginetest.Recorder{Quiet: true}
	rec.DataFunc = func(b []byte) int { seen = len(b); return 0 }
	c, peer := tl.Pair(rec)
	peer.Write(strings.Repeat("x", 20<<10))
	tl.Settle()
	if seen != 8<<10 {
		t.Errorf("handler was shown %d bytes at most, want %d", seen, 8<<10)
	}
	if n := tl.Stats().KeptMaxHit.Load(); n == 0 {
		t.Error("loop_kept_max_hit is 0")
	}
	rec.DataFunc = func(b []byte) int { return len(b) }
	c.PauseRead()
	c.ResumeRead()
	tl.Settle()
	if len(rec.Data) != 20<<10 {
		t.Errorf("consumed %d bytes after the resume, want %d", len(rec.Data), 20<<10)
	}
}

func TestConnPauseIsCounted(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	rec := enginetest.NewRecorder()
	c, peer := tl.Pair(rec)
	c.PauseRead()
	c.PauseRead()
	peer.Write("x")
	tl.Settle()
	c.ResumeRead()
	tl.Settle()
	rec.Want(t)
	if !c.ReadPaused() {
		t.Error("ReadPaused = false after one of two resumes")
	}
	c.ResumeRead()
	tl.Step()
	rec.Want(t, `data "x"`)
}

// Pipelined requests: the handler pauses in the middle of what it was shown.
func TestConnPauseInsideOnData(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	rec := enginetest.NewRecorder()
	c, peer := tl.Pair(rec)
	rec.DataFunc = func(b []byte) int { c.PauseRead(); return 2 }
	peer.Write("a\nb\nc")
	peer.CloseWrite()
	tl.Settle()
	rec.Want(t, `data "a\nb\nc"`)
	c.ResumeRead()
	tl.Step()
	rec.Want(t, `data "b\nc"`)
	rec.DataFunc = nil
	c.ResumeRead()
	tl.Settle()
	rec.Want(t, `data "c"`, "eof")
	wantNoBlocks(t, tl)
}

func TestConnResumeInsideOnData(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	rec := enginetest.NewRecorder()
	c, peer := tl.Pair(rec)
	rec.DataFunc = func(b []byte) int { c.PauseRead(); c.ResumeRead(); return 1 }
	peer.Write("abc")
	tl.Step()
	rec.Want(t, `data "abc"`, `data "bc"`, `data "c"`)
}

func TestConnNoBlockLeft(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.BlocksMax = 256<<10 + arena.BlockMin })
	var recs [2]enginetest.Recorder
	for i := range recs {
		recs[i].DataFunc = lines
		_, peer := tl.Pair(&recs[i])
		peer.Write("unfinished")
		tl.Settle()
	}
	recs[0].Want(t, `data "unfinished"`)
	recs[1].Want(t, `data "unfinished"`, "close no_memory")
	if tl.Arena().Refused() == 0 {
		t.Error("arena_refused is 0")
	}
}

// A conn with much to read does not keep another one waiting.
func TestConnReadShare(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) {
		c.ScratchBytes, c.ReadBytesPerTurn = 4<<10, 8<<10
	})
	big := &enginetest.Recorder{Quiet: true}
	_, p1 := tl.Pair(big)
	small := enginetest.NewRecorder()
	_, p2 := tl.Pair(small)
	p1.Write(strings.Repeat("x", 64<<10))
	p2.Write("y")
	tl.Step()
	if len(big.Data) != 8<<10 {
		t.Errorf("the busy conn read %d bytes in its first turn, want %d", len(big.Data), 8<<10)
	}
	small.Want(t, `data "y"`)
	p2.Write("z")
	tl.Step()
	small.Want(t, `data "z"`)
	tl.Settle()
	if len(big.Data) != 64<<10 {
		t.Errorf("the busy conn read %d bytes in the end, want %d", len(big.Data), 64<<10)
	}
}

// FuzzConnRead: whatever the reads bring and the handler leaves, it is shown each byte in
// order, and no block stays behind.
func FuzzConnRead(f *testing.F) {
	f.Add([]byte("\x05\x01\x90\x03\xff\x40\x11"), uint8(7), false)
	f.Add(bytes.Repeat([]byte{0xf0, 0x01}, 40), uint8(0), true)
	f.Add([]byte{0xff, 0xfe, 0xfd, 0xff, 0xff, 0xff}, uint8(255), false)
	f.Fuzz(func(t *testing.T, script []byte, chunk uint8, eagain bool) {
		script = script[:min(len(script), 48)]
		tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.ScratchBytes = 16 << 10 })
		tl.Faults.ReadChunk, tl.Faults.EAGAIN = int(chunk)*16, eagain
		rec := &enginetest.Recorder{Quiet: true}
		var c *engine.Conn
		var sent []byte
		op := byte(0)
		rec.DataFunc = func(b []byte) int {
			if at := len(rec.Data); !bytes.HasPrefix(sent[at:], b) {
				t.Fatalf("shown %d bytes that are not those at %d", len(b), at)
			}
			if op&1 != 0 && !c.ReadPaused() {
				c.PauseRead()
			}
			return len(b) * int(op>>4) / 15
		}
		c, peer := tl.Pair(rec)
		for i, s := range script {
			op = s
			b := make([]byte, int(s)*int(s)/8)
			for j := range b {
				b[j] = byte(i + j*7)
			}
			n := len(sent)
			sent = append(sent, b...)
			sent = sent[:n+peer.TryWrite(b)]
			tl.Settle()
			if c.ReadPaused() {
				c.ResumeRead()
			}
		}
		op = 0xf0
		c.PauseRead()
		c.ResumeRead()
		tl.Settle()
		if !bytes.Equal(rec.Data, sent) {
			t.Fatalf("consumed %d bytes, want the %d sent", len(rec.Data), len(sent))
		}
		if got := tl.Arena().Leased(); got != 16<<10 {
			t.Errorf("arena has %d bytes leased, want %d (scratch alone)", got, 16<<10)
		}
	})
}

// TestConnReadMax: a reader that can pass on little is shown little, and what it leaves grows by as much with each read.
func TestConnReadMax(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	rec := enginetest.NewRecorder()
	c, peer := tl.Pair(rec)
	c.SetReadMax(3)
	rec.DataFunc = func(b []byte) int {
		if len(b) < 6 {
			return 0
		}
		c.PauseRead()
		return 4
	}
	peer.Write("abcdefghij")
	tl.Settle()
	rec.Want(t, `data "abc"`, `data "abcdef"`)
	c.SetReadMax(0)
	rec.DataFunc = nil
	c.ResumeRead()
	tl.Settle()
	rec.Want(t, `data "ef"`, `data "ghij"`)
	wantNoBlocks(t, tl)
}
