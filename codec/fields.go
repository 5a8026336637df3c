package codec

import (
	"bytes"
	"slices"

	"millrace/codec/ascii"
)

// Span is a piece of a head's buffer.
type Span struct{ Off, Len uint32 }

// Field is one entry of [Fields]: where its name and value lie in the buffer.
type Field struct {
	name, value uint32 // offsets
	valueLen    uint32
	nameLen     uint16
	id          FieldID
	never       bool // see MarkNever
}

// storeKeepMax bounds the storage that Reset keeps for the next head, in bytes.
const storeKeepMax = 8 << 10

// listKeepMax bounds the entries whose memory Reset keeps, listShort those of a head that is under way.
const (
	listKeepMax = 128
	listShort   = 32
	listMin     = 16
)

// Fields is an ordered list of fields over one buffer. Order and spelling are
// kept as they came. The zero value is an empty list.
//
// Values given to Add, Set and their kin are made safe as they are copied: a byte
// that may not stand in a field value (CR, LF, NUL, other controls but HTAB)
// becomes a space, and one that may not stand in a name becomes "_". So no
// caller can inject a line into a message.
type Fields struct {
	buf   []byte
	list  []Field
	store []byte // kept for reuse: where buf goes when it is changed before Own
	known uint64 // bit n: FieldID n is present
	owned bool   // buf may be appended to
}

// Len returns the number of entries, removed ones included.
func (f *Fields) Len() int { return len(f.list) }

// At returns entry i. A removed entry has the id FieldRemoved and no name.
func (f *Fields) At(i int) (id FieldID, name, value []byte) {
	e := &f.list[i]
	if e.id == FieldRemoved {
		return FieldRemoved, nil, nil
	}
	return e.id, f.nameOf(e), f.valueOf(e)
}

func (f *Fields) nameOf(e *Field) []byte {
	return f.buf[e.name : e.name+uint32(e.nameLen) : e.name+uint32(e.nameLen)]
}

func (f *Fields) valueOf(e *Field) []byte {
	return f.buf[e.value : e.value+e.valueLen : e.value+e.valueLen]
}

// Has reports whether a known field is present. It costs one bit test.
func (f *Fields) Has(id FieldID) bool { return id < 64 && f.known>>id&1 != 0 }

// HasAny reports whether any field of a set is present. It costs one test.
func (f *Fields) HasAny(s FieldSet) bool { return f.known&uint64(s) != 0 }

// Get returns the first value of a known field: nil if it is absent, not nil but
// empty if it is present and empty.
func (f *Fields) Get(id FieldID) []byte {
	if i := f.index(id); i >= 0 {
		return f.valueOf(&f.list[i])
	}
	return nil
}

// index returns the place of the first entry of a known field, or -1.
func (f *Fields) index(id FieldID) int {
	if !f.Has(id) {
		return -1
	}
	for i := range f.list {
		if f.list[i].id == id {
			return i
		}
	}
	return -1
}

// Lookup returns the first value of the field called name, in any spelling, or nil.
func (f *Fields) Lookup(name string) []byte {
	if id := knownFieldString(name); id != FieldOther {
		return f.Get(id)
	}
	if i := f.indexName(name, 0); i >= 0 {
		return f.valueOf(&f.list[i])
	}
	return nil
}

// indexName returns the first entry at from or later with a name that is not known, or -1.
func (f *Fields) indexName(name string, from int) int {
	for i := from; i < len(f.list); i++ {
		e := &f.list[i]
		if e.id == FieldOther && int(e.nameLen) == len(name) && ascii.EqualFoldString(f.nameOf(e), name) {
			return i
		}
	}
	return -1
}

// Values appends every value of the field called name to dst, in order.
func (f *Fields) Values(name string, dst [][]byte) [][]byte {
	id := knownFieldString(name)
	if id != FieldOther && !f.Has(id) {
		return dst
	}
	for i := range f.list {
		e := &f.list[i]
		if e.id == id && (id != FieldOther || ascii.EqualFoldString(f.nameOf(e), name)) {
			dst = append(dst, f.valueOf(e))
		}
	}
	return dst
}

// Count returns how many times a known field is present.
func (f *Fields) Count(id FieldID) int {
	n := 0
	if f.Has(id) {
		for i := range f.list {
			if f.list[i].id == id {
				n++
			}
		}
	}
	return n
}

// Add appends a known field under its lower-case name. value may alias the buffer.
func (f *Fields) Add(id FieldID, value []byte) {
	name := id.String()
	f.reserve(len(name) + len(value))
	e := Field{name: uint32(len(f.buf)), nameLen: uint16(len(name)), id: id}
	f.buf = append(f.buf, name...)
	e.value, e.valueLen = f.copyValue(value)
	f.push(e)
}

// AddString appends a field under the name as spelled. An empty name, or one
// longer than 65,535 bytes, adds nothing.
func (f *Fields) AddString(name, value string) {
	if len(name) == 0 || len(name) > fieldNameMax {
		return
	}
	f.reserve(len(name) + len(value))
	e := Field{name: uint32(len(f.buf)), nameLen: uint16(len(name)), id: knownFieldString(name)}
	f.buf = append(f.buf, name...)
	for i, c := range f.buf[e.name:] {
		if !ascii.Is(c, ascii.Token) {
			f.buf[int(e.name)+i] = '_'
		}
	}
	e.value, e.valueLen = f.copyValueString(value)
	f.push(e)
}

// Set gives a known field one value. Its first entry keeps place and spelling,
// others are removed; it is added if absent.
func (f *Fields) Set(id FieldID, value []byte) {
	i := f.index(id)
	if i < 0 {
		f.Add(id, value)
		return
	}
	f.reserve(len(value))
	off, n := f.copyValue(value)
	f.list[i].value, f.list[i].valueLen = off, n
	f.removeFrom(id, i+1)
}

// SetString is Set for a field of any name.
func (f *Fields) SetString(name, value string) {
	i := -1
	id := knownFieldString(name)
	if id != FieldOther {
		i = f.index(id)
	} else {
		i = f.indexName(name, 0)
	}
	if i < 0 {
		f.AddString(name, value)
		return
	}
	f.reserve(len(value))
	off, n := f.copyValueString(value)
	f.list[i].value, f.list[i].valueLen = off, n
	if id != FieldOther {
		f.removeFrom(id, i+1)
	} else {
		f.removeNameFrom(name, i+1)
	}
}

// AppendTo makes the last value of a known field "old, value", or adds the field.
func (f *Fields) AppendTo(id FieldID, value []byte) {
	last := -1
	if f.Has(id) {
		for i := range f.list {
			if f.list[i].id == id {
				last = i
			}
		}
	}
	if last < 0 {
		f.Add(id, value)
		return
	}
	e := &f.list[last]
	if e.valueLen == 0 { // an empty element would only confuse those who count elements
		f.reserve(len(value))
		e.value, e.valueLen = f.copyValue(value)
		return
	}
	f.reserve(int(e.valueLen) + 2 + len(value))
	off := uint32(len(f.buf))
	f.buf = append(f.buf, f.buf[e.value:e.value+e.valueLen]...)
	f.buf = append(f.buf, ", "...)
	f.copyValue(value)
	e.value, e.valueLen = off, uint32(len(f.buf))-off
}

// Remove removes every entry of a known field.
func (f *Fields) Remove(id FieldID) {
	if f.Has(id) {
		f.removeFrom(id, 0)
		f.known &^= 1 << id
	}
}

// RemoveName removes every entry called name, in any spelling.
func (f *Fields) RemoveName(name string) {
	if id := knownFieldString(name); id != FieldOther {
		f.Remove(id)
		return
	}
	f.removeNameFrom(name, 0)
}

// RemoveAt removes entry i. Other entries keep their index.
func (f *Fields) RemoveAt(i int) {
	id := f.list[i].id
	f.list[i].id = FieldRemoved
	if id >= 64 || id == FieldOther {
		return
	}
	for j := range f.list {
		if f.list[j].id == id {
			return
		}
	}
	f.known &^= 1 << id
}

func (f *Fields) removeFrom(id FieldID, from int) {
	for i := from; i < len(f.list); i++ {
		if f.list[i].id == id {
			f.list[i].id = FieldRemoved
		}
	}
}

func (f *Fields) removeNameFrom(name string, from int) {
	for i := f.indexName(name, from); i >= 0; i = f.indexName(name, i+1) {
		f.list[i].id = FieldRemoved
	}
}

// Reset empties f. It keeps a list and a storage of moderate size for reuse and
// lets the buffer go.
func (f *Fields) Reset() {
	f.buf, f.list, f.known, f.owned = nil, f.list[:0], 0, false
	if cap(f.store) > storeKeepMax {
		f.store = nil
	}
	if cap(f.list) > listKeepMax {
		f.list = nil
	}
}

// take makes f what from is, and leaves f's memory with from, which has to be reset.
func (f *Fields) take(from *Fields) {
	own := *f
	*f = *from
	if n := len(from.list); cap(from.list) > listShort { // from keeps the room for so many
		if cap(own.list) < n {
			own.list = make([]Field, 0, max(n, listMin))
		}
		f.list = append(own.list[:0], from.list...)
	} else {
		from.list = own.list
	}
	from.buf, from.store = nil, own.store
}

// copyFrom makes f a copy of from, in its own memory.
func (f *Fields) copyFrom(from *Fields) {
	f.list, f.known, f.buf, f.owned = append(f.list[:0], from.list...), from.known, from.buf, false
	f.reserve(0)
}

// forget is Reset that keeps no more than a usual head needs.
func (f *Fields) forget() {
	f.Reset()
	if cap(f.list) > listShort {
		f.list = nil
	}
}

// Own copies the buffer into dst[:0] and makes that the buffer, so that f outlives the
// bytes it was parsed from. Room in cap(dst) beyond that takes later additions;
// when it is exceeded the fields move to the heap. Spans stay valid. The caller keeps dst
// alive and unchanged until Reset.
func (f *Fields) Own(dst []byte) {
	f.buf, f.owned = append(dst[:0], f.buf...), true
}

// Clone returns a copy of f with a buffer of its own.
func (f *Fields) Clone() *Fields {
	return &Fields{buf: slices.Clone(f.buf), list: slices.Clone(f.list), known: f.known, owned: true}
}

// HeadBytes returns the size of the buffer: what Own copies.
func (f *Fields) HeadBytes() int { return len(f.buf) }

// SetBuffer makes b the bytes that spans refer to. For codecs: the list is not
// touched, so offsets given so far must hold in b.
func (f *Fields) SetBuffer(b []byte) { f.buf, f.owned = b[:len(b):len(b)], false }

// AppendSpan appends an entry over the buffer. For codecs.
//
// Precondition: name is a token of at most 65,535 bytes, value has only bytes of
// a field value and no whitespace at its ends, and both lie in the buffer by the time they are read.
//
// Hot path: BenchmarkServerFeed. The entry is filled in place: copied as a whole from the stack it would be read
// before its small stores are done, 4 ns each.
func (f *Fields) AppendSpan(id FieldID, name, value Span) {
	n := len(f.list)
	if n == cap(f.list) {
		f.list = slices.Grow(f.list, n+listMin)
	}
	f.list = f.list[:n+1]
	e := &f.list[n]
	e.name, e.nameLen, e.id, e.never = name.Off, uint16(name.Len), id, false
	e.value, e.valueLen = value.Off, value.Len
	if id != FieldOther {
		f.known |= 1 << (id & 63)
	}
}

// MarkNever marks the last entry as one that no compression may keep, because whoever sent it said so:
//
// "An intermediary MUST use the same representation for encoding this header field."
// RFC 7541 section 6.2.3
func (f *Fields) MarkNever() { f.list[len(f.list)-1].never = true }

// IsNever reports whether entry i was marked by MarkNever.
func (f *Fields) IsNever(i int) bool { return f.list[i].never }

func (f *Fields) push(e Field) {
	if e.id != FieldOther {
		f.known |= 1 << (e.id & 63)
	}
	f.list = append(f.list, e)
}

// reserve makes the buffer one that may be appended to, with room for n more bytes.
func (f *Fields) reserve(n int) {
	if f.owned && cap(f.buf)-len(f.buf) >= n {
		return
	}
	if need := len(f.buf) + n; cap(f.store) < need {
		f.store = make([]byte, 0, need+need/2+256)
	}
	f.buf, f.owned = append(f.store[:0], f.buf...), true
}

// copyValue appends value to the buffer, made safe. Precondition: reserved.
func (f *Fields) copyValue(value []byte) (off, n uint32) {
	off = uint32(len(f.buf))
	f.buf = append(f.buf, value...)
	return off, f.cleanFrom(off)
}

func (f *Fields) copyValueString(value string) (off, n uint32) {
	off = uint32(len(f.buf))
	f.buf = append(f.buf, value...)
	return off, f.cleanFrom(off)
}

func (f *Fields) cleanFrom(off uint32) (n uint32) {
	v := f.buf[off:]
	if !ascii.IsValue(v) {
		cleanValue(v)
	}
	return uint32(len(v))
}

// cleanValue makes a space of every byte that may not stand in a field value.
func cleanValue(v []byte) {
	for i, c := range v {
		if !ascii.Is(c, ascii.Value) {
			v[i] = ' '
		}
	}
}

// span returns the bytes of s in the buffer.
func (f *Fields) span(s Span) []byte { return f.buf[s.Off : s.Off+s.Len : s.Off+s.Len] }

// appendBytes copies b to the buffer and returns where it lies.
func (f *Fields) appendBytes(b []byte) Span {
	f.reserve(len(b))
	s := Span{uint32(len(f.buf)), uint32(len(b))}
	f.buf = append(f.buf, b...)
	return s
}

// Equal reports whether f and g have the same fields in the same order. Names
// are compared in lower case, removed entries are passed over.
func (f *Fields) Equal(g *Fields) bool {
	i, j := 0, 0
	for {
		i, j = f.next(i), g.next(j)
		if i == f.Len() || j == g.Len() {
			return i == f.Len() && j == g.Len()
		}
		_, fn, fv := f.At(i)
		_, gn, gv := g.At(j)
		if !ascii.EqualFold(fn, gn) || !bytes.Equal(fv, gv) {
			return false
		}
		i, j = i+1, j+1
	}
}

// next returns the first entry at i or later that is not removed, or Len.
func (f *Fields) next(i int) int {
	for i < len(f.list) && f.list[i].id == FieldRemoved {
		i++
	}
	return i
}
