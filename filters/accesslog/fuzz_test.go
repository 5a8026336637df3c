package accesslog

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// FuzzCompile: a text either does not compile, or prints exactly one line for every record.
func FuzzCompile(f *testing.F) {
	for i := range definitions {
		f.Add("%" + definitions[i].name + "%")
		f.Add(definitions[i].usage)
	}
	f.Add(defaultLine)
	f.Add("%START_TIME(%s.%3f):5% 100%% %REQ(a?b):7%")
	f.Add("%REQ(%)%")
	full, empty := newRecord(), &Record{}
	f.Fuzz(func(t *testing.T, text string) {
		for _, cfg := range []*Config{
			{Format: text},
			{Format: text, OmitEmptyValues: true},
			{JSONFormat: map[string]any{text: text, "x": []any{text + " " + text}}},
			{JSONFormat: map[string]any{"a": text, "b": map[string]any{"c": text}}, OmitEmptyValues: true},
		} {
			format, err := Compile(cfg)
			if err != nil {
				continue
			}
			for _, r := range []*Record{full, empty} {
				line := format.Append(nil, r)
				if n := bytes.IndexByte(line, '\n'); n != len(line)-1 {
					t.Errorf("%+v prints %q; want one line", cfg, line)
				}
				if cfg.JSONFormat != nil && utf8.ValidString(text) && !json.Valid(line) {
					t.Errorf("%+v prints %q, which is not JSON", cfg, line)
				}
			}
		}
	})
}

// FuzzEscape: whatever a peer sends, a line is one line, quotes stay closed, and JSON parses to what was sent.
func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "plain", "a\"b\\c", "\r\n\x00\x1b[2J", "\xff\xfe", "é\u2028\u202e\u0085", "\xe2\x80", "\xf0\x9f\x98\x80", "\xed\xa0\x80", "\ufffd"} {
		f.Add([]byte(s))
	}
	text := mustCompile(f, &Config{Format: `"%ROUTE_NAME%" "%REQ(:METHOD)%"`})
	object := mustCompile(f, &Config{JSONFormat: map[string]any{"v": "%ROUTE_NAME%", "mixed": "<%ROUTE_NAME%>", "end": 1.0}})
	omitted := mustCompile(f, &Config{JSONFormat: map[string]any{"v": "%ROUTE_NAME%"}, OmitEmptyValues: true})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := newRecord()
		r.RouteName = string(in) // as good as any: fields refuse most bytes before they come here
		line := text.Append(nil, r)
		checkText(t, in, line)
		for _, how := range []escaping{escapeNone, escapeAsText, escapeAsJSON} {
			if got, want := appendBytes(nil, in, how), appendValue(nil, in, how); !bytes.Equal(got, want) {
				t.Errorf("appendBytes(%q) = %q; want %q", in, got, want)
			}
		}
		for _, format := range []*Format{object, omitted} {
			checkJSON(t, in, format.Append(nil, r))
		}
	})
}

func checkText(t *testing.T, in, line []byte) {
	for i, c := range line {
		if (c < ' ' || c > '~') && i != len(line)-1 {
			t.Errorf("%q prints %q, with the byte %#x", in, line, c)
		}
	}
	if n := bytes.Count(line, []byte(`"`)); n != 4 || !bytes.HasSuffix(line, []byte("\" \"GET\"\n")) {
		t.Errorf("%q prints %q, with %d quotes", in, line, n)
	}
}

func checkJSON(t *testing.T, in, line []byte) {
	var got map[string]any
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatalf("%q prints %q: %v", in, line, err)
	}
	if v, ok := got["v"].(string); len(in) > 0 && (!ok || v != string([]rune(string(in)))) {
		t.Errorf("%q comes back as %q", in, v)
	}
	for _, c := range string(line[:len(line)-1]) {
		if c < ' ' || c >= 0x7f && c < 0xa0 || c == 0x2028 || c == 0x202e {
			t.Errorf("%q prints %q, with %U", in, line, c)
		}
	}
}
