package server

import (
	"fmt"
	"strings"
	"testing"
)

// edgeConfig is the HTTP edge that the format is made for: each of its fields must be understood.
const edgeConfig = `{
  "admin": {"address": "127.0.0.1:9901"},
  "concurrency": 2,                       // loops; default: one per core
  "listeners": [{
    "name": "https", "address": "0.0.0.0:8443",
    "listener_filters": [{"name": "proxy_protocol"}, {"name": "tls_inspector"}],
    "filter_chains": [{
      "match": {"server_names": ["shop.example.com", "*.example.org"]},
      "tls": {
        "certificates": [{"cert_file": "DIR/shop.crt", "key_file": "DIR/shop.key"}],
        "alpn": ["h2", "http/1.1"], "min_version": "1.2",
        "client_ca_file": "DIR/clients.crt", "require_client_certificate": false
      },
      "filters": [{"name": "http_connection_manager", "config": {
        "stat_prefix": "edge",
        "codec_type": "auto",             // auto | http1 | http2
        "use_remote_address": true, "xff_num_trusted_hops": 0,
        "request_timeout": "0s", "stream_idle_timeout": "5m", "request_headers_timeout": "10s", "drain_timeout": "5s",
        "max_request_headers_kb": 60, "max_headers_count": 100,
        "access_log": [{"path": "/dev/stdout", "format": "json"}],
        "route_config": {"name": "main", "virtual_hosts": [{
          "name": "shop", "domains": ["shop.example.com", "*.example.org"],
          "require_tls": "all",           // none | external_only | all
          "routes": [
            {"match": {"path": "/healthz"}, "direct_response": {"status": 200, "body": "ok"}},
            {"match": {"prefix": "/old/"}, "redirect": {"path_redirect": "/new/", "response_code": 301}},
            {"match": {"prefix": "/ws"}, "route": {"cluster": "chat", "upgrades": ["websocket"], "timeout": "0s"}},
            {"match": {"prefix": "/api/", "headers": [{"name": "x-canary", "exact": "1"}]},
             "route": {"cluster": "api-canary", "prefix_rewrite": "/", "timeout": "3s",
                       "retry_policy": {"retry_on": "5xx,connect-failure", "num_retries": 2, "per_try_timeout": "1s"}}},
            {"match": {"prefix": "/"}, "route": {"weighted_clusters": [{"name": "web", "weight": 95}, {"name": "web-next", "weight": 5}]}}
          ]}]},
        "http_filters": [{"name": "cors"}, {"name": "router"}]
      }}]
    }]
  }],
  "clusters": [{
    "name": "web", "type": "static",      // static | strict_dns | logical_dns | original_dst | eds
    "connect_timeout": "1s", "protocol": "http1",   // http1 | http2 | auto (by ALPN)
    "lb_policy": "least_request",         // round_robin | least_request | random | ring_hash | maglev | cluster_provided
    "hosts": ["10.0.0.1:80", {"address": "10.0.0.2:80", "weight": 2, "priority": 0, "locality": {"region": "eu", "zone": "a"}}],
    "tls": {"sni": "web.internal", "ca_file": "DIR/ca.crt", "verify_subject_alt_names": ["web.internal"]},
    "health_checks": [{"type": "http", "path": "/healthz", "interval": "5s", "timeout": "1s", "unhealthy_threshold": 3, "healthy_threshold": 2}],
    "outlier_detection": {"consecutive_5xx": 5, "interval": "10s", "base_ejection_time": "30s", "max_ejection_percent": 10},
    "circuit_breakers": {"max_connections": 1024, "max_pending_requests": 1024, "max_requests": 1024}
                                          // or {"default": {…}, "high": {…}} by priority
  },
  {"name": "web-next", "hosts": ["10.0.1.1:80"]}, {"name": "chat", "hosts": ["10.0.2.1:80"]}, {"name": "api-canary", "hosts": ["10.0.3.1:80"]}]
}`

// TestEdgeConfig: the whole example loads.
func TestEdgeConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"shop", "clients", "ca"} {
		writeCertificate(t, dir, name)
	}
	_, errs := Load("edge.json", fmt.Append(nil, strings.ReplaceAll(edgeConfig, "DIR", dir)), Registry())
	if errs.Fatal() {
		t.Errorf("Load: %v", errs)
	}
}
