package lb

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/cespare/xxhash/v2"

	"millrace/upstream"
)

// A maglev table has a host in each entry; a request belongs to the entry of its hash. Each host has its own order of
// the entries, and the hosts take turns in choosing the next free one, heavier ones more often. It is flatter than a ring, and
// quicker to look up; when a host goes a few requests of others move too.
//
// Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", 3.4; weights as in Envoy.
type maglev []uint32 // in Bucket.Hosts

func newMaglev(cfg *upstream.Config, rng *rand.Rand) upstream.Balancer {
	return &hashing{rng: rng, factor: int64(cfg.ConsistentHash.HashBalanceFactor), place: maglevPlaceOf}
}

// maglevPlaceOf finds the host of a hash.
func maglevPlaceOf(b *upstream.Bucket, hash uint64, reselect int) int {
	if reselect > 0 {
		hash ^= -uint64(reselect)
	}
	t, ok := b.Table.(maglev)
	if !ok || len(t) == 0 {
		return int(hash % uint64(len(b.Hosts)))
	}
	return int(t[hash%uint64(len(t))])
}

// maglevHost is a host that chooses entries.
type maglevHost struct {
	key          string
	at           uint32  // in Bucket.Hosts
	weight       float64 // share of the heaviest
	target       float64
	offset, skip uint64
	next         uint64 // in its own order
}

// maglevTable makes the table of a bucket.
func maglevTable(cfg *upstream.Config, b *upstream.Bucket) any {
	n := len(b.Hosts)
	if n == 0 {
		return maglev(nil)
	}
	size := uint64(cfg.Maglev.TableSize)
	const free = ^uint32(0)
	hosts, t := maglevHosts(cfg, b, size), make(maglev, size)
	for i := range t {
		t[i] = free
	}
	for left, turn := size, 1.0; ; turn++ {
		for i := range hosts {
			h := &hosts[i]
			if turn*h.weight < h.target {
				continue
			}
			h.target++
			at := (h.offset + h.skip*h.next) % size
			for t[at] != free {
				h.next++
				at = (h.offset + h.skip*h.next) % size
			}
			t[at] = h.at
			h.next++
			if left--; left == 0 {
				return t
			}
		}
	}
}

// maglevHosts returns the hosts in the order in which they choose: that of their keys, so that the order of the source does
// not matter.
func maglevHosts(cfg *upstream.Config, b *upstream.Bucket, size uint64) []maglevHost {
	heaviest := uint32(0)
	for i := range b.Hosts {
		heaviest = max(heaviest, b.Weight(i))
	}
	hosts := make([]maglevHost, len(b.Hosts))
	seeded := xxhash.NewWithSeed(1)
	for i, h := range b.Hosts {
		key := hashKey(cfg, h)
		seeded.ResetWithSeed(1)
		seeded.WriteString(key)
		hosts[i] = maglevHost{
			key: key, at: uint32(i), weight: float64(b.Weight(i)) / float64(heaviest),
			offset: xxhash.Sum64String(key) % size, skip: seeded.Sum64()%(size-1) + 1,
		}
	}
	slices.SortFunc(hosts, func(a, b maglevHost) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.at, b.at)) })
	return hosts
}
