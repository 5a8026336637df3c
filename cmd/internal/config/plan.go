package config

import (
	"encoding"
	"fmt"
	"maps"
	"math"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"millrace/engine/certs"
	"millrace/filters"
)

// kind is what a value of the tree looks like in the file.
type kind uint8

const (
	kindBool     kind = iota
	kindInt           // also uint; a size when the unit is "bytes"
	kindFloat         //
	kindString        //
	kindDuration      // a string such as "250ms"
	kindText          // a string read by UnmarshalText or DecodeConfigString alone
	kindAny           // free JSON
	kindSlice         //
	kindMap           // an object whose names are data
	kindPointer       // optional; nil when absent
	kindStruct        //
	kindFilters       // a []filters.Config, looked up in the registry
	kindByFilter      // a map[string]any whose names are filters, and decide what the values are
)

// stringDecoder is implemented by types that accept a string as a short form.
type stringDecoder interface{ DecodeConfigString(string) error }

// A typePlan is how values of one Go type are read and described.
type typePlan struct {
	typ   reflect.Type
	kind  kind
	short bool      // implements stringDecoder: a string may stand for it
	elem  *typePlan // of slices, maps and pointers

	// Only valid if kind is kindStruct.
	fields   []fieldPlan
	byName   map[string]int
	defaults []fieldDefault // ready values of scalars, those of nested structs too
	required bool           // some field is required, so the object cannot be left out

	filter string // only valid if kind is kindFilters or kindByFilter: the table of names

	// Set when the plan and those it refers to are finished.
	marked    bool
	validates bool // values hold a validator, or filters, which may be
	refers    bool // values hold a referrer, or filters
	tls       bool // values hold a TLS context, or filters
}

// A fieldPlan is one field of a struct.
type fieldPlan struct {
	name     string
	index    []int // as for reflect.Value.FieldByIndex
	owner    reflect.Type
	goName   string
	typ      *typePlan
	rules    rules
	required bool
	def      []byte // JSON text of the default, or nil
	deep     bool   // the default must be decoded afresh for each value
	v3       string
}

// A fieldDefault is a default that can be copied.
type fieldDefault struct {
	index []int
	value reflect.Value
}

// rules bound the scalars of a field, those inside its slices and maps too.
// Bounds of a slice or map of anything but numbers count its elements.
type rules struct {
	unit           string // "bytes", "percent" or ""
	hasMin, hasMax bool
	min, max       float64 // sizes in bytes, durations in nanoseconds
	enum           []string
	nonEmpty       bool   // a required string
	counts         bool   // min and max count elements
	inner          string // the field Envoy wraps the value in, for messages, or ""
}

// inside returns the rules of the elements of a slice or map: a count is the
// container's own.
func (r *rules) inside() *rules {
	if !r.counts {
		return r
	}
	inner := *r
	inner.hasMin, inner.hasMax, inner.counts = false, false, false
	return &inner
}

// planKey names a plan. The filter kind is part of it, since it changes what a
// []filters.Config accepts.
type planKey struct {
	typ    reflect.Type
	filter string
}

// A planner makes plans and remembers them.
type planner struct {
	mu    sync.Mutex
	plans map[planKey]*typePlan // Invariant: guarded by mu; finished entries never change.
}

// plans remembers the plan of every type seen. This global is written, against
// the rule: it is only a memo of a pure function of the types of the program,
// and it lets Hash be called for each of ten thousand clusters.
var plans = planner{plans: map[planKey]*typePlan{}}

// planOf returns the plan of a type, made on first use.
func planOf(t reflect.Type) *typePlan {
	plans.mu.Lock()
	defer plans.unlock()
	p := plans.of(planKey{typ: t})
	if !p.marked {
		plans.mark()
	}
	return p
}

// unlock forgets plans that a panic left unfinished, so that none of them is
// taken for a finished one later.
func (r *planner) unlock() {
	maps.DeleteFunc(r.plans, func(_ planKey, p *typePlan) bool { return !p.marked })
	r.mu.Unlock()
}

// mark finds out what the new plans hold. Precondition: mu is held.
func (r *planner) mark() {
	for _, p := range r.plans {
		if !p.marked {
			p.validates = p.reaches(implements[validator], map[*typePlan]bool{})
			p.refers = p.reaches(implements[referrer], map[*typePlan]bool{})
			p.tls = p.reaches(isTLS, map[*typePlan]bool{})
			p.marked = true
		}
	}
}

// implements reports whether pointers to t implement an interface.
func implements[I any](t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[I]())
}

// isTLS reports whether t is a TLS context, which names files.
func isTLS(t reflect.Type) bool {
	return t == reflect.TypeFor[certs.DownstreamConfig]() || t == reflect.TypeFor[certs.UpstreamConfig]()
}

// reaches reports whether values of t may hold structs that are wanted. Types in seen have been looked at: types may
// contain themselves.
func (t *typePlan) reaches(wanted func(reflect.Type) bool, seen map[*typePlan]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	switch {
	case t.kind == kindFilters, t.kind == kindByFilter, t.kind == kindStruct && wanted(t.typ):
		return true
	case t.elem != nil:
		return t.elem.reaches(wanted, seen)
	}
	for i := range t.fields {
		if t.fields[i].typ.reaches(wanted, seen) {
			return true
		}
	}
	return false
}

// of makes the plan of a type. A plan is entered before its fields are made, so
// types may contain themselves. Precondition: mu is held.
func (r *planner) of(key planKey) *typePlan {
	if p := r.plans[key]; p != nil {
		return p
	}
	t := key.typ
	p := &typePlan{typ: t, filter: key.filter, short: reflect.PointerTo(t).Implements(reflect.TypeFor[stringDecoder]())}
	r.plans[key] = p
	p.kind = kindOf(t, p.short)
	if p.kind == kindMap && key.filter != "" && t == reflect.TypeFor[map[string]any]() {
		p.kind = kindByFilter
	}
	switch p.kind {
	case kindFilters:
		if key.filter == "" {
			panic(`BUG: config: a []filters.Config needs a tag such as filter:"http"`)
		}
	case kindSlice, kindPointer:
		p.elem = r.of(planKey{t.Elem(), key.filter})
	case kindMap:
		if t.Key().Kind() != reflect.String {
			panic("BUG: config: map keys must be strings, have " + t.String())
		}
		p.elem = r.of(planKey{t.Elem(), key.filter})
	case kindStruct:
		p.byName = map[string]int{}
		r.addFields(p, t, nil)
		p.collectDefaults()
	}
	return p
}

// kindOf classifies a type.
func kindOf(t reflect.Type, short bool) kind {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return kindDuration
	case t == reflect.TypeFor[[]filters.Config]():
		return kindFilters
	case reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return kindText
	case short && !hasTaggedField(t):
		return kindText
	}
	switch t.Kind() {
	case reflect.Bool:
		return kindBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return kindInt
	case reflect.Float32, reflect.Float64:
		return kindFloat
	case reflect.String:
		return kindString
	case reflect.Interface:
		if t.NumMethod() == 0 {
			return kindAny
		}
	case reflect.Slice:
		return kindSlice
	case reflect.Map:
		return kindMap
	case reflect.Pointer:
		return kindPointer
	case reflect.Struct:
		return kindStruct
	}
	panic("BUG: config: no config field may have type " + t.String())
}

// hasTaggedField reports whether t is a struct with config fields.
func hasTaggedField(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	for f := range t.Fields() {
		if _, ok := f.Tag.Lookup("json"); ok {
			return true
		}
	}
	return false
}

// addFields adds the fields of struct t to p; those of embedded structs count
// as the outer struct's own.
func (r *planner) addFields(p *typePlan, t reflect.Type, index []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(index[:len(index):len(index)], i)
		tag, tagged := f.Tag.Lookup("json")
		name, _, _ := strings.Cut(tag, ",")
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			r.addFields(p, f.Type, at)
			continue
		case !tagged || name == "-":
			continue
		case name == "" || !f.IsExported():
			panic(fmt.Sprintf("BUG: config: field %s.%s needs a json name and a capital", t, f.Name))
		}
		if _, dup := p.byName[name]; dup {
			panic(fmt.Sprintf("BUG: config: %s has two fields named %q", t, name))
		}
		p.byName[name] = len(p.fields)
		p.fields = append(p.fields, r.newField(name, t, f, at))
	}
}

// newField reads the tags of one field.
func (r *planner) newField(name string, owner reflect.Type, f reflect.StructField, index []int) fieldPlan {
	fp := fieldPlan{
		name: name, index: index, owner: owner, goName: f.Name,
		typ:      r.of(planKey{f.Type, f.Tag.Get("filter")}),
		required: f.Tag.Get("required") == "true",
		v3:       f.Tag.Get("v3"),
	}
	leaf := fp.typ.leaf()
	fp.rules = newRules(leaf, f)
	if inner, ok := strings.CutPrefix(fp.v3, name+"."); ok && !strings.Contains(inner, ".") {
		fp.rules.inner = inner
	}
	fp.rules.nonEmpty = fp.required && fp.typ.kind == kindString
	isNumber := leaf.kind == kindInt || leaf.kind == kindFloat || leaf.kind == kindDuration
	fp.rules.counts = fp.typ.kind >= kindSlice && !isNumber
	if fp.rules.enum != nil && leaf.kind != kindString || !isNumber && !fp.rules.counts && (fp.rules.hasMin || fp.rules.hasMax) {
		panic(fmt.Sprintf("BUG: config: field %s.%s has a tag that means nothing for %s", owner, f.Name, f.Type))
	}
	if def, ok := f.Tag.Lookup("default"); ok {
		fp.def = defaultText(fp.typ, def)
		fp.deep = fp.typ.kind >= kindAny // never shared: the tree's owner may change it
	}
	return fp
}

// leaf returns the plan of the values inside slices, maps and pointers.
func (t *typePlan) leaf() *typePlan {
	for t.elem != nil {
		t = t.elem
	}
	return t
}

// newRules reads the tags that bound a field whose innermost type is leaf.
func newRules(leaf *typePlan, f reflect.StructField) rules {
	ru := rules{unit: f.Tag.Get("unit")}
	if ru.unit == "percent" {
		ru.hasMin, ru.hasMax, ru.max = true, true, 100
	}
	if leaf.kind == kindDuration { // a negative time span never means anything here
		ru.hasMin = true
	}
	if s, ok := f.Tag.Lookup("min"); ok {
		ru.hasMin, ru.min = true, boundOf(leaf, f.Name, s)
	}
	if s, ok := f.Tag.Lookup("max"); ok {
		ru.hasMax, ru.max = true, boundOf(leaf, f.Name, s)
	}
	if s := f.Tag.Get("enum"); s != "" {
		ru.enum = strings.Split(s, ",")
	}
	return ru
}

// boundOf parses a min or max tag as a value of the leaf type would be.
func boundOf(leaf *typePlan, field, s string) float64 {
	if leaf.kind == kindDuration {
		d, err := time.ParseDuration(s)
		if err != nil {
			panic(fmt.Sprintf("BUG: config: field %s: bound %q: %v", field, s, err))
		}
		return float64(d)
	}
	if n, ok := parseSize(s); ok {
		return float64(n)
	}
	x, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(x) {
		panic(fmt.Sprintf("BUG: config: field %s: bound %q is not a number", field, s))
	}
	return x
}

// defaultText turns a default tag into JSON text: what would be a string in
// the file stands unquoted in the tag.
func defaultText(t *typePlan, def string) []byte {
	for t.kind == kindPointer {
		t = t.elem
	}
	quote := false
	switch t.kind {
	case kindString, kindDuration, kindText:
		quote = true
	case kindInt:
		_, err := strconv.ParseFloat(def, 64)
		quote = err != nil // "64KiB"
	default:
		quote = t.short && !strings.HasPrefix(def, "{")
	}
	if !quote {
		return []byte(def)
	}
	text, err := jsontext.AppendQuote(nil, def)
	if err != nil {
		panic(fmt.Sprintf("BUG: config: default %q: %v", def, err))
	}
	return text
}

// collectDefaults parses the defaults of p's fields and takes over those of
// nested structs, so that starting an object is one short loop.
func (t *typePlan) collectDefaults() {
	for i := range t.fields {
		f := &t.fields[i]
		t.required = t.required || f.required
		switch {
		case f.def != nil && !f.deep:
			v := reflect.New(f.typ.typ).Elem()
			if p := f.typ.setToken(v, tokenOf(f.def), &f.rules); p != nil {
				panic(fmt.Sprintf("BUG: config: default of %s.%s: %s", f.owner, f.goName, p.text))
			}
			t.defaults = append(t.defaults, fieldDefault{f.index, v})
		case f.typ.kind == kindStruct:
			for _, d := range f.typ.defaults {
				index := append(f.index[:len(f.index):len(f.index)], d.index...)
				t.defaults = append(t.defaults, fieldDefault{index, d.value})
			}
		}
	}
}

// isEnvoyName reports whether name is what Envoy calls the field.
func (f *fieldPlan) isEnvoyName(name string) bool {
	return f.v3 != "" && name != f.name && (f.v3 == name || strings.HasSuffix(f.v3, "."+name))
}

// start puts the copied defaults into a fresh struct.
func (t *typePlan) start(v reflect.Value) {
	for _, d := range t.defaults {
		v.FieldByIndex(d.index).Set(d.value)
	}
}
