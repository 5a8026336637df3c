package grpcjson

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// A template is the path of an HTTP rule:
//
//	Template = "/" Segments [ Verb ] ;
//	Segments = Segment { "/" Segment } ;
//	Segment  = "*" | "**" | LITERAL | Variable ;
//	Variable = "{" FieldPath [ "=" Segments ] "}" ;
//	FieldPath = IDENT { "." IDENT } ;
//	Verb     = ":" LITERAL ;
//
// "**" stands for any number of segments, none included, and must be the last.
type template struct {
	segments []string // literals, oneSegment or anySegments
	verb     string   // without the colon, "" for none
	vars     []templateVar
}

const (
	oneSegment  = "*"
	anySegments = "**"
)

// segmentsMax is the most segments of a template.
const segmentsMax = 256

// A templateVar is a variable and the segments that make its value.
type templateVar struct {
	field string
	from  int
	to    int // not included; -1 is the end of the path
}

// single reports whether the variable is exactly one segment, which may be unescaped whole.
func (v *templateVar) single() bool { return v.to == v.from+1 }

var (
	errNoSlash   = errors.New(`it does not start with "/"`)
	errEmpty     = errors.New("a segment is empty")
	errBrace     = errors.New(`"{" and "}" do not match`)
	errNested    = errors.New("a variable is within another one")
	errLast      = errors.New(`"**" is not the last segment`)
	errFieldPath = errors.New("a variable has no name, or one that is not names of fields with dots between them")
	errLong      = fmt.Errorf("it has more than %d segments", segmentsMax)
	errVerb      = errors.New("nothing follows the colon")
	errLiteral   = errors.New(`a segment has one of the characters {}=*: besides others`)
)

// parseTemplate reads a path template.
func parseTemplate(text string) (*template, error) {
	if !strings.HasPrefix(text, "/") {
		return nil, errNoSlash
	}
	t := &template{}
	rest, verb, hasVerb := cutVerb(text)
	if hasVerb && verb == "" {
		return nil, errVerb
	}
	t.verb = verb
	if rest == "/" {
		return t, nil
	}
	for rest != "" {
		var err error
		if rest, err = t.parseSegment(rest[1:], true); err != nil {
			return nil, err
		}
		if rest != "" && rest[0] != '/' {
			return nil, errLiteral
		}
	}
	return t, t.check()
}

// cutVerb takes the verb off a template: what follows the last colon outside of braces, if no slash does.
func cutVerb(text string) (rest, verb string, ok bool) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 || strings.ContainsAny(text[i:], "/}") {
		return text, "", false
	}
	return text[:i], text[i+1:], true
}

// parseSegment reads one segment and returns what follows it.
func (t *template) parseSegment(text string, variables bool) (rest string, err error) {
	if strings.HasPrefix(text, "{") {
		if !variables {
			return "", errNested
		}
		return t.parseVariable(text[1:])
	}
	end := strings.IndexByte(text, '/')
	if end < 0 {
		end = len(text)
	}
	switch s := text[:end]; {
	case s == "":
		return "", errEmpty
	case s == oneSegment, s == anySegments:
		t.segments = append(t.segments, s)
	case strings.ContainsAny(s, "{}"):
		return "", errBrace
	case strings.ContainsAny(s, "=*:"):
		return "", errLiteral
	default:
		t.segments = append(t.segments, s)
	}
	return text[end:], nil
}

// parseVariable reads what follows an opening brace.
func (t *template) parseVariable(text string) (rest string, err error) {
	end := strings.IndexByte(text, '}')
	if end < 0 {
		return "", errBrace
	}
	name, pattern, ok := strings.Cut(text[:end], "=")
	if !ok {
		pattern = oneSegment
	}
	if strings.Contains(pattern, "{") {
		return "", errNested
	}
	if !isFieldPath(name) {
		return "", errFieldPath
	}
	v := templateVar{field: name, from: len(t.segments)}
	for p := "/" + pattern; p != ""; {
		if p, err = t.parseSegment(p[1:], false); err != nil {
			return "", err
		}
	}
	v.to = len(t.segments)
	if t.segments[v.to-1] == anySegments {
		v.to = -1
	}
	t.vars = append(t.vars, v)
	return text[end+1:], nil
}

// isFieldPath reports whether a text is identifiers with dots between them.
func isFieldPath(text string) bool {
	for name := range strings.SplitSeq(text, ".") {
		if name == "" {
			return false
		}
		for i := range len(name) {
			c := name[i]
			letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
			if !letter && (i == 0 || c < '0' || c > '9') {
				return false
			}
		}
	}
	return true
}

func (t *template) check() error {
	if len(t.segments) > segmentsMax {
		return errLong
	}
	for i, s := range t.segments {
		if s == anySegments && i < len(t.segments)-1 {
			return errLast
		}
	}
	return nil
}

// A node is the templates that begin with the same segments. Each is visited at most once for a path, since its
// depth is the number of segments in front of it.
type node struct {
	literals map[string]*node
	one      *node
	any      *node
	ends     []end
}

// An end is a rule whose template ends at a node.
type end struct {
	verb   string
	method string // of HTTP; "*" is any
	rule   *rule
}

// add enters a rule. It reports false if there is one for the same paths and method.
func (n *node) add(t *template, method string, r *rule) bool {
	for _, s := range t.segments {
		n = n.child(s)
	}
	for _, e := range n.ends {
		if e.verb == t.verb && e.method == method {
			return false
		}
	}
	n.ends = append(n.ends, end{t.verb, method, r})
	return true
}

// child returns the node behind a segment, and makes it if need be.
func (n *node) child(segment string) *node {
	at := &n.one
	switch segment {
	case oneSegment:
	case anySegments:
		at = &n.any
	default:
		if n.literals == nil {
			n.literals = map[string]*node{}
		}
		if n.literals[segment] == nil {
			n.literals[segment] = &node{}
		}
		return n.literals[segment]
	}
	if *at == nil {
		*at = &node{}
	}
	return *at
}

// find returns the rule for a path: literals go before "*", which goes before "**".
func (n *node) find(segments [][]byte, verb, method []byte) *rule {
	if len(segments) == 0 {
		if r := n.end(verb, method); r != nil {
			return r
		}
	} else {
		if next := n.literals[string(segments[0])]; next != nil {
			if r := next.find(segments[1:], verb, method); r != nil {
				return r
			}
		}
		if n.one != nil && len(segments[0]) > 0 {
			if r := n.one.find(segments[1:], verb, method); r != nil {
				return r
			}
		}
	}
	if n.any != nil {
		return n.any.end(verb, method)
	}
	return nil
}

// end returns the rule that ends here, of the method rather than of any.
func (n *node) end(verb, method []byte) (found *rule) {
	for i := range n.ends {
		e := &n.ends[i]
		switch {
		case e.verb != string(verb):
		case e.method == string(method):
			return e.rule
		case e.method == anyMethod:
			found = e.rule
		}
	}
	return found
}

// anyMethod is the kind of a custom pattern that takes every method.
const anyMethod = "*"

// splitPath cuts a path, without its query, into segments, which it appends to dst. Slashes at its end do not count.
func splitPath(dst [][]byte, path []byte) [][]byte {
	path = bytes.TrimRight(bytes.TrimPrefix(path, slash), "/")
	for found := len(path) > 0; found; {
		var segment []byte
		segment, path, found = bytes.Cut(path, slash)
		dst = append(dst, segment)
	}
	return dst
}

var slash = []byte{'/'}
