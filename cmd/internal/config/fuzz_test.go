package config

import (
	"os"
	"reflect"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
)

// FuzzDecode: no text panics; the two decoders agree about what is right and
// what it means; every problem has a place inside the file.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		``, `{}`, `[`, `{"int": 1,}`, `{"int": 1, "int": 2}`, `{"hosts": ["::1", {"ip": "::2"}]}`,
		`{"filters": [{"config": {}, "name": "buffer"}, {"name": "router"}]}`,
		`{"tree": {"and": [{"exact": "a b"}, {"regex": "\u00e9"}]}}`, "// c\n{/**/}", `{"free": [1e9, {"a": null}]}`,
		`{"labels": {"a.b[0]": "x"}, "limits": {"": {"max": -1}}}`, `{"size": "1KiB", "timeout": "1h", "percent": 1e2}`,
	} {
		f.Add([]byte(s))
	}
	if edge, err := os.ReadFile("testdata/edge.json"); err == nil {
		f.Add(edge)
	}
	reg := testRegistry()
	f.Fuzz(func(t *testing.T, text []byte) {
		var k kitchen
		src, decoded := decode("f", text, &k, reg)
		for _, e := range src.finish() {
			if e.Line < 1 || e.Col < 1 || e.Problem == "refused for an unknown reason" {
				t.Fatalf("Decode(%q) reports %v", text, e)
			}
		}
		if _, errs := Load("f", text, reg); !decoded && !errs.Fatal() {
			t.Fatalf("Load(%q) accepts what Decode could not read: %v", text, src.errs)
		}
		clean, bad := blank(text)
		if bad != nil || !jsontext.Value(clean).IsValid() {
			return
		}
		agree(t, text, clean, reg)
	})
}

// agree checks that both decoders give the same tree, or both refuse.
func agree(t *testing.T, text, clean []byte, reg *Registry) {
	t.Helper()
	var fast, slow kitchen
	plan := planOf(reflect.TypeFor[kitchen]())
	ok := reg.decodeFast(clean, plan, &rules{}, reflect.ValueOf(&fast).Elem())
	src := &source{file: "f", clean: clean}
	d := slowDecoder{src, reg}
	d.value(src.tree(), plan, &rules{}, reflect.ValueOf(&slow).Elem(), "")
	if ok != (len(src.errs) == 0) {
		t.Fatalf("%q: accepted fast: %t; slow: %v", text, ok, src.errs)
	}
	if !ok {
		return
	}
	if diff := cmp.Diff(fast, slow, equalKitchen); diff != "" {
		t.Fatalf("%q decodes fast and slowly to (-fast +slow):\n%s", text, diff)
	}
	canonical := Marshal(&fast)
	var again kitchen
	if !reg.decodeFast(canonical, plan, &rules{}, reflect.ValueOf(&again).Elem()) {
		t.Fatalf("%q has canonical text that does not decode: %s", text, canonical)
	}
	if got := Marshal(&again); string(got) != string(canonical) {
		t.Fatalf("%q: canonical text changes:\n%s\n%s", text, canonical, got)
	}
}

// FuzzBlank: blanking keeps every offset and line, and makes JSON of JSON.
func FuzzBlank(f *testing.F) {
	for _, s := range []string{`{"a": [1, 2,], /* x */ }`, "// x\n[,]", `"// no"`, "/*\n*/1", "/", `["\"",]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		clean, bad := blank(text)
		if bad != nil {
			if bad.offset < 0 || bad.offset > len(text) {
				t.Fatalf("blank(%q) complains at %d", text, bad.offset)
			}
			return
		}
		if len(clean) != len(text) {
			t.Fatalf("blank(%q) changes the length to %d", text, len(clean))
		}
		for i := range text {
			if clean[i] != text[i] && (clean[i] != ' ' || text[i] == '\n') {
				t.Fatalf("blank(%q) = %q: byte %d", text, clean, i)
			}
		}
		if v := jsontext.Value(text); v.IsValid() && string(clean) != string(text) {
			t.Fatalf("blank(%q) = %q changes plain JSON", text, clean)
		}
	})
}
