package h1

import (
	"bytes"

	"millrace/codec"
	"millrace/codec/ascii"
)

// validAuthority reports whether a is
//
//	uri-host [ ":" port ]
//
// with a host that is not empty (RFC 3986 section 3.2.2) and a port of at most 65535; with needPort a port must be there
// and not be 0. Userinfo is no part of it.
func validAuthority(a []byte, needPort bool) bool {
	if n := ascii.Span(a, ascii.Name); n > 0 && n == len(a) { // nearly always
		return !needPort
	}
	host, port, hasPort := splitAuthority(a)
	if !validHost(host) {
		return false
	}
	if !hasPort {
		return !needPort
	}
	n, ok := ascii.ParseInt(port)
	if len(port) == 0 { // "port = *DIGIT"
		return !needPort
	}
	return ok && n <= 65535 && (n > 0 || !needPort)
}

// splitAuthority cuts a at the colon of its port.
func splitAuthority(a []byte) (host, port []byte, hasPort bool) {
	i := bytes.LastIndexByte(a, ':')
	if i < 0 || i < bytes.LastIndexByte(a, ']') {
		return a, nil, false
	}
	return a[:i], a[i+1:], true
}

// validHost reports whether h is a reg-name, an IPv4 address or an IP literal.
func validHost(h []byte) bool {
	if len(h) > 2 && h[0] == '[' && h[len(h)-1] == ']' {
		return validLiteral(h[1 : len(h)-1])
	}
	if len(h) == 0 || !ascii.All(h, ascii.Host) {
		return false
	}
	for i, c := range h {
		// Only a literal has brackets and colons. pct-encoded = "%" HEXDIG HEXDIG.
		if c == '[' || c == ']' || c == ':' {
			return false
		}
		if c == '%' && (i+2 >= len(h) || !ascii.Is(h[i+1], ascii.Hex) || !ascii.Is(h[i+2], ascii.Hex)) {
			return false
		}
	}
	return true
}

// validLiteral reports whether h may stand between brackets: the characters of an IPv6 address, with
// at least two colons. Whether it is an address is for whoever connects to it.
func validLiteral(h []byte) bool {
	colons := 0
	for _, c := range h {
		if c == ':' {
			colons++
		} else if c != '.' && !ascii.Is(c, ascii.Hex) {
			return false
		}
	}
	return colons >= 2
}

// checkHost applies the rules of the Host field.
func checkHost(h *codec.RequestHead) codec.Reason {
	if !h.Has(codec.FieldHost) {
		// "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request
		// message that lacks a Host header field and to any request message that contains more
		// than one Host header field line or a Host header field with an invalid field value."
		// RFC 9112 section 3.2
		if h.Version >= codec.Version11 {
			return codec.ReasonHostMissing
		}
		return codec.ReasonNone
	}
	if h.Count(codec.FieldHost) > 1 {
		return codec.ReasonHostRepeated
	}
	host := h.Get(codec.FieldHost)
	if !validAuthority(host, false) { // empty: http and https URIs always have a host
		return codec.ReasonHostInvalid
	}
	// Deviation: RFC 9112 section 3.2.2 lets a proxy replace a Host that disagrees with the target. Two
	// opinions about the host are an attack on whoever reads the other one, so it is refused.
	if !sameAuthority(h, host) {
		return codec.ReasonHostMismatch
	}
	return codec.ReasonNone
}

// sameAuthority reports whether the Host field agrees with the target. The default port of the scheme
// may be left out of either; with CONNECT the Host may be without port.
func sameAuthority(h *codec.RequestHead, host []byte) bool {
	if h.Scheme() == nil && h.Method() != codec.MethodCONNECT {
		return true // the Host field is the only one who knows
	}
	target := h.Authority()
	if ascii.EqualFold(target, host) {
		return true
	}
	hostName, hostPort, _ := splitAuthority(host)
	name, port, _ := splitAuthority(target)
	if !ascii.EqualFold(hostName, name) {
		return false
	}
	if h.Method() == codec.MethodCONNECT {
		return len(hostPort) == 0
	}
	standard := "80"
	if len(h.Scheme()) == len("https") {
		standard = "443"
	}
	return portOr(port, standard) == portOr(hostPort, standard)
}

func portOr(port []byte, standard string) string {
	if len(port) == 0 {
		return standard
	}
	return string(port)
}
