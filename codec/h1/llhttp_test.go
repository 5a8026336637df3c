package h1

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"millrace/codec/codectest"
)

// fixture is one request stream of the llhttp tests and what llhttp makes of it.
type fixture struct {
	name     string
	input    []byte
	lenient  bool // for a mode of llhttp that takes what the RFC does not
	refused  bool
	complete int
}

var (
	fixtureTitle = regexp.MustCompile(`(?m)^#+ .*$`)
	fixtureBlock = regexp.MustCompile("(?s)<!-- meta=\\{ ?\"type\": ?\"([a-z-]+)\".*?-->\\s*```http\n(.*?)```\\s*(?:_[^`]*_\\s*)?```log\n(.*?)```")
	requestLines = regexp.MustCompile(`(?m)^[A-Z-]+ \S+ HTTP/1\.[01]\r\n`)
	hexEscape    = regexp.MustCompile(`\\x[0-9a-fA-F]+`)
)

// readFixtures reads the test descriptions of llhttp.
func readFixtures(t *testing.T) (all []fixture) {
	t.Helper()
	names, _ := filepath.Glob("testdata/llhttp/*.md")
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range fixtureBlock.FindAllSubmatchIndex(text, -1) {
			titles := fixtureTitle.FindAll(text[:at[0]], -1)
			if len(titles) == 0 {
				continue
			}
			title := strings.TrimLeft(string(titles[len(titles)-1]), "# ")
			kind, log := string(text[at[2]:at[3]]), string(text[at[6]:at[7]])
			all = append(all, fixture{
				name:     strings.TrimSuffix(filepath.Base(name), ".md") + "/" + title,
				input:    fixtureInput(string(text[at[4]:at[5]])),
				lenient:  strings.Contains(kind, "lenient"),
				refused:  strings.Contains(log, "error code=") && !strings.Contains(log, "Pause on"),
				complete: strings.Count(log, "message complete"),
			})
		}
	}
	return all
}

// fixtureInput resolves the notation of the fixtures, in the order llhttp does, and
// gives each request a Host, without which HTTP/1.1 is refused.
func fixtureInput(s string) []byte {
	s = strings.TrimSuffix(s, "\n")
	s = strings.ReplaceAll(s, "\\\n", "")
	s = strings.ReplaceAll(s, "\n", "\r\n")
	s = strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\t`, "\t", `\f`, "\f").Replace(s)
	s = hexEscape.ReplaceAllStringFunc(s, func(x string) string {
		n, _ := strconv.ParseUint(x[2:], 16, 8)
		return string([]byte{byte(n)})
	})
	if strings.Contains(strings.ToLower(s), "\nhost:") {
		return []byte(s)
	}
	return requestLines.ReplaceAllFunc([]byte(s), func(line []byte) []byte {
		host := "a.example"
		if f := bytes.Fields(line); string(f[0]) == "CONNECT" {
			host = string(f[1])
		} else if _, rest, found := bytes.Cut(f[1], []byte("://")); found {
			rest, _, _ = bytes.Cut(rest, []byte("/"))
			rest, _, _ = bytes.Cut(rest, []byte("?"))
			host = string(rest)
		}
		return append(append([]byte(nil), line...), "Host: "+host+"\r\n"...)
	})
}

// differences says where we read a fixture in another way than llhttp, and why.
var differences = map[string]struct{ outcome, why string }{
	"connection/No restart when keep-alive is off (1.0)":                                 {"ok 1", "bytes after the last request are not looked at"},
	"connection/Resetting flags when keep-alive is off (1.0, lenient)":                   {"ok 1", "bytes after the last request are not looked at"},
	"connection/CRLF between requests, explicit `close`":                                 {"ok 1", "bytes after the last request are not looked at"},
	"connection/CRLF between requests, explicit `close` followed by tab":                 {"ok 1", "bytes after the last request are not looked at"},
	"connection/CRLF between requests, explicit `close` (lenient)":                       {"ok 1", "bytes after the last request are not looked at"},
	"content-length/Content-Length reset when no body is received":                       {"ok 0, incomplete", "the fixture skips the body by a callback"},
	"invalid/HTTP protocol and ANNOUNCE method":                                          {"ok 1", "a method may be any token"},
	"invalid/Invalid method":                                                             {"ok 1", "a method may be any token"},
	"method/CONNECT with body":                                                           {"ok 0, 400", "a CONNECT has no content"},
	"method/PRI request HTTP2":                                                           {"ok 0, 400", "the preface of HTTP/2 is not ours to read"},
	"method/M-SEARCH request":                                                            {"ok 0, 400", "asterisk-form is for OPTIONS"},
	"method/SOURCE request with ICE":                                                     {"ok 0, 400", "not HTTP"},
	"method/OPTIONS request with RTSP":                                                   {"ok 0, 400", "not HTTP"},
	"method/ANNOUNCE request with RTSP":                                                  {"ok 0, 400", "not HTTP"},
	"sample/No HTTP version":                                                             {"ok 0, 400", "HTTP/0.9"},
	"transfer-encoding/POST with `chunked` as last transfer-encoding":                    {"ok 0, 501", "deflate is not implemented"},
	"transfer-encoding/POST with `chunked` as last transfer-encoding (multiple headers)": {"ok 0, 501", "deflate is not implemented"},
	"uri/`host:port` and basic auth":                                                     {"ok 0, 400", "userinfo in the target"},
}

// TestLLHTTP runs the request fixtures of llhttp. The ones of its lenient modes must be refused.
func TestLLHTTP(t *testing.T) {
	t.Parallel()
	all := readFixtures(t)
	if len(all) != 166 {
		t.Errorf("%d fixtures; want 166", len(all))
	}
	used := map[string]bool{}
	for _, f := range all {
		transcript := recordServer(f.input)
		got := outcome(transcript)
		if split := recordServer(codectest.Bytes(f.input)...); split != transcript {
			t.Errorf("%s: byte by byte it is different\nwhole: %s\nsplit: %s", f.name, transcript, split)
		}
		want := "ok " + strconv.Itoa(f.complete)
		fine := strings.Contains(got, ", ") // refused, or still waiting for the end of a line that will be
		if !f.refused && !f.lenient {
			fine = got == want || got == want+", incomplete"
		}
		if s, found := differences[f.name]; found {
			used[f.name] = true
			if got != s.outcome || fine {
				t.Errorf("%s: %s; want %s: %s\n%q\n%s", f.name, got, s.outcome, s.why, f.input, transcript)
			}
		} else if !fine {
			t.Errorf("%s: %s; want %s, refused %v, lenient %v\n%q\n%s", f.name, got, want, f.refused, f.lenient, f.input, transcript)
		}
	}
	for name := range differences {
		if !used[name] {
			t.Errorf("no fixture is called %q", name)
		}
	}
}
