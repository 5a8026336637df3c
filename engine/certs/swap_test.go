package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A logbook hands over what is logged.
type logbook struct {
	mu    sync.Mutex
	text  bytes.Buffer
	lines chan string
}

func newLogbook() *logbook { return &logbook{lines: make(chan string, 1000)} }

func (l *logbook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *logbook) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(line)
	l.lines <- string(line)
	return len(line), nil
}

func (l *logbook) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// waitFor waits until a line with what is logged.
func (l *logbook) waitFor(t *testing.T, what string) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case line := <-l.lines:
			if strings.Contains(line, what) {
				return
			}
		case <-deadline:
			t.Fatalf("nothing like %q was logged:\n%s", what, l.text.String())
		}
	}
}

// wantServes checks which certificate is presented.
func wantServes(t *testing.T, x *Server, c *issued) {
	t.Helper()
	out := handshake(t, x.TLS(), asking("a.example", nil))
	if out.clientErr != nil {
		t.Fatal(out.clientErr)
	}
	if got := out.client.PeerCertificates[0]; !got.Equal(c.cert) {
		t.Errorf("presented serial %v, want %v", got.SerialNumber, c.cert.SerialNumber)
	}
}

func TestSwap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t, "root")
	first := ca.issue(dir, "a", "ecdsa", []string{"a.example"}, nil)
	log := newLogbook()
	s := NewStore(StoreOptions{Log: log.logger()})
	var servers []*Server
	for range 3 {
		x, err := s.Server(&DownstreamConfig{Certificates: []CertificateConfig{first.CertificateConfig}})
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, x)
	}
	if len(s.sources) != 1 || s.List()[0].Contexts != 3 {
		t.Errorf("%d sources, %d contexts; want the pair once, for 3", len(s.sources), s.List()[0].Contexts)
	}
	wantInError := func(n int64, reason string) {
		t.Helper()
		if got := s.Stats().InError; got != n {
			t.Errorf("InError = %d, want %d", got, n)
		}
		if got := s.List()[0].LastError; got == "" != (reason == "") || !strings.Contains(got, reason) {
			t.Errorf("LastError = %q, want %q", got, reason)
		}
		if err := s.Reload(); err == nil != (reason == "") {
			t.Errorf("Reload: %v, want %q", err, reason)
		}
	}

	// The certificate of a new pair without its key: kept, and said once.
	second := &issued{CertificateConfig: first.CertificateConfig, ca: ca, key: newKey(t, "ecdsa")}
	second.cert = ca.sign(first.cert, second.key.Public(), ca.cert)
	writeFile(t, second.CertFile, second.chainPEM())
	for range 3 {
		s.Check()
	}
	wantServes(t, servers[0], first)
	wantInError(1, "the key is not that of the certificate")
	if n := log.count("cannot be used"); n != 1 {
		t.Errorf("said %d times, want once", n)
	}

	// The key follows.
	second.write()
	s.Check()
	for _, x := range servers {
		wantServes(t, x, second)
	}
	wantInError(0, "")

	// Junk, an empty file, no file.
	for i, text := range []string{"junk", "", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		writeFile(t, second.CertFile, []byte(text))
		s.Check()
		wantServes(t, servers[0], second)
		wantInError(1, second.CertFile)
		if n := log.count("cannot be used"); n != i+2 {
			t.Errorf("said %d times, want %d", n, i+2)
		}
	}
	if err := os.Remove(second.CertFile); err != nil {
		t.Fatal(err)
	}
	s.Check()
	wantServes(t, servers[0], second)
	wantInError(1, "no such file")

	// The same pair comes back.
	second.write()
	s.Check()
	wantServes(t, servers[0], second)
	wantInError(0, "")

	for _, x := range servers {
		x.Close()
		x.Close()
	}
	if len(s.sources) != 0 || len(s.contexts) != 0 {
		t.Errorf("%d sources and %d contexts are left", len(s.sources), len(s.contexts))
	}
}

func TestSwapOfCAAndCRL(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, other := newAuthority(t, "root"), newAuthority(t, "other")
	own := ca.issue(dir, "server", "ecdsa", []string{"a.example"}, nil)
	client := other.issue(dir, "client", "ecdsa", nil, nil)
	caFile := ca.file(dir, "ca.crt")
	s := NewStore(StoreOptions{})
	x, err := s.Server(&DownstreamConfig{Certificates: []CertificateConfig{own.CertificateConfig}, ClientCAFile: caFile})
	if err != nil {
		t.Fatal(err)
	}
	try := func(want Failure) {
		t.Helper()
		cfg := asking("a.example", nil)
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			c := client.tls()
			return &c, nil
		}
		if out := handshake(t, x.TLS(), cfg); FailureOf(out.serverErr) != want {
			t.Errorf("failure %v, want %v", out.serverErr, want)
		}
	}
	try(FailVerify)
	other.file(dir, "ca.crt")
	s.Check()
	try(FailNone)
	x.Close()
	crl := crlFile(t, filepath.Join(dir, "a.crl"), time.Now().Add(time.Hour), nil, other)
	x, err = s.Server(&DownstreamConfig{Certificates: []CertificateConfig{own.CertificateConfig}, ClientCAFile: caFile, CRLFile: crl})
	if err != nil {
		t.Fatal(err)
	}
	try(FailNone)
	crlFile(t, crl, time.Now().Add(time.Hour), []*x509.Certificate{client.cert}, other)
	s.Check()
	try(FailVerify)
}

// kubernetes lays files out as a mounted secret: links to ..data, a link to a directory, which is replaced.
type kubernetes struct {
	dir string
	n   int
}

func (k *kubernetes) publish(t *testing.T, files map[string][]byte) {
	t.Helper()
	k.n++
	version := fmt.Sprintf("..2026_%d", k.n)
	if err := os.Mkdir(filepath.Join(k.dir, version), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		writeFile(t, filepath.Join(k.dir, version, name), data)
	}
	next := filepath.Join(k.dir, "..data_tmp")
	if err := os.Symlink(version, next); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(k.dir, "..data")); err != nil {
		t.Fatal(err)
	}
	for name := range files {
		os.Symlink(filepath.Join("..data", name), filepath.Join(k.dir, name)) // there already the second time
	}
	if k.n > 1 {
		if err := os.RemoveAll(filepath.Join(k.dir, fmt.Sprintf("..2026_%d", k.n-1))); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRunSwapsUnderHandshakes swaps a pair as Kubernetes does, again and again, while clients shake hands.
func TestRunSwapsUnderHandshakes(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "root")
	k := &kubernetes{dir: t.TempDir()}
	publish := func() *issued {
		c := ca.issue(t.TempDir(), "a", "ecdsa", []string{"a.example"}, nil)
		key, err := os.ReadFile(c.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		k.publish(t, map[string][]byte{"tls.crt": c.chainPEM(), "tls.key": key})
		return c
	}
	last := publish()
	log := newLogbook()
	s := NewStore(StoreOptions{Log: log.logger()})
	x, err := s.Server(&DownstreamConfig{Certificates: []CertificateConfig{
		{CertFile: filepath.Join(k.dir, "tls.crt"), KeyFile: filepath.Join(k.dir, "tls.key")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	for range 4 {
		wg.Go(func() {
			cfg := &tls.Config{RootCAs: ca.pool(), ServerName: "a.example", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
			for ctx.Err() == nil {
				if out := handshake(t, x.TLS().Clone(), cfg); out.clientErr != nil || out.serverErr != nil {
					t.Errorf("during a swap: %v, %v", out.clientErr, out.serverErr)
					return
				}
			}
		})
	}
	for range 3 {
		last = publish()
		log.waitFor(t, "certificate swapped")
	}
	cancel()
	wg.Wait()
	wantServes(t, x, last)
	if n := log.count("cannot be used"); n != 0 {
		t.Errorf("%d swaps were refused", n)
	}
}

// TestRunSeesRename: a file is renamed over the old one, as editors and certbot do, in a directory that the
// watcher learns of while it runs.
func TestRunSeesRename(t *testing.T) {
	t.Parallel()
	log := newLogbook()
	s := NewStore(StoreOptions{Log: log.logger()})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	dir := t.TempDir()
	ca := newAuthority(t, "root")
	first := ca.issue(dir, "a", "ecdsa", []string{"a.example"}, nil)
	x, err := s.Server(&DownstreamConfig{Certificates: []CertificateConfig{first.CertificateConfig}})
	if err != nil {
		t.Fatal(err)
	}
	second := ca.issue(t.TempDir(), "a", "ecdsa", []string{"a.example"}, nil)
	for from, to := range map[string]string{second.KeyFile: first.KeyFile, second.CertFile: first.CertFile} {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, to+".new", data)
		if err := os.Rename(to+".new", to); err != nil {
			t.Fatal(err)
		}
	}
	log.waitFor(t, "certificate swapped")
	wantServes(t, x, second)
}

func TestSettle(t *testing.T) {
	t.Parallel()
	running, first := settle(nil, time.Time{})
	if running == nil || time.Since(first) > time.Minute {
		t.Fatal("an event does not start the clock")
	}
	_, again := settle(running, first)
	if again != first {
		t.Error("a later event moves the limit")
	}
	done, _ := settle(running, time.Now().Add(-2*settleMax))
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("events without end put reading off for ever")
	}
}
