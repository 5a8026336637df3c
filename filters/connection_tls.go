package filters

import (
	"crypto/sha256"
	"strings"

	"millrace/engine/certs"
	"millrace/engine/transport"
)

// OnSession implements transport.Owner: the handshake of the connection is complete.
func (c *Connection) OnSession(s *transport.Session) {
	c.Session = s
	if c.ServerName == "" { // no listener filter has looked
		c.ServerName = strings.ToLower(s.ServerName)
	}
}

// A PeerCertificate is what filters ask of the certificate of a client.
type PeerCertificate struct {
	// Digest is the SHA-256 of the certificate in DER.
	Digest [32]byte
	// Principals are the names that it vouches for: its URI SANs, or if there are none its DNS SANs, or if there
	// are none of them either its subject (RFC 2253).
	Principals []string
	// Forwarded is what x-forwarded-client-cert says of it, nil until the connection manager has made it.
	Forwarded []byte
}

// Peer returns what there is to know of the certificate that the client has shown in the handshake, nil without one. It is worked out
// when the first filter asks.
func (c *Connection) Peer() *PeerCertificate {
	if c.peer != nil || c.Session == nil || c.Session.Peer == nil {
		return c.peer
	}
	cert := c.Session.Peer
	p := &PeerCertificate{Digest: sha256.Sum256(cert.Raw)}
	for _, want := range [...]certs.NameKind{certs.NameURI, certs.NameDNS} {
		names := certs.AltNamesOf(cert)
		for kind, value, ok := names.Next(); ok; kind, value, ok = names.Next() {
			if kind == want {
				p.Principals = append(p.Principals, string(value))
			}
		}
		if len(p.Principals) > 0 {
			break
		}
	}
	if len(p.Principals) == 0 {
		p.Principals = []string{string(certs.AppendName(nil, cert.RawSubject))}
	}
	c.peer = p
	return p
}

// ForwardedBytes returns the length of Forwarded of the peer's certificate, 0 as long as nobody has asked for it.
func (c *Connection) ForwardedBytes() int {
	if c == nil || c.peer == nil {
		return 0
	}
	return len(c.peer.Forwarded)
}
