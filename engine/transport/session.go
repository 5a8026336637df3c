package transport

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// A Session is what a handshake found out. It is immutable, and may be kept as long as the connection: it holds nothing of it.
type Session struct {
	Version, Suite uint16
	Curve          tls.CurveID // 0 if there was no key exchange, as in a resumed TLS 1.2 session
	ALPN           string      // "" if none was agreed
	ServerName     string      // that the client asked for
	Resumed        bool
	// Own tells that the own record layer carries the connection, not crypto/tls.
	Own bool

	// Peer is the peer's certificate, nil without one; PeerChain those that it sent, Peer first.
	Peer      *x509.Certificate
	PeerChain []*x509.Certificate
	// Verified reports whether the chain of Peer was verified against the CAs of the config.
	Verified bool
	// Local is the certificate shown to the peer; in a resumed session, where none is, that which would be. Downstream only. It is shared.
	Local *x509.Certificate

	// Duration is from the first byte, or the established TCP connection, to the end of the handshake.
	Duration time.Duration
	// ID is the session id of the ServerHello. Downstream only; nil without one.
	ID []byte
}

// An Owner is told the session, on the loop, before the transport reports Established.
type Owner interface{ OnSession(*Session) }

// newSession takes what there is to know from a finished handshake.
func newSession(c *tls.Conn, verified func(*tls.ConnectionState) bool) *Session {
	cs := c.ConnectionState()
	s := &Session{
		Version: cs.Version, Suite: cs.CipherSuite, Curve: cs.CurveID, ALPN: cs.NegotiatedProtocol,
		ServerName: cs.ServerName, Resumed: cs.DidResume, Verified: verified(&cs),
	}
	if len(cs.PeerCertificates) > 0 {
		s.Peer, s.PeerChain = cs.PeerCertificates[0], cs.PeerCertificates
	}
	return s
}
