package router

import (
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/upstream/pool"
)

// armResponse sets the deadline of the whole response, once: it includes all attempts.
func (rq *request) armResponse() {
	if rq.deadline == 0 && rq.limits.timeout > 0 && rq.stream.Ended(filters.Request) {
		rq.deadline = rq.stream.Now() + int64(rq.limits.timeout)
		rq.rearm()
	}
}

// rearm sets the timer to the earliest of what is waited for.
func (rq *request) rearm() {
	at := earlier(earlier(rq.deadline, rq.retryAt), rq.first.due())
	for h := rq.beside; h != nil; h = h.next {
		at = earlier(at, h.due())
	}
	if at != 0 {
		rq.router.loop.Wheel().Set(&rq.timer, at)
	}
}

// due returns when the attempt is out of time, 0 for never.
func (a *attempt) due() int64 { return earlier(a.deadline, a.idleAt) }

// isDue reports whether it is.
func (a *attempt) isDue(now int64) bool { at := a.due(); return at != 0 && now >= at }

// earlier returns the earlier of two times, of which 0 is never.
func earlier(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// OnTimer implements timer.Firer.
func (rq *request) OnTimer(now int64) {
	if rq.stream == nil {
		return
	}
	before := rq.enter()
	rq.onTime(now)
	rq.leave(before)
}

func (rq *request) onTime(now int64) {
	switch {
	case rq.deadline != 0 && now >= rq.deadline:
		rq.responseTimeOut(now)
	case rq.retryAt != 0 && now >= rq.retryAt:
		rq.retry()
	case rq.first.isDue(now):
		rq.tryTimeOut(&rq.first, now)
	default:
		for h := rq.beside; h != nil; h = h.next {
			if h.isDue(now) {
				rq.tryTimeOut(&h.attempt, now)
				return
			}
		}
		rq.rearm()
	}
}

// responseTimeOut ends a request whose time is over.
func (rq *request) responseTimeOut(now int64) {
	rq.cluster.Stats.RqTimeout.Inc()
	rq.first.outOfTime(now)
	for h := rq.beside; h != nil; h = h.next {
		h.outOfTime(now)
	}
	rq.timeOut("upstream_response_timeout")
}

// outOfTime counts an attempt that is under way when the time of its request, or its own, is over. Outlier detection hears of it
// once.
func (a *attempt) outOfTime(now int64) {
	if a.state == attemptIdle {
		return
	}
	a.host.RqTimeout.Add(1)
	if a.state != attemptSent {
		return
	}
	if !a.late {
		a.judgeTimeout()
	}
	a.observe(now)
}

// tryTimeOut ends an attempt that is out of time. It counts as a reset for the retry policy.
func (rq *request) tryTimeOut(a *attempt, now int64) {
	idle := a.deadline == 0 || now < a.deadline
	if idle && a.x.Paused() { // by us: the host is not to blame
		a.moved()
		rq.rearm()
		return
	}
	if rq.limits.hedge && a.state == attemptSent {
		rq.hedge(a)
		return
	}
	counter, details := &rq.cluster.Stats.RqPerTryTimeout, "upstream_per_try_timeout"
	if idle {
		counter, details = &rq.cluster.Stats.RqPerTryIdleTimeout, "upstream_per_try_idle_timeout"
	}
	counter.Inc()
	a.outOfTime(now)
	releaseRetry(&a.budget)
	if coversReset(rq.limits.on, pool.LocalClose, true) && rq.mayRetry() {
		rq.forget(a)
		rq.backOff(0, true)
		return
	}
	rq.timeOut(details)
}

// timeOut answers a request that is out of time, or breaks the response off if it has begun.
func (rq *request) timeOut(details string) {
	s := rq.stream
	s.Info.Flags |= accesslog.FlagUpstreamRequestTimeout
	if rq.respHead {
		s.Down().ResetResponse(details)
		return
	}
	reply := *rq.limits.timeoutReply()
	rq.cluster.Stats.CountCode(reply.Status, s.Info.Internal)
	reply.Details = details
	if rq.limits.grpc {
		reply.GRPCStatus = filters.GRPCDeadlineExceeded
	}
	s.ReplyWith(reply)
}

// timeoutReply returns the answer to a request that is out of time, but for its details.
func (l *tryLimits) timeoutReply() *filters.LocalReply {
	if l.alt {
		return &altTimeoutReply
	}
	return &timeoutReply
}

var (
	timeoutReply    = filters.LocalReply{Status: 504, Body: "upstream request timeout"}
	altTimeoutReply = filters.LocalReply{Status: 204}
)
