package engine_test

import (
	"slices"
	"testing"

	"millrace/engine"
	"millrace/engine/enginetest"
)

// At the limit of all write queues the longest ones go, and their memory with them; who reads is left alone.
func TestQueuedBytesMax(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		each []int // bytes written to each conn
		gone int
	}{
		{"below", []int{100_000, 200_000, 300_000}, 0},
		{"one is fat", []int{100_000, 200_000, 3_000_000}, 1},
		{"all the same", []int{700_000, 700_000, 700_000, 700_000}, 2},
		{"many small ones", slices.Repeat([]int{1000}, 200), 95}, // a node each
	} {
		t.Run(tt.name, func(t *testing.T) {
			tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.QueuedBytesMax = 2 << 20 })
			tl.Faults = enginetest.Faults{WriteChunk: 1}
			rec := enginetest.NewRecorder()
			var conns []*engine.Conn
			for _, n := range tt.each {
				c, peer := tl.Pair(rec)
				peer.SetBuffers(4096, 4096)
				conns = append(conns, c)
				c.Write(make([]byte, n))
			}
			tl.Step()
			if got := len(rec.Calls); got != tt.gone {
				t.Errorf("%d conns were closed, want %d", got, tt.gone)
			}
			for _, call := range rec.Calls {
				if call != "close no_memory" {
					t.Errorf("handler was called with %q", call)
				}
			}
			if got := int(tl.Stats().QueuedMaxHit.Load()); got != tt.gone {
				t.Errorf("loop_queued_max_hit = %d, want %d", got, tt.gone)
			}
			if got := tl.Stats().QueuedBytes.Load(); got > 2<<20 {
				t.Errorf("%d bytes are queued", got)
			}
			if tt.name == "one is fat" && conns[0].Buffered() == 0 {
				t.Error("a conn with a short queue was closed")
			}
			for _, c := range conns {
				c.Close()
			}
			tl.Step()
			if got := tl.Stats().QueuedBytes.Load(); got != 0 {
				t.Errorf("%d bytes are queued in the end", got)
			}
		})
	}
}
