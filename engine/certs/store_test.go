package certs

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

// TestStoreFromManyGoroutines opens, closes, lists, reloads and swaps at once; the race detector watches.
func TestStoreFromManyGoroutines(t *testing.T) {
	t.Parallel()
	const rounds = 20
	dir := t.TempDir()
	ca := newAuthority(t, "root")
	c := ca.issue(dir, "a", "ecdsa", []string{"a.example"}, nil)
	caFile := ca.file(dir, "ca.crt")
	s := NewStore(StoreOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	var run, wg sync.WaitGroup
	run.Go(func() { s.Run(ctx) })
	for range 3 {
		wg.Go(func() {
			for range rounds {
				x, err := s.Server(&DownstreamConfig{Certificates: []CertificateConfig{c.CertificateConfig}, ClientCAFile: caFile})
				if err != nil {
					t.Error(err)
					return
				}
				x.UsedBy("listener a")
				if out := handshake(t, x.TLS(), asking("a.example", nil)); out.clientErr != nil {
					t.Error(out.clientErr)
				}
				x.Close()
			}
		})
		wg.Go(func() {
			for range rounds {
				x, err := s.Client(&UpstreamConfig{CAFile: caFile, SNI: "a.example"})
				if err != nil {
					t.Error(err)
					return
				}
				if x.Config().SNI != "a.example" || x.KeyLog() != nil || x.TLS().ServerName != "a.example" {
					t.Error("a client that is not what was asked for")
				}
				x.Close()
			}
		})
	}
	wg.Go(func() {
		for range rounds {
			writeFile(t, caFile+".new", append(pemText("CERTIFICATE", ca.cert.Raw), pemText("CERTIFICATE", newAuthority(t, "more").cert.Raw)...))
			if err := os.Rename(caFile+".new", caFile); err != nil {
				t.Error(err)
			}
			s.List()
			s.Contexts()
			s.Stats()
			s.Check()
		}
	})
	wg.Wait()
	if err := s.Reload(); err != nil {
		t.Error(err)
	}
	cancel()
	run.Wait()
	if len(s.sources) != 0 || len(s.contexts) != 0 {
		t.Errorf("%d sources and %d contexts are left", len(s.sources), len(s.contexts))
	}
}

// BenchmarkTLS is what a handshake pays for a config that may be swapped.
func BenchmarkTLS(b *testing.B) {
	c := newAuthority(b, "root").issue(b.TempDir(), "a", "ecdsa", []string{"a.example"}, nil)
	x := newServer(b, &DownstreamConfig{Certificates: []CertificateConfig{c.CertificateConfig}})
	b.ReportAllocs()
	for b.Loop() {
		if x.TLS() == nil {
			b.Fatal("no config")
		}
	}
}

// BenchmarkLoadPair is what a swap costs for each pair.
func BenchmarkLoadPair(b *testing.B) {
	for _, kind := range []string{"ecdsa", "rsa"} {
		b.Run(kind, func(b *testing.B) {
			c := newAuthority(b, "root").intermediate("between").issue(b.TempDir(), "a", kind, []string{"a.example"}, nil)
			paths := []string{c.CertFile, c.KeyFile}
			for b.Loop() {
				src := &source{kind: kindPair, paths: paths, stamps: make([]stamp, 2)}
				if src.refresh(time.Now()); src.err != nil {
					b.Fatal(src.err)
				}
			}
		})
	}
}

// BenchmarkGetCertificate is the choice by name among many.
func BenchmarkGetCertificate(b *testing.B) {
	dir, ca := b.TempDir(), newAuthority(b, "root")
	var list []CertificateConfig
	for i := range 100 {
		list = append(list, ca.issue(dir, fmt.Sprintf("c%d", i), "ecdsa", []string{fmt.Sprintf("c%d.example", i)}, nil).CertificateConfig)
	}
	get, hello := newServer(b, &DownstreamConfig{Certificates: list}).TLS().GetCertificate, &tls.ClientHelloInfo{ServerName: "c77.example"}
	b.ReportAllocs()
	for b.Loop() {
		if c, err := get(hello); c == nil || err != nil {
			b.Fatal(err)
		}
	}
}
