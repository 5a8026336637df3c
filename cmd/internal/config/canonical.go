package config

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"

	jsoniter "github.com/json-iterator/go"

	"millrace/filters"
)

// Hash returns a number for a part of a decoded tree (a struct, slice or map,
// or a pointer to one). Parts with equal meaning, defaults included, have equal
// hashes in every run and process: a reload leaves alone what hashes the same.
func Hash(part any) uint64 { return HashText(Marshal(part)) }

// HashText is Hash of the part whose canonical text it is given.
func HashText(text []byte) uint64 {
	sum := sha256.Sum256(text)
	return binary.BigEndian.Uint64(sum[:])
}

// Marshal returns the canonical text of a part of a decoded tree: fields in the
// order of their structs, map keys sorted, defaults written out, fields left
// out that are zero and have no default. Decoding the text gives the part again.
func Marshal(part any) []byte { return marshal(part, nil) }

// A Span is where a part stands in the text of a whole: text[From:To].
type Span struct{ From, To int }

// MarshalSpans is Marshal that also tells where the structs of the given types stand, by their
// addresses. So the text of a large tree need not be written again for the hash of each of its parts.
func MarshalSpans(part any, types ...reflect.Type) (text []byte, spans map[any]Span) {
	m := &marks{types, map[any]Span{}}
	return marshal(part, m), m.spans
}

func marshal(part any, m *marks) []byte {
	v := reflect.ValueOf(part)
	if !v.IsValid() {
		return []byte("null")
	}
	s := jsoniter.NewStream(sorted, nil, 512)
	writer{s, m}.value(planOf(v.Type()), v)
	return s.Buffer()
}

// marks are the spans of structs of some types.
type marks struct {
	types []reflect.Type
	spans map[any]Span
}

// sorted writes free JSON with its names in order.
var sorted = jsoniter.Config{SortMapKeys: true}.Froze()

// A writer writes decoded values as canonical text.
type writer struct {
	*jsoniter.Stream
	marks *marks // nil if nobody wants to know
}

// value writes v.
func (w writer) value(t *typePlan, v reflect.Value) {
	switch t.kind {
	case kindBool:
		w.WriteBool(v.Bool())
	case kindInt:
		if v.CanUint() {
			w.WriteUint64(v.Uint())
		} else {
			w.WriteInt64(v.Int())
		}
	case kindFloat:
		w.WriteRaw(strconv.FormatFloat(v.Float(), 'g', -1, v.Type().Bits()))
	case kindString:
		w.WriteString(v.String())
	case kindDuration:
		w.WriteString(formatDuration(time.Duration(v.Int())))
	case kindText:
		w.WriteString(textOf(v))
	case kindAny:
		w.WriteVal(v.Interface())
	case kindSlice, kindFilters:
		w.list(t, v)
	case kindMap, kindByFilter:
		w.entries(t, v)
	case kindPointer:
		if v.IsNil() {
			w.WriteNil()
		} else {
			w.value(t.elem, v.Elem())
		}
	case kindStruct:
		from := w.Buffered()
		w.fields(t, v)
		if m := w.marks; m != nil && v.CanAddr() && slices.Contains(m.types, v.Type()) {
			m.spans[v.Addr().Interface()] = Span{from, w.Buffered()}
		}
	}
}

// textOf spells a value that is read from a string only.
func textOf(v reflect.Value) string {
	if !v.CanAddr() {
		addressable := reflect.New(v.Type()).Elem()
		addressable.Set(v)
		v = addressable
	}
	switch x := v.Addr().Interface().(type) {
	case encoding.TextMarshaler:
		text, err := x.MarshalText()
		if err != nil {
			panic(fmt.Sprintf("BUG: config: %s: %v", v.Type(), err))
		}
		return string(text)
	case fmt.Stringer:
		return x.String()
	}
	panic("BUG: config: " + v.Type().String() + " is read from a string but has no String method to write it")
}

// list writes a slice.
func (w writer) list(t *typePlan, v reflect.Value) {
	w.WriteArrayStart()
	for i := range v.Len() {
		if i > 0 {
			w.WriteMore()
		}
		if t.kind == kindFilters {
			w.filter(v.Index(i).Interface().(filters.Config))
		} else {
			w.value(t.elem, v.Index(i))
		}
	}
	w.WriteArrayEnd()
}

// filter writes one filter entry.
func (w writer) filter(f filters.Config) {
	w.WriteObjectStart()
	w.WriteObjectField("name")
	w.WriteString(f.Name)
	if f.Config != nil {
		w.WriteMore()
		w.WriteObjectField("config")
		cfg := reflect.ValueOf(f.Config)
		w.value(planOf(cfg.Type()), cfg)
	}
	w.WriteObjectEnd()
}

// entries writes a map.
func (w writer) entries(t *typePlan, v reflect.Value) {
	w.WriteObjectStart()
	for i, k := range sortedKeys(v) {
		if i > 0 {
			w.WriteMore()
		}
		w.WriteObjectField(k.String())
		if elem := v.MapIndex(k); t.kind == kindByFilter {
			w.value(planOf(elem.Elem().Type()), elem.Elem())
		} else {
			w.value(t.elem, elem)
		}
	}
	w.WriteObjectEnd()
}

// fields writes a struct.
func (w writer) fields(t *typePlan, v reflect.Value) {
	w.WriteObjectStart()
	more := false
	for i := range t.fields {
		f := &t.fields[i]
		fv := v.FieldByIndex(f.index)
		if fv.IsZero() && (f.def == nil && !f.required || fv.Kind() == reflect.Pointer) {
			continue
		}
		if more {
			w.WriteMore()
		}
		more = true
		w.WriteObjectField(f.name)
		w.value(f.typ, fv)
	}
	w.WriteObjectEnd()
}
