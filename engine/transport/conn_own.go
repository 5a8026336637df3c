package transport

import (
	"io"

	"millrace/engine"
	"millrace/engine/internal/record"
)

// heldCopyMax is how much of a record that is not whole yet is copied to the buffer for each read. More is read on in its own
// block: a peer that sends byte by byte must not make us copy 16 KiB each time.
const heldCopyMax = 4 << 10

// readRecords opens what the wire brings into dst, without a copy, until the wire has no more or dst no room for one more
// record. The part of a record at its end waits in a block.
//
// Hot path: BenchmarkRecords.
func (c *conn) readRecords(w *engine.Wire, dst []byte) (n int, err error) {
	if c.plain.n > 0 {
		return c.plain.take(c.side.loop, dst), nil
	}
	if c.in.n > heldCopyMax {
		if err := c.readHeld(w); err != nil {
			return 0, err
		}
	}
	buf := c.side.buf.in
	have := c.in.take(c.side.loop, buf)
	var wait error // of the wire
	for {
		m, used, end := c.rec.Read(dst[n:], buf[:have])
		n += m
		if used > 0 {
			have = copy(buf, buf[used:have])
		}
		if c.rec.HasReplies() {
			c.replyNow(w)
		}
		whole := c.whole(buf[:have])
		switch {
		case end != nil && end != io.ErrShortBuffer:
			return n, end
		case whole && n == 0:
			return c.readSmall(w, dst, buf[:have])
		case whole:
			return n, c.pause(buf[:have], nil)
		case wait != nil:
			return n, c.pause(buf[:have], wait)
		}
		room := len(dst) - n
		if room < record.RecordLenMax {
			if n > 0 {
				return n, c.pause(buf[:have], nil)
			}
			room = c.missing(buf[:have])
		}
		k, rerr := w.Read(buf[have:min(have+room, len(buf))])
		if k == 0 && rerr != nil {
			return n, c.pause(buf[:have], rerr)
		}
		have, wait = have+k, rerr
	}
}

// whole reports whether b begins with a whole record, or with what cannot become one: more of it is not needed.
func (c *conn) whole(b []byte) bool {
	size, err := c.rec.In().RecordLen(b)
	return err != nil || size > 0 && size <= len(b)
}

// missing returns how many bytes the record that b begins with needs, or its header. Precondition: it is not whole.
func (c *conn) missing(b []byte) int {
	size, _ := c.rec.In().RecordLen(b)
	return max(size, record.HeaderLen) - len(b)
}

// readHeld reads on in the block that holds a part of a record, until it is whole or the block is full.
func (c *conn) readHeld(w *engine.Wire) error {
	h := &c.in
	for h.off > 0 || !c.whole(h.bytes()) {
		if h.off > 0 { // the block begins with the record from now on
			copy(h.block.Bytes(), h.bytes())
			h.off = 0
			continue
		}
		b := h.block.Bytes()[h.n:]
		if len(b) == 0 {
			return nil
		}
		k, err := w.Read(b[:min(len(b), c.missing(h.bytes()))])
		h.n += int32(k)
		switch {
		case err == io.EOF:
			return ErrTruncated
		case err != nil && !c.whole(h.bytes()):
			return err
		}
	}
	return nil
}

// pause keeps b, the part of a record, for the next read. err is the wire's.
func (c *conn) pause(b []byte, err error) error {
	if err == io.EOF {
		return ErrTruncated
	}
	if keep := c.in.keep(c.side.loop, b); keep != nil {
		return keep
	}
	return err
}

// readSmall opens the record that b begins with when dst has no room for all of it. What is left of it waits in a block.
func (c *conn) readSmall(w *engine.Wire, dst, b []byte) (int, error) {
	data, used, end := c.rec.Next(b)
	n := copy(dst, data)
	c.replyNow(w)
	if err := c.plain.keep(c.side.loop, data[n:]); err != nil {
		return n, err
	}
	if end != nil && c.plain.n == 0 {
		return n, end
	}
	return n, c.pause(b[used:], nil)
}

// repliesQueuedMax is how much may wait for the socket when a KeyUpdate is answered at once. Else the answer goes before the next data, as
// it has to: a peer that asks for one after the other and reads nothing must not make the queue grow.
const repliesQueuedMax = 4 << 10

// replyNow is reply, unless it can wait and has to.
func (c *conn) replyNow(w *engine.Wire) {
	if c.rec.AlertDue() || w.Conn().Buffered() <= repliesQueuedMax {
		c.reply(w)
	}
}

// reply writes what the record layer has to say: alerts, KeyUpdates.
func (c *conn) reply(w *engine.Wire) {
	if c.rec.Given() {
		c.lastWord(w)
		return
	}
	for c.rec.HasReplies() {
		b, err := c.rec.AppendReplies(c.side.buf.out[:0])
		_, _ = w.Write(b)
		if err != nil {
			return
		}
	}
}

// writeRecords seals the pieces of v, in full records but for the last, and writes them together.
//
// Hot path: BenchmarkRecords.
func (c *conn) writeRecords(w *engine.Wire, v [][]byte) error {
	if c.rec.Given() {
		return record.ErrKeyUsedUp
	}
	if c.rec.HasReplies() {
		c.reply(w)
	}
	out := c.side.buf.out
	prefix, suffix := c.rec.Out().Prefix(), c.rec.Out().Suffix()
	at, n := 0, 0 // where the record begins, and how much data it has
	for _, p := range v {
		for len(p) > 0 {
			k := copy(out[at+prefix+n:at+prefix+record.MaxPlaintext], p)
			n, p = n+k, p[k:]
			if n < record.MaxPlaintext {
				continue
			}
			size, err := c.rec.SealData(out[at:], n)
			if err != nil {
				return err
			}
			at, n = at+size, 0
			if at+prefix+record.MaxPlaintext+suffix > len(out) {
				_, _ = w.Write(out[:at]) // it takes all, or the conn is gone
				at = 0
			}
		}
	}
	if n > 0 {
		size, err := c.rec.SealData(out[at:], n)
		if err != nil {
			return err
		}
		at += size
	}
	if at > 0 {
		_, _ = w.Write(out[:at])
	}
	return nil
}

// closeRecords writes close_notify.
func (c *conn) closeRecords(w *engine.Wire) {
	if c.rec.Given() {
		c.lastWord(w)
		return
	}
	b, err := c.rec.AppendClose(c.side.buf.out[:0])
	if err == nil && len(b) > 0 {
		_, _ = w.Write(b)
	}
}
