package router

import (
	"net/netip"

	"millrace/codec/ascii"
	"millrace/upstream/pool"
)

// serverNameMax is the longest host name (RFC 1035 section 2.3.4).
const serverNameMax = 253

// serverName returns the name that TLS to the host asks for, in lower case, if the cluster wants that of the request: its
// host without the port. It is nil where the config of the cluster has the say. It is valid until the next call.
func (rq *request) serverName() []byte {
	return rq.router.serverName(rq.cluster, rq.stream.Request.Authority())
}

func (r *Router) serverName(c *pool.Cluster, authority []byte) []byte {
	wants, addresses := c.WantsServerName()
	if !wants {
		return nil
	}
	r.scratch = appendServerName(r.scratch[:0], authority, addresses)
	return r.scratch
}

// appendServerName appends the host of an authority, in lower case, unless it is no host name. An IP address is none, but is
// appended if addresses says so.
func appendServerName(dst, authority []byte, addresses bool) []byte {
	host := withoutPort(authority)
	if n := len(host); n > 0 && host[n-1] == '.' { // of a fully qualified name; SNI has none (RFC 6066 section 3)
		host = host[:n-1]
	}
	if len(host) == 0 || len(host) > serverNameMax {
		return dst
	}
	if last := host[len(host)-1]; host[0] == '[' || last >= '0' && last <= '9' { // no top-level domain ends in a digit
		if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
			host = host[1 : len(host)-1]
		}
		if a, err := netip.ParseAddr(string(host)); err != nil || !addresses || a.Zone() != "" {
			return dst
		}
		return append(dst, host...)
	}
	for i, c := range host {
		if !isNameByte(c) || c == '.' && (i == 0 || host[i-1] == '.') {
			return dst[:len(dst)-i]
		}
		dst = append(dst, ascii.Lower(c))
	}
	return dst
}

// withoutPort returns an authority without its port.
func withoutPort(a []byte) []byte {
	for i := len(a) - 1; i >= 0; i-- {
		switch c := a[i]; {
		case c == ':':
			return a[:i]
		case c < '0' || c > '9':
			return a
		}
	}
	return a
}

// isNameByte reports whether c may be part of a host name; underscores are seen in the wild.
func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_'
}
