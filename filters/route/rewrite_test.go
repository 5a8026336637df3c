package route

import (
	"fmt"
	"strings"
	"testing"
)

// forwardRoute compiles one route with more fields in its "route".
func forwardRoute(t testing.TB, match, more string) *Table {
	t.Helper()
	return compileRoutes(t, fmt.Sprintf(`{"name": "it", "match": {%s}, "route": {"cluster": "c1", %s}}`, match, more))
}

func TestAppendPath(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		match, rewrite, path, want string // want "": not changed
	}{
		{`"prefix": "/api/"`, `"timeout": "1s"`, "/api/x", ""},
		{`"prefix": "/api/"`, `"prefix_rewrite": "/"`, "/api/x?q=/api/", "/x?q=/api/"},
		{`"prefix": "/api"`, `"prefix_rewrite": "/"`, "/api/x", "//x"}, // as Envoy: the slash stays
		{`"prefix": "/api"`, `"prefix_rewrite": "/v2/api"`, "/api?x", "/v2/api?x"},
		{`"prefix": "/API", "case_sensitive": false`, `"prefix_rewrite": "/v2"`, "/api/x", "/v2/x"},
		{`"prefix": "/api"`, `"prefix_rewrite": "/api"`, "/api/x", ""}, // rewritten to the same
		{`"path": "/a"`, `"prefix_rewrite": "/b"`, "/a?x", "/b?x"},
		{`"path_separated_prefix": "/a"`, `"prefix_rewrite": "/b"`, "/a/c", "/b/c"},
		{`"safe_regex": "/a.*"`, `"prefix_rewrite": "/b"`, "/a/c?x", "/b?x"}, // all of what was matched
		{`"prefix": "/"`, `"path_rewrite": "/b"`, "/a/c?x", "/b?x"},
		{`"prefix": "/"`, `"path_rewrite": "/b"`, "/a/c", "/b"},
		{`"prefix": "/"`, `"regex_rewrite": {"pattern": "^/service/([^/]+)(/.*)$", "substitution": "\\2/instance/\\1"}`, "/service/foo/v1/api?x=1", "/v1/api/instance/foo?x=1"},
		{`"prefix": "/"`, `"regex_rewrite": {"pattern": "one", "substitution": "two"}`, "/xxx/one/yyy/one/zzz?one", "/xxx/two/yyy/two/zzz?one"},
		{`"prefix": "/"`, `"regex_rewrite": {"pattern": "(?i)/xxx/", "substitution": "/\\0/"}`, "/aaa/XxX/bbb", "/aaa//XxX//bbb"},
		{`"prefix": "/"`, `"regex_rewrite": {"pattern": "(a)|(b)", "substitution": "[\\2]"}`, "/ab", "/[][b]"},
		{`"prefix": "/"`, `"regex_rewrite": {"pattern": "^/a", "substitution": ""}`, "/ab/c", "/b/c"}, // never without "/" in front
		{`"prefix": "/"`, `"regex_rewrite": {"pattern": ".*", "substitution": ""}`, "/ab?x", "/?x"},
		{`"prefix": "/"`, `"regex_rewrite": {"pattern": "b", "substitution": "\\\\"}`, "/ab", `/a\`},
		{`"prefix": "/"`, `"regex_rewrite": {"pattern": "nothing", "substitution": "x"}`, "/ab", ""},
	} {
		in := request("GET a" + tt.path)
		r := forwardRoute(t, strings.ReplaceAll(tt.match, `\`, `\\`), tt.rewrite).Match(in)
		if r == nil {
			t.Errorf("{%s} does not match %s", tt.match, tt.path)
			continue
		}
		got, changed := r.AppendPath([]byte("x"), in.Head)
		if changed != (tt.want != "") || string(got) != "x"+tt.want {
			t.Errorf("{%s}, %s of %s = %q, %v; want %q", tt.match, tt.rewrite, tt.path, got, changed, "x"+tt.want)
		}
	}
}

// TestAppendPathChanged: a filter has changed the path since it was matched.
func TestAppendPathChanged(t *testing.T) {
	t.Parallel()
	in := request("GET a/api/x")
	r := forwardRoute(t, `"prefix": "/api/"`, `"prefix_rewrite": "/v2/"`).Match(in)
	for path, want := range map[string]string{"/other/x": "", "/a": "", "/api/y?z": "/v2/y?z"} {
		in.Head.SetPath([]byte(path))
		if got, changed := r.AppendPath(nil, in.Head); string(got) != want || changed != (want != "") {
			t.Errorf("path changed to %s: %q, %v; want %q", path, got, changed, want)
		}
	}
}

func TestAppendHost(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rewrite string
		in      *Input
		want    string // "": not changed
	}{
		{`"timeout": "1s"`, request("GET a.com/"), ""},
		{`"host_rewrite_literal": "b.com:81"`, request("GET a.com/"), "b.com:81"},
		{`"host_rewrite_literal": "a.com"`, request("GET a.com/"), ""},
		{`"host_rewrite_header": "X-Host"`, request("GET a.com/", "x-host: c.com"), "c.com"},
		{`"host_rewrite_header": "X-Host"`, request("GET a.com/"), ""},
		{`"host_rewrite_header": "X-Host"`, request("GET a.com/", "x-host: "), ""},
		{`"host_rewrite_header": "X-Host"`, request("GET a.com/", "x-host: c.com/evil path"), ""},
		{`"host_rewrite_path_regex": {"pattern": "^/(.+)/.+$", "substitution": "\\1"}`, request("GET a.com/envoyproxy.io/some/path?x"), ""}, // "/" is no part of a host
		{`"host_rewrite_path_regex": {"pattern": "^/([^/]+)/.+$", "substitution": "\\1"}`, request("GET a.com/envoyproxy.io/some?x"), "envoyproxy.io"},
	} {
		r := forwardRoute(t, `"prefix": "/"`, tt.rewrite).Match(tt.in)
		got, changed := r.AppendHost([]byte("x"), tt.in.Head, 0)
		if changed != (tt.want != "") || string(got) != "x"+tt.want {
			t.Errorf("%s = %q, %v; want %q", tt.rewrite, got, changed, "x"+tt.want)
		}
	}
}

func TestAppendLocation(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		redirect string
		tls      bool
		target   string
		want     string
	}{
		{`"https_redirect": true`, false, "a.com/x?y=1", "https://a.com/x?y=1"},
		{`"https_redirect": true`, false, "a.com:80/x", "https://a.com/x"}, // the old default port goes
		{`"https_redirect": true`, false, "a.com:8080/x", "https://a.com:8080/x"},
		{`"https_redirect": true`, true, "a.com:443/x", "https://a.com:443/x"}, // the scheme does not change
		{`"https_redirect": true, "port_redirect": 8443`, false, "a.com:80/x", "https://a.com:8443/x"},
		{`"scheme_redirect": "http"`, true, "a.com:443/x", "http://a.com/x"},
		{`"scheme_redirect": "http"`, true, "a.com:80/x", "http://a.com:80/x"},
		{`"host_redirect": "b.com"`, true, "a.com:81/x?y", "https://b.com/x?y"},
		{`"host_redirect": "b.com", "port_redirect": 82`, false, "a.com:81/x", "http://b.com:82/x"},
		{`"port_redirect": 82`, false, "[::1]:81/x", "http://[::1]:82/x"},
		{`"port_redirect": 82`, false, "[::1]/x", "http://[::1]:82/x"},
		{`"https_redirect": true`, false, "[::1]:80/", "https://[::1]/"},
		{`"path_redirect": "/new"`, false, "a.com/x?y", "http://a.com/new?y"},
		{`"path_redirect": "/new", "strip_query": true`, false, "a.com/x?y", "http://a.com/new"},
		{`"path_redirect": "/new?z=1"`, false, "a.com/x?y", "http://a.com/new?z=1"},
		{`"path_redirect": "/new?z=1", "strip_query": true`, false, "a.com/x?y", "http://a.com/new?z=1"},
		{`"prefix_rewrite": "/p/"`, false, "a.com/x/z?y", "http://a.com/p/x/z?y"},
		{`"prefix_rewrite": "/p/", "strip_query": true`, false, "a.com/x/z?y", "http://a.com/p/x/z"},
		{`"regex_rewrite": {"pattern": "x", "substitution": "w"}`, false, "a.com/x?x", "http://a.com/w?x"},
		{`"strip_query": true`, false, "a.com/x?y", "http://a.com/x"},
		{`"host_redirect": "b.com"`, false, "a.com//evil.com", "http://b.com//evil.com"},
	} {
		in := request("GET " + tt.target)
		in.TLS = tt.tls
		r := compileRoutes(t, fmt.Sprintf(`{"match": {"prefix": "/"}, "redirect": {%s}}`, tt.redirect)).Match(in)
		if got := string(r.AppendLocation(nil, in)); got != tt.want || r.Status != 301 {
			t.Errorf("{%s} of %s = %d to %s; want 301 to %s", tt.redirect, tt.target, r.Status, got, tt.want)
		}
	}
	for _, tt := range []struct {
		tls   bool
		proto string
		want  string
	}{
		{false, "https", "https://b.com/"}, // the proxy in front speaks TLS with the client
		{true, "HTTP", "http://b.com/"},
		{true, "gopher", "https://b.com/"},
		{true, "", "https://b.com/"},
		{false, "", "http://b.com/"},
	} {
		in := request("GET a.com/", "x-forwarded-proto: "+tt.proto)
		in.TLS = tt.tls
		r := compileRoutes(t, `{"match": {"prefix": "/"}, "redirect": {"host_redirect": "b.com"}}`).Match(in)
		if got := string(r.AppendLocation(nil, in)); got != tt.want {
			t.Errorf("x-forwarded-proto %q, TLS %v: %s; want %s", tt.proto, tt.tls, got, tt.want)
		}
	}
	in := request("CONNECT a.com:443")
	r := compileRoutes(t, `{"match": {"connect_matcher": {}}, "redirect": {"host_redirect": "b.com", "response_code": 307}}`).Match(in)
	if got := string(r.AppendLocation(nil, in)); got != "http://b.com/" || r.Status != 307 {
		t.Errorf("CONNECT = %d to %s; want 307 to http://b.com/", r.Status, got)
	}
}
