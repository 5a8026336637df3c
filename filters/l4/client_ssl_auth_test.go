package l4

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"millrace/engine/enginetest"
	"millrace/engine/transport"
	"millrace/filters"
	"millrace/filters/accesslog"
)

// fakeWatch is SharedEnv.Watch in the hands of a test.
type fakeWatch struct {
	src           filters.Source
	every, jitter time.Duration
	put           func([]byte, error)
	stopped       int
}

func (w *fakeWatch) watch(src filters.Source, every, jitter time.Duration, put func([]byte, error)) func() {
	w.src, w.every, w.jitter, w.put = src, every, jitter, put
	return func() { w.stopped++ }
}

// clientSSLAuthBody lists digests of texts.
func clientSSLAuthBody(texts ...string) []byte {
	var list []string
	for _, s := range texts {
		list = append(list, fmt.Sprintf(`{"fingerprint_sha256":"%x"}`, sha256.Sum256([]byte(s))))
	}
	return []byte(`{"certificates":[` + strings.Join(list, ",") + `],"more":1}`)
}

func TestClientSSLAuth(t *testing.T) {
	t.Parallel()
	p := newFakeProcess(t)
	var watch fakeWatch
	var logged bytes.Buffer
	p.shared.Watch = watch.watch
	p.shared.Log = slog.New(slog.NewTextHandler(&logged, nil))
	f := p.build(t, "client_ssl_auth", &ClientSSLAuthConfig{StatPrefix: "in", AuthAPICluster: "auth", RefreshDelay: time.Minute,
		IPAllowlist: []string{"10.0.0.0/8"}}).(*clientSSLAuth)
	if want := (filters.Source{Cluster: "auth", Path: "/v1/certs/list/approved"}); watch.src != want || watch.every != time.Minute || watch.jitter != time.Minute {
		t.Errorf("watches %+v every %v + %v", watch.src, watch.every, watch.jitter)
	}
	conn := func(remote string, tls bool, certificate string) (*filters.Connection, bool) {
		io, _ := p.loop.Pair(enginetest.NewRecorder())
		io.SetRemoteAddr(mustAddr(t, remote))
		c := newFakeConnection(io)
		if tls {
			c.OnSession(&transport.Session{})
		}
		if certificate != "" {
			c.Session.Peer = &x509.Certificate{Raw: []byte(certificate)}
		}
		return c, f.OnEstablished(c) == filters.NetworkContinue
	}
	try := func(when string, want ...bool) {
		t.Helper()
		_, plain := conn("192.0.2.1:1", false, "")
		_, listed := conn("10.1.2.3:1", true, "")
		_, anna := conn("192.0.2.1:1", true, "anna")
		_, bert := conn("192.0.2.1:1", true, "bert")
		_, none := conn("192.0.2.1:1", true, "")
		if got := []bool{plain, listed, anna, bert, none}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: plain, listed, anna, bert, none = %v; want %v", when, got, want)
		}
	}
	try("before the first list", true, true, false, false, false)
	watch.put(nil, errors.New("no host"))
	watch.put(nil, errors.New("no host"))
	try("after a failure", true, true, false, false, false)
	watch.put(clientSSLAuthBody("anna", "carl", "anna"), nil)
	try("with a list", true, true, true, false, false)
	watch.put([]byte(`{"certificates":[{"fingerprint_sha256":"00"}]}`), nil)
	try("after another failure", true, true, true, false, false)
	if got, want := p.stats("auth.clientssl.in."), "auth_digest_match=2 auth_digest_no_match=10 auth_ip_allowlist=4 auth_no_ssl=4 "+
		"total_principals=2 update_failure=3 update_success=1"; got != want {
		t.Errorf("stats %q, want %q", got, want)
	}
	watch.put(clientSSLAuthBody("bert"), nil)
	try("with another list", true, true, false, true, false)
	watch.put(clientSSLAuthBody(), nil)
	try("with an empty list", true, true, false, false, false)
	if n := strings.Count(logged.String(), "was not updated"); n != 2 {
		t.Errorf("%d failures were logged, want one for each row of them:\n%s", n, &logged)
	}
	if c, _ := conn("192.0.2.1:1", true, "dora"); c.Flags != accesslog.FlagUnauthorizedExternal || c.Details != "auth_digest_no_match" {
		t.Errorf("flags %v, details %q", c.Flags, c.Details)
	}
	if err := f.list.Close(); err != nil || watch.stopped != 1 {
		t.Errorf("Close() = %v, stopped %d times", err, watch.stopped)
	}
	var _ io.Closer = f.list
}

// TestClientSSLAuthReload: what replaces a filter knows the list of its source from the start.
func TestClientSSLAuthReload(t *testing.T) {
	t.Parallel()
	p := newFakeProcess(t)
	var watch fakeWatch
	known := map[string]any{}
	p.shared.Watch = watch.watch
	p.shared.Once = func(key string, made func() any) any {
		if known[key] == nil {
			known[key] = made()
		}
		return known[key]
	}
	digest := sha256.Sum256([]byte("anna"))
	first := p.build(t, "client_ssl_auth", &ClientSSLAuthConfig{StatPrefix: "in", File: "a"}).(*clientSSLAuth)
	watch.put(clientSSLAuthBody("anna"), nil)
	second := p.build(t, "client_ssl_auth", &ClientSSLAuthConfig{StatPrefix: "in", File: "a", IPAllowlist: []string{"::1"}}).(*clientSSLAuth)
	other := p.build(t, "client_ssl_auth", &ClientSSLAuthConfig{StatPrefix: "in", AuthAPICluster: "a"}).(*clientSSLAuth)
	if !first.list.has(&digest) || !second.list.has(&digest) || other.list.has(&digest) {
		t.Errorf("known by the first %v, the second %v, one with another source %v", first.list.has(&digest), second.list.has(&digest), other.list.has(&digest))
	}
}

func TestParseClientSSLAuth(t *testing.T) {
	t.Parallel()
	hexDigest := strings.Repeat("aB", 32)
	colons := strings.TrimSuffix(strings.Repeat("AB:", 32), ":")
	for _, tt := range []struct {
		body string
		want int
		err  string
	}{
		{`{"certificates":[]}`, 0, ""},
		{`{"certificates":[{"fingerprint_sha256":"` + hexDigest + `"}]}`, 1, ""},
		{`{"certificates":[{"fingerprint_sha256":"` + hexDigest + `"},{"fingerprint_sha256":"` + colons + `"}]}`, 1, ""},
		{``, 0, "unexpected end of JSON input"},
		{`[]`, 0, "cannot unmarshal array"},
		{`{}`, 0, `has no "certificates"`},
		{`{"certificates":null}`, 0, `has no "certificates"`},
		{`{"certificates":[{}]}`, 0, `certificates[0]: fingerprint_sha256 "" is not 32 bytes in hexadecimal`},
		{`{"certificates":[{"fingerprint_sha256":"` + hexDigest + `00"}]}`, 0, "is not 32 bytes"},
		{`{"certificates":[{"fingerprint_sha256":"` + hexDigest[2:] + `"}]}`, 0, "is not 32 bytes"},
		{`{"certificates":[{"fingerprint_sha256":"` + hexDigest[1:] + `g"}]}`, 0, "is not 32 bytes"},
		{`{"certificates":[` + strings.Repeat("{},", clientSSLAuthDigestsMax) + `{}]}`, 0, "list of 1000001 certificates exceeds 1000000"},
	} {
		got, err := parseClientSSLAuth([]byte(tt.body))
		if len(got) != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("parseClientSSLAuth(%.100q) = %d digests, %v; want %d, %q", tt.body, len(got), err, tt.want, tt.err)
		}
	}
}

func FuzzParseClientSSLAuth(f *testing.F) {
	f.Add(clientSSLAuthBody("a", "b"))
	f.Add([]byte(`{"certificates":[{"fingerprint_sha256":"ä"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		digests, err := parseClientSSLAuth(body)
		if err != nil && digests != nil {
			t.Error("both a list and an error")
		}
		l := &clientSSLAuthList{digests: new(clientSSLAuthDigests)}
		l.digests.Store(&digests)
		for i := range digests {
			if !l.has(&digests[i]) {
				t.Errorf("digest %d is not found", i)
			}
		}
	})
}

func TestClientSSLAuthConfig(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cfg  ClientSSLAuthConfig
		want string
		refs string
	}{
		{ClientSSLAuthConfig{File: "f"}, "", ""},
		{ClientSSLAuthConfig{AuthAPICluster: "c"}, "", "auth_api_cluster cluster c"},
		{ClientSSLAuthConfig{}, ": nothing tells where the list of certificates comes from", ""},
		{ClientSSLAuthConfig{File: "f", AuthAPICluster: "c", IPAllowlist: []string{"x"}},
			"file: auth_api_cluster and file are both given\nip_allowlist[0]: \"x\" is not an IP address or prefix", "auth_api_cluster cluster c"},
	} {
		if got := problems(tt.cfg.Validate); got != tt.want {
			t.Errorf("Validate(%+v) = %q; want %q", tt.cfg, got, tt.want)
		}
		refs := ""
		tt.cfg.References(func(path, kind, name string) { refs += path + " " + kind + " " + name })
		if refs != tt.refs {
			t.Errorf("References(%+v) = %q; want %q", tt.cfg, refs, tt.refs)
		}
	}
	p := newFakeProcess(t)
	if _, err := p.tryBuild(t, "client_ssl_auth", &ClientSSLAuthConfig{StatPrefix: "x", File: "f"}); err == nil {
		t.Error("built although nothing can read the list")
	}
	var watch fakeWatch
	p.shared.Watch = watch.watch
	if _, err := p.tryBuild(t, "client_ssl_auth", &ClientSSLAuthConfig{StatPrefix: "x", File: "f", IPAllowlist: []string{"x"}}); err == nil {
		t.Error("built with a bad prefix")
	}
	p.build(t, "client_ssl_auth", &ClientSSLAuthConfig{StatPrefix: "x", File: "/etc/list.json"})
	if watch.src != (filters.Source{File: "/etc/list.json"}) {
		t.Errorf("watches %+v", watch.src)
	}
}
