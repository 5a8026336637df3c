package route

import (
	"math"
	"reflect"
	"slices"
	"strings"
)

// hasher hashes configuration structs field by field. Values that are zero count
// as absent, so a new field does not change the hashes of old files.
type hasher struct {
	sum   uint64
	names map[reflect.Type][]uint64 // hashes of the field names of a struct
}

func newHasher() hasher { return hasher{names: map[reflect.Type][]uint64{}} }

// of returns the hash of the struct ptr points to.
func (h *hasher) of(ptr any) uint64 {
	h.sum = fnvOffset
	h.value(reflect.ValueOf(ptr).Elem())
	return h.sum
}

const (
	fnvOffset = 0xcbf29ce484222325
	fnvPrime  = 0x100000001b3
)

// text adds a string and its length (FNV-1a).
func (h *hasher) text(s string) {
	for i := range len(s) {
		h.sum = (h.sum ^ uint64(s[i])) * fnvPrime
	}
	h.number(uint64(len(s)))
}

func (h *hasher) number(n uint64) { h.sum = mix(h.sum, n) }

// value adds any value that a configuration struct may hold.
func (h *hasher) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		names := h.fieldNames(v.Type())
		for i := range v.NumField() {
			if f := v.Field(i); !f.IsZero() {
				h.number(names[i])
				h.value(f)
			}
		}
		h.number(fnvPrime) // the end
	case reflect.Slice:
		h.number(uint64(v.Len()))
		for i := range v.Len() {
			h.value(v.Index(i))
		}
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			h.text(k.String())
			h.value(v.MapIndex(k))
		}
		h.number(uint64(len(keys)))
	case reflect.Interface:
		h.value(v.Elem())
	case reflect.Pointer:
		if v.IsNil() {
			h.number(0)
			return
		}
		h.number(1)
		h.value(v.Elem())
	case reflect.String:
		h.text(v.String())
	case reflect.Bool:
		if v.Bool() {
			h.number(2)
		} else {
			h.number(3)
		}
	case reflect.Float64:
		h.number(math.Float64bits(v.Float()))
	case reflect.Int, reflect.Int64:
		h.number(uint64(v.Int()))
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		h.number(v.Uint())
	default:
		panic("BUG: route: cannot hash a field of type " + v.Type().String())
	}
}

// fieldNames returns the hashes of the names of a struct's fields.
func (h *hasher) fieldNames(t reflect.Type) []uint64 {
	if names, ok := h.names[t]; ok {
		return names
	}
	names := make([]uint64, t.NumField())
	for i := range names {
		f := hasher{sum: fnvOffset}
		f.text(t.Field(i).Name)
		names[i] = f.sum
	}
	h.names[t] = names
	return names
}
