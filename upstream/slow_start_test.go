package upstream

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// TestSlowStartFactor has worked figures of the formula.
func TestSlowStartFactor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		age        time.Duration
		aggression float64
		least      float64
		want       float64
	}{
		{0, 1, 10, 0.1},
		{0, 1, 0, 0.001 / 60},
		{6 * time.Second, 1, 10, 0.1},
		{15 * time.Second, 1, 10, 0.25},
		{30 * time.Second, 1, 10, 0.5},
		{30 * time.Second, 1, 60, 0.6},
		{59 * time.Second, 1, 10, 59.0 / 60},
		{60 * time.Second, 1, 10, 1},
		{time.Hour, 0.5, 10, 1},
		{15 * time.Second, 2, 10, 0.5},     // the square root of a quarter
		{15 * time.Second, 0.5, 1, 0.0625}, // its square
		{30 * time.Second, 3, 10, 0.7937},  // the cube root of a half
	} {
		s := SlowStartConfig{SlowStartWindow: time.Minute, Aggression: tt.aggression, MinWeightPercent: tt.least}
		if got := s.factor(tt.age); math.Abs(got-tt.want) > 1e-4 {
			t.Errorf("factor(%s) with aggression %g and %g %% = %.4f, want %.4f", tt.age, tt.aggression, tt.least, got, tt.want)
		}
	}
}

// slowCluster returns a cluster with a window of ten seconds and a host for each weight.
func slowCluster(t *testing.T, edit func(*Config), weights ...uint32) *Cluster {
	t.Helper()
	cfg := DefaultConfig("c")
	cfg.RoundRobin.SlowStart = &SlowStartConfig{SlowStartWindow: 10 * time.Second, Aggression: 1, MinWeightPercent: 10}
	if edit != nil {
		edit(&cfg)
	}
	cfg.Hosts = slowHosts(weights...)
	c, err := New(0, &cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// slowHosts returns a host for each weight.
func slowHosts(weights ...uint32) (list []HostConfig) {
	for i, w := range weights {
		list = append(list, HostConfig{Address: fmt.Sprintf("127.0.0.1:%d", 1000+i), Weight: w})
	}
	return list
}

// wantWeights rebuilds and compares the weights of the bucket for a request; "[]" are equal ones.
func wantWeights(t *testing.T, c *Cluster, want string, ramping bool) {
	t.Helper()
	c.Rebuild()
	b, _ := c.HostSet().Choose(0, &Pick{})
	if got := fmt.Sprint(b.Weights); got != want || c.Ramping() != ramping {
		t.Errorf("weights %s, ramping %t; want %s, %t", got, c.Ramping(), want, ramping)
	}
}

// TestSlowStartOfAdded: a host that is added begins with a tenth and gets its share at the end of the window. Those that
// were there from the beginning began together, and share equally.
func TestSlowStartOfAdded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := slowCluster(t, nil, 1, 1)
		wantWeights(t, c, "[]", false)
		time.Sleep(4 * time.Second)
		if changed, err := c.SetHosts(slowHosts(1, 1, 2)); !changed || err != nil {
			t.Fatal(changed, err)
		}
		wantWeights(t, c, "[400 400 200]", true)
		time.Sleep(2 * time.Second)
		wantWeights(t, c, "[600 600 400]", true)
		time.Sleep(3 * time.Second)
		wantWeights(t, c, "[900 900 1000]", true)
		time.Sleep(3 * time.Second)
		wantWeights(t, c, "[1000 1000 1600]", true)
		time.Sleep(2 * time.Second)
		wantWeights(t, c, "[1 1 2]", false)
	})
}

// TestSlowStartOfRecovered: a host that passes its active checks again begins anew, one that outlier detection lets back
// does not.
func TestSlowStartOfRecovered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := slowCluster(t, nil, 1, 1, 1)
		time.Sleep(time.Minute)
		h := c.Hosts()[1]
		h.SetHealth(FailedOutlier, true)
		wantWeights(t, c, "[]", false)
		h.SetHealth(FailedOutlier, false)
		wantWeights(t, c, "[]", false)
		h.SetHealth(FailedActiveCheck, true)
		wantWeights(t, c, "[]", false)
		time.Sleep(time.Minute)
		h.SetHealth(FailedActiveCheck, false)
		wantWeights(t, c, "[1000 100 1000]", true)
		time.Sleep(5 * time.Second)
		wantWeights(t, c, "[1000 500 1000]", true)
		h.SetHealth(FailedActiveCheck, true)
		wantWeights(t, c, "[]", false) // it is not there
		h.SetHealth(FailedActiveCheck, false)
		wantWeights(t, c, "[1000 100 1000]", true)
	})
}

// TestSlowStartAfterFirstCheck: with active checks a new host begins when it has passed the first.
func TestSlowStartAfterFirstCheck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := slowCluster(t, nil, 1, 1)
		time.Sleep(time.Minute)
		late := c.Hosts()[1]
		late.ramp = nil
		late.SetHealth(FailedActiveCheck, true)
		wantWeights(t, c, "[]", false)
		time.Sleep(time.Minute)
		late.SetHealth(FailedActiveCheck, false)
		wantWeights(t, c, "[1000 100]", true)
	})
}

// TestSlowStartSurvivesReload: a cluster that replaces another one goes on with its hosts where they are.
func TestSlowStartSurvivesReload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := slowCluster(t, nil, 1)
		time.Sleep(time.Minute)
		cfg := *c.Config
		cfg.Hosts = slowHosts(1, 1)
		next, err := New(0, &cfg, c)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		again, err := New(0, &cfg, next)
		if err != nil {
			t.Fatal(err)
		}
		wantWeights(t, again, "[1000 500]", true)
	})
}

// TestSlowStartByPolicy: it is that of the policy in use, and others have none.
func TestSlowStartByPolicy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for policy, want := range map[string]string{"round_robin": "[1000 100]", "least_request": "[1000 500]", "random": "[]", "maglev": "[]"} {
			c := slowCluster(t, func(c *Config) {
				c.LbPolicy = policy
				c.LeastRequest.SlowStart = &SlowStartConfig{SlowStartWindow: 10 * time.Second, Aggression: 1, MinWeightPercent: 50}
			}, 1)
			time.Sleep(time.Minute)
			if _, err := c.SetHosts(slowHosts(1, 1)); err != nil {
				t.Fatal(err)
			}
			wantWeights(t, c, want, want != "[]")
		}
	})
}

// TestSlowStartLargestWeight: the largest weight has room for the parts.
func TestSlowStartLargestWeight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := slowCluster(t, nil, 1_000_000)
		time.Sleep(time.Minute)
		if _, err := c.SetHosts(slowHosts(1_000_000, 1)); err != nil {
			t.Fatal(err)
		}
		wantWeights(t, c, "[1000000000 100]", true)
	})
}
