package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// A Client is what one cluster needs to speak TLS to its hosts. Loops share it, its session cache too.
type Client struct {
	bound

	// Immutable.
	cfg      *UpstreamConfig
	params   params
	certs    []certSource
	ca, crl  *source        // or nil
	system   *x509.CertPool // the roots of the system, or nil if they are not used
	verifier verifier       // without what comes from files
	keyLog   *keyLog

	current atomic.Pointer[clientState]
}

// clientState is what a Client is made of now. It is immutable, except for the session cache.
type clientState struct {
	tls      *tls.Config
	verifier *verifier
}

// Client reads the files of a config and returns what a cluster needs. The error says which file is wrong and
// why. The config must not change afterwards. Close the Client when the cluster is gone.
func (s *Store) Client(cfg *UpstreamConfig) (*Client, error) {
	x := &Client{cfg: cfg}
	x.store = s
	var err error
	if x.params, err = newParams(cfg.MinVersion, cfg.MaxVersion, cfg.CipherSuites, cfg.ECDHCurves); err != nil {
		return nil, err
	}
	if x.verifier, err = cfg.verifier(); err != nil {
		return nil, err
	}
	x.verifier.now = s.now
	if cfg.usesSystemRoots() {
		if x.system, err = x509.SystemCertPool(); err != nil {
			return nil, fmt.Errorf("the CAs of the system: %w; set ca_file", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := x.read(); err != nil {
		s.drop(&x.bound)
		return nil, err
	}
	if err := s.open(x); err != nil {
		return nil, err
	}
	if x.keyLog, err = s.openKeyLog(cfg.KeyLog); err != nil {
		delete(s.contexts, x)
		s.drop(&x.bound)
		return nil, err
	}
	return x, nil
}

// read gets the sources of the config. Precondition: the store is locked.
func (x *Client) read() (err error) {
	s, cfg := x.store, x.cfg
	if x.certs, err = s.certificates(&x.bound, cfg.Certificates); err != nil {
		return err
	}
	if cfg.CAFile != "" {
		if x.ca, err = s.need(&x.bound, kindCA, cfg.CAFile); err != nil {
			return field("ca_file", err)
		}
	}
	if cfg.CRLFile != "" {
		if x.crl, err = s.need(&x.bound, kindCRL, cfg.CRLFile); err != nil {
			return field("crl_file", err)
		}
	}
	return nil
}

// usesSystemRoots reports whether the CAs of the system are trusted: if the config says so, or names nothing
// else to trust.
func (c *UpstreamConfig) usesSystemRoots() bool {
	return c.SystemRootCerts || c.CAFile == "" && !c.pinned() && c.TrustChainVerification != acceptUntrusted
}

// pinned reports whether hosts are known by hash. Then no CA is needed.
func (c *UpstreamConfig) pinned() bool {
	return len(c.VerifyCertificateHash)+len(c.VerifyCertificateSPKI) > 0
}

// TLS returns the config of now, with the session cache. It is immutable; a handshake that needs another
// ServerName or a KeyLogWriter sets it in a clone.
func (x *Client) TLS() *tls.Config { return x.current.Load().tls }

// Config returns what the Client was made of.
func (x *Client) Config() *UpstreamConfig { return x.cfg }

// KeyLog returns where secrets go, nil unless key_log is on.
func (x *Client) KeyLog() io.Writer { return x.keyLog.writer() }

// Verified reports whether the chain of the host's certificate leads to a trusted CA.
func (x *Client) Verified(cs *tls.ConnectionState) bool {
	return x.current.Load().verifier.verified(cs)
}

// UsedBy names the user of the context, such as "cluster web", for /certs.
func (x *Client) UsedBy(name string) { x.usedBy(name) }

// Close ends the use of the files. Handshakes under way go on with the config they have.
func (x *Client) Close() {
	if x.store.close(x) {
		x.store.mu.Lock()
		defer x.store.mu.Unlock()
		x.store.closeKeyLog(x.keyLog)
	}
}

func (x *Client) base() *bound { return &x.bound }

// rebuild implements renewer. The session cache begins anew: sessions were begun with other certificates or
// other CAs.
func (x *Client) rebuild(time.Time) error {
	v := x.verifier
	v.files(x.ca, x.crl)
	if x.system != nil {
		v.trust(x.system)
	}
	c := x.params.config()
	c.ServerName = x.cfg.SNI
	c.NextProtos = x.cfg.ALPN
	c.InsecureSkipVerify = true // VerifyConnection does it: names may be others than the SNI
	c.VerifyConnection = v.connection
	c.Time = x.store.now
	if x.cfg.MaxSessionKeys > 0 {
		c.ClientSessionCache = tls.NewLRUClientSessionCache(x.cfg.MaxSessionKeys)
	} else {
		c.SessionTicketsDisabled = true
	}
	if len(x.certs) > 0 {
		c.GetClientCertificate = clientCertificate(x.certs)
	}
	x.current.Store(&clientState{c, &v})
	return nil
}

// clientCertificate returns the choice among client certificates: the first that the host can verify, else the
// first, so that the host says what it dislikes.
func clientCertificate(sources []certSource) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	var list []*tls.Certificate
	for _, cs := range sources {
		list = append(list, &cs.pair.value.(*pair).cert)
	}
	return func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		for _, c := range list {
			if r.SupportsCertificate(c) == nil {
				return c, nil
			}
		}
		return list[0], nil
	}
}

// verifier makes the verifier of a config, without what comes from files.
func (c *UpstreamConfig) verifier() (v verifier, err error) {
	v = verifier{usage: x509.ExtKeyUsageServerAuth, depth: -1, own: true, required: true}
	if err := v.demands(c.VerifySubjectAltNames, c.VerifyCertificateHash, c.VerifyCertificateSPKI); err != nil {
		return v, err
	}
	if c.MaxVerifyDepth != nil {
		v.depth = *c.MaxVerifyDepth
	}
	v.untrusted = c.TrustChainVerification == acceptUntrusted
	v.expiredOK = c.AllowExpiredCertificate
	v.leafCRL = c.OnlyVerifyLeafCertCRL
	trusted := !v.untrusted && (c.CAFile != "" || c.usesSystemRoots())
	v.sniSAN = c.AutoSANValidation || len(c.VerifySubjectAltNames) == 0 && trusted
	// A private CA without a name to ask for vouches for its hosts alone, as with Envoy. Public CAs vouch for
	// anyone, and auto_sni may find an IP address in place of a name.
	v.sniNeeded = v.sniSAN && (c.usesSystemRoots() || c.AutoSNI || c.AutoSANValidation)
	return v, nil
}
