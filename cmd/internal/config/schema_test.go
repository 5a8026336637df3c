package config

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"
)

// compileSchema compiles schema text with the reference implementation.
func compileSchema(t *testing.T, text []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("schema is not JSON: %v", err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatalf("schema does not compile: %v", err)
	}
	return s
}

// validate checks JSON with comments against a schema.
func validate(t interface{ Fatalf(string, ...any) }, s *jsonschema.Schema, text []byte) error {
	clean, bad := blank(text)
	if bad != nil {
		t.Fatalf("blank(%s): %v", text, bad)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(clean))
	if err != nil {
		t.Fatalf("not JSON: %s: %v", text, err)
	}
	return s.Validate(doc)
}

// plainRegistry is testRegistry without rules about the order of filters,
// which a schema cannot express.
func plainRegistry() *Registry {
	r, plain := testRegistry(), NewRegistry()
	for _, kind := range r.Kinds() {
		for _, name := range r.Names(kind) {
			f, _ := r.filter(kind, name)
			f.Terminal = false
			plain.Add(kind, name, f)
		}
	}
	return plain
}

func TestSchemaFile(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, Schema(testRegistry()))
	for _, tt := range []struct {
		in string
		ok bool
	}{
		{`{}`, true},
		{`{"admin": {}, "drain_time": "5s"}`, true},
		{`{"listeners": [{"address": ":80", "filters": [{"name": "tcp_proxy"}], "per_connection_buffer_limit_bytes": "64KiB"}]}`, true},
		{`{"clusters": [{"name": "a", "hosts": ["10.0.0.1:80", {"address": "10.0.0.2:80", "weight": 2}]}]}`, true},
		{`{"listners": []}`, false},
		{`{"admin": null}`, false},
		{`{"drain_time": 5}`, false},
		{`{"drain_time": "5"}`, false},
		{`{"concurrency": -1}`, false},
		{`{"concurrency": "2"}`, false},
		{`{"listeners": [{}]}`, false},
		{`{"listeners": [{"address": ""}]}`, false},
		{`{"listeners": [{"address": ":80", "drain_type": "never"}]}`, false},
		{`{"listeners": [{"address": ":80", "per_connection_buffer_limit_bytes": "64 KiB"}]}`, false},
		{`{"listeners": [{"address": ":80", "per_connection_buffer_limit_bytes": 1}]}`, false},
		{`{"listeners": [{"address": ":80", "filters": [{"name": "tcp_prox"}]}]}`, false},
		{`{"listeners": [{"address": ":80", "filters": [{"name": "tcp_proxy", "config": {"max": 1}}]}]}`, false},
		{`{"listeners": [{"address": ":80", "filters": [{"name": "http_connection_manager", "config": {"http_filters": [{"name": "buffer"}]}}]}]}`, false},
		{`{"listeners": [{"address": ":80", "filters": [{"name": "http_connection_manager", "config": {"http_filters": [{"name": "router", "config": {"a": 1}}]}}]}]}`, false},
	} {
		if err := validate(t, s, []byte(tt.in)); (err == nil) != tt.ok {
			t.Errorf("schema on %s: %v; want accepted %t", tt.in, err, tt.ok)
		}
		if errs := loadErrors([]byte(tt.in)); errs.Fatal() && tt.ok {
			t.Errorf("Load of %s: %v", tt.in, errs)
		}
	}
}

// Every struct of the schema has the fields that decoding knows, and no other.
func TestSchemaHasTheFields(t *testing.T) {
	t.Parallel()
	reg := testRegistry()
	m := schemaMaker{reg: reg, defs: object{}}
	m.value(planOf(reflect.TypeFor[Config]()), &rules{})
	m.value(planOf(reflect.TypeFor[kitchen]()), &rules{})
	seen := 0
	for _, p := range reachable(reg, reflect.TypeFor[Config](), reflect.TypeFor[kitchen]()) {
		def, ok := m.defs[m.defName(p.typ)].(object)
		if !ok {
			t.Errorf("schema has no definition of %s", p.typ)
			continue
		}
		seen++
		var want []string
		for _, f := range p.fields {
			want = append(want, f.name)
		}
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(def["properties"].(object))); !slices.Equal(got, want) {
			t.Errorf("%s in the schema has the fields %q; decoding knows %q", p.typ, got, want)
		}
	}
	if seen < 10 {
		t.Errorf("only %d structs were compared", seen)
	}
}

// reachable returns the plans of all named structs that values of some types
// may hold.
func reachable(reg *Registry, types ...reflect.Type) map[reflect.Type]*typePlan {
	found := map[reflect.Type]*typePlan{}
	var visit func(t *typePlan)
	visit = func(t *typePlan) {
		switch t.kind {
		case kindFilters, kindByFilter:
			for _, name := range reg.Names(t.filter) {
				f, _ := reg.filter(t.filter, name)
				_, plan := reg.newConfig(f)
				visit(plan)
			}
		case kindStruct:
			if found[t.typ] != nil || t.typ.Name() == "" {
				return
			}
			found[t.typ] = t
			for i := range t.fields {
				visit(t.fields[i].typ)
			}
		default:
			if t.elem != nil {
				visit(t.elem)
			}
		}
	}
	for _, t := range types {
		visit(planOf(t))
	}
	return found
}

// What decoding accepts the schema accepts, and the other way round, as far as
// a schema can tell.
func TestSchemaAgreesWithDecode(t *testing.T) {
	t.Parallel()
	reg := plainRegistry()
	s := compileSchema(t, schemaOf(reflect.TypeFor[kitchen](), reg))
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		g := generator{t, reg}
		text := g.fields(planOf(reflect.TypeFor[kitchen]()), 0)
		var k kitchen
		src, _ := decode("f", []byte(text), &k, reg)
		src.errs = slices.DeleteFunc(src.errs, func(e *Error) bool {
			return strings.HasPrefix(e.Problem, "both exact") || strings.HasPrefix(e.Problem, "is that of")
		})
		err := validate(t, s, []byte(text))
		if (err == nil) != (len(src.errs) == 0) {
			t.Fatalf("%s\nschema: %v\ndecode: %v", text, err, src.errs)
		}
		if err == nil {
			accepted++
		}
	})
	if accepted == 0 {
		t.Error("nothing generated was ever accepted")
	}
}

// A generator writes JSON for a plan, mostly right.
type generator struct {
	t   *rapid.T
	reg *Registry
}

func (g generator) chance(n int) bool     { return rapid.IntRange(1, n).Draw(g.t, "chance") == n }
func (g generator) of(s ...string) string { return rapid.SampledFrom(s).Draw(g.t, "of") }

// value writes a value of t, now and then one of another kind.
func (g generator) value(t *typePlan, r *rules, depth int) string {
	if g.chance(60) {
		if t.short || t.kind == kindText { // a schema does not know what such strings may say
			return g.of("null", "true", "3", "[]", "[3]")
		}
		return g.of("null", "true", "3", "-1", `"x"`, `"5s"`, `"1KiB"`, "[]", "{}", "[3]", "0.5")
	}
	if t.short && g.chance(2) {
		if t.kind == kindText {
			return `"0644"`
		}
		return `"::1"`
	}
	switch t.kind {
	case kindBool:
		return g.of("true", "false")
	case kindInt:
		if r.unit == "bytes" && g.chance(2) {
			return g.of(`"1KiB"`, `"64KiB"`, `"2000"`, `"1MB"`)
		}
		if lo, hi := intBounds(t.typ, r); !g.chance(20) {
			return fmt.Sprint(rapid.Int64Range(lo, hi).Draw(g.t, "int"))
		}
		return g.of("-1000000", "-6", "0", "101", "1000000")
	case kindFloat:
		return g.of("0", "1", "-1.5", "2.5", "1.25")
	case kindString:
		if r.enum != nil {
			return quoteJSON(g.of(r.enum...))
		}
		return g.of(`"x"`, `"y"`)
	case kindDuration:
		return g.of(`"5s"`, `"1ms"`, `"1m30s"`, `"1.5s"`)
	case kindText:
		return `"10.0.0.0/8"`
	case kindAny:
		return g.of("1", `"x"`, "[null]", `{"a": []}`, "false")
	case kindPointer:
		return g.value(t.elem, r, depth)
	case kindSlice:
		return g.list(func() string { return g.value(t.elem, r.inside(), depth+1) }, depth)
	case kindFilters:
		return g.list(func() string { return g.filter(t.filter, depth+1) }, depth)
	case kindByFilter:
		return "{}"
	case kindMap:
		return g.of("{}", `{"a": `+g.value(t.elem, r.inside(), depth+1)+`}`)
	}
	return g.fields(t, depth+1)
}

func (g generator) list(elem func() string, depth int) string {
	if depth > 4 {
		return "[]"
	}
	var all []string
	for range rapid.IntRange(0, 4).Draw(g.t, "len") {
		all = append(all, elem())
	}
	return "[" + strings.Join(all, ", ") + "]"
}

func (g generator) fields(t *typePlan, depth int) string {
	var all []string
	for i := range t.fields {
		f := &t.fields[i]
		if f.required && !g.chance(30) || g.chance(5+depth) {
			all = append(all, fmt.Sprintf("%q: %s", f.name, g.value(f.typ, &f.rules, depth)))
		}
	}
	if g.chance(40) {
		all = append(all, `"unknown": 1`)
	}
	return "{" + strings.Join(all, ", ") + "}"
}

func (g generator) filter(kind string, depth int) string {
	if g.chance(40) {
		return g.of(`{}`, `{"name": "nope"}`, `{"name": "router", "x": 1}`, `{"name": "buffer", "config": null}`)
	}
	name := g.of(g.reg.Names(kind)...)
	if g.chance(3) {
		return fmt.Sprintf(`{"name": %q}`, name)
	}
	f, _ := g.reg.filter(kind, name)
	_, plan := g.reg.newConfig(f)
	return fmt.Sprintf(`{"name": %q, "config": %s}`, name, g.fields(plan, depth))
}

func quoteJSON(s string) string { return fmt.Sprintf("%q", s) }
