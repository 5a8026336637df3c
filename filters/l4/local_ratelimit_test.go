package l4

import (
	"strings"
	"testing"
	"time"

	"millrace/filters"
	"millrace/filters/accesslog"
)

func TestLocalRateLimit(t *testing.T) {
	t.Parallel()
	p := newFakeProcess(t)
	f := p.build(t, "local_ratelimit", &LocalRateLimitConfig{StatPrefix: "in", RuntimeEnabled: true,
		TokenBucket: TokenBucketConfig{MaxTokens: 2, TokensPerFill: 1, FillInterval: time.Second}}).(*localRateLimit)
	for i, tt := range []struct {
		after time.Duration
		want  filters.NetworkVerdict
	}{{0, filters.NetworkContinue}, {0, filters.NetworkContinue}, {0, filters.NetworkClose}, {time.Second, filters.NetworkContinue}, {0, filters.NetworkClose}} {
		p.loop.Advance(tt.after)
		c := newFakeConnection(nil)
		if v := f.OnNewConnection(c); v != tt.want {
			t.Errorf("connection %d: %v, want %v", i, v, tt.want)
		}
		if tt.want == filters.NetworkClose && (c.Flags != accesslog.FlagRateLimited || c.Details != "local_ratelimit_close_over_limit") {
			t.Errorf("connection %d: flags %v, details %q", i, c.Flags, c.Details)
		}
	}
	if got := p.stats("local_rate_limit.in."); got != "rate_limited=2" {
		t.Errorf("stats %q", got)
	}
}

// TestLocalRateLimitShareKey: filters with one share_key take from one bucket, others do not.
func TestLocalRateLimitShareKey(t *testing.T) {
	t.Parallel()
	p := newFakeProcess(t)
	known := map[string]any{}
	p.shared.Once = func(key string, made func() any) any {
		if known[key] == nil {
			known[key] = made()
		}
		return known[key]
	}
	one := TokenBucketConfig{MaxTokens: 1, TokensPerFill: 1, FillInterval: time.Hour}
	verdicts := func(keys ...string) string {
		var got []string
		for _, key := range keys {
			f := p.build(t, "local_ratelimit", &LocalRateLimitConfig{StatPrefix: "in", RuntimeEnabled: true, TokenBucket: one, ShareKey: key}).(*localRateLimit)
			got = append(got, [...]string{"pass", "pause", "close"}[f.OnNewConnection(newFakeConnection(nil))])
		}
		return strings.Join(got, " ")
	}
	if got, want := verdicts("a", "a", "b", "", ""), "pass close pass pass pass"; got != want {
		t.Errorf("verdicts %q, want %q", got, want)
	}
	one.MaxTokens = 2 // as after a reload: another bucket
	if got, want := verdicts("a", "a", "a"), "pass pass close"; got != want {
		t.Errorf("after a change: %q, want %q", got, want)
	}
	p.shared.Once = nil
	if got := verdicts("a", "a"); got != "pass pass" {
		t.Errorf("without anything in common: %q", got)
	}
}

func TestLocalRateLimitOff(t *testing.T) {
	t.Parallel()
	p := newFakeProcess(t)
	f := p.build(t, "local_ratelimit", &LocalRateLimitConfig{StatPrefix: "in",
		TokenBucket: TokenBucketConfig{MaxTokens: 1, TokensPerFill: 1, FillInterval: time.Second}}).(*localRateLimit)
	for range 3 {
		if v := f.OnNewConnection(newFakeConnection(nil)); v != filters.NetworkContinue {
			t.Errorf("verdict %v", v)
		}
	}
}
