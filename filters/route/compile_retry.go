package route

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"millrace/upstream"
)

// backOffGrowth is the default of max_interval as a multiple of base_interval.
const backOffGrowth = 10

// resetMax is the default of max_interval of rate_limited_retry_back_off.
const resetMax = 300 * time.Second

// retry compiles a policy. Nil gives nil.
func (c *compiler) retry(cfg *RetryPolicyConfig) *RetryPolicy {
	if cfg == nil {
		return nil
	}
	p := RetryPolicy{
		NumRetries: cfg.NumRetries, PerTryTimeout: cfg.PerTryTimeout, PerTryIdleTimeout: cfg.PerTryIdleTimeout,
		BackOffBase: cmp.Or(cfg.RetryBackOff.BaseInterval, DefaultRetryPolicy.BackOffBase), BackOffMax: cfg.RetryBackOff.MaxInterval,
		OmitPrevious: slices.Contains(cfg.RetryHostPredicate, "previous_hosts"),
	}
	p.On, _ = ParseRetryOn([]byte(cfg.RetryOn))
	if p.BackOffMax == 0 {
		p.BackOffMax = backOffGrowth * p.BackOffBase
	}
	if slices.Contains(cfg.RetryHostPredicate, "omit_canary_hosts") {
		p.OmitMatching = append(p.OmitMatching, upstream.NewCriteria(map[string]string{"canary": "true"}))
	}
	if c := upstream.NewCriteria(cfg.OmitHostMetadata); c != nil {
		p.OmitMatching = append(p.OmitMatching, c)
	}
	if p.OmitPrevious || p.OmitMatching != nil {
		p.Reselects = int(max(1, cfg.HostSelectionRetryMaxAttempts))
	}
	if cfg.RetryPriority != nil {
		p.PassPriorities = int(max(1, cfg.RetryPriority.UpdateFrequency))
	}
	for _, code := range cfg.RetriableStatusCodes {
		p.statuses.add(int64(code))
	}
	for i := range cfg.RetriableHeaders {
		p.responseHeaders = append(p.responseHeaders, c.headerCondition(&cfg.RetriableHeaders[i]))
	}
	for i := range cfg.RetriableRequestHeaders {
		p.requestHeaders = append(p.requestHeaders, c.headerCondition(&cfg.RetriableRequestHeaders[i]))
	}
	if b := cfg.RateLimitedRetryBackOff; b != nil {
		p.resetMax = cmp.Or(b.MaxInterval, resetMax)
		for i := range b.ResetHeaders {
			h := &b.ResetHeaders[i]
			p.resetHeaders = append(p.resetHeaders, resetHeader{name: c.arena.str(strings.ToLower(h.Name)), unix: h.Format == "unix_timestamp"})
		}
	}
	return &p
}
