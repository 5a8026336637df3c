package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// A Server is what one filter chain needs to answer TLS. Loops share it.
type Server struct {
	bound

	// Immutable.
	cfg      *DownstreamConfig
	params   params
	certs    []certSource
	ca, crl  *source // or nil
	tickets  []*source
	verifier verifier // without what comes from files
	keyLog   *keyLog
	managed  Managed // or nil
	staples  stapleCounts

	current atomic.Pointer[serverState]
}

// serverState is what a Server is made of now. It is immutable.
type serverState struct {
	tls      *tls.Config
	verifier *verifier
}

// certSource is where one certificate comes from.
type certSource struct {
	pair   *source
	staple *source // or nil
}

// params is what a config says of versions and suites.
type params struct {
	minVersion, maxVersion uint16
	suites                 []uint16
	curves                 []tls.CurveID
}

func newParams(minVersion, maxVersion string, suites, curves []string) (p params, err error) {
	if p.minVersion, err = versionOf(minVersion, tls.VersionTLS12); err != nil {
		return p, field("min_version", err)
	}
	if p.maxVersion, err = versionOf(maxVersion, tls.VersionTLS13); err != nil {
		return p, field("max_version", err)
	}
	if p.minVersion > p.maxVersion {
		return p, fmt.Errorf("min_version %s is above max_version %s", minVersion, maxVersion)
	}
	if p.suites, err = suitesOf(suites); err != nil {
		return p, field("cipher_suites", err)
	}
	if p.curves, err = curvesOf(curves); err != nil {
		return p, field("ecdh_curves", err)
	}
	return p, nil
}

// config returns a tls.Config with the parameters.
func (p *params) config() *tls.Config {
	return &tls.Config{
		MinVersion: p.minVersion, MaxVersion: p.maxVersion, CipherSuites: p.suites, CurvePreferences: p.curves,
		Renegotiation: tls.RenegotiateNever,
	}
}

// Server reads the files of a config and returns what a filter chain needs. The error says which file is wrong
// and why. The config must not change afterwards. Close the Server when the chain is gone.
func (s *Store) Server(cfg *DownstreamConfig) (*Server, error) {
	x := &Server{cfg: cfg}
	x.store = s
	x.turns = len(cfg.SessionTicketKeyFiles) == 0 && !cfg.DisableStatelessSessionResumption
	var err error
	if x.params, err = newParams(cfg.MinVersion, cfg.MaxVersion, cfg.CipherSuites, cfg.ECDHCurves); err != nil {
		return nil, err
	}
	if x.verifier, err = cfg.verifier(); err != nil {
		return nil, err
	}
	x.verifier.now = s.now
	if len(cfg.Certificates) == 0 && cfg.ACME == nil {
		return nil, errors.New("certificates: want at least one, or acme")
	}
	if cfg.ACME != nil {
		if x.managed, err = s.manage(cfg.ACME); err != nil {
			return nil, err
		}
	}
	if err := x.start(); err != nil {
		x.unmanage()
		return nil, err
	}
	return x, nil
}

// start reads the files and makes the first config.
func (x *Server) start() (err error) {
	s := x.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := x.read(); err != nil {
		s.drop(&x.bound)
		return err
	}
	if err := s.open(x); err != nil {
		return err
	}
	if x.keyLog, err = s.openKeyLog(x.cfg.KeyLog); err != nil {
		delete(s.contexts, x)
		s.drop(&x.bound)
		return err
	}
	return nil
}

// unmanage ends the use of certificates by ACME.
func (x *Server) unmanage() {
	if x.managed != nil {
		x.managed.Close()
	}
}

// read gets the sources of the config. Precondition: the store is locked.
func (x *Server) read() (err error) {
	s, cfg := x.store, x.cfg
	if x.certs, err = s.certificates(&x.bound, cfg.Certificates); err != nil {
		return err
	}
	if cfg.ClientCAFile != "" {
		if x.ca, err = s.need(&x.bound, kindCA, cfg.ClientCAFile); err != nil {
			return field("client_ca_file", err)
		}
	}
	if cfg.CRLFile != "" {
		if x.crl, err = s.need(&x.bound, kindCRL, cfg.CRLFile); err != nil {
			return field("crl_file", err)
		}
	}
	for i, path := range cfg.SessionTicketKeyFiles {
		src, err := s.need(&x.bound, kindTickets, path)
		if err != nil {
			return field(fmt.Sprintf("session_ticket_key_files[%d]", i), err)
		}
		x.tickets = append(x.tickets, src)
	}
	return nil
}

// forServer returns an error for certificates that are for other uses.
func forServer(src *source) error {
	leaf := src.value.(*pair).leaf
	use := leaf.ExtKeyUsage
	if len(use) > 0 && !slices.Contains(use, x509.ExtKeyUsageServerAuth) && !slices.Contains(use, x509.ExtKeyUsageAny) {
		return fmt.Errorf("%s: the certificate is not for servers: its extended key usage lacks serverAuth", src.paths[0])
	}
	return nil
}

// certificates gets the sources of a list of certificates. Precondition: mu is held.
func (s *Store) certificates(b *bound, list []CertificateConfig) (out []certSource, err error) {
	for i, c := range list {
		var cs certSource
		if cs.pair, err = s.need(b, kindPair, c.CertFile, c.KeyFile); err != nil {
			return nil, pairError(fmt.Sprintf("certificates[%d]", i), err)
		}
		if c.OCSPStapleFile != "" {
			if cs.staple, err = s.need(b, kindStaple, c.OCSPStapleFile); err != nil {
				return nil, field(fmt.Sprintf("certificates[%d].ocsp_staple_file", i), err)
			}
		}
		out = append(out, cs)
	}
	return out, nil
}

// pairError puts the config field in front of why a certificate cannot be read: that of the file, for each that is at fault.
func pairError(name string, err error) error {
	joined, ok := err.(interface{ Unwrap() []error }) //nolint:errorlint // of refresh, never wrapped
	if !ok {
		return field(name, err)
	}
	var list []error
	for _, e := range joined.Unwrap() {
		at := name
		if f, ok := errors.AsType[*fileError](e); ok {
			at += [...]string{".cert_file", ".key_file"}[f.at]
		}
		list = append(list, field(at, e))
	}
	return errors.Join(list...)
}

// TLS returns the config of now. It is immutable; a handshake that adds its own fields does so to a clone.
func (x *Server) TLS() *tls.Config { return x.current.Load().tls }

// Config returns what the Server was made of.
func (x *Server) Config() *DownstreamConfig { return x.cfg }

// KeyLog returns where secrets go, nil unless key_log is on.
func (x *Server) KeyLog() io.Writer { return x.keyLog.writer() }

// Verified reports whether the chain of a peer's certificate leads to a CA of the config. A handshake that has
// ended well may have let another certificate through: there is no CA, or accept_untrusted.
func (x *Server) Verified(cs *tls.ConnectionState) bool {
	return x.current.Load().verifier.verified(cs)
}

// UsedBy names the user of the context, such as "listener https", for /certs.
func (x *Server) UsedBy(name string) { x.usedBy(name) }

// Close ends the use of the files. Handshakes under way go on with the config they have.
func (x *Server) Close() {
	if x.store.close(x) {
		x.unmanage()
		x.store.mu.Lock()
		defer x.store.mu.Unlock()
		x.store.closeKeyLog(x.keyLog)
	}
}

func (x *Server) base() *bound { return &x.bound }

// rebuild implements renewer. An error after the first time leaves the config before, or is of a staple only.
func (x *Server) rebuild(now time.Time) (soft error) {
	ix := &index{
		policy: staplePolicies[x.cfg.OCSPStaplePolicy], scanAll: x.cfg.FullScanCertsOnSNIMismatch, needSNI: x.cfg.RequireSNI,
		counts: &x.staples, now: x.store.now,
	}
	for i, cs := range x.certs {
		if err := forServer(cs.pair); err != nil {
			return field(fmt.Sprintf("certificates[%d]", i), err)
		}
		e, err := cs.entry()
		if err != nil {
			// A renewed certificate does not wait for its staple, unless it may not be presented without.
			soft = field(fmt.Sprintf("certificates[%d].ocsp_staple_file", i), err)
			if x.current.Load() == nil {
				return soft
			}
		}
		if e.stapled == nil && (e.demanded || ix.policy == stapleMust) {
			return fmt.Errorf("certificates[%d]: %s must be presented with an OCSP staple; set ocsp_staple_file", i, e.pair.paths[0])
		}
		ix.list = append(ix.list, e)
	}
	ix.build()
	v := x.verifier
	v.files(x.ca, x.crl)
	c := x.params.config()
	c.NextProtos = x.cfg.ALPN
	c.GetCertificate = ix.get
	if x.managed != nil {
		c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return x.present(ix, hello) }
		c.GetConfigForClient = x.challenged
	}
	c.ClientAuth, c.ClientCAs = v.clientAuth()
	c.VerifyConnection = v.connection
	c.SessionTicketsDisabled = x.cfg.DisableStatelessSessionResumption
	c.Time = x.store.now
	if !c.SessionTicketsDisabled {
		timeout := cmpOr(x.cfg.SessionTimeout, sessionTimeoutAuto)
		c.SetSessionTicketKeys(ticketKeys(x.ticketSecrets(now, timeout), x.scope(ix)))
		limitSessions(c, timeout, x.store.now)
	}
	x.current.Store(&serverState{c, &v})
	return soft
}

// entry makes a certificate ready to present.
func (cs *certSource) entry() (entry, error) {
	p := cs.pair.value.(*pair)
	e := entry{pair: p, plain: &p.cert, demanded: demandsStaple(p.leaf)}
	if cs.staple == nil {
		return e, nil
	}
	st := cs.staple.value.(*staple)
	if err := st.fits(p); err != nil {
		return e, err
	}
	with := p.cert
	with.OCSPStaple = st.raw
	e.stapled, e.staple = &with, st
	return e, nil
}

// ticketSecrets returns what ticket keys are derived from: the files, else the process's own.
func (x *Server) ticketSecrets(now time.Time, timeout time.Duration) (secrets [][]byte) {
	for _, src := range x.tickets {
		secrets = append(secrets, src.value.(*ticketSecret).bytes[:])
	}
	if len(secrets) > 0 {
		return secrets
	}
	for i := range x.store.keys.keys {
		if k := &x.store.keys.keys[i]; k.resumes(now, timeout) {
			secrets = append(secrets, k.secret[:])
		}
	}
	return secrets
}

// scope names what a client of the context was promised and checked against: the names of the certificates, and
// the demands on its own. Renewed certificates and CRLs do not change it, so that sessions survive them;
// VerifyConnection looks at CRLs again.
func (x *Server) scope(ix *index) [sha256.Size]byte {
	h := sha256.New()
	put := func(b []byte) {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(b))))
		h.Write(b)
	}
	for i := range ix.list {
		p := ix.list[i].pair
		names := append(altNames(p.leaf), "cn="+p.leaf.Subject.CommonName)
		slices.Sort(names)
		for _, n := range names {
			put([]byte(n))
		}
		if len(names) == 1 && p.leaf.Subject.CommonName == "" {
			put(p.sum[:])
		}
		put(nil)
	}
	if x.cfg.ACME != nil {
		for _, name := range x.cfg.ACME.Domains {
			put([]byte("acme=" + strings.ToLower(name)))
		}
		put(nil)
	}
	if x.ca != nil {
		put(x.ca.value.(*caBundle).sum[:])
	}
	cfg := x.cfg
	demands, err := json.Marshal([]any{
		cfg.RequireClientCertificate, cfg.CRLFile, cfg.OnlyVerifyLeafCertCRL, cfg.VerifySubjectAltNames, cfg.VerifyCertificateHash,
		cfg.VerifyCertificateSPKI, cfg.AllowExpiredCertificate, cfg.TrustChainVerification, cfg.MaxVerifyDepth, cfg.RequireSNI,
		cfg.ALPN, cfg.MinVersion,
	})
	if err != nil {
		panic("BUG: certs: demands of a context: " + err.Error())
	}
	put(demands)
	return [sha256.Size]byte(h.Sum(nil))
}

// verifier makes the verifier of a config, without what comes from files.
func (c *DownstreamConfig) verifier() (v verifier, err error) {
	v = verifier{usage: x509.ExtKeyUsageClientAuth, depth: -1}
	if err := v.demands(c.VerifySubjectAltNames, c.VerifyCertificateHash, c.VerifyCertificateSPKI); err != nil {
		return v, err
	}
	if c.MaxVerifyDepth != nil {
		v.depth = *c.MaxVerifyDepth
	}
	v.untrusted = c.TrustChainVerification == acceptUntrusted
	v.expiredOK = c.AllowExpiredCertificate
	v.own = v.untrusted || v.expiredOK
	v.needSNI = c.RequireSNI
	v.leafCRL = c.OnlyVerifyLeafCertCRL
	v.required = c.RequireClientCertificate || !v.untrusted && v.looks()
	return v, nil
}

// acceptUntrusted is the value of trust_chain_verification that lets chains through that do not verify.
const acceptUntrusted = "accept_untrusted"

// clientAuth returns what crypto/tls asks of clients. It verifies chains unless v does so itself.
func (v *verifier) clientAuth() (tls.ClientAuthType, *x509.CertPool) {
	verifies := v.roots != nil && !v.own
	switch {
	case verifies && v.required:
		return tls.RequireAndVerifyClientCert, v.roots
	case verifies:
		return tls.VerifyClientCertIfGiven, v.roots
	case v.required:
		return tls.RequireAnyClientCert, v.roots
	case v.roots != nil || v.looks():
		return tls.RequestClientCert, v.roots
	}
	return tls.NoClientCert, nil
}

// cmpOr returns v, or absent if it is zero.
func cmpOr(v, absent time.Duration) time.Duration {
	if v == 0 {
		return absent
	}
	return v
}
