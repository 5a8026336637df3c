package h1

import (
	"strconv"

	"millrace/codec"
)

// AppendContinue implements [codec.Server]. It appends nothing when the peer speaks HTTP/1.0, and
// after the final head.
func (s *Server) AppendContinue(dst []byte, _ codec.StreamID) []byte {
	if s.request.version < codec.Version11 || s.head {
		return dst
	}
	return append(dst, "HTTP/1.1 100 Continue\r\n\r\n"...)
}

// AppendResponseHead implements [codec.Server]. doc.go says which fields are written how.
//
//	HEAD, 204, 304            no body; Content-Length as in h, but not with 204; no Transfer-Encoding
//	2xx to CONNECT, 101       no body, a tunnel follows
//	end                       Content-Length: 0
//	h.ContentLength >= 0      Content-Length
//	HTTP/1.1                  chunked
//	HTTP/1.0                  until the connection closes
//
// It says "Connection: close" if the request or SetClose asked for it, if the body ends with the connection, and
// if a CONNECT or an upgrade was turned down: a peer that did not wait for the answer may have sent bytes of
// the other protocol, which must not be read as a request. A 1xx is written to HTTP/1.1 peers only.
//
// Where there is no body ResponseDone holds at once, whatever end said: data that the caller has for
// it is to be dropped.
func (s *Server) AppendResponseHead(dst []byte, _ codec.StreamID, h *codec.ResponseHead, end bool) []byte {
	if s.head {
		panic("BUG: h1: a second final head")
	}
	if h.Status < 100 || h.Status > 999 {
		panic("BUG: h1: a status that is none")
	}
	if h.Status < 200 {
		return s.appendInformational(dst, h)
	}
	mode, length := s.responseMode(h, end)
	r := &s.request
	upgrade := h.Status == 426 && h.Has(codec.FieldUpgrade)
	s.keep = r.keepAlive && mode != modeClose && !r.upgrade && (!r.connect || mode == modeTunnel)
	closes := (!s.keep || s.closing) && mode != modeTunnel
	dst = appendFields(appendStatusLine(dst, h), &h.Fields, fieldPlan{
		length: length, chunked: mode == modeChunked, upgrade: upgrade, close: closes,
		keepSaid: !closes && r.version == codec.Version10 && mode != modeTunnel,
	})
	s.start(mode, length, end)
	s.enterTunnel()
	return dst
}

// enterTunnel makes the reading side opaque too, if the request is complete; else Feed does it then.
func (s *Server) enterTunnel() {
	if s.mode == modeTunnel && s.state == stateDone {
		s.state = stateTunnel
	}
}

// responseMode chooses the framing, and the Content-Length to write, -1 for none.
func (s *Server) responseMode(h *codec.ResponseHead, end bool) (bodyMode, int64) {
	switch {
	case s.request.connect && h.Status < 300:
		// "A server MUST NOT send any Transfer-Encoding or Content-Length header fields in a 2xx
		// (Successful) response to CONNECT."
		// RFC 9110 section 9.3.6
		return modeTunnel, -1
	case h.Status == 204:
		// "A server MUST NOT send a Content-Length header field in any response with a status code of 1xx
		// (Informational) or 204 (No Content)."
		// RFC 9110 section 8.6
		return modeNone, -1
	case s.request.head || h.Status == 304:
		return modeNone, h.ContentLength
	case end:
		return modeLength, 0
	case h.ContentLength >= 0:
		return modeLength, h.ContentLength
	case s.request.version >= codec.Version11:
		return modeChunked, -1
	default:
		return modeClose, -1
	}
}

// appendInformational appends a 1xx. A 101 is final and starts the tunnel.
func (s *Server) appendInformational(dst []byte, h *codec.ResponseHead) []byte {
	switching := h.Status == 101
	if switching && !s.request.upgrade {
		panic("BUG: h1: 101 to a request without upgrade")
	}
	// "A server MUST NOT send a 1xx response to an HTTP/1.0 client."
	// RFC 9110 section 15.2
	if s.request.version < codec.Version11 {
		return dst
	}
	dst = appendFields(appendStatusLine(dst, h), &h.Fields, fieldPlan{length: -1, upgrade: switching})
	if switching {
		s.start(modeTunnel, -1, false)
		s.enterTunnel()
	}
	return dst
}

func appendStatusLine(dst []byte, h *codec.ResponseHead) []byte {
	reason := h.Reason()
	if h.Status == 200 && (len(reason) == 0 || string(reason) == "OK") {
		return append(dst, "HTTP/1.1 200 OK\r\n"...)
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(h.Status), 10)
	dst = append(dst, ' ')
	if len(reason) > 0 {
		dst = append(dst, reason...)
	} else {
		dst = append(dst, codec.ReasonPhrase(h.Status)...)
	}
	return append(dst, '\r', '\n')
}
