package main

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// opensslGroups are the groups of OpenSSL 3.0, and how s_client calls them.
var opensslGroups = []struct{ name, shown string }{
	{"X25519", "Server Temp Key: X25519"}, {"P-256", "Server Temp Key: ECDH, prime256v1"}, {"P-384", "Server Temp Key: ECDH, secp384r1"},
}

// opensslSuites are the suites of the default configuration by version and key.
var opensslSuites = []struct{ version, key, suite string }{
	{"-tls1_2", "ecdsa", "ECDHE-ECDSA-AES128-GCM-SHA256"}, {"-tls1_2", "ecdsa", "ECDHE-ECDSA-AES256-GCM-SHA384"},
	{"-tls1_2", "ecdsa", "ECDHE-ECDSA-CHACHA20-POLY1305"}, {"-tls1_2", "rsa", "ECDHE-RSA-AES128-GCM-SHA256"},
	{"-tls1_2", "rsa", "ECDHE-RSA-AES256-GCM-SHA384"}, {"-tls1_2", "rsa", "ECDHE-RSA-CHACHA20-POLY1305"},
	{"-tls1_3", "ecdsa", "TLS_AES_128_GCM_SHA256"}, {"-tls1_3", "ecdsa", "TLS_AES_256_GCM_SHA384"}, {"-tls1_3", "ecdsa", "TLS_CHACHA20_POLY1305_SHA256"},
	{"-tls1_3", "rsa", "TLS_AES_128_GCM_SHA256"}, {"-tls1_3", "rsa", "TLS_AES_256_GCM_SHA384"}, {"-tls1_3", "rsa", "TLS_CHACHA20_POLY1305_SHA256"},
}

// suiteFlag is the flag of openssl that a version's suites are chosen by.
func suiteFlag(version string) string {
	if version == "-tls1_3" {
		return "-ciphersuites"
	}
	return "-cipher"
}

// TestTLSMatrix: every version with every suite and group, by openssl, each time a whole exchange that ends with close_notify.
func TestTLSMatrix(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("ecdsa", "shop.example.com")
	a.issueAs("rsa", "rsa", nothing, "shop.example.com")
	p := tlsEdge{host: origin(t, facts), loops: 2, tls: fmt.Sprintf(`{"certificates": [%s, %s]}`, a.pair("ecdsa"), a.pair("rsa"))}.start(t)
	asked := int64(0)
	for _, s := range opensslSuites {
		for _, g := range opensslGroups {
			groups := g.name
			if s.version == "-tls1_2" && s.key == "ecdsa" {
				if g.name == "P-384" {
					continue // the list is also that of the curves of certificates, so P-256 has to be in it
				}
				groups = strings.TrimPrefix(groups+":P-256", "P-256:")
			}
			args := []string{s.version, suiteFlag(s.version), s.suite, "-groups", groups, "-servername", "shop.example.com", "-verify_return_error", "-ign_eof"}
			if s.version == "-tls1_3" { // where the suite says nothing of the key
				args = append(args, "-sigalgs", map[string]string{"ecdsa": "ECDSA+SHA256", "rsa": "RSA-PSS+SHA256"}[s.key])
				if s.key == "rsa" { // the CA's own signature has to be acceptable too
					args[len(args)-1] += ":ECDSA+SHA384"
				}
			}
			got := a.sClient(p.addr(""), "GET /x HTTP/1.0\r\n\r\n", args...)
			asked++
			for _, want := range []string{"Cipher is " + s.suite, g.shown, "Verify return code: 0 (ok)", "CN = " + s.key, "GET /x https", "closed"} {
				if !strings.Contains(got, want) {
					t.Errorf("%s %s %s %s: lacks %q\n%s", s.version, s.key, s.suite, g.name, want, got)
				}
			}
			if strings.Contains(got, "unexpected eof") {
				t.Errorf("%s %s: the end came without close_notify", s.version, s.suite)
			}
		}
	}
	p.wantStat("listener.edge.ssl.handshake", asked)
	p.wantStat("listener.edge.ssl.connection_error", 0)
	p.wantStat("listener.edge.ssl.truncated", 0)
	for _, args := range [][]string{
		{"-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA256"}, {"-tls1_2", "-cipher", "AES128-GCM-SHA256"}, {"-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"},
		{"-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-CCM"}, {"-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"}, {"-tls1_3", "-groups", "P-521"}, {"-tls1_3", "-groups", "ffdhe2048"},
	} {
		if got := a.sClient(p.addr(""), "", args...); !strings.Contains(got, "alert handshake failure") {
			t.Errorf("%q is not refused with handshake_failure:\n%s", args, got)
		}
	}
	for _, g := range []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256, tls.CurveP384} { // OpenSSL 3.0 lacks the first
		c, err := a.dialTLS(p.addr(""), "shop.example.com", func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{g} })
		if err != nil || c.ConnectionState().CurveID != g {
			t.Errorf("%v: %v", g, err)
		}
	}
}

// TestTLSMatrixUpstream: openssl as the host, which takes one version, suite and group. Its page tells what was agreed on.
func TestTLSMatrixUpstream(t *testing.T) {
	t.Parallel()
	openssl := lookPeer(t, "openssl")
	a := newAuthority(t)
	a.issue("ecdsa", "web.internal")
	a.issueAs("rsa", "rsa", nothing, "web.internal")
	var routes, clusters, wants []string
	for i, s := range opensslSuites {
		port := strconv.Itoa(freePort(t))
		g := opensslGroups[i%len(opensslGroups)]
		peer(t, openssl, "s_server", "-accept", "127.0.0.1:"+port, "-www", "-cert", a.path(s.key+".crt"), "-key", a.path(s.key+".key"),
			s.version, suiteFlag(s.version), s.suite, "-groups", g.name)
		waitListening(t, "127.0.0.1:"+port)
		routes = append(routes, fmt.Sprintf(`{"match": {"path": "/%d"}, "route": {"cluster": "c%[1]d"}}`, i))
		clusters = append(clusters, fmt.Sprintf(`{"name": "c%d", "hosts": ["127.0.0.1:%s"], "tls": {"sni": "web.internal", "ca_file": %q}}`, i, port, a.path("ca.crt")))
		wants = append(wants, s.suite)
	}
	p := startProxy(t, fmt.Sprintf(`{"concurrency": 1, "listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config":
 {"stat_prefix": "e2e", "route_config": {"routes": [%s]}}}]}], "clusters": [%s]}`, strings.Join(routes, ","), strings.Join(clusters, ",")))
	for i, want := range wants {
		for range 2 {
			status, page := get(t, p.url(fmt.Sprintf("/%d", i)))
			if status != 200 || !strings.Contains(page, "Cipher    : "+want) || !strings.Contains(page, "</HTML>") && !strings.Contains(page, "</BODY>") {
				t.Errorf("%s: %d %q", want, status, page)
			}
		}
		p.wantStat(fmt.Sprintf("cluster.c%d.ssl.truncated", i), 0)
	}
}

// session is an s_client that is talked to step by step.
type session struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser

	mu  sync.Mutex
	out bytes.Buffer
}

// startSession runs s_client with its commands enabled: a line "R" renegotiates, "k" and "K" change keys, "Q" ends.
func (a *authority) startSession(addr string, args ...string) *session {
	a.t.Helper()
	s := &session{t: a.t, cmd: exec.Command(lookPeer(a.t, "openssl"), append([]string{"s_client", "-connect", addr, "-CAfile", a.path("ca.crt")}, args...)...)}
	s.cmd.Stdout, s.cmd.Stderr = s, s
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		a.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = s.in.Close(); _ = s.cmd.Process.Kill(); _ = s.cmd.Wait() })
	s.want("Verify return code")
	return s
}

// Write implements io.Writer for what s_client prints.
func (s *session) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(b)
}

func (s *session) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}

// say writes a line. s_client takes a line for a command only if it comes alone.
func (s *session) say(line string) { _, _ = io.WriteString(s.in, line+"\n") }

// want waits until s_client has printed something.
func (s *session) want(text string) {
	s.t.Helper()
	if !eventually(func() bool { return strings.Contains(s.text(), text) }) {
		s.t.Fatalf("s_client does not print %q:\n%s", text, s.text())
	}
}

// tlsEcho is a listener with TLS whose connections go to host by tcp_proxy.
func tlsEcho(a *authority, host, more string) tunnel {
	return tunnel{hosts: []string{host}, listener: fmt.Sprintf(`, "tls": {"certificates": [%s]%s}`, a.pair("shop"), leadingComma(more))[2:]}
}

// TestTLSKeyUpdate: new keys of the client, and new keys for both at its wish, between bytes and while many are on their way.
func TestTLSKeyUpdate(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	for _, suite := range []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"} {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			a := *a
			a.t = t
			p := tlsEcho(&a, echoServer(t), "").start(t)
			s := a.startSession(p.addr(""), "-tls1_3", "-ciphersuites", suite)
			for i := range 5 {
				for _, key := range []string{"k", "K"} {
					word := fmt.Sprintf("word %d %s", i, key)
					s.say(key)
					if !eventually(func() bool { return strings.Count(s.text(), "KEYUPDATE") == 2*i+map[string]int{"k": 1, "K": 2}[key] }) {
						t.Fatalf("no KeyUpdate:\n%s", s.text())
					}
					s.say(word)
					s.want(word)
				}
			}
			s.say("Q")
			p.wantStat("tcp.e2e.downstream_cx_active", 0)
			p.wantStat("listener.front.ssl.truncated", 0)
		})
	}
	t.Run("on the way", func(t *testing.T) {
		t.Parallel()
		a := *a
		a.t = t
		long := bytes.Repeat([]byte("0123456789abcdef"), 1<<19)
		begin := make(chan struct{})
		p := tlsEcho(&a, rawOrigin(t, func(c *rawConn) {
			_, _ = c.Write([]byte("<<<"))
			for at := 0; at < len(long); at += 1 << 20 {
				_, _ = c.Write(long[at : at+1<<20])
				if at == 1<<20 {
					<-begin
				}
			}
			_, _ = c.Write([]byte(">>>"))
			_ = c.rest()
		}), "").start(t)
		s := a.startSession(p.addr(""), "-tls1_3")
		s.want("<<<")
		for range 8 {
			s.say("K")
		}
		close(begin)
		s.want(">>>")
		text := s.text()
		_, text, _ = strings.Cut(text, "<<<")
		text, _, _ = strings.Cut(text, ">>>")
		if text = strings.ReplaceAll(text, "KEYUPDATE\n", ""); text != string(long) {
			t.Errorf("%d bytes came of %d, or others", len(text), len(long))
		}
	})
}

// TestTLSRenegotiation: a client of TLS 1.2 that wants another handshake does not get one, and others do not notice.
func TestTLSRenegotiation(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	p := tlsEcho(a, echoServer(t), "").start(t)
	other := a.rawTLS(p.addr(""), "shop.example.com", nil)
	other.wantEcho("before")
	s := a.startSession(p.addr(""), "-tls1_2")
	s.say("hello")
	s.want("hello")
	s.say("R")
	s.want("RENEGOTIATING")
	ended := make(chan struct{})
	go func() { _ = s.cmd.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(waitMax):
		t.Errorf("s_client goes on:\n%s", s.text())
	}
	if text := s.text(); !strings.Contains(text, "no renegotiation") && !strings.Contains(text, "unexpected message") {
		t.Errorf("no alert says that renegotiation is refused:\n%s", text)
	}
	if n := p.stat("listener.front.ssl.handshake"); n != 2 {
		t.Errorf("%d handshakes, want those of two connections", n)
	}
	other.wantEcho("after")
}

// revoke writes a list of revoked certificates of the authority.
func (a *authority) revoke(file string, certs ...tls.Certificate) {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(24 * time.Hour)}
	for _, c := range certs {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: c.Leaf.SerialNumber, RevocationTime: time.Now().Add(-time.Minute),
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.put(file, pemOf("X509 CRL", der))
}

// TestTLSClientCertificatesOpenSSL: certificates of clients as openssl shows them, and the alert it gets.
func TestTLSClientCertificatesOpenSSL(t *testing.T) {
	t.Parallel()
	a, other := newAuthority(t), newAuthority(t)
	a.issue("shop", "shop.example.com")
	a.issue("good", "good.example.com")
	a.issueAs("rsa", "rsa", nothing, "rsa.example.com")
	a.issueAs("old", "ecdsa", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	}, "old.example.com")
	a.issueAs("server", "ecdsa", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, "server.example.com")
	a.revoke("crl.pem", a.issue("gone", "gone.example.com"))
	other.issue("stranger", "good.example.com")
	ca := fmt.Sprintf(`"client_ca_file": %q, "crl_file": %q`, a.path("ca.crt"), a.path("crl.pem"))
	for _, required := range []bool{false, true} {
		t.Run(fmt.Sprintf("required %v", required), func(t *testing.T) {
			t.Parallel()
			a := *a
			a.t = t
			p := tlsEdge{host: origin(t, facts), tls: fmt.Sprintf(`{"certificates": [%s], %s, "require_client_certificate": %v}`, a.pair("shop"), ca, required)}.start(t)
			for _, tt := range []struct {
				from  *authority
				file  string
				alert string // "" if it gets through
			}{
				{&a, "good", ""}, {&a, "rsa", ""}, {&a, "old", "certificate expired"}, {&a, "gone", "bad certificate"},
				{&a, "server", "bad certificate"}, {other, "stranger", "unknown ca"}, {&a, "", map[bool]string{true: "required"}[required]},
			} {
				for _, version := range []string{"-tls1_2", "-tls1_3"} {
					args := []string{version, "-ign_eof"}
					if tt.file != "" {
						args = append(args, "-cert", tt.from.path(tt.file+".crt"), "-key", tt.from.path(tt.file+".key"))
					}
					alert := tt.alert
					if alert == "required" {
						alert = map[string]string{"-tls1_2": "handshake failure", "-tls1_3": "certificate required"}[version]
					}
					got := a.sClient(p.addr(""), "GET /x HTTP/1.0\r\n\r\n", args...)
					if in := strings.Contains(got, "GET /x https"); in != (alert == "") || alert != "" && !strings.Contains(got, "alert "+alert) {
						t.Errorf("%q %s: through %v, want alert %q\n%s", tt.file, version, in, alert, got)
					}
				}
			}
			p.wantStat("listener.edge.ssl.fail_verify_error", 8)
			p.wantStat("listener.edge.ssl.no_certificate", map[bool]int64{false: 2}[required])
		})
	}
}

// TestTLSClientVanishes: a client that ends without close_notify has cut off what it was saying. Hosts hear of it as of a broken connection.
func TestTLSClientVanishes(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(fmt.Sprintf("TCP %x", version), func(t *testing.T) {
			t.Parallel()
			a := *a
			a.t = t
			came, heard := make(chan string, 1), make(chan error, 1)
			p := tlsEcho(&a, rawOrigin(t, func(c *rawConn) {
				came <- c.bytes(len("half of it"))
				_, err := io.ReadAll(c.r)
				heard <- err
			}), "").start(t)
			c, err := a.dialTLS(p.addr(""), "shop.example.com", func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version })
			if err != nil {
				t.Fatal(err)
			}
			_, _ = c.Write([]byte("half of it"))
			<-came
			_ = c.NetConn().(*net.TCPConn).CloseWrite()
			if err := <-heard; err == nil {
				t.Error("the host reads an orderly end of what was cut off")
			}
			p.wantStat("listener.front.ssl.truncated", 1)
			p.wantStat("tcp.e2e.downstream_cx_active", 0)
		})
		t.Run(fmt.Sprintf("HTTP %x", version), func(t *testing.T) {
			t.Parallel()
			a := *a
			a.t = t
			heard := make(chan string, 1)
			p := tlsEdge{host: rawOrigin(t, func(c *rawConn) { heard <- c.rest() }), tls: fmt.Sprintf(`{"certificates": [%s]}`, a.pair("shop"))}.start(t)
			c, err := a.dialTLS(p.addr(""), "shop.example.com", func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version })
			if err != nil {
				t.Fatal(err)
			}
			_, _ = c.Write([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"))
			p.wantStat("http.e2e.downstream_rq_active", 1)
			_ = c.NetConn().(*net.TCPConn).CloseWrite()
			if got := <-heard; !strings.HasPrefix(got, "POST / ") || strings.Contains(got, "\r\n0\r\n") {
				t.Errorf("the host reads %q", got)
			}
			p.wantStat("listener.edge.ssl.truncated", 1)
			p.wantStat("http.e2e.downstream_rq_active", 0)
		})
	}
}
