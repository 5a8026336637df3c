package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"millrace/engine/certs"
	"millrace/engine/internal/record"
)

// TestReasonOf: each error of this package has a word, and so have errors in others.
func TestReasonOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want string
	}{
		{nil, ""}, {ErrTruncated, "closed_without_close_notify"}, {ErrHandshakeTimeout, "handshake_timeout"}, {ErrShed, "too_many_handshakes"}, {ErrEvicted, "too_many_handshakes"},
		{ErrPlain, "not_tls"}, {ErrHello, "malformed_client_hello"}, {ErrAborted, "closed_in_handshake"}, {ErrPanic, "internal_error"},
		{ErrNoMemory, "no_memory"}, {fmt.Errorf("x: %w", syscall.ECONNRESET), "connection_reset"},
		{&certs.VerifyError{Failure: certs.FailSAN, Err: io.EOF}, "certificate_name_mismatch"},
		{&certs.VerifyError{Failure: certs.FailHash, Err: io.EOF}, "certificate_hash_mismatch"},
		{&certs.VerifyError{Failure: certs.FailVerify, Err: x509.CertificateInvalidError{Reason: x509.Expired}}, "certificate_expired"},
		{&certs.VerifyError{Failure: certs.FailVerify, Err: x509.UnknownAuthorityError{}}, "certificate_untrusted"},
		{&certs.VerifyError{Failure: certs.FailVerify, Err: errors.New("revoked")}, "certificate_not_verified"},
		{record.RemoteError(48), "alert_from_peer_certificate_untrusted"}, {record.RemoteError(1), "alert_from_peer"},
		{&record.Error{Alert: record.BadRecordMAC, Reason: "x"}, "bad_record"},
		{errors.New("tls: who knows"), "handshake_failed"},
	} {
		if got := ReasonOf(tt.err).String(); got != tt.want {
			t.Errorf("ReasonOf(%v) = %q; want %q", tt.err, got, tt.want)
		}
	}
}

// TestReasonsUnique: a word is said for one reason, and is a word.
func TestReasonsUnique(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for r := range reasonCount {
		word := r.String()
		if seen[word] || r > 0 && (word == "" || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz_") != "") {
			t.Errorf("reason %d is %q", r, word)
		}
		seen[word] = true
	}
}

// TestReasonsDocs: docs/access-log.md says what each word means.
func TestReasonsDocs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/access-log.md")
	if err != nil {
		t.Fatal(err)
	}
	for r := ReasonTimeout; r < reasonCount; r++ {
		if !strings.Contains(string(text), "`"+r.String()+"`") {
			t.Errorf("docs/access-log.md lacks %s", r)
		}
	}
}

// TestReasonOfCryptoTLS: the texts of crypto/tls are known. This test fails when a version of Go changes them.
func TestReasonOfCryptoTLS(t *testing.T) {
	t.Parallel()
	ca := theCA()
	pair, err := tls.LoadX509KeyPair(ca.file("ecdsa.pem"), ca.file("ecdsa.key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		server func(*tls.Config)
		client func(*tls.Config)
		want   string // of the server
	}{
		{"version", nil, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 }, "no_shared_version"},
		{"cipher", nil, func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
		}, "no_shared_cipher"},
		{"group", func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP256} },
			func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519} }, "no_shared_group"},
		{"protocol", func(c *tls.Config) { c.NextProtos = []string{"h2"} }, func(c *tls.Config) { c.NextProtos = []string{"x"} }, "no_shared_protocol"},
		{"no certificate", func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, ca.pool }, nil, "certificate_required"},
		{"untrusted", func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool() },
			func(c *tls.Config) { c.Certificates = []tls.Certificate{pair} }, "certificate_untrusted"},
		{"the client does not trust us", nil, func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }, "alert_from_peer_certificate_refused"},
		{"not TLS", nil, nil, "not_tls"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := &tls.Config{Certificates: []tls.Certificate{pair}}
			client := &tls.Config{RootCAs: ca.pool, ServerName: "localhost", InsecureSkipVerify: false}
			if tt.server != nil {
				tt.server(server)
			}
			if tt.client != nil {
				tt.client(client)
			}
			a, b := socketPair(t)
			go func() {
				if tt.name == "not TLS" {
					_, _ = a.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
				} else {
					_ = tls.Client(a, client).Handshake()
				}
				_, _ = io.Copy(io.Discard, a)
			}()
			err := tls.Server(b, server).Handshake()
			if got := ReasonOf(err).String(); got != tt.want {
				t.Errorf("ReasonOf(%v) = %q; want %q", err, got, tt.want)
			}
		})
	}
}

// socketPair is a connection over TCP.
func socketPair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err == nil {
		server, err = l.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	_ = server.SetDeadline(time.Now().Add(waitMax))
	return client, server
}
