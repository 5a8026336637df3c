package router

import (
	"fmt"
	"strings"
	"testing"

	"millrace/codec"
	"millrace/filters/route"
	"millrace/upstream/pool"
)

// retryTable says for each event which words of retry_on ask for a retry. An event is a reset, with "written" if some of the
// request had been sent, or a response: its status, then a field.
const retryTable = `
connect_failure:            5xx gateway-error reset reset-before-request connect-failure
connect_timeout:            5xx gateway-error reset reset-before-request connect-failure
connection_termination:     5xx gateway-error reset reset-before-request
connection_termination written: 5xx gateway-error reset
remote_reset:               5xx gateway-error reset reset-before-request
remote_reset written:       5xx gateway-error reset
protocol_error written:     5xx gateway-error reset
local_close written:        5xx gateway-error reset
refused_stream:             5xx gateway-error reset reset-before-request refused-stream
refused_stream written:     5xx gateway-error reset reset-before-request refused-stream
overflow:
pending_timeout:
200:
404:
409:                        retriable-4xx
418:                        retriable-status-codes
425:                        retriable-status-codes
500:                        5xx
501:                        5xx
502:                        5xx gateway-error
503:                        5xx gateway-error
504:                        5xx gateway-error
505:                        5xx
599:                        5xx
200 x-policy:               retriable-headers
200 x-request:              retriable-headers
200 x-other:
503 x-policy:               5xx gateway-error retriable-headers
200 x-envoy-ratelimited:    envoy-ratelimited
503 x-envoy-ratelimited:    envoy-ratelimited
409 x-envoy-ratelimited:    envoy-ratelimited
200 grpc-status 0:
200 grpc-status 1:          cancelled
200 grpc-status 2:
200 grpc-status 4:          deadline-exceeded
200 grpc-status 8:          resource-exhausted
200 grpc-status 13:         internal
200 grpc-status 14:         unavailable
200 grpc-status 16:
`

// TestRetryTable: each word of retry_on, alone, with each event.
func TestRetryTable(t *testing.T) {
	t.Parallel()
	table, problems := route.Compile(&route.Config{Routes: []route.RouteConfig{{Match: route.MatchConfig{Prefix: "/"}, Route: &route.ForwardConfig{
		Cluster: "web",
		RetryPolicy: &route.RetryPolicyConfig{
			RetriableStatusCodes: []uint32{418},
			RetriableHeaders:     []route.HeaderMatchConfig{{Name: "x-policy"}},
		},
	}}}}, func(string) (uint32, bool) { return 0, true }, nil)
	if table == nil {
		t.Fatal(problems)
	}
	policy := table.Route(0).Retry
	var extra route.RetryExtra
	extra.AddStatuses([]byte("425, x, 99999999999999999999,"))
	extra.AddNames([]byte("X-Request,"))
	resets := map[string]pool.ResetReason{}
	for why := pool.ConnectFailure; why <= pool.PendingTimeout; why++ {
		resets[why.String()] = why
	}
	words := strings.Split((route.RetryUnavailable<<1 - 1).String(), ",")
	if len(words) != 15 {
		t.Fatalf("%d words: %q", len(words), words)
	}
	for line := range strings.SplitSeq(strings.TrimSpace(retryTable), "\n") {
		event, want, _ := strings.Cut(line, ":")
		parts := strings.Fields(event + " . .")
		for _, word := range words {
			on, _ := route.ParseRetryOn([]byte(word))
			var got bool
			if why, ok := resets[parts[0]]; ok {
				got = coversReset(on, why, parts[1] == "written")
			} else {
				var h codec.ResponseHead
				h.Reset()
				if _, err := fmt.Sscan(parts[0], &h.Status); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				h.AddString(parts[1], parts[2])
				got = policy.WantsResponse(on, &extra, &h)
			}
			if asked := strings.Contains(want+" ", " "+word+" "); got != asked {
				t.Errorf("%s, retry_on %s: retried %v, want %v", event, word, got, asked)
			}
		}
	}
}
