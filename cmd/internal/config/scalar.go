package config

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/tailscale/hujson"
)

// A problem is what is wrong with one value, before it has a place.
type problem struct{ text, hint string }

// A token is one JSON string, number or boolean.
type token struct {
	kind byte   // '"', '0', 't' or 'f'
	text string // unquoted if a string
}

// tokenOf makes a token of valid JSON text.
func tokenOf(raw []byte) token {
	lit := hujson.Literal(raw)
	return token{byte(lit.Kind()), lit.String()}
}

// String is the token as a message quotes it.
func (k token) String() string {
	if k.kind == '"' {
		return quote(k.text)
	}
	return clip(k.text)
}

// clipMax is the most bytes of a value that a message repeats.
const clipMax = 60

// clip shortens text for a message.
func clip(s string) string {
	if len(s) <= clipMax {
		return s
	}
	return strings.ToValidUTF8(s[:clipMax], "") + "…"
}

// quote quotes text for a message.
func quote(s string) string { return strconv.Quote(clip(s)) }

// setToken stores a token in v, a value of type t, or says why it cannot.
// Both ways of decoding end here, so they agree about every scalar.
func (t *typePlan) setToken(v reflect.Value, k token, r *rules) *problem {
	if t.short && k.kind == '"' {
		if err := v.Addr().Interface().(stringDecoder).DecodeConfigString(k.text); err != nil {
			return problemOf(err)
		}
		return nil
	}
	switch t.kind {
	case kindBool:
		if k.kind == '"' && (k.text == "true" || k.text == "false") {
			return &problem{"want true or false, got " + k.String(), "leave out the quotes"}
		}
		if k.kind != 't' && k.kind != 'f' {
			return wrongKind("true or false", k)
		}
		v.SetBool(k.kind == 't')
		return nil
	case kindInt:
		return setInt(v, k, r)
	case kindFloat:
		return setFloat(v, k, r)
	case kindString:
		return setString(v, k, r)
	case kindDuration:
		return setDuration(v, k, r)
	case kindText:
		if k.kind != '"' {
			return wrongKind("a string", k)
		}
		if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(k.text)); err != nil {
			return problemOf(err)
		}
		return nil
	}
	return &problem{text: fmt.Sprintf("want %s, got %s", t.wanted(r), k)}
}

// wrongKind says that a value of another kind was wanted.
func wrongKind(want string, k token) *problem {
	return &problem{text: fmt.Sprintf("want %s, got %s", want, k)}
}

// wanted names what a type accepts, for messages.
func (t *typePlan) wanted(r *rules) string {
	switch t.kind {
	case kindBool:
		return "true or false"
	case kindInt:
		if r.unit == "bytes" {
			return `a size such as 65536 or "64KiB"`
		}
		return "a whole number"
	case kindFloat:
		return "a number"
	case kindString, kindText:
		return "a string"
	case kindDuration:
		return `a duration such as "5s"`
	case kindSlice, kindFilters:
		return "an array"
	case kindMap, kindByFilter, kindStruct:
		if t.short {
			return "a string or an object"
		}
		return "an object"
	case kindPointer:
		return t.elem.wanted(r)
	}
	return "a value"
}

// setInt reads a whole number, or a size with a unit.
func setInt(v reflect.Value, k token, r *rules) *problem {
	var n int64
	switch {
	case k.kind == '"' && r.unit == "bytes":
		size, ok := parseSize(k.text)
		if !ok {
			return &problem{"want a size, got " + k.String(), `write bytes, or a number with KiB, MiB, GiB, KB, MB or GB, such as "64KiB"`}
		}
		n = size
	case k.kind == '"' && isNumber(k.text):
		return &problem{"want a whole number, got " + k.String(), "leave out the quotes"}
	case k.kind != '0':
		if r.unit == "bytes" {
			return wrongKind(`a size such as 65536 or "64KiB"`, k)
		}
		if code := codeNames[k.text]; code != "" {
			return &problem{"want a whole number, got " + k.String(), "write " + code}
		}
		return wrongKind("a whole number", k)
	case strings.ContainsAny(k.text, ".eE"):
		return wrongKind("a whole number", k)
	default:
		var err error
		if n, err = strconv.ParseInt(k.text, 10, 64); err != nil {
			return &problem{text: k.String() + " is out of range " + intRange(v, r)}
		}
	}
	if !r.holds(float64(n)) || n < 0 && v.CanUint() ||
		v.CanInt() && v.OverflowInt(n) || v.CanUint() && v.OverflowUint(uint64(n)) {
		return &problem{text: k.String() + " is out of range " + intRange(v, r)}
	}
	if v.CanInt() {
		v.SetInt(n)
	} else {
		v.SetUint(uint64(n))
	}
	return nil
}

// isNumber reports whether a quoted text would be a number without its quotes.
func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

// holds reports whether x is within the bounds.
func (r *rules) holds(x float64) bool {
	return r.counts || (!r.hasMin || x >= r.min) && (!r.hasMax || x <= r.max)
}

// intRange spells the bounds of an integer field: its own, or its type's.
func intRange(v reflect.Value, r *rules) string {
	lo, hi := intBounds(v.Type(), r)
	if r.unit == "bytes" {
		return formatSize(lo) + " to " + formatSize(hi)
	}
	return fmt.Sprintf("%d to %d", lo, hi)
}

// intBounds returns the least and greatest value of an integer field. Values
// above the greatest int64 are never accepted, whatever the type.
func intBounds(t reflect.Type, r *rules) (lo, hi int64) {
	bits := t.Bits()
	if t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uint64 {
		hi = math.MaxInt64
		if bits < 64 {
			hi = 1<<bits - 1
		}
	} else {
		lo, hi = -1<<(bits-1), 1<<(bits-1)-1
	}
	if r.hasMin && !r.counts {
		lo = max(lo, int64(r.min))
	}
	if r.hasMax && !r.counts {
		hi = min(hi, int64(r.max))
	}
	return lo, hi
}

// setFloat reads a number.
func setFloat(v reflect.Value, k token, r *rules) *problem {
	if k.kind == '"' && isNumber(k.text) {
		return &problem{"want a number, got " + k.String(), "leave out the quotes"}
	}
	if k.kind != '0' {
		return wrongKind("a number", k)
	}
	x, err := strconv.ParseFloat(k.text, v.Type().Bits())
	if err != nil || !r.holds(x) {
		return &problem{text: k.String() + " is out of range " + floatRange(r)}
	}
	v.SetFloat(x)
	return nil
}

// floatRange spells the bounds of a number.
func floatRange(r *rules) string {
	lo, hi := "-1.8e308", "1.8e308"
	if r.hasMin {
		lo = strconv.FormatFloat(r.min, 'g', -1, 64)
	}
	if r.hasMax {
		hi = strconv.FormatFloat(r.max, 'g', -1, 64)
	}
	return lo + " to " + hi
}

// setString reads a string, one of a list where there is one.
func setString(v reflect.Value, k token, r *rules) *problem {
	if k.kind == '0' {
		return &problem{"want a string, got " + k.String(), "put it in quotes"}
	}
	if k.kind != '"' {
		return wrongKind("a string", k)
	}
	if r.nonEmpty && k.text == "" {
		return &problem{text: "must not be empty"}
	}
	if p := checkEnum(k.text, r.enum); p != nil {
		return p
	}
	v.SetString(k.text)
	return nil
}

// checkEnum says what is wrong with s as one of a list of words, if anything.
func checkEnum(s string, enum []string) *problem {
	if enum == nil {
		return nil
	}
	for _, word := range enum {
		if s == word {
			return nil
		}
	}
	return &problem{"unknown value " + quote(s), nearHint(s, enum)}
}

// setDuration reads a time span.
func setDuration(v reflect.Value, k token, r *rules) *problem {
	const hint = `write a number with a unit (ns, us, ms, s, m, h), such as "250ms" or "1h30m"`
	if k.kind == '0' && !strings.ContainsAny(k.text, "-eE") {
		return &problem{"want a duration, got " + k.String(), fmt.Sprintf("write a string with a unit, such as %q", clip(k.text)+"s")}
	}
	if k.kind != '"' {
		return wrongKind(`a duration such as "5s"`, k)
	}
	if k.text == "0" {
		return &problem{`want a duration, got "0"`, `write "0s"`}
	}
	d, err := time.ParseDuration(k.text)
	switch {
	case err != nil && isNumber(k.text) && k.text[0] != '-':
		return &problem{"want a duration, got " + k.String(), fmt.Sprintf("the unit is missing, as in %q", clip(k.text)+"s")}
	case err != nil || strings.HasPrefix(k.text, "+"):
		return &problem{"want a duration, got " + k.String(), hint}
	case !r.holds(float64(d)) || d > durationMax:
		return &problem{text: k.String() + " is out of range " + durationRange(r)}
	}
	v.SetInt(int64(d))
	return nil
}

// durationMax is the longest duration, 100 years: what is added to a clock must not overflow.
const durationMax = 876000 * time.Hour

// durationRange spells the bounds of a duration.
func durationRange(r *rules) string {
	hi := durationMax
	if r.hasMax {
		hi = time.Duration(r.max)
	}
	return formatDuration(time.Duration(r.min)) + " to " + formatDuration(hi)
}

// formatDuration writes d without the zero parts that its String method has:
// "5m", not "5m0s".
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// sizeUnits are the suffixes of sizes, longest first.
var sizeUnits = []struct {
	suffix string
	bytes  int64
}{
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3},
}

// parseSize reads digits and an optional unit.
func parseSize(s string) (int64, bool) {
	factor := int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(s, u.suffix); ok {
			s, factor = rest, u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || int64(n) > math.MaxInt64/factor {
		return 0, false
	}
	return int64(n) * factor, true
}

// formatSize writes n with the largest binary unit that divides it.
func formatSize(n int64) string {
	for _, u := range sizeUnits[:3] {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}
