package h1

import (
	"math"

	"millrace/codec"
	"millrace/codec/ascii"
)

// Server reads requests and writes responses. It implements [codec.Server] for one
// stream at a time: bytes of a pipelined request are left unread until the response to the one before is complete.
// The zero value is not usable: see NewServer. Stream arguments are not looked at.
type Server struct {
	reader
	writer
	request serverRequest
	closing bool  // SetClose
	blanks  uint8 // empty lines seen in front of the request
}

// serverRequest is what has to be known of a request after its head has gone.
type serverRequest struct {
	version   uint8
	head      bool // the method is HEAD
	connect   bool // the method is CONNECT
	upgrade   bool
	keepAlive bool
}

// NewServer returns a Server for a new connection. l is shared and not changed.
func NewServer(l *codec.Limits) Server { return Server{reader: reader{limits: l}} }

// Reset makes s as good as new.
func (s *Server) Reset(l *codec.Limits) { *s = NewServer(l) }

// Feed implements [codec.Server]. When a request is complete it gives EventNone until the
// response is complete too; if the connection is not to be kept, from then on.
func (s *Server) Feed(b []byte, ev *codec.Event) (n int, err *codec.Error) {
	clearEvent(ev)
	if len(b) == 0 {
		return 0, nil
	}
	var why codec.Reason
	switch s.state {
	case stateStart, stateFields:
		n, why = s.feedHead(b, ev)
	case stateDone:
		return s.feedNext(b, ev)
	case stateFailed:
		return 0, &requestErrors[s.failed]
	default:
		n, why = s.body(b, ev, false)
	}
	if why != codec.ReasonNone {
		if ev.Kind = codec.EventNone; ev.Request != nil && s.state <= stateFields {
			ev.Request.Reset() // nobody is to look at half a head
		}
		s.fail(why)
		return n, &requestErrors[why]
	}
	return n, nil
}

// feedNext starts the next request, or a tunnel, if the response allows it.
func (s *Server) feedNext(b []byte, ev *codec.Event) (n int, err *codec.Error) {
	switch {
	case s.mode == modeTunnel:
		s.state = stateTunnel
	case s.KeepAlive():
		s.begin()
		s.writer, s.request, s.blanks = writer{}, serverRequest{}, 0
	default:
		return 0, nil
	}
	return s.Feed(b, ev)
}

// feedHead handles the bytes of a head.
func (s *Server) feedHead(b []byte, ev *codec.Event) (n int, why codec.Reason) {
	whole := s.state == stateStart && s.scanned == 0
	if whole {
		if n, why = s.leadingLines(b); why != codec.ReasonNone || n == len(b) || b[n] == '\r' {
			return n, why
		}
		b = b[n:]
	}
	h := ev.Request
	end, why := s.parseHead(b, h)
	if end == 0 || why != codec.ReasonNone {
		h.Reset()
		return n, why
	}
	if !whole { // the lines that came earlier are known to be good, but not in h
		s.begin()
		end, _ = s.parseHead(b, h)
	}
	h.SetBuffer(b[:end])
	if why = checkRequest(h); why != codec.ReasonNone {
		return n, why
	}
	s.accept(h)
	ev.Kind, ev.End = codec.EventHead, s.enterBody(h.ContentLength, h.Chunked)
	return n + end, codec.ReasonNone
}

// parseHead parses the lines of b that are complete and were not parsed before. It returns the length of
// the head, 0 if there is no end to it yet.
func (s *Server) parseHead(b []byte, h *codec.RequestHead) (end int, why codec.Reason) {
	if s.state == stateStart {
		h.Reset()
		if why = s.startLine(b, h); why != codec.ReasonNone || s.state == stateStart {
			return 0, why
		}
	}
	return s.fields(b, &h.Fields, &sectionLimits{
		bytes: s.limits.HeadBytes, whyBytes: codec.ReasonHeadTooLarge,
		count: s.limits.FieldCount, whyCount: codec.ReasonTooManyFields,
	})
}

// leadingLinesMax is how many empty lines may come in front of a request. Old clients send one after a body, some two.
const leadingLinesMax = 2

// leadingLines uses up the empty lines that may come first:
//
// "a server that is expecting to receive and parse a request-line SHOULD ignore at least one
// empty line (CRLF) received prior to the request-line."
// RFC 9112 section 2.2
func (s *Server) leadingLines(b []byte) (n int, why codec.Reason) {
	for n < len(b) && b[n] == '\r' {
		if s.blanks == leadingLinesMax {
			return n, codec.ReasonLeadingLines
		}
		if n+1 == len(b) {
			return n, codec.ReasonNone // the caller sees that a CR is next, and waits
		}
		if b[n+1] != '\n' {
			return n, codec.ReasonLineEnd
		}
		s.blanks++
		n += 2
	}
	if n < len(b) && b[n] == '\n' {
		return n, codec.ReasonLineEnd
	}
	return n, codec.ReasonNone
}

// checkRequest applies what is said of a head as a whole, and fills in what follows from it.
func checkRequest(h *codec.RequestHead) (why codec.Reason) {
	if why = checkHost(h); why != codec.ReasonNone {
		return why
	}
	if h.ContentLength, h.Chunked, why = framing(&h.Fields, h.Version); why != codec.ReasonNone {
		return why
	}
	if h.Method() == codec.MethodCONNECT && !h.BodyNone() {
		// A CONNECT has no content (RFC 9110 section 9.3.6): whether what follows is a body or
		// the tunnel is a matter of opinion.
		return codec.ReasonContentLength
	}
	completePath(h)
	o := parseConnection(&h.Fields)
	h.KeepAlive = o.persists(h.Version)
	h.Upgrade = o.upgrade && h.Version >= codec.Version11 && wantsUpgrade(&h.Fields)
	// "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore that expectation."
	// RFC 9110 section 10.1.1
	h.Expect100 = h.Has(codec.FieldExpect) && h.Version >= codec.Version11 && !h.BodyNone() &&
		ascii.EqualFoldString(h.Get(codec.FieldExpect), "100-continue")
	return codec.ReasonNone
}

// accept remembers what the response depends on.
func (s *Server) accept(h *codec.RequestHead) {
	s.request = serverRequest{
		version:   h.Version,
		head:      h.Method() == codec.MethodHEAD,
		connect:   h.Method() == codec.MethodCONNECT,
		upgrade:   h.Upgrade,
		keepAlive: h.KeepAlive,
	}
	s.writer = writer{}
}

// EOF implements [codec.Server]. The response that is still to be written is the last.
func (s *Server) EOF(ev *codec.Event) *codec.Error {
	clearEvent(ev)
	s.closing = true
	if why := s.eof(ev); why != codec.ReasonNone {
		s.fail(why)
		return &requestErrors[why]
	}
	return nil
}

// Skip implements [codec.Server].
func (s *Server) Skip(_ codec.StreamID, n int64) { s.skip(n) }

// Consume implements [codec.Server]. HTTP/1 has no flow control of its own.
func (s *Server) Consume(codec.StreamID, int) {}

// Writable implements [codec.Server].
func (s *Server) Writable(codec.StreamID) int { return math.MaxInt }

// SetClose makes the response being written, or the next one, the last on the connection.
func (s *Server) SetClose() { s.closing = true }

// RequestDone reports whether the request is complete. It stays so until bytes of the next one are fed.
func (s *Server) RequestDone() bool { return s.state == stateDone }

// ResponseStarted reports whether the final head of the response was written: after that no
// local reply is possible.
func (s *Server) ResponseStarted() bool { return s.head }

// ResponseDone reports whether the response is complete.
func (s *Server) ResponseDone() bool { return s.done }

// KeepAlive reports whether another request may follow: request and response are
// complete, and neither side asked to close or made the end of the connection the end of the message.
func (s *Server) KeepAlive() bool { return s.state == stateDone && s.Promised() }

// Promised is KeepAlive for a request whose end has not come: the response is complete, and the peer may count on it
// that the connection stays.
func (s *Server) Promised() bool { return s.done && s.keep && !s.closing }

// Tunnel reports whether the connection has become a tunnel: after a 101 to an upgrade
// request, or a 2xx to CONNECT, what is fed comes back as opaque data.
func (s *Server) Tunnel() bool { return s.mode == modeTunnel }
