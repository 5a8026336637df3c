package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"testing"
)

// shown returns the first name of the certificate that a server shows to a client that asks for a name.
func (a *authority) shown(addr, name string, edit func(*tls.Config)) string {
	a.t.Helper()
	c, err := a.dialTLS(addr, name, func(c *tls.Config) {
		c.InsecureSkipVerify = true
		if edit != nil {
			edit(c)
		}
	})
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName
}

// TestTLSCertificateByName: within a chain the name and the client's algorithms choose the certificate.
func TestTLSCertificateByName(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("first", "first.example.com")
	a.issueAs("first-rsa", "rsa", nothing, "first.example.com")
	a.issue("exact", "a.example.org")
	a.issue("wild", "*.example.org")
	var list []string
	for _, f := range []string{"first", "first-rsa", "exact", "wild"} {
		list = append(list, a.pair(f))
	}
	p := tlsEdge{host: origin(t, facts), tls: fmt.Sprintf(`{"certificates": [%s]}`, strings.Join(list, ", "))}.start(t)
	onlyRSA := func(c *tls.Config) {
		c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	}
	for _, tt := range []struct {
		name string
		edit func(*tls.Config)
		want string
	}{
		{"first.example.com", nil, "first"},
		{"FIRST.example.com", nil, "first"},
		{"first.example.com", onlyRSA, "first-rsa"},
		{"a.example.org", nil, "exact"},
		{"b.example.org", nil, "wild"},
		{"x.b.example.org", nil, "first"}, // a wildcard stands for one label
		{"other.test", nil, "first"},
		{"", nil, "first"},
	} {
		if got := a.shown(p.addr(""), tt.name, tt.edit); got != tt.want {
			t.Errorf("%q is shown %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestTLSChainByName: the name chooses the chain, and so the certificate, the protocols and what is answered. The listener
// gets tls_inspector by itself.
func TestTLSChainByName(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	var chains []string
	for _, name := range []string{"shop", "blog", "rest"} {
		a.issue(name, name+".example.com")
		match, alpn := fmt.Sprintf(`"match": {"server_names": ["%s.example.com"]},`, name), `["h2", "http/1.1"]`
		if name == "rest" {
			match, alpn = "", `["http/1.1"]`
		}
		chains = append(chains, fmt.Sprintf(`{"name": %q, %s "tls": {"certificates": [%s], "alpn": %s}, "filters": [
			{"name": "http_connection_manager", "config": {"stat_prefix": %[1]q, "route_config": {"routes": [
			{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": %[1]q}}]}}}]}`, name, match, a.pair(name), alpn))
	}
	p := startProxy(t, fmt.Sprintf(`{"listeners": [{"address": "127.0.0.1:0", "filter_chains": [%s]}]}`, strings.Join(chains, ", ")))
	for name, want := range map[string]string{"shop": "shop HTTP/2.0", "blog": "blog HTTP/2.0", "rest": "rest HTTP/1.1"} {
		host := name + ".example.com"
		resp, err := a.tlsClient(p.addr(""), host, nil, "h2", "http/1.1").Get("https://" + host + "/")
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		if got := bodyOf(t, resp) + " " + resp.Proto; got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
	if got := a.shown(p.addr(""), "other.test", nil); got != "rest" {
		t.Errorf("other.test is shown %q", got)
	}
}

// TestTLSBesidePlain: one port, TLS and none, told apart by the first bytes.
func TestTLSBesidePlain(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	filters := `"filters": [{"name": "http_connection_manager", "config": {"stat_prefix": "e2e", "route_config": {"routes": [
		{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": "%s"}}]}}}]`
	p := startProxy(t, fmt.Sprintf(`{"listeners": [{"address": "127.0.0.1:0", "filter_chains": [
		{"match": {"transport_protocol": "tls"}, "tls": {"certificates": [%s]}, %s}, {"match": {"transport_protocol": "raw_buffer"}, %s}]}]}`,
		a.pair("shop"), fmt.Sprintf(filters, "over TLS"), fmt.Sprintf(filters, "plain")))
	wantBody(t, a.tlsClient(p.addr(""), "shop.example.com", nil), "https://shop.example.com/", "over TLS")
	if code, body := get(t, p.url("/")); code != 200 || body != "plain" {
		t.Errorf("plain: %d %q", code, body)
	}
}

// TestTLSTCP: TLS ends here, and what was inside goes on as TCP. The ends travel too.
func TestTLSTCP(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("db", "db.example.com")
	p := tunnel{hosts: []string{echoServer(t)}, listener: fmt.Sprintf(`"tls": {"certificates": [%s]}`, a.pair("db"))}.start(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c, err := a.dialTLS(p.addr(""), "db.example.com", func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version })
		if err != nil {
			t.Fatal(err)
		}
		r := newRawConn(t, c)
		r.wantEcho("select 1")
		want := body(uint64(version), 3<<20)
		go func() {
			_, _ = c.Write(want)
			_ = c.CloseWrite()
		}()
		if got, err := io.ReadAll(c); err != nil || string(got) != string(want) {
			t.Errorf("%x: an echo of %d bytes brought %d, %v; want them all and close_notify", version, len(want), len(got), err)
		}
	}
	p.wantStat("listener.front.ssl.handshake", 2)
	p.wantStat("tcp.e2e.downstream_cx_active", 0)
}
