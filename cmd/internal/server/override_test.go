package server

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"millrace/cmd/internal/config"
)

// overrideConfig has one policy of the cors filter for all routes, and what per_filter_config makes of it. The order of
// the filters decides where a filter finds its override.
func overrideConfig(filters string) string {
	const route = `{"match": {"prefix": "/`
	return `{"listeners": [{"name": "a", "address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {
		"http_filters": [` + filters + `, {"name": "router"}],
		"route_config": {"virtual_hosts": [
			{"name": "v", "domains": ["v.example.com"], "per_filter_config": {"cors": {"allow_origin_string_match": ["https://vhost"], "max_age": "5s"}}, "routes": [
				` + route + `own"}, "per_filter_config": {"cors": {"allow_origin_string_match": ["https://route"]}, "buffer": {"disabled": true}}, "route": {"cluster": "web"}},
				` + route + `none"}, "per_filter_config": {"cors": {"disabled": true}}, "route": {"cluster": "web"}},
				` + route + `"}, "route": {"cluster": "web"}}]},
			{"name": "w", "domains": ["*"], "routes": [` + route + `"}, "route": {"cluster": "web"}}]}]}}}]}],
		"clusters": [{"name": "web", "hosts": ["127.0.0.1:1"]}]}`
}

const (
	corsFilter   = `{"name": "cors", "config": {"allow_origin_string_match": ["https://filter"]}}`
	bufferFilter = `{"name": "buffer", "config": {"max_request_bytes": 1024}}`
)

// TestPerFilterConfig: a route's word comes before that of its virtual host, and both before the filter's own.
func TestPerFilterConfig(t *testing.T) {
	r := start(t, overrideConfig(corsFilter+","+bufferFilter))
	check := func() {
		t.Helper()
		for _, tt := range []struct{ host, path, allowed, age string }{
			{"w.example.com", "/x", "https://filter", ""},
			{"v.example.com", "/x", "https://vhost", "5"},
			{"v.example.com", "/own", "https://route", ""},
			{"v.example.com", "/none", "", ""},
		} {
			for _, origin := range []string{"https://filter", "https://vhost", "https://route"} {
				allow, age := r.preflight(tt.host, tt.path, origin)
				wantAllow, wantAge := "", ""
				if origin == tt.allowed {
					wantAllow, wantAge = origin, tt.age
				}
				if allow != wantAllow || age != wantAge {
					t.Errorf("%s%s of %s: allowed %q for %q; want %q for %q", tt.host, tt.path, origin, allow, age, wantAllow, wantAge)
				}
			}
		}
	}
	check()
	r.mustLoad(overrideConfig(bufferFilter + "," + corsFilter)) // the same routes, other places
	if !eventually(func() bool { a, _ := r.preflight("v.example.com", "/own", "https://route"); return a != "" }) {
		t.Error("a reload loses what routes say")
	}
	check()
	r.mustLoad(strings.ReplaceAll(overrideConfig(bufferFilter+","+corsFilter), "https://route", "https://filter"))
	if !eventually(func() bool { a, _ := r.preflight("v.example.com", "/own", "https://filter"); return a != "" }) {
		t.Error("a reload of the routes does not change what they say")
	}
}

// preflight returns which origin a preflight request is answered to allow, and for how long.
func (r *running) preflight(host, path, origin string) (allow, age string) {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodOptions, "http://"+r.ListenerAddr("a")+path, http.NoBody)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Host, req.Close = host, true
	req.Header.Set("Origin", origin)
	req.Header.Set("Access-Control-Request-Method", "PUT")
	c := http.Client{Timeout: 10 * time.Second}
	defer c.CloseIdleConnections()
	resp, err := c.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.Header.Get("Access-Control-Allow-Origin"), resp.Header.Get("Access-Control-Max-Age")
}

// TestPerFilterConfigMistakes: every mistake in per_filter_config has its place.
func TestPerFilterConfigMistakes(t *testing.T) {
	t.Parallel()
	edge := func(own string) string {
		return `{"listeners": [{"address": ":80", "filters": [{"name": "http_connection_manager", "config": {"http_filters": [` + corsFilter + `, ` + bufferFilter +
			`, {"name": "router"}], "route_config": {"routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}, "per_filter_config": ` + own + `}]}}}]}]}`
	}
	const at = `listeners[0].filters[0].config.route_config.routes[0].per_filter_config`
	for _, tt := range []struct{ own, want string }{
		{`{"cors": {"disabled": true}, "buffer": {"max_request_bytes": "1KiB"}}`, ""},
		{`{"envoy.filters.http.cors": {}}`, `["envoy.filters.http.cors"]: no filter "envoy.filters.http.cors" can be configured here; it is called "cors" here`},
		{`{"router": {}}`, `.router: no filter "router" can be configured here`},
		{`{"health_check": {"disabled": true}}`, `.health_check: http_filters has no filter "health_check"; add it there, or leave this out`},
		{`{"cors": {"disabeld": true}}`, `.cors.disabeld: unknown field; did you mean "disabled"?`},
		{`{"cors": []}`, `.cors: want an object, got an array`},
		{`{"buffer": {}}`, `.buffer: neither or both of disabled and max_request_bytes are given`},
		{`{"buffer": {"max_request_bytes": 0}}`, `.buffer.max_request_bytes: 0 is out of range`},
		{`{"cors": {"allow_origin_string_match": ["shop"]}}`, `.cors.allow_origin_string_match[0].exact: "shop" is not an origin`},
		{`[]`, `: want an object, got an array`},
	} {
		_, errs := config.Load("f.json", []byte(edge(tt.own)), Registry())
		got := errs.Error()
		if tt.want == "" && len(errs) > 0 || tt.want != "" && !strings.Contains(got, at+tt.want) {
			t.Errorf("%s: %s; want %s", tt.own, got, at+tt.want)
		}
	}
}
