package l4

import (
	"time"

	"millrace/engine"
	"millrace/engine/stats"
	"millrace/engine/timer"
	"millrace/filters"
	"millrace/filters/accesslog"
)

// RateLimitConfig configures the "ratelimit" filter, which asks a rate limit service about each new connection before
// its bytes go anywhere.
//
// Limitation: there is no rate limit service yet. Each question counts as an error, so that connections pass, or with
// failure_mode_deny are closed.
type RateLimitConfig struct {
	// StatPrefix is the name in the counters: ratelimit.<stat_prefix>.
	StatPrefix string `json:"stat_prefix" required:"true"`
	// Domain is the set of limits that the service looks into.
	Domain string `json:"domain" required:"true"`
	// Descriptors say what is limited. 1 to 64.
	Descriptors []filters.RateLimitDescriptor `json:"descriptors" required:"true" min:"1" max:"64"`
	// Timeout is how long to wait for the answer; none in that time is an error. 1ms to 1h. Default: 20ms.
	Timeout time.Duration `json:"timeout" default:"20ms" min:"1ms" max:"1h"`
	// FailureModeDeny closes the connection when the service does not answer. Default: false, it passes.
	FailureModeDeny bool `json:"failure_mode_deny"`
}

// rateLimit asks a rate limit service about new connections.
type rateLimit struct {
	loop    *engine.Loop
	service filters.RateLimiter // nil: every question is an error
	slot    int
	deny    bool
	request filters.RateLimitRequest
	stats   *rateLimitStats
}

// rateLimitStats counts one chain on one loop.
type rateLimitStats struct {
	Total              stats.Counter `stat:"total" help:"questions to the rate limit service"`
	Error              stats.Counter `stat:"error" help:"questions without an answer"`
	OverLimit          stats.Counter `stat:"over_limit" help:"answers that a limit is reached"`
	OK                 stats.Counter `stat:"ok" help:"answers that no limit is reached"`
	CxClosed           stats.Counter `stat:"cx_closed" help:"connections closed for an answer, or for none with failure_mode_deny"`
	FailureModeAllowed stats.Counter `stat:"failure_mode_allowed" help:"connections that passed without an answer"`
	Active             stats.Gauge   `stat:"active" help:"questions that wait for an answer"`
}

func newRateLimit(cfg *RateLimitConfig, _ *struct{}, env *filters.NetworkEnv) (any, error) {
	return &rateLimit{
		loop: env.Loop, service: env.RateLimit, slot: env.Slot, deny: cfg.FailureModeDeny,
		request: filters.RateLimitRequest{Domain: cfg.Domain, Descriptors: cfg.Descriptors, Timeout: cfg.Timeout},
		stats: stats.Register[rateLimitStats](env.Stats,
			stats.Root("ratelimit").Tag("envoy_ratelimit_prefix", cfg.StatPrefix)),
	}, nil
}

// A rateLimitCall is the question about one connection.
//
//	asked ─▶ answered   by the service or the timer, whichever is first, or the connection ends
type rateLimitCall struct {
	f        *rateLimit
	c        *filters.Connection
	timer    timer.Timer
	cancel   func()
	answered bool
	asking   bool // inside Limit: the answer is given back there
	verdict  filters.NetworkVerdict
}

// OnNewConnection implements filters.NewConnectionFilter.
func (f *rateLimit) OnNewConnection(c *filters.Connection) filters.NetworkVerdict {
	f.stats.Total.Inc()
	if f.service == nil {
		return f.judge(c, filters.RateLimitError)
	}
	q := &rateLimitCall{f: f, c: c, verdict: filters.NetworkPause}
	c.SetSlot(f.slot, q)
	f.stats.Active.Inc()
	q.asking = true
	cancel := f.service.Limit(&f.request, q.answer)
	q.asking = false
	if !q.answered {
		q.cancel = cancel
		q.timer.Init(q)
		f.loop.Wheel().Set(&q.timer, f.loop.Now()+int64(f.request.Timeout))
	}
	return q.verdict
}

// OnTimer implements timer.Firer: the answer did not come in time.
func (q *rateLimitCall) OnTimer(int64) {
	q.cancel()
	q.answer(filters.RateLimitError)
}

// answer takes what the service says. What comes after the first answer, or after the end, is too late.
func (q *rateLimitCall) answer(a filters.RateLimitAnswer) {
	if q.answered {
		return
	}
	q.done()
	q.verdict = q.f.judge(q.c, a)
	switch {
	case q.asking:
	case q.verdict == filters.NetworkContinue:
		q.c.Resume()
	default:
		q.c.Close(0, q.c.Details)
	}
}

// done ends the question.
func (q *rateLimitCall) done() {
	q.answered = true
	q.f.stats.Active.Dec()
	q.f.loop.Wheel().Unlink(&q.timer)
}

// judge counts an answer and says what it means for the connection.
func (f *rateLimit) judge(c *filters.Connection, a filters.RateLimitAnswer) filters.NetworkVerdict {
	switch {
	case a == filters.RateLimitOK:
		f.stats.OK.Inc()
		return filters.NetworkContinue
	case a == filters.RateLimitOver:
		f.stats.OverLimit.Inc()
		c.Flags |= accesslog.FlagRateLimited
		c.Details = "ratelimit_close_over_limit"
	case !f.deny:
		f.stats.Error.Inc()
		f.stats.FailureModeAllowed.Inc()
		return filters.NetworkContinue
	default:
		f.stats.Error.Inc()
		c.Flags |= accesslog.FlagRateLimitServiceError
		c.Details = "ratelimit_error_close"
	}
	f.stats.CxClosed.Inc()
	return filters.NetworkClose
}

// OnEnd implements filters.EndFilter: nobody waits for the answer any more.
func (f *rateLimit) OnEnd(c *filters.Connection) {
	if q, ok := c.Slot(f.slot).(*rateLimitCall); ok && !q.answered {
		q.done()
		if q.cancel != nil { // nil inside Limit
			q.cancel()
		}
	}
}
