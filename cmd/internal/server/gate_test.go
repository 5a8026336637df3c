package server

import (
	"net"
	"testing"
	"time"

	"millrace/engine"
)

// keeper keeps the first connection it accepts.
type keeper struct {
	engine.Handler
	got chan *engine.Conn
}

func (k keeper) OnAccept(io *engine.Conn) engine.Handler {
	k.got <- io
	return k
}

func (k keeper) OnEOF()                     {}
func (k keeper) OnClose(engine.CloseReason) {}

// TestGateAllocatesNothing: what a listener does for each connection besides its filters.
func TestGateAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	r := start(t, whole([]string{says("a", "127.0.0.1:0", "x", `"connection_limit": 5,`, "")}))
	addr, err := engine.ParseAddr("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := engine.Listen(addr, engine.ListenerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	k := keeper{got: make(chan *engine.Conn, 1)}
	bound, err := engine.LocalAddr(fd)
	if err != nil {
		t.Fatal(err)
	}
	on := func(f func(w *worker)) {
		each(r.Server, func(w *worker) bool {
			if w.loop.Index() == 0 {
				f(w)
			}
			return true
		})
	}
	on(func(w *worker) {
		if _, err := w.loop.AddListener(fd, engine.ListenerOptions{}, k); err != nil {
			t.Error(err)
		}
	})
	c, err := net.DialTimeout("tcp", bound.String(), waitMax)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io := <-k.got
	on(func(w *worker) {
		g := w.serving["a"].gate
		if n := testing.AllocsPerRun(1000, func() {
			if !g.Admit(io) {
				t.Error("not admitted")
			}
			g.Left(io, nil)
		}); n > 0 {
			t.Errorf("a connection costs %v allocations", n)
		}
	})
	on(func(w *worker) { // the turn is over
		g := w.serving["a"].gate
		if h := g.stats.CxPerEvent.Snapshot(); h.Count != 1 || h.Sum < 1000 || g.accepted != 0 {
			t.Errorf("%d turns accepted %d connections, and %d not counted; want 1 and 1000", h.Count, h.Sum, g.accepted)
		}
	})
}

// TestBirths: a connection is as old as its slot says, also when the milliseconds have wrapped.
func TestBirths(t *testing.T) {
	t.Parallel()
	var b births
	for _, tt := range []struct {
		slot      uint32
		born, now time.Duration
		want      time.Duration
	}{
		{3, time.Second, 3 * time.Second, 2 * time.Second},
		{0, time.Second, time.Second, 0},
		{3, 49*24*time.Hour + 17*time.Hour, 49*24*time.Hour + 18*time.Hour, time.Hour}, // 2^32 ms lie in between
	} {
		b.set(tt.slot, int64(tt.born))
		if got := b.age(tt.slot, int64(tt.now)); got != tt.want {
			t.Errorf("age of slot %d born at %v is %v at %v, want %v", tt.slot, tt.born, got, tt.now, tt.want)
		}
	}
}
