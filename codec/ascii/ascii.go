package ascii

import "encoding/binary"

// Byte classes, one bit each, looked up with [Is].
const (
	Token  = 1 << iota // tchar, RFC 9110 section 5.6.2
	Digit              // 0-9
	Hex                // 0-9 a-f A-F
	Value              // HTAB, SP, VCHAR, obs-text: what a field value may hold, RFC 9110 section 5.5
	Target             // what a request-target may hold: VCHAR, see the note at classes
	Host               // what an authority may hold, RFC 3986 section 3.2, but for userinfo and ","
	Name               // the part of Host that host names are made of
	Quoted             // qdtext, RFC 9110 section 5.6.4
)

// classes is the class table.
//
// Deviation: RFC 3986 lets fewer characters into a target than [Target] does
// ("|", "\"", "[", "^", "`", "{" and such are not in it). nginx and Envoy pass them on and
// browsers send some of them in queries, so VCHAR is taken. Bytes above 0x7f
// are refused: two receivers may disagree about their decoding, and no current client sends them.
var classes = makeClasses()

func makeClasses() (t [256]uint8) {
	for c := range 256 {
		b := byte(c)
		digit := b >= '0' && b <= '9'
		alpha := b|0x20 >= 'a' && b|0x20 <= 'z'
		if digit {
			t[c] |= Digit | Hex
		}
		if b|0x20 >= 'a' && b|0x20 <= 'f' {
			t[c] |= Hex
		}
		if digit || alpha || has("!#$%&'*+-.^_`|~", b) {
			t[c] |= Token
		}
		if digit || alpha || has("-._", b) {
			t[c] |= Name
		}
		if digit || alpha || has("-._~!$&'()*+;=%:[]", b) {
			t[c] |= Host
		}
		if b > ' ' && b < 0x7f {
			t[c] |= Target
		}
		if b == '\t' || b >= ' ' && b != 0x7f {
			t[c] |= Value
			if b != '"' && b != '\\' {
				t[c] |= Quoted
			}
		}
	}
	return t
}

func has(set string, b byte) bool {
	for i := range len(set) {
		if set[i] == b {
			return true
		}
	}
	return false
}

// Is reports whether c is in class, or in one of them when several are given.
func Is(c byte, class uint8) bool { return classes[c]&class != 0 }

// Span returns the length of the run of class bytes that b starts with.
func Span(b []byte, class uint8) int {
	for i, c := range b {
		if classes[c]&class == 0 {
			return i
		}
	}
	return len(b)
}

// All reports whether every byte of b is in class. It holds for an empty b.
func All(b []byte, class uint8) bool { return Span(b, class) == len(b) }

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// IsValue reports whether every byte of b may stand in a field value: HTAB, SP,
// VCHAR or obs-text.
//
// Hot path: BenchmarkServerFeed. Eight bytes a step, the last step over bytes seen before; only
// HTAB makes good input go the slow way.
func IsValue(b []byte) bool {
	if len(b) < 8 {
		return All(b, Value)
	}
	for i := 0; i+8 < len(b); i += 8 {
		if mayControl(binary.LittleEndian.Uint64(b[i:])) {
			return All(b[i:], Value)
		}
	}
	return !mayControl(binary.LittleEndian.Uint64(b[len(b)-8:])) || All(b[len(b)-8:], Value)
}

// IsTarget reports whether every byte of b may stand in a request-target: VCHAR.
func IsTarget(b []byte) bool {
	if len(b) < 8 {
		return All(b, Target)
	}
	for i := 0; i+8 < len(b); i += 8 {
		if notVisible(binary.LittleEndian.Uint64(b[i:])) {
			return false
		}
	}
	return !notVisible(binary.LittleEndian.Uint64(b[len(b)-8:]))
}

// notVisible reports whether one of the eight bytes is no VCHAR. Seen from the lowest byte up, the first such
// one is found by a borrow below 0x21, a carry from 0x7f, or its own top bit; what it does to the
// bytes above it changes nothing any more.
func notVisible(x uint64) bool { return (x|(x-ones*0x21)|(x+ones))&highs != 0 }

// mayControl reports whether one of the eight bytes is below 0x20 or is 0x7f.
// It may also say so of a good byte above a bad one, never of eight good bytes.
func mayControl(x uint64) bool {
	below := (x - ones*0x20) &^ x
	del := x ^ ones*0x7f
	del = (del - ones) &^ del
	return (below|del)&highs != 0
}

// EqualFold reports whether a and b are equal but for the case of ASCII letters.
func EqualFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if c != b[i] && Lower(c) != Lower(b[i]) {
			return false
		}
	}
	return true
}

// EqualFoldString is [EqualFold] against a string.
func EqualFoldString(a []byte, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if c != b[i] && Lower(c) != Lower(b[i]) {
			return false
		}
	}
	return true
}

// Lower returns c with A-Z made a-z.
func Lower(c byte) byte {
	if c-'A' < 26 {
		return c | 0x20
	}
	return c
}

// Trim returns b without the optional whitespace (SP, HTAB) at both ends.
func Trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// ParseInt reads b, all of it, as a decimal number without sign.
// It reports false for no digits, other characters and more than 2^63-1.
func ParseInt(b []byte) (n int64, ok bool) {
	if len(b) == 0 {
		return 0, false
	}
	const most = 1<<63 - 1
	for _, c := range b {
		d := int64(c) - '0'
		if d < 0 || d > 9 || n > (most-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// NotHex is what [HexValue] gives for a byte that is no hexadecimal digit.
const NotHex = 0xff

var hexValues = makeHexValues()

func makeHexValues() (t [256]uint8) {
	for c := range 256 {
		switch b := byte(c); {
		case b >= '0' && b <= '9':
			t[c] = b - '0'
		case b|0x20 >= 'a' && b|0x20 <= 'f':
			t[c] = b | 0x20 - 'a' + 10
		default:
			t[c] = NotHex
		}
	}
	return t
}

// HexValue returns the value of a hexadecimal digit of either case, or [NotHex].
func HexValue(c byte) uint8 { return hexValues[c] }

// CutList returns the first element of a comma-separated list, trimmed, and the rest.
// Empty elements are given as such: RFC 9110 section 5.6.1.2 says to ignore them.
// Quoted strings are not looked at: use it for lists of tokens.
func CutList(b []byte) (elem, rest []byte) {
	for i, c := range b {
		if c == ',' {
			return Trim(b[:i]), b[i+1:]
		}
	}
	return Trim(b), nil
}
