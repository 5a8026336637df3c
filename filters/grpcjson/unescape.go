package grpcjson

import "strings"

// Unescape says which percent-encoded characters of a path become what they stand for, in the values of variables that
// span several segments. Those of one segment are unescaped whole.
type Unescape uint8

const (
	// UnescapeExceptReserved leaves the reserved characters of RFC 3986 as they are, such as %2F and %3F.
	UnescapeExceptReserved Unescape = iota
	// UnescapeExceptSlash leaves only %2F.
	UnescapeExceptSlash
	// UnescapeAll leaves none.
	UnescapeAll
)

// reserved are the reserved characters of RFC 3986 section 2.2.
const reserved = ":/?#[]@!$&'()*+,;="

// keeps reports whether a character stays percent-encoded.
func (u Unescape) keeps(c byte) bool {
	switch u {
	case UnescapeAll:
		return false
	case UnescapeExceptSlash:
		return c == '/'
	}
	return strings.IndexByte(reserved, c) >= 0
}

// unescape decodes percent-encodings. A "%" without two digits stays.
func unescape(text string, u Unescape, plus bool) string {
	if !strings.ContainsAny(text, "%+") {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '+' && plus {
			c = ' '
		}
		if c == '%' && i+2 < len(text) {
			hi, lo := fromHex(text[i+1]), fromHex(text[i+2])
			if v := hi<<4 | lo; hi < 16 && lo < 16 && !u.keeps(v) {
				c, i = v, i+2
			}
		}
		out = append(out, c)
	}
	return string(out)
}

// fromHex returns the value of a hexadecimal digit, 255 for another character.
func fromHex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 255
}
