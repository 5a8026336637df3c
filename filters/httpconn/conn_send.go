package httpconn

import (
	"math"
	"time"

	"millrace/codec"
	"millrace/filters"
)

// onRequest implements wire.
func (c *conn) onRequest(s *stream) {
	m := c.m
	c.requests++
	m.stats.RqHTTP1Total.Inc()
	if most := m.cfg.MaxRequestsPerConnection; most > 0 && c.requests >= most {
		m.stats.CxMaxRequests.Inc()
		s.closing = true
	}
}

// setDeadline implements wire: a connection has one stream at a time.
func (c *conn) setDeadline(_ *stream, at int64) { c.io.SetDeadline(at) }

// pauseRequest implements wire.
func (c *conn) pauseRequest(*stream) { c.io.PauseRead() }

// resumeRequest implements wire.
func (c *conn) resumeRequest(*stream) { c.io.ResumeRead() }

// sendContinue implements wire.
func (c *conn) sendContinue(*stream) { c.io.Staged(c.codec.AppendContinue(c.io.Stage(), 0)) }

// sendInformational implements wire.
func (c *conn) sendInformational(s *stream, h *codec.ResponseHead) {
	c.staged(s, c.io.Stage(), c.codec.AppendResponseHead(c.io.Stage(), 0, h, false))
}

// staged gives the staging buffer back with what of the response was appended to it.
func (c *conn) staged(s *stream, before, after []byte) {
	s.Info.WireSent += uint64(len(after) - len(before))
	c.io.Staged(after)
}

// sendHead implements wire.
func (c *conn) sendHead(s *stream, end bool) int {
	m := c.m
	if s.replied && !s.Received(filters.Request) && !s.shortRest(discardMaxBytes) {
		s.closing = true // the rest of the request will not be read
	}
	if m.drains() {
		m.stats.CxDrainClose.Inc()
		s.closing = true
	}
	if s.closing || c.eof {
		c.codec.SetClose()
	}
	if s.becomesTunnel() {
		s.closing, s.eof = true, c.eof
		s.openTunnel()
		c.unpipe()
	}
	before := c.io.Stage()
	after := c.codec.AppendResponseHead(before, 0, &s.Response, end)
	c.staged(s, before, after)
	return len(after) - len(before)
}

// unpipe goes on with reading where it was paused because the next request, or the other protocol of a tunnel, was there already.
func (c *conn) unpipe() {
	if c.piped {
		c.piped = false
		c.io.ResumeRead()
	}
}

// sendData implements wire.
func (c *conn) sendData(s *stream, b []byte, end bool) {
	s.active = c.m.loop.Now()
	if c.codec.ResponseDone() { // to HEAD, or a status without a body
		if end {
			s.endResponse()
		}
		return
	}
	s.Info.ResponseBytes += uint64(len(b))
	s.Info.WireSent += uint64(len(b))
	c.staged(s, c.io.Stage(), c.codec.AppendDataPrefix(c.io.Stage(), 0, len(b), end))
	if s.replied {
		c.io.Write(b) // scratch memory, not the event's
	} else {
		c.io.WriteRef(b)
	}
	c.staged(s, c.io.Stage(), c.codec.AppendDataSuffix(c.io.Stage(), 0, len(b), end))
	if end {
		s.endResponse()
		return
	}
	if c.io.Full() && !s.full {
		s.full = true
		c.m.chain.Terminal().PauseResponse(&s.Stream)
	}
}

// sendTrailers implements wire.
func (c *conn) sendTrailers(s *stream, t *codec.Fields) {
	c.staged(s, c.io.Stage(), c.codec.AppendTrailers(c.io.Stage(), 0, t))
	s.endResponse()
}

// closeWrite implements wire.
func (c *conn) closeWrite() { c.io.CloseWrite() }

// finished implements wire.
func (c *conn) finished(s *stream) {
	if c.discards(s) {
		s.replied, s.discarding = true, true
		s.Expire()
		for ; s.pauses > 0; s.pauses-- { // whoever wanted that is gone
			c.io.ResumeRead()
		}
		c.wait(s.quietMax())
		return
	}
	c.release(s)
}

// discardIdleMax is how long a stream that has its answer may stand still where stream_idle_timeout is off: while
// the rest of its request is thrown away, nobody is left who waits for it.
const discardIdleMax = time.Minute

// discardMaxBytes is how much of a request that was answered by us is read and thrown away to
// keep its connection.
const discardMaxBytes = 64 << 10

// earlyRestMaxBytes is the same for a request that its host has answered before its end: the answer has promised that the
// connection stays, and a client that sends on fills the buffers of two sockets, and takes the connection for idle then.
const earlyRestMaxBytes = 1 << 20

// discards reports whether the rest of the request is read and thrown away: it is so short that this is cheaper, for
// both sides, than a new connection; or it may be, and the client has been promised that the connection stays.
func (c *conn) discards(s *stream) bool {
	switch {
	case s.Received(filters.Request) || s.gone || s.closing || s.tunnel || c.eof:
		return false
	case s.replied:
		return s.shortRest(discardMaxBytes)
	}
	// A host has answered before the end of the request, which may be on its way. To close would be a race with
	// the client's next request:
	// "A server that sends a "close" connection option MUST initiate closure of the connection ... after it sends the
	// final response", and a client relies on it where there is none.
	// RFC 9112 section 9.6
	return c.codec.Promised() && (s.shortRest(earlyRestMaxBytes) || s.Request.Chunked && s.plainRest())
}

// shortRest reports whether what is left of the request's body is known and at most so many bytes.
func (s *stream) shortRest(most int64) bool {
	h := &s.Request
	return s.plainRest() && !h.Chunked && h.ContentLength-int64(s.Info.RequestBytes) <= most
}

// plainRest reports whether the rest of the request's body comes through here, and by itself: a client that waits for a 100
// may never send it.
func (s *stream) plainRest() bool { return s.spliceRq.span == 0 && !s.Request.Expect100 }

// framed reports whether the peer can tell by itself that the response is cut short. Then the connection ends in order:
// a reset could also destroy the end of an earlier response that the peer has not read yet.
func (s *stream) framed() bool {
	return !s.tunnel && (s.Response.ContentLength >= 0 || s.Request.Version >= codec.Version11)
}

// release implements wire: the connection goes on to the next request or ends.
func (c *conn) release(s *stream) {
	m := c.m
	pauses := s.pauses
	c.stream = nil
	gone, left, closing, early := s.gone, s.left, s.closing, !s.Received(filters.Request)
	framed, tunnel := s.framed(), s.tunnel
	last := !s.Request.KeepAlive && !early && !c.piped // the peer said that it sends no more
	m.end(s)
	switch {
	case c.closed:
	case left:
		m.stats.CxDestroyActiveRq.Inc()
		m.stats.CxDestroyRemote.Inc()
		m.stats.CxDestroyRemoteRq.Inc()
		c.closeAbruptly()
	case gone:
		m.stats.CxDestroyActiveRq.Inc()
		m.stats.CxDestroyLocalRq.Inc()
		if framed {
			c.closeLocal()
			return
		}
		m.stats.CxDestroyLocal.Inc()
		c.closeAbruptly()
	case closing || early || !c.codec.KeepAlive():
		if early && !tunnel {
			m.stats.RqEarlyResponse.Inc()
		}
		if last {
			c.closeFlushed()
		} else {
			c.closeLocal()
		}
	default:
		for ; pauses > 0; pauses-- {
			c.io.ResumeRead()
		}
		c.idle()
	}
}

// room implements wire: HTTP/1.1 has no windows.
func (c *conn) room(*stream) int { return math.MaxInt }
