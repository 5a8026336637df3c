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
