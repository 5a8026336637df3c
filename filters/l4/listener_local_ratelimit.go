package l4

import (
	"millrace/engine"
	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/accesslog"
)

// ListenerLocalRateLimitConfig configures the "local_ratelimit" listener filter, which closes new connections beyond a
// rate before anything else is done for them. All loops take from one bucket.
type ListenerLocalRateLimitConfig struct {
	// StatPrefix is the name in the counters: listener_local_ratelimit.<stat_prefix>.
	StatPrefix string `json:"stat_prefix" required:"true"`
	// TokenBucket says how many connections, each of which takes a token.
	TokenBucket TokenBucketConfig `json:"token_bucket" required:"true"`
	// RuntimeEnabled turns the filter on. Default: true.
	RuntimeEnabled bool `json:"runtime_enabled" default:"true" v3:"runtime_enabled.default_value"`
}

// listenerLocalRateLimit closes connections beyond a rate.
type listenerLocalRateLimit struct {
	loop   *engine.Loop
	bucket *tokenBucket
	off    bool
	stats  *listenerLocalRateLimitStats
}

// listenerLocalRateLimitStats counts one listener on one loop.
type listenerLocalRateLimitStats struct {
	RateLimited stats.Counter `stat:"rate_limited" help:"connections closed because no token was left"`
}

func shareListenerLocalRateLimit(cfg *ListenerLocalRateLimitConfig, _ *filters.SharedEnv) (*tokenBucket, error) {
	return newTokenBucket(&cfg.TokenBucket), nil
}

func newListenerLocalRateLimit(cfg *ListenerLocalRateLimitConfig, bucket *tokenBucket, env *filters.NetworkEnv) (any, error) {
	return &listenerLocalRateLimit{
		loop: env.Loop, bucket: bucket, off: !cfg.RuntimeEnabled,
		stats: stats.Register[listenerLocalRateLimitStats](env.Stats,
			stats.Root("listener_local_ratelimit").Tag("envoy_local_listener_ratelimit_prefix", cfg.StatPrefix)),
	}, nil
}

// OnAccept implements filters.AcceptFilter.
func (f *listenerLocalRateLimit) OnAccept(c *filters.Connection) filters.ListenerVerdict {
	if f.off || f.bucket.take(f.loop.Now()) {
		return filters.ListenerContinue
	}
	f.stats.RateLimited.Inc()
	c.Flags |= accesslog.FlagRateLimited
	c.Details = "listener_local_rate_limited"
	return filters.ListenerClose
}
