package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/dynamicpb"
)

// tlsOf is the "tls" of a cluster whose hosts show c.
func tlsOf(c certificate, more string) string {
	return fmt.Sprintf(`"tls": {"sni": "web.internal", "ca_file": %q%s}`, c.cert, leadingComma(more))
}

// serveHTTPS serves h with TLS and returns the address.
func serveHTTPS(t *testing.T, cfg *tls.Config, h http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(slices.Contains(cfg.NextProtos, "h2"))
	srv := &http.Server{Handler: h, TLSConfig: cfg.Clone(), Protocols: p, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = srv.Serve(tls.NewListener(ln, cfg)) }()
	t.Cleanup(func() { _ = srv.Close() })
	return ln.Addr().String()
}

// hostFacts answers with what a request came by.
func hostFacts(w http.ResponseWriter, r *http.Request) {
	client := "-"
	if len(r.TLS.PeerCertificates) > 0 {
		client = r.TLS.PeerCertificates[0].DNSNames[0]
	}
	fmt.Fprintf(w, "%s sni=%s alpn=%s resumed=%v client=%s", r.Proto, r.TLS.ServerName, r.TLS.NegotiatedProtocol, r.TLS.DidResume, client)
}

// rawTLS hands each connection to serve after its handshake, and returns the address.
func rawTLS(t *testing.T, cfg *tls.Config, serve func(c *tls.Conn, r *bufio.Reader)) string {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(waitMax))
				if tc := c.(*tls.Conn); tc.Handshake() == nil {
					serve(tc, bufio.NewReader(tc))
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// readRequest reads a head.
func readRequest(r *bufio.Reader) bool {
	for {
		line, err := r.ReadString('\n')
		if err != nil || line == "\r\n" {
			return err == nil
		}
	}
}

// TestTLSUpstreamProtocols: what a cluster asks for meets what a host agrees to.
func TestTLSUpstreamProtocols(t *testing.T) {
	t.Parallel()
	c := newCertificate(t, "web.internal")
	for _, tt := range []struct {
		protocol, offered string
		want              string
		status            int
	}{
		{"http1", "h2,http/1.1", "HTTP/1.1 sni=web.internal alpn=http/1.1", 200},
		{"http1", "", "HTTP/1.1 sni=web.internal alpn= ", 200},
		{"http2", "h2,http/1.1", "HTTP/2.0 sni=web.internal alpn=h2", 200},
		{"http2", "http/1.1", "remote connection failure", 503},
		{"auto", "h2,http/1.1", "HTTP/2.0 sni=web.internal alpn=h2", 200},
		{"auto", "http/1.1", "HTTP/1.1 sni=web.internal alpn=http/1.1", 200},
		{"auto", "", "HTTP/1.1 sni=web.internal alpn= ", 200},
	} {
		t.Run(tt.protocol+" to "+tt.offered, func(t *testing.T) {
			t.Parallel()
			cfg := &tls.Config{Certificates: []tls.Certificate{c.pair}}
			if tt.offered != "" {
				cfg.NextProtos = strings.Split(tt.offered, ",")
			}
			p := startProxy(t, oneRoute(serveHTTPS(t, cfg, hostFacts), "", "", fmt.Sprintf(`"protocol": %q, `, tt.protocol)+tlsOf(c, "")))
			for range 3 {
				if status, body := get(t, p.url("/")); status != tt.status || !strings.Contains(body, tt.want) {
					t.Errorf("answer %d %q, want %d %q", status, body, tt.status, tt.want)
				}
			}
			conns := p.stat("cluster.web.upstream_cx_total")
			if tt.status == 200 && conns != 1 || tt.status != 200 && p.stat("cluster.web.upstream_cx_connect_fail") != 3 {
				t.Errorf("%d connections were opened, and %d failed", conns, p.stat("cluster.web.upstream_cx_connect_fail"))
			}
		})
	}
}

// TestTLSUpstreamPeers: nginx, HAProxy and OpenSSL as hosts.
func TestTLSUpstreamPeers(t *testing.T) {
	t.Parallel()
	c := newCertificate(t, "web.internal")
	big := bytes.Repeat([]byte("0123456789abcdef"), 256<<10/16)
	want := sha256.Sum256(big)
	back := origin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/big" {
			_, _ = w.Write(big)
			return
		}
		fmt.Fprint(w, r.Header.Get("X-Facts"))
	})
	nginx := func(t *testing.T, more string) string {
		addr := loopbackPort(t)
		startNginx(t, fmt.Sprintf(`listen %s ssl%s; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate %s; ssl_certificate_key %s;
			location /big { proxy_pass http://%s; }
			location /facts { return 200 "$server_protocol $ssl_protocol $ssl_server_name"; }`, addr, more, c.cert, c.key, back))
		waitListening(t, addr)
		return addr
	}
	haproxy := func(t *testing.T, alpn string) string {
		front := loopbackPort(t)
		startHAProxy(t, front, fmt.Sprintf("listen l\n    mode http\n    bind %s ssl crt %s alpn %s\n"+
			"    http-request set-header X-Facts HTTP/%%[req.ver]\\ %%[ssl_fc_protocol]\\ %%[ssl_fc_sni]\n    server m %s\n", front, c.both, alpn, back))
		return front
	}
	for _, tt := range []struct {
		name, protocol string
		start          func(t *testing.T) string
		want           string
	}{
		{"nginx by http1", "http1", func(t *testing.T) string { return nginx(t, "") }, "HTTP/1.1 TLSv1.3 web.internal"},
		{"nginx by http2", "http2", func(t *testing.T) string { return nginx(t, " http2") }, "HTTP/2.0 TLSv1.3 web.internal"},
		{"nginx by auto", "auto", func(t *testing.T) string { return nginx(t, " http2") }, "HTTP/2.0 TLSv1.3 web.internal"},
		{"nginx without h2 by auto", "auto", func(t *testing.T) string { return nginx(t, "") }, "HTTP/1.1 TLSv1.3 web.internal"},
		{"haproxy by http1", "http1", func(t *testing.T) string { return haproxy(t, "h2,http/1.1") }, "HTTP/1.1 TLSv1.3 web.internal"},
		{"haproxy by auto", "auto", func(t *testing.T) string { return haproxy(t, "h2,http/1.1") }, "HTTP/2.0 TLSv1.3 web.internal"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := startProxy(t, oneRoute(tt.start(t), "", "", fmt.Sprintf(`"protocol": %q, `, tt.protocol)+tlsOf(c, "")))
			for range 3 {
				if status, body := get(t, p.url("/facts")); status != 200 || body != tt.want {
					t.Errorf("answer %d %q, want %q", status, body, tt.want)
				}
				if status, body := get(t, p.url("/big")); status != 200 || sha256.Sum256([]byte(body)) != want {
					t.Errorf("answer %d with %d bytes, want those of the file", status, len(body))
				}
			}
			if n := p.stat("cluster.web.ssl.handshake"); n != 1 {
				t.Errorf("%d handshakes, want 1", n)
			}
		})
	}
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		t.Run("openssl "+version, func(t *testing.T) {
			t.Parallel()
			addr := loopbackPort(t)
			peer(t, "openssl", "s_server", "-accept", addr, "-cert", c.cert, "-key", c.key, "-www", version, "-naccept", "20")
			waitListening(t, addr)
			p := startProxy(t, oneRoute(addr, "", "", tlsOf(c, "")))
			for i := range 3 { // it ends each connection, which ends the body
				status, body := get(t, p.url("/"))
				if status != 200 || !strings.HasSuffix(strings.TrimSpace(strings.ToLower(body)), "</html>") {
					t.Errorf("answer %d %q", status, body)
				}
				if resumed := strings.Contains(body, "Reused, TLSv1"); resumed != (i > 0) {
					t.Errorf("connection %d: resumed %v", i, resumed)
				}
			}
			p.wantStat("cluster.web.ssl.session_reused", 2)
		})
	}
}

// tlsFailureLog is a failureLog that says why TLS failed, too.
func tlsFailureLog(t *testing.T) (l *failureLog, config string) {
	l = newFailureLog(t)
	return l, strings.Replace(l.config(), `%UPSTREAM_REQUEST_ATTEMPT_COUNT%`, `%UPSTREAM_TRANSPORT_FAILURE_REASON%`, 1)
}

// TestTLSUpstreamRefused: hosts that are not who they should be, and hosts that refuse us.
func TestTLSUpstreamRefused(t *testing.T) {
	t.Parallel()
	good, other := newCertificate(t, "web.internal"), newCertificate(t, "other.example")
	old := newCertificateWith(t, func(x *x509.Certificate) { x.NotAfter = time.Now().Add(-time.Minute) }, "web.internal")
	show := func(c certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c.pair}} }
	clients := show(good)
	clients.ClientAuth, clients.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12
	const failed = "503 UF " + resetPrefix + "{remote_connection_failure} "
	for _, tt := range []struct {
		name string
		host *tls.Config
		tls  string
		log  string // beginning
		stat string
	}{
		{"another name", show(other), tlsOf(other, ""), failed + "certificate is for other.example, not web.internal", "fail_verify_san"},
		{"another name among those wanted", show(other),
			fmt.Sprintf(`"tls": {"ca_file": %q, "verify_subject_alt_names": ["web.internal"]}`, other.cert), failed, "fail_verify_san"},
		{"another CA", show(other), tlsOf(good, ""), failed + "certificate of CN=other.example is signed by itself, an unknown authority", "fail_verify_error"},
		{"system CAs", show(good), `"tls": {"sni": "web.internal"}`, failed + "certificate of CN=web.internal is signed by itself, an unknown authority", "fail_verify_error"},
		{"expired", show(old), tlsOf(old, ""), failed + "certificate is valid from ", "fail_verify_error"},
		{"another hash", show(good), tlsOf(good, `"verify_certificate_hash": ["`+strings.Repeat("00", 32)+`"]`), failed, "fail_verify_cert_hash"},
		{"older version", func() *tls.Config { c := show(good); c.MaxVersion = tls.VersionTLS12; return c }(),
			tlsOf(good, `"min_version": "1.3"`), failed + "the host refused the handshake: protocol version not supported", "connection_error"},
		{"wants a client certificate", clients, tlsOf(good, ""), failed + "the host refused the handshake: ", "connection_error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			log, config := tlsFailureLog(t)
			p := startProxy(t, oneRoute(serveHTTPS(t, tt.host, hostFacts), config, "", tt.tls))
			if status, body := get(t, p.url("/")); status != 503 || !strings.Contains(body, "remote connection failure") {
				t.Errorf("answer %d %q, want 503", status, body)
			}
			if !eventually(func() bool { return strings.HasSuffix(log.text(), "\n") }) || !strings.HasPrefix(log.text(), tt.log) {
				t.Errorf("the access log has %q, want %q", log.text(), tt.log)
			}
			for _, name := range []string{"ssl." + tt.stat, "upstream_cx_connect_fail", "upstream_rq_pending_failure_eject"} {
				p.wantStat("cluster.web."+name, 1)
			}
			p.wantStat("cluster.web.upstream_cx_active", 0)
		})
	}
}

// TestTLSUpstreamUntrusted: what a person may turn off.
func TestTLSUpstreamUntrusted(t *testing.T) {
	t.Parallel()
	c := newCertificate(t, "other.example")
	p := startProxy(t, oneRoute(serveHTTPS(t, &tls.Config{Certificates: []tls.Certificate{c.pair}}, hostFacts), "", "",
		`"tls": {"sni": "web.internal", "trust_chain_verification": "accept_untrusted"}`))
	if status, body := get(t, p.url("/")); status != 200 {
		t.Errorf("answer %d %q", status, body)
	}
}

// TestTLSUpstreamHangs: connect_timeout bounds the handshake, and a retry finds the host that is well.
func TestTLSUpstreamHangs(t *testing.T) {
	t.Parallel()
	c := newCertificate(t, "web.internal")
	well := serveHTTPS(t, &tls.Config{Certificates: []tls.Certificate{c.pair}}, hostFacts)
	for name, serve := range map[string]func(*rawConn){
		"silent": func(c *rawConn) { c.rest() },
		"resets": func(c *rawConn) { c.bytes(5); c.abortive() },
		"closes": func(c *rawConn) { c.bytes(5) },
		"plain":  func(c *rawConn) { c.bytes(5); c.send("HTTP/1.0 400 Bad Request\r\n\r\n") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ill := rawOrigin(t, serve)
			cluster := `"connect_timeout": "300ms", ` + tlsOf(c, "")
			log, config := tlsFailureLog(t)
			p := startProxy(t, oneRoute(ill, config, "", cluster))
			if status, _ := get(t, p.url("/")); status != 503 {
				t.Errorf("status %d, want 503", status)
			}
			if !eventually(func() bool { return strings.HasSuffix(log.text(), "\n") }) || !strings.HasPrefix(log.text(), "503 UF ") {
				t.Errorf("the access log has %q", log.text())
			}
			if name == "silent" {
				p.wantStat("cluster.web.upstream_cx_connect_timeout", 1)
				if !strings.Contains(log.text(), "TLS handshake not complete within connect_timeout") {
					t.Errorf("the access log has %q", log.text())
				}
			}
			both := fmt.Sprintf("[%q, %q]", ill, well)
			p = startProxy(t, manyHosts(both, "", `"retry_policy": {"retry_on": "connect-failure", "num_retries": 3}`, cluster))
			for range 4 {
				if status, body := get(t, p.url("/")); status != 200 {
					t.Errorf("answer %d %q with a host that is well", status, body)
				}
			}
		})
	}
}

// TestTLSUpstreamClientCertificate: the host knows us by our certificate.
func TestTLSUpstreamClientCertificate(t *testing.T) {
	t.Parallel()
	c, mine := newCertificate(t, "web.internal"), newCertificate(t, "proxy.internal")
	pool := x509.NewCertPool()
	pool.AddCert(mine.parsed)
	cfg := &tls.Config{Certificates: []tls.Certificate{c.pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	addr := serveHTTPS(t, cfg, hostFacts)
	p := startProxy(t, oneRoute(addr, "", "", tlsOf(c, fmt.Sprintf(`"certificates": [{"cert_file": %q, "key_file": %q}]`, mine.cert, mine.key))))
	if status, body := get(t, p.url("/")); status != 200 || !strings.Contains(body, "client=proxy.internal") {
		t.Errorf("answer %d %q", status, body)
	}
	// With TLS 1.3 a host that misses our certificate says so when our side of the handshake is complete.
	log, config := tlsFailureLog(t)
	p = startProxy(t, oneRoute(addr, config, "", tlsOf(c, "")))
	if status, _ := get(t, p.url("/")); status != 503 {
		t.Errorf("status %d without a certificate, want 503", status)
	}
	if !eventually(func() bool { return strings.HasSuffix(log.text(), "\n") }) || !strings.Contains(log.text(), "certificate required") {
		t.Errorf("the access log has %q, want the alert", log.text())
	}
}

// TestTLSUpstreamNames: auto_sni asks for the name of the request, and shares no connection between names.
func TestTLSUpstreamNames(t *testing.T) {
	t.Parallel()
	c := newCertificate(t, "a.test", "b.test")
	cfg := &tls.Config{Certificates: []tls.Certificate{c.pair}, NextProtos: []string{"h2", "http/1.1"}}
	for _, protocol := range []string{"http1", "http2", "auto"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			p := startProxy(t, oneRoute(serveHTTPS(t, cfg, hostFacts), "", "", fmt.Sprintf(
				`"protocol": %q, "tls": {"auto_sni": true, "auto_san_validation": true, "ca_file": %q}`, protocol, c.cert)))
			ask := func(host string) string {
				d := dial(t, p.addr(""))
				d.send("GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n")
				return d.rest()
			}
			for range 2 {
				for host, want := range map[string]string{
					"a.test": "sni=a.test ", "A.Test:8080": "sni=a.test ", "b.test.": "sni=b.test ", "c.test": " 503 ", "127.0.0.1": " 503 ", "..": " 503 ",
				} {
					if got := ask(host); !strings.Contains(got, want) {
						t.Errorf("Host %q is answered %q, want %q", host, got, want)
					}
				}
			}
			if n := p.stat("cluster.web.ssl.handshake"); n != 2 {
				t.Errorf("%d handshakes that succeeded, want 2", n)
			}
			if n := p.stat("cluster.web.ssl.fail_verify_san"); n != 6 {
				t.Errorf("fail_verify_san = %d, want 6", n)
			}
		})
	}
}

// TestTLSUpstreamTruncated: a body that ends with the connection is whole only if TLS says so.
func TestTLSUpstreamTruncated(t *testing.T) {
	t.Parallel()
	c := newCertificate(t, "web.internal")
	var cut atomic.Bool
	addr := rawTLS(t, &tls.Config{Certificates: []tls.Certificate{c.pair}}, func(tc *tls.Conn, r *bufio.Reader) {
		if readRequest(r) {
			_, _ = io.WriteString(tc, "HTTP/1.1 200 OK\r\n\r\nhello")
			if cut.Load() {
				_ = tc.NetConn().Close()
			}
		}
	})
	p := startProxy(t, oneRoute(addr, "", "", tlsOf(c, "")))
	for _, truncated := range []bool{false, true} {
		cut.Store(truncated)
		resp, err := http.Get(p.url("/"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if (err != nil) != truncated || string(b) != "hello" {
			t.Errorf("truncated %v: the client reads %q, %v", truncated, b, err)
		}
	}
	p.wantStat("cluster.web.ssl.truncated", 1)
}

// TestTLSUpstreamReload: files that change are used by new connections; a changed cluster drains its own and no others.
func TestTLSUpstreamReload(t *testing.T) {
	t.Parallel()
	c, next := newCertificate(t, "web.internal"), newCertificate(t, "web.internal")
	var shown atomic.Pointer[tls.Certificate]
	shown.Store(&c.pair)
	cfg := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return shown.Load(), nil }, SessionTicketsDisabled: true}
	addr := serveHTTPS(t, cfg, hostFacts)
	config := oneRoute(addr, "", "", `"max_requests_per_connection": 1, `+tlsOf(c, ""))
	p := startProxy(t, config)
	if status, body := get(t, p.url("/")); status != 200 {
		t.Fatalf("answer %d %q", status, body)
	}
	// The host changes its CA, and ca_file follows.
	shown.Store(&next.pair)
	if status, _ := get(t, p.url("/")); status != 503 {
		t.Errorf("status %d with a CA that is not trusted yet, want 503", status)
	}
	text, err := os.ReadFile(next.cert)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.cert+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(c.cert+".new", c.cert); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { status, _ := get(t, p.url("/")); return status == 200 }) {
		t.Error("the CA that was swapped in is not used")
	}
	// Another name is wanted: connections that were good enough before are not any more.
	p.write(strings.Replace(config, `"max_requests_per_connection": 1, `, "", 1))
	if code, report := p.adminPost("/reload"); code != 200 {
		t.Fatalf("reload: %d %s", code, report)
	}
	for range 2 {
		get(t, p.url("/"))
	}
	p.wantStat("cluster.web.upstream_cx_active", 1)
	p.write(strings.Replace(strings.Replace(config, `"max_requests_per_connection": 1, `, "", 1), `"sni": "web.internal"`, `"sni": "elsewhere.internal"`, 1))
	if code, report := p.adminPost("/reload"); code != 200 {
		t.Fatalf("reload: %d %s", code, report)
	}
	if status, _ := get(t, p.url("/")); status != 503 {
		t.Errorf("status %d, want 503: the certificate lacks the name", status)
	}
	p.wantStat("cluster.web.upstream_cx_active", 0)
}

// TestTLSUpstreamBodies: large bodies in both directions, to hosts and clients that are slow.
func TestTLSUpstreamBodies(t *testing.T) {
	t.Parallel()
	c := newCertificate(t, "web.internal")
	body := bytes.Repeat([]byte("fedcba9876543210"), 4<<20/16)
	want := sha256.Sum256(body)
	for _, protocol := range []string{"http1", "http2"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			addr := serveHTTPS(t, &tls.Config{Certificates: []tls.Certificate{c.pair}, NextProtos: []string{"h2", "http/1.1"}},
				func(w http.ResponseWriter, r *http.Request) {
					sum := sha256.New()
					buf := make([]byte, 10_000)
					for {
						n, err := r.Body.Read(buf)
						sum.Write(buf[:n])
						if err != nil {
							break
						}
					}
					w.Header().Set("X-Sum", fmt.Sprintf("%x", sum.Sum(nil)))
					_, _ = w.Write(body)
				})
			p := startProxy(t, oneRoute(addr, "", "", fmt.Sprintf(`"protocol": %q, "per_connection_buffer_limit_bytes": "16KiB", `, protocol)+tlsOf(c, "")))
			for range 2 {
				resp, err := http.Post(p.url("/"), "text/plain", bytes.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				if got := resp.Header.Get("X-Sum"); got != fmt.Sprintf("%x", want) {
					t.Errorf("the host got a body of sum %q", got)
				}
				if got := bodyOf(t, resp); sha256.Sum256([]byte(got)) != want {
					t.Errorf("the client got %d bytes, want %d", len(got), len(body))
				}
			}
		})
	}
}

// TestTLSUpstreamTCP: tcp_proxy to hosts with TLS, ends of both directions included, and the PROXY header before all.
func TestTLSUpstreamTCP(t *testing.T) {
	t.Parallel()
	c := newCertificate(t, "web.internal")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	headers := make(chan string, 10)
	go func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer raw.Close()
				_ = raw.SetDeadline(time.Now().Add(waitMax))
				var line []byte
				for b := make([]byte, 1); !bytes.HasSuffix(line, []byte("\r\n")); line = append(line, b...) {
					if _, err := raw.Read(b); err != nil {
						return
					}
				}
				headers <- string(line)
				tc := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{c.pair}})
				_, _ = io.Copy(tc, tc)
				_ = tc.Close()
			}()
		}
	}()
	for _, mode := range []string{"immediate", "on_downstream_data", "on_downstream_tls_handshake"} {
		p := tunnel{hosts: []string{ln.Addr().String()}, filter: fmt.Sprintf(`"upstream_connect_mode": %q`, mode),
			cluster: `"proxy_protocol": {}, ` + tlsOf(c, "")}.start(t)
		d := dial(t, p.addr(""))
		big := strings.Repeat("0123456789", 100_000)
		go d.send(big)
		if got := d.bytes(len(big)); got != big {
			t.Errorf("%s: %d bytes came back, want %d", mode, len(got), len(big))
		}
		d.closeWrite()
		d.wantEnd()
		if got := <-headers; !strings.HasPrefix(got, "PROXY TCP4 127.0.0.1 127.0.0.1 ") {
			t.Errorf("%s: the connection begins with %q", mode, got)
		}
		p.wantStat("cluster.db.upstream_cx_active", 0)
	}
}

// TestTLSUpstreamProxyHeader: the PROXY header of a cluster of HTTP goes before the handshake, each for its own client.
func TestTLSUpstreamProxyHeader(t *testing.T) {
	t.Parallel()
	c := newCertificate(t, "web.internal")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer raw.Close()
				_ = raw.SetDeadline(time.Now().Add(waitMax))
				var line []byte
				for b := make([]byte, 1); !bytes.HasSuffix(line, []byte("\r\n")); line = append(line, b...) {
					if _, err := raw.Read(b); err != nil {
						return
					}
				}
				tc := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{c.pair}})
				if readRequest(bufio.NewReader(tc)) {
					says := strings.Fields(string(line))[2]
					fmt.Fprintf(tc, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(says), says)
				}
				_ = tc.Close()
			}()
		}
	}()
	p := startProxy(t, oneRoute(ln.Addr().String(), "", "", `"proxy_protocol": {}, `+tlsOf(c, "")))
	clients := make([]*rawConn, 20)
	for i := range clients {
		clients[i] = dialFrom(t, fmt.Sprintf("127.0.0.%d", 100+i), p.addr(""))
		clients[i].send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	}
	for i, d := range clients {
		if want, got := fmt.Sprintf("\r\n\r\n127.0.0.%d", 100+i), d.rest(); !strings.HasSuffix(got, want) {
			t.Errorf("client %d is answered %q, want %q", i, got, want)
		}
	}
	p.wantStat("cluster.web.upstream_cx_total", int64(len(clients)))
}

// TestTLSUpstreamWebSocket: tunnels through TLS.
func TestTLSUpstreamWebSocket(t *testing.T) {
	t.Parallel()
	c := newCertificate(t, "web.internal")
	addr := serveHTTPS(t, &tls.Config{Certificates: []tls.Certificate{c.pair}}, wsServer)
	for _, protocol := range []string{"http1", "auto"} {
		p := startProxy(t, oneRoute(addr, `"http2_protocol_options": {"allow_connect": true}`, `"upgrades": ["websocket"], "timeout": "0s"`, fmt.Sprintf(`"protocol": %q, `, protocol)+tlsOf(c, "")))
		for _, version := range []int{1, 2} {
			ws, _ := wsOpen(t, version, p.addr(""), "/chat")
			text := strings.Repeat("x", 100_000)
			go func() { _ = ws.send(wsFrame{fin: true, op: 1, payload: []byte(text)}) }()
			if f, err := ws.receive(); err != nil || string(f.payload) != text {
				t.Errorf("%s, HTTP/%d: %d bytes came back, %v", protocol, version, len(f.payload), err)
			}
			ws.close()
		}
		p.wantStat("cluster.web.upstream_cx_active", 0)
	}
}

// TestTLSUpstreamGRPC: calls through TLS, by ALPN.
func TestTLSUpstreamGRPC(t *testing.T) {
	t.Parallel()
	c := newCertificate(t, "web.internal")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&c.pair)), grpc.UnknownServiceHandler(orderType{orders()}.serve))
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(srv.Stop)
	for _, protocol := range []string{"http2", "auto"} {
		p := startProxy(t, oneRoute(ln.Addr().String(), "", "", fmt.Sprintf(`"protocol": %q, `, protocol)+tlsOf(c, "")))
		conn, d := dialGRPC(t, p.addr("")), orderType{orders()}
		out := dynamicpb.NewMessage(d)
		for range 3 {
			err := conn.Invoke(grpcContext(t), "/shop.Orders/Get", d.order(`{"id": "a", "count": 3}`), out)
			if got, want := orderText(out), `{"id":"a","count":3}`; err != nil || got != want {
				t.Errorf("%s: %s, %v; want %s", protocol, got, err, want)
			}
		}
		p.wantStat("cluster.web.upstream_cx_http2_total", 1)
	}
}

// TestTLSUpstreamConnect: CONNECT that ends in a connection with TLS, whose ends are passed on.
func TestTLSUpstreamConnect(t *testing.T) {
	t.Parallel()
	c := newCertificate(t, "web.internal")
	addr := rawTLS(t, &tls.Config{Certificates: []tls.Certificate{c.pair}}, func(tc *tls.Conn, r *bufio.Reader) {
		_, _ = io.Copy(tc, r)
	})
	p := startProxy(t, strings.Replace(oneRoute(addr, "", `"upgrades": ["connect"], "connect_config": {}, "timeout": "0s"`, tlsOf(c, "")),
		`{"prefix": "/"}`, `{"connect_matcher": {}}`, 1))
	d := dial(t, p.addr(""))
	d.send("CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n")
	d.wantHead("HTTP/1.1 200 ")
	big := strings.Repeat("0123456789", 30_000)
	go d.send(big)
	if got := d.bytes(len(big)); got != big {
		t.Errorf("%d bytes came back, want %d", len(got), len(big))
	}
	d.closeWrite()
	d.wantEnd()
	p.wantStat("cluster.web.upstream_cx_active", 0)
	p.wantStat("cluster.web.ssl.handshake", 1)
	p.wantStat("cluster.web.ssl.truncated", 0)
}

// endWatch notes whether the end of a connection was read: behind close_notify nobody reads.
type endWatch struct {
	net.Conn
	ended atomic.Bool
}

func (c *endWatch) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.ended.Store(true)
	}
	return n, err
}

// TestTLSBothSidesTCP: bytes and ends of both directions pass a tcp_proxy with TLS on both sides, whichever side ends first,
// and each end is close_notify.
func TestTLSBothSidesTCP(t *testing.T) {
	t.Parallel()
	c := newCertificate(t, "web.internal")
	hostEnded := make(chan bool, 8)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer raw.Close()
				_ = raw.SetDeadline(time.Now().Add(waitMax))
				w := &endWatch{Conn: raw}
				tc := tls.Server(w, &tls.Config{Certificates: []tls.Certificate{c.pair}})
				first := make([]byte, 1)
				if _, err := io.ReadFull(tc, first); err != nil {
					return
				}
				if first[0] == 'h' { // the host ends first
					_, _ = tc.Write([]byte("bye"))
					_ = tc.CloseWrite()
				}
				_, _ = io.Copy(tc, tc)
				_ = tc.CloseWrite()
				hostEnded <- w.ended.Load()
			}()
		}
	}()
	p := tunnel{hosts: []string{ln.Addr().String()}, cluster: tlsOf(c, ""),
		listener: fmt.Sprintf(`"tls": {"certificates": [{"cert_file": %q, "key_file": %q}]}`, c.cert, c.key)}.start(t)
	for _, first := range []string{"c", "h"} {
		raw, err := net.Dial("tcp", p.addr(""))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = raw.Close() })
		_ = raw.SetDeadline(time.Now().Add(waitMax))
		w := &endWatch{Conn: raw}
		tc := tls.Client(w, &tls.Config{RootCAs: poolOf(c), ServerName: "web.internal"})
		text := first + strings.Repeat("0123456789", 100_000)
		want := text[1:]
		if first == "h" {
			_, _ = tc.Write([]byte("h"))
			want = "bye"
		} else {
			go func() { _, _ = tc.Write([]byte(text)); _ = tc.CloseWrite() }()
		}
		got, err := io.ReadAll(tc)
		if err != nil || string(got) != want || w.ended.Load() {
			t.Errorf("%s first: the client got %d bytes, %v, without close_notify %v; want %d", first, len(got), err, w.ended.Load(), len(want))
		}
		_ = tc.CloseWrite()
		if <-hostEnded {
			t.Errorf("%s first: the host got no close_notify", first)
		}
	}
	p.wantStat("cluster.db.upstream_cx_active", 0)
	p.wantStat("cluster.db.ssl.truncated", 0)
}

// poolOf trusts a certificate.
func poolOf(c certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.parsed)
	return pool
}
