package filters

import "millrace/codec"

// Direction is one of the two halves of a stream.
type Direction uint8

const (
	Request Direction = iota
	Response
)

// half is one direction of a stream: how far its message has come through the filters.
//
//	source ─▶ filter 0 ─▶ … ─▶ filter at, which holds ─▶ … ─▶ sink
//
// Pieces that arrive while a filter holds the message are kept here. Invariant: all kept
// bytes have been seen by the filters before seen, and by no other.
type half struct {
	hold Verdict // Continue, or Pause or Buffer while a filter (or the sink) holds the message
	at   int8    // who holds: the index of a filter, or the number of filters for the sink
	head int8    // filters that have seen the head
	seen int8    // filters that have seen the kept bytes

	released bool // the filter that buffers has let go, in its last verdict
	more     bool // pieces follow that are neither kept nor passed yet
	headDone bool // the sink has the head
	ended    bool // the source has given the last part
	endDone  bool // the sink has the last part

	kept     Body
	trailers *codec.Fields // held trailers, nil if there are none
}

// endsWith reports whether the message ends with piece k of what was kept.
func (h *half) endsWith(kept *Body, k int) bool {
	return h.ended && !h.more && h.trailers == nil && k == kept.Pieces()-1
}

// Pass brings the head of direction d from its source into the filters. It reports whether
// the stream is still the same afterwards: false when it ended or was answered meanwhile.
func (s *Stream) Pass(d Direction, end bool) bool {
	s.halves[d].ended = end
	return s.advance(d)
}

// PassData brings a piece of a body from its source into the filters.
func (s *Stream) PassData(d Direction, b []byte, end bool) bool {
	h := &s.halves[d]
	h.ended = end
	if h.hold == Continue {
		return s.passFresh(d, 0, b, end)
	}
	return s.passHeld(d, 0, b, end) && s.advance(d)
}

// PassTrailers brings the trailers, which end a message, into the filters. t must stay valid
// until the stream ends. A filter that buffers is shown an empty last piece.
func (s *Stream) PassTrailers(d Direction, t *codec.Fields) bool {
	h := &s.halves[d]
	h.ended, h.trailers = true, t
	return s.advance(d)
}

// Resume lets the message of direction d move on from whoever holds it. A stale token is ignored.
func (s *Stream) Resume(d Direction, t Token) {
	h := &s.halves[d]
	if s.token != t || h.hold == Continue {
		return
	}
	if h.hold == Pause {
		s.down.ResumeSource(d)
	}
	h.hold, h.released = Continue, false
	s.advance(d)
}

// Started reports whether the head of direction d has reached its sink.
func (s *Stream) Started(d Direction) bool { return s.halves[d].headDone }

// Ended reports whether the message of direction d has reached its sink whole.
func (s *Stream) Ended(d Direction) bool { return s.halves[d].endDone }

// Received reports whether the source of direction d has given the last part.
func (s *Stream) Received(d Direction) bool { return s.halves[d].ended }

// advance moves the message of direction d on as far as the filters let it.
func (s *Stream) advance(d Direction) bool {
	h := &s.halves[d]
	for h.hold != Continue || !h.headDone {
		switch h.hold {
		case Pause:
			return true
		case Buffer:
			if !s.offerKept(d) {
				return false
			}
			if h.hold == Buffer {
				return true
			}
		default:
			if !s.advanceHead(d) {
				return false
			}
		}
	}
	return s.releaseKept(d)
}

// advanceHead shows the head to the next filter, or gives it to the sink.
func (s *Stream) advanceHead(d Direction) bool {
	h := &s.halves[d]
	end := h.ended && h.kept.Len() == 0 && h.trailers == nil
	i := int(h.head)
	v := Continue
	if i == s.chain.Len() {
		h.headDone, h.endDone = true, end
		v = s.down.SinkHead(d, end)
	} else {
		h.head++
		v = s.chain.head(d, i, s, end)
	}
	if v == Replied || !s.live() {
		return false
	}
	if v != Continue {
		s.holdAt(d, v, i)
	}
	return true
}

// holdAt notes that filter i holds direction d, or the sink if i is the number of filters.
func (s *Stream) holdAt(d Direction, v Verdict, i int) {
	h := &s.halves[d]
	h.hold, h.at = v, int8(i)
	if h.kept.Len() == 0 { // nothing to catch up with: what comes is seen up to here
		h.seen = int8(i)
		if v == Buffer {
			h.seen++
		}
	}
	if v == Pause {
		s.down.PauseSource(d)
	}
}

// offerKept shows what is kept to the filters up to the one that buffers, and lets the message go on
// if that filter does. If trailers wait, the filter is shown an empty last piece.
func (s *Stream) offerKept(d Direction) bool {
	h := &s.halves[d]
	for h.seen <= h.at {
		i := int(h.seen)
		h.seen++
		for k := 0; k < h.kept.Pieces(); k++ {
			v := s.chain.data(d, i, s, h.kept.Piece(k), h.endsWith(&h.kept, k))
			if v == Replied || !s.live() {
				return false
			}
			if i == int(h.at) {
				s.heldVerdict(d, v)
			}
		}
	}
	if h.trailers != nil && h.hold == Buffer && !h.more && !h.released {
		v := s.chain.data(d, int(h.at), s, nil, true)
		if v == Replied || !s.live() {
			return false
		}
		s.heldVerdict(d, v)
	}
	if h.released {
		h.released, h.hold = false, Continue
	}
	return true
}

// heldVerdict takes what the filter that holds says of one more piece. One that pauses is not asked.
func (s *Stream) heldVerdict(d Direction, v Verdict) {
	h := &s.halves[d]
	if h.hold != Buffer {
		return
	}
	h.released = v == Continue
	if v == Pause {
		h.hold = Pause
		s.down.PauseSource(d)
	}
}

// releaseKept sends what is kept, the trailers and the end through the filters that have not seen
// them, and to the sink.
func (s *Stream) releaseKept(d Direction) bool {
	h := &s.halves[d]
	kept, from := h.kept, int(h.seen)
	h.kept, h.seen = Body{}, 0
	for k := 0; k < kept.Pieces(); k++ {
		ok := true
		if h.released { // by the filter that held the pieces before this one: they go first
			more := h.more
			h.more = true
			ok = s.advance(d)
			h.more = more
		}
		switch end := h.endsWith(&kept, k); {
		case !ok:
		case h.hold == Continue:
			ok = s.passFresh(d, from, kept.Piece(k), end)
		default:
			ok = s.passHeld(d, from, kept.Piece(k), end)
		}
		if !ok {
			s.freeSent(&kept)
			return false
		}
	}
	ended := kept.Len() > 0
	if ended {
		s.freeSent(&kept)
	}
	switch {
	case h.hold == Buffer && (h.released || h.trailers != nil && !h.more):
		return s.advance(d)
	case h.more || h.hold != Continue || !h.ended || h.endDone:
		return true
	case h.trailers != nil:
		return s.passTrailers(d)
	case ended:
		return true
	}
	return s.passFresh(d, from, nil, true) // the end came alone
}

// freeSent frees pieces that were given to the sink, which may have referenced them until the end
// of the event.
func (s *Stream) freeSent(b *Body) {
	s.down.Loop().FlushStage()
	b.Free(s.pool())
}

// passFresh shows a piece to the filters from the given one on and gives it to the sink. A
// filter may hold it; then it is kept, and so are the pieces that follow.
func (s *Stream) passFresh(d Direction, from int, b []byte, end bool) bool {
	h := &s.halves[d]
	if s.chain.ObservesData(d) {
		for i := from; i < s.chain.Len(); i++ {
			v := s.chain.data(d, i, s, b, end)
			if v == Replied || !s.live() {
				return false
			}
			if v != Continue {
				s.holdAt(d, v, i)
				h.seen = int8(i) + 1
				return s.keep(d, b)
			}
		}
	}
	h.endDone = end
	s.down.SinkData(d, b, end)
	return s.live()
}

// passHeld shows a piece to those filters, from the given one on, that have seen what is kept, and keeps it.
func (s *Stream) passHeld(d Direction, from int, b []byte, end bool) bool {
	h := &s.halves[d]
	for i := from; i < int(h.seen); i++ {
		v := s.chain.data(d, i, s, b, end)
		if v == Replied || !s.live() {
			return false
		}
		if i == int(h.at) {
			s.heldVerdict(d, v)
		}
	}
	return s.keep(d, b)
}

// passTrailers runs the trailers through the filters and to the sink.
func (s *Stream) passTrailers(d Direction) bool {
	h := &s.halves[d]
	for i := 0; i < s.chain.Len(); i++ {
		if v := s.chain.trailers(d, i, s, h.trailers); v == Replied || !s.live() {
			return false
		}
	}
	h.endDone = true
	s.down.SinkTrailers(d, h.trailers)
	return s.live()
}

// keep stores a piece, within the buffer limit.
func (s *Stream) keep(d Direction, b []byte) bool {
	h := &s.halves[d]
	if len(b) == 0 {
		return true
	}
	if h.kept.Len()+len(b) > s.BufferLimit[d] || !h.kept.Append(s.pool(), b) {
		s.down.BufferOverflow(d)
		return false
	}
	return true
}
