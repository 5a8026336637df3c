package certs

import (
	"fmt"
	"strings"
	"testing"
)

// problems runs a Validate and returns a line for each problem.
func problems(validate func(func(path, problem, hint string))) string {
	var b strings.Builder
	validate(func(path, problem, hint string) { fmt.Fprintf(&b, "%s: %s; %s\n", path, problem, hint) })
	return b.String()
}

func TestValidateDownstream(t *testing.T) {
	t.Parallel()
	one := []CertificateConfig{{CertFile: "a.crt", KeyFile: "a.key"}}
	zero := strings.Repeat("00", 32)
	for _, tt := range []struct {
		cfg  DownstreamConfig
		want string
	}{
		{DownstreamConfig{Certificates: one, ALPN: []string{"h2", "http/1.1"}, MinVersion: "1.2"}, ""},
		{DownstreamConfig{}, `certificates: no certificate is given; give at least one, such as {"cert_file": "web.crt", "key_file": "web.key"}`},
		{DownstreamConfig{Certificates: append(one, one...)}, `certificates[1].cert_file: "a.crt" is certificates[0] already; leave one out`},
		{DownstreamConfig{Certificates: one, OCSPStaplePolicy: "must_staple"},
			`certificates[0].ocsp_staple_file: is missing; ocsp_staple_policy "must_staple" needs one for each certificate`},
		{DownstreamConfig{Certificates: one, ALPN: []string{"http2", "H2", "h2", "h2", "h2,http/1.1", "", "postgresql"}},
			"alpn[0]: \"http2\" is no name of a protocol; did you mean \"h2\"?\n" +
				"alpn[1]: \"H2\" is no name of a protocol; did you mean \"h2\"?\n" +
				"alpn[3]: \"h2\" is given twice; \n" +
				"alpn[4]: \"h2,http/1.1\" is a list; write an array of names\n" +
				"alpn[5]: name of 0 bytes is out of range 1 to 255; "},
		{DownstreamConfig{Certificates: one, MinVersion: "1.3", MaxVersion: "1.2"}, `min_version: "1.3" is above max_version "1.2"; `},
		{DownstreamConfig{Certificates: one, CipherSuites: []string{
			"ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]",
			"ECDHE-RSA-AES128-GCM-SHA", "TLS_AES_128_GCM_SHA256", "ECDHE-RSA-RC4-SHA", "DES-CBC3-SHA", "HIGH",
		}},
			"cipher_suites[3]: unknown cipher suite \"ECDHE-RSA-AES128-GCM-SHA\"; did you mean \"ECDHE-RSA-AES128-GCM-SHA256\"?\n" +
				"cipher_suites[4]: \"TLS_AES_128_GCM_SHA256\" is a suite of TLS 1.3; leave it out: TLS 1.3 always has its three suites\n" +
				"cipher_suites[5]: cipher suite \"ECDHE-RSA-RC4-SHA\" is broken; leave it out\n" +
				"cipher_suites[6]: cipher suite \"DES-CBC3-SHA\" is broken; leave it out\n" +
				"cipher_suites[7]: unknown cipher suite \"HIGH\"; want one such as ECDHE-ECDSA-AES128-GCM-SHA256, ECDHE-ECDSA-CHACHA20-POLY1305, " +
				"ECDHE-RSA-AES128-GCM-SHA256, ECDHE-RSA-CHACHA20-POLY1305, ECDHE-ECDSA-AES256-GCM-SHA384, ECDHE-RSA-AES256-GCM-SHA384, " +
				"ECDHE-ECDSA-AES128-SHA256, ECDHE-RSA-AES128-SHA256"},
		{DownstreamConfig{Certificates: one, ECDHCurves: []string{"x25519", "prime256v1", "X25519MLKEM786", "sect571r1"}},
			"ecdh_curves[2]: unknown group \"X25519MLKEM786\"; did you mean \"X25519MLKEM768\"?\n" +
				"ecdh_curves[3]: unknown group \"sect571r1\"; want one of X25519MLKEM768, X25519, P-256, P-384, P-521, SecP256r1MLKEM768, SecP384r1MLKEM1024"},
		{DownstreamConfig{Certificates: one, VerifyCertificateHash: []string{zero, "abc"}, VerifyCertificateSPKI: []string{"AAAA"}},
			"verify_certificate_hash[1]: \"abc\" is no SHA-256 sum: want 64 hexadecimal digits; openssl x509 -in cert.pem -noout -fingerprint -sha256\n" +
				"verify_certificate_spki[0]: \"AAAA\" is no SHA-256 sum in base64; openssl x509 -in cert.pem -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64"},
		{DownstreamConfig{Certificates: one, CRLFile: "a.crl", VerifySubjectAltNames: make([]SANMatcher, 1), AllowExpiredCertificate: true, MaxVerifyDepth: ptr(1)},
			"crl_file: needs client_ca_file; without it certificates of clients are not verified\n" +
				"verify_subject_alt_names: needs client_ca_file; without it certificates of clients are not verified\n" +
				"allow_expired_certificate: needs client_ca_file; without it certificates of clients are not verified\n" +
				"max_verify_depth: needs client_ca_file; without it certificates of clients are not verified"},
		{DownstreamConfig{Certificates: one, OnlyVerifyLeafCertCRL: true}, "only_verify_leaf_cert_crl: has no effect without crl_file; "},
		{DownstreamConfig{Certificates: one, DisableStatelessSessionResumption: true, SessionTicketKeyFiles: []string{"k"}},
			"session_ticket_key_files: are not used: disable_stateless_session_resumption is true; leave one out"},
	} {
		if got := problems(tt.cfg.Validate); strings.TrimSuffix(got, "\n") != tt.want {
			t.Errorf("%+v:\n%s\nwant\n%s", tt.cfg, got, tt.want)
		}
	}
}

func TestValidateUpstream(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cfg  UpstreamConfig
		want string
	}{
		{UpstreamConfig{SNI: "web.internal", CAFile: "ca.crt", VerifySubjectAltNames: []SANMatcher{{Exact: ptr("web.internal")}}}, ""},
		{UpstreamConfig{SNI: "web.internal"}, ""},
		{UpstreamConfig{AutoSNI: true}, ""},
		{UpstreamConfig{CAFile: "ca.crt"}, ""},
		{UpstreamConfig{TrustChainVerification: acceptUntrusted}, ""},
		{UpstreamConfig{VerifyCertificateHash: []string{strings.Repeat("00", 32)}}, ""},
		{UpstreamConfig{}, `: any host with a public certificate would be trusted: there is no name to verify; ` +
			`set sni, auto_sni, verify_subject_alt_names or ca_file, or "trust_chain_verification": "accept_untrusted"`},
		{UpstreamConfig{AutoSANValidation: true}, ""},
		{UpstreamConfig{SNI: "10.0.0.1"}, `sni: "10.0.0.1" is an IP address, which TLS cannot ask for; leave it out; an address is verified by verify_subject_alt_names`},
		{UpstreamConfig{SNI: "[::1]"}, `sni: "[::1]" is an IP address, which TLS cannot ask for; leave it out; an address is verified by verify_subject_alt_names`},
		{UpstreamConfig{SNI: "*.example.com"}, `sni: "*.example.com" is no host name; want one such as "web.example.com"`},
		{UpstreamConfig{SNI: "a.example:443"}, `sni: "a.example:443" is no host name; want one such as "web.example.com"`},
		{UpstreamConfig{SNI: strings.Repeat("a.", 130)}, "sni: name of 260 bytes exceeds 253; "},
		{UpstreamConfig{SNI: "a", OnlyVerifyLeafCertCRL: true}, "only_verify_leaf_cert_crl: has no effect without crl_file; "},
	} {
		if got := problems(tt.cfg.Validate); strings.TrimSuffix(got, "\n") != tt.want {
			t.Errorf("%+v:\n%s\nwant\n%s", tt.cfg, got, tt.want)
		}
	}
}

func TestValidateSANMatcher(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		m    SANMatcher
		want string
	}{
		{SANMatcher{Exact: ptr("a")}, ""},
		{SANMatcher{}, ": 0 matches are given; give one of exact, prefix, suffix, contains and safe_regex"},
		{SANMatcher{Exact: ptr("a"), Prefix: ptr("b")}, ": 2 matches are given; give one of exact, prefix, suffix, contains and safe_regex"},
		{SANMatcher{Exact: ptr("")}, ": a name is empty; "},
		{SANMatcher{Exact: ptr("a"), SANType: "ip_address"}, `: "a" is no IP address; `},
		{SANMatcher{SafeRegex: ptr("(")}, ": error parsing regexp: missing closing ): `\\A(?:()\\z`; "},
		{SANMatcher{Contains: ptr(strings.Repeat("a", regexBytesMax+1))}, ": match of 1025 bytes exceeds 1024; "},
	} {
		if got := problems(tt.m.Validate); strings.TrimSuffix(got, "\n") != tt.want {
			t.Errorf("%+v: %q, want %q", tt.m, got, tt.want)
		}
	}
	var m SANMatcher
	if err := m.DecodeConfigString("web.internal"); err != nil || *m.Exact != "web.internal" {
		t.Errorf("DecodeConfigString: %v", err)
	}
	if err := m.DecodeConfigString(""); err == nil {
		t.Error("an empty name is accepted")
	}
}

// TestContextsRefuseWhatValidateReports: a store is safe without the loader, too.
func TestContextsRefuseWhatValidateReports(t *testing.T) {
	t.Parallel()
	c := newAuthority(t, "root").issue(t.TempDir(), "a", "ecdsa", []string{"a.example"}, nil)
	own := []CertificateConfig{c.CertificateConfig}
	s := NewStore(StoreOptions{})
	for want, cfg := range map[string]*DownstreamConfig{
		"certificates: ":                {},
		"min_version: ":                 {Certificates: own, MinVersion: "2.0"},
		"min_version 1.3 is above":      {Certificates: own, MinVersion: "1.3", MaxVersion: "1.2"},
		"cipher_suites: ":               {Certificates: own, CipherSuites: []string{"x"}},
		"ecdh_curves: ":                 {Certificates: own, ECDHCurves: []string{"x"}},
		"verify_subject_alt_names[0]: ": {Certificates: own, VerifySubjectAltNames: make([]SANMatcher, 1)},
		"verify_certificate_hash[0]: ":  {Certificates: own, VerifyCertificateHash: []string{"x"}},
		"verify_certificate_spki[0]: ":  {Certificates: own, VerifyCertificateSPKI: []string{"x"}},
		"client_ca_file: ":              {Certificates: own, ClientCAFile: c.KeyFile},
		"crl_file: ":                    {Certificates: own, CRLFile: c.KeyFile},
	} {
		if _, err := s.Server(cfg); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	for want, cfg := range map[string]*UpstreamConfig{
		"max_version: ":     {MaxVersion: "2.0"},
		"certificates[0]: ": {Certificates: []CertificateConfig{{CertFile: c.KeyFile, KeyFile: c.KeyFile}}},
		"ca_file: ":         {CAFile: c.KeyFile},
		"crl_file: ":        {CRLFile: c.KeyFile},
		"key_log: ":         {KeyLog: &KeyLogConfig{Path: c.KeyFile + "/no"}},
	} {
		if _, err := s.Client(cfg); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	if len(s.sources) != 0 || len(s.contexts) != 0 {
		t.Errorf("%d sources and %d contexts are left", len(s.sources), len(s.contexts))
	}
}
