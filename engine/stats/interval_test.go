package stats

import "testing"

// TestInterval: an interval has what was recorded between two advances, whatever the range.
func TestInterval(t *testing.T) {
	t.Parallel()
	var h Histogram
	var v Interval
	var s Snapshot
	advance := func() {
		s.Reset()
		s.Merge(&h)
		v.Advance(&s)
		s.Reset()
		v.AddTo(&s)
	}
	h.Record(7)
	s.Merge(&h)
	v.Begin(&s)
	s.Reset()
	if v.AddTo(&s); s.Count != 0 {
		t.Errorf("%d values in front of the first interval; want 0", s.Count)
	}
	for _, tt := range []struct {
		values     []uint64
		count, sum uint64
	}{
		{[]uint64{7, 8}, 2, 15},
		{nil, 0, 0},
		{[]uint64{1, 1_000_000}, 2, 1_000_001},
		{[]uint64{7}, 1, 7},
		{[]uint64{90_000_000}, 1, 90_000_000},
	} {
		for _, n := range tt.values {
			h.Record(n)
		}
		advance()
		if s.Count != tt.count || s.Sum != tt.sum {
			t.Errorf("after %v: %d values, sum %d; want %d, %d", tt.values, s.Count, s.Sum, tt.count, tt.sum)
		}
	}
	var small Histogram // what is left when a set was taken off the registry
	small.Record(7)
	s.Reset()
	s.Merge(&small)
	v.Advance(&s)
	s.Reset()
	if v.AddTo(&s); s.Count != 0 || s.Sum != 0 {
		t.Errorf("fewer values than before: %d, sum %d; want 0, 0", s.Count, s.Sum)
	}
}

func TestEachBucket(t *testing.T) {
	t.Parallel()
	var h Histogram
	for _, n := range []uint64{5, 5, 105, 1500} {
		h.Record(n)
	}
	var got [][3]float64
	h.Snapshot().EachBucket(func(lower, upper float64, n uint64) { got = append(got, [3]float64{lower, upper, float64(n)}) })
	want := [][3]float64{{5, 5, 2}, {100, 110, 1}, {1400, 1500, 1}}
	if len(got) != len(want) {
		t.Fatalf("buckets %v; want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("bucket %d is %v; want %v", i, got[i], want[i])
		}
	}
}

func TestEachHistogram(t *testing.T) {
	t.Parallel()
	type set struct {
		Total Counter   `stat:"total" help:"x"`
		Time  Histogram `stat:"time" help:"x"`
		Codes Codes     `stat:"rq_" help:"x"`
	}
	r := &Registry{}
	a := &set{}
	r.Add(Root("a"), a)
	a.Time.Record(3)
	n := 0
	r.EachHistogram(func(m *Metric) bool {
		if n++; m.Name != "time" || m.Hist.Count != 1 {
			t.Errorf("%s with %d values; want time with 1", m.Name, m.Hist.Count)
		}
		return true
	})
	if n != 1 {
		t.Errorf("%d histograms; want 1", n)
	}
}
