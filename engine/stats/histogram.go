package stats

import (
	"math/bits"
	"sync/atomic"
)

// A Histogram counts how often values of each size were recorded. One goroutine Records;
// any may read with [Snapshot.Merge].
//
// Buckets have two decimal digits of precision: the values 0 to 100 have one each, larger
// ones share one with their neighbours, (100,110], (110,120] … (990,1000], (1000,1100] and
// so on, so a value is known to within 5 % of the middle of its bucket. Upper ends are
// inclusive, as Prometheus' "le" is, and all of [DefaultBounds] are upper ends: cumulative
// counts at those bounds are exact, not estimates.
//
// The zero Histogram is ready and costs one word; memory comes with the first Record and
// grows with the range of values seen.
type Histogram struct {
	block atomic.Pointer[histogramBlock]
}

// histogramBlock is replaced, never resized: a reader holding the old one reads numbers
// that are a moment old, which is what a reader gets anyway.
type histogramBlock struct {
	sum    value
	first  int     // the bucket of counts[0]
	counts []value // a run of neighbouring buckets
}

const (
	// exactMax is the largest value with a bucket of its own.
	exactMax = 100
	// perDecade is how many buckets share a power of ten above exactMax.
	perDecade = 90
	// bucketCount covers the whole of uint64, whose largest value has 20 digits, 18 first.
	bucketCount = 1 + exactMax + 17*perDecade + 9
	// growBy is the unit of growth: 16 buckets, two cache lines.
	growBy = 16
)

// pow10 are the powers of ten a uint64 can hold.
var pow10 = [20]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19}

// Record counts v. The first call, and one that widens the range, allocates.
//
// Hot path: BenchmarkHistogramRecord, 4 ns.
func (h *Histogram) Record(v uint64) {
	i := bucketOf(v)
	b := h.block.Load()
	if b == nil || uint(i-b.first) >= uint(len(b.counts)) {
		b = h.grow(b, i)
	}
	b.counts[i-b.first].add(1)
	b.sum.add(v)
}

// grow publishes a block that also covers bucket i, and returns it.
func (h *Histogram) grow(old *histogramBlock, i int) *histogramBlock {
	lo, hi := i-i%growBy, i-i%growBy+growBy
	if old != nil {
		lo, hi = min(lo, old.first), max(hi, old.first+len(old.counts))
	}
	hi = min(hi, bucketCount)
	b := &histogramBlock{first: lo, counts: make([]value, hi-lo)}
	if old != nil {
		b.sum.set(old.sum.load())
		for j := range old.counts {
			b.counts[old.first-lo+j].set(old.counts[j].load())
		}
	}
	h.block.Store(b)
	return b
}

// Snapshot returns a copy of what was recorded so far. Pages that visit many histograms
// use one Snapshot and Merge.
func (h *Histogram) Snapshot() *Snapshot {
	s := new(Snapshot)
	s.Merge(h)
	return s
}

// bucketOf returns the index of the bucket that v falls in.
func bucketOf(v uint64) int {
	if v <= exactMax {
		return int(v)
	}
	w := v - 1 // makes upper ends inclusive
	e := digits(w) - 2
	return 1 + exactMax + (e-1)*perDecade + int(w/pow10[e]) - 10
}

// digits returns how many decimal digits w has.
//
// Precondition: w > 0.
func digits(w uint64) int {
	// 1233/4096 is just above log10(2): exact for 64 bits after one comparison.
	n := bits.Len64(w) * 1233 >> 12
	if w >= pow10[n] {
		n++
	}
	return n
}

// bucketUpper returns the largest value of bucket i.
func bucketUpper(i int) uint64 {
	if i <= exactMax {
		return uint64(i)
	}
	if i >= bucketCount-1 {
		return 1<<64 - 1
	}
	k := i - exactMax - 1
	return uint64(k%perDecade+11) * pow10[k/perDecade+1]
}
