package pool

import "millrace/engine/timer"

// queueClock ends the wait of requests that have waited for max_pending_duration. One does for a pool: its queue is in
// the order of arrival, so the first one is late first.
type queueClock struct {
	timer timer.Timer
	pool  *Pool
}

// watchQueue sees to it that the clock wakes when the first one has waited too long. It may wake earlier: what is served
// in time does not stop it.
func (p *Pool) watchQueue() {
	most := p.settings.pendingMax
	if most == 0 || p.pending.head == nil {
		return
	}
	if p.clock == nil {
		p.clock = &queueClock{pool: p}
		p.clock.timer.Init(p.clock)
	}
	t, at := &p.clock.timer, p.pending.head.since+most
	if t.At() == 0 || at < t.At() {
		p.cluster.loop.Wheel().Set(t, at)
	}
}

// OnTimer implements [timer.Firer]. What owners lease anew from their OnReset begins to wait now, and stays.
func (c *queueClock) OnTimer(now int64) {
	p := c.pool
	for most := p.settings.pendingMax; most > 0; {
		x := p.pending.head
		if x == nil || x.since+most > now {
			break
		}
		p.endWait(x)
		p.cluster.Stats.RqPendingTimeout.Inc()
		p.host.RqActive.Add(-1)
		x.free()
		x.Owner.OnReset(PendingTimeout, "")
	}
	p.watchQueue()
	p.settle()
}
