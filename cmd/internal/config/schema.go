package config

import (
	"encoding/json"
	"math"
	"reflect"
	"strconv"
)

// Patterns of the strings that stand for values of other kinds.
const (
	durationPattern = `^(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`
	sizePattern     = `^[0-9]+(KiB|MiB|GiB|KB|MB|GB)?$`
)

// object is a JSON object of a schema; its names are written in order.
type object = map[string]any

// Schema returns the JSON Schema (draft 2020-12) of the config file, with the
// filters that reg knows. It is made from the plan that decoding uses, so it
// has the same fields; it cannot say what Validate and references check.
func Schema(reg *Registry) []byte {
	return schemaOf(reflect.TypeFor[Config](), reg)
}

// schemaOf returns the schema of any struct type.
func schemaOf(t reflect.Type, reg *Registry) []byte {
	m := schemaMaker{reg: reg, defs: object{}}
	root := m.value(planOf(t), &rules{})
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "millrace configuration"
	root["$defs"] = m.defs
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic("BUG: config: schema: " + err.Error())
	}
	return append(text, '\n')
}

// A schemaMaker collects the definitions that a schema refers to.
type schemaMaker struct {
	reg  *Registry
	defs object
}

// value returns the schema of the values of t under the rules of a field.
func (m *schemaMaker) value(t *typePlan, r *rules) object {
	switch t.kind {
	case kindBool:
		return object{"type": "boolean"}
	case kindInt:
		return integerSchema(t.typ, r)
	case kindFloat:
		return withBounds(object{"type": "number"}, "minimum", "maximum", r, !r.counts)
	case kindString:
		s := object{"type": "string"}
		if r.enum != nil {
			s["enum"] = r.enum
		}
		if r.nonEmpty {
			s["minLength"] = 1
		}
		return s
	case kindDuration:
		return object{"type": "string", "pattern": durationPattern}
	case kindText:
		return object{"type": "string"}
	case kindAny:
		return object{"type": []string{"boolean", "number", "string", "array", "object"}}
	case kindSlice:
		s := object{"type": "array", "items": m.value(t.elem, r.inside())}
		return withBounds(s, "minItems", "maxItems", r, r.counts)
	case kindFilters:
		s := object{"type": "array", "items": m.filters(t.filter)}
		return withBounds(s, "minItems", "maxItems", r, r.counts)
	case kindMap:
		s := object{"type": "object", "additionalProperties": m.value(t.elem, r.inside())}
		return withBounds(s, "minProperties", "maxProperties", r, r.counts)
	case kindByFilter:
		properties := object{}
		for _, name := range m.reg.Names(t.filter) {
			f, _ := m.reg.filter(t.filter, name)
			_, plan := m.reg.newConfig(f)
			properties[name] = m.structureOnly(plan)
		}
		return object{"type": "object", "properties": properties, "additionalProperties": false}
	case kindPointer:
		return m.value(t.elem, r)
	}
	return m.structure(t)
}

// integerSchema returns the schema of a whole number or size.
func integerSchema(t reflect.Type, r *rules) object {
	s := object{"type": "integer"}
	lo, hi := intBounds(t, r)
	if lo != math.MinInt64 {
		s["minimum"] = lo
	}
	if hi != math.MaxInt64 {
		s["maximum"] = hi
	}
	if r.unit != "bytes" {
		return s
	}
	return object{"anyOf": []object{s, {"type": "string", "pattern": sizePattern}}}
}

// withBounds adds the bounds of r to s, if they are of this sort.
func withBounds(s object, lo, hi string, r *rules, apply bool) object {
	if apply && r.hasMin {
		s[lo] = r.min
	}
	if apply && r.hasMax {
		s[hi] = r.max
	}
	return s
}

// structure returns a reference to the definition of a struct, which it makes
// when it is first needed. Structs without a name are spelled in place.
func (m *schemaMaker) structure(t *typePlan) object {
	var s object
	if t.typ.Name() == "" {
		s = m.fields(t)
	} else {
		name := m.defName(t.typ)
		if m.defs[name] == nil {
			m.defs[name] = object{} // a type may contain itself
			m.defs[name] = m.fields(t)
		}
		s = object{"$ref": "#/$defs/" + name}
	}
	if t.short {
		return object{"anyOf": []object{{"type": "string"}, s}}
	}
	return s
}

// defName names the definition of a type, such as "upstream.Config".
func (m *schemaMaker) defName(t reflect.Type) string { return t.String() }

// fields returns the schema of a struct's object.
func (m *schemaMaker) fields(t *typePlan) object {
	properties := object{}
	var required []string
	for i := range t.fields {
		f := &t.fields[i]
		s := m.value(f.typ, &f.rules)
		if doc := f.doc(); doc != "" {
			s["description"] = doc
		}
		if f.def != nil {
			s["default"] = json.RawMessage(f.def)
		}
		if f.v3 != "" {
			s["x-v3"] = f.v3
		}
		if f.required {
			required = append(required, f.name)
		}
		properties[f.name] = s
	}
	s := object{"type": "object", "properties": properties, "additionalProperties": false}
	if required != nil {
		s["required"] = required
	}
	if doc := typeDoc(t.typ); doc != "" {
		s["description"] = doc
	}
	return s
}

// filters returns a reference to the definition of the filters of a kind.
func (m *schemaMaker) filters(kind string) object {
	name := "filter." + kind
	if m.defs[name] == nil {
		m.defs[name] = object{}
		m.defs[name] = m.filterEntry(kind)
	}
	return object{"$ref": "#/$defs/" + name}
}

// filterEntry returns the schema of one entry: a name, and by it a config.
func (m *schemaMaker) filterEntry(kind string) object {
	names := m.reg.Names(kind)
	if len(names) == 0 {
		return object{"not": object{}}
	}
	var byName []object
	for _, name := range names {
		f, _ := m.reg.filter(kind, name)
		_, plan := m.reg.newConfig(f)
		then := object{"properties": object{"config": m.structureOnly(plan)}}
		if plan.required {
			then["required"] = []string{"config"}
		}
		byName = append(byName, object{
			"if":   object{"properties": object{"name": object{"const": name}}, "required": []string{"name"}},
			"then": then,
		})
	}
	return object{
		"type":                 "object",
		"properties":           object{"name": object{"enum": names}, "config": object{"type": "object"}},
		"required":             []string{"name"},
		"additionalProperties": false,
		"allOf":                byName,
	}
}

// structureOnly is structure without a short form, which filters do not have.
func (m *schemaMaker) structureOnly(t *typePlan) object {
	s := m.structure(t)
	if t.short {
		return s["anyOf"].([]object)[1]
	}
	return s
}

// spell writes a number of a bound without a fraction it does not have.
func spell(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }
