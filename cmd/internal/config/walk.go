package config

import (
	"reflect"
	"slices"
	"strings"

	"millrace/filters"
)

// A walker visits the structs of a decoded tree and knows where it is. It skips
// what holds nothing that it wants, which is most of a large file.
type walker struct {
	reg   *Registry
	wants func(t *typePlan) bool
	visit func(ptr any)
	list  func(kind string, names []string) // called for lists of filters; may be nil
	path  []step
}

// A step is one step of a path. Paths are spelled only when there is something
// to report.
type step struct {
	name  string
	index int // -1 if the step is a name
}

// at spells the path of the value being visited.
func (w *walker) at() string {
	path := ""
	for _, s := range w.path {
		if s.index >= 0 {
			path = joinIndex(path, s.index)
		} else {
			path = joinName(path, s.name)
		}
	}
	return path
}

// inside visits a value one step further down.
func (w *walker) inside(s step, t *typePlan, v reflect.Value) {
	w.path = append(w.path, s)
	w.value(t, v)
	w.path = w.path[:len(w.path)-1]
}

// value visits v and what it holds.
func (w *walker) value(t *typePlan, v reflect.Value) {
	if !w.wants(t) {
		return
	}
	switch t.kind {
	case kindPointer:
		if !v.IsNil() {
			w.value(t.elem, v.Elem())
		}
	case kindSlice:
		for i := range v.Len() {
			w.inside(step{index: i}, t.elem, v.Index(i))
		}
	case kindMap:
		w.entries(t, v)
	case kindStruct:
		w.visit(v.Addr().Interface())
		for i := range t.fields {
			f := &t.fields[i]
			if w.wants(f.typ) {
				w.inside(step{f.name, -1}, f.typ, v.FieldByIndex(f.index))
			}
		}
	case kindByFilter:
		for _, k := range sortedKeys(v) {
			cfg := v.MapIndex(k).Elem()
			w.inside(step{k.String(), -1}, planOf(cfg.Type().Elem()), cfg.Elem())
		}
	case kindFilters:
		w.filters(t.filter, v)
	}
}

// entries visits the values of a map in the order of their keys. They are
// copied, since a map's values cannot be pointed to.
func (w *walker) entries(t *typePlan, v reflect.Value) {
	for _, k := range sortedKeys(v) {
		elem := reflect.New(t.elem.typ).Elem()
		elem.Set(v.MapIndex(k))
		w.inside(step{k.String(), -1}, t.elem, elem)
	}
}

// sortedKeys returns the keys of a map from strings, in order.
func sortedKeys(m reflect.Value) []reflect.Value {
	keys := m.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	return keys
}

// filters visits the configs of a list of filters.
func (w *walker) filters(kind string, v reflect.Value) {
	names := make([]string, v.Len())
	for i := range v.Len() {
		entry := v.Index(i).Addr().Interface().(*filters.Config)
		names[i] = entry.Name
		if cfg := reflect.ValueOf(entry.Config); cfg.IsValid() {
			w.path = append(w.path, step{index: i})
			w.inside(step{"config", -1}, planOf(cfg.Type().Elem()), cfg.Elem())
			w.path = w.path[:len(w.path)-1]
		}
	}
	if w.list != nil {
		w.list(kind, names)
	}
}
