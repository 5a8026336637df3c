package route

import (
	"strings"
	"testing"

	"millrace/codec"
)

// FuzzQueryParameter compares with a search by splitting.
func FuzzQueryParameter(f *testing.F) {
	f.Add("/p?a=1&b=2&a=3", "a")
	f.Add("/p?a&b=&=c&&", "b")
	f.Add("/p?aa=1#a=2", "a")
	f.Add("/p?x?y=1", "x?y")
	f.Fuzz(func(t *testing.T, path, name string) {
		if name == "" || strings.ContainsAny(name, "&=#") {
			t.Skip()
		}
		want, found := "", false
		_, query, _ := strings.Cut(path, "?")
		query, _, _ = strings.Cut(query, "#")
		for pair := range strings.SplitSeq(query, "&") {
			if n, v, _ := strings.Cut(pair, "="); n == name {
				want, found = v, true
				break
			}
		}
		got := queryParameter([]byte(path), name)
		if string(got) != want || (got != nil) != found {
			t.Errorf("queryParameter(%q, %q) = %q, %v; want %q, %v", path, name, got, got != nil, want, found)
		}
	})
}

// FuzzCookie compares with a search by splitting.
func FuzzCookie(f *testing.F) {
	f.Add("a=1; b=2;a=3", "a")
	f.Add("a; =b;;\ta=\"x\"", "a")
	f.Add("a=\"", "a")
	f.Fuzz(func(t *testing.T, line, name string) {
		if name == "" || strings.ContainsAny(name, ";= \t") {
			t.Skip()
		}
		var fields codec.Fields
		fields.AddString("cookie", line)
		line = string(fields.Get(codec.FieldCookie)) // made safe
		want, found := "", false
		for pair := range strings.SplitSeq(line, ";") {
			if n, v, ok := strings.Cut(strings.Trim(pair, " \t"), "="); ok && n == name {
				want, found = v, true
				break
			}
		}
		if len(want) >= 2 && want[0] == '"' && want[len(want)-1] == '"' {
			want = want[1 : len(want)-1]
		}
		got := cookie(&fields, name)
		if string(got) != want || (got != nil) != found {
			t.Errorf("cookie(%q, %q) = %q, %v; want %q, %v", line, name, got, got != nil, want, found)
		}
	})
}
