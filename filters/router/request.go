package router

import (
	"math"

	"millrace/codec"
	"millrace/engine"
	"millrace/engine/timer"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/filters/route"
	"millrace/upstream"
	"millrace/upstream/pool"
)

// request is what the router keeps of one stream: the attempt under way and what the next
// one would need. It implements pool.Owner and timer.Firer.
//
//	idle ─▶ waiting ─▶ sent ─▶ responding ─▶ ended
//	  ▲        │         │
//	  └────────┴─ backoff ◀┘
type request struct {
	router   *Router
	nextFree *request
	timer    timer.Timer

	// Of one stream.
	stream  *filters.Stream
	cluster *pool.Cluster
	host    *upstream.Host
	x       pool.Exchange
	tunnel  *tunnel // in place of x, where the route terminates the request; else nil
	state   requestState

	deadline    int64 // of the whole response, 0 none; runs from the end of the request
	tryDeadline int64 // of the current try, 0 none
	retryAt     int64 // when the next try begins; only valid in stateBackoff
	sentAt      int64 // when the current try was sent

	limits   tryLimits
	attempts int         // tries begun
	tried    []tried     // of them, those that went to a host, for the log
	local    engine.Addr // of its connection, if the try was abandoned
	headSent uint32      // size of the head of the current try
	headRecv uint32      // size of the head of its response
	retries  int         // retries left
	body     filters.Body
	trailers *codec.Fields

	respTrailers codec.Fields // in trailerBytes
	trailerBytes []byte

	keepBody bool // the body is kept for another try
	held     bool // the request waits, held, for its first connection
	paused   bool // reading of the request is paused until the upstream takes more
	fresh    bool // the next try wants a new connection
	freeUsed bool // the free retry has been used
	retrying bool // a retry is counted against the budget
	respHead bool // the head of the final response has been passed on
	grpc     bool // the request is gRPC
	grpcOpen bool // the trailers of the response will say how it went

	hashSet bool              // there is a hash
	hash    uint64            // for the balancer
	client  uint64            // who the client is; only valid if there is a cookie
	cookie  *route.MadeCookie // the response sets it; or nil
}

// tried is a try as the log knows it.
type tried struct {
	host *upstream.Host
	conn uint32 // number of the connection on this loop, 0 if there was none
}

// requestState is where a request stands with its upstream.
type requestState uint8

const (
	stateIdle       requestState = iota
	stateWaiting                 // for a connection
	stateSent                    // a try is under way
	stateResponding              // the response is being passed on
	stateBackoff                 // until retryAt
	stateEnded                   // the stream was answered without it
)

func newRequest(r *Router) *request {
	rq := &request{router: r}
	rq.x.Owner = rq
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
	if ms := rq.limits.expectedMs(); ms > 0 && !r.suppress {
		r.scratch = appendUint(r.scratch[:0], ms)
		h.Set(codec.FieldXEnvoyExpectedRqTimeoutMs, r.scratch)
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
func (rq *request) takeHostname() {
	r := rq.router
	r.scratch = append(r.scratch[:0], rq.host.Hostname...)
	switch h := &rq.stream.Request; {
	case string(h.Authority()) == rq.host.Hostname:
	case rq.attempts == 0:
		rq.setHost(r.scratch)
	default:
		h.SetAuthority(r.scratch)
	}
}

// attempt leases an exchange and sends the request, or waits for a connection.
func (rq *request) attempt() filters.Verdict {
	s := rq.stream
	rq.attempts++
	s.Info.Attempts = uint8(min(rq.attempts, 255))
	s.Info.UpstreamConnect, s.Info.UpstreamHandshake = 0, 0
	rq.headSent, rq.headRecv = 0, 0
	rq.tried = append(rq.tried, tried{host: rq.host})
	prio := upstream.Priority(s.Route.Priority)
	if s.Route.VirtualHost.IncludeRequestAttemptCount {
		rq.router.scratch = appendUint(rq.router.scratch[:0], uint64(rq.attempts))
		s.Request.Set(codec.FieldXEnvoyAttemptCount, rq.router.scratch)
	}
	if s.Route.Terminates(&s.Request) {
		return rq.terminate()
	}
	switch rq.cluster.LeaseNamed(rq.serverName(), rq.host, prio, &rq.x, rq.fresh) {
	case pool.LeaseReady:
		rq.send()
		return filters.Continue
	case pool.LeasePending:
		rq.state = stateWaiting
		s.Info.UpstreamConnect = s.Now()
		rq.armResponse()
		if rq.attempts == 1 && !rq.freeUsed {
			rq.held = true
			return filters.Pause
		}
		return filters.Continue
	default:
		rq.cluster.Stats.CountCode(overflowReply.Status, s.Info.Internal)
		return s.ReplyWith(overflowReply)
	}
}

// send sends the head on the leased connection, and what is kept of the body.
func (rq *request) send() {
	s := rq.stream
	now := s.Now()
	rq.state, rq.sentAt = stateSent, now
	rq.cluster.Shared().Outlier.Connected(rq.host, false)
	s.Info.UpstreamReady, s.Info.UpstreamFirstTx = now, now
	complete := s.Ended(filters.Request)
	end := complete && rq.body.Len() == 0 && rq.trailers == nil
	rq.tried[len(rq.tried)-1].conn = rq.x.ConnID()
	rq.boundReads()
	rq.headSent = uint32(rq.x.SendHead(&s.Request, end))
	for i := 0; i < rq.body.Pieces(); i++ {
		last := i == rq.body.Pieces()-1
		rq.x.SendData(rq.body.Piece(i), last && complete && rq.trailers == nil)
	}
	if rq.body.Len() > 0 {
		s.Loop().FlushStage() // the pieces may be freed before the event ends
	}
	if rq.trailers != nil {
		rq.x.SendTrailers(rq.trailers)
	}
	rq.armTry(now)
	if complete {
		s.Info.UpstreamLastTx = now
		rq.armResponse()
	}
	if rq.paused && !rq.x.Full() { // by the try before, which tells nothing any more
		rq.resumeRequest()
	}
	if rq.held {
		rq.held = false
		s.ResumeSink(filters.Request)
	}
}

// readMin is the least that a read of a response brings, however little downstream takes: its head has to come, too.
const readMin = 4 << 10

// boundReads lets reads of the response bring no more than downstream takes now. What it does not take waits in our
// memory, and a client of HTTP/2 can have many streams of which it takes nothing.
func (rq *request) boundReads() {
	if rq.stream.Request.Version < codec.Version20 {
		return
	}
	room := rq.stream.Down().ResponseRoom()
	if room == math.MaxInt {
		room = 0
	} else {
		room = max(room, readMin)
	}
	rq.x.SetReadMax(room)
}

// sendData takes a piece of the request's body.
func (rq *request) sendData(b []byte, end bool) {
	if rq.tunnel != nil {
		rq.tunnel.send(b, end)
		return
	}
	if rq.keepBody && !rq.keep(b) {
		return
	}
	if rq.x.Active() && rq.state >= stateSent && rq.state != stateBackoff {
		rq.x.SendData(b, end)
		if rq.x.Full() && !rq.paused {
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
	if rq.keepBody {
		rq.trailers = t
	}
	if rq.x.Active() && rq.state >= stateSent && rq.state != stateBackoff {
		rq.x.SendTrailers(t)
	}
	rq.requestComplete()
}

// requestComplete starts the clock of the response.
func (rq *request) requestComplete() {
	now := rq.stream.Now()
	rq.stream.Info.UpstreamLastTx = now
	if rq.state == stateSent {
		rq.armTry(now)
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
	if rq.state == stateSent || rq.state == stateResponding {
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

// OnReady implements pool.Owner: the connection is there.
func (rq *request) OnReady() {
	before := rq.enter()
	if rq.x.Session() != nil && !rq.x.Reused() {
		rq.stream.Info.UpstreamHandshake = rq.stream.Now()
	}
	rq.send()
	rq.leave(before)
}

// enter names the downstream connection as the one that is worked for: should a filter panic while an upstream
// connection or a timer has its turn, the stream ends all the same.
func (rq *request) enter() (before *engine.Conn) { return rq.router.loop.Blame(rq.stream.Conn()) }

// leave takes back what enter said.
func (rq *request) leave(before *engine.Conn) { rq.router.loop.Blame(before) }

// OnWriteLow implements pool.Owner: the upstream takes more of the request.
func (rq *request) OnWriteLow() {
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

// ResponseHead implements pool.Owner.
func (rq *request) ResponseHead() *codec.ResponseHead { return &rq.stream.Response }

// OnResponseHead implements pool.Owner.
func (rq *request) OnResponseHead(end bool) {
	before := rq.enter()
	rq.takeHead(end)
	rq.leave(before)
}

func (rq *request) takeHead(end bool) {
	s := rq.stream
	h := &s.Response
	if h.Status < 200 && h.Status != 101 {
		s.Down().Informational(h)
		h.Reset()
		return
	}
	now := s.Now()
	s.Info.UpstreamFirstRx = now
	rq.headRecv = uint32(h.HeadBytes())
	if h.Has(codec.FieldXEnvoyImmediateHealthCheckFail) && rq.router.hostFailed != nil {
		rq.router.hostFailed(rq.cluster.Shared().Name, rq.host)
	}
	rq.judgeHead(h)
	rq.observe(now)
	if rq.wantsRetry(h) && rq.retryResponse(end) {
		return
	}
	rq.countResponse(h.Status)
	rq.dropBody()
	rq.state, rq.respHead = stateResponding, true
	rq.tryDeadline = 0
	if rq.x.Upgraded() { // a tunnel may last
		rq.deadline, rq.limits.timeout = 0, 0
	}
	s.Down().OwnResponse()
	rq.addResponseFields(now)
	s.Info.Details = "via_upstream"
	if end {
		rq.responseComplete(now)
	}
	s.Pass(filters.Response, end)
}

// OnResponseData implements pool.Owner.
func (rq *request) OnResponseData(b []byte, end bool) {
	before := rq.enter()
	rq.takeData(b, end)
	rq.leave(before)
}

func (rq *request) takeData(b []byte, end bool) {
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

// OnResponseTrailers implements pool.Owner.
func (rq *request) OnResponseTrailers(t *codec.Fields) {
	before := rq.enter()
	if rq.grpcOpen {
		rq.judgeGRPC(t.Lookup("grpc-status"))
		rq.countGRPC(t.Lookup("grpc-status"))
	}
	rq.responseComplete(rq.stream.Now())
	rq.stream.PassTrailers(filters.Response, rq.ownTrailers(t))
	rq.leave(before)
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
	rq.deadline = 0
	if rq.grpcOpen { // it does not say how it went
		rq.judgeGRPC(nil)
		rq.countGRPC(nil)
	}
	rq.cluster.Stats.CountTime(uint64(now-rq.sentAt)/1000, rq.stream.Info.Internal)
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
		rq.host.RqError.Add(1)
		return
	}
	rq.host.RqSuccess.Add(1)
	if rq.retrying {
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
		r.scratch = appendUint(r.scratch[:0], uint64(now-rq.sentAt)/1e6)
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

// OnReset implements pool.Owner: the try failed.
func (rq *request) OnReset(why pool.ResetReason, text string) {
	before := rq.enter()
	rq.reset(why, text)
	rq.leave(before)
}

func (rq *request) reset(why pool.ResetReason, text string) {
	s := rq.stream
	s.Info.UpstreamTransportFailure = text
	if rq.respHead {
		if rq.grpcOpen {
			rq.grpcOpen = false
			rq.cluster.Stats.GRPCFailure.Inc()
		}
		rq.router.stats.ResetAfter.Inc()
		rq.judgeReset(why)
		rq.host.RqError.Add(1)
		s.Info.Flags |= resetFlag(why)
		s.Down().ResetResponse("upstream_reset_after_response_started")
		return
	}
	if rq.retryReset(why) {
		return
	}
	rq.host.RqError.Add(1)
	rq.cluster.Stats.CountCode(resetStatus(why), s.Info.Internal)
	rq.fail(why)
}

// fail answers a request whose last try was reset.
func (rq *request) fail(why pool.ResetReason) {
	s := rq.stream
	if rq.limits.on != 0 && rq.retries == 0 && rq.attempts > 1 {
		s.Info.Flags |= accesslog.FlagUpstreamRetryLimitExceeded
	}
	if why == pool.Overflow {
		s.ReplyWith(overflowReply)
		return
	}
	s.ReplyWith(filters.LocalReply{
		Status: resetStatus(why), Flags: resetFlag(why), Body: resetBodies[why], Details: resetDetails[why],
	})
}

// abandon gives up what is still under way: the stream has its answer. What the log needs stays.
func (rq *request) abandon() {
	rq.local = rq.x.LocalAddr()
	rq.x.Cancel()
	if rq.tunnel != nil {
		rq.tunnel.leave()
	}
	rq.timer.Stop()
	rq.state = stateEnded
	rq.deadline, rq.tryDeadline, rq.held = 0, 0, false
}

// end gives up what is still under way and takes the request back.
func (rq *request) end() {
	r := rq.router
	rq.x.Cancel()
	if rq.tunnel != nil {
		rq.tunnel.leave()
	}
	rq.timer.Stop()
	rq.releaseRetry()
	rq.body.Free(r.loop.Arena())
	rq.respTrailers.Reset()
	if cap(rq.trailerBytes) > trailerBytesMax {
		rq.trailerBytes = nil
	}
	*rq = request{
		router: r, timer: rq.timer, x: rq.x, body: rq.body, tried: rq.tried[:0],
		respTrailers: rq.respTrailers, trailerBytes: rq.trailerBytes,
	}
	if r.freeLen < freeRequestsMax {
		rq.nextFree, r.free = r.free, rq
		r.freeLen++
	}
}
