package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"millrace/cmd/internal/config"
	"millrace/cmd/internal/server"
)

// TestFresh fails when a config struct or a comment changed and what is made
// from them did not.
func TestFresh(t *testing.T) {
	t.Parallel()
	fields, err := collect("../../../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path string
		want []byte
	}{
		{"../fielddocs.json", fields},
		{"../../../../docs/config-reference.md", config.Reference(server.Registry())},
	} {
		got, err := os.ReadFile(tt.path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, tt.want) {
			t.Errorf("%s is stale: run go generate ./cmd/internal/config", tt.path)
		}
	}
}

// The examples of the vocabulary, as far as their features exist.
const (
	smallest = `{"listeners": [{"address": ":8080", "filters": [{"name": "http_connection_manager", "config": {
   "route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "web"}}]}}}]}],
 "clusters": [{"name": "web", "hosts": ["127.0.0.1:9000"]}]}`
	tcp = `{"listeners": [{"address": ":5432", "filters": [{"name": "tcp_proxy", "config": {
   "stat_prefix": "pg", "idle_timeout": "1h",
   "route_config": {"routes": [
     {"cluster": "pg-reports", "source_ip_list": ["10.9.0.0/16"], "destination_ports": "5432,6000-6010"},
     {"cluster": "pg"}]}}}]}],
 "clusters": [{"name": "pg", "hosts": ["10.0.0.5:5432"]}, {"name": "pg-reports", "hosts": ["10.0.0.6:5432"]}]}`
	edge = `{
  "admin": {"address": "127.0.0.1:9901"},
  "concurrency": 2,                       // loops; default: one per core
  "listeners": [{
    "name": "http", "address": "0.0.0.0:8080",
    "listener_filters": [{"name": "proxy_protocol"}, {"name": "tls_inspector"}],
    "filter_chains": [{
      "match": {"server_names": ["shop.example.com", "*.example.org"]},
      "filters": [{"name": "http_connection_manager", "config": {
        "stat_prefix": "edge",
        "codec_type": "auto",
        "use_remote_address": true, "xff_num_trusted_hops": 0,
        "request_timeout": "0s", "stream_idle_timeout": "5m", "request_headers_timeout": "10s", "drain_timeout": "5s",
        "max_request_headers_kb": 60, "max_headers_count": 100,
        "access_log": [{"path": "/dev/stdout", "format": "json"}],
        "route_config": {"name": "main", "virtual_hosts": [{
          "name": "shop", "domains": ["shop.example.com", "*.example.org"],
          "routes": [
            {"match": {"path": "/healthz"}, "direct_response": {"status": 200, "body": "ok"}},
            {"match": {"prefix": "/old/"}, "redirect": {"path_redirect": "/new/", "response_code": 301}},
            {"match": {"prefix": "/ws"}, "route": {"cluster": "chat", "upgrades": ["websocket"], "timeout": "0s"}},
            {"match": {"prefix": "/api/", "headers": [{"name": "x-canary", "exact": "1"}]},
             "route": {"cluster": "api-canary", "prefix_rewrite": "/", "timeout": "3s",
                       "retry_policy": {"retry_on": "5xx,connect-failure", "num_retries": 2, "per_try_timeout": "1s"}}},
            {"match": {"prefix": "/"}, "route": {"weighted_clusters": [{"name": "web", "weight": 95}, {"name": "web-next", "weight": 5}]}}
          ]}]},
        "http_filters": [{"name": "router"}]
      }}]
    }]
  }],
  "clusters": [{
    "name": "web", "type": "static",
    "connect_timeout": "1s", "protocol": "http1",
    "lb_policy": "least_request",
    "hosts": ["10.0.0.1:80", {"address": "10.0.0.2:80", "weight": 2}],
    "circuit_breakers": {"max_connections": 1024, "max_pending_requests": 1024, "max_requests": 1024}
  },
  {"name": "web-next", "hosts": ["10.0.1.1:80"]}, {"name": "chat", "hosts": ["10.0.2.1:80"]}, {"name": "api-canary", "hosts": ["10.0.3.1:80"]}]
}`
)

func TestExamples(t *testing.T) {
	t.Parallel()
	schema := compile(t)
	for name, text := range map[string]string{"smallest": smallest, "tcp": tcp, "edge": edge} {
		if _, errs := config.Load(name, []byte(text), server.Registry()); errs != nil {
			t.Errorf("Load:\n%v", errs)
		}
		if err := validate(t, schema, text); err != nil {
			t.Errorf("schema on %s: %v", name, err)
		}
	}
}

// Each change breaks an example, for the loader and for the schema.
func TestBrokenExamples(t *testing.T) {
	t.Parallel()
	schema := compile(t)
	for _, tt := range []struct{ old, broken, want string }{
		{`"prefix_rewrite"`, `"prefix_rewrit"`, `.route.prefix_rewrit: unknown field; did you mean "prefix_rewrite"?`},
		{`"num_retries": 2`, `"num_retries": "2"`, `.num_retries: want a whole number, got "2"; leave out the quotes`},
		{`"stream_idle_timeout": "5m"`, `"stream_idle_timeout": 300`, `write a string with a unit, such as "300s"`},
		{`"max_headers_count": 100`, `"max_headers_count": 0`, `.max_headers_count: 0 is out of range 1 to 10000`},
		{`"least_request"`, `"leastrequest"`, `clusters[0].lb_policy: unknown value "leastrequest"; did you mean "least_request"?`},
		{`"name": "router"`, `"name": "routr"`, `unknown http filter "routr"; `},
		{`"weight": 2`, `"weight": 0`, `clusters[0].hosts[1].weight: 0 is out of range 1 to 1000000`},
		{`"codec_type": "auto"`, `"codec_type": null`, `.codec_type: null is not allowed`},
	} {
		text := strings.Replace(edge, tt.old, tt.broken, 1)
		_, errs := config.Load("edge.json", []byte(text), server.Registry())
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), tt.want) {
			t.Errorf("Load with %s:\n%v\nwant only %s", tt.broken, errs, tt.want)
		}
		if validate(t, schema, text) == nil {
			t.Errorf("schema accepts %s", tt.broken)
		}
	}
}

// What only the loader can see.
func TestBrokenReferences(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ old, broken, want string }{
		{`"cluster": "chat"`, `"cluster": "chatt"`,
			`edge.json:21:63: listeners[0].filter_chains[0].filters[0].config.route_config.virtual_hosts[0].routes[2].route.cluster: unknown cluster "chatt"; did you mean "chat"? (clusters[2].name at edge.json:38:60)`},
		{`"path": "/healthz"`, `"prefix": "/"`, `routes[1].match.prefix: route is unreachable: routes[0] `},
		{`"10.0.0.1:80"`, `"10.0.0.1"`, `edge.json:35:15: clusters[0].hosts[0]: address "10.0.0.1" has no port; write "10.0.0.1:80"`},
	} {
		text := strings.Replace(edge, tt.old, tt.broken, 1)
		_, errs := config.Load("edge.json", []byte(text), server.Registry())
		if !strings.Contains(errs.Error(), tt.want) {
			t.Errorf("Load with %s:\n%v\nwant %s", tt.broken, errs, tt.want)
		}
	}
}

func TestRunUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"a", "b"}, {"pages"}} {
		if err := run(args); err == nil {
			t.Errorf("run(%q) succeeded", args)
		}
	}
}

// compile compiles the schema of the whole file.
func compile(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(config.Schema(server.Registry())))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	return c.MustCompile("schema.json")
}

// validate checks a text, whose comments run to the ends of their lines.
func validate(t *testing.T, schema *jsonschema.Schema, text string) error {
	t.Helper()
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i], _, _ = strings.Cut(line, "//")
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(doc)
}
