package grpcjson

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestParseTemplate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in, want string
		err      error
	}{
		{"/", "", nil},
		{"/a", "a", nil},
		{"/a/*/b", "a * b", nil},
		{"/a/**", "a **", nil},
		{"/a/{b}", "a * b@1:2", nil},
		{"/a/{b.c=d/*}/e:f", "a d * e b.c@1:3 :f", nil},
		{"/{b=a/**}", "a ** b@0:-1", nil},
		{"/{b=**}:c", "** b@0:-1 :c", nil},
		{"/a:b", "a :b", nil},
		{"a", "", errNoSlash},
		{"", "", errNoSlash},
		{"/a/", "", errEmpty},
		{"//a", "", errEmpty},
		{"/a:", "", errVerb},
		{"/{a", "", errBrace},
		{"/a}", "", errBrace},
		{"/a{b}", "", errBrace},
		{"/{a}b", "", errLiteral},
		{"/a*", "", errLiteral},
		{"/{a={b}}", "", errNested},
		{"/{a=}", "", errEmpty},
		{"/{}", "", errFieldPath},
		{"/{a..b}", "", errFieldPath},
		{"/{1a}", "", errFieldPath},
		{"/**/a", "", errLast},
		{"/{a=**}/b", "", errLast},
		{strings.Repeat("/a", segmentsMax+1), "", errLong},
	} {
		tmpl, err := parseTemplate(tt.in)
		if !errors.Is(err, tt.err) {
			t.Errorf("parseTemplate(%q): %v; want %v", tt.in, err, tt.err)
			continue
		}
		if err != nil {
			continue
		}
		parts := append([]string{}, tmpl.segments...)
		for _, v := range tmpl.vars {
			parts = append(parts, fmt.Sprintf("%s@%d:%d", v.field, v.from, v.to))
		}
		if tmpl.verb != "" {
			parts = append(parts, ":"+tmpl.verb)
		}
		if got := strings.Join(parts, " "); got != tt.want {
			t.Errorf("parseTemplate(%q) = %q; want %q", tt.in, got, tt.want)
		}
	}
}

// TestPriority: literals go before "*", which goes before "**", and what does not lead on is given up.
func TestPriority(t *testing.T) {
	t.Parallel()
	var root node
	rules := map[*rule]string{}
	for _, text := range []string{"/a/b", "/a/*", "/*/c", "/a/**", "/**", "/a/b/c", "/*/b/d", "/a/**:v"} {
		tmpl, err := parseTemplate(text)
		if err != nil {
			t.Fatal(err)
		}
		r := &rule{}
		rules[r] = text
		if !root.add(tmpl, "GET", r) {
			t.Fatal(text)
		}
	}
	for path, want := range map[string]string{
		"/a/b": "/a/b", "/a/x": "/a/*", "/x/c": "/*/c", "/a/c": "/a/*", "/a": "/a/**", "/": "/**", "/x": "/**",
		"/a/b/c": "/a/b/c", "/a/b/d": "/a/**", "/x/b/d": "/*/b/d", "/a/b/e": "/a/**", "/x/y/z": "/**",
	} {
		if got := rules[root.find(splitPath(nil, []byte(path)), nil, []byte("GET"))]; got != want {
			t.Errorf("%s matches %q; want %q", path, got, want)
		}
	}
	if got := rules[root.find(splitPath(nil, []byte("/a/x/y")), []byte("v"), []byte("GET"))]; got != "/a/**:v" {
		t.Errorf("/a/x/y:v matches %q", got)
	}
}

// FuzzMatch: no path or query makes Match panic, and what it finds can be made a message or is refused.
func FuzzMatch(f *testing.F) {
	s := newShop(f, Options{AutoMapping: true, IgnoreUnknownQuery: true, UnknownVerb: true})
	for _, path := range []string{"/v1/items/a", "/v1/items/a:part?tags=%", "/v1/files/%2", "/v1/search?part.part.made=1", "?", "/::", "//?&&=&"} {
		f.Add("GET", path, "{}")
		f.Add("POST", path, `[1`)
	}
	f.Fuzz(func(t *testing.T, method, path, body string) {
		c, err := s.Match([]byte(method), []byte(path))
		if err != nil {
			return
		}
		if out, err := c.AppendRequest([]byte("x"), []byte(body), ""); err != nil && string(out) != "x" {
			t.Errorf("AppendRequest(%q) returns %q with the error %v", path, out, err)
		}
	})
}

// FuzzTemplate: no text makes parseTemplate panic, and what it takes matches its own literals.
func FuzzTemplate(f *testing.F) {
	for _, text := range []string{"/a/{b.c=d/*}/e:f", "/{a=**}", "/*/**", "/{a", "/a:b/c"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tmpl, err := parseTemplate(text)
		if err != nil {
			return
		}
		var root node
		r := &rule{}
		root.add(tmpl, "GET", r)
		path := make([][]byte, len(tmpl.segments))
		for i, s := range tmpl.segments {
			if path[i] = []byte(s); s == oneSegment || s == anySegments {
				path[i] = []byte("x")
			}
		}
		if root.find(path, []byte(tmpl.verb), []byte("GET")) != r {
			t.Errorf("%q does not match %q", text, path)
		}
	})
}
