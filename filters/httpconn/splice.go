package httpconn

import (
	"millrace/codec"
	"millrace/filters"
)

// Long bodies that no filter looks at go from socket to socket: the router splices responses,
// and asks the connection here; requests are spliced out of the connection here, and the
// router is asked. docs/decisions/0014-splice.md has the thresholds' figures.
const (
	// SpliceAfterBytes is how much of a body passes through the proxy before the rest is spliced:
	// a pipe costs two system calls more than it saves for a short body.
	spliceAfterBytes = 512 << 10
	// spliceMinBytes is the shortest run worth splicing.
	spliceMinBytes = 256 << 10
)

// spliced is where a splice stands. The zero value is none.
type spliced struct {
	span int64 // what was asked for; negative: until the end
	left int64
}

// ResponseRoom implements filters.Downstream.
func (s *stream) ResponseRoom() int { return s.wire.room(s) }

// MaySplice implements filters.Downstream.
func (s *stream) MaySplice(n int64) bool {
	if s.Info.ResponseBytes < spliceAfterBytes || !worthSplicing(n) || !s.outgoing || s.full ||
		s.m.chain.ObservesData(filters.Response) || s.Request.Method() == codec.MethodHEAD {
		return false
	}
	c, ok := s.wire.(*conn) // bodies of HTTP/2 lie in frames
	return ok && (n > 0 || c.codec.Raw())
}

func worthSplicing(n int64) bool { return n < 0 || n >= spliceMinBytes }

// SpliceBegun implements filters.Downstream: what is staged here still goes first.
func (s *stream) SpliceBegun(n int64) {
	s.splice = spliced{span: n, left: n}
	if n > 0 {
		c := s.wire.(*conn)
		c.staged(s, c.io.Stage(), c.codec.AppendDataPrefix(c.io.Stage(), 0, int(n), false))
	}
}

// Spliced implements filters.Downstream.
func (s *stream) Spliced(n int64) {
	c := s.wire.(*conn)
	s.active = s.m.loop.Now()
	s.Info.ResponseBytes += uint64(n)
	s.Info.WireSent += uint64(n)
	if s.splice.span < 0 {
		c.staged(s, c.io.Stage(), c.codec.AppendDataPrefix(c.io.Stage(), 0, int(n), false))
		return
	}
	if s.splice.left -= n; s.splice.left == 0 && n > 0 {
		c.staged(s, c.io.Stage(), c.codec.AppendDataSuffix(c.io.Stage(), 0, int(s.splice.span), false))
		s.splice = spliced{}
	}
}

// spliceRequest lets the rest of a run of the request's body pass by, if that is worth it and possible.
func (s *stream) spliceRequest(n int64) {
	if s.Info.RequestBytes < spliceAfterBytes || !worthSplicing(n) || s.replied && !s.tunnel ||
		s.pauses > 0 || s.m.chain.ObservesData(filters.Request) {
		return
	}
	if s.m.chain.Terminal().SpliceRequest(&s.Stream, n) {
		s.spliceRq = spliced{span: n, left: n}
	}
}

// OnSplice implements engine.Handler: n bytes of the request have passed by. OnEOF follows an end.
func (c *conn) OnSplice(n int64, done, _ bool) {
	s := c.stream
	if s == nil {
		return
	}
	c.codec.Skip(0, n)
	s.active = c.m.loop.Now()
	s.Info.RequestBytes += uint64(n)
	s.Info.WireReceived += uint64(n)
	if s.spliceRq.span > 0 {
		s.spliceRq.left -= n
	}
	if !done {
		return
	}
	span := s.spliceRq
	s.spliceRq = spliced{}
	if span.span > 0 && span.left == 0 {
		c.m.chain.Terminal().SplicedRequest(&s.Stream, span.span)
	}
	if c.codec.RequestDone() && !s.tunnel {
		s.onData(nil, true)
	}
}
