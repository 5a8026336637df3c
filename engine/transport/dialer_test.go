package transport

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"millrace/engine"
	"millrace/engine/certs"
)

// dialRunner is a loop that dials.
type dialRunner struct {
	t      testing.TB
	loop   *engine.Loop
	hs     *Handshakes
	stats  Stats
	dialer *Dialer
}

func newDialRunner(t testing.TB, cfg *certs.UpstreamConfig) *dialRunner {
	t.Helper()
	l, err := engine.NewLoop(0, engine.DefaultLoopConfig())
	if err != nil {
		t.Fatal(err)
	}
	r := &dialRunner{t: t, loop: l, hs: NewHandshakes(Limits{})}
	r.dialer = NewDialer(l, r.hs, newClient(t, cfg), &r.stats)
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

// caller is the handler of a dialled connection: it asks and takes the answer.
type caller struct {
	testEnd
	c     *engine.Conn
	ask   []byte
	got   []byte
	eof   bool
	calls []string
}

func (h *caller) OnConnect() {
	h.calls = append(h.calls, "connect")
	h.c.Write(h.ask)
	h.c.CloseWrite()
}
func (h *caller) OnData(b []byte) int {
	h.got = append(h.got, b...)
	return len(b)
}
func (h *caller) OnEOF() {
	h.eof = true
	h.c.Close()
	h.closed <- nil
}
func (h *caller) OnWriteLow()                {}
func (h *caller) OnSplice(int64, bool, bool) {}
func (h *caller) OnTimeout()                 {}
func (h *caller) OnClose(why engine.CloseReason) {
	h.reason = why
	h.closed <- h.c.TransportError()
}

// call dials addr, writes ask and returns the handler when the connection is over.
func (r *dialRunner) call(addr, sni string, ask []byte) (*caller, error) {
	r.t.Helper()
	h := &caller{testEnd: testEnd{closed: make(chan error, 1), made: make(chan struct{})}, ask: ask}
	r.loop.Post(func() {
		a, err := engine.ParseAddr(addr)
		if err != nil {
			h.closed <- err
			return
		}
		if h.c, err = r.loop.Dial(&a, h); err != nil {
			h.closed <- err
			return
		}
		h.c.SetTransport(r.dialer.Transport(sni, h))
	})
	return h, wait(r.t, h.closed)
}

// serveTLS answers each connection with what it sent, by crypto/tls.
func serveTLS(t testing.TB, cfg *tls.Config) (addr string) {
	t.Helper()
	ls, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ls.Close() })
	go func() {
		for {
			c, err := ls.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(waitMax))
				tc := tls.Server(c, cfg)
				if b, err := io.ReadAll(tc); err == nil {
					tc.Write(b)
					tc.Close()
				}
			}()
		}
	}()
	return ls.Addr().String()
}

// pairOf loads a certificate of the tests.
func pairOf(t testing.TB, name string) tls.Certificate {
	t.Helper()
	c, err := tls.LoadX509KeyPair(theCA().file(name+".pem"), theCA().file(name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDialer(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		addr := serveTLS(t, &tls.Config{
			Certificates: []tls.Certificate{pairOf(t, "rsa")}, MinVersion: version, MaxVersion: version, NextProtos: []string{"h2"},
		})
		r := newDialRunner(t, clientConfig(func(c *certs.UpstreamConfig) { c.ALPN = []string{"h2", "http/1.1"} }))
		ask := bytes.Repeat([]byte("question "), 100_000)
		for i := range 3 {
			h, err := r.call(addr, "", ask)
			if err != nil || !bytes.Equal(h.got, ask) || !h.eof {
				t.Fatalf("call gave %d bytes, %v, eof %v", len(h.got), err, h.eof)
			}
			s := h.session
			if s.Version != version || s.ALPN != "h2" || s.Resumed != (i > 0) || s.Peer == nil || !s.Verified || s.ServerName != "localhost" {
				t.Errorf("call %d: session %+v", i, s)
			}
		}
		if n := r.stats.Handshake.Load(); n != 3 {
			t.Errorf("handshake = %d", n)
		}
		if n := r.stats.SessionReused.Load(); n != 2 {
			t.Errorf("session_reused = %d", n)
		}
	}
}

func TestDialerRefuses(t *testing.T) {
	t.Parallel()
	addr := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{pairOf(t, "ecdsa")}})
	for _, tt := range []struct {
		name, sni string
		change    func(*certs.UpstreamConfig)
		count     func(*Stats) uint64
	}{
		{"name", "other.example", func(*certs.UpstreamConfig) {}, func(s *Stats) uint64 { return s.FailVerifySAN.Load() + s.FailVerifyError.Load() }},
		{"CA", "", func(c *certs.UpstreamConfig) { c.CAFile = theCA().file("rsa.pem") }, func(s *Stats) uint64 { return s.FailVerifyError.Load() }},
		{"hash", "", func(c *certs.UpstreamConfig) { c.VerifyCertificateHash = []string{strings.Repeat("ab", 32)} }, func(s *Stats) uint64 { return s.FailVerifyCertHash.Load() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newDialRunner(t, clientConfig(tt.change))
			h, err := r.call(addr, tt.sni, []byte("x"))
			if err == nil || h.reason != engine.CloseTransport || len(h.calls) != 0 {
				t.Errorf("call ended with %v, %v after %q", h.reason, err, h.calls)
			}
			if n := tt.count(&r.stats); n != 1 {
				t.Errorf("counted %d; %v", n, err)
			}
		})
	}
}

// TestDialerAbandoned: a host that does not answer, or ends in the middle.
func TestDialerAbandoned(t *testing.T) {
	t.Parallel()
	ls, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ls.Close()
	go func() {
		for i := 0; ; i++ {
			c, err := ls.Accept()
			if err != nil {
				return
			}
			c.Read(make([]byte, 100))
			switch i {
			case 0:
				c.Close()
			case 1:
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
			case 2:
				io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
			default:
				defer c.Close()
			}
		}
	}()
	r := newDialRunner(t, clientConfig(func(c *certs.UpstreamConfig) { c.HandshakeTimeout = 50 * time.Millisecond }))
	for i := range 4 {
		h, err := r.call(ls.Addr().String(), "", []byte("x"))
		if err == nil || len(h.calls) != 0 {
			t.Errorf("call %d ended with %v, %v after %q", i, h.reason, err, h.calls)
		}
		if i == 3 && err != ErrHandshakeTimeout {
			t.Errorf("call %d ended with %v", i, err)
		}
	}
}

// TestBothOurs: our client to our server, megabytes both ways while one side reads slowly.
func TestBothOurs(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, version uint16, mode Established) {
		s := newRunner(t, serverConfig(), Limits{}, AcceptorOptions{Established: mode}, nil)
		r := newDialRunner(t, clientConfig(func(c *certs.UpstreamConfig) { c.MinVersion, c.MaxVersion = versionText(version), versionText(version) }))
		ask := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
		h, err := r.call(s.addr, "", ask)
		if err != nil || !bytes.Equal(h.got, ask) {
			t.Errorf("call gave %d bytes of %d, %v", len(h.got), len(ask), err)
		}
	})
}

func versionText(v uint16) string {
	if v == tls.VersionTLS12 {
		return "1.2"
	}
	return "1.3"
}
