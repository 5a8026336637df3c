package filters

import "millrace/codec"

// A body that a filter rewrites has another length behind it. So the half is cut there: the filter is the sink of what is in
// front, and the source of a half with the filters that follow.
//
//	source ─▶ filter 0 ─▶ filter 1, rewrites ─┬─▶ filter 2 ─▶ sink
//	          half, as it was sent            │   half.next, as rewritten
//
// A stream that nobody rewrites has one half for each direction, and pays nothing.

// Rewrite makes the calling filter rewrite the body of direction d in this stream. It is called while the filter is shown
// the head, and before it lets go of it; the head must tell of no length that would be wrong afterwards.
func (s *Stream) Rewrite(d Direction) {
	if !s.chain.rewrites(d, s.slot) {
		panic("BUG: filters: " + s.chain.links[s.slot].name + " is no rewriter")
	}
	i := s.chain.at(d, s.slot)
	h := s.halfOf(d, i)
	if h.next != nil && h.hi == i+1 { // a second call
		return
	}
	var next *half
	if n := len(s.spare); n > 0 {
		next, s.spare = s.spare[n-1], s.spare[:n-1]
	} else {
		next = new(half)
	}
	next.d, next.lo, next.hi, next.next = d, i+1, h.hi, h.next
	h.hi, h.next = i+1, next
	if h.marked { // nothing has come to those behind
		h.marks = h.marks[:h.hi-h.lo]
	}
}

// behind returns the place behind the last filter of h.
func (s *Stream) behind(h *half) int {
	if h.next != nil {
		return h.hi
	}
	return s.chain.Len()
}

// halfOf returns the half that the i-th filter of direction d is in.
func (s *Stream) halfOf(d Direction, i int) *half {
	h := &s.halves[d]
	for h.next != nil && i >= h.hi {
		h = h.next
	}
	return h
}

// lastHalf returns the half that ends in the sink of direction d.
func (s *Stream) lastHalf(d Direction) *half {
	h := &s.halves[d]
	for h.next != nil {
		h = h.next
	}
	return h
}

// join makes one half of direction d again. What the others kept is given back.
func (s *Stream) join(d Direction) {
	h := &s.halves[d]
	for next := h.next; next != nil; {
		after := next.next
		s.forget(next)
		s.spare = append(s.spare, next)
		next = after
	}
	h.next = nil
}

// keptBytes returns how much of a body is kept, in all halves of direction d.
func (s *Stream) keptBytes(d Direction) int {
	n := uint64(0)
	for h := &s.halves[d]; h != nil; h = h.next {
		n += h.total - h.sent
	}
	return int(n)
}

// sinkHead gives a head that has passed the filters of h on.
func (s *Stream) sinkHead(h *half, end bool) Verdict {
	switch {
	case h.next == nil:
		return s.down.SinkHead(h.d, end)
	case end:
		if !s.sinkEmpty(h) {
			return Replied
		}
	case !s.pass(h.next, false):
		return Replied
	}
	return Continue
}

// sinkEmpty gives a message on that ends with its head, and may get a body.
func (s *Stream) sinkEmpty(h *half) bool {
	at := s.moment(h.d)
	out, t := s.chain.rewrite(h, s, Part{End: true})
	ok := s.goesOn(h.d, at, Continue)
	if empty := len(out) == 0 && t == nil; ok {
		ok = s.pass(h.next, empty) && (empty || s.passOn(h.next, out, true, t))
	}
	s.chain.giveScratch(out)
	return ok
}

// sinkData gives a piece of a body on. It reports whether the stream is still the same.
func (s *Stream) sinkData(h *half, b []byte, end bool) bool {
	if h.next == nil {
		s.down.SinkData(h.d, b, end)
		return true
	}
	return s.sinkPart(h, Part{Data: b, End: end})
}

// sinkTrailers gives trailers on. It reports whether the stream is still the same.
func (s *Stream) sinkTrailers(h *half, t *codec.Fields) bool {
	if h.next == nil {
		s.down.SinkTrailers(h.d, t)
		return true
	}
	return s.sinkPart(h, Part{End: true, Trailers: t})
}

// sinkPart has a part rewritten and gives what comes of it on.
func (s *Stream) sinkPart(h *half, p Part) bool {
	at := s.moment(h.d)
	out, t := s.chain.rewrite(h, s, p)
	ok := s.goesOn(h.d, at, Continue) && s.passOn(h.next, out, p.End, t)
	s.chain.giveScratch(out)
	return ok
}

// passOn brings what a filter has made of a part into the half behind it.
func (s *Stream) passOn(next *half, out []byte, end bool, t *codec.Fields) bool {
	loop := s.down.Loop()
	ends := end && t == nil
	ok := len(out) == 0 && !ends || s.passData(next, out, ends)
	if len(out) > 0 {
		loop.FlushStage() // the sink may have referenced it
	}
	return ok && (!end || t == nil || s.passTrailers(next, t))
}

// scratchKeepMax is the largest piece of memory that a chain keeps for rewritten pieces, in bytes.
const scratchKeepMax = 64 << 10

// rewrites reports whether a filter is a rewriter of direction d.
func (c *Chain) rewrites(d Direction, slot int) bool {
	l := &c.links[slot]
	return d == Request && l.requestRewriter != nil || d == Response && l.responseRewriter != nil
}

// rewrite has the last filter of h rewrite a part.
func (c *Chain) rewrite(h *half, s *Stream, p Part) ([]byte, *codec.Fields) {
	s.slot = c.at(h.d, h.hi-1)
	l := &c.links[s.slot]
	dst := c.takeScratch()
	if h.d == Request {
		return l.requestRewriter.RewriteRequest(s, dst, p)
	}
	return l.responseRewriter.RewriteResponse(s, dst, p)
}

// takeScratch returns memory for a rewritten piece. Rewriters may be behind one another, so there may be several in use.
func (c *Chain) takeScratch() []byte {
	n := len(c.scratch)
	if n == 0 {
		return nil
	}
	b := c.scratch[n-1]
	c.scratch = c.scratch[:n-1]
	return b
}

// giveScratch takes it back.
func (c *Chain) giveScratch(b []byte) {
	if cap(b) > 0 && cap(b) <= scratchKeepMax {
		c.scratch = append(c.scratch, b[:0])
	}
}
