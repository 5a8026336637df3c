package config

import "unicode/utf8"

// Limits on the text of a file, checked before anything recursive sees it: the
// parsers below would follow any depth, and Go's stack overflow is final.
const (
	// MaxBytes is the largest file accepted, in bytes.
	MaxBytes = 64 << 20
	// MaxDepth is how deep objects and arrays may nest.
	MaxDepth = 256
)

// A textProblem is a problem of the text itself, found before it is JSON.
type textProblem struct {
	problem
	offset int
}

// blank returns a copy of text that is plain JSON if text is JSON with comments
// and trailing commas: those become spaces, so every offset and line stays.
// It refuses what the parsers after it must not see.
func blank(text []byte) ([]byte, *textProblem) {
	if len(text) > MaxBytes {
		return nil, textFault(0, "file is larger than "+formatSize(MaxBytes), "")
	}
	if at := invalidUTF8(text); at >= 0 {
		return nil, textFault(at, "invalid UTF-8", "save the file as UTF-8")
	}
	b := blanker{out: append([]byte(nil), text...), comma: -1}
	for b.i < len(b.out) {
		if p := b.step(); p != nil {
			return nil, p
		}
	}
	return b.out, nil
}

func textFault(offset int, text, hint string) *textProblem {
	return &textProblem{problem{text, hint}, offset}
}

// invalidUTF8 returns the offset of the first byte that is not UTF-8, or -1.
func invalidUTF8(text []byte) int {
	if utf8.Valid(text) {
		return -1
	}
	for i := 0; ; {
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
}

// A blanker is one pass over a text.
type blanker struct {
	out   []byte
	i     int
	depth int
	comma int  // offset of a comma that nothing has followed yet, or -1
	last  byte // the byte before it that was not space or comment
}

// step handles the byte at i and moves on.
func (b *blanker) step() *textProblem {
	c := b.out[b.i]
	switch c {
	case ' ', '\t', '\r', '\n':
		b.i++
		return nil
	case '/':
		return b.comment()
	case '"':
		b.string()
		return nil
	case ',':
		b.comma = -1
		// Only a comma after a value can be a trailing one; "[,]" stays wrong.
		if b.last != 0 && b.last != '[' && b.last != '{' && b.last != ',' && b.last != ':' {
			b.comma = b.i
		}
	case '{', '[':
		if b.depth++; b.depth > MaxDepth {
			return textFault(b.i, "nesting is deeper than 256", "")
		}
		b.comma = -1
	case '}', ']':
		b.depth--
		if b.comma >= 0 {
			b.out[b.comma] = ' '
		}
		b.comma = -1
	default:
		b.comma = -1
	}
	b.last = c
	b.i++
	return nil
}

// string skips a string; one without end reaches the end of the text, where
// the parser will complain.
func (b *blanker) string() {
	b.comma, b.last = -1, '"'
	for b.i++; b.i < len(b.out); b.i++ {
		switch b.out[b.i] {
		case '\\':
			b.i++
		case '"':
			b.i++
			return
		}
	}
}

// comment blanks a comment. A slash that starts none is left to the parser.
func (b *blanker) comment() *textProblem {
	start, rest := b.i, b.out[b.i+1:]
	switch {
	case len(rest) > 0 && rest[0] == '/':
		for b.i < len(b.out) && b.out[b.i] != '\n' {
			b.out[b.i] = ' '
			b.i++
		}
	case len(rest) > 0 && rest[0] == '*':
		b.i += 2
		for ; ; b.i++ {
			if b.i+1 >= len(b.out) {
				return textFault(start, "comment does not end", `close it with "*/"`)
			}
			if b.out[b.i] == '*' && b.out[b.i+1] == '/' {
				break
			}
		}
		b.i += 2
		for j := start; j < b.i; j++ {
			if b.out[j] != '\n' {
				b.out[j] = ' '
			}
		}
	default:
		b.comma, b.last = -1, '/'
		b.i++
	}
	return nil
}
