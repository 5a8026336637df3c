package lb

import (
	"math"
	"math/bits"
	"math/rand/v2"

	"millrace/upstream"
)

// hashing is what ring_hash and maglev have in common: a request without a hash is spread at random, and with
// hash_balance_factor a host that has more than its share passes requests on.
type hashing struct {
	rng    *rand.Rand
	factor int64 // percent; 0 is no bound
	sums   perBucket[weightSum]
	place  func(b *upstream.Bucket, hash uint64, reselect int) int
}

// Pick implements [upstream.Balancer].
func (p *hashing) Pick(b *upstream.Bucket, pick *upstream.Pick) *upstream.Host {
	if len(b.Hosts) == 0 {
		return nil
	}
	hash := pick.Hash
	if !pick.HashSet {
		hash = p.rng.Uint64()
	}
	i := p.place(b, hash, pick.Reselect)
	if p.factor > 0 {
		i = p.bounded(b, i, pick, hash)
	}
	return b.Hosts[i]
}

// bounded returns the first host that is not overloaded, from i on in an order that depends on the hash alone. If all
// are it returns the least overloaded. While hosts have room it looks at one of them.
//
// Source: Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads"; the number of slots as in Envoy.
func (p *hashing) bounded(b *upstream.Bucket, i int, pick *upstream.Pick, hash uint64) int {
	n := len(b.Hosts)
	slots, sum := ((pick.Active+1)*p.factor+99)/100, int64(p.sums.at(b).of(b))
	load := func(j int) float64 {
		most := max(1, math.Ceil(float64(slots*int64(b.Weight(j)))/float64(sum)))
		return float64(b.Hosts[j].RqActive.Load()+1) / most
	}
	best, least := i, load(i)
	step := 0
	for at := i; least > 1; {
		if step == 0 {
			step = stride(hash, n)
		}
		if at = (at + step) % n; at == i {
			break
		}
		if l := load(at); l < least {
			best, least = at, l
		}
	}
	return best
}

// stride returns a step that visits all of n places before it repeats one.
func stride(hash uint64, n int) int {
	if n < 3 {
		return 1
	}
	step := 1 + int(bits.RotateLeft64(hash, 32)%uint64(n-1))
	for gcd(step, n) != 1 {
		step++
	}
	return step % n
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// hashKey is what puts a host in its place.
func hashKey(cfg *upstream.Config, h *upstream.Host) string {
	if cfg.ConsistentHash.UseHostnameForHashing && h.Hostname != "" {
		return h.Hostname
	}
	return h.Name
}
