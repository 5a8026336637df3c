package httpconn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/engine"
	"millrace/engine/certs"
	"millrace/engine/transport"
	"millrace/filters"
)

// tlsCA issues the certificates of the tests.
type tlsCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

var theCA = sync.OnceValue(func() *tlsCA {
	ca := &tlsCA{pool: x509.NewCertPool()}
	ca.cert, ca.key = ca.make(&x509.Certificate{
		Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	ca.pool.AddCert(ca.cert)
	return ca
})

// make makes a certificate of a template, with a new key.
func (ca *tlsCA) make(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template.SerialNumber = big.NewInt(7)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := ca.cert, ca.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		panic(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return c, key
}

// client returns what a client shows.
func (ca *tlsCA) client(template *x509.Certificate) tls.Certificate {
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	c, key := ca.make(template)
	return tls.Certificate{Certificate: [][]byte{c.Raw, ca.cert.Raw}, PrivateKey: key, Leaf: c}
}

// file writes PEM to a file.
func file(t testing.TB, dir, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func uris(list ...string) (us []*url.URL) {
	for _, s := range list {
		u, err := url.Parse(s)
		if err != nil {
			panic(err)
		}
		us = append(us, u)
	}
	return us
}

// tlsFront is a manager behind TLS: what filter chains are in the proxy.
type tlsFront struct {
	m   *Manager
	acc *transport.Acceptor
}

func (f tlsFront) OnAccept(io *engine.Conn) engine.Handler {
	c := &filters.Connection{IO: io, Start: f.m.loop.Now(), DirectRemote: io.RemoteAddr(), DirectLocal: io.LocalAddr()}
	io.SetTransport(&tlsFrontTransport{f.acc.Transport(c), f.m, c})
	return tlsWaits{}
}

// tlsWaits handles a connection during its handshake.
type tlsWaits struct{ engine.Handler }

func (tlsWaits) OnClose(engine.CloseReason) {}

// tlsFrontTransport gives the connection to the manager when the handshake is complete.
type tlsFrontTransport struct {
	engine.Transport
	m *Manager
	c *filters.Connection
}

func (t *tlsFrontTransport) Read(w *engine.Wire, dst []byte) (int, error) {
	if t.m != nil {
		m := t.m
		t.m = nil
		t.c.IO.SetHandler(m.Accept(t.c.IO, t.c))
		if t.c.IO.ReadPaused() {
			return 0, nil
		}
	}
	return t.Transport.Read(w, dst)
}

// listenTLS opens a second listener, with TLS, and returns its address.
func (w *world) listenTLS(change ...func(*certs.DownstreamConfig)) string {
	w.t.Helper()
	ca, dir := theCA(), w.t.TempDir()
	c, key := ca.make(&x509.Certificate{
		Subject: pkix.Name{CommonName: "edge"}, DNSNames: []string{"a.example", "b.example"}, URIs: uris("spiffe://acme/edge"),
	})
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := &certs.DownstreamConfig{
		Certificates: []certs.CertificateConfig{{
			CertFile: file(w.t, dir, "cert.pem", "CERTIFICATE", c.Raw), KeyFile: file(w.t, dir, "key.pem", "PRIVATE KEY", pkcs8),
		}},
		ALPN: []string{"h2", "http/1.1"}, MinVersion: "1.2", MaxVersion: "1.3", SessionTimeout: time.Hour, HandshakeTimeout: time.Minute,
		ClientCAFile: file(w.t, dir, "ca.pem", "CERTIFICATE", ca.cert.Raw), TrustChainVerification: "verify_trust_chain",
	}
	for _, f := range change {
		f(cfg)
	}
	ctx, err := certs.NewStore(certs.StoreOptions{}).Server(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	hs := transport.NewHandshakes(transport.DefaultLimits(1))
	w.t.Cleanup(hs.Close)
	acc := transport.NewAcceptor(w.tl.Loop, hs, ctx, new(transport.Stats), transport.AcceptorOptions{})
	addr, _ := engine.ParseAddr("127.0.0.1:0")
	fd, err := engine.Listen(addr, engine.ListenerOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := w.tl.AddListener(fd, engine.ListenerOptions{}, tlsFront{w.m, acc})
	if err != nil {
		w.t.Fatal(err)
	}
	return l.Addr().String()
}

// while turns the loop while f runs.
func (w *world) while(f func()) {
	w.t.Helper()
	var done atomic.Bool
	go func() {
		defer done.Store(true)
		f()
	}()
	w.tl.Until(done.Load)
}

// clientTLS is what clients of the tests begin with.
func clientTLS(change ...func(*tls.Config)) *tls.Config {
	cfg := &tls.Config{RootCAs: theCA().pool, ServerName: "a.example"}
	for _, f := range change {
		f(cfg)
	}
	return cfg
}
