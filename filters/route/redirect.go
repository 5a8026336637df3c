package route

import (
	"bytes"

	"millrace/codec/ascii"
)

// redirect is the target of a redirect, as far as it differs from the request's.
type redirect struct {
	scheme       string // "" keeps
	host         string // "" keeps
	port         string // ":443"; "" keeps
	path         string // "" keeps or rewrites
	rewrite      rewrite
	pathHasQuery bool
	stripQuery   bool
}

// AppendLocation appends the target of a redirect, an absolute URI.
func (r *Route) AppendLocation(dst []byte, in *Input) []byte {
	rd, old := r.redirect, in.scheme()
	scheme := rd.scheme
	if scheme == "" {
		dst = appendLower(dst, old)
	} else {
		dst = append(dst, scheme...)
	}
	dst = append(dst, "://"...)
	if rd.host != "" {
		dst = append(dst, rd.host...)
	} else {
		dst = append(dst, rd.keptHost(in, old)...)
	}
	dst = append(dst, rd.port...)
	return rd.appendPath(dst, r, in.Head.Path())
}

func appendLower(dst, b []byte) []byte {
	for _, c := range b {
		dst = append(dst, ascii.Lower(c))
	}
	return dst
}

// keptHost returns the host of the request, without its port if the redirect has
// one, or if the scheme changes and the port was the default of the old one.
func (rd *redirect) keptHost(in *Input, old []byte) []byte {
	host := in.Head.Authority()
	i := portIndex(host)
	if i < 0 {
		return host
	}
	if rd.port != "" {
		return host[:i]
	}
	if rd.scheme != "" && !ascii.EqualFoldString(old, rd.scheme) {
		port := string(host[i:])
		if ascii.EqualFoldString(old, "http") && port == ":80" || ascii.EqualFoldString(old, "https") && port == ":443" {
			return host[:i]
		}
	}
	return host
}

// portIndex returns the index of the ":" before the port, -1 if there is none.
func portIndex(host []byte) int {
	i := bytes.LastIndexByte(host, ':')
	if i < 0 || len(host) > 0 && host[0] == '[' && host[i-1] != ']' {
		return -1
	}
	return i
}

// appendPath appends path and query of the target.
func (rd *redirect) appendPath(dst []byte, r *Route, path []byte) []byte {
	if path == nil { // CONNECT
		path = slash
	}
	query := path[len(withoutQuery(path)):]
	start := len(dst)
	switch {
	case rd.pathHasQuery: // which is kept, whatever strip_query says
		return append(dst, rd.path...)
	case rd.path != "":
		dst = append(append(dst, rd.path...), query...)
	case rd.rewrite.kind != rewriteNone:
		dst, _ = rd.rewrite.appendPath(dst, &r.path, path)
		dst = rooted(dst, start)
	default:
		dst = append(dst, path...)
	}
	if rd.stripQuery {
		dst = dst[:start+len(withoutQuery(dst[start:]))]
	}
	return dst
}

var slash = []byte("/")
