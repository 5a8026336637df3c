package timer

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const tick = int64(1) << tickShift

type probe struct {
	Timer
	fired []int64
	then  func(now int64)
}

func newProbe() *probe {
	p := &probe{}
	p.Init(p)
	return p
}

func (p *probe) OnTimer(now int64) {
	p.fired = append(p.fired, now)
	if p.then != nil {
		p.then(now)
	}
}

// For any sets, moves, stops and leaps of the clock: each timer fires once per setting,
// never early, and at the first Advance a tick or more after its time; Next never leads past one.
func TestWheelProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now := rapid.Int64Range(1, 1<<50).Draw(t, "start")
		w := NewWheel(now)
		probes := make([]*probe, 8)
		want := make([]int64, len(probes)) // when each is to fire, 0 when stopped
		for i := range probes {
			probes[i] = newProbe()
		}
		// Spans that reach each level of the wheel, and beyond it.
		span := rapid.OneOf(
			rapid.Int64Range(0, 100*tick), rapid.Int64Range(0, 1<<40), rapid.Int64Range(0, 1<<53),
			rapid.SampledFrom([]int64{0, 1, tick - 1, tick, 63 * tick, 64 * tick, 65 * tick, 4095 * tick, 4096 * tick, spanTicks * tick}))
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			i := rapid.IntRange(0, len(probes)-1).Draw(t, "timer")
			switch rapid.IntRange(0, 4).Draw(t, "op") {
			case 0, 1:
				want[i] = now + span.Draw(t, "after")
				w.Set(&probes[i].Timer, want[i])
			case 2:
				probes[i].Stop()
				want[i] = 0
			case 3:
				w.Unlink(&probes[i].Timer)
				want[i] = 0
			case 4:
				leap := span.Draw(t, "leap")
				if next := w.Next(now); rapid.Bool().Draw(t, "as told") && next != None {
					leap = next
				}
				now += leap
				w.Advance(now)
				for k, p := range probes {
					due := want[k] != 0 && want[k] <= now
					switch {
					case len(p.fired) > 1 || len(p.fired) == 1 && !due:
						t.Fatalf("timer %d for %d fired at %d", k, want[k], p.fired)
					case len(p.fired) == 0 && want[k] != 0 && want[k]+2*tick <= now:
						t.Fatalf("timer %d for %d has not fired at %d", k, want[k], now)
					}
					if len(p.fired) == 1 {
						p.fired, want[k] = nil, 0
					}
				}
			}
			next := w.Next(now)
			for k, at := range want {
				if at != 0 && next > max(at-now, 0)+2*tick {
					t.Fatalf("Next = %d with timer %d due in %d", next, k, at-now)
				}
				if probes[k].At() != at {
					t.Fatalf("At = %d, want %d", probes[k].At(), at)
				}
			}
		}
	})
}

func TestWheelLazy(t *testing.T) {
	t.Parallel()
	now := int64(time.Hour)
	w := NewWheel(now)
	p := newProbe()
	for i := range int64(1000) {
		w.Set(&p.Timer, now+i*int64(time.Second))
	}
	place := p.link
	w.Set(&p.Timer, now+int64(time.Hour))
	if p.link != place || w.Len() != 1 {
		t.Error("a timer set to a later time was moved")
	}
	w.Set(&p.Timer, now+tick)
	w.Advance(now + 2*tick)
	if len(p.fired) != 1 {
		t.Errorf("a timer set to an earlier time fired %d times, want once", len(p.fired))
	}
}

// A Firer may do anything to any timer, also of the slot that is firing.
func TestWheelChangesWhileFiring(t *testing.T) {
	t.Parallel()
	now := int64(time.Hour)
	w := NewWheel(now)
	var order []int
	ps := make([]*probe, 5)
	for i := range ps {
		ps[i] = newProbe()
		w.Set(&ps[i].Timer, now+tick)
	}
	for i := range ps {
		ps[i].then = func(int64) {
			order = append(order, i)
			if len(order) == 1 { // whichever comes first
				w.Unlink(&ps[(i+1)%5].Timer)
				ps[(i+2)%5].Stop()
				w.Set(&ps[(i+3)%5].Timer, now+10*tick)
				w.Set(&ps[i].Timer, 1) // in the past: at the next Advance
			}
		}
	}
	w.Advance(now + 3*tick)
	first := order[0]
	if len(order) != 3 || order[2] != first && order[1] != first {
		// The first and the one nobody touched, then the first again, as its new time
		// lies within the span advanced.
		t.Errorf("fired %v", order)
	}
	w.Advance(now + 20*tick)
	slices.Sort(order)
	want := []int{first, first, (first + 3) % 5, (first + 4) % 5}
	slices.Sort(want)
	if !slices.Equal(order, want) {
		t.Errorf("fired %v in the end, want %v", order, want)
	}
}

// After a panic of one owner the next Advance goes on with the others.
func TestWheelPanic(t *testing.T) {
	t.Parallel()
	now := int64(time.Hour)
	w := NewWheel(now)
	ps := make([]*probe, 3)
	for i := range ps {
		ps[i] = newProbe()
		w.Set(&ps[i].Timer, now+tick)
	}
	ps[1].then = func(int64) { panic("boom") }
	advance := func() (v any) {
		defer func() { v = recover() }()
		w.Advance(now + 2*tick)
		return nil
	}
	if advance() == nil {
		t.Error("the panic was swallowed")
	}
	if advance() != nil || w.Len() != 0 {
		t.Errorf("%d timers left", w.Len())
	}
	for i, p := range ps {
		if len(p.fired) != 1 {
			t.Errorf("timer %d fired %d times, want once", i, len(p.fired))
		}
	}
}

func TestWheelNext(t *testing.T) {
	t.Parallel()
	now := int64(time.Hour)
	w := NewWheel(now)
	if got := w.Next(now); got != None {
		t.Errorf("Next of an empty wheel = %d", got)
	}
	p := newProbe()
	w.Set(&p.Timer, now+int64(50*time.Millisecond))
	if got := w.Next(now); got < int64(49*time.Millisecond) || got > int64(52*time.Millisecond) {
		t.Errorf("Next = %v, want about 50ms", time.Duration(got))
	}
	if got := w.Next(now + int64(time.Second)); got != 0 {
		t.Errorf("Next when overdue = %d, want 0", got)
	}
}

// BenchmarkWheelSetLater is what a request pays to push its deadline.
func BenchmarkWheelSetLater(b *testing.B) {
	w := NewWheel(int64(time.Hour))
	p := newProbe()
	at := int64(2 * time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		at++
		w.Set(&p.Timer, at)
	}
}

// BenchmarkWheelAdvance is what a turn pays with 10,000 idle deadlines.
func BenchmarkWheelAdvance(b *testing.B) {
	now := int64(time.Hour)
	w := NewWheel(now)
	for i := range 10_000 {
		w.Set(&newProbe().Timer, now+int64(time.Hour)+int64(i)*tick)
	}
	b.ReportAllocs()
	for b.Loop() {
		now += 10_000
		w.Advance(now)
		w.Next(now)
	}
}
