package h1

import "millrace/codec"

// AppendRequestHead implements [codec.Client]. doc.go says which fields are written how.
//
//	CONNECT               no body; the tunnel follows a 2xx
//	end                   Content-Length: 0 if h had a length or was chunked, else nothing
//	h.ContentLength >= 0  Content-Length
//	h.Upgrade             no body; the tunnel follows a 101
//	else                  chunked
//
// The target is in origin-form, the authority for CONNECT.
func (c *Client) AppendRequestHead(dst []byte, _ codec.StreamID, h *codec.RequestHead, end bool) []byte {
	if !c.free() {
		panic("BUG: h1: request on a connection that is in use")
	}
	mode, length := requestMode(h, end)
	c.begin()
	c.writer, c.informational, c.method = writer{keep: !c.closing}, 0, h.Method()
	c.upgrade = h.Upgrade && h.Has(codec.FieldUpgrade)
	dst = appendRequestLine(dst, h)
	dst = appendFields(dst, &h.Fields, fieldPlan{
		request: true, host: hostValue(h), length: length, chunked: mode == modeChunked,
		upgrade: c.upgrade, te: h.Has(codec.FieldTE), close: c.closing,
	})
	c.start(mode, length, end)
	return dst
}

// requestMode chooses the framing, and the Content-Length to write, -1 for none.
func requestMode(h *codec.RequestHead, end bool) (bodyMode, int64) {
	switch {
	case h.Method() == codec.MethodCONNECT:
		return modeNone, -1
	case end:
		if h.ContentLength >= 0 || h.Chunked {
			return modeNone, 0
		}
		return modeNone, -1
	case h.ContentLength >= 0:
		return modeLength, h.ContentLength
	case h.Upgrade && !h.Chunked:
		return modeNone, -1
	default:
		return modeChunked, -1
	}
}

func appendRequestLine(dst []byte, h *codec.RequestHead) []byte {
	dst = append(append(dst, h.MethodBytes()...), ' ')
	target := h.Path()
	if h.Method() == codec.MethodCONNECT {
		target = h.Authority()
	}
	return append(append(dst, target...), " HTTP/1.1\r\n"...)
}

// hostValue returns the value for Host, not nil:
//
// "If the target URI's authority is missing or undefined, then a client MUST send a Host header
// field with an empty field value."
// RFC 9112 section 3.2
func hostValue(h *codec.RequestHead) []byte {
	if a := h.Authority(); a != nil {
		return a
	}
	return []byte{}
}
