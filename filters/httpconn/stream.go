package httpconn

import (
	"time"

	"millrace/codec"
	"millrace/codec/ascii"
	"millrace/engine"
	"millrace/engine/arena"
	"millrace/engine/timer"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/filters/route"
)

// bufferLimitBytes is the most a stream keeps of each body, unless the listener says otherwise.
const bufferLimitBytes = 1 << 20

// phase is where a stream is in the life of a request.
//
//	route ─▶ requestFilters ─▶ pickHost ─▶ forward ─▶ responseFilters ─▶ done
//	                             ▲            │
//	                             └── retry ◀──┘
type phase uint8

const (
	phaseRoute           phase = iota // match the route
	phaseRequestFilters               // filters look at the request's head; one may hold it
	phasePickHost                     // find the cluster and a host
	phaseForward                      // send the request; wait for a connection if need be
	phaseResponseFilters              // filters look at the response; it goes downstream
	phaseDone
)

// flow is what a stream knows of its progress besides its phase.
type flow struct {
	active     int64         // when something last moved, for stream_idle_timeout
	lasts      time.Duration // max_stream_duration, 0 for none
	headSeen   bool          // the head of the request is complete
	headTimed  bool          // the deadline of the head is armed
	refused    bool          // the request could not be read: no route, no filters
	replied    bool          // the response is a local reply
	tunnel     bool          // upgraded: raw bytes both ways
	closing    bool          // the connection ends with this response
	outgoing   bool          // the head of the final response has been written
	discarded  uint32        // bytes of a request that were thrown away
	discarding bool          // the rest of an answered request is read and thrown away
	gone       bool          // the downstream connection is gone
	left       bool          // because the peer went
	full       bool          // the response is paused until the downstream write queue drains
	halfOpen   bool          // a tunnel whose response has ended
	eof        bool          // of a tunnel: its peer has ended its direction already
	splice     spliced       // of the response
	spliceRq   spliced       // of the request
	localBody  string        // of a local reply
	sent       *codec.Fields // trailers of the response that is ending, for the log
	pauses     uint8         // PauseSource of the request less ResumeSource: owed to the connection
}

// stream is one request on a downstream connection.
type stream struct {
	filters.Stream
	flow
	flow2

	m     *Manager
	wire  wire
	phase phase

	formats []*accesslog.Format // of the table that Route comes from: a reload may bring others

	requestBlock, responseBlock arena.Block // where the heads live
	nextFree                    *stream
	timer                       timer.Timer // of HTTP/2, where each stream has one
}

// step moves the stream on until it has to wait. This switch is the life of a request; the
// second half begins when the router passes a response in, see SinkHead.
func (s *stream) step(end bool) filters.Verdict {
	for {
		switch s.phase {
		case phaseRoute: // then RequestFilters
			s.matchRoute()
			if !s.admitUpgrade() {
				return filters.Replied
			}
			s.phase = phaseRequestFilters
		case phaseRequestFilters: // then PickHost, from SinkHead; waits while a filter holds the head
			s.Pass(filters.Request, end)
			return filters.Continue
		case phasePickHost: // then Forward; the router answers itself when there is no host
			if v := s.m.chain.Terminal().PickHost(&s.Stream); v != filters.Continue {
				return v
			}
			s.phase = phaseForward
		case phaseForward: // then ResponseFilters, or PickHost to retry
			v := s.m.chain.Terminal().Forward(&s.Stream)
			if v != filters.Replied && s.phase == phaseForward {
				s.phase = phaseResponseFilters
			}
			return v
		case phaseResponseFilters, phaseDone:
			return filters.Continue
		}
	}
}

// onHead takes the complete head of a request, which lies in memory that is not the stream's.
func (s *stream) onHead(end bool) {
	m := s.m
	s.noteHead(end)
	buf, ok := m.own(&s.requestBlock, s.Request.HeadBytes()+s.wire.facts().ForwardedBytes())
	if !ok { // no memory for one more request: the arena counts it
		s.SendLocalReply(filters.LocalReply{Status: 503, Details: "overload", Close: true})
		return
	}
	s.Request.Own(buf)
	s.begin(end)
}

// noteHead counts a request whose head is complete.
func (s *stream) noteHead(end bool) {
	now := s.m.loop.Now()
	s.headSeen, s.active = true, now
	s.m.stats.RqTotal.Inc()
	s.Info.RequestHeadBytes = uint32(s.Request.HeadBytes())
	if end {
		s.Info.RequestEnd = now
		s.MarkReceived(filters.Request) // it may be answered before it is passed on
	}
	s.armIdle()
}

// begin starts the phases.
func (s *stream) begin(end bool) {
	s.wire.onRequest(s)
	if s.m.challenges != nil && s.answerChallenge() {
		return
	}
	if s.prepareRequest() {
		s.step(end)
	}
}

// onData takes a piece of the request's body.
func (s *stream) onData(b []byte, end bool) {
	now := s.m.loop.Now()
	s.active = now
	s.Info.RequestBytes += uint64(len(b))
	if end {
		s.Info.RequestEnd = now
	}
	if s.replied && !s.tunnel { // the answer is on its way: the rest of the request is of no use
		if end {
			s.MarkReceived(filters.Request)
		}
		if s.discarding {
			s.discard(len(b), end)
		}
		return
	}
	s.PassData(filters.Request, b, end)
}

// discard throws n bytes of an answered request away. The length of one in chunks is not known before.
func (s *stream) discard(n int, end bool) {
	if s.discarded += uint32(n); s.discarded > earlyRestMaxBytes {
		s.closing, end = true, true
	}
	if end {
		s.wire.release(s)
	}
}

// onTrailers takes the trailers of the request.
func (s *stream) onTrailers(t *codec.Fields) {
	s.active = s.m.loop.Now()
	s.Info.RequestEnd = s.active
	if s.replied {
		s.MarkReceived(filters.Request)
		if s.discarding {
			s.discard(0, true)
		}
		return
	}
	// t is lent to the connections of the manager in turn. Trailers are rare: a copy may cost an allocation.
	s.PassTrailers(filters.Request, t.Clone())
}

// matchRoute looks up the route. No route is the router's business: filters run all the same.
func (s *stream) matchRoute() {
	m := s.m
	if m.routes == nil {
		return
	}
	in := &m.input
	s.routeInput(in)
	s.SetRoute(m.routes.Match(in), m.overrides)
	s.formats = m.formats
	s.Misdirected = s.Route == nil && s.isMisdirected()
	in.Head = nil
	rt, before := s.Route, s.lasts
	s.lasts = m.cfg.MaxStreamDuration
	if rt == nil || rt.Action != route.ActionForward {
		return
	}
	s.lasts = rt.MaxStreamDuration(&s.Request, s.lasts)
	if rt.IdleTimeout != route.IdleTimeoutUnset || s.lasts != before {
		s.armIdle()
	}
}

// admitUpgrade answers 403 to an upgrade, or a CONNECT, that neither route nor manager allows, and 501
// to a CONNECT without a route: no path could have matched. The connection ends, since what follows may be
// the other protocol already.
func (s *stream) admitUpgrade() bool {
	h, m := &s.Request, s.m
	protocol := connectProtocol
	if h.Method() != codec.MethodCONNECT {
		if !h.Upgrade {
			return true
		}
		protocol = h.Get(codec.FieldUpgrade)
	}
	allowed := route.UpgradeUnset
	if s.Route != nil && s.Route.Action == route.ActionForward {
		allowed = s.Route.Upgrade(protocol)
	}
	if allowed == route.UpgradeUnset && m.allowsUpgrade(protocol) {
		allowed = route.UpgradeAllowed
	}
	if s.Route == nil && h.Method() == codec.MethodCONNECT {
		s.SendLocalReply(filters.LocalReply{Status: 501, Details: "route_not_found", Flags: accesslog.FlagNoRoute, Close: true})
		return false
	}
	if allowed == route.UpgradeAllowed || s.Route == nil {
		return true
	}
	m.stats.RqUpgradeRefused.Inc()
	s.SendLocalReply(filters.LocalReply{Status: 403, Details: "upgrade_failed", Close: true})
	return false
}

// connectProtocol is what upgrades call a CONNECT request.
var connectProtocol = []byte("connect")

// allowsUpgrade reports whether the manager's own list has a protocol.
func (m *Manager) allowsUpgrade(protocol []byte) bool {
	for _, u := range m.cfg.Upgrades {
		if ascii.EqualFoldString(protocol, u) {
			return true
		}
	}
	return false
}

// SinkHead implements filters.Downstream.
func (s *stream) SinkHead(d filters.Direction, end bool) filters.Verdict {
	if d == filters.Request {
		s.phase = phasePickHost
		return s.step(end)
	}
	s.sendHead(end)
	return filters.Continue
}

// SinkData implements filters.Downstream.
func (s *stream) SinkData(d filters.Direction, b []byte, end bool) {
	if d == filters.Request {
		s.m.chain.Terminal().OnRequestData(&s.Stream, b, end)
		if end {
			s.endTunnel()
		}
		return
	}
	s.wire.sendData(s, b, end)
}

// SinkTrailers implements filters.Downstream.
func (s *stream) SinkTrailers(d filters.Direction, t *codec.Fields) {
	if d == filters.Request {
		s.m.chain.Terminal().OnRequestTrailers(&s.Stream, t)
		s.endTunnel()
		return
	}
	s.sendTrailers(t)
}

// Loop implements filters.Downstream.
func (s *stream) Loop() *engine.Loop { return s.m.loop }

// Conn implements filters.Downstream.
func (s *stream) Conn() *engine.Conn { return s.wire.socket() }

// PauseSource implements filters.Downstream. Reading of a response is the router's to pause.
func (s *stream) PauseSource(d filters.Direction) {
	if d == filters.Request {
		if !s.Received(filters.Request) {
			s.m.stats.PausedReading.Inc()
		}
		s.pauses++
		s.wire.pauseRequest(s)
		return
	}
	s.m.chain.Terminal().PauseResponse(&s.Stream)
}

// ResumeSource implements filters.Downstream.
func (s *stream) ResumeSource(d filters.Direction) {
	if d == filters.Request {
		if !s.Received(filters.Request) {
			s.m.stats.ResumedReading.Inc()
		}
		s.pauses--
		s.wire.resumeRequest(s)
		return
	}
	s.m.chain.Terminal().ResumeResponse(&s.Stream)
}

// ClearRoute implements filters.Downstream. Once the router has begun with the route it stays.
func (s *stream) ClearRoute() bool {
	if s.phase != phaseRequestFilters {
		return false
	}
	s.matchRoute()
	return true
}

// Retry implements filters.Downstream.
func (s *stream) Retry() {
	s.phase = phasePickHost
	s.step(s.Received(filters.Request))
}

// BufferOverflow implements filters.Downstream.
func (s *stream) BufferOverflow(d filters.Direction) {
	if d == filters.Request {
		s.m.stats.RqTooLarge.Inc()
		s.SendLocalReply(filters.LocalReply{Status: 413, Details: "request_payload_too_large", Body: "Payload Too Large", Close: true})
		return
	}
	s.m.stats.RsTooLarge.Inc()
	if s.outgoing {
		s.abort("response_payload_too_large")
		return
	}
	s.SendLocalReply(filters.LocalReply{Status: 500, Details: "response_payload_too_large", Body: "Internal Server Error"})
}

// onDownstreamGone ends the stream after its connection broke or ended too early.
func (s *stream) onDownstreamGone() {
	if s.discarding { // it has its answer, which a reset could destroy
		s.closing = true
		s.wire.release(s)
		return
	}
	s.gone, s.left = true, true
	s.m.stats.RqRxReset.Inc()
	s.Info.Flags |= accesslog.FlagDownstreamConnectionTermination
	if s.Info.Details == "" {
		s.Info.Details = "downstream_remote_disconnect"
	}
	s.finish()
}

// ResetResponse implements filters.Downstream: the response cannot be completed, and the
// peer must not take it for whole.
func (s *stream) ResetResponse(details string) { s.abort(details) }

// abort breaks the connection off in the middle of a response.
func (s *stream) abort(details string) {
	if s.discarding { // the response is out already
		s.closing = true
		s.wire.release(s)
		return
	}
	s.Info.Details = details
	s.m.stats.RqTxReset.Inc()
	s.closing, s.gone = true, true
	s.finish()
}

// finish ends the stream: what it has upstream is cancelled, the log gets its line, and the
// connection goes on without it or ends.
func (s *stream) finish() {
	m := s.m
	if s.phase == phaseDone {
		return
	}
	s.phase = phaseDone
	s.Info.DownstreamLastTx = m.loop.Now()
	m.stats.RqTime.Record(uint64(m.loop.Now()-s.Info.Start) / 1e3)
	if s.tunnel {
		m.stats.CxUpgradesActive.Dec()
	}
	if m.log.Enabled() {
		s.log()
	}
	s.sent = nil
	m.chain.Destroy(&s.Stream)
	s.wire.finished(s)
}
