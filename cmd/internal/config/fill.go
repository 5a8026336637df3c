package config

import (
	"fmt"
	"reflect"

	"millrace/filters"
)

// A fieldSet is a set of field numbers of one struct.
type fieldSet [4]uint64

func (s *fieldSet) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s *fieldSet) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

// fillAbsent decodes the defaults that cannot be copied (slices, maps, filters
// and optional objects) into the fields that the file left out.
func (r *Registry) fillAbsent(t *typePlan, v reflect.Value, seen fieldSet) {
	for i := range t.fields {
		f := &t.fields[i]
		if seen.has(i) {
			continue
		}
		switch {
		case f.deep:
			if !r.decodeFast(f.def, f.typ, &f.rules, v.FieldByIndex(f.index)) {
				panic(fmt.Sprintf("BUG: config: default of %s.%s does not decode: %s", f.owner, f.goName, f.def))
			}
		case f.typ.kind == kindStruct:
			r.fillAbsent(f.typ, v.FieldByIndex(f.index), fieldSet{})
		}
	}
}

// setFilter stores a decoded filter entry.
func setFilter(v reflect.Value, name string, f Filter, cfg reflect.Value) {
	entry := filters.Config{Name: name}
	if f.New != nil {
		entry.Config = cfg.Interface()
	}
	v.Set(reflect.ValueOf(entry))
}

// checkCount says what is wrong with the number of elements, if anything.
func checkCount(n int, r *rules) *problem {
	switch {
	case !r.counts:
		return nil
	case r.hasMin && float64(n) < r.min:
		return &problem{text: fmt.Sprintf("%d elements are fewer than %d", n, int(r.min))}
	case r.hasMax && float64(n) > r.max:
		return &problem{text: fmt.Sprintf("%d elements are more than %d", n, int(r.max))}
	}
	return nil
}

// setScalar stores a token in v. An object given in its short form starts from
// its defaults like any other.
func (r *Registry) setScalar(t *typePlan, v reflect.Value, k token, ru *rules) *problem {
	if t.kind == kindStruct && t.short && k.kind == '"' {
		t.start(v)
		r.fillAbsent(t, v, fieldSet{})
	}
	return t.setToken(v, k, ru)
}
