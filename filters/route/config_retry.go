package route

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// RetryPolicyConfig says when and how often an attempt is repeated.
type RetryPolicyConfig struct {
	// RetryOn is a comma-separated list of: 5xx, gateway-error, reset, reset-before-request,
	// connect-failure, envoy-ratelimited, retriable-4xx, refused-stream, retriable-status-codes,
	// retriable-headers; for a grpc-status in the head of the response (a response without messages): cancelled,
	// deadline-exceeded, internal, resource-exhausted, unavailable.
	RetryOn string `json:"retry_on"`
	// NumRetries is how often at most. Default 1.
	NumRetries uint32 `json:"num_retries" default:"1" max:"1000"`
	// PerTryTimeout limits each attempt, up to the response head. Default 0s: no limit but the
	// route's timeout. Ignored if not below that.
	PerTryTimeout time.Duration `json:"per_try_timeout" default:"0s" min:"0s"`
	// PerTryIdleTimeout ends an attempt of which nothing has come for so long, counted from the end of the request. It goes on
	// while the response is passed on. Default 0s: no limit.
	PerTryIdleTimeout time.Duration `json:"per_try_idle_timeout" default:"0s" min:"0s"`
	// RetriableStatusCodes are the codes of retriable-status-codes. 100 to 599.
	RetriableStatusCodes []uint32 `json:"retriable_status_codes" min:"100" max:"599"`
	// RetriableHeaders are those of retriable-headers: a response that matches any of them is retried.
	RetriableHeaders []HeaderMatchConfig `json:"retriable_headers" max:"64"`
	// RetriableRequestHeaders gate the policy: if given, only requests that match any of them are
	// retried.
	RetriableRequestHeaders []HeaderMatchConfig `json:"retriable_request_headers" max:"64"`
	// RetryBackOff is the wait before a retry.
	RetryBackOff RetryBackOffConfig `json:"retry_back_off"`
	// RateLimitedRetryBackOff takes its place after a response that says itself how long to wait. Absent: none is asked.
	RateLimitedRetryBackOff *RateLimitedBackOffConfig `json:"rate_limited_retry_back_off"`
	// RetryHostPredicate names hosts that a retry does not go to, if there are others: "previous_hosts", those that this request
	// has been sent to; "omit_canary_hosts", those whose metadata have "canary" as "true". Default: none.
	RetryHostPredicate []string `json:"retry_host_predicate" enum:"previous_hosts,omit_canary_hosts"`
	// OmitHostMetadata names more of them by their metadata: hosts that have all of it, such as {"stage": "test"}. Default: none.
	OmitHostMetadata map[string]string `json:"omit_host_metadata" v3:"retry_host_predicate.typed_config.metadata_match.filter_metadata.envoy.lb"`
	// HostSelectionRetryMaxAttempts is how often another host is picked in the place of one that a retry does not go to.
	// After that the last one is taken. Default 1.
	HostSelectionRetryMaxAttempts uint32 `json:"host_selection_retry_max_attempts" default:"1" max:"1000"`
	// RetryPriority lets retries go round priorities that the request has been sent to. Absent: none is gone round.
	RetryPriority *RetryPriorityConfig `json:"retry_priority"`
}

// RetryPriorityConfig lets retries go round priorities. When those that are left have no host that is well, all are there again.
type RetryPriorityConfig struct {
	// Name is "previous_priorities": those of the hosts that the request has been sent to. Default "previous_priorities".
	Name string `json:"name" default:"previous_priorities" enum:"previous_priorities"`
	// UpdateFrequency is after how many attempts their priorities are gone round, and again after as many. Required.
	UpdateFrequency uint32 `json:"update_frequency" required:"true" min:"1" max:"1000" v3:"retry_priority.typed_config.update_frequency"`
}

// RetryBackOffConfig is an exponential back-off with full jitter: retry n waits a random part of
// base·2^(n-1).
type RetryBackOffConfig struct {
	// BaseInterval of the first retry. At least 1ms. Default 25ms.
	BaseInterval time.Duration `json:"base_interval" default:"25ms" min:"1ms"`
	// MaxInterval caps the growth. Default 0s: ten times the base.
	MaxInterval time.Duration `json:"max_interval" default:"0s" min:"0s"`
}

// RateLimitedBackOffConfig is a wait that the response asks for. The retry waits for so long, and up to half as long again.
type RateLimitedBackOffConfig struct {
	// ResetHeaders are looked for in this order. The first that holds a time of max_interval at most counts.
	ResetHeaders []ResetHeaderConfig `json:"reset_headers" required:"true" min:"1" max:"16"`
	// MaxInterval is the longest time that is waited for: a header that asks for more is passed over. Default 300s.
	MaxInterval time.Duration `json:"max_interval" default:"300s" min:"1ms"`
}

// ResetHeaderConfig is a response header that holds a time.
type ResetHeaderConfig struct {
	// Name of the header.
	Name string `json:"name" required:"true"`
	// Format is "seconds" to wait, or a "unix_timestamp" in seconds to wait for. Default "seconds".
	Format string `json:"format" default:"seconds" enum:"seconds,unix_timestamp"`
}

// HedgePolicyConfig says when a request is sent to a second host while the first still works at it.
type HedgePolicyConfig struct {
	// HedgeOnPerTryTimeout lets an attempt that runs out of its per_try_timeout, or per_try_idle_timeout, go on beside the next one.
	// The first response that asks for no retry is taken, and the other attempts are reset. Each hedge is a retry, and needs a
	// retry_policy that leaves one. Default false.
	HedgeOnPerTryTimeout bool `json:"hedge_on_per_try_timeout" default:"false"`
}

// Validate reports what tags cannot say of a retry policy.
func (cfg *RetryPolicyConfig) Validate(report func(path, problem, hint string)) {
	for _, name := range strings.Split(cfg.RetryOn, ",") {
		name = strings.TrimSpace(name)
		if name != "" && retryOnBit([]byte(name)) == 0 {
			report("retry_on",
				fmt.Sprintf("unknown condition %q", name), "known are "+strings.Join(retryOnNames[:], ", "))
		}
	}
	for i, code := range cfg.RetriableStatusCodes {
		if code < 100 || code > 599 {
			report(fmt.Sprintf("retriable_status_codes[%d]", i),
				fmt.Sprintf("code %d is out of range 100 to 599", code), "")
		}
	}
	if b := cfg.RetryBackOff; b.MaxInterval != 0 && b.MaxInterval < b.BaseInterval {
		report("retry_back_off.max_interval",
			fmt.Sprintf("max_interval %v is below base_interval %v", b.MaxInterval, b.BaseInterval), "")
	}
	if b := cfg.RateLimitedRetryBackOff; b != nil {
		for i := range b.ResetHeaders {
			checkFieldName(b.ResetHeaders[i].Name, fmt.Sprintf("rate_limited_retry_back_off.reset_headers[%d].name", i), report)
		}
	}
	for i, name := range cfg.RetryHostPredicate {
		if slices.Contains(cfg.RetryHostPredicate[:i], name) {
			report(fmt.Sprintf("retry_host_predicate[%d]", i), fmt.Sprintf("%q is given twice", name), "")
		}
	}
}
