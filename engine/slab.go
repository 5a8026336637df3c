package engine

import "math/bits"

const (
	// chunkConns conns are allocated at once: one word says which of them are free.
	chunkShift = 6
	chunkConns = 1 << chunkShift
	// spareConns free conns are kept, or as many as are in use if that is more; what a burst
	// took beyond that goes back to the collector.
	spareConns = 1024
)

// slab holds the conns of a loop. The lowest free slot is used next, so that the conns in use gather in few
// chunks, and those of a burst become empty.
//
// A conn stays in place as long as it is in use, and until the end of its turn. Whoever keeps a pointer to
// it for longer keeps its chunk alive and sees a closed conn, or another one.
type slab struct {
	chunks []*[chunkConns]Conn // nil where one was given back
	free   []uint64            // by chunk: the slots in it that are free
	some   []uint64            // by chunk, a bit each: there is a free slot
	from   int                 // Invariant: words of some before it are 0
	gone   []uint32            // indices of chunks that are nil
	count  int                 // slots in use
	spare  int                 // slots in chunks that are not
	gen    uint32              // first generation of the slots of a new chunk: above all that were
}

// lookup returns the conn of a slot, nil when the token is stale.
//
// Hot path: guarded by BenchmarkEcho.
func (s *slab) lookup(slot, gen uint32) *Conn {
	i := slot >> chunkShift
	if i >= uint32(len(s.chunks)) || s.chunks[i] == nil {
		return nil
	}
	c := &s.chunks[i][slot%chunkConns]
	if c.gen != gen || c.flags&flagClosed != 0 {
		return nil
	}
	return c
}

// lease returns a conn whose fields are zero but slot and generation.
func (s *slab) lease() *Conn {
	if s.spare == 0 {
		s.grow()
	}
	for s.some[s.from] == 0 {
		s.from++
	}
	i := s.from<<6 + bits.TrailingZeros64(s.some[s.from])
	at := bits.TrailingZeros64(s.free[i])
	s.free[i] &^= 1 << at
	if s.free[i] == 0 {
		s.some[i>>6] &^= 1 << (i & 63)
	}
	s.count++
	s.spare--
	return &s.chunks[i][at]
}

// release frees the slot of c and ends its generation.
func (s *slab) release(c *Conn) {
	c.dropPeerPath()
	// The loop stays: a handler that writes to a conn it was told is gone does no harm
	// until the slot is used again.
	*c = Conn{loop: c.loop, slot: c.slot, gen: c.gen + 1, fd: -1, flags: flagClosed}
	i := int(c.slot >> chunkShift)
	s.free[i] |= 1 << (c.slot % chunkConns)
	s.markFree(i)
	s.count--
	s.spare++
	if s.free[i] == ^uint64(0) && s.spare > max(spareConns, s.count)+chunkConns {
		s.giveBack(i)
	}
}

// markFree notes that chunk i has a free slot.
func (s *slab) markFree(i int) {
	s.some[i>>6] |= 1 << (i & 63)
	s.from = min(s.from, i>>6)
}

// grow makes a chunk.
func (s *slab) grow() {
	var i int
	if n := len(s.gone); n > 0 {
		i = int(s.gone[n-1])
		s.gone = s.gone[:n-1]
	} else {
		i = len(s.chunks)
		s.chunks = append(s.chunks, nil)
		s.free = append(s.free, 0)
		if i>>6 == len(s.some) {
			s.some = append(s.some, 0)
		}
	}
	chunk := new([chunkConns]Conn)
	for at := range chunk {
		chunk[at] = Conn{slot: uint32(i<<chunkShift + at), gen: s.gen, fd: -1, flags: flagClosed}
	}
	s.chunks[i], s.free[i] = chunk, ^uint64(0)
	s.spare += chunkConns
	s.markFree(i)
}

// giveBack lets go of chunk i, which is empty.
func (s *slab) giveBack(i int) {
	for at := range s.chunks[i] {
		s.gen = max(s.gen, s.chunks[i][at].gen+1)
	}
	s.chunks[i], s.free[i] = nil, 0
	s.some[i>>6] &^= 1 << (i & 63)
	s.spare -= chunkConns
	s.gone = append(s.gone, uint32(i))
}

// each calls f for every open conn.
func (s *slab) each(f func(*Conn)) {
	for _, chunk := range s.chunks {
		if chunk == nil {
			continue
		}
		for i := range chunk {
			if c := &chunk[i]; c.flags&flagClosed == 0 {
				f(c)
			}
		}
	}
}
