package httpconn

import (
	"millrace/codec"
	"millrace/codec/h2"
	"millrace/engine"
	"millrace/engine/timer"
	"millrace/filters/accesslog"
)

// conn2 is one downstream connection that speaks HTTP/2.
//
//	OnData ── feed ──▶ codec ──events──▶ streams          when the whole read was fed:
//	                                     fresh ──────────▶ begin: routes, filters, upstream
//	OnWriteLow, EventWindow ───────────▶ waiting ────────▶ pump: by urgency, see h2_send.go
//
// What a stream cannot pass on waits with it, never on the connection: another stream may need what comes next.
type conn2 struct {
	link

	// Owned by the loop.
	codec      *h2.Server
	streams    []*stream // by Event.Slot
	active     int       // of them
	fresh      []*stream // whose heads have come and that have not begun; nil for one that ended meanwhile
	first      *stream   // of those whose response waits, linked by flow2.next and prev
	last       *stream
	prev, next *conn2 // in Manager.conns2
	held       int    // bytes of heads, and of responses that wait
	swollen    int    // bytes of heads beyond headBlockBytes each
	controls   int    // frames of the protocol sent while the peer takes nothing
	batch      bool   // io gathers what is written until the end of the turn
	busy       bool   // inside a call of the engine: what is due at its end need not be done now
	stalled    bool   // what waits could go, but for the window of the connection or its write queue
	pumpDue    bool
	taskDue    bool // RunTask is on its way
	weak       bool // TLS has agreed on a cipher suite that HTTP/2 forbids
	life       life
}

// flow2 is what a stream has besides when it came by HTTP/2.
type flow2 struct {
	id        codec.StreamID
	slot      uint32
	fresh     int  // index plus 1 in conn2.fresh
	headBlock int  // bytes of the block of its head
	swollen   int  // what of them counts as such, see swell
	ended     bool // the peer has ended its direction, or given the stream up
	bodyless  bool // the response has no body
	waits     bool // it is in the list of those whose response waits
	noWindow  bool // the peer does not take more of it
	owed      bool // the request goes on in RunTask
	connect   bool // the request may become a tunnel: its data waits until then
	web       bool // of it: an extended CONNECT
	calm      bool // it ends because the peer asks too much

	next, prev *stream // in conn2.first

	out         backlog       // of the response
	outEnd      bool          // it ends with that
	outTrailers *codec.Fields // or with these

	early      []byte        // of the request: the first piece, in the bytes of the OnData that goes on
	in         backlog       // what follows
	inEnd      bool          // it ends with that
	inTrailers *codec.Fields // or with these
}

// newConn2 makes the HTTP/2 side of a connection, which says its SETTINGS at once.
func (m *Manager) newConn2(base link, server *h2.Server) *conn2 {
	c := &conn2{link: base, codec: server}
	if c.next = m.conns2; c.next != nil {
		c.next.prev = c
	}
	m.conns2 = c
	m.stats.CxHTTP2Total.Inc()
	m.stats.CxHTTP2Active.Inc()
	c.life.begin(c)
	if c.weak = tooWeak(base.session()); c.weak {
		c.taskDue = true
		m.loop.Later(c)
	}
	c.settle()
	return c
}

// OnConnect implements engine.Handler.
func (c *conn2) OnConnect() {}

// OnData implements engine.Handler. Reading never pauses: what a stream cannot take waits with it, within its window.
//
// Hot path: TestHTTP2RequestAllocs, BenchmarkHTTP2Request.
func (c *conn2) OnData(b []byte) int {
	if c.weak {
		return 0 // RunTask is on its way
	}
	c.busy = true
	n := c.feed(b)
	c.busy = false
	if !c.closed {
		c.beginFresh()
		c.keepEarly()
		c.life.afterRead(c, n < len(b))
		c.settle()
	}
	if c.closed {
		return len(b)
	}
	return n
}

// feed gives the codec all it can use.
func (c *conn2) feed(b []byte) (n int) {
	m := c.m
	ev := &m.ev
	c.codec.SetNow(m.loop.Now())
	for !c.closed {
		ev.Request, ev.Trailers = &m.head, &m.trailers
		k, err := c.codec.Feed(b[n:], ev)
		n += k
		switch {
		case err == nil:
			if ev.Kind == codec.EventNone {
				return n
			}
			c.handle(ev)
		case err.Scope == codec.ScopeConn:
			c.fail(err)
		default:
			c.onStreamError(ev, err)
		}
	}
	return n
}

// handle reacts to an event.
func (c *conn2) handle(ev *codec.Event) {
	switch ev.Kind {
	case codec.EventHead:
		c.open(ev)
	case codec.EventData:
		if s := c.stream(ev); s != nil {
			c.takeData(s, ev.Data, ev.End)
		} else {
			c.codec.Consume(ev.Stream, len(ev.Data))
		}
	case codec.EventTrailers:
		if s := c.stream(ev); s != nil {
			c.m.stats2.Trailers.Inc()
			c.takeTrailers(s, ev.Trailers)
		}
	case codec.EventReset:
		c.m.stats2.RxReset.Inc()
		if s := c.stream(ev); s != nil {
			s.endedByPeer(accesslog.FlagDownstreamRemoteReset, "http2.remote_reset")
		}
	case codec.EventWindow:
		c.onWindow(ev)
	case codec.EventGoAway: // it takes no pushed streams, of which there are none
	}
}

// stream returns the stream of an event, nil if it is over on our side.
func (c *conn2) stream(ev *codec.Event) *stream {
	if int(ev.Slot) >= len(c.streams) {
		return nil
	}
	if s := c.streams[ev.Slot]; s != nil && s.id == ev.Stream {
		return s
	}
	return nil
}

// open takes the head of a request. It begins when the whole read was fed: the reset may be in it as well.
func (c *conn2) open(ev *codec.Event) {
	m := c.m
	size := m.head.HeadBytes()
	if !c.maySwell(swell(size)) {
		c.refuse(ev)
		return
	}
	s := m.take()
	buf, ok := m.own(&s.requestBlock, size+c.net.ForwardedBytes())
	if !ok || !c.mayHold(len(buf)) {
		m.release(&s.requestBlock)
		m.putBack(s)
		c.refuse(ev)
		return
	}
	s.Request.Take(&m.head)
	s.Request.Own(buf)
	c.enlist(s, ev.Stream, ev.Slot, ev.End)
}

// refuse gives a request back that has not begun: its client may try it again.
func (c *conn2) refuse(ev *codec.Event) {
	c.m.stats2.StreamRefused.Inc()
	c.m.stats2.TxReset.Inc()
	if err := c.codec.Refuse(ev.Stream); err != nil {
		c.fail(err)
	}
}

// enlist makes s the stream of a request whose head has come.
func (c *conn2) enlist(s *stream, id codec.StreamID, slot uint32, end bool) {
	c.m.start(s, c)
	s.id, s.slot, s.ended = id, slot, end
	s.Info.WireReceived = uint64(s.Request.HeadBytes())
	for int(slot) >= len(c.streams) {
		c.streams = append(c.streams, nil)
	}
	c.streams[slot] = s
	c.active++
	s.headBlock, s.swollen = len(s.requestBlock.Bytes()), swell(s.Request.HeadBytes())
	c.holds(s.headBlock)
	c.swells(s.swollen)
	c.m.stats2.StreamsActive.Inc()
	c.fresh = append(c.fresh, s)
	s.fresh = len(c.fresh)
}

// beginFresh starts the requests that have come, unless the peer does not read its responses: then they wait for OnWriteLow.
func (c *conn2) beginFresh() {
	if len(c.fresh) == 0 {
		return
	}
	if c.io.Full() {
		c.timeFresh()
		return
	}
	c.busy = true
	for i := 0; i < len(c.fresh) && !c.closed; i++ {
		s := c.fresh[i]
		if s == nil {
			continue
		}
		c.fresh[i], s.fresh = nil, 0
		c.begin(s)
	}
	c.fresh = c.fresh[:0]
	c.busy = false
}

// timeFresh bounds how long requests wait for a peer that reads nothing.
func (c *conn2) timeFresh() {
	for _, s := range c.fresh {
		if s != nil && s.timer.At() == 0 {
			c.setDeadline(s, c.m.loop.Now()+int64(s.quietMax()))
		}
	}
}

// begin starts a request, and gives it what has come of its body.
func (c *conn2) begin(s *stream) {
	id := s.id
	end := s.ended && !s.hasInput()
	s.restoreUpgrade()
	s.noteHead(end || s.connect)
	s.begin(end || s.connect)
	if c.has(s, id) && s.hasInput() && !s.held() {
		c.deliver(s)
	}
}

// has reports whether a stream is still the same. Streams are reused.
func (c *conn2) has(s *stream, id codec.StreamID) bool { return s.wire == wire(c) && s.id == id }

// onStreamError counts what the peer did wrong with one stream. The codec has reset it.
func (c *conn2) onStreamError(ev *codec.Event, err *codec.Error) {
	c.m.stats2.countStream(err.Reason)
	if ev.Kind != codec.EventReset {
		return
	}
	if s := c.stream(ev); s != nil {
		s.endedByPeer(accesslog.FlagDownstreamProtocolError, err.Reason.String())
	}
}

// endedByPeer ends a stream that is gone on the wire.
func (s *stream) endedByPeer(flag accesslog.Flags, details string) {
	s.gone, s.left, s.ended = true, true, true
	s.m.stats.RqRxReset.Inc()
	s.Info.Flags |= flag
	if s.Info.Details == "" {
		s.Info.Details = details
	}
	s.finish()
}

// fail ends the connection for what the peer did. The codec has a GOAWAY ready.
func (c *conn2) fail(err *codec.Error) {
	c.m.stats.CxProtocolError.Inc()
	c.m.stats.Broken.Inc(err.Reason)
	c.m.stats2.countConn(err.Reason)
	if err.Reason == codec.ReasonResetFlood {
		c.m.stats.RqPrematureResets.Inc()
	}
	c.m.stats2.GoAwaySent.Inc()
	c.endStreams(accesslog.FlagDownstreamProtocolError, err.Reason.String())
	c.close()
}

// endStreams ends all streams: the connection does.
func (c *conn2) endStreams(flag accesslog.Flags, details string) {
	if c.active > 0 {
		c.m.stats.CxDestroyActiveRq.Inc()
	}
	busy := c.busy
	c.busy = true
	for _, s := range c.streams {
		if s != nil {
			s.endedByPeer(flag, details)
		}
	}
	c.busy = busy
}

// OnEOF implements engine.Handler. Unlike in HTTP/1.1 a peer that has ended its direction gets no responses any more: it cannot
// open windows or acknowledge anything, and clients of HTTP/2 do it only to leave.
func (c *conn2) OnEOF() {
	c.eof = true
	if c.active > 0 {
		c.m.stats.CxDestroyRemoteRq.Inc()
	}
	c.endStreams(accesslog.FlagDownstreamConnectionTermination, "downstream_remote_disconnect")
	c.close()
}

// OnWriteLow implements engine.Handler.
func (c *conn2) OnWriteLow() {
	c.controls = 0
	c.pumpDue = true
	c.beginFresh()
	c.settle()
}

// OnSplice implements engine.Handler. Bodies of HTTP/2 are not spliced.
func (c *conn2) OnSplice(int64, bool, bool) {}

// OnClose implements engine.Handler: the connection broke.
func (c *conn2) OnClose(engine.CloseReason) {
	if c.closed {
		return
	}
	c.m.stats.CxDestroyRemote.Inc()
	if c.active > 0 {
		c.m.stats.CxDestroyRemoteRq.Inc()
	}
	c.closed = true
	c.endStreams(accesslog.FlagDownstreamConnectionTermination, "downstream_remote_disconnect")
	c.m.forget2(c)
}

// settle does what is due when the calls that led here are over: what waits goes, the protocol has its say, and a
// connection that has nothing more to do ends.
func (c *conn2) settle() {
	if c.busy || c.closed {
		return
	}
	if c.pumpDue {
		c.pump()
	}
	if c.active == 0 && !c.closed && c.life.over() {
		c.close()
		return
	}
	c.sendControl()
}

// close ends the connection after what is queued has gone.
func (c *conn2) close() {
	if c.closed {
		return
	}
	c.sendControl()
	c.closed = true
	if c.eof {
		c.m.stats.CxDestroyRemote.Inc()
	} else {
		c.m.stats.CxDestroyLocal.Inc()
	}
	c.m.forget2(c)
	if c.eof {
		c.io.CloseLinger(0)
		return
	}
	c.io.CloseLinger(c.m.cfg.DelayedCloseTimeout)
}

// forget2 takes c off the list of open connections.
func (m *Manager) forget2(c *conn2) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		m.conns2 = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	m.stats.CxHTTP2Active.Dec()
	c.codec.Release()
	m.left(&c.link)
}

// onRequest implements wire.
func (c *conn2) onRequest(*stream) {
	m := c.m
	c.requests++
	m.stats.RqHTTP2Total.Inc()
	if most := m.cfg.MaxRequestsPerConnection; most > 0 && c.requests == most {
		m.stats.CxMaxRequests.Inc()
		c.life.drain(c)
	}
}

// finished implements wire: nothing of a stream that is over is waited for.
func (c *conn2) finished(s *stream) { c.release(s) }

// release implements wire.
func (c *conn2) release(s *stream) {
	m := c.m
	id := s.id
	c.streams[s.slot] = nil
	c.active--
	m.stats2.StreamsActive.Dec()
	if s.fresh > 0 {
		c.fresh[s.fresh-1] = nil
	}
	c.dropOutput(s)
	c.freeHead(s)
	unread := c.dropInput(s)
	s.timer.Stop()
	early := !s.ended
	code := uint32(h2.NoError)
	switch {
	case s.calm:
		code = h2.EnhanceYourCalm
	case s.gone && !s.Canceled:
		code = h2.InternalError
	case s.gone:
		code = h2.Cancel
	case c.codec.Owes(id): // a tunnel that is cut off, maybe after the peer has ended its direction
		code = h2.Cancel
	case early && !s.tunnel:
		m.stats.RqEarlyResponse.Inc()
	}
	left := s.left
	m.end(s)
	if c.closed {
		return
	}
	c.codec.Consume(id, unread)
	if !left && c.codec.Reset(id, code) { // one that both sides have ended is gone already
		// "A server MAY request that the client abort transmission of a request without error by sending a RST_STREAM
		// with an error code of NO_ERROR after sending a complete response"
		// RFC 9113 section 8.1
		m.stats2.TxReset.Inc()
	}
	if c.active == 0 {
		c.life.idle(c)
	}
	c.settle()
}

// streamTimer is a stream as its timer sees it.
type streamTimer stream

var _ timer.Firer = (*streamTimer)(nil)

// OnTimer implements timer.Firer.
func (t *streamTimer) OnTimer(int64) {
	s := (*stream)(t)
	c, ok := s.wire.(*conn2)
	if !ok {
		return
	}
	before := c.m.loop.Blame(c.io)
	if s.fresh > 0 || s.out.n > 0 && (s.overdue(s.active, s.idleTimeout()) || c.m.hurries() && s.overdue(s.active, hurryMax)) {
		c.m.stats2.TxFlushTimeout.Inc()
		s.Info.Flags |= accesslog.FlagStreamIdleTimeout
		s.abort("http2.tx_flush_timeout")
	} else {
		s.onTimeout()
		if s.out.n > 0 { // it goes on
			c.hurry(s)
		}
	}
	c.settle()
	c.m.loop.Blame(before)
}

// setDeadline implements wire.
func (c *conn2) setDeadline(s *stream, at int64) {
	if at == 0 {
		s.timer.Stop()
		return
	}
	c.m.loop.Wheel().Set(&s.timer, at)
}
