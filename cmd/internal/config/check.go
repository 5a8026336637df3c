package config

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// validator is implemented by config structs with rules that tags cannot say.
// The paths it reports start inside the struct: "routes[2].match", or "". A path
// with an index that the problem mentions ("routes[0]") is its other place.
type validator interface {
	Validate(report func(path, problem, hint string))
}

// referrer is implemented by config structs that name something defined
// elsewhere in the file. The kind is "cluster".
type referrer interface {
	References(report func(path, kind, name string))
}

// A step is one step of a path, linked to the steps before it. Paths are
// spelled only when there is a problem to report.
type step struct {
	up    *step
	name  string
	index int // used if name is ""
}

// String spells the path that ends with s.
func (s *step) String() string {
	switch {
	case s == nil:
		return ""
	case s.name == "":
		return joinIndex(s.up.String(), s.index)
	}
	return joinName(s.up.String(), s.name)
}

// check runs the checks of all structs of a tree and the rules of its filter
// lists. What they say of values that could not be read is dropped.
func (s *source) check(reg *Registry, plan *typePlan, v reflect.Value) {
	visit := func(ptr any, at *step) {
		x, ok := ptr.(validator)
		if !ok {
			return
		}
		x.Validate(func(path, text, hint string) {
			base := at.String()
			if e := s.reportUnbroken(joinPath(base, path), problem{text, hint}); e != nil && !e.dropped() {
				e.Related = s.mentioned(base, path, text)
			}
		})
	}
	w := walker{reg: reg, visit: visit, list: s.checkFilters}
	w.value(plan, v, nil)
}

// reportUnbroken adds a problem of the value at a path, unless that is the
// echo of a problem already reported. It returns nil if it was one.
func (s *source) reportUnbroken(path string, p problem) *Error {
	if len(s.errs) < MaxErrors && s.isBroken(path) {
		return nil
	}
	return s.reportAt(path, p)
}

// mention is a path with an index, as problems spell it.
var mention = regexp.MustCompile(`[a-z][a-z0-9_]*\[[0-9]+\](\.[a-z][a-z0-9_]*(\[[0-9]+\])?)*`)

// mentioned returns the place of the first value inside the struct at base that
// a problem mentions, if that is not the value at path itself.
func (s *source) mentioned(base, path, text string) *Place {
	for _, m := range mention.FindAllString(text, -1) {
		if offset, ok := s.findExact(joinPath(base, m)); ok && m != path {
			line, col := s.place(offset)
			return &Place{line, col, joinPath(base, m)}
		}
	}
	return nil
}

// checkFilters checks that a list ends in a terminal filter and has no other.
func (s *source) checkFilters(reg *Registry, kind string, names []string, at *step) {
	if len(names) == 0 || !reg.hasTerminal(kind) {
		return
	}
	var enders []string
	for _, n := range reg.Names(kind) {
		if reg.isTerminal(kind, n) {
			enders = append(enders, n)
		}
	}
	last := len(names) - 1
	place := func(i int) string { return joinName(joinIndex(at.String(), i), "name") }
	for i, n := range names[:last] {
		if reg.isTerminal(kind, n) {
			s.reportUnbroken(place(i), problem{"filter " + quote(n) + " ends the chain, so the filters after it would never run", "put it last"})
			return // whatever is last is then wrong as well
		}
	}
	if n := names[last]; !reg.isTerminal(kind, n) {
		s.reportUnbroken(place(last), problem{"the last filter must end the chain, and " + quote(n) + " does not",
			listHint("put last ", enders, quote)})
	}
}

// A walker visits every struct of a decoded tree with its path.
type walker struct {
	reg   *Registry
	visit func(ptr any, at *step)
	list  func(reg *Registry, kind string, names []string, at *step) // may be nil
}

// value visits v and what it holds.
func (w *walker) value(t *typePlan, v reflect.Value, at *step) {
	switch t.kind {
	case kindPointer:
		if !v.IsNil() {
			w.value(t.elem, v.Elem(), at)
		}
	case kindSlice:
		if t.elem.kind > kindAny {
			for i := range v.Len() {
				w.value(t.elem, v.Index(i), &step{up: at, index: i})
			}
		}
	case kindMap:
		if t.elem.kind > kindAny {
			w.entries(t, v, at)
		}
	case kindStruct:
		w.visit(v.Addr().Interface(), at)
		for i := range t.fields {
			f := &t.fields[i]
			if f.typ.kind > kindAny {
				w.value(f.typ, v.FieldByIndex(f.index), &step{up: at, name: f.name})
			}
		}
	case kindFilters:
		w.filters(t.filter, v, at)
	}
}

// entries visits the values of a map in the order of their keys. They are
// copied, since a map's values cannot be pointed to.
func (w *walker) entries(t *typePlan, v reflect.Value, at *step) {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	for _, k := range keys {
		elem := reflect.New(t.elem.typ).Elem()
		elem.Set(v.MapIndex(k))
		w.value(t.elem, elem, &step{up: at, name: k.String()})
	}
}

// filters visits the configs of a list of filters.
func (w *walker) filters(kind string, v reflect.Value, at *step) {
	names := make([]string, v.Len())
	for i := range v.Len() {
		entry := v.Index(i)
		names[i] = entry.Field(0).String()
		if cfg := entry.Field(1).Elem(); cfg.IsValid() && cfg.Kind() == reflect.Pointer && !cfg.IsNil() {
			w.value(planOf(cfg.Type().Elem()), cfg.Elem(), &step{up: &step{up: at, index: i}, name: "config"})
		}
	}
	if w.list != nil {
		w.list(w.reg, kind, names, at)
	}
}

// checkReferences reports every reference of a kind to a name that is not in
// known, which maps names to the paths of their definitions.
func (s *source) checkReferences(reg *Registry, plan *typePlan, v reflect.Value, kind, definitions string, known map[string]string) {
	names := slices.Sorted(maps.Keys(known))
	visit := func(ptr any, at *step) {
		x, ok := ptr.(referrer)
		if !ok {
			return
		}
		x.References(func(path, k, name string) {
			if k != kind || known[name] != "" {
				return
			}
			s.unknownReference(joinPath(at.String(), path), kind, name, definitions, names, known)
		})
	}
	w := walker{reg: reg, visit: visit}
	w.value(plan, v, nil)
}

// unknownReference reports one reference to nothing, with the place of what
// was probably meant, or of the definitions.
func (s *source) unknownReference(path, kind, name, definitions string, names []string, known map[string]string) {
	near := nearest(name, names)
	p := problem{text: "unknown " + kind + " " + quote(name)}
	other, note := definitions, definitions+" are defined"
	switch {
	case len(names) == 0:
		p.hint = "the file defines no " + definitions
		other = ""
	case near != "":
		p.hint = "did you mean " + quote(near) + "?"
		other, note = known[near], known[near]
	default:
		p.hint = listHint("known are ", names, quote)
	}
	if e := s.reportUnbroken(path, p); e != nil && !e.dropped() && other != "" {
		e.Related = s.placeOf(other, note)
	}
}
