package httpconn

import (
	"bytes"
	"strings"
	"testing"
)

func TestNormalize(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{ // want "": refused
		{"/", "/"}, {"/a/b", "/a/b"}, {"/a/./b", "/a/b"}, {"/a/../b", "/b"}, {"/a/b/..", "/a/"}, {"/a/b/.", "/a/b/"},
		{"/.", "/"}, {"/..", ""}, {"/../a", ""}, {"/a/../..", ""}, {"/a/../../b", ""}, {"/a/..", "/"}, {"/a/../", "/"},
		{"//..", "/"}, {"/a//..", "/a/"}, {"/...", "/..."}, {"/.a/..b", "/.a/..b"},
		{"/%41%7a%30%2d%2E%5f%7E", "/Az0-._~"}, {"/%2f%3a", "/%2F%3A"}, {"/%e4%BD", "/%E4%BD"},
		{"/a/%2e%2e/b", "/b"}, {"/a/%2E/b", "/a/b"}, {"/a/.%2e/%2e./b", ""},
		{`/a\b`, "/a/b"}, {`/a\..\b`, "/b"}, {`\..`, ""},
		{"/%", ""}, {"/%4", ""}, {"/%zz", ""}, {"/%4g", ""}, {"/%00", ""}, {"/%252e%252e/", "/%252e%252e/"},
	} {
		p := []byte(tt.in)
		n, ok := normalize(p)
		if ok != (tt.want != "") || ok && string(p[:n]) != tt.want {
			t.Errorf("normalize(%q) = %q, %v; want %q", tt.in, p[:n], ok, tt.want)
		}
	}
}

// FuzzNormalize: never panics, is idempotent, keeps the path rooted, and leaves no way up.
func FuzzNormalize(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", "/%2e%2E/%2F..", `/\..\%5c`, "/%", "//a//./..", "/a/b/../../../c", "/%25%32%65", "/%c0%ae%c0%ae/"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		in = append([]byte("/"), in...)
		once := bytes.Clone(in)
		n, ok := normalize(once)
		if !ok {
			return
		}
		once = once[:n]
		if n == 0 || n > len(in) || once[0] != '/' {
			t.Fatalf("normalize(%q) = %q", in, once)
		}
		for _, seg := range strings.Split(string(once), "/") {
			if seg == "." || seg == ".." || strings.ContainsRune(seg, '\\') {
				t.Errorf("normalize(%q) = %q has a segment %q", in, once, seg)
			}
		}
		twice := bytes.Clone(once)
		if n, ok = normalize(twice); !ok || !bytes.Equal(twice[:n], once) {
			t.Errorf("normalize(%q) = %q, and again %q, %v", in, once, twice[:n], ok)
		}
		merged := bytes.Clone(once)
		merged = merged[:mergeSlashes(merged)]
		if bytes.Contains(merged, []byte("//")) || string(merged) != collapse(string(once)) {
			t.Errorf("mergeSlashes(%q) = %q", once, merged)
		}
	})
}

// collapse is what mergeSlashes does, said simply.
func collapse(s string) string {
	for strings.Contains(s, "//") {
		s = strings.ReplaceAll(s, "//", "/")
	}
	return s
}

func TestPathOptions(t *testing.T) {
	t.Parallel()
	normal := func(c *Config) { c.NormalizePath = true }
	slashes := func(action string, normal, merge bool) func(*Config) {
		return func(c *Config) {
			c.PathWithEscapedSlashesAction, c.NormalizePath, c.MergeSlashes = action, normal, merge
		}
	}
	for _, tt := range []struct {
		edit     func(*Config)
		in, want string // path that is forwarded, or the Location
		status   int
		details  string
	}{
		{nil, "/a/../b//c%2f", "/a/../b//c%2f", 200, ""},
		{normal, "/a/../b?x=/../", "/b?x=/../", 200, ""},
		{normal, "/..", "", 400, "path_normalization_failed"},
		{normal, "/%00", "", 400, "path_normalization_failed"},
		{slashes("keep_unchanged", false, true), "//a///b//?x=//", "/a/b/?x=//", 200, ""},
		{slashes("reject_request", false, false), "/a%2Fb", "", 400, "path_normalization_failed"},
		{slashes("reject_request", false, false), "/a%5cb", "", 400, "path_normalization_failed"},
		{slashes("reject_request", false, false), "/ab?%2f", "/ab?%2f", 200, ""},
		{slashes("unescape_and_forward", false, false), "/a%2Fb%5Cc?%2f", `/a/b\c?%2f`, 200, ""},
		{slashes("unescape_and_forward", true, true), "/x/%2f..%2F/b", "/x/b", 200, ""},
		{slashes("unescape_and_redirect", true, true), "/a%2f/b?q", "/a/b?q", 307, "path_normalization_redirect"},
		{slashes("unescape_and_redirect", true, true), "/a//b", "/a/b", 200, ""}, // merging alone does not redirect
		{slashes("unescape_and_redirect", true, true), "/a%2f..%2f..", "", 400, "path_normalization_failed"},
	} {
		w := newWorld(t, tt.edit)
		c := w.dial("127.0.0.1")
		resp := c.ask("GET " + tt.in + " HTTP/1.1\r\nHost: a\r\n\r\n")
		if resp.StatusCode != tt.status {
			t.Errorf("%s: status %d, want %d", tt.in, resp.StatusCode, tt.status)
		}
		h, ok := w.forwarded()
		switch {
		case tt.status == 200 && (!ok || string(h.Path()) != tt.want):
			t.Errorf("%s: forwarded %q, want %q", tt.in, h.Path(), tt.want)
		case tt.status == 307 && resp.Header.Get("Location") != tt.want:
			t.Errorf("%s: Location %q, want %q", tt.in, resp.Header.Get("Location"), tt.want)
		case tt.status != 200 && ok:
			t.Errorf("%s: forwarded %q although it was answered", tt.in, h.Path())
		}
		if tt.details != "" && w.term.ended[0].Details != tt.details {
			t.Errorf("%s: details %q, want %q", tt.in, w.term.ended[0].Details, tt.details)
		}
		if resp.Close { // none of this is a reason to end the connection
			t.Errorf("%s: the connection ends with the %d", tt.in, resp.StatusCode)
		} else {
			c.ask("GET /again HTTP/1.1\r\nHost: a\r\n\r\n")
		}
	}
}
