package l7

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"millrace/engine/stats"
)

// leastWindowsMax is after how many windows in a row with the least limit minRTT is measured anew: it may be that requests
// take longer now whatever their number.
const leastWindowsMax = 5

// concurrency is the limit of all loops, and the goroutine that moves it.
//
//	measuring ── request_count answers with a limit of min_concurrency ──▶ moving, a step each window
//	    ▲                                                                       │
//	    └───────── interval is over, or leastWindowsMax windows at the least ◀──┘
type concurrency struct {
	// Immutable.
	percentile []float64
	window     time.Duration
	interval   time.Duration // of measuring minRTT; 0 is never
	jitter     float64       // share of interval
	wanted     int64         // answers that minRTT is measured with
	stats      *concurrencyStats
	full       chan struct{} // wanted answers have come
	done       chan struct{}
	closed     sync.Once

	_ [64]byte
	// Atomic: written by all loops for each request.
	underWay atomic.Int64
	_        [64]byte
	// Atomic: written by run, read by the loops.
	limit     atomic.Int64
	round     atomic.Uint32 // measurements begun: what began before one does not count
	measuring atomic.Bool
	// Atomic: written by the loops while measuring.
	answers atomic.Int64

	mu    sync.Mutex
	times []*stats.Histogram // of the loops

	// Of run.
	gradient gradient
	last     stats.Interval
	all      stats.Snapshot
	one      stats.Snapshot
	quantile []float64
	resume   float64 // the limit before measuring
}

// concurrencyStats are what an operator sees of the limit. Written by run.
type concurrencyStats struct {
	Limit     stats.Gauge `stat:"concurrency_limit" help:"requests that may be under way at once"`
	Gradient  stats.Gauge `stat:"gradient" help:"what the limit was multiplied by in the last window, in thousandths"`
	Headroom  stats.Gauge `stat:"burst_queue_size" help:"what was then added to the limit"`
	MinRTT    stats.Gauge `stat:"min_rtt_msecs" help:"how long requests take with few of them, in milliseconds"`
	SampleRTT stats.Gauge `stat:"sample_rtt_msecs" help:"how long requests took in the last window, in milliseconds"`
	Measuring stats.Gauge `stat:"min_rtt_calculation_active" help:"1 while it is measured how long requests take with few of them"`
}

func newConcurrency(cfg *GradientConfig, st *concurrencyStats) *concurrency {
	c := &concurrency{
		percentile: []float64{cfg.SampleAggregatePercentile}, window: cfg.Limit.ConcurrencyUpdateInterval, interval: cfg.MinRTT.Interval,
		jitter: cfg.MinRTT.Jitter / 100, wanted: int64(cfg.MinRTT.RequestCount), stats: st, full: make(chan struct{}, 1), done: make(chan struct{}),
	}
	least := float64(cfg.MinRTT.MinConcurrency)
	c.gradient = gradient{buffer: cfg.MinRTT.Buffer / 100, least: least, most: float64(cfg.Limit.MaxConcurrencyLimit), limit: least}
	if fixed := cfg.MinRTT.FixedValue; fixed > 0 {
		c.gradient.minRTT = float64(fixed.Microseconds())
		st.MinRTT.Set(fixed.Milliseconds())
		c.publish()
	} else {
		c.measure()
	}
	return c
}

// admit reports whether another request may begin, and counts it.
func (c *concurrency) admit() bool {
	if c.underWay.Add(1) <= c.limit.Load() {
		return true
	}
	c.underWay.Add(-1)
	return false
}

// counts reports whether a request with that mark began after the last measurement had.
func (c *concurrency) counts(mark int64) bool {
	return uint32(mark)&roundMask == c.round.Load()&roundMask
}

// measured notes an answer.
func (c *concurrency) measured() {
	if c.measuring.Load() && c.answers.Add(1) == c.wanted {
		select {
		case c.full <- struct{}{}:
		default:
		}
	}
}

// join returns where a loop records how long requests take.
func (c *concurrency) join() *stats.Histogram {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := new(stats.Histogram)
	c.times = append(c.times, h)
	return h
}

// Close ends the goroutine.
func (c *concurrency) Close() error {
	c.closed.Do(func() { close(c.done) })
	return nil
}

// run moves the limit until Close.
func (c *concurrency) run() {
	windows := time.NewTicker(c.window)
	defer windows.Stop()
	again := time.NewTimer(c.wait())
	defer again.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-c.full:
			if c.measuring.Load() {
				c.measuredAll()
				again.Reset(c.wait())
			}
		case <-windows.C:
			if !c.measuring.Load() {
				c.step()
			}
		case <-again.C:
			if c.interval > 0 && !c.measuring.Load() {
				c.measure()
			}
		}
	}
}

// wait returns how long to wait before minRTT is measured again.
func (c *concurrency) wait() time.Duration {
	return c.interval + time.Duration(rand.Float64()*c.jitter*float64(c.interval))
}

// measure begins to measure minRTT.
func (c *concurrency) measure() {
	c.resume, c.gradient.limit, c.gradient.atLeast = c.gradient.limit, c.gradient.least, 0
	c.round.Add(1)
	c.took()
	c.answers.Store(0)
	c.measuring.Store(true)
	c.stats.Measuring.Set(1)
	c.publish()
}

// measuredAll ends that.
func (c *concurrency) measuredAll() {
	if rtt, ok := c.took(); ok {
		c.gradient.minRTT = max(rtt, 1)
		c.stats.MinRTT.Set(int64(rtt / 1000))
	}
	c.gradient.limit = c.resume
	c.measuring.Store(false)
	c.stats.Measuring.Set(0)
	c.publish()
}

// step moves the limit after a window. Nothing moves in one without an answer.
func (c *concurrency) step() {
	sample, ok := c.took()
	if !ok {
		return
	}
	g := &c.gradient
	g.next(sample)
	c.stats.SampleRTT.Set(int64(sample / 1000))
	c.stats.Gradient.Set(int64(g.ratio * 1000))
	c.stats.Headroom.Set(int64(g.headroom))
	c.publish()
	if g.atLeast >= leastWindowsMax && c.interval > 0 {
		c.measure()
	}
}

// publish puts the limit into force.
func (c *concurrency) publish() {
	c.limit.Store(int64(c.gradient.limit))
	c.stats.Limit.Set(int64(c.gradient.limit))
}

// took returns how long requests have taken since the last call, in µs. ok is false if there were none.
func (c *concurrency) took() (µs float64, ok bool) {
	c.all.Reset()
	c.mu.Lock()
	for _, h := range c.times {
		c.all.Merge(h)
	}
	c.mu.Unlock()
	c.last.Advance(&c.all)
	c.one.Reset()
	c.last.AddTo(&c.one)
	if c.one.Count == 0 {
		return 0, false
	}
	c.quantile = c.one.Quantiles(c.quantile[:0], c.percentile)
	return c.quantile[0], true
}
