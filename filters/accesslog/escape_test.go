package accesslog

import (
	"strings"
	"testing"
)

func TestEscape(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, text, json string }{
		{"", "", ""},
		{"plain text, ~", "plain text, ~", "plain text, ~"},
		{`a"b\c`, `a\x22b\x5Cc`, `a\"b\\c`},
		{"a\r\n\tb", `a\x0D\x0A\x09b`, `a\r\n\tb`},
		{"\x00\x1b\x7f", `\x00\x1B\x7F`, `\u0000\u001B\u007F`},
		{"é", `\xC3\xA9`, "é"},
		{"a\xffb\xc3", `a\xFFb\xC3`, `a\uFFFDb\uFFFD`},
		{"\ufffd", `\xEF\xBF\xBD`, "\ufffd"},
		{"\u0085\u009b\u2028\u202e\u2066", `\xC2\x85\xC2\x9B\xE2\x80\xA8\xE2\x80\xAE\xE2\x81\xA6`, `\u0085\u009B\u2028\u202E\u2066`},
		{"😀", `\xF0\x9F\x98\x80`, "😀"},
		{"\xed\xa0\x80", `\xED\xA0\x80`, `\uFFFD\uFFFD\uFFFD`}, // half of a surrogate pair
	} {
		if got := string(appendText([]byte("<"), tt.in)); got != "<"+tt.text {
			t.Errorf("appendText(%q) = %q; want %q", tt.in, got, "<"+tt.text)
		}
		if got := string(appendJSON([]byte("<"), tt.in)); got != "<"+tt.json {
			t.Errorf("appendJSON(%q) = %q; want %q", tt.in, got, "<"+tt.json)
		}
		for _, how := range []escaping{escapeAsText, escapeAsJSON} { // the way of bytes gives the same
			if got, want := appendBytes(nil, []byte(tt.in), how), appendValue(nil, tt.in, how); string(got) != string(want) {
				t.Errorf("appendBytes(%q) = %q; want %q", tt.in, got, want)
			}
		}
	}
}

// TestPlainPrefix: every byte, at every place.
func TestPlainPrefix(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		for at := range 19 {
			b := []byte(strings.Repeat("~ !#[]a0^_", 2)[:19])
			b[at] = byte(c)
			want := at
			if escapes[c] == plain {
				want = len(b)
			}
			if got := plainPrefix(b); got != want {
				t.Fatalf("plainPrefix(%q) = %d; want %d", b, got, want)
			}
		}
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		n    int
		want string
	}{
		{"abc", 3, "abc"},
		{"abc", 2, "ab"},
		{"abc", 0, ""},
		{"aé", 2, "a"},
		{"a😀", 4, "a"},
		{"a😀", 5, "a😀"},
		{"\x80\x80\x80\x80\x80\x80", 5, "\x80\x80\x80\x80\x80"}, // no UTF-8: nothing to split
	} {
		if got := cut(tt.in, tt.n); got != tt.want {
			t.Errorf("cut(%q, %d) = %q; want %q", tt.in, tt.n, got, tt.want)
		}
	}
}
