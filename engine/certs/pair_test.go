package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestPairErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t, "root")
	between := ca.intermediate("between")
	a, b := between.issue(dir, "a", "ecdsa", []string{"a.example"}, nil), ca.issue(dir, "b", "rsa", nil, nil)
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		writeFile(t, path, data)
		return path
	}
	betweenKey, err := x509.MarshalPKCS8PrivateKey(between.key)
	if err != nil {
		t.Fatal(err)
	}
	forClients := ca.issue(dir, "client", "ecdsa", nil, func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
	for _, tt := range []struct {
		cert, key string
		want      string
	}{
		{filepath.Join(dir, "none.crt"), a.KeyFile, "none.crt: no such file"},
		{a.CertFile, filepath.Join(dir, "none.key"), "none.key: no such file"},
		{dir, a.KeyFile, "not a regular file"},
		{file("empty.crt", nil), a.KeyFile, "empty.crt: file is empty"},
		{file("big.crt", bytes.Repeat([]byte("x"), pairFileBytesMax+1)), a.KeyFile, "big.crt: file exceeds 1048576 bytes"},
		{file("junk.crt", []byte("junk")), a.KeyFile, "junk.crt: no certificate in the file; want PEM"},
		{file("der.crt", a.cert.Raw), a.KeyFile, "DER in place of PEM; convert it: openssl x509"},
		{a.KeyFile, a.CertFile, "a.key: no certificate in the file, only a PEM block \"PRIVATE KEY\"; are the files mixed up?"},
		{a.CertFile, a.CertFile, "a.crt: no private key in the file, only a PEM block \"CERTIFICATE\"; are the files mixed up?"},
		{a.CertFile, file("junk.key", []byte("junk")), "junk.key: no private key in the file; want PEM"},
		{a.CertFile, b.KeyFile, "b.key: the key is not that of the certificate in " + a.CertFile + " (certificate: ECDSA P-256, key: RSA 2048 bits)"},
		{a.CertFile, file("ca.key", pemText("PRIVATE KEY", betweenKey)), "it is that of certificate 2 of the file: put the server's own first"},
		{a.CertFile, file("enc.key", pemText("ENCRYPTED PRIVATE KEY", []byte{1})), "enc.key: the key is encrypted; write it without a password"},
		{a.CertFile, file("old-enc.key", []byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n")), "the key is encrypted"},
		{a.CertFile, file("bad.key", pemText("PRIVATE KEY", []byte{1})), "bad.key: PEM block \"PRIVATE KEY\""},
		{file("bad.crt", pemText("CERTIFICATE", []byte{1})), a.KeyFile, "bad.crt: certificate 1: "},
		{file("long.crt", bytes.Repeat(a.chainPEM(), chainCertsMax)), a.KeyFile, "long.crt: more than 16 certificates"},
		{forClients.CertFile, forClients.KeyFile, "client.crt: the certificate is not for servers"},
	} {
		_, err := NewStore(StoreOptions{}).Server(&DownstreamConfig{Certificates: []CertificateConfig{{CertFile: tt.cert, KeyFile: tt.key}}})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "certificates[0]") {
			t.Errorf("cert %s, key %s:\n%v\nwant %q", filepath.Base(tt.cert), filepath.Base(tt.key), err, tt.want)
		}
	}
}

func TestKeyForms(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t, "root")
	ec, rs := ca.issue(dir, "ec", "ecdsa", nil, nil), ca.issue(dir, "rsa", "rsa", nil, nil)
	sec1, err := x509.MarshalECPrivateKey(ec.key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	params := pemText("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7})
	writeFile(t, ec.KeyFile, append(params, pemText("EC PRIVATE KEY", sec1)...))
	writeFile(t, rs.KeyFile, pemText("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rs.key.(*rsa.PrivateKey))))
	// A file with both, the key first.
	both := append(pemText("EC PRIVATE KEY", sec1), ec.chainPEM()...)
	one := filepath.Join(dir, "both.pem")
	writeFile(t, one, both)
	for _, c := range []CertificateConfig{ec.CertificateConfig, rs.CertificateConfig, {CertFile: one, KeyFile: one}} {
		if _, err := NewStore(StoreOptions{}).Server(&DownstreamConfig{Certificates: []CertificateConfig{c}}); err != nil {
			t.Errorf("%s: %v", c.KeyFile, err)
		}
	}
}

func TestExpiryIsLogged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t, "root")
	for _, tt := range []struct {
		from, to time.Duration
		want     string
	}{
		{-time.Hour, 60 * 24 * time.Hour, ""},
		{-time.Hour, 3 * 24 * time.Hour, "expires soon"},
		{-time.Hour, -time.Minute, "has expired"},
		{time.Hour, 60 * 24 * time.Hour, "not valid yet"},
	} {
		c := ca.issue(dir, "a", "ecdsa", nil, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(tt.from), time.Now().Add(tt.to)
		})
		var log bytes.Buffer
		if _, err := NewStore(StoreOptions{Log: slog.New(slog.NewTextHandler(&log, nil))}).Server(&DownstreamConfig{Certificates: []CertificateConfig{c.CertificateConfig}}); err != nil {
			t.Fatal(err)
		}
		if got := log.String(); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("valid from %v to %v: log %q, want %q", tt.from, tt.to, got, tt.want)
		}
	}
}

// TestExpiryIsLoggedOnce: each step is said once, while the process runs.
func TestExpiryIsLoggedOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t, "root")
	c := ca.issue(dir, "a", "ecdsa", nil, nil)
	crl := crlFile(t, filepath.Join(dir, "a.crl"), time.Now().Add(24*time.Hour), nil, ca)
	log, now := newLogbook(), clock{}
	s := NewStore(StoreOptions{Log: log.logger(), Now: now.now})
	if _, err := s.Server(&DownstreamConfig{Certificates: []CertificateConfig{c.CertificateConfig}, ClientCAFile: ca.file(dir, "ca.crt"), CRLFile: crl}); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		now.advance(24 * time.Hour)
		s.Check()
	}
	for _, what := range []string{
		`"certificate expires soon"`, `"certificate has expired"`, `"CA bundle expires soon"`, `"CA bundle has expired"`, `"CRL has expired"`,
	} {
		if n := log.count(what); n != 1 {
			t.Errorf("%s was logged %d times, want once", what, n)
		}
	}
}

func TestKeyLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := newAuthority(t, "root").issue(dir, "a", "ecdsa", []string{"a.example"}, nil)
	path := filepath.Join(dir, "keys.log")
	var log bytes.Buffer
	s := NewStore(StoreOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	cfg := &DownstreamConfig{Certificates: []CertificateConfig{c.CertificateConfig}, KeyLog: &KeyLogConfig{Path: path}}
	var list []*Server
	for range 2 {
		x, err := s.Server(cfg)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, x)
		conf := x.TLS().Clone()
		conf.KeyLogWriter = x.KeyLog()
		handshake(t, conf, asking("a.example", nil))
	}
	if n := strings.Count(log.String(), "secrets"); n != 1 {
		t.Errorf("warned %d times, want once", n)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte("SERVER_TRAFFIC_SECRET_0 ")); n != 2 || !bytes.HasSuffix(text, []byte("\n")) {
		t.Errorf("%d secrets, want 2:\n%s", n, text)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	w := list[0].KeyLog()
	for _, x := range list {
		x.Close()
	}
	if _, err := w.Write([]byte("late\n")); err != nil {
		t.Errorf("a handshake that ends late: %v", err)
	}
	cfg.KeyLog.Path = dir
	if _, err := s.Server(cfg); err == nil || len(s.sources) != 0 {
		t.Errorf("key log in a directory: %v, %d sources left", err, len(s.sources))
	}
	if newServer(t, &DownstreamConfig{Certificates: cfg.Certificates}).KeyLog() != nil {
		t.Error("KeyLog without key_log is not nil")
	}
}

func TestInspectWritesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := newAuthority(t, "root").issue(dir, "a", "ecdsa", []string{"a.example"}, nil)
	s := NewStore(StoreOptions{Inspect: true})
	for path, ok := range map[string]bool{
		filepath.Join(dir, "keys.log"): true, filepath.Join(dir, "none", "keys.log"): false, filepath.Join(c.CertFile, "keys.log"): false,
	} {
		x, err := s.Server(&DownstreamConfig{Certificates: []CertificateConfig{c.CertificateConfig}, KeyLog: &KeyLogConfig{Path: path}})
		if (err == nil) != ok {
			t.Errorf("key log %s: %v, want ok %t", path, err, ok)
		}
		if x != nil {
			x.Close()
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("key log %s was made", path)
		}
	}
}
