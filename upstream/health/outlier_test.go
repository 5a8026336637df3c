package health

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/upstream"
)

// TestSuccessThreshold: the worked figures of the reference.
func TestSuccessThreshold(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rates           []float64
		factor          uint32
		mean, threshold float64
	}{
		{[]float64{50, 100, 100, 100, 100}, 1900, 90, 52},
		{[]float64{100, 100, 100}, 1900, 100, 100},
		{[]float64{50, 100, 100, 100, 100}, 1000, 90, 70},
		{[]float64{50, 100, 100, 100, 100}, 0, 90, 90},
		{nil, 1900, 0, 0},
	} {
		var list []rate
		for _, r := range tt.rates {
			list = append(list, rate{percent: r})
		}
		mean, threshold := successThreshold(list, tt.factor)
		if math.Abs(mean-tt.mean) > 1e-9 || math.Abs(threshold-tt.threshold) > 1e-9 {
			t.Errorf("%v, factor %d: mean %v, threshold %v; want %v, %v", tt.rates, tt.factor, mean, threshold, tt.mean, tt.threshold)
		}
	}
}

func TestMayEject(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		percent        uint32
		one            bool
		ejected, hosts int
		want           bool
	}{
		{10, false, 0, 9, false}, {10, false, 0, 10, true}, {10, false, 1, 10, false}, {10, false, 1, 20, true},
		{10, true, 0, 3, true}, {10, true, 1, 3, false}, {0, true, 0, 1, true}, {0, false, 0, 100, false},
		{50, false, 0, 3, true}, {50, false, 1, 3, false}, {100, false, 2, 3, true},
	} {
		cfg := &upstream.OutlierConfig{MaxEjectionPercent: tt.percent, AlwaysEjectOneHost: tt.one}
		if got := mayEject(cfg, tt.ejected, tt.hosts); got != tt.want {
			t.Errorf("mayEject(%d%%, one %v, %d of %d) = %v", tt.percent, tt.one, tt.ejected, tt.hosts, got)
		}
	}
}

// TestEjectionTimes: each ejection is longer than the one before, up to a bound; each good interval takes one off.
func TestEjectionTimes(t *testing.T) {
	t.Parallel()
	cfg := &upstream.OutlierConfig{BaseEjectionTime: 30 * time.Second, MaxEjectionTime: 75 * time.Second}
	now := time.Unix(1000, 0)
	var e ejection
	eject := func(want time.Duration) {
		t.Helper()
		e.eject(cfg, now, 0)
		if got := e.until.Sub(now); got != want {
			t.Errorf("ejection %d lasts %v, want %v", e.count, got, want)
		}
		if e.sweep(e.until.Add(-1)) || !e.sweep(e.until) {
			t.Errorf("ejection %d does not end at its end", e.count)
		}
		now, e.ejected = e.until, false
	}
	for _, want := range []time.Duration{30, 60, 75, 75, 75} {
		eject(want * time.Second)
	}
	e.sweep(now)
	e.sweep(now) // 4, the most, less two
	eject(75 * time.Second)
	for range 10 {
		e.sweep(now)
	}
	eject(30 * time.Second)
	if got := (&upstream.OutlierConfig{BaseEjectionTime: time.Hour}).EjectionMax(); got != time.Hour {
		t.Errorf("without a bound, base 1h: %v", got)
	}
}

// judged is a cluster under outlier detection whose sweeps the test does.
type judged struct {
	*Outliers
	c     *upstream.Cluster
	oc    *outlierCluster
	o     *upstream.Outlier
	stats OutlierStats
	now   time.Time
}

func newJudged(t *testing.T, hosts int, cfg upstream.OutlierConfig) *judged {
	t.Helper()
	cfg.Interval, cfg.BaseEjectionTime = time.Hour, 30*time.Second
	cc := upstream.DefaultConfig("c")
	cc.OutlierDetection = &cfg
	for i := range hosts {
		cc.Hosts = append(cc.Hosts, upstream.HostConfig{Address: fmt.Sprintf("127.0.0.1:%d", i+1)})
	}
	c, err := upstream.New(0, &cc, nil)
	if err != nil {
		t.Fatal(err)
	}
	j := &judged{c: c, now: time.Now()}
	j.Outliers = NewOutliers(func(string) {})
	t.Cleanup(j.Close)
	j.Set(c, &j.stats)
	j.oc = j.clusters["c"]
	j.o = upstream.NewOutlier(&cfg, func(h *upstream.Host, what upstream.Consecutive) {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.consecutive(j.oc, row{"c", h, what}, j.now)
	})
	return j
}

func (j *judged) feed(host, good, bad int) {
	for range good {
		j.o.Status(j.c.Hosts()[host], 200)
	}
	for range bad {
		j.o.Status(j.c.Hosts()[host], 500)
	}
}

func (j *judged) look(after time.Duration) {
	j.now = j.now.Add(after)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sweep(j.oc, j.now)
}

func (j *judged) ejectedHosts() (list string) {
	for i, h := range j.c.Hosts() {
		if h.Health()&upstream.FailedOutlier != 0 {
			list += fmt.Sprint(i)
		}
	}
	return list
}

// TestDegradedHosts: one response with x-envoy-degraded is enough; each time lasts longer than the one before, and nothing is
// ejected for it.
func TestDegradedHosts(t *testing.T) {
	t.Parallel()
	j := newJudged(t, 3, upstream.OutlierConfig{DetectDegradedHosts: true, MaxEjectionPercent: 0})
	h := j.c.Hosts()[0]
	said := func() { j.o.Degraded(h) }
	if !j.o.Degrades() || (*upstream.Outlier)(nil).Degrades() || upstream.NewOutlier(&upstream.OutlierConfig{}, nil).Degrades() {
		t.Error("Degrades does not say what the config does")
	}
	said()
	said()
	if h.Health() != upstream.DegradedOutlier || h.Health().Class() != upstream.Degraded || j.stats.DetectedDegradation.Load() != 1 || j.stats.Detected5xx.Load() != 0 {
		t.Errorf("flags %b, detected %d times", h.Health(), j.stats.DetectedDegradation.Load())
	}
	if j.look(29 * time.Second); h.Health() == 0 {
		t.Error("it is not degraded any more too early")
	}
	if j.look(time.Second); h.Health() != 0 {
		t.Error("it is degraded after base_ejection_time")
	}
	said()
	if j.look(59 * time.Second); h.Health() == 0 {
		t.Error("the second time is not longer")
	}
	if j.look(time.Second); h.Health() != 0 || j.stats.DetectedDegradation.Load() != 2 {
		t.Errorf("flags %b, detected %d times", h.Health(), j.stats.DetectedDegradation.Load())
	}
	said()
	if j.Remove("c"); h.Health() != 0 {
		t.Error("it is degraded without outlier detection")
	}
}

func TestOutlierRowEjects(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "events")
	j := newJudged(t, 3, upstream.OutlierConfig{
		MaxEjectionPercent: 50, Consecutive5xx: 5, EnforcingConsecutive5xx: 100, EventLogPath: log,
		SuccessfulActiveHealthCheckUnejectHost: true,
	})
	j.feed(0, 0, 4)
	if got := j.ejectedHosts(); got != "" {
		t.Errorf("after 4 of 5: ejected %q", got)
	}
	j.feed(0, 0, 1)
	j.feed(1, 0, 5)
	if got := j.ejectedHosts(); got != "0" || j.stats.Overflow.Load() != 1 || j.stats.Detected5xx.Load() != 2 || j.stats.Active.Load() != 1 {
		t.Errorf("ejected %q, overflow %d, detected %d; want 0, 1, 2", got, j.stats.Overflow.Load(), j.stats.Detected5xx.Load())
	}
	if j.look(29 * time.Second); j.ejectedHosts() != "0" {
		t.Error("it is back too early")
	}
	if j.look(time.Second); j.ejectedHosts() != "" || j.stats.Active.Load() != 0 {
		t.Error("it is not back after base_ejection_time")
	}
	j.feed(0, 0, 5)
	if j.look(59 * time.Second); j.ejectedHosts() != "0" {
		t.Error("the second ejection is not longer")
	}
	if j.Passed("c", j.c.Hosts()[0]); j.ejectedHosts() != "" {
		t.Error("an active check that passes does not bring it back")
	}
	j.feed(0, 0, 5)
	if j.Remove("c"); j.ejectedHosts() != "" {
		t.Error("it stays ejected without outlier detection")
	}
	j.Close()
	text, _ := os.ReadFile(log)
	for i, want := range []string{`"type":"CONSECUTIVE_5XX"`, `"action":"UNEJECT"`, `"num_ejections":2,"enforced":true`} {
		if lines := strings.Split(string(text), "\n"); !strings.Contains(lines[i], want) {
			t.Errorf("line %d of the event log lacks %s:\n%s", i, want, text)
		}
	}
}

func TestOutlierRates(t *testing.T) {
	t.Parallel()
	base := upstream.OutlierConfig{
		MaxEjectionPercent: 100, EnforcingSuccessRate: 100, SuccessRateMinimumHosts: 5, SuccessRateRequestVolume: 100, SuccessRateStdevFactor: 1900,
		FailurePercentageThreshold: 85, FailurePercentageMinimumHosts: 5, FailurePercentageRequestVolume: 50,
	}
	for _, tt := range []struct {
		name string
		edit func(*upstream.OutlierConfig)
		bad  [5]int // of 100
		want string
	}{
		{"one below the threshold", nil, [...]int{50, 0, 0, 0, 0}, "0"},
		{"all the same", nil, [...]int{50, 50, 50, 50, 50}, ""},
		{"too few results", func(c *upstream.OutlierConfig) { c.SuccessRateRequestVolume = 101 }, [...]int{50, 0, 0, 0, 0}, ""},
		{"too few hosts", func(c *upstream.OutlierConfig) { c.SuccessRateMinimumHosts = 6 }, [...]int{50, 0, 0, 0, 0}, ""},
		{"not enforced", func(c *upstream.OutlierConfig) { c.EnforcingSuccessRate = 0 }, [...]int{50, 0, 0, 0, 0}, ""},
		{"failure percentage", func(c *upstream.OutlierConfig) { c.EnforcingSuccessRate, c.EnforcingFailurePercentage = 0, 100 },
			[...]int{85, 84, 99, 0, 0}, "02"},
	} {
		cfg := base
		if tt.edit != nil {
			tt.edit(&cfg)
		}
		j := newJudged(t, 5, cfg)
		for i, bad := range tt.bad {
			j.feed(i, 100-bad, bad)
		}
		if j.look(0); j.ejectedHosts() != tt.want {
			t.Errorf("%s: ejected %q, want %q", tt.name, j.ejectedHosts(), tt.want)
		}
	}
}
