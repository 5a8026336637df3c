package httpconn

import (
	"strings"
	"testing"
	"time"
)

// TestHTTP2NeverReads: a client that asks and never reads holds nothing for ever, whatever it asked before and after the
// write queue was full.
func TestHTTP2NeverReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, replies{body: strings.Repeat("x", 512<<10)})
	p := w.dial2(4, 1<<31-1)
	p.write(frame2(frameWindow, 0, 0, num(1<<30)))
	for i := range 90 {
		p.write(get2(uint32(1+2*i), "/"))
		w.tl.Settle()
	}
	if w.m.stats.CxActive.Load() != 1 || w.m.stats2.StreamsActive.Load() == 0 {
		t.Fatalf("%d connections, %d streams; want some that wait", w.m.stats.CxActive.Load(), w.m.stats2.StreamsActive.Load())
	}
	for range 40 {
		w.tl.Advance(time.Minute)
	}
	if c, s, n := w.m.stats.CxActive.Load(), w.m.stats2.StreamsActive.Load(), w.m.stats2.PendingSend.Load(); c != 0 || s != 0 || n != 0 {
		t.Errorf("after 40 minutes: %d connections, %d streams, %d bytes", c, s, n)
	}
}
