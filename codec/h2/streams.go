package h2

// stream is what a connection knows of one stream that is not closed.
type stream struct {
	id         uint32
	sendWindow int32 // may be negative, after the peer lowered its initial window
	recvWindow int32 // what the peer may still send
	consumed   int32 // by the caller, not yet told to the peer
	bodyLeft   int64 // of Content-Length; -1 if there is none, or bodyTunnel
	state      streamState
	informs    uint8 // 1xx heads received
	urgency    uint8 // RFC 9218 section 4.1
	next       uint32
}

type streamState uint8

const (
	recvHead      streamState = 1 << iota // the (final) head has come
	recvEnd                               // the peer has ended its direction
	sentHead                              // our (final) head was appended
	sentEnd                               // we have ended ours
	headMethod                            // the request is HEAD: the response has no body
	connectMethod                         // it is CONNECT: no Content-Length counts
	blocked                               // data waits for the window: EventWindow is due
	incremental                           // RFC 9218 section 4.2
)

// bodyTunnel is the bodyLeft of what is data of a tunnel, which has neither a length nor trailers.
const bodyTunnel = -2

// streamTable holds the open streams of a connection: in slots, found by a small hash of their ids.
type streamTable struct {
	slots []stream // id 0 is free
	free  uint32   // slot plus 1 of the first free one, linked by next
	count int
	keep  int      // slots that stay when there are no streams, beside slotsKeep
	index []uint32 // slot plus 1 by hash of the id, linear probing; a power of two, at most half full
}

const (
	slotsMin = 4 // of a connection with its first stream
	// slotsKeep is how many slots a connection without streams keeps.
	slotsKeep = 16
	// slotsKeepClient is how many one of a client keeps: it has few connections, and they carry much.
	slotsKeepClient = 1024
)

// place returns where in the index to begin looking for id. Ids of one side are all odd or all even.
func (t *streamTable) place(id uint32) uint32 {
	return id >> 1 * 0x9e3779b1 >> 7 & uint32(len(t.index)-1)
}

// find returns the slot of an open stream.
func (t *streamTable) find(id uint32) (slot uint32, ok bool) {
	if t.count == 0 {
		return 0, false
	}
	for i := t.place(id); t.index[i] != 0; i = (i + 1) & uint32(len(t.index)-1) {
		if slot = t.index[i] - 1; t.slots[slot].id == id {
			return slot, true
		}
	}
	return 0, false
}

// get returns an open stream, or nil.
func (t *streamTable) get(id uint32) *stream {
	if slot, ok := t.find(id); ok {
		return &t.slots[slot]
	}
	return nil
}

// open makes a stream. Pointers to others are invalid afterwards.
func (t *streamTable) open(id uint32) (*stream, uint32) {
	if t.free == 0 {
		t.grow()
	}
	slot := t.free - 1
	s := &t.slots[slot]
	t.free = s.next
	*s = stream{id: id, bodyLeft: -1, urgency: urgencyDefault}
	t.enter(id, slot)
	t.count++
	return s, slot
}

func (t *streamTable) enter(id, slot uint32) {
	i := t.place(id)
	for t.index[i] != 0 {
		i = (i + 1) & uint32(len(t.index)-1)
	}
	t.index[i] = slot + 1
}

// grow doubles the slots.
func (t *streamTable) grow() {
	n := max(slotsMin, 2*len(t.slots))
	old := len(t.slots)
	t.slots = append(make([]stream, 0, n), t.slots...)[:n]
	for slot := n - 1; slot >= old; slot-- {
		t.slots[slot].next, t.free = t.free, uint32(slot)+1
	}
	t.index = make([]uint32, 2*n)
	for slot := range old {
		if id := t.slots[slot].id; id != 0 {
			t.enter(id, uint32(slot))
		}
	}
}

// close forgets a stream.
func (t *streamTable) close(id uint32) {
	mask := uint32(len(t.index) - 1)
	i := t.place(id)
	for t.slots[t.index[i]-1].id != id {
		i = (i + 1) & mask
	}
	slot := t.index[i] - 1
	// What was pushed along by this entry moves back, so that no gap hides it.
	for j := (i + 1) & mask; t.index[j] != 0; j = (j + 1) & mask {
		home := t.place(t.slots[t.index[j]-1].id)
		if (j-home)&mask >= (j-i)&mask {
			t.index[i], i = t.index[j], j
		}
	}
	t.index[i] = 0
	t.slots[slot] = stream{next: t.free}
	t.free = slot + 1
	t.count--
	if t.count == 0 && len(t.slots) > max(slotsKeep, t.keep) {
		*t = streamTable{keep: t.keep}
	}
}
