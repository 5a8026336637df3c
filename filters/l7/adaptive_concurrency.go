package l7

import (
	"math"
	"time"

	"millrace/codec"
	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/accesslog"
)

// AdaptiveConcurrencyConfig configures the "adaptive_concurrency" filter, which finds out how many requests may be under way at once
// from how long they take, and answers those beyond.
type AdaptiveConcurrencyConfig struct {
	// Enabled makes the filter limit requests. If false it does nothing. Default: true.
	Enabled bool `json:"enabled" default:"true"`
	// ConcurrencyLimitExceededStatus answers what is beyond the limit. Default 503.
	ConcurrencyLimitExceededStatus int `json:"concurrency_limit_exceeded_status" default:"503" min:"400" max:"599"`
	// Gradient is how the limit is found.
	Gradient GradientConfig `json:"gradient_controller_config" required:"true"`
}

// GradientConfig configures the gradient controller: the limit grows while requests take as long as with few of them, and shrinks as
// they take longer.
type GradientConfig struct {
	// SampleAggregatePercentile is which of the times of a window stands for it. Default 50.
	SampleAggregatePercentile float64 `json:"sample_aggregate_percentile" default:"50" unit:"percent"`
	// Limit is how the limit moves.
	Limit ConcurrencyLimitConfig `json:"concurrency_limit_params" required:"true"`
	// MinRTT is how the time is found that requests take with few of them.
	MinRTT MinRTTConfig `json:"min_rtt_calc_params" required:"true"`
}

// ConcurrencyLimitConfig says how the limit moves.
type ConcurrencyLimitConfig struct {
	// MaxConcurrencyLimit is the most that the limit becomes. Default 1000.
	MaxConcurrencyLimit uint32 `json:"max_concurrency_limit" default:"1000" min:"1" max:"1000000"`
	// ConcurrencyUpdateInterval is how often it moves: the length of a window.
	ConcurrencyUpdateInterval time.Duration `json:"concurrency_update_interval" required:"true" min:"1ms" max:"1h"`
}

// MinRTTConfig says how the time is found that requests take with few of them.
type MinRTTConfig struct {
	// Interval is how often it is measured: the limit is min_concurrency meanwhile. One of interval and fixed_value is given.
	Interval time.Duration `json:"interval" min:"0s"`
	// FixedValue is that time, which is then not measured.
	FixedValue time.Duration `json:"fixed_value" min:"0s"`
	// RequestCount is how many requests it is measured with. Default 50.
	RequestCount uint32 `json:"request_count" default:"50" min:"1" max:"1000000"`
	// Jitter is the share of the interval by which it is longer at random. Default 15.
	Jitter float64 `json:"jitter" default:"15" unit:"percent"`
	// MinConcurrency is the limit while it is measured, and the least that the limit ever is. Default 3.
	MinConcurrency uint32 `json:"min_concurrency" default:"3" min:"1" max:"1000000"`
	// Buffer is by how much more requests may take before the limit shrinks: what they vary by anyway. Default 25.
	Buffer float64 `json:"buffer" default:"25" unit:"percent"`
}

// minRTTIntervalMin is the shortest interval.
const minRTTIntervalMin = time.Millisecond

// Validate reports what excludes each other.
func (c *GradientConfig) Validate(report func(path, problem, hint string)) {
	switch m := &c.MinRTT; {
	case m.Interval > 0 && m.FixedValue > 0:
		report("min_rtt_calc_params.fixed_value", "interval and fixed_value are both given", "give interval to have it measured, fixed_value to say it")
	case m.Interval == 0 && m.FixedValue == 0:
		report("min_rtt_calc_params.interval", "neither interval nor fixed_value is given", `write {"interval": "60s"}`)
	case m.Interval > 0 && m.Interval < minRTTIntervalMin:
		report("min_rtt_calc_params.interval", "it is below 1ms", `write {"interval": "60s"}`)
	}
	if c.MinRTT.MinConcurrency > c.Limit.MaxConcurrencyLimit {
		report("min_rtt_calc_params.min_concurrency", "it is above max_concurrency_limit", "lower it")
	}
}

// adaptiveConcurrency limits the requests of all loops together.
type adaptiveConcurrency struct {
	c     *concurrency // nil: it does nothing
	reply filters.LocalReply
	stats *adaptiveConcurrencyStats
	times *stats.Histogram // µs
}

// adaptiveConcurrencyStats counts one connection manager on one loop.
type adaptiveConcurrencyStats struct {
	RqBlocked stats.Counter `stat:"rq_blocked" help:"requests beyond the limit"`
}

// concurrencyScope is the scope of the filter's counters, below that of the connection manager.
func concurrencyScope(s stats.Scope) stats.Scope {
	return s.Name("adaptive_concurrency").Name("gradient_controller")
}

// shareConcurrency makes what the loops have in common.
func shareConcurrency(cfg *AdaptiveConcurrencyConfig, env *filters.SharedEnv) (any, error) {
	if !cfg.Enabled {
		return nil, nil
	}
	c := newConcurrency(&cfg.Gradient, env.Stats(concurrencyScope(env.Scope), new(concurrencyStats)).(*concurrencyStats))
	go c.run()
	return c, nil
}

func newAdaptiveConcurrency(cfg *AdaptiveConcurrencyConfig, env *filters.Env) (any, error) {
	f := &adaptiveConcurrency{
		stats: stats.Register[adaptiveConcurrencyStats](env.Stats, concurrencyScope(env.Scope)),
		reply: filters.LocalReply{
			Status: cfg.ConcurrencyLimitExceededStatus, Body: "reached concurrency limit", Details: "reached_concurrency_limit",
			Flags: accesslog.FlagUpstreamOverflow, Overloaded: true,
		},
	}
	if f.c, _ = env.Shared.(*concurrency); f.c != nil {
		f.times = f.c.join()
	}
	return f, nil
}

// The slot of a request that counts has when it began, in µs, above the round it began in, see concurrency.round.
const (
	roundBits = 8
	roundMask = 1<<roundBits - 1
)

// OnRequestHead implements filters.RequestHeadFilter.
func (f *adaptiveConcurrency) OnRequestHead(s *filters.Stream, _ bool) filters.Verdict {
	if f.c == nil || s.Info.HealthCheck {
		return filters.Continue
	}
	if !f.c.admit() {
		f.stats.RqBlocked.Inc()
		return s.ReplyWith(f.reply)
	}
	s.Slot().N = max(s.Now()/1000, 1)<<roundBits | int64(f.c.round.Load()&roundMask)
	return filters.Continue
}

// OnResponseHead implements filters.ResponseHeadFilter: a tunnel may last, and says nothing of how long requests take.
func (f *adaptiveConcurrency) OnResponseHead(s *filters.Stream, _ bool) filters.Verdict {
	if s.Response.Status == 101 || s.Request.Method() == codec.MethodCONNECT && s.Response.Status < 300 {
		f.release(s)
	}
	return filters.Continue
}

// OnDestroy implements filters.Destroyer. Only what a host has answered, whole, tells how long requests take.
func (f *adaptiveConcurrency) OnDestroy(s *filters.Stream) {
	mark := f.release(s)
	if last := s.Info.UpstreamLastRx; mark != 0 && last != 0 && f.c.counts(mark) {
		f.times.Record(uint64(max(last/1000-mark>>roundBits, 0)))
		f.c.measured()
	}
}

// release gives the place of a request back, and returns what its slot had.
func (f *adaptiveConcurrency) release(s *filters.Stream) (mark int64) {
	slot := s.Slot()
	if mark = slot.N; mark != 0 {
		slot.N = 0
		f.c.underWay.Add(-1)
	}
	return mark
}

// A gradient moves a limit.
type gradient struct {
	buffer   float64 // share
	least    float64
	most     float64
	minRTT   float64 // µs
	limit    float64
	ratio    float64 // of the last window
	headroom float64
	atLeast  int // windows in a row with the least limit, before and after
}

// next moves the limit after a window in which requests took sample.
//
//	gradient = minRTT × (1 + buffer) ÷ sample, 0.5 to 2
//	limit'   = gradient × limit + √(gradient × limit)
func (g *gradient) next(sample float64) {
	g.ratio = min(max(g.minRTT*(1+g.buffer)/max(sample, 1), 0.5), 2)
	before := g.limit
	scaled := before * g.ratio
	g.headroom = math.Sqrt(scaled)
	g.limit = math.Floor(min(max(scaled+g.headroom, g.least), g.most))
	if before == g.least && g.limit == g.least {
		g.atLeast++
	} else {
		g.atLeast = 0
	}
}
