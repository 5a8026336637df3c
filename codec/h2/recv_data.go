package h2

import "millrace/codec"

// beginData handles the head of a DATA frame, and its padding length. p is what has come behind the head; n is what of
// it was used, -1 if the padding length has not come yet.
func (c *conn) beginData(h frameHead, p []byte) (n int, err *codec.Error) {
	if h.stream == 0 {
		return 0, &errFrame
	}
	length, pad := h.length, 0
	if h.flags&flagPadded != 0 {
		if h.length == 0 {
			return 0, &errFrameSize
		}
		if len(p) == 0 {
			return -1, nil
		}
		if pad, length, n = int(p[0]), h.length-1, 1; pad > length {
			return 0, &errPadding
		}
	}
	// "The entire DATA frame payload is included in flow control, including the Pad Length and Padding fields if
	// present." RFC 9113 section 6.1
	if h.length > int(c.recvWindow) {
		return 0, &errWindow
	}
	c.recvWindow -= int32(h.length)
	s := c.streams.get(h.stream)
	c.data = dataFrame{stream: h.stream, left: length - pad, pad: pad, ends: h.flags&flagEndStream != 0, open: s != nil}
	if n > 0 {
		c.credit(1 + int32(pad)) // nobody will consume it
	}
	if err = c.checkData(h, s, length-pad); err != nil && err.Scope == codec.ScopeConn {
		return 0, err
	}
	if length == pad && !c.data.ends {
		if e := c.emptyFrame(); e != nil {
			return 0, e
		}
	} else {
		c.empty = 0
		c.earn()
	}
	if err != nil {
		c.data.open = false
		c.dataReset = err
	} else if h.length == n && !c.data.ends {
		c.data.stream = 0 // there is nothing to pass on
	}
	return n, nil
}

// checkData applies the rules for a DATA frame with so many bytes of data.
func (c *conn) checkData(h frameHead, s *stream, n int) *codec.Error {
	switch {
	case s == nil && c.isIdle(h.stream):
		return &errFrame
	case s == nil && c.isLate(h.stream):
		return nil // it was under way
	case s == nil:
		return &errClosedStream
	case s.state&recvEnd != 0:
		return &errClosedStream
	case s.state&recvHead == 0:
		return &errHeadMissing
	case h.length > int(s.recvWindow):
		return &errStreamWindow
	}
	s.recvWindow -= int32(h.length)
	if pad := int32(h.length - n); pad > 0 && h.flags&flagEndStream == 0 {
		s.consumed += pad
	}
	// "A request or response is also malformed if the value of a content-length header field does not equal the sum of
	// the DATA frame payload lengths that form the content"
	// RFC 9113 section 8.1.1
	if s.bodyLeft >= 0 {
		if s.bodyLeft -= int64(n); s.bodyLeft < 0 || c.data.ends && s.bodyLeft > 0 {
			return &errBodyLength
		}
	}
	return nil
}

// feedData passes on what has come of a DATA frame.
func (c *conn) feedData(b []byte, ev *codec.Event) (n int, err *codec.Error) {
	d := &c.data
	if err = c.dataReset; err != nil {
		c.dataReset = nil
		return 0, c.resetStream(d.stream, err, ev)
	}
	n = min(len(b), d.left)
	data := b[:n]
	d.left -= n
	if d.left == 0 { // padding is not waited for
		k := min(len(b)-n, d.pad)
		d.pad -= k
		n += k
	}
	id, open := d.stream, d.open
	if d.left == 0 && d.pad == 0 {
		d.stream = 0
	} else if n == 0 {
		return 0, nil
	}
	if !open {
		c.credit(int32(len(data)))
		return n, nil
	}
	slot, _ := c.streams.find(id)
	end := d.ends && d.stream == 0
	if len(data) > 0 || end {
		ev.Kind, ev.Stream, ev.Slot, ev.End, ev.Data = codec.EventData, codec.StreamID(id), slot, end, data
	}
	if end {
		c.ended(&c.streams.slots[slot])
	}
	return n, nil
}
