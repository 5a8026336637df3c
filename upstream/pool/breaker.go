package pool

import (
	"slices"

	"millrace/engine"
	"millrace/upstream"
)

// breaker is one loop's side of a budget: which of its pools wait for a connection.
type breaker struct {
	budget *upstream.Budget
	member *upstream.Member

	waiting []*Pool // oldest first; each at most once
	spare   []*Pool // the other array of waiting, so that no round allocates
	idle    []*Pool // pools that had idle connections, newest first; may be out of date

	pools   int // pools that use it
	retired bool
}

// newBreaker joins a budget.
func newBreaker(l *engine.Loop, budget *upstream.Budget) *breaker {
	b := &breaker{budget: budget}
	retry, shed := b.retry, b.shed
	b.member = budget.Join(func() { l.Post(retry) }, func() { l.Post(shed) })
	return b
}

// retire leaves the budget once no pool needs it.
func (b *breaker) retire() {
	b.retired = true
	b.leaveIfDone()
}

// release is called when p is done for good.
func (b *breaker) release(p *Pool) {
	b.pools--
	isP := func(q *Pool) bool { return q == p }
	b.waiting = slices.DeleteFunc(b.waiting, isP)
	b.idle = slices.DeleteFunc(b.idle, isP)
	b.leaveIfDone()
}

func (b *breaker) leaveIfDone() {
	if b.retired && b.pools == 0 && b.member != nil {
		b.budget.Leave(b.member)
		b.member = nil
	}
}

// admit reports whether p may open another connection, and counts it. The first of this loop
// to a host is always allowed. If the answer is no, p is asked again when there may be room.
func (b *breaker) admit(p *Pool) bool {
	if b.budget.TryConnection() {
		return true
	}
	if !p.connected() {
		p.cluster.Stats.CxOverflow.Inc()
		b.budget.ForceConnection()
		return true
	}
	if !p.waiting {
		p.cluster.Stats.CxOverflow.Inc()
		p.waiting = true
		b.waiting = append(b.waiting, p)
	}
	return b.budget.Wait(b.member)
}

// othersWait reports whether a loop waits for a connection that this one could give up. Pools whose
// requests got other connections in the meantime no longer count.
func (b *breaker) othersWait() bool {
	if !b.budget.Waiting() {
		return false
	}
	b.waiting = slices.DeleteFunc(b.waiting, func(p *Pool) bool {
		p.waiting = p.wantsMore()
		return !p.waiting
	})
	if len(b.waiting) == 0 {
		b.budget.StopWaiting(b.member)
	}
	return b.budget.Waiting()
}

// retry lets the waiting pools try again, oldest first.
func (b *breaker) retry() {
	round := b.waiting
	b.waiting, b.spare = b.spare[:0], nil
	for i, p := range round {
		p.waiting = false
		round[i] = nil
		p.grow()
	}
	b.spare = round[:0]
	b.budget.PassOn()
}

// shed closes one idle connection, the one that lay longest in its pool, so that a waiting pool may open one.
func (b *breaker) shed() {
	if !b.othersWait() {
		return
	}
	for len(b.idle) > 0 {
		p := b.idle[len(b.idle)-1]
		if p.shedIdle() {
			return
		}
		p.listed = false
		b.idle[len(b.idle)-1] = nil
		b.idle = b.idle[:len(b.idle)-1]
	}
}
