package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// An authority issues certificates into files.
type authority struct {
	t      testing.TB
	cert   *x509.Certificate
	key    crypto.Signer
	signer *authority // nil: a root
}

var serial atomic.Int64

// newKey returns a key of a kind: "rsa", "ecdsa", "p384" or "ed25519".
func newKey(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "rsa":
		return rsaKey()
	case "p384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// rsaKey makes one RSA key for all tests: it takes long.
var rsaKey = sync.OnceValue(func() crypto.Signer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t, "ecdsa")}
	c := template(name)
	c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	a.cert = a.sign(c, a.key.Public(), c)
	return a
}

// intermediate returns an authority below a.
func (a *authority) intermediate(name string) *authority {
	a.t.Helper()
	b := &authority{t: a.t, key: newKey(a.t, "ecdsa"), signer: a}
	c := template(name)
	c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	b.cert = a.sign(c, b.key.Public(), a.cert)
	return b
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1000 + serial.Add(1)), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
	}
}

func (a *authority) sign(c *x509.Certificate, pub crypto.PublicKey, parent *x509.Certificate) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, pub, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return out
}

// An issued certificate is in files.
type issued struct {
	CertificateConfig
	cert *x509.Certificate
	key  crypto.Signer
	ca   *authority
}

// issue makes a certificate for names and writes it to dir/name.crt and .key; change may alter it before.
func (a *authority) issue(dir, name, kind string, dns []string, change func(*x509.Certificate)) *issued {
	a.t.Helper()
	c := template(name)
	c.DNSNames = dns
	c.KeyUsage = x509.KeyUsageDigitalSignature
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if change != nil {
		change(c)
	}
	out := &issued{key: newKey(a.t, kind), ca: a}
	out.cert = a.sign(c, out.key.Public(), a.cert)
	out.CertFile, out.KeyFile = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	out.write()
	return out
}

// write writes the files, the key first.
func (c *issued) write() {
	t := c.ca.t
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, c.KeyFile, pemText("PRIVATE KEY", der))
	writeFile(t, c.CertFile, c.chainPEM())
}

// chainPEM is the certificate and its intermediate CAs.
func (c *issued) chainPEM() []byte {
	out := pemText("CERTIFICATE", c.cert.Raw)
	for a := c.ca; a.signer != nil; a = a.signer {
		out = append(out, pemText("CERTIFICATE", a.cert.Raw)...)
	}
	return out
}

// tls is the certificate for a tls.Config.
func (c *issued) tls() tls.Certificate {
	out := tls.Certificate{PrivateKey: c.key, Certificate: [][]byte{c.cert.Raw}}
	for a := c.ca; a.signer != nil; a = a.signer {
		out.Certificate = append(out.Certificate, a.cert.Raw)
	}
	return out
}

// file writes the CA certificate to a file.
func (a *authority) file(dir, name string) string {
	a.t.Helper()
	path := filepath.Join(dir, name)
	writeFile(a.t, path, pemText("CERTIFICATE", a.cert.Raw))
	return path
}

// pool holds the CA alone.
func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func pemText(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func writeFile(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// newServer returns a context of its own store.
func newServer(t testing.TB, cfg *DownstreamConfig) *Server {
	t.Helper()
	x, err := NewStore(StoreOptions{}).Server(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Close)
	return x
}

// An outcome is what both sides of a handshake found.
type outcome struct {
	client, server       tls.ConnectionState
	clientErr, serverErr error
}

// handshake runs one over a socket pair, with a byte each way, so that TLS 1.3 tickets arrive and client
// certificates are judged.
func handshake(t testing.TB, server, client *tls.Config) outcome {
	t.Helper()
	a, b := socketPair(t)
	deadline := time.Now().Add(20 * time.Second)
	a.SetDeadline(deadline)
	b.SetDeadline(deadline)
	s, c := tls.Server(a, server), tls.Client(b, client)
	var out outcome
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer a.Close()
		if out.serverErr = s.Handshake(); out.serverErr != nil {
			return
		}
		out.server = s.ConnectionState()
		one := []byte{0}
		if _, out.serverErr = s.Write(one); out.serverErr == nil {
			_, out.serverErr = io.ReadFull(s, one)
		}
	}()
	out.clientErr = talk(c)
	out.client = c.ConnectionState()
	b.Close()
	<-done
	return out
}

// socketPair is like net.Pipe with the buffers of the kernel: crypto/tls writes tickets before it reads the end of
// the client's flight.
func socketPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ends := make([]net.Conn, 2)
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		if ends[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return ends[0], ends[1]
}

// talk shakes hands and answers a byte. A server that refuses the client's certificate says so only after the
// client's part of TLS 1.3 is over: its alert is what the read finds.
func talk(c *tls.Conn) error {
	if err := c.Handshake(); err != nil {
		return err
	}
	one := []byte{0}
	if _, err := io.ReadFull(c, one); err != nil {
		return err
	}
	_, err := c.Write(one)
	return err
}

func ptr[T any](v T) *T { return &v }
