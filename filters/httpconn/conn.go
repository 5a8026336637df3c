package httpconn

import (
	"time"

	"millrace/codec"
	"millrace/codec/h1"
	"millrace/codec/h2"
	"millrace/engine"
	"millrace/filters"
	"millrace/filters/accesslog"
)

// conn is one downstream connection that speaks HTTP/1.1 or 1.0. While it is idle it holds nothing but this.
type conn struct {
	link

	// Owned by the loop.
	codec      h1.Server
	stream     *stream // the request under way, nil while there is none
	prev, next *conn   // in Manager.conns
}

// OnConnect implements engine.Handler. An accepted connection is connected from the start.
func (c *conn) OnConnect() {}

// OnData implements engine.Handler: it feeds the codec until the bytes are used up, or
// until a request has to wait.
func (c *conn) OnData(b []byte) (n int) {
	if !c.known && !c.recognize(b) {
		return 0
	}
	for n < len(b) && !c.closed && !c.io.ReadPaused() {
		s := c.stream
		if s == nil && c.io.Full() {
			// A peer that does not read its responses gets no more of them: OnWriteLow.
			c.piped = true
			c.io.PauseRead()
			return n
		}
		if s == nil {
			s = c.m.begin(c)
			c.stream = s
		} else if s.Received(filters.Request) {
			// The next request of a pipeline waits in the kernel for this one's response.
			c.piped = true
			c.io.PauseRead()
			return n
		} else if s.spliceRq.span != 0 {
			// What it was spliced to broke, and took nobody knows how much.
			s.closing = true
			return len(b)
		}
		ev := &c.m.ev
		ev.Request, ev.Trailers = &s.Request, &c.m.trailers
		k, err := c.codec.Feed(b[n:], ev)
		n += k
		s.Info.WireReceived += uint64(k)
		if err != nil {
			c.refuse(s, err)
			return len(b)
		}
		switch ev.Kind {
		case codec.EventNone:
			c.awaitHead(s, b[n:])
			return n
		case codec.EventHead:
			if ev.End && s.Request.Has(codec.FieldUpgrade) && c.upgrade(s) {
				return n
			}
			s.onHead(ev.End)
		case codec.EventData:
			opaque := ev.Opaque
			s.onData(ev.Data, ev.End)
			if opaque != 0 && n == len(b) && c.stream == s && !c.closed {
				s.spliceRequest(opaque)
			}
		case codec.EventTrailers:
			s.onTrailers(ev.Trailers)
		}
	}
	if c.closed {
		return len(b)
	}
	return n
}

// recognize looks which version of HTTP a connection begins with. It reports false when there is nothing to do here: too little
// has come, or the connection is another's now.
func (c *conn) recognize(b []byte) bool {
	n := min(len(b), len(h2.Preface))
	if string(b[:n]) != h2.Preface[:n] {
		c.speaksHTTP1()
		return true
	}
	if n == len(h2.Preface) {
		m, base := c.m, c.link
		m.unlink(c)
		m.keepConn(c)
		base.io.SetHandler(m.newConn2(base, h2.NewServer(&m.http2, &m.scratch2)))
	}
	return false
}

// speaksHTTP1 notes that the connection is one of HTTP/1.
func (c *conn) speaksHTTP1() {
	c.known = true
	c.m.stats.CxHTTP1Total.Inc()
	c.m.stats.CxHTTP1Active.Inc()
}

// awaitHead arms the deadline of a head that has begun. A lone empty line begins none.
func (c *conn) awaitHead(s *stream, rest []byte) {
	if s.headSeen {
		return
	}
	if len(rest) == 0 && s.Request.Len() == 0 {
		c.dropStream(s)
		return
	}
	if !s.headTimed && c.m.cfg.RequestHeadersTimeout > 0 {
		s.headTimed = true
		c.wait(c.m.cfg.RequestHeadersTimeout)
	}
}

// dropStream takes back a stream for which no byte of a request came.
func (c *conn) dropStream(s *stream) {
	c.stream = nil
	c.m.end(s)
}

// refuse answers what the codec could not read, and ends the connection.
func (c *conn) refuse(s *stream, err *codec.Error) {
	c.m.stats.CxProtocolError.Inc()
	c.m.stats.Broken.Inc(err.Reason)
	if s.headSeen { // inside a body: there is no telling where the next request begins
		s.Info.Flags |= accesslog.FlagDownstreamProtocolError
		if s.Started(filters.Response) {
			s.abort(err.Reason.String())
			return
		}
	} else {
		c.m.stats.RqTotal.Inc()
		c.m.stats.RqHTTP1Total.Inc()
		s.headSeen = true
		s.refused = true
	}
	s.SendLocalReply(filters.LocalReply{
		Status: err.Code, Details: err.Reason.String(),
		Flags: accesslog.FlagDownstreamProtocolError, Close: true,
	})
}

// OnEOF implements engine.Handler. A peer that has ended its direction after a whole request
// still gets the response.
func (c *conn) OnEOF() {
	c.eof = true
	s := c.stream
	if s == nil {
		c.closeEnded()
		return
	}
	ev := &c.m.ev
	ev.Request, ev.Trailers = &s.Request, &c.m.trailers
	if err := c.codec.EOF(ev); err != nil {
		s.onDownstreamGone()
		return
	}
	if ev.Kind == codec.EventData && ev.End && !s.Received(filters.Request) {
		s.onData(ev.Data, true) // the end of a tunnel's direction
		return
	}
	if c.m.cfg.AbortOnHalfClose {
		s.onDownstreamGone()
		return
	}
	c.codec.SetClose()
}

// OnWriteLow implements engine.Handler.
func (c *conn) OnWriteLow() {
	s := c.stream
	switch {
	case s != nil && s.full:
		s.full = false
		c.m.chain.Terminal().ResumeResponse(&s.Stream)
	case s == nil && c.piped:
		c.piped = false
		c.io.ResumeRead()
	}
}

// OnClose implements engine.Handler: the connection broke.
func (c *conn) OnClose(engine.CloseReason) {
	c.m.stats.CxDestroyRemote.Inc()
	c.closed = true
	c.m.forget(c)
	if s := c.stream; s != nil {
		c.m.stats.CxDestroyActiveRq.Inc()
		c.m.stats.CxDestroyRemoteRq.Inc()
		s.onDownstreamGone()
	}
}

// OnTimeout implements engine.Handler.
func (c *conn) OnTimeout() {
	s := c.stream
	switch {
	case s == nil && c.io.Buffered() > 0:
		c.onFlushTimeout()
	case s == nil && c.m.drains():
		c.m.stats.CxDrainClose.Inc()
		c.closeLocal()
	case s == nil && c.isOld():
		c.m.stats.CxMaxDuration.Inc()
		c.closeLocal()
	case s == nil && c.requests > 0 && !c.flushSeen:
		c.flushSeen = true
		if idle := c.m.cfg.IdleTimeout; idle > 0 {
			c.wait(c.withinLife(idle - c.m.cfg.StreamIdleTimeout))
		}
	case s == nil && c.requests == 0 && c.m.cfg.RequestHeadersTimeout > 0:
		c.m.stats.RqHeaderTimeout.Inc()
		c.closeLocal()
	case s == nil:
		c.m.stats.CxIdleTimeout.Inc()
		c.closeLocal()
	default:
		s.onTimeout()
	}
}

// idle is where the connection is between two requests.
func (c *conn) idle() {
	c.unpipe()
	if c.isOld() {
		c.m.stats.CxMaxDuration.Inc()
		c.closeLocal()
		return
	}
	if c.m.drains() { // the response was on its way before that and has not said so
		c.awaitLast()
		return
	}
	// What is staged now may not fit into the socket: whether the peer takes the last response is
	// looked at once, in the middle of the idle time.
	c.flushed, c.flushSeen = uint32(c.io.BytesOut()), false
	first, idle := c.m.cfg.StreamIdleTimeout, c.m.cfg.IdleTimeout
	if first == 0 || idle > 0 && idle <= first {
		c.flushSeen, first = true, idle
	}
	c.wait(c.withinLife(first))
	if c.m.handOut != nil {
		c.m.handOut.offer(c)
	}
}

// awaitLast gives an idle connection that has to end the time for one more request, whose response
// will say so.
func (c *conn) awaitLast() {
	if d := c.m.cfg.DrainTimeout; d > 0 {
		c.wait(d)
		return
	}
	c.m.stats.CxDrainClose.Inc()
	c.closeLocal()
}

// onFlushTimeout looks whether a peer still takes the last response. One that takes nothing of it
// for stream_idle_timeout is cut off: it holds a queue.
func (c *conn) onFlushTimeout() {
	if sent := uint32(c.io.BytesOut()); sent != c.flushed {
		c.idle()
		return
	}
	c.m.stats.TxFlushTimeout.Inc()
	c.m.stats.CxDestroyLocal.Inc()
	c.closeAbruptly()
}

// closeFlushed ends a connection whose peer has asked for it: nothing more comes, so there is no
// reset to fear, and one system call does.
func (c *conn) closeFlushed() { c.closeWithin(0) }

// closeLocal ends the connection for a reason of ours, after what is queued has gone, and gives
// the peer time to read it.
func (c *conn) closeLocal() { c.closeWithin(c.m.cfg.DelayedCloseTimeout) }

func (c *conn) closeWithin(linger time.Duration) {
	if c.closed {
		return
	}
	c.closed = true
	c.m.stats.CxDestroyLocal.Inc()
	c.m.forget(c)
	c.io.CloseLinger(linger)
}

// closeAbruptly ends the connection so that the peer cannot take a broken response for a whole one. Who
// wanted that is counted by the caller.
func (c *conn) closeAbruptly() {
	if c.closed {
		return
	}
	c.closed = true
	c.m.forget(c)
	c.io.Reset()
}

// closeEnded ends a connection whose peer has ended it between two requests, after what is queued has gone.
func (c *conn) closeEnded() {
	c.m.stats.CxDestroyRemote.Inc()
	c.closed = true
	c.m.forget(c)
	c.io.CloseLinger(0)
}
