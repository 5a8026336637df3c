package h1

import (
	"bytes"
	"encoding/binary"

	"millrace/codec"
	"millrace/codec/ascii"
)

// startLineExtra is how much longer than its target a request-line may be, in bytes.
const startLineExtra = 256

// startLine parses the start line of a request at b[0], if it is complete: the reader is
// in stateFields then.
func (r *reader) startLine(b []byte, h *codec.RequestHead) codec.Reason {
	if r.scanned == 0 && !ascii.Is(b[0], ascii.Token) { // no need to wait for the line of a TLS client
		return codec.ReasonRequestLine
	}
	lf, ok := r.nextLine(b, min(r.limits.TargetBytes+startLineExtra, r.limits.HeadBytes))
	if lf < 0 {
		if !ok {
			return codec.ReasonTargetTooLong
		}
		return codec.ReasonNone
	}
	if b[lf-1] != '\r' { // b[0] is no LF, so lf > 0
		return codec.ReasonLineEnd
	}
	if why := r.requestLine(b[:lf-1], h); why != codec.ReasonNone {
		return why
	}
	r.state, r.lines = stateFields, 0
	r.line, r.scanned = int32(lf+1), int32(lf+1)
	return codec.ReasonNone
}

// requestLine parses
//
//	request-line = method SP request-target SP HTTP-version
//
// RFC 9112 section 3. "recipients MAY instead parse on whitespace-delimited word
// boundaries"; we do not, other readers of the same bytes may not.
func (r *reader) requestLine(line []byte, h *codec.RequestHead) codec.Reason {
	m := ascii.Span(line, ascii.Token)
	if m == len(line) || line[m] != ' ' {
		if bytes.IndexByte(line, '\r') >= 0 {
			return codec.ReasonLineEnd
		}
		return codec.ReasonMethod
	}
	t := bytes.IndexByte(line[m+1:], ' ')
	if t < 0 { // HTTP/0.9, or no target
		return codec.ReasonRequestLine
	}
	target, version := line[m+1:m+1+t], line[m+1+t+1:]
	if why := r.requestVersion(version, h); why != codec.ReasonNone {
		return why
	}
	if t > r.limits.TargetBytes {
		return codec.ReasonTargetTooLong
	}
	if !ascii.IsTarget(target) {
		return codec.ReasonTarget
	}
	method := codec.ParseMethod(line[:m])
	h.SetMethodSpan(method, codec.Span{Off: 0, Len: uint32(m)})
	return parseTarget(h, method, target, uint32(m+1))
}

const (
	wordHTTP10 = 0x302e312f50545448 // "HTTP/1.0", little endian
	wordHTTP11 = 0x312e312f50545448
)

// parseVersion returns the version that b names, 0 for another version of HTTP.
func parseVersion(b []byte) (version uint8, ok bool) {
	if len(b) != 8 {
		return 0, false
	}
	switch binary.LittleEndian.Uint64(b) {
	case wordHTTP11:
		return codec.Version11, true
	case wordHTTP10:
		return codec.Version10, true
	}
	// HTTP-version = HTTP-name "/" DIGIT "." DIGIT, RFC 9112 section 2.3. The name is case-sensitive.
	return 0, string(b[:5]) == "HTTP/" && ascii.Is(b[5], ascii.Digit) && b[6] == '.' && ascii.Is(b[7], ascii.Digit)
}

func (r *reader) requestVersion(b []byte, h *codec.RequestHead) codec.Reason {
	version, ok := parseVersion(b)
	switch {
	case !ok:
		if bytes.IndexByte(b, '\r') >= 0 {
			return codec.ReasonLineEnd
		}
		return codec.ReasonRequestLine
	case version == 0:
		return codec.ReasonVersion
	case version == codec.Version10 && !r.limits.AcceptHTTP10:
		return codec.ReasonVersionLow
	}
	h.Version = version
	return codec.ReasonNone
}

// parseTarget tells apart the four forms of RFC 9112 section 3.2. target lies at off in the head.
//
// Precondition: every byte of target is one that a target may hold.
func parseTarget(h *codec.RequestHead, m codec.Method, target []byte, off uint32) codec.Reason {
	all := codec.Span{Off: off, Len: uint32(len(target))}
	switch {
	case len(target) == 0:
		return codec.ReasonRequestLine
	case m == codec.MethodCONNECT: // authority-form, section 3.2.3
		if !validAuthority(target, true) {
			return codec.ReasonTarget
		}
		h.SetTarget(codec.Span{}, all, codec.Span{})
	case target[0] == '/':
		h.SetTarget(all, codec.Span{}, codec.Span{})
	case target[0] == '*': // asterisk-form, for a server-wide OPTIONS only, section 3.2.4
		if len(target) != 1 || m != codec.MethodOPTIONS {
			return codec.ReasonTarget
		}
		h.SetTarget(all, codec.Span{}, codec.Span{})
	default:
		return absoluteForm(h, target, off)
	}
	return codec.ReasonNone
}

// absoluteForm takes an absolute URI apart (RFC 9112 section 3.2.2). Schemes other than http and https are refused:
// there is no way to forward them.
func absoluteForm(h *codec.RequestHead, target []byte, off uint32) codec.Reason {
	colon := bytes.IndexByte(target, ':')
	if colon < 0 || !bytes.HasPrefix(target[colon:], []byte("://")) {
		return codec.ReasonTarget
	}
	if !ascii.EqualFoldString(target[:colon], "http") && !ascii.EqualFoldString(target[:colon], "https") {
		return codec.ReasonTarget
	}
	from := colon + 3
	to := len(target)
	if i := bytes.IndexAny(target[from:], "/?#"); i >= 0 {
		to = from + i
	}
	// "http" and "https" URIs have a host that is not empty and no userinfo: RFC 9110 sections 4.2.1 and 4.2.4.
	if !validAuthority(target[from:to], false) {
		return codec.ReasonTarget
	}
	span := func(i, j int) codec.Span { return codec.Span{Off: off + uint32(i), Len: uint32(j - i)} }
	h.SetTarget(span(to, len(target)), span(from, to), span(0, colon))
	return codec.ReasonNone
}

// completePath gives an absolute-form target without a path one.
//
// Precondition: the buffer of h is set.
func completePath(h *codec.RequestHead) {
	p := h.Path()
	switch {
	case h.Method() == codec.MethodCONNECT:
	case len(p) == 0 && h.Method() == codec.MethodOPTIONS:
		// "the last proxy on the request chain MUST send a request-target of "*" when it forwards
		// the request to the indicated origin server"
		// RFC 9112 section 3.2.4
		h.SetPath([]byte("*"))
	case len(p) == 0 || p[0] != '/' && p[0] != '*': // nothing, a query or a fragment
		h.SetPath(p)
	}
}
