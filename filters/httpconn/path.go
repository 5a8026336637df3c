package httpconn

import (
	"bytes"

	"millrace/codec"
	"millrace/codec/ascii"
	"millrace/filters"
)

// normalizeTarget brings authority and path into the form that routes are matched with. It
// reports false when it has answered the request.
func (s *stream) normalizeTarget() bool {
	h, cfg := &s.Request, s.m.cfg
	if cfg.StripAnyHostPort || cfg.StripMatchingHostPort || cfg.StripTrailingHostDot {
		s.normalizeAuthority()
	}
	path := h.Path()
	if i := bytes.IndexByte(path, '#'); i >= 0 { // a fragment is for the client alone (RFC 3986 section 3.5)
		s.m.scratch = append(s.m.scratch[:0], path[:i]...)
		h.SetPath(s.m.scratch)
		path = h.Path()
	}
	if len(path) == 0 || path[0] != '/' {
		if h.Method() == codec.MethodCONNECT {
			return true
		}
		if h.Method() == codec.MethodOPTIONS && string(path) == "*" {
			return true
		}
		s.m.stats.RqNonRelativePath.Inc()
		s.SendLocalReply(filters.LocalReply{Status: 404, Details: "absolute_path_rejected"})
		return false
	}
	if !cfg.NormalizePath && !cfg.MergeSlashes && s.m.opt.slashes == slashKeep {
		return true
	}
	return s.normalizePath(path)
}

// normalizePath runs the path steps in Envoy's order: escaped slashes, RFC 3986, slashes.
func (s *stream) normalizePath(full []byte) bool {
	m := s.m
	path, query := cutQuery(full)
	out, redirect := m.scratch[:0], false
	if m.opt.slashes != slashKeep && hasEscapedSlash(path) {
		if m.opt.slashes == slashReject {
			return s.refusePath()
		}
		redirect = m.opt.slashes == slashRedirect
		out = appendUnescapedSlashes(out, path)
	} else {
		out = append(out, path...)
	}
	if m.cfg.NormalizePath {
		n, ok := normalize(out)
		if !ok {
			return s.refusePath()
		}
		out = out[:n]
	}
	if m.cfg.MergeSlashes {
		out = out[:mergeSlashes(out)]
	}
	out = append(out, query...)
	m.scratch = out[:0]
	if redirect {
		m.stats.RqRedirectedPath.Inc()
		s.SendLocalReply(filters.LocalReply{Status: 307, Details: "path_normalization_redirect", Location: out})
		return false
	}
	if !bytes.Equal(out, full) {
		s.Request.SetPath(out)
	}
	return true
}

// refusePath answers a path that cannot be normalized.
func (s *stream) refusePath() bool {
	s.m.stats.RqFailedPath.Inc()
	s.SendLocalReply(filters.LocalReply{Status: 400, Details: "path_normalization_failed"})
	return false
}

// cutQuery splits a path before its "?".
func cutQuery(p []byte) (path, query []byte) {
	if i := bytes.IndexByte(p, '?'); i >= 0 {
		return p[:i], p[i:]
	}
	return p, nil
}

// escapedSlash reports whether p starts with %2F or %5C, in any case.
func escapedSlash(p []byte) (c byte, ok bool) {
	if len(p) < 3 || p[0] != '%' {
		return 0, false
	}
	switch {
	case p[1] == '2' && p[2]|0x20 == 'f':
		return '/', true
	case p[1] == '5' && p[2]|0x20 == 'c':
		return '\\', true
	}
	return 0, false
}

func hasEscapedSlash(p []byte) bool {
	for i := range p {
		if _, ok := escapedSlash(p[i:]); ok {
			return true
		}
	}
	return false
}

func appendUnescapedSlashes(dst, p []byte) []byte {
	for i := 0; i < len(p); i++ {
		if c, ok := escapedSlash(p[i:]); ok {
			dst = append(dst, c)
			i += 2
			continue
		}
		dst = append(dst, p[i])
	}
	return dst
}

// normalize brings a path into the normal form of RFC 3986 section 6.2.2, in place: unreserved
// characters are decoded, other escapes upper-cased, "\" becomes "/", and dot segments are
// removed. It reports false for an escape that is none, for %00, and for a path that climbs above the root.
func normalize(p []byte) (n int, ok bool) {
	n, ok = decodeUnreserved(p)
	if !ok {
		return 0, false
	}
	return removeDotSegments(p[:n])
}

func decodeUnreserved(p []byte) (n int, ok bool) {
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case c == '\\':
			c = '/'
		case c == '%':
			if i+2 >= len(p) {
				return 0, false
			}
			hi, lo := ascii.HexValue(p[i+1]), ascii.HexValue(p[i+2])
			v := hi<<4 | lo
			if hi > 15 || lo > 15 || v == 0 {
				return 0, false
			}
			if !unreserved(v) {
				p[n], p[n+1], p[n+2] = '%', upper(p[i+1]), upper(p[i+2])
				n, i = n+3, i+2
				continue
			}
			c, i = v, i+2
		}
		p[n] = c
		n++
	}
	return n, true
}

// removeDotSegments is RFC 3986 section 5.2.4, in place. A ".." above the root is refused.
func removeDotSegments(p []byte) (n int, ok bool) {
	for i := 0; i < len(p); {
		end := len(p)
		if j := bytes.IndexByte(p[i+1:], '/'); j >= 0 {
			end = i + 1 + j
		}
		last := end == len(p)
		switch string(p[i+1 : end]) {
		case ".":
			if last {
				p[n] = '/'
				n++
			}
		case "..":
			if n == 0 {
				return 0, false
			}
			n = bytes.LastIndexByte(p[:n], '/')
			if last {
				p[n] = '/'
				n++
			}
		default:
			n += copy(p[n:], p[i:end])
		}
		i = end
	}
	return n, true
}

// mergeSlashes makes one of adjacent slashes, in place, and returns the new length.
func mergeSlashes(p []byte) (n int) {
	for i, c := range p {
		if c == '/' && i > 0 && p[i-1] == '/' && n > 0 && p[n-1] == '/' {
			continue
		}
		p[n] = c
		n++
	}
	return n
}

func upper(c byte) byte {
	if c >= 'a' && c <= 'f' {
		return c - 0x20
	}
	return c
}

// unreserved are the characters of RFC 3986 section 2.3.
func unreserved(c byte) bool {
	l := ascii.Lower(c)
	return l >= 'a' && l <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// normalizeAuthority applies the strip options to the authority.
func (s *stream) normalizeAuthority() {
	h, cfg := &s.Request, s.m.cfg
	if h.Method() == codec.MethodCONNECT {
		return // its target is the authority, port and all
	}
	host := h.Authority()
	name, port := splitPort(host)
	strip := cfg.StripAnyHostPort
	if cfg.StripMatchingHostPort && len(port) > 1 {
		s.m.scratch = appendInt(s.m.scratch[:0], s.wire.socket().LocalAddr().Port())
		strip = bytes.Equal(port[1:], s.m.scratch)
	}
	if strip {
		port = nil
	}
	if cfg.StripTrailingHostDot && len(name) > 1 && name[len(name)-1] == '.' {
		name = name[:len(name)-1]
	}
	if len(name)+len(port) == len(host) {
		return
	}
	s.m.scratch = append(append(s.m.scratch[:0], name...), port...)
	h.SetAuthority(s.m.scratch)
}

// splitPort splits an authority before the colon of its port.
func splitPort(a []byte) (host, port []byte) {
	i := bytes.LastIndexByte(a, ':')
	if i < 0 || bytes.IndexByte(a[i:], ']') >= 0 {
		return a, nil
	}
	return a[:i], a[i:]
}
