package h2

import (
	"encoding/binary"

	"millrace/codec"
)

// frameType is the type of a frame (RFC 9113 section 6).
type frameType uint8

const (
	frameData           frameType = 0x0
	frameHeaders        frameType = 0x1
	framePriority       frameType = 0x2
	frameRSTStream      frameType = 0x3
	frameSettings       frameType = 0x4
	framePushPromise    frameType = 0x5
	framePing           frameType = 0x6
	frameGoAway         frameType = 0x7
	frameWindowUpdate   frameType = 0x8
	frameContinuation   frameType = 0x9
	framePriorityUpdate frameType = 0x10 // RFC 9218 section 7.1
)

// The flags of frames.
const (
	flagAck        = 0x1
	flagEndStream  = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

const (
	frameHeadLen  = 9
	frameBytesMin = 16 << 10 // SETTINGS_MAX_FRAME_SIZE: the smallest, which is the initial value
	frameBytesMax = 1<<24 - 1
	windowInitial = 65535
	windowMax     = 1<<31 - 1
)

// Preface is what a client sends first (RFC 9113 section 3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// frameHead is the head of a frame.
type frameHead struct {
	length int
	typ    frameType
	flags  uint8
	stream uint32
}

// parseFrameHead reads a frame head. Precondition: b has frameHeadLen bytes.
func parseFrameHead(b []byte) frameHead {
	_ = b[frameHeadLen-1]
	return frameHead{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		typ:    frameType(b[3]),
		flags:  b[4],
		stream: binary.BigEndian.Uint32(b[5:]) & windowMax, // "The reserved bit ... MUST be ignored when receiving"
	}
}

// appendFrameHead appends a frame head.
func appendFrameHead(dst []byte, length int, typ frameType, flags uint8, stream uint32) []byte {
	return append(dst, byte(length>>16), byte(length>>8), byte(length), byte(typ), flags,
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

// putFrameLength sets the length of a frame head that was appended earlier.
func putFrameLength(b []byte, length int) {
	b[0], b[1], b[2] = byte(length>>16), byte(length>>8), byte(length)
}

// unpad returns the part of a payload without padding.
//
// "If the length of the padding is the length of the frame payload or greater, the recipient MUST treat this as a
// connection error of type PROTOCOL_ERROR."
// RFC 9113 section 6.1
func unpad(p []byte, flags uint8) ([]byte, *codec.Error) {
	if flags&flagPadded == 0 {
		return p, nil
	}
	if len(p) == 0 {
		return nil, &errFrameSize
	}
	pad := int(p[0])
	if pad >= len(p) {
		return nil, &errPadding
	}
	return p[1 : len(p)-pad], nil
}
