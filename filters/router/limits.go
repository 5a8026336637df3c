package router

import (
	"time"

	"millrace/codec"
	"millrace/codec/ascii"
	"millrace/filters/route"
)

// tryLimits is what route and request allow: how long, how often, and on what.
type tryLimits struct {
	timeout time.Duration // of the whole response, 0 none
	perTry  time.Duration // of one attempt, 0 none
	idle    time.Duration // without a byte of one attempt, 0 none
	policy  *route.RetryPolicy
	extra   *route.RetryExtra // nil for none
	on      route.RetryOn
	retries int
	grpc    bool // timeout is that of grpc-timeout, and counts from the head of the request
	hedge   bool // an attempt that is out of time goes on beside the next one
	alt     bool // a timeout is answered with 204
}

// expectedMs is the value of x-envoy-expected-rq-timeout-ms, 0 for none. left is what is left of the timeout.
func (l *tryLimits) expectedMs(left time.Duration) uint64 {
	d := l.perTry
	if l.hedge || d == 0 {
		d = l.timeout
	}
	if l.timeout > 0 && d > 0 {
		d = max(min(d, left), time.Millisecond)
	}
	return uint64(d / time.Millisecond)
}

// readLimits joins the route's policy with the request's x-envoy-* fields, which it removes. The
// connection manager has removed them already where the client may not set them.
func (rq *request) readLimits() (l tryLimits) {
	rt, h := rq.stream.Route, &rq.stream.Request
	l.timeout, l.hedge = rt.Timeout, rt.HedgeOnPerTryTimeout
	if p := rt.Retry; p != nil {
		l.policy, l.on, l.retries, l.perTry, l.idle = p, p.On, int(p.NumRetries), p.PerTryTimeout, p.PerTryIdleTimeout
	}
	if d, ok := rt.GRPCTimeout(h); ok {
		l.timeout, l.grpc = d, true
	}
	if h.HasAny(steering) {
		rq.steer(&l)
	}
	if l.on != 0 && !l.policy.Applies(h) {
		l.on = 0
	}
	if l.timeout > 0 && l.perTry >= l.timeout {
		l.perTry = 0
	}
	if l.on == 0 {
		l.retries = 0
	}
	l.hedge = l.hedge && l.on != 0 && !h.Upgrade && h.Method() != codec.MethodCONNECT
	return l
}

// steering are the fields by which a request says itself how it is to be tried.
var steering = codec.SetOf(
	codec.FieldXEnvoyRetryOn, codec.FieldXEnvoyRetryGrpcOn, codec.FieldXEnvoyMaxRetries,
	codec.FieldXEnvoyRetriableStatusCodes, codec.FieldXEnvoyRetriableHeaderNames,
	codec.FieldXEnvoyUpstreamRqTimeoutMs, codec.FieldXEnvoyUpstreamRqPerTryTimeoutMs,
	codec.FieldXEnvoyUpstreamRqTimeoutAltResponse, codec.FieldXEnvoyHedgeOnPerTryTimeout,
	codec.FieldXEnvoyUpstreamAltStatName,
)

// steer takes what the request says itself into l.
func (rq *request) steer(l *tryLimits) {
	h := &rq.stream.Request
	if ms, ok := takeInt(h, codec.FieldXEnvoyUpstreamRqTimeoutMs); ok {
		l.timeout, l.grpc = time.Duration(ms)*time.Millisecond, false
	}
	if ms, ok := takeInt(h, codec.FieldXEnvoyUpstreamRqPerTryTimeoutMs); ok {
		l.perTry = time.Duration(ms) * time.Millisecond
	}
	l.alt = h.Has(codec.FieldXEnvoyUpstreamRqTimeoutAltResponse)
	switch string(h.Get(codec.FieldXEnvoyHedgeOnPerTryTimeout)) {
	case "true":
		l.hedge = true
	case "false":
		l.hedge = false
	}
	for i := range h.Len() { // lists may come in several fields
		switch id, _, list := h.At(i); id {
		case codec.FieldXEnvoyRetryOn, codec.FieldXEnvoyRetryGrpcOn:
			on, _ := route.ParseRetryOn(list)
			l.on |= on
		case codec.FieldXEnvoyRetriableStatusCodes:
			rq.useExtra(l).AddStatuses(list)
		case codec.FieldXEnvoyRetriableHeaderNames:
			rq.useExtra(l).AddNames(list)
		}
	}
	if l.policy == nil && l.on != 0 {
		l.policy, l.retries = &route.DefaultRetryPolicy, 1
	}
	if n, ok := takeInt(h, codec.FieldXEnvoyMaxRetries); ok {
		l.retries = int(min(n, retriesMax))
	}
	for _, id := range [...]codec.FieldID{
		codec.FieldXEnvoyRetryOn, codec.FieldXEnvoyRetryGrpcOn, codec.FieldXEnvoyRetriableStatusCodes,
		codec.FieldXEnvoyRetriableHeaderNames, codec.FieldXEnvoyHedgeOnPerTryTimeout,
		codec.FieldXEnvoyUpstreamRqTimeoutAltResponse, codec.FieldXEnvoyUpstreamAltStatName,
	} {
		h.Remove(id)
	}
}

// useExtra returns what the request calls worth a retry, empty the first time.
func (rq *request) useExtra(l *tryLimits) *route.RetryExtra {
	if l.extra == nil {
		if rq.extra == nil {
			rq.extra = &route.RetryExtra{}
		}
		rq.extra.Reset()
		l.extra = rq.extra
	}
	return l.extra
}

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
