package route

import (
	"testing"
)

func TestCluster(t *testing.T) {
	t.Parallel()
	table := compile(t, `{"validate_clusters": false, "routes": [
		{"match": {"path": "/one"}, "route": {"cluster": "c7"}},
		{"match": {"path": "/unknown"}, "route": {"cluster": "nobody", "cluster_not_found_response_code": 404}},
		{"match": {"path": "/header"}, "route": {"cluster_header": "X-Cluster"}},
		{"match": {"path": "/direct"}, "direct_response": {"status": 204}},
		{"match": {"path": "/weights"}, "route": {"weighted_clusters": [
			{"name": "c1", "weight": 0}, {"name": "c2", "weight": 3}, {"name": "c3"}, {"name": "c4", "weight": 6}, {"name": "c5", "weight": 0}]}}]}`)
	for i, want := range []uint32{7, ClusterNone, ClusterByHeader, ClusterNone} {
		if got := table.Route(i).Cluster(&Input{}); got != want {
			t.Errorf("route %d: cluster %d; want %d", i, got, want)
		}
	}
	if r := table.Route(1); r.Status != 404 {
		t.Errorf("unknown cluster gives %d; want 404", r.Status)
	}
	in := request("GET a/header", "x-cluster: c9")
	if got := string(table.Match(in).ClusterHeaderValue(in.Head)); got != "c9" {
		t.Errorf("ClusterHeaderValue = %q; want c9", got)
	}
	counts := map[uint32]int{}
	for random := range uint64(1000) {
		id := table.Route(4).Cluster(&Input{Random: random})
		counts[id]++
		if again := table.Route(4).Cluster(&Input{Random: random}); again != id {
			t.Fatalf("random %d gives cluster %d, then %d", random, id, again)
		}
	}
	if len(counts) != 3 || counts[2] != 300 || counts[3] != 100 || counts[4] != 600 {
		t.Errorf("of 1000 requests the clusters got %v; want 300, 100, 600", counts)
	}
}

func TestUpgrade(t *testing.T) {
	t.Parallel()
	table := compileRoutes(t,
		`{"match": {"path": "/unset"}, "route": {"cluster": "c1"}}`,
		`{"match": {"path": "/none"}, "route": {"cluster": "c1", "upgrades": []}}`,
		`{"match": {"path": "/some"}, "route": {"cluster": "c1", "upgrades": ["WebSocket", "connect"]}}`,
		`{"match": {"path": "/direct"}, "direct_response": {"status": 200}}`)
	for _, tt := range []struct {
		route    int
		protocol string
		want     Upgrade
	}{
		{0, "websocket", UpgradeUnset},
		{1, "websocket", UpgradeRefused},
		{2, "webSocket", UpgradeAllowed},
		{2, "CONNECT", UpgradeAllowed},
		{2, "h2c", UpgradeRefused},
		{3, "websocket", UpgradeUnset},
	} {
		if got := table.Route(tt.route).Upgrade([]byte(tt.protocol)); got != tt.want {
			t.Errorf("route %d: Upgrade(%s) = %d; want %d", tt.route, tt.protocol, got, tt.want)
		}
	}
}

func TestRouteFields(t *testing.T) {
	t.Parallel()
	table := compile(t, `{"name": "main", "internal_only_headers": ["X-Secret"], "virtual_hosts": [{"name": "v", "domains": ["*"],
		"include_request_attempt_count": true, "retry_policy": {"retry_on": "5xx"}, "routes": [
		{"name": "a", "match": {"path": "/a"}, "route": {"cluster": "c1", "idle_timeout": "0s", "priority": "high", "append_x_forwarded_host": true}},
		{"match": {"path": "/b"}, "route": {"cluster": "c1", "idle_timeout": "3s", "retry_policy": {"retry_on": "reset", "num_retries": 4}}},
		{"match": {"path": "/c"}, "direct_response": {"status": 418, "body": "teapot"}}]}]}`)
	a, b, c := table.Route(0), table.Route(1), table.Route(2)
	if a.Name != "a" || a.IdleTimeout != 0 || a.Priority != PriorityHigh || !a.AppendXForwardedHost || a.Retry == nil || a.Retry.On != Retry5xx || a.Retry.NumRetries != 1 {
		t.Errorf("route a is %+v", a)
	}
	if b.IdleTimeout.String() != "3s" || b.Priority != PriorityDefault || b.Retry.On != RetryReset || b.Retry.NumRetries != 4 {
		t.Errorf("route b is %+v", b)
	}
	if c.Action != ActionDirectResponse || c.Status != 418 || c.Body() != "teapot" || c.Retry != nil {
		t.Errorf("route c is %+v", c)
	}
	if vh := a.VirtualHost; vh.Name != "v" || !vh.IncludeRequestAttemptCount || vh.IncludeAttemptCountInResponse {
		t.Errorf("virtual host is %+v", vh)
	}
	if table.Name() != "main" || table.Len() != 3 || len(table.InternalOnlyHeaders()) != 1 || table.InternalOnlyHeaders()[0] != "x-secret" {
		t.Errorf("table %q has %d routes, internal only %q", table.Name(), table.Len(), table.InternalOnlyHeaders())
	}
}

// TestMatchAllocs holds the data path at zero allocations.
func TestMatchAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	small := compile(t, smallConfig)
	big := mustCompile(t, bigConfig(1000))
	rich := compileRoutes(t, `{"match": {"prefix": "/a", "headers": [{"name": "x-a", "contains": "B", "ignore_case": true}, {"name": "user-agent", "safe_regex": "curl/.*"},
		{"name": "x-n", "range": {"start": 1, "end": 5}}], "query_parameters": [{"name": "q", "exact": "1"}], "cookies": [{"name": "c", "prefix": "x"}]},
		"route": {"prefix_rewrite": "/b", "host_rewrite_literal": "b.com", "weighted_clusters": [{"name": "c1"}, {"name": "c2"}]}}`,
		`{"match": {"safe_regex": "/z/[0-9]+"}, "redirect": {"https_redirect": true}}`)
	// x-a and user-agent are repeated, so their values are joined: the first run makes the room.
	richIn := request("GET a.com/a/x?q=1", "x-a: abc", "X-A: d", "user-agent: curl/8", "User-Agent: curl/9", "x-n: 3", "cookie: a=1; c=xyz")
	regexIn := request("GET a.com/z/17")
	dst := make([]byte, 0, 256)
	for name, f := range map[string]func(){
		"small": func() { small.Match(regexIn) },
		"regex": func() { rich.Match(regexIn).AppendLocation(dst, regexIn) },
		"big":   func() { big.Match(richIn) },
		"rich": func() {
			r := rich.Match(richIn)
			if r.Cluster(richIn) > 2 {
				t.Error("wrong cluster")
			}
			r.AppendPath(dst, richIn.Head)
			r.AppendHost(dst, richIn.Head, 1)
		},
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations; want 0", name, n)
		}
	}
}
