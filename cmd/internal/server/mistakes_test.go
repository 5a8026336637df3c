package server

import (
	"strings"
	"testing"

	"millrace/cmd/internal/config"
)

// TestMistakes: what those who come from Envoy, nginx or HAProxy write at first, and what they are told.
func TestMistakes(t *testing.T) {
	t.Parallel()
	const (
		route   = `{"match": {"prefix": "/"}, "route": {"cluster": "web"}}`
		cluster = `{"name": "web", "hosts": ["127.0.0.1:9000"]}`
	)
	edge := func(listener, hcm, routes, clusters string) string {
		return `{"listeners": [{` + listener + `, "filters": [{"name": "http_connection_manager", "config": {` + hcm +
			`"route_config": {"routes": [` + routes + `]}}}]}], "clusters": [` + clusters + `]}`
	}
	listener := func(text string) string { return edge(text, "", route, cluster) }
	manager := func(text string) string { return edge(`"address": ":80"`, text+", ", route, cluster) }
	routes := func(text string) string { return edge(`"address": ":80"`, "", text, cluster) }
	clusters := func(text string) string { return edge(`"address": ":80"`, "", route, `{"name": "web", `+text+`}`) }
	for _, tt := range []struct {
		name, in string
		want     []string // whole lines, without the place
	}{
		{"bootstrap", `{"static_resources": {}}`, []string{`static_resources: unknown field; what is in it is called "listeners" or "clusters" here`}},
		{"nginx's blocks", `{"upstreams": [], "server": {}, "worker_processes": 4}`, []string{
			`upstreams: unknown field; it is called "clusters" here`, `server: unknown field; it is called "listeners" here`,
			`worker_processes: unknown field; it is called "concurrency" here`}},
		{"xDS", `{"dynamic_resources": {}}`, []string{`dynamic_resources: unknown field; not supported yet: xDS`}},
		{"socket_address", listener(`"address": {"socket_address": {"address": "0.0.0.0", "port_value": 10000}}`),
			[]string{`listeners[0].address: want a string, got an object; write "0.0.0.0:10000"`}},
		{"socket_address within", listener(`"address": {"socket_address": {"address": "::1", "port_value": 80}}`),
			[]string{`listeners[0].address: want a string, got an object; write "[::1]:80"`}},
		{"pipe", listener(`"address": {"pipe": {"path": "/run/x"}}`),
			[]string{`listeners[0].address: want a string, got an object; write "unix:" and the path`}},
		{"a port", listener(`"address": "8080"`), []string{`listeners[0].address: address "8080" is a port alone; write ":8080"`}},
		{"a number", listener(`"address": 8080`), []string{`listeners[0].address: want a string, got 8080; put it in quotes`}},
		{"nginx's listen", listener(`"listen": ":80"`), []string{`listeners[0].listen: unknown field; it is called "address" here`}},
		{"tls_context", listener(`"address": ":80", "tls_context": {}`), []string{`listeners[0].tls_context: unknown field; it is called "tls" here`}},
		{"transport_socket", listener(`"address": ":80", "transport_socket": {}`), []string{`listeners[0].transport_socket: unknown field; it is called "tls" here`}},
		{"ssl_certificate", listener(`"address": ":80", "tls": {"ssl_certificate": "a.crt"}`), []string{
			"listeners[0].tls.certificates: no certificate is given; give at least one, such as {\"cert_file\": \"web.crt\", \"key_file\": \"web.key\"}",
			`listeners[0].tls.ssl_certificate: unknown field; it is called "certificates" here`}},
		{"typed_config", `{"listeners": [{"address": ":80", "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": {}}]}]}`, []string{
			`listeners[0].filters[0].name: unknown network filter "envoy.filters.network.http_connection_manager"; it is called "http_connection_manager" here`,
			`listeners[0].filters[0].typed_config: unknown field; write its fields, without "@type", in "config"`}},
		{"tcp_proxy", `{"listeners": [{"address": ":80", "filters": [{"name": "envoy.filters.network.tcp_proxy"}]}]}`, []string{
			`listeners[0].filters[0].name: unknown network filter "envoy.filters.network.tcp_proxy"; it is called "tcp_proxy" here`}},
		{"HTTP2", manager(`"codec_type": "HTTP2"`), []string{
			`listeners[0].filters[0].config.codec_type: unknown value "HTTP2"; did you mean "http2"?`}},
		{"a quoted boolean", manager(`"use_remote_address": "true"`), []string{
			`listeners[0].filters[0].config.use_remote_address: want true or false, got "true"; leave out the quotes`}},
		{"upgrade_configs", manager(`"upgrade_configs": []`), []string{
			`listeners[0].filters[0].config.upgrade_configs: unknown field; it is called "upgrades" here`}},
		{"an access logger", manager(`"access_log": [{"path": "/dev/stdout", "typed_config": {"@type": "x"}}]`), []string{
			`listeners[0].filters[0].config.access_log[0].typed_config: unknown field; write its fields, without "@type", in its place`}},
		{"location", routes(`{"location": "/", "proxy_pass": "http://web"}`), []string{
			`listeners[0].filters[0].config.route_config.routes[0].location: unknown field; it is called "match" here`,
			`listeners[0].filters[0].config.route_config.routes[0].proxy_pass: unknown field; it is called "route" here`}},
		{"safe_regex", routes(`{"match": {"safe_regex": {"regex": "/a"}}, "route": {"cluster": "web"}}`), []string{
			`listeners[0].filters[0].config.route_config.routes[0].match.safe_regex: want a string, got an object; write what is in "regex" itself`}},
		{"weighted_clusters", routes(`{"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": []}}}`), []string{
			`listeners[0].filters[0].config.route_config.routes[0].route.weighted_clusters: want an array, got an object; write what is in "clusters" itself`}},
		{"inline_string", routes(`{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "x"}}}`), []string{
			`listeners[0].filters[0].config.route_config.routes[0].direct_response.body: want a string, got an object; write what is in "inline_string" itself`}},
		{"a code by name", routes(`{"match": {"prefix": "/"}, "redirect": {"https_redirect": true, "response_code": "PERMANENT_REDIRECT"}}`), []string{
			`listeners[0].filters[0].config.route_config.routes[0].redirect.response_code: want a whole number, got "PERMANENT_REDIRECT"; write 308`}},
		{"a timeout in seconds", routes(`{"match": {"prefix": "/"}, "route": {"cluster": "web", "timeout": 15}}`), []string{
			`listeners[0].filters[0].config.route_config.routes[0].route.timeout: want a duration, got 15; write a string with a unit, such as "15s"`}},
		{"least_conn", clusters(`"lb_policy": "least_conn", "hosts": []`), []string{`clusters[0].lb_policy: unknown value "least_conn"; it is called "least_request" here`}},
		{"capitals", clusters(`"lb_policy": "ROUND_ROBIN", "hosts": []`), []string{`clusters[0].lb_policy: unknown value "ROUND_ROBIN"; did you mean "round_robin"?`}},
		{"maglev", clusters(`"lb_policy": "MAGLEV", "hosts": []`), []string{
			`clusters[0].lb_policy: unknown value "MAGLEV"; did you mean "maglev"?`}},
		{"strict_dns", clusters(`"type": "STRICT_DNS", "hosts": []`), []string{`clusters[0].type: unknown value "STRICT_DNS"; did you mean "strict_dns"?`}},
		{"load_assignment", clusters(`"load_assignment": {}`), []string{`clusters[0].load_assignment: unknown field; what is in it is called "overprovisioning_factor", "weighted_priority_health", "localities" or "hosts" here`}},
		{"servers", clusters(`"servers": ["10.0.0.1:80"]`), []string{`clusters[0].servers: unknown field; it is called "hosts" here`}},
		{"a name for a host", clusters(`"hosts": ["web.internal:80"]`), []string{
			`clusters[0].hosts[0].address: "web.internal:80" is a name, not an address; "type": "strict_dns" resolves names`}},
		{"transport_socket_matches", clusters(`"hosts": [], "transport_socket_matches": []`), []string{`clusters[0].transport_socket_matches: unknown field; not supported yet: a TLS context for each host`}},
		{"thresholds", clusters(`"hosts": [], "circuit_breakers": {"thresholds": []}`), []string{
			`clusters[0].circuit_breakers.thresholds: unknown field; what is in it is called "max_connections", "max_pending_requests", "max_requests", "max_retries" or "retry_budget" here`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, errs := config.Load("f", []byte(tt.in), Registry())
			var got []string
			for _, e := range errs {
				parts := strings.SplitN(e.Error(), ":", 4) // f, line, col
				got = append(got, strings.TrimSpace(parts[3]))
			}
			if g, w := strings.Join(got, "\n"), strings.Join(tt.want, "\n"); g != w {
				t.Errorf("%s\ngot:\n%s\nwant:\n%s", tt.in, g, w)
			}
		})
	}
}
