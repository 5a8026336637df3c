package codec

// ResponseHead is the head of a response. Call Reset before the first use, and
// before building one by hand.
type ResponseHead struct {
	Fields

	// Status is the status code, 100 to 999.
	Status int
	// ContentLength is the length of the body in bytes as the head gives it, -1 if it does not. With a response
	// to HEAD and with 304 it tells of a body that is not sent.
	ContentLength int64
	// Version is 10, 11 or 20.
	Version uint8
	// Chunked says that the body ends where it says itself.
	Chunked bool
	// KeepAlive says that the peer will take another exchange on the connection.
	KeepAlive bool
	// CloseDelimited says that the body ends where the connection does.
	CloseDelimited bool

	reason Span
}

// Reset empties h for the next response.
func (h *ResponseHead) Reset() {
	h.Fields.Reset()
	h.Status, h.ContentLength, h.Version = 0, -1, Version11
	h.Chunked, h.KeepAlive, h.CloseDelimited = false, false, false
	h.reason = Span{}
}

// Forget lets go of the fields, the reason and the buffer, when the head has been sent and nobody will ask for them. What is no
// text stays: the status, the version, the framing.
func (h *ResponseHead) Forget() {
	h.forget()
	h.reason = Span{}
}

// Reason returns the reason phrase as it came, which may be empty.
func (h *ResponseHead) Reason() []byte { return h.span(h.reason) }

// SetReason changes the reason phrase. Controls become spaces. With "" the usual phrase is sent.
func (h *ResponseHead) SetReason(reason string) {
	h.reserve(len(reason))
	off, n := h.copyValueString(reason)
	h.reason = Span{off, n}
}

// SetReasonSpan tells where the reason phrase lies in the buffer. For codecs.
func (h *ResponseHead) SetReasonSpan(s Span) { h.reason = s }

// ReasonPhrase returns the usual phrase of a status code, "" for one that is not registered.
func ReasonPhrase(status int) string {
	if status >= 100 && status-100 < len(reasonPhrases) {
		return reasonPhrases[status-100]
	}
	return ""
}

var reasonPhrases = [...]string{
	0:         "Continue", // 100
	101 - 100: "Switching Protocols",
	102 - 100: "Processing",
	103 - 100: "Early Hints",
	104 - 100: "Upload Resumption Supported",
	200 - 100: "OK",
	201 - 100: "Created",
	202 - 100: "Accepted",
	203 - 100: "Non-Authoritative Information",
	204 - 100: "No Content",
	205 - 100: "Reset Content",
	206 - 100: "Partial Content",
	207 - 100: "Multi-Status",
	208 - 100: "Already Reported",
	226 - 100: "IM Used",
	300 - 100: "Multiple Choices",
	301 - 100: "Moved Permanently",
	302 - 100: "Found",
	303 - 100: "See Other",
	304 - 100: "Not Modified",
	305 - 100: "Use Proxy",
	307 - 100: "Temporary Redirect",
	308 - 100: "Permanent Redirect",
	400 - 100: "Bad Request",
	401 - 100: "Unauthorized",
	402 - 100: "Payment Required",
	403 - 100: "Forbidden",
	404 - 100: "Not Found",
	405 - 100: "Method Not Allowed",
	406 - 100: "Not Acceptable",
	407 - 100: "Proxy Authentication Required",
	408 - 100: "Request Timeout",
	409 - 100: "Conflict",
	410 - 100: "Gone",
	411 - 100: "Length Required",
	412 - 100: "Precondition Failed",
	413 - 100: "Content Too Large",
	414 - 100: "URI Too Long",
	415 - 100: "Unsupported Media Type",
	416 - 100: "Range Not Satisfiable",
	417 - 100: "Expectation Failed",
	418 - 100: "I'm a teapot",
	421 - 100: "Misdirected Request",
	422 - 100: "Unprocessable Content",
	423 - 100: "Locked",
	424 - 100: "Failed Dependency",
	425 - 100: "Too Early",
	426 - 100: "Upgrade Required",
	428 - 100: "Precondition Required",
	429 - 100: "Too Many Requests",
	431 - 100: "Request Header Fields Too Large",
	451 - 100: "Unavailable For Legal Reasons",
	500 - 100: "Internal Server Error",
	501 - 100: "Not Implemented",
	502 - 100: "Bad Gateway",
	503 - 100: "Service Unavailable",
	504 - 100: "Gateway Timeout",
	505 - 100: "HTTP Version Not Supported",
	506 - 100: "Variant Also Negotiates",
	507 - 100: "Insufficient Storage",
	508 - 100: "Loop Detected",
	510 - 100: "Not Extended",
	511 - 100: "Network Authentication Required",
}
