package record

// Rest lets go of what the AEADs have made of their keys, which is most of the memory of a connection. The next record
// makes it anew. It is for a connection that does nothing for a while.
func (c *Conn) Rest() { c.in.aead, c.out.aead = nil, nil }

// Rests reports whether a half has let go and not been used since.
func (c *Conn) Rests() bool { return c.in.aead == nil || c.out.aead == nil && c.flags&flagGiven == 0 }

// wake makes the AEAD of a half that rests.
func (h *Half) wake() {
	if h.prefix == 0 {
		panic("BUG: record: no key") // wiped
	}
	s := &suites[h.suite]
	key := h.keep[keyAt : keyAt+int(s.keyLen)]
	if h.tls13 {
		k, err := s.expandLabel(h.keep[:s.hashLen()], "key", int(s.keyLen))
		if err != nil {
			panic("BUG: " + err.Error()) // it has gone well with this secret before
		}
		key = k
	}
	aead, err := s.aead(key)
	if err != nil {
		panic("BUG: record: " + err.Error())
	}
	h.aead = aead
}
