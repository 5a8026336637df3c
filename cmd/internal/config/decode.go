package config

import (
	"reflect"

	"github.com/go-json-experiment/json/jsontext"
)

// Decode reads text into the struct that into points to, with defaults for
// everything the text leaves out, and runs the checks of its types. It returns
// every problem it finds; into is complete only if none is fatal. A nil reg
// knows no filters. File is the name the problems carry.
func Decode(file string, text []byte, into any, reg *Registry) Errors {
	if reg == nil {
		reg = NewRegistry()
	}
	src, _ := decode(file, text, into, reg)
	return src.finish()
}

// decode is Decode before the problems are sorted. It reports whether the text
// was read as a tree at all, so that checks of the whole make sense.
func decode(file string, text []byte, into any, reg *Registry) (*source, bool) {
	v := reflect.ValueOf(into).Elem()
	plan := planOf(v.Type())
	src := &source{file: file, clean: text}
	clean, bad := blank(text)
	if bad != nil {
		src.report(bad.offset, "", bad.problem)
		return src, false
	}
	src.clean = clean
	v.SetZero()
	valid := jsontext.Value(clean).IsValid()
	if !valid && !src.syntax() {
		return src, false
	}
	if !valid || !reg.decodeFast(clean, plan, &rules{}, v) {
		v.SetZero()
		src.explain(reg, plan, v)
	}
	src.check(reg, plan, v)
	return src, true
}

// explain decodes slowly, to find everything that is wrong.
func (s *source) explain(reg *Registry, plan *typePlan, v reflect.Value) {
	root := s.tree()
	if root == nil {
		panic("BUG: config: text that is valid JSON does not parse")
	}
	d := slowDecoder{s, reg}
	d.value(root, plan, &rules{}, v, "")
	if len(s.errs) == 0 {
		// The two decoders disagree. Refuse, rather than run with a tree of which
		// one of them has doubts.
		s.report(0, "", problem{"refused for an unknown reason", "please report this file as a bug"})
	}
}
