package upstream

import (
	"slices"
	"testing"
	"time"
)

// TestAutoscaler: traffic of each second, and what is wanted after it; worked by hand.
func TestAutoscaler(t *testing.T) {
	base := AutoscalingConfig{Metric: RequestsPerSecond, TargetPerHost: 100, Window: 2 * time.Second, MinHosts: 1, MaxHosts: 10, HysteresisHosts: 1}
	with := func(f func(*AutoscalingConfig)) AutoscalingConfig { c := base; f(&c); return c }
	tests := []struct {
		name   string
		config AutoscalingConfig
		hosts  uint32
		rates  []uint64
		want   []uint32
	}{
		{"nothing is decided before a window", base, 3, []uint64{900, 900}, []uint32{3, 9}},
		{"ceil", base, 1, []uint64{200, 200, 202}, []uint32{1, 2, 3}}, // the mean is 201
		{"down at once", base, 5, []uint64{400, 400, 100, 100}, []uint32{5, 4, 3, 1}},
		{"bounds", with(func(c *AutoscalingConfig) { c.MinHosts = 2 }), 5, []uint64{0, 0, 9000, 9000}, []uint32{5, 2, 10, 10}},
		{"the start is within the bounds", base, 50, []uint64{950, 950}, []uint32{10, 10}},
		{"no traffic and no least number", with(func(c *AutoscalingConfig) { c.MinHosts = 0 }), 1, []uint64{0, 0}, []uint32{1, 0}},
		{"hysteresis up", with(func(c *AutoscalingConfig) { c.HysteresisPercent = 10 }), 2, []uint64{218, 218, 222, 222, 222}, []uint32{2, 2, 2, 3, 3}},
		{"hysteresis down", with(func(c *AutoscalingConfig) { c.HysteresisPercent = 10 }), 3, []uint64{190, 190, 180, 180}, []uint32{3, 3, 3, 2}},
		{"least change", with(func(c *AutoscalingConfig) { c.HysteresisHosts = 2 }), 3, []uint64{390, 390, 490, 490}, []uint32{3, 3, 5, 5}},
		{"stabilization down takes the largest", with(func(c *AutoscalingConfig) { c.ScaleDownStabilization = 3 * time.Second }), 9,
			[]uint64{500, 500, 300, 300, 100, 100}, []uint32{9, 9, 9, 9, 5, 5}},
		{"a break begins it anew", with(func(c *AutoscalingConfig) { c.ScaleDownStabilization = 2 * time.Second }), 5,
			[]uint64{300, 300, 700, 300, 300, 300}, []uint32{5, 5, 5, 5, 5, 5}},
		{"stabilization up takes the least", with(func(c *AutoscalingConfig) { c.ScaleUpStabilization = 2 * time.Second }), 1,
			[]uint64{500, 500, 300, 300}, []uint32{1, 1, 1, 3}},
		{"cooldown", with(func(c *AutoscalingConfig) { c.Cooldown = 3 * time.Second }), 1,
			[]uint64{300, 300, 500, 500, 500}, []uint32{1, 3, 3, 3, 5}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := NewAutoscaler(&tt.config, tt.hosts)
			s := AutoscaleSample{}
			a.Add(s)
			var got []uint32
			for _, r := range tt.rates {
				s.At += time.Second
				s.Total += r
				was := a.Wanted()
				if changed := a.Add(s); changed != (a.Wanted() != was) {
					t.Errorf("Add reports %v: %d, then %d", changed, was, a.Wanted())
				}
				got = append(got, a.Wanted())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("wanted %d, want %d", got, tt.want)
			}
		})
	}
}

// TestAutoscalerActive: the mean of the samples of a window counts, and samples are dropped when they are older.
func TestAutoscalerActive(t *testing.T) {
	t.Parallel()
	c := AutoscalingConfig{Metric: ActiveRequests, TargetPerHost: 10, Window: 3 * time.Second, MinHosts: 1, MaxHosts: 10, HysteresisHosts: 1}
	a := NewAutoscaler(&c, 1)
	for i := range 100 {
		a.Add(AutoscaleSample{At: time.Duration(i) * time.Second, Active: uint64(25 + i%3)})
	}
	if a.Wanted() != 3 || a.Traffic() != 26 || len(a.samples) != 4 {
		t.Errorf("wanted %d for %v of %d samples, want 3 for 26 of 4", a.Wanted(), a.Traffic(), len(a.samples))
	}
}
