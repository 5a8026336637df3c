package router

import (
	"millrace/codec"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/filters/route"
	"millrace/upstream"
	"millrace/upstream/pool"
)

// wantsRetry reports whether the policy asks for another try after a response.
func (rq *request) wantsRetry(h *codec.ResponseHead) bool {
	return rq.limits.on != 0 && rq.limits.policy.WantsResponse(rq.limits.on, h)
}

// retryResponse gives a response up for another try, if one is left.
func (rq *request) retryResponse(a *attempt) bool {
	rq.releaseRetry(&a.counted)
	if !rq.mayRetry() {
		return false
	}
	rq.cluster.Stats.RetryCodes.Inc(a.head.Status)
	a.host.RqError.Add(1)
	a.head.Reset()
	a.cancel()
	rq.backOff()
	return true
}

// retryReset begins another try after a reset, if one is allowed and left.
func (rq *request) retryReset(a *attempt, why pool.ResetReason) bool {
	if rq.retryFree(a, why) {
		return true
	}
	a.judgeReset(why)
	rq.releaseRetry(&a.counted)
	if !a.resetCounts(why) || !rq.mayRetry() {
		return false
	}
	a.host.RqError.Add(1)
	a.cancel()
	rq.backOff()
	return true
}

// retryFree sends the request again, at once, free of charge, and once, when the try before it was none.
func (rq *request) retryFree(a *attempt, why pool.ResetReason) bool {
	s := rq.stream
	if rq.freeUsed || !a.isStale(why) && why != pool.RefusedStream {
		return false
	}
	if !s.Request.BodyNone() && !rq.keepBody || s.Request.Upgrade {
		return false // the body is gone
	}
	rq.freeUsed = true
	a.state, a.again, a.fresh = attemptIdle, true, why != pool.RefusedStream
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
func (a *attempt) isStale(why pool.ResetReason) bool {
	if why != pool.ConnectionTermination || !a.x.Reused() || a.x.BytesReceived() > 0 {
		return false
	}
	return !a.x.Written() || a.rq.stream.Request.Method().Idempotent()
}

// resetCounts reports whether the policy covers a reset.
func (a *attempt) resetCounts(why pool.ResetReason) bool {
	on := a.rq.limits.on
	switch why {
	case pool.ConnectFailure, pool.ConnectTimeout:
		return on&(route.RetryConnectFailure|route.Retry5xx|route.RetryGatewayError|route.RetryReset|route.RetryResetBeforeRequest) != 0
	case pool.Overflow, pool.PendingTimeout:
		return false
	case pool.RefusedStream:
		// "Requests that have not been processed have not failed; clients MAY automatically retry them, even those with
		// non-idempotent methods." RFC 9113 section 8.7
		return on&(route.RetryRefusedStream|route.Retry5xx|route.RetryGatewayError|route.RetryReset|route.RetryResetBeforeRequest) != 0
	default:
		return on&(route.Retry5xx|route.RetryGatewayError|route.RetryReset) != 0 ||
			on&route.RetryResetBeforeRequest != 0 && !a.x.Written()
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
	rq.retries--
	if !rq.budget().TryRetry() {
		st.RqRetryOverflow.Inc()
		s.Info.Flags |= accesslog.FlagUpstreamOverflow
		return false
	}
	rq.counted = true
	st.RqRetry.Inc()
	return true
}

// budget returns the retry budget of the stream's priority.
func (rq *request) budget() *upstream.Budget {
	return rq.cluster.Shared().Budgets[rq.stream.Route.Priority]
}

// releaseRetry gives a retry back to the budget, if it is counted.
func (rq *request) releaseRetry(counted *bool) {
	if *counted {
		*counted = false
		rq.budget().ReleaseRetry()
	}
}

// backOff waits a random time before the next attempt: exponential, with full jitter.
func (rq *request) backOff() {
	most := rq.limits.policy.BackOff(uint32(rq.attempts))
	rq.cluster.Stats.RqRetryBackoff.Inc()
	rq.retryAt = rq.stream.Now() + rq.router.loop.Rand().Int64N(max(1, int64(most)))
	rq.rearm()
}

// retry begins the attempt that is due.
func (rq *request) retry() {
	rq.retryAt = 0
	rq.first.counted, rq.counted = rq.counted, false
	rq.stream.Down().Retry()
}
