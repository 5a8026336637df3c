package h2

import (
	"bytes"

	"millrace/codec"
	"millrace/codec/ascii"
	"millrace/codec/hpack"
)

// Server reads requests and writes responses. It implements [codec.Server] for many streams. See NewServer.
type Server struct{ conn }

// NewServer returns a Server for a new connection whose client has prior knowledge, or has chosen h2 by ALPN. Its
// SETTINGS wait in AppendControl.
func NewServer(opt *Options, scratch *Scratch) *Server {
	s := &Server{newConn(opt, scratch, false)}
	s.sendSettings()
	return s
}

// OpenUpgraded opens stream 1 for a whole request of HTTP/1.1 that asked for "Upgrade: h2c" and gets its answer by HTTP/2. settings is
// what its HTTP2-Settings field says. The preface of the client follows all the same. RFC 9113 has no such upgrade any more
// (section 3.1), but clients ask for it as RFC 7540 section 3.2 says.
func (s *Server) OpenUpgraded(settings []byte, m codec.Method) (id codec.StreamID, slot uint32, err *codec.Error) {
	if len(settings)%6 != 0 || len(settings) > 6*settingsMax {
		return 0, 0, &errSettings
	}
	if err := s.takeSettings(settings, new(codec.Event)); err != nil {
		return 0, 0, err
	}
	s.lastPeer = 1
	st, slot := s.streams.open(1)
	st.state = recvHead | recvEnd
	if m == codec.MethodHEAD {
		st.state |= headMethod
	}
	st.sendWindow, st.recvWindow = s.peer.initialWindow, int32(s.opt.StreamWindow)
	return 1, slot, nil
}

// Feed implements [codec.Server]. A codec.Error of ScopeStream has been dealt with: the stream is gone, ev is its EventReset
// if the caller knew of it, and feeding goes on. After one of ScopeConn the caller sends what AppendControl has and closes.
func (s *Server) Feed(b []byte, ev *codec.Event) (n int, err *codec.Error) { return s.feed(b, ev) }

// EOF implements [codec.Server].
func (s *Server) EOF(ev *codec.Event) *codec.Error { return s.eof(ev) }

// Refuse ends a stream whose request was not begun: the client may try it again. It counts with the streams that are reset
// because of what the peer did; an error ends the connection.
func (s *Server) Refuse(id codec.StreamID) *codec.Error {
	s.Reset(id, RefusedStream)
	if !s.countReset() {
		return s.fail(&errResets)
	}
	return nil
}

// onRequestBlock handles the header block of a request, or of its trailers.
func (c *conn) onRequestBlock(id uint32, block []byte, ev *codec.Event) *codec.Error {
	slot, open := c.streams.find(id)
	switch {
	case open:
		return c.onTrailers(id, slot, block, ev)
	case id <= c.lastPeer:
		x := section{trailers: true, request: true, fields: ev.Trailers}
		if ev.Trailers != nil {
			ev.Trailers.Reset()
		}
		if err := c.decode(block, &x); err != nil {
			return err
		}
		switch {
		case !c.isLate(id):
			return &errClosedConn
		case !c.blockEnds: // they were under way, and are wrong all the same
			return c.resetStream(id, &errTrailersEnd, ev)
		case x.err != nil:
			return c.resetStream(id, x.err, ev)
		}
		return nil
	}
	c.lastPeer = id
	x := section{request: true, fields: &ev.Request.Fields}
	if id > c.goAway { // the peer tries them elsewhere
		x.fields = nil
		return c.decode(block, &x)
	}
	refused := c.streams.count >= int(c.opt.ConcurrentStreams)
	if refused {
		x.fields = nil
	} else {
		ev.Request.Reset()
	}
	if err := c.decode(block, &x); err != nil {
		return err
	}
	if refused {
		if c.acked {
			return c.resetStream(id, &errRefusedKnown, ev)
		}
		return c.resetStream(id, &errRefused, ev)
	}
	if c.blockSelf {
		x.err = &errSelfDependency
	}
	if x.err == nil {
		x.err = x.finishRequest(ev.Request, c.blockEnds, c.opt)
		c.scratch.keep(x.dst)
	}
	if x.err != nil {
		ev.Request.Reset()
		return c.refuse(id, x.err, ev)
	}
	st, slot := c.streams.open(id)
	st.state = recvHead
	st.sendWindow, st.recvWindow = c.peer.initialWindow, int32(c.opt.StreamWindow)
	if x.length >= 0 {
		st.bodyLeft = x.length
	}
	switch ev.Request.Method() {
	case codec.MethodHEAD:
		st.state |= headMethod
	case codec.MethodCONNECT:
		st.state |= connectMethod
		st.bodyLeft = bodyTunnel
	}
	if x.priority.Len > 0 {
		st.setPriority(x.dst[x.priority.Off : x.priority.Off+x.priority.Len])
	}
	if len(c.expected) > 0 {
		c.meet(st)
	}
	ev.Kind, ev.Stream, ev.Slot, ev.End = codec.EventHead, codec.StreamID(id), slot, c.blockEnds
	if c.blockEnds {
		c.ended(st)
	}
	return nil
}

// refuse ends a stream whose head cannot be taken. One beyond the limits is told so by a response.
//
// "A server that receives a larger header block than it is willing to handle can send an HTTP 431 (Request Header Fields
// Too Large) status code"
// RFC 9113 section 10.5.1
func (c *conn) refuse(id uint32, err *codec.Error, ev *codec.Event) *codec.Error {
	if err != &errHeadTooLarge && err != &errTooManyFields && err != &errTargetTooLong && err != &errHeadSwells {
		return c.resetStream(id, err, ev)
	}
	status := "431"
	if err == &errTargetTooLong {
		status = "414"
	}
	c.room()
	at := len(c.out)
	c.out = c.enc.Begin(appendFrameHead(c.out, 0, frameHeaders, flagEndHeaders|flagEndStream, id))
	c.out = c.enc.Append(c.out, hpack.StaticStatus200, []byte(":status"), []byte(status), hpack.Literal)
	putFrameLength(c.out[at:], len(c.out)-at-frameHeadLen)
	c.sendReset(id, NoError)
	return err
}

// finishRequest applies what holds for the head of a request as a whole, and completes h.
func (x *section) finishRequest(h *codec.RequestHead, ends bool, opt *Options) *codec.Error {
	if err := x.checkRequest(opt); err != nil {
		return err
	}
	x.joinCookies()
	h.SetBuffer(x.dst)
	method := x.dst[x.method.Value:x.method.End]
	m := codec.ParseMethod(method)
	h.SetMethodSpan(m, span(x.method.Value, x.method.End))
	h.SetTarget(x.path, x.authority, x.scheme)
	h.SetProtocolSpan(x.protocol)
	if x.authority.Len > 0 && h.Has(codec.FieldHost) {
		// "If the Host header field is present, ... a server SHOULD treat a request as malformed if it contains a Host
		// header field that identifies an entity that differs from the entity in the ":authority" pseudo-header field."
		// RFC 9113 section 8.3.1
		if h.Count(codec.FieldHost) > 1 || !ascii.EqualFold(h.Get(codec.FieldHost), h.Authority()) {
			return &errHostMismatch
		}
		h.Remove(codec.FieldHost)
	}
	if err := checkAuthority(h); err != nil {
		return err
	}
	h.Version, h.KeepAlive = codec.Version20, true
	h.ContentLength = x.length
	if m == codec.MethodCONNECT { // "0" at most, which says nothing here and would say something of the request that it is made into
		h.ContentLength = -1
		h.Remove(codec.FieldContentLength)
	}
	if ends && x.length > 0 {
		return &errBodyLength
	}
	h.Chunked = !ends && x.length < 0 && m != codec.MethodCONNECT
	h.Expect100 = !ends && h.Has(codec.FieldExpect) && equalLower(h.Get(codec.FieldExpect), "100-continue")
	return nil
}

// checkRequest applies the rules about which pseudo-fields there are.
//
// "All HTTP/2 requests MUST include exactly one valid value for the ":method", ":scheme", and ":path" pseudo-header
// fields, unless they are CONNECT requests"
// RFC 9113 section 8.3.1
func (x *section) checkRequest(opt *Options) *codec.Error {
	const whole = pseudoMethod | pseudoScheme | pseudoPath
	if x.pseudo&pseudoMethod == 0 {
		return &errPseudo
	}
	method := x.dst[x.method.Value:x.method.End]
	if !ascii.All(method, ascii.Token) || len(method) == 0 {
		return &errMethod
	}
	extended := x.pseudo&pseudoProtocol != 0
	if string(method) == "CONNECT" && !extended {
		// "The ":scheme" and ":path" pseudo-header fields MUST be omitted." RFC 9113 section 8.5
		if x.pseudo&(pseudoScheme|pseudoPath) != 0 || x.pseudo&pseudoAuthority == 0 || x.length > 0 {
			return &errPseudo
		}
		return nil
	}
	if extended && (string(method) != "CONNECT" || !opt.ConnectProtocol || x.pseudo&pseudoAuthority == 0 ||
		!ascii.All(x.at(x.protocol), ascii.Token) || x.protocol.Len == 0 || x.length > 0) {
		return &errPseudo
	}
	if x.pseudo&whole != whole || !isScheme(x.at(x.scheme)) {
		return &errPseudo
	}
	path := x.at(x.path)
	switch {
	case len(path) == 0, !ascii.IsTarget(path), path[0] != '/' && !(string(path) == "*" && string(method) == "OPTIONS"):
		return &errTarget
	case len(path) > opt.Limits.TargetBytes:
		return &errTargetTooLong
	}
	return nil
}

func (x *section) at(s codec.Span) []byte { return x.dst[s.Off : s.Off+s.Len] }

// isScheme reports whether b is a scheme (RFC 3986 section 3.1).
func isScheme(b []byte) bool {
	return len(b) > 0 && b[0]|0x20 >= 'a' && b[0]|0x20 <= 'z' && ascii.All(b, ascii.Token) && bytes.IndexByte(b, '_') < 0
}

// checkAuthority applies the rules for :authority, or the Host field in its place.
func checkAuthority(h *codec.RequestHead) *codec.Error {
	a := h.Authority()
	switch {
	case h.Count(codec.FieldHost) > 1:
		return &errHost
	case len(a) == 0:
		return &errHostMissing
	case !ascii.All(a, ascii.Host):
		// "":authority" MUST NOT include the deprecated userinfo subcomponent for "http" or "https" schemed URIs."
		return &errHost
	}
	return nil
}

// onTrailers handles a header block of a stream that has its head.
func (c *conn) onTrailers(id, slot uint32, block []byte, ev *codec.Event) *codec.Error {
	x := section{trailers: true, request: !c.client, fields: ev.Trailers}
	if ev.Trailers != nil {
		ev.Trailers.Reset()
	}
	if err := c.decode(block, &x); err != nil {
		return err
	}
	s := &c.streams.slots[slot]
	switch {
	case s.state&recvEnd != 0:
		return c.resetStream(id, &errClosedStream, ev)
	case !c.blockEnds:
		// "An endpoint that receives a HEADERS frame without the END_STREAM flag set after receiving the HEADERS frame
		// that opens a request or after receiving a final (non-informational) status code MUST treat the corresponding
		// request or response as malformed." RFC 9113 section 8.1
		return c.resetStream(id, &errTrailersEnd, ev)
	case s.bodyLeft == bodyTunnel:
		return c.resetStream(id, &errTunnelFrame, ev)
	case x.err != nil:
		return c.resetStream(id, x.err, ev)
	case s.bodyLeft > 0:
		return c.resetStream(id, &errBodyLength, ev)
	}
	ev.Kind, ev.Stream, ev.Slot, ev.End = codec.EventTrailers, codec.StreamID(id), slot, true
	if ev.Trailers == nil {
		ev.Kind = codec.EventData
	} else {
		ev.Trailers.SetBuffer(x.dst)
	}
	c.ended(s)
	return nil
}
