package engine

// A Token names a conn to epoll: the slot it lies in and the generation of the slot. An
// event whose generation is over is stale: its conn was closed earlier in the same
// batch, and the fd may be someone else's by now.
type Token struct{ Slot, Gen uint32 }

const (
	slotListener = 1 << 31    // set in the slots of listeners
	slotWake     = ^uint32(0) // the eventfd

	// chunkConns conns are allocated at once and never given back: pointers to conns
	// stay valid, and a freed slot is the next to be used.
	chunkShift = 6
	chunkConns = 1 << chunkShift
)

// slab holds the conns of a loop.
type slab struct {
	chunks []*[chunkConns]Conn
	free   []uint32 // slots to use next, the latest freed last
	count  int      // slots in use
}

// lookup returns the conn of a slot, nil when the token is stale.
func (s *slab) lookup(slot, gen uint32) *Conn {
	i := slot >> chunkShift
	if i >= uint32(len(s.chunks)) {
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
	if len(s.free) == 0 {
		s.grow()
	}
	n := len(s.free)
	slot := s.free[n-1]
	s.free = s.free[:n-1]
	s.count++
	return &s.chunks[slot>>chunkShift][slot%chunkConns]
}

// release frees the slot of c and ends its generation.
func (s *slab) release(c *Conn) {
	c.dropPeerPath()
	// The loop stays: a handler that writes to a conn it was told is gone does no harm
	// until the slot is used again.
	*c = Conn{loop: c.loop, slot: c.slot, gen: c.gen + 1, fd: -1, flags: flagClosed}
	s.free = append(s.free, c.slot)
	s.count--
}

func (s *slab) grow() {
	chunk := new([chunkConns]Conn)
	base := uint32(len(s.chunks)) << chunkShift
	s.chunks = append(s.chunks, chunk)
	for i := chunkConns - 1; i >= 0; i-- { // lowest slot first
		chunk[i].slot = base + uint32(i)
		chunk[i].fd = -1
		chunk[i].flags = flagClosed
		s.free = append(s.free, base+uint32(i))
	}
}

// each calls f for every open conn.
func (s *slab) each(f func(*Conn)) {
	for _, chunk := range s.chunks {
		for i := range chunk {
			if c := &chunk[i]; c.flags&flagClosed == 0 {
				f(c)
			}
		}
	}
}
