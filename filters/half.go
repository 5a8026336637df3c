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
//	source ─▶ filter 0 ─▶ filter 1 ─▶ … ─▶ sink
//
// Mostly each part goes straight through, in the call that brings it. As soon as somebody holds a part, all
// that comes is kept, every filter gets a mark of how far it has come, and parts move on from filter to
// filter as far as each lets go of them. So any number of filters, and the sink, may hold at the same time. When the
// sink has everything the marks are dropped.
//
// Invariant: all filters and the sink are equally far, unless marked.
type half struct {
	total uint64 // bytes of the body so far
	sent  uint64 // of which the sink has
	from  uint64 // of which byte of the body kept is the first

	kept     Body
	marks    []mark        // of the filters, in the order of the direction; only valid if marked
	trailers *codec.Fields // nil if there are none, or not yet
	epoch    uint32        // changes when a walk must not go on

	marked   bool
	sinkHold bool // the sink holds
	headDone bool // the sink has the head
	ended    bool // the source has given the last part
	endDone  bool // the sink has the last part
	cut      bool // nothing of it is passed on any more
	walking  bool
	again    bool // somebody let go during the walk
}

// A mark is how far one filter has come.
type mark struct {
	seen uint64 // bytes of the body it was shown
	out  uint64 // of which it has let go
	hold Verdict

	head, end, trailers bool // it was shown
}

// reach is how far a message has come to a filter, or to the sink.
type reach struct {
	bytes               uint64
	head, end, trailers bool
}

// reach returns what filter i may be shown; i is the number of filters for the sink.
func (h *half) reach(i int) reach {
	if i == 0 {
		return reach{h.total, true, h.ended, h.trailers != nil}
	}
	m := &h.marks[i-1]
	open := m.head && m.hold == Continue
	return reach{m.out, open, open && m.end, open && m.trailers}
}

// lastPiece reports whether a message that has come so far ends with the given byte of its body.
func (h *half) lastPiece(in reach, at uint64) bool {
	return in.end && at == h.total && h.trailers == nil
}

// emptyBody reports whether the message ends with its head.
func (h *half) emptyBody() bool { return h.ended && h.total == 0 && h.trailers == nil }

// piece returns kept bytes of the body from one of them on, at least one and not beyond end.
func (h *half) piece(at, end uint64) []byte {
	at, end = at-h.from, end-h.from
	b := h.kept.Piece(int(at / bodyBlockBytes))
	first := at - at%bodyBlockBytes
	return b[at-first : min(uint64(len(b)), end-first)]
}

// reset makes h ready for another message. Memory for marks and kept pieces stays with it.
func (h *half) reset() {
	*h = half{kept: h.kept, marks: h.marks[:0], epoch: h.epoch + 1}
}

// A moment is a life of a stream and of one half. It is over when the stream has ended or was answered.
type moment struct{ token, epoch uint32 }

func (s *Stream) moment(d Direction) moment { return moment{s.token, s.halves[d].epoch} }

// goesOn reports whether a half may go on after a call out that answered v.
func (s *Stream) goesOn(d Direction, at moment, v Verdict) bool {
	return v != Replied && s.moment(d) == at
}

// Pass brings the head of direction d from its source into the filters. It reports whether
// the stream is still the same afterwards: false when it ended or was answered meanwhile.
func (s *Stream) Pass(d Direction, end bool) bool {
	h, at := &s.halves[d], s.moment(d)
	h.ended = end
	for i := range s.chain.Len() {
		v := s.chain.head(d, i, s, end)
		if !s.goesOn(d, at, v) {
			return false
		}
		if v != Continue {
			s.markHead(d, i, v, end)
			return true
		}
	}
	h.headDone, h.endDone = true, end
	v := s.down.SinkHead(d, end)
	if !s.goesOn(d, at, v) {
		return false
	}
	if v != Continue {
		s.mark(d, mark{head: true, end: end})
		s.holdSink(d)
	}
	return true
}

// PassData brings a piece of a body from its source into the filters.
func (s *Stream) PassData(d Direction, b []byte, end bool) bool {
	h, at := &s.halves[d], s.moment(d)
	if h.cut {
		return false
	}
	h.ended = end
	if h.marked {
		return s.keep(d, b) && s.walk(d)
	}
	if s.chain.ObservesData(d) {
		for i := range s.chain.Len() {
			v := s.chain.data(d, i, s, b, end)
			if !s.goesOn(d, at, v) {
				return false
			}
			if v != Continue {
				return s.markData(d, i, v, b, end)
			}
		}
	}
	h.total += uint64(len(b))
	h.sent, h.endDone = h.total, end
	s.down.SinkData(d, b, end)
	return s.goesOn(d, at, Continue)
}

// PassTrailers brings the trailers, which end a message, into the filters. t must stay valid
// until the stream ends. A filter that buffers is shown an empty last piece before.
func (s *Stream) PassTrailers(d Direction, t *codec.Fields) bool {
	h, at := &s.halves[d], s.moment(d)
	if h.cut {
		return false
	}
	h.ended, h.trailers = true, t
	if h.marked {
		return s.walk(d)
	}
	for i := range s.chain.Len() {
		v := s.chain.trailers(d, i, s, t)
		if !s.goesOn(d, at, v) {
			return false
		}
		if v != Continue {
			s.markTrailers(d, i, v)
			return true
		}
	}
	h.endDone = true
	s.down.SinkTrailers(d, t)
	return s.goesOn(d, at, Continue)
}

// Resume lets the message of direction d move on from the filter that got the token. A stale token, and one of
// a filter that does not hold, are ignored.
func (s *Stream) Resume(d Direction, t Token) {
	h := &s.halves[d]
	if uint32(t>>tokenSlotBits) != s.token || !h.marked || h.cut {
		return
	}
	i := s.chain.at(d, int(t&tokenSlotMask))
	if uint(i) >= uint(len(h.marks)) || h.marks[i].hold == Continue {
		return
	}
	m := &h.marks[i]
	hold := m.hold
	m.hold, m.out = Continue, m.seen
	s.resumed(d, hold)
}

// ResumeSink lets the message of direction d move on into the sink, which held it in SinkHead. For the
// terminal, as long as the stream is the same.
func (s *Stream) ResumeSink(d Direction) {
	if h := &s.halves[d]; h.sinkHold && !h.cut {
		h.sinkHold = false
		s.resumed(d, Pause)
	}
}

// resumed goes on after somebody let go. Whoever did may not be the handler of the downstream connection.
func (s *Stream) resumed(d Direction, hold Verdict) {
	loop := s.down.Loop()
	before := loop.Blame(s.down.Conn())
	if hold == Pause {
		s.down.ResumeSource(d)
	}
	s.walk(d)
	loop.Blame(before)
}

// Started reports whether the head of direction d has reached its sink.
func (s *Stream) Started(d Direction) bool { return s.halves[d].headDone }

// Ended reports whether the message of direction d has reached its sink whole.
func (s *Stream) Ended(d Direction) bool { return s.halves[d].endDone }

// Received reports whether the source of direction d has given the last part.
func (s *Stream) Received(d Direction) bool { return s.halves[d].ended }

// Cut ends direction d: nothing that filters hold, and nothing that comes, is passed on any more.
func (s *Stream) Cut(d Direction) {
	s.halves[d].cut = true
	s.halves[d].epoch++
}

// walk moves what is kept on, as far as filters and sink let go of it.
func (s *Stream) walk(d Direction) bool {
	h, at := &s.halves[d], s.moment(d)
	if h.walking {
		h.again = true
		return true
	}
	h.walking = true
	for again := true; again; again = h.again {
		h.again = false
		for i := range h.marks {
			if !s.offer(d, i, at) {
				return false
			}
		}
		if !s.deliver(d, at) {
			return false
		}
	}
	h.walking = false
	s.settle(d)
	return true
}

// offer shows filter i what it has not seen and the one in front of it has let go of.
func (s *Stream) offer(d Direction, i int, at moment) bool {
	h := &s.halves[d]
	m, in := &h.marks[i], h.reach(i)
	if m.hold == Pause || !in.head {
		return true
	}
	if !m.head {
		m.head, m.end = true, h.emptyBody()
		if !s.take(d, i, s.chain.head(d, i, s, m.end), at) {
			return false
		}
	}
	if !s.chain.takesData(d, i) {
		m.pass(h, in)
	} else if !s.offerData(d, i, in, at) {
		return false
	}
	if in.trailers && m.hold == Continue && !m.trailers {
		m.trailers = true
		return s.take(d, i, s.chain.trailers(d, i, s, h.trailers), at)
	}
	return true
}

// offerData shows filter i, which takes data, the body.
func (s *Stream) offerData(d Direction, i int, in reach, at moment) bool {
	h := &s.halves[d]
	m := &h.marks[i]
	for m.seen < in.bytes && m.hold != Pause {
		b := h.piece(m.seen, in.bytes)
		m.seen += uint64(len(b))
		m.end = h.lastPiece(in, m.seen)
		if !s.take(d, i, s.chain.data(d, i, s, b, m.end), at) {
			return false
		}
	}
	if m.hold == Pause || m.end || m.trailers || m.seen != h.total {
		return true
	}
	if h.lastPiece(in, m.seen) || in.trailers && m.hold == Buffer { // the end comes alone
		m.end = true
		return s.take(d, i, s.chain.data(d, i, s, nil, true), at)
	}
	return true
}

// pass moves a filter on that does not look at the body. It can hold all the same, until it resumes.
func (m *mark) pass(h *half, in reach) {
	if m.hold == Pause {
		return
	}
	m.seen, m.end = in.bytes, m.end || h.lastPiece(in, in.bytes)
	if m.hold == Continue {
		m.out = m.seen
	}
}

// take notes what filter i answered to a part it was shown. It reports whether the walk goes on.
func (s *Stream) take(d Direction, i int, v Verdict, at moment) bool {
	if !s.goesOn(d, at, v) {
		return false
	}
	m := &s.halves[d].marks[i]
	m.hold = v
	switch v {
	case Continue:
		m.out = m.seen
	case Pause:
		s.down.PauseSource(d)
	}
	return true
}

// deliver gives the sink what the last filter has let go of.
func (s *Stream) deliver(d Direction, at moment) bool {
	h := &s.halves[d]
	in := h.reach(len(h.marks))
	if !in.head || h.sinkHold {
		return true
	}
	if !h.headDone {
		h.headDone, h.endDone = true, h.emptyBody()
		v := s.down.SinkHead(d, h.endDone)
		if !s.goesOn(d, at, v) {
			return false
		}
		if v != Continue {
			s.holdSink(d)
			return true
		}
	}
	for h.sent < in.bytes {
		b := h.piece(h.sent, in.bytes)
		h.sent += uint64(len(b))
		h.endDone = h.lastPiece(in, h.sent)
		s.down.SinkData(d, b, h.endDone)
		if !s.goesOn(d, at, Continue) {
			return false
		}
	}
	switch {
	case h.endDone || h.sent != h.total:
		return true
	case in.trailers:
		h.endDone = true
		s.down.SinkTrailers(d, h.trailers)
	case h.lastPiece(in, h.sent): // the end comes alone
		h.endDone = true
		s.down.SinkData(d, nil, true)
	}
	return s.goesOn(d, at, Continue)
}

// holdSink notes that the sink holds.
func (s *Stream) holdSink(d Direction) {
	s.halves[d].sinkHold = true
	s.down.PauseSource(d)
}

// settle gives back what the sink has of the kept body, and drops the marks if that is all. The sink may have
// referenced it until the end of the event.
func (s *Stream) settle(d Direction) {
	h := &s.halves[d]
	if n := int(h.sent-h.from) / bodyBlockBytes; h.sent != h.total && n > 0 {
		s.down.Loop().FlushStage()
		h.kept.drop(s.pool(), n)
		h.from += uint64(n) * bodyBlockBytes
	} else if h.sent == h.total && h.kept.Len() > 0 {
		s.down.Loop().FlushStage()
		h.kept.Free(s.pool())
	}
	if h.sent != h.total || !h.headDone || h.sinkHold {
		return
	}
	for i := range h.marks {
		if h.marks[i].hold != Continue {
			return
		}
	}
	h.marked, h.marks = false, h.marks[:0]
}

// mark gives every filter the same mark.
func (s *Stream) mark(d Direction, m mark) {
	h := &s.halves[d]
	h.marked, h.marks = true, h.marks[:0]
	for range s.chain.Len() {
		h.marks = append(h.marks, m)
	}
}

// markHead notes that filter i holds the head.
func (s *Stream) markHead(d Direction, i int, v Verdict, end bool) {
	s.mark(d, mark{})
	h := &s.halves[d]
	for j := range i + 1 {
		h.marks[j] = mark{head: true, end: end}
	}
	s.hold(d, i, v)
}

// markData notes that filter i holds a piece that those in front of it have let go of, and keeps it.
func (s *Stream) markData(d Direction, i int, v Verdict, b []byte, end bool) bool {
	h := &s.halves[d]
	at := h.total
	s.mark(d, mark{head: true, seen: at, out: at})
	if !s.keep(d, b) {
		return false
	}
	for j := range i + 1 {
		h.marks[j] = mark{head: true, end: end, seen: h.total, out: h.total}
	}
	h.marks[i].out = at
	s.hold(d, i, v)
	return true
}

// markTrailers notes that filter i holds the trailers.
func (s *Stream) markTrailers(d Direction, i int, v Verdict) {
	h := &s.halves[d]
	s.mark(d, mark{head: true, seen: h.total, out: h.total})
	for j := range i + 1 {
		h.marks[j].trailers = true
	}
	s.hold(d, i, v)
}

// hold notes that filter i, which is marked, holds.
func (s *Stream) hold(d Direction, i int, v Verdict) {
	s.halves[d].marks[i].hold = v
	if v == Pause {
		s.down.PauseSource(d)
	}
}

// keep stores a piece, within the buffer limit.
func (s *Stream) keep(d Direction, b []byte) bool {
	h := &s.halves[d]
	if len(b) == 0 {
		return true
	}
	if h.kept.Len() == 0 {
		h.from = h.total
	}
	if int(h.total-h.sent)+len(b) > s.BufferLimit[d] || !h.kept.Append(s.pool(), b) {
		s.down.BufferOverflow(d)
		return false
	}
	h.total += uint64(len(b))
	return true
}
