package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// A Failure is why a peer's certificate was refused; it names the counter.
type Failure uint8

// The failures. Each but the first has a counter of the same name, such as fail_verify_san.
const (
	FailNone   Failure = iota // the handshake failed for another reason
	FailNoCert                // fail_verify_no_cert: a certificate was required
	FailVerify                // fail_verify_error: the chain does not lead to a CA, has expired or was revoked
	FailSAN                   // fail_verify_san: none of the names asked for
	FailHash                  // fail_verify_cert_hash: none of the hashes asked for
)

// A VerifyError is the refusal of a peer's certificate.
type VerifyError struct {
	Failure Failure
	Err     error
}

// Error implements error.
func (e *VerifyError) Error() string { return "certs: " + e.Err.Error() }

// Unwrap returns the reason.
func (e *VerifyError) Unwrap() error { return e.Err }

// noCertText is how crypto/tls says that a client has no certificate; there is no value for it.
const noCertText = "tls: client didn't provide a certificate"

// FailureOf returns why a handshake that ended with err refused the peer's certificate, FailNone if it was not
// for that.
func FailureOf(err error) Failure {
	var own *VerifyError
	var theirs *tls.CertificateVerificationError
	switch {
	case err == nil:
		return FailNone
	case errors.As(err, &own):
		return own.Failure
	case errors.As(err, &theirs):
		return FailVerify
	case strings.Contains(err.Error(), noCertText):
		return FailNoCert
	}
	return FailNone
}

func fail(f Failure, format string, args ...any) error {
	return &VerifyError{f, fmt.Errorf(format, args...)}
}

// A verifier decides on the certificates of peers. It is immutable.
type verifier struct {
	roots     *x509.CertPool // nil: the chain is not verified
	memo      *memo          // of chains; nil: each is verified
	rootCerts []*x509.Certificate
	usage     x509.ExtKeyUsage
	own       bool // crypto/tls does not verify the chain: this does
	required  bool // no certificate is a failure
	needSNI   bool // a name must have been asked for
	untrusted bool // a chain that does not verify is let through
	expiredOK bool
	depth     int // intermediate CAs at most, or -1
	crls      *crlSet
	leafCRL   bool
	sans      []sanMatcher
	sniSAN    bool // the name asked for must be in the certificate
	sniNeeded bool // a name must have been asked for, so that there is one to verify
	hashes    map[[sha256.Size]byte]struct{}
	spkis     map[[sha256.Size]byte]struct{}
	now       func() time.Time
}

// errNoSNI refuses clients of a context with require_sni.
var errNoSNI = errors.New("certs: the client asked for no name")

// connection is the VerifyConnection of a config: it runs on resumption too.
func (v *verifier) connection(cs tls.ConnectionState) error {
	if v.needSNI && cs.ServerName == "" {
		return errNoSNI
	}
	if len(cs.PeerCertificates) == 0 {
		if v.required {
			return fail(FailNoCert, "the peer has no certificate")
		}
		return nil
	}
	leaf := cs.PeerCertificates[0]
	if v.roots != nil {
		if err := v.chain(&cs); err != nil && !v.untrusted {
			return &VerifyError{FailVerify, err}
		}
	}
	if err := v.name(leaf, cs.ServerName); err != nil {
		return err
	}
	return v.pin(leaf)
}

// chain returns why no chain from the peer's certificate to a CA may be used, or nil.
func (v *verifier) chain(cs *tls.ConnectionState) error {
	if !v.own {
		_, err := v.anyOf(cs.VerifiedChains)
		return err
	}
	now := v.now()
	key := memoKey(cs.PeerCertificates)
	if v.memo.has(key, now) {
		return nil
	}
	chains, err := v.build(cs.PeerCertificates)
	if err != nil {
		return err
	}
	good, err := v.anyOf(chains)
	if err == nil {
		v.memo.put(key, v.until(good, now))
	}
	return err
}

// anyOf returns the first chain that may be used.
func (v *verifier) anyOf(chains [][]*x509.Certificate) ([]*x509.Certificate, error) {
	var last error
	for _, chain := range chains {
		if last = v.check(chain); last == nil {
			return chain, nil
		}
	}
	if last == nil {
		last = errors.New("no verified chain")
	}
	return nil, last
}

// build returns the chains from the first of certs to a CA.
func (v *verifier) build(certs []*x509.Certificate) ([][]*x509.Certificate, error) {
	opt := x509.VerifyOptions{
		Roots: v.roots, Intermediates: x509.NewCertPool(), CurrentTime: v.now(), KeyUsages: []x509.ExtKeyUsage{v.usage},
	}
	for _, c := range certs[1:] {
		opt.Intermediates.AddCert(c)
	}
	chains, err := certs[0].Verify(opt)
	if err == nil || !v.expiredOK {
		return chains, err
	}
	// A chain that was whole at some time was whole when the youngest of its certificates began.
	for _, c := range slices.Concat(certs, v.rootCerts) {
		opt.CurrentTime = c.NotBefore
		if chains, e := certs[0].Verify(opt); e == nil {
			return chains, nil
		}
	}
	return nil, err
}

// check applies max_verify_depth and the CRLs to a chain.
func (v *verifier) check(chain []*x509.Certificate) error {
	if between := len(chain) - 2; v.depth >= 0 && between > v.depth {
		return fmt.Errorf("%d intermediate CAs exceed max_verify_depth %d", between, v.depth)
	}
	if v.crls == nil {
		return nil
	}
	for i := range len(chain) - 1 {
		if i > 0 && v.leafCRL {
			break
		}
		if err := v.crls.check(chain[i], chain[i+1], v.now()); err != nil {
			return err
		}
	}
	if len(chain) == 1 { // the certificate is itself in the CA file
		return v.crls.check(chain[0], chain[0], v.now())
	}
	return nil
}

// name applies verify_subject_alt_names and the name that was asked for.
func (v *verifier) name(leaf *x509.Certificate, asked string) error {
	if len(v.sans) > 0 && !slices.ContainsFunc(v.sans, func(m sanMatcher) bool { return m.matches(leaf) }) {
		return fail(FailSAN, "no name of the certificate is one of verify_subject_alt_names: it has %s", describeNames(leaf))
	}
	switch {
	case !v.sniSAN:
	case asked == "" && v.sniNeeded:
		return fail(FailSAN, "no name was asked for, so there is none to verify; the certificate has %s", describeNames(leaf))
	case asked != "":
		if err := leaf.VerifyHostname(asked); err != nil {
			return &VerifyError{FailSAN, err}
		}
	}
	return nil
}

// pin applies verify_certificate_hash and verify_certificate_spki.
func (v *verifier) pin(leaf *x509.Certificate) error {
	if len(v.hashes) == 0 && len(v.spkis) == 0 {
		return nil
	}
	sum := sha256.Sum256(leaf.Raw)
	if _, ok := v.hashes[sum]; ok {
		return nil
	}
	if _, ok := v.spkis[sha256.Sum256(leaf.RawSubjectPublicKeyInfo)]; ok {
		return nil
	}
	return fail(FailHash, "the certificate with SHA-256 %x is none of verify_certificate_hash and verify_certificate_spki", sum)
}

// describeNames lists the names of a certificate for a message.
func describeNames(c *x509.Certificate) string {
	const most = 8
	names := altNames(c)
	switch {
	case len(names) == 0:
		return "none"
	case len(names) > most:
		return strings.Join(names[:most], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

// altNames returns the subject alternative names of a certificate.
func altNames(c *x509.Certificate) (names []string) {
	names = append(names, c.DNSNames...)
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	names = append(names, c.EmailAddresses...)
	for _, ip := range c.IPAddresses {
		names = append(names, net.IP(ip).String())
	}
	return names
}

// demands sets what a config asks of names and hashes.
func (v *verifier) demands(sans []SANMatcher, hashes, spkis []string) error {
	for i := range sans {
		m, p := sans[i].compile()
		if p != nil {
			return field(fmt.Sprintf("verify_subject_alt_names[%d]", i), p)
		}
		v.sans = append(v.sans, m)
	}
	v.hashes, v.spkis = map[[sha256.Size]byte]struct{}{}, map[[sha256.Size]byte]struct{}{}
	for i, text := range hashes {
		sum, p := parseHash(text)
		if p != nil {
			return field(fmt.Sprintf("verify_certificate_hash[%d]", i), p)
		}
		v.hashes[sum] = struct{}{}
	}
	for i, text := range spkis {
		sum, p := parseSPKI(text)
		if p != nil {
			return field(fmt.Sprintf("verify_certificate_spki[%d]", i), p)
		}
		v.spkis[sum] = struct{}{}
	}
	return nil
}

// looks reports whether names or hashes are asked for.
func (v *verifier) looks() bool { return len(v.sans)+len(v.hashes)+len(v.spkis) > 0 }

// files sets what comes from files; either may be nil.
func (v *verifier) files(ca, crl *source) {
	v.memo = newMemo()
	if ca != nil {
		b := ca.value.(*caBundle)
		v.roots, v.rootCerts = b.pool, b.certs
	}
	if crl != nil {
		v.crls = crl.value.(*crlSet)
	}
}

// trust adds the CAs of the system to those of the files.
func (v *verifier) trust(system *x509.CertPool) {
	v.roots = system.Clone()
	for _, c := range v.rootCerts {
		v.roots.AddCert(c)
	}
}

// verified reports whether the chain of the peer leads to a CA.
func (v *verifier) verified(cs *tls.ConnectionState) bool {
	switch {
	case len(cs.PeerCertificates) == 0 || v.roots == nil:
		return false
	case !v.untrusted:
		return true // or the handshake would have failed
	}
	return v.chain(cs) == nil
}

// parseHash reads a SHA-256 sum in hexadecimal, with or without colons.
func parseHash(text string) (sum [sha256.Size]byte, p *problem) {
	b, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
	if err != nil || len(b) != sha256.Size {
		return sum, &problem{fmt.Sprintf("%q is no SHA-256 sum: want 64 hexadecimal digits", text),
			"openssl x509 -in cert.pem -noout -fingerprint -sha256"}
	}
	return [sha256.Size]byte(b), nil
}

// parseSPKI reads a SHA-256 sum in base64.
func parseSPKI(text string) (sum [sha256.Size]byte, p *problem) {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) != sha256.Size {
		return sum, &problem{fmt.Sprintf("%q is no SHA-256 sum in base64", text),
			"openssl x509 -in cert.pem -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64"}
	}
	return [sha256.Size]byte(b), nil
}
