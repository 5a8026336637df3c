package record

import "io"

// Handshake messages that come after the handshake, and their limits.
const (
	msgHelloRequest     = 0
	msgNewSessionTicket = 4
	msgKeyUpdate        = 24
	// messageMax is the longest handshake message, that of crypto/tls.
	messageMax = 1 << 16
	// ticketMin is the shortest NewSessionTicket: two times, and the lengths of nonce, ticket and extensions.
	ticketMin = 13
	// values of request_update
	keyUpdateNotRequested = 0
	keyUpdateRequested    = 1
)

// Read opens the whole records at the beginning of src into dst, as many as there are and dst has room for, and
// returns how much of each it used. Alerts and handshake messages are dealt with; what has to be sent for them
// AppendReplies gives. io.ErrShortBuffer tells that dst has no room for the record behind used, for which Next
// is; it comes without data. Another error is the end, and may come with data. Without data or error it needs
// more of src.
//
// Precondition: dst and src do not overlap.
func (c *Conn) Read(dst, src []byte) (n, used int, err error) {
	for c.end == endNone {
		rec := src[used:]
		size, end := c.in.recordLen(rec)
		if end != endNone {
			c.fail(end)
			break
		}
		if size == 0 || size > len(rec) {
			return n, used, nil
		}
		if c.in.room(size) > len(dst)-n {
			if n == 0 {
				return 0, used, io.ErrShortBuffer
			}
			return n, used, nil
		}
		m, typ, end := c.in.open(dst[n:], rec[:size])
		used += size
		if end == endNone && typ == TypeApplicationData && m > 0 && !c.midMessage() {
			n += m
			c.useless = 0
			continue
		}
		c.handle(typ, dst[n:n+m], end)
	}
	return n, used, c.Err()
}

// Next opens the records at the beginning of src in their own place, up to the first with data, which it
// returns. Otherwise it is as Read.
func (c *Conn) Next(src []byte) (data []byte, used int, err error) {
	for c.end == endNone {
		rec := src[used:]
		size, end := c.in.recordLen(rec)
		if end != endNone {
			c.fail(end)
			break
		}
		if size == 0 || size > len(rec) {
			return nil, used, nil
		}
		b, typ, end := c.in.openInPlace(rec[:size])
		used += size
		if end == endNone && typ == TypeApplicationData && len(b) > 0 && !c.midMessage() {
			c.useless = 0
			return b, used, nil
		}
		c.handle(typ, b, end)
	}
	return nil, used, c.Err()
}

// midMessage reports whether a handshake message has begun and not ended.
func (c *Conn) midMessage() bool { return c.handLen > 0 || c.skip > 0 }

// fail ends reading, with an alert to be sent.
func (c *Conn) fail(end ending) {
	c.end = end
	c.flags |= flagAlert
}

// handle deals with a record that is not simply data.
func (c *Conn) handle(typ ContentType, b []byte, end ending) {
	if end != endNone {
		c.fail(end)
		return
	}
	// "Handshake messages MUST NOT be interleaved with other record types." RFC 8446 section 5.1
	if typ != TypeHandshake && c.midMessage() {
		c.fail(endInterleaved)
		return
	}
	switch typ {
	case TypeApplicationData: // empty
		c.countUseless()
	case TypeAlert:
		c.handleAlert(b)
	case TypeHandshake:
		c.handleHandshake(b)
	default:
		c.fail(endInnerType)
	}
}

// countUseless counts a record or message that brings no data.
func (c *Conn) countUseless() {
	c.useless++
	if c.useless > UselessMax {
		c.fail(endUseless)
	}
}

// handleAlert deals with an alert. RFC 8446 section 6, RFC 5246 section 7.2
func (c *Conn) handleAlert(b []byte) {
	if len(b) != 2 {
		c.fail(endAlert)
		return
	}
	level, code := b[0], Alert(b[1])
	switch {
	case code == CloseNotify:
		c.end = endClosed
	case c.in.tls13 && code == UserCanceled, !c.in.tls13 && level == levelWarning:
		c.countUseless()
	case c.in.tls13 || level == levelFatal:
		// "Upon transmission or receipt of a fatal alert message, both parties MUST immediately close the connection"
		// RFC 8446 section 6.2, where every other alert is fatal whatever its level says.
		c.end, c.code = endRemote, code
		c.flags |= flagShut
	default:
		c.fail(endAlert)
	}
}

// handleHandshake deals with the bytes of handshake messages in one record.
func (c *Conn) handleHandshake(b []byte) {
	if len(b) == 0 {
		// "Implementations MUST NOT send zero-length fragments of Handshake types". RFC 8446 section 5.1
		c.fail(endEmptyHandshake)
		return
	}
	for len(b) > 0 && c.end == endNone {
		if c.skip > 0 {
			n := min(len(b), int(c.skip))
			c.skip -= uint32(n)
			b = b[n:]
			if c.skip == 0 {
				c.countUseless()
			}
			continue
		}
		c.hand[c.handLen] = b[0]
		c.handLen++
		b = b[1:]
		switch {
		case c.handLen == 1:
			c.expects(c.hand[0])
		case c.handLen == 4:
			c.handleMessageHeader()
		case c.handLen == 5:
			c.handleKeyUpdate(len(b))
		}
	}
}

// expects ends reading if a handshake message of the given type may not come.
func (c *Conn) expects(msg byte) {
	switch {
	case c.in.tls13 && (msg == msgKeyUpdate || msg == msgNewSessionTicket && c.flags&flagClient != 0):
	case !c.in.tls13 && msg == msgHelloRequest:
		c.fail(endRenegotiation)
	default: // a ClientHello that wants to renegotiate too, as in crypto/tls
		c.fail(endHandshake)
	}
}

// handleMessageHeader looks at the length of a message. Of a ticket the rest is skipped; the body of a
// KeyUpdate is one byte, the fifth of hand.
func (c *Conn) handleMessageHeader() {
	n := uint32(c.hand[1])<<16 | uint32(c.hand[2])<<8 | uint32(c.hand[3])
	switch {
	case c.hand[0] == msgKeyUpdate && n != 1:
		c.fail(endKeyUpdate)
	case c.hand[0] == msgKeyUpdate:
		return
	case n < ticketMin:
		c.fail(endTicket)
	case n > messageMax:
		c.fail(endHandshakeTooLong)
	default:
		// Deviation: the ticket is not looked at, because a client that resumes stays with crypto/tls.
		c.handLen, c.skip = 0, n
	}
}

// handleKeyUpdate takes the peer's next key. more is how many bytes of the record follow. RFC 8446 section 4.6.3
func (c *Conn) handleKeyUpdate(more int) {
	c.handLen = 0
	request := c.hand[4]
	switch {
	case request > keyUpdateRequested:
		c.fail(endKeyUpdateValue)
		return
	case more > 0:
		// "Handshake messages MUST NOT span key changes." RFC 8446 section 5.1
		c.fail(endKeyUpdateBoundary)
		return
	case request == keyUpdateRequested && c.flags&flagGiven != 0:
		// "the receiver MUST send a KeyUpdate of its own", for which who seals now has no key. RFC 8446 section 4.6.3
		c.fail(endKeyUpdateGiven)
		return
	case request == keyUpdateRequested:
		c.flags |= flagKeyUpdate
	}
	c.flags &^= flagAsked
	c.countUseless()
	if err := c.in.next(); err != nil {
		c.fail(endKeys)
	}
}
