package enginetest

import (
	"testing"
	"time"

	"millrace/engine"
	"millrace/engine/internal/sys"
)

// settleTurns is how many turns Settle takes before it says that the loop spins.
const settleTurns = 200_000

// waitMax is how long Until waits in real time before it gives up.
const waitMax = 20 * time.Second

// A Loop is an engine.Loop that turns only when told to, on a clock that stands still.
type Loop struct {
	*engine.Loop

	// Faults limits reads and writes. The zero value does not.
	Faults Faults

	t   testing.TB
	now int64
}

// NewLoop makes a loop with default limits. change, if given, alters them first.
func NewLoop(t testing.TB, change ...func(*engine.LoopConfig)) *Loop {
	t.Helper()
	tl := &Loop{t: t, now: int64(time.Hour)}
	cfg := engine.DefaultLoopConfig()
	cfg.Clock = func() int64 { return tl.now }
	cfg.Faults = &tl.Faults
	for _, f := range change {
		f(&cfg)
	}
	l, err := engine.NewLoop(0, cfg)
	if err != nil {
		t.Fatalf("NewLoop: %v", err)
	}
	tl.Loop = l
	t.Cleanup(l.Close)
	return tl
}

// Step runs one turn without waiting.
func (tl *Loop) Step() {
	tl.t.Helper()
	if err := tl.Turn(0); err != nil {
		tl.t.Fatalf("Turn: %v", err)
	}
}

// Settle turns until a turn has nothing to do.
func (tl *Loop) Settle() {
	tl.t.Helper()
	for range settleTurns {
		before := tl.Stats().Events.Load()
		tl.Step()
		if tl.Stats().Events.Load() == before && !tl.Pending() {
			return
		}
	}
	tl.t.Fatalf("the loop is not idle after %d turns", settleTurns)
}

// Until turns, waiting for events, until done reports true. For what the kernel does in
// its own time, such as loopback TCP.
func (tl *Loop) Until(done func() bool) {
	tl.t.Helper()
	for end := time.Now().Add(waitMax); !done(); {
		if time.Now().After(end) {
			tl.t.Fatalf("still waiting after %v", waitMax)
		}
		if err := tl.Turn(time.Millisecond); err != nil {
			tl.t.Fatalf("Turn: %v", err)
		}
	}
}

// Advance moves the clock and settles.
func (tl *Loop) Advance(d time.Duration) {
	tl.t.Helper()
	tl.now += int64(d)
	tl.Settle()
}

// Pair makes a conn with handler h and the other end of it, a unix socket pair.
func (tl *Loop) Pair(h engine.Handler) (*engine.Conn, *Peer) {
	tl.t.Helper()
	a, b, errno := sys.SocketPair()
	if errno != 0 {
		tl.t.Fatalf("socketpair: %v", errno)
	}
	c, err := tl.Attach(a, nil, h)
	if err != nil {
		tl.t.Fatalf("Attach: %v", err)
	}
	return c, newPeer(tl.t, b)
}

// Faults is an engine.Faults a test can steer. The zero value lets everything pass.
type Faults struct {
	// ReadChunk and WriteChunk bound the bytes of one call, if positive.
	ReadChunk, WriteChunk int
	// EAGAIN makes each second call find the socket not ready.
	EAGAIN bool

	reads, writes int
}

// ReadMax implements engine.Faults.
func (f *Faults) ReadMax(want int) int {
	f.reads++
	return f.cut(want, f.ReadChunk, f.reads)
}

// WriteMax implements engine.Faults.
func (f *Faults) WriteMax(want int) int {
	f.writes++
	return f.cut(want, f.WriteChunk, f.writes)
}

func (f *Faults) cut(want, chunk, call int) int {
	if f.EAGAIN && call%2 == 1 {
		return 0
	}
	if chunk > 0 {
		return min(want, chunk)
	}
	return want
}
