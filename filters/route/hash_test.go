package route

import (
	"reflect"
	"testing"
)

// TestHashStable: the hash is part of what processes tell one another, so it must not depend on the process.
func TestHashStable(t *testing.T) {
	t.Parallel()
	table := compile(t, configExample)
	const want = uint64(0xddab18b1a391c194)
	if got := table.Route(3).Hash; got != want {
		t.Errorf("hash %#x; want %#x", got, want)
	}
	seen := map[uint64]int{}
	again := compile(t, configExample)
	for i := range table.Len() {
		h := table.Route(i).Hash
		if first, dup := seen[h]; dup {
			t.Errorf("routes %d and %d have the same hash", first, i)
		}
		seen[h] = i
		if again.Route(i).Hash != h {
			t.Errorf("route %d has hashes %#x and %#x", i, h, again.Route(i).Hash)
		}
	}
}

// TestHashFields: each field of a route changes its hash.
func TestHashFields(t *testing.T) {
	t.Parallel()
	h := newHasher()
	seen := map[uint64]string{h.of(new(RouteConfig)): "nothing"}
	var visit func(root *RouteConfig, v reflect.Value, path string)
	visit = func(root *RouteConfig, v reflect.Value, path string) {
		defer v.SetZero()
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				visit(root, v.Field(i), path+"."+v.Type().Field(i).Name)
			}
			return
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
			visit(root, v.Elem(), path+"*")
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			visit(root, v.Index(0), path+"[0]")
		case reflect.Map:
			if v.Type().Elem().Kind() == reflect.String {
				v.Set(reflect.ValueOf(map[string]string{"x": "1"}))
			} else {
				v.Set(reflect.ValueOf(map[string]any{"x": &struct{ A int }{1}}))
			}
		case reflect.String:
			v.SetString("x")
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Float64:
			v.SetFloat(1)
		case reflect.Int, reflect.Int64:
			v.SetInt(1)
		default:
			v.SetUint(1)
		}
		sum := h.of(root)
		if other, dup := seen[sum]; dup {
			t.Errorf("%s and %s give the same hash", path, other)
		}
		seen[sum] = path
	}
	var cfg RouteConfig
	visit(&cfg, reflect.ValueOf(&cfg).Elem(), "")
	if len(seen) < 100 {
		t.Errorf("only %d fields seen", len(seen))
	}
}
