package h2

import (
	"bytes"
	"strconv"

	"millrace/codec"
	"millrace/codec/ascii"
	"millrace/codec/hpack"
)

// AppendContinue implements [codec.Server].
func (s *Server) AppendContinue(dst []byte, id codec.StreamID) []byte {
	st := s.streams.get(uint32(id))
	if st == nil || st.state&sentHead != 0 {
		return dst
	}
	dst, at := s.beginHeaders(dst, st.id, false)
	dst = s.enc.Append(dst, hpack.StaticStatus200, statusName, []byte("100"), hpack.Literal)
	return s.endHeaders(dst, at)
}

var statusName = []byte(":status")

// AppendResponseHead implements [codec.Server]. Fields that are about a connection, and a Transfer-Encoding, are left
// out; Content-Length is written as h.ContentLength says. It appends nothing for a stream that is gone.
func (s *Server) AppendResponseHead(dst []byte, id codec.StreamID, h *codec.ResponseHead, end bool) []byte {
	st := s.streams.get(uint32(id))
	if st == nil {
		return dst
	}
	if st.state&sentHead != 0 {
		panic("BUG: h2: a second final head")
	}
	if h.Status < 100 || h.Status > 999 || h.Status == 101 {
		panic("BUG: h2: a status that is none")
	}
	dst, at := s.beginHeaders(dst, st.id, end)
	dst = s.appendStatus(dst, h.Status)
	length := h.ContentLength
	if h.Status < 200 || h.Status == 204 || st.state&connectMethod != 0 && h.Status < 300 {
		length = -1
	}
	dst = s.appendFields(dst, &h.Fields, length)
	dst = s.endHeaders(dst, at)
	if h.Status >= 200 {
		st.state |= sentHead
	}
	if end {
		s.sent(st)
	}
	return dst
}

// appendStatus appends :status.
func (c *conn) appendStatus(dst []byte, status int) []byte {
	if i := staticStatus(status); i != 0 {
		return c.enc.AppendStatic(dst, i)
	}
	digits := [3]byte{byte('0' + status/100), byte('0' + status/10%10), byte('0' + status%10)}
	return c.enc.Append(dst, hpack.StaticStatus200, statusName, digits[:], hpack.Index)
}

// staticStatus returns the entry of the static table with a status, 0 if there is none.
func staticStatus(status int) int {
	switch status {
	case 200:
		return hpack.StaticStatus200
	case 204:
		return 9
	case 206:
		return 10
	case 304:
		return 11
	case 400:
		return 12
	case 404:
		return 13
	case 500:
		return 14
	}
	return 0
}

// AppendRequestHead implements [codec.Client]. The stream is one that Open gave. A Host field is left out: it is
// :authority.
func (c *Client) AppendRequestHead(dst []byte, id codec.StreamID, h *codec.RequestHead, end bool) []byte {
	st := c.streams.get(uint32(id))
	if st == nil {
		return dst
	}
	dst, at := c.beginHeaders(dst, st.id, end)
	m := h.Method()
	switch m {
	case codec.MethodGET:
		dst = c.enc.AppendStatic(dst, hpack.StaticMethodGET)
	case codec.MethodPOST:
		dst = c.enc.AppendStatic(dst, hpack.StaticMethodPOST)
	default:
		dst = c.enc.Append(dst, hpack.StaticMethodGET, []byte(":method"), h.MethodBytes(), hpack.Index)
	}
	switch m {
	case codec.MethodHEAD:
		st.state |= headMethod
	case codec.MethodCONNECT:
		st.state |= connectMethod
	}
	if protocol := h.Protocol(); m != codec.MethodCONNECT || protocol != nil {
		if protocol != nil {
			dst = c.enc.Append(dst, 0, []byte(":protocol"), protocol, hpack.Index)
		}
		dst = c.appendScheme(dst, h.Scheme())
		dst = c.appendPath(dst, h.Path())
	}
	if a := h.Authority(); len(a) > 0 {
		dst = c.enc.Append(dst, hpack.StaticAuthority, []byte(":authority"), a, hpack.Index)
	}
	dst = c.appendFields(dst, &h.Fields, h.ContentLength)
	dst = c.endHeaders(dst, at)
	st.state |= sentHead
	if end {
		c.sent(st)
	}
	return dst
}

func (c *conn) appendScheme(dst, scheme []byte) []byte {
	switch {
	case len(scheme) == 0, equalLower(scheme, "http"):
		return c.enc.AppendStatic(dst, hpack.StaticHTTP)
	case equalLower(scheme, "https"):
		return c.enc.AppendStatic(dst, hpack.StaticHTTPS)
	}
	return c.enc.Append(dst, hpack.StaticHTTP, []byte(":scheme"), scheme, hpack.Index)
}

func (c *conn) appendPath(dst, path []byte) []byte {
	if len(path) == 1 && path[0] == '/' {
		return c.enc.AppendStatic(dst, hpack.StaticPathRoot)
	}
	return c.enc.Append(dst, hpack.StaticPathRoot, []byte(":path"), path, hpack.Literal)
}

// beginHeaders appends the head of a HEADERS frame whose length endHeaders fills in.
func (c *conn) beginHeaders(dst []byte, id uint32, end bool) ([]byte, int) {
	flags := uint8(flagEndHeaders)
	if end {
		flags |= flagEndStream
	}
	at := len(dst)
	return c.enc.Begin(appendFrameHead(dst, 0, frameHeaders, flags, id)), at
}

// endHeaders completes the HEADERS frame at dst[at:], in several frames if the peer does not take it in one.
func (c *conn) endHeaders(dst []byte, at int) []byte {
	n := len(dst) - at - frameHeadLen
	most := int(c.peer.frameBytes)
	if n <= most {
		putFrameLength(dst[at:], n)
		return dst
	}
	h := parseFrameHead(dst[at:])
	block := bytes.Clone(dst[at+frameHeadLen:])
	dst = dst[:at]
	for typ, flags := frameHeaders, h.flags&^flagEndHeaders; len(block) > 0; typ, flags = frameContinuation, 0 {
		n := min(len(block), most)
		if n == len(block) {
			flags |= flagEndHeaders
		}
		dst = append(appendFrameHead(dst, n, typ, flags, h.stream), block[:n]...)
		block = block[n:]
	}
	return dst
}

// appendFields appends the fields that may go into HTTP/2, and Content-Length unless it is -1.
//
// Hot path: BenchmarkServerResponse.
func (c *conn) appendFields(dst []byte, f *codec.Fields, length int64) []byte {
	var listed [8][]byte
	hops := f.Values("connection", listed[:0])
	for i := range f.Len() {
		id, name, value := f.At(i)
		switch id {
		case codec.FieldRemoved, codec.FieldHost, codec.FieldConnection, codec.FieldKeepAlive, codec.FieldProxyConnection,
			codec.FieldTransferEncoding, codec.FieldUpgrade, codec.FieldContentLength:
			continue
		case codec.FieldTE:
			if !listsTrailers(value) {
				continue
			}
			value = []byte("trailers")
		case codec.FieldOther:
			if len(hops) > 0 && isListed(hops, name) {
				continue
			}
			name = c.lower(name)
			e := findOther(name)
			dst = c.enc.Append(dst, int(e.index), name, value, modeOf(f, i, e.mode))
			continue
		}
		mode := modes[id]
		if id == codec.FieldXEnvoyUpstreamServiceTime && len(value) == 1 {
			mode = hpack.Index // ten values at most, and a name of 29 letters that is no entry of the static table
		}
		dst = c.enc.Append(dst, int(staticKnown[id]), knownNames[id], value, modeOf(f, i, mode))
	}
	if length >= 0 {
		var digits [20]byte
		dst = c.enc.Append(dst, int(staticKnown[codec.FieldContentLength]), knownNames[codec.FieldContentLength],
			strconv.AppendInt(digits[:0], length, 10), hpack.Literal)
	}
	return dst
}

// modeOf returns what may be done with entry i, which is mode unless it came marked.
func modeOf(f *codec.Fields, i int, mode hpack.Mode) hpack.Mode {
	if f.IsNever(i) {
		return hpack.NeverIndex
	}
	return mode
}

// lower returns a name in lower case, which lies in the scratch if it was not.
func (c *conn) lower(name []byte) []byte {
	for _, b := range name {
		if b >= 'A' && b <= 'Z' {
			c.scratch.lower = append(c.scratch.lower[:0], name...)
			for i, b := range c.scratch.lower {
				c.scratch.lower[i] = ascii.Lower(b)
			}
			return c.scratch.lower
		}
	}
	return name
}

// listsTrailers reports whether a TE field lists trailers.
func listsTrailers(value []byte) bool {
	for list := value; list != nil; {
		var e []byte
		e, list = ascii.CutList(list)
		if ascii.EqualFoldString(e, "trailers") {
			return true
		}
	}
	return false
}

// isListed reports whether one of the Connection fields names a field.
func isListed(hops [][]byte, name []byte) bool {
	for _, list := range hops {
		for list != nil {
			var e []byte
			e, list = ascii.CutList(list)
			if ascii.EqualFold(e, name) {
				return true
			}
		}
	}
	return false
}

// AppendDataPrefix implements [codec.Server] and [codec.Client]: the head of a DATA frame. n is at most Writable and
// FrameMax.
func (c *conn) AppendDataPrefix(dst []byte, id codec.StreamID, n int, end bool) []byte {
	st := c.streams.get(uint32(id))
	if st == nil || n == 0 && !end {
		return dst
	}
	if int64(n) > c.sendWindow || n > int(max(st.sendWindow, 0)) || n > int(c.peer.frameBytes) {
		panic("BUG: h2: more data than the peer takes")
	}
	c.sendWindow -= int64(n)
	st.sendWindow -= int32(n)
	c.earn()
	flags := uint8(0)
	if end {
		flags = flagEndStream
	}
	dst = appendFrameHead(dst, n, frameData, flags, st.id)
	if end {
		c.sent(st)
	}
	return dst
}

// AppendDataSuffix implements [codec.Server] and [codec.Client]. There is nothing behind data.
func (c *conn) AppendDataSuffix(dst []byte, _ codec.StreamID, _ int, _ bool) []byte { return dst }

// FrameMax is the most data that one frame may have.
func (c *conn) FrameMax() int { return int(c.peer.frameBytes) }

// AppendTrailers implements [codec.Server] and [codec.Client].
func (c *conn) AppendTrailers(dst []byte, id codec.StreamID, t *codec.Fields) []byte {
	st := c.streams.get(uint32(id))
	if st == nil {
		return dst
	}
	dst, at := c.beginHeaders(dst, st.id, true)
	if dst = c.appendFields(dst, t, -1); len(dst) == at+frameHeadLen { // nothing is left of them
		dst = appendFrameHead(dst[:at], 0, frameData, flagEndStream, st.id)
	} else {
		dst = c.endHeaders(dst, at)
	}
	c.sent(st)
	return dst
}

// sent notes that our direction of a stream has ended.
func (c *conn) sent(s *stream) {
	s.state |= sentEnd
	if s.state&recvEnd != 0 {
		c.closeStream(s.id)
	}
}
