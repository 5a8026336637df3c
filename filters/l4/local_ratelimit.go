package l4

import (
	"fmt"

	"millrace/engine"
	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/accesslog"
)

// LocalRateLimitConfig configures the "local_ratelimit" filter, which closes new connections beyond a rate. All
// loops take from one bucket.
type LocalRateLimitConfig struct {
	// StatPrefix is the name in the counters: local_rate_limit.<stat_prefix>.
	StatPrefix string `json:"stat_prefix" required:"true"`
	// TokenBucket has a token for each connection that may come.
	TokenBucket TokenBucketConfig `json:"token_bucket" required:"true"`
	// ShareKey makes all of these filters with that key and the same token_bucket, in whatever chains, take from
	// one bucket. Default: empty, a bucket for each chain.
	ShareKey string `json:"share_key"`
	// RuntimeEnabled turns the filter on. Default: true.
	RuntimeEnabled bool `json:"runtime_enabled" default:"true" v3:"runtime_enabled.default_value"`
}

// shareLocalRateLimit makes the bucket, or finds the one of the key. What is in the bucket is part of the key in the
// process: a configuration may change it while connections of the one before are still there.
func shareLocalRateLimit(cfg *LocalRateLimitConfig, env *filters.SharedEnv) (*tokenBucket, error) {
	if cfg.ShareKey == "" || env.Once == nil {
		return newTokenBucket(&cfg.TokenBucket), nil
	}
	b := &cfg.TokenBucket
	key := fmt.Sprintf("local_ratelimit %d/%d/%d %s", b.MaxTokens, b.TokensPerFill, b.FillInterval, cfg.ShareKey)
	return env.Once(key, func() any { return newTokenBucket(b) }).(*tokenBucket), nil
}

// localRateLimit closes new connections beyond a rate.
type localRateLimit struct {
	loop   *engine.Loop
	bucket *tokenBucket // nil when turned off
	stats  *localRateLimitStats
}

// localRateLimitStats counts one chain on one loop.
type localRateLimitStats struct {
	RateLimited stats.Counter `stat:"rate_limited" help:"connections closed because the bucket was empty"`
}

func newLocalRateLimit(cfg *LocalRateLimitConfig, b *tokenBucket, env *filters.NetworkEnv) (any, error) {
	f := &localRateLimit{
		loop: env.Loop,
		stats: stats.Register[localRateLimitStats](env.Stats,
			stats.Root("local_rate_limit").Tag("envoy_local_network_ratelimit_prefix", cfg.StatPrefix)),
	}
	if cfg.RuntimeEnabled {
		f.bucket = b
	}
	return f, nil
}

// OnNewConnection implements filters.NewConnectionFilter.
func (f *localRateLimit) OnNewConnection(c *filters.Connection) filters.NetworkVerdict {
	if f.bucket == nil || f.bucket.take(f.loop.Now()) {
		return filters.NetworkContinue
	}
	f.stats.RateLimited.Inc()
	c.Flags |= accesslog.FlagRateLimited
	c.Details = "local_ratelimit_close_over_limit"
	return filters.NetworkClose
}
