package config

import (
	"net"
	"strconv"
	"strings"

	"github.com/tailscale/hujson"
)

// later are words of Envoy's for what this version does not do, and what that is. Saying so helps more than
// the nearest word that it does know.
var later = map[string]string{
	// Fields.
	"cors_policy":            "a CORS policy outside the cors filter",
	"dynamic_resources":      "xDS",
	"hot_restart":            "hot restart",
	"http3_protocol_options": "HTTP/3", "layered_runtime": "runtime values",
	"metadata_key":         "destinations from metadata",
	"on_demand":            "xDS, by which clusters are fetched on demand",
	"parent_shutdown_time": "hot restart",
	"rate_limits":          "rate limits", "rds": "xDS", "runtime": "runtime values",
	"stats_sinks": "stats sinks",
	"tracing":     "tracing", "transport_socket_matches": "a TLS context for each host", "tunneling_config": "TCP over HTTP CONNECT to hosts",
	// Values.
	"eds": "xDS", "http3": "HTTP/3",
	// Filters.
	"compressor": "compression", "ext_authz": "external authorisation", "fault": "fault injection", "grpc_web": "gRPC-Web",
	"jwt_authn": "JWT authentication", "local_ratelimit": "rate limits", "lua": "Lua", "mongo_proxy": "Mongo sniffing",
	"ratelimit": "rate limits", "rbac": "access control", "redis_proxy": "Redis sniffing",
	"wasm": "WebAssembly",
}

// laterHint says that a word stands for something this version does not do, or nothing.
func laterHint(word string) string {
	if what := later[strings.ToLower(word)]; what != "" {
		return "not supported yet: " + what
	}
	return ""
}

// aliases are words of nginx and HAProxy, and what they are called here; which of several depends on where
// they stand.
var aliases = map[string][]string{
	"add_header": {"response_headers_to_add"}, "backend": {"cluster"}, "backends": {"clusters"}, "balance": {"lb_policy"},
	"bind": {"address"}, "domain": {"domains"}, "endpoints": {"hosts"}, "frontends": {"listeners"}, "hosts": {"domains"},
	"keepalive_timeout": {"idle_timeout"}, "listen": {"address", "listeners"}, "location": {"match"}, "locations": {"routes"},
	"max_conns": {"max_connections"}, "maxconn": {"max_connections"}, "maxqueue": {"max_pending_requests"}, "queue_timeout": {"max_pending_duration"}, "nbthread": {"concurrency"}, "proxy_connect_timeout": {"connect_timeout"},
	"proxy_pass": {"route"}, "proxy_read_timeout": {"timeout"}, "proxy_set_header": {"request_headers_to_add"},
	"return": {"direct_response"}, "rewrite": {"prefix_rewrite"}, "server": {"listeners", "hosts"}, "server_name": {"domains"},
	"servers": {"listeners", "hosts"}, "ssl": {"tls"}, "ssl_certificate": {"cert_file", "certificates"}, "ssl_certificate_key": {"key_file"},
	"ssl_ciphers": {"cipher_suites"}, "ssl_client_certificate": {"client_ca_file"}, "ssl_ecdh_curve": {"ecdh_curves"},
	"ssl_protocols": {"min_version"}, "ssl_session_ticket_key": {"session_ticket_key_files"}, "threads": {"concurrency"}, "upstream": {"clusters", "cluster"}, "upstreams": {"clusters"}, "tls_context": {"tls"},
	"worker_connections": {"connection_limit"}, "worker_processes": {"concurrency"},
	// Values.
	"least_conn": {"least_request"}, "leastconn": {"least_request"}, "rr": {"round_robin"},
}

// aliasOf returns which of the known words another product's word is, or "".
func aliasOf(word string, known []string) string {
	for _, name := range aliases[strings.ToLower(word)] {
		for _, k := range known {
			if k == name {
				return k
			}
		}
	}
	return ""
}

// codeNames are Envoy's words for numbers.
var codeNames = map[string]string{
	"MOVED_PERMANENTLY": "301", "FOUND": "302", "SEE_OTHER": "303", "TEMPORARY_REDIRECT": "307", "PERMANENT_REDIRECT": "308",
}

// objectHint says how to write what Envoy has an object for and this config has not: an address, or a wrapper
// around the one field inner.
func objectHint(obj *hujson.Object, inner string) string {
	if a := objectField(obj, "address"); a != nil { // envoy.config.core.v3.HttpHost and the like
		if o, ok := a.Value.(*hujson.Object); ok {
			obj = o
		}
	}
	if s := objectField(obj, "socket_address"); s != nil {
		if o, ok := s.Value.(*hujson.Object); ok {
			return addressHint(o)
		}
	}
	if p := objectField(obj, "pipe"); p != nil {
		return `write "unix:" and the path`
	}
	if inner != "" && objectField(obj, inner) != nil {
		return "write what is in " + quote(inner) + " itself"
	}
	return ""
}

// addressHint writes an address of Envoy's as ours.
func addressHint(obj *hujson.Object) string {
	host, port := literalText(objectField(obj, "address")), literalText(objectField(obj, "port_value"))
	if host == "" || port == "" {
		host, port = "127.0.0.1", "80"
	}
	return "write " + quote(net.JoinHostPort(host, port))
}

// objectField returns a member of an object, or nil.
func objectField(obj *hujson.Object, name string) *hujson.Value {
	for i := range obj.Members {
		if obj.Members[i].Name.Value.(hujson.Literal).String() == name {
			return &obj.Members[i].Value
		}
	}
	return nil
}

// literalText returns a string, or a number as text; "" for anything else.
func literalText(v *hujson.Value) string {
	if v == nil {
		return ""
	}
	lit, ok := v.Value.(hujson.Literal)
	if !ok {
		return ""
	}
	k := tokenOf(lit)
	if _, err := strconv.ParseUint(k.text, 10, 16); k.kind == '"' || err == nil {
		return k.text
	}
	return ""
}
