package route

import "time"

// DefaultRetryPolicy has the defaults of retry_policy. It is the policy of a request that asks for retries itself, by
// x-envoy-retry-on, on a route without one. Never written.
var DefaultRetryPolicy = RetryPolicy{
	NumRetries:  1,
	BackOffBase: 25 * time.Millisecond,
	BackOffMax:  250 * time.Millisecond,
}
