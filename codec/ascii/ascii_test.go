package ascii

import (
	"bytes"
	"testing"
)

func TestClasses(t *testing.T) {
	t.Parallel()
	const alnum = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	for _, tt := range []struct {
		name  string
		class uint8
		chars string
	}{
		{"Token", Token, alnum + "!#$%&'*+-.^_`|~"},
		{"Digit", Digit, "0123456789"},
		{"Hex", Hex, "0123456789abcdefABCDEF"},
		{"Host", Host, alnum + "-._~!$&'()*+;=%:[]"},
		{"Name", Name, alnum + "-._"},
	} {
		for c := range 256 {
			want := bytes.IndexByte([]byte(tt.chars), byte(c)) >= 0
			if got := Is(byte(c), tt.class); got != want {
				t.Errorf("Is(%q, %s) = %v; want %v", byte(c), tt.name, got, want)
			}
		}
	}
}

// TestWideScans compares the eight-byte scans with the table, for every byte at every place.
func TestWideScans(t *testing.T) {
	t.Parallel()
	for n := range 20 {
		for at := range n {
			for c := range 256 {
				b := bytes.Repeat([]byte("a"), n)
				b[at] = byte(c)
				if got, want := IsValue(b), All(b, Value); got != want {
					t.Errorf("IsValue(%q) = %v; want %v", b, got, want)
				}
				if got, want := IsTarget(b), All(b, Target); got != want {
					t.Errorf("IsTarget(%q) = %v; want %v", b, got, want)
				}
			}
		}
	}
}

func FuzzWideScans(f *testing.F) {
	f.Add([]byte("text/html, */*;q=0.8\tx"))
	f.Add([]byte("\x7f\x80\xff\x1f\x20 !\x00abc"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, want := IsValue(b), All(b, Value); got != want {
			t.Errorf("IsValue(%q) = %v; want %v", b, got, want)
		}
		if got, want := IsTarget(b), All(b, Target); got != want {
			t.Errorf("IsTarget(%q) = %v; want %v", b, got, want)
		}
	})
}

func TestEqualFold(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"", "", true},
		{"Close", "cLOSE", true},
		{"close", "closes", false},
		{"a-b", "a\rb", false},
		{"@", "`", false},
		{"[", "{", false},
		{"k", "K", true}, // the Kelvin sign is of three bytes
	} {
		if got := EqualFold([]byte(tt.a), []byte(tt.b)); got != tt.want {
			t.Errorf("EqualFold(%q, %q) = %v; want %v", tt.a, tt.b, got, tt.want)
		}
		if got := EqualFoldString([]byte(tt.a), tt.b); got != tt.want {
			t.Errorf("EqualFoldString(%q, %q) = %v; want %v", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestParseInt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in string
		n  int64
		ok bool
	}{
		{"", 0, false},
		{"0", 0, true},
		{"007", 7, true},
		{"9223372036854775807", 1<<63 - 1, true},
		{"9223372036854775808", 0, false},
		{"18446744073709551621", 0, false},
		{"99999999999999999999999", 0, false},
		{"+1", 0, false},
		{"-1", 0, false},
		{"1 ", 0, false},
		{"/", 0, false},
		{":", 0, false},
	} {
		n, ok := ParseInt([]byte(tt.in))
		if ok != tt.ok || ok && n != tt.n {
			t.Errorf("ParseInt(%q) = %d, %v; want %d, %v", tt.in, n, ok, tt.n, tt.ok)
		}
	}
}

func TestHexValue(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		if got, want := HexValue(byte(c)) != NotHex, Is(byte(c), Hex); got != want {
			t.Errorf("HexValue(%q) is a digit: %v; want %v", byte(c), got, want)
		}
	}
	for in, want := range map[byte]uint8{'0': 0, '9': 9, 'a': 10, 'F': 15} {
		if got := HexValue(in); got != want {
			t.Errorf("HexValue(%q) = %d; want %d", in, got, want)
		}
	}
}

func TestTrim(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "", " \t": "", " a b\t": "a b", "\va": "\va", "a": "a"} {
		if got := Trim([]byte(in)); string(got) != want {
			t.Errorf("Trim(%q) = %q; want %q", in, got, want)
		}
	}
}

func TestCutList(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in         string
		elem, rest string
		more       bool
	}{
		{"", "", "", false},
		{"a", "a", "", false},
		{"a,", "a", "", true},
		{" a\t, b, c", "a", " b, c", true},
		{",b", "", "b", true},
	} {
		elem, rest := CutList([]byte(tt.in))
		if string(elem) != tt.elem || string(rest) != tt.rest || rest != nil != tt.more {
			t.Errorf("CutList(%q) = %q, %q (nil %v); want %q, %q", tt.in, elem, rest, rest == nil, tt.elem, tt.rest)
		}
	}
}
