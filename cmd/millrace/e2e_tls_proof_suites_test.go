package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestTLSH2Spec: every case of h2spec over TLS.
func TestTLSH2Spec(t *testing.T) {
	t.Parallel()
	path := goPeer(t, "h2spec")
	a := newAuthority(t)
	a.issue("shop", "127.0.0.1")
	p := tlsEdge{
		host: origin(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, "hello")
		}),
		tls: fmt.Sprintf(`{"certificates": [%s], "alpn": ["h2", "http/1.1"]}`, a.pair("shop")),
	}.start(t)
	file := filepath.Join(t.TempDir(), "junit.xml")
	out, _ := run(t, path, "-t", "-k", "-h", "127.0.0.1", "-p", p.port(), "-P", "/", "-o", "4", "-S", "-j", file)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	checkH2Spec(t, text, "", out)
	p.wantQuiet()
	p.wantStat("http.e2e.downstream_cx_active", 0)
}

// TestTLSGRPCInterop: the gRPC project's client and server, every case, with TLS on both sides of the proxy.
func TestTLSGRPCInterop(t *testing.T) {
	t.Parallel()
	client, server := goPeer(t, "grpc-interop-client"), goPeer(t, "grpc-interop-server")
	a := newAuthority(t)
	a.issue("shop", "grpc.example.com")
	port := strconv.Itoa(freePort(t))
	peer(t, server, "--port="+port, "--use_tls=true", "--tls_cert_file="+a.path("shop.crt"), "--tls_key_file="+a.path("shop.key"))
	host := net.JoinHostPort("127.0.0.1", port)
	waitListening(t, host)
	p := startProxy(t, fmt.Sprintf(`{"concurrency": 1, "listeners": [{"address": "127.0.0.1:0", "tls": {"certificates": [%s], "alpn": ["h2"]},
 "filters": [{"name": "http_connection_manager", "config": {"stat_prefix": "e2e", "route_config": {"routes": [
  {"match": {"prefix": "/"}, "route": {"cluster": "web", "timeout": "0s"}}]}}}]}],
 "clusters": [{"name": "web", "protocol": "auto", "hosts": [%q], "tls": {"sni": "grpc.example.com", "ca_file": %q}}]}`, a.pair("shop"), host, a.path("ca.crt")))
	for _, name := range interopCases {
		out, ok := "", false
		for try := 0; !ok && try < interopTries[name]+1; try++ {
			var err error
			out, err = run(t, client, "--server_host=127.0.0.1", "--server_port="+p.port(), "--use_tls=true", "--use_test_ca=true", "--ca_file="+a.path("ca.crt"),
				"--server_host_override=grpc.example.com", "--test_case="+name)
			ok = err == nil && !strings.Contains(out, "FATAL")
		}
		if !ok {
			t.Errorf("%s:\n%s", name, out)
		}
	}
	p.wantQuiet()
}

// TestTLSH2Load: load from nghttp2's tool, in both versions of TLS and of HTTP, and no request fails.
func TestTLSH2Load(t *testing.T) {
	t.Parallel()
	client := lookPeer(t, "h2load")
	a := newAuthority(t)
	a.issue("shop", "127.0.0.1")
	p := tlsEdge{host: origin(t, sizedBody), tls: fmt.Sprintf(`{"certificates": [%s], "alpn": ["h2", "http/1.1"]}`, a.pair("shop")), loops: 2}.start(t)
	for _, args := range [][]string{
		{"-c", "8", "-m", "10"}, {"-c", "8", "-m", "10", "-w", "12"}, {"-c", "20", "--h1"}, {"-c", "8", "-m", "10", "--tls13-ciphers=TLS_CHACHA20_POLY1305_SHA256"},
	} {
		out := output(t, client, append(args, "-n", "2000", "https://"+p.addr("")+"/20000")...)
		if !strings.Contains(out, "2000 succeeded, 0 failed, 0 errored, 0 timeout") {
			t.Errorf("h2load %q:\n%s", args, out)
		}
	}
	p.wantQuiet()
	p.wantStat("listener.edge.ssl.connection_error", 0)
}

// TestTLSWebSocketLibrary: the client ws of npm over wss, every message it can make.
func TestTLSWebSocketLibrary(t *testing.T) {
	t.Parallel()
	lib, node := goPeer(t, "node_modules/ws"), lookPeer(t, "node")
	script, err := filepath.Abs("testdata/websocket/peer.js")
	if err != nil {
		t.Fatal(err)
	}
	a := newAuthority(t)
	a.issue("shop", "localhost")
	port := freePort(t)
	peer(t, node, script, lib, "serve", fmt.Sprint(port))
	host := fmt.Sprintf("127.0.0.1:%d", port)
	waitListening(t, host)
	p := tlsEdge{
		host: host, extra: webSockets, route: `"timeout": "0s"`,
		tls: fmt.Sprintf(`{"certificates": [%s], "alpn": ["h2", "http/1.1"]}`, a.pair("shop")),
	}.start(t)
	out := output(t, lookPeer(t, "env"), "NODE_EXTRA_CA_CERTS="+a.path("ca.crt"), node, script, lib, "drive", "wss://localhost:"+p.port()+"/")
	if !strings.HasSuffix(strings.TrimSpace(out), "all messages came back") {
		t.Errorf("the client says %q", out)
	}
	p.wantStat("http.e2e.downstream_cx_upgrades_active", 0)
}
