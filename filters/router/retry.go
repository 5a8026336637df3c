package router

import (
	"time"

	"millrace/codec"
	"millrace/codec/ascii"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/filters/route"
	"millrace/upstream"
	"millrace/upstream/pool"
)

// tryLimits is what route and request allow: how long, how often, and on what.
type tryLimits struct {
	timeout time.Duration // of the whole response, 0 none
	perTry  time.Duration // of one try, 0 none
	policy  *route.RetryPolicy
	on      route.RetryOn
	retries int
	grpc    bool // timeout is that of grpc-timeout, and counts from the head of the request
}

// expectedMs is the value of x-envoy-expected-rq-timeout-ms, 0 for none.
func (l *tryLimits) expectedMs() uint64 {
	d := l.timeout
	if l.perTry > 0 {
		d = l.perTry
	}
	return uint64(d / time.Millisecond)
}

// readLimits joins the route's policy with the request's x-envoy-* fields, which it removes. The
// connection manager has removed them already where the client may not set them.
func (rq *request) readLimits() (l tryLimits) {
	rt, h := rq.stream.Route, &rq.stream.Request
	l.timeout = rt.Timeout
	if p := rt.Retry; p != nil && p.Applies(h) {
		l.policy, l.on, l.retries, l.perTry = p, p.On, int(p.NumRetries), p.PerTryTimeout
	}
	if d, ok := rt.GRPCTimeout(h); ok {
		l.timeout, l.grpc = d, true
	}
	if ms, ok := takeInt(h, codec.FieldXEnvoyUpstreamRqTimeoutMs); ok {
		l.timeout, l.grpc = time.Duration(ms)*time.Millisecond, false
	}
	if ms, ok := takeInt(h, codec.FieldXEnvoyUpstreamRqPerTryTimeoutMs); ok {
		l.perTry = time.Duration(ms) * time.Millisecond
	}
	for _, id := range retryFields {
		if !h.Has(id) {
			continue
		}
		on, _ := route.ParseRetryOn(h.Get(id))
		h.Remove(id)
		l.on |= on
		if l.policy == nil && on != 0 {
			l.policy, l.retries = &route.DefaultRetryPolicy, 1
		}
	}
	if n, ok := takeInt(h, codec.FieldXEnvoyMaxRetries); ok {
		l.retries = int(min(n, retriesMax))
	}
	if l.timeout > 0 && l.perTry >= l.timeout {
		l.perTry = 0
	}
	if l.on == 0 {
		l.retries = 0
	}
	return l
}

// retryFields are the fields in which a request asks for retries.
var retryFields = [...]codec.FieldID{codec.FieldXEnvoyRetryOn, codec.FieldXEnvoyRetryGrpcOn}

// retriesMax bounds x-envoy-max-retries.
const retriesMax = 100

// takeInt reads and removes a field with a number of milliseconds or the like.
func takeInt(h *codec.RequestHead, id codec.FieldID) (n int64, ok bool) {
	if !h.Has(id) {
		return 0, false
	}
	n, ok = ascii.ParseInt(h.Get(id))
	h.Remove(id)
	return min(n, int64(1<<31)), ok
}

// wantsRetry reports whether the policy asks for another try after a response.
func (rq *request) wantsRetry(h *codec.ResponseHead) bool {
	return rq.limits.on != 0 && rq.limits.policy.WantsResponse(rq.limits.on, h)
}

// retryResponse gives a response up for another try, if one is left. end says that the response is
// over anyway.
func (rq *request) retryResponse(end bool) bool {
	if !rq.mayRetry() {
		return false
	}
	h := &rq.stream.Response
	rq.cluster.Stats.RetryCodes.Inc(h.Status)
	rq.host.RqError.Add(1)
	h.Reset()
	if !end {
		rq.x.Cancel()
	}
	rq.backOff()
	return true
}

// retryReset begins another try after a reset, if one is allowed and left.
func (rq *request) retryReset(why pool.ResetReason) bool {
	if rq.retryFree(why) {
		return true
	}
	rq.judgeReset(why)
	if !rq.resetCounts(why) || !rq.mayRetry() {
		return false
	}
	rq.host.RqError.Add(1)
	rq.backOff()
	return true
}

// retryFree sends the request again, at once, free of charge, and once, when the try before it was none.
func (rq *request) retryFree(why pool.ResetReason) bool {
	s := rq.stream
	if rq.freeUsed || !rq.isStale(why) && why != pool.RefusedStream {
		return false
	}
	if !s.Request.BodyNone() && !rq.keepBody || s.Request.Upgrade {
		return false // the body is gone
	}
	rq.freeUsed, rq.fresh = true, why != pool.RefusedStream
	rq.state = stateIdle
	rq.attempts--
	rq.tried = rq.tried[:len(rq.tried)-1]
	if why == pool.RefusedStream {
		rq.cluster.Stats.RqRetryRefused.Inc()
	} else {
		rq.cluster.Stats.RqRetryStale.Inc()
	}
	s.Down().Retry()
	return true
}

// isStale reports whether a kept-alive connection turned out to be closed: "a client MAY … automatically retry a request
// on a new connection if it has means to know that the request semantics are actually idempotent", or that nothing was sent.
// RFC 9112 section 9.3.1
func (rq *request) isStale(why pool.ResetReason) bool {
	if why != pool.ConnectionTermination || !rq.x.Reused() || rq.x.BytesReceived() > 0 {
		return false
	}
	return !rq.x.Written() || rq.stream.Request.Method().Idempotent()
}

// resetCounts reports whether the policy covers a reset.
func (rq *request) resetCounts(why pool.ResetReason) bool {
	on := rq.limits.on
	switch why {
	case pool.ConnectFailure, pool.ConnectTimeout:
		return on&(route.RetryConnectFailure|route.Retry5xx|route.RetryGatewayError|route.RetryReset|route.RetryResetBeforeRequest) != 0
	case pool.Overflow:
		return false
	case pool.RefusedStream:
		// "Requests that have not been processed have not failed; clients MAY automatically retry them, even those with
		// non-idempotent methods." RFC 9113 section 8.7
		return on&(route.RetryRefusedStream|route.Retry5xx|route.RetryGatewayError|route.RetryReset|route.RetryResetBeforeRequest) != 0
	default:
		return on&(route.Retry5xx|route.RetryGatewayError|route.RetryReset) != 0 ||
			on&route.RetryResetBeforeRequest != 0 && !rq.x.Written()
	}
}

// mayRetry takes one of the retries left and one of the cluster's budget.
func (rq *request) mayRetry() bool {
	s, st := rq.stream, &rq.cluster.Stats
	if s.Started(filters.Response) || !s.Request.BodyNone() && !rq.keepBody || s.Request.Upgrade {
		return false
	}
	if rq.retries == 0 {
		if rq.limits.on != 0 {
			st.RqRetryLimit.Inc()
			s.Info.Flags |= accesslog.FlagUpstreamRetryLimitExceeded
		}
		return false
	}
	rq.releaseRetry()
	if !rq.budget().TryRetry() {
		st.RqRetryOverflow.Inc()
		s.Info.Flags |= accesslog.FlagUpstreamOverflow
		return false
	}
	rq.retrying = true
	rq.retries--
	st.RqRetry.Inc()
	return true
}

// budget returns the retry budget of the stream's priority.
func (rq *request) budget() *upstream.Budget {
	return rq.cluster.Shared().Budgets[rq.stream.Route.Priority]
}

// releaseRetry gives the retry that is under way back to the budget it came from.
func (rq *request) releaseRetry() {
	if rq.retrying {
		rq.retrying = false
		rq.budget().ReleaseRetry()
	}
}

// backOff waits a random time before the next try: exponential, with full jitter.
func (rq *request) backOff() {
	n := uint32(rq.attempts)
	most := rq.limits.policy.BackOff(n)
	rq.cluster.Stats.RqRetryBackoff.Inc()
	rq.state, rq.fresh, rq.tryDeadline = stateBackoff, false, 0
	rq.retryAt = rq.stream.Now() + rq.router.loop.Rand().Int64N(max(1, int64(most)))
	rq.rearm()
}

// armTry sets the deadline of the current try, which runs from the end of the request to the
// head of the response.
func (rq *request) armTry(now int64) {
	rq.tryDeadline = 0
	if rq.limits.perTry > 0 && rq.stream.Ended(filters.Request) {
		rq.tryDeadline = now + int64(rq.limits.perTry)
		rq.rearm()
	}
}

// armResponse sets the deadline of the whole response, once: it includes all tries.
func (rq *request) armResponse() {
	if rq.deadline == 0 && rq.limits.timeout > 0 && rq.stream.Ended(filters.Request) {
		rq.deadline = rq.stream.Now() + int64(rq.limits.timeout)
		rq.rearm()
	}
}

// rearm sets the timer to the earliest of what is waited for.
func (rq *request) rearm() {
	at := rq.deadline
	if rq.tryDeadline != 0 && (at == 0 || rq.tryDeadline < at) {
		at = rq.tryDeadline
	}
	if rq.state == stateBackoff && (at == 0 || rq.retryAt < at) {
		at = rq.retryAt
	}
	if at != 0 {
		rq.router.loop.Wheel().Set(&rq.timer, at)
	}
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
	s := rq.stream
	switch {
	case rq.deadline != 0 && now >= rq.deadline:
		rq.cluster.Stats.RqTimeout.Inc()
		if rq.host != nil {
			rq.host.RqTimeout.Add(1)
		}
		if rq.judgeTimeout(); rq.state == stateSent {
			rq.observe(now)
		}
		rq.timeOut("upstream_response_timeout")
	case rq.state == stateBackoff && now >= rq.retryAt:
		rq.state = stateIdle
		s.Down().Retry()
	case rq.tryDeadline != 0 && now >= rq.tryDeadline:
		rq.tryTimeOut()
	default:
		rq.rearm()
	}
}

// tryTimeOut gives the current try up. It counts as a reset for the retry policy.
func (rq *request) tryTimeOut() {
	rq.tryDeadline = 0
	rq.cluster.Stats.RqPerTryTimeout.Inc()
	rq.host.RqTimeout.Add(1)
	rq.judgeTimeout()
	rq.observe(rq.stream.Now())
	if rq.limits.on&(route.Retry5xx|route.RetryGatewayError|route.RetryReset) != 0 && rq.mayRetry() {
		rq.x.Cancel()
		rq.backOff()
		return
	}
	rq.timeOut("upstream_per_try_timeout")
}

// timeOut answers 504, or breaks the response off if it has begun.
func (rq *request) timeOut(details string) {
	s := rq.stream
	rq.deadline, rq.tryDeadline = 0, 0
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
