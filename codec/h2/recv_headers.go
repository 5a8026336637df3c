package h2

import (
	"encoding/binary"
	"slices"

	"millrace/codec"
	"millrace/codec/hpack"
)

// onHeaders handles a HEADERS frame.
func (c *conn) onHeaders(h frameHead, p []byte, ev *codec.Event) *codec.Error {
	if h.stream == 0 || !c.mayOpen(h.stream) {
		return &errStreamID
	}
	p, err := unpad(p, h.flags)
	if err != nil {
		return err
	}
	c.blockSelf = false
	if h.flags&flagPriority != 0 {
		if len(p) < 5 {
			return &errFrameSize
		}
		c.blockSelf = binary.BigEndian.Uint32(p)&windowMax == h.stream
		p = p[5:]
	}
	c.blockEnds = h.flags&flagEndStream != 0
	if h.flags&flagEndHeaders != 0 {
		c.empty = 0
		return c.onBlock(h.stream, p, ev)
	}
	c.block, c.blockStream, c.continuations = append([]byte(nil), p...), h.stream, 0
	return nil
}

// mayOpen reports whether HEADERS of the peer may come for a stream: one that it opens or has opened, or one of ours
// that is not idle.
func (c *conn) mayOpen(id uint32) bool {
	if c.client {
		return id&1 == 1 && id <= c.lastLocal
	}
	return id&1 == 1
}

// onContinuation handles a CONTINUATION frame.
func (c *conn) onContinuation(h frameHead, p []byte, ev *codec.Event) *codec.Error {
	if c.blockStream == 0 {
		return &errFrame
	}
	c.continuations++
	if c.continuations > c.opt.Continuations {
		return &errContinuations
	}
	// Fields cannot be left out of a block without losing the table, so a block that is too long is the end.
	if len(c.block)+len(p) > c.opt.Limits.HeadBytes {
		return &errBlockTooLarge
	}
	c.block = append(c.block, p...)
	if h.flags&flagEndHeaders == 0 {
		return nil
	}
	id, block := c.blockStream, c.block
	c.blockStream, c.block = 0, nil
	c.empty = 0
	return c.onBlock(id, block, ev)
}

// onBlock handles a whole header block.
func (c *conn) onBlock(id uint32, block []byte, ev *codec.Event) *codec.Error {
	c.earn()
	if c.client {
		return c.onResponseBlock(id, block, ev)
	}
	return c.onRequestBlock(id, block, ev)
}

// A section is a header block being decoded.
type section struct {
	fields *codec.Fields // nil to decode for the sake of the table alone
	dst    []byte        // decoded bytes
	limits *codec.Limits
	bytes  int // name, value and 32 of each field, as RFC 9113 section 10.5.1 counts
	swell  int // how many bytes names and values may have; 0 is no limit
	count  int
	err    *codec.Error // the first thing wrong with the stream

	trailers bool
	request  bool
	regular  bool // a field that is no pseudo-field has come

	pseudo    pseudoSet
	method    hpack.Field
	path      codec.Span
	authority codec.Span
	scheme    codec.Span
	protocol  codec.Span
	status    int
	length    int64 // of Content-Length; -1 for none
	priority  codec.Span

	cookies     int
	cookieSum   int
	cookieFirst int  // where the first begins
	cookieEnd   int  // where the last ends
	cookieApart bool // other fields lie between them
}

type pseudoSet uint8

const (
	pseudoMethod pseudoSet = 1 << iota
	pseudoScheme
	pseudoPath
	pseudoAuthority
	pseudoProtocol
	pseudoStatus
)

// bombFactor bounds what a block may expand to, as a multiple of Limits.HeadBytes, before decoding stops with the
// connection: up to there it goes on, so that one head too many costs a stream only.
const bombFactor = 4

// decode decodes a block. A codec.Error of a stream is left in x.err; what is returned is of the connection.
func (c *conn) decode(block []byte, x *section) *codec.Error {
	x.limits, x.length = c.opt.Limits, -1
	x.dst = c.scratch.head[:0]
	if c.opt.SwellBytes > 0 {
		x.swell = 2*len(block) + int(c.opt.TableBytes) + c.opt.SwellBytes
	}
	c.dec.Begin()
	for len(block) > 0 {
		dst, n, f, err := c.dec.Next(x.dst, block, bombFactor*x.limits.HeadBytes)
		if err == hpack.ErrTooLong {
			return &errBlockTooLarge
		}
		if err != hpack.ErrNone {
			return &errCompression
		}
		block = block[n:]
		if f.End < 0 {
			continue
		}
		x.bytes += f.End - f.Off + fieldOverhead
		if x.bytes > bombFactor*x.limits.HeadBytes {
			return &errBlockTooLarge
		}
		x.count++
		x.check()
		if x.err != nil || x.fields == nil {
			x.dst = dst[:len(x.dst)] // overwritten by the next, in memory that need not grow again
			continue
		}
		x.dst = dst
		if x.err = x.add(f); x.err != nil {
			x.fields.Reset()
		}
	}
	if c.dec.End() != hpack.ErrNone {
		return &errCompression
	}
	c.scratch.keep(x.dst)
	return nil
}

// keep makes b, which may have grown, the memory for the next head.
func (s *Scratch) keep(b []byte) {
	if cap(b) <= headKeepMax {
		s.head = b[:0]
	}
}

// fieldOverhead is what a field counts beside its bytes.
const fieldOverhead = 32

// check applies the limits on what has been decoded so far.
func (x *section) check() {
	bytes, count := x.limits.HeadBytes, x.limits.FieldCount
	if x.trailers {
		bytes, count = x.limits.TrailerBytes, x.limits.TrailerCount
	}
	switch {
	case x.err != nil:
	case x.bytes > bytes:
		x.err = &errHeadTooLarge
	case x.count > count+pseudoMax:
		x.err = &errTooManyFields
	case x.swell > 0 && x.bytes-x.count*fieldOverhead > x.swell:
		x.err = &errHeadSwells
	}
}

// pseudoMax is how many pseudo-fields a request may have; they do not count as fields.
const pseudoMax = 5

// add takes one decoded field in.
//
// Hot path: BenchmarkServerFeed.
func (x *section) add(f hpack.Field) *codec.Error {
	name, value := x.dst[f.Off:f.Value], x.dst[f.Value:f.End]
	if len(name) > 0 && name[0] == ':' {
		return x.addPseudo(f, name, value)
	}
	x.regular = true
	if f.Static == 0 && !isFieldName(name) {
		return &errFieldName
	}
	if !f.Whole && !isFieldValue(value) {
		return &errFieldValue
	}
	id := codec.KnownField(name)
	switch id {
	case codec.FieldConnection, codec.FieldKeepAlive, codec.FieldProxyConnection, codec.FieldTransferEncoding, codec.FieldUpgrade:
		// "An endpoint MUST NOT generate an HTTP/2 message containing connection-specific header fields. ... Any message
		// containing connection-specific header fields MUST be treated as malformed"
		// RFC 9113 section 8.2.2
		return &errConnectionField
	case codec.FieldTE:
		if !equalLower(value, "trailers") {
			return &errConnectionField
		}
	case codec.FieldContentLength:
		if err := x.setLength(value); err != nil {
			return err
		}
	case codec.FieldCookie:
		if x.cookies == 0 {
			x.cookieFirst = f.Off
		} else if f.Off != x.cookieEnd {
			x.cookieApart = true
		}
		x.cookieEnd = f.End
		x.cookies++
		x.cookieSum += len(value)
	case codec.FieldOther:
		if len(name) == len("priority") && string(name) == "priority" {
			x.priority = span(f.Value, f.End)
		}
	}
	x.fields.AppendSpan(id, span(f.Off, f.Value), span(f.Value, f.End))
	if f.Never {
		x.fields.MarkNever()
	}
	return nil
}

func span(from, to int) codec.Span { return codec.Span{Off: uint32(from), Len: uint32(to - from)} }

// addPseudo takes a pseudo-field in.
//
// "Endpoints MUST treat a request or response that contains undefined or invalid pseudo-header fields as malformed. ...
// All pseudo-header fields MUST appear in a field block before all regular field lines. ... The same pseudo-header field
// name MUST NOT appear more than once in a field block."
// RFC 9113 section 8.3
func (x *section) addPseudo(f hpack.Field, name, value []byte) *codec.Error {
	if x.regular || x.trailers {
		return &errPseudo
	}
	var bit pseudoSet
	switch string(name) {
	case ":method":
		bit, x.method = pseudoMethod, f
	case ":scheme":
		bit, x.scheme = pseudoScheme, span(f.Value, f.End)
	case ":path":
		bit, x.path = pseudoPath, span(f.Value, f.End)
	case ":authority":
		bit, x.authority = pseudoAuthority, span(f.Value, f.End)
	case ":protocol":
		bit, x.protocol = pseudoProtocol, span(f.Value, f.End)
	case ":status":
		bit = pseudoStatus
		if x.status = parseStatus(value); x.status == 0 {
			return &errStatus
		}
	default:
		return &errPseudo
	}
	if x.pseudo&bit != 0 || x.request == (bit == pseudoStatus) {
		return &errPseudo
	}
	x.pseudo |= bit
	return nil
}

// setLength takes a Content-Length in. Repeated ones must be equal.
func (x *section) setLength(value []byte) *codec.Error {
	n, ok := parseLength(value)
	if !ok || x.length >= 0 && x.length != n {
		return &errContentLength
	}
	x.length = n
	return nil
}

// joinCookies makes one field of the crumbs of a cookie.
//
// "If there are multiple Cookie header fields after decompression, these MUST be concatenated into a single octet string
// using the two-octet delimiter of 0x3b, 0x20 (the ASCII string "; ") before being passed into a non-HTTP/2 context"
// RFC 9113 section 8.2.3
func (x *section) joinCookies() {
	if x.cookies < 2 {
		return
	}
	f := x.fields
	f.SetBuffer(x.dst)
	name, first, never := x.cookieFirst, true, false
	at := name + len("cookie") // the value of the first, where the others follow it: each brings its name, which is longer than "; "
	if x.cookieApart {         // what lies between them stays where it is
		name = len(x.dst)
		x.dst = append(x.dst, "cookie"...)
		at = len(x.dst)
		x.dst = slices.Grow(x.dst, x.cookieSum+2*x.cookies)[:at+x.cookieSum+2*(x.cookies-1)]
	}
	to := at
	for i := range f.Len() {
		id, _, value := f.At(i)
		if id != codec.FieldCookie {
			continue
		}
		if !first {
			to += copy(x.dst[to:], "; ")
		}
		to += copy(x.dst[to:], value)
		first, never = false, never || f.IsNever(i)
	}
	if x.cookieApart || x.cookieEnd == len(x.dst) {
		x.dst = x.dst[:to]
	}
	f.Remove(codec.FieldCookie)
	f.AppendSpan(codec.FieldCookie, span(name, at), span(at, to))
	if never {
		f.MarkNever()
	}
}
