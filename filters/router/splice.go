package router

import "millrace/filters"

// spliceResponse lets the rest of a run of the response's body pass by, if downstream says that it may.
func (rq *request) spliceResponse() {
	n := rq.cur.x.Opaque()
	if n == 0 || !rq.stream.Down().MaySplice(n) {
		return
	}
	if rq.cur.x.SpliceTo(rq.stream.Conn(), n, rq.cur) {
		rq.stream.Down().SpliceBegun(n)
	}
}

// SpliceRequest implements filters.Terminal.
func (r *Router) SpliceRequest(s *filters.Stream, n int64) bool {
	rq, _ := s.Upstream.(*request)
	if rq != nil && rq.tunnel != nil {
		return !rq.paused && rq.tunnel.splice(s.Conn(), n)
	}
	if rq == nil || rq.keepBody || rq.mirrors != nil || rq.paused || !rq.cur.takes() {
		return false
	}
	x := &rq.cur.x
	if n < 0 {
		io := x.Conn()
		return io != nil && x.Upgraded() && s.Conn().Splice(io, -1)
	}
	return x.SpliceFrom(s.Conn(), n, false)
}

// SplicedRequest implements filters.Terminal.
func (r *Router) SplicedRequest(s *filters.Stream, n int64) {
	if rq, _ := s.Upstream.(*request); rq != nil {
		rq.cur.x.SpliceDone(n, false)
	}
}
