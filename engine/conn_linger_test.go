package engine_test

import (
	"strings"
	"testing"
	"time"

	"millrace/engine/enginetest"
)

// A peer that takes its time, but takes something within 30 seconds, gets all that was written, and the
// timeout after that too. One that takes nothing more is given up.
func TestConnCloseLingerSlowPeer(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	for _, timeout := range []time.Duration{0, time.Second} {
		tl := enginetest.NewLoop(t)
		c, peer := tl.Pair(enginetest.NewRecorder())
		c.Write([]byte(strings.Repeat("x", size)))
		c.CloseLinger(timeout)
		step := 9 * timeout / 10
		if timeout == 0 {
			step = 9 * time.Second
		}
		got, buf := 0, make([]byte, 100<<10)
		for range 40 {
			tl.Advance(step)
			got += peer.ReadSome(buf)
			tl.Settle()
		}
		if got != size {
			t.Errorf("timeout %v: the peer got %d of %d bytes", timeout, got, size)
		}
		tl.Advance(2 * time.Minute)
		if tl.Conns() != 0 {
			t.Errorf("timeout %v: open long after the last byte", timeout)
		}
		peer.Close()
	}
}
