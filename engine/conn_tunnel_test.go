package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"millrace/engine"
	"millrace/engine/enginetest"
)

// A tunnel is two conns, each spliced to the other, and their peers.
type tunnel struct {
	t      *testing.T
	tl     *enginetest.Loop
	ends   [2]*relayEnd
	peers  [2]*enginetest.Peer
	sent   [2]int // by peer
	got    [2]int
	buf    []byte
	expect []byte
}

func newTunnel(t *testing.T, tl *enginetest.Loop, span int64) *tunnel {
	t.Helper()
	tn := &tunnel{t: t, tl: tl, buf: make([]byte, 64<<10), expect: make([]byte, 64<<10)}
	for i := range tn.ends {
		tn.ends[i] = &relayEnd{t: t}
		tn.ends[i].c, tn.peers[i] = tl.Pair(tn.ends[i])
	}
	tn.ends[0].other, tn.ends[1].other = tn.ends[1], tn.ends[0]
	tl.Settle()
	if !tn.ends[0].c.Splice(tn.ends[1].c, span) || !tn.ends[1].c.Splice(tn.ends[0].c, span) {
		t.Fatal("Splice = false")
	}
	return tn
}

// write lets peer i send up to n bytes of its stream, and returns how many it could.
func (tn *tunnel) write(i, n int) int {
	sum := 0
	for sum < n {
		b := tn.buf[:min(len(tn.buf), n-sum)]
		pattern(b, tn.sent[i]+i)
		k := tn.peers[i].TryWrite(b)
		tn.sent[i] += k
		if sum += k; k < len(b) {
			break
		}
	}
	return sum
}

// read lets peer i read once, up to n bytes, and checks them.
func (tn *tunnel) read(i, n int) int {
	tn.t.Helper()
	k := max(tn.peers[i].ReadSome(tn.buf[:min(n, len(tn.buf))]), 0)
	pattern(tn.expect[:k], tn.got[i]+1-i)
	if !bytes.Equal(tn.buf[:k], tn.expect[:k]) {
		tn.t.Fatalf("peer %d: bytes after %d are wrong", i, tn.got[i])
	}
	tn.got[i] += k
	return k
}

// drain lets peer i read all that comes.
func (tn *tunnel) drain(i int) {
	tn.t.Helper()
	for idle := 0; idle < 2; idle++ {
		tn.tl.Settle()
		for tn.read(i, len(tn.buf)) > 0 {
			idle = 0
		}
	}
}

// stall lets peer i send until nobody takes any more.
func (tn *tunnel) stall(i int) {
	for tn.write(i, 64<<10) > 0 {
		tn.tl.Settle()
	}
}

// wantAll checks that what peer i sent has arrived.
func (tn *tunnel) wantAll(i int) {
	tn.t.Helper()
	if tn.got[1-i] != tn.sent[i] {
		tn.t.Errorf("peer %d sent %d bytes, %d arrived", i, tn.sent[i], tn.got[1-i])
	}
}

// long is a span that is known to be long, so that its first piece goes through a pipe.
const long = 1 << 40

// How a piece goes depends on the pieces before it.
func TestTunnelAdapts(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	tn := newTunnel(t, tl, -1)
	spliced := func(size int) bool {
		before := tl.Stats().SplicedBytes.Load()
		tn.write(0, size)
		tn.drain(1)
		tn.wantAll(0)
		return tl.Stats().SplicedBytes.Load() > before
	}
	for i, step := range []struct {
		size    int
		spliced bool
	}{
		{1000, false}, {1000, false},
		{100_000, false}, // it comes as a surprise, but is read whole
		{100_000, true},
		{1000, true}, {1000, true}, {100_000, true}, // a small piece now and then changes nothing
		{1000, true}, {1000, true}, {1000, true},
		{1000, false}, {1000, false},
		{300_000, true}, // longer than what is read at once
	} {
		if got := spliced(step.size); got != step.spliced {
			t.Errorf("piece %d of %d bytes: spliced %v, want %v", i, step.size, got, step.spliced)
		}
	}
	st := tl.Stats()
	if got := st.SplicedBytes.Load() + st.SpliceCopied.Load(); got != uint64(tn.sent[0]) {
		t.Errorf("%d bytes counted, %d sent", got, tn.sent[0])
	}
}

// Idle tunnels hold no pipe.
func TestTunnelsShareAPipe(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	for range 50 {
		tn := newTunnel(t, tl, long)
		for i := range tn.peers {
			tn.write(i, 50_000)
			tn.drain(1 - i)
			tn.wantAll(i)
		}
	}
	if got := tl.Stats().SplicePipes.Load(); got != 1 {
		t.Errorf("100 idle directions hold %d pipes, want 1 in the pool", got)
	}
	if tl.Stats().SplicedBytes.Load() != 50*2*50_000 {
		t.Errorf("%d bytes were spliced", tl.Stats().SplicedBytes.Load())
	}
}

// A stalled direction holds what the pipe does and no more; then it goes on.
func TestTunnelStalledDst(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		span  int64
		pipes int
		max   int // bytes that are under way in the engine
	}{
		{long, 10, 1 << 20},
		{-1, 10, 1 << 20},
		{-1, 0, 128 << 10},
	} {
		t.Run(fmt.Sprintf("span=%d/pipes=%d", tt.span, tt.pipes), func(t *testing.T) {
			tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.SplicePipesMax = tt.pipes })
			tn := newTunnel(t, tl, tt.span)
			tn.stall(0)
			c, d := tn.ends[0].c, tn.ends[1].c
			if got := c.SpliceBuffered(); got > tt.max || got == 0 || got != int(c.BytesIn()-d.BytesOut()) {
				t.Errorf("%d bytes are held (%d in, %d out), want at most %d", got, c.BytesIn(), d.BytesOut(), tt.max)
			}
			// The other direction is not held up.
			tn.write(1, 100_000)
			tn.drain(0)
			tn.wantAll(1)
			before := c.BytesIn()
			tl.Settle()
			if c.BytesIn() != before {
				t.Error("reading went on")
			}
			tn.drain(1)
			tn.wantAll(0)
			if got := c.SpliceBuffered(); got != 0 {
				t.Errorf("%d bytes are held in the end", got)
			}
			if hit := tl.Stats().SplicePipesHit.Load() > 0; hit != (tt.pipes == 0) {
				t.Errorf("loop_splice_pipes_max_hit is %d", tl.Stats().SplicePipesHit.Load())
			}
		})
	}
}

// The handler hears when dst begins to hold bytes up, and when it has taken them.
func TestTunnelTellsHold(t *testing.T) {
	t.Parallel()
	for _, span := range []int64{-1, long} {
		for _, pipes := range []int{0, 10} {
			tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.SplicePipesMax = pipes })
			var holds []bool
			rec := &enginetest.Recorder{Quiet: true}
			c, p := tl.Pair(rec)
			d, q := tl.Pair(enginetest.NewRecorder())
			rec.SpliceFunc = func(int64, bool, bool) {
				if held := c.SpliceBuffered() > 0; len(holds) == 0 || holds[len(holds)-1] != held {
					holds = append(holds, held)
				}
			}
			if !c.Splice(d, span) {
				t.Fatal("Splice = false")
			}
			p.Write("a little")
			tl.Settle()
			for p.TryWrite(make([]byte, 64<<10)) > 0 {
				tl.Settle()
			}
			for range 20 {
				q.Read()
				tl.Settle()
			}
			if want := []bool{false, true, false}; !slices.Equal(holds, want) {
				t.Errorf("span=%d pipes=%d: held was told as %v, want %v", span, pipes, holds, want)
			}
		}
	}
}

// The watermark of a dst that is stalled bounds what is held for it, in a pipe or a queue.
func TestTunnelLowWatermark(t *testing.T) {
	t.Parallel()
	for _, high := range []int{10_000, 50_000, 200_000} {
		for _, span := range []int64{-1, long} {
			for _, pipes := range []int{0, 10} {
				tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.SplicePipesMax = pipes })
				tn := newTunnel(t, tl, span)
				tn.ends[1].c.SetWatermarks(high, 1000)
				tn.stall(0)
				if got := tn.ends[0].c.SpliceBuffered(); got > high || got == 0 {
					t.Errorf("high=%d span=%d pipes=%d: %d bytes are held", high, span, pipes, got)
				}
				tn.drain(1)
				tn.wantAll(0)
			}
		}
	}
}

// When one direction has the last pipe, the others copy, and splice again when it is back.
func TestTunnelPipesUsedUp(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.SplicePipesMax = 1 })
	st := tl.Stats()
	first := newTunnel(t, tl, long)
	first.stall(0)
	before := st.SplicedBytes.Load()
	second := newTunnel(t, tl, long)
	for i := range second.peers {
		second.write(i, 150_000)
		second.drain(1 - i)
		second.wantAll(i)
	}
	if st.SplicedBytes.Load() != before || st.SplicePipesHit.Load() == 0 || st.SplicePipes.Load() != 1 {
		t.Errorf("%d bytes spliced without a pipe, %d pipes, loop_splice_pipes_max_hit = %d",
			st.SplicedBytes.Load()-before, st.SplicePipes.Load(), st.SplicePipesHit.Load())
	}
	first.drain(1)
	first.wantAll(0)
	before = st.SplicedBytes.Load()
	second.write(0, 100_000)
	second.drain(1)
	second.wantAll(0)
	if st.SplicedBytes.Load() == before {
		t.Error("nothing is spliced after the pipe came back")
	}
}

// The end of src is passed on behind what the pipe has; the other direction stays open.
func TestTunnelHalfClose(t *testing.T) {
	t.Parallel()
	for _, span := range []int64{long, -1} {
		tl := enginetest.NewLoop(t)
		tn := newTunnel(t, tl, span)
		tn.stall(0)
		tn.peers[0].CloseWrite()
		tl.Settle()
		if tn.ends[0].eof {
			t.Error("OnEOF came before the bytes")
		}
		tn.drain(1)
		tn.wantAll(0)
		if !tn.ends[0].eof || !tn.peers[1].AtEOF() {
			t.Errorf("EOF seen %v, passed on %v", tn.ends[0].eof, tn.peers[1].AtEOF())
		}
		tn.write(1, 200_000)
		tn.drain(0)
		tn.wantAll(1)
		tn.peers[1].CloseWrite()
		tl.Settle()
		if !tn.ends[1].eof || !tn.peers[0].AtEOF() || tn.ends[0].closed || tn.ends[1].closed {
			t.Errorf("EOF seen %v, passed on %v", tn.ends[1].eof, tn.peers[0].AtEOF())
		}
	}
}

// A dst that breaks while the pipe is full: nothing of it reaches anybody else, src goes on with OnData.
func TestTunnelDstBreaks(t *testing.T) {
	t.Parallel()
	for _, span := range []int64{long, -1} {
		tl := enginetest.NewLoop(t)
		tn := newTunnel(t, tl, span)
		tn.stall(0)
		tn.peers[1].Close()
		tl.Settle()
		if !tn.ends[1].closed || tn.ends[0].closed {
			t.Fatalf("closed: dst %v, src %v", tn.ends[1].closed, tn.ends[0].closed)
		}
		if tn.ends[0].c.Splicing() {
			t.Error("the splice goes on")
		}
		if n := tl.Stats().QueuedBytes.Load(); n != 0 {
			t.Errorf("loop_queued_bytes = %d", n)
		}
		if n := tl.Stats().SplicePipes.Load(); n != 0 {
			t.Errorf("%d pipes are left; the one with bytes must be closed", n)
		}
		other := newTunnel(t, tl, long) // gets a pipe with nothing in it
		other.write(0, 100_000)
		other.drain(1)
		other.wantAll(0)
	}
}

// A src that is reset while bytes of it are under way: they arrive, then its handler hears of it.
func TestTunnelSrcReset(t *testing.T) {
	t.Parallel()
	for _, stop := range []bool{false, true} {
		tl := enginetest.NewLoop(t)
		acc := &acceptAll{}
		ls := listen(t, tl, "127.0.0.1:0", acc)
		src, dst := &enginetest.Recorder{Quiet: true}, enginetest.NewRecorder()
		cs, ps := tcpPair(t, tl, ls, acc)
		cs.SetHandler(src)
		cd, pd := tl.Pair(dst)
		if !cs.Splice(cd, long) {
			t.Fatal("Splice = false")
		}
		for idle := 0; idle < 20; idle++ { // until all buffers are full
			if ps.TryWrite(make([]byte, 64<<10)) > 0 {
				idle = 0
			}
			tl.Step()
		}
		ps.Reset()
		tl.Settle()
		src.Want(t)
		held := cs.SpliceBuffered()
		if stop {
			cs.StopSplice()
		}
		got, in := 0, 0
		src.CloseFunc = func(engine.CloseReason) { in = int(cs.BytesIn()) }
		tl.Until(func() bool {
			got += len(pd.Read())
			return len(src.Calls) > 0 && cd.Buffered() == 0
		})
		got += len(pd.Read())
		if held == 0 || got+len(src.Data) != in {
			t.Errorf("stop=%v: %d of %d bytes arrived, %d were held", stop, got+len(src.Data), in, held)
		}
		if n := len(src.Calls); src.Calls[n-1] != "close reset" {
			t.Errorf("stop=%v: src was called with %q, want close reset", stop, src.Calls)
		}
	}
}

// Stopping and starting again loses nothing and keeps the order, whatever is in pipes and queues.
func TestTunnelSwitches(t *testing.T) {
	t.Parallel()
	for _, min := range []int{1, 32 << 10} {
		tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.SpliceBytesMin = min })
		tn := newTunnel(t, tl, -1)
		for round := range 200 {
			i := round & 1
			tn.write(i, 1+round*round*7%150_000)
			tl.Step()
			if c, d := tn.ends[i].c, tn.ends[1-i].c; round%3 == 0 {
				c.StopSplice()
			} else if !c.Splicing() && !tn.ends[i].held && !c.Splice(d, -1) {
				t.Fatalf("round %d: Splice = false", round)
			}
			tn.read(1-i, round*997%50_000+1)
		}
		for range 50 {
			tn.drain(0)
			tn.drain(1)
		}
		tn.wantAll(0)
		tn.wantAll(1)
	}
}

// A splice may be stopped inside OnData of the other conn, whose bytes lie in scratch.
func TestStopSpliceInsideOnData(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	tn := newTunnel(t, tl, long)
	tn.ends[1].c.StopSplice()
	rec := &enginetest.Recorder{Quiet: true, LowFunc: tn.ends[1].OnWriteLow}
	tn.ends[1].c.SetHandler(rec)
	tn.stall(0) // the pipe of conn 0 is full
	shown := ""
	rec.DataFunc = func(b []byte) int {
		if len(shown) == 0 {
			tn.ends[0].c.StopSplice()
			shown = string(b)
			return 1
		}
		return len(b)
	}
	in := strings.Repeat("precious", 1000)
	tn.peers[1].Write(in)
	tl.Settle()
	if shown != in {
		t.Error("the bytes changed under the handler")
	}
	tn.peers[1].Write("!")
	tl.Settle()
	if string(rec.Data) != in+"!" {
		t.Error("what the handler left was overwritten")
	}
	tn.drain(1)
	tn.wantAll(0)
}

// An end that the splice has seen, but not told yet, is told after StopSplice.
func TestStopSpliceAfterEOF(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	tn := newTunnel(t, tl, long)
	tn.stall(0)
	tn.peers[0].CloseWrite()
	tl.Settle()
	tn.ends[0].c.StopSplice()
	tn.drain(1)
	tn.wantAll(0)
	if !tn.ends[0].eof || !tn.peers[1].AtEOF() {
		t.Errorf("EOF seen %v, passed on %v", tn.ends[0].eof, tn.peers[1].AtEOF())
	}
}

// Pause and resume hold for a splice as for OnData.
func TestTunnelPause(t *testing.T) {
	t.Parallel()
	for _, span := range []int64{long, -1} {
		tl := enginetest.NewLoop(t)
		tn := newTunnel(t, tl, span)
		tn.ends[0].c.PauseRead()
		tn.write(0, 50_000)
		tl.Settle()
		if n := tn.ends[0].c.BytesIn(); n != 0 {
			t.Errorf("%d bytes were read while paused", n)
		}
		tn.ends[0].c.ResumeRead()
		tn.drain(1)
		tn.wantAll(0)
	}
}

// Sockets that the kernel cannot splice, such as those of multipath TCP on many kernels, are copied.
func TestTunnelMPTCP(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	opts := engine.ListenerOptions{MPTCP: true}
	fd, err := engine.Listen(mustAddr(t, "127.0.0.1:0"), opts)
	if err != nil {
		t.Skip("no multipath TCP here: ", err)
	}
	acc := &acceptAll{}
	ls, err := tl.AddListener(fd, opts, acc)
	if err != nil {
		t.Fatal(err)
	}
	const size = 3 << 20
	var dialer net.Dialer
	dialer.SetMultipathTCP(true)
	answers := make(chan error, 1)
	go func() {
		c, err := dialer.DialContext(context.Background(), "tcp", ls.Addr().String())
		if err != nil {
			answers <- err
			return
		}
		defer c.Close()
		go c.Write(make([]byte, size))
		_, err = io.ReadFull(c, make([]byte, size))
		answers <- err
	}()
	tl.Until(func() bool { return len(acc.conns) == 1 })
	mirror, far := tl.Pair(&proxyEnd{})
	if !acc.conns[0].Splice(mirror, long) || !mirror.Splice(acc.conns[0], long) {
		t.Fatal("Splice = false")
	}
	buf, pending := make([]byte, 64<<10), 0
	done := false
	tl.Until(func() bool {
		if pending += max(far.ReadSome(buf), 0); pending > 0 {
			pending -= far.TryWrite(buf[:min(pending, len(buf))])
		}
		select {
		case err := <-answers:
			if err != nil {
				t.Error(err)
			}
			done = true
		default:
		}
		return done
	})
}
