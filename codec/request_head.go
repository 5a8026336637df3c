package codec

import "millrace/codec/ascii"

// Protocol versions of a head.
const (
	Version10 = 10
	Version11 = 11
	Version20 = 20
)

// RequestHead is the head of a request. Call Reset before the first use, and before
// building one by hand.
//
// The framing of what is sent follows ContentLength and Chunked; the fields
// Content-Length, Transfer-Encoding, Connection and Host in the list only keep their
// place and spelling, see the AppendX of the protocol.
type RequestHead struct {
	Fields

	// ContentLength is the length of the body in bytes, -1 if none was given.
	ContentLength int64
	// Version is 10, 11 or 20.
	Version uint8
	// Chunked says that the body ends where it says itself.
	Chunked bool
	// KeepAlive says that the peer will take another exchange on the connection.
	KeepAlive bool
	// Expect100 says that the peer waits for a 100 (Continue) before it sends the body.
	Expect100 bool
	// Upgrade says that Connection lists "upgrade" and the one Upgrade field names a protocol that is not
	// a version of HTTP, such as h2c. HTTP/1.1 only.
	Upgrade bool

	method     Method
	methodName Span // of MethodOther
	path       Span
	authority  Span
	scheme     Span
	protocol   Span
}

// Reset empties h for the next request.
func (h *RequestHead) Reset() {
	h.Fields.Reset()
	h.ContentLength, h.Version = -1, Version11
	h.Chunked, h.KeepAlive, h.Expect100, h.Upgrade = false, false, false, false
	h.method, h.methodName, h.path, h.authority, h.scheme, h.protocol = MethodOther, Span{}, Span{}, Span{}, Span{}, Span{}
}

// Take makes h what from is, with the same buffer. Some of h's memory goes the other way; from has to be Reset before it is
// used again. So one head can take in what comes, however much that is, and each of many keeps what it needs.
func (h *RequestHead) Take(from *RequestHead) {
	fields := h.Fields
	fields.take(&from.Fields)
	*h = *from
	h.Fields = fields
}

// CopyFrom makes h a copy of from, in memory of its own that later copies use again.
func (h *RequestHead) CopyFrom(from *RequestHead) {
	fields := h.Fields
	*h = *from
	h.Fields = fields
	h.Fields.copyFrom(&from.Fields)
}

// Forget lets go of the fields, the target and the buffer, when the request is under way and nobody will ask for them. What is
// no text stays: the method, the version, the framing.
func (h *RequestHead) Forget() {
	h.forget()
	h.methodName, h.path, h.authority, h.scheme, h.protocol = Span{}, Span{}, Span{}, Span{}, Span{}
}

// Method returns the method, or MethodOther.
func (h *RequestHead) Method() Method { return h.method }

// MethodBytes returns the method as text. The caller must not change it.
func (h *RequestHead) MethodBytes() []byte {
	if h.method != MethodOther {
		return methodBytes[h.method]
	}
	return h.span(h.methodName)
}

// SetMethod changes the method. Precondition: m is not MethodOther.
func (h *RequestHead) SetMethod(m Method) { h.method = m }

// SetMethodName changes the method to one of any name. Bytes that may not stand in a token become "_"; with "" nothing
// changes.
func (h *RequestHead) SetMethodName(name string) {
	if name == "" {
		return
	}
	h.method = ParseMethod([]byte(name))
	if h.method != MethodOther {
		return
	}
	h.methodName = h.appendBytes([]byte(name))
	for i, c := range h.span(h.methodName) {
		if !ascii.Is(c, ascii.Token) {
			h.buf[int(h.methodName.Off)+i] = '_'
		}
	}
}

// Path returns the path with the query. It starts with "/", whatever the form of the
// target; "*" for OPTIONS of a whole server; nil for CONNECT.
func (h *RequestHead) Path() []byte {
	if h.path.Len == 0 {
		return nil
	}
	return h.span(h.path)
}

// SetPath changes the path. p is copied and may alias anything; a byte that may not stand in
// a target is percent-encoded, and a "/" is put in front where there is none, but for "*".
func (h *RequestHead) SetPath(p []byte) {
	const hex = "0123456789ABCDEF"
	rooted := len(p) > 0 && p[0] == '/' || string(p) == "*"
	if rooted && ascii.All(p, ascii.Target) {
		h.path = h.appendBytes(p)
		return
	}
	h.reserve(1 + 3*len(p))
	off := uint32(len(h.buf))
	if !rooted {
		h.buf = append(h.buf, '/')
	}
	for _, c := range p {
		if ascii.Is(c, ascii.Target) {
			h.buf = append(h.buf, c)
		} else {
			h.buf = append(h.buf, '%', hex[c>>4], hex[c&15])
		}
	}
	h.path = Span{off, uint32(len(h.buf)) - off}
}

// Authority returns host and port: of the target if that had them, else of the Host field; nil
// if there is neither, as in HTTP/1.0.
func (h *RequestHead) Authority() []byte {
	if h.authority.Len > 0 {
		return h.span(h.authority)
	}
	return h.Get(FieldHost)
}

// SetAuthority changes the authority, and the value of the Host field with it if there is one.
// a is copied; bytes that may not stand in an authority become "_".
func (h *RequestHead) SetAuthority(a []byte) {
	h.authority = h.appendBytes(a)
	for i, c := range h.span(h.authority) {
		if !ascii.Is(c, ascii.Host) {
			h.buf[int(h.authority.Off)+i] = '_'
		}
	}
	if i := h.index(FieldHost); i >= 0 {
		h.list[i].value, h.list[i].valueLen = h.authority.Off, h.authority.Len
	}
}

// Scheme returns the scheme of an absolute-form target or of :scheme, nil if there was none.
func (h *RequestHead) Scheme() []byte {
	if h.scheme.Len == 0 {
		return nil
	}
	return h.span(h.scheme)
}

// SetScheme changes the scheme, of which upstreams hear by HTTP/2. scheme is copied, and is http or https.
func (h *RequestHead) SetScheme(scheme []byte) { h.scheme = h.appendBytes(scheme) }

// Protocol returns the :protocol of an extended CONNECT (RFC 8441), nil if there was none.
func (h *RequestHead) Protocol() []byte {
	if h.protocol.Len == 0 {
		return nil
	}
	return h.span(h.protocol)
}

// SetProtocol makes a CONNECT an extended one, or with "" a plain one. p is copied.
func (h *RequestHead) SetProtocol(p []byte) { h.protocol = h.appendBytes(p) }

// SetProtocolSpan tells where the :protocol lies in the buffer. For codecs.
func (h *RequestHead) SetProtocolSpan(s Span) { h.protocol = s }

// BodyNone reports whether the request has no body.
func (h *RequestHead) BodyNone() bool { return h.ContentLength <= 0 && !h.Chunked }

// SetTarget tells where the parts of the target lie in the buffer. For codecs. A part that is
// absent has length 0.
func (h *RequestHead) SetTarget(path, authority, scheme Span) {
	h.path, h.authority, h.scheme = path, authority, scheme
}

// SetMethodSpan tells the method, and where its name lies if it is MethodOther. For codecs.
func (h *RequestHead) SetMethodSpan(m Method, name Span) { h.method, h.methodName = m, name }
