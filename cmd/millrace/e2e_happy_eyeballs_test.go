package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/engine/enginetest"
)

// TestAdditionalAddresses: a host whose first address answers nothing, or refuses, is reached by another one: by HTTP/1.1,
// HTTP/2 over TLS and tcp_proxy. The log has the address that it was.
func TestAdditionalAddresses(t *testing.T) {
	t.Parallel()
	page := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }
	c := newCertificate(t, "web.internal")
	cfg := &tls.Config{Certificates: []tls.Certificate{c.pair}, NextProtos: []string{"h2", "http/1.1"}}
	h1, h2, raw := origin(t, page), serveHTTPS(t, cfg, page), nameServer(t, "raw")
	for name, first := range map[string]string{"silent": enginetest.Silent(t), "refused": loopbackPort(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := filepath.Join(t.TempDir(), "access.log")
			access := fmt.Sprintf(`"access_log": [{"path": %q, "format": "%%UPSTREAM_REMOTE_ADDRESS%%", "flush_interval": "10ms"}]`, log)
			cluster := func(name, other, more string) string {
				return fmt.Sprintf(`{"name": %q, "hosts": [{"address": %q, "additional_addresses": ["127.0.0.1:1", %q]}]%s}`, name, first, other, more)
			}
			p := startProxy(t, fmt.Sprintf(`{"concurrency": 1, "listeners": [
 {"name": "http", "address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {"stat_prefix": "e2e", %[1]s, "route_config": {"routes": [
  {"match": {"prefix": "/2"}, "route": {"cluster": "h2"}}, {"match": {"prefix": "/"}, "route": {"cluster": "h1"}}]}}}]},
 {"name": "tcp", "address": "127.0.0.1:0", "filters": [{"name": "tcp_proxy", "config": {"stat_prefix": "t", "cluster": "raw", %[1]s}}]}],
 "clusters": [%[2]s, %[3]s, %[4]s]}`, access, cluster("h1", h1, ""), cluster("h2", h2, `, "protocol": "auto", `+tlsOf(c, "")), cluster("raw", raw, "")))
			for path, want := range map[string]string{"/": "HTTP/1.1", "/2": "HTTP/2.0"} {
				for range 2 {
					resp, err := http.Get("http://" + p.addr("http") + path)
					if err != nil {
						t.Fatal(err)
					}
					if got := bodyOf(t, resp); got != want {
						t.Errorf("%s: %d %q, want %q", path, resp.StatusCode, got, want)
					}
				}
			}
			c, err := net.DialTimeout("tcp", p.addr("tcp"), waitMax)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.(*net.TCPConn).CloseWrite()
			if b, err := io.ReadAll(c); string(b) != "raw\n" {
				t.Errorf("TCP: %q, %v", b, err)
			}
			c.Close()
			for _, cluster := range []string{"h1", "h2", "raw"} {
				p.wantStat("cluster."+cluster+".upstream_cx_total", 1)
				p.wantStat("cluster."+cluster+".upstream_cx_connect_fail", 0)
			}
			var got []byte
			if !eventually(func() bool {
				got, _ = os.ReadFile(log)
				return strings.Count(string(got), h1+"\n") == 2 && strings.Count(string(got), h2+"\n") == 2 && strings.Count(string(got), raw+"\n") == 1
			}) {
				t.Errorf("the access log has %q", got)
			}
		})
	}
}
