package route

import (
	"strings"
	"testing"
	"time"

	"millrace/codec"
)

func retryPolicy(t testing.TB, text string) *RetryPolicy {
	t.Helper()
	return compileRoutes(t, `{"match": {"prefix": "/"}, "route": {"cluster": "c1", "retry_policy": `+text+`}}`).Route(0).Retry
}

func TestParseRetryOn(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		want RetryOn
		ok   bool
	}{
		{"", 0, true},
		{"5xx", Retry5xx, true},
		{" gateway-error ,reset,, connect-failure", RetryGatewayError | RetryReset | RetryConnectFailure, true},
		{"5xx,unknown,retriable-4xx", Retry5xx | RetryRetriable4xx, false},
		{"5XX", 0, false},
		{"reset-before-request,envoy-ratelimited,refused-stream,retriable-status-codes,retriable-headers",
			RetryResetBeforeRequest | RetryEnvoyRatelimited | RetryRefusedStream | RetryRetriableStatusCodes | RetryRetriableHeaders, true},
		{"cancelled,deadline-exceeded,internal,resource-exhausted,unavailable", RetryGRPC, true},
	} {
		if got, ok := ParseRetryOn([]byte(tt.in)); got != tt.want || ok != tt.ok {
			t.Errorf("ParseRetryOn(%q) = %v, %v; want %v, %v", tt.in, got, ok, tt.want, tt.ok)
		}
	}
	if all := retryOnEnd - 1; len(retryOnNames) != 15 || all != 1<<len(retryOnNames)-1 {
		t.Errorf("%d names for the bits %b", len(retryOnNames), all)
	} else if back, ok := ParseRetryOn([]byte(all.String())); back != all || !ok {
		t.Errorf("ParseRetryOn(%q) = %v, %v", all, back, ok)
	}
}

func TestWantsResponse(t *testing.T) {
	t.Parallel()
	p := retryPolicy(t, `{"retriable_status_codes": [418, 100, 599], "retriable_headers": [{"name": "x-retry", "exact": "1"}, {"name": "x-more"}]}`)
	for _, tt := range []struct {
		on     RetryOn
		status int
		field  string
		want   bool
	}{
		{0, 503, "", false},
		{Retry5xx, 500, "", true},
		{Retry5xx, 599, "", true},
		{Retry5xx, 499, "", false},
		{RetryGatewayError, 500, "", false},
		{RetryGatewayError, 502, "", true},
		{RetryGatewayError, 504, "", true},
		{RetryGatewayError, 505, "", false},
		{RetryRetriable4xx, 409, "", true},
		{RetryRetriable4xx, 400, "", false},
		{RetryRetriableStatusCodes, 418, "", true},
		{RetryRetriableStatusCodes, 100, "", true},
		{RetryRetriableStatusCodes, 599, "", true},
		{RetryRetriableStatusCodes, 419, "", false},
		{RetryRetriableStatusCodes, 640, "", false},
		{RetryReset, 418, "", false},
		{RetryRetriableHeaders, 200, "x-retry", true},
		{RetryRetriableHeaders, 200, "x-more", true},
		{RetryRetriableHeaders, 200, "x-other", false},
		{Retry5xx, 503, "x-envoy-ratelimited", false}, // forbids every retry
		{Retry5xx | RetryEnvoyRatelimited, 503, "x-envoy-ratelimited", true},
		{RetryEnvoyRatelimited, 200, "x-envoy-ratelimited", true},
	} {
		var h codec.ResponseHead
		h.Reset()
		h.Status = tt.status
		if tt.field != "" {
			h.AddString(tt.field, "1")
		}
		if got := p.WantsResponse(tt.on, nil, &h); got != tt.want {
			t.Errorf("WantsResponse(%v, %d %s) = %v; want %v", tt.on, tt.status, tt.field, got, tt.want)
		}
	}
}

func TestBackOff(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		policy string
		want   []time.Duration // milliseconds
	}{
		{`{}`, []time.Duration{25, 50, 100, 200, 250, 250}},
		{`{"retry_back_off": {"base_interval": "10ms", "max_interval": "15ms"}}`, []time.Duration{10, 15, 15}},
		{`{"retry_back_off": {"base_interval": "10ms", "max_interval": "10ms"}}`, []time.Duration{10, 10}},
	} {
		p := retryPolicy(t, tt.policy)
		for i, want := range tt.want {
			if got := p.BackOff(uint32(i + 1)); got != want*time.Millisecond {
				t.Errorf("%s: BackOff(%d) = %v; want %dms", tt.policy, i+1, got, want)
			}
		}
	}
	if got := retryPolicy(t, `{}`).BackOff(1 << 31); got != 250*time.Millisecond {
		t.Errorf("BackOff(2^31) = %v; want 250ms", got)
	}
}

func TestRetriableRequestHeaders(t *testing.T) {
	t.Parallel()
	open, gated := retryPolicy(t, `{}`), retryPolicy(t, `{"retriable_request_headers": [{"name": ":method", "exact": "GET"}, {"name": "x-retry"}]}`)
	for _, tt := range []struct {
		p    *RetryPolicy
		in   *Input
		want bool
	}{
		{open, request("POST a/"), true},
		{gated, request("POST a/"), false},
		{gated, request("GET a/"), true},
		{gated, request("POST a/", "x-retry: y"), true},
	} {
		if got := tt.p.Applies(tt.in.Head); got != tt.want {
			t.Errorf("Applies(%s) = %v; want %v", tt.in.Head.MethodBytes(), got, tt.want)
		}
	}
}

// TestZeroConfig: structs filled by hand, without the loader's defaults, get those that keep a route from harm.
func TestZeroConfig(t *testing.T) {
	t.Parallel()
	table, problems := Compile(&Config{Routes: []RouteConfig{
		{Match: MatchConfig{Path: "/a"}, Route: &ForwardConfig{Cluster: "c1", RetryPolicy: &RetryPolicyConfig{}}},
		{Match: MatchConfig{Path: "/b"}, Redirect: &RedirectConfig{}},
	}}, clusters, nil)
	if table == nil {
		t.Fatalf("Compile: %v", problems)
	}
	if r := table.Route(0); r.Status != 503 || r.Retry.BackOff(1) != 25*time.Millisecond {
		t.Errorf("status %d, back-off %v; want 503, 25ms", r.Status, r.Retry.BackOff(1))
	}
	if r := table.Route(1); r.Status != 301 {
		t.Errorf("redirect with %d; want 301", r.Status)
	}
}

// TestResetWait: what responses ask to be waited for, with max_interval 300s.
func TestResetWait(t *testing.T) {
	t.Parallel()
	p := retryPolicy(t, `{"rate_limited_retry_back_off": {"reset_headers": [
		{"name": "Retry-After"}, {"name": "X-RateLimit-Reset", "format": "unix_timestamp"}]}}`)
	const now = 1_700_000_000*time.Second + 900*time.Millisecond
	for _, tt := range []struct {
		fields string
		want   time.Duration // 0: none
	}{
		{"", 0},
		{"retry-after: 1", time.Second},
		{"retry-after: 300", 300 * time.Second},
		{"retry-after: 301", 0},
		{"retry-after: 0", 0},
		{"retry-after: -1", 0},
		{"retry-after: 1.5", 0},
		{"retry-after: Fri, 31 Dec 1999 23:59:59 GMT", 0},
		{"retry-after: 99999999999999999999", 0},
		{"x-ratelimit-reset: 1700000005", 5 * time.Second},
		{"x-ratelimit-reset: 1700000000", 0},
		{"x-ratelimit-reset: 1699999999", 0},
		{"x-ratelimit-reset: 1700000300", 300 * time.Second},
		{"x-ratelimit-reset: 1700000301", 0},
		{"x-ratelimit-reset: 5", 0},
		{"retry-after: 2\nx-ratelimit-reset: 1700000005", 2 * time.Second},
		{"retry-after: 999\nx-ratelimit-reset: 1700000005", 5 * time.Second}, // the first is out of bounds
		{"retry-after: 3\nretry-after: 4", 3 * time.Second},
	} {
		var h codec.ResponseHead
		h.Reset()
		for f := range strings.SplitSeq(tt.fields, "\n") {
			if name, value, ok := strings.Cut(f, ": "); ok {
				h.AddString(name, value)
			}
		}
		if got, ok := p.ResetWait(&h, now); got != tt.want || ok != (tt.want > 0) {
			t.Errorf("ResetWait(%q) = %v, %v; want %v", tt.fields, got, ok, tt.want)
		}
	}
	var h codec.ResponseHead
	h.Reset()
	h.AddString("retry-after", "1")
	if got, ok := retryPolicy(t, `{}`).ResetWait(&h, now); ok {
		t.Errorf("without reset_headers it waits %v", got)
	}
	short := retryPolicy(t, `{"rate_limited_retry_back_off": {"reset_headers": [{"name": "retry-after"}], "max_interval": "1500ms"}}`)
	if got, ok := short.ResetWait(&h, now); !ok || got != time.Second {
		t.Errorf("ResetWait = %v, %v; want 1s", got, ok)
	}
}

// TestHedgePolicy: that of a route takes the place of its virtual host's.
func TestHedgePolicy(t *testing.T) {
	t.Parallel()
	const hedge, none = `"hedge_policy": {"hedge_on_per_try_timeout": true}`, `"hedge_policy": {}`
	table := compile(t, `{"virtual_hosts": [
		{"name": "a", "domains": ["a"], `+hedge+`, "routes": [
			{"match": {"path": "/1"}, "route": {"cluster": "c1"}}, {"match": {"path": "/2"}, "route": {"cluster": "c1", `+none+`}}]},
		{"name": "b", "domains": ["b"], "routes": [
			{"match": {"path": "/1"}, "route": {"cluster": "c1"}}, {"match": {"path": "/2"}, "route": {"cluster": "c1", `+hedge+`}}]}]}`)
	for i, want := range []bool{true, false, false, true} {
		if got := table.Route(i).HedgeOnPerTryTimeout; got != want {
			t.Errorf("route %d hedges: %v, want %v", i, got, want)
		}
	}
}
