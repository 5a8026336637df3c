package httpconn

import (
	"bytes"
	"crypto/tls"

	"millrace/codec/ascii"
	"millrace/codec/h2"
	"millrace/engine/transport"
)

// tooWeak reports whether TLS has agreed on something that HTTP/2 forbids: less than TLS 1.2, or a cipher suite without an ephemeral
// key exchange and AEAD.
//
// "A deployment of HTTP/2 over TLS 1.2 SHOULD NOT use any of the prohibited cipher suites … Endpoints MAY choose to generate a connection
// error … of type INADEQUATE_SECURITY if one of the prohibited cipher suites is negotiated."
// RFC 9113 section 9.2.2
func tooWeak(s *transport.Session) bool {
	switch {
	case s == nil || s.Version >= tls.VersionTLS13:
		return false
	case s.Version < tls.VersionTLS12:
		return true
	}
	switch s.Suite {
	case tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256:
		return false
	}
	return true
}

// refuseWeak ends a connection whose TLS is too weak.
func (c *conn2) refuseWeak() {
	m := c.m
	m.stats.CxProtocolError.Inc()
	m.stats2.Inadequate.Inc()
	m.stats2.GoAwaySent.Inc()
	c.codec.SendGoAway(0, h2.InadequateSecurity)
	c.close()
}

// isMisdirected reports whether a request without a route came on the connection of another host: no virtual host of this filter chain has
// its authority, and the client asked for another name when it opened the connection. Clients of HTTP/2 do that where one
// certificate has both names; told so they come back on a connection of its own, which gets the right filter chain.
//
// "The 421 (Misdirected Request) status code indicates that the request was directed at a server that is unable or unwilling to
// produce an authoritative response for the target URI."
// RFC 9110 section 15.5.20
//
// Deviation: Envoy answers 404. A host that a virtual host takes, "*" too, is served whatever the name was: what the chain demands of its
// clients, such as a certificate, it has demanded of this one.
func (s *stream) isMisdirected() bool {
	c := s.wire.facts()
	if c == nil || c.Session == nil || c.ServerName == "" {
		return false
	}
	authority := s.Request.Authority()
	host := authority
	if i := bytes.LastIndexByte(host, ':'); i > 0 && ascii.All(host[i+1:], ascii.Digit) {
		host = host[:i]
	}
	host = bytes.TrimSuffix(host, []byte("."))
	return !ascii.EqualFoldString(host, c.ServerName) && !s.m.routes.HasHost(authority)
}
