package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// kernelEnv says that the kernel has TLS: bench/ktls sets it in its machine. The tests that need none run everywhere.
const kernelEnv = "MILLRACE_KTLS"

// kernelEdge starts a proxy with kernel TLS in front of h.
func kernelEdge(t *testing.T, h http.HandlerFunc) (*authority, *proxy) {
	t.Helper()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	p := tlsEdge{
		host:  origin(t, h),
		tls:   fmt.Sprintf(`{"certificates": [%s], "alpn": ["h2", "http/1.1"], "kernel_tls": "auto"}`, a.pair("shop")),
		extra: `"upgrades": ["x"]`, route: `"timeout": "0s"`, // a machine in a machine is slow
	}.start(t)
	suites := p.stat("tls.kernel_tls_suites")
	if os.Getenv(kernelEnv) != "" && suites != 6 {
		t.Fatalf("the kernel can do %d versions with a cipher", suites)
	}
	if found := strings.Contains(p.logText(), "no kernel TLS"); found != (suites == 0) {
		t.Errorf("%d suites; the log says that there is no kernel TLS: %t", suites, found)
	}
	return a, p
}

// wantKernel checks how many connections have gone over to the kernel, where there is one.
func (p *proxy) wantKernel(conns int64) {
	p.t.Helper()
	if p.stat("tls.kernel_tls_suites") == 0 {
		conns = 0
	}
	p.wantStat("listener.edge.ssl.kernel_tls", conns)
	if spliced := p.stat("server.loop_spliced_bytes"); (spliced > 0) != (conns > 0) {
		p.t.Errorf("%d bytes were spliced", spliced)
	}
	p.wantStat("listener.edge.ssl.kernel_tls_refused", 0)
	p.wantStat("server.loop_conns_leftover", 0)
}

// TestKernelTLS: large bodies arrive whole, however they are framed, with small answers in between, whether the kernel has TLS or not.
func TestKernelTLS(t *testing.T) {
	t.Parallel()
	body := noise(4 << 20)
	a, p := kernelEdge(t, serveNoise(body))
	conns := int64(0)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client := a.tlsClient(p.addr(""), "shop.example.com", func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version })
		for range 2 {
			for _, path := range []string{"/small", "/length", "/small", "/chunked", "/close"} {
				resp, err := client.Get("https://shop.example.com" + path)
				if err != nil {
					t.Fatal(err)
				}
				want := string(body)
				if path == "/small" {
					want = path[1:]
				}
				if got := bodyOf(t, resp); got != want {
					t.Errorf("TLS %x, %s: %d bytes arrived, and are not the %d sent", version, path, len(got), len(want))
				}
			}
		}
		conns++
	}
	p.wantKernel(conns)
	// HTTP/2 does not use it.
	client := a.tlsClient(p.addr(""), "shop.example.com", nil, "h2")
	resp, err := client.Get("https://shop.example.com/length")
	if err != nil {
		t.Fatal(err)
	}
	if got := bodyOf(t, resp); got != string(body) || resp.ProtoMajor != 2 {
		t.Errorf("HTTP/%d: %d bytes", resp.ProtoMajor, len(got))
	}
	p.wantKernel(conns)
}

// TestKernelTLSSlow: a client that reads slowly gets a body to its last byte, and close_notify behind it, although the proxy is done long before.
func TestKernelTLSSlow(t *testing.T) {
	t.Parallel()
	body := noise(6 << 20)
	a, p := kernelEdge(t, serveNoise(body))
	c := a.rawTLS(p.addr(""), "shop.example.com", nil)
	c.send("GET /length HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n")
	c.wantHead("HTTP/1.1 200")
	_ = c.SetDeadline(time.Now().Add(10 * waitMax))
	got := make([]byte, 0, len(body))
	for b := make([]byte, 8<<10); ; time.Sleep(50 * time.Microsecond) {
		n, err := c.r.Read(b)
		got = append(got, b[:n]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("after %d bytes: %v", len(got), err)
		}
	}
	if !bytes.Equal(got, body) {
		t.Errorf("%d bytes arrived, and are not the %d sent", len(got), len(body))
	}
	p.wantKernel(1)
}

// TestKernelTLSTunnel: a tunnel of TCP carries bulk both ways at once, and ends in order.
func TestKernelTLSTunnel(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	body := noise(4 << 20)
	host := rawOrigin(t, func(c *rawConn) {
		written := make(chan struct{})
		go func() {
			_, _ = c.Write(body)
			c.closeWrite()
			close(written)
		}()
		if got := c.bytes(1 << 20); got != string(body[:1<<20]) {
			t.Errorf("the host got %d bytes that differ", len(got))
		}
		<-written
	})
	p := tunnel{hosts: []string{host}, listener: fmt.Sprintf(`"tls": {"certificates": [%s], "kernel_tls": "auto"}`, a.pair("shop"))}.start(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c := a.rawTLS(p.addr(""), "shop.example.com", func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version })
		_ = c.SetDeadline(time.Now().Add(10 * waitMax))
		go func() { _, _ = c.Write(body[:1<<20]) }()
		if got, err := io.ReadAll(c.r); string(got) != string(body) || err != nil {
			t.Errorf("TLS %x: %d bytes arrived, %v", version, len(got), err)
		}
		_ = c.Close()
	}
	if spliced := p.stat("server.loop_spliced_bytes"); (spliced > 0) != (p.stat("tls.kernel_tls_suites") > 0) {
		t.Errorf("%d bytes were spliced", spliced)
	}
}

// TestKernelTLSBulk: 100 MiB to one client.
func TestKernelTLSBulk(t *testing.T) {
	if os.Getenv(kernelEnv) == "" {
		t.Skip("only where the kernel has TLS: make test-ktls")
	}
	body := noise(100 << 20)
	a, p := kernelEdge(t, serveNoise(body))
	client := a.tlsClient(p.addr(""), "shop.example.com", nil)
	client.Timeout = 10 * waitMax
	resp, err := client.Get("https://shop.example.com/length")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	if !bytes.Equal(got, body) || err != nil {
		t.Errorf("%d bytes arrived, %v", len(got), err)
	}
	if spliced := p.stat("server.loop_spliced_bytes"); spliced < 90<<20 {
		t.Errorf("%d bytes were spliced", spliced)
	}
	p.wantKernel(1)
}
