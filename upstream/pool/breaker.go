package pool

import (
	"millrace/engine"
	"millrace/upstream"
)

// breaker is one loop's side of a budget.
type breaker struct {
	gate
	budget *upstream.Budget
}

// newBreaker joins a budget.
func newBreaker(l *engine.Loop, budget *upstream.Budget) *breaker {
	b := &breaker{budget: budget}
	b.join(l, &budget.Waiters, b.retryAll)
	return b
}

// retryAll lets the waiting pools try again. What they leave goes to other loops.
func (b *breaker) retryAll() {
	b.retry()
	b.budget.PassOn()
}

// hostGate is one loop's side of the limit of one host, for the pools of one priority.
type hostGate struct {
	gate
	pool *Pool // the first of them
}

// newHostGate joins those that wait for the host of p. It leaves with the last pool.
func newHostGate(p *Pool) *hostGate {
	g := &hostGate{pool: p}
	g.retired = true
	g.join(p.cluster.loop, &p.host.Room, g.retryAll)
	return g
}

func (g *hostGate) retryAll() {
	g.retry()
	g.pool.host.PassOnConnection(g.pool.settings.hostConnsMax)
}

// admit reports whether p may open another connection, and counts it. The first of this loop
// to a host is always allowed. If the answer is no, p is asked again when there may be room.
func (p *Pool) admit() bool {
	return p.admitHost() && p.admitCluster()
}

// admitHost asks the limit of the host.
func (p *Pool) admitHost() bool {
	most := p.settings.hostConnsMax
	if p.host.TryConnection(most) {
		return true
	}
	if !p.connected() {
		p.cluster.Stats.CxOverflow.Inc()
		p.host.ForceConnection()
		return true
	}
	if p.atHost.wait() {
		p.cluster.Stats.CxOverflow.Inc()
	}
	return p.host.WaitForConnection(p.atHost.gate.member, most)
}

// admitCluster asks the limit of the cluster, after that of the host.
func (p *Pool) admitCluster() bool {
	b := p.breaker
	if b.budget.TryConnection() {
		return true
	}
	if !p.connected() {
		p.cluster.Stats.CxOverflow.Inc()
		b.budget.ForceConnection()
		return true
	}
	if p.atBreaker.wait() {
		p.cluster.Stats.CxOverflow.Inc()
	}
	if b.budget.Wait(b.member) {
		return true
	}
	p.host.ReleaseConnection()
	return false
}

// sit gives p its places at the gates that its connections pass. at is the gate of its host, nil for one of its own,
// if it has one.
func (p *Pool) sit(at *gate) {
	p.atBreaker = p.breaker.gate.sit(p)
	if at == nil && p.settings.hostConnsMax > 0 {
		at = &newHostGate(p).gate
	}
	if at != nil {
		p.atHost = at.sit(p)
	}
}

// othersWait reports whether a loop waits for a connection that this one could give up.
func (p *Pool) othersWait() bool {
	return p.breaker.othersWait() || p.atHost.gate != nil && p.atHost.gate.othersWait()
}

// noteIdle counts a connection that became idle.
func (p *Pool) noteIdle() {
	p.atBreaker.noteIdle()
	if p.atHost.gate != nil {
		p.atHost.noteIdle()
	}
}

// noteBusy counts an idle connection that is not any more.
func (p *Pool) noteBusy() {
	p.breaker.member.Idle.Dec()
	if p.atHost.gate != nil {
		p.atHost.gate.member.Idle.Dec()
	}
}
