package httpconn

import "millrace/codec"

// Responses leave in the order in which they come, as long as the peer takes them. What its windows or the write queue do
// not let through waits with its stream, and the response is paused. When there is room again, who waits is served by
// RFC 9218: lower urgency first; of one urgency first those that are of use only as a whole, in the order of their
// requests, then the incremental ones in turn.

// stage returns the staging buffer, with what the protocol has to say in it: it must leave before what follows, which
// may refer to the header tables.
func (c *conn2) stage() []byte {
	if !c.batch && c.io.Buffered() == 0 {
		c.batch = true
		c.io.SetBatch(true)
	}
	b := c.io.Stage()
	if c.codec.HasControl() {
		from := len(b)
		b = c.codec.AppendControl(b)
		c.io.Staged(b)
		if c.io.Full() {
			c.controls += countFrames(b[from:])
		}
	}
	return b
}

// sendControl sends what the protocol has to say.
func (c *conn2) sendControl() {
	if c.closed || !c.codec.HasControl() {
		return
	}
	c.stage()
	if c.controls > c.m.cfg2.MaxOutboundControlFrames {
		c.m.stats2.ControlFlood.Inc()
		c.m.stats.CxProtocolError.Inc()
		c.m.stats.CxDestroyLocal.Inc()
		c.endStreams(0, "http2.outbound_control_flood")
		c.closeAbruptly()
	}
}

// closeAbruptly ends the connection without waiting for what is queued.
func (c *conn2) closeAbruptly() {
	if c.closed {
		return
	}
	c.closed = true
	c.m.forget2(c)
	c.io.Reset()
}

// countFrames returns the number of frames in b.
func countFrames(b []byte) (count int) {
	const head = 9
	for len(b) >= head {
		n := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
		b = b[min(len(b), head+n):]
		count++
	}
	return count
}

// staged gives the staging buffer back with what of a response was appended to it.
func (c *conn2) staged(s *stream, before, after []byte) {
	s.Info.WireSent += uint64(len(after) - len(before))
	c.io.Staged(after)
}

// sendContinue implements wire.
func (c *conn2) sendContinue(s *stream) {
	b := c.stage()
	c.staged(s, b, c.codec.AppendContinue(b, s.id))
}

// sendInformational implements wire.
func (c *conn2) sendInformational(s *stream, h *codec.ResponseHead) {
	if h.Status == 101 {
		return
	}
	b := c.stage()
	c.staged(s, b, c.codec.AppendResponseHead(b, s.id, h, false))
}

// sendHead implements wire.
func (c *conn2) sendHead(s *stream, end bool) int {
	if c.m.drains() && c.life.drain(c) {
		c.m.stats.CxDrainClose.Inc()
	}
	h := &s.Response
	switch {
	case s.connect && s.becomesTunnel():
		s.acceptUpgrade()
		c.openTunnel2(s)
	case h.Status == 101, // nobody asked for it
		s.web && h.Status/100 == 2: // an answer to the GET that it became, which here would open a tunnel, RFC 8441 section 5
		h.Status = 502
		s.Info.Status = 502
	}
	s.bodyless = s.Request.Method() == codec.MethodHEAD || h.Status == 204 || h.Status == 304
	b := c.stage()
	after := c.codec.AppendResponseHead(b, s.id, h, end)
	c.staged(s, b, after)
	return len(after) - len(b)
}

// sendData implements wire.
func (c *conn2) sendData(s *stream, b []byte, end bool) {
	if s.bodyless {
		b = nil
	}
	switch {
	case len(b) == 0 && !end:
		return
	case s.out.n > 0 || c.stalled && len(b) > 0:
	default:
		b = c.send(s, b, end)
		if len(b) == 0 {
			c.sentAll(s, end)
			return
		}
	}
	c.keep(s, b, end)
}

// send writes as much of b as the peer takes, and returns the rest.
func (c *conn2) send(s *stream, b []byte, end bool) (rest []byte) {
	for first := true; first || len(b) > 0; first = false {
		n := len(b)
		if n > 0 {
			if c.io.Full() {
				return b
			}
			if n = min(n, c.codec.Writable(s.id), c.codec.FrameMax()); n == 0 {
				s.noWindow = true
				return b
			}
		}
		c.frame(s, b[:n], end && n == len(b))
		b = b[n:]
	}
	return nil
}

// batchMax is the size from which a piece of a body is written at the end of the event: gathering it for
// the end of the turn would copy it.
const batchMax = 8 << 10

// frame writes one DATA frame.
func (c *conn2) frame(s *stream, b []byte, end bool) {
	s.active = c.m.loop.Now()
	s.Info.ResponseBytes += uint64(len(b))
	s.Info.WireSent += uint64(len(b))
	at := c.stage()
	c.staged(s, at, c.codec.AppendDataPrefix(at, s.id, len(b), end))
	if c.batch && len(b) >= batchMax {
		c.batch = false
		c.io.SetBatch(false)
	}
	if s.replied || s.out.n > 0 {
		c.io.Write(b) // scratch memory, not the event's
	} else {
		c.io.WriteRef(b)
	}
}

// sentAll goes on after a piece that left whole.
func (c *conn2) sentAll(s *stream, end bool) {
	switch {
	case end:
		s.endResponse()
	case !s.full && c.io.Full():
		c.enqueue(s)
	}
}

// enqueue pauses the response, until there is room.
func (c *conn2) enqueue(s *stream) {
	if !s.waits {
		s.waits = true
		s.prev, s.next = c.last, nil
		if c.last != nil {
			c.last.next = s
		} else {
			c.first = s
		}
		c.last = s
	}
	if !s.full && !s.outEnd {
		s.full = true
		c.m.chain.Terminal().PauseResponse(&s.Stream)
	}
}

// room implements wire: what the windows let through.
func (c *conn2) room(s *stream) int { return c.codec.Writable(s.id) }

// unlist takes s off the list of those that wait.
func (c *conn2) unlist(s *stream) {
	if !s.waits {
		return
	}
	s.waits = false
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		c.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		c.last = s.prev
	}
	s.prev, s.next = nil, nil
}

// keep makes what the peer does not take wait with its stream, within the budget of the connection.
func (c *conn2) keep(s *stream, b []byte, end bool) {
	m := c.m
	if !c.mayHold(len(b)) || !s.out.append(m.loop.Arena(), b) {
		m.stats2.PendingOverflow.Inc()
		s.calm = true
		s.abort("http2.pending_send_overflow")
		return
	}
	c.holds(len(b))
	m.stats2.PendingSend.Add(int64(len(b)))
	c.forgetHeads(s)
	s.outEnd = end
	if !s.noWindow {
		c.stalled = true
	}
	c.enqueue(s)
	c.hurry(s)
}

// dropOutput forgets what waits of a response.
func (c *conn2) dropOutput(s *stream) {
	c.unlist(s)
	c.holds(-s.out.n)
	c.m.stats2.PendingSend.Add(-int64(s.out.n))
	s.out.free(c.m.loop.Arena())
}

// sendTrailers implements wire.
func (c *conn2) sendTrailers(s *stream, t *codec.Fields) {
	if s.out.n > 0 {
		s.outEnd, s.outTrailers = true, t
		return
	}
	b := c.stage()
	c.staged(s, b, c.codec.AppendTrailers(b, s.id, t))
	s.endResponse()
}

// closeWrite implements wire. The stream's END_STREAM has gone.
func (c *conn2) closeWrite() {}

// onWindow notes that the peer takes more.
func (c *conn2) onWindow(ev *codec.Event) {
	c.pumpDue = true
	if ev.Stream != 0 {
		if s := c.stream(ev); s != nil {
			s.noWindow = false
		}
		return
	}
	for s := c.first; s != nil; s = s.next {
		s.noWindow = false
	}
}

// pump lets those that wait go on, as far as the peer takes it.
func (c *conn2) pump() {
	c.pumpDue, c.stalled = false, false
	c.busy = true
	for !c.closed {
		s := c.mostUrgent()
		if s == nil {
			break
		}
		if c.io.Full() || s.out.n > 0 && c.codec.ConnWritable() == 0 {
			c.stalled = true
			break
		}
		c.pumpOne(s)
	}
	c.busy = false
}

// mostUrgent returns the first of those that wait for anything but their own window.
func (c *conn2) mostUrgent() (best *stream) {
	var rank uint64
	for s := c.first; s != nil; s = s.next {
		if s.noWindow && s.out.n > 0 {
			continue
		}
		urgency, incremental := c.codec.Priority(s.id)
		r := uint64(urgency) << 33
		if incremental {
			r |= 1 << 32 // in turn, which is the order of the list
		} else {
			r |= uint64(s.id)
		}
		if best == nil || r < rank {
			best, rank = s, r
		}
	}
	return best
}

// pumpOne sends one frame of s, or lets its response go on if there is nothing to send.
func (c *conn2) pumpOne(s *stream) {
	if s.out.n == 0 {
		c.unlist(s)
		c.resume(s)
		return
	}
	b := s.out.peek()
	n := min(len(b), c.codec.Writable(s.id), c.codec.FrameMax())
	if n == 0 {
		s.noWindow = true
		return
	}
	end := s.outEnd && n == s.out.n && s.outTrailers == nil
	c.frame(s, b[:n], end)
	s.out.skip(c.m.loop.Arena(), n)
	c.holds(-n)
	c.m.stats2.PendingSend.Add(-int64(n))
	c.unlist(s)
	switch {
	case s.out.n > 0:
		c.enqueue(s) // at the end of the list: the others have their turn
	case end:
		s.endResponse()
	case s.outTrailers != nil:
		t := s.outTrailers
		s.outTrailers = nil
		c.sendTrailers(s, t)
	default:
		c.resume(s)
	}
}

// resume lets a response go on.
func (c *conn2) resume(s *stream) {
	if s.full {
		s.full = false
		c.m.chain.Terminal().ResumeResponse(&s.Stream)
	}
}
