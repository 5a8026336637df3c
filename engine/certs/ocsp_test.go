package certs

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// respond writes what an OCSP responder says of c to its staple file.
func respond(t *testing.T, c *issued, path string, status int, this, next time.Time) {
	t.Helper()
	der, err := ocsp.CreateResponse(c.ca.cert, c.ca.cert, ocsp.Response{
		Status: status, SerialNumber: c.cert.SerialNumber, ThisUpdate: this, NextUpdate: next, RevokedAt: this,
	}, c.ca.key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, der)
	c.OCSPStapleFile = path
}

// demandStaple adds the TLS feature status_request.
func demandStaple(t *testing.T) func(*x509.Certificate) {
	value, err := asn1.Marshal([]int{extensionStatusRequest})
	if err != nil {
		t.Fatal(err)
	}
	return func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: oidTLSFeature, Value: value}}
	}
}

func TestStaples(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, tt := range []struct {
		name     string
		policy   string
		feature  bool
		status   int
		valid    time.Duration // from an hour ago; 0 is no staple
		err      string
		stapled  bool
		refused  bool // once the staple has expired, or without
		expected StapleCounts
	}{
		{"lenient", "lenient_stapling", false, ocsp.Good, 2 * time.Hour, "", true, false, StapleCounts{2, 1, 1, 0}},
		{"strict", "strict_stapling", false, ocsp.Good, 2 * time.Hour, "", true, true, StapleCounts{2, 1, 0, 1}},
		{"must", "must_staple", false, ocsp.Good, 2 * time.Hour, "", true, true, StapleCounts{2, 1, 0, 1}},
		{"must by the certificate", "", true, ocsp.Good, 2 * time.Hour, "", true, true, StapleCounts{2, 1, 0, 1}},
		{"lenient, none", "", false, ocsp.Good, 0, "", false, false, StapleCounts{2, 0, 2, 0}},
		{"strict, none", "strict_stapling", false, ocsp.Good, 0, "", false, false, StapleCounts{2, 0, 2, 0}},
		{"must, none", "must_staple", false, ocsp.Good, 0, "must be presented with an OCSP staple", false, false, StapleCounts{}},
		{"must by the certificate, none", "", true, ocsp.Good, 0, "must be presented with an OCSP staple", false, false, StapleCounts{}},
		{"revoked", "", false, ocsp.Revoked, 2 * time.Hour, "was revoked", false, false, StapleCounts{}},
		{"unknown", "", false, ocsp.Unknown, 2 * time.Hour, "does not know", false, false, StapleCounts{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var change func(*x509.Certificate)
			if tt.feature {
				change = demandStaple(t)
			}
			c := newAuthority(t, "root").intermediate("between").issue(dir, "a", "ecdsa", []string{"a.example"}, change)
			if tt.valid > 0 {
				respond(t, c, filepath.Join(dir, "a.ocsp"), tt.status, now.Add(-time.Hour), now.Add(-time.Hour).Add(tt.valid))
			}
			var clock clock
			x, err := NewStore(StoreOptions{Now: clock.now}).Server(&DownstreamConfig{
				Certificates: []CertificateConfig{c.CertificateConfig}, OCSPStaplePolicy: tt.policy,
			})
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("Server: %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			out := handshake(t, x.TLS(), asking("a.example", nil))
			if got := len(out.client.OCSPResponse) > 0; out.clientErr != nil || got != tt.stapled {
				t.Errorf("stapled %t, %v; want %t", got, out.clientErr, tt.stapled)
			}
			clock.advance(tt.valid + time.Minute)
			out = handshake(t, x.TLS(), asking("a.example", nil))
			if got := out.clientErr != nil; got != tt.refused || len(out.client.OCSPResponse) > 0 {
				t.Errorf("expired: %v, %d bytes stapled; want refused %t", out.clientErr, len(out.client.OCSPResponse), tt.refused)
			}
			if got := x.Staples(); got != tt.expected {
				t.Errorf("counts %+v, want %+v", got, tt.expected)
			}
			if _, err := x.TLS().GetCertificate(&tls.ClientHelloInfo{}); err != nil {
				t.Errorf("a client that asks for no staple: %v", err)
			}
		})
	}
}

func TestStapleOfAnother(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t, "root").intermediate("between")
	a, b := ca.issue(dir, "a", "ecdsa", []string{"a.example"}, nil), ca.issue(dir, "b", "ecdsa", []string{"b.example"}, nil)
	respond(t, a, filepath.Join(dir, "a.ocsp"), ocsp.Good, time.Now(), time.Now().Add(time.Hour))
	b.OCSPStapleFile = a.OCSPStapleFile
	forger := newAuthority(t, "forger")
	c := &issued{CertificateConfig: a.CertificateConfig, cert: a.cert, ca: forger}
	respond(t, c, filepath.Join(dir, "forged.ocsp"), ocsp.Good, time.Now(), time.Now().Add(time.Hour))
	writeFile(t, filepath.Join(dir, "junk.ocsp"), []byte("junk"))
	junk := a.CertificateConfig
	junk.OCSPStapleFile = filepath.Join(dir, "junk.ocsp")
	for _, cert := range []CertificateConfig{b.CertificateConfig, c.CertificateConfig, junk} {
		_, err := NewStore(StoreOptions{}).Server(&DownstreamConfig{Certificates: []CertificateConfig{cert}})
		if err == nil || !strings.Contains(err.Error(), cert.OCSPStapleFile) {
			t.Errorf("%s for %s: %v", cert.OCSPStapleFile, cert.CertFile, err)
		}
	}
}

// TestStapleAfterRenewal: a renewed certificate does not wait for its staple, and gets it later.
func TestStapleAfterRenewal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t, "root").intermediate("between")
	a := ca.issue(dir, "a", "ecdsa", []string{"a.example"}, nil)
	path := filepath.Join(dir, "a.ocsp")
	respond(t, a, path, ocsp.Good, time.Now(), time.Now().Add(time.Hour))
	s := NewStore(StoreOptions{})
	x, err := s.Server(&DownstreamConfig{Certificates: []CertificateConfig{a.CertificateConfig}})
	if err != nil {
		t.Fatal(err)
	}
	want := func(c *issued, stapled bool, inError int64) {
		t.Helper()
		out := handshake(t, x.TLS(), asking("a.example", nil))
		if out.clientErr != nil || !out.client.PeerCertificates[0].Equal(c.cert) || (len(out.client.OCSPResponse) > 0) != stapled {
			t.Errorf("%v, %d bytes stapled; want %t", out.clientErr, len(out.client.OCSPResponse), stapled)
		}
		if got := s.Stats().InError; got != inError {
			t.Errorf("InError = %d, want %d", got, inError)
		}
	}
	want(a, true, 0)
	b := ca.issue(dir, "a", "ecdsa", []string{"a.example"}, nil)
	s.Check()
	want(b, false, 1)
	respond(t, b, path, ocsp.Good, time.Now(), time.Now().Add(time.Hour))
	s.Check()
	want(b, true, 0)
}
