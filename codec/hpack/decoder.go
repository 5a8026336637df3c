package hpack

// Decoder expands the header blocks of one direction of a connection.
type Decoder struct {
	table   table
	agreed  uint32 // what the last acknowledged SETTINGS allow the table
	lowered bool   // the next block must begin with a size update
	begun   bool   // the block has had a field
	updates uint8  // size updates of the block
}

// A Field is one field as [Decoder.Next] found it: where it lies in the bytes that Next returned.
type Field struct {
	// Name is at [Off, Value), the value at [Value, End).
	Off, Value, End int
	// Static is the entry of the static table that the name came from, 0 if it came from elsewhere. The value is that
	// entry's too if Whole is set.
	Static uint8
	Whole  bool
	// Never says that the field was marked never to be indexed: whoever passes it on marks it so too.
	Never bool
}

// NewDecoder returns a Decoder with a table of at most size bytes, what our SETTINGS_HEADER_TABLE_SIZE says.
func NewDecoder(size uint32) Decoder {
	return Decoder{agreed: size, table: table{max: min(size, integerMax)}}
}

// TableBytes returns the size of the table, as RFC 7541 section 4.1 counts it.
func (d *Decoder) TableBytes() uint32 { return d.table.size }

// Share makes the table take its memory from m and give it back there.
func (d *Decoder) Share(m *Memory) { d.table.memory = m }

// Trim gives memory back that holds nothing, in a connection that is idle.
func (d *Decoder) Trim() { d.table.trim() }

// Release gives all memory back. The decoder is of no use any more.
func (d *Decoder) Release() { d.table.setMax(0) }

// SetAgreed changes the size of the table that the peer may use, after it acknowledged our SETTINGS. A smaller size
// than before the peer must confirm at the start of its next block (RFC 9113 section 4.3.1).
func (d *Decoder) SetAgreed(size uint32) {
	d.agreed = size
	if size < d.table.max {
		d.lowered = true
		d.table.setMax(size)
	}
}

// Begin is called before the first Next of each header block.
func (d *Decoder) Begin() { d.begun, d.updates = false, 0 }

// End is called after the last Next of a header block. It reports what is wrong with the block as a whole.
func (d *Decoder) End() Error {
	if d.lowered {
		return ErrNoUpdate
	}
	return ErrNone
}

// sizeUpdatesMax is how many size updates may come in front of a block: the smallest size and the final one (RFC 7541
// section 4.2).
const sizeUpdatesMax = 2

// Next decodes the next field of a header block, which must lie whole in b. It appends the name and the value to dst and
// returns how many bytes of b it used up. A field of more than limit bytes, name and value, is ErrTooLong: the block
// cannot be decoded further, so whoever wants to keep the connection gives more room and drops the field.
//
// A size update alone at the end of b gives a Field of which End is -1.
//
// Hot path: BenchmarkDecode.
func (d *Decoder) Next(dst, b []byte, limit int) (out []byte, n int, f Field, err Error) {
	for len(b) > n && b[n]&0xe0 == 0x20 {
		k, err := d.sizeUpdate(b[n:])
		if err != ErrNone {
			return dst, n, f, err
		}
		n += k
	}
	if n == len(b) {
		f.End = -1
		return dst, n, f, ErrNone
	}
	if d.lowered {
		return dst, n, f, ErrNoUpdate
	}
	d.begun = true
	f.Off = len(dst)
	var k int
	switch c := b[n]; {
	case c >= 0x80:
		out, k, err = d.indexed(dst, b[n:], limit, &f)
	case c >= 0x40:
		if out, k, err = d.literal(dst, b[n:], 6, limit, &f); err == ErrNone {
			d.table.insert(out[f.Off:f.Value], out[f.Value:f.End])
		}
	default:
		f.Never = c >= 0x10
		out, k, err = d.literal(dst, b[n:], 4, limit, &f)
	}
	return out, n + k, f, err
}

// sizeUpdate handles a dynamic table size update.
//
// "This dynamic table size update MUST occur at the beginning of the first header block following the change to the
// dynamic table size."
// RFC 7541 section 4.2
func (d *Decoder) sizeUpdate(b []byte) (n int, err Error) {
	size, n, err := readInteger(b, 5)
	if err != ErrNone {
		return 0, err
	}
	d.updates++
	if d.begun || d.updates > sizeUpdatesMax || size > d.agreed {
		return 0, ErrSizeUpdate
	}
	d.lowered = false
	d.table.setMax(size)
	return n, ErrNone
}

// indexed decodes a field that is an entry of a table as a whole.
func (d *Decoder) indexed(dst, b []byte, limit int, f *Field) ([]byte, int, Error) {
	i, n, err := readInteger(b, 7)
	if err != ErrNone {
		return dst, 0, err
	}
	if i-1 < uint32(StaticCount) {
		e := &staticTable[i]
		if len(e.name)+len(e.value) > limit {
			return dst, 0, ErrTooLong
		}
		f.Static, f.Whole = uint8(i), true
		f.Value = f.Off + len(e.name)
		f.End = f.Value + len(e.value)
		return append(append(dst, e.name...), e.value...), n, ErrNone
	}
	name, value, ok := d.table.get(i - 1 - uint32(StaticCount))
	if i == 0 || !ok {
		return dst, 0, ErrIndex
	}
	if len(name)+len(value) > limit {
		return dst, 0, ErrTooLong
	}
	f.Value = f.Off + len(name)
	f.End = f.Value + len(value)
	return append(append(dst, name...), value...), n, ErrNone
}

// literal decodes a field of which at least the value is spelled out. The index of the name has so many bits.
func (d *Decoder) literal(dst, b []byte, bits uint, limit int, f *Field) (out []byte, n int, err Error) {
	i, n, err := readInteger(b, bits)
	if err != ErrNone {
		return dst, 0, err
	}
	start := len(dst)
	switch {
	case i == 0:
		var k int
		if dst, k, err = appendString(dst, b[n:], limit); err != ErrNone {
			return dst, 0, err
		}
		n += k
	case i <= uint32(StaticCount):
		f.Static = uint8(i)
		dst = append(dst, staticTable[i].name...)
	default:
		name, _, ok := d.table.get(i - 1 - uint32(StaticCount))
		if !ok {
			return dst, 0, ErrIndex
		}
		dst = append(dst, name...)
	}
	f.Value = len(dst)
	if limit -= f.Value - start; limit < 0 {
		return dst, 0, ErrTooLong
	}
	dst, k, err := appendString(dst, b[n:], limit)
	f.End = len(dst)
	return dst, n + k, err
}

// appendString appends the string literal that b begins with.
func appendString(dst, b []byte, limit int) (out []byte, n int, err Error) {
	if len(b) == 0 {
		return dst, 0, ErrMore
	}
	size, n, err := readInteger(b, 7)
	if err != ErrNone {
		return dst, 0, err
	}
	if int(size) > len(b)-n {
		return dst, 0, ErrMore
	}
	s := b[n : n+int(size)]
	n += int(size)
	if b[0] >= 0x80 {
		dst, err = appendHuffmanDecoded(dst, s, limit)
		return dst, n, err
	}
	if len(s) > limit {
		return dst, 0, ErrTooLong
	}
	return append(dst, s...), n, ErrNone
}
