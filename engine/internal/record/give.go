package record

// Sealer is what another one needs to go on sealing where a Conn is: the kernel. It is secret.
type Sealer struct {
	Version, Suite uint16
	Key            []byte
	IV             [nonceLen]byte // of it, with AES-GCM of TLS 1.2, the first four bytes: the rest is Seq
	Seq            uint64         // of the next record
	Expansion      int            // by how many bytes a record is longer than its data
	BytesMax       uint64         // how much data the key may still seal
}

// Sealer returns what seals the next record. ok is false at the end of the connection, and while a reply is due.
func (c *Conn) Sealer() (s Sealer, ok bool) {
	if c.flags&(flagShut|flagGiven) != 0 || c.HasReplies() {
		return s, false
	}
	h := &c.out
	of := &suites[h.suite]
	k := Keys{Key: append([]byte(nil), h.keep[keyAt:keyAt+int(of.keyLen)]...)}
	if h.tls13 {
		var err error
		if k, err = of.keys13(h.keep[:of.hashLen()]); err != nil {
			return s, false
		}
	}
	s = Sealer{
		Version: of.version, Suite: of.id, Key: k.Key, IV: h.iv, Seq: h.seq,
		Expansion: int(h.prefix) + int(h.suffix), BytesMax: h.bytesLeft(),
	}
	return s, s.BytesMax > 0
}

// bytesLeft returns how much data the key of h may still seal. Who seals in place of a Conn has no next key.
func (h *Half) bytesLeft() uint64 {
	sealed := h.seq << 14 // at most
	if !h.tls13 {
		sealed = h.sealedBytes()
	}
	return SealedBytesMax - min(sealed, SealedBytesMax)
}

// Give leaves sealing to the one who has the Sealer, and forgets its key. From now on a peer that asks for a KeyUpdate ends the connection,
// with ErrKeyUpdate, and LastWord takes the place of AppendReplies and AppendClose.
func (c *Conn) Give() {
	h := &c.out
	*h = Half{suite: h.suite, tls13: h.tls13, prefix: h.prefix, suffix: h.suffix}
	c.flags |= flagGiven
}

// Suite returns the version and the cipher suite.
func (c *Conn) Suite() (version, id uint16) {
	s := &suites[c.in.suite]
	return s.version, s.id
}

// Given reports whether Give was called.
func (c *Conn) Given() bool { return c.flags&flagGiven != 0 }

// LastWord returns the alert that is to be sent last, once: the one that is due, or close_notify.
func (c *Conn) LastWord() (msg [2]byte, ok bool) {
	if c.flags&flagShut != 0 {
		return msg, false
	}
	code := CloseNotify
	if c.flags&flagAlert != 0 {
		code = failures[c.end].Alert
	}
	c.flags |= flagShut
	c.flags &^= flagAlert
	return alertMessage(code), true
}
