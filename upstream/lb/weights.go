package lb

import (
	"math/rand/v2"

	"millrace/upstream"
)

// weights draws hosts in proportion to their weights. It follows the versions of a host set.
type weights struct {
	version uint64
	hosts   []*upstream.Host
	sums    []uint64 // running sums of the weights; nil while all are equal
}

// follow takes up hs if it is another than the last.
func (w *weights) follow(hs *upstream.HostSet) {
	if w.version == hs.Version && w.hosts != nil {
		return
	}
	w.version, w.hosts, w.sums = hs.Version, hs.Usable(), nil
	if equal(w.hosts) {
		return
	}
	w.sums = make([]uint64, len(w.hosts))
	sum := uint64(0)
	for i, h := range w.hosts {
		sum += uint64(h.Weight())
		w.sums[i] = sum
	}
}

// equal reports whether all weights are the same.
func equal(hosts []*upstream.Host) bool {
	for _, h := range hosts {
		if h.Weight() != hosts[0].Weight() {
			return false
		}
	}
	return true
}

// draw returns one host. Precondition: there is one.
func (w *weights) draw(rng *rand.Rand) *upstream.Host {
	if w.sums == nil {
		return w.hosts[rng.IntN(len(w.hosts))]
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
	return w.hosts[lo]
}
