package certs

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// crlFile writes a CRL of each authority, with the serials revoked, to a file.
func crlFile(t *testing.T, path string, next time.Time, revoked []*x509.Certificate, of ...*authority) string {
	t.Helper()
	var text []byte
	for _, a := range of {
		list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-2 * time.Hour), NextUpdate: next}
		for _, c := range revoked {
			list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
				x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now().Add(-time.Hour)})
		}
		der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, pemText("X509 CRL", der)...)
	}
	writeFile(t, path, text)
	return path
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, other := newAuthority(t, "root"), newAuthority(t, "other")
	between := ca.intermediate("between")
	caFile := ca.file(dir, "ca.crt")
	own := []CertificateConfig{ca.issue(dir, "server", "ecdsa", []string{"a.example"}, nil).CertificateConfig}

	good := ca.issue(dir, "good", "ecdsa", []string{"client.example"}, func(c *x509.Certificate) {
		c.URIs = []*url.URL{{Scheme: "spiffe", Host: "cluster", Path: "/ns/shop"}}
		c.IPAddresses = []net.IP{net.IPv4(10, 1, 2, 3)}
		c.EmailAddresses = []string{"who@example.com"}
	})
	wild := ca.issue(dir, "wild", "ecdsa", []string{"*.client.example"}, nil)
	deep := between.issue(dir, "deep", "ecdsa", []string{"deep.example"}, nil)
	foreign := other.issue(dir, "foreign", "ecdsa", []string{"client.example"}, nil)
	old := ca.issue(dir, "old", "ecdsa", []string{"client.example"}, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-30*time.Minute), time.Now().Add(-time.Minute)
	})
	forServers := ca.issue(dir, "for-servers", "ecdsa", []string{"client.example"}, func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	later := time.Now().Add(time.Hour)
	crlNone := crlFile(t, filepath.Join(dir, "none.crl"), later, nil, ca, between)
	crlGood := crlFile(t, filepath.Join(dir, "good.crl"), later, []*x509.Certificate{good.cert}, ca, between)
	crlBetween := crlFile(t, filepath.Join(dir, "between.crl"), later, []*x509.Certificate{between.cert}, ca, between)
	crlRootOnly := crlFile(t, filepath.Join(dir, "root.crl"), later, nil, ca)
	crlLeafOnly := crlFile(t, filepath.Join(dir, "leaf.crl"), later, nil, between)
	crlOld := crlFile(t, filepath.Join(dir, "old.crl"), time.Now().Add(-time.Hour), nil, ca, between)

	sum := sha256.Sum256(good.cert.Raw)
	hash := hex.EncodeToString(sum[:])
	var colons []string
	for i := 0; i < len(hash); i += 2 {
		colons = append(colons, strings.ToUpper(hash[i:i+2]))
	}
	keySum := sha256.Sum256(good.cert.RawSubjectPublicKeyInfo)
	spki := base64.StdEncoding.EncodeToString(keySum[:])
	zero := strings.Repeat("00", 32)
	exact := func(s string) []SANMatcher { return []SANMatcher{{Exact: &s}} }

	for _, tt := range []struct {
		name     string
		cfg      DownstreamConfig
		client   *issued // nil: none
		want     Failure
		verified bool
	}{
		{"no CA, not asked", DownstreamConfig{}, good, FailNone, false},
		{"no CA, required", DownstreamConfig{RequireClientCertificate: true}, foreign, FailNone, false},
		{"no CA, required, none", DownstreamConfig{RequireClientCertificate: true}, nil, FailNoCert, false},
		{"optional, none", DownstreamConfig{ClientCAFile: caFile}, nil, FailNone, false},
		{"optional, good", DownstreamConfig{ClientCAFile: caFile}, good, FailNone, true},
		{"optional, foreign", DownstreamConfig{ClientCAFile: caFile}, foreign, FailVerify, false},
		{"required, none", DownstreamConfig{ClientCAFile: caFile, RequireClientCertificate: true}, nil, FailNoCert, false},
		{"required, good", DownstreamConfig{ClientCAFile: caFile, RequireClientCertificate: true}, good, FailNone, true},
		{"expired", DownstreamConfig{ClientCAFile: caFile}, old, FailVerify, false},
		{"expired allowed", DownstreamConfig{ClientCAFile: caFile, AllowExpiredCertificate: true}, old, FailNone, true},
		{"expired allowed, foreign", DownstreamConfig{ClientCAFile: caFile, AllowExpiredCertificate: true}, foreign, FailVerify, false},
		{"for servers only", DownstreamConfig{ClientCAFile: caFile}, forServers, FailVerify, false},
		{"untrusted", DownstreamConfig{ClientCAFile: caFile, TrustChainVerification: acceptUntrusted}, foreign, FailNone, false},
		{"untrusted, good", DownstreamConfig{ClientCAFile: caFile, TrustChainVerification: acceptUntrusted}, good, FailNone, true},
		{"untrusted, none", DownstreamConfig{ClientCAFile: caFile, TrustChainVerification: acceptUntrusted}, nil, FailNone, false},
		{"depth 0", DownstreamConfig{ClientCAFile: caFile, MaxVerifyDepth: ptr(0)}, deep, FailVerify, false},
		{"depth 1", DownstreamConfig{ClientCAFile: caFile, MaxVerifyDepth: ptr(1)}, deep, FailNone, true},
		{"name", DownstreamConfig{ClientCAFile: caFile, VerifySubjectAltNames: exact("client.example")}, good, FailNone, true},
		{"other name", DownstreamConfig{ClientCAFile: caFile, VerifySubjectAltNames: exact("x.example")}, good, FailSAN, false},
		{"name, none", DownstreamConfig{ClientCAFile: caFile, VerifySubjectAltNames: exact("x.example")}, nil, FailNoCert, false},
		{"wildcard", DownstreamConfig{ClientCAFile: caFile, VerifySubjectAltNames: exact("a.client.example")}, wild, FailNone, true},
		{"untrusted, other name", DownstreamConfig{ClientCAFile: caFile, TrustChainVerification: acceptUntrusted, VerifySubjectAltNames: exact("x")}, good, FailSAN, false},
		{"hash", DownstreamConfig{ClientCAFile: caFile, VerifyCertificateHash: []string{zero, hash}}, good, FailNone, true},
		{"hash with colons", DownstreamConfig{VerifyCertificateHash: []string{strings.Join(colons, ":")}}, good, FailNone, false},
		{"other hash", DownstreamConfig{ClientCAFile: caFile, VerifyCertificateHash: []string{zero}}, good, FailHash, false},
		{"hash, none", DownstreamConfig{VerifyCertificateHash: []string{zero}}, nil, FailNoCert, false},
		{"key", DownstreamConfig{VerifyCertificateSPKI: []string{spki}, VerifyCertificateHash: []string{zero}}, good, FailNone, false},
		{"other key", DownstreamConfig{VerifyCertificateSPKI: []string{spki}}, foreign, FailHash, false},
		{"CRL", DownstreamConfig{ClientCAFile: caFile, CRLFile: crlNone}, good, FailNone, true},
		{"CRL, deep", DownstreamConfig{ClientCAFile: caFile, CRLFile: crlNone}, deep, FailNone, true},
		{"revoked", DownstreamConfig{ClientCAFile: caFile, CRLFile: crlGood}, good, FailVerify, false},
		{"revoked, expired allowed", DownstreamConfig{ClientCAFile: caFile, CRLFile: crlGood, AllowExpiredCertificate: true}, good, FailVerify, false},
		{"CA revoked", DownstreamConfig{ClientCAFile: caFile, CRLFile: crlBetween}, deep, FailVerify, false},
		{"CA revoked, leaf only", DownstreamConfig{ClientCAFile: caFile, CRLFile: crlBetween, OnlyVerifyLeafCertCRL: true}, deep, FailNone, true},
		{"CRL of one CA lacks", DownstreamConfig{ClientCAFile: caFile, CRLFile: crlRootOnly}, deep, FailVerify, false},
		{"CRL of the leaf's CA is enough", DownstreamConfig{ClientCAFile: caFile, CRLFile: crlLeafOnly, OnlyVerifyLeafCertCRL: true}, deep, FailNone, true},
		{"CRL out of date", DownstreamConfig{ClientCAFile: caFile, CRLFile: crlOld}, good, FailVerify, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.cfg.Certificates = own
			x := newServer(t, &tt.cfg)
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				cfg := asking("a.example", nil)
				cfg.MaxVersion = version
				cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				if tt.client != nil {
					cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
						c := tt.client.tls() // whatever CAs the server names
						return &c, nil
					}
				}
				for range 2 { // the second resumes
					out := handshake(t, x.TLS(), cfg)
					if got := FailureOf(out.serverErr); got != tt.want || (out.serverErr == nil) != (tt.want == FailNone) {
						t.Fatalf("version %x: failure %d (%v), client: %v; want failure %d", version, got, out.serverErr, out.clientErr, tt.want)
					}
					if got := x.Verified(&out.server); out.serverErr == nil && got != tt.verified {
						t.Errorf("version %x: Verified = %t, want %t", version, got, tt.verified)
					}
				}
			}
		})
	}
}

func TestSANMatcher(t *testing.T) {
	t.Parallel()
	c := &x509.Certificate{
		DNSNames: []string{"Www.Example.com", "*.wild.example"}, EmailAddresses: []string{"Who@example.com"},
		URIs: []*url.URL{{Scheme: "spiffe", Host: "cluster", Path: "/ns/shop"}}, IPAddresses: []net.IP{net.ParseIP("10.1.2.3"), net.ParseIP("2001:db8::1")},
	}
	for _, tt := range []struct {
		m    SANMatcher
		want bool
	}{
		{SANMatcher{Exact: ptr("www.example.com")}, true},
		{SANMatcher{Exact: ptr("www.example.com"), SANType: "uri"}, false},
		{SANMatcher{Exact: ptr("example.com")}, false},
		{SANMatcher{Exact: ptr("a.wild.example")}, true},
		{SANMatcher{Exact: ptr("A.WILD.example")}, true},
		{SANMatcher{Exact: ptr("a.b.wild.example")}, false},
		{SANMatcher{Exact: ptr("wild.example")}, false},
		{SANMatcher{Exact: ptr(".wild.example")}, false},
		{SANMatcher{Exact: ptr("*.wild.example")}, true},
		{SANMatcher{Prefix: ptr("www.")}, true},
		{SANMatcher{Suffix: ptr(".EXAMPLE.com")}, true},
		{SANMatcher{Contains: ptr("xampl"), SANType: "dns"}, true},
		{SANMatcher{SafeRegex: ptr("spiffe://[a-z]+/ns/shop")}, true},
		{SANMatcher{SafeRegex: ptr("spiffe://[a-z]+/ns")}, false},
		{SANMatcher{Exact: ptr("spiffe://cluster/ns/shop"), SANType: "uri"}, true},
		{SANMatcher{Exact: ptr("SPIFFE://cluster/ns/shop")}, false},
		{SANMatcher{Exact: ptr("SPIFFE://cluster/ns/shop"), IgnoreCase: true}, true},
		{SANMatcher{Exact: ptr("who@example.com"), SANType: "email"}, false},
		{SANMatcher{Exact: ptr("Who@example.com"), SANType: "email"}, true},
		{SANMatcher{Exact: ptr("10.1.2.3")}, true},
		{SANMatcher{Exact: ptr("::ffff:10.1.2.3"), SANType: "ip_address"}, true},
		{SANMatcher{Exact: ptr("2001:DB8:0::1")}, true},
		{SANMatcher{Prefix: ptr("10.1."), SANType: "ip_address"}, true},
		{SANMatcher{Exact: ptr("10.1.2.4")}, false},
	} {
		m, p := tt.m.compile()
		if p != nil {
			t.Errorf("%+v: %v", tt.m, p)
		} else if got := m.matches(c); got != tt.want {
			t.Errorf("%+v (%q) matches = %t, want %t", m, m.value, got, tt.want)
		}
	}
}

func TestUpstreamVerification(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, other := newAuthority(t, "root"), newAuthority(t, "other")
	caFile, otherFile := ca.file(dir, "ca.crt"), other.file(dir, "other.crt")
	host := ca.intermediate("between").issue(dir, "host", "ecdsa", []string{"web.internal", "*.pods.internal"}, nil)
	sum := sha256.Sum256(host.cert.Raw)
	pin := []string{hex.EncodeToString(sum[:])}
	revoked := crlFile(t, filepath.Join(dir, "revoked.crl"), time.Now().Add(time.Hour), []*x509.Certificate{host.cert}, ca, host.ca)
	server := &tls.Config{Certificates: []tls.Certificate{host.tls()}}
	for _, tt := range []struct {
		name string
		cfg  UpstreamConfig
		sni  string // of the request
		want Failure
	}{
		{"CA and name", UpstreamConfig{CAFile: caFile, SNI: "web.internal"}, "", FailNone},
		{"other CA", UpstreamConfig{CAFile: otherFile, SNI: "web.internal"}, "", FailVerify},
		{"system CAs", UpstreamConfig{SNI: "web.internal"}, "", FailVerify},
		{"system CAs besides", UpstreamConfig{SNI: "web.internal", CAFile: caFile, SystemRootCerts: true}, "", FailNone},
		{"other name", UpstreamConfig{CAFile: caFile, SNI: "db.internal"}, "", FailSAN},
		{"no name, own CA", UpstreamConfig{CAFile: caFile}, "", FailNone},
		{"name apart from SNI", UpstreamConfig{CAFile: caFile, SNI: "db.internal", VerifySubjectAltNames: []SANMatcher{{Exact: ptr("web.internal")}}}, "", FailNone},
		{"auto_san_validation besides", UpstreamConfig{CAFile: caFile, SNI: "db.internal", AutoSANValidation: true, VerifySubjectAltNames: []SANMatcher{{Exact: ptr("web.internal")}}}, "", FailSAN},
		{"name of the request", UpstreamConfig{CAFile: caFile, AutoSNI: true}, "a.pods.internal", FailNone},
		{"other name of the request", UpstreamConfig{CAFile: caFile, AutoSNI: true}, "evil.example", FailSAN},
		{"request without a name", UpstreamConfig{CAFile: caFile, AutoSNI: true}, "", FailSAN},
		{"accept_untrusted", UpstreamConfig{SNI: "db.internal", TrustChainVerification: acceptUntrusted}, "", FailNone},
		{"accept_untrusted, name asked", UpstreamConfig{SNI: "db.internal", TrustChainVerification: acceptUntrusted, AutoSANValidation: true}, "", FailSAN},
		{"pin alone", UpstreamConfig{SNI: "db.internal", VerifyCertificateHash: pin}, "", FailNone},
		{"other pin", UpstreamConfig{VerifyCertificateHash: []string{strings.Repeat("00", 32)}}, "", FailHash},
		{"revoked", UpstreamConfig{CAFile: caFile, SNI: "web.internal", CRLFile: revoked}, "", FailVerify},
		{"depth", UpstreamConfig{CAFile: caFile, SNI: "web.internal", MaxVerifyDepth: ptr(0)}, "", FailVerify},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.cfg.MaxSessionKeys = 4
			x, err := NewStore(StoreOptions{}).Client(&tt.cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer x.Close()
			cfg := x.TLS()
			if tt.sni != "" {
				cfg = cfg.Clone()
				cfg.ServerName = tt.sni
			}
			for range 2 {
				out := handshake(t, server.Clone(), cfg)
				if got := FailureOf(out.clientErr); got != tt.want || (out.clientErr == nil) != (tt.want == FailNone) {
					t.Fatalf("failure %d (%v), want %d", got, out.clientErr, tt.want)
				}
			}
		})
	}
}
