package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// halfOpen is a connection whose client sends its ClientHello and then nothing, until it is closed.
type halfOpen struct {
	net.Conn
	sent   sync.Once
	hello  chan struct{} // closed once it is sent
	closed chan struct{}
}

// Write implements net.Conn.
func (h *halfOpen) Write(b []byte) (int, error) {
	n, err := h.Conn.Write(b)
	h.sent.Do(func() { close(h.hello) })
	return n, err
}

// Read implements net.Conn.
func (h *halfOpen) Read([]byte) (int, error) {
	<-h.closed
	return 0, net.ErrClosed
}

// openHalf begins a handshake that does not end before the connection is closed.
func openHalf(t *testing.T, addr string) *halfOpen {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	h := &halfOpen{Conn: c, hello: make(chan struct{}), closed: make(chan struct{})}
	go func() { _ = tls.Client(h, &tls.Config{ServerName: "shop.example.com"}).Handshake() }()
	<-h.hello
	return h
}

func (h *halfOpen) end() {
	close(h.closed)
	_ = h.Conn.Close()
}

// TestTLSHandshakesShed: at the limit new handshakes are shed, until the one that has kept us waiting longest has done so for a
// second: it makes room. Established connections do not notice.
func TestTLSHandshakesShed(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	p := tlsEdge{
		host: origin(t, facts), tls: fmt.Sprintf(`{"certificates": [%s]}`, a.pair("shop")),
		more: `"overload": {"tls_handshakes": {"max_active": 3}}`,
	}.start(t)
	kept := a.tlsClient(p.addr(""), "shop.example.com", nil)
	wantBody(t, kept, "https://shop.example.com/", "GET / https")
	p.wantStat("tls.handshakes_active", 0)
	var open []*halfOpen
	for range 3 {
		open = append(open, openHalf(t, p.addr("")))
	}
	p.wantStat("tls.handshakes_active", 3)
	shed := int64(0)
	if !eventually(func() bool {
		_, err := a.dialTLS(p.addr(""), "shop.example.com", nil)
		if wantBody(t, kept, "https://shop.example.com/", "GET / https"); err != nil {
			shed++
		}
		return err == nil
	}) {
		t.Fatal("no handshake gets the place of one that stands still")
	}
	p.wantStat("tls.handshakes_shed", shed)
	p.wantStat("listener.edge.ssl.handshake_shed", shed)
	p.wantStat("tls.handshakes_evicted", 1)
	p.wantStat("listener.edge.ssl.handshake_evicted", 1)
	p.wantStat("http.e2e.downstream_cx_total", 2) // the one that is kept, and the last
	for _, h := range open {
		h.end()
	}
	p.wantStat("tls.handshakes_active", 0)
	p.wantStat("listener.edge.downstream_cx_active", 2)
}

// TestTLSHandshakeTimeout: clients that say nothing, a part of their ClientHello, or nothing after it are closed.
func TestTLSHandshakeTimeout(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	p := tlsEdge{host: "127.0.0.1:1", tls: fmt.Sprintf(`{"certificates": [%s], "handshake_timeout": "100ms"}`, a.pair("shop"))}.start(t)
	for _, start := range []string{"", "\x16", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"} {
		c := dial(t, p.addr(""))
		c.send(start)
		c.wantClosed()
	}
	h := openHalf(t, p.addr(""))
	_ = h.SetReadDeadline(time.Now().Add(waitMax))
	if _, err := io.Copy(io.Discard, h.Conn); err != nil {
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			t.Error("a handshake that stands still is not closed")
		}
	}
	h.end()
	p.wantStat("listener.edge.ssl.handshake_timeout", 4)
	p.wantStat("tls.handshakes_active", 0)
	p.wantStat("listener.edge.downstream_cx_active", 0)
}

// TestTLSOpenSSL: openssl verifies what it is shown, in both versions, by name, and resumes.
func TestTLSOpenSSL(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	a.issueAs("blog", "rsa", nothing, "blog.example.com")
	p := tlsEdge{host: origin(t, facts), tls: fmt.Sprintf(`{"certificates": [%s, %s]}`, a.pair("shop"), a.pair("blog"))}.start(t)
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		for _, name := range []string{"shop", "blog"} {
			session := filepath.Join(t.TempDir(), "session")
			ask := func(args ...string) string {
				return a.sClient(p.addr(""), "GET /x HTTP/1.0\r\n\r\n", append([]string{
					version, "-servername", name + ".example.com", "-verify_hostname", name + ".example.com", "-verify_return_error", "-ign_eof",
				}, args...)...)
			}
			first := ask("-sess_out", session)
			for _, want := range []string{"New, TLSv1." + version[len(version)-1:], "Verify return code: 0 (ok)", "CN = " + name, "GET /x https"} {
				if !strings.Contains(first, want) {
					t.Errorf("%s %s: lacks %q\n%s", version, name, want, first)
				}
			}
			if again := ask("-sess_in", session); !strings.Contains(again, "Reused, TLSv1."+version[len(version)-1:]) {
				t.Errorf("%s %s: not resumed\n%s", version, name, again)
			}
		}
	}
	if got := a.sClient(p.addr(""), "", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"); !strings.Contains(got, "alert protocol version") {
		t.Errorf("TLS 1.1: %s", got)
	}
}

// TestTLSNghttp: nghttp agrees on h2, and so does curl with many streams of one connection.
func TestTLSNghttp(t *testing.T) {
	t.Parallel()
	nghttp := lookPeer(t, "nghttp")
	a := newAuthority(t)
	a.issue("shop", "127.0.0.1")
	p := tlsEdge{host: origin(t, sizedBody), tls: fmt.Sprintf(`{"certificates": [%s], "alpn": ["h2", "http/1.1"]}`, a.pair("shop"))}.start(t)
	url := "https://" + p.addr("")
	got := output(t, nghttp, "-v", "-n", "-m", "20", url+"/100000")
	if !strings.Contains(got, "The negotiated protocol: h2") || strings.Count(got, ":status: 200") != 20 {
		t.Errorf("nghttp: %s", got)
	}
	p.wantStat("http.e2e.downstream_cx_http2_total", 1)
	p.wantStat("http.e2e.downstream_rq_2xx", 20)
}

// TestProxyCommandTLS is the proxy without a file, with a certificate.
func TestProxyCommandTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	p := startCommand(t, "proxy", "--listen", "127.0.0.1:0", "--to", origin(t, facts), "--tls-cert", a.path("shop.crt"), "--tls-key", a.path("shop.key"))
	for _, protocol := range []string{"h2", "http/1.1"} {
		wantBody(t, a.tlsClient(p.addr(""), "shop.example.com", nil, protocol), "https://shop.example.com/", "GET / https")
	}
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--tls-cert", a.path("shop.crt")}, exitUsage, "--tls-cert and --tls-key are only of use together"},
		{[]string{"--tls-cert", a.path("shop.crt"), "--tls-key", a.path("none.key")}, exitRefused, "none.key: no such file"},
	} {
		code, _, errs := runMain("", append([]string{"proxy", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:1"}, tt.args...)...)
		if code != tt.code || !strings.Contains(errs, tt.want) {
			t.Errorf("%q: %d %q", tt.args, code, errs)
		}
	}
}

// TestTLSManyConnections: connections come and go on two loops, and nothing is left of them.
func TestTLSManyConnections(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	p := tlsEdge{host: origin(t, facts), tls: fmt.Sprintf(`{"certificates": [%s], "alpn": ["h2", "http/1.1"]}`, a.pair("shop")), loops: 2}.start(t)
	const clients, each = 8, 20
	var all sync.WaitGroup
	for i := range clients {
		client := a.tlsClient(p.addr(""), "shop.example.com", nil, []string{"h2", "http/1.1"}[i%2])
		client.Transport.(*http.Transport).DisableKeepAlives = true
		all.Go(func() {
			for range each {
				wantBody(t, client, "https://shop.example.com/", "GET / https")
			}
		})
	}
	all.Wait()
	p.wantStat("listener.edge.ssl.handshake", clients*each)
	p.wantStat("listener.edge.downstream_cx_active", 0)
	p.wantStat("tls.handshakes_active", 0)
	if n := p.stat("listener.edge.ssl.truncated"); n != 0 {
		t.Errorf("%d connections are said to be truncated", n)
	}
}
