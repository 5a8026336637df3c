package stats

import "math"

// A Snapshot is the sum of any number of histograms at a moment. It is plain memory of its
// owner, 13 KB: keep one and Reset it instead of making many.
type Snapshot struct {
	// Count is how many values were recorded, Sum their sum (it wraps at 2^64).
	Count, Sum uint64

	lo, hi int // counts outside [lo,hi) are zero
	counts [bucketCount]uint64
}

// DefaultBounds are the upper bounds of Envoy's cumulative buckets, in the unit shown.
var DefaultBounds = []float64{0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000,
	30000, 60000, 300000, 600000, 1800000, 3600000}

// DefaultQuantiles are the quantiles of Envoy's text and JSON pages, in percent.
var DefaultQuantiles = []float64{0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100}

// Reset empties s.
func (s *Snapshot) Reset() {
	clear(s.counts[s.lo:s.hi])
	s.Count, s.Sum, s.lo, s.hi = 0, 0, 0, 0
}

// Merge adds what h holds.
func (s *Snapshot) Merge(h *Histogram) {
	b := h.block.Load()
	if b == nil {
		return
	}
	s.widen(b.first, b.first+len(b.counts))
	dst := s.counts[b.first:]
	for i := range b.counts {
		n := b.counts[i].load()
		dst[i] += n
		s.Count += n
	}
	s.Sum += b.sum.load()
}

// MergeSnapshot adds what o holds.
func (s *Snapshot) MergeSnapshot(o *Snapshot) {
	s.widen(o.lo, o.hi)
	for i := o.lo; i < o.hi; i++ {
		s.counts[i] += o.counts[i]
	}
	s.Count += o.Count
	s.Sum += o.Sum
}

// widen makes [lo,hi) part of the range in use.
func (s *Snapshot) widen(lo, hi int) {
	if lo == hi {
		return
	}
	if s.lo == s.hi {
		s.lo, s.hi = lo, hi
		return
	}
	s.lo, s.hi = min(s.lo, lo), max(s.hi, hi)
}

// CountBelow returns how many values were at most bound. It is exact for bounds that are
// the upper end of a bucket (integers of at most two digits and then zeros, or up to 100);
// of the bucket a bound cuts, nothing is counted.
func (s *Snapshot) CountBelow(bound float64) uint64 {
	n := uint64(0)
	for i := s.lo; i < s.hi && float64(bucketUpper(i)) <= bound; i++ {
		n += s.counts[i]
	}
	return n
}

// Cumulative appends to dst how many values were at most each of bounds, which ascend.
func (s *Snapshot) Cumulative(dst []uint64, bounds []float64) []uint64 {
	n, i := uint64(0), s.lo
	for _, bound := range bounds {
		for ; i < s.hi && float64(bucketUpper(i)) <= bound; i++ {
			n += s.counts[i]
		}
		dst = append(dst, n)
	}
	return dst
}

// Quantiles appends to dst the value below which each of pcts percent (ascending, 0 to 100)
// of the recorded values lie, interpolated within a bucket. Of an empty snapshot it is NaN.
func (s *Snapshot) Quantiles(dst []float64, pcts []float64) []float64 {
	if s.Count == 0 {
		for range pcts {
			dst = append(dst, math.NaN())
		}
		return dst
	}
	below, i := uint64(0), s.lo // values in buckets before i
	for _, pct := range pcts {
		want := pct / 100 * float64(s.Count)
		for i < s.hi-1 && (s.counts[i] == 0 || float64(below+s.counts[i]) < want) {
			below += s.counts[i]
			i++
		}
		dst = append(dst, s.within(i, want-float64(below)))
	}
	return dst
}

// within returns the value of rank (0 to counts[i]) inside bucket i. A bucket of one value
// gives that value.
func (s *Snapshot) within(i int, rank float64) float64 {
	upper := float64(bucketUpper(i))
	if i <= exactMax || s.counts[i] == 0 {
		return upper
	}
	lower := float64(bucketUpper(i - 1))
	return lower + (upper-lower)*max(0, min(1, rank/float64(s.counts[i])))
}
