package server

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"millrace/cmd/internal/config"
	"millrace/cmd/internal/control"
	"millrace/engine/stats"
)

const (
	// evenPause is how many intervals nothing is moved after a move, so that what it has brought can be measured.
	evenPause = 2
	// evenPauseMax is the longest pause, in intervals: a move that turned out to be none, or moved the load to and fro, doubles it.
	evenPauseMax = 300
	// evenForget is after how many intervals without a move the pause is the shortest again.
	evenForget = 600
)

// evenStats count what is done about uneven loops.
type evenStats struct {
	// Written by evenOut.
	Rounds             stats.Counter
	BusyMost, BusyMean stats.Gauge // percent
	// Atomic: written by the loops.
	Moved, Refused, Lost atomic.Uint64
}

// evenOut looks how busy the loops are, and makes one that stays busier than the others hand connections to the idlest.
func (s *Server) evenOut(ctx context.Context) {
	before, busy := make([]uint64, len(s.workers)), make([]float64, len(s.workers))
	e := newEvener(len(s.workers))
	read := func(took time.Duration) {
		for i, w := range s.workers {
			n := w.loop.Stats().BusyNs.Load()
			busy[i] = min(1, float64(n-before[i])/float64(max(took, 1)))
			before[i] = n
		}
	}
	last, on := time.Now(), false
	for {
		o := s.snapshot.Load().LoopBalancing
		t := time.NewTimer(max(o.Interval, time.Millisecond))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		now := time.Now()
		read(now.Sub(last))
		last = now
		s.even.BusyMean.Set(int64(100 * mean(busy)))
		s.even.BusyMost.Set(int64(100 * slices.Max(busy)))
		if !o.Enabled || !on { // the first interval may be one without clients, or without this
			on = o.Enabled
			e = newEvener(len(s.workers))
			continue
		}
		if m, ok := e.step(busy, o, s.even.Moved.Load()); ok {
			s.even.Rounds.Inc()
			s.handOut(m, o.Interval)
		}
	}
}

// handOut makes a loop hand connections over for as long as an interval.
func (s *Server) handOut(m evenMove, d time.Duration) {
	from, to := s.workers[m.from], s.workers[m.to]
	from.loop.Post(func() { from.handOut(to, m.share, d) })
}

// loopBalancing returns what the file says.
func loopBalancing(c *config.LoopBalancing) control.LoopBalancing {
	return control.LoopBalancing{
		Enabled: c.Enabled, BusyRatio: c.BusyRatio, MinBusy: c.MinBusyPercent / 100, Interval: c.Interval, Intervals: c.Intervals,
	}
}

// An evener decides which loop hands how much to which.
type evener struct {
	over  []int    // intervals in a row in which a loop was too busy
	pause int      // intervals until the next move
	long  int      // how long the next pause is
	idle  int      // intervals since the last move
	last  evenMove // the last move
	moved uint64   // connections moved in all, before the last move
	begun bool     // there was one
}

// evenMove is a share of the load of one loop for another.
type evenMove struct {
	from, to int
	share    float64
}

func newEvener(loops int) *evener { return &evener{over: make([]int, loops), long: evenPause} }

// step takes how busy the loops were in an interval, from 0 to 1. moved is how many connections have been moved in all.
func (e *evener) step(busy []float64, o control.LoopBalancing, moved uint64) (m evenMove, ok bool) {
	e.idle++
	if e.pause > 0 {
		e.pause--
		return m, false
	}
	avg, from, to := mean(busy), 0, 0
	for i, b := range busy {
		if b > o.BusyRatio*avg && b >= o.MinBusy {
			e.over[i]++
		} else {
			e.over[i] = 0
		}
		if b > busy[from] {
			from = i
		}
		if b < busy[to] {
			to = i
		}
	}
	if e.over[from] < o.Intervals {
		return m, false
	}
	switch {
	case e.begun && (moved == e.moved || from == e.last.to) && e.idle < evenForget:
		// One connection is most of the load, or what was moved came with it.
		e.long = min(2*e.long, evenPauseMax)
	default:
		e.long = evenPause
	}
	clear(e.over)
	// No more than brings either to the mean.
	m = evenMove{from, to, min(busy[from]-avg, avg-busy[to]) / busy[from]}
	e.pause, e.idle, e.last, e.moved, e.begun = e.long, 0, m, moved, true
	return m, true
}

func mean(list []float64) (sum float64) {
	for _, x := range list {
		sum += x
	}
	return sum / float64(len(list))
}

// registerEven makes known what evenOut counts.
func (s *Server) registerEven() {
	r, e := s.registry, &s.even
	counter := func(name string, f func() int64, help string) { r.Func(name, stats.KindCounter, f, help) }
	gauge := func(name string, f func() int64, help string) { r.Func(name, stats.KindGauge, f, help) }
	counter("server.loop_balance_rounds", func() int64 { return int64(e.Rounds.Load()) }, "times a loop that stayed busier than the others was told to hand connections over")
	counter("server.loop_balance_moved", func() int64 { return int64(e.Moved.Load()) }, "client connections that went to an idler loop")
	counter("server.loop_balance_refused", func() int64 { return int64(e.Refused.Load()) }, "client connections that came back, since the other loop was full or had another configuration")
	counter("server.loop_balance_lost", func() int64 { return int64(e.Lost.Load()) }, "client connections closed on the way, since neither loop could have them")
	gauge("server.loop_busy_most_percent", e.BusyMost.Load, "how busy the busiest loop was in the last interval of loop_balancing")
	gauge("server.loop_busy_mean_percent", e.BusyMean.Load, "how busy the loops were in the last interval of loop_balancing, on average")
}
