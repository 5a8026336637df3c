package router

import (
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/filters/route"
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
	at := earlier(rq.deadline, earlier(rq.retryAt, rq.first.deadline))
	if at != 0 {
		rq.router.loop.Wheel().Set(&rq.timer, at)
	}
}

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
	case rq.first.deadline != 0 && now >= rq.first.deadline:
		rq.tryTimeOut(&rq.first, now)
	default:
		rq.rearm()
	}
}

// responseTimeOut ends a request whose time is over.
func (rq *request) responseTimeOut(now int64) {
	rq.cluster.Stats.RqTimeout.Inc()
	if a := rq.cur; a.host != nil {
		a.host.RqTimeout.Add(1)
		if a.judgeTimeout(); a.state == attemptSent {
			a.observe(now)
		}
	}
	rq.timeOut("upstream_response_timeout")
}

// tryTimeOut gives an attempt up. It counts as a reset for the retry policy.
func (rq *request) tryTimeOut(a *attempt, now int64) {
	rq.cluster.Stats.RqPerTryTimeout.Inc()
	a.host.RqTimeout.Add(1)
	a.judgeTimeout()
	a.observe(now)
	rq.releaseRetry(&a.counted)
	if rq.limits.on&(route.Retry5xx|route.RetryGatewayError|route.RetryReset) != 0 && rq.mayRetry() {
		a.cancel()
		rq.backOff()
		return
	}
	rq.timeOut("upstream_per_try_timeout")
}

// timeOut answers 504, or breaks the response off if it has begun.
func (rq *request) timeOut(details string) {
	s := rq.stream
	rq.deadline, rq.first.deadline = 0, 0
	s.Info.Flags |= accesslog.FlagUpstreamRequestTimeout
	if rq.respHead {
		s.Down().ResetResponse(details)
		return
	}
	rq.cluster.Stats.CountCode(504, s.Info.Internal)
	reply := filters.LocalReply{Status: 504, Body: "upstream request timeout", Details: details}
	if rq.limits.grpc {
		reply.GRPCStatus = filters.GRPCDeadlineExceeded
	}
	s.ReplyWith(reply)
}
