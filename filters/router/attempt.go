package router

import (
	"bytes"
	"math"

	"millrace/codec"
	"millrace/engine"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/upstream"
	"millrace/upstream/pool"
)

// attempt is one try of a request: an exchange with a host. It implements pool.Owner.
//
//	idle ─▶ waiting ─▶ sent ─▶ responding
//	  ▲        │         │
//	  └────────┴─────────┘
type attempt struct {
	rq   *request
	x    pool.Exchange
	host *upstream.Host
	head *codec.ResponseHead // of its response

	deadline int64            // for the head of the response, 0 none
	idleAt   int64            // when it is over unless something comes, 0 never
	waitedAt int64            // when it began to wait for a connection, 0 if it did not
	openedAt int64            // when the TLS handshake of a connection for it was complete, 0 if there was none
	sentAt   int64            // when it was sent
	place    int              // in request.tried
	budget   *upstream.Budget // that it is counted against as a retry, or nil
	headSent uint32           // size of the head of the request
	headRecv uint32           // size of the head of the response

	state attemptState
	fresh bool // it wants a new connection
	again bool // it is sent again free of charge
	late  bool // it ran out of time, and goes on beside the next one
}

// attemptState is where an attempt stands.
type attemptState uint8

const (
	attemptIdle       attemptState = iota // not begun, or over
	attemptWaiting                        // for a connection
	attemptSent                           // its response has not begun
	attemptResponding                     // its response is the one that is passed on
)

// tried is an attempt as the log knows it.
type tried struct {
	host *upstream.Host
	conn uint32 // number of the connection on this loop, 0 if there was none
}

// init binds the attempt to its request.
func (a *attempt) init(rq *request, head *codec.ResponseHead) {
	a.rq, a.head = rq, head
	a.x.Owner = a
}

// alive reports whether there may still be a response.
func (a *attempt) alive() bool { return a.state == attemptWaiting || a.state == attemptSent }

// takes reports whether the attempt takes what comes of the request.
func (a *attempt) takes() bool { return a.state >= attemptSent && a.x.Active() }

// start leases an exchange with the host and sends the request, or waits for a connection.
func (a *attempt) start() filters.Verdict {
	rq, s := a.rq, a.rq.stream
	rq.count(a)
	s.Info.UpstreamConnect, s.Info.UpstreamHandshake = 0, 0
	a.waitedAt, a.openedAt = 0, 0
	a.headSent, a.headRecv = 0, 0
	if rq.attempts > 1 {
		rq.tellRetry()
	}
	if s.Route.VirtualHost.IncludeRequestAttemptCount {
		rq.router.scratch = appendUint(rq.router.scratch[:0], uint64(rq.attempts))
		s.Request.Set(codec.FieldXEnvoyAttemptCount, rq.router.scratch)
	}
	if s.Route.Terminates(&s.Request) {
		return rq.terminate()
	}
	prio := upstream.Priority(s.Route.Priority)
	switch rq.cluster.LeaseNamed(rq.serverName(), a.host, prio, &a.x, a.fresh) {
	case pool.LeaseReady:
		a.send()
		return filters.Continue
	case pool.LeasePending:
		a.state, a.waitedAt = attemptWaiting, s.Now()
		s.Info.UpstreamConnect = a.waitedAt
		rq.armResponse()
		if rq.attempts == 1 && !rq.freeUsed {
			rq.held = true
			return filters.Pause
		}
		return filters.Continue
	default:
		if rq.hopes(a) {
			rq.forget(a)
			return filters.Continue
		}
		rq.cluster.Stats.CountCode(overflowReply.Status, s.Info.Internal)
		return s.ReplyWith(overflowReply)
	}
}

// count notes that an attempt begins.
func (rq *request) count(a *attempt) {
	if a.again { // the one before was none
		a.again = false
	} else {
		rq.attempts++
		a.place = len(rq.tried)
		rq.tried = append(rq.tried, tried{})
	}
	rq.tried[a.place] = tried{host: a.host}
	rq.stream.Info.Attempts = uint8(min(rq.attempts, 255))
}

// send sends the head on the leased connection, and what is kept of the body.
func (a *attempt) send() {
	rq, s := a.rq, a.rq.stream
	now := s.Now()
	a.state, a.sentAt = attemptSent, now
	rq.cluster.Shared().Outlier.Connected(a.host, false)
	s.Info.UpstreamReady, s.Info.UpstreamFirstTx = now, now
	complete := s.Ended(filters.Request)
	end := complete && rq.body.Len() == 0 && rq.trailers == nil
	rq.tried[a.place].conn = a.x.ConnID()
	a.boundReads()
	if s.MatchScheme {
		a.matchScheme()
	}
	a.headSent = uint32(a.x.SendHead(&s.Request, end))
	for i := 0; i < rq.body.Pieces(); i++ {
		last := i == rq.body.Pieces()-1
		a.x.SendData(rq.body.Piece(i), last && complete && rq.trailers == nil)
	}
	if rq.body.Len() > 0 {
		s.Loop().FlushStage() // the pieces may be freed before the event ends
	}
	if rq.trailers != nil {
		a.x.SendTrailers(rq.trailers)
	}
	a.arm(now)
	if complete {
		s.Info.UpstreamLastTx = now
		rq.armResponse()
	}
	if rq.paused && !a.x.Full() { // by the try before, which tells nothing any more
		rq.resumeRequest()
	}
	if rq.held {
		rq.held = false
		s.ResumeSink(filters.Request)
	}
}

// matchScheme makes the scheme of the request that of the connection.
func (a *attempt) matchScheme() {
	scheme := schemeHTTP
	if a.x.Session() != nil {
		scheme = schemeHTTPS
	}
	if h := &a.rq.stream.Request; !bytes.Equal(h.Scheme(), scheme) {
		h.SetScheme(scheme)
	}
}

var (
	schemeHTTP  = []byte("http")
	schemeHTTPS = []byte("https")
)

// arm sets the deadlines of the attempt, which run from the end of the request.
func (a *attempt) arm(now int64) {
	l := &a.rq.limits
	if l.perTry == 0 && l.idle == 0 || !a.rq.stream.Ended(filters.Request) {
		return
	}
	if l.perTry > 0 {
		a.deadline = now + int64(l.perTry)
	}
	if l.idle > 0 {
		a.idleAt = now + int64(l.idle)
	}
	a.rq.rearm()
}

// moved notes that something has come. The timer stays as it is: when it comes up, it is set anew.
func (a *attempt) moved() {
	if a.idleAt != 0 {
		a.idleAt = a.rq.stream.Now() + int64(a.rq.limits.idle)
	}
}

// cancel gives the attempt up.
func (a *attempt) cancel() {
	a.x.Cancel()
	a.state, a.deadline, a.idleAt = attemptIdle, 0, 0
	a.fresh, a.again, a.late = false, false, false
	releaseRetry(&a.budget)
}

// describe makes what the log says of the attempt that of this one: another has begun since.
func (a *attempt) describe(info *accesslog.Info) {
	info.UpstreamHost = a.host.Name
	info.UpstreamConnect, info.UpstreamHandshake = a.waitedAt, a.openedAt
	info.UpstreamReady, info.UpstreamFirstTx = a.sentAt, a.sentAt
	info.UpstreamLastTx = max(a.sentAt, info.RequestEnd)
}

// readMin is the least that a read of a response brings, however little downstream takes: its head has to come, too.
const readMin = 4 << 10

// boundReads lets reads of the response bring no more than downstream takes now. What it does not take waits in our
// memory, and a client of HTTP/2 can have many streams of which it takes nothing.
func (a *attempt) boundReads() {
	s := a.rq.stream
	if s.Request.Version < codec.Version20 {
		return
	}
	room := s.Down().ResponseRoom()
	if room == math.MaxInt {
		room = 0
	} else {
		room = max(room, readMin)
	}
	a.x.SetReadMax(room)
}

// enter names the downstream connection as the one that is worked for: should a filter panic while an upstream
// connection or a timer has its turn, the stream ends all the same.
func (rq *request) enter() (before *engine.Conn) { return rq.router.loop.Blame(rq.stream.Conn()) }

// leave takes back what enter said.
func (rq *request) leave(before *engine.Conn) { rq.router.loop.Blame(before) }

// OnReady implements pool.Owner: the connection is there.
func (a *attempt) OnReady() {
	rq := a.rq
	before := rq.enter()
	if a.x.Session() != nil && !a.x.Reused() {
		a.openedAt = rq.stream.Now()
		rq.stream.Info.UpstreamHandshake = a.openedAt
	}
	a.send()
	rq.leave(before)
}

// OnWriteLow implements pool.Owner: the upstream takes more of the request.
func (a *attempt) OnWriteLow() { a.rq.takesMore() }

// ResponseHead implements pool.Owner.
func (a *attempt) ResponseHead() *codec.ResponseHead { return a.head }

// OnResponseHead implements pool.Owner.
func (a *attempt) OnResponseHead(end bool) {
	rq := a.rq
	before := rq.enter()
	a.takeHead(end)
	rq.leave(before)
}

// takeHead decides whether a response is the one for the client.
func (a *attempt) takeHead(end bool) {
	rq, s, h := a.rq, a.rq.stream, a.head
	if rq.limits.idle > 0 {
		a.moved()
	}
	if h.Status < 200 && h.Status != 101 {
		s.Down().Informational(h)
		h.Reset()
		return
	}
	now := s.Now()
	s.Info.UpstreamFirstRx = now
	a.headRecv = uint32(h.HeadBytes())
	if h.Has(codec.FieldXEnvoyImmediateHealthCheckFail) && rq.router.hostFailed != nil {
		rq.router.hostFailed(rq.cluster.Shared().Name, a.host)
	}
	a.judgeHead(h)
	a.observe(now)
	if rq.wantsRetry(h) && (rq.retryResponse(a) || rq.passOver(a)) {
		return
	}
	rq.respond(a, end)
}

// OnResponseData implements pool.Owner.
func (a *attempt) OnResponseData(b []byte, end bool) {
	rq := a.rq
	before := rq.enter()
	rq.takeData(b, end)
	rq.leave(before)
}

// OnResponseTrailers implements pool.Owner.
func (a *attempt) OnResponseTrailers(t *codec.Fields) {
	rq := a.rq
	before := rq.enter()
	rq.takeTrailers(t)
	rq.leave(before)
}

// OnReset implements pool.Owner: the attempt failed.
func (a *attempt) OnReset(why pool.ResetReason, text string) {
	rq := a.rq
	before := rq.enter()
	rq.reset(a, why, text)
	rq.leave(before)
}

// ProxyInfo implements pool.ProxyOwner: whom a connection that carries this request alone is for.
func (a *attempt) ProxyInfo() *pool.ProxyInfo { return a.rq.proxyInfo() }

// OnSpliced implements pool.Splicer.
func (a *attempt) OnSpliced(n int64) {
	a.moved()
	a.rq.stream.Down().Spliced(n)
}
