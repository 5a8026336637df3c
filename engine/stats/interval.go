package stats

// An Interval tells what a histogram recorded between the last two times it was advanced. It takes as much memory
// as the range of the values seen needs, twice. It is plain memory of its owner.
type Interval struct {
	first int      // the bucket of total[0] and last[0]
	total []uint64 // as of the last Advance
	last  []uint64 // of the interval that it ended
	sum   [2]uint64
	count uint64 // of last
}

// Advance ends an interval: s is what was recorded up to now. What went away with the set it was counted in
// is taken for nothing recorded.
func (v *Interval) Advance(s *Snapshot) {
	v.widen(s.lo, s.hi)
	v.count = 0
	for i := range v.total {
		now := s.counts[v.first+i]
		v.last[i] = now - min(now, v.total[i])
		v.total[i] = now
		v.count += v.last[i]
	}
	v.sum = [2]uint64{s.Sum, s.Sum - v.sum[0]}
	if v.count == 0 {
		v.sum[1] = 0
	}
}

// Begin makes what was recorded up to now the begin of the first interval.
func (v *Interval) Begin(s *Snapshot) {
	v.Advance(s)
	clear(v.last)
	v.count, v.sum[1] = 0, 0
}

// AddTo adds what was recorded in the last interval.
func (v *Interval) AddTo(s *Snapshot) {
	if v.count == 0 {
		return
	}
	s.widen(v.first, v.first+len(v.last))
	for i, n := range v.last {
		s.counts[v.first+i] += n
	}
	s.Count += v.count
	s.Sum += v.sum[1]
}

// widen makes [lo,hi) part of the range kept.
func (v *Interval) widen(lo, hi int) {
	if lo == hi {
		return
	}
	if len(v.total) > 0 {
		lo, hi = min(lo, v.first), max(hi, v.first+len(v.total))
		if hi-lo == len(v.total) {
			return
		}
	}
	total, last := make([]uint64, hi-lo), make([]uint64, hi-lo)
	copy(total[max(0, v.first-lo):], v.total)
	v.first, v.total, v.last = lo, total, last
}

// EachBucket calls f with the buckets that hold values, in ascending order: values above lower, up to and including
// upper, but a bucket of one value has it as both.
func (s *Snapshot) EachBucket(f func(lower, upper float64, n uint64)) {
	for i := s.lo; i < s.hi; i++ {
		if s.counts[i] == 0 {
			continue
		}
		upper := float64(bucketUpper(i))
		lower := upper
		if i > exactMax {
			lower = float64(bucketUpper(i - 1))
		}
		f(lower, upper, s.counts[i])
	}
}

// EachHistogram is Each for histograms alone, which is much less to walk.
func (r *Registry) EachHistogram(f func(m *Metric) bool) {
	v := newVisit()
	for _, g := range r.list() {
		for i := range g.plan.items {
			it := &g.plan.items[i]
			if it.field.Dynamic || it.field.Kind != KindHistogram {
				continue
			}
			if !f(v.item(g, it)) {
				return
			}
		}
	}
}
