package accesslog

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// How a byte of a value is printed.
const (
	plain       = 0 // as it is, in both forms
	escapeText  = 1 // \xHH in text
	escapeJSON  = 2 // an escape in JSON
	beyondASCII = 4 // \xHH in text; a part of a character in JSON
)

// escapes is the class of each byte.
var escapes = makeEscapes()

func makeEscapes() (t [256]uint8) {
	for c := range 256 {
		switch {
		case c < ' ' || c == 0x7f || c == '"' || c == '\\':
			t[c] = escapeText | escapeJSON
		case c > 0x7f:
			t[c] = escapeText | beyondASCII
		}
	}
	return t
}

// plainPrefix returns how many bytes at the start of b are plain.
//
// Hot path: BenchmarkFormat. Eight bytes a step; in each byte of the sums below the high bit tells,
// and there is no carry from one byte to the next.
func plainPrefix(b []byte) int {
	const ones, low, high = 0x0101010101010101, 0x7f7f7f7f7f7f7f7f, 0x8080808080808080
	n := 0
	for ; n+8 <= len(b); n += 8 {
		x := binary.LittleEndian.Uint64(b[n:])
		y := x & low
		special := x                      // beyond ASCII
		special |= ^(y + ones*0x60)       // below 0x20
		special |= y + ones               // 0x7f
		special |= ^(y ^ ones*'"' + low)  // the quote
		special |= ^(y ^ ones*'\\' + low) // the backslash
		if special &= high; special != 0 {
			return n + bits.TrailingZeros64(special)/8
		}
	}
	for ; n < len(b) && escapes[b[n]] == plain; n++ {
	}
	return n
}

const hexDigits = "0123456789ABCDEF"

// appendText appends a value of a peer as text does it: quotes, backslashes, controls
// and bytes beyond ASCII as \xHH, as nginx does. So a value can neither end the quotes around it nor the line.
//
// Hot path: BenchmarkFormat.
func appendText[T ~string | ~[]byte](dst []byte, s T) []byte {
	from := 0
	for i := 0; i < len(s); i++ {
		if escapes[s[i]] == plain {
			continue
		}
		dst = append(dst, s[from:i]...)
		dst = append(dst, '\\', 'x', hexDigits[s[i]>>4], hexDigits[s[i]&15])
		from = i + 1
	}
	return append(dst, s[from:]...)
}

// appendJSON appends a value of a peer as the inside of a JSON string (RFC 8259 section 7).
// Bytes that are no UTF-8 become U+FFFD. Characters that move the cursor or end a line on some
// terminals and in some readers are escaped too, though JSON would let them pass.
func appendJSON[T ~string | ~[]byte](dst []byte, s T) []byte {
	from := 0
	for i := 0; i < len(s); {
		class := escapes[s[i]]
		if class&^escapeText == 0 {
			i++
			continue
		}
		if class&beyondASCII != 0 {
			r, n := decodeRune(s[i:])
			if r != utf8.RuneError && !treacherous(r) || r == utf8.RuneError && n > 1 {
				i += n
				continue
			}
			dst = appendUnicode(append(dst, s[from:i]...), r)
			i += n
			from = i
			continue
		}
		dst = appendEscapeJSON(append(dst, s[from:i]...), s[i])
		i++
		from = i
	}
	return append(dst, s[from:]...)
}

// appendEscapeJSON appends a quote, a backslash or a control.
func appendEscapeJSON(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return appendUnicode(dst, rune(c))
}

// appendUnicode appends \uHHHH. Precondition: r is below 0x10000.
func appendUnicode(dst []byte, r rune) []byte {
	return append(dst, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

// treacherous reports whether a reader may take r for more than a character: C1 controls (some
// terminals obey them), line and paragraph separators, and marks that turn the direction of text around.
func treacherous(r rune) bool {
	return r < 0xa0 || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// decodeRune is utf8.DecodeRune for strings and bytes.
func decodeRune[T ~string | ~[]byte](s T) (rune, int) {
	var b [utf8.UTFMax]byte
	n := copy(b[:], s)
	return utf8.DecodeRune(b[:n])
}

// cut shortens a value to at most n bytes, without splitting a character of UTF-8.
func cut[T ~string | ~[]byte](s T, n int) T {
	if len(s) <= n {
		return s
	}
	end := n
	for end > 0 && n-end < utf8.UTFMax && s[end]&0xc0 == 0x80 {
		end--
	}
	if n-end == utf8.UTFMax || s[end]&0xc0 == 0x80 { // no UTF-8 anyway
		end = n
	}
	return s[:end]
}
