package lb

import (
	"math/rand/v2"

	"millrace/upstream"
)

// roundRobin takes the hosts in turn, heavier ones more often and evenly spaced.
//
// Equal weights are a walk around the list. Different weights are stride scheduling: each
// host has the virtual time of its next turn, and the interval between its turns is the inverse of its
// weight; the earliest is picked. Loops start at random places of the walk, or with
// random first turns.
type roundRobin struct {
	rng     *rand.Rand
	version uint64
	hosts   []*upstream.Host
	next    int    // into hosts; only valid while turns is empty
	turns   []turn // a heap on at; empty while all weights are equal
}

// turn is when a host is next.
type turn struct {
	at     uint64
	stride uint64
	host   *upstream.Host
}

const (
	// strideOne is the stride of weight 1. With it the largest weight, a million, has a stride of
	// 4294: an error of at most 0.02 %.
	strideOne = 1 << 32
	// rebaseAt is the virtual time at which all turns are moved back, long before it can wrap.
	rebaseAt = 1 << 62
)

func newRoundRobin(_ *upstream.Config, rng *rand.Rand) upstream.Balancer {
	return &roundRobin{rng: rng, next: -1}
}

// Pick implements [upstream.Balancer].
func (p *roundRobin) Pick(hs *upstream.HostSet, _ *upstream.Pick) *upstream.Host {
	if p.version != hs.Version || p.hosts == nil {
		p.follow(hs)
	}
	if len(p.hosts) == 0 {
		return nil
	}
	if len(p.turns) == 0 {
		p.next++
		if p.next >= len(p.hosts) {
			p.next = 0
		}
		return p.hosts[p.next]
	}
	first := &p.turns[0]
	h := first.host
	if first.at >= rebaseAt {
		p.rebase(first.at)
	}
	first.at += first.stride
	p.sink(0)
	return h
}

// follow takes up another version of the host set.
func (p *roundRobin) follow(hs *upstream.HostSet) {
	p.version, p.hosts = hs.Version, hs.Usable()
	p.turns = p.turns[:0]
	n := len(p.hosts)
	if n == 0 {
		return
	}
	if equal(p.hosts) {
		if p.next < 0 || p.next >= n { // else the walk goes on where it was
			p.next = p.rng.IntN(n)
		}
		return
	}
	for _, h := range p.hosts {
		stride := uint64(strideOne) / uint64(h.Weight())
		p.turns = append(p.turns, turn{at: p.rng.Uint64N(stride), stride: stride, host: h})
	}
	for i := n/2 - 1; i >= 0; i-- {
		p.sink(i)
	}
}

// rebase moves all turns back by base, which is the earliest.
func (p *roundRobin) rebase(base uint64) {
	for i := range p.turns {
		p.turns[i].at -= base
	}
}

// sink moves turns[i] down to its place in the heap.
func (p *roundRobin) sink(i int) {
	t := p.turns[i]
	for {
		child := 2*i + 1
		if child >= len(p.turns) {
			break
		}
		if child+1 < len(p.turns) && p.turns[child+1].at < p.turns[child].at {
			child++
		}
		if t.at <= p.turns[child].at {
			break
		}
		p.turns[i] = p.turns[child]
		i = child
	}
	p.turns[i] = t
}
