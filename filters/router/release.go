package router

// Release gives up the requests and copies kept for reuse. For a router whose chain has no connections and gets no
// more: their stopped timers would otherwise keep all of it in memory until they come up.
func (r *Router) Release() {
	for rq := r.free; rq != nil; rq = rq.nextFree {
		r.loop.Wheel().Unlink(&rq.timer)
	}
	for m := r.freeMirrors; m != nil; m = m.next {
		r.loop.Wheel().Unlink(&m.timer)
	}
	r.free, r.freeLen, r.freeMirrors, r.freeMirrorsLen = nil, 0, nil, 0
	r.spare, r.spareLen = nil, 0
}
