package accesslog

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"time"

	"millrace/engine/certs"
	"millrace/engine/transport"
)

// sessionChoice says whose session an operator is about, and which of its certificates.
type sessionChoice uint8

const (
	downstreamSession sessionChoice = iota // of which operators on certificates take the peer's
	upstreamSession
	downstreamOwn // our certificate
	upstreamOwn
)

func (o *operator) session(r *Record) *transport.Session {
	if o.tls == upstreamSession || o.tls == upstreamOwn {
		return r.UpstreamTLS
	}
	return r.TLS
}

// certificate returns the certificate that an operator is about, nil if there is none.
func (o *operator) certificate(r *Record) *x509.Certificate {
	s := o.session(r)
	switch {
	case s == nil:
		return nil
	case o.tls == downstreamOwn || o.tls == upstreamOwn:
		return s.Local
	}
	return s.Peer
}

func tlsVersion(o *operator, r *Record) string {
	if s := o.session(r); s != nil {
		return transport.VersionName(s.Version)
	}
	return ""
}

func tlsCipher(o *operator, r *Record) string {
	if s := o.session(r); s != nil {
		return transport.SuiteName(s.Suite)
	}
	return ""
}

func tlsSessionID(dst []byte, o *operator, r *Record) []byte {
	if s := o.session(r); s != nil {
		return hex.AppendEncode(dst, s.ID)
	}
	return dst
}

// handshakeDuration is what the handshake took, in milliseconds.
func handshakeDuration(_ *operator, r *Record) (uint64, bool) {
	if r.TLS == nil {
		return 0, false
	}
	return uint64(max(0, r.TLS.Duration/time.Millisecond)), true
}

// certificateText makes an operator of what appends a text of a certificate. The text may hold anything: who has
// issued the certificate wrote it.
func certificateText(tls sessionChoice, text func(dst []byte, c *x509.Certificate) []byte) operator {
	return operator{tls: tls, bytes: func(o *operator, r *Record) []byte {
		c := o.certificate(r)
		if c == nil {
			return nil
		}
		if r.scratch = text(r.scratch[:0], c); len(r.scratch) == 0 {
			return nil
		}
		return r.scratch
	}}
}

func subject(dst []byte, c *x509.Certificate) []byte { return certs.AppendName(dst, c.RawSubject) }
func issuer(dst []byte, c *x509.Certificate) []byte  { return certs.AppendName(dst, c.RawIssuer) }

// altNames makes an operator of the subject alternative names of one kind.
func altNames(tls sessionChoice, kind certs.NameKind) operator {
	return certificateText(tls, func(dst []byte, c *x509.Certificate) []byte { return certs.AppendAltNames(dst, c, kind) })
}

func appendSHA256(dst []byte, c *x509.Certificate) []byte {
	sum := sha256.Sum256(c.Raw)
	return hex.AppendEncode(dst, sum[:])
}

// appendSHA1 is a name of the certificate, not a signature.
func appendSHA1(dst []byte, c *x509.Certificate) []byte {
	sum := sha1.Sum(c.Raw)
	return hex.AppendEncode(dst, sum[:])
}

// chainText makes an operator of a text of each certificate that the downstream has sent, separated with commas.
func chainText(text func(dst []byte, c *x509.Certificate) []byte) operator {
	return operator{build: func(dst []byte, o *operator, r *Record) []byte {
		s := o.session(r)
		if s == nil {
			return dst
		}
		for i, c := range s.PeerChain {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = text(dst, c)
		}
		return dst
	}}
}

func validFrom(dst []byte, o *operator, r *Record) []byte {
	if c := o.certificate(r); c != nil {
		return o.appendMoment(dst, c.NotBefore)
	}
	return dst
}

func validTo(dst []byte, o *operator, r *Record) []byte {
	if c := o.certificate(r); c != nil {
		return o.appendMoment(dst, c.NotAfter)
	}
	return dst
}
