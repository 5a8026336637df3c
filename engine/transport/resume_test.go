package transport

import (
	"crypto/tls"
	"io"
	"testing"

	"millrace/engine/certs"
)

// TestResume: sessions are resumed, with and without client certificates, and the own record layer finds its place behind
// the tickets: in the first flight, or after the client's Finished.
func TestResume(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, version uint16, mode Established) {
		for _, mutual := range []bool{false, true} {
			for _, tickets := range []bool{false, true} {
				r := newRunner(t, serverConfig(func(c *certs.DownstreamConfig) {
					c.DisableStatelessSessionResumption = !tickets
					if mutual {
						c.ClientCAFile, c.RequireClientCertificate = theCA().file("ca.pem"), true
					}
				}), Limits{}, AcceptorOptions{Established: mode}, nil)
				cfg := dialConfig(version)
				cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				if mutual {
					cfg.Certificates = []tls.Certificate{pairOf(t, "rsa")}
				}
				for i := range 3 {
					c := r.dial(cfg)
					for range 3 {
						io.WriteString(c, "ping")
						if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
							t.Fatalf("mutual %v, tickets %v, connection %d: %v", mutual, tickets, i, err)
						}
					}
					c.Close()
					e := wait(t, r.ends)
					wait(t, e.made)
					s := e.session
					if s.Resumed != (tickets && i > 0) || s.Own != (mode != EstablishedCryptoTLS) || (s.Peer != nil) != mutual || s.Verified != mutual ||
						s.Local == nil || s.Local.Subject.CommonName != "localhost" {
						t.Errorf("mutual %v, tickets %v, connection %d: %+v", mutual, tickets, i, s)
					}
				}
			}
		}
	})
}

// TestClientCertificate counts who has none.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		r := newRunner(t, serverConfig(func(c *certs.DownstreamConfig) {
			c.ClientCAFile, c.RequireClientCertificate = theCA().file("ca.pem"), true
		}), Limits{}, AcceptorOptions{}, nil)
		c, err := tls.Dial("tcp", r.addr, dialConfig(version))
		if err == nil {
			_, err = c.Read(make([]byte, 1))
		}
		if err == nil {
			t.Error("a client without certificate was let in")
		}
		wait(t, wait(t, r.ends).closed)
		r.on(func() {
			if n := r.stats.FailVerifyNoCert.Load(); n != 1 {
				t.Errorf("%s: fail_verify_no_cert = %d, connection_error = %d", VersionName(version), n, r.stats.ConnectionError.Load())
			}
		})
	}
}

// TestSuites: every suite of both versions, on the record layer that it has.
func TestSuites(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		suite uint16
		key   string
		own   bool
	}{
		{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ecdsa", true},
		{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ecdsa", true},
		{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ecdsa", true},
		{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "rsa", true},
		{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "rsa", true},
		{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "rsa", true},
		{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, "rsa", false},
	} {
		t.Run(SuiteName(tt.suite), func(t *testing.T) {
			t.Parallel()
			r := newRunner(t, serverConfig(func(c *certs.DownstreamConfig) {
				c.CipherSuites = []string{SuiteName(tt.suite)}
				c.Certificates[0] = certs.CertificateConfig{CertFile: theCA().file(tt.key + ".pem"), KeyFile: theCA().file(tt.key + ".key")}
			}), Limits{}, AcceptorOptions{}, nil)
			cfg := dialConfig(tls.VersionTLS12)
			cfg.CipherSuites = []uint16{tt.suite}
			c := r.dial(cfg)
			in := make([]byte, 100_000)
			go c.Write(in)
			if _, err := io.ReadFull(c, in); err != nil {
				t.Fatal(err)
			}
			e := wait(t, r.ends)
			wait(t, e.made)
			if s := e.session; s.Suite != tt.suite || s.Own != tt.own {
				t.Errorf("session %+v", s)
			}
		})
	}
}
