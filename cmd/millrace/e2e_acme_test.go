package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pebbleModule is a small ACME server of the people who run Let's Encrypt, and the DNS server for its tests.
const pebbleModule = "github.com/letsencrypt/pebble/v2/cmd/"

// pebbleVersion is the version that TestACME is made for.
const pebbleVersion = "@v2.10.1"

// pebbleEnv names a directory with pebble and pebble-challtestsrv. Without it the test builds them, if the module can be had.
const pebbleEnv = "MILLRACE_PEBBLE"

// pebble is a running ACME server.
type pebble struct {
	a                 *authority
	directory         string
	management        string
	httpPort, tlsPort int
}

// startPebble runs pebble, which looks for answers to challenges on two ports of 127.0.0.1 whatever the name is.
func startPebble(t *testing.T, validity time.Duration) *pebble {
	t.Helper()
	bin := os.Getenv(pebbleEnv)
	if bin == "" {
		bin = t.TempDir()
		for _, cmd := range []string{"pebble", "pebble-challtestsrv"} {
			install := exec.Command("go", "install", pebbleModule+cmd+pebbleVersion)
			install.Env, install.Dir = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=-mod=mod"), bin
			if out, err := install.CombinedOutput(); err != nil {
				t.Skipf("pebble cannot be built here: %v\n%s", err, out)
			}
		}
	}
	p := &pebble{a: newAuthority(t), httpPort: freePort(t), tlsPort: freePort(t)}
	p.a.issueAs("pebble", "ecdsa", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} })
	listen, management, names, dns := freePort(t), freePort(t), freePort(t), freePort(t)
	p.directory, p.management = fmt.Sprintf("https://127.0.0.1:%d/dir", listen), fmt.Sprintf("https://127.0.0.1:%d", management)
	config := map[string]any{"pebble": map[string]any{
		"listenAddress": fmt.Sprintf("127.0.0.1:%d", listen), "managementListenAddress": fmt.Sprintf("127.0.0.1:%d", management),
		"certificate": filepath.Join(p.a.dir, "pebble.crt"), "privateKey": filepath.Join(p.a.dir, "pebble.key"),
		"httpPort": p.httpPort, "tlsPort": p.tlsPort, "ocspResponderURL": "", "externalAccountBindingRequired": false,
		"profiles": map[string]any{"default": map[string]any{"description": "test", "validityPeriod": int(validity.Seconds())}},
	}}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	p.a.put("pebble.json", text)
	run := func(name string, args ...string) {
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		var log bytes.Buffer // read after Wait only
		cmd.Stdout, cmd.Stderr = &log, &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if t.Failed() {
				t.Logf("log of %s:\n%s", name, log.String())
			}
		})
	}
	run("pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dnsserver", fmt.Sprintf("127.0.0.1:%d", dns),
		"-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-management", fmt.Sprintf("127.0.0.1:%d", names))
	waitForPort(t, names)
	run("pebble", "-config", filepath.Join(p.a.dir, "pebble.json"), "-dnsserver", fmt.Sprintf("127.0.0.1:%d", dns))
	waitForPort(t, listen)
	return p
}

// waitForPort waits until a port of 127.0.0.1 takes connections.
func waitForPort(t *testing.T, port int) {
	t.Helper()
	for end := time.Now().Add(waitMax); ; {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (p *pebble) client() *http.Client {
	return &http.Client{Timeout: waitMax, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.a.pool}, DisableKeepAlives: true}}
}

// roots are the CAs that pebble issues from.
func (p *pebble) roots(t *testing.T) *x509.CertPool {
	t.Helper()
	resp, err := p.client().Get(p.management + "/roots/0")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatalf("roots of pebble: %q", text)
	}
	p.a.put("issued.crt", text)
	return pool
}

// config is a proxy whose certificates come from pebble.
func (p *pebble) config(storage string, challenges string) string {
	manager := `[{"name": "http_connection_manager", "config": {"stat_prefix": "s", "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"],
		"routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": "served\n"}}]}]}, "http_filters": [{"name": "router"}]}}]`
	return fmt.Sprintf(`{"listeners": [
		{"name": "https", "address": "127.0.0.1:%d", "tls": {"alpn": ["h2", "http/1.1"], "acme": {"domains": ["shop.example.com", "www.example.com"],
			"email": "who@example.com", "directory_url": %q, "agree_to_terms": true, "storage": %q, "challenges": [%s],
			"ca_file": %q, "renewal_check_interval": "1s"}}, "filters": %s},
		{"name": "http", "address": "127.0.0.1:%d", "filters": %s}]}`,
		p.tlsPort, p.directory, storage, challenges, filepath.Join(p.a.dir, "ca.crt"), manager, p.httpPort, manager)
}

// leaf makes a verified handshake and returns the certificate.
func (p *pebble) leaf(roots *x509.CertPool, name string) (*x509.Certificate, error) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: waitMax}, "tcp", fmt.Sprintf("127.0.0.1:%d", p.tlsPort), &tls.Config{RootCAs: roots, ServerName: name})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0], nil
}

// waitLeaf waits until a handshake leads to a certificate that is good enough.
func (p *pebble) waitLeaf(t *testing.T, roots *x509.CertPool, name string, good func(*x509.Certificate) bool) *x509.Certificate {
	t.Helper()
	for end := time.Now().Add(waitMax); ; {
		c, err := p.leaf(roots, name)
		if err == nil && good(c) {
			return c
		}
		if time.Now().After(end) {
			t.Fatalf("no such certificate for %s: %v", name, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func anyLeaf(*x509.Certificate) bool { return true }

// TestACME: certificates are obtained by either challenge, served, kept over a restart, and renewed.
func TestACME(t *testing.T) {
	if os.Getenv(overTLSEnv) != "" {
		t.Skip("not over TLS: it knows itself which listener speaks TLS")
	}
	t.Parallel()
	for _, challenge := range []string{"tls-alpn-01", "http-01"} {
		t.Run(challenge, func(t *testing.T) {
			t.Parallel()
			ca := startPebble(t, 24*time.Hour)
			storage := filepath.Join(t.TempDir(), "acme")
			p := startProxy(t, ca.config(storage, `"`+challenge+`"`))
			roots := ca.roots(t)
			first := ca.waitLeaf(t, roots, "shop.example.com", anyLeaf)
			ca.waitLeaf(t, roots, "www.example.com", anyLeaf)
			if _, err := ca.leaf(roots, "other.example.com"); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
				t.Errorf("handshake for another name: %v; want the alert unrecognized_name", err)
			}
			out, err := exec.Command("curl", "-sS", "--cacert", filepath.Join(ca.a.dir, "issued.crt"), "--resolve",
				fmt.Sprintf("shop.example.com:%d:127.0.0.1", ca.tlsPort), fmt.Sprintf("https://shop.example.com:%d/", ca.tlsPort)).CombinedOutput()
			if err != nil || string(out) != "served\n" {
				t.Errorf("curl: %v %q", err, out)
			}
			if got := p.stat("acme.obtained"); got != 2 {
				t.Errorf("acme.obtained = %d; want 2", got)
			}
			if n := p.stat("acme.answers_http"); (n > 0) != (challenge == "http-01") {
				t.Errorf("acme.answers_http = %d", n)
			}
			if n := p.stat("acme.answers_tls_alpn"); (n > 0) != (challenge == "tls-alpn-01") {
				t.Errorf("acme.answers_tls_alpn = %d", n)
			}
			if text := p.adminGet("/certs"); !strings.Contains(text, "shop.example.com") || !strings.Contains(text, fmt.Sprintf("%x", first.SerialNumber)) {
				t.Errorf("/certs = %s", text)
			}
			p.kill()

			p = startProxy(t, ca.config(storage, `"`+challenge+`"`))
			again := ca.waitLeaf(t, roots, "shop.example.com", anyLeaf)
			if again.SerialNumber.Cmp(first.SerialNumber) != 0 || p.stat("acme.orders") != 0 {
				t.Errorf("after a restart serial %v, was %v; %d orders", again.SerialNumber, first.SerialNumber, p.stat("acme.orders"))
			}
		})
	}
}

// TestACMERenewal: a certificate near its end is replaced while the proxy serves.
func TestACMERenewal(t *testing.T) {
	if os.Getenv(overTLSEnv) != "" {
		t.Skip("not over TLS: it knows itself which listener speaks TLS")
	}
	t.Parallel()
	ca := startPebble(t, 9*time.Second)
	p := startProxy(t, ca.config(filepath.Join(t.TempDir(), "acme"), `"tls-alpn-01", "http-01"`))
	roots := ca.roots(t)
	first := ca.waitLeaf(t, roots, "shop.example.com", anyLeaf)
	ca.waitLeaf(t, roots, "shop.example.com", func(c *x509.Certificate) bool { return c.SerialNumber.Cmp(first.SerialNumber) != 0 })
	if n := p.stat("acme.renewed"); n == 0 {
		t.Errorf("acme.renewed = 0")
	}
}
