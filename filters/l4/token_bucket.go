package l4

import (
	"sync/atomic"
	"time"
)

// TokenBucketConfig is a "token_bucket": so many connections at once, so many more each fill_interval.
type TokenBucketConfig struct {
	// MaxTokens is how many the bucket holds, and holds at first. 1 to 1000000000.
	MaxTokens int `json:"max_tokens" required:"true" min:"1" max:"1000000000"`
	// TokensPerFill is how many are added each fill_interval; more than max_tokens is no use. 1 to 1000000000.
	// Default: 1.
	TokensPerFill int `json:"tokens_per_fill" default:"1" min:"1" max:"1000000000"`
	// FillInterval is the time between fills. 50ms to 24h.
	FillInterval time.Duration `json:"fill_interval" required:"true" min:"50ms" max:"24h"`
}

// A tokenBucket holds up to max tokens and gets some more each interval, from the first take on. All loops
// may take from it at once.
//
// It counts two things that only grow: what was filled in, and what was taken out of that, not counting the
// capacity. What is left is max + filled - taken, and taken is never below filled, which is a full bucket.
// So a single compare-and-swap takes a token and fills the bucket too.
type tokenBucket struct {
	max, perFill int64
	interval     int64 // nanoseconds
	start        atomic.Int64
	filled       atomic.Int64 // the largest seen: loops read their clocks at different times
	taken        atomic.Int64
}

// newTokenBucket makes a full bucket.
func newTokenBucket(cfg *TokenBucketConfig) *tokenBucket {
	size := int64(cfg.MaxTokens)
	return &tokenBucket{max: size, perFill: min(int64(cfg.TokensPerFill), size), interval: int64(cfg.FillInterval)}
}

// take takes a token at the time now of any loop's clock. It reports whether there was one.
func (b *tokenBucket) take(now int64) bool {
	for filled := b.fill(now); ; {
		taken := b.taken.Load()
		next := max(taken, filled) + 1
		if next-filled > b.max {
			return false
		}
		if b.taken.CompareAndSwap(taken, next) {
			return true
		}
	}
}

// fill returns how many tokens were added until now.
func (b *tokenBucket) fill(now int64) int64 {
	start := b.start.Load()
	if start == 0 {
		b.start.CompareAndSwap(0, max(now, 1))
		start = b.start.Load()
	}
	filled := max(now-start, 0) / b.interval * b.perFill
	for {
		seen := b.filled.Load()
		if filled <= seen {
			return seen
		}
		if b.filled.CompareAndSwap(seen, filled) {
			return filled
		}
	}
}
