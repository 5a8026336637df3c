package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
)

// A slowDecoder walks the parsed text beside the plan. It fills the same tree
// as the fast one, but goes on after a problem, so that one run finds them all.
// What could not be read keeps its default.
type slowDecoder struct {
	src *source
	reg *Registry
}

// fail reports a problem of the value at an offset that keeps it from being read.
func (d *slowDecoder) fail(offset int, path string, p problem) *Error {
	if len(d.src.errs) < MaxErrors { // beyond, checks report nothing that is shown
		d.src.broken = append(d.src.broken, path)
	}
	return d.src.report(offset, path, p)
}

// value reads hv into v.
func (d *slowDecoder) value(hv *hujson.Value, t *typePlan, ru *rules, v reflect.Value, path string) {
	for t.kind == kindPointer {
		v.Set(reflect.New(t.elem.typ))
		t, v = t.elem, v.Elem()
	}
	if t.kind == kindAny && !isNull(hv) {
		d.duplicates(hv, path)
		if !d.reg.decodeFast(d.src.clean[hv.StartOffset:hv.EndOffset], t, ru, v) {
			d.fail(hv.StartOffset, path, problem{text: "number is out of range"})
		}
		return
	}
	switch c := hv.Value.(type) {
	case hujson.Literal:
		d.literal(hv, c, t, ru, v, path)
	case *hujson.Array:
		d.array(hv, c, t, ru, v, path)
	case *hujson.Object:
		d.object(hv, c, t, ru, v, path)
	}
}

// duplicates reports the names given twice inside free JSON.
func (d *slowDecoder) duplicates(hv *hujson.Value, path string) {
	switch c := hv.Value.(type) {
	case *hujson.Array:
		for i := range c.Elements {
			d.duplicates(&c.Elements[i], joinIndex(path, i))
		}
	case *hujson.Object:
		d.members(c, path, func(m *hujson.ObjectMember, _, at string, _ bool) { d.duplicates(&m.Value, at) })
	}
}

func isNull(hv *hujson.Value) bool { return hv.Value.Kind() == 'n' }

// literal reads a scalar.
func (d *slowDecoder) literal(hv *hujson.Value, lit hujson.Literal, t *typePlan, ru *rules, v reflect.Value, path string) {
	if isNull(hv) {
		d.fail(hv.StartOffset, path, problem{"null is not allowed", "leave the field out instead"})
		return
	}
	if p := d.reg.setScalar(t, v, tokenOf(lit), ru); p != nil {
		d.fail(hv.StartOffset, path, *p)
	}
}

// array reads the elements of an array into a slice.
func (d *slowDecoder) array(hv *hujson.Value, arr *hujson.Array, t *typePlan, ru *rules, v reflect.Value, path string) {
	if t.kind != kindSlice && t.kind != kindFilters {
		d.fail(hv.StartOffset, path, problem{text: "want " + t.wanted(ru) + ", got an array"})
		return
	}
	s := reflect.MakeSlice(t.typ, len(arr.Elements), len(arr.Elements))
	v.Set(s)
	for i := range arr.Elements {
		at := joinIndex(path, i)
		if t.kind == kindFilters {
			d.filter(&arr.Elements[i], t.filter, s.Index(i), at)
		} else {
			d.value(&arr.Elements[i], t.elem, ru.inside(), s.Index(i), at)
		}
	}
	if p := checkCount(s.Len(), ru); p != nil {
		d.fail(hv.StartOffset, path, *p)
	}
}

// object reads an object into a struct or map.
func (d *slowDecoder) object(hv *hujson.Value, obj *hujson.Object, t *typePlan, ru *rules, v reflect.Value, path string) {
	switch t.kind {
	case kindStruct:
		d.fields(hv, obj, t, v, path)
	case kindMap:
		d.entries(hv, obj, t, ru, v, path)
	case kindByFilter:
		d.byFilter(obj, t, v, path)
	default:
		d.fail(hv.StartOffset, path, problem{"want " + t.wanted(ru) + ", got an object", objectHint(obj, ru.inner)})
	}
}

// members calls visit for each member of an object. It reports those given
// again, and passes again so that they are read but not kept.
func (d *slowDecoder) members(obj *hujson.Object, path string, visit func(m *hujson.ObjectMember, name, at string, again bool)) {
	first := map[string]int{}
	for i := range obj.Members {
		m := &obj.Members[i]
		name := m.Name.Value.(hujson.Literal).String()
		at := joinName(path, name)
		offset, again := first[name]
		if again {
			line, col := d.src.place(offset)
			d.fail(m.Name.StartOffset, at, problem{text: "duplicate field"}).Related = &Place{line, col, "first given"}
		} else {
			first[name] = m.Name.StartOffset
		}
		visit(m, name, at, again)
	}
}

// entries reads an object into a map.
func (d *slowDecoder) entries(hv *hujson.Value, obj *hujson.Object, t *typePlan, ru *rules, v reflect.Value, path string) {
	dst := reflect.MakeMap(t.typ)
	v.Set(dst)
	d.members(obj, path, func(m *hujson.ObjectMember, name, at string, again bool) {
		elem := reflect.New(t.elem.typ).Elem()
		d.value(&m.Value, t.elem, ru.inside(), elem, at)
		if !again {
			dst.SetMapIndex(reflect.ValueOf(name).Convert(t.typ.Key()), elem)
		}
	})
	if p := checkCount(dst.Len(), ru); p != nil {
		d.fail(hv.StartOffset, path, *p)
	}
}

// byFilter reads an object into a map whose names are filters.
func (d *slowDecoder) byFilter(obj *hujson.Object, t *typePlan, v reflect.Value, path string) {
	dst := reflect.MakeMap(t.typ)
	v.Set(dst)
	d.members(obj, path, func(m *hujson.ObjectMember, name, at string, again bool) {
		f, known := d.reg.filter(t.filter, name)
		if !known {
			d.fail(m.Name.StartOffset, at, problem{"no filter " + quote(name) + " can be configured here", d.reg.nameHint(name, t.filter)})
			return
		}
		cfg, plan := d.reg.newConfig(f)
		d.value(&m.Value, plan, &rules{}, cfg.Elem(), at)
		if !again {
			dst.SetMapIndex(reflect.ValueOf(name), cfg)
		}
	})
}

// fields reads an object into a struct.
func (d *slowDecoder) fields(hv *hujson.Value, obj *hujson.Object, t *typePlan, v reflect.Value, path string) {
	t.start(v)
	var seen fieldSet
	meant := map[string]bool{} // fields that an unknown name was probably meant to be
	d.members(obj, path, func(m *hujson.ObjectMember, name, at string, again bool) {
		i, known := t.byName[name]
		if !known {
			if !again {
				hint, field := t.unknownHint(name, obj)
				meant[field] = true
				d.fail(m.Name.StartOffset, at, problem{"unknown field", hint})
			}
			return
		}
		f := &t.fields[i]
		dst := v.FieldByIndex(f.index)
		if again {
			dst = reflect.New(f.typ.typ).Elem()
		}
		seen.add(i)
		d.value(&m.Value, f.typ, &f.rules, dst, at)
	})
	for i := range t.fields {
		f := &t.fields[i]
		switch at := joinName(path, f.name); {
		case !f.required || seen.has(i):
		case !meant[f.name]:
			d.fail(hv.StartOffset, at, problem{text: "required field is missing"})
		case len(d.src.errs) < MaxErrors: // misnamed: what is wrong with its default is no news
			d.src.broken = append(d.src.broken, at)
		}
	}
	d.reg.fillAbsent(t, v, seen)
}

// unknownHint says what to write instead of an unknown name, and which field
// that is. Names that the object has already are not suggested.
func (t *typePlan) unknownHint(name string, obj *hujson.Object) (hint, field string) {
	given := map[string]bool{}
	for i := range obj.Members {
		given[obj.Members[i].Name.Value.(hujson.Literal).String()] = true
	}
	var names, free, parts []string
	for i := range t.fields {
		f := &t.fields[i]
		names = append(names, f.name)
		if given[f.name] {
			continue
		}
		free = append(free, f.name)
		if f.isEnvoyName(name) {
			return fmt.Sprintf("it is called %q here", f.name), f.name
		}
		if strings.HasPrefix(f.v3, name+".") {
			parts = append(parts, f.name)
		}
	}
	if alias := aliasOf(name, free); alias != "" {
		return fmt.Sprintf("it is called %q here", alias), alias
	}
	if hint := laterHint(name); hint != "" && len(parts) == 0 {
		return hint, ""
	}
	switch name {
	case "typed_config":
		return `write its fields, without "@type", in its place`, ""
	case "@type":
		return "leave it out", ""
	}
	if near := nearest(name, free); near != "" {
		return "did you mean " + quote(near) + "?", near
	}
	if len(parts) > 0 {
		return listHint("what is in it is called ", parts, quote) + " here", ""
	}
	if near := nearest(name, names); near != "" {
		return quote(near) + " is given already", ""
	}
	if len(names) == 0 {
		return "no fields are known here", ""
	}
	return listHint("known fields are ", names, func(s string) string { return s }), ""
}

// filter reads one filter entry.
func (d *slowDecoder) filter(hv *hujson.Value, kind string, v reflect.Value, path string) {
	obj, ok := hv.Value.(*hujson.Object)
	if !ok {
		d.fail(hv.StartOffset, path, problem{"want a filter, got " + describe(hv), `write {"name": "…", "config": {…}}`})
		return
	}
	var name, config *hujson.Value
	misnamed := false
	d.members(obj, path, func(m *hujson.ObjectMember, field, at string, again bool) {
		switch {
		case again:
		case field == "name":
			name = &m.Value
		case field == "config":
			config = &m.Value
		default:
			hint := nearHint(field, []string{"name", "config"})
			if field == "typed_config" {
				hint = `write its fields, without "@type", in "config"`
			}
			misnamed = misnamed || nearest(field, []string{"name"}) != ""
			d.fail(m.Name.StartOffset, at, problem{"unknown field", hint})
		}
	})
	f, known := d.filterByName(name, kind, hv, path, misnamed)
	if !known {
		return // its config means nothing without the name
	}
	cfg, plan := d.reg.newConfig(f)
	at := joinName(path, "config")
	if config == nil {
		config = &hujson.Value{StartOffset: hv.StartOffset, Value: &hujson.Object{}}
	}
	if _, ok := config.Value.(*hujson.Object); ok {
		d.value(config, plan, &rules{}, cfg.Elem(), at)
	} else {
		d.fail(config.StartOffset, at, problem{text: "want an object, got " + describe(config)})
	}
	setFilter(v, name.Value.(hujson.Literal).String(), f, cfg)
}

// filterByName looks up the filter that an entry names.
func (d *slowDecoder) filterByName(name *hujson.Value, kind string, entry *hujson.Value, path string, misnamed bool) (Filter, bool) {
	at := joinName(path, "name")
	if name == nil {
		if !misnamed {
			d.fail(entry.StartOffset, at, problem{text: "required field is missing"})
		}
		return Filter{}, false
	}
	if name.Value.Kind() != '"' {
		d.fail(name.StartOffset, at, problem{text: "want a string, got " + describe(name)})
		return Filter{}, false
	}
	s := name.Value.(hujson.Literal).String()
	f, ok := d.reg.filter(kind, s)
	if !ok {
		d.fail(name.StartOffset, at, problem{"unknown " + kind + " filter " + quote(s), d.reg.filterHint(s, kind)})
	}
	return f, ok
}

// filterHint suggests a filter. Envoy's names are ours behind a prefix, such as
// "envoy.filters.http.".
func (r *Registry) filterHint(name, kind string) string {
	for _, other := range r.Kinds() {
		if _, ok := r.filter(other, name); ok {
			return "it is " + kindPhrase(other)
		}
	}
	return r.nameHint(name, kind)
}

// nameHint suggests a filter of a kind.
func (r *Registry) nameHint(name, kind string) string {
	known := r.Names(kind)
	last := name[strings.LastIndexByte(name, '.')+1:]
	if slices.Contains(known, last) {
		return "it is called " + quote(last) + " here"
	}
	return nearHint(last, known)
}

// kindPhrase spells a kind of filter in a sentence.
func kindPhrase(kind string) string {
	if kind == "http" {
		return "an HTTP filter"
	}
	return "a " + kind + " filter"
}

// describe names a value for a message.
func describe(hv *hujson.Value) string {
	switch c := hv.Value.(type) {
	case *hujson.Array:
		return "an array"
	case *hujson.Object:
		return "an object"
	case hujson.Literal:
		return tokenOf(c).String()
	}
	return "nothing"
}
