package l7

import (
	"bytes"
	"encoding/binary"
	"errors"

	"millrace/codec"
	"millrace/codec/ascii"
)

// What the gRPC filters share: content types, status codes and the framing of messages.

const (
	grpcType         = "application/grpc"
	grpcWebType      = "application/grpc-web"
	grpcWebTextType  = "application/grpc-web-text"
	grpcStatusField  = "grpc-status"
	grpcMessageField = "grpc-message"
	grpcDetailsField = "grpc-status-details-bin"
)

// cutType takes the name of a media type off a content-type, in any case. suffix is the plus and what follows it, without
// parameters, or nil.
func cutType(contentType []byte, name string) (suffix []byte, ok bool) {
	if len(contentType) < len(name) || !ascii.EqualFoldString(contentType[:len(name)], name) {
		return nil, false
	}
	rest := contentType[len(name):]
	if i := bytes.IndexByte(rest, ';'); i >= 0 {
		rest = bytes.TrimRight(rest[:i], " \t")
	}
	if len(rest) > 0 && rest[0] != '+' {
		return nil, false
	}
	return rest, true
}

// grpcOK is the status of a call that went well, and grpcCodes the number of codes that have a name.
const (
	grpcOK    = 0
	grpcCodes = 17
)

// grpcCodeInvalid is a status that cannot be read.
const grpcCodeInvalid = -1

// grpcCodeOf returns the status that trailers, or a head, have; ok is false if there is none.
func grpcCodeOf(f *codec.Fields) (code int64, ok bool) {
	v := f.Lookup(grpcStatusField)
	if v == nil {
		return 0, false
	}
	if code, ok = ascii.ParseInt(v); !ok || code < 0 {
		code = grpcCodeInvalid
	}
	return code, true
}

// grpcHeadBytes is what stands in front of each message: a byte of flags and the length in four.
const grpcHeadBytes = 5

// grpcCompressed is the flag of a compressed message, grpcTrailer the one of grpc-web's trailers.
const (
	grpcCompressed = 1
	grpcTrailer    = 0x80
)

// appendGRPCHead appends what stands in front of a message of n bytes.
func appendGRPCHead(dst []byte, flags byte, n int) []byte {
	return binary.BigEndian.AppendUint32(append(dst, flags), uint32(n))
}

// grpcFrames finds the messages in a body of gRPC that comes in pieces. The zero value is ready.
type grpcFrames struct {
	head  [grpcHeadBytes]byte
	have  int    // bytes of the head
	left  uint32 // bytes of the message that are to come
	begun bool   // the head is complete
	kept  []byte // of a message that is not complete
}

var (
	errGRPCTooLong    = errors.New("a gRPC message is too long")
	errGRPCCompressed = errors.New("a gRPC message is compressed")
)

// count takes a piece and returns how many messages begin in it: their heads are complete.
func (f *grpcFrames) count(b []byte) (n int) {
	for len(b) > 0 {
		if b = f.takeHead(b); !f.begun {
			return n
		}
		if f.have == grpcHeadBytes {
			n++
			f.have = 0
		}
		k := min(uint32(len(b)), f.left)
		b, f.left = b[k:], f.left-k
		f.begun = f.left > 0
	}
	return n
}

// takeHead collects the head of a message, unless one is under way.
func (f *grpcFrames) takeHead(b []byte) (rest []byte) {
	if f.begun {
		return b
	}
	n := copy(f.head[f.have:], b)
	if f.have += n; f.have == grpcHeadBytes {
		f.begun, f.left = true, binary.BigEndian.Uint32(f.head[1:])
	}
	return b[n:]
}

// next takes bytes off the front of b until a message is complete, which is valid until the next call; ok is false when
// b is used up. A message may have most bytes, and may not be compressed.
func (f *grpcFrames) next(b []byte, most int) (message, rest []byte, ok bool, err error) {
	if b = f.takeHead(b); !f.begun {
		return nil, nil, false, nil
	}
	switch {
	case f.head[0]&grpcCompressed != 0:
		return nil, nil, false, errGRPCCompressed
	case uint64(f.left)+uint64(len(f.kept)) > uint64(most):
		return nil, nil, false, errGRPCTooLong
	}
	n := min(uint32(len(b)), f.left)
	message, rest = b[:n:n], b[n:]
	f.left -= n
	if f.left > 0 || len(f.kept) > 0 {
		f.kept = append(f.kept, message...)
		message = f.kept
	}
	if f.left > 0 {
		return nil, nil, false, nil
	}
	f.have, f.begun, f.kept = 0, false, f.kept[:0]
	return message, rest, true, nil
}

// partial reports whether the body so far ends within a message.
func (f *grpcFrames) partial() bool { return f.begun || f.have > 0 }
