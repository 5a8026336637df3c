package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTLSFacts: what TLS has found out reaches hosts, routes, logs and clients, by both versions of HTTP.
func TestTLSFacts(t *testing.T) {
	t.Parallel()
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"X-Forwarded-Proto", "X-Forwarded-Client-Cert", "X-Tls", "X-Peer"} {
			fmt.Fprintf(w, "%s\n", strings.Join(r.Header[name], "|"))
		}
	}))
	t.Cleanup(host.Close)
	ca := newAuthority(t)
	ca.issue("edge", "a.example", "b.example", "spiffe://acme/edge")
	anna := ca.issue("anna", "spiffe://acme/anna")
	log := filepath.Join(t.TempDir(), "access.log")
	manager := func(prefix, domain string) string {
		return fmt.Sprintf(`[{"name": "http_connection_manager", "config": {"stat_prefix": %q, "use_remote_address": true,
     "forward_client_cert_details": "append_forward", "set_current_client_cert_details": {"subject": true, "uri": true},
     "access_log": [{"path": %q, "flush_interval": "5ms", "format": "%%REQ(:PATH)%% %%DOWNSTREAM_TLS_VERSION%% %%REQUESTED_SERVER_NAME%% %%DOWNSTREAM_PEER_SUBJECT%% %%RESPONSE_CODE_DETAILS%%"}],
     "route_config": {"virtual_hosts": [{"name": "v", "domains": [%q], "require_tls": "all",
       "request_headers_to_add": [{"key": "x-tls", "value": "%%DOWNSTREAM_TLS_VERSION%% %%DOWNSTREAM_LOCAL_URI_SAN%%"},
         {"key": "x-peer", "value": "%%DOWNSTREAM_PEER_URI_SAN%%"}],
       "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "web"}}]}]}}}]`, prefix, log, domain)
	}
	chain := func(name string) string {
		return fmt.Sprintf(`{"name": %q, "match": {"server_names": [%q]}, "tls": {"alpn": ["h2", "http/1.1"], "client_ca_file": %q,
   "certificates": [%s]}, "filters": %s}`, name, name, ca.path("ca.crt"), ca.pair("edge"), manager(name, name))
	}
	p := startProxy(t, fmt.Sprintf(`{"concurrency": 1, "listeners": [
 {"name": "edge", "address": "127.0.0.1:0", "listener_filters": [{"name": "tls_inspector"}],
  "access_log": [{"path": %q, "flush_interval": "5ms", "format": "conn %%FILTER_CHAIN_NAME%% %%RESPONSE_FLAGS%% %%CONNECTION_TERMINATION_DETAILS%% %%DOWNSTREAM_TRANSPORT_FAILURE_REASON%%"}],
  "filter_chains": [%s, %s]},
 {"name": "plain", "address": "127.0.0.1:0", "filters": %s}],
 "clusters": [{"name": "web", "hosts": [%q]}]}`, log, chain("a.example"), chain("b.example"), manager("plain", "a.example"), host.Listener.Addr()))
	addr := p.addr("edge")

	get := func(c *http.Client, url, given string) (code, proto int, body string, header http.Header) {
		t.Helper()
		rq, err := http.NewRequest("GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		rq.Header.Set("X-Forwarded-Proto", "http")
		rq.Header.Set("X-Forwarded-Client-Cert", given)
		resp, err := c.Do(rq)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.ProtoMajor, string(b), resp.Header
	}
	show := func(c *tls.Config) { c.Certificates = []tls.Certificate{anna} }
	for major, protocols := range map[int][]string{1: {"http/1.1"}, 2: {"h2"}} {
		c := ca.tlsClient(addr, "a.example", show, protocols...)
		code, proto, body, _ := get(c, "https://a.example/facts", "Hash=1")
		lines := strings.Split(body, "\n")
		if code != 200 || proto != major || len(lines) < 4 {
			t.Fatalf("HTTP/%d: %d by HTTP/%d: %q", major, code, proto, body)
		}
		if lines[0] != "https" || lines[2] != "TLSv1.3 spiffe://acme/edge" || lines[3] != "spiffe://acme/anna" {
			t.Errorf("HTTP/%d: the host sees %q", major, lines)
		}
		if cert := lines[1]; !strings.HasPrefix(cert, "Hash=1,By=spiffe://acme/edge;Hash=") || !strings.HasSuffix(cert, `;Subject="CN=anna";URI=spiffe://acme/anna`) {
			t.Errorf("HTTP/%d: x-forwarded-client-cert %s", major, cert)
		}
		// A browser would send this on the same connection, since the certificate has both names.
		if code, _, _, _ := get(c, "https://b.example/misdirected", ""); code != 421 {
			t.Errorf("HTTP/%d: %d for a host of another chain; want 421", major, code)
		}
		if code, _, body, _ := get(ca.tlsClient(addr, "b.example", nil, protocols...), "https://b.example/anonymous", "Hash=1"); code != 200 ||
			body != "https\n\nTLSv1.3 spiffe://acme/edge\n\n" {
			t.Errorf("HTTP/%d: %d %q without a certificate", major, code, body)
		}
	}
	c := ca.tlsClient(p.addr("plain"), "", nil)
	code, _, _, header := get(c, "http://a.example/plain?q", "")
	if got := header.Get("Location"); code != 301 || got != "https://a.example/plain?q" {
		t.Errorf("require_tls: %d, location %q", code, got)
	}
	if _, err := ca.dialTLS(addr, "a.example", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS11; c.MinVersion = tls.VersionTLS11 }); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	want := []string{
		"/facts TLSv1.3 a.example CN=anna via_upstream", "/misdirected TLSv1.3 a.example CN=anna misdirected_request",
		"/anonymous TLSv1.3 b.example - via_upstream", "/plain?q - - - direct_response",
		"conn a.example DPE tls_handshake_failed no_shared_version",
	}
	lacking := func() (lines []string) {
		text, _ := os.ReadFile(log)
		for _, line := range want {
			if !strings.Contains(string(text), line+"\n") {
				lines = append(lines, line)
			}
		}
		return lines
	}
	if !eventually(func() bool { return lacking() == nil }) {
		text, _ := os.ReadFile(log)
		t.Errorf("the log lacks %q:\n%s", lacking(), text)
	}
}
