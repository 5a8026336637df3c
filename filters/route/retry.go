package route

import (
	"strings"
	"time"

	"millrace/codec"
	"millrace/codec/ascii"
	"millrace/upstream"
)

// RetryOn is the set of conditions a retry policy names.
type RetryOn uint16

const (
	Retry5xx RetryOn = 1 << iota
	RetryGatewayError
	RetryReset
	RetryResetBeforeRequest
	RetryConnectFailure
	RetryEnvoyRatelimited
	RetryRetriable4xx
	RetryRefusedStream
	RetryRetriableStatusCodes
	RetryRetriableHeaders
	RetryCancelled
	RetryDeadlineExceeded
	RetryInternal
	RetryResourceExhausted
	RetryUnavailable
	retryOnEnd

	// RetryGRPC are those that look at the gRPC status in the head of a response.
	RetryGRPC = RetryCancelled | RetryDeadlineExceeded | RetryInternal | RetryResourceExhausted | RetryUnavailable
)

// retryOnNames are the names of the bits in order.
var retryOnNames = [...]string{
	"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited",
	"retriable-4xx", "refused-stream", "retriable-status-codes", "retriable-headers",
	"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
}

// String returns the conditions as they stand in a configuration.
func (on RetryOn) String() string {
	var names []string
	for i, name := range retryOnNames {
		if on>>i&1 != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// ParseRetryOn reads a comma-separated list such as the value of x-envoy-retry-on or x-envoy-retry-grpc-on. It
// reports whether every name was known; unknown ones are passed over.
func ParseRetryOn(list []byte) (on RetryOn, ok bool) {
	ok = true
	for len(list) > 0 {
		var name []byte
		name, list = ascii.CutList(list)
		if len(name) == 0 {
			continue
		}
		bit := retryOnBit(name)
		on, ok = on|bit, ok && bit != 0
	}
	return on, ok
}

func retryOnBit(name []byte) RetryOn {
	for i := range retryOnNames {
		if string(name) == retryOnNames[i] {
			return 1 << i
		}
	}
	return 0
}

// RetryPolicy says when and how often an attempt is repeated. It is immutable.
type RetryPolicy struct {
	On                RetryOn
	NumRetries        uint32
	PerTryTimeout     time.Duration // 0 for none
	PerTryIdleTimeout time.Duration // 0 for none
	BackOffBase       time.Duration
	BackOffMax        time.Duration
	// OmitPrevious says that a retry goes to no host that the request has been sent to.
	OmitPrevious bool
	// OmitMatching says that it goes to no host of which any of them hold.
	OmitMatching []*upstream.Criteria
	// Reselects is how often a host that is not wanted is given up for another one.
	Reselects int
	// PassPriorities is after how many attempts, and multiples of it, retries go round the priorities they went to; 0 is never.
	PassPriorities int

	statuses        statusSet
	responseHeaders []condition
	requestHeaders  []condition
	resetHeaders    []resetHeader
	resetMax        time.Duration
}

// resetHeader is a response header that says how long to wait, or until when.
type resetHeader struct {
	name string // lower case
	unix bool
}

// statusSet is a set of status codes below 640: a bit for each.
type statusSet [10]uint64

func (s *statusSet) has(status int64) bool {
	return status >= 0 && status < 64*int64(len(s)) && s[status>>6]>>(status&63)&1 != 0
}

func (s *statusSet) add(status int64) {
	if status >= 0 && status < 64*int64(len(s)) {
		s[status>>6] |= 1 << (status & 63)
	}
}

// RetryExtra is what one request calls worth a retry besides its policy.
type RetryExtra struct {
	statuses statusSet
	names    []byte // of response headers, a list
}

// Reset makes e empty.
func (e *RetryExtra) Reset() { e.statuses, e.names = statusSet{}, e.names[:0] }

// AddStatuses adds a comma-separated list of status codes, as in x-envoy-retriable-status-codes. What is no number is passed
// over.
func (e *RetryExtra) AddStatuses(list []byte) {
	for len(list) > 0 {
		var code []byte
		code, list = ascii.CutList(list)
		if n, ok := ascii.ParseInt(code); ok {
			e.statuses.add(n)
		}
	}
}

// AddNames adds a comma-separated list of names, as in x-envoy-retriable-header-names: a response with such a header is to be
// retried.
func (e *RetryExtra) AddNames(list []byte) { e.names = append(append(e.names, list...), ',') }

// hasName reports whether a response has a header that was named.
func (e *RetryExtra) hasName(f *codec.Fields) bool {
	for list := e.names; len(list) > 0; {
		var want []byte
		want, list = ascii.CutList(list)
		for i := range f.Len() {
			if _, name, _ := f.At(i); len(want) > 0 && ascii.EqualFold(name, want) {
				return true
			}
		}
	}
	return false
}

// Applies reports whether the policy concerns a request: always, unless retriable_request_headers
// gate it.
func (p *RetryPolicy) Applies(h *codec.RequestHead) bool {
	in := Input{Head: h}
	for i := range p.requestHeaders {
		if p.requestHeaders[i].holds(&in) {
			return true
		}
	}
	return len(p.requestHeaders) == 0
}

// WantsResponse reports whether a response head calls for a retry under the
// conditions on: those of the policy together with those of the request's x-envoy-retry-on. extra is nil if the request says
// nothing more.
func (p *RetryPolicy) WantsResponse(on RetryOn, extra *RetryExtra, h *codec.ResponseHead) bool {
	if h.Has(codec.FieldXEnvoyRateLimited) {
		// The header forbids every retry, unless the policy asks for just that.
		return on&RetryEnvoyRatelimited != 0
	}
	switch s := h.Status; {
	case on&Retry5xx != 0 && s >= 500 && s <= 599,
		on&RetryGatewayError != 0 && s >= 502 && s <= 504,
		on&RetryRetriable4xx != 0 && s == 409,
		on&RetryRetriableStatusCodes != 0 && (p.statuses.has(int64(s)) || extra != nil && extra.statuses.has(int64(s))):
		return true
	}
	if on&RetryGRPC != 0 && on&retryOfGRPC(h.Lookup("grpc-status")) != 0 {
		return true
	}
	if on&RetryRetriableHeaders != 0 {
		var join []byte
		for i := range p.responseHeaders {
			if c := &p.responseHeaders[i]; c.decide(c.findField(&h.Fields, &join)) {
				return true
			}
		}
		return extra != nil && extra.hasName(&h.Fields)
	}
	return false
}

// retryOfGRPC returns the condition that a grpc-status meets.
func retryOfGRPC(status []byte) RetryOn {
	switch string(status) {
	case "1":
		return RetryCancelled
	case "4":
		return RetryDeadlineExceeded
	case "8":
		return RetryResourceExhausted
	case "13":
		return RetryInternal
	case "14":
		return RetryUnavailable
	}
	return 0
}

// BackOff returns the longest wait before retry n, counted from 1: the wait
// itself is a random time from 0 up to, but not including, it.
func (p *RetryPolicy) BackOff(n uint32) time.Duration {
	d := p.BackOffBase
	for i := uint32(1); i < n && d < p.BackOffMax; i++ {
		d *= 2
	}
	return min(d, p.BackOffMax)
}

// ResetWait returns how long a response asks to wait, by the first of the policy's reset_headers that says so: now is the time of
// day, since 1970. It reports false if the response does not ask, or for too long. The wait itself is that long, and up to half as
// long again.
func (p *RetryPolicy) ResetWait(h *codec.ResponseHead, now time.Duration) (wait time.Duration, ok bool) {
	for i := range p.resetHeaders {
		n, ok := ascii.ParseInt(h.Lookup(p.resetHeaders[i].name))
		if !ok {
			continue
		}
		if p.resetHeaders[i].unix {
			n -= int64(now / time.Second)
		}
		if n > 0 && n <= int64(p.resetMax/time.Second) {
			return time.Duration(n) * time.Second, true
		}
	}
	return 0, false
}
