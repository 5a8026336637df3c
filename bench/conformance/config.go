package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// A front is millrace before one server of the suite.
type front struct {
	port     int
	host     string // the server
	protocol string // of the cluster
	req      request
	dir      string // for files
}

// Files of a front.
const (
	certFile     = "server.crt"
	keyFile      = "server.key"
	clientCAFile = "clients.crt"
)

func (f front) path(name string) string { return filepath.Join(f.dir, name) }

// writeFiles writes the certificates that the suite wants to be used.
func (f front) writeFiles() error {
	for name, b := range map[string][]byte{certFile: f.req.cert, keyFile: f.req.key, clientCAFile: f.req.clientCert} {
		if err := os.WriteFile(f.path(name), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// toServer is what the suite's server is told, and the version that millrace speaks to it.
func (s suite) toServer(r request) (message []byte, version uint64) {
	if s.upstream != 0 {
		r.version = s.upstream
	}
	return r.message(s.tls && r.tls), r.version
}

// config is millrace's: everything that comes, of either version, goes to the one host. The suite watches deadlines of its
// own, so none of millrace's may come before.
func (s suite) config(f front) string {
	filters, listener, cluster := `{"name": "router"}`, "", ""
	if s.filter != "" {
		filters = s.filter + ", " + filters
	}
	if f.req.tls {
		clients := ""
		if f.req.clientCert != nil {
			clients = fmt.Sprintf(`, "client_ca_file": %q, "require_client_certificate": true`, f.path(clientCAFile))
		}
		listener = fmt.Sprintf(`"tls": {"certificates": [{"cert_file": %q, "key_file": %q}], "alpn": ["h2", "http/1.1"]%s}, `, f.path(certFile), f.path(keyFile), clients)
	}
	if s.tls && f.req.tls {
		cluster = fmt.Sprintf(`, "tls": {"ca_file": %q, "sni": "localhost"}`, f.path(certFile))
	}
	return fmt.Sprintf(`{"concurrency": 1,
 "listeners": [{"address": "127.0.0.1:%d", %s"filters": [{"name": "http_connection_manager", "config": {
   "stat_prefix": "conformance", "codec_type": "auto", "http_filters": [%s],
   "route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "server", "timeout": "0s"}}]}}}]}],
 "clusters": [{"name": "server", "protocol": %q, "hosts": [%q]%s}]}
`, f.port, listener, filters, f.protocol, f.host, cluster)
}
