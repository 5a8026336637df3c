package h2

import "millrace/codec"

// The error codes of RFC 9113 section 7.
const (
	NoError            = 0x0
	ProtocolError      = 0x1
	InternalError      = 0x2
	FlowControlError   = 0x3
	SettingsTimeout    = 0x4
	StreamClosed       = 0x5
	FrameSizeError     = 0x6
	RefusedStream      = 0x7
	Cancel             = 0x8
	CompressionError   = 0x9
	ConnectError       = 0xa
	EnhanceYourCalm    = 0xb
	InadequateSecurity = 0xc
	HTTP11Required     = 0xd
)

var codeNames = [...]string{"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT",
	"STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR",
	"ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"}

// CodeName returns the name of an error code, "" for one that is not registered.
func CodeName(code uint32) string {
	if int(code) < len(codeNames) {
		return codeNames[code]
	}
	return ""
}

// Errors of a connection: a GOAWAY with the code is ready in AppendControl, after which the connection closes.
var (
	errPreface         = connError(ProtocolError, codec.ReasonPreface)
	errFrame           = connError(ProtocolError, codec.ReasonFrame)
	errPadding         = connError(ProtocolError, codec.ReasonFrame)
	errFrameSize       = connError(FrameSizeError, codec.ReasonFrameSize)
	errStreamID        = connError(ProtocolError, codec.ReasonStreamID)
	errClosedConn      = connError(StreamClosed, codec.ReasonStreamClosed)
	errCompression     = connError(CompressionError, codec.ReasonCompression)
	errWindow          = connError(FlowControlError, codec.ReasonFlowControl)
	errWindowZero      = connError(ProtocolError, codec.ReasonFlowControl)
	errSettings        = connError(ProtocolError, codec.ReasonSettings)
	errSettingsWindow  = connError(FlowControlError, codec.ReasonSettings)
	errSettingsTimeout = connError(SettingsTimeout, codec.ReasonSettingsTimeout)
	errContinuations   = connError(EnhanceYourCalm, codec.ReasonContinuations)
	errBlockTooLarge   = connError(EnhanceYourCalm, codec.ReasonHeadTooLarge)
	errResets          = connError(EnhanceYourCalm, codec.ReasonResetFlood)
	errEmptyFrames     = connError(EnhanceYourCalm, codec.ReasonEmptyFrames)
	errPings           = connError(EnhanceYourCalm, codec.ReasonPingFlood)
	errSettingsFlood   = connError(EnhanceYourCalm, codec.ReasonSettingsFlood)
	errPriorities      = connError(EnhanceYourCalm, codec.ReasonPriorityFlood)
	errWindowUpdates   = connError(EnhanceYourCalm, codec.ReasonWindowUpdateFlood)
	errUnknownFrames   = connError(EnhanceYourCalm, codec.ReasonUnknownFlood)
)

// Errors of a stream: a RST_STREAM with the code is ready in AppendControl, and the stream is gone.
var (
	errStreamFrameSize = streamError(FrameSizeError, codec.ReasonFrameSize)
	errSelfDependency  = streamError(ProtocolError, codec.ReasonFrame)
	errClosedStream    = streamError(StreamClosed, codec.ReasonStreamClosed)
	errStreamWindow    = streamError(FlowControlError, codec.ReasonFlowControl)
	errStreamWindow0   = streamError(ProtocolError, codec.ReasonFlowControl)
	errRefused         = streamError(RefusedStream, codec.ReasonTooManyStreams)
	// The same of a peer that has acknowledged how many there may be.
	errRefusedKnown    = streamError(RefusedStream, codec.ReasonTooManyStreams)
	errTrailersEnd     = streamError(ProtocolError, codec.ReasonTrailersEnd)
	errHeadMissing     = streamError(ProtocolError, codec.ReasonFrame) // a response is malformed, RFC 9113 section 8.1.1
	errTunnelFrame     = streamError(ProtocolError, codec.ReasonFrame)
	errPseudo          = streamError(ProtocolError, codec.ReasonPseudoField)
	errFieldName       = streamError(ProtocolError, codec.ReasonFieldName)
	errFieldValue      = streamError(ProtocolError, codec.ReasonFieldValue)
	errConnectionField = streamError(ProtocolError, codec.ReasonConnectionField)
	errContentLength   = streamError(ProtocolError, codec.ReasonContentLength)
	errBodyLength      = streamError(ProtocolError, codec.ReasonBodyLength)
	errTarget          = streamError(ProtocolError, codec.ReasonTarget)
	errMethod          = streamError(ProtocolError, codec.ReasonMethod)
	errHost            = streamError(ProtocolError, codec.ReasonHostInvalid)
	errHostMissing     = streamError(ProtocolError, codec.ReasonHostMissing)
	errHostMismatch    = streamError(ProtocolError, codec.ReasonHostMismatch)
	errStatus          = streamError(ProtocolError, codec.ReasonStatusLine)
	errInformational   = streamError(ProtocolError, codec.ReasonInformational)
	// A head beyond the limits: a server has answered it with 431 already.
	errHeadTooLarge  = streamError(EnhanceYourCalm, codec.ReasonHeadTooLarge)
	errTooManyFields = streamError(EnhanceYourCalm, codec.ReasonTooManyFields)
	errTargetTooLong = streamError(EnhanceYourCalm, codec.ReasonTargetTooLong)
	errHeadSwells    = streamError(EnhanceYourCalm, codec.ReasonHeadSwells)
)

func connError(code int, why codec.Reason) codec.Error {
	return codec.Error{Scope: codec.ScopeConn, Code: code, Reason: why}
}

func streamError(code int, why codec.Reason) codec.Error {
	return codec.Error{Scope: codec.ScopeStream, Code: code, Reason: why}
}
