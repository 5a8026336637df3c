package router

import (
	"time"

	"millrace/codec"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/filters/route"
	"millrace/upstream"
	"millrace/upstream/pool"
)

// wantsRetry reports whether the policy asks for another try after a response.
func (rq *request) wantsRetry(h *codec.ResponseHead) bool {
	return rq.limits.on != 0 && rq.limits.policy.WantsResponse(rq.limits.on, rq.limits.extra, h)
}

// retryResponse gives a response up for another try, if one is left.
func (rq *request) retryResponse(a *attempt) bool {
	releaseRetry(&a.budget)
	if a.late || !rq.mayRetry() {
		return false
	}
	rq.cluster.Stats.RetryCodes.Inc(a.head.Status)
	a.host.RqError.Add(1)
	wait, _ := rq.limits.policy.ResetWait(a.head, time.Duration(rq.router.loop.Unix()))
	a.head.Reset()
	rq.forget(a)
	rq.backOff(wait, false)
	return true
}

// retryReset begins another try after a reset, if one is allowed and left.
func (rq *request) retryReset(a *attempt, why pool.ResetReason) bool {
	if !a.late && rq.retryFree(a, why) {
		return true
	}
	a.judgeReset(why)
	releaseRetry(&a.budget)
	if a.late || !coversReset(rq.limits.on, why, a.x.Written()) || !rq.mayRetry() {
		return false
	}
	a.host.RqError.Add(1)
	rq.forget(a)
	rq.backOff(0, false)
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
	if a != &rq.first || rq.hopes(a) {
		rq.startBeside(a)
	} else {
		s.Down().Retry()
	}
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

// coversReset reports whether the conditions on ask for a retry after a reset. written says that something of the request may have
// reached the host.
func coversReset(on route.RetryOn, why pool.ResetReason, written bool) bool {
	const any = route.Retry5xx | route.RetryGatewayError | route.RetryReset
	switch why {
	case pool.Overflow, pool.PendingTimeout:
		return false
	case pool.ConnectFailure, pool.ConnectTimeout:
		return on&(any|route.RetryConnectFailure|route.RetryResetBeforeRequest) != 0
	case pool.RefusedStream:
		// "Requests that have not been processed have not failed; clients MAY automatically retry them, even those with
		// non-idempotent methods." RFC 9113 section 8.7
		return on&(any|route.RetryRefusedStream|route.RetryResetBeforeRequest) != 0
	default:
		return on&any != 0 || on&route.RetryResetBeforeRequest != 0 && !written
	}
}

// mayRetry takes one of the retries left and one of the cluster's budget.
func (rq *request) mayRetry() bool {
	s, st := rq.stream, &rq.cluster.Stats
	if rq.retryAt != 0 || s.Started(filters.Response) || !s.Request.BodyNone() && !rq.keepBody || s.Request.Upgrade {
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
	b := rq.cluster.Shared().Budgets[s.Route.Priority]
	if !b.TryRetry() {
		st.RqRetryOverflow.Inc()
		s.Info.Flags |= accesslog.FlagUpstreamOverflow
		return false
	}
	rq.budget = b
	st.RqRetry.Inc()
	return true
}

// releaseRetry gives a retry back to the budget that it is counted against, if it is.
func releaseRetry(b **upstream.Budget) {
	if *b != nil {
		(*b).ReleaseRetry()
		*b = nil
	}
}

// backOff waits before the next attempt: as long as the response has asked for and up to half as long again, or, if that is 0, a
// random time, exponential with full jitter. timedOut says that the attempt before ran out of time.
func (rq *request) backOff(asked time.Duration, timedOut bool) {
	rng := rq.router.loop.Rand()
	wait := int64(asked)
	if asked > 0 {
		rq.cluster.Stats.RqRetryRateLimited.Inc()
		wait += rng.Int64N(wait / 2)
	} else {
		rq.cluster.Stats.RqRetryBackoff.Inc()
		rq.backOffs++
		wait = rng.Int64N(max(1, int64(rq.limits.policy.BackOff(rq.backOffs))))
	}
	rq.retryAt, rq.timedOut = rq.stream.Now()+wait, timedOut
	rq.rearm()
}

// retry begins the attempt that is due.
func (rq *request) retry() {
	rq.retryAt = 0
	rq.rearm()
	a := rq.another()
	a.budget, rq.budget = rq.budget, nil
	if a != &rq.first || rq.hopes(a) {
		rq.startBeside(a)
		return
	}
	rq.stream.Down().Retry()
}

// tellRetry tells the host of a retry what has become of the attempts before.
func (rq *request) tellRetry() {
	s := rq.stream
	left := rq.limits.timeout
	if rq.deadline != 0 {
		left = time.Duration(rq.deadline - s.Now())
	}
	rq.expect(left)
	if s.Route.VirtualHost.IncludeIsTimeoutRetry {
		value := "false"
		if rq.timedOut {
			value = "true"
		}
		s.Request.SetString("x-envoy-is-timeout-retry", value)
	}
}
