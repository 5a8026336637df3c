package engine

import (
	"math/rand/v2"
	"testing"
)

// After a burst the slab is small again, although some conns of it live on.
func TestSlabShrinks(t *testing.T) {
	t.Parallel()
	var s slab
	chunks := func() (n int) {
		for _, c := range s.chunks {
			if c != nil {
				n++
			}
		}
		return n
	}
	var open []*Conn
	seen := map[Token]bool{}
	lease := func() {
		c := s.lease()
		c.flags = 0
		if seen[c.Token()] {
			t.Fatalf("token %v was used before", c.Token())
		}
		seen[c.Token()] = true
		if s.lookup(c.slot, c.gen) != c {
			t.Fatalf("lookup of %v does not find its conn", c.Token())
		}
		open = append(open, c)
	}
	release := func(i int) {
		c, token := open[i], open[i].Token()
		s.release(c)
		if s.lookup(token.Slot, token.Gen) != nil {
			t.Fatalf("lookup of %v finds a conn that is gone", token)
		}
		open[i] = open[len(open)-1]
		open = open[:len(open)-1]
	}
	rng := rand.New(rand.NewPCG(1, 2))
	const burst = 50_000
	for round := range 3 {
		for len(open) < burst {
			lease()
		}
		if got, want := chunks(), burst/chunkConns+1; got > want+1 {
			t.Errorf("round %d: %d chunks for %d conns, want %d", round, got, burst, want)
		}
		for len(open) > 100 {
			release(rng.IntN(len(open)))
		}
		// Conns come and go: the ones that stay gather in the lowest slots.
		for range 5000 {
			lease()
			release(rng.IntN(len(open)))
		}
		if got, limit := chunks(), (spareConns+2*chunkConns)/chunkConns+len(open); got > limit {
			t.Errorf("round %d: %d chunks for %d conns, want at most %d", round, got, len(open), limit)
		}
		if s.count != len(open) || s.count+s.spare != chunks()*chunkConns {
			t.Errorf("round %d: count %d and spare %d for %d conns in %d chunks", round, s.count, s.spare, len(open), chunks())
		}
		n := 0
		s.each(func(c *Conn) { n++ })
		if n != len(open) {
			t.Errorf("round %d: each found %d conns of %d", round, n, len(open))
		}
	}
	for len(open) > 0 {
		release(0)
	}
	if got := chunks(); got > spareConns/chunkConns+1 {
		t.Errorf("%d chunks without a conn", got)
	}
}

// The conn that was freed last is not far from the one that is used next, and slots stay low.
func TestSlabUsesLowSlots(t *testing.T) {
	t.Parallel()
	var s slab
	var conns []*Conn
	for range 300 {
		conns = append(conns, s.lease())
	}
	for _, i := range []int{250, 7, 130} {
		s.release(conns[i])
	}
	for _, want := range []uint32{7, 130, 250, 300} {
		if c := s.lease(); c.slot != want {
			t.Errorf("slot %d is used next, want %d", c.slot, want)
		}
	}
}

func BenchmarkSlab(b *testing.B) {
	var s slab
	var conns []*Conn
	for range 100_000 {
		conns = append(conns, s.lease())
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i = (i + 7919) % len(conns)
		s.release(conns[i])
		conns[i] = s.lease()
	}
}
