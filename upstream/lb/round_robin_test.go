package lb

import (
	"math/rand/v2"
	"testing"

	"millrace/upstream"
)

// TestRoundRobinSmooth: over any window a host is at most a turn or so away from its share.
func TestRoundRobinSmooth(t *testing.T) {
	t.Parallel()
	weights := []uint32{5, 1, 1, 3}
	c := newCluster(t, weights...)
	b, hs := newPolicy(t, "round_robin", 1), bucket(c, "round_robin")
	got := make([]int, len(weights))
	for n := 1; n <= 10000; n++ {
		h := b.Pick(hs, &upstream.Pick{})
		for i := range c.Hosts() {
			if c.Hosts()[i] == h {
				got[i]++
			}
			want := float64(n) * float64(weights[i]) / 10
			if d := float64(got[i]) - want; d > 2.5 || d < -2.5 {
				t.Fatalf("after %d picks the host of weight %d has %d, want %.1f", n, weights[i], got[i], want)
			}
		}
	}
}

func TestRoundRobinRebase(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, 3)
	p := newRoundRobin(nil, rand.New(rand.NewPCG(1, 1))).(*roundRobin)
	hs := bucket(c, "round_robin")
	p.Pick(hs, nil)
	w := p.walks.at(hs)
	for i := range w.turns {
		w.turns[i].at += rebaseAt
	}
	got := spread(p, hs, 4000)
	if w.turns[0].at >= rebaseAt {
		t.Errorf("virtual time is %d after a pick past %d, want it moved back", w.turns[0].at, uint64(rebaseAt))
	}
	if n := got[c.Hosts()[1]]; n < 2990 || n > 3010 {
		t.Errorf("the host of weight 3 got %d of 4000 picks across the rebase, want 3000", n)
	}
}

func TestRoundRobinKeepsItsPlace(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, 1, 1)
	b := newPolicy(t, "round_robin", 1)
	first := b.Pick(bucket(c, "round_robin"), nil)
	second := b.Pick(bucket(c, "round_robin"), nil)
	third := b.Pick(bucket(c, "round_robin"), nil)
	if first == second || second == third || first == third {
		t.Errorf("picks over three equal versions = %s, %s, %s; want three hosts", first.Name, second.Name, third.Name)
	}
}

// TestRoundRobinFollowsWeights: while the weight of a host grows step by step, as in slow start, it is never more than a
// turn or so away from what the weights add up to: a step brings neither a burst nor a pause.
func TestRoundRobinFollowsWeights(t *testing.T) {
	t.Parallel()
	for _, picks := range []int{1, 3, 50, 997} { // in each step
		hosts := newCluster(t, 1, 1, 1).Hosts()
		b := newPolicy(t, "round_robin", 5)
		got, want := make([]float64, len(hosts)), make([]float64, len(hosts))
		for step := range 200 {
			hs := &upstream.Bucket{Hosts: hosts, Weights: []uint32{1000, 3000, uint32(100 + 5*step)}, Version: uint64(step + 1)}
			sum := float64(hs.Weights[0] + hs.Weights[1] + hs.Weights[2])
			for range picks {
				h := b.Pick(hs, &upstream.Pick{})
				for i := range hosts {
					want[i] += float64(hs.Weights[i]) / sum
					if hosts[i] == h {
						got[i]++
					}
					if d := got[i] - want[i]; d > 2.5 || d < -2.5 {
						t.Fatalf("%d picks a step, step %d: host %d has %.0f picks, want about %.1f", picks, step, i, got[i], want[i])
					}
				}
			}
		}
	}
}
