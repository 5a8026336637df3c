package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/engine"
	"millrace/engine/certs"
)

// waitMax is how long tests wait for what other goroutines do.
const waitMax = 20 * time.Second

// testCA issues the certificates of the tests. One for all: making keys takes time.
type testCA struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

var theCA = sync.OnceValue(func() *testCA {
	dir, err := os.MkdirTemp("", "transport-test-")
	must(err)
	ca := &testCA{dir: dir, pool: x509.NewCertPool()}
	ca.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, ca.key.Public(), ca.key)
	must(err)
	ca.cert, err = x509.ParseCertificate(der)
	must(err)
	ca.pool.AddCert(ca.cert)
	writePEM(filepath.Join(dir, "ca.pem"), "CERTIFICATE", der)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	ca.issue("ecdsa", ec, ec.Public())
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	ca.issue("rsa", rs, rs.Public())
	return ca
})

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func writePEM(path, kind string, der []byte) {
	must(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

// issue writes the files of a certificate for localhost.
func (ca *testCA) issue(name string, key, public any) {
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, public, ca.key)
	must(err)
	writePEM(ca.file(name+".pem"), "CERTIFICATE", der)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	writePEM(ca.file(name+".key"), "PRIVATE KEY", pkcs8)
}

func (ca *testCA) file(name string) string { return filepath.Join(ca.dir, name) }

// config returns the configuration of a server, changed by change.
func serverConfig(change ...func(*certs.DownstreamConfig)) *certs.DownstreamConfig {
	ca := theCA()
	cfg := &certs.DownstreamConfig{
		Certificates:     []certs.CertificateConfig{{CertFile: ca.file("ecdsa.pem"), KeyFile: ca.file("ecdsa.key")}},
		ALPN:             []string{"h2", "http/1.1"},
		MinVersion:       "1.2",
		MaxVersion:       "1.3",
		HandshakeTimeout: waitMax,
		SessionTimeout:   time.Hour,
	}
	for _, f := range change {
		f(cfg)
	}
	return cfg
}

func clientConfig(change ...func(*certs.UpstreamConfig)) *certs.UpstreamConfig {
	cfg := &certs.UpstreamConfig{
		SNI: "localhost", CAFile: theCA().file("ca.pem"), MinVersion: "1.2", MaxVersion: "1.3", MaxSessionKeys: 4,
		HandshakeTimeout: waitMax,
	}
	for _, f := range change {
		f(cfg)
	}
	return cfg
}

func newServer(t testing.TB, cfg *certs.DownstreamConfig) *certs.Server {
	t.Helper()
	s, err := certs.NewStore(certs.StoreOptions{}).Server(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newClient(t testing.TB, cfg *certs.UpstreamConfig) *certs.Client {
	t.Helper()
	c, err := certs.NewStore(certs.StoreOptions{}).Client(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// dialConfig is a client of crypto/tls for the servers of the tests.
func dialConfig(version uint16) *tls.Config {
	return &tls.Config{RootCAs: theCA().pool, ServerName: "localhost", MinVersion: version, MaxVersion: version}
}

// runner is a loop that runs, with a listener.
type runner struct {
	t     testing.TB
	loop  *engine.Loop
	hs    *Handshakes
	stats Stats
	acc   *Acceptor
	addr  string
	// handle makes the handler of a connection.
	handle func(c *engine.Conn, end *testEnd) engine.Handler
	ends   chan *testEnd
}

// testEnd is what tests hear of a connection.
type testEnd struct {
	session *Session
	conn    *engine.Conn
	closed  chan error // the error of the transport, at OnClose
	reason  engine.CloseReason
	made    chan struct{} // closed with the session
	handler atomic.Pointer[engine.Handler]
}

// OnSession implements Owner.
func (e *testEnd) OnSession(s *Session) {
	e.session = s
	close(e.made)
}

// newRunner starts a loop that accepts TLS. What handle returns handles the connections; nil is an echo.
func newRunner(t testing.TB, cfg *certs.DownstreamConfig, limits Limits, opt AcceptorOptions, handle func(*engine.Conn, *testEnd) engine.Handler,
	change ...func(*engine.LoopConfig)) *runner {
	t.Helper()
	lc := engine.DefaultLoopConfig()
	for _, f := range change {
		f(&lc)
	}
	l, err := engine.NewLoop(0, lc)
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{t: t, loop: l, hs: NewHandshakes(limits), handle: handle, ends: make(chan *testEnd, 100_000)}
	if handle == nil {
		r.handle = func(c *engine.Conn, e *testEnd) engine.Handler { return &echo{c: c, end: e} }
	}
	r.acc = NewAcceptor(l, r.hs, newServer(t, cfg), &r.stats, opt)
	any, err := engine.ParseAddr("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := engine.Listen(any, engine.ListenerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ls, err := l.AddListener(fd, engine.ListenerOptions{}, r)
	if err != nil {
		t.Fatal(err)
	}
	r.addr = ls.Addr().String()
	done := make(chan error, 1)
	go func() { done <- l.Run() }()
	t.Cleanup(func() {
		l.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		r.hs.Close()
	})
	return r
}

// OnAccept implements engine.Acceptor.
func (r *runner) OnAccept(c *engine.Conn) engine.Handler {
	e := &testEnd{conn: c, closed: make(chan error, 1), made: make(chan struct{})}
	c.SetTransport(r.acc.Transport(e))
	h := r.handle(c, e)
	e.handler.Store(&h)
	r.ends <- e
	return h
}

// dial connects with crypto/tls.
func (r *runner) dial(cfg *tls.Config) *tls.Conn {
	r.t.Helper()
	c, err := tls.Dial("tcp", r.addr, cfg)
	if err != nil {
		r.t.Fatalf("dial: %v", err)
	}
	r.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(waitMax))
	return c
}

// dialPlain connects without TLS.
func (r *runner) dialPlain() *net.TCPConn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(waitMax))
	return c.(*net.TCPConn)
}

// on runs f on the loop and waits for it.
func (r *runner) on(f func()) {
	r.t.Helper()
	done := make(chan struct{})
	r.loop.Post(func() { f(); close(done) })
	wait(r.t, done)
}

func wait[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(waitMax):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}

// echo writes back what it reads, and ends when its peer does.
type echo struct {
	c   *engine.Conn
	end *testEnd
}

func (e *echo) OnConnect() {}
func (e *echo) OnData(b []byte) int {
	e.c.Write(b)
	if e.c.Full() {
		e.c.PauseRead()
	}
	return len(b)
}
func (e *echo) OnEOF()                     { e.c.CloseLinger(waitMax) }
func (e *echo) OnWriteLow()                { e.c.ResumeRead() }
func (e *echo) OnSplice(int64, bool, bool) {}
func (e *echo) OnTimeout()                 {}
func (e *echo) OnClose(why engine.CloseReason) {
	e.end.reason = why
	e.end.closed <- e.c.TransportError()
}

// TestMain removes the files of the CA.
func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(theCA().dir)
	os.Exit(code)
}
