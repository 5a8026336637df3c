package httpconn

import (
	"millrace/codec"
	"millrace/filters"
)

// held reports whether data of the request has to wait: it has not begun, or a filter or the upstream does not take it.
func (s *stream) held() bool { return s.fresh > 0 || s.pauses > 0 || s.connect && !s.tunnel }

// hasInput reports whether something of the request waits.
func (s *stream) hasInput() bool {
	return len(s.early) > 0 || s.in.n > 0 || s.inEnd || s.inTrailers != nil
}

// takeData takes a piece of a request's body. The peer may send as much again when it has been passed on.
func (c *conn2) takeData(s *stream, b []byte, end bool) {
	s.ended = s.ended || end
	s.Info.WireReceived += uint64(len(b))
	if s.held() || s.hasInput() {
		c.hold(s, b, end)
		return
	}
	id := s.id
	s.onData(b, end)
	c.codec.Consume(id, len(b))
}

// hold keeps a piece of a request's body. The stream's window bounds how much that can be.
func (c *conn2) hold(s *stream, b []byte, end bool) {
	id := s.id
	if s.replied && !s.tunnel { // it has its answer
		s.onData(nil, end)
		c.codec.Consume(id, len(b))
		return
	}
	s.inEnd = end
	switch {
	case s.fresh > 0 && len(s.early) == 0 && s.in.n == 0:
		s.early = b
		c.m.early = append(c.m.early, s)
	case !c.moveEarly(s) || !s.in.append(c.m.loop.Arena(), b):
		c.codec.Consume(id, len(b))
		s.calm = true
		s.abort("overload")
	}
}

// moveEarly copies the first piece, which will not be valid any longer. It reports false without memory.
func (c *conn2) moveEarly(s *stream) bool {
	if len(s.early) > 0 && !s.in.append(c.m.loop.Arena(), s.early) {
		return false
	}
	s.early = nil
	return true
}

// keepEarly is called at the end of OnData: what was not taken in it has to be copied.
func (c *conn2) keepEarly() {
	m := c.m
	for _, s := range m.early {
		if s.wire == wire(c) && !c.moveEarly(s) {
			s.calm = true
			s.abort("overload")
		}
	}
	clear(m.early)
	m.early = m.early[:0]
}

// takeTrailers takes the trailers of a request.
func (c *conn2) takeTrailers(s *stream, t *codec.Fields) {
	s.ended = true
	if !s.held() && !s.hasInput() {
		s.onTrailers(t)
		return
	}
	if s.replied && !s.tunnel {
		s.onTrailers(t)
		return
	}
	s.inTrailers = t.Clone() // t is lent; trailers are rare
}

// deliver passes on what waits of a request, as long as nobody holds it.
func (c *conn2) deliver(s *stream) {
	id, loop := s.id, c.m.loop
	if b := s.early; len(b) > 0 {
		s.early = nil
		s.onData(b, s.takeEnd())
		c.codec.Consume(id, len(b))
	}
	for c.has(s, id) && !s.held() && s.in.n > 0 {
		block, b := s.in.pop()
		s.onData(b, s.takeEnd())
		loop.FlushStage() // it may be referenced until now
		loop.Arena().Return(block)
		c.codec.Consume(id, len(b))
	}
	if !c.has(s, id) || s.held() || s.in.n > 0 {
		return
	}
	switch t := s.inTrailers; {
	case t != nil:
		s.inTrailers = nil
		s.onTrailers(t)
	case s.takeEnd():
		s.onData(nil, true)
	}
}

// takeEnd reports whether the piece that was taken out of what waits is the last of the request.
func (s *stream) takeEnd() bool {
	if s.in.n > 0 || s.inTrailers != nil || !s.inEnd {
		return false
	}
	s.inEnd = false
	return true
}

// dropInput forgets what waits of a request, and returns how many bytes that was.
func (c *conn2) dropInput(s *stream) int {
	n := len(s.early) + s.in.n
	s.in.free(c.m.loop.Arena())
	s.early, s.inEnd, s.inTrailers = nil, false, nil
	return n
}

// pauseRequest implements wire: more is held with the stream, and its window closes.
func (c *conn2) pauseRequest(*stream) {}

// resumeRequest implements wire. Who resumes may be in the middle of the stream: it goes on later in the turn.
func (c *conn2) resumeRequest(s *stream) {
	if s.pauses > 0 || !s.hasInput() {
		return
	}
	c.goOn(s)
}

// goOn delivers what waits of a request later in the turn.
func (c *conn2) goOn(s *stream) {
	s.owed = true
	if !c.taskDue {
		c.taskDue = true
		c.m.loop.Later(c)
	}
}

// RunTask implements engine.Task.
func (c *conn2) RunTask() {
	c.taskDue = false
	if c.closed {
		return
	}
	if c.weak {
		c.refuseWeak()
		return
	}
	before := c.m.loop.Blame(c.io)
	c.busy = true
	for i := 0; i < len(c.streams) && !c.closed; i++ {
		if s := c.streams[i]; s != nil && s.owed {
			s.owed = false
			if !s.held() {
				c.deliver(s)
			}
		}
	}
	c.busy = false
	c.settle()
	c.m.loop.Blame(before)
}

// openTunnel2 lets the data of a request that has become a tunnel go.
func (c *conn2) openTunnel2(s *stream) {
	s.openTunnel()
	s.eof = s.ended && !s.hasInput()
	if s.Received(filters.Request) {
		return
	}
	if s.hasInput() && s.pauses == 0 {
		c.goOn(s)
	}
}
