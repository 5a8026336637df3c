package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// scanEnv asks for every check of testssl.sh, which takes a minute, instead of a few.
const scanEnv = "MILLRACE_TLS_SCAN"

// scanned starts a site as it should be for a scanner: names, a CRL to look at, the headers that it looks for.
func scanned(t *testing.T) (*authority, *proxy) {
	t.Helper()
	a := newAuthority(t)
	site := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(200*24*time.Hour)
		c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		c.IPAddresses, c.CRLDistributionPoints = []net.IP{net.IPv4(127, 0, 0, 1)}, []string{"http://127.0.0.1:9/ca.crl"}
	}
	a.issueAs("ecdsa", "ecdsa", site, "localhost")
	a.issueAs("rsa", "rsa", site, "localhost")
	p := tlsEdge{
		host: origin(t, func(w http.ResponseWriter, _ *http.Request) {
			for _, f := range [][2]string{
				{"Strict-Transport-Security", "max-age=63072000"}, {"X-Frame-Options", "DENY"}, {"X-Content-Type-Options", "nosniff"},
				{"Content-Security-Policy", "default-src 'self'"},
			} {
				w.Header().Set(f[0], f[1])
			}
			_, _ = w.Write([]byte("hello"))
		}),
		tls: fmt.Sprintf(`{"certificates": [%s, %s], "alpn": ["h2", "http/1.1"]}`, a.pair("ecdsa"), a.pair("rsa")),
	}.start(t)
	return a, p
}

// TestTLSScanTestssl: testssl.sh finds nothing that it rates above low.
func TestTLSScanTestssl(t *testing.T) {
	t.Parallel()
	testssl := lookPeer(t, "testssl")
	a, p := scanned(t)
	file := filepath.Join(t.TempDir(), "findings.json")
	args := []string{"-n", "none", "--quiet", "--color", "0", "--warnings", "off", "--add-ca", a.path("ca.crt"), "--jsonfile", file}
	least := 100
	if os.Getenv(scanEnv) == "" { // versions, forward secrecy, and attacks that take one connection each
		args, least = append(args, "--protocols", "--ccs-injection", "--ticketbleed", "--robot", "--renegotiation", "--tls-fallback"), 15
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*waitMax) // all of it takes a minute
	defer cancel()
	cmd := exec.CommandContext(ctx, testssl, append(args, p.addr(""))...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("testssl: %v", err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var findings []struct{ ID, Severity, Finding string }
	if err := json.Unmarshal(text, &findings); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, f := range findings {
		switch f.Severity {
		case "OK", "INFO", "DEBUG":
		case "LOW":
			t.Logf("low: %s: %s", f.ID, f.Finding)
		case "WARN": // of testssl.sh itself: what it could not look at here
			t.Logf("not looked at: %s: %s", f.ID, f.Finding)
		default:
			t.Errorf("%s: %s: %s", f.Severity, f.ID, f.Finding)
		}
	}
	if len(findings) < least {
		t.Errorf("%d findings, want at least %d\n%s", len(findings), least, out)
	}
	if n := p.stat("server.loop_panics"); n != 0 {
		t.Errorf("%d panics", n)
	}
	p.wantStat("tls.handshakes_active", 0)
}

// sslscanReport is the part of the XML of sslscan that matters.
type sslscanReport struct {
	Test struct {
		Protocols []struct {
			Type    string `xml:"type,attr"`
			Version string `xml:"version,attr"`
			Enabled int    `xml:"enabled,attr"`
		} `xml:"protocol"`
		Renegotiation struct {
			Supported int `xml:"supported,attr"`
		} `xml:"renegotiation"`
		Heartbleed []struct {
			Vulnerable int `xml:"vulnerable,attr"`
		} `xml:"heartbleed"`
		Ciphers []struct {
			Version string `xml:"sslversion,attr"`
			Name    string `xml:"cipher,attr"`
		} `xml:"cipher"`
	} `xml:"ssltest"`
}

// TestTLSScanSSLScan: sslscan sees two versions and nine suites, and nothing more.
func TestTLSScanSSLScan(t *testing.T) {
	t.Parallel()
	sslscan := lookPeer(t, "sslscan")
	_, p := scanned(t)
	file := filepath.Join(t.TempDir(), "scan.xml")
	out := output(t, sslscan, "--xml="+file, p.addr(""))
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var report sslscanReport
	if err := xml.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	var versions, suites []string
	for _, v := range report.Test.Protocols {
		if v.Enabled == 1 {
			versions = append(versions, v.Type+v.Version)
		}
	}
	slices.Sort(versions)
	if got := strings.Join(versions, " "); got != "tls1.2 tls1.3" {
		t.Errorf("versions %q", got)
	}
	for _, c := range report.Test.Ciphers {
		suites = append(suites, c.Version+" "+c.Name)
		if !strings.Contains(c.Name, "GCM") && !strings.Contains(c.Name, "POLY1305") || c.Version == "TLSv1.2" && !strings.HasPrefix(c.Name, "ECDHE-") {
			t.Errorf("suite %s %s", c.Version, c.Name)
		}
	}
	if len(suites) != 9 {
		t.Errorf("%d suites: %q", len(suites), suites)
	}
	if report.Test.Renegotiation.Supported != 0 {
		t.Error("renegotiation is supported")
	}
	for _, h := range report.Test.Heartbleed {
		if h.Vulnerable != 0 {
			t.Error("heartbleed")
		}
	}
}
