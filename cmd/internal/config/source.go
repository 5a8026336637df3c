package config

import (
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/tailscale/hujson"
)

// A source is the text of one file, with what is needed to place problems in it.
type source struct {
	file   string
	clean  []byte        // the text without comments; the offsets are those of the file
	lines  []int         // offsets of the line starts, made when first needed
	root   *hujson.Value // parsed when first needed
	errs   Errors
	broken []string // paths of the values that could not be read
	more   int      // problems above MaxErrors
}

// tree returns the parsed text, or nil if the parser refuses it.
func (s *source) tree() *hujson.Value {
	if s.root == nil {
		if v, err := hujson.Parse(s.clean); err == nil {
			s.root = &v
		}
	}
	return s.root
}

// place returns the line and column of an offset.
func (s *source) place(offset int) (line, col int) {
	if s.lines == nil {
		s.lines = append(s.lines, 0)
		for i, c := range s.clean {
			if c == '\n' {
				s.lines = append(s.lines, i+1)
			}
		}
	}
	line = sort.SearchInts(s.lines, offset+1)
	return line, offset - s.lines[line-1] + 1
}

// report adds a problem at an offset and returns it, so that a caller can add
// to it. The result is never nil, but is dropped above MaxErrors.
func (s *source) report(offset int, path string, p problem) *Error {
	e := &Error{File: s.file, Path: path, Problem: p.text, Hint: p.hint}
	if len(s.errs) >= MaxErrors {
		s.more++
		return e
	}
	e.Line, e.Col = s.place(offset)
	s.errs = append(s.errs, e)
	return e
}

// reportAt adds a problem of the value at a path.
func (s *source) reportAt(path string, p problem) *Error { return s.report(s.find(path), path, p) }

// placeOf returns the place of the value at a path, for the other end of a problem.
func (s *source) placeOf(path, note string) *Place {
	line, col := s.place(s.find(path))
	return &Place{line, col, note}
}

// isBroken reports whether the value at a path could not be read, or lies
// inside or around one that could not. What checks would say of it is an echo.
func (s *source) isBroken(path string) bool {
	return slices.ContainsFunc(s.broken, func(b string) bool { return within(b, path) || within(path, b) })
}

// within reports whether path is outer or lies inside it.
func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (rest == "" || outer == "" || rest[0] == '.' || rest[0] == '[')
}

// finish sorts the problems and says how many were left out.
func (s *source) finish() Errors {
	s.errs.sort()
	if s.more > 0 {
		last := s.errs[len(s.errs)-1]
		s.errs = append(s.errs, &Error{File: s.file, Line: last.Line, Col: last.Col,
			Problem: strconv.Itoa(s.more) + " more problems are not shown"})
	}
	return s.errs
}

// find returns the offset of the value at a path, or of the innermost value
// around it that the file has: a default has no place of its own.
func (s *source) find(path string) int {
	offset, _ := s.findExact(path)
	return offset
}

// findExact is find; it also reports whether the file has the value itself.
func (s *source) findExact(path string) (offset int, exact bool) {
	v := s.tree()
	if v == nil {
		return 0, false
	}
	for path != "" {
		var next *hujson.Value
		next, path = child(v, path)
		if next == nil {
			return v.StartOffset, false
		}
		v = next
	}
	return v.StartOffset, true
}

// child follows the first step of a path. It returns nil if v has no such child.
func child(v *hujson.Value, path string) (*hujson.Value, string) {
	name, index, rest := firstStep(path)
	switch c := v.Value.(type) {
	case *hujson.Object:
		for i := range c.Members {
			if m := &c.Members[i]; index < 0 && m.Name.Value.(hujson.Literal).String() == name {
				return &m.Value, rest
			}
		}
	case *hujson.Array:
		if index >= 0 && index < len(c.Elements) {
			return &c.Elements[index], rest
		}
	}
	return nil, rest
}

// firstStep cuts a path such as `a.b[2]["x.y"].c` after its first step. The
// index is -1 if the step is a name.
func firstStep(path string) (name string, index int, rest string) {
	path = strings.TrimPrefix(path, ".")
	if strings.HasPrefix(path, "[") {
		if q, err := strconv.QuotedPrefix(path[1:]); err == nil {
			name, _ = strconv.Unquote(q)
			return name, -1, strings.TrimPrefix(path[1+len(q):], "]")
		}
		inside, rest, _ := strings.Cut(path[1:], "]")
		if n, err := strconv.Atoi(inside); err == nil {
			return "", n, rest
		}
		return inside, -1, rest
	}
	if i := strings.IndexAny(path, ".["); i >= 0 {
		return path[:i], -1, path[i:]
	}
	return path, -1, ""
}

// joinName adds a field or map key to a path.
func joinName(path, name string) string {
	switch {
	case name == "" || strings.ContainsAny(name, `.[]" `):
		return path + "[" + strconv.Quote(name) + "]"
	case path == "":
		return name
	}
	return path + "." + name
}

// joinIndex adds an array index to a path.
func joinIndex(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// joinPath adds a path that starts inside the value at path.
func joinPath(path, inside string) string {
	if path == "" || inside == "" || inside[0] == '[' {
		return path + inside
	}
	return path + "." + inside
}

// isBrokenExactly reports whether the value at a path could not be read at all.
func (s *source) isBrokenExactly(path string) bool { return slices.Contains(s.broken, path) }
