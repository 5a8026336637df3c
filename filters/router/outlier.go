package router

import (
	"millrace/codec"
	"millrace/codec/ascii"
	"millrace/filters"
	"millrace/upstream"
	"millrace/upstream/pool"
)

// judgeHead tells outlier detection of a response. Of a gRPC one whose trailers will say how it went nothing is told yet.
func (a *attempt) judgeHead(h *codec.ResponseHead) {
	o := a.rq.cluster.Shared().Outlier
	if o == nil {
		return
	}
	if o.Degrades() && h.Lookup("x-envoy-degraded") != nil {
		o.Degraded(a.host)
	}
	if a.rq.grpc && h.Status == 200 {
		if v := h.Lookup("grpc-status"); v != nil {
			o.Status(a.host, httpOfGRPC(v))
		}
		return
	}
	o.Status(a.host, h.Status)
}

// judgeGRPC tells how a gRPC response ended, nil if it did not say.
func (rq *request) judgeGRPC(status []byte) {
	rq.cluster.Shared().Outlier.Status(rq.cur.host, httpOfGRPC(status))
}

// httpOfGRPC returns the HTTP status of what a gRPC status field has, nil if there is none.
func httpOfGRPC(status []byte) int {
	code, ok := ascii.ParseInt(status)
	if !ok {
		code = -1
	}
	return filters.HTTPOfGRPC(code)
}

// judgeReset tells of a try that was reset, unless it was by us.
func (a *attempt) judgeReset(why pool.ResetReason) { judgeReset(a.rq.cluster, a.host, why) }

func judgeReset(c *pool.Cluster, h *upstream.Host, why pool.ResetReason) {
	o := c.Shared().Outlier
	switch why {
	case pool.Overflow, pool.PendingTimeout, pool.LocalClose:
	case pool.ConnectTimeout:
		o.TimedOut(h, 504)
	default:
		o.ConnectFailed(h)
	}
}

// judgeTimeout tells of a response that did not begin in time.
func (a *attempt) judgeTimeout() {
	a.rq.cluster.Shared().Outlier.TimedOut(a.host, a.rq.limits.timeoutReply().Status)
}

// observe tells balancing by latency how long a host has taken: until the head of its response, or until nobody waits for
// it any more.
func (a *attempt) observe(now int64) {
	if decay := a.rq.cluster.Shared().LatencyDecay; decay > 0 {
		a.host.Latency.Observe(now, (now-a.sentAt)/1000, decay)
	}
}
