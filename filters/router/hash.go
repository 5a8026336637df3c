package router

import (
	"github.com/cespare/xxhash/v2"

	"millrace/codec"
)

// hashRequest hashes the request by the policies of its route, once for all attempts.
func (rq *request) hashRequest() {
	s, r := rq.stream, rq.router
	in := r.inputOf(s)
	in.RemoteIP = s.Client
	local, remote := s.Conn().LocalAddr(), s.Conn().RemoteAddr()
	r.scratch = local.AppendTo(remote.AppendTo(r.scratch[:0]))
	rq.client = xxhash.Sum64(r.scratch)
	rq.hash, rq.hashSet, rq.cookie = s.Route.RequestHash(in, rq.client)
}

// setCookie makes the client come back to the host that its hash has chosen.
func (rq *request) setCookie() {
	r := rq.router
	r.scratch = rq.cookie.AppendSetCookie(r.scratch[:0], rq.client)
	rq.stream.Response.Add(codec.FieldSetCookie, r.scratch)
}
