package main

import (
	"fmt"
	"path/filepath"
	"testing"
)

// TestRateLimitedConnections: the filters called local_ratelimit, one of listeners and one of chains, close what is
// too much.
func TestRateLimitedConnections(t *testing.T) {
	t.Parallel()
	const limit = `{"name": "local_ratelimit", "config": {"stat_prefix": "few", "token_bucket": {"max_tokens": 3, "fill_interval": "1h"}}}`
	for _, tt := range []struct {
		name, stat string
		c          tunnel
	}{
		{"listener", "listener_local_ratelimit.few.rate_limited", tunnel{listener: `"listener_filters": [` + limit + `]`}},
		{"network", "local_rate_limit.few.rate_limited", tunnel{before: limit}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.c.hosts = []string{echoServer(t)}
			p := tt.c.start(t)
			for range 3 {
				dial(t, p.addr("")).wantEcho("one of three")
			}
			for range 2 {
				dial(t, p.addr("")).wantClosed()
			}
			p.wantStat(tt.stat, 2)
			p.wantStat("listener.front.downstream_cx_active", 3)
		})
	}
}

// TestListenerLog: the listener's own log has a line for each connection, also for those without a chain.
func TestListenerLog(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "access.log")
	p := startProxy(t, fmt.Sprintf(`{"concurrency": 1, "listeners": [{"name": "l", "address": "127.0.0.1:0",
  "access_log": [{"path": %q, "flush_interval": "20ms", "json_format": {"chain": "%%FILTER_CHAIN_NAME%%", "flags": "%%RESPONSE_FLAGS%%",
    "details": "%%RESPONSE_CODE_DETAILS%%", "in": "%%BYTES_RECEIVED%%", "out": "%%BYTES_SENT%%", "from": "%%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%%"}}],
  "filter_chains": [{"name": "one", "match": {"source_prefix_ranges": ["127.0.0.2"]}, "filters": [{"name": "echo"}]},
    {"name": "two", "match": {"source_prefix_ranges": ["127.0.0.3"]}, "filters": [{"name": "direct_response", "config": {"response": "go away\n"}}]}]}]}`, log))
	one := dialFrom(t, "127.0.0.2", p.addr(""))
	one.wantEcho("hello")
	one.closeWrite()
	one.wantEnd()
	if got := dialFrom(t, "127.0.0.3", p.addr("")).rest(); got != "go away\n" {
		t.Errorf("got %q", got)
	}
	dialFrom(t, "127.0.0.4", p.addr("")).wantClosed()
	want := map[string]string{
		"127.0.0.2": "one <nil> <nil> 5 5", "127.0.0.3": "two <nil> <nil> 0 8", "127.0.0.4": "<nil> NR filter_chain_not_found 0 0",
	}
	for _, line := range logLines(t, log, 3) {
		got := fmt.Sprint(line["chain"], " ", line["flags"], " ", line["details"], " ", line["in"], " ", line["out"])
		if got != want[fmt.Sprint(line["from"])] {
			t.Errorf("the line of %s is %q, want %q", line["from"], got, want[fmt.Sprint(line["from"])])
		}
	}
	p.wantStat("listener."+"127.0.0.1_0"+".no_filter_chain_match", 1)
}
