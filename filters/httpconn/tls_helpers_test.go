package httpconn

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"sync/atomic"
	"time"

	"millrace/engine"
	"millrace/engine/certs"
	"millrace/engine/enginetest"
	"millrace/engine/transport"
	"millrace/filters"
)

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
	ca, dir := enginetest.TestCA(), w.t.TempDir()
	c, key := ca.Make(&x509.Certificate{
		Subject: pkix.Name{CommonName: "edge"}, DNSNames: []string{"a.example", "b.example"}, URIs: enginetest.URIs("spiffe://acme/edge"),
	})
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := &certs.DownstreamConfig{
		Certificates: []certs.CertificateConfig{{
			CertFile: enginetest.WritePEM(w.t, dir, "cert.pem", "CERTIFICATE", c.Raw), KeyFile: enginetest.WritePEM(w.t, dir, "key.pem", "PRIVATE KEY", pkcs8),
		}},
		ALPN: []string{"h2", "http/1.1"}, MinVersion: "1.2", MaxVersion: "1.3", SessionTimeout: time.Hour, HandshakeTimeout: time.Minute,
		ClientCAFile: enginetest.WritePEM(w.t, dir, "ca.pem", "CERTIFICATE", ca.Cert.Raw), TrustChainVerification: "verify_trust_chain",
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
	cfg := &tls.Config{RootCAs: enginetest.TestCA().Pool, ServerName: "a.example"}
	for _, f := range change {
		f(cfg)
	}
	return cfg
}
