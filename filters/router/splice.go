package router

import "millrace/filters"

// spliceResponse lets the rest of a run of the response's body pass by, if downstream says that it may.
func (rq *request) spliceResponse() {
	n := rq.x.Opaque()
	if n == 0 || !rq.stream.Down().MaySplice(n) {
		return
	}
	if rq.x.SpliceTo(rq.stream.Conn(), n, rq) {
		rq.stream.Down().SpliceBegun(n)
	}
}

// OnSpliced implements pool.Splicer.
func (rq *request) OnSpliced(n int64) { rq.stream.Down().Spliced(n) }

// SpliceRequest implements filters.Terminal.
func (r *Router) SpliceRequest(s *filters.Stream, n int64) bool {
	rq, _ := s.Upstream.(*request)
	if rq != nil && rq.tunnel != nil {
		return !rq.paused && rq.tunnel.splice(s.Conn(), n)
	}
	if rq == nil || rq.keepBody || rq.paused || !rq.x.Active() || rq.state < stateSent || rq.state == stateBackoff {
		return false
	}
	if n < 0 {
		io := rq.x.Conn()
		return io != nil && rq.x.Upgraded() && s.Conn().Splice(io, -1)
	}
	return rq.x.SpliceFrom(s.Conn(), n, false)
}

// SplicedRequest implements filters.Terminal.
func (r *Router) SplicedRequest(s *filters.Stream, n int64) {
	if rq, _ := s.Upstream.(*request); rq != nil {
		rq.x.SpliceDone(n, false)
	}
}
