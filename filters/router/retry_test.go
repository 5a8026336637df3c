package router

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace/codec"
	"millrace/filters"
	"millrace/filters/route"
)

// TestReadLimits: what the route allows and what the request asks for.
func TestReadLimits(t *testing.T) {
	t.Parallel()
	policy := &route.RetryPolicyConfig{RetryOn: "5xx", NumRetries: 2, PerTryTimeout: time.Second}
	gated := &route.RetryPolicyConfig{
		RetryOn: "5xx", NumRetries: 2, PerTryTimeout: time.Second, RetriableRequestHeaders: []route.HeaderMatchConfig{{Name: "cookie"}},
	}
	for _, tt := range []struct {
		name            string
		policy          *route.RetryPolicyConfig
		fields          string // of the request, by the time the router sees them
		timeout, perTry time.Duration
		retries         int
		on              string
		expectedMs      uint64
	}{
		{"nothing", nil, "", 15 * time.Second, 0, 0, "", 15000},
		{"policy", policy, "", 15 * time.Second, time.Second, 2, "5xx", 1000},
		{"request adds a condition", policy, "x-envoy-retry-on: reset", 15 * time.Second, time.Second, 2, "5xx,reset", 1000},
		{"request alone", nil, "x-envoy-retry-on: connect-failure", 15 * time.Second, 0, 1, "connect-failure", 15000},
		{"unknown condition alone", nil, "x-envoy-retry-on: whenever", 15 * time.Second, 0, 0, "", 15000},
		{"number", policy, "x-envoy-max-retries: 7", 15 * time.Second, time.Second, 7, "5xx", 1000},
		{"number without a condition", nil, "x-envoy-max-retries: 7", 15 * time.Second, 0, 0, "", 15000},
		{"number out of all bounds", policy, "x-envoy-max-retries: 99999999999999999999", 15 * time.Second, time.Second, 2, "5xx", 1000},
		{"largest number", policy, "x-envoy-max-retries: 1000000", 15 * time.Second, time.Second, retriesMax, "5xx", 1000},
		{"no number", policy, "x-envoy-max-retries: -1", 15 * time.Second, time.Second, 2, "5xx", 1000},
		{"timeouts", policy, "x-envoy-upstream-rq-timeout-ms: 3000\nx-envoy-upstream-rq-per-try-timeout-ms: 100", 3 * time.Second, 100 * time.Millisecond, 2, "5xx", 100},
		{"a try as long as all", policy, "x-envoy-upstream-rq-timeout-ms: 500", 500 * time.Millisecond, 0, 2, "5xx", 500},
		{"no timeout", nil, "x-envoy-upstream-rq-timeout-ms: 0", 0, 0, 0, "", 0},
		{"conditions in several fields", nil, "x-envoy-retry-on: reset\nx-envoy-retry-on: 5xx,refused-stream\nx-envoy-retry-grpc-on: cancelled",
			15 * time.Second, 0, 1, "5xx,reset,refused-stream,cancelled", 15000},
		{"gated", gated, "", 15 * time.Second, time.Second, 0, "", 1000},
		{"gated, asked for all the same", gated, "x-envoy-retry-on: reset\nx-envoy-max-retries: 9", 15 * time.Second, time.Second, 0, "", 1000},
		{"gate open", gated, "cookie: a=b\nx-envoy-retry-on: reset", 15 * time.Second, time.Second, 2, "5xx,reset", 1000},
		{"hedged: the host has all the time", policy, "x-envoy-hedge-on-per-try-timeout: true", 15 * time.Second, time.Second, 2, "5xx", 15000},
		{"hedging without a retry is none", nil, "x-envoy-hedge-on-per-try-timeout: true\nx-envoy-upstream-rq-per-try-timeout-ms: 100", 15 * time.Second, 100 * time.Millisecond, 0, "", 100},
	} {
		forward := &route.ForwardConfig{Cluster: "web", ClusterNotFoundResponseCode: 503, Timeout: 15 * time.Second, Priority: "default", RetryPolicy: tt.policy}
		table, problems := route.Compile(&route.Config{Routes: []route.RouteConfig{{Match: route.MatchConfig{Prefix: "/"}, Route: forward}}},
			func(string) (uint32, bool) { return 0, true }, nil)
		if table == nil {
			t.Fatal(problems)
		}
		s := &filters.Stream{}
		s.Request.Reset()
		s.Request.SetMethod(codec.MethodGET)
		s.Request.SetPath([]byte("/"))
		s.Request.SetAuthority([]byte("a"))
		for _, f := range strings.Split(tt.fields, "\n") {
			name, value, _ := strings.Cut(f, ": ")
			if id := codec.KnownField([]byte(name)); id != codec.FieldOther {
				s.Request.Add(id, []byte(value))
			}
		}
		s.Route = table.Match(&route.Input{Head: &s.Request})
		rq := &request{stream: s}
		l := rq.readLimits()
		got := fmt.Sprintln(l.timeout, l.perTry, l.retries, l.on, l.expectedMs(l.timeout))
		if want := fmt.Sprintln(tt.timeout, tt.perTry, tt.retries, tt.on, tt.expectedMs); got != want {
			t.Errorf("%s: %swant %s", tt.name, got, want)
		}
		if s.Request.HasAny(steering) {
			t.Errorf("%s: some of it goes upstream", tt.name)
		}
	}
}

// TestNoHedgingOfTunnels: what may become a tunnel is not sent twice.
func TestNoHedgingOfTunnels(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		method  codec.Method
		upgrade bool
		want    bool
	}{{codec.MethodGET, false, true}, {codec.MethodGET, true, false}, {codec.MethodCONNECT, false, false}} {
		s := &filters.Stream{Route: &route.Route{HedgeOnPerTryTimeout: true, Retry: &route.RetryPolicy{On: route.Retry5xx, NumRetries: 1}}}
		s.Request.Reset()
		s.Request.SetMethod(tt.method)
		s.Request.Upgrade = tt.upgrade
		rq := &request{stream: s}
		if l := rq.readLimits(); l.hedge != tt.want {
			t.Errorf("%v, upgrade %v: hedged %v, want %v", tt.method, tt.upgrade, l.hedge, tt.want)
		}
	}
}
