package lb

import (
	"math/bits"
	"math/rand/v2"
	"slices"

	"millrace/upstream"
)

// roundRobin takes the hosts in turn, heavier ones more often and evenly spaced.
//
// Equal weights are a walk around the list. Different weights are stride scheduling: each
// host has the virtual time of its next turn, and the interval between its turns is the inverse of its
// weight; the earliest is picked. Loops start at random places of the walk, or with
// random first turns.
type roundRobin struct {
	rng   *rand.Rand
	walks perBucket[walk]
}

// walk is the place in one bucket.
type walk struct {
	version uint64
	next    uint32           // into Hosts, plus one; 0 at first. Only valid while turns is empty
	turns   []turn           // a heap on at; empty while all weights are equal
	hosts   []*upstream.Host // those of turns
}

// turn is when a host is next.
type turn struct {
	at     uint64
	stride uint64
	host   uint32
}

const (
	// strideOne is the stride of weight 1. With it the largest weight, a million times the thousand of slow start, has a
	// stride of 4398: an error of at most 0.02 %.
	strideOne = 1 << 42
	// rebaseAt is the virtual time at which all turns are moved back, long before it can wrap.
	rebaseAt = 1 << 62
)

func newRoundRobin(_ *upstream.Config, rng *rand.Rand) upstream.Balancer {
	return &roundRobin{rng: rng}
}

// Pick implements [upstream.Balancer].
func (p *roundRobin) Pick(b *upstream.Bucket, _ *upstream.Pick) *upstream.Host {
	n := uint32(len(b.Hosts))
	if n == 0 {
		return nil
	}
	w := p.walks.at(b)
	if w.version != b.Version {
		w.follow(b, p.rng)
	}
	if len(w.turns) == 0 {
		at := w.next
		if at >= n {
			at = 0
		}
		w.next = at + 1
		return b.Hosts[at]
	}
	first := &w.turns[0]
	h := b.Hosts[first.host]
	if first.at >= rebaseAt {
		w.rebase(first.at)
	}
	first.at += first.stride
	w.sink(0)
	return h
}

// follow takes up another version of the bucket.
func (w *walk) follow(b *upstream.Bucket, rng *rand.Rand) {
	began := w.version != 0
	w.version = b.Version
	if b.Weights != nil && len(w.turns) > 0 && slices.Equal(w.hosts, b.Hosts) {
		w.reweigh(b)
		return
	}
	w.turns, w.hosts = w.turns[:0], nil
	if b.Weights == nil {
		if !began || int(w.next) > len(b.Hosts) { // else the walk goes on where it was
			w.next = uint32(rng.IntN(len(b.Hosts)))
		}
		return
	}
	for i, weight := range b.Weights {
		stride := uint64(strideOne) / uint64(weight)
		w.turns = append(w.turns, turn{at: rng.Uint64N(stride), stride: stride, host: uint32(i)})
	}
	w.hosts = b.Hosts
	w.order()
}

// reweigh takes up other weights of the same hosts. Each is as far into the interval before its next turn as it was, so
// that no host gets a burst or a pause, however often weights change.
func (w *walk) reweigh(b *upstream.Bucket) {
	now := w.turns[0].at
	for i := range w.turns {
		t := &w.turns[i]
		stride := uint64(strideOne) / uint64(b.Weights[t.host])
		hi, lo := bits.Mul64(t.at-now, stride)
		wait, _ := bits.Div64(hi, lo, t.stride)
		t.at, t.stride = now+wait, stride
	}
	w.order()
}

// order makes a heap of turns.
func (w *walk) order() {
	for i := len(w.turns)/2 - 1; i >= 0; i-- {
		w.sink(i)
	}
}

// rebase moves all turns back by base, which is the earliest.
func (w *walk) rebase(base uint64) {
	for i := range w.turns {
		w.turns[i].at -= base
	}
}

// sink moves turns[i] down to its place in the heap.
func (w *walk) sink(i int) {
	t := w.turns[i]
	for {
		child := 2*i + 1
		if child >= len(w.turns) {
			break
		}
		if child+1 < len(w.turns) && w.turns[child+1].at < w.turns[child].at {
			child++
		}
		if t.at <= w.turns[child].at {
			break
		}
		w.turns[i] = w.turns[child]
		i = child
	}
	w.turns[i] = t
}
