package route

import (
	"strings"
	"testing"
)

func TestTrail(t *testing.T) {
	t.Parallel()
	table := compile(t, `{"virtual_hosts": [{"name": "shop", "domains": ["shop.example.com"], "routes": [
		{"name": "health", "match": {"path": "/healthz"}, "direct_response": {"status": 200}},
		{"match": {"prefix": "/API/", "case_sensitive": false, "headers": [{"name": "X-Canary", "exact": "1", "ignore_case": true}]}, "route": {"cluster": "c1"}},
		{"match": {"prefix": "/api/", "headers": [{"name": "x-n", "range": {"start": 1, "end": 5}, "invert_match": true}]}, "route": {"cluster": "c1"}},
		{"match": {"prefix": "/api/", "query_parameters": [{"name": "q", "safe_regex": "[a-z]"}]}, "route": {"cluster": "c1"}},
		{"match": {"prefix": "/api/", "cookies": [{"name": "sid"}]}, "route": {"cluster": "c1"}},
		{"match": {"prefix": "/api/", "runtime_fraction": {"value": 0.5, "runtime_key": "canary"}}, "route": {"cluster": "c1"}},
		{"match": {"connect_matcher": {}, "headers": [{"name": "y"}]}, "route": {"cluster": "c1"}},
		{"name": "all", "match": {"prefix": "/"}, "route": {"cluster": "c2"}},
		{"match": {"connect_matcher": {}, "headers": [{"name": "x"}]}, "route": {"cluster": "c1"}}]},
		{"name": "examples", "domains": ["*.example.com", "*"]}, {"name": "p", "domains": ["shop.*", "sho*"]}]}`)
	in := request("GET shop.example.com/api/x?q=1", "x-canary: 0", "x-n: 3")
	in.Random = 999_999
	r, trail := table.Explain(in)
	if r == nil || r.Name != "all" || trail.Chosen != 7 {
		t.Fatalf("Explain = %+v, chosen %d", r, trail.Chosen)
	}
	want := `host "shop.example.com"
  virtual host "shop" by exact domain "shop.example.com": taken
  virtual host "examples" by suffix domain "*.example.com": a better domain fits
  virtual host "p" by prefix domain "shop.*": a better domain fits
  virtual host "p" by prefix domain "sho*": a better domain fits
  virtual host "examples" by any domain "*": a better domain fits
path "/api/x"
  route 0 health path "/healthz": path "/api/x" does not fit path "/healthz"
  route 1 prefix "/api/" in any case: header x-canary exact "1" in any case: value is "0"
  route 2 prefix "/api/": header x-n range [1, 5), inverted: value is "3"
  route 3 prefix "/api/": query parameter q safe_regex "[a-z]": value is "1"
  route 4 prefix "/api/": cookie sid present: absent
  route 5 prefix "/api/": runtime_fraction canary: 99.9999% is not below 0.5000%
  route 6 connect_matcher: method GET is not CONNECT
  route 7 all prefix "/": TAKEN: route
  route 8 connect_matcher: not reached
`
	if got := trail.String(); got != want {
		t.Errorf("trail is\n%s\nwant\n%s", got, want)
	}
}

func TestTrailEnds(t *testing.T) {
	t.Parallel()
	table := compile(t, `{"virtual_hosts": [{"name": "v", "domains": ["a.com"], "require_tls": "all"}, {"name": "w", "domains": ["b.com"], "routes": [
		{"match": {"path": "/x"}, "route": {"cluster": "c1"}}]}]}`)
	for target, want := range map[string]string{
		"c.com/":    "no virtual host has a domain for it",
		"a.com/":    "redirected to https by require_tls",
		"b.com/y":   "no route matches",
		"b.com/x?y": "TAKEN: route",
	} {
		_, trail := table.Explain(request("GET " + target))
		if got := trail.String(); !strings.Contains(got, want) {
			t.Errorf("trail of %s is\n%s\nwant %s", target, got, want)
		}
	}
	if _, trail := table.Explain(request("CONNECT b.com")); !strings.Contains(trail.String(), "the request has no path") {
		t.Errorf("trail of CONNECT is\n%s", trail)
	}
}
