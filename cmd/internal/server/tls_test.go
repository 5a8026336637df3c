package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/cmd/internal/config"
)

// writeCertificate writes a certificate that signs itself to DIR/NAME.crt and its key to DIR/NAME.key, and returns the
// certificate.
func writeCertificate(t *testing.T, dir, name string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(36 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for ext, b := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		path := filepath.Join(dir, name+ext)
		if err := os.WriteFile(path+".new", pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c
}

// tlsOf is "tls" with the certificate of writeCertificate, and more fields.
func tlsOf(dir, name, more string) string {
	return fmt.Sprintf(`"tls": {"certificates": [{"cert_file": "%s/%s.crt", "key_file": "%[1]s/%[2]s.key"}]%[3]s}`, dir, name, more)
}

// shown returns the common name of the certificate that a listener shows, or the error.
func shown(addr, name string) string {
	c, err := tls.Dial("tcp", addr, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName
}

// TestTLSChains: what is wrong with "tls" of a listener, whatever its files hold.
func TestTLSChains(t *testing.T) {
	t.Parallel()
	pair := `"certificates": [{"cert_file": "a.crt", "key_file": "a.key"}]`
	for _, tt := range []struct{ name, listener, want string }{
		{"good", `"tls": {` + pair + `}, ` + echoChain, ""},
		{"beside filter_chains", `"tls": {` + pair + `}, "filter_chains": [{` + echoChain + `}]`,
			`tls: stands beside filter_chains; give "tls" in those of them that speak it`},
		{"UDP", `"protocol": "udp", "tls": {` + pair + `}, "filters": [{"name": "udp_proxy", "config": {"stat_prefix": "u", "cluster": "web"}}]`,
			`tls: a listener with protocol "udp" has no TLS: DTLS and QUIC are not spoken; leave it out`},
		{"UDP in a chain", `"protocol": "udp", "filter_chains": [{"tls": {` + pair + `}, "filters": [{"name": "udp_proxy", "config": {"stat_prefix": "u", "cluster": "web"}}]}]`,
			`filter_chains[0].tls: a listener with protocol "udp" has no TLS: DTLS and QUIC are not spoken; leave it out`},
		{"no TLS", `"filter_chains": [{"match": {"transport_protocol": "raw_buffer"}, "tls": {` + pair + `}, ` + echoChain + `}]`,
			`filter_chains[0].tls: is never spoken: the chain takes connections only that do not begin with TLS; leave it out, or write "transport_protocol": "tls" in its match`},
		{"h2 to HTTP/1", `"tls": {` + pair + `, "alpn": ["h2", "http/1.1"]}, ` + httpChain("x", `"codec_type": "http1",`),
			`tls.alpn[0]: "h2" is not spoken here: the codec_type of the connection manager is "http1"; write "codec_type": "auto"`},
		{"HTTP/1 to h2", `"filter_chains": [{"tls": {` + pair + `, "alpn": ["h2", "http/1.1"]}, ` + httpChain("x", `"codec_type": "http2",`) + `}]`,
			`filter_chains[0].tls.alpn[1]: "http/1.1" is not spoken here: the codec_type of the connection manager is "http2"; write "codec_type": "auto"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, errs := config.Load("f", []byte(whole([]string{`{"address": ":0", ` + tt.listener + `}`}, cluster("web", "127.0.0.1:9"))), Registry())
			got := ""
			for _, e := range errs {
				got += strings.TrimPrefix(e.Path, "listeners[0].") + ": " + e.Problem + "; " + e.Hint
			}
			if got != tt.want {
				t.Errorf("%s\ngot:  %s\nwant: %s", tt.listener, got, tt.want)
			}
		})
	}
}

// TestLoadReadsCertificates: files have their place in the configuration, those of clusters too, and are not read where
// something else is wrong already.
func TestLoadReadsCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeCertificate(t, dir, "a")
	web := func(tls string) string { return `{"name": "web", "hosts": ["127.0.0.1:9"], "tls": {` + tls + `}}` }
	for _, tt := range []struct{ name, text, path, problem string }{
		{"good", whole([]string{`{"address": ":0", ` + tlsOf(dir, "a", "") + `, ` + echoChain + `}`}, web(fmt.Sprintf(`"ca_file": "%s/a.crt"`, dir))), "", ""},
		{"a chain", whole([]string{`{"address": ":0", "filter_chains": [{` + tlsOf(dir, "none", "") + `, ` + echoChain + `}]}`}, cluster("web", "127.0.0.1:9")),
			"listeners[0].filter_chains[0].tls.certificates[0].cert_file", "no such file"}, // and another of key_file
		{"the default chain", whole([]string{`{"address": ":0", "default_filter_chain": {` + tlsOf(dir, "a", `, "client_ca_file": "/none"`) + `, ` + echoChain + `}}`}, cluster("web", "127.0.0.1:9")),
			"listeners[0].default_filter_chain.tls.client_ca_file", "/none: no such file"},
		{"a cluster", whole(nil, web(`"ca_file": "/none"`)), "clusters[0].tls.ca_file", "/none: no such file"},
		{"something else", whole(nil, web(`"ca_file": "/none", "max_session_keys": -1`)), "clusters[0].tls.max_session_keys", "out of range"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, errs := Load("f", []byte(tt.text), Registry())
			if tt.path == "" {
				if errs != nil {
					t.Error(errs)
				}
				return
			}
			if tt.name == "a chain" && (len(errs) != 2 || errs[1].Path != "listeners[0].filter_chains[0].tls.certificates[0].key_file") {
				t.Errorf("Load: %v; want an error of key_file besides", errs)
			}
			if len(errs) == 0 || len(errs) > 2 || errs[0].Path != tt.path || !strings.Contains(errs[0].Problem, tt.problem) {
				t.Errorf("Load: %v; want %s: %s", errs, tt.path, tt.problem)
			}
		})
	}
}

func TestCutPath(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, path, problem string }{
		{"certificates[1].ocsp_staple_file: open x: no such file", "certificates[1].ocsp_staple_file", "open x: no such file"},
		{"client_ca_file: /a: b", "client_ca_file", "/a: b"},
		{"/a.key: the key is not that of /a.crt", "", "/a.key: the key is not that of /a.crt"},
		{"min_version 1.3 is above max_version 1.2", "", "min_version 1.3 is above max_version 1.2"},
		{"", "", ""},
	} {
		if path, problem := cutPath(tt.in); path != tt.path || problem != tt.problem {
			t.Errorf("cutPath(%q) = %q, %q; want %q, %q", tt.in, path, problem, tt.path, tt.problem)
		}
	}
}

// TestTLSReloads: what a reload does to chains with TLS, to their counters and to their files.
func TestTLSReloads(t *testing.T) {
	dir, a := t.TempDir(), freeAddr(t)
	for _, name := range []string{"one", "two"} {
		writeCertificate(t, dir, name)
	}
	conf := func(one, two string) string {
		return withAdmin(whole([]string{chainsOf("a", a, `"stat_prefix": "a",`,
			one+`, "name": "one", "match": {"server_names": ["one"]}, `+echoChain, two+`, "name": "two", `+echoChain)}))
	}
	r := start(t, conf(tlsOf(dir, "one", ""), tlsOf(dir, "two", "")))
	for name, want := range map[string]string{"one": "one", "two": "two", "other": "two"} {
		if got := shown(a, name); got != want {
			t.Errorf("%s is shown %q, want %q", name, got, want)
		}
	}
	r.wantStat("listener.a.ssl.handshake", 3)
	for name, want := range map[string]int64{"server.days_until_first_cert_expiring": 1, "certs.in_error": 0, "listener.a.ssl.ocsp_staple_requests": 3} {
		r.wantStat(name, want)
	}
	if users := r.adminCertificates(); len(users) != 2 || users[0].Users[0] != "listener a" {
		t.Errorf("/certs has %+v", users)
	}
	kept := r.snapshot.Load().Listeners[0].Chains
	rep := r.mustLoad(conf(tlsOf(dir, "one", ""), tlsOf(dir, "two", `, "require_sni": true`)))
	if len(rep.Changes) != 1 || rep.Changes[0].Kind != "filter_chain" || rep.Changes[0].Detail != "tls" {
		t.Errorf("the report is %+v", rep.Changes)
	}
	if now := r.snapshot.Load().Listeners[0].Chains; now[0] != kept[0] || now[1].TLS == kept[1].TLS {
		t.Error("a chain that does not differ was made anew, or one that does was not")
	}
	if got := shown(a, ""); !strings.Contains(got, "remote error") {
		t.Errorf("without a name it shows %q", got)
	}
	r.wantStat("listener.a.ssl.handshake", 3) // goes on counting
	if got := shown(a, "three"); got != "two" {
		t.Errorf("the new chain shows %q", got)
	}
	r.wantStat("listener.a.ssl.ocsp_staple_requests", 4)

	// A pair that does not fit refuses the reload, whatever the running store still has.
	writeCertificate(t, dir, "three")
	if err := os.Rename(filepath.Join(dir, "three.key"), filepath.Join(dir, "one.key")); err != nil {
		t.Fatal(err)
	}
	before := r.snapshot.Load()
	rep = r.load(conf(tlsOf(dir, "one", `, "min_version": "1.3"`), tlsOf(dir, "two", "")))
	if rep.Applied || len(rep.Errors) != 1 || !strings.Contains(rep.Errors[0], "filter_chains[0].tls.certificates[0]") || r.snapshot.Load() != before {
		t.Errorf("a reload with a bad pair: applied %v, %q", rep.Applied, rep.Errors)
	}
	if got := shown(a, "one"); got != "one" {
		t.Errorf("with a bad pair on disk it shows %q", got)
	}
	r.wantStat("certs.in_error", 1)

	// Without TLS the chain is plain, and what was counted is forgotten with the last chain that has it.
	r.mustLoad(withAdmin(whole([]string{chainsOf("a", a, `"stat_prefix": "a",`, echoChain)})))
	wantEcho(t, dialFrom(t, 2, a), "plain")
	r.wantStat("certs.in_error", 0)
	if !eventually(func() bool { return len(r.adminCertificates()) == 0 }) {
		t.Errorf("/certs still has %+v", r.adminCertificates())
	}
}

// TestTLSLimits: the limits of handshakes hold from the start, and the log has what they may cost.
func TestTLSLimits(t *testing.T) {
	dir := t.TempDir()
	writeCertificate(t, dir, "a")
	conf := func(limits, listener string) string {
		return strings.Replace(withAdmin(whole([]string{`{"name": "a", "address": "127.0.0.1:0", ` + listener + echoChain + `}`})),
			`{"admin"`, `{"overload": {"tls_handshakes": {`+limits+`}}, "admin"`, 1)
	}
	r := start(t, conf(`"max_active": 100, "max_queued": 7, "max_computing": 3`, tlsOf(dir, "a", "")+", "))
	if l := r.tls.limits; l.MaxUnderWay != 100 || l.MaxQueued != 7 || l.MaxComputing != 3 {
		t.Errorf("limits are %+v", l)
	}
	if m := r.memoryMax(r.snapshot.Load()); m.tls != 100*handshakeBytesMax {
		t.Errorf("handshakes may take %d", m.tls)
	}
	rep := r.mustLoad(conf(`"max_active": 200`, tlsOf(dir, "a", fmt.Sprintf(`, "client_ca_file": "%s/a.crt"`, dir))+", "))
	if len(rep.Warnings) != 1 || !strings.Contains(rep.Warnings[0], "overload.tls_handshakes: changed") {
		t.Errorf("warnings are %q", rep.Warnings)
	}
	if m := r.memoryMax(r.snapshot.Load()); m.tls != 100*(handshakeBytesMax+handshakePeerBytesMax) {
		t.Errorf("handshakes with certificates of clients may take %d", m.tls)
	}
	r.mustLoad(conf(`"max_active": 100, "max_queued": 7, "max_computing": 3`, ""))
	if m := r.memoryMax(r.snapshot.Load()); m.tls != 0 {
		t.Errorf("without TLS handshakes may take %d", m.tls)
	}
	auto := start(t, conf(``, ""))
	if l := auto.tls.limits; l.MaxUnderWay != 4096 || l.MaxQueued != 1024 || l.MaxComputing < 1 {
		t.Errorf("limits are %+v", l)
	}
}
