package route

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/codec"
)

// parseConfig decodes JSON by the tags, as the loader does: defaults first, durations as strings, unknown fields refused.
func parseConfig(t testing.TB, text string) *Config {
	t.Helper()
	var raw any
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&raw); err != nil {
		t.Fatalf("bad JSON in test: %v", err)
	}
	cfg := new(Config)
	fill(t, reflect.ValueOf(cfg).Elem(), raw)
	return cfg
}

func fill(t testing.TB, v reflect.Value, raw any) {
	t.Helper()
	if v.Type() == reflect.TypeFor[time.Duration]() {
		d, err := time.ParseDuration(raw.(string))
		if err != nil {
			t.Fatal(err)
		}
		v.SetInt(int64(d))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), raw)
	case reflect.Slice:
		for _, e := range raw.([]any) {
			v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
			fill(t, v.Index(v.Len()-1), e)
		}
		if v.IsNil() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
	case reflect.Struct:
		object := raw.(map[string]any)
		seen := fillStruct(t, v, object)
		for name := range object {
			if !slices.Contains(seen, name) {
				t.Fatalf("unknown field %q in %v", name, v.Type())
			}
		}
	case reflect.Map:
		m := map[string]string{}
		for k, e := range raw.(map[string]any) {
			m[k] = e.(string)
		}
		v.Set(reflect.ValueOf(m))
	case reflect.String:
		v.SetString(raw.(string))
	default:
		if err := json.Unmarshal([]byte(fmt.Sprint(raw)), v.Addr().Interface()); err != nil {
			t.Fatalf("%v from %v: %v", v.Type(), raw, err)
		}
	}
}

func fillStruct(t testing.TB, v reflect.Value, object map[string]any) (names []string) {
	t.Helper()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name := f.Tag.Get("json")
		if f.Anonymous {
			names = append(names, fillStruct(t, v.Field(i), object)...)
			continue
		}
		names = append(names, name)
		value, given := object[name]
		def, hasDefault := f.Tag.Lookup("default")
		switch {
		case given:
			fill(t, v.Field(i), value)
		case hasDefault && f.Type.Kind() == reflect.String, hasDefault && f.Type == reflect.TypeFor[time.Duration]():
			fill(t, v.Field(i), def)
		case hasDefault:
			fill(t, v.Field(i), json.Number(def))
		case f.Type.Kind() == reflect.Struct:
			fill(t, v.Field(i), map[string]any{})
		case f.Tag.Get("required") == "true":
			t.Fatalf("%v lacks %q", v.Type(), name)
		}
	}
	return names
}

// clusters gives the id n to the cluster "cn", and knows a few names.
func clusters(name string) (uint32, bool) {
	var id uint32
	if n, err := fmt.Sscanf(name, "c%d", &id); n == 1 && err == nil {
		return id, true
	}
	i := slices.Index([]string{"web", "web-next", "api", "api-canary", "chat"}, name)
	return uint32(1000 + i), i >= 0
}

// formats is a NewFormat that knows %REQ(name)%, and the Values that render it.
type formats struct {
	names []string
	head  *codec.RequestHead
}

func (f *formats) new(text string) (FormatID, error) {
	name, ok := strings.CutPrefix(text, "%REQ(")
	name, end := strings.CutSuffix(name, ")%")
	if !ok || !end {
		return 0, fmt.Errorf("unknown operator in %q", text)
	}
	f.names = append(f.names, name)
	return FormatID(len(f.names) - 1), nil
}

func (f *formats) Value(id FormatID) []byte { return f.head.Lookup(f.names[id]) }

func compile(t testing.TB, text string) *Table {
	t.Helper()
	table, problems := Compile(parseConfig(t, text), clusters, nil)
	if table == nil || len(problems) > 0 {
		t.Fatalf("Compile(%s) = %v, %v; want a table", text, table, problems)
	}
	return table
}

// compileRoutes compiles the routes of one virtual host for "*".
func compileRoutes(t testing.TB, routes ...string) *Table {
	t.Helper()
	return compile(t, `{"routes": [`+strings.Join(routes, ",")+`]}`)
}

// request makes an input from "METHOD host/path" and "name: value" lines.
func request(line string, fields ...string) *Input {
	method, target, _ := strings.Cut(line, " ")
	host, path := target, ""
	if i := strings.IndexByte(target, '/'); i >= 0 {
		host, path = target[:i], target[i:]
	}
	h := new(codec.RequestHead)
	h.Reset()
	h.SetMethodName(method)
	if path != "" {
		h.SetPath([]byte(path))
	}
	if host != "" {
		h.AddString("Host", host)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		h.AddString(name, value)
	}
	return &Input{Head: h}
}

// matchName returns the name of the matched route, "-" if there is none. Explain must agree.
func matchName(t testing.TB, table *Table, in *Input) string {
	t.Helper()
	r := table.Match(in)
	if e, trail := table.Explain(in); e != r {
		t.Errorf("Match = %p, Explain = %p\n%s", r, e, trail)
	}
	if r == nil {
		return "-"
	}
	return r.Name
}

// fieldsOf renders fields as "name: value" lines.
func fieldsOf(f *codec.Fields) (lines []string) {
	for i := range f.Len() {
		if id, name, value := f.At(i); id != codec.FieldRemoved {
			lines = append(lines, string(name)+": "+string(value))
		}
	}
	return lines
}
