package httpconn

import (
	"encoding/hex"

	"millrace/codec"
	"millrace/engine/certs"
	"millrace/filters"
)

// clientCertMode is forward_client_cert_details.
type clientCertMode uint8

const (
	clientCertSanitize clientCertMode = iota
	clientCertForward
	clientCertAppend
	clientCertSet
	clientCertAlways
)

// forwardClientCert does with x-forwarded-client-cert what forward_client_cert_details says. The element of this connection is
// made with its first request.
func (s *stream) forwardClientCert() {
	h, m := &s.Request, s.m
	c := s.wire.facts()
	var peer *filters.PeerCertificate
	switch {
	case m.opt.clientCert == clientCertAlways:
		return
	case m.opt.clientCert != clientCertSanitize && c != nil:
		peer = c.Peer()
	}
	if peer == nil {
		h.Remove(codec.FieldXForwardedClientCert)
		return
	}
	if m.opt.clientCert == clientCertForward {
		return
	}
	if peer.Forwarded == nil {
		peer.Forwarded = appendClientCert(nil, c, &m.cfg.SetCurrentClientCertDetails)
	}
	value := peer.Forwarded
	if m.opt.clientCert == clientCertAppend && h.Has(codec.FieldXForwardedClientCert) {
		m.scratch = s.appendGivenCerts(m.scratch[:0])
		m.scratch = append(m.scratch, peer.Forwarded...)
		value = m.scratch
	}
	h.Remove(codec.FieldXForwardedClientCert)
	h.Add(codec.FieldXForwardedClientCert, value)
}

// appendGivenCerts appends the elements that the request came with, each with a comma behind it.
//
// Deviation: Envoy appends to whatever there is. A value that ends inside quotes would make the element of this proxy a part of a text that
// the client wrote, and its own elements the last: such a value is dropped.
func (s *stream) appendGivenCerts(dst []byte) []byte {
	h := &s.Request
	for i := range h.Len() {
		id, _, value := h.At(i)
		if id == codec.FieldXForwardedClientCert && len(value) > 0 && quotesClose(value) {
			dst = append(append(dst, value...), ',')
		}
	}
	return dst
}

// quotesClose reports whether every quote in a value has its end.
func quotesClose(value []byte) bool {
	quoted := false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
			if i == len(value) {
				return false
			}
		case c == '\\':
			return false // nobody agrees what it means outside of quotes
		}
	}
	return !quoted
}

// appendClientCert appends what is told of the certificate of a client: an element of x-forwarded-client-cert.
func appendClientCert(dst []byte, c *filters.Connection, details *ClientCertDetails) []byte {
	session, peer := c.Session, c.Session.Peer
	dst = appendCertNames(dst, "By=", certs.AltNamesOf(session.Local), certs.NameURI)
	digest := c.Peer().Digest
	dst = append(hex.AppendEncode(append(dst, "Hash="...), digest[:]), ';')
	if details.Cert {
		dst = append(certs.AppendEscapedPEM(append(dst, `Cert="`...), peer), `";`...)
	}
	if details.Chain {
		dst = append(dst, `Chain="`...)
		for _, cert := range session.PeerChain {
			dst = certs.AppendEscapedPEM(dst, cert)
		}
		dst = append(dst, `";`...)
	}
	if details.Subject {
		dst = append(certs.AppendName(append(dst, `Subject="`...), peer.RawSubject), `";`...)
	}
	if details.URI {
		n := len(dst)
		if dst = appendCertNames(dst, "URI=", certs.AltNamesOf(peer), certs.NameURI); len(dst) == n {
			dst = append(dst, "URI=;"...) // "the key still exists": hosts ask for it
		}
	}
	if details.DNS {
		dst = appendCertNames(dst, "DNS=", certs.AltNamesOf(peer), certs.NameDNS)
	}
	return dst[:len(dst)-1]
}

// appendCertNames appends the names of one kind, each with its key.
func appendCertNames(dst []byte, key string, names certs.AltNames, want certs.NameKind) []byte {
	for kind, value, ok := names.Next(); ok; kind, value, ok = names.Next() {
		if kind == want {
			dst = append(appendCertValue(append(dst, key...), value), ';')
		}
	}
	return dst
}

// appendCertValue appends a value, in quotes if it has something that would end it.
//
// Deviation: Envoy never quotes names. Who has issued a certificate with such a name could add keys and elements of his own.
func appendCertValue(dst, value []byte) []byte {
	plain := true
	for _, c := range value {
		if c <= ' ' || c > '~' || c == ',' || c == ';' || c == '"' || c == '\\' || c == '=' {
			plain = false
		}
	}
	if plain {
		return append(dst, value...)
	}
	const digits = "0123456789ABCDEF"
	dst = append(dst, '"')
	for _, c := range value {
		switch {
		case c < ' ' || c > '~':
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
