package route

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// problemsOf compiles a configuration that is refused and returns what was said.
func problemsOf(t testing.TB, text string) []Problem {
	t.Helper()
	table, problems := Compile(parseConfig(t, text), clusters, nil)
	errors := slices.ContainsFunc(problems, func(p Problem) bool { return !p.Warning })
	if (table == nil) != errors {
		t.Fatalf("Compile(%s) = %v, %v", text, table, problems)
	}
	return problems
}

// TestRefused: each configuration has the one problem named, at the place named.
func TestRefused(t *testing.T) {
	t.Parallel()
	match := func(s string) string {
		return `{"routes": [{"match": {` + s + `}, "route": {"cluster": "c1"}}]}`
	}
	forward := func(s string) string {
		return `{"routes": [{"match": {"prefix": "/"}, "route": {` + s + `}}]}`
	}
	redirect := func(s string) string {
		return `{"routes": [{"match": {"prefix": "/"}, "redirect": {` + s + `}}]}`
	}
	route := func(s string) string {
		return `{"routes": [{"match": {"prefix": "/"}, ` + s + `}]}`
	}
	host := func(s string) string {
		return `{"virtual_hosts": [{"name": "v", "domains": ["a.com"]}, {` + s + `}]}`
	}
	for _, tt := range []struct{ config, path, problem string }{
		{`{"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c1"}}], "virtual_hosts": [{"name": "v", "domains": ["*"]}]}`, "routes", "exclude each other"},
		{host(`"name": "v", "domains": ["b.com"]`), "virtual_hosts[1].name", "virtual_hosts[0]"},
		{host(`"name": "w", "domains": ["b.com", "A.com"]`), "virtual_hosts[1].domains[1]", "virtual_hosts[0].domains[0]"},
		{host(`"name": "w", "domains": ["*", "*"]`), "virtual_hosts[1].domains[1]", "virtual_hosts[1].domains[0]"},
		{host(`"name": "w", "domains": ["a*b"]`), "virtual_hosts[1].domains[0]", "at its beginning or its end"},
		{host(`"name": "w", "domains": ["*b*"]`), "virtual_hosts[1].domains[0]", "at its beginning or its end"},
		{host(`"name": "w", "domains": [""]`), "virtual_hosts[1].domains[0]", "empty"},
		{host(`"name": "w", "domains": ["b.com/x"]`), "virtual_hosts[1].domains[0]", "no host can have"},
		{`{"ignore_port_in_host_matching": true, "virtual_hosts": [{"name": "v", "domains": ["a.com", "b.com:80"]}]}`, "virtual_hosts[0].domains[1]", "can never match"},
		{`{"internal_only_headers": ["a b"]}`, "internal_only_headers[0]", "not a header name"},

		{route(`"name": "x"`), "routes[0]", "exactly one of route, redirect and direct_response, not 0"},
		{route(`"route": {"cluster": "c1"}, "direct_response": {"status": 200}`), "routes[0]", "not 2"},
		{route(`"direct_response": {"status": 204, "body": "x"}`), "routes[0].direct_response.body", "no body"},
		{`{"max_direct_response_body_size_bytes": 2, ` + route(`"direct_response": {"status": 200, "body": "xyz"}`)[1:], "routes[0].direct_response.body", "body of 3 bytes exceeds max_direct_response_body_size_bytes 2"},

		{forward(`"cluster": "c1", "hash_policy": [{}]`), "routes[0].route.hash_policy[0]", "not 0"},
		{forward(`"cluster": "c1", "hash_policy": [{"source_ip": {}, "cookie": {"name": "a"}}]`), "routes[0].route.hash_policy[0]", "not 2"},
		{forward(`"cluster": "c1", "hash_policy": [{"cookie": {"name": "a b"}}]`), "routes[0].route.hash_policy[0].cookie.name", "not a header name"},
		{forward(`"cluster": "c1", "hash_policy": [{"cookie": {"name": "a", "path": "/;x"}}]`), "routes[0].route.hash_policy[0].cookie.path", "cannot stand in a cookie"},
		{forward(`"cluster": "c1", "connect_config": {}`), "routes[0].route.connect_config", "no CONNECT can come"},
		{`{"routes": [{"match": {"connect_matcher": {}}, "route": {"cluster": "c1", "connect_config": {"allow_post": true}}}]}`,
			"routes[0].route.connect_config.allow_post", "no POST can come"},
		{forward(`"cluster": "c1", "max_grpc_timeout": "1s", "max_stream_duration": {}`), "routes[0].route.max_grpc_timeout", "another name"},
		{forward(`"cluster": "c1", "grpc_timeout_offset": "1s"`), "routes[0].route.grpc_timeout_offset", "no effect"},

		{match(``), "routes[0].match", "not 0"},
		{match(`"prefix": "/", "path": "/"`), "routes[0].match", "not 2"},
		{match(`"prefix": "x"`), "routes[0].match.prefix", `paths begin with "/"`},
		{match(`"path": "/x?y"`), "routes[0].match.path", "query is left out"},
		{match(`"path": "/x#y"`), "routes[0].match.path", "query is left out"},
		{match(`"prefix": "/x y"`), "routes[0].match.prefix", "no path can have"},
		{match(`"prefix": "/ü"`), "routes[0].match.prefix", "no path can have"},
		{match(`"path_separated_prefix": "/x/"`), "routes[0].match.path_separated_prefix", `ends in "/"`},
		{match(`"safe_regex": "(/"`), "routes[0].match.safe_regex", "missing closing )"},
		{match(`"safe_regex": "/a)|(/b"`), "routes[0].match.safe_regex", "unexpected )"}, // cannot escape the anchors
		{match(`"safe_regex": "` + strings.Repeat("a", regexLenMax+1) + `"`), "routes[0].match.safe_regex", "4097 bytes exceeds 4096"},
		{match(`"safe_regex": "((a{100}){10}){10}"`), "routes[0].match.safe_regex", "invalid repeat count"},
		{match(`"safe_regex": "[a-z]{999}[b-y]{999}[0-9a-f]{999}(xy?){999}(a|b|c|d|ef?g){999}(a|b|c|d|ef?g){999}"`), "routes[0].match.safe_regex", "instructions, which exceeds 2000"},
		{match(`"prefix": "/", "headers": [{"name": "a b"}]`), "routes[0].match.headers[0].name", "not a header name"},
		{match(`"prefix": "/", "headers": [{"name": ":status"}]`), "routes[0].match.headers[0].name", "not a header name"},
		{match(`"prefix": "/", "headers": [{"name": "a", "exact": "1", "prefix": "1"}]`), "routes[0].match.headers[0]", "2 kinds"},
		{match(`"prefix": "/", "headers": [{"name": "a", "exact": "1", "present": true}]`), "routes[0].match.headers[0]", "2 kinds"},
		{match(`"prefix": "/", "headers": [{"name": "a", "safe_regex": "["}]`), "routes[0].match.headers[0].safe_regex", "missing closing ]"},
		{match(`"prefix": "/", "headers": [{"name": "a", "safe_regex": "x", "ignore_case": true}]`), "routes[0].match.headers[0].ignore_case", "no meaning"},
		{match(`"prefix": "/", "headers": [{"name": "a", "range": {"start": 5, "end": 5}}]`), "routes[0].match.headers[0].range.end", "empty"},
		{match(`"prefix": "/", "query_parameters": [{"name": "a=b"}]`), "routes[0].match.query_parameters[0].name", "no query parameter"},
		{match(`"prefix": "/", "cookies": [{"name": "a;b"}]`), "routes[0].match.cookies[0].name", "no cookie"},

		{forward(`"timeout": "1s"`), "routes[0].route", "exactly one of cluster, weighted_clusters and cluster_header says where to, not 0"},
		{forward(`"cluster": "c1", "cluster_header": "x"`), "routes[0].route", "not 2"},
		{forward(`"cluster": "nobody"`), "routes[0].route.cluster", `unknown cluster "nobody"`},
		{forward(`"weighted_clusters": [{"name": "c1"}, {"name": "nobody"}]`), "routes[0].route.weighted_clusters[1].name", `unknown cluster "nobody"`},
		{forward(`"weighted_clusters": [{"name": "c1", "weight": 0}]`), "routes[0].route.weighted_clusters", "all weights are 0"},
		{forward(`"weighted_clusters": [{"name": "c1", "host_rewrite_literal": "a/b"}]`), "routes[0].route.weighted_clusters[0].host_rewrite_literal", "no host can have"},
		{forward(`"cluster_header": "a b"`), "routes[0].route.cluster_header", "not a header name"},
		{forward(`"cluster": "c1", "cluster_not_found_response_code": 418`), "routes[0].route.cluster_not_found_response_code", "418"},
		{forward(`"cluster": "c1", "prefix_rewrite": "/", "path_rewrite": "/"`), "routes[0].route", "rewrites the path, not 2"},
		{forward(`"cluster": "c1", "prefix_rewrite": "x"`), "routes[0].route.prefix_rewrite", "does not begin"},
		{forward(`"cluster": "c1", "path_rewrite": "/x?y"`), "routes[0].route.path_rewrite", "query"},
		{forward(`"cluster": "c1", "path_rewrite": "/x\r\ny"`), "routes[0].route.path_rewrite", "no path can have"},
		{forward(`"cluster": "c1", "host_rewrite_literal": "a", "host_rewrite_header": "b"`), "routes[0].route", "rewrites the host, not 2"},
		{forward(`"cluster": "c1", "host_rewrite_literal": "a b"`), "routes[0].route.host_rewrite_literal", "no host can have"},
		{forward(`"cluster": "c1", "upgrades": ["web socket"]`), "routes[0].route.upgrades[0]", "name of a protocol"},
		{forward(`"cluster": "c1", "regex_rewrite": {"pattern": "("}`), "routes[0].route.regex_rewrite.pattern", "missing closing )"},
		{forward(`"cluster": "c1", "regex_rewrite": {"pattern": "(a)", "substitution": "\\2"}`), "routes[0].route.regex_rewrite.substitution", "has 1 groups"},
		{forward(`"cluster": "c1", "regex_rewrite": {"pattern": "a", "substitution": "\\x"}`), "routes[0].route.regex_rewrite.substitution", `has \x`},
		{forward(`"cluster": "c1", "regex_rewrite": {"pattern": "a", "substitution": "b\\"}`), "routes[0].route.regex_rewrite.substitution", "single backslash"},
		{forward(`"cluster": "c1", "regex_rewrite": {"pattern": "a", "substitution": "b?c"}`), "routes[0].route.regex_rewrite.substitution", "no path can have"},
		{forward(`"cluster": "c1", "retry_policy": {"retry_on": "5xx,sometimes"}`), "routes[0].route.retry_policy.retry_on", `unknown condition "sometimes"`},
		{forward(`"cluster": "c1", "retry_policy": {"retriable_status_codes": [700]}`), "routes[0].route.retry_policy.retriable_status_codes[0]", "100 to 599"},
		{forward(`"cluster": "c1", "retry_policy": {"retry_back_off": {"base_interval": "1s", "max_interval": "1ms"}}`), "routes[0].route.retry_policy.retry_back_off.max_interval", "below base_interval"},
		{forward(`"cluster": "c1", "retry_policy": {"retriable_headers": [{"name": ""}]}`), "routes[0].route.retry_policy.retriable_headers[0].name", "not a header name"},
		{forward(`"cluster": "c1", "retry_policy": {"rate_limited_retry_back_off": {"reset_headers": [{"name": "a b"}]}}`),
			"routes[0].route.retry_policy.rate_limited_retry_back_off.reset_headers[0].name", "not a header name"},
		{forward(`"cluster": "c1", "retry_policy": {"retry_host_predicate": ["previous_hosts", "previous_hosts"]}`),
			"routes[0].route.retry_policy.retry_host_predicate[1]", "given twice"},

		{redirect(`"https_redirect": true, "scheme_redirect": "http"`), "routes[0].redirect.scheme_redirect", "exclude"},
		{redirect(`"scheme_redirect": "ftp"`), "routes[0].redirect.scheme_redirect", "not http or https"},
		{redirect(`"host_redirect": "a/b"`), "routes[0].redirect.host_redirect", "no host can have"},
		{redirect(`"path_redirect": "x"`), "routes[0].redirect.path_redirect", "does not begin"},
		{redirect(`"path_redirect": "/x", "prefix_rewrite": "/y"`), "routes[0].redirect", "makes the path, not 2"},
		{redirect(`"response_code": 300`), "routes[0].redirect.response_code", "300"},
		{redirect(`"regex_rewrite": {"pattern": "("}`), "routes[0].redirect.regex_rewrite.pattern", "missing closing )"},

		{route(`"route": {"cluster": "c1"}, "request_headers_to_add": [{"key": ":path", "value": "/"}]`), "routes[0].request_headers_to_add[0].key", "cannot be changed"},
		{route(`"route": {"cluster": "c1"}, "request_headers_to_add": [{"key": "HOST", "value": "a"}]`), "routes[0].request_headers_to_add[0].key", "cannot be changed"},
		{route(`"route": {"cluster": "c1"}, "request_headers_to_add": [{"key": "Transfer-Encoding", "value": "chunked"}]`), "routes[0].request_headers_to_add[0].key", "frames the message"},
		{route(`"route": {"cluster": "c1"}, "response_headers_to_add": [{"key": "x", "value": "a\r\nb: c"}]`), "routes[0].response_headers_to_add[0].value", "no header value can have"},
		{route(`"route": {"cluster": "c1"}, "response_headers_to_add": [{"key": "x", "value": "%BYTES_SENT%"}]`), "routes[0].response_headers_to_add[0].value", "operators"},
		{route(`"route": {"cluster": "c1"}, "response_headers_to_remove": ["x", "content-length"]`), "routes[0].response_headers_to_remove[1]", "frames the message"},
		{route(`"route": {"weighted_clusters": [{"name": "c1", "request_headers_to_remove": ["host"]}]}`), "routes[0].route.weighted_clusters[0].request_headers_to_remove[0]", "cannot be changed"},
		{`{"request_headers_to_add": [{"key": "a b"}]}`, "request_headers_to_add[0].key", "not a header name"},
		{host(`"name": "w", "domains": ["*"], "request_headers_to_remove": ["connection"]`), "virtual_hosts[1].request_headers_to_remove[0]", "frames the message"},
		{host(`"name": "w", "domains": ["*"], "retry_policy": {"retry_on": "x"}`), "virtual_hosts[1].retry_policy.retry_on", "unknown condition"},
		{host(`"name": "w", "domains": ["*"], "routes": [{"match": {"prefix": "x"}, "route": {"cluster": "c1"}}]`), "virtual_hosts[1].routes[0].match.prefix", "paths begin"},
	} {
		problems := problemsOf(t, tt.config)
		if len(problems) != 1 || problems[0].Path != tt.path || !strings.Contains(problems[0].Problem, tt.problem) {
			t.Errorf("%.300s\n\tgives %v\n\twant %s: …%s…", tt.config, problems, tt.path, tt.problem)
		}
	}
}

// TestWarnings: a table with unreachable routes and unknown clusters is told of, and good for sources that may have them.
func TestWarnings(t *testing.T) {
	t.Parallel()
	table, problems := Compile(parseConfig(t, `{"routes": [{"name": "a", "match": {"prefix": "/"}, "route": {"cluster": "nobody"}},
		{"name": "b", "match": {"prefix": "/b"}, "route": {"cluster": "c1"}}]}`), clusters, nil)
	if len(problems) != 2 || !problems[0].Warning || !problems[1].Warning || table == nil {
		t.Fatalf("Compile = %v, %v; want a table and two warnings", table, problems)
	}
	in := request("GET h/b")
	if r := table.Match(in); r.Name != "a" || r.Cluster(in) != ClusterNone || r.Status != 503 {
		t.Errorf("route %s to cluster %d; want a to none", r.Name, r.Cluster(in))
	}
}

// TestLoaderReports: Validate, which the loader calls for each struct, reports unreachable routes, but none whose match is broken anyway.
func TestLoaderReports(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]int{
		`{"routes": [{"match": {"prefix": "/"}, "redirect": {}}, {"match": {"prefix": "/b"}, "redirect": {}}]}`:                                                1,
		`{"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [{"match": {"path": "/"}, "redirect": {}}, {"match": {"path": "/"}, "redirect": {}}]}]}`: 1,
		`{"routes": [{"match": {}, "redirect": {}}, {"match": {}, "redirect": {}}]}`:                                                                           0,
	} {
		cfg, n := parseConfig(t, config), 0
		report := func(path, problem, hint string) { n++ }
		cfg.Validate(report)
		for i := range cfg.VirtualHosts {
			cfg.VirtualHosts[i].Validate(report)
		}
		if n != want {
			t.Errorf("%s: %d problems; want %d", config, n, want)
		}
	}
}

func TestAllProblems(t *testing.T) {
	t.Parallel()
	problems := problemsOf(t, `{"routes": [{"match": {"prefix": "x"}, "route": {}}, {"match": {}}]}`)
	if len(problems) != 4 {
		t.Errorf("%d problems %v; want all 4", len(problems), problems)
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	const routes = `"routes": [{"match": {"path": "/a"}, "route": {"cluster": "x"}}, {"match": {"path": "/b"}, "redirect": {}},
		{"match": {"path": "/c"}, "route": {"weighted_clusters": [{"name": "y"}, {"name": "z"}]}}, {"match": {"path": "/d"}, "route": {"cluster_header": "h"}}]`
	for config, want := range map[string][]string{
		`{` + routes + `}`: {"routes[0].route.cluster x", "routes[2].route.weighted_clusters[0].name y", "routes[2].route.weighted_clusters[1].name z"},
		`{"virtual_hosts": [{"name": "v", "domains": ["*"], ` + routes + `}]}`: {"virtual_hosts[0].routes[0].route.cluster x",
			"virtual_hosts[0].routes[2].route.weighted_clusters[0].name y", "virtual_hosts[0].routes[2].route.weighted_clusters[1].name z"},
		`{"validate_clusters": false, ` + routes + `}`: nil,
	} {
		var got []string
		parseConfig(t, config).References(func(path, kind, name string) {
			if kind != "cluster" {
				t.Errorf("kind %q", kind)
			}
			got = append(got, path+" "+name)
		})
		if !slices.Equal(got, want) {
			t.Errorf("References of %s = %q; want %q", config, got, want)
		}
	}
}

// TestUnreachable: a later route that nothing can reach is refused, and names the earlier one.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		first, second string
		dead          bool
	}{
		{`"prefix": "/"`, `"prefix": "/a"`, true},
		{`"prefix": "/a"`, `"prefix": "/"`, false},
		{`"prefix": "/a"`, `"prefix": "/a"`, true},
		{`"prefix": "/a"`, `"path": "/ab"`, true},
		{`"prefix": "/a"`, `"path": "/b"`, false},
		{`"prefix": "/a"`, `"path_separated_prefix": "/a"`, true},
		{`"prefix": "/"`, `"safe_regex": ".*"`, true},
		{`"prefix": "/a"`, `"safe_regex": "/a.*"`, false}, // cannot be known
		{`"safe_regex": "/a.*"`, `"safe_regex": "/a.*"`, true},
		{`"prefix": "/"`, `"connect_matcher": {}`, false},
		{`"connect_matcher": {}`, `"connect_matcher": {}`, true},
		{`"path": "/a"`, `"path": "/a"`, true},
		{`"path": "/a"`, `"prefix": "/a"`, false},
		{`"path": "/a"`, `"path_separated_prefix": "/a"`, false},
		{`"path_separated_prefix": "/a"`, `"path": "/a"`, true},
		{`"path_separated_prefix": "/a"`, `"path": "/a/b"`, true},
		{`"path_separated_prefix": "/a"`, `"path": "/ab"`, false},
		{`"path_separated_prefix": "/a"`, `"prefix": "/a/"`, true},
		{`"path_separated_prefix": "/a"`, `"prefix": "/a"`, false},
		{`"path_separated_prefix": "/a"`, `"path_separated_prefix": "/a/b"`, true},
		{`"prefix": "/A"`, `"prefix": "/a"`, false},
		{`"prefix": "/A", "case_sensitive": false`, `"prefix": "/a"`, true},
		{`"prefix": "/A", "case_sensitive": false`, `"path": "/aB", "case_sensitive": false`, true},
		{`"prefix": "/a"`, `"prefix": "/a", "case_sensitive": false`, false},
		{`"prefix": "/1/"`, `"prefix": "/1/x", "case_sensitive": false`, true}, // no letters to differ in
		{`"prefix": "/", "headers": [{"name": "x"}]`, `"prefix": "/"`, false},
		{`"prefix": "/"`, `"prefix": "/", "headers": [{"name": "x"}]`, true},
		{`"prefix": "/", "headers": [{"name": "x"}]`, `"prefix": "/", "headers": [{"name": "x"}]`, true},
		{`"prefix": "/", "headers": [{"name": "x"}]`, `"prefix": "/", "headers": [{"name": "y"}]`, false},
		{`"prefix": "/", "runtime_fraction": {"value": 50}`, `"prefix": "/"`, false},
	} {
		problems := problemsOf(t, fmt.Sprintf(`{"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
			{"name": "early", "match": {%s}, "route": {"cluster": "c1"}}, {"match": {%s}, "route": {"cluster": "c1"}}]}]}`, tt.first, tt.second))
		dead := len(problems) == 1 && strings.HasPrefix(problems[0].Path, "virtual_hosts[0].routes[1].match") &&
			strings.Contains(problems[0].Problem, `unreachable: routes[0] "early"`)
		if dead != tt.dead || !tt.dead && len(problems) > 0 {
			t.Errorf("{%s} then {%s}: %v; want unreachable %v", tt.first, tt.second, problems, tt.dead)
		}
	}
}

// TestTags: every field of the configuration has a name, a comment's worth of type and tags that the hasher and the loader know.
func TestTags(t *testing.T) {
	t.Parallel()
	for _, typ := range structs(reflect.TypeFor[Config](), nil) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			name := f.Tag.Get("json")
			if !f.Anonymous && (name == "" || name != strings.ToLower(name)) {
				t.Errorf("%v.%s has the name %q", typ, f.Name, name)
			}
		}
	}
}

// structs returns all struct types below t.
func structs(t reflect.Type, seen []reflect.Type) []reflect.Type {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		return structs(t.Elem(), seen)
	case reflect.Struct:
		if slices.Contains(seen, t) {
			return seen
		}
		seen = append(seen, t)
		for i := range t.NumField() {
			seen = structs(t.Field(i).Type, seen)
		}
	}
	return seen
}
