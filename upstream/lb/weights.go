package lb

import (
	"math/rand/v2"

	"millrace/upstream"
)

// A perBucket is what a policy keeps for each bucket of a cluster.
type perBucket[T any] struct{ list []T }

// at returns that of b.
func (s *perBucket[T]) at(b *upstream.Bucket) *T {
	if b.Index >= len(s.list) {
		s.list = append(s.list, make([]T, b.Index+1-len(s.list))...)
	}
	return &s.list[b.Index]
}

// weights draws hosts in proportion to their weights. It follows the versions of a bucket.
type weights struct {
	version uint64
	sums    []uint64 // running sums of the weights; only valid while they differ
}

// draw returns the index of one host. Precondition: there is one.
func (w *weights) draw(b *upstream.Bucket, rng *rand.Rand) int {
	if b.Weights == nil {
		return rng.IntN(len(b.Hosts))
	}
	if w.version != b.Version {
		w.follow(b)
	}
	at := rng.Uint64N(w.sums[len(w.sums)-1])
	lo, hi := 0, len(w.sums)-1 // the first sum above at lies in [lo, hi]
	for lo < hi {
		if mid := (lo + hi) / 2; at < w.sums[mid] {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// weightSum is the sum of the weights of a bucket. It follows the versions.
type weightSum struct {
	version uint64
	sum     uint64
}

// of returns the sum.
func (w *weightSum) of(b *upstream.Bucket) uint64 {
	if w.version != b.Version {
		w.version, w.sum = b.Version, 0
		for i := range b.Hosts {
			w.sum += uint64(b.Weight(i))
		}
	}
	return w.sum
}

// follow takes up another version.
func (w *weights) follow(b *upstream.Bucket) {
	w.version, w.sums = b.Version, w.sums[:0]
	sum := uint64(0)
	for _, weight := range b.Weights {
		sum += uint64(weight)
		w.sums = append(w.sums, sum)
	}
}
