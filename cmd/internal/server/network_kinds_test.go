package server

import "testing"

// A listener filter and a network filter of one name do not get into each other's way.
func TestNetworkKinds(t *testing.T) {
	addr := freeAddr(t)
	limit := func(prefix string, tokens string) string {
		return `{"name": "local_ratelimit", "config": {"stat_prefix": "` + prefix + `", "token_bucket": {"max_tokens": ` + tokens +
			`, "fill_interval": "1h"}}}`
	}
	r := start(t, whole([]string{`{"name": "in", "address": "` + addr + `", "listener_filters": [` + limit("outer", "3") + `],
	 "filters": [` + limit("inner", "2") + `, {"name": "direct_response", "config": {"response": "hello"}}]}`}))
	for _, want := range []string{"hello", "hello", "", "", ""} {
		wantAll(t, dialFrom(t, 1, addr), want)
	}
	r.wantStat("listener_local_ratelimit.outer.rate_limited", 2)
	r.wantStat("local_rate_limit.inner.rate_limited", 1)
}
