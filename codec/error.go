package codec

import "fmt"

// Scope says what an error ends.
type Scope uint8

const (
	ScopeConn   Scope = iota // the connection: nothing after the error can be understood
	ScopeStream              // one stream (HTTP/2)
)

// Reason is the rule a peer broke. It names the counter and the access-log detail.
type Reason uint8

const (
	ReasonNone Reason = iota

	// The start line.
	ReasonRequestLine   // not METHOD SP target SP HTTP-version
	ReasonMethod        // the method is no token
	ReasonTarget        // a character or a form of the target that may not be
	ReasonTargetTooLong // Limits.TargetBytes
	ReasonVersion       // a version of HTTP that is not spoken
	ReasonVersionLow    // HTTP/1.0, and Limits.AcceptHTTP10 is not set
	ReasonStatusLine    // not HTTP-version SP status SP reason

	// Lines and fields.
	ReasonLineEnd       // a bare LF or CR
	ReasonLeadingLines  // too many empty lines before a request
	ReasonFieldName     // an empty name, no colon, no token, whitespace before the colon
	ReasonFieldValue    // a control in a value
	ReasonObsFold       // a line that continues the one before
	ReasonHeadTooLarge  // Limits.HeadBytes
	ReasonTooManyFields // Limits.FieldCount
	ReasonHostMissing
	ReasonHostRepeated
	ReasonHostInvalid
	ReasonHostMismatch // the Host field and the target disagree

	// Framing.
	ReasonContentLength         // no number, too large, or two that differ
	ReasonTransferEncoding      // chunked not last or not once, or not at all where something is
	ReasonTransferEncodingOther // a coding that is not implemented
	ReasonLengthAndChunked      // both Content-Length and Transfer-Encoding
	ReasonTransferEncodingIn10  // Transfer-Encoding in HTTP/1.0
	ReasonChunkSize
	ReasonChunkTooLarge // a chunk-size beyond 2^56
	ReasonChunkExt
	ReasonChunkExtTooLarge // Limits.ChunkExtBytes
	ReasonChunkEnd         // no CRLF after the data of a chunk
	ReasonTrailersTooLarge // Limits.TrailerBytes
	ReasonTooManyTrailers  // Limits.TrailerCount

	// The order of messages.
	ReasonHeadIncomplete // the peer ended inside a head
	ReasonBodyIncomplete // the peer ended inside a body
	ReasonUnsolicited    // bytes of a response nobody asked for
	ReasonSwitching      // a 101 nobody asked for
	ReasonInformational  // Limits.InformationalCount

	// HTTP/2.
	ReasonPreface           // not the connection preface
	ReasonFrame             // a frame that may not come here, or is not made as it has to be
	ReasonFrameSize         // of a wrong length, or above SETTINGS_MAX_FRAME_SIZE
	ReasonStreamID          // a stream that cannot be opened, or is not open
	ReasonStreamClosed      // a frame for a stream that has ended
	ReasonCompression       // HPACK
	ReasonFlowControl       // a window exceeded, or one above 2^31-1
	ReasonSettings          // a value that is out of range
	ReasonSettingsTimeout   // SETTINGS were not acknowledged in time
	ReasonPseudoField       // unknown, repeated, missing, or behind other fields
	ReasonConnectionField   // Connection and its like, or TE other than trailers
	ReasonBodyLength        // the body has another length than Content-Length says
	ReasonTrailersEnd       // trailers that do not end the stream
	ReasonTooManyStreams    // SETTINGS_MAX_CONCURRENT_STREAMS
	ReasonContinuations     // more CONTINUATION frames than the limit
	ReasonResetFlood        // streams reset too often, by the peer or because of it
	ReasonEmptyFrames       // frames without content, one after the other
	ReasonPingFlood         // more PING than the traffic explains
	ReasonSettingsFlood     // likewise SETTINGS
	ReasonPriorityFlood     // likewise PRIORITY and PRIORITY_UPDATE
	ReasonWindowUpdateFlood // likewise WINDOW_UPDATE
	ReasonUnknownFlood      // likewise frames of unknown types
	ReasonHeadSwells        // a head that names the same fields again and again

	reasonCount
)

var reasonNames = [reasonCount]string{
	ReasonNone:                  "none",
	ReasonRequestLine:           "http1.invalid_request_line",
	ReasonMethod:                "http1.invalid_method",
	ReasonTarget:                "http1.invalid_url",
	ReasonTargetTooLong:         "http1.url_too_long",
	ReasonVersion:               "http1.unsupported_version",
	ReasonVersionLow:            "low_version",
	ReasonStatusLine:            "http1.invalid_status_line",
	ReasonLineEnd:               "http1.invalid_line_end",
	ReasonLeadingLines:          "http1.too_many_empty_lines",
	ReasonFieldName:             "http1.invalid_header_name",
	ReasonFieldValue:            "http1.invalid_characters",
	ReasonObsFold:               "http1.obsolete_line_folding",
	ReasonHeadTooLarge:          "http1.headers_too_large",
	ReasonTooManyFields:         "http1.too_many_headers",
	ReasonHostMissing:           "missing_host_header",
	ReasonHostRepeated:          "http1.repeated_host",
	ReasonHostInvalid:           "http1.invalid_host",
	ReasonHostMismatch:          "http1.host_mismatch",
	ReasonContentLength:         "http1.invalid_content_length",
	ReasonTransferEncoding:      "http1.invalid_transfer_encoding",
	ReasonTransferEncodingOther: "http1.unknown_transfer_encoding",
	ReasonLengthAndChunked:      "http1.content_length_and_chunked_not_allowed",
	ReasonTransferEncodingIn10:  "http1.transfer_encoding_not_allowed",
	ReasonChunkSize:             "http1.invalid_chunk_size",
	ReasonChunkTooLarge:         "http1.chunk_too_large",
	ReasonChunkExt:              "http1.invalid_chunk_extension",
	ReasonChunkExtTooLarge:      "http1.chunk_extensions_too_large",
	ReasonChunkEnd:              "http1.invalid_chunk_end",
	ReasonTrailersTooLarge:      "http1.trailers_too_large",
	ReasonTooManyTrailers:       "http1.too_many_trailers",
	ReasonHeadIncomplete:        "http1.head_incomplete",
	ReasonBodyIncomplete:        "http1.body_incomplete",
	ReasonUnsolicited:           "http1.unsolicited_response",
	ReasonSwitching:             "http1.unexpected_switching_protocols",
	ReasonInformational:         "http1.too_many_informational",
	ReasonPreface:               "http2.invalid_preface",
	ReasonFrame:                 "http2.invalid_frame",
	ReasonFrameSize:             "http2.invalid_frame_size",
	ReasonStreamID:              "http2.invalid_stream_id",
	ReasonStreamClosed:          "http2.stream_closed",
	ReasonCompression:           "http2.compression_error",
	ReasonFlowControl:           "http2.flow_control_error",
	ReasonSettings:              "http2.invalid_settings",
	ReasonSettingsTimeout:       "http2.settings_timeout",
	ReasonPseudoField:           "http2.invalid_pseudo_header",
	ReasonConnectionField:       "http2.connection_specific_header",
	ReasonBodyLength:            "http2.content_length_mismatch",
	ReasonTrailersEnd:           "http2.trailers_without_end_stream",
	ReasonTooManyStreams:        "http2.too_many_streams",
	ReasonContinuations:         "http2.continuation_flood",
	ReasonResetFlood:            "http2.too_many_resets",
	ReasonEmptyFrames:           "http2.inbound_empty_frames_flood",
	ReasonPingFlood:             "http2.inbound_ping_frames_flood",
	ReasonSettingsFlood:         "http2.inbound_settings_frames_flood",
	ReasonPriorityFlood:         "http2.inbound_priority_frames_flood",
	ReasonWindowUpdateFlood:     "http2.inbound_window_update_frames_flood",
	ReasonUnknownFlood:          "http2.inbound_unknown_frames_flood",
	ReasonHeadSwells:            "http2.headers_swell",
}

// String returns the name of the access-log detail.
func (r Reason) String() string {
	if r < reasonCount {
		return reasonNames[r]
	}
	return "unknown"
}

// Reasons returns how many reasons there are: a table indexed by Reason needs so many places.
func Reasons() int { return int(reasonCount) }

// Error is a peer's breach of the protocol. Errors are static values: compare the pointers,
// or the Reason.
type Error struct {
	Scope Scope
	// Code is what is told to the peer: the status of a local reply for HTTP/1, an error code for HTTP/2.
	// From a Client it is the status for downstream, 502.
	Code   int
	Reason Reason
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("codec: %s (%d)", e.Reason, e.Code) }
