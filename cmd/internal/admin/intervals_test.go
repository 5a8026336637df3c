package admin

import (
	"strings"
	"testing"
	"time"
)

// TestIntervals: the first number of a pair belongs to the last whole interval, while somebody looks.
func TestIntervals(t *testing.T) {
	t.Parallel()
	f := newFixture()
	defer f.srv.intervals.close()
	const page = "/stats?filter=edge.*time"
	wants := func(target, want string) {
		t.Helper()
		if text := f.want(t, 200, "GET", target); !strings.Contains(text, want) {
			t.Errorf("GET %s: %q; want %q in it", target, text, want)
		}
	}
	wants(page, "P100(nan,250)") // nobody has looked before
	f.http[0].Time.Record(3_000_000)
	f.http[1].Time.Record(3_000_000)
	wants(page, "P100(nan,3000)") // the interval has not ended
	f.srv.intervals.tick()
	wants(page, "P0(2900,0.39)")
	wants(page, "P100(3000,3000)")
	wants(page+"&histogram_buckets=cumulative", "B2500(0,2) B5000(2,4)")
	wants(page+"&histogram_buckets=disjoint", "B2500(0,0) B5000(2,2) B10000(0,0)")
	wants(page+"&histogram_buckets=detailed", "intervals=2900,100:2\n")
	wants(page+"&format=json", `{"interval":3000,"cumulative":3000}`)
	wants(page+"&format=json&histogram_buckets=detailed", `"intervals":[{"lower_bound":2900,"width":100,"count":2}]`)
	f.srv.intervals.tick()
	wants(page, "P100(nan,3000)") // nothing in this one
	wants(page+"&histogram_buckets=cumulative", "B5000(0,4)")

	f.http[0].Time.Record(5)
	f.srv.intervals.mu.Lock()
	f.srv.intervals.asked = time.Now().Add(-2 * intervalsKept)
	f.srv.intervals.mu.Unlock()
	f.srv.intervals.tick()
	if f.srv.intervals.of != nil {
		t.Error("intervals are kept although nobody looks")
	}
	f.want(t, 200, "GET", "/stats/prometheus")
	if f.srv.intervals.of != nil {
		t.Error("intervals are kept for Prometheus, which shows none")
	}
	wants(page, "P100(nan,3000)")
}
