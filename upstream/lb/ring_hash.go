package lb

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"millrace/upstream"
)

// A ring has every host at many places, as many as its weight says. A request belongs to the first place at or after its
// hash. When a host goes only its requests move.
//
// Source: Karger et al., "Consistent Hashing and Random Trees"; sizes, hashes and places as in Envoy and libketama.
type ring []ringPlace

// ringPlace is a place of a host on a ring.
type ringPlace struct {
	hash uint64
	host uint32 // in Bucket.Hosts
}

func newRingHash(cfg *upstream.Config, rng *rand.Rand) upstream.Balancer {
	return &hashing{rng: rng, factor: int64(cfg.ConsistentHash.HashBalanceFactor), place: ringPlaceOf}
}

// ringPlaceOf finds the host of a hash.
func ringPlaceOf(b *upstream.Bucket, hash uint64, reselect int) int {
	r, ok := b.Table.(ring)
	if !ok || len(r) == 0 {
		return int(hash % uint64(len(b.Hosts)))
	}
	i := sort.Search(len(r), func(i int) bool { return r[i].hash >= hash })
	return int(r[(i+reselect)%len(r)].host)
}

// ringTable makes the ring of a bucket.
func ringTable(cfg *upstream.Config, b *upstream.Bucket) any {
	if len(b.Hosts) == 0 {
		return ring(nil)
	}
	hash := xxhash.Sum64
	if cfg.RingHash.HashFunction == "murmur_hash_2" {
		hash = murmur2
	}
	sum, least := 0.0, math.MaxFloat64
	for i := range b.Hosts {
		w := float64(b.Weight(i))
		sum += w
		least = min(least, w)
	}
	least /= sum
	scale := min(math.Ceil(least*float64(cfg.RingHash.MinimumRingSize))/least, float64(cfg.RingHash.MaximumRingSize))
	r := make(ring, 0, int(math.Ceil(scale)))
	target, text := 0.0, []byte(nil)
	for i, h := range b.Hosts {
		target += scale * float64(b.Weight(i)) / sum
		text = append(append(text[:0], hashKey(cfg, h)...), '_')
		key := len(text)
		for n := 0; float64(len(r)) < target; n++ {
			text = strconv.AppendInt(text[:key], int64(n), 10)
			r = append(r, ringPlace{hash(text), uint32(i)})
		}
	}
	slices.SortFunc(r, func(a, b ringPlace) int { return cmp.Compare(a.hash, b.hash) })
	return r
}

// murmur2 is MurmurHash64A with the seed of std::hash in libstdc++.
func murmur2(b []byte) uint64 {
	const (
		m = 0xc6a4a7935bd1e995
		r = 47
	)
	h := uint64(0xc70f6907) ^ uint64(len(b))*m
	for ; len(b) >= 8; b = b[8:] {
		k := uint64(0)
		for i := range 8 {
			k |= uint64(b[i]) << (8 * i)
		}
		k *= m
		k ^= k >> r
		k *= m
		h ^= k
		h *= m
	}
	if len(b) > 0 {
		for i := range b {
			h ^= uint64(b[i]) << (8 * i)
		}
		h *= m
	}
	h ^= h >> r
	h *= m
	return h ^ h>>r
}
