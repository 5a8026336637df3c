package main

import (
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net/http"
	"testing"
)

// resumes asks n times, on a connection for each, and returns how many of them resumed a session.
func resumes(t *testing.T, a *authority, addr, name string, n int, cache tls.ClientSessionCache, version uint16) (count int) {
	t.Helper()
	client := a.tlsClient(addr, name, func(c *tls.Config) {
		c.ClientSessionCache, c.MinVersion, c.MaxVersion = cache, version, version
	})
	client.Transport.(*http.Transport).DisableKeepAlives = true
	for range n {
		resp, err := client.Get("https://" + name + "/")
		if err != nil {
			t.Fatal(err)
		}
		_ = bodyOf(t, resp)
		if resp.TLS.DidResume {
			count++
		}
	}
	return count
}

// versions are those that everybody speaks.
var versions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// TestTLSResumption: a session of one loop is resumed on another, and not by a chain with other demands.
func TestTLSResumption(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	host := origin(t, facts)
	for name, version := range versions {
		p := tlsEdge{host: host, tls: fmt.Sprintf(`{"certificates": [%s]}`, a.pair("shop")), loops: 4}.start(t)
		if n := resumes(t, a, p.addr(""), "shop.example.com", 20, tls.NewLRUClientSessionCache(1), version); n != 19 {
			t.Errorf("TLS %s: %d of 20 connections resumed, want all but the first", name, n)
		}
		p.wantStat("listener.edge.ssl.session_reused", 19)
		off := tlsEdge{host: host, tls: fmt.Sprintf(`{"certificates": [%s], "disable_stateless_session_resumption": true}`, a.pair("shop"))}.start(t)
		if n := resumes(t, a, off.addr(""), "shop.example.com", 3, tls.NewLRUClientSessionCache(1), version); n != 0 {
			t.Errorf("TLS %s: %d connections resumed although that is off", name, n)
		}
	}
}

// TestTLSResumptionAcrossProcesses: processes with the same ticket keys resume each other's sessions, and only those.
func TestTLSResumptionAcrossProcesses(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com")
	key := make([]byte, 80)
	for _, name := range []string{"one", "two"} {
		_, _ = rand.Read(key)
		a.put(name, key)
	}
	host := origin(t, facts)
	start := func(fields string) *proxy {
		return tlsEdge{host: host, tls: fmt.Sprintf(`{"certificates": [%s]%s}`, a.pair("shop"), fields)}.start(t)
	}
	keys := func(names ...string) string {
		text := ""
		for _, n := range names {
			text += fmt.Sprintf(", %q", a.path(n))
		}
		return fmt.Sprintf(`, "session_ticket_key_files": [%s]`, text[2:])
	}
	first, same, rotated, other, none := start(keys("one")), start(keys("one")), start(keys("two", "one")), start(keys("two")), start("")
	for name, version := range versions {
		for who, tt := range map[string]struct {
			p    *proxy
			want int
		}{"the same key": {same, 1}, "the key is second": {rotated, 1}, "another key": {other, 0}, "a key of its own": {none, 0}} {
			cache := tls.NewLRUClientSessionCache(1)
			resumes(t, a, first.addr(""), "shop.example.com", 1, cache, version)
			if n := resumes(t, a, tt.p.addr(""), "shop.example.com", 1, cache, version); n != tt.want {
				t.Errorf("TLS %s, %s: %d connections resumed, want %d", name, who, n, tt.want)
			}
		}
	}
}

// TestTLSResumptionAcrossChains: a session that was begun without a certificate is none where one is required.
func TestTLSResumptionAcrossChains(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("shop", "shop.example.com", "private.example.com")
	filters := `"filters": [{"name": "http_connection_manager", "config": {"stat_prefix": "e2e", "route_config": {"routes": [
		{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": "ok"}}]}}}]`
	p := startProxy(t, fmt.Sprintf(`{"listeners": [{"address": "127.0.0.1:0", "filter_chains": [
		{"match": {"server_names": ["private.example.com"]}, "tls": {"certificates": [%s], "client_ca_file": %q, "require_client_certificate": true}, %s},
		{"tls": {"certificates": [%s]}, %s}]}]}`, a.pair("shop"), a.path("ca.crt"), filters, a.pair("shop"), filters))
	for name, version := range versions {
		cache := &oneSession{}
		resumes(t, a, p.addr(""), "shop.example.com", 1, cache, version)
		client := a.tlsClient(p.addr(""), "private.example.com", func(c *tls.Config) {
			c.ClientSessionCache, c.MinVersion, c.MaxVersion = cache, version, version
		})
		if resp, err := client.Get("https://private.example.com/"); err == nil {
			t.Errorf("TLS %s: a session without a certificate got %d where one is required", name, resp.StatusCode)
		}
		if !cache.used {
			t.Errorf("TLS %s: the session was not tried", name)
		}
	}
}

// oneSession offers one session to whatever server.
type oneSession struct {
	s    *tls.ClientSessionState
	used bool
}

// Get implements tls.ClientSessionCache.
func (c *oneSession) Get(string) (*tls.ClientSessionState, bool) {
	c.used = c.used || c.s != nil
	return c.s, c.s != nil
}

// Put implements tls.ClientSessionCache.
func (c *oneSession) Put(_ string, s *tls.ClientSessionState) {
	if c.s == nil {
		c.s = s
	}
}
