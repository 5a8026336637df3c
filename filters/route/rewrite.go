package route

import (
	"bytes"
	"regexp"

	"millrace/codec"
	"millrace/codec/ascii"
)

// rewriteKind is how a path is rewritten.
type rewriteKind uint8

const (
	rewriteNone rewriteKind = iota
	rewritePrefix
	rewriteWhole
	rewriteRegex
)

// rewrite makes a new path. The zero value keeps it.
type rewrite struct {
	text  string
	regex *regexRewrite
	kind  rewriteKind
}

// regexRewrite replaces every match of a regular expression.
type regexRewrite struct {
	regex *regexp.Regexp
	parts []substPart
}

// substPart is a literal or, if group is not negative, the text of a group.
type substPart struct {
	literal string
	group   int
}

// appendReplaced appends b with every match replaced.
func (rw *regexRewrite) appendReplaced(dst, b []byte) []byte {
	end := 0
	for _, m := range rw.regex.FindAllSubmatchIndex(b, -1) {
		dst = append(dst, b[end:m[0]]...)
		for _, p := range rw.parts {
			if p.group < 0 {
				dst = append(dst, p.literal...)
			} else if from := m[2*p.group]; from >= 0 {
				dst = append(dst, b[from:m[2*p.group+1]]...)
			}
		}
		end = m[1]
	}
	return append(dst, b[end:]...)
}

// appendPath appends the path with its query, rewritten, and reports whether it was. Precondition:
// there is a rewrite.
func (rw *rewrite) appendPath(dst []byte, m *pathMatch, path []byte) ([]byte, bool) {
	switch rw.kind {
	case rewritePrefix:
		n, ok := m.matched(path)
		if !ok {
			return append(dst, path...), false
		}
		dst = append(dst, rw.text...)
		return append(dst, path[n:]...), true
	case rewriteWhole:
		dst = append(dst, rw.text...)
		return append(dst, path[len(withoutQuery(path)):]...), true
	default:
		plain := withoutQuery(path)
		dst = rw.regex.appendReplaced(dst, plain)
		return append(dst, path[len(plain):]...), true
	}
}

// AppendPath appends the path to send upstream, with the query, and reports
// whether the route changed it; if not, nothing is appended. A rewrite that
// would give a path without "/" in front gives one.
//
// A regular expression may allocate; other rewrites do not.
func (r *Route) AppendPath(dst []byte, h *codec.RequestHead) ([]byte, bool) {
	if r.forward == nil || r.forward.rewrite.kind == rewriteNone {
		return dst, false
	}
	path := h.Path()
	if path == nil || string(path) == "*" { // CONNECT, OPTIONS *
		return dst, false
	}
	start := len(dst)
	dst, _ = r.forward.rewrite.appendPath(dst, &r.path, path)
	dst = rooted(dst, start)
	if bytes.Equal(dst[start:], path) {
		return dst[:start], false
	}
	return dst, true
}

// rooted puts "/" in front of what was appended from start on, if it lacks one.
// Its bytes are those of a target, since configured text is checked for that.
func rooted(dst []byte, start int) []byte {
	if len(dst) == start || dst[start] != '/' {
		dst = append(dst, 0)
		copy(dst[start+1:], dst[start:])
		dst[start] = '/'
	}
	return dst
}

// AppendHost appends the authority to send upstream and reports whether the route changes it; if not,
// nothing is appended. Call it after ApplyRequest and before the path is rewritten.
func (r *Route) AppendHost(dst []byte, h *codec.RequestHead, random uint64) ([]byte, bool) {
	f := r.forward
	if f == nil {
		return dst, false
	}
	start := len(dst)
	switch {
	case f.weights != nil && f.pick(random).hostLiteral != "":
		dst = append(dst, f.pick(random).hostLiteral...)
	case f.hostLiteral != "":
		dst = append(dst, f.hostLiteral...)
	case f.hostHeader != "":
		dst = append(dst, h.Lookup(f.hostHeader)...)
	case f.hostRewrite != nil:
		dst = f.hostRewrite.appendReplaced(dst, withoutQuery(h.Path()))
	}
	// What a client put into a header or path becomes the host only if it can be one.
	if host := dst[start:]; len(host) == 0 || !ascii.All(host, ascii.Host) || bytes.Equal(host, h.Authority()) {
		return dst[:start], false
	}
	return dst, true
}
