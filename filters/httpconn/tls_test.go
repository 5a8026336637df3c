package httpconn

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"millrace/codec"
	"millrace/engine/certs"
	"millrace/engine/enginetest"
	"millrace/engine/transport"
	"millrace/filters"
	"millrace/filters/route"
)

// askTLS sends one request by TLS, and returns the response and the head that was forwarded.
func (w *world) askTLS(addr string, cfg *tls.Config, change func(*http.Request)) (*http.Response, *codec.RequestHead) {
	w.t.Helper()
	cfg.NextProtos = cfg.NextProtos[:len(cfg.NextProtos):len(cfg.NextProtos)]
	tr := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: len(cfg.NextProtos) == 0, DisableKeepAlives: true}
	if len(cfg.NextProtos) > 0 {
		tr.Protocols = new(http.Protocols)
		tr.Protocols.SetHTTP1(true)
	}
	rq, err := http.NewRequest("GET", "https://"+addr+"/path", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	rq.Host = "a.example"
	if change != nil {
		change(rq)
	}
	var resp *http.Response
	w.while(func() {
		if resp, err = tr.RoundTrip(rq); err == nil {
			_ = resp.Body.Close()
		}
		tr.CloseIdleConnections()
	})
	if err != nil {
		w.t.Fatal(err)
	}
	h, _ := w.forwarded()
	return resp, h
}

// TestTLSVersions: ALPN decides which version is spoken, and the request is one of https in both.
func TestTLSVersions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		edge bool
		alpn []string
		want int
	}{{true, nil, 2}, {true, []string{"http/1.1"}, 1}, {false, nil, 2}, {false, []string{"http/1.1"}, 1}} {
		w := newWorld(t, func(c *Config) { c.UseRemoteAddress = tt.edge })
		addr := w.listenTLS()
		resp, h := w.askTLS(addr, clientTLS(func(c *tls.Config) { c.NextProtos = tt.alpn }), func(r *http.Request) {
			if tt.edge {
				r.Header.Set("X-Forwarded-Proto", "http") // which an edge does not believe
			}
		})
		if resp.ProtoMajor != tt.want || resp.StatusCode != 200 {
			t.Errorf("%+v: HTTP/%d %d", tt, resp.ProtoMajor, resp.StatusCode)
		}
		if got := values(h, "x-forwarded-proto"); got != "https" {
			t.Errorf("%+v: x-forwarded-proto %s", tt, got)
		}
	}
}

// schemes remembers the schemes of requests.
type schemes struct{ list []string }

func (f *schemes) OnRequestHead(s *filters.Stream, _ bool) filters.Verdict {
	f.list = append(f.list, string(s.Request.Scheme()))
	return filters.Continue
}

// TestTLSScheme: the scheme of a request by HTTP/1.1, which does not say it, is that of its connection, or what a trusted
// proxy says.
func TestTLSScheme(t *testing.T) {
	t.Parallel()
	f := &schemes{}
	w := newWorld(t, nil, f)
	addr := w.listenTLS()
	h1 := func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }
	w.askTLS(addr, clientTLS(h1), nil)
	w.askTLS(addr, clientTLS(h1), func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "http") })
	w.dial("127.0.0.1").ask("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n")
	w.dial("127.0.0.1").ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if got := strings.Join(f.list, ","); got != "https,,https," {
		t.Errorf("schemes %q; want https, none, https and none", got)
	}
}

// TestTLSAgreed: a client speaks the version it has agreed on, and no other one. Without an agreement its first bytes tell.
func TestTLSAgreed(t *testing.T) {
	t.Parallel()
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	for _, tt := range []struct {
		alpn []string
		send string
		want string // what the answer begins with
	}{
		{[]string{"http/1.1"}, preface + frame2(frameSettings, 0, 0, ""), "HTTP/1.1 "},
		{[]string{"h2"}, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\x00\x00"},
		{nil, preface + frame2(frameSettings, 0, 0, ""), "\x00\x00"},
		{nil, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200"},
		// "HTTP/2 over TLS uses the "h2" protocol identifier." RFC 9113 section 3.2. There is no upgrade.
		{nil, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", "HTTP/1.1 "},
	} {
		w := newWorld(t, nil)
		addr := w.listenTLS()
		var got string
		w.while(func() {
			c, err := tls.Dial("tcp", addr, clientTLS(func(c *tls.Config) { c.NextProtos = tt.alpn }))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = c.Write([]byte(tt.send))
			b, _ := bufio.NewReader(c).Peek(12)
			got = string(b)
		})
		if !strings.HasPrefix(got, tt.want) || strings.HasPrefix(got, "HTTP/1.1 101") {
			t.Errorf("%q after ALPN %q: %q; want %q", tt.send, tt.alpn, got, tt.want)
		}
	}
}

// TestRFC9113_9_2_2_CipherSuites: HTTP/2 over a cipher suite that it forbids ends at once.
func TestRFC9113_9_2_2_CipherSuites(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		suite string
		id    uint16
		weak  bool
	}{
		{"ECDHE-ECDSA-AES128-SHA", tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, true},
		{"ECDHE-ECDSA-AES128-GCM-SHA256", tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, false},
	} {
		w := newWorld(t, nil)
		addr := w.listenTLS(func(c *certs.DownstreamConfig) { c.CipherSuites = []string{tt.suite} })
		var frames []string
		w.while(func() {
			c, err := tls.Dial("tcp", addr, clientTLS(func(c *tls.Config) {
				c.NextProtos, c.MaxVersion, c.CipherSuites = []string{"h2"}, tls.VersionTLS12, []uint16{tt.id}
			}))
			if err != nil {
				t.Error(err)
				return
			}
			p := &peer2{Conn: c, t: t}
			p.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame2(frameSettings, 0, 0, "") + get2(1, "/"))
			for range 5 {
				text, _ := p.next()
				if frames = append(frames, text); text == "closed" || strings.HasPrefix(text, "HEADERS") {
					break
				}
			}
			_ = c.Close()
		})
		got := strings.Join(frames, ", ")
		if weak := strings.Contains(got, "GOAWAY 0 INADEQUATE_SECURITY, closed"); weak != tt.weak || weak != (w.m.stats2.Inadequate.Load() == 1) {
			t.Errorf("%s: %s", tt.suite, got)
		}
		if len(w.term.ended) == 0 != tt.weak {
			t.Errorf("%s: %d requests", tt.suite, len(w.term.ended))
		}
	}
}

func TestTooWeak(t *testing.T) {
	t.Parallel()
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		ok := strings.Contains(s.Name, "ECDHE") && (strings.Contains(s.Name, "GCM") || strings.Contains(s.Name, "POLY1305"))
		if got := tooWeak(&transport.Session{Version: tls.VersionTLS12, Suite: s.ID}); got == ok {
			t.Errorf("tooWeak(%s) = %t", s.Name, got)
		}
	}
	if tooWeak(nil) || tooWeak(&transport.Session{Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256}) || !tooWeak(&transport.Session{Version: tls.VersionTLS11}) {
		t.Error("tooWeak is wrong about versions")
	}
}

// TestMisdirected: a request that came on the connection of another host is told so, if no virtual host has its own.
func TestMisdirected(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		sni, host string
		want      bool
	}{
		{"a.example", "b.example", true}, {"a.example", "B.EXAMPLE:443", true},
		{"a.example", "a.example", false}, {"a.example", "A.example.:8443", false}, // nothing here would do better
		{"a.example", "served.example", false},
		{"", "b.example", false},
	} {
		w := newWorld(t, nil)
		w.m.routes = testTable(t, "served.example")
		c := &filters.Connection{Session: new(transport.Session), ServerName: tt.sni}
		s := &stream{m: w.m, wire: &conn{link: link{m: w.m, net: c}}}
		s.Request.Reset()
		s.Request.AddString("host", tt.host)
		if got := s.isMisdirected(); got != tt.want {
			t.Errorf("isMisdirected with SNI %q and host %q = %t", tt.sni, tt.host, got)
		}
		c.Session = nil
		if s.isMisdirected() {
			t.Errorf("isMisdirected without TLS")
		}
	}
}

// testTable is a table with a route for one host.
func testTable(t *testing.T, host string) *route.Table {
	t.Helper()
	table, problems := route.Compile(&route.Config{VirtualHosts: []route.VirtualHostConfig{{Name: "v", Domains: []string{host}}}}, nil, nil)
	if problems != nil {
		t.Fatal(problems)
	}
	return table
}

// TestClientCert: the five modes of x-forwarded-client-cert, by both versions, with and without a certificate.
func TestClientCert(t *testing.T) {
	t.Parallel()
	anna := enginetest.TestCA().Client(&x509.Certificate{
		Subject: pkix.Name{CommonName: `An"na`, Organization: []string{"Acme, Inc."}},
		URIs:    enginetest.URIs("spiffe://acme/anna"), DNSNames: []string{"anna.example", "a.example"},
	})
	sum := sha256.Sum256(anna.Leaf.Raw)
	hash := "By=spiffe://acme/edge;Hash=" + hex.EncodeToString(sum[:])
	escape := strings.NewReplacer("\n", "%0A", " ", "%20", "+", "%2B", "/", "%2F", "=", "%3D")
	pemOf := func(der []byte) string {
		return escape.Replace(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	}
	all := hash + `;Cert="` + pemOf(anna.Certificate[0]) + `";Chain="` + pemOf(anna.Certificate[0]) + pemOf(anna.Certificate[1]) +
		`";Subject="CN=An\"na,O=Acme\, Inc.";URI=spiffe://acme/anna;DNS=anna.example;DNS=a.example`
	const given = `By=spiffe://other;Hash=00;Subject="CN=eve"`
	for _, tt := range []struct {
		mode    string
		details ClientCertDetails
		show    bool
		given   []string
		want    string
	}{
		{"sanitize", ClientCertDetails{}, true, []string{given}, "-"},
		{"sanitize", ClientCertDetails{}, true, nil, "-"},
		{"forward_only", ClientCertDetails{}, true, []string{given}, given},
		{"forward_only", ClientCertDetails{}, true, nil, "-"},
		{"forward_only", ClientCertDetails{}, false, []string{given}, "-"},
		{"append_forward", ClientCertDetails{}, true, []string{given}, given + "," + hash},
		{"append_forward", ClientCertDetails{}, true, []string{"Hash=1", "", "Hash=2"}, "Hash=1,Hash=2," + hash},
		{"append_forward", ClientCertDetails{}, true, nil, hash},
		{"append_forward", ClientCertDetails{}, false, []string{given}, "-"},
		// What would swallow our element is dropped.
		{"append_forward", ClientCertDetails{}, true, []string{`Hash=1;Subject="`}, hash},
		{"append_forward", ClientCertDetails{}, true, []string{`Subject="\"`, `Hash=2`}, "Hash=2," + hash},
		{"append_forward", ClientCertDetails{}, true, []string{`Subject="\`}, hash},
		{"append_forward", ClientCertDetails{}, true, []string{`Hash=1\"`}, hash},
		{"sanitize_set", ClientCertDetails{}, true, []string{given, given}, hash},
		{"sanitize_set", ClientCertDetails{Subject: true, Cert: true, Chain: true, DNS: true, URI: true}, true, []string{given}, all},
		{"sanitize_set", ClientCertDetails{}, false, []string{given}, "-"},
		{"always_forward_only", ClientCertDetails{}, false, []string{given}, given},
		{"always_forward_only", ClientCertDetails{}, true, []string{given}, given},
	} {
		for _, alpn := range [][]string{nil, {"http/1.1"}} {
			w := newWorld(t, func(c *Config) {
				c.ForwardClientCertDetails, c.SetCurrentClientCertDetails = tt.mode, tt.details
			})
			addr := w.listenTLS()
			cfg := clientTLS(func(c *tls.Config) {
				if c.NextProtos = alpn; tt.show {
					c.Certificates = []tls.Certificate{anna}
				}
			})
			_, h := w.askTLS(addr, cfg, func(r *http.Request) { r.Header["X-Forwarded-Client-Cert"] = tt.given })
			if got := values(h, "x-forwarded-client-cert"); got != tt.want {
				t.Errorf("%s %+v, certificate %t, given %q, %q:\n got %s\nwant %s", tt.mode, tt.details, tt.show, tt.given, alpn, got, tt.want)
			}
		}
	}
}

// TestClientCertPlain: without TLS there is no certificate.
func TestClientCertPlain(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]string{"sanitize": "-", "forward_only": "-", "append_forward": "-", "sanitize_set": "-", "always_forward_only": "Hash=1"} {
		w := newWorld(t, func(c *Config) { c.ForwardClientCertDetails = mode })
		w.dial("127.0.0.1").ask("GET / HTTP/1.1\r\nHost: a\r\nx-forwarded-client-CERT: Hash=1\r\n\r\n")
		if h, _ := w.forwarded(); values(h, "x-forwarded-client-cert") != want {
			t.Errorf("%s: %s; want %s", mode, values(h, "x-forwarded-client-cert"), want)
		}
	}
}

// TestClientCertNames: names that would end their value are quoted, and a certificate without a URI has an empty one.
func TestClientCertNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"spiffe://a/b", "spiffe://a/b"}, {"a,By=x", `"a,By=x"`}, {"a;Hash=0", `"a;Hash=0"`}, {`a"b\`, `"a\"b\\"`}, {"a\r\nb\x80", `"a%0D%0Ab%80"`}, {"", ""},
	} {
		if got := string(appendCertValue(nil, []byte(tt.in))); got != tt.want || !quotesClose([]byte(got)) {
			t.Errorf("appendCertValue(%q) = %s; want %s", tt.in, got, tt.want)
		}
	}
	leaf, _ := enginetest.TestCA().Make(&x509.Certificate{})
	c := &filters.Connection{Session: &transport.Session{Peer: leaf}}
	sum := sha256.Sum256(leaf.Raw)
	want := fmt.Sprintf(`Hash=%x;Subject="";URI=`, sum)
	if got := string(appendClientCert(nil, c, &ClientCertDetails{Subject: true, URI: true, DNS: true})); got != want {
		t.Errorf("appendClientCert = %s; want %s", got, want)
	}
}

// TestClientCertAllocs: the element is made once for each connection.
func TestClientCertAllocs(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.ForwardClientCertDetails, c.SetCurrentClientCertDetails = "append_forward", ClientCertDetails{Subject: true, URI: true}
	})
	leaf, _ := enginetest.TestCA().Make(&x509.Certificate{Subject: pkix.Name{CommonName: "anna"}})
	c := &filters.Connection{Session: &transport.Session{Peer: leaf}, ServerName: "a"}
	s := &stream{m: w.m, wire: &conn{link: link{m: w.m, net: c}}}
	buf := make([]byte, 8<<10)
	if n := testing.AllocsPerRun(100, func() {
		s.Request.Reset()
		s.Request.Own(buf)
		s.Request.Add(codec.FieldXForwardedClientCert, []byte("Hash=1"))
		s.forwardClientCert()
	}); n > 0 && !raceEnabled {
		t.Errorf("%v allocations", n)
	}
}
