package record

import "errors"

var (
	// ErrShut tells that nothing more can be sealed: a close_notify or an alert was, the peer ended the connection, or another one seals.
	ErrShut = errors.New("record: the connection is shut")
	// ErrReplyDue tells that AppendReplies comes first.
	ErrReplyDue = errors.New("record: a reply is due before more data")
)

// HasReplies reports whether something is to be sent for what was read, or a new key is due.
func (c *Conn) HasReplies() bool {
	if c.flags&flagShut != 0 {
		return false
	}
	return c.flags&(flagAlert|flagKeyUpdate) != 0 || c.rekeyDue()
}

// AlertDue reports whether an alert is among the replies: the last that is sent.
func (c *Conn) AlertDue() bool { return c.flags&(flagAlert|flagShut) == flagAlert }

// rekeyDue reports whether a key has seen RekeyRecords: our own, or the peer's, which we can ask to be changed.
func (c *Conn) rekeyDue() bool {
	return c.in.tls13 && c.flags&flagGiven == 0 && (c.out.seq >= RekeyRecords || c.in.seq >= RekeyRecords && c.flags&flagAsked == 0)
}

// AppendReplies appends to dst what HasReplies tells of: an alert, after which nothing more is sealed, or one
// KeyUpdate, however many the peer asked for. RFC 8446 section 4.6.3
func (c *Conn) AppendReplies(dst []byte) ([]byte, error) {
	switch {
	case !c.HasReplies():
		return dst, nil
	case c.flags&flagAlert != 0:
		return c.appendAlert(dst, failures[c.end].Alert)
	case c.in.seq >= RekeyRecords && c.flags&flagAsked == 0:
		return c.AppendKeyUpdate(dst, true)
	default:
		return c.AppendKeyUpdate(dst, false)
	}
}

// AppendKeyUpdate appends a KeyUpdate and goes on with the next key; request asks the peer to do the same.
//
// Precondition: the version is TLS 1.3.
func (c *Conn) AppendKeyUpdate(dst []byte, request bool) ([]byte, error) {
	if c.flags&(flagShut|flagGiven) != 0 {
		return dst, ErrShut
	}
	msg := [...]byte{msgKeyUpdate, 0, 0, 1, keyUpdateNotRequested}
	if request {
		msg[4] = keyUpdateRequested
		c.flags |= flagAsked
	}
	dst, err := c.out.Seal(dst, TypeHandshake, msg[:])
	if err != nil {
		return dst, err
	}
	c.flags &^= flagKeyUpdate
	if err := c.out.next(); err != nil {
		c.flags |= flagShut
		return dst, err
	}
	return dst, nil
}

// AppendData appends the replies that are due and data in as many records as it needs.
//
// Precondition: dst has no room that overlaps data.
func (c *Conn) AppendData(dst, data []byte) ([]byte, error) {
	dst, err := c.AppendReplies(dst)
	for err == nil && len(data) > 0 {
		if c.flags&(flagShut|flagGiven) != 0 {
			return dst, ErrShut
		}
		n := min(len(data), MaxPlaintext)
		dst, err = c.out.Seal(dst, TypeApplicationData, data[:n])
		data = data[n:]
	}
	return dst, err
}

// SealData makes a record of the n bytes of data at buf[Out().Prefix():] and returns its length,
// Prefix+n+Suffix, which buf has room for. n is at most MaxPlaintext. ErrReplyDue tells that the peer has asked
// for a KeyUpdate: "the receiver MUST send a KeyUpdate of its own with request_update set to
// "update_not_requested" prior to sending its next Application Data record". RFC 8446 section 4.6.3
func (c *Conn) SealData(buf []byte, n int) (size int, err error) {
	switch {
	case c.flags&(flagShut|flagGiven) != 0:
		return 0, ErrShut
	case c.flags&(flagAlert|flagKeyUpdate) != 0:
		return 0, ErrReplyDue
	}
	return c.out.SealInPlace(buf, TypeApplicationData, n)
}

// AppendClose appends a close_notify, once; nothing more is sealed after it. An alert that is due takes its place.
func (c *Conn) AppendClose(dst []byte) ([]byte, error) {
	switch {
	case c.flags&flagShut != 0:
		return dst, nil
	case c.flags&flagAlert != 0:
		return c.AppendReplies(dst)
	}
	return c.appendAlert(dst, CloseNotify)
}

// AppendAlert appends an alert that ends the connection for a reason that this package does not know.
func (c *Conn) AppendAlert(dst []byte, code Alert) ([]byte, error) {
	if c.flags&flagShut != 0 {
		return dst, nil
	}
	return c.appendAlert(dst, code)
}

func (c *Conn) appendAlert(dst []byte, code Alert) ([]byte, error) {
	if c.flags&flagGiven != 0 {
		return dst, ErrShut
	}
	msg := alertMessage(code)
	c.flags |= flagShut
	c.flags &^= flagAlert | flagKeyUpdate
	return c.out.Seal(dst, TypeAlert, msg[:])
}

// alertMessage is what an alert looks like. RFC 8446 section 6
func alertMessage(code Alert) [2]byte {
	if code == CloseNotify || code == NoRenegotiation || code == UserCanceled {
		return [2]byte{levelWarning, byte(code)}
	}
	return [2]byte{levelFatal, byte(code)}
}
