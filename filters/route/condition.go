package route

import (
	"bytes"
	"regexp"
	"strconv"

	"millrace/codec"
	"millrace/codec/ascii"
)

// source is where a condition finds its value.
type source uint8

const (
	fromKnown  source = iota // a header with a FieldID
	fromHeader               // any other header
	fromMethod
	fromPath
	fromAuthority
	fromScheme
	fromQuery
	fromCookie
	fromRandom // a share of the requests
)

// test is what a condition asks of its value.
type test uint8

const (
	testPresent test = iota
	testAbsent
	testExact
	testPrefix
	testSuffix
	testContains
	testRegex
	testRange
	testFraction
)

func (k test) String() string {
	return [...]string{
		"present", "absent", "exact", "prefix", "suffix", "contains", "safe_regex", "range", "runtime_fraction",
	}[k]
}

// fractionUnit is the denominator of shares.
const fractionUnit = 1_000_000

// condition is one header, query or cookie matcher, or a share of the requests.
type condition struct {
	name   string // of the header, parameter or cookie; the runtime key of a fraction
	value  string // lower case if fold
	regex  *regexp.Regexp
	lo, hi int64 // range; lo is also the fraction
	id     codec.FieldID
	from   source
	test   test
	fold   bool
	invert bool
	empty  bool // an absent value counts as an empty one
}

// holds reports whether the request meets the condition.
func (c *condition) holds(in *Input) bool {
	if c.from == fromRandom {
		return in.Random%fractionUnit < uint64(c.share(in))
	}
	return c.decide(c.find(in))
}

// share returns the fraction in force, in millionths.
func (c *condition) share(in *Input) uint32 {
	if in.Runtime != nil && c.name != "" {
		return in.Runtime.Fraction(c.name, uint32(c.lo))
	}
	return uint32(c.lo)
}

// find returns the value that the condition looks at, nil if it is absent.
func (c *condition) find(in *Input) []byte {
	switch c.from {
	case fromQuery:
		return queryParameter(in.Head.Path(), c.name)
	case fromCookie:
		return cookie(&in.Head.Fields, c.name)
	case fromMethod:
		return in.Head.MethodBytes()
	case fromPath:
		return in.Head.Path()
	case fromAuthority:
		return in.Head.Authority()
	case fromScheme:
		return in.scheme()
	default:
		return c.findField(&in.Head.Fields, &in.join)
	}
}

// scheme returns the scheme of the request: that of its target, else forwardedProto.
func (in *Input) scheme() []byte {
	if s := in.Head.Scheme(); len(s) != 0 {
		return s
	}
	return in.forwardedProto()
}

// forwardedProto returns "https" or "http", by x-forwarded-proto, which the connection manager has
// made trustworthy, else by the connection.
func (in *Input) forwardedProto() []byte {
	proto := in.Head.Get(codec.FieldXForwardedProto)
	switch {
	case ascii.EqualFoldString(proto, "https"):
		return schemeHTTPS
	case ascii.EqualFoldString(proto, "http"):
		return schemeHTTP
	case in.TLS:
		return schemeHTTPS
	default:
		return schemeHTTP
	}
}

var schemeHTTP, schemeHTTPS = []byte("http"), []byte("https")

// findField returns the value of a header, nil if it is absent. The values of a
// repeated one are joined in *join, which grows to the largest needed: a head's size at most.
func (c *condition) findField(f *codec.Fields, join *[]byte) []byte {
	if c.from == fromKnown {
		if !f.Has(c.id) {
			return nil
		}
		if f.Count(c.id) == 1 {
			return f.Get(c.id)
		}
	}
	var first []byte
	n := 0
	for i := range f.Len() {
		id, name, value := f.At(i)
		if id != c.id || id == codec.FieldOther && !ascii.EqualFoldString(name, c.name) {
			continue
		}
		switch n++; n {
		case 1:
			first = value
		case 2:
			*join = append(append(append((*join)[:0], first...), ','), value...)
		default:
			*join = append(append(*join, ','), value...)
		}
	}
	if n > 1 {
		return *join
	}
	return first
}

// decide reports whether the value, nil if absent, meets the condition.
//
// An absent value meets none but testAbsent, and with invert testPresent:
// inverting a comparison does not make an absent header match.
func (c *condition) decide(value []byte) bool {
	if value == nil && !c.empty {
		if c.invert {
			return c.test == testPresent
		}
		return c.test == testAbsent
	}
	return c.compare(value) != c.invert
}

// compare reports whether a value that is there passes the test.
func (c *condition) compare(v []byte) bool {
	switch c.test {
	case testPresent:
		return true
	case testAbsent:
		return false
	case testExact:
		return len(v) == len(c.value) && c.equal(v)
	case testPrefix:
		return len(v) >= len(c.value) && c.equal(v[:len(c.value)])
	case testSuffix:
		return len(v) >= len(c.value) && c.equal(v[len(v)-len(c.value):])
	case testContains:
		return c.contained(v)
	case testRegex:
		return c.regex.Match(v)
	default:
		n, ok := parseSigned(v)
		return ok && n >= c.lo && n < c.hi
	}
}

func (c *condition) equal(v []byte) bool {
	if c.fold {
		return ascii.EqualFoldString(v, c.value)
	}
	return string(v) == c.value
}

// contained reports whether the value holds the condition's text.
func (c *condition) contained(v []byte) bool {
	for i := 0; i+len(c.value) <= len(v); i++ {
		if c.equal(v[i : i+len(c.value)]) {
			return true
		}
	}
	return false
}

// parseSigned reads a decimal number with an optional minus sign.
func parseSigned(v []byte) (int64, bool) {
	if len(v) == 0 || len(v) > len("-9223372036854775808") || v[0] == '+' {
		return 0, false
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	return n, err == nil
}

// queryParameter returns the first value of a query parameter as sent, nil if it is absent.
func queryParameter(path []byte, name string) []byte {
	i := bytes.IndexByte(path, '?')
	if i < 0 {
		return nil
	}
	rest := path[i+1:]
	if i := bytes.IndexByte(rest, '#'); i >= 0 {
		rest = rest[:i]
	}
	for len(rest) > 0 {
		var pair []byte
		pair, rest = cutByte(rest, '&')
		if len(pair) < len(name) || string(pair[:len(name)]) != name {
			continue
		}
		if len(pair) == len(name) {
			return pair[len(name):len(name):len(name)]
		}
		if pair[len(name)] == '=' {
			return pair[len(name)+1:]
		}
	}
	return nil
}

// cutByte returns what lies before and after the first sep.
func cutByte(b []byte, sep byte) (before, after []byte) {
	if i := bytes.IndexByte(b, sep); i >= 0 {
		return b[:i], b[i+1:]
	}
	return b, nil
}

// cookie returns the value of the first cookie of a name, nil if it is absent.
func cookie(f *codec.Fields, name string) []byte {
	if !f.Has(codec.FieldCookie) {
		return nil
	}
	for i := range f.Len() {
		id, _, value := f.At(i)
		if id != codec.FieldCookie {
			continue
		}
		for rest := value; len(rest) > 0; {
			var pair []byte
			pair, rest = cutByte(rest, ';')
			pair = ascii.Trim(pair)
			if len(pair) > len(name) && pair[len(name)] == '=' && string(pair[:len(name)]) == name {
				return unquote(pair[len(name)+1:])
			}
		}
	}
	return nil
}

// unquote takes the quotes off a cookie value (RFC 6265 section 4.1.1).
func unquote(v []byte) []byte {
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		return v[1 : len(v)-1]
	}
	return v
}
