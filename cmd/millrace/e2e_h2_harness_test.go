package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// h2Versions are the pairs of versions that requests travel through: downstream is always HTTP/2.
var h2Versions = []struct{ name, cluster string }{
	{"h2 to h1", ""},
	{"h2 to h2", `"protocol": "http2"`},
}

// goPeer returns the path of a program in Go that bench/peers builds, or skips the test.
func goPeer(t *testing.T, name string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	path := filepath.Join(cache, "millrace", "peers", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is not there: make peers builds it", name)
	}
	return path
}

// output runs a program and returns all that it prints; a failed exit fails the test.
func output(t *testing.T, path string, args ...string) string {
	t.Helper()
	out, err := run(t, path, args...)
	if err != nil {
		t.Errorf("%s %q: %v\n%s", filepath.Base(path), args, err, out)
	}
	return out
}

// run runs a program for as long as three waits and returns all that it prints.
func run(t *testing.T, path string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*waitMax)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// bothVersions starts a net/http server that speaks HTTP/1.1 and, with prior knowledge, HTTP/2.
func bothVersions(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	return ln.Addr().String()
}

// h2Transport is a client of its own that speaks HTTP/2 with prior knowledge.
func h2Transport(t *testing.T) *http.Transport {
	t.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// port returns the port of the only listener.
func (p *proxy) port() string {
	p.t.Helper()
	_, port, err := net.SplitHostPort(p.addr(""))
	if err != nil {
		p.t.Fatal(err)
	}
	return port
}

// wantQuiet checks that nothing is left of any request.
func (p *proxy) wantQuiet() {
	p.t.Helper()
	for _, name := range []string{"http.e2e.downstream_rq_active", "cluster.web.upstream_rq_active", "cluster.web.upstream_rq_pending_active"} {
		p.wantStat(name, 0)
	}
}

// sizedBody answers "/N" with N bytes, whatever the request brings.
func sizedBody(w http.ResponseWriter, r *http.Request) {
	n := 0
	_, _ = fmt.Sscanf(r.URL.Path, "/%d", &n)
	b := []byte(strings.Repeat("x", min(n, 64<<10)))
	for n > 0 {
		k, err := w.Write(b[:min(n, len(b))])
		if n -= k; err != nil {
			return
		}
	}
}
