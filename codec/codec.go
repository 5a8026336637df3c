package codec

// Server is the side of a connection that gets requests and sends responses.
//
// The calls for one stream come in the order of the protocol: AppendContinue,
// AppendResponseHead (any number of 1xx, then a final one), then for each piece of data
// AppendDataPrefix, the piece itself by the caller, AppendDataSuffix; then, if the end was
// not told yet, AppendTrailers or an AppendDataPrefix with n 0 and end.
type Server interface {
	// Feed handles the next event in b and returns the number of bytes it used up, which are not
	// fed again. With EventNone, too, n may be above 0; the bytes after n are fed again together with more.
	// Call it until EventNone, or until nothing is left, or to pause.
	Feed(b []byte, ev *Event) (n int, err *Error)
	// EOF tells that the peer ended its direction. It is an error inside a message, where a peer
	// that ends has not said all. It gives an EventData with End where the end was the framing.
	EOF(ev *Event) *Error
	// Skip tells that n opaque bytes were moved without Feed. Skipping the last byte of a
	// message completes it; no event follows.
	Skip(s StreamID, n int64)
	// Consume gives n bytes of flow-control credit back to the peer. HTTP/1: nothing.
	Consume(s StreamID, n int)
	// AppendContinue appends a 100 (Continue), if the protocol version has it.
	AppendContinue(dst []byte, s StreamID) []byte
	// AppendResponseHead appends a head and chooses the framing. end says that no data or trailers follow.
	AppendResponseHead(dst []byte, s StreamID, h *ResponseHead, end bool) []byte
	// AppendDataPrefix appends the framing in front of n bytes of data. With n 0 and end it is the
	// end of the body alone; with n 0 otherwise it is nothing.
	AppendDataPrefix(dst []byte, s StreamID, n int, end bool) []byte
	// AppendDataSuffix appends the framing after the n bytes of data told to AppendDataPrefix.
	AppendDataSuffix(dst []byte, s StreamID, n int, end bool) []byte
	// AppendTrailers appends the trailers, where the framing has room for them, and ends the stream.
	AppendTrailers(dst []byte, s StreamID, t *Fields) []byte
	// Writable returns how many bytes of data the peer's flow control lets through now. HTTP/1: math.MaxInt.
	Writable(s StreamID) int
}

// Client is the side of a connection that sends requests and gets responses: the
// mirror of [Server], with the same rules.
type Client interface {
	Feed(b []byte, ev *Event) (n int, err *Error)
	EOF(ev *Event) *Error
	Skip(s StreamID, n int64)
	Consume(s StreamID, n int)
	// AppendRequestHead appends a head and chooses the framing. end says that no data or trailers follow.
	AppendRequestHead(dst []byte, s StreamID, h *RequestHead, end bool) []byte
	AppendDataPrefix(dst []byte, s StreamID, n int, end bool) []byte
	AppendDataSuffix(dst []byte, s StreamID, n int, end bool) []byte
	AppendTrailers(dst []byte, s StreamID, t *Fields) []byte
	Writable(s StreamID) int
	// Reusable reports whether the connection may carry another request now: request and
	// response are complete and neither side asked to close.
	Reusable() bool
}
