package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// certsPage is what /certs answers.
type certsPage struct {
	Certificates []struct {
		CACert    []certLine `json:"ca_cert"`
		CertChain []certLine `json:"cert_chain"`
		LastError string     `json:"last_error"`
	}
}

type certLine struct {
	Path            string              `json:"path"`
	Serial          string              `json:"serial_number"`
	Subject         string              `json:"subject"`
	SubjectAltNames []map[string]string `json:"subject_alt_names"`
	Days            string              `json:"days_until_expiration"`
	ValidFrom       string              `json:"valid_from"`
	Expires         string              `json:"expiration_time"`
}

// certs returns the page.
func (p *proxy) certs() (page certsPage) {
	p.t.Helper()
	if err := json.Unmarshal([]byte(p.adminGet("/certs")), &page); err != nil {
		p.t.Fatal(err)
	}
	return page
}

// lastError returns what the page says of a file's last content.
func (p *proxy) lastError(path string) string {
	p.t.Helper()
	for _, c := range p.certs().Certificates {
		for _, line := range append(c.CertChain, c.CACert...) {
			if line.Path == path {
				return c.LastError
			}
		}
	}
	p.t.Errorf("/certs does not list %s:\n%s", path, p.adminGet("/certs"))
	return ""
}

// TestTLSSwap: certificates follow their files, without a reload and without a failed request.
func TestTLSSwap(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	serial := func(c tls.Certificate) string { return c.Leaf.SerialNumber.String() }
	now := serial(a.issue("shop", "shop.example.com"))
	p := tlsEdge{host: origin(t, facts), tls: fmt.Sprintf(`{"certificates": [%s], "alpn": ["h2", "http/1.1"]}`, a.pair("shop")), loops: 2}.start(t)
	var load sync.WaitGroup
	var stop atomic.Bool
	var asked atomic.Int64
	for i := range 3 {
		client := a.tlsClient(p.addr(""), "shop.example.com", nil, [][]string{{"h2"}, {"http/1.1"}, {"h2", "http/1.1"}}[i]...)
		client.Transport.(*http.Transport).DisableKeepAlives = i < 2
		load.Go(func() {
			for !stop.Load() && !t.Failed() {
				wantBody(t, client, "https://shop.example.com/", "GET / https")
				asked.Add(1)
			}
		})
	}
	shown := func() string {
		c, err := a.dialTLS(p.addr(""), "shop.example.com", nil)
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	if got := shown(); got != now {
		t.Errorf("shown %s, want %s", got, now)
	}
	for range 3 {
		now = serial(a.issue("shop", "shop.example.com"))
		if !eventually(func() bool { return shown() == now }) {
			t.Errorf("the new certificate %s is not shown", now)
		}
	}
	stop.Store(true)
	load.Wait()
	if asked.Load() == 0 {
		t.Error("there was no load")
	}
	if got := p.lastError(a.path("shop.crt")); got != "" {
		t.Errorf("/certs has the error %q", got)
	}
	if n := p.stat("listener_manager.listener_modified"); n != 0 {
		t.Errorf("%d listeners changed", n)
	}
}

// TestTLSSwapRefused: a key that is not the certificate's, or a file that is none, keeps what there was, and says so.
func TestTLSSwapRefused(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	first := a.issue("shop", "shop.example.com")
	p := tlsEdge{host: origin(t, facts), tls: fmt.Sprintf(`{"certificates": [%s]}`, a.pair("shop"))}.start(t)
	client := a.tlsClient(p.addr(""), "shop.example.com", nil)
	client.Transport.(*http.Transport).DisableKeepAlives = true
	wantOld := func(problem string) {
		t.Helper()
		var got string
		if !eventually(func() bool { got = p.lastError(a.path("shop.crt")); return strings.Contains(got, problem) }) {
			t.Errorf("last_error is %q, want %q", got, problem)
		}
		resp, err := client.Get("https://shop.example.com/")
		if err != nil {
			t.Fatal(err)
		}
		_ = bodyOf(t, resp)
		if got := resp.TLS.PeerCertificates[0]; !got.Equal(first.Leaf) {
			t.Errorf("shown %v, want the first certificate", got.Subject)
		}
	}
	a.issue("other", "shop.example.com")
	otherKey, err := os.ReadFile(a.path("other.key"))
	if err != nil {
		t.Fatal(err)
	}
	a.put("shop.key", otherKey)
	wantOld("is not that of the certificate")
	// A reload must not take it either, and says where it stands.
	code, answer := p.adminPost("/reload")
	if code != 400 || !strings.Contains(answer, "millrace.json:2:") || !strings.Contains(answer, "listeners[0].tls.certificates[0]") ||
		!strings.Contains(answer, a.path("shop.key")) {
		t.Errorf("a reload with that pair: %d %q", code, answer)
	}
	if n := p.stat("server.config_rejected"); n != 1 {
		t.Errorf("server.config_rejected is %d", n)
	}
	a.put("shop.crt", []byte("nothing"))
	wantOld("no certificate")
	if err := os.Remove(a.path("shop.key")); err != nil {
		t.Fatal(err)
	}
	wantOld("no such file")
	if log := p.logText(); !strings.Contains(log, "level=WARN") || !strings.Contains(log, "the one before stays") {
		t.Error("the log does not say so")
	}
	second := a.issue("shop", "shop.example.com")
	p.signal(syscall.SIGHUP) // also without waiting for the files to be noticed
	if !eventually(func() bool {
		resp, err := client.Get("https://shop.example.com/")
		if err != nil {
			return false
		}
		_ = bodyOf(t, resp)
		return resp.TLS.PeerCertificates[0].Equal(second.Leaf)
	}) {
		t.Error("a good pair is not taken any more")
	}
	p.wantStat("server.config_rejected", 0)
	if got := p.lastError(a.path("shop.crt")); got != "" {
		t.Errorf("/certs still has the error %q", got)
	}
}

// TestTLSCertsPage: what /certs, the gauges and /config_dump show.
func TestTLSCertsPage(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	leaf := a.issue("shop", "shop.example.com", "*.example.org").Leaf
	p := tlsEdge{host: origin(t, facts), tls: fmt.Sprintf(`{"certificates": [%s], "client_ca_file": %q}`, a.pair("shop"), a.path("ca.crt"))}.start(t)
	var chain, ca *certLine
	for _, c := range p.certs().Certificates {
		for i := range c.CertChain {
			chain = &c.CertChain[i]
		}
		for i := range c.CACert {
			ca = &c.CACert[i]
		}
	}
	if chain == nil || ca == nil {
		t.Fatalf("/certs has %s", p.adminGet("/certs"))
	}
	if want := fmt.Sprintf("%x", leaf.SerialNumber); chain.Serial != want || chain.Days != "0" || chain.Path != a.path("shop.crt") {
		t.Errorf("certificate %+v, want serial %s", *chain, want)
	}
	if got := fmt.Sprint(chain.SubjectAltNames); got != "[map[dns:shop.example.com] map[dns:*.example.org]]" {
		t.Errorf("names %s", got)
	}
	if ca.Path != a.path("ca.crt") || !strings.Contains(ca.Subject, "test ca") {
		t.Errorf("CA %+v", *ca)
	}
	if n := p.stat("server.days_until_first_cert_expiring"); n != 0 {
		t.Errorf("server.days_until_first_cert_expiring is %d", n)
	}
	p.wantStat("listener.edge.ssl.certificate."+a.path("shop.crt")+".expiration_unix_time_seconds", leaf.NotAfter.Unix())
	if dump := p.adminGet("/config_dump"); !strings.Contains(dump, a.path("shop.key")) || strings.Contains(dump, "PRIVATE") {
		t.Errorf("/config_dump shows %s", dump)
	}
}
