package l7

import (
	"container/heap"
	"math"
	"testing"
	"time"

	"millrace/filters"
)

// gradientConfig is a config with its defaults.
func gradientConfig() *AdaptiveConcurrencyConfig {
	return &AdaptiveConcurrencyConfig{Enabled: true, ConcurrencyLimitExceededStatus: 503, Gradient: GradientConfig{
		SampleAggregatePercentile: 50,
		Limit:                     ConcurrencyLimitConfig{MaxConcurrencyLimit: 1000, ConcurrencyUpdateInterval: time.Hour},
		MinRTT:                    MinRTTConfig{Interval: time.Hour, RequestCount: 50, Jitter: 15, MinConcurrency: 3, Buffer: 25},
	}}
}

// TestGradient: the formula, with figures worked out by hand.
func TestGradient(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name                         string
		minRTT, limit, sample        float64
		wantRatio, wantRoom, wantLim float64
	}{
		// 10 × 1.25 ÷ 12.5 = 1; √100 = 10
		{"as long as allowed", 10_000, 100, 12_500, 1, 10, 110},
		// 10 × 1.25 ÷ 25 = 0.5; √50 = 7.07
		{"twice as long", 10_000, 100, 25_000, 0.5, math.Sqrt(50), 57},
		{"ten times as long", 10_000, 100, 100_000, 0.5, math.Sqrt(50), 57},
		// 10 × 1.25 ÷ 10 = 1.25; √125 = 11.2
		{"as with few", 10_000, 100, 10_000, 1.25, math.Sqrt(125), 136},
		{"much faster", 10_000, 100, 1_000, 2, math.Sqrt(200), 214},
		{"no time at all", 10_000, 100, 0, 2, math.Sqrt(200), 214},
		{"at most", 10_000, 900, 10_000, 1.25, math.Sqrt(1125), 1000},
		{"at least", 10_000, 3, 100_000, 0.5, math.Sqrt(1.5), 3},
	} {
		g := gradient{buffer: 0.25, least: 3, most: 1000, minRTT: tt.minRTT, limit: tt.limit}
		g.next(tt.sample)
		if g.ratio != tt.wantRatio || math.Abs(g.headroom-tt.wantRoom) > 1e-9 || g.limit != tt.wantLim {
			t.Errorf("%s: gradient %v, headroom %v, limit %v; want %v, %v, %v", tt.name, g.ratio, g.headroom, g.limit, tt.wantRatio, tt.wantRoom, tt.wantLim)
		}
	}
	g := gradient{buffer: 0.25, least: 3, most: 1000, minRTT: 1000, limit: 4}
	for want := range 6 { // the first one comes from above
		if g.next(1e6); g.atLeast != want {
			t.Errorf("%d windows at the least limit, want %d", g.atLeast, want)
		}
	}
	if g.next(1000); g.atLeast != 0 {
		t.Error("a window above the least limit counts")
	}
}

// newTestConcurrency returns a controller that nobody runs.
func newTestConcurrency(change func(*GradientConfig)) *concurrency {
	cfg := gradientConfig().Gradient
	if change != nil {
		change(&cfg)
	}
	return newConcurrency(&cfg, new(concurrencyStats))
}

// TestMeasuring: minRTT comes of request_count requests that began after the measurement had, with the least limit meanwhile.
func TestMeasuring(t *testing.T) {
	t.Parallel()
	c := newTestConcurrency(nil)
	a, b := c.join(), c.join() // two loops
	if !c.measuring.Load() || c.limit.Load() != 3 || c.stats.Measuring.Load() != 1 {
		t.Fatal("it does not begin with measuring")
	}
	for i := range 50 {
		if len(c.full) != 0 {
			t.Fatalf("measured after %d answers", i)
		}
		[...]interface{ Record(uint64) }{a, b}[i%2].Record(uint64(2000 + i%3*10))
		c.measured()
	}
	if len(c.full) != 1 {
		t.Fatal("50 answers are not enough")
	}
	<-c.full
	c.measuredAll()
	if c.measuring.Load() || math.Abs(c.gradient.minRTT-2000) > 100 || c.stats.MinRTT.Load() != 2 {
		t.Errorf("minRTT %v µs after answers of 2 ms, gauge %d", c.gradient.minRTT, c.stats.MinRTT.Load())
	}
	c.step() // an empty window
	if c.limit.Load() != 3 {
		t.Error("the limit moved without an answer")
	}
	// What began before a measurement says nothing about it.
	mark := int64(5)<<roundBits | int64(c.round.Load()&roundMask)
	if !c.counts(mark) {
		t.Error("a request of this round does not count")
	}
	c.measure()
	if c.counts(mark) {
		t.Error("a request from before the measurement counts")
	}
	// The limit of before comes back.
	c.gradient.limit, c.resume = 3, 80
	a.Record(1000)
	if c.measuredAll(); c.limit.Load() != 80 {
		t.Errorf("limit %d after measuring, was 80", c.limit.Load())
	}
	// Five windows at the least limit: it is measured anew.
	c.gradient.limit = 3
	for i := range leastWindowsMax {
		if c.measuring.Load() {
			t.Fatalf("measuring after %d windows", i)
		}
		a.Record(1e7)
		c.step()
	}
	if !c.measuring.Load() {
		t.Error("not measured anew after five windows at the least limit")
	}
	fixed := newTestConcurrency(func(g *GradientConfig) { g.MinRTT.Interval, g.MinRTT.FixedValue = 0, 5*time.Millisecond })
	if fixed.measuring.Load() || fixed.gradient.minRTT != 5000 || fixed.stats.MinRTT.Load() != 5 {
		t.Errorf("fixed_value: measuring %t, %v µs", fixed.measuring.Load(), fixed.gradient.minRTT)
	}
}

// TestAdaptiveConcurrency: what the filter does with a request.
func TestAdaptiveConcurrency(t *testing.T) {
	t.Parallel()
	f, filter := newFake(t, "adaptive_concurrency", gradientConfig(), nil)
	ac := filter.(*adaptiveConcurrency)
	pass := func() filters.Verdict { return ac.OnRequestHead(f.request("GET /"), true) }
	ac.c.underWay.Store(3)
	if pass() != filters.Replied {
		t.Error("a fourth request passed")
	}
	f.want("reply 503 reached_concurrency_limit UO", "response 503")
	if ac.OnDestroy(&f.stream); ac.c.underWay.Load() != 3 || ac.stats.RqBlocked.Load() != 1 {
		t.Errorf("%d under way after a refusal, %d refused", ac.c.underWay.Load(), ac.stats.RqBlocked.Load())
	}
	ac.c.underWay.Store(2)
	samples := func() uint64 { return ac.times.Snapshot().Count }
	for _, tt := range []struct {
		name   string
		status int
		method string
		last   bool // a host has answered
		tunnel bool
		counts uint64
	}{
		{"answered", 200, "GET /", true, false, 1},
		{"broken off", 0, "GET /", false, false, 0},
		{"answered by a filter", 403, "GET /", false, false, 0},
		{"an upgrade", 101, "GET /", true, true, 0},
		{"a tunnel", 200, "CONNECT x:1", true, true, 0},
		{"a refused tunnel", 502, "CONNECT x:1", true, false, 1},
	} {
		before := samples()
		s := f.request(tt.method)
		s.Info.UpstreamLastRx = 0
		if ac.OnRequestHead(s, true) != filters.Continue || ac.c.underWay.Load() != 3 {
			t.Fatalf("%s: not passed, or not counted", tt.name)
		}
		f.clock += int64(7 * time.Millisecond)
		if tt.status != 0 {
			s.Response.Status = tt.status
			ac.OnResponseHead(s, false)
		}
		if left := ac.c.underWay.Load() == 2; left != tt.tunnel {
			t.Errorf("%s: %d under way", tt.name, ac.c.underWay.Load())
		}
		if tt.last {
			s.Info.UpstreamLastRx = f.clock
		}
		ac.OnDestroy(s)
		if ac.c.underWay.Load() != 2 || samples()-before != tt.counts {
			t.Errorf("%s: %d under way at the end, %d samples", tt.name, ac.c.underWay.Load(), samples()-before)
		}
	}
	s := f.request("GET /")
	s.Info.HealthCheck = true
	if ac.OnRequestHead(s, true); s.Slot().N != 0 {
		t.Error("a health check counts")
	}
	if samples() != 2 {
		t.Errorf("%d samples", samples())
	}
	off := gradientConfig()
	off.Enabled = false
	f, filter = newFake(t, "adaptive_concurrency", off, nil)
	ac = filter.(*adaptiveConcurrency)
	if pass := ac.OnRequestHead(f.request("GET /"), true); pass != filters.Continue || ac.c != nil {
		t.Error("it limits although it is not enabled")
	}
	ac.OnDestroy(&f.stream)
}

// answers is a queue of the times at which a server will answer.
type answers [][2]float64 // when, and begun when

func (a answers) Len() int           { return len(a) }
func (a answers) Less(i, j int) bool { return a[i][0] < a[j][0] }
func (a answers) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *answers) Push(x any)        { *a = append(*a, x.([2]float64)) }
func (a *answers) Pop() any {
	old := *a
	x := old[len(old)-1]
	*a = old[:len(old)-1]
	return x
}

// TestGradientConverges: a server that does ten requests at a time, each in 10 ms, is offered twice what it can do. The limit
// settles where theory has it: requests take L ÷ 10 × 10 ms, so L' = 12.5 + √12.5 = 16.
func TestGradientConverges(t *testing.T) {
	t.Parallel()
	const workers, service, gap, window = 10, 10_000.0, 500.0, 100_000.0 // µs
	c := newTestConcurrency(nil)
	times := c.join()
	var free [workers]float64
	var under answers
	var late []float64
	next := window
	for now := 0.0; now < 20e6; now += gap {
		for len(under) > 0 && under[0][0] <= now {
			x := heap.Pop(&under).([2]float64)
			c.underWay.Add(-1)
			times.Record(uint64(x[0] - x[1]))
			c.measured()
			if now > 10e6 {
				late = append(late, x[0]-x[1])
			}
		}
		select {
		case <-c.full:
			c.measuredAll()
		default:
		}
		if now >= next {
			next += window
			if !c.measuring.Load() {
				c.step()
			}
		}
		if c.admit() {
			first := 0
			for i := range free {
				if free[i] < free[first] {
					first = i
				}
			}
			free[first] = max(free[first], now) + service
			heap.Push(&under, [2]float64{free[first], now})
		}
	}
	worst := 0.0
	for _, x := range late {
		worst = max(worst, x)
	}
	t.Logf("limit %d, slowest of %d answers %.1f ms", c.limit.Load(), len(late), worst/1000)
	if n := c.limit.Load(); n < 13 || n > 19 {
		t.Errorf("the limit settles at %d, want about 16", n)
	}
	if worst > 25_000 || len(late) < 9_500 { // of 10,000 that it can do
		t.Errorf("slowest answer %.1f ms, %d answers in 10 s", worst/1000, len(late))
	}
}

func TestAdaptiveConcurrencyValidate(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*GradientConfig){
		"": func(*GradientConfig) {},
		"min_rtt_calc_params.fixed_value: interval and fixed_value are both given": func(c *GradientConfig) { c.MinRTT.FixedValue = 1 },
		"min_rtt_calc_params.interval: neither interval nor fixed_value is given":  func(c *GradientConfig) { c.MinRTT.Interval = 0 },
		"min_rtt_calc_params.interval: it is below 1ms":                            func(c *GradientConfig) { c.MinRTT.Interval = 1 },
		"min_rtt_calc_params.min_concurrency: it is above max_concurrency_limit":   func(c *GradientConfig) { c.Limit.MaxConcurrencyLimit = 2 },
	} {
		c := gradientConfig()
		change(&c.Gradient)
		if got := problems(c.Gradient.Validate); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
