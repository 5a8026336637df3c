package server

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/cmd/internal/control"
)

var evenDefaults = control.LoopBalancing{Enabled: true, BusyRatio: 1.3, MinBusy: 0.3, Intervals: 3}

// load is connections on loops, each with the share of a core that it takes.
type load struct {
	loops [][]float64
	moved uint64
}

func (l *load) busy() []float64 {
	list := make([]float64, len(l.loops))
	for i, conns := range l.loops {
		for _, c := range conns {
			list[i] += c
		}
		list[i] = min(list[i], 1)
	}
	return list
}

// move does what the loops do: those that fit into the share go, in the order in which they come to rest.
func (l *load) move(m evenMove, rng *rand.Rand) {
	from := l.loops[m.from]
	rng.Shuffle(len(from), func(i, k int) { from[i], from[k] = from[k], from[i] })
	sum := 0.0
	for _, c := range from {
		sum += c
	}
	left := m.share * sum
	var stay []float64
	for _, c := range from {
		if c > left*1.05 {
			stay = append(stay, c)
			continue
		}
		left -= c
		l.moved++
		l.loops[m.to] = append(l.loops[m.to], c)
	}
	l.loops[m.from] = stay
}

// TestEvenOut: whatever is uneven becomes even, as far as connections allow it, and then nothing moves any more.
func TestEvenOut(t *testing.T) {
	t.Parallel()
	equal := func(n int, each float64) (list []float64) {
		for range n {
			list = append(list, each)
		}
		return list
	}
	for _, tt := range []struct {
		name  string
		loops [][]float64
		even  bool // in the end no loop is 1.3 times as busy as the mean
		moves uint64
	}{
		{"all on one of two", [][]float64{equal(8, 0.1), nil}, true, 4},
		{"all on one of four", [][]float64{equal(64, 0.01), nil, nil, nil}, true, 60},
		{"more than one can do", [][]float64{equal(40, 0.05), equal(4, 0.05)}, true, 30},
		{"even", [][]float64{equal(8, 0.05), equal(9, 0.05)}, true, 0},
		{"uneven, but hardly busy", [][]float64{equal(8, 0.02), nil}, false, 0},
		{"one connection is all", [][]float64{{0.9}, nil}, false, 0},
		{"one connection is most", [][]float64{{0.8, 0.02, 0.02, 0.02}, equal(3, 0.02)}, false, 3},
		{"all kinds", [][]float64{{0.3, 0.2, 0.1, 0.1, 0.05, 0.05, 0.01, 0.01}, nil, {0.05}}, true, 12},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			l, e := &load{loops: tt.loops}, newEvener(len(tt.loops))
			lastMove, rounds := 0, 0
			const intervals = 10_000
			for i := range intervals {
				busy := l.busy()
				for k := range busy { // no two intervals are alike
					busy[k] = min(1, max(0, busy[k]*(1+0.04*rng.NormFloat64())))
				}
				if m, ok := e.step(busy, evenDefaults, l.moved); ok {
					before := l.moved
					l.move(m, rng)
					if rounds++; l.moved != before {
						lastMove = i
					}
				}
			}
			busy := l.busy()
			if got := slices.Max(busy) <= 1.3*mean(busy); got != tt.even {
				t.Errorf("busy %.2f: even is %v, want %v", busy, got, tt.even)
			}
			if l.moved > tt.moves {
				t.Errorf("%d connections moved, want at most %d", l.moved, tt.moves)
			}
			if lastMove > 200 {
				t.Errorf("a connection moved in interval %d", lastMove)
			}
			if rounds > 60 {
				t.Errorf("%d rounds in %d intervals", rounds, intervals)
			}
			t.Logf("%d moved in %d rounds, the last in interval %d: %.2f", l.moved, rounds, lastMove, busy)
		})
	}
}

// One connection that is most of the load, and is taken for a light one, is not sent to and fro: the pauses become long.
func TestEvenOutIsNotFooled(t *testing.T) {
	t.Parallel()
	e, at, moved := newEvener(2), 0, uint64(0)
	for range 5000 {
		busy := []float64{0.05, 0.05}
		busy[at] = 0.9
		if m, ok := e.step(busy, evenDefaults, moved); ok {
			at = m.to
			moved++
		}
	}
	if moved > 40 {
		t.Errorf("it moved %d times in 5000 intervals", moved)
	}
}

// A peak shorter than three intervals moves nothing, and the mean bounds what is moved.
func TestEvenStep(t *testing.T) {
	t.Parallel()
	e := newEvener(3)
	for i, busy := range [][]float64{{.9, .1, .2}, {.9, .1, .2}, {.3, .3, .3}, {.9, .1, .2}, {.9, .1, .2}} {
		if m, ok := e.step(busy, evenDefaults, 0); ok {
			t.Errorf("interval %d: %+v", i, m)
		}
	}
	m, ok := e.step([]float64{.9, .1, .2}, evenDefaults, 0)
	// The mean is 0.4: the busiest has 0.5 too much, the idlest takes 0.3 of it.
	if !ok || m.from != 0 || m.to != 1 || math.Abs(m.share-.3/.9) > 1e-9 {
		t.Errorf("step = %+v, %v; want a third from 0 to 1", m, ok)
	}
	for range evenPause + 2 {
		if m, ok := e.step([]float64{.9, .1, .2}, evenDefaults, 5); ok {
			t.Errorf("in the pause: %+v", m)
		}
	}
	if _, ok := e.step([]float64{.9, .1, .2}, evenDefaults, 5); !ok {
		t.Error("nothing after the pause")
	}
}

// TestLoopBalancingConfig: the defaults are those of the documentation, and what makes no sense is refused.
func TestLoopBalancingConfig(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		want control.LoopBalancing
		err  string
	}{
		{`{}`, control.LoopBalancing{Enabled: true, BusyRatio: 1.3, MinBusy: .3, Interval: time.Second, Intervals: 3}, ""},
		{`{"loop_balancing": {"enabled": false, "busy_ratio": 2, "min_busy_percent": 50, "interval": "5s", "intervals": 1}}`,
			control.LoopBalancing{BusyRatio: 2, MinBusy: .5, Interval: 5 * time.Second, Intervals: 1}, ""},
		{`{"loop_balancing": {"busy_ratio": 1}}`, control.LoopBalancing{}, "loop_balancing.busy_ratio"},
		{`{"loop_balancing": {"interval": "1ms"}}`, control.LoopBalancing{}, "loop_balancing.interval"},
		{`{"loop_balancing": {"intervals": 0}}`, control.LoopBalancing{}, "loop_balancing.intervals"},
		{`{"loop_balancing": {"min_busy_percent": 101}}`, control.LoopBalancing{}, "loop_balancing.min_busy_percent"},
	} {
		cfg, errs := Load("f.json", []byte(tt.text), Registry())
		switch {
		case tt.err != "":
			if !errs.Fatal() || !strings.Contains(errs.Error(), tt.err) {
				t.Errorf("Load(%s) = %v, want an error of %s", tt.text, errs, tt.err)
			}
		case errs.Fatal():
			t.Errorf("Load(%s): %v", tt.text, errs)
		case loopBalancing(&cfg.LoopBalancing) != tt.want:
			t.Errorf("Load(%s) = %+v, want %+v", tt.text, loopBalancing(&cfg.LoopBalancing), tt.want)
		}
	}
}
