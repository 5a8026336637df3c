package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// wsOverTLS opens a WebSocket over a TLS connection.
func (a *authority) wsOverTLS(addr, name string) *wsConn {
	a.t.Helper()
	c := a.rawTLS(addr, name, nil)
	_ = c.SetDeadline(time.Now().Add(3 * waitMax))
	c.send("GET /chat HTTP/1.1\r\nHost: " + name + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		a.t.Fatalf("upgrade: %v, %v", resp, err)
	}
	return &wsConn{r: c.r, w: c, client: true, close: func() { _ = c.Close() }}
}

// TestTLSReload: a reload that changes the tls of one chain builds that chain anew and leaves the others alone; what was
// begun on the old one goes on.
func TestTLSReload(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	a.issue("blog", "blog.example.com")
	host := startWSOrigin(t)
	chain := func(name, tls string) string {
		return fmt.Sprintf(`{"name": %q, "match": {"server_names": ["%[1]s.example.com"]}, "tls": {"certificates": [%[2]s]%[3]s}, "filters": [
			{"name": "http_connection_manager", "config": {"stat_prefix": %[1]q, "drain_timeout": "100ms", "route_config": {"routes": [
			{"match": {"prefix": "/"}, "route": {"cluster": "web", "upgrades": ["websocket"]}}]}}}]}`, name, a.pair(name), tls)
	}
	config := func(shop, blog string) string {
		return fmt.Sprintf(`{"concurrency": 1, "listeners": [{"name": "edge", "address": "127.0.0.1:0", "stat_prefix": "edge", "filter_chains": [%s, %s]}],
			"clusters": [{"name": "web", "hosts": [%q]}]}`, chain("shop", shop), chain("blog", blog), host)
	}
	p := startProxy(t, config("", ""))
	shop, blog := a.wsOverTLS(p.addr(""), "shop.example.com"), a.wsOverTLS(p.addr(""), "blog.example.com")
	kept := a.tlsClient(p.addr(""), "blog.example.com", nil)
	ask := func() {
		t.Helper()
		resp, err := kept.Get("https://blog.example.com/")
		if err != nil {
			t.Fatal(err)
		}
		_ = bodyOf(t, resp)
	}
	ask()
	reload := func(config, want string) {
		t.Helper()
		p.write(config)
		if code, answer := p.adminPost("/reload"); code != 200 || !strings.Contains(answer, want) {
			t.Errorf("reload: %d %q, want %q", code, answer, want)
		}
	}
	reload(config("", ""), "0 added, 0 changed, 0 removed")
	reload(config(`, "min_version": "1.3"`, ""), "0 added, 1 changed, 0 removed")
	if _, err := a.dialTLS(p.addr(""), "shop.example.com", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }); err == nil {
		t.Error("the new chain takes TLS 1.2")
	}
	if _, err := a.dialTLS(p.addr(""), "blog.example.com", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }); err != nil {
		t.Errorf("the other chain: %v", err)
	}
	for _, c := range []*wsConn{shop, blog} {
		c.exchange(t, wsFrame{wsText, true, []byte("still here")})
	}
	ask()
	if n := p.stat("http.blog.downstream_cx_total"); n != 3 { // the WebSocket, kept and the one of TLS 1.2
		t.Errorf("the other chain had %d connections, want 3", n)
	}
	if n := p.stat("listener_manager.total_filter_chains_draining"); n != 1 {
		t.Errorf("%d filter chains drain, want 1", n)
	}
	shop.close()
	p.wantStat("listener_manager.total_filter_chains_draining", 0)
	reload(strings.ReplaceAll(config("", ""), `"tls": {"certificates": [`+a.pair("blog")+`]}, `, ""), "0 added, 2 changed, 0 removed")
	blog.exchange(t, wsFrame{wsText, true, []byte("and here")})
}

// TestTLSErrors: what is wrong with files has a place, at the start, in a check and in a reload.
func TestTLSErrors(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	a.issue("other", "shop.example.com")
	a.put("short", []byte("80 bytes are wanted"))
	good := fmt.Sprintf(`"certificates": [%s]`, a.pair("shop"))
	for _, tt := range []struct{ tls, path, problem string }{
		{fmt.Sprintf(`"certificates": [%s, {"cert_file": %q, "key_file": %q}]`, a.pair("shop"), a.path("other.crt"), a.path("shop.key")),
			"certificates[1]", "the key is not that of the certificate"},
		{fmt.Sprintf(`"certificates": [{"cert_file": "none.crt", "key_file": %q}]`, a.path("shop.key")), "certificates[0].cert_file", "none.crt: no such file"},
		{fmt.Sprintf(`"certificates": [{"cert_file": %q, "key_file": %[1]q}]`, a.path("shop.key")), "certificates[0]", "no certificate in the file"},
		{good + fmt.Sprintf(`, "client_ca_file": %q`, a.path("shop.key")), "client_ca_file", "no certificate"},
		{good + fmt.Sprintf(`, "session_ticket_key_files": [%q]`, a.path("short")), "session_ticket_key_files[0]", "80"},
	} {
		text := tlsEdge{host: "127.0.0.1:1", tls: "{" + tt.tls + "}"}.config()
		code, _, problems := runMain(text, "check", "-c", "-")
		if code != exitRefused || !strings.Contains(problems, "stdin:2:") || !strings.Contains(problems, "listeners[0].tls."+tt.path+": ") || !strings.Contains(problems, tt.problem) {
			t.Errorf("%s: exit code %d\n%s\nwant %s: %s", tt.tls, code, problems, tt.path, tt.problem)
		}
		if n := strings.Count(strings.TrimSpace(problems), "\n"); n > 0 {
			t.Errorf("%s: %d lines\n%s", tt.tls, n+1, problems)
		}
	}
	text := tlsEdge{host: "127.0.0.1:1", tls: fmt.Sprintf(`{%s}`, good)}.config()
	if code, out, problems := runMain(text, "check", "-c", "-"); code != exitFine {
		t.Errorf("check of what is good: %d %s %s", code, out, problems)
	}
}

// TestTLSDrain: SIGTERM ends idle connections with close_notify, and lets requests finish.
func TestTLSDrain(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	asked, answer := make(chan bool), make(chan bool)
	host := origin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			asked <- true
			<-answer
		}
		_, _ = io.WriteString(w, "done")
	})
	p := tlsEdge{host: host, tls: fmt.Sprintf(`{"certificates": [%s], "alpn": ["h2", "http/1.1"]}`, a.pair("shop")), extra: `"drain_timeout": "200ms"`}.start(t)
	idle := a.rawTLS(p.addr(""), "shop.example.com", nil)
	idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	idle.wantHead("HTTP/1.1 200")
	idle.bytes(len("done"))
	fresh := a.rawTLS(p.addr(""), "shop.example.com", nil) // has asked for nothing
	slow := make(chan error, 2)
	for _, protocol := range []string{"h2", "http/1.1"} {
		client := a.tlsClient(p.addr(""), "shop.example.com", nil, protocol)
		go func() {
			resp, err := client.Get("https://shop.example.com/slow")
			if err == nil && resp.StatusCode != 200 {
				err = errors.New(resp.Status)
			}
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
			}
			slow <- err
		}()
		<-asked
	}
	p.signal(syscall.SIGTERM)
	idle.wantEnd() // crypto/tls tells a truncation from an end
	fresh.wantEnd()
	answer <- true
	answer <- true
	for range 2 {
		if err := <-slow; err != nil {
			t.Errorf("a request under way: %v", err)
		}
	}
	p.wantExit(exitFine)
}

// TestTLSBehindProxyProtocol: the PROXY header comes first, then TLS, and the address is the client's.
func TestTLSBehindProxyProtocol(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	host := origin(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-For")+" "+r.Header.Get("X-Forwarded-Proto"))
	})
	p := tlsEdge{
		host: host, tls: fmt.Sprintf(`{"certificates": [%s], "alpn": ["h2", "http/1.1"]}`, a.pair("shop")),
		listener: `"listener_filters": [{"name": "proxy_protocol"}]`, extra: `"use_remote_address": true`,
	}.start(t)
	for _, protocol := range []string{"h2", "http/1.1"} {
		client := a.tlsClient(p.addr(""), "shop.example.com", nil, protocol)
		tr := client.Transport.(*http.Transport)
		dial := tr.DialContext
		tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dial(ctx, network, addr)
			if err == nil {
				_, err = io.WriteString(c, "PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n")
			}
			return c, err
		}
		wantBody(t, client, "https://shop.example.com/", "192.0.2.7 https")
	}
}

// TestTLSKeyLog: the secrets of connections go to the file that is named, and only then.
func TestTLSKeyLog(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	p := tlsEdge{host: origin(t, facts), tls: fmt.Sprintf(`{"certificates": [%s], "key_log": {"path": %q}}`, a.pair("shop"), a.path("keys"))}.start(t)
	for _, version := range versions {
		client := a.tlsClient(p.addr(""), "shop.example.com", func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version })
		wantBody(t, client, "https://shop.example.com/", "GET / https")
	}
	text, err := os.ReadFile(a.path("keys"))
	if err != nil || strings.Count(string(text), "CLIENT_RANDOM ") != 1 || strings.Count(string(text), "SERVER_TRAFFIC_SECRET_0 ") != 1 {
		t.Errorf("the key log has %q, %v", text, err)
	}
	if info, err := os.Stat(a.path("keys")); err == nil && info.Mode().Perm() != 0o600 {
		t.Errorf("the key log has the mode %v", info.Mode())
	}
}
