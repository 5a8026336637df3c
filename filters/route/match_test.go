package route

import (
	"fmt"
	"strings"
	"testing"
)

// configExample is the route configuration of the documented HTTP edge.
const configExample = `{"name": "main", "virtual_hosts": [{
  "name": "shop", "domains": ["shop.example.com", "*.example.org"],
  "require_tls": "all",
  "routes": [
    {"match": {"path": "/healthz"}, "direct_response": {"status": 200, "body": "ok"}},
    {"match": {"prefix": "/old/"}, "redirect": {"path_redirect": "/new/", "response_code": 301}},
    {"match": {"prefix": "/ws"}, "route": {"cluster": "chat", "upgrades": ["websocket"], "timeout": "0s"}},
    {"match": {"prefix": "/api/", "headers": [{"name": "x-canary", "exact": "1"}]},
     "route": {"cluster": "api-canary", "prefix_rewrite": "/", "timeout": "3s",
               "retry_policy": {"retry_on": "5xx,connect-failure", "num_retries": 2, "per_try_timeout": "1s"}}},
    {"match": {"prefix": "/"}, "route": {"weighted_clusters": [{"name": "web", "weight": 95}, {"name": "web-next", "weight": 5}]}}
  ]}]}`

func TestConfigExample(t *testing.T) {
	t.Parallel()
	table := compile(t, configExample)
	for _, tt := range []struct {
		in   *Input
		want int // index of the route; -1: require_tls; -2: none
	}{
		{request("GET shop.example.com/healthz"), 0},
		{request("GET shop.example.com/healthz?x=1"), 0},
		{request("GET shop.example.com/healthz/"), 4},
		{request("GET SHOP.example.COM/old/x"), 1},
		{request("GET a.example.org/ws"), 2},
		{request("GET a.example.org/api/x", "X-Canary: 1"), 3},
		{request("GET a.example.org/api/x", "X-Canary: 0"), 4},
		{request("GET example.org/"), -2},
		{request("GET /"), -2},
	} {
		for _, tls := range []bool{true, false} {
			tt.in.TLS = tls
			want := tt.want
			if !tls && want > -2 {
				want = -1
			}
			got := -2
			if r := table.Match(tt.in); r != nil {
				got = r.Index()
			}
			if got != want {
				t.Errorf("Match(%s, tls %v) = %d; want %d", tt.in.Head.Path(), tls, got, want)
			}
			matchName(t, table, tt.in)
		}
	}
	if r := table.Route(3); r.Retry.On != Retry5xx|RetryConnectFailure || r.Retry.NumRetries != 2 || r.Timeout.String() != "3s" || r.Retry.PerTryTimeout.String() != "1s" {
		t.Errorf("route 3 has retry %+v, timeout %v", r.Retry, r.Timeout)
	}
	if r := table.Route(4); r.Timeout.String() != "15s" || r.IdleTimeout != IdleTimeoutUnset || r.Status != 503 {
		t.Errorf("route 4 has timeout %v, idle %v, status %d; want the defaults", r.Timeout, r.IdleTimeout, r.Status)
	}
}

// TestMatch runs over a small table, which is scanned, and over the same table with
// others behind, which is indexed.
func TestMatch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		match string
		in    *Input
		want  bool
	}{
		{`"prefix": "/"`, request("GET a/"), true},
		{`"prefix": "/"`, request("OPTIONS a"), false},
		{`"prefix": "/api"`, request("GET a/apix?y"), true},
		{`"prefix": "/api"`, request("GET a/API"), false},
		{`"prefix": "/Api", "case_sensitive": false`, request("GET a/aPI/x"), true},
		{`"prefix": "/api/"`, request("GET a/api"), false},
		{`"prefix": "/api?"`, nil, false}, // refused
		{`"path": "/a/b"`, request("GET a/a/b"), true},
		{`"path": "/a/b"`, request("GET a/a/b?x=/"), true},
		{`"path": "/a/b"`, request("GET a/a/b/"), false},
		{`"path": "/a/b"`, request("GET a/a/"), false},
		{`"path": "/A/b", "case_sensitive": false`, request("GET a/a/B"), true},
		{`"path_separated_prefix": "/api"`, request("GET a/api"), true},
		{`"path_separated_prefix": "/api"`, request("GET a/api?x"), true},
		{`"path_separated_prefix": "/api"`, request("GET a/api/x"), true},
		{`"path_separated_prefix": "/api"`, request("GET a/apix"), false},
		{`"path_separated_prefix": "/api"`, request("GET a/ap"), false},
		{`"safe_regex": "/v[0-9]+"`, request("GET a/v12"), true},
		{`"safe_regex": "/v[0-9]+"`, request("GET a/v12?q"), true},
		{`"safe_regex": "/v[0-9]+"`, request("GET a/v12/x"), false},
		{`"safe_regex": "/v[0-9]+"`, request("GET a/x/v12"), false},
		{`"safe_regex": "/a|/b"`, request("GET a/ab"), false}, // the alternation is anchored as a whole
		{`"safe_regex": ".*"`, request("CONNECT a:443"), false},
		{`"connect_matcher": {}`, request("CONNECT a:443"), true},
		{`"connect_matcher": {}`, request("GET a/"), false},
	} {
		text := fmt.Sprintf(`{"name": "it", "match": {%s}, "route": {"cluster": "c1"}}`, tt.match)
		if tt.in == nil {
			if table, _ := Compile(parseConfig(t, `{"routes": [`+text+`]}`), clusters, nil); table != nil {
				t.Errorf("match {%s} is taken; want it refused", tt.match)
			}
			continue
		}
		for _, others := range []int{0, 2 * indexMin} {
			routes := []string{text}
			for i := range others {
				routes = append(routes, fmt.Sprintf(`{"name": "other", "match": {"prefix": "/other%d/"}, "route": {"cluster": "c2"}}`, i))
			}
			if strings.Contains(tt.match, `"prefix": "/"`) {
				routes = routes[:1]
			}
			want := "-"
			if tt.want {
				want = "it"
			}
			if got := matchName(t, compileRoutes(t, routes...), tt.in); got != want {
				t.Errorf("match {%s} of %s with %d others = %s; want %s", tt.match, tt.in.Head.Path(), others, got, want)
			}
		}
	}
}

// TestConditions covers the matchers of headers, query parameters and cookies.
func TestConditions(t *testing.T) {
	t.Parallel()
	get := func(fields ...string) *Input { return request("GET a.com/p?a=1&b=&c&aa=2&a=3&%61=4#f", fields...) }
	for _, tt := range []struct {
		cond string
		in   *Input
		want bool
	}{
		{`"headers": [{"name": "x-a"}]`, get("X-A: "), true},
		{`"headers": [{"name": "x-a"}]`, get(), false},
		{`"headers": [{"name": "x-a", "present": false}]`, get(), true},
		{`"headers": [{"name": "x-a", "present": false}]`, get("x-a: 1"), false},
		{`"headers": [{"name": "x-a", "invert_match": true}]`, get(), true},
		{`"headers": [{"name": "x-a", "invert_match": true}]`, get("x-a: 1"), false},
		{`"headers": [{"name": "x-a", "present": false, "invert_match": true}]`, get("x-a: 1"), true},
		{`"headers": [{"name": "x-a", "exact": "1"}]`, get("x-A: 1"), true},
		{`"headers": [{"name": "x-a", "exact": ""}]`, get("x-A: "), true},
		{`"headers": [{"name": "x-a", "exact": ""}]`, get(), false},
		{`"headers": [{"name": "x-a", "exact": "", "treat_missing_header_as_empty": true}]`, get(), true},
		{`"headers": [{"name": "x-a", "exact": "1", "invert_match": true}]`, get(), false}, // absent never matches a comparison
		{`"headers": [{"name": "x-a", "exact": "1", "invert_match": true, "treat_missing_header_as_empty": true}]`, get(), true},
		{`"headers": [{"name": "x-a", "exact": "1", "invert_match": true}]`, get("x-a: 2"), true},
		{`"headers": [{"name": "x-a", "exact": "AbC", "ignore_case": true}]`, get("x-a: aBc"), true},
		{`"headers": [{"name": "x-a", "exact": "abc"}]`, get("x-a: aBc"), false},
		{`"headers": [{"name": "x-a", "prefix": "ab"}]`, get("x-a: abc"), true},
		{`"headers": [{"name": "x-a", "suffix": "bc"}]`, get("x-a: abc"), true},
		{`"headers": [{"name": "x-a", "suffix": "abcd"}]`, get("x-a: abc"), false},
		{`"headers": [{"name": "x-a", "contains": "b"}]`, get("x-a: abc"), true},
		{`"headers": [{"name": "x-a", "contains": "B", "ignore_case": true}]`, get("x-a: abc"), true},
		{`"headers": [{"name": "x-a", "contains": "d"}]`, get("x-a: abc"), false},
		{`"headers": [{"name": "x-a", "safe_regex": "a.c"}]`, get("x-a: abc"), true},
		{`"headers": [{"name": "x-a", "safe_regex": "a."}]`, get("x-a: abc"), false},
		{`"headers": [{"name": "x-a", "range": {"start": -5, "end": 10}}]`, get("x-a: -5"), true},
		{`"headers": [{"name": "x-a", "range": {"start": -5, "end": 10}}]`, get("x-a: 10"), false},
		{`"headers": [{"name": "x-a", "range": {"start": -5, "end": 10}}]`, get("x-a: 1x"), false},
		{`"headers": [{"name": "x-a", "range": {"start": -5, "end": 10}}]`, get("x-a: +1"), false},
		{`"headers": [{"name": "x-a", "range": {"start": 0, "end": 10}}]`, get("x-a: 99999999999999999999"), false},
		{`"headers": [{"name": "x-a", "exact": "1,2"}]`, get("x-a: 1", "X-A: 2"), true}, // repeated values are joined
		{`"headers": [{"name": "user-agent", "exact": "1,2"}]`, get("user-agent: 1", "User-Agent: 2"), true},
		{`"headers": [{"name": "user-agent", "prefix": "curl"}]`, get("user-agent: curl/8"), true},
		{`"headers": [{"name": ":method", "exact": "GET"}]`, get(), true},
		{`"headers": [{"name": ":method", "exact": "POST"}]`, get(), false},
		{`"headers": [{"name": ":method", "exact": "PURGE"}]`, request("PURGE a/p"), true},
		{`"headers": [{"name": ":path", "contains": "b=&"}]`, get(), true},
		{`"headers": [{"name": ":authority", "exact": "a.com"}]`, get(), true},
		{`"headers": [{"name": "Host", "exact": "a.com"}]`, get(), true},
		{`"headers": [{"name": ":scheme", "exact": "http"}]`, get(), true},
		{`"headers": [{"name": "x-a", "exact": "1"}, {"name": "x-b", "exact": "1"}]`, get("x-a: 1"), false},
		{`"headers": [{"name": "x-a", "exact": "1"}, {"name": "x-b", "exact": "1"}]`, get("x-a: 1", "x-b: 1"), true},
		{`"query_parameters": [{"name": "a", "exact": "1"}]`, get(), true}, // the first of a repeated name
		{`"query_parameters": [{"name": "a", "exact": "3"}]`, get(), false},
		{`"query_parameters": [{"name": "b", "exact": ""}]`, get(), true},
		{`"query_parameters": [{"name": "c"}]`, get(), true},
		{`"query_parameters": [{"name": "c", "exact": ""}]`, get(), true},
		{`"query_parameters": [{"name": "d"}]`, get(), false},
		{`"query_parameters": [{"name": "d", "present": false}]`, get(), true},
		{`"query_parameters": [{"name": "aa", "safe_regex": "[0-9]"}]`, get(), true},
		{`"query_parameters": [{"name": "%61", "exact": "4"}]`, get(), true}, // as sent; the fragment is no part of it
		{`"query_parameters": [{"name": "a"}]`, request("GET a/p"), false},
		{`"cookies": [{"name": "sid", "exact": "x"}]`, get("cookie: a=1; sid=x; b=2"), true},
		{`"cookies": [{"name": "sid", "exact": "x"}]`, get("cookie: a=1", "cookie: sid=\"x\""), true},
		{`"cookies": [{"name": "sid", "exact": "x"}]`, get("cookie: xsid=x; sid2=x; sid"), false},
		{`"cookies": [{"name": "sid", "exact": "x", "invert_match": true}]`, get(), false},
		{`"cookies": [{"name": "sid", "exact": "x", "invert_match": true}]`, get("cookie: sid=y"), true},
	} {
		table := compileRoutes(t, fmt.Sprintf(`{"name": "it", "match": {"prefix": "/", %s}, "route": {"cluster": "c1"}}`, tt.cond))
		want := "-"
		if tt.want {
			want = "it"
		}
		if got := matchName(t, table, tt.in); got != want {
			t.Errorf("%s of %v = %s; want %s", tt.cond, fieldsOf(&tt.in.Head.Fields), got, want)
		}
	}
}

// fixedRuntime sets one runtime key.
type fixedRuntime struct {
	key   string
	value uint32
}

func (r fixedRuntime) Fraction(key string, def uint32) uint32 {
	if key == r.key {
		return r.value
	}
	return def
}

func TestRuntimeFraction(t *testing.T) {
	t.Parallel()
	table := compileRoutes(t,
		`{"name": "some", "match": {"prefix": "/", "runtime_fraction": {"value": 12.5, "runtime_key": "k"}}, "route": {"cluster": "c1"}}`,
		`{"name": "rest", "match": {"prefix": "/"}, "route": {"cluster": "c2"}}`)
	for _, tt := range []struct {
		random  uint64
		runtime RuntimeView
		want    string
	}{
		{0, nil, "some"},
		{124_999, nil, "some"},
		{125_000, nil, "rest"},
		{7_124_999, nil, "some"}, // the remainder counts
		{0, fixedRuntime{"k", 0}, "rest"},
		{999_999, fixedRuntime{"k", fractionUnit}, "some"},
		{125_000, fixedRuntime{"other", fractionUnit}, "rest"},
	} {
		in := request("GET a/")
		in.Random, in.Runtime = tt.random, tt.runtime
		if got := matchName(t, table, in); got != tt.want {
			t.Errorf("random %d, runtime %v: %s; want %s", tt.random, tt.runtime, got, tt.want)
		}
	}
}

func TestRequireTLS(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		require       string
		tls, internal bool
		redirect      bool
	}{
		{"none", false, false, false},
		{"all", true, false, false},
		{"all", false, true, true},
		{"external_only", false, true, false},
		{"external_only", false, false, true},
		{"external_only", true, false, false},
	} {
		table := compile(t, fmt.Sprintf(`{"virtual_hosts": [{"name": "v", "domains": ["*"], "require_tls": %q,
			"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c1"}}]}]}`, tt.require))
		in := request("GET a:80/x?y")
		in.TLS, in.Internal = tt.tls, tt.internal
		r := table.Match(in)
		matchName(t, table, in)
		if got := r.Action == ActionRedirect; got != tt.redirect {
			t.Errorf("%+v: redirect %v", tt, got)
		}
		if tt.redirect {
			if got := string(r.AppendLocation(nil, in)); got != "https://a/x?y" || r.Status != 301 {
				t.Errorf("%+v: %d to %s; want 301 to https://a/x?y", tt, r.Status, got)
			}
		}
	}
}

func TestIgnorePathParameters(t *testing.T) {
	t.Parallel()
	table := compile(t, `{"ignore_path_parameters_in_path_matching": true, "routes": [
		{"name": "it", "match": {"path": "/a"}, "route": {"cluster": "c1"}}]}`)
	if got := matchName(t, table, request("GET a/a;v=1?q")); got != "it" {
		t.Errorf("route %s; want it", got)
	}
}

// TestFirstMatchWins: the order of the file decides, not the length of the text.
func TestFirstMatchWins(t *testing.T) {
	t.Parallel()
	var routes []string
	add := func(name, match string) {
		routes = append(routes, fmt.Sprintf(`{"name": %q, "match": {%s}, "route": {"cluster": "c1"}}`, name, match))
	}
	add("cond", `"prefix": "/a/b", "headers": [{"name": "x"}]`)
	add("fold", `"prefix": "/A/b/c/", "case_sensitive": false`)
	add("short", `"prefix": "/a/b", "headers": [{"name": "y"}]`)
	add("regex", `"safe_regex": "/a/b/./q"`)
	add("long", `"path": "/a/b/d/q/r"`)
	add("sep", `"path_separated_prefix": "/a/b"`)
	for i := range indexMin {
		add("filler", fmt.Sprintf(`"path": "/filler%d"`, i))
	}
	add("last", `"prefix": "/"`)
	table := compileRoutes(t, routes...)
	if table.vhosts[0].index == nil {
		t.Fatal("the table has no index")
	}
	for _, tt := range []struct {
		in   *Input
		want string
	}{
		{request("GET h/a/b", "x: 1", "y: 1"), "cond"},
		{request("GET h/a/b/c/d", "y: 1"), "fold"},
		{request("GET h/a/b/d/q/r", "y: 1"), "short"},
		{request("GET h/a/b/d/q"), "regex"},
		{request("GET h/a/b/d/q/r"), "long"},
		{request("GET h/a/b/d/q/s"), "sep"},
		{request("GET h/a/bc"), "last"},
		{request("GET h/filler3"), "filler"},
		{request("GET h/filler"), "last"},
		{request("CONNECT h:1"), "-"},
	} {
		if got := matchName(t, table, tt.in); got != tt.want {
			t.Errorf("%s = %s; want %s", tt.in.Head.Path(), got, tt.want)
		}
	}
}
