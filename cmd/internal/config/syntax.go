package config

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// syntax reports what makes the text not JSON. Duplicate names are left to
// explain, which gives both places: it reports whether there was nothing else.
func (s *source) syntax() bool {
	dec := jsontext.NewDecoder(bytes.NewReader(s.clean), jsontext.AllowDuplicateNames(true))
	err := dec.SkipValue()
	if err == nil {
		end := s.skipSpace(int(dec.InputOffset()))
		if end == len(s.clean) {
			return true
		}
		s.report(end, "", problem{text: "text after the end of the config"})
		return false
	}
	var syntactic *jsontext.SyntacticError
	if errors.Is(err, io.EOF) || !errors.As(err, &syntactic) {
		s.report(0, "", problem{"the file is empty", `the smallest config is {}`})
		return false
	}
	offset := int(syntactic.ByteOffset)
	text := "not JSON"
	if syntactic.Err != nil {
		text = strings.TrimPrefix(syntactic.Err.Error(), "jsontext: ")
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		offset, text = len(bytes.TrimRight(s.clean, " \t\r\n")), "the file ends inside a value"
	}
	s.report(offset, pointerPath(syntactic.JSONPointer), problem{text, s.syntaxHint(offset, text)})
	return false
}

// skipSpace returns the first offset from at on that is not white space.
func (s *source) skipSpace(at int) int {
	return len(s.clean) - len(bytes.TrimLeft(s.clean[at:], " \t\r\n"))
}

// syntaxHint names the usual reason for a syntax error at an offset.
func (s *source) syntaxHint(offset int, text string) string {
	switch {
	case strings.HasPrefix(text, "the file ends") || offset >= len(s.clean):
		return `a closing "}" or "]" is missing, or a quote`
	case bytes.HasPrefix(s.clean[offset:], []byte("\xef\xbb\xbf")):
		return "save the file without a byte order mark"
	case s.clean[offset] == '\n' || s.clean[offset] == '\r':
		return "the string lacks its closing quote"
	case s.clean[offset] == '\'':
		return "strings and names are in double quotes"
	case strings.Contains(text, "expecting ','"):
		return "a comma is missing before this"
	case s.clean[offset] == ',':
		return "there is one comma too many"
	case isLetter(s.clean[offset]) && strings.Contains(text, "start of value"):
		return "names and strings are in double quotes"
	}
	return ""
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' }

// pointerPath spells a JSON pointer the way paths are spelled here.
func pointerPath(p jsontext.Pointer) string {
	path := ""
	for name := range p.Tokens() {
		if n, err := strconv.Atoi(name); err == nil && n >= 0 {
			path = joinIndex(path, n)
		} else {
			path = joinName(path, name)
		}
	}
	return path
}
