package config

import (
	"io"
	"reflect"

	jsoniter "github.com/json-iterator/go"
)

// strict is the json-iterator configuration of all config text. It reads only
// text that jsontext has accepted: alone it passes duplicate names and bad UTF-8.
var strict = jsoniter.Config{
	DisallowUnknownFields: true, CaseSensitive: true, OnlyTaggedField: true, ValidateJsonRawMessage: true,
}.Froze()

// A fastDecoder fills a tree from text in one pass. It stops at the first
// problem without saying which: the slow decoder will find that one and all others.
//
// It drives the iterator from the plan instead of handing it the structs,
// because defaults, filters and short forms need a say at every object, and
// because the iterator's own struct and map code is built on unsafe.
type fastDecoder struct {
	it  *jsoniter.Iterator
	reg *Registry
}

// decodeFast reads text, valid JSON without comments, into v. It reports
// whether there was nothing wrong.
func (r *Registry) decodeFast(text []byte, t *typePlan, ru *rules, v reflect.Value) bool {
	it := strict.BorrowIterator(text)
	defer strict.ReturnIterator(it)
	d := fastDecoder{it, r}
	return d.value(t, ru, v) && (it.Error == nil || it.Error == io.EOF)
}

// value reads the next value into v.
func (d *fastDecoder) value(t *typePlan, ru *rules, v reflect.Value) bool {
	var k token
	switch d.it.WhatIsNext() {
	case jsoniter.ArrayValue:
		return d.array(t, ru, v)
	case jsoniter.ObjectValue:
		return d.object(t, ru, v)
	case jsoniter.StringValue:
		k = token{'"', d.it.ReadString()}
	case jsoniter.NumberValue:
		k = token{'0', string(d.it.ReadNumber())}
	case jsoniter.BoolValue:
		if k.kind = 'f'; d.it.ReadBool() {
			k.kind = 't'
		}
	default: // null
		return false
	}
	for t.kind == kindPointer {
		v.Set(reflect.New(t.elem.typ))
		t, v = t.elem, v.Elem()
	}
	if t.kind == kindAny && !t.short {
		return setAny(v, k) == nil
	}
	return d.reg.setScalar(t, v, k, ru) == nil
}

// array reads an array into a slice.
func (d *fastDecoder) array(t *typePlan, ru *rules, v reflect.Value) bool {
	switch t.kind {
	case kindPointer:
		v.Set(reflect.New(t.elem.typ))
		return d.array(t.elem, ru, v.Elem())
	case kindAny:
		v.Set(reflect.ValueOf(d.it.Read()))
		return true
	case kindSlice, kindFilters:
	default:
		return false
	}
	v.Set(reflect.MakeSlice(t.typ, 0, 0))
	inner := ru.inside()
	ok := d.it.ReadArrayCB(func(*jsoniter.Iterator) bool {
		n := v.Len()
		v.Grow(1)
		v.SetLen(n + 1)
		if t.kind == kindFilters {
			return d.filter(t.filter, v.Index(n))
		}
		return d.value(t.elem, inner, v.Index(n))
	})
	return ok && checkCount(v.Len(), ru) == nil
}

// object reads an object into a struct or map.
func (d *fastDecoder) object(t *typePlan, ru *rules, v reflect.Value) bool {
	switch t.kind {
	case kindPointer:
		v.Set(reflect.New(t.elem.typ))
		return d.object(t.elem, ru, v.Elem())
	case kindAny:
		v.Set(reflect.ValueOf(d.it.Read()))
		return true
	case kindMap:
		m, inner := reflect.MakeMap(t.typ), ru.inside()
		v.Set(m)
		ok := d.it.ReadObjectCB(func(_ *jsoniter.Iterator, name string) bool {
			elem := reflect.New(t.elem.typ).Elem()
			ok := d.value(t.elem, inner, elem)
			m.SetMapIndex(reflect.ValueOf(name).Convert(t.typ.Key()), elem)
			return ok
		})
		return ok && checkCount(m.Len(), ru) == nil
	case kindByFilter:
		m := reflect.MakeMap(t.typ)
		v.Set(m)
		return d.it.ReadObjectCB(func(_ *jsoniter.Iterator, name string) bool {
			f, known := d.reg.filter(t.filter, name)
			if !known {
				return false
			}
			cfg, plan := d.reg.newConfig(f)
			m.SetMapIndex(reflect.ValueOf(name), cfg)
			return d.value(plan, &rules{}, cfg.Elem())
		})
	case kindStruct:
		return d.fields(t, v)
	}
	return false
}

// fields reads an object into a struct.
func (d *fastDecoder) fields(t *typePlan, v reflect.Value) bool {
	t.start(v)
	var seen fieldSet
	ok := d.it.ReadObjectCB(func(_ *jsoniter.Iterator, name string) bool {
		i, known := t.byName[name]
		if !known {
			return false
		}
		seen.add(i)
		f := &t.fields[i]
		return d.value(f.typ, &f.rules, v.FieldByIndex(f.index))
	})
	if !ok {
		return false
	}
	for i := range t.fields {
		if f := &t.fields[i]; f.required && !seen.has(i) {
			return false
		}
	}
	d.reg.fillAbsent(t, v, seen)
	return true
}

// filter reads one filter entry. Its config is kept aside as text until the
// name is known, since the file may give them in any order.
func (d *fastDecoder) filter(kind string, v reflect.Value) bool {
	if d.it.WhatIsNext() != jsoniter.ObjectValue {
		return false
	}
	var name string
	text := []byte("{}")
	ok := d.it.ReadObjectCB(func(_ *jsoniter.Iterator, field string) bool {
		switch next := d.it.WhatIsNext(); {
		case field == "name" && next == jsoniter.StringValue:
			name = d.it.ReadString()
		case field == "config" && next == jsoniter.ObjectValue:
			text = d.it.SkipAndReturnBytes()
		default:
			return false
		}
		return true
	})
	f, known := d.reg.filter(kind, name)
	if !ok || !known {
		return false
	}
	cfg, plan := d.reg.newConfig(f)
	if !d.reg.decodeFast(text, plan, &rules{}, cfg.Elem()) {
		return false
	}
	setFilter(v, name, f, cfg)
	return true
}

// setAny stores a scalar in an any.
func setAny(v reflect.Value, k token) *problem {
	switch k.kind {
	case '"':
		v.Set(reflect.ValueOf(k.text))
	case 't', 'f':
		v.Set(reflect.ValueOf(k.kind == 't'))
	default:
		x := reflect.New(reflect.TypeFor[float64]()).Elem()
		if p := setFloat(x, k, &rules{}); p != nil {
			return p
		}
		v.Set(x)
	}
	return nil
}
