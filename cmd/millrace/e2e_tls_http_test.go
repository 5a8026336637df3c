package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// facts is an origin that tells what it was asked, and by which scheme.
func facts(w http.ResponseWriter, r *http.Request) {
	_, _ = fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.RequestURI(), r.Header.Get("X-Forwarded-Proto"))
}

// TestTLSCurl: HTTP/1.1 and HTTP/2 by ALPN, TLS 1.2 and 1.3, as curl speaks them.
func TestTLSCurl(t *testing.T) {
	t.Parallel()
	lookPeer(t, "curl")
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	p := tlsEdge{host: origin(t, facts), tls: fmt.Sprintf(`{"certificates": [%s], "alpn": ["h2", "http/1.1"]}`, a.pair("shop"))}.start(t)
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"http/1.1", []string{"--http1.1"}, "HTTP/1.1 200"},
		{"h2", []string{"--http2"}, "HTTP/2 200"},
		{"no ALPN", []string{"--no-alpn"}, "HTTP/1.1 200"},
		{"TLS 1.2", []string{"--tls-max", "1.2", "--http2"}, "HTTP/2 200"},
		{"TLS 1.3", []string{"--tlsv1.3", "--http1.1"}, "HTTP/1.1 200"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := a.tlsCurl(p.addr(""), "shop.example.com", "/a?b", append([]string{"-i"}, tt.args...)...)
			for _, want := range []string{tt.want, "GET /a?b https"} {
				if !strings.Contains(got, want) {
					t.Errorf("%q, want %q", got, want)
				}
			}
		})
	}
}

// TestTLSVersions: what a chain does not speak is refused with an alert.
func TestTLSVersions(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	host := origin(t, facts)
	for _, tt := range []struct {
		fields   string
		min, max uint16
		ok       bool
	}{
		{"", tls.VersionTLS12, tls.VersionTLS12, true},
		{"", tls.VersionTLS13, tls.VersionTLS13, true},
		{"", tls.VersionTLS10, tls.VersionTLS11, false},
		{`"min_version": "1.3"`, tls.VersionTLS10, tls.VersionTLS12, false},
		{`"max_version": "1.2"`, tls.VersionTLS13, tls.VersionTLS13, false},
		{`"max_version": "1.2"`, tls.VersionTLS12, tls.VersionTLS13, true},
	} {
		p := tlsEdge{host: host, tls: fmt.Sprintf(`{"certificates": [%s]%s}`, a.pair("shop"), leadingComma(tt.fields))}.start(t)
		client := a.tlsClient(p.addr(""), "shop.example.com", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tt.min, tt.max })
		resp, err := client.Get("https://shop.example.com/")
		if err == nil {
			_ = bodyOf(t, resp)
		}
		if (err == nil) != tt.ok || !tt.ok && !strings.Contains(err.Error(), "protocol version") {
			t.Errorf("%s, client %x to %x: %v, want a connection: %v", tt.fields, tt.min, tt.max, err, tt.ok)
		}
	}
}

// TestTLSPlain: a client that forgot the s is told so.
func TestTLSPlain(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	p := tlsEdge{host: origin(t, facts), tls: fmt.Sprintf(`{"certificates": [%s]}`, a.pair("shop"))}.start(t)
	c := dial(t, p.addr(""))
	c.send("GET / HTTP/1.1\r\nHost: shop.example.com\r\n\r\n")
	c.wantHead("HTTP/1.1 400 Bad Request\r\n")
	if body := c.rest(); !strings.Contains(body, "HTTPS") {
		t.Errorf("the answer says %q", body)
	}
	p.wantStat("listener.edge.downstream_cx_active", 0)
}
