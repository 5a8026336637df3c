package stats

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// A histogram field must cost an idle cluster next to nothing.
var _ [24 - unsafe.Sizeof(Histogram{})]byte

func TestBucketOf(t *testing.T) {
	for _, tt := range []struct {
		v    uint64
		want uint64 // upper end of the bucket
	}{
		{0, 0}, {1, 1}, {99, 99}, {100, 100}, {101, 110}, {110, 110}, {111, 120}, {249, 250}, {250, 250}, {251, 260},
		{999, 1000}, {1000, 1000}, {1001, 1100}, {59_999, 60_000}, {60_000, 60_000}, {60_001, 61_000},
		{3_600_000, 3_600_000}, {1e19, 1e19}, {1e19 + 1, 11e18}, {math.MaxUint64 - 1, math.MaxUint64}, {math.MaxUint64, math.MaxUint64},
	} {
		i := bucketOf(tt.v)
		if got := bucketUpper(i); got != tt.want {
			t.Errorf("bucketUpper(bucketOf(%d)) = %d (bucket %d), want %d", tt.v, got, i, tt.want)
		}
	}
}

// TestBucketsCover walks every bucket: both ends fall into it, and the middle is within 5 %.
func TestBucketsCover(t *testing.T) {
	for i := 1; i < bucketCount; i++ {
		lower, upper := bucketUpper(i-1), bucketUpper(i)
		if upper <= lower {
			t.Fatalf("bucketUpper(%d) = %d, not above bucketUpper(%d) = %d", i, upper, i-1, lower)
		}
		if got := bucketOf(upper); got != i {
			t.Errorf("bucketOf(%d) = %d, want %d", upper, got, i)
		}
		if got := bucketOf(lower + 1); got != i {
			t.Errorf("bucketOf(%d) = %d, want %d", lower+1, got, i)
		}
		middle := float64(lower)/2 + float64(upper)/2
		if err := (float64(upper) - middle) / float64(lower+1); i > exactMax && err > 0.05 {
			t.Errorf("bucket %d (%d,%d]: error %.3f above 0.05", i, lower, upper, err)
		}
	}
}

// TestDefaultBoundsExact: every bound we show, in milliseconds or from microseconds, is the end of a bucket.
func TestDefaultBoundsExact(t *testing.T) {
	for _, bound := range DefaultBounds {
		for _, scale := range []float64{1, 1000} {
			v := uint64(bound * scale)
			if float64(v) == bound*scale && bucketUpper(bucketOf(v)) != v {
				t.Errorf("bound %v in units of 1/%v cuts the bucket that ends at %d", bound, scale, bucketUpper(bucketOf(v)))
			}
		}
	}
}

func TestHistogramCumulative(t *testing.T) {
	var h Histogram
	rng := rand.New(rand.NewPCG(1, 2))
	var values []uint64
	for range 10_000 {
		v := rng.Uint64() >> rng.IntN(64)
		values = append(values, v)
		h.Record(v)
	}
	bounds := []float64{0.5, 1, 5, 10, 25, 50, 100, 250, 1000, 60000, 3600000, 1e15}
	got := h.Snapshot().Cumulative(nil, bounds)
	for i, bound := range bounds {
		want := uint64(0)
		for _, v := range values {
			if float64(v) <= bound {
				want++
			}
		}
		if got[i] != want {
			t.Errorf("values at most %v: %d, want %d", bound, got[i], want)
		}
		if n := h.Snapshot().CountBelow(bound); n != want {
			t.Errorf("CountBelow(%v) = %d, want %d", bound, n, want)
		}
	}
}

func TestHistogramSnapshot(t *testing.T) {
	var a, b, idle Histogram
	s := new(Snapshot)
	s.Merge(&idle)
	if s.Count != 0 || s.Sum != 0 {
		t.Errorf("Merge of an idle histogram: count %d sum %d, want 0 0", s.Count, s.Sum)
	}
	a.Record(5)
	a.Record(1_000_000)
	b.Record(70)
	b.Record(0)
	s.Merge(&a)
	s.Merge(&b)
	if s.Count != 4 || s.Sum != 1_000_075 {
		t.Errorf("after both: count %d sum %d, want 4 1000075", s.Count, s.Sum)
	}
	two := new(Snapshot)
	two.MergeSnapshot(s)
	two.MergeSnapshot(s)
	if two.Count != 8 || two.CountBelow(70) != 6 {
		t.Errorf("twice merged: count %d, at most 70: %d; want 8, 6", two.Count, two.CountBelow(70))
	}
	s.Reset()
	s.Merge(&b)
	if s.Count != 2 || s.CountBelow(math.Inf(1)) != 2 || s.Sum != 70 {
		t.Errorf("after Reset and one: count %d sum %d, want 2 70", s.Count, s.Sum)
	}
}

func TestQuantiles(t *testing.T) {
	var h Histogram
	if q := h.Snapshot().Quantiles(nil, []float64{50}); !math.IsNaN(q[0]) {
		t.Errorf("median of nothing = %v, want NaN", q[0])
	}
	for v := uint64(1); v <= 100; v++ {
		h.Record(v)
	}
	got := h.Snapshot().Quantiles(nil, DefaultQuantiles)
	want := []float64{1, 25, 50, 75, 90, 95, 99, 100, 100, 100}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("P%v of 1..100 = %v, want %v", DefaultQuantiles[i], got[i], want[i])
		}
	}
}

// TestQuantileError: of random values, each quantile is within a bucket's width of the true one.
func TestQuantileError(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var h Histogram
	for range 100_000 {
		h.Record(1000 + rng.Uint64N(9000)) // uniform: the quantile is known
	}
	for i, q := range h.Snapshot().Quantiles(nil, DefaultQuantiles) {
		want := 1000 + DefaultQuantiles[i]/100*9000
		if math.Abs(q-want)/want > 0.06 {
			t.Errorf("P%v = %v, want %v within 6 %%", DefaultQuantiles[i], q, want)
		}
	}
}

func TestRecordAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	var h Histogram
	h.Record(10)
	h.Record(100_000)
	v := uint64(10)
	if n := testing.AllocsPerRun(1000, func() { h.Record(v); v += 90 }); n != 0 {
		t.Errorf("Record within the known range: %v allocations, want 0", n)
	}
}

func FuzzBucketOf(f *testing.F) {
	for _, v := range []uint64{0, 100, 101, 1e19, math.MaxUint64} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v uint64) {
		i := bucketOf(v)
		if i < 0 || i >= bucketCount || v > bucketUpper(i) || i > 0 && v <= bucketUpper(i-1) {
			t.Errorf("bucketOf(%d) = %d, which does not hold it", v, i)
		}
	})
}

func BenchmarkHistogramRecord(b *testing.B) {
	var h Histogram
	v := uint64(0)
	for b.Loop() {
		h.Record(v & 0xfffff)
		v += 7919
	}
}
