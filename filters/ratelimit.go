package filters

import (
	"fmt"
	"time"
)

// A RateLimiter asks a rate limit service that many processes share. There is one for each loop.
type RateLimiter interface {
	// Limit asks whether something may pass, and calls done with the answer, once, on the loop. It may do so
	// before it returns; then cancel is nil. After cancel was called done is not. r and what it refers to must
	// not change until then.
	Limit(r *RateLimitRequest, done func(RateLimitAnswer)) (cancel func())
}

// A RateLimitRequest is what a rate limit service is asked.
type RateLimitRequest struct {
	// Domain is the set of limits that the service looks into.
	Domain string
	// Descriptors say what is limited. Over one limit is over all of them.
	Descriptors []RateLimitDescriptor
	// Hits is how much is added to the count of each; 0 counts as 1.
	Hits uint32
	// Timeout is how long the asker waits. The asker keeps the clock and cancels; the service may be told.
	Timeout time.Duration
}

// A RateLimitDescriptor names one limit by entries that go from coarse to fine.
type RateLimitDescriptor struct {
	// Entries of the descriptor, 1 to 16.
	Entries []RateLimitEntry `json:"entries" required:"true" min:"1" max:"16"`
}

// A RateLimitEntry is one step of a descriptor.
type RateLimitEntry struct {
	// Key of the entry, such as "tier". At most 256 bytes.
	Key string `json:"key" required:"true"`
	// Value of the entry, such as "gold". At most 256 bytes.
	Value string `json:"value" required:"true"`
}

// rateLimitTextMax bounds keys and values of entries, in bytes.
const rateLimitTextMax = 256

// Validate reports texts that are too long.
func (e *RateLimitEntry) Validate(report func(path, problem, hint string)) {
	for _, f := range [...]struct{ path, text string }{{"key", e.Key}, {"value", e.Value}} {
		if len(f.text) > rateLimitTextMax {
			report(f.path, fmt.Sprintf("text of %d bytes exceeds %d", len(f.text), rateLimitTextMax), "shorten it")
		}
	}
}

// A RateLimitAnswer is what a rate limit service says.
type RateLimitAnswer uint8

const (
	// RateLimitOK lets pass.
	RateLimitOK RateLimitAnswer = iota
	// RateLimitOver says that a limit is reached.
	RateLimitOver
	// RateLimitError says that there is no answer.
	RateLimitError
)

// String returns the answer in lower snake case.
func (a RateLimitAnswer) String() string {
	switch a {
	case RateLimitOK:
		return "ok"
	case RateLimitOver:
		return "over_limit"
	default:
		return "error"
	}
}
