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

// check runs the checks of all structs of a tree and the rules of its filter
// lists. What they say of values that could not be read is dropped.
func (s *source) check(reg *Registry, plan *typePlan, v reflect.Value) {
	w := walker{reg: reg, wants: func(t *typePlan) bool { return t.validates }}
	report := func(path, text, hint string) {
		base := w.at()
		if e := s.reportUnbroken(joinPath(base, path), problem{text, hint}); e != nil && !e.dropped() {
			e.Related = s.mentioned(base, path, text)
		}
	}
	w.visit = func(ptr any) {
		if x, ok := ptr.(validator); ok {
			x.Validate(report)
		}
	}
	w.list = func(kind string, names []string) { s.checkFilters(reg, kind, names, w.at()) }
	w.value(plan, v)
}

// inspect shows the TLS contexts of a tree to f, but those in which there are problems already.
func (s *source) inspect(c *Config, reg *Registry, f Inspector) {
	w := walker{reg: reg, wants: func(t *typePlan) bool { return t.tls }}
	found := slices.Clone(s.errs)
	report := func(path, text, hint string) { s.reportUnbroken(joinPath(w.at(), path), problem{text, hint}) }
	w.visit = func(ptr any) {
		if !isTLS(reflect.TypeOf(ptr).Elem()) {
			return
		}
		at := w.at()
		if !s.isBroken(at) && !slices.ContainsFunc(found, func(e *Error) bool { return !e.Warning && within(e.Path, at) }) {
			f(ptr, report)
		}
	}
	v := reflect.ValueOf(c).Elem()
	w.value(planOf(v.Type()), v)
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
			return &Place{line, col, m}
		}
	}
	return nil
}

// checkFilters checks that a list ends in a terminal filter and has no other,
// unless the struct that holds the list has found fault with its order already.
func (s *source) checkFilters(reg *Registry, kind string, names []string, at string) {
	if len(names) == 0 || !reg.hasTerminal(kind) {
		return
	}
	last := len(names) - 1
	place := func(i int) string { return joinName(joinIndex(at, i), "name") }
	if slices.ContainsFunc(s.errs, func(e *Error) bool { return e.Path == at || isElement(e.Path, at) }) {
		return
	}
	for i, n := range names[:last] {
		if reg.isTerminal(kind, n) {
			s.reportUnbroken(place(i), problem{"filter " + quote(n) + " ends the chain, so the filters after it would never run", "put it last"})
			return // whatever is last is then wrong as well
		}
	}
	if n := names[last]; !reg.isTerminal(kind, n) {
		enders := slices.DeleteFunc(reg.Names(kind), func(n string) bool { return !reg.isTerminal(kind, n) || reg.filters[kind][n].UDP })
		s.reportUnbroken(place(last), problem{"the last filter must end the chain, and " + quote(n) + " does not",
			listHint("put last ", enders, quote)})
	}
}

// isElement reports whether path is that of an element of the list at list.
func isElement(path, list string) bool {
	rest, ok := strings.CutPrefix(path, list+"[")
	return ok && strings.IndexByte(rest, ']') == len(rest)-1
}

// checkReferences reports every reference of a kind to a name that is not in
// known, which maps names to the paths of their definitions.
func (s *source) checkReferences(reg *Registry, plan *typePlan, v reflect.Value, kind, definitions string, known map[string]string) {
	names := slices.Sorted(maps.Keys(known))
	w := walker{reg: reg, wants: func(t *typePlan) bool { return t.refers }}
	report := func(path, k, name string) {
		if k == kind && known[name] == "" {
			s.unknownReference(joinPath(w.at(), path), kind, name, definitions, names, known)
		}
	}
	w.visit = func(ptr any) {
		if x, ok := ptr.(referrer); ok {
			x.References(report)
		}
	}
	w.value(plan, v)
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
