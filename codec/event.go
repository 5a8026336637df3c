package codec

// StreamID tells the streams of a connection apart. HTTP/1 has one at a time: 0.
type StreamID uint32

// EventKind says what Feed found.
type EventKind uint8

const (
	EventNone     EventKind = iota // nothing yet: more bytes are needed
	EventHead                      // a head is complete, in Request or Response
	EventData                      // a piece of a body, in Data
	EventTrailers                  // the trailer section is complete, in Trailers; always the end
	EventReset                     // the peer gave a stream up (HTTP/2)
	EventGoAway                    // the peer takes no more streams; those above Stream it has not processed (HTTP/2)
	EventWindow                    // the peer takes more data of Stream, or with Stream 0 of all of them (HTTP/2)
)

var eventKindNames = [...]string{"none", "head", "data", "trailers", "reset", "goaway", "window"}

// String returns the kind in lower case.
func (k EventKind) String() string {
	if int(k) < len(eventKindNames) {
		return eventKindNames[k]
	}
	return "unknown"
}

// Event is what one call of Feed found. The caller lends the heads and keeps the
// value; Feed sets all other fields anew each time.
type Event struct {
	Kind   EventKind
	Stream StreamID
	// Slot is a small number that no other open stream of the connection has: an index for what the caller
	// keeps of its streams. HTTP/1: 0.
	Slot uint32
	// End says that the message is complete with this event.
	End bool
	// Code is the error code of an EventReset or EventGoAway (RFC 9113 section 7).
	Code uint32
	// Data is the piece of an EventData. It aliases the bytes fed. Empty when only the end is told,
	// as after the last chunk of a body without trailers.
	Data []byte
	// Opaque, in an EventData, is how many more bytes of this run follow on the wire unchanged, which
	// may be moved without Feed and told to Skip: -1 until the peer ends, 0 none or unknown.
	Opaque int64
	// Request is lent to a Server before each Feed and filled by EventHead only: until then, and
	// after an error, it is empty, so it need not be the same one each time.
	Request *RequestHead
	// Response is lent to a Client likewise. A 1xx head is an EventHead without End.
	Response *ResponseHead
	// Trailers is lent likewise and filled by EventTrailers only. With nil, trailers
	// are checked and dropped, and the message ends with an EventData.
	Trailers *Fields
}
