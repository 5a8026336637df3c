package engine_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"millrace/engine"
)

// tlsTransport is crypto/tls behind the contract: the handshake on a goroutine, then the
// same tls.Conn driven by the loop. It shows that the contract suffices; the real one is
// engine/transport's.
type tlsTransport struct {
	wire *engine.Wire
	conn *tls.Conn

	mu          sync.Mutex
	more        sync.Cond
	in, out     []byte // ciphertext, while the handshake goes on
	started     bool
	established bool
	closed      bool
}

func newTLSTransport(cfg *tls.Config) *tlsTransport {
	t := &tlsTransport{}
	t.more.L = &t.mu
	t.conn = tls.Server((*tlsNetConn)(t), cfg)
	return t
}

func (t *tlsTransport) Handshake(w *engine.Wire) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wire = w
	var b [4096]byte
	for {
		n, err := w.Read(b[:])
		if err != nil {
			if err != engine.ErrWouldBlock {
				return false, err
			}
			break
		}
		t.in = append(t.in, b[:n]...)
	}
	t.more.Signal()
	if !t.started {
		t.started = true
		go t.shake(w.Conn().Loop())
	}
	return false, nil
}

func (t *tlsTransport) shake(l *engine.Loop) {
	err := t.conn.Handshake()
	l.Post(func() {
		t.flush()
		t.mu.Lock()
		t.established = err == nil
		t.mu.Unlock()
		if err != nil {
			t.wire.Fail(err)
			return
		}
		t.wire.Established()
	})
}

// flush brings what the handshake has written to the wire.
func (t *tlsTransport) flush() {
	t.mu.Lock()
	out := t.out
	t.out = nil
	t.mu.Unlock()
	t.wire.Write(out)
}

func (t *tlsTransport) Read(_ *engine.Wire, dst []byte) (int, error) { return t.conn.Read(dst) }
func (t *tlsTransport) Write(_ *engine.Wire, v [][]byte) error {
	for _, b := range v {
		if _, err := t.conn.Write(b); err != nil {
			return err
		}
	}
	return nil
}
func (t *tlsTransport) CloseWrite(*engine.Wire) { t.conn.CloseWrite() }
func (t *tlsTransport) Close() {
	t.mu.Lock()
	t.closed = true
	t.more.Signal()
	t.mu.Unlock()
}

// tlsNetConn is the transport as tls.Conn sees it.
type tlsNetConn tlsTransport

func (n *tlsNetConn) Read(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.established {
		if len(n.in) == 0 { // about to wait: what was written has to leave
			n.wire.Conn().Loop().Post((*tlsTransport)(n).flush)
		}
		for len(n.in) == 0 && !n.closed {
			n.more.Wait()
		}
		if n.closed {
			return 0, io.ErrClosedPipe
		}
	}
	if len(n.in) > 0 {
		k := copy(b, n.in)
		n.in = n.in[k:]
		return k, nil
	}
	return n.wire.Read(b)
}

func (n *tlsNetConn) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.established {
		n.out = append(n.out, b...)
		return len(b), nil
	}
	return n.wire.Write(b)
}

func (n *tlsNetConn) Close() error                     { return nil }
func (n *tlsNetConn) LocalAddr() net.Addr              { return nil }
func (n *tlsNetConn) RemoteAddr() net.Addr             { return nil }
func (n *tlsNetConn) SetDeadline(time.Time) error      { return nil }
func (n *tlsNetConn) SetReadDeadline(time.Time) error  { return nil }
func (n *tlsNetConn) SetWriteDeadline(time.Time) error { return nil }

// tlsEcho accepts TLS and writes back what it reads.
type tlsEcho struct {
	proxyEnd
	cfg    *tls.Config
	c      *engine.Conn
	closed chan engine.CloseReason
}

func (e *tlsEcho) OnAccept(c *engine.Conn) engine.Handler {
	c.SetTransport(newTLSTransport(e.cfg))
	return &tlsEcho{c: c, closed: e.closed}
}
func (e *tlsEcho) OnData(b []byte) int {
	e.c.Write(b)
	return len(b)
}
func (e *tlsEcho) OnEOF()                         { e.c.CloseLinger(time.Second) }
func (e *tlsEcho) OnClose(why engine.CloseReason) { e.closed <- why }

func testCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestTransportTLS(t *testing.T) {
	t.Parallel()
	l, err := engine.NewLoop(0, engine.DefaultLoopConfig())
	if err != nil {
		t.Fatal(err)
	}
	fd, err := engine.Listen(mustAddr(t, "127.0.0.1:0"), engine.ListenerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e := &tlsEcho{cfg: &tls.Config{Certificates: []tls.Certificate{testCertificate(t)}}, closed: make(chan engine.CloseReason, 1)}
	ls, err := l.AddListener(fd, engine.ListenerOptions{}, e)
	if err != nil {
		t.Fatal(err)
	}
	where := ls.Addr().String()
	done := make(chan error, 1)
	go func() { done <- l.Run() }()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c, err := tls.Dial("tcp", where, &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		in := bytes.Repeat([]byte("0123456789abcdef"), 40_000)
		go func() {
			c.Write(in)
			c.CloseWrite()
		}()
		out, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(in, out) {
			t.Errorf("TLS %#x: echo of %d bytes gave %d, %v", version, len(in), len(out), err)
		}
		c.Close()
	}
	// A client that does not speak TLS gets an alert, and the handler is told.
	c, err := net.Dial("tcp", where)
	if err != nil {
		t.Fatal(err)
	}
	c.Write([]byte("\x16\x03\x01\x00\x05hello"))
	alert, err := io.ReadAll(c)
	if len(alert) < 7 || alert[0] != 21 {
		t.Errorf("garbage was answered with %x, %v; want an alert", alert, err)
	}
	c.Close()
	if why := <-e.closed; why != engine.CloseTransport {
		t.Errorf("OnClose(%v), want transport", why)
	}
	l.Stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
