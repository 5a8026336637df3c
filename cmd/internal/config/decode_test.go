package config

import (
	"net/netip"
	"os"
	"reflect"
	"runtime/debug"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"millrace/filters"
)

// wantKitchen is what an empty file gives.
func wantKitchen() kitchen {
	return kitchen{
		Bool: true, Int: 7, Uint32: 3, Size: 64 << 10, Percent: 50, Policy: "random", Timeout: 15 * time.Second,
		Codes: []int{502, 503}, Mode: mode{0o644},
		Limit:   limit{Max: 10, Per: time.Second, Tags: []string{"a"}},
		Default: &limit{Max: 5, Per: time.Second, Tags: []string{"a"}},
		Host:    host{IP: "10.0.0.1", Weight: 1, Notes: []string{"none"}},
		Filters: []filters.Config{{Name: "router"}},
		common:  common{Shared: "everyone"},
	}
}

// equalKitchen compares two values of the test's own types.
var equalKitchen = cmp.Options{
	cmp.AllowUnexported(kitchen{}, mode{}), cmpopts.EquateComparable(netip.Prefix{}),
}

func TestDecodeAccepts(t *testing.T) {
	t.Parallel()
	text := "GET"
	for _, tt := range []struct {
		in   string
		want func(*kitchen)
	}{
		{`{}`, func(k *kitchen) {}},
		{"\n // nothing\n { /* still nothing */ } // end", func(k *kitchen) {}},
		{`{"bool": false, "int": -5, "uint8": 255, "uint32": 1}`, func(k *kitchen) { k.Bool, k.Int, k.Uint8, k.Uint32 = false, -5, 255, 1 }},
		{`{"int64": -9223372036854775808}`, func(k *kitchen) { k.Int64 = -1 << 63 }},
		{`{"uint64": 9223372036854775807}`, func(k *kitchen) { k.Uint64 = 1<<63 - 1 }},
		{`{"size": 1024}`, func(k *kitchen) { k.Size = 1024 }},
		{`{"size": "1MiB"}`, func(k *kitchen) { k.Size = 1 << 20 }},
		{`{"size": "5KB"}`, func(k *kitchen) { k.Size = 5000 }},
		{`{"size": "2000"}`, func(k *kitchen) { k.Size = 2000 }},
		{`{"float": 1e0, "percent": 0.5}`, func(k *kitchen) { k.Float, k.Percent = 1, 0.5 }},
		{`{"timeout": "1m30s"}`, func(k *kitchen) { k.Timeout = 90 * time.Second }},
		{`{"timeout": "0s"}`, func(k *kitchen) { k.Timeout = 0 }},
		{`{"timeout": "1.5ms"}`, func(k *kitchen) { k.Timeout = 1500 * time.Microsecond }},
		{`{"name": "a\"\u00e9\ud83d\ude00\/"}`, func(k *kitchen) { k.Name = "a\"é😀/" }},
		{`{"n\u0061me": "escaped"}`, func(k *kitchen) { k.Name = "escaped" }},
		{`{"name": "// not a comment, /* neither */ ,]"}`, func(k *kitchen) { k.Name = "// not a comment, /* neither */ ,]" }},
		{`{"words": ["red", "red",],}`, func(k *kitchen) { k.Words = []string{"red", "red"} }},
		{`{"codes": []}`, func(k *kitchen) { k.Codes = []int{} }},
		{`{"codes": [200]}`, func(k *kitchen) { k.Codes = []int{200} }},
		{`{"prefix": "10.0.0.0/8", "mode": "0700"}`, func(k *kitchen) {
			k.Prefix, k.Mode = netip.MustParsePrefix("10.0.0.0/8"), mode{0o700}
		}},
		{`{"free": [1, {"a": null}]}`, func(k *kitchen) { k.Free = []any{1.0, map[string]any{"a": nil}} }},
		{`{"free": {"x": {"y": []}}}`, func(k *kitchen) { k.Free = map[string]any{"x": map[string]any{"y": []any{}}} }},
		{`{"free": true, "free_map": {"a": "b", "c": 0}}`, func(k *kitchen) {
			k.Free, k.FreeMap = true, map[string]any{"a": "b", "c": 0.0}
		}},
		{`{"labels": {"a.b": "1", "": "2"}}`, func(k *kitchen) { k.Labels = map[string]string{"a.b": "1", "": "2"} }},
		{`{"limits": {"x": {"max": 0}}}`, func(k *kitchen) {
			k.Limits = map[string]limit{"x": {Per: time.Second, Tags: []string{"a"}}}
		}},
		{`{"limit": {"per": "2s"}, "optional": {}}`, func(k *kitchen) {
			k.Limit.Per = 2 * time.Second
			k.Optional = &limit{Max: 10, Per: time.Second, Tags: []string{"a"}}
		}},
		{`{"maybe": false}`, func(k *kitchen) { k.Maybe = new(bool) }},
		{`{"host": {"ip": "::1", "weight": 3}, "hosts": ["::1", {"ip": "::2", "notes": []}]}`, func(k *kitchen) {
			k.Host = host{"::1", 3, []string{"none"}}
			k.Hosts = []host{{"::1", 1, []string{"none"}}, {"::2", 1, []string{}}}
		}},
		{`{"tree": {"and": [{"exact": "GET"}, {}]}}`, func(k *kitchen) { k.Tree = &node{And: []node{{Exact: &text}, {}}} }},
		{`{"shared": "me"}`, func(k *kitchen) { k.Shared = "me" }},
		{`{"filters": [{"config": {"max_request_bytes": "1KiB"}, "name": "buffer"}, {"name": "health_check"}, {"name": "router", "config": {}}]}`,
			func(k *kitchen) {
				k.Filters = []filters.Config{{Name: "buffer", Config: &bufferConfig{1024}},
					{Name: "health_check", Config: &codeDefaults{200, 9}}, {Name: "router"}}
			}},
	} {
		t.Run(tt.in, func(t *testing.T) {
			t.Parallel()
			want := wantKitchen()
			tt.want(&want)
			got := kitchen{Ignored: 3, private: 4, Words: []string{"left over"}}
			if errs := Decode("f", []byte(tt.in), &got, testRegistry()); errs != nil {
				t.Fatalf("Decode(%s): %v", tt.in, errs)
			}
			if diff := cmp.Diff(want, got, equalKitchen); diff != "" {
				t.Errorf("Decode(%s), fast (-want +got):\n%s", tt.in, diff)
			}
			slow := decodeSlowly(t, []byte(tt.in))
			if diff := cmp.Diff(want, slow, equalKitchen); diff != "" {
				t.Errorf("Decode(%s), slow (-want +got):\n%s", tt.in, diff)
			}
		})
	}
}

// decodeSlowly decodes good text as bad text would be.
func decodeSlowly(t *testing.T, text []byte) kitchen {
	t.Helper()
	var k kitchen
	src := slowSource(t, text, &k)
	if len(src.errs) != 0 {
		t.Fatalf("slow decoding of %s: %v", text, src.errs)
	}
	return k
}

// slowSource walks valid JSON with comments beside the plan of into.
func slowSource(t *testing.T, text []byte, into any) *source {
	t.Helper()
	clean, bad := blank(text)
	if bad != nil || !jsontext.Value(clean).IsValid() {
		t.Fatalf("not JSON: %s", text)
	}
	src := &source{file: "f", clean: clean}
	v := reflect.ValueOf(into).Elem()
	d := slowDecoder{src, testRegistry()}
	d.value(src.tree(), planOf(v.Type()), &rules{}, v, "")
	return src
}

// Defaults of slices, maps and pointers must not be shared: a reader that
// changes its tree would change every later one.
func TestDecodeDefaultsAreFresh(t *testing.T) {
	t.Parallel()
	var a, b kitchen
	for _, k := range []*kitchen{&a, &b} {
		if errs := Decode("f", []byte(`{"limits": {"x": {}}}`), k, testRegistry()); errs != nil {
			t.Fatal(errs)
		}
	}
	a.Codes[0], a.Limit.Tags[0], a.Default.Max, a.Limits["x"].Tags[0], a.Host.Notes[0] = 1, "z", 99, "z", "z"
	want := wantKitchen()
	want.Limits = map[string]limit{"x": {Max: 10, Per: time.Second, Tags: []string{"a"}}}
	if diff := cmp.Diff(want, b, equalKitchen); diff != "" {
		t.Errorf("changing one tree changed another (-want +got):\n%s", diff)
	}
}

// The archived decoder below must keep working with each new Go: decode and
// encode maps and structs while the collector runs.
func TestDecodeUnderCollection(t *testing.T) { // not parallel: it sets the collector's pace
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	in := []byte(`{"labels": {"a": "1", "b": "2"}, "free": {"x": [1, "two", {"three": 3}]},
		"limits": {"l1": {"max": 1}, "l2": {}}, "hosts": ["::1", {"ip": "::2"}], "tree": {"and": [{"and": [{}]}]}}`)
	var first kitchen
	for range 200 {
		var k kitchen
		if errs := Decode("f", in, &k, testRegistry()); errs != nil {
			t.Fatal(errs)
		}
		if first.Labels == nil {
			first = k
		}
		if diff := cmp.Diff(first, k, equalKitchen); diff != "" {
			t.Fatalf("decoding again gives something else:\n%s", diff)
		}
		Marshal(&k)
	}
}

func TestDecodeNilRegistry(t *testing.T) {
	t.Parallel()
	var l limit
	if errs := Decode("f", []byte(`{"max": 3}`), &l, nil); errs != nil || l.Max != 3 {
		t.Errorf("Decode with a nil registry = %v, %+v", errs, l)
	}
}

func BenchmarkLoad(b *testing.B) {
	text, err := os.ReadFile("testdata/edge.json")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, errs := Load("edge.json", text, testRegistry()); errs.Fatal() {
			b.Fatal(errs)
		}
	}
}
