package certs

import (
	"crypto/tls"
	"testing"
)

func TestServerHandshake(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t, "root")
	for _, kind := range []string{"ecdsa", "p384", "rsa", "ed25519"} {
		c := ca.intermediate("between").issue(dir, kind, kind, []string{"shop.example"}, nil)
		x := newServer(t, &DownstreamConfig{Certificates: []CertificateConfig{c.CertificateConfig}, ALPN: []string{"h2", "http/1.1"}})
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			out := handshake(t, x.TLS(), &tls.Config{
				RootCAs: ca.pool(), ServerName: "shop.example", MaxVersion: version, NextProtos: []string{"http/1.1", "h2"},
			})
			if out.clientErr != nil || out.serverErr != nil {
				t.Fatalf("%s, version %x: %v, %v", kind, version, out.clientErr, out.serverErr)
			}
			if cs := out.server; cs.Version != version || cs.NegotiatedProtocol != "h2" {
				t.Errorf("%s: version %x, protocol %q; want %x, h2", kind, cs.Version, cs.NegotiatedProtocol, version)
			}
		}
	}
}

func TestServerAndClient(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t, "root")
	server := ca.issue(dir, "server", "ecdsa", []string{"web.internal"}, nil)
	client := ca.issue(dir, "client", "ecdsa", []string{"edge.internal"}, nil)
	s := NewStore(StoreOptions{})
	down, err := s.Server(&DownstreamConfig{
		Certificates: []CertificateConfig{server.CertificateConfig}, ClientCAFile: ca.file(dir, "ca.crt"), RequireClientCertificate: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer down.Close()
	up, err := s.Client(&UpstreamConfig{
		SNI: "web.internal", CAFile: ca.file(dir, "ca.crt"), Certificates: []CertificateConfig{client.CertificateConfig}, MaxSessionKeys: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	for i := range 2 {
		out := handshake(t, down.TLS(), up.TLS())
		if out.clientErr != nil || out.serverErr != nil {
			t.Fatal(out.clientErr, out.serverErr)
		}
		if got, want := out.server.DidResume, i == 1; got != want {
			t.Errorf("handshake %d resumed: %t, want %t", i, got, want)
		}
		if !down.Verified(&out.server) || !up.Verified(&out.client) {
			t.Error("a chain is not verified")
		}
	}
}

// "In the event that the server supports no protocols that the client advertises, then the server SHALL respond
// with a fatal "no_application_protocol" alert." RFC 7301 section 3.2
func TestRFC7301_3_2_NoCommonProtocol(t *testing.T) {
	t.Parallel()
	c := newAuthority(t, "root").issue(t.TempDir(), "a", "ecdsa", []string{"a.example"}, nil)
	x := newServer(t, &DownstreamConfig{Certificates: []CertificateConfig{c.CertificateConfig}, ALPN: []string{"h2", "http/1.1"}})
	for _, tt := range []struct {
		offer []string
		want  string
		err   string
	}{
		{[]string{"http/1.1", "h2"}, "h2", ""},
		{[]string{"ftp", "http/1.1"}, "http/1.1", ""},
		{nil, "", ""},
		{[]string{"ftp"}, "", "remote error: tls: no application protocol"},
	} {
		out := handshake(t, x.TLS(), asking("a.example", func(c *tls.Config) { c.NextProtos = tt.offer }))
		if got := errorText(out.clientErr); got != tt.err || out.client.NegotiatedProtocol != tt.want {
			t.Errorf("offer %q: protocol %q, %v; want %q, %q", tt.offer, out.client.NegotiatedProtocol, got, tt.want, tt.err)
		}
	}
}

// TestClientCertificateByKey: the client certificate is the first that the host can use.
func TestClientCertificateByKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, other := newAuthority(t, "root"), newAuthority(t, "other")
	host := ca.issue(dir, "host", "ecdsa", []string{"a.example"}, nil)
	mine, theirs := ca.issue(dir, "mine", "ecdsa", nil, nil), other.issue(dir, "theirs", "ecdsa", nil, nil)
	down := newServer(t, &DownstreamConfig{Certificates: []CertificateConfig{host.CertificateConfig}, ClientCAFile: ca.file(dir, "ca.crt"), RequireClientCertificate: true})
	s := NewStore(StoreOptions{})
	for _, tt := range []struct {
		certs []CertificateConfig
		want  Failure
	}{
		{[]CertificateConfig{theirs.CertificateConfig, mine.CertificateConfig}, FailNone},
		{[]CertificateConfig{theirs.CertificateConfig}, FailVerify},
		{nil, FailNoCert},
	} {
		up, err := s.Client(&UpstreamConfig{SNI: "a.example", CAFile: ca.file(dir, "ca.crt"), Certificates: tt.certs})
		if err != nil {
			t.Fatal(err)
		}
		if out := handshake(t, down.TLS(), up.TLS()); FailureOf(out.serverErr) != tt.want {
			t.Errorf("%d certificates: %v; want failure %d", len(tt.certs), out.serverErr, tt.want)
		}
		up.Close()
	}
}
