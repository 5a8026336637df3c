package filters

import (
	"millrace/codec"
	"millrace/engine"
	"millrace/engine/arena"
	"millrace/filters/accesslog"
	"millrace/filters/route"
	"net/netip"
)

// A Token names one filter in one life of a stream. A callback that comes late resumes with the token it
// kept; after the stream's end it fits no stream.
type Token uint64

// A token has the index of the filter in its low bits.
const (
	tokenSlotBits = 8
	tokenSlotMask = 1<<tokenSlotBits - 1
)

// A Slot is what one filter remembers of one stream.
type Slot struct {
	N int64
	P any
}

// A Stream is one request and its response as filters see them, whatever the protocol.
//
// It has two independent halves, request and response, and a list of upstream attempts that the
// terminal keeps. It belongs to its loop and is reused for another request after OnDestroy.
type Stream struct {
	// Request is the head of the request. Filters may change it until it is forwarded.
	Request codec.RequestHead
	// Response is the head of the response. Filters may change it in OnResponseHead.
	Response codec.ResponseHead

	// Route is the matched route, nil before the match and for a request without one. Set by SetRoute.
	Route *route.Route
	// Client is the address that the request is taken to come from: trusted, unless it is not valid.
	Client netip.Addr
	// Random is drawn once for each request, so that every random choice about it agrees.
	Random uint64
	// Info is what the access log will say of the stream.
	Info accesslog.Info
	// Upstream is the terminal's own state of the stream.
	Upstream any
	// HeaderValues renders header values of the route that have operators. May be nil.
	HeaderValues route.Values
	// PlainReplies says that the peer speaks no gRPC, although the request has become one: local replies are plain HTTP.
	PlainReplies bool
	// HalfClose says that the end of the response is not that of a tunnel: the request goes on until it ends too.
	HalfClose bool
	// MatchScheme says that the scheme of the request is to be that of the connection to the host.
	MatchScheme bool
	// Canceled says that the host has cancelled the stream in its response: so is the peer's, rather than be told of an error.
	Canceled bool
	// Misdirected says that Route is nil because the request came on the connection of another host.
	Misdirected bool
	// BufferLimit is the most bytes of a body the stream keeps, by Direction.
	BufferLimit [2]int

	chain  *Chain
	down   Downstream
	halves [2]half
	spare  []*half // for messages that filters rewrite
	slots  []Slot
	slot   int    // whose turn it is: the filter that is being called
	token  uint32 // of this life
	routed bool   // leftOut is settled

	own     Overrides
	leftOut uint64 // filters that the route leaves out, a bit for each: see FiltersMax
}

// Downstream is what a stream asks of the connection manager that made it.
type Downstream interface {
	// Loop, Conn and Now are those of the downstream connection.
	Loop() *engine.Loop
	Conn() *engine.Conn

	// SinkHead takes a head that has passed all filters. It answers Pause when it cannot take the
	// body yet; Stream.ResumeSink tells when it can.
	SinkHead(d Direction, end bool) Verdict
	// SinkData takes a piece of a body that has passed all filters.
	SinkData(d Direction, b []byte, end bool)
	// SinkTrailers takes trailers that have passed all filters; they end the message.
	SinkTrailers(d Direction, t *codec.Fields)

	// PauseSource stops reading direction d. Counted: each needs its ResumeSource.
	PauseSource(d Direction)
	ResumeSource(d Direction)
	// BufferOverflow ends a stream whose kept body would exceed BufferLimit.
	BufferOverflow(d Direction)

	// OwnResponse copies the head in Stream.Response to memory of the stream, with room for more fields.
	// The terminal calls it for the head it is about to pass in.
	OwnResponse()
	// SendLocalReply sends a local reply through the response filters.
	SendLocalReply(r LocalReply)
	// ResetResponse ends a response that can no longer be completed.
	ResetResponse(details string)
	// Informational sends a 1xx head on.
	Informational(h *codec.ResponseHead)
	// MaySplice reports whether the next n bytes of the response's body, all until its end if n is
	// negative, may go to Conn without passing the filters; SpliceBegun tells that they do, and
	// Spliced how many have.
	MaySplice(n int64) bool
	// ResponseRoom returns how many bytes of the response's body the peer takes now, as far as its protocol says
	// so: math.MaxInt where it does not.
	ResponseRoom() int
	SpliceBegun(n int64)
	Spliced(n int64)
	// ClearRoute makes the match run again. It reports false, and does nothing, when the request
	// has been forwarded or answered.
	ClearRoute() bool
	// Retry runs the phases again from the choice of a host.
	Retry()
}

// LocalReply is a response made by the proxy itself.
type LocalReply struct {
	// Status of the response, 200 to 599.
	Status int
	// Body is sent as text/plain unless ContentType says otherwise. It is not copied.
	Body string
	// ContentType of the body. Default: text/plain.
	ContentType string
	// Details is the %RESPONSE_CODE_DETAILS% of the access log.
	Details string
	// Flags are the %RESPONSE_FLAGS% of the access log.
	Flags accesslog.Flags
	// Location is sent for redirects, if not empty.
	Location []byte
	// GRPCStatus is told to a gRPC request. 0: what stands for Status.
	GRPCStatus int
	// Overloaded adds x-envoy-overloaded: true.
	Overloaded bool
	// Close ends the connection after the reply.
	Close bool
}

// Init binds a stream to its chain and connection manager and begins a new life.
func (s *Stream) Init(c *Chain, d Downstream) {
	s.chain, s.down = c, d
	s.token++
	s.halves[Response].d = Response
	for len(s.slots) < c.Len() {
		s.slots = append(s.slots, Slot{})
	}
}

// Clear ends the life of a stream: its token fits no more, and what it kept is given back. The
// object must not be given to another request before the calls that led here have returned;
// since a stream only begins at the top of an event, none of them can see the next life.
func (s *Stream) Clear() {
	s.token++
	s.Restart(Request)
	s.Restart(Response)
	clear(s.slots)
	s.Request.Reset()
	s.Response.Reset()
	s.Route, s.Upstream, s.own = nil, nil, nil
	s.routed, s.leftOut, s.PlainReplies, s.HalfClose, s.Misdirected = false, 0, false, false, false
	s.MatchScheme, s.Canceled = false, false
	s.Info = accesslog.Info{}
}

// Restart forgets what direction d has carried so far, for a local reply in place of a
// response that filters have begun to see.
func (s *Stream) Restart(d Direction) {
	s.join(d)
	s.forget(&s.halves[d])
}

// forget makes h ready for another message. The sink may have referenced what is kept until the end of the event.
func (s *Stream) forget(h *half) {
	if h.kept.Len() > 0 {
		s.down.Loop().FlushStage()
		h.kept.Free(s.pool())
	}
	h.reset()
}

// Reopen lets direction d carry more after its end: the request of a tunnel, whose head was
// complete by itself.
func (s *Stream) Reopen(d Direction) {
	for h := &s.halves[d]; h != nil; h = h.next {
		h.ended, h.endDone = false, false
		for i := range h.marks {
			h.marks[i].end = false
		}
	}
}

// MarkReceived notes that the source of direction d has ended, where nothing of it is passed on any more.
func (s *Stream) MarkReceived(d Direction) { s.halves[d].ended = true }

// Expire ends the tokens given out so far: the stream is answered, and who lets go of it now is too late.
func (s *Stream) Expire() { s.token++ }

// Token returns the token with which the calling filter may resume the stream.
func (s *Stream) Token() Token { return Token(s.token)<<tokenSlotBits | Token(s.slot) }

// Slot returns the calling filter's own memory of the stream, zero at first.
func (s *Stream) Slot() *Slot { return &s.slots[s.slot] }

// Loop returns the loop the stream lives on.
func (s *Stream) Loop() *engine.Loop { return s.down.Loop() }

// Conn returns the downstream connection.
func (s *Stream) Conn() *engine.Conn { return s.down.Conn() }

// Now returns the loop's clock.
func (s *Stream) Now() int64 { return s.down.Loop().Now() }

// Down returns the connection manager's side of the stream, for the terminal.
func (s *Stream) Down() Downstream { return s.down }

// Chain returns the filters of the stream.
func (s *Stream) Chain() *Chain { return s.chain }

// Reply answers the request with a status and no body, unless the response has begun.
func (s *Stream) Reply(status int, details string) Verdict {
	return s.ReplyWith(LocalReply{Status: status, Details: details})
}

// ReplyWith answers the request locally. The reply passes the response filters.
func (s *Stream) ReplyWith(r LocalReply) Verdict {
	s.down.SendLocalReply(r)
	return Replied
}

// ClearRoute makes the match run again: a filter calls it after it changed what routes look at. It reports false, and
// does nothing, when the request has been forwarded or answered.
func (s *Stream) ClearRoute() bool { return s.down.ClearRoute() }

func (s *Stream) pool() *arena.Pool { return s.down.Loop().Arena() }
