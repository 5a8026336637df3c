package router

import (
	"millrace/codec"
	"millrace/filters"
)

// hedge is an attempt beside the first one of its request, with a head of its own for the response.
//
// An attempt that runs out of time stays under way, late, and a retry begins beside it. The first response that asks for no
// retry is the one for the client; with it the other attempts are given up. A response that asks for a retry is passed
// over while another attempt is under way or due, and so is a reset: what was late has had its retry.
type hedge struct {
	attempt
	response codec.ResponseHead
	next     *hedge // in request.beside or Router.spare
}

// hedgesSpareMax is how many hedges a router keeps for reuse.
const hedgesSpareMax = 64

// another returns an attempt that is not under way.
func (rq *request) another() *attempt {
	if rq.first.state == attemptIdle {
		return &rq.first
	}
	r := rq.router
	h := r.spare
	if h == nil {
		h = &hedge{}
	} else {
		r.spare = h.next
		r.spareLen--
	}
	h.response.Reset()
	h.init(rq, &h.response)
	h.next, rq.beside = rq.beside, h
	return &h.attempt
}

// hedge lets an attempt go on that is out of time, and begins another beside it, if a retry is left.
func (rq *request) hedge(a *attempt) {
	a.late, a.deadline, a.idleAt = true, 0, 0
	a.judgeTimeout()
	if rq.mayRetry() {
		rq.backOff(0, true)
		return
	}
	rq.rearm()
}

// startBeside begins an attempt while others are under way.
func (rq *request) startBeside(a *attempt) {
	if rq.pick(a) == filters.Continue {
		a.start()
	}
}

// hopes reports whether there may be a response by another attempt than a.
func (rq *request) hopes(a *attempt) bool {
	if rq.retryAt != 0 || a != &rq.first && rq.first.alive() {
		return true
	}
	return rq.beside != nil && (&rq.beside.attempt != a || rq.beside.next != nil)
}

// passOver gives up a response that asks for a retry, if there may be a better one.
func (rq *request) passOver(a *attempt) bool {
	if !rq.hopes(a) {
		return false
	}
	a.host.RqError.Add(1)
	a.head.Reset()
	rq.forget(a)
	return true
}

// forget gives an attempt up of which nothing is wanted any more.
func (rq *request) forget(a *attempt) {
	a.cancel()
	for at := &rq.beside; *at != nil; at = &(*at).next {
		if h := *at; &h.attempt == a {
			*at = h.next
			rq.router.keep(h)
			break
		}
	}
	if rq.cur != a {
		return
	}
	if rq.cur = &rq.first; !rq.first.alive() && rq.beside != nil {
		rq.cur = &rq.beside.attempt
	}
}

// keep keeps a hedge for another request.
func (r *Router) keep(h *hedge) {
	if r.spareLen < hedgesSpareMax {
		h.rq, h.host = nil, nil
		h.next, r.spare = r.spare, h
		r.spareLen++
	}
}

// settle makes a the attempt that counts, and gives up the others.
func (rq *request) settle(a *attempt, now int64) {
	rq.retryAt = 0
	releaseRetry(&rq.budget)
	releaseRetry(&a.budget)
	if a != &rq.first && rq.first.alive() {
		rq.lose(&rq.first, now)
	}
	for h := rq.beside; h != nil; {
		loser := h
		if h = h.next; &loser.attempt != a {
			rq.lose(&loser.attempt, now)
		}
	}
	if rq.cur != a {
		rq.cur = a
		a.describe(&rq.stream.Info)
	}
}

// lose gives up an attempt that another one was faster than.
func (rq *request) lose(a *attempt, now int64) {
	if a.state == attemptSent {
		a.observe(now)
	}
	rq.forget(a)
}
