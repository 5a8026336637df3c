package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestTLSClientCertificates: certificates that are good, missing, of another authority, expired, of another name or not pinned.
func TestTLSClientCertificates(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	other := newAuthority(t)
	host := origin(t, facts)
	certs := map[string]*tls.Certificate{"none": nil}
	keep := func(name string, c tls.Certificate) { certs[name] = &c }
	keep("good", a.issue("good", "good.example.com", "spiffe://example.com/good"))
	keep("other name", a.issue("name", "name.example.com"))
	keep("other authority", other.issue("good", "good.example.com"))
	keep("expired", a.issueAs("old", "ecdsa", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	}, "good.example.com"))
	ca := fmt.Sprintf(`"client_ca_file": %q`, a.path("ca.crt"))
	for _, tt := range []struct {
		name, fields string
		good         string // who passes, separated by commas
		counts       map[string]int64
	}{
		{"optional", ca, "none,good,other name", map[string]int64{"no_certificate": 2, "fail_verify_error": 4}},
		{"required", ca + `, "require_client_certificate": true`, "good,other name", map[string]int64{"fail_verify_no_cert": 2, "fail_verify_error": 4}},
		{"a name", ca + `, "require_client_certificate": true, "verify_subject_alt_names": [{"exact": "spiffe://example.com/good"}]`, "good",
			map[string]int64{"fail_verify_san": 2}},
		{"untrusted", ca + `, "trust_chain_verification": "accept_untrusted"`, "none,good,other name,other authority,expired", nil},
		{"expired", ca + `, "allow_expired_certificate": true`, "none,good,other name,expired", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := *a
			a.t = t
			p := tlsEdge{host: host, tls: fmt.Sprintf(`{"certificates": [%s], %s}`, a.pair("shop"), tt.fields)}.start(t)
			for who, cert := range certs {
				for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
					client := a.tlsClient(p.addr(""), "shop.example.com", func(c *tls.Config) {
						c.MinVersion, c.MaxVersion = version, version
						if cert != nil { // whatever the server asks for
							c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
						}
					})
					resp, err := client.Get("https://shop.example.com/")
					if err == nil {
						_ = bodyOf(t, resp)
					}
					if want := strings.Contains(","+tt.good+",", ","+who+","); (err == nil) != want {
						t.Errorf("%s, %x: %v, want a connection: %v", who, version, err, want)
					} else if err != nil && !strings.Contains(err.Error(), "remote error: tls:") {
						t.Errorf("%s, %x: %v, want an alert", who, version, err)
					}
				}
			}
			for name, want := range tt.counts {
				p.wantStat("listener.edge.ssl."+name, want)
			}
		})
	}
}

// TestTLSClientCertificateCurl: a certificate of a file, by a client of the world.
func TestTLSClientCertificateCurl(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	a.issueAs("me", "rsa", nothing, "me.example.com")
	p := tlsEdge{host: origin(t, facts), tls: fmt.Sprintf(`{"certificates": [%s], "client_ca_file": %q, "require_client_certificate": true}`,
		a.pair("shop"), a.path("ca.crt"))}.start(t)
	if got := a.tlsCurl(p.addr(""), "shop.example.com", "/x", "--cert", a.path("me.crt"), "--key", a.path("me.key")); got != "GET /x https" {
		t.Errorf("curl got %q", got)
	}
	if got := a.sClient(p.addr(""), "GET / HTTP/1.0\r\n\r\n", "-quiet", "-servername", "shop.example.com"); !strings.Contains(got, "certificate required") {
		t.Errorf("without a certificate s_client got %q, want the alert certificate_required", got)
	}
}
