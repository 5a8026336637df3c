package l4

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace/engine"
	"millrace/engine/certs"
	"millrace/engine/enginetest"
	"millrace/engine/transport"
	"millrace/filters"
)

// clientCert returns what a client of that name shows.
func clientCert(name string, spiffe ...string) tls.Certificate {
	return enginetest.TestCA().Client(&x509.Certificate{Subject: pkix.Name{CommonName: name}, URIs: enginetest.URIs(spiffe...)})
}

// tls gives a chain TLS.
func (w *listenerWorld) tls(ch *Chain, change ...func(*certs.DownstreamConfig)) {
	w.t.Helper()
	ca, dir := enginetest.TestCA(), w.t.TempDir()
	c, key := ca.Make(&x509.Certificate{Subject: pkix.Name{CommonName: "edge"}, DNSNames: []string{"a.example"}})
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := &certs.DownstreamConfig{
		Certificates: []certs.CertificateConfig{{
			CertFile: enginetest.WritePEM(w.t, dir, "cert.pem", "CERTIFICATE", c.Raw), KeyFile: enginetest.WritePEM(w.t, dir, "key.pem", "PRIVATE KEY", pkcs8),
		}},
		MinVersion: "1.2", MaxVersion: "1.3", SessionTimeout: time.Hour, HandshakeTimeout: time.Minute,
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
	acc := transport.NewAcceptor(w.loop.Loop, hs, ctx, new(transport.Stats), transport.AcceptorOptions{})
	ch.SetTransport(func(c *filters.Connection) engine.Transport { return acc.Transport(c) })
}

// echoTLS makes the connections of a terminal filter send everything back.
func (f *fakeTerminal) echo() {
	f.onData = func(tc *fakeConn, b []byte) { tc.io.Write(b) }
}

// while turns the loop while f runs on a goroutine.
func (w *listenerWorld) while(f func()) {
	w.t.Helper()
	var done atomic.Bool
	go func() {
		defer done.Store(true)
		f()
	}()
	w.loop.Until(done.Load)
}

// sayTLS connects, says before in the clear and then "ping" by TLS, and returns what comes back.
func (w *listenerWorld) sayTLS(addr, before string, change ...func(*tls.Config)) (answer string, err error) {
	w.t.Helper()
	cfg := &tls.Config{RootCAs: enginetest.TestCA().Pool, ServerName: "a.example"}
	for _, f := range change {
		f(cfg)
	}
	w.while(func() {
		var plain net.Conn
		if plain, err = net.Dial("tcp", addr); err != nil {
			return
		}
		defer plain.Close()
		_ = plain.SetDeadline(time.Now().Add(20 * time.Second))
		c := tls.Client(&prefixed{Conn: plain, prefix: before}, cfg)
		if _, err = c.Write([]byte("ping")); err != nil {
			_, _ = io.Copy(io.Discard, plain) // closing now could reset what was said
			return
		}
		b := make([]byte, 100)
		n, e := c.Read(b)
		answer, err = string(b[:n]), e
		_ = c.Close()
	})
	w.loop.Until(func() bool { return w.loop.Conns() == 0 })
	return answer, err
}

// prefixed puts something in front of the first that is written, in one segment.
type prefixed struct {
	net.Conn
	prefix string
}

func (c *prefixed) Write(b []byte) (int, error) {
	if c.prefix != "" {
		if _, err := c.Conn.Write(append([]byte(c.prefix), b...)); err != nil {
			return 0, err
		}
		c.prefix = ""
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// builtFilter makes a filter of the table for a chain of w.
func (w *listenerWorld) builtFilter(name string, cfg any, shared *filters.SharedEnv) any {
	w.t.Helper()
	spec := specOf(w.t, name)
	if shared == nil {
		shared = &filters.SharedEnv{}
	}
	shared.Stats = w.register
	var s any
	if spec.Share != nil {
		var err error
		if s, err = spec.Share(cfg, shared); err != nil {
			w.t.Fatal(err)
		}
	}
	f, err := spec.Build(cfg, s, &filters.NetworkEnv{Loop: w.loop.Loop, Stats: w.register, Gate: ChainGate{w}, BufferLimit: 32 << 10})
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

const tlsLine = "%DOWNSTREAM_TLS_VERSION% %REQUESTED_SERVER_NAME% %DOWNSTREAM_PEER_SUBJECT% %RESPONSE_FLAGS% " +
	"%CONNECTION_TERMINATION_DETAILS% %DOWNSTREAM_TRANSPORT_FAILURE_REASON%"

// TestTLSConnection: a connection goes through its chain with TLS below, whatever the listener filters in front have kept.
func TestTLSConnection(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		listeners []string
		before    string
		version   uint16
		reads     bool
	}{
		{"alone", nil, "", tls.VersionTLS13, false},
		{"TLS 1.2", nil, "", tls.VersionTLS12, false},
		{"inspected", []string{"tls_inspector"}, "", tls.VersionTLS13, false},
		{"with a PROXY header", []string{"proxy_protocol", "tls_inspector"}, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", tls.VersionTLS13, false},
		{"read by a filter", []string{"tls_inspector"}, "", tls.VersionTLS13, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newListenerWorld(t)
			for _, name := range tt.listeners {
				cfg := specOf(t, name).NewConfig()
				if c, ok := cfg.(*TLSInspectorConfig); ok {
					c.MaxClientHelloSize = 64 << 10
				}
				w.opt.Filters = append(w.opt.Filters, Named{name, w.builtFilter(name, cfg, nil)})
			}
			var f any = &fakeFilter{w: w, name: "f"}
			if tt.reads {
				f = &fakeReader{fakeFilter: fakeFilter{w: w, name: "f"}}
			}
			ch, term := w.chain("main", f)
			term.echo()
			w.tls(ch)
			w.logTo(tlsLine + " %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%")
			anna := clientCert("anna")
			got, err := w.sayTLS(w.listen(), tt.before, func(c *tls.Config) {
				c.MaxVersion, c.Certificates = tt.version, []tls.Certificate{anna}
			})
			if got != "ping" {
				t.Errorf("answer %q, %v", got, err)
			}
			want := []string{"f new", "f established", "accept"}
			if tt.reads {
				want = append(want, `f read "ping" false`, `f read "" true`)
			}
			w.want(append(want, "f end")...)
			version := map[uint16]string{tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3"}[tt.version]
			from := "127.0.0.1"
			if tt.before != "" {
				from = "192.0.2.1"
			}
			if got, want := w.lines(), version+" a.example CN=anna - - - "+from+"\n"; got != want {
				t.Errorf("log %q; want %q", got, want)
			}
			w.wantDone()
		})
	}
}

// TestTLSHandshakeFails: what fails never reaches the terminal filter, its filters hear of the end, and the log says why.
func TestTLSHandshakeFails(t *testing.T) {
	t.Parallel()
	raw := func(send string, read bool) func(w *listenerWorld, addr string) {
		return func(w *listenerWorld, addr string) {
			w.while(func() {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					w.t.Error(err)
					return
				}
				_, _ = c.Write([]byte(send))
				if read {
					_ = c.SetDeadline(time.Now().Add(20 * time.Second))
					_, _ = io.Copy(io.Discard, c)
				}
				_ = c.Close()
			})
		}
	}
	say := func(change ...func(*tls.Config)) func(w *listenerWorld, addr string) {
		return func(w *listenerWorld, addr string) {
			if got, err := w.sayTLS(addr, "", change...); err == nil {
				w.t.Errorf("answer %q", got)
			}
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*certs.DownstreamConfig)
		try    func(w *listenerWorld, addr string)
		want   string
	}{
		{"no certificate", func(c *certs.DownstreamConfig) { c.RequireClientCertificate = true }, say(), "DPE tls_handshake_failed certificate_required"},
		{"version", nil, say(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 }), "DPE tls_handshake_failed no_shared_version"},
		{"the client does not trust us", nil, say(func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }), "DPE tls_handshake_failed alert_from_peer_certificate_refused"},
		{"HTTP", nil, raw("GET / HTTP/1.1\r\n\r\n", true), "DPE tls_handshake_failed not_tls"},
		{"closed at once", nil, raw("", false), "DC tls_handshake_failed closed_in_handshake"},
		{"closed in the ClientHello", nil, raw("\x16\x03\x01\x02\x00\x01\x00\x01\xfc", false), "DC tls_handshake_failed closed_in_handshake"},
		{"slow", nil, func(w *listenerWorld, addr string) {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				w.t.Fatal(err)
			}
			defer c.Close()
			_, _ = c.Write([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc"))
			w.loop.Until(func() bool { return w.in == 1 })
			w.loop.Settle()
			w.loop.Advance(2 * time.Minute)
		}, "DPE tls_handshake_failed handshake_timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newListenerWorld(t)
			ch, _ := w.chain("main", &fakeFilter{w: w, name: "f"})
			if tt.change == nil {
				tt.change = func(*certs.DownstreamConfig) {}
			}
			w.tls(ch, tt.change)
			w.logTo("%RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS% %DOWNSTREAM_TRANSPORT_FAILURE_REASON%")
			tt.try(w, w.listen())
			w.loop.Until(func() bool { return w.left == 1 && w.loop.Conns() == 0 })
			if got := strings.TrimSpace(w.lines()); got != tt.want {
				t.Errorf("log %q; want %q", got, tt.want)
			}
			w.want("f new", "f end")
			w.wantDone()
		})
	}
}

// TestTLSTruncated: a connection that ends without close_notify says so in the log.
func TestTLSTruncated(t *testing.T) {
	t.Parallel()
	w := newListenerWorld(t)
	ch, term := w.chain("main")
	term.echo()
	w.tls(ch)
	w.logTo(tlsLine)
	addr := w.listen()
	w.while(func() {
		plain, err := net.Dial("tcp", addr)
		if err != nil {
			t.Error(err)
			return
		}
		c := tls.Client(plain, &tls.Config{RootCAs: enginetest.TestCA().Pool, ServerName: "a.example"})
		_, _ = c.Write([]byte("ping"))
		_, _ = io.ReadFull(c, make([]byte, 4))
		_ = plain.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, plain)
		_ = plain.Close()
	})
	w.loop.Until(func() bool { return w.left == 1 })
	if got, want := w.lines(), "TLSv1.3 a.example - DC - closed_without_close_notify\n"; got != want {
		t.Errorf("log %q; want %q", got, want)
	}
}

// TestTLSCloseDuringHandshake: the end of a drain, or of the process, closes what is in its handshake.
func TestTLSCloseDuringHandshake(t *testing.T) {
	t.Parallel()
	w := newListenerWorld(t)
	ch, _ := w.chain("main")
	w.tls(ch)
	addr := w.listen()
	var conns []net.Conn
	for _, send := range []string{"", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc"} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = c.Write([]byte(send))
		conns = append(conns, c)
	}
	w.loop.Until(func() bool { return ch.Conns() == len(conns) })
	ch.Drain()
	if n := ch.Conns(); n != len(conns) {
		t.Errorf("%d connections after Drain: what is in its handshake goes on", n)
	}
	ch.Close()
	w.loop.Until(func() bool { return w.loop.Conns() == 0 })
	w.want("drain")
	w.wantDone()
}

// TestTLSPrincipals: client_ssl_auth and rbac see the certificate of a real handshake.
func TestTLSPrincipals(t *testing.T) {
	t.Parallel()
	anna, eve := clientCert("anna", "spiffe://acme/anna"), clientCert("eve")
	sum := sha256.Sum256(anna.Leaf.Raw)
	list := fmt.Sprintf(`{"certificates":[{"fingerprint_sha256":%q}]}`, hex.EncodeToString(sum[:]))
	for _, tt := range []struct {
		name    string
		filter  func(w *listenerWorld) any
		client  *tls.Certificate
		change  func(*certs.DownstreamConfig)
		passes  bool
		details string
	}{
		{"listed", tlsListed(list), &anna, nil, true, "-"},
		{"not listed", tlsListed(list), &eve, nil, false, "auth_digest_no_match"},
		{"without a certificate", tlsListed(list), nil, nil, false, "auth_digest_no_match"},
		{"by URI", tlsNamed("spiffe://acme/anna"), &anna, nil, true, "-"},
		{"by subject", tlsNamed("CN=eve"), &eve, nil, true, "-"},
		{"another name", tlsNamed("spiffe://acme/anna"), &eve, nil, false, "rbac_access_denied_matched_policy[none]"},
		{"a URI hides the subject", tlsNamed("CN=anna"), &anna, nil, false, "rbac_access_denied_matched_policy[none]"},
		{"no name", tlsNamed("CN=eve"), nil, nil, false, "rbac_access_denied_matched_policy[none]"},
		{"a name that nobody has verified", tlsNamed("CN=eve"), &eve,
			func(c *certs.DownstreamConfig) { c.ClientCAFile, c.RequireClientCertificate = "", true }, false, "rbac_access_denied_matched_policy[none]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newListenerWorld(t)
			ch, term := w.chain("main", tt.filter(w))
			term.echo()
			if tt.change == nil {
				tt.change = func(*certs.DownstreamConfig) {}
			}
			w.tls(ch, tt.change)
			w.logTo("%CONNECTION_TERMINATION_DETAILS%")
			got, err := w.sayTLS(w.listen(), "", func(c *tls.Config) {
				if tt.client != nil {
					c.Certificates = []tls.Certificate{*tt.client}
				}
			})
			if (got == "ping") != tt.passes {
				t.Errorf("answer %q, %v", got, err)
			}
			if got := strings.TrimSpace(w.lines()); got != tt.details {
				t.Errorf("details %q; want %q", got, tt.details)
			}
			w.wantDone()
		})
	}
}

func tlsListed(list string) func(w *listenerWorld) any {
	return func(w *listenerWorld) any {
		return w.builtFilter("client_ssl_auth", &ClientSSLAuthConfig{StatPrefix: "p", File: "list"}, &filters.SharedEnv{
			Watch: func(_ filters.Source, _, _ time.Duration, put func([]byte, error)) func() {
				put([]byte(list), nil)
				return func() {}
			},
		})
	}
}

func tlsNamed(name string) func(w *listenerWorld) any {
	return func(w *listenerWorld) any {
		return w.builtFilter("rbac", &RBACConfig{StatPrefix: "p", Rules: rbacOf("allow", RBACPermission{Any: true},
			RBACPrincipal{Authenticated: &RBACAuthenticated{PrincipalName: rbacExactly(name)}})}, nil)
	}
}

// TestTLSOpenSSL: the same with OpenSSL as the client. Not parallel: a process that starts holds the sockets of all other tests for a
// moment, and they would hear late of what they close.
func TestTLSOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	w := newListenerWorld(t)
	ch, term := w.chain("main")
	term.echo()
	w.tls(ch)
	w.logTo(tlsLine + " %DOWNSTREAM_TLS_CIPHER%")
	addr, dir := w.listen(), t.TempDir()
	anna := clientCert("anna")
	pkcs8, err := x509.MarshalPKCS8PrivateKey(anna.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"s_client", "-connect", addr, "-servername", "A.Example", "-quiet", "-no_ign_eof", "-tls1_2", "-CAfile",
		enginetest.WritePEM(t, dir, "ca.pem", "CERTIFICATE", enginetest.TestCA().Cert.Raw), "-cert", enginetest.WritePEM(t, dir, "c.pem", "CERTIFICATE", anna.Certificate[0]),
		"-key", enginetest.WritePEM(t, dir, "k.pem", "PRIVATE KEY", pkcs8), "-verify_return_error"}
	var out string
	w.while(func() {
		cmd := exec.Command(openssl, args...)
		stdin, _ := cmd.StdinPipe()
		stdout, _ := cmd.StdoutPipe()
		if err := cmd.Start(); err != nil {
			t.Error(err)
			return
		}
		_, _ = stdin.Write([]byte("ping\n"))
		b := make([]byte, 5)
		_, _ = io.ReadFull(stdout, b)
		out = string(b)
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	w.loop.Until(func() bool { return w.left == 1 })
	if out != "ping\n" {
		t.Errorf("openssl prints %q", out)
	}
	if got, want := w.lines(), "TLSv1.2 a.example CN=anna - - - ECDHE-ECDSA-AES128-GCM-SHA256\n"; got != strings.Replace(want, "128", "256", 1) &&
		got != strings.Replace(want, "AES128-GCM-SHA256", "AES256-GCM-SHA384", 1) && got != want {
		t.Errorf("log %q; want %q", got, want)
	}
}
