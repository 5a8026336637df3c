package route

import (
	"regexp"

	"millrace/codec"
	"millrace/codec/ascii"
)

// pathKind is how a route looks at the path.
type pathKind uint8

const (
	pathPrefix pathKind = iota
	pathExact
	pathSeparated // prefix that ends at the end of the path or before "/"
	pathRegex
	pathConnect // CONNECT requests, which have no path
)

func (k pathKind) String() string {
	return [...]string{"prefix", "path", "path_separated_prefix", "safe_regex", "connect_matcher"}[k]
}

// pathMatch is the part of a route's match that concerns the path.
type pathMatch struct {
	text  string // lower case if fold
	regex *regexp.Regexp
	kind  pathKind
	fold  bool
}

// fits reports whether the path, which has no query, is one of the route's.
func (m *pathMatch) fits(h *codec.RequestHead, path []byte) bool {
	switch m.kind {
	case pathRegex:
		return path != nil && m.regex.Match(path)
	case pathConnect:
		return h.Method() == codec.MethodCONNECT
	case pathExact:
		return len(path) == len(m.text) && m.equal(path)
	case pathSeparated:
		n := len(m.text)
		return len(path) >= n && (len(path) == n || path[n] == '/') && m.equal(path[:n])
	default:
		return len(path) >= len(m.text) && m.equal(path[:len(m.text)])
	}
}

// equal compares text of the same length.
func (m *pathMatch) equal(b []byte) bool {
	if m.fold {
		return ascii.EqualFoldString(b, m.text)
	}
	return string(b) == m.text
}

// matched returns how many bytes of the path a rewrite of the prefix replaces. It reports false if
// the path, which a filter may have changed since, does not begin with the prefix.
func (m *pathMatch) matched(path []byte) (int, bool) {
	if m.kind == pathPrefix || m.kind == pathSeparated {
		n := len(m.text)
		return n, len(path) >= n && m.equal(path[:n])
	}
	return len(withoutQuery(path)), true
}
