package hpack

// table is a dynamic table: entries in the order of their insertion, the oldest of which leave when the size is
// exceeded.
//
//	data   [ dead │ oldest … newest │ free ]
//	ring     places of the entries; number n lies at n modulo its length
//
// Bytes are appended; when data is full what lives moves to its front.
type table struct {
	data []byte
	ring []entry // a power of two
	// Entries are numbered from 0 in the order of their insertion. Live are oldest to next-1.
	oldest, next uint32
	size         uint32 // as RFC 7541 section 4.1 counts it
	max          uint32 // entries leave beyond it
	memory       *Memory
}

type entry struct {
	off               uint32
	nameLen, valueLen uint32
}

func (e *entry) size() uint32 { return e.nameLen + e.valueLen + entryOverhead }

// len returns the number of entries.
func (t *table) len() uint32 { return t.next - t.oldest }

// at returns entry number n. Precondition: it is live.
func (t *table) at(n uint32) *entry { return &t.ring[n&uint32(len(t.ring)-1)] }

// get returns the entry that was inserted i entries ago, 0 being the newest.
func (t *table) get(i uint32) (name, value []byte, ok bool) {
	if i >= t.len() {
		return nil, nil, false
	}
	name, value = t.bytes(t.at(t.next - 1 - i))
	return name, value, true
}

func (t *table) bytes(e *entry) (name, value []byte) {
	mid := e.off + e.nameLen
	return t.data[e.off:mid:mid], t.data[mid : mid+e.valueLen : mid+e.valueLen]
}

// setMax changes the size beyond which entries leave.
func (t *table) setMax(n uint32) {
	t.max = n
	t.evict(0)
	if n == 0 {
		t.memory.put(t.data)
		t.data, t.ring = nil, nil
	}
}

// trimBytes is how much memory must be of no use for trim to copy what lives.
const trimBytes = 256

// trim gives memory back that holds nothing.
func (t *table) trim() {
	switch live := t.live(); {
	case t.oldest == t.next:
		t.memory.put(t.data)
		t.data, t.ring = nil, nil
	case cap(t.data)-live >= trimBytes:
		t.move(make([]byte, 0, live))
	}
}

// live returns how many bytes the entries have.
func (t *table) live() int { return int(t.size) - int(t.len())*entryOverhead }

// evict makes room for n more.
func (t *table) evict(n uint32) {
	for t.oldest != t.next && t.size+n > t.max {
		t.size -= t.at(t.oldest).size()
		t.oldest++
	}
}

// insert adds an entry, if it fits into an empty table. name and value must not lie in the table: entries leave to make
// room, and the name may be that of one of them (RFC 7541 section 4.4).
func (t *table) insert(name, value []byte) {
	n := uint32(len(name) + len(value))
	if n+entryOverhead > t.max {
		t.evict(t.max + 1) // "results in an empty table"
		return
	}
	t.evict(n + entryOverhead)
	if len(t.data)+int(n) > cap(t.data) {
		t.makeRoom(name, value)
	} else {
		t.data = append(append(t.data, name...), value...)
	}
	if t.len() == uint32(len(t.ring)) {
		t.growRing()
	}
	*t.at(t.next) = entry{uint32(len(t.data)) - n, uint32(len(name)), uint32(len(value))}
	t.next++
	t.size += n + entryOverhead
}

// makeRoom appends name and value after moving what lives, to the front of the same memory or to more of it. Some of
// the memory may be dead, so that bytes do not move with every entry: half as much as lives while the table is small, a
// quarter of its size when it is full.
func (t *table) makeRoom(name, value []byte) {
	need := t.live() + len(name) + len(value)
	if room := min(need+need/2, int(t.max+t.max/4)); room > cap(t.data) {
		t.move(t.memory.take(room)) // need is at most max: there is room
	} else {
		t.move(t.data)
	}
	t.data = append(append(t.data, name...), value...)
}

// move makes data, which may be what there is, the memory of the entries.
func (t *table) move(data []byte) {
	start := uint32(len(t.data))
	if t.oldest != t.next {
		start = t.at(t.oldest).off
	}
	from := t.data[start:]
	for n := t.oldest; n != t.next; n++ {
		t.at(n).off -= start
	}
	old := t.data
	t.data = append(data[:0], from...)
	if cap(old) > 0 && cap(data) > 0 && &old[:1][0] != &data[:1][0] {
		t.memory.put(old)
	}
}

// ringMin is the number of places of a table that has its first entry.
const ringMin = 16

func (t *table) growRing() {
	ring := make([]entry, max(ringMin, 2*len(t.ring)))
	for n := t.oldest; n != t.next; n++ {
		ring[n&uint32(len(ring)-1)] = *t.at(n)
	}
	t.ring = ring
}
