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
