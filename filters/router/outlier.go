package router

import (
	"millrace/codec"
	"millrace/codec/ascii"
	"millrace/filters"
	"millrace/upstream/pool"
)

// judgeHead tells outlier detection of a response. Of a gRPC one whose trailers will say how it went nothing is told yet.
func (rq *request) judgeHead(h *codec.ResponseHead) {
	o := rq.cluster.Shared().Outlier
	if o == nil {
		return
	}
	if rq.grpc && h.Status == 200 {
		if v := h.Lookup("grpc-status"); v != nil {
			o.Status(rq.host, httpOfGRPC(v))
		}
		return
	}
	o.Status(rq.host, h.Status)
}

// judgeGRPC tells how a gRPC response ended, nil if it did not say.
func (rq *request) judgeGRPC(status []byte) {
	rq.cluster.Shared().Outlier.Status(rq.host, httpOfGRPC(status))
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
func (rq *request) judgeReset(why pool.ResetReason) {
	o := rq.cluster.Shared().Outlier
	switch why {
	case pool.Overflow, pool.LocalClose:
	case pool.ConnectTimeout:
		o.TimedOut(rq.host)
	default:
		o.ConnectFailed(rq.host)
	}
}

// judgeTimeout tells of a response that did not begin in time.
func (rq *request) judgeTimeout() {
	if rq.state == stateSent && rq.host != nil {
		rq.cluster.Shared().Outlier.TimedOut(rq.host)
	}
}

// observe tells balancing by latency how long a host has taken: until the head of its response, or until nobody waits for
// it any more.
func (rq *request) observe(now int64) {
	if decay := rq.cluster.Shared().LatencyDecay; decay > 0 {
		rq.host.Latency.Observe(now, (now-rq.sentAt)/1000, decay)
	}
}
