package httpconn

import (
	"millrace/codec"
	"millrace/engine"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/filters/route"
)

// SendLocalReply implements filters.Downstream: a response of our own, through the response filters.
func (s *stream) SendLocalReply(r filters.LocalReply) {
	s.Info.Flags |= r.Flags
	if s.outgoing || s.gone {
		s.abort(r.Details)
		return
	}
	// A filter may hold the reply: until it is out, nothing else may move on the stream.
	s.m.chain.Terminal().Abandon(&s.Stream)
	s.Cut(filters.Request)
	s.Restart(filters.Response)
	s.replied = true
	s.closing = s.closing || r.Close
	s.Info.Details = r.Details
	s.localBody = r.Body
	s.phase = phaseResponseFilters
	h := &s.Response
	h.Reset()
	if len(r.Location) == 0 && !s.PlainReplies && filters.IsGRPC(s.Request.Get(codec.FieldContentType)) {
		r = grpcReply(h, r)
	}
	h.Status, h.ContentLength = r.Status, int64(len(r.Body))
	if buf, ok := s.m.own(&s.responseBlock, 0); ok {
		h.Own(buf)
	}
	s.addReplyFields(&r)
	body := append(s.m.scratch[:0], r.Body...)
	s.m.scratch = body[:0]
	if s.Pass(filters.Response, len(body) == 0) && len(body) > 0 {
		s.PassData(filters.Response, body, true)
	}
}

// grpcReply makes a reply one that a gRPC client understands: a head alone that says what went wrong.
func grpcReply(h *codec.ResponseHead, r filters.LocalReply) filters.LocalReply {
	filters.SetGRPCStatus(&h.Fields, &r)
	r.Status, r.Body, r.ContentType = 200, "", "application/grpc"
	return r
}

// addReplyFields fills the head of a local reply.
func (s *stream) addReplyFields(r *filters.LocalReply) {
	h := &s.Response
	if len(r.Location) > 0 {
		h.Add(codec.FieldLocation, r.Location)
	}
	if r.Overloaded {
		h.Add(codec.FieldXEnvoyOverloaded, []byte("true"))
	}
	switch {
	case r.ContentType != "":
		h.AddString("content-type", r.ContentType)
	case r.Body != "":
		h.AddString("content-type", "text/plain")
	}
	if s.m.opt.server != nil {
		h.Set(codec.FieldServer, s.m.opt.server)
	}
}

// Informational implements filters.Downstream: a 1xx head goes straight on (RFC 9110 section 15.2).
func (s *stream) Informational(h *codec.ResponseHead) {
	if s.outgoing || s.Request.Version < codec.Version11 {
		return // "A server MUST NOT send a 1xx response to an HTTP/1.0 client."
	}
	s.m.stats.Rq1xx.Inc()
	s.removeHopByHop(&h.Fields, false)
	s.wire.sendInformational(s, h)
}

// OwnResponse implements filters.Downstream.
func (s *stream) OwnResponse() {
	buf, _ := s.m.own(&s.responseBlock, s.Response.HeadBytes())
	s.Response.Own(buf) // without a block, on the heap: the log may need the head after its event
}

// sendHead sends the head of the final response.
func (s *stream) sendHead(end bool) {
	m := s.m
	h := &s.Response
	now := m.loop.Now()
	s.outgoing, s.active = true, now
	s.Info.DownstreamFirstTx = now
	s.Info.Status = uint16(h.Status)
	if !s.replied {
		s.finishResponseHead()
	} else if !h.Has(codec.FieldDate) {
		h.Add(codec.FieldDate, m.date())
	}
	if s.Route != nil {
		s.Route.ApplyResponse(h, s.Random, s.HeaderValues)
	}
	n := s.wire.sendHead(s, end)
	s.Info.ResponseHeadBytes = uint32(n)
	m.stats.countStatus(h.Status)
	m.listenerStats.countStatus(h.Status)
	switch {
	case end:
		s.endResponse()
	case s.tunnel && s.eof: // the peer had nothing to say in it
		s.onData(nil, true)
	}
}

// sendTrailers sends the trailers, which end the response.
func (s *stream) sendTrailers(t *codec.Fields) {
	s.sent = t
	s.wire.sendTrailers(s, t)
}

// endResponse is where the last byte of the response has been written or queued. It is the end of a tunnel too:
// the pool has closed the connection to the origin. Where it is not, the tunnel ends with its other direction.
func (s *stream) endResponse() {
	if s.tunnel && s.HalfClose && !s.Ended(filters.Request) {
		s.halfOpen = true
		s.wire.closeWrite()
		return
	}
	s.finish()
}

// endTunnel is where the client's direction of a tunnel has been passed on whole.
func (s *stream) endTunnel() {
	if s.halfOpen {
		s.finish()
	}
}

// becomesTunnel reports whether the response that is going out makes the stream a tunnel: a 101 or a 2xx to CONNECT.
func (s *stream) becomesTunnel() bool {
	return s.Response.Status == 101 || s.Request.Method() == codec.MethodCONNECT && s.Response.Status/100 == 2
}

// openTunnel makes the stream a tunnel.
func (s *stream) openTunnel() {
	s.tunnel = true
	s.Reopen(filters.Request)
	s.m.stats.CxUpgradesTotal.Inc()
	s.m.stats.CxUpgradesActive.Inc()
}

// log writes the stream's line to the access logs.
func (s *stream) log() {
	s.m.log.Log(s.describe())
}

// describe fills the loop's record with what is known of the stream.
func (s *stream) describe() *accesslog.Record {
	m := s.m
	r := &m.record
	r.Reset()
	r.Info = s.Info
	r.Request = &s.Request
	if s.outgoing {
		r.Response = &s.Response
	}
	r.ResponseTrailers = s.sent
	if s.replied {
		r.LocalReplyBody = s.localBody
	}
	now := m.loop.Now()
	r.End = now
	r.StartUnix = m.loop.Unix() - (now - s.Info.Start)
	r.Protocol = s.Request.Version
	if s.Route != nil {
		r.RouteName = s.Route.Name
		r.VirtualHost = s.Route.VirtualHost.Name
	}
	s.wire.describe(r)
	if s.Client.IsValid() && s.Client != r.Remote.NetIP() {
		r.Remote = engine.AddrFrom(s.Client, 0, 0)
	}
	r.StreamID = s.Random
	m.chain.Terminal().Describe(&s.Stream, r)
	return r
}

// Value implements route.Values: the text of a header value with operators.
func (s *stream) Value(id route.FormatID) []byte {
	m := s.m
	if int(id) >= len(s.formats) {
		return nil
	}
	at := len(m.values)
	m.values = s.formats[id].Append(m.values, s.describe())
	return m.values[at:len(m.values):len(m.values)]
}
