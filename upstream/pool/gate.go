package pool

import (
	"slices"

	"millrace/engine"
	"millrace/upstream"
)

// gate is one loop's side of a limit of connections: which of its pools wait for room under it, and which have idle
// connections, whose end would make some.
type gate struct {
	waiters *upstream.Waiters
	member  *upstream.Member

	waiting []*seat // oldest first; each at most once
	spare   []*seat // the other array of waiting, so that no round allocates
	idle    []*seat // of pools that had idle connections, newest first; may be out of date

	pools   int // pools that use it
	retired bool
}

// seat is the place of a pool at a gate. The zero value is at none.
type seat struct {
	gate    *gate
	pool    *Pool
	waiting bool // in gate.waiting
	listed  bool // in gate.idle
}

// join makes g one of those that wait at w. retry is called when there may be room.
func (g *gate) join(l *engine.Loop, w *upstream.Waiters, retry func()) {
	shed := g.shed
	g.waiters = w
	g.member = w.Join(func() { l.Post(retry) }, func() { l.Post(shed) })
}

// sit gives p a place.
func (g *gate) sit(p *Pool) seat {
	g.pools++
	return seat{gate: g, pool: p}
}

// leave is called when a pool is done for good.
func (s *seat) leave() {
	g := s.gate
	if g == nil {
		return
	}
	g.pools--
	isS := func(t *seat) bool { return t == s }
	g.waiting = slices.DeleteFunc(g.waiting, isS)
	g.idle = slices.DeleteFunc(g.idle, isS)
	g.leaveIfDone()
}

// retire leaves the limit once no pool needs it.
func (g *gate) retire() {
	g.retired = true
	g.leaveIfDone()
}

func (g *gate) leaveIfDone() {
	if g.retired && g.pools == 0 && g.member != nil {
		g.waiters.Leave(g.member)
		g.member = nil
	}
}

// wait makes the pool one that waits. It reports false if it was that already.
func (s *seat) wait() bool {
	if s.waiting {
		return false
	}
	s.waiting = true
	s.gate.waiting = append(s.gate.waiting, s)
	return true
}

// othersWait reports whether a loop waits for a connection that this one could give up. Pools whose
// requests got other connections in the meantime no longer count.
func (g *gate) othersWait() bool {
	if g.member == nil || !g.waiters.Waiting() { // nil: what was posted to it came after it had left
		return false
	}
	g.waiting = slices.DeleteFunc(g.waiting, func(s *seat) bool {
		s.waiting = s.pool.wantsMore()
		return !s.waiting
	})
	if len(g.waiting) == 0 {
		g.waiters.StopWaiting(g.member)
	}
	return g.waiters.Waiting()
}

// retry lets the waiting pools try again, oldest first.
func (g *gate) retry() {
	round := g.waiting
	g.waiting, g.spare = g.spare[:0], nil
	for i, s := range round {
		s.waiting = false
		round[i] = nil
		s.pool.grow()
	}
	g.spare = round[:0]
}

// noteIdle counts a connection of the pool that became idle.
func (s *seat) noteIdle() {
	s.gate.member.Idle.Inc()
	if !s.listed {
		s.listed = true
		s.gate.idle = append(s.gate.idle, s)
	}
}

// shed closes one idle connection, the one that lay longest in its pool, so that a waiting pool may open one.
func (g *gate) shed() {
	if !g.othersWait() {
		return
	}
	for len(g.idle) > 0 {
		s := g.idle[len(g.idle)-1]
		if s.pool.shedIdle() {
			return
		}
		s.listed = false
		g.idle[len(g.idle)-1] = nil
		g.idle = g.idle[:len(g.idle)-1]
	}
}
