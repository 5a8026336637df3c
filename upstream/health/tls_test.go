package health

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"millrace/engine/certs"
	"millrace/upstream"
)

// tlsProbeOf is probeOf for a host that speaks TLS with the certificate in ca.
func tlsProbeOf(t *testing.T, addr, ca string, h upstream.HealthCheckConfig, edit func(*certs.UpstreamConfig)) probe {
	t.Helper()
	store := certs.NewStore(certs.StoreOptions{})
	u := &certs.UpstreamConfig{
		SNI: "example.com", CAFile: ca, TrustChainVerification: "verify_trust_chain", MinVersion: "1.2", MaxVersion: "1.3",
		MaxSessionKeys: 1, HandshakeTimeout: 15 * time.Second,
	}
	if edit != nil {
		edit(u)
	}
	client, err := store.Client(u)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	cfg := upstream.DefaultConfig("web")
	cfg.TLS, cfg.HealthChecks = u, []upstream.HealthCheckConfig{h}
	p := newProbes(&cfg, client)(context.Background(), hostAt(t, &cfg, addr))
	t.Cleanup(p.end)
	return p
}

// tlsServer starts a server of both versions of HTTP. Requests say in a header what they came by.
func tlsServer(t *testing.T) (s *httptest.Server, ca string, seen chan *http.Request) {
	t.Helper()
	seen = make(chan *http.Request, 8)
	s = httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r }))
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{NextProtos: []string{"h2", "http/1.1"}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s, ca, seen
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s, ca, seen := tlsServer(t)
	addr := s.Listener.Addr().String()
	eachVersion(t, func(t *testing.T, h upstream.HealthCheckConfig) {
		want := map[string]string{"http1": "http/1.1", "http2": "h2"}[h.CodecClientType]
		p := tlsProbeOf(t, addr, ca, h, nil)
		for range 2 {
			wantCheck(t, p, Result{})
			if r := <-seen; r.TLS.NegotiatedProtocol != want || r.TLS.ServerName != "example.com" {
				t.Errorf("ALPN %q, SNI %q; want %q, example.com", r.TLS.NegotiatedProtocol, r.TLS.ServerName, want)
			}
		}
		wrong := func(u *certs.UpstreamConfig) { u.SNI = "other.test" }
		wantCheck(t, tlsProbeOf(t, addr, ca, h, wrong), Result{Outcome: Network})
	})
}

func TestTLSNames(t *testing.T) {
	t.Parallel()
	s, ca, seen := tlsServer(t)
	addr := s.Listener.Addr().String()
	h := upstream.DefaultHealthCheckConfig("http")
	h.Path, h.Host, h.ALPN = "/", "other.test:8443", []string{"http/1.1", "x"}
	auto := func(u *certs.UpstreamConfig) { u.SNI, u.AutoSNI = "", true }
	p := tlsProbeOf(t, addr, ca, h, auto)
	wantCheck(t, p, Result{Outcome: Network}) // that is not in the certificate
	h.Host = "example.com:8443"
	wantCheck(t, tlsProbeOf(t, addr, ca, h, auto), Result{})
	if r := <-seen; r.TLS.ServerName != "example.com" {
		t.Errorf("SNI %q", r.TLS.ServerName)
	}
	h.CodecClientType = "http2" // not what ALPN leads to
	wantCheck(t, tlsProbeOf(t, addr, ca, h, auto), Result{Outcome: Network})
	wantCheck(t, tlsProbeOf(t, addr, ca, upstream.DefaultHealthCheckConfig("tcp"), nil), Result{})
}

func TestTLSGRPC(t *testing.T) {
	t.Parallel()
	s, ca, _ := tlsServer(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: s.TLS.Certificates})))
	healthpb.RegisterHealthServer(g, grpchealth.NewServer())
	go g.Serve(l)
	defer g.Stop()
	p := tlsProbeOf(t, l.Addr().String(), ca, upstream.DefaultHealthCheckConfig("grpc"), nil)
	wantCheck(t, p, Result{})
	wantCheck(t, p, Result{})
}

// TestTLSSilent: a host that does not answer the handshake is late, not for ever.
func TestTLSSilent(t *testing.T) {
	t.Parallel()
	_, ca, _ := tlsServer(t)
	addr := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	h := upstream.DefaultHealthCheckConfig("tcp")
	if r := tlsProbeOf(t, addr, ca, h, nil).check(time.Now().Add(50 * time.Millisecond)); r.Outcome != Timeout {
		t.Errorf("check = %+v, want a timeout", r)
	}
}
