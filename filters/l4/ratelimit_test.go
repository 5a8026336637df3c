package l4

import (
	"fmt"
	"testing"
	"time"

	"millrace/filters"
	"millrace/filters/accesslog"
)

// fakeRateLimiter implements filters.RateLimiter. It answers at once, or keeps the questions.
type fakeRateLimiter struct {
	now      *filters.RateLimitAnswer // nil: later
	asked    []*filters.RateLimitRequest
	waiting  []func(filters.RateLimitAnswer)
	canceled int
}

func (s *fakeRateLimiter) Limit(r *filters.RateLimitRequest, done func(filters.RateLimitAnswer)) func() {
	s.asked = append(s.asked, r)
	if s.now != nil {
		done(*s.now)
		return nil
	}
	s.waiting = append(s.waiting, done)
	return func() { s.canceled++ }
}

func rateLimitConfig(deny bool) *RateLimitConfig {
	return &RateLimitConfig{StatPrefix: "db", Domain: "databases", Timeout: 20 * time.Millisecond, FailureModeDeny: deny,
		Descriptors: []filters.RateLimitDescriptor{{Entries: []filters.RateLimitEntry{{Key: "tier", Value: "gold"}}}}}
}

// TestRateLimitAnswers: every answer, at once and later, with and without failure_mode_deny.
func TestRateLimitAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		answer  filters.RateLimitAnswer
		deny    bool
		pass    bool
		flags   accesslog.Flags
		details string
		stats   string
	}{
		{filters.RateLimitOK, true, true, 0, "", "ok=1 total=1"},
		{filters.RateLimitOver, false, false, accesslog.FlagRateLimited, "ratelimit_close_over_limit", "cx_closed=1 over_limit=1 total=1"},
		{filters.RateLimitError, false, true, 0, "", "error=1 failure_mode_allowed=1 total=1"},
		{filters.RateLimitError, true, false, accesslog.FlagRateLimitServiceError, "ratelimit_error_close", "cx_closed=1 error=1 total=1"},
	} {
		for _, later := range []bool{false, true} {
			name := fmt.Sprintf("%v, deny %v, later %v", tt.answer, tt.deny, later)
			p := newFakeProcess(t)
			s := &fakeRateLimiter{}
			if !later {
				s.now = &tt.answer
			}
			p.env.RateLimit = s
			f := p.build(t, "ratelimit", rateLimitConfig(tt.deny)).(*rateLimit)
			c := newFakeConnection(nil)
			chain := c.Chain.(*fakeChain)
			v := f.OnNewConnection(c)
			if !later {
				if (v == filters.NetworkContinue) != tt.pass || v == filters.NetworkPause || chain.resumed+chain.closed > 0 {
					t.Errorf("%s: %v, resumed %d, closed %d", name, v, chain.resumed, chain.closed)
				}
			} else {
				if got := p.stats("ratelimit.db."); v != filters.NetworkPause || got != "active=1 total=1" {
					t.Errorf("%s: %v while asking, stats %q", name, v, got)
				}
				s.waiting[0](tt.answer)
				s.waiting[0](filters.RateLimitOver) // once is enough
				if want := map[bool][2]int{true: {1, 0}, false: {0, 1}}[tt.pass]; chain.resumed != want[0] || chain.closed != want[1] {
					t.Errorf("%s: resumed %d, closed %d", name, chain.resumed, chain.closed)
				}
			}
			f.OnEnd(c)
			if c.Flags != tt.flags || c.Details != tt.details || p.stats("ratelimit.db.") != tt.stats || s.canceled != 0 {
				t.Errorf("%s: flags %v, details %q, stats %q, canceled %d", name, c.Flags, c.Details, p.stats("ratelimit.db."), s.canceled)
			}
			if r := s.asked[0]; r.Domain != "databases" || r.Timeout != 20*time.Millisecond || r.Descriptors[0].Entries[0].Value != "gold" {
				t.Errorf("%s: asked %+v", name, r)
			}
			if n := p.loop.Wheel().Len(); n != 0 {
				t.Errorf("%s: %d timers are left", name, n)
			}
		}
	}
}

func TestRateLimitTimeout(t *testing.T) {
	t.Parallel()
	p := newFakeProcess(t)
	s := &fakeRateLimiter{}
	p.env.RateLimit = s
	f := p.build(t, "ratelimit", rateLimitConfig(false)).(*rateLimit)
	c := newFakeConnection(nil)
	chain := c.Chain.(*fakeChain)
	f.OnNewConnection(c)
	p.loop.Advance(10 * time.Millisecond)
	if chain.resumed != 0 {
		t.Error("resumed before the timeout")
	}
	p.loop.Advance(20 * time.Millisecond)
	s.waiting[0](filters.RateLimitOver) // too late
	if got, want := p.stats("ratelimit.db."), "error=1 failure_mode_allowed=1 total=1"; chain.resumed != 1 || s.canceled != 1 || got != want {
		t.Errorf("resumed %d, canceled %d, stats %q, want %q", chain.resumed, s.canceled, got, want)
	}
}

// TestRateLimitEnd: the connection ends while the service thinks; its answer comes all the same.
func TestRateLimitEnd(t *testing.T) {
	t.Parallel()
	p := newFakeProcess(t)
	s := &fakeRateLimiter{}
	p.env.RateLimit = s
	f := p.build(t, "ratelimit", rateLimitConfig(false)).(*rateLimit)
	c := newFakeConnection(nil)
	chain := c.Chain.(*fakeChain)
	f.OnNewConnection(c)
	c.End()
	f.OnEnd(c)
	f.OnEnd(c) // nothing is left to be ended
	s.waiting[0](filters.RateLimitOver)
	p.loop.Advance(time.Second)
	if got := p.stats("ratelimit.db."); s.canceled != 1 || got != "total=1" || chain.resumed+chain.closed != 0 {
		t.Errorf("canceled %d, stats %q, resumed %d, closed %d", s.canceled, got, chain.resumed, chain.closed)
	}
	f.OnEnd(newFakeConnection(nil)) // one that an earlier filter closed
}

// TestRateLimitNoService: without a service every question is an error, at once.
func TestRateLimitNoService(t *testing.T) {
	t.Parallel()
	for _, deny := range []bool{false, true} {
		p := newFakeProcess(t)
		f := p.build(t, "ratelimit", rateLimitConfig(deny)).(*rateLimit)
		c := newFakeConnection(nil)
		want, wantStats := filters.NetworkContinue, "error=1 failure_mode_allowed=1 total=1"
		if deny {
			want, wantStats = filters.NetworkClose, "cx_closed=1 error=1 total=1"
		}
		if v := f.OnNewConnection(c); v != want || p.stats("ratelimit.db.") != wantStats {
			t.Errorf("deny %v: %v, stats %q", deny, v, p.stats("ratelimit.db."))
		}
		f.OnEnd(c)
	}
}
