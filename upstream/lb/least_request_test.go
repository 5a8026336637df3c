package lb

import (
	"testing"

	"millrace/upstream"
)

func TestLeastRequestAvoidsTheBusy(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, 1, 1, 1)
	c.Hosts()[2].RqActive.Store(50)
	got := spread(newPolicy(t, "least_request", 1), bucket(c, "least_request"), 8000)
	// Picked only when drawn both times: 1 in 16.
	if n := got[c.Hosts()[2]]; n < 350 || n > 650 {
		t.Errorf("the busy host got %d of 8000 picks, want about 500", n)
	}
}

// TestLeastRequestLevelsByWeight: with requests that never end, load follows the weights.
func TestLeastRequestLevelsByWeight(t *testing.T) {
	t.Parallel()
	weights := []uint32{1, 2, 4}
	c := newCluster(t, weights...)
	b, hs := newPolicy(t, "least_request", 1), bucket(c, "least_request")
	const picks = 7000
	for range picks {
		b.Pick(hs, &upstream.Pick{}).RqActive.Add(1)
	}
	for i, h := range c.Hosts() {
		want := picks * int64(weights[i]) / 7
		if got := h.RqActive.Load(); got < want*95/100 || got > want*105/100 {
			t.Errorf("host of weight %d has %d active, want about %d", weights[i], got, want)
		}
	}
}

// TestLeastRequestFollowsWeights: idle hosts are drawn by the weights of the moment, busy ones levelled by them.
func TestLeastRequestFollowsWeights(t *testing.T) {
	t.Parallel()
	hosts := newCluster(t, 1, 1).Hosts()
	b := newPolicy(t, "least_request", 3)
	for step, weight := range []uint32{100, 250, 500, 1000} {
		hs := &upstream.Bucket{Hosts: hosts, Weights: []uint32{1000, weight}, Version: uint64(step + 1)}
		const picks = 50_000
		want := picks * float64(weight) / float64(1000+weight)
		if n := float64(spread(b, hs, picks)[hosts[1]]); n < want*0.95 || n > want*1.05 {
			t.Errorf("idle, weight %d: %.0f picks, want about %.0f", weight, n, want)
		}
		for _, h := range hosts {
			h.RqActive.Store(0)
		}
		for range picks {
			b.Pick(hs, &upstream.Pick{}).RqActive.Add(1)
		}
		if n := float64(hosts[1].RqActive.Load()); n < want*0.98 || n > want*1.02 {
			t.Errorf("busy, weight %d: %.0f requests, want about %.0f", weight, n, want)
		}
		for _, h := range hosts {
			h.RqActive.Store(0)
		}
	}
}
