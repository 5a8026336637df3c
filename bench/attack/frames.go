package main

import "encoding/binary"

// Frame types of RFC 9113 section 6.
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	framePriority     = 0x2
	frameReset        = 0x3
	frameSettings     = 0x4
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindowUpdate = 0x8
	frameContinuation = 0x9
	framePriorityUp   = 0x10 // PRIORITY_UPDATE, RFC 9218
	frameUnknown      = 0xfa
)

// Flags.
const (
	flagAck        = 0x1
	flagEndStream  = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
)

// Settings.
const (
	settingTableSize     = 0x1
	settingInitialWindow = 0x4
)

// Error codes.
const (
	codeCancel = 0x8
)

const (
	frameHeadLen  = 9
	frameBytesMax = 16384 // what every receiver has to take
	preface       = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
)

// codeNames are those of RFC 9113 section 7.
var codeNames = [...]string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
	"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
	"INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

// appendFrame appends a frame, right or wrong.
func appendFrame(dst []byte, typ, flags byte, stream uint32, payload []byte) []byte {
	n := len(payload)
	dst = append(dst, byte(n>>16), byte(n>>8), byte(n), typ, flags)
	dst = binary.BigEndian.AppendUint32(dst, stream)
	return append(dst, payload...)
}

// appendSetting appends a SETTINGS frame with one parameter.
func appendSetting(dst []byte, id uint16, value uint32) []byte {
	p := binary.BigEndian.AppendUint16(nil, id)
	return appendFrame(dst, frameSettings, 0, 0, binary.BigEndian.AppendUint32(p, value))
}

// appendNumber appends a frame whose payload is one 32-bit number: RST_STREAM, WINDOW_UPDATE.
func appendNumber(dst []byte, typ byte, stream, n uint32) []byte {
	return appendFrame(dst, typ, 0, stream, binary.BigEndian.AppendUint32(nil, n))
}

// appendInteger appends an HPACK integer with a prefix of some bits.
func appendInteger(dst []byte, first byte, bits uint, v int) []byte {
	most := 1<<bits - 1
	if v < most {
		return append(dst, first|byte(v))
	}
	dst = append(dst, first|byte(most))
	for v -= most; v >= 0x80; v >>= 7 {
		dst = append(dst, byte(v)|0x80)
	}
	return append(dst, byte(v))
}

// appendText appends an HPACK string, not compressed.
func appendText(dst []byte, s string) []byte {
	return append(appendInteger(dst, 0, 7, len(s)), s...)
}

// appendLiteral appends a field that enters no table.
func appendLiteral(dst []byte, name, value string) []byte {
	return appendText(appendText(append(dst, 0), name), value)
}

// appendStored appends a field that enters the dynamic table.
func appendStored(dst []byte, name, value string) []byte {
	return appendText(appendText(append(dst, 0x40), name), value)
}

// HPACK's static table, and the first entry after it.
const (
	indexGet    = 0x80 | 2
	indexPost   = 0x80 | 3
	indexHTTP   = 0x80 | 6
	literalAuth = 0x01
	literalPath = 0x04
	indexNewest = 0x80 | 62
)

// appendRequest appends the header block of a request, without the end that more fields may follow.
func appendRequest(dst []byte, method byte, path string) []byte {
	dst = appendText(append(dst, method, indexHTTP, literalAuth), "attack.example")
	return appendText(append(dst, literalPath), path)
}
