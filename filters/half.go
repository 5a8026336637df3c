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
// Where a filter rewrites the body, the half is cut in two: behind that filter another half begins, with a count of
// bytes of its own, whose source the filter is. See rewrite.go.
//
// Invariant: all filters and the sink are equally far, unless marked.
type half struct {
	d    Direction
	lo   int   // the first of its filters, in the order of the direction
	hi   int   // behind its last filter; only valid with next, see Stream.behind
	next *half // of the message as the last filter has rewritten it; nil if the sink is the stream's

	total uint64 // bytes of the body so far
	sent  uint64 // of which the sink has
	from  uint64 // of which byte of the body kept is the first

	kept     Body
	marks    []mark        // of the filters, in the order of the direction; only valid if marked
	trailers *codec.Fields // nil if there are none, or not yet
	epoch    uint32        // changes when a walk must not go on; of the first half of a direction, as is cut

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

// reach returns what the i-th filter of h may be shown; i is the number of filters for the sink.
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
	*h = half{d: h.d, kept: h.kept, marks: h.marks[:0], epoch: h.epoch + 1}
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
func (s *Stream) Pass(d Direction, end bool) bool { return s.pass(&s.halves[d], end) }

func (s *Stream) pass(h *half, end bool) bool {
	d, at := h.d, s.moment(h.d)
	h.ended = end
	for i := h.lo; i < s.behind(h); i++ {
		v := s.chain.head(d, i, s, end)
		if !s.goesOn(d, at, v) {
			return false
		}
		if v != Continue {
			s.markHead(h, i, v, end)
			return true
		}
	}
	h.headDone, h.endDone = true, end
	v := s.sinkHead(h, end)
	if !s.goesOn(d, at, v) {
		return false
	}
	if v != Continue {
		s.mark(h, mark{head: true, end: end})
		s.holdSink(h)
	}
	return true
}

// PassData brings a piece of a body from its source into the filters.
func (s *Stream) PassData(d Direction, b []byte, end bool) bool {
	return s.passData(&s.halves[d], b, end)
}

func (s *Stream) passData(h *half, b []byte, end bool) bool {
	d, at := h.d, s.moment(h.d)
	if s.halves[d].cut {
		return false
	}
	h.ended = end
	if h.marked {
		return s.keep(h, b) && s.walk(h)
	}
	if s.chain.ObservesData(d) {
		for i := h.lo; i < s.behind(h); i++ {
			v := s.chain.data(d, i, s, b, end)
			if !s.goesOn(d, at, v) {
				return false
			}
			if v != Continue {
				return s.markData(h, i, v, b, end)
			}
		}
	}
	h.total += uint64(len(b))
	h.sent, h.endDone = h.total, end
	return s.sinkData(h, b, end) && s.goesOn(d, at, Continue)
}

// PassTrailers brings the trailers, which end a message, into the filters. t must stay valid
// until the stream ends. A filter that buffers is shown an empty last piece before.
func (s *Stream) PassTrailers(d Direction, t *codec.Fields) bool {
	return s.passTrailers(&s.halves[d], t)
}

func (s *Stream) passTrailers(h *half, t *codec.Fields) bool {
	d, at := h.d, s.moment(h.d)
	if s.halves[d].cut {
		return false
	}
	h.ended, h.trailers = true, t
	if h.marked {
		return s.walk(h)
	}
	for i := h.lo; i < s.behind(h); i++ {
		v := s.chain.trailers(d, i, s, t)
		if !s.goesOn(d, at, v) {
			return false
		}
		if v != Continue {
			s.markTrailers(h, i, v)
			return true
		}
	}
	h.endDone = true
	return s.sinkTrailers(h, t) && s.goesOn(d, at, Continue)
}

// Resume lets the message of direction d move on from the filter that got the token. A stale token, and one of
// a filter that does not hold, are ignored.
func (s *Stream) Resume(d Direction, t Token) {
	if uint32(t>>tokenSlotBits) != s.token || s.halves[d].cut {
		return
	}
	i := s.chain.at(d, int(t&tokenSlotMask))
	h := s.halfOf(d, i)
	if !h.marked {
		return
	}
	m := &h.marks[i-h.lo]
	if m.hold == Continue {
		return
	}
	hold := m.hold
	m.hold, m.out = Continue, m.seen
	s.resumed(h, hold)
}

// ResumeSink lets the message of direction d move on into the sink, which held it in SinkHead. For the
// terminal, as long as the stream is the same.
func (s *Stream) ResumeSink(d Direction) {
	if h := s.lastHalf(d); h.sinkHold && !s.halves[d].cut {
		h.sinkHold = false
		s.resumed(h, Pause)
	}
}

// resumed goes on after somebody let go. Whoever did may not be the handler of the downstream connection.
func (s *Stream) resumed(h *half, hold Verdict) {
	loop := s.down.Loop()
	before := loop.Blame(s.down.Conn())
	if hold == Pause {
		s.down.ResumeSource(h.d)
	}
	s.walk(h)
	loop.Blame(before)
}

// Started reports whether the head of direction d has reached its sink.
func (s *Stream) Started(d Direction) bool { return s.lastHalf(d).headDone }

// Ended reports whether the message of direction d has reached its sink whole.
func (s *Stream) Ended(d Direction) bool { return s.lastHalf(d).endDone }

// Received reports whether the source of direction d has given the last part.
func (s *Stream) Received(d Direction) bool { return s.halves[d].ended }

// Cut ends direction d: nothing that filters hold, and nothing that comes, is passed on any more.
func (s *Stream) Cut(d Direction) {
	s.halves[d].cut = true
	s.halves[d].epoch++
}

// walk moves what is kept on, as far as filters and sink let go of it.
func (s *Stream) walk(h *half) bool {
	at := s.moment(h.d)
	if h.walking {
		h.again = true
		return true
	}
	h.walking = true
	for again := true; again; again = h.again {
		h.again = false
		for i := 0; i < len(h.marks); i++ { // which may become fewer
			if !s.offer(h, i, at) {
				return false
			}
		}
		if !s.deliver(h, at) {
			return false
		}
	}
	h.walking = false
	s.settle(h)
	return true
}

// offer shows the i-th filter of h what it has not seen and the one in front of it has let go of.
func (s *Stream) offer(h *half, i int, at moment) bool {
	m, in := &h.marks[i], h.reach(i)
	if m.hold == Pause || !in.head {
		return true
	}
	if !m.head {
		m.head, m.end = true, h.emptyBody()
		if !s.take(h, i, s.chain.head(h.d, h.lo+i, s, m.end), at) {
			return false
		}
	}
	if !s.chain.takesData(h.d, h.lo+i) {
		m.pass(h, in)
	} else if !s.offerData(h, i, in, at) {
		return false
	}
	if in.trailers && m.hold == Continue && !m.trailers {
		m.trailers = true
		return s.take(h, i, s.chain.trailers(h.d, h.lo+i, s, h.trailers), at)
	}
	return true
}

// offerData shows the i-th filter of h, which takes data, the body.
func (s *Stream) offerData(h *half, i int, in reach, at moment) bool {
	m := &h.marks[i]
	for m.seen < in.bytes && m.hold != Pause {
		b := h.piece(m.seen, in.bytes)
		m.seen += uint64(len(b))
		m.end = h.lastPiece(in, m.seen)
		if !s.take(h, i, s.chain.data(h.d, h.lo+i, s, b, m.end), at) {
			return false
		}
	}
	if m.hold == Pause || m.end || m.trailers || m.seen != h.total {
		return true
	}
	if h.lastPiece(in, m.seen) || in.trailers && m.hold == Buffer { // the end comes alone
		m.end = true
		return s.take(h, i, s.chain.data(h.d, h.lo+i, s, nil, true), at)
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

// take notes what the i-th filter of h answered to a part it was shown. It reports whether the walk goes on.
func (s *Stream) take(h *half, i int, v Verdict, at moment) bool {
	if !s.goesOn(h.d, at, v) {
		return false
	}
	m := &h.marks[i]
	m.hold = v
	switch v {
	case Continue:
		m.out = m.seen
	case Pause:
		s.down.PauseSource(h.d)
	}
	return true
}

// deliver gives the sink what the last filter has let go of.
func (s *Stream) deliver(h *half, at moment) bool {
	in := h.reach(len(h.marks))
	if !in.head || h.sinkHold {
		return true
	}
	if !h.headDone {
		h.headDone, h.endDone = true, h.emptyBody()
		v := s.sinkHead(h, h.endDone)
		if !s.goesOn(h.d, at, v) {
			return false
		}
		if v != Continue {
			s.holdSink(h)
			return true
		}
	}
	for h.sent < in.bytes {
		b := h.piece(h.sent, in.bytes)
		h.sent += uint64(len(b))
		h.endDone = h.lastPiece(in, h.sent)
		if !s.sinkData(h, b, h.endDone) || !s.goesOn(h.d, at, Continue) {
			return false
		}
	}
	switch {
	case h.endDone || h.sent != h.total:
		return true
	case in.trailers:
		h.endDone = true
		return s.sinkTrailers(h, h.trailers) && s.goesOn(h.d, at, Continue)
	case h.lastPiece(in, h.sent): // the end comes alone
		h.endDone = true
		return s.sinkData(h, nil, true) && s.goesOn(h.d, at, Continue)
	}
	return true
}

// holdSink notes that the sink holds.
func (s *Stream) holdSink(h *half) {
	h.sinkHold = true
	s.down.PauseSource(h.d)
}

// settle gives back what the sink has of the kept body, and drops the marks if that is all. The sink may have
// referenced it until the end of the event.
func (s *Stream) settle(h *half) {
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

// mark gives every filter of h the same mark.
func (s *Stream) mark(h *half, m mark) {
	h.marked, h.marks = true, h.marks[:0]
	for range s.behind(h) - h.lo {
		h.marks = append(h.marks, m)
	}
}

// markHead notes that filter i holds the head.
func (s *Stream) markHead(h *half, i int, v Verdict, end bool) {
	s.mark(h, mark{})
	for j := range i - h.lo + 1 {
		h.marks[j] = mark{head: true, end: end}
	}
	s.hold(h, i, v)
}

// markData notes that filter i holds a piece that those in front of it have let go of, and keeps it.
func (s *Stream) markData(h *half, i int, v Verdict, b []byte, end bool) bool {
	at := h.total
	s.mark(h, mark{head: true, seen: at, out: at})
	if !s.keep(h, b) {
		return false
	}
	for j := range i - h.lo + 1 {
		h.marks[j] = mark{head: true, end: end, seen: h.total, out: h.total}
	}
	h.marks[i-h.lo].out = at
	s.hold(h, i, v)
	return true
}

// markTrailers notes that filter i holds the trailers.
func (s *Stream) markTrailers(h *half, i int, v Verdict) {
	s.mark(h, mark{head: true, seen: h.total, out: h.total})
	for j := range i - h.lo + 1 {
		h.marks[j].trailers = true
	}
	s.hold(h, i, v)
}

// hold notes that filter i, which is marked, holds.
func (s *Stream) hold(h *half, i int, v Verdict) {
	h.marks[i-h.lo].hold = v
	if v == Pause {
		s.down.PauseSource(h.d)
	}
}

// keep stores a piece, within the buffer limit.
func (s *Stream) keep(h *half, b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if h.kept.Len() == 0 {
		h.from = h.total
	}
	if s.keptBytes(h.d)+len(b) > s.BufferLimit[h.d] || !h.kept.Append(s.pool(), b) {
		s.down.BufferOverflow(h.d)
		return false
	}
	h.total += uint64(len(b))
	return true
}
