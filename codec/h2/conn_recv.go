package h2

import (
	"millrace/codec"
)

// feed handles frames until there is an event to report. It is Feed of both sides.
//
// Hot path: BenchmarkServerFeed.
func (c *conn) feed(b []byte, ev *codec.Event) (n int, err *codec.Error) {
	clearEvent(ev)
	for ev.Kind == codec.EventNone {
		data := c.data.stream
		k, err := c.next(b[n:], ev)
		n += k
		switch {
		case err == nil:
		case err.Scope == codec.ScopeStream:
			if !c.countBroken(err) {
				ev.Kind = codec.EventNone
				return n, c.fail(&errResets)
			}
			return n, err
		default:
			ev.Kind = codec.EventNone
			return n, c.fail(err)
		}
		if k == 0 && c.data.stream == data { // an empty DATA frame is over without a byte used up
			break
		}
	}
	return n, nil
}

// clearEvent sets what Feed sets anew each time.
func clearEvent(ev *codec.Event) {
	ev.Kind, ev.Stream, ev.Slot, ev.End, ev.Code, ev.Data, ev.Opaque = codec.EventNone, 0, 0, false, 0, nil, 0
}

// next handles the start of b: a piece of data, or a whole frame of another kind. With n 0 more bytes are needed.
func (c *conn) next(b []byte, ev *codec.Event) (n int, err *codec.Error) {
	switch {
	case c.phase == phaseFrames && c.data.stream != 0:
		return c.feedData(b, ev)
	case c.phase == phasePreface:
		return c.preface(b)
	case c.phase == phaseFailed:
		return 0, c.failed
	case len(b) < frameHeadLen:
		return 0, nil
	}
	h := parseFrameHead(b)
	if err := c.checkHead(h); err != nil {
		return 0, err
	}
	if h.typ == frameData {
		k, err := c.beginData(h, b[frameHeadLen:])
		if k < 0 {
			return 0, nil
		}
		return frameHeadLen + k, err
	}
	if len(b)-frameHeadLen < h.length {
		return 0, nil
	}
	n = frameHeadLen + h.length
	return n, c.frame(h, b[frameHeadLen:n], ev)
}

// preface uses up the client's preface.
func (c *conn) preface(b []byte) (n int, err *codec.Error) {
	n = min(len(b), len(Preface))
	if string(b[:n]) != Preface[:n] {
		return 0, &errPreface
	}
	if n < len(Preface) {
		return 0, nil
	}
	c.phase = phaseSettings
	return n, nil
}

// checkHead applies what holds for the head of any frame.
func (c *conn) checkHead(h frameHead) *codec.Error {
	if c.phase == phaseSettings { // first of all: what is no HTTP/2 has no length
		// "This sequence MUST be followed by a SETTINGS frame" and "The server connection preface consists of a
		// potentially empty SETTINGS frame that MUST be the first frame"
		// RFC 9113 section 3.4
		if h.typ != frameSettings || h.flags&flagAck != 0 {
			return &errPreface
		}
		c.phase = phaseFrames
	}
	if uint32(h.length) > c.opt.FrameBytes {
		return &errFrameSize
	}
	// "Any CONTINUATION frame ... A receiver MUST treat the receipt of any other type of frame or a frame on a different
	// stream as a connection error of type PROTOCOL_ERROR."
	// RFC 9113 section 6.10
	if c.blockStream != 0 && (h.typ != frameContinuation || h.stream != c.blockStream) {
		return &errFrame
	}
	return nil
}

// frame handles a whole frame that is not DATA.
func (c *conn) frame(h frameHead, p []byte, ev *codec.Event) *codec.Error {
	switch h.typ {
	case frameHeaders:
		return c.onHeaders(h, p, ev)
	case frameContinuation:
		return c.onContinuation(h, p, ev)
	case frameWindowUpdate:
		return c.onWindowUpdate(h, p, ev)
	case frameRSTStream:
		return c.onReset(h, p, ev)
	case frameSettings:
		return c.onSettings(h, p, ev)
	case framePing:
		return c.onPing(h, p)
	case frameGoAway:
		return c.onGoAway(h, p, ev)
	case framePriority:
		return c.onPriority(h, p, ev)
	case framePriorityUpdate:
		return c.onPriorityUpdate(h, p)
	case framePushPromise:
		// "A client cannot push. Thus, servers MUST treat the receipt of a PUSH_PROMISE frame as a connection error of
		// type PROTOCOL_ERROR." RFC 9113 section 8.4. And a client of ours has refused it in its SETTINGS.
		return &errFrame
	}
	// "Implementations MUST discard frames of unknown types." RFC 9113 section 5.5
	return c.spend(&errUnknownFrames)
}

// spend takes one frame that carries nothing from the budget of the connection.
func (c *conn) spend(flood *codec.Error) *codec.Error {
	if !c.control.take(c.now, c.opt.ControlFrames, c.opt.ControlFramesPerSecond) {
		return flood
	}
	return nil
}

// earn lets the peer send some more frames that carry nothing, for one that carries something. What it has earned keeps: who reads
// late gives all the windows back at once.
func (c *conn) earn() { c.control.grant(c.opt.ControlFramesPerData, earnedMax*c.opt.ControlFrames) }

// earnedMax is how many times Options.ControlFrames a peer may have earned and not used.
const earnedMax = 64

// countReset counts a stream that the peer reset, or made us reset. It reports false beyond the limit: work is begun for
// streams that nobody waits for.
func (c *conn) countReset() bool {
	return c.resets.take(c.now, c.opt.Resets, c.opt.ResetsPerSecond)
}

// brokenCost is how many resets a stream counts for that a client made us reset in a way that none does by the rules, not
// even when frames cross: it sent what is malformed, or opened more streams than it has acknowledged there may be.
const brokenCost = 5

// countBroken counts a stream that was reset for err. It reports false beyond the limit.
func (c *conn) countBroken(err *codec.Error) bool {
	cost := 1
	if !c.client && (err.Code == ProtocolError || err == &errRefusedKnown) {
		cost = brokenCost
	}
	for range cost {
		if !c.countReset() {
			return false
		}
	}
	return true
}

// emptyFrame counts a frame without content and without an end.
func (c *conn) emptyFrame() *codec.Error {
	c.empty++
	if c.empty > c.opt.EmptyFrames {
		return &errEmptyFrames
	}
	return nil
}

// isIdle reports whether a stream has not been opened yet.
func (c *conn) isIdle(id uint32) bool {
	if id&1 == 1 == c.client { // one of ours
		return id > c.lastLocal
	}
	return id > c.lastPeer
}

// resetStream ends a stream because of what the peer did. The caller of Feed is told if it knows the stream.
func (c *conn) resetStream(id uint32, err *codec.Error, ev *codec.Event) *codec.Error {
	if slot, ok := c.streams.find(id); ok {
		if c.streams.slots[slot].state&recvHead != 0 || c.client {
			ev.Kind, ev.Stream, ev.Slot, ev.Code = codec.EventReset, codec.StreamID(id), slot, uint32(err.Code)
		}
		c.closeStream(id)
	}
	c.sendReset(id, uint32(err.Code))
	return err
}

// ended notes that the peer has ended its direction of s, and forgets s if ours has ended too.
func (c *conn) ended(s *stream) {
	s.state |= recvEnd
	if s.state&sentEnd != 0 {
		c.closeStream(s.id)
	}
}

// eof is what the end of the peer's direction means: every open stream is cut off. The caller knows which those are.
func (c *conn) eof(ev *codec.Event) *codec.Error {
	clearEvent(ev)
	switch {
	case c.phase == phaseFailed:
		return c.failed
	case c.streams.count > 0 || c.blockStream != 0 || c.data.stream != 0:
		return &errIncomplete
	}
	return nil
}

var errIncomplete = connError(NoError, codec.ReasonBodyIncomplete)
