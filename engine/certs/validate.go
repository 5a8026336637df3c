package certs

import (
	"fmt"
	"net/netip"
	"strings"
)

type reportFunc = func(path, problem, hint string)

// Validate reports what contradicts itself and what would have no effect.
func (c *DownstreamConfig) Validate(report func(path, problem, hint string)) {
	if len(c.Certificates) == 0 && c.ACME == nil {
		report("certificates", "no certificate is given", `give at least one, such as {"cert_file": "web.crt", "key_file": "web.key"}`)
	}
	seen := map[string]int{}
	for i, cert := range c.Certificates {
		path := fmt.Sprintf("certificates[%d]", i)
		if first, dup := seen[cert.CertFile]; dup && cert.CertFile != "" {
			report(path+".cert_file", fmt.Sprintf("%q is certificates[%d] already", cert.CertFile, first), "leave one out")
		} else {
			seen[cert.CertFile] = i
		}
		if c.OCSPStaplePolicy == "must_staple" && cert.OCSPStapleFile == "" {
			report(path+".ocsp_staple_file", "is missing", `ocsp_staple_policy "must_staple" needs one for each certificate`)
		}
	}
	reportParams(report, c.ALPN, c.MinVersion, c.MaxVersion, c.CipherSuites, c.ECDHCurves)
	reportHashes(report, c.VerifyCertificateHash, c.VerifyCertificateSPKI)
	if c.ClientCAFile == "" {
		c.reportIdle(report)
	}
	if c.OnlyVerifyLeafCertCRL && c.CRLFile == "" {
		report("only_verify_leaf_cert_crl", "has no effect without crl_file", "")
	}
	if c.DisableStatelessSessionResumption && len(c.SessionTicketKeyFiles) > 0 {
		report("session_ticket_key_files", "are not used: disable_stateless_session_resumption is true", "leave one out")
	}
}

// reportIdle reports fields that need client_ca_file.
func (c *DownstreamConfig) reportIdle(report reportFunc) {
	for _, f := range []struct {
		name  string
		given bool
	}{
		{"crl_file", c.CRLFile != ""},
		{"verify_subject_alt_names", len(c.VerifySubjectAltNames) > 0},
		{"allow_expired_certificate", c.AllowExpiredCertificate},
		{"max_verify_depth", c.MaxVerifyDepth != nil},
	} {
		if f.given {
			report(f.name, "needs client_ca_file", "without it certificates of clients are not verified")
		}
	}
}

// Validate reports what contradicts itself and what would have no effect.
func (c *UpstreamConfig) Validate(report func(path, problem, hint string)) {
	reportParams(report, c.ALPN, c.MinVersion, c.MaxVersion, c.CipherSuites, c.ECDHCurves)
	reportHashes(report, c.VerifyCertificateHash, c.VerifyCertificateSPKI)
	if p := checkSNI(c.SNI); p != nil {
		report("sni", p.text, p.hint)
	}
	if c.OnlyVerifyLeafCertCRL && c.CRLFile == "" {
		report("only_verify_leaf_cert_crl", "has no effect without crl_file", "")
	}
	asks := c.SNI != "" || c.AutoSNI || c.AutoSANValidation
	if c.usesSystemRoots() && !asks && len(c.VerifySubjectAltNames) == 0 && !c.pinned() {
		report("", "any host with a public certificate would be trusted: there is no name to verify",
			`set sni, auto_sni, verify_subject_alt_names or ca_file, or "trust_chain_verification": "accept_untrusted"`)
	}
}

// sniBytesMax bounds a host name, as DNS does.
const sniBytesMax = 253

// checkSNI returns what is wrong with a name to ask for.
func checkSNI(name string) *problem {
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return &problem{fmt.Sprintf("%q is an IP address, which TLS cannot ask for", name),
			`leave it out; an address is verified by verify_subject_alt_names`}
	}
	if name == "" {
		return nil
	}
	if len(name) > sniBytesMax {
		return &problem{fmt.Sprintf("name of %d bytes exceeds %d", len(name), sniBytesMax), ""}
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > 63 || strings.ContainsAny(label, "*:/ \t") {
			return &problem{fmt.Sprintf("%q is no host name", name), `want one such as "web.example.com"`}
		}
	}
	return nil
}

// alpnMistakes are names that look like protocols and are none, with what was meant.
var alpnMistakes = map[string]string{
	"http/1": "http/1.1", "http1": "http/1.1", "http1.1": "http/1.1", "http/11": "http/1.1",
	"http/2": "h2", "http2": "h2", "http/2.0": "h2", "h2c": "h2",
}

// reportParams reports what is wrong with fields that both sides have.
func reportParams(report reportFunc, alpn []string, minVersion, maxVersion string, suites, curves []string) {
	seen := map[string]bool{}
	for i, name := range alpn {
		path := fmt.Sprintf("alpn[%d]", i)
		right := alpnMistakes[strings.ToLower(name)]
		if lower := strings.ToLower(name); lower != name && (lower == "h2" || lower == "http/1.1") {
			right = lower
		}
		switch {
		case name == ALPNChallenge:
			report(path, fmt.Sprintf("%q is for challenges of a CA, nothing else", name), "leave it out: acme answers them by itself")
		case name == "" || len(name) > 255:
			report(path, fmt.Sprintf("name of %d bytes is out of range 1 to 255", len(name)), "")
		case right != "":
			report(path, fmt.Sprintf("%q is no name of a protocol", name), fmt.Sprintf("did you mean %q?", right))
		case strings.Contains(name, ","):
			report(path, fmt.Sprintf("%q is a list", name), "write an array of names")
		case seen[name]:
			report(path, fmt.Sprintf("%q is given twice", name), "")
		}
		seen[name] = true
	}
	if low, err := versionOf(minVersion, 0); err == nil && low > 0 {
		if high, err := versionOf(maxVersion, 0); err == nil && high > 0 && low > high {
			report("min_version", fmt.Sprintf("%q is above max_version %q", minVersion, maxVersion), "")
		}
	}
	for i, name := range suites {
		if _, err := suitesOf([]string{name}); err != nil {
			reportProblem(report, fmt.Sprintf("cipher_suites[%d]", i), err)
		}
	}
	for i, name := range curves {
		if _, p := curveOf(name); p != nil {
			report(fmt.Sprintf("ecdh_curves[%d]", i), p.text, p.hint)
		}
	}
}

// reportHashes reports what is no hash.
func reportHashes(report reportFunc, hashes, spkis []string) {
	for i, text := range hashes {
		if _, p := parseHash(text); p != nil {
			report(fmt.Sprintf("verify_certificate_hash[%d]", i), p.text, p.hint)
		}
	}
	for i, text := range spkis {
		if _, p := parseSPKI(text); p != nil {
			report(fmt.Sprintf("verify_certificate_spki[%d]", i), p.text, p.hint)
		}
	}
}

// reportProblem reports an error that may have a hint.
func reportProblem(report reportFunc, path string, err error) {
	if p, ok := err.(*problem); ok { //nolint:errorlint // made a line above, never wrapped
		report(path, p.text, p.hint)
		return
	}
	report(path, err.Error(), "")
}

// Validate reports a matcher that matches nothing in particular.
func (m *SANMatcher) Validate(report func(path, problem, hint string)) {
	if _, p := m.compile(); p != nil {
		report("", p.text, p.hint)
	}
}
