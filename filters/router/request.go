package router

import (
	"time"

	"millrace/codec"
	"millrace/engine"
	"millrace/engine/timer"
	"millrace/filters"
	"millrace/filters/route"
	"millrace/upstream"
	"millrace/upstream/pool"
)

// request is what the router keeps of one stream: its attempts, and what the next one would need. It implements
// timer.Firer.
//
// Most have one attempt at a time, which is first. Those beside it are there only while it hedges: see hedge.go.
type request struct {
	router   *Router
	nextFree *request
	timer    timer.Timer

	// Of one stream.
	stream  *filters.Stream
	cluster *pool.Cluster
	cur     *attempt // the one that began last, or whose response is passed on
	first   attempt
	beside  *hedge  // further attempts under way, linked
	mirrors *mirror // copies that the rest of the request goes to, too; linked
	tunnel  *tunnel // in place of an exchange, where the route terminates the request; else nil

	deadline int64            // of the whole response, 0 none; runs from the end of the request
	retryAt  int64            // when the next attempt begins, 0 if none is due
	budget   *upstream.Budget // that the retry that is due is counted against, else nil

	limits   tryLimits
	attempts int     // begun
	tried    []tried // of them, those that went to a host, for the log
	passFrom int     // where in tried those begin whose priorities count
	passed   upstream.Priorities
	local    engine.Addr // of its connection, if the attempt was abandoned
	retries  int         // retries left
	backOffs uint32      // exponential waits so far
	body     filters.Body
	trailers *codec.Fields

	respTrailers codec.Fields // in trailerBytes
	trailerBytes []byte

	keepBody bool // the body is kept for another attempt
	held     bool // the request waits, held, for its first connection
	paused   bool // reading of the request is paused until the upstream takes more
	freeUsed bool // the free retry has been used
	respHead bool // the head of the final response has been passed on
	grpc     bool // the request is gRPC
	grpcOpen bool // the trailers of the response will say how it went
	timedOut bool // the retry that is due, or was last, follows an attempt that ran out of time

	extra *route.RetryExtra // kept for reuse; see tryLimits

	hashSet bool              // there is a hash
	hash    uint64            // for the balancer
	client  uint64            // who the client is; only valid if there is a cookie
	cookie  *route.MadeCookie // the response sets it; or nil
}

func newRequest(r *Router) *request {
	rq := &request{router: r}
	rq.timer.Init(rq)
	return rq
}

// prepare makes the head of the request fit to be forwarded, once for all attempts.
func (rq *request) prepare() {
	s := rq.stream
	rt, h := s.Route, &s.Request
	rq.limits = rq.readLimits()
	if rt.Terminates(h) { // neither times nor tries are of use to a tunnel
		rq.limits = tryLimits{}
	}
	rq.retries = rq.limits.retries
	rq.keepBody = rq.limits.on != 0
	rq.grpc = filters.IsGRPC(h.Get(codec.FieldContentType)) && !rt.Terminates(h)
	if rq.limits.grpc && rq.limits.timeout > 0 {
		rq.deadline = s.Now() + int64(rq.limits.timeout)
		rq.rearm()
	}
	rt.ApplyRequest(h, s.Random, s.HeaderValues)
	r := rq.router
	if a, changed := rt.AppendHost(r.scratch[:0], h, s.Random); changed {
		rq.setHost(a)
		r.scratch = a[:0]
	}
	if p, changed := rt.AppendPath(r.scratch[:0], h); changed {
		if !r.suppress {
			h.Set(codec.FieldXEnvoyOriginalPath, h.Path())
		}
		h.SetPath(p)
		r.scratch = p[:0]
	}
	rq.expect(rq.limits.timeout)
	if rt.VirtualHost.IncludeIsTimeoutRetry {
		h.Remove(codec.FieldXEnvoyIsTimeoutRetry) // it is for us to say
	}
}

// expect tells the host how long its response may take; left is what is left of the timeout.
func (rq *request) expect(left time.Duration) {
	if ms := rq.limits.expectedMs(left); ms > 0 && !rq.router.suppress {
		rq.router.scratch = appendUint(rq.router.scratch[:0], ms)
		rq.stream.Request.Set(codec.FieldXEnvoyExpectedRqTimeoutMs, rq.router.scratch)
	}
}

// setHost makes a the host that the request is for, and says what it was.
func (rq *request) setHost(a []byte) {
	h := &rq.stream.Request
	if rq.stream.Route.AppendXForwardedHost {
		h.AppendTo(codec.FieldXForwardedHost, h.Authority())
	}
	if !rq.router.suppress {
		h.Set(codec.FieldXEnvoyOriginalHost, h.Authority())
	}
	h.SetAuthority(a)
}

// takeHostname makes the host that the request is for the name of the picked one. Tries after the first leave what the
// client had asked for where it is.
func (rq *request) takeHostname(name string) {
	r := rq.router
	r.scratch = append(r.scratch[:0], name...)
	switch h := &rq.stream.Request; {
	case string(h.Authority()) == name:
	case rq.attempts == 0:
		rq.setHost(r.scratch)
	default:
		h.SetAuthority(r.scratch)
	}
}

// sendData takes a piece of the request's body.
func (rq *request) sendData(b []byte, end bool) {
	if rq.tunnel != nil {
		rq.tunnel.send(b, end)
		return
	}
	if rq.mirrors != nil {
		rq.mirrorData(b, end)
	}
	if rq.keepBody && !rq.keep(b) {
		return
	}
	if a := rq.cur; a.takes() {
		a.x.SendData(b, end)
		if a.x.Full() && !rq.paused {
			rq.paused = true
			rq.stream.Down().PauseSource(filters.Request)
		}
	}
	if end {
		rq.requestComplete()
	}
}

// sendTrailers takes the trailers of the request.
func (rq *request) sendTrailers(t *codec.Fields) {
	if rq.tunnel != nil {
		rq.tunnel.send(nil, true)
		return
	}
	if rq.mirrors != nil {
		rq.mirrorTrailers(t)
	}
	if rq.keepBody {
		rq.trailers = t
	}
	if rq.cur.takes() {
		rq.cur.x.SendTrailers(t)
	}
	rq.requestComplete()
}

// requestComplete starts the clock of the response.
func (rq *request) requestComplete() {
	now := rq.stream.Now()
	rq.stream.Info.UpstreamLastTx = now
	if rq.cur.state == attemptSent {
		rq.cur.arm(now)
	}
	rq.armResponse()
}

// keep stores a piece of the body for another try, up to the buffer limit. It reports false when it has
// answered the request: another try is about to begin and would lack what cannot be kept.
func (rq *request) keep(b []byte) bool {
	s := rq.stream
	if rq.body.Len()+len(b) <= s.BufferLimit[filters.Request] && rq.body.Append(s.Loop().Arena(), b) {
		return true
	}
	rq.cluster.Stats.RetryAbandoned.Inc()
	rq.retries = 0
	rq.dropBody()
	if rq.cur.state >= attemptSent {
		return true
	}
	s.ReplyWith(keptTooMuchReply)
	return false
}

// dropBody keeps no body any more: there will be no other try.
func (rq *request) dropBody() {
	rq.keepBody = false
	rq.body.Free(rq.router.loop.Arena())
}

// takesMore goes on with the request: the upstream takes more of it.
func (rq *request) takesMore() {
	before := rq.enter()
	rq.resumeRequest()
	rq.leave(before)
}

func (rq *request) resumeRequest() {
	if rq.paused {
		rq.paused = false
		rq.stream.Down().ResumeSource(filters.Request)
	}
}

// respond passes the response of an attempt on, whose head has come.
func (rq *request) respond(a *attempt, end bool) {
	s := rq.stream
	now := s.Now()
	a.state, rq.respHead = attemptResponding, true
	a.deadline = 0
	if a.x.Upgraded() { // a tunnel may last
		rq.deadline, rq.limits.timeout = 0, 0
		rq.limits.idle, a.idleAt = 0, 0
	}
	if a.head != &s.Response {
		*a.head, s.Response = s.Response, *a.head
	}
	s.Down().OwnResponse()
	if rq.attempts > 1 || rq.retryAt != 0 {
		rq.settle(a, now)
	}
	rq.countResponse(s.Response.Status)
	rq.dropBody()
	rq.addResponseFields(now)
	s.Info.Details = "via_upstream"
	if end {
		rq.responseComplete(now)
	}
	s.Pass(filters.Response, end)
}

// takeData takes a piece of the response's body.
func (rq *request) takeData(b []byte, end bool) {
	if rq.limits.idle > 0 {
		rq.cur.moved()
	}
	info := &rq.stream.Info
	if info.UpstreamBodyRx == 0 && len(b) > 0 {
		info.UpstreamBodyRx = rq.stream.Now()
	}
	if end {
		rq.responseComplete(rq.stream.Now())
	}
	if rq.stream.PassData(filters.Response, b, end) && !end {
		rq.spliceResponse()
	}
}

// takeTrailers takes the trailers of the response.
func (rq *request) takeTrailers(t *codec.Fields) {
	if rq.grpcOpen {
		rq.judgeGRPC(t.Lookup("grpc-status"))
		rq.countGRPC(t.Lookup("grpc-status"))
	}
	rq.responseComplete(rq.stream.Now())
	rq.stream.PassTrailers(filters.Response, rq.ownTrailers(t))
}

// ownTrailers takes the trailers of the response over, whose bytes are only lent. Their old list goes back in exchange.
func (rq *request) ownTrailers(t *codec.Fields) *codec.Fields {
	own := &rq.respTrailers
	*own, *t = *t, *own
	if n := own.HeadBytes(); cap(rq.trailerBytes) < n {
		rq.trailerBytes = make([]byte, 0, max(n, trailerBytesMin))
	}
	own.Own(rq.trailerBytes)
	return own
}

// trailerBytesMin is the room for trailers that a request gets with the first ones; trailerBytesMax is what it keeps.
const (
	trailerBytesMin = 256
	trailerBytesMax = 8 << 10
)

// responseComplete counts a response that is whole.
func (rq *request) responseComplete(now int64) {
	rq.stream.Info.UpstreamLastRx = now
	rq.deadline, rq.cur.idleAt = 0, 0
	if rq.grpcOpen { // it does not say how it went
		rq.judgeGRPC(nil)
		rq.countGRPC(nil)
	}
	rq.cluster.Stats.CountTime(uint64(now-rq.cur.sentAt)/1000, rq.stream.Info.Internal)
}

// countResponse counts the final response by its status.
func (rq *request) countResponse(status int) {
	rq.cluster.Stats.CountCode(status, rq.stream.Info.Internal)
	if rq.grpc {
		switch v := rq.stream.Response.Lookup("grpc-status"); {
		case status == 200 && v == nil:
			rq.grpcOpen = true
			return
		case status == 200:
			rq.countGRPC(v)
			return
		}
		rq.cluster.Stats.GRPCFailure.Inc()
	}
	rq.countHost(status < 500)
}

// countHost counts whether a response speaks for its host.
func (rq *request) countHost(good bool) {
	if !good {
		rq.cur.host.RqError.Add(1)
		return
	}
	rq.cur.host.RqSuccess.Add(1)
	if rq.cur.place > 0 {
		rq.cluster.Stats.RqRetrySuccess.Inc()
	}
}

// countGRPC counts a response to a gRPC request by its status, nil if it has none.
func (rq *request) countGRPC(status []byte) {
	rq.grpcOpen = false
	if string(status) == "0" {
		rq.cluster.Stats.GRPCSuccess.Inc()
	} else {
		rq.cluster.Stats.GRPCFailure.Inc()
	}
	rq.countHost(status != nil && !filters.IsGRPCServerError(status))
}

// addResponseFields adds what the router says of a response.
func (rq *request) addResponseFields(now int64) {
	s, r := rq.stream, rq.router
	if !r.suppress {
		r.scratch = appendUint(r.scratch[:0], uint64(now-rq.cur.sentAt)/1e6)
		s.Response.Set(codec.FieldXEnvoyUpstreamServiceTime, r.scratch)
	}
	if s.Route.VirtualHost.IncludeAttemptCountInResponse {
		r.scratch = appendUint(r.scratch[:0], uint64(rq.attempts))
		s.Response.Set(codec.FieldXEnvoyAttemptCount, r.scratch)
	}
	if rq.cookie != nil {
		rq.setCookie()
	}
}

// reset ends an attempt without a complete response.
func (rq *request) reset(a *attempt, why pool.ResetReason, text string) {
	s := rq.stream
	s.Info.UpstreamTransportFailure = text
	if rq.respHead {
		if rq.grpcOpen {
			rq.grpcOpen = false
			rq.cluster.Stats.GRPCFailure.Inc()
		}
		rq.router.stats.ResetAfter.Inc()
		a.judgeReset(why)
		a.host.RqError.Add(1)
		s.Info.Flags |= resetFlag(why)
		s.Canceled = a.x.Canceled()
		s.Down().ResetResponse("upstream_reset_after_response_started")
		return
	}
	if rq.retryReset(a, why) {
		return
	}
	a.host.RqError.Add(1)
	if rq.hopes(a) {
		rq.forget(a)
		return
	}
	rq.cluster.Stats.CountCode(resetStatus(why), s.Info.Internal)
	rq.fail(why, a.x.Canceled())
}

// fail answers a request whose last try was reset. canceled says that the host has given it up: should the time that the client
// gives it be over, that is why.
func (rq *request) fail(why pool.ResetReason, canceled bool) {
	s := rq.stream
	if why == pool.Overflow {
		s.ReplyWith(overflowReply)
		return
	}
	reply := filters.LocalReply{
		Status: resetStatus(why), Flags: resetFlag(why), Body: resetBodies[why], Details: resetDetails[why],
		Overloaded: why == pool.PendingTimeout,
	}
	if canceled && rq.overdue() {
		reply.GRPCStatus = filters.GRPCDeadlineExceeded
	}
	s.ReplyWith(reply)
}

// overdue reports whether a gRPC request has taken longer than its client says it may, which the host's clock may be the first to see.
func (rq *request) overdue() bool {
	s := rq.stream
	d, ok := route.ParseGRPCTimeout(s.Request.Lookup("grpc-timeout"))
	return ok && d > 0 && s.Now()-s.Info.Start >= int64(d)
}

// abandon gives up what is still under way: the stream has its answer. What the log needs stays.
func (rq *request) abandon() {
	rq.local = rq.cur.x.LocalAddr()
	rq.cancel()
}

// cancel gives up what is still under way.
func (rq *request) cancel() {
	rq.first.cancel()
	for h := rq.beside; h != nil; h = h.next {
		h.cancel()
	}
	if rq.tunnel != nil {
		rq.tunnel.leave()
	}
	rq.timer.Stop()
	releaseRetry(&rq.budget)
	rq.deadline, rq.retryAt, rq.held = 0, 0, false
}

// end gives up what is still under way and takes the request back.
func (rq *request) end() {
	r := rq.router
	rq.cancel()
	for rq.beside != nil {
		rq.forget(&rq.beside.attempt)
	}
	rq.detachMirrors()
	rq.body.Free(r.loop.Arena())
	rq.respTrailers.Reset()
	if cap(rq.trailerBytes) > trailerBytesMax {
		rq.trailerBytes = nil
	}
	*rq = request{
		router: r, timer: rq.timer, first: attempt{x: rq.first.x}, body: rq.body, tried: rq.tried[:0],
		respTrailers: rq.respTrailers, trailerBytes: rq.trailerBytes, extra: rq.extra,
	}
	if r.freeLen < freeRequestsMax {
		rq.nextFree, r.free = r.free, rq
		r.freeLen++
	}
}
