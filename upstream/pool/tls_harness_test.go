package pool

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"millrace/engine/certs"
	"millrace/upstream"
)

// authority is a CA of a test.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // PEM
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key = newKey(t)
	der := sign(t, template, template, a.key, a.key)
	a.cert, _ = x509.ParseCertificate(der)
	a.file = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// issue makes a certificate for names.
func (a *authority) issue(names ...string) tls.Certificate {
	a.t.Helper()
	key := newKey(a.t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	return tls.Certificate{Certificate: [][]byte{sign(a.t, template, a.cert, key, a.key)}, PrivateKey: key}
}

// secured makes a config one of hosts with TLS, whose certificates a has issued for "host.test".
func (a *authority) secured(edit func(*upstream.Config)) func(*upstream.Config) {
	return func(c *upstream.Config) {
		c.TLS = &certs.UpstreamConfig{
			SNI: "host.test", CAFile: a.file, TrustChainVerification: "verify_trust_chain", MinVersion: "1.2", MaxVersion: "1.3",
			MaxSessionKeys: 1, HandshakeTimeout: 15 * time.Second,
		}
		if edit != nil {
			edit(c)
		}
	}
}

// serveTLS serves h at a free port and returns its address.
func serveTLS(t testing.TB, cfg *tls.Config, protocols []string, h http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := new(http.Protocols)
	p.SetHTTP1(true)
	for _, name := range protocols {
		p.SetHTTP2(name == "h2" || p.HTTP2())
	}
	cfg = cfg.Clone()
	cfg.NextProtos = protocols
	s := &http.Server{Handler: h, TLSConfig: cfg, Protocols: p, ErrorLog: nil}
	go func() { _ = s.Serve(tls.NewListener(ln, cfg)) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Shutdown(ctx)
		_ = s.Close()
	})
	return ln.Addr().String()
}

// tlsOrigin is a listening socket whose connections are accepted, and served with TLS, by a function each.
func tlsOrigin(t testing.TB, cfg *tls.Config, serve func(*tls.Conn)) string {
	return rawOrigin(t, func(c net.Conn) {
		tc := tls.Server(c, cfg)
		if tc.Handshake() == nil {
			serve(tc)
		}
	})
}

// rawOrigin is the same without TLS.
func rawOrigin(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			_ = c.SetDeadline(time.Now().Add(patience))
			go serve(c)
		}
	}()
	return ln.Addr().String()
}

// readHead reads the head of a request.
func readHead(r *bufio.Reader) (head string, err error) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return head, err
		}
		if head += line; line == "\r\n" {
			return head, nil
		}
	}
}

// fetch runs one GET and returns what its owner was told.
func (w *world) fetch(c *Cluster) *owner {
	w.t.Helper()
	o := newOwner()
	w.lease(c, o)
	w.until("the exchange", func() bool { return o.done })
	return o
}
