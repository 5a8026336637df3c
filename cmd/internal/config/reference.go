package config

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Reference returns the reference page in Markdown: every field that a config
// file may have, with the filters that reg knows.
func Reference(reg *Registry) []byte {
	w := referenceWriter{reg: reg, titles: map[reflect.Type]string{}}
	w.line("# Config reference")
	w.line("")
	w.line("Generated from the Go structs that read the file: `go generate ./cmd/internal/config`. Do not edit.")
	w.line("")
	w.line("A config is one JSON file; comments and trailing commas are allowed. Every object starts from the")
	w.line("defaults below. Durations are strings such as `\"250ms\"`, sizes are bytes or strings such as `\"64KiB\"`,")
	w.line("addresses are strings such as `\"127.0.0.1:80\"`, `\":8080\"` or `\"unix:/run/app.sock\"`. The last column is")
	w.line("where Envoy's v3 API has the field, if that is somewhere else.")
	w.titles[reflect.TypeFor[Config]()] = "The file"
	w.queue = []section{{title: "The file", plan: planOf(reflect.TypeFor[Config]())}}
	for _, kind := range referenceOrder(reg.Kinds()) {
		for _, name := range reg.Names(kind) {
			f, _ := reg.filter(kind, name)
			_, plan := reg.newConfig(f)
			title := kindTitle(kind) + " filter " + code(name)
			if kind == kindRoute {
				title += " on a route"
			}
			w.addFilter(f, plan, title, name)
		}
	}
	for len(w.queue) > 0 {
		s := w.queue[0]
		w.queue = w.queue[1:]
		w.section(s)
	}
	return []byte(w.out.String())
}

// referenceOrder puts the kinds of filters in the order in which a connection
// meets them.
func referenceOrder(kinds []string) []string {
	rank := func(kind string) int { return slices.Index([]string{"listener", "network", "http", kindRoute}, kind) }
	slices.SortFunc(kinds, func(a, b string) int { return cmp.Compare(rank(a), rank(b)) })
	return kinds
}

// kindTitle spells a kind of filter at the start of a title.
func kindTitle(kind string) string {
	if kind == "http" || kind == kindRoute {
		return "HTTP"
	}
	return strings.ToUpper(kind[:1]) + kind[1:]
}

// A referenceWriter writes one section for each struct, in the order in which
// they are first mentioned.
type referenceWriter struct {
	reg    *Registry
	out    strings.Builder
	titles map[reflect.Type]string // of the structs that have a section
	queue  []section               // not yet written
}

// A section is one heading and the fields below it.
type section struct {
	title string
	base  string // the path of the struct, before the names of its fields; "" for the file
	doc   string
	plan  *typePlan // nil if there are no fields
}

func (w *referenceWriter) line(s string) { w.out.WriteString(s + "\n") }

// add queues the section of a struct, unless it has one. It returns its title.
func (w *referenceWriter) add(t *typePlan, base string) string {
	if first, ok := w.titles[t.typ]; ok {
		return first
	}
	w.titles[t.typ] = code(base)
	w.queue = append(w.queue, section{code(base), base, typeDoc(t.typ), t})
	return code(base)
}

// addFilter queues the section of a filter: its own, even if it has the config
// struct of another.
func (w *referenceWriter) addFilter(f Filter, t *typePlan, title, name string) {
	s := section{title, name, strings.TrimSpace(f.Doc), t}
	if len(t.fields) == 0 {
		s.plan, s.doc = nil, strings.TrimSpace(s.doc+" It has no config.")
	} else {
		w.titles[t.typ] = title
	}
	if s.doc == "" {
		s.doc = typeDoc(t.typ)
	}
	w.queue = append(w.queue, s)
}

// section writes one section. The structs of its fields are queued before the
// others that wait, so that a part of the file is read in one piece.
func (w *referenceWriter) section(s section) {
	w.line("")
	w.line("## " + s.title)
	w.line("")
	if s.doc != "" {
		w.line(prose.Replace(s.doc))
		w.line("")
	}
	if s.plan == nil {
		return
	}
	if s.plan.short {
		w.line("A string may stand for the object.")
		w.line("")
	}
	waiting := w.queue
	w.queue = nil
	w.line("| field | type | default | range | meaning | v3 |")
	w.line("|---|---|---|---|---|---|")
	for i := range s.plan.fields {
		f := &s.plan.fields[i]
		v3 := ""
		if f.v3 != "" {
			v3 = code(f.v3)
		}
		w.line(fmt.Sprintf("| %s | %s | %s | %s | %s | %s |", code(f.name),
			w.typeText(f.typ, &f.rules, joinName(s.base, f.name)), defaultCell(f), rangeCell(f), prose.Replace(f.doc()), v3))
	}
	w.queue = append(w.queue, waiting...)
}

// prose escapes what Markdown would take for markup, in a table too.
var prose = strings.NewReplacer("|", `\|`, "<", `\<`, "*", `\*`)

// code sets text as code, in a table too.
func code(s string) string { return "`" + strings.ReplaceAll(s, "|", `\|`) + "`" }

// anchor returns the fragment that Markdown viewers give a heading.
func anchor(title string) string {
	keep := func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z':
			return r
		}
		return -1
	}
	return strings.Map(keep, strings.ToLower(title))
}

// typeText names the type of a field, with a link to the section of its struct.
func (w *referenceWriter) typeText(t *typePlan, r *rules, path string) string {
	switch t.kind {
	case kindBool:
		return "true or false"
	case kindInt:
		switch r.unit {
		case "":
			return "integer"
		case "bytes":
			return "size"
		}
		return "integer, " + r.unit
	case kindFloat:
		if r.unit == "percent" {
			return "percent"
		}
		return "number"
	case kindDuration:
		return "duration"
	case kindAny:
		return "any JSON"
	case kindSlice:
		return "list of " + w.typeText(t.elem, r, path)
	case kindFilters:
		return "list of " + t.filter + " filters"
	case kindByFilter:
		return "map from " + kindTitle(t.filter) + " filters to their config here"
	case kindMap:
		return "map to " + w.typeText(t.elem, r, path)
	case kindPointer:
		return w.typeText(t.elem, r, path)
	case kindStruct:
		if len(t.fields) == 0 {
			return "empty object"
		}
		return "[object](#" + anchor(w.add(t, path)) + ")"
	}
	return "string"
}

// defaultCell spells the default of a field.
func defaultCell(f *fieldPlan) string {
	switch {
	case f.required:
		return "required"
	case f.def != nil:
		return code(string(f.def))
	}
	switch f.typ.kind {
	case kindBool:
		return "`false`"
	case kindInt, kindFloat:
		return "`0`"
	case kindString, kindText:
		return "`\"\"`"
	case kindDuration:
		return "`\"0s\"`"
	case kindSlice, kindFilters:
		return "`[]`"
	case kindMap, kindByFilter:
		return "`{}`"
	case kindStruct:
		return "its defaults"
	}
	return "absent"
}

// rangeCell spells what values a field may have.
func rangeCell(f *fieldPlan) string {
	r := &f.rules
	leaf := f.typ.leaf()
	switch {
	case r.enum != nil:
		words := make([]string, len(r.enum))
		for i, w := range r.enum {
			words[i] = code(w)
		}
		return strings.Join(words, ", ")
	case r.counts:
		return bounds(r, func(x float64) string { return spell(x) }, " elements")
	case leaf.kind == kindDuration && !r.hasMax && r.min == 0:
		return ""
	case leaf.kind == kindDuration:
		return bounds(r, func(x float64) string { return formatDuration(time.Duration(x)) }, "")
	case r.unit == "bytes":
		return bounds(r, func(x float64) string { return formatSize(int64(x)) }, "")
	}
	return bounds(r, spell, "")
}

// bounds spells a range that may be open at either end.
func bounds(r *rules, spell func(float64) string, unit string) string {
	switch {
	case r.hasMin && r.hasMax:
		return spell(r.min) + " to " + spell(r.max) + unit
	case r.hasMin:
		return "at least " + spell(r.min) + unit
	case r.hasMax:
		return "at most " + spell(r.max) + unit
	}
	return ""
}
