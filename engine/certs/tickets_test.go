package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A clock is the time of a store, set by hand.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.offset.Load())) }

func (c *clock) advance(d time.Duration) { c.offset.Add(int64(d)) }

// resumes reports whether a client that shook hands with first resumes with second.
func resumes(t *testing.T, first, second *tls.Config, version uint16) bool {
	t.Helper()
	client := asking("a.example", nil)
	client.MaxVersion = version
	client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for i, server := range []*tls.Config{first, second} {
		out := handshake(t, server, client)
		if out.clientErr != nil || out.serverErr != nil {
			t.Fatalf("handshake %d: %v, %v", i, out.clientErr, out.serverErr)
		}
		if i == 1 {
			return out.server.DidResume
		}
	}
	return false
}

func TestResumption(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t, "root")
	own := []CertificateConfig{ca.issue(dir, "a", "ecdsa", []string{"a.example"}, nil).CertificateConfig}
	renewed := []CertificateConfig{ca.issue(dir, "a2", "ecdsa", []string{"a.example"}, func(c *x509.Certificate) { c.Subject.CommonName = "a" }).CertificateConfig}
	others := []CertificateConfig{ca.issue(dir, "b", "ecdsa", []string{"a.example", "b.example"}, nil).CertificateConfig}
	caFile := ca.file(dir, "ca.crt")
	key1, key2 := filepath.Join(dir, "1.key"), filepath.Join(dir, "2.key")
	writeFile(t, key1, bytes.Repeat([]byte{1}, ticketKeyBytes))
	writeFile(t, key2, bytes.Repeat([]byte{2}, ticketKeyBytes))
	k1, k2, k21 := []string{key1}, []string{key2}, []string{key2, key1}
	for _, tt := range []struct {
		name          string
		shared        bool // one store
		first, second DownstreamConfig
		want          bool
	}{
		{"same chain", true, DownstreamConfig{Certificates: own}, DownstreamConfig{Certificates: own}, true},
		{"renewed certificate", true, DownstreamConfig{Certificates: own}, DownstreamConfig{Certificates: renewed}, true},
		{"other process", false, DownstreamConfig{Certificates: own}, DownstreamConfig{Certificates: own}, false},
		{"other process, key file", false, DownstreamConfig{Certificates: own, SessionTicketKeyFiles: k1},
			DownstreamConfig{Certificates: own, SessionTicketKeyFiles: k1}, true},
		{"key before", false, DownstreamConfig{Certificates: own, SessionTicketKeyFiles: k1},
			DownstreamConfig{Certificates: own, SessionTicketKeyFiles: k21}, true},
		{"key gone", false, DownstreamConfig{Certificates: own, SessionTicketKeyFiles: k1},
			DownstreamConfig{Certificates: own, SessionTicketKeyFiles: k2}, false},
		{"first key encrypts", false, DownstreamConfig{Certificates: own, SessionTicketKeyFiles: k21},
			DownstreamConfig{Certificates: own, SessionTicketKeyFiles: k1}, false},
		{"other names", true, DownstreamConfig{Certificates: own}, DownstreamConfig{Certificates: others}, false},
		{"other demands", true, DownstreamConfig{Certificates: own}, DownstreamConfig{Certificates: own, ClientCAFile: caFile}, false},
		{"other ALPN", true, DownstreamConfig{Certificates: own}, DownstreamConfig{Certificates: own, ALPN: []string{"h2"}}, false},
		{"off", true, DownstreamConfig{Certificates: own, DisableStatelessSessionResumption: true},
			DownstreamConfig{Certificates: own, DisableStatelessSessionResumption: true}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s1 := NewStore(StoreOptions{})
			s2 := s1
			if !tt.shared {
				s2 = NewStore(StoreOptions{})
			}
			first, err := s1.Server(&tt.first)
			if err != nil {
				t.Fatal(err)
			}
			second, err := s2.Server(&tt.second)
			if err != nil {
				t.Fatal(err)
			}
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				// A transport clones the config for each connection.
				if got := resumes(t, first.TLS().Clone(), second.TLS().Clone(), version); got != tt.want {
					t.Errorf("version %x: resumed %t, want %t", version, got, tt.want)
				}
			}
		})
	}
}

func TestSessionTimeout(t *testing.T) {
	t.Parallel()
	c := newAuthority(t, "root").issue(t.TempDir(), "a", "ecdsa", []string{"a.example"}, nil)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, tt := range []struct {
			age  time.Duration
			want bool
		}{{0, true}, {59 * time.Minute, true}, {61 * time.Minute, false}} {
			var now clock
			x, err := NewStore(StoreOptions{Now: now.now}).Server(&DownstreamConfig{Certificates: []CertificateConfig{c.CertificateConfig}, SessionTimeout: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			client := asking("a.example", nil)
			client.MaxVersion, client.Time = version, now.now
			client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			handshake(t, x.TLS(), client)
			now.advance(tt.age)
			if out := handshake(t, x.TLS(), client); out.serverErr != nil || out.server.DidResume != tt.want {
				t.Errorf("version %x, session of %v: resumed %t, %v; want %t", version, tt.age, out.server.DidResume, out.serverErr, tt.want)
			}
		}
	}
}

func TestTicketKeysTurn(t *testing.T) {
	t.Parallel()
	c := newAuthority(t, "root").issue(t.TempDir(), "a", "ecdsa", []string{"a.example"}, nil)
	var now clock
	s := NewStore(StoreOptions{Now: now.now})
	x, err := s.Server(&DownstreamConfig{Certificates: []CertificateConfig{c.CertificateConfig}, SessionTimeout: sessionTimeoutMax})
	if err != nil {
		t.Fatal(err)
	}
	first := x.TLS()
	s.Check()
	if x.TLS() != first {
		t.Error("the config was made anew without a reason")
	}
	client := asking("a.example", nil)
	client.Time = now.now
	client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	handshake(t, x.TLS(), client)
	now.advance(ticketKeyEvery)
	s.Check()
	if x.TLS() == first {
		t.Error("the ticket keys did not turn")
	}
	if out := handshake(t, x.TLS(), client); !out.server.DidResume {
		t.Errorf("a session under the key before is not resumed: %v", out.serverErr)
	}
	for range 100 {
		now.advance(ticketKeyEvery)
		s.Check()
	}
	if got, most := len(s.keys.keys), int(sessionTimeoutMax/ticketKeyEvery)+1; got > most {
		t.Errorf("%d keys are kept, want at most %d", got, most)
	}
}

func TestTicketKeyFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := newAuthority(t, "root").issue(dir, "a", "ecdsa", []string{"a.example"}, nil)
	path := filepath.Join(dir, "ticket.key")
	for _, n := range []int{1, 48, ticketKeyBytes - 1, ticketKeyBytes + 1, 4096} {
		writeFile(t, path, make([]byte, n))
		_, err := NewStore(StoreOptions{}).Server(&DownstreamConfig{Certificates: []CertificateConfig{c.CertificateConfig}, SessionTicketKeyFiles: []string{path}})
		if err == nil || !strings.Contains(err.Error(), path) || !strings.HasPrefix(err.Error(), "session_ticket_key_files[0]: ") {
			t.Errorf("file of %d bytes: %v", n, err)
		}
	}
	writeFile(t, path, bytes.Repeat([]byte{1}, ticketKeyBytes))
	s := NewStore(StoreOptions{})
	x, err := s.Server(&DownstreamConfig{Certificates: []CertificateConfig{c.CertificateConfig}, SessionTicketKeyFiles: []string{path}})
	if err != nil {
		t.Fatal(err)
	}
	before := x.TLS()
	writeFile(t, path, bytes.Repeat([]byte{2}, ticketKeyBytes))
	s.Check()
	if resumes(t, before, x.TLS(), 0) {
		t.Error("a session under a key that is gone is resumed")
	}
}

func TestTicketKeysOfScopes(t *testing.T) {
	t.Parallel()
	secrets := [][]byte{{1}, {2}}
	a, b := ticketKeys(secrets, sha256.Sum256([]byte("a"))), ticketKeys(secrets, sha256.Sum256([]byte("b")))
	seen := map[[32]byte]bool{}
	for _, k := range append(a, b...) {
		if seen[k] {
			t.Errorf("key %x twice", k)
		}
		seen[k] = true
	}
}
