package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// authority is a certificate authority, and the directory of what it issues: "ca.crt" is its own certificate, and a
// name "shop" stands for "shop.crt" and "shop.key".
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
	pool *x509.CertPool
}

// newAuthority makes an authority in a directory of its own.
func newAuthority(t *testing.T) *authority {
	t.Helper()
	return newAuthorityIn(t, t.TempDir(), "ca")
}

func newAuthorityIn(t *testing.T, dir, name string) *authority {
	t.Helper()
	a := &authority{t: t, dir: dir, key: newKey(t, "ecdsa"), pool: x509.NewCertPool()}
	a.cert = &x509.Certificate{
		Subject: pkix.Name{CommonName: "test " + name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:  x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		NotBefore: time.Now().Add(-30 * 24 * time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
	}
	der := a.sign(a.cert, a.key.Public())
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	a.put(name+".crt", pemOf("CERTIFICATE", der))
	return a
}

// newKey makes a private key: "ecdsa" or "rsa".
func newKey(t *testing.T, kind string) crypto.Signer {
	t.Helper()
	if kind == "rsa" {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// sign issues a certificate, valid from an hour ago for a day unless the template says otherwise.
func (a *authority) sign(template *x509.Certificate, public crypto.PublicKey) []byte {
	a.t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = serial
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

// put writes a file of the directory so that nobody sees half of it.
func (a *authority) put(name string, text []byte) {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		a.t.Fatal(err)
	}
}

// issue writes a certificate with a key, for servers and clients, and returns it.
func (a *authority) issue(file string, names ...string) tls.Certificate {
	a.t.Helper()
	return a.issueAs(file, "ecdsa", nothing, names...)
}

// nothing changes nothing of a certificate.
func nothing(*x509.Certificate) {}

// issueAs is issue with a kind of key, and a change to the certificate before it is signed. A name with "://" is a URI.
func (a *authority) issueAs(file, kind string, edit func(*x509.Certificate), names ...string) tls.Certificate {
	a.t.Helper()
	key := newKey(a.t, kind)
	c := &x509.Certificate{
		Subject: pkix.Name{CommonName: file}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, n := range names {
		if u, err := url.Parse(n); err == nil && u.Scheme != "" {
			c.URIs = append(c.URIs, u)
		} else {
			c.DNSNames = append(c.DNSNames, n)
		}
	}
	edit(c)
	der := a.sign(c, key.Public())
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.put(file+".key", pemOf("PRIVATE KEY", keyDER))
	a.put(file+".crt", pemOf("CERTIFICATE", der))
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// path returns the path of a file of the directory.
func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

// pair is a certificate in a configuration.
func (a *authority) pair(file string) string {
	return fmt.Sprintf(`{"cert_file": %q, "key_file": %q}`, a.path(file+".crt"), a.path(file+".key"))
}

// tlsEdge is a configuration with a listener "edge" that speaks HTTP over TLS and forwards everything to cluster "web".
type tlsEdge struct {
	host     string // of the cluster
	tls      string // the object "tls"
	listener string // more fields of the listener
	extra    string // more fields of the connection manager
	route    string // more fields of the route
	more     string // more fields of the configuration
	loops    int    // default 1
}

// config is the text.
func (c tlsEdge) config() string {
	return fmt.Sprintf(`{"concurrency": %d%s,
 "listeners": [{"name": "edge", "address": "127.0.0.1:0", "stat_prefix": "edge"%s, "tls": %s, "filters": [{"name": "http_connection_manager", "config": {
   "stat_prefix": "e2e", %s "route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "web"%s}}]}}}]}],
 "clusters": [{"name": "web", "hosts": [%q]}]}`, max(1, c.loops), leadingComma(c.more), leadingComma(c.listener), c.tls,
		trailingComma(c.extra), leadingComma(c.route), c.host)
}

// start runs millrace with the configuration.
func (c tlsEdge) start(t *testing.T, args ...string) *proxy {
	t.Helper()
	return startProxy(t, c.config(), args...)
}

// tlsClient returns an HTTP client for a name whose connections go to addr. protocols are those of ALPN, none by default.
func (a *authority) tlsClient(addr, name string, edit func(*tls.Config), protocols ...string) *http.Client {
	cfg := &tls.Config{RootCAs: a.pool, ServerName: name, NextProtos: protocols}
	if edit != nil {
		edit(cfg)
	}
	tr := &http.Transport{
		DisableCompression: true, TLSClientConfig: cfg, Protocols: new(http.Protocols),
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		},
	}
	tr.Protocols.SetHTTP1(true)
	for _, p := range protocols {
		if p == "h2" {
			tr.Protocols.SetHTTP2(true)
		}
	}
	a.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: waitMax, CheckRedirect: noFollow.CheckRedirect}
}

// dialTLS opens a connection of crypto/tls whose handshake is complete.
func (a *authority) dialTLS(addr, name string, edit func(*tls.Config)) (*tls.Conn, error) {
	cfg := &tls.Config{RootCAs: a.pool, ServerName: name}
	if edit != nil {
		edit(cfg)
	}
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: waitMax}, "tcp", addr, cfg)
	if err != nil {
		return nil, err
	}
	a.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(waitMax))
	return c, nil
}

// rawTLS is dialTLS as something that is spoken to in bytes.
func (a *authority) rawTLS(addr, name string, edit func(*tls.Config)) *rawConn {
	a.t.Helper()
	c, err := a.dialTLS(addr, name, edit)
	if err != nil {
		a.t.Fatal(err)
	}
	return newRawConn(a.t, c)
}

// sClient runs openssl s_client against addr, with an input, and returns all that it prints.
func (a *authority) sClient(addr, input string, args ...string) string {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), waitMax)
	defer cancel()
	args = append([]string{"s_client", "-connect", addr, "-CAfile", a.path("ca.crt")}, args...)
	cmd := exec.CommandContext(ctx, lookPeer(a.t, "openssl"), args...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	_ = cmd.Run() // what it prints says more than its exit code
	if ctx.Err() != nil {
		a.t.Errorf("openssl %q did not end:\n%s", args, out.String())
	}
	return out.String()
}

// tlsCurl runs curl against addr by a name, and returns what it prints.
func (a *authority) tlsCurl(addr, name, path string, args ...string) string {
	a.t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		a.t.Fatal(err)
	}
	return curl(a.t, append([]string{
		"--cacert", a.path("ca.crt"), "--connect-to", name + ":" + port + ":" + addr, "https://" + name + ":" + port + path,
	}, args...)...)
}

// wantBody asks for a URL and checks the answer, a 200.
func wantBody(t *testing.T, c *http.Client, url, want string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Errorf("GET %s: %v", url, err)
		return
	}
	if got := bodyOf(t, resp); resp.StatusCode != 200 || got != want {
		t.Errorf("GET %s: %d %q, want 200 %q", url, resp.StatusCode, got, want)
	}
}
