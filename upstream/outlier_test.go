package upstream

import "testing"

// TestOutlierRows feeds results to a host and looks at which rows are found.
func TestOutlierRows(t *testing.T) {
	t.Parallel()
	const connectFailed, timedOut, connected, final = -1, -2, -3, -4
	for _, tt := range []struct {
		name   string
		split  bool
		feed   []int
		want   [consecutiveCount]int
		totals [2][2]uint64
	}{
		{"equal to the threshold", false, []int{500, 500, 500}, [...]int{1, 0, 0}, [2][2]uint64{{3, 0}, {}}},
		{"gateway counts for both", false, []int{502, 503, 504}, [...]int{1, 1, 0}, [2][2]uint64{{3, 0}, {}}},
		{"a plain 500 ends only the gateway row", false, []int{503, 503, 500, 503}, [...]int{1, 0, 0}, [2][2]uint64{{4, 0}, {}}},
		{"a good one ends both", false, []int{503, 503, 404, 503, 503}, [...]int{0, 0, 0}, [2][2]uint64{{5, 1}, {}}},
		{"local ones count as 503 and 504", false, []int{connectFailed, timedOut, 503}, [...]int{1, 1, 0}, [2][2]uint64{{3, 0}, {}}},
		{"a connection is no response", false, []int{503, 503, connected, 503}, [...]int{1, 1, 0}, [2][2]uint64{{3, 0}, {}}},
		{"unless it is all there is", false, []int{connectFailed, connectFailed, final, connectFailed}, [...]int{0, 0, 0}, [2][2]uint64{{4, 1}, {}}},
		{"split", true, []int{503, connectFailed, 503, timedOut, connectFailed}, [...]int{0, 0, 1}, [2][2]uint64{{2, 0}, {3, 0}}},
		{"split, and connected", true, []int{timedOut, timedOut, connected, timedOut}, [...]int{0, 0, 0}, [2][2]uint64{{}, {4, 1}}},
	} {
		var got [consecutiveCount]int
		o := NewOutlier(&OutlierConfig{
			Consecutive5xx: 3, ConsecutiveGatewayFailure: 3, ConsecutiveLocalOriginFailure: 3, SplitExternalLocalOriginErrors: tt.split,
		}, func(_ *Host, what Consecutive) { got[what]++ })
		h := &Host{}
		for _, r := range tt.feed {
			switch r {
			case connectFailed:
				o.ConnectFailed(h)
			case timedOut:
				o.TimedOut(h, 504)
			case connected, final:
				o.Connected(h, r == final)
			default:
				o.Status(h, r)
			}
		}
		if got != tt.want {
			t.Errorf("%s: %v found %v, want %v", tt.name, tt.feed, got, tt.want)
		}
		for i, want := range tt.totals {
			if total, good := h.Outlier.Take(i == 1); total != want[0] || good != want[1] {
				t.Errorf("%s: local %v: %d results, %d good; want %v", tt.name, i == 1, total, good, want)
			}
		}
	}
	var none *Outlier // a cluster without it
	none.Status(nil, 503)
	none.ConnectFailed(nil)
	none.TimedOut(nil, 504)
	none.Connected(nil, true)
}
