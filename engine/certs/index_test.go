package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"testing"
)

// anyRoot accepts what it is shown; the tests look at what that was.
func asking(name string, change func(*tls.Config)) *tls.Config {
	c := &tls.Config{ServerName: name, InsecureSkipVerify: true}
	if change != nil {
		change(c)
	}
	return c
}

// rsaOnly is a client of TLS 1.2 that cannot verify ECDSA.
func rsaOnly(c *tls.Config) {
	c.MaxVersion = tls.VersionTLS12
	c.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
}

func TestCertificateByName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t, "root")
	var list []CertificateConfig
	add := func(name, kind string, dns []string, change func(*x509.Certificate)) {
		list = append(list, ca.issue(dir, name, kind, dns, change).CertificateConfig)
	}
	add("first-rsa", "rsa", []string{"first.example"}, nil)
	add("shop-rsa", "rsa", []string{"shop.example", "*.shop.example"}, nil)
	add("shop-ecdsa", "ecdsa", []string{"shop.example", "*.shop.example"}, nil)
	add("one-ed25519", "ed25519", []string{"one.shop.example"}, nil)
	add("common.example", "ecdsa", nil, nil)
	add("upper", "ecdsa", []string{"UPPER.Example"}, nil)
	add("not-its-cn.example", "ecdsa", []string{"other.example"}, nil)
	for _, tt := range []struct {
		sni    string
		scan   bool
		change func(*tls.Config)
		want   string
	}{
		{"first.example", false, nil, "first-rsa"},
		{"shop.example", false, nil, "shop-ecdsa"},
		{"SHOP.example", false, nil, "shop-ecdsa"},
		{"shop.example", false, rsaOnly, "shop-rsa"},
		{"a.shop.example", false, nil, "shop-ecdsa"},
		{"a.shop.example", false, rsaOnly, "shop-rsa"},
		{"a.b.shop.example", false, nil, "first-rsa"},
		{"one.shop.example", false, nil, "one-ed25519"},
		{"common.example", false, nil, "common.example"},
		{"upper.example", false, nil, "upper"},
		{"not-its-cn.example", false, nil, "first-rsa"},
		{"other.example", false, nil, "not-its-cn.example"},
		{"unknown.example", false, nil, "first-rsa"},
		{"unknown.example", true, nil, "shop-ecdsa"},
		{"unknown.example", true, rsaOnly, "first-rsa"},
		{"", false, nil, "shop-ecdsa"},
		{"", false, rsaOnly, "first-rsa"},
		{"example", false, nil, "first-rsa"},
	} {
		x := newServer(t, &DownstreamConfig{Certificates: list, FullScanCertsOnSNIMismatch: tt.scan})
		out := handshake(t, x.TLS(), asking(tt.sni, tt.change))
		if out.clientErr != nil {
			t.Errorf("name %q: %v, server: %v", tt.sni, out.clientErr, out.serverErr)
			continue
		}
		if got := out.client.PeerCertificates[0].Subject.CommonName; got != tt.want {
			t.Errorf("name %q, full scan %t, rsa only %t: certificate %q, want %q", tt.sni, tt.scan, tt.change != nil, got, tt.want)
		}
	}
}

func TestFirstCertificateThatTheClientCanUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t, "root")
	x := newServer(t, &DownstreamConfig{Certificates: []CertificateConfig{
		ca.issue(dir, "ecdsa", "ecdsa", []string{"a.example"}, nil).CertificateConfig,
		ca.issue(dir, "rsa", "rsa", []string{"b.example"}, nil).CertificateConfig,
	}})
	out := handshake(t, x.TLS(), asking("unknown.example", rsaOnly))
	if out.clientErr != nil {
		t.Fatal(out.clientErr)
	}
	if got := out.client.PeerCertificates[0].Subject.CommonName; got != "rsa" {
		t.Errorf("certificate %q, want the second: the client cannot use the first", got)
	}
}

func TestRequireSNI(t *testing.T) {
	t.Parallel()
	c := newAuthority(t, "root").issue(t.TempDir(), "a", "ecdsa", []string{"a.example"}, nil)
	x := newServer(t, &DownstreamConfig{Certificates: []CertificateConfig{c.CertificateConfig}, RequireSNI: true})
	if out := handshake(t, x.TLS(), asking("a.example", nil)); out.clientErr != nil {
		t.Error(out.clientErr)
	}
	out := handshake(t, x.TLS(), asking("", nil))
	if out.clientErr == nil || out.clientErr.Error() != "remote error: tls: unrecognized name" {
		t.Errorf("without a name: %v, want the alert unrecognized_name", out.clientErr)
	}
}

func TestManyNames(t *testing.T) {
	t.Parallel()
	const certs, names = 40, 50
	dir := t.TempDir()
	ca := newAuthority(t, "root")
	var list []CertificateConfig
	for i := range certs {
		var dns []string
		for k := range names {
			dns = append(dns, fmt.Sprintf("n%d.c%d.example", k, i), fmt.Sprintf("*.n%d.c%d.example", k, i))
		}
		list = append(list, ca.issue(dir, fmt.Sprintf("c%d", i), "ecdsa", dns, nil).CertificateConfig)
	}
	x := newServer(t, &DownstreamConfig{Certificates: list})
	get := x.TLS().GetCertificate
	for i := range certs {
		for k := range names {
			for _, name := range []string{fmt.Sprintf("n%d.c%d.example", k, i), fmt.Sprintf("www.n%d.c%d.example", k, i)} {
				c, err := get(&tls.ClientHelloInfo{ServerName: name})
				if err != nil {
					t.Fatal(err)
				}
				if got, want := c.Leaf.Subject.CommonName, fmt.Sprintf("c%d", i); got != want {
					t.Fatalf("name %q: certificate %q, want %q", name, got, want)
				}
			}
		}
	}
}

func TestParams(t *testing.T) {
	t.Parallel()
	c := newAuthority(t, "root").issue(t.TempDir(), "a", "ecdsa", []string{"a.example"}, nil)
	own := []CertificateConfig{c.CertificateConfig}
	for _, tt := range []struct {
		name   string
		server DownstreamConfig
		client *tls.Config
		ok     bool
		check  func(tls.ConnectionState) bool
	}{
		{"defaults", DownstreamConfig{}, &tls.Config{}, true,
			func(cs tls.ConnectionState) bool {
				return cs.Version == tls.VersionTLS13 && cs.CurveID == tls.X25519MLKEM768
			}},
		{"1.1 is refused", DownstreamConfig{}, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false, nil},
		{"1.1 is written", DownstreamConfig{MinVersion: "1.0", CipherSuites: []string{"ECDHE-ECDSA-AES128-SHA"}},
			&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, true,
			func(cs tls.ConnectionState) bool { return cs.Version == tls.VersionTLS11 }},
		{"CBC is refused", DownstreamConfig{},
			&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, false, nil},
		{"1.3 is off", DownstreamConfig{MaxVersion: "1.2"}, &tls.Config{}, true,
			func(cs tls.ConnectionState) bool { return cs.Version == tls.VersionTLS12 }},
		{"1.2 is off", DownstreamConfig{MinVersion: "1.3"}, &tls.Config{MaxVersion: tls.VersionTLS12}, false, nil},
		{"a suite", DownstreamConfig{CipherSuites: []string{"[ECDHE-RSA-AES256-GCM-SHA384|TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]"}},
			&tls.Config{MaxVersion: tls.VersionTLS12}, true,
			func(cs tls.ConnectionState) bool {
				return cs.CipherSuite == tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
			}},
		{"a curve", DownstreamConfig{ECDHCurves: []string{"secp384r1"}}, &tls.Config{}, true,
			func(cs tls.ConnectionState) bool { return cs.CurveID == tls.CurveP384 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.server.Certificates = own
			tt.client.InsecureSkipVerify = true
			out := handshake(t, newServer(t, &tt.server).TLS(), tt.client)
			if (out.clientErr == nil) != tt.ok {
				t.Fatalf("handshake: %v, %v; want ok %t", out.clientErr, out.serverErr, tt.ok)
			}
			if tt.check != nil && !tt.check(out.client) {
				t.Errorf("agreed on version %x, suite %x, group %v", out.client.Version, out.client.CipherSuite, out.client.CurveID)
			}
		})
	}
}
