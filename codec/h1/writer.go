package h1

import (
	"slices"
	"strconv"

	"millrace/codec"
)

// bodyMode says how the body being written is framed.
type bodyMode uint8

const (
	modeNone    bodyMode = iota // no body
	modeLength                  // Content-Length
	modeChunked                 // Transfer-Encoding: chunked
	modeClose                   // the end of the connection
	modeTunnel                  // no longer HTTP
)

// writer is where the message being written stands. Server and Client share it.
type writer struct {
	left int64 // bytes of a modeLength body still to come
	mode bodyMode
	head bool // the (final) head is written
	done bool // the message is complete
	keep bool // another exchange may follow, as far as the messages say
}

// AppendDataPrefix implements [codec.Server] and [codec.Client]. It is called for data that is moved by other
// means too: the length of the body is held to what the head said.
func (w *writer) AppendDataPrefix(dst []byte, _ codec.StreamID, n int, end bool) []byte {
	w.count(n)
	if w.mode == modeChunked {
		if n > 0 {
			dst = appendChunkSize(dst, n)
		} else if end {
			dst = append(dst, "0\r\n\r\n"...)
		}
	}
	if n == 0 && end {
		w.finish()
	}
	return dst
}

// AppendDataSuffix implements [codec.Server] and [codec.Client].
func (w *writer) AppendDataSuffix(dst []byte, _ codec.StreamID, n int, end bool) []byte {
	if n == 0 { // all was told in the prefix
		return dst
	}
	if w.mode == modeChunked {
		dst = append(dst, "\r\n"...)
		if end {
			dst = append(dst, "0\r\n\r\n"...)
		}
	}
	if end {
		w.finish()
	}
	return dst
}

// AppendTrailers implements [codec.Server] and [codec.Client]. Only a chunked body has room
// for trailers; elsewhere, and where a field may not be one, they are dropped.
func (w *writer) AppendTrailers(dst []byte, _ codec.StreamID, t *codec.Fields) []byte {
	w.count(0)
	if w.mode == modeChunked {
		dst = append(dst, "0\r\n"...)
		for i := range t.Len() {
			if id, name, value := t.At(i); id != codec.FieldRemoved && !trailerForbidden(id) {
				dst = appendField(dst, name, value)
			}
		}
		dst = append(dst, "\r\n"...)
	}
	w.finish()
	return dst
}

// count holds n bytes of data against what was announced. More of them would be read by the
// peer as the next message, so this is worth a crash of the connection.
func (w *writer) count(n int) {
	switch {
	case !w.head:
		panic("BUG: h1: data in front of the head")
	case w.done && n > 0 || w.mode == modeNone && n > 0:
		panic("BUG: h1: data after the end of the message")
	case w.mode == modeLength:
		if w.left -= int64(n); w.left < 0 {
			panic("BUG: h1: more data than Content-Length")
		}
	}
}

// finish ends the message. One that is shorter than announced, or ends with the connection, is the last.
func (w *writer) finish() {
	w.done = true
	if w.mode == modeLength && w.left > 0 || w.mode == modeClose || w.mode == modeTunnel {
		w.keep = false
	}
}

// start begins the body after a final head.
func (w *writer) start(mode bodyMode, length int64, end bool) {
	w.mode, w.left, w.head, w.done = mode, 0, true, false
	if mode == modeLength {
		w.left = length
	}
	if mode == modeNone || end && mode != modeTunnel {
		w.finish()
	}
}

func appendChunkSize(dst []byte, n int) []byte {
	return append(strconv.AppendInt(dst, int64(n), 16), '\r', '\n')
}

// appendField appends a field line.
//
// Hot path: BenchmarkServerAppendHead. One check of the capacity for all five pieces.
func appendField(dst, name, value []byte) []byte {
	n := len(dst)
	end := n + len(name) + len(value) + 4
	if end > cap(dst) {
		dst = slices.Grow(dst, end-n)
	}
	dst = dst[:end]
	n += copy(dst[n:], name)
	dst[n], dst[n+1] = ':', ' '
	copy(dst[n+2:], value)
	dst[end-2], dst[end-1] = '\r', '\n'
	return dst
}

// fieldPlan says what becomes of the fields that the codec writes itself.
type fieldPlan struct {
	host     []byte // the Host of a request; not looked at in a response
	length   int64  // Content-Length, or -1
	chunked  bool
	request  bool
	upgrade  bool // Upgrade is kept, and announced
	te       bool // TE is there, and announced
	close    bool
	keepSaid bool // "keep-alive" is said, to an HTTP/1.0 peer
}

// appendFields appends the fields of f, the ones planned, and the empty line.
func appendFields(dst []byte, f *codec.Fields, p fieldPlan) []byte {
	if p.request && !f.Has(codec.FieldHost) {
		dst = appendField(dst, hostName, p.host)
	}
	for i := range f.Len() {
		id, name, value := f.At(i)
		if id-1 < codec.FieldUpgrade { // FieldHost to FieldUpgrade; not FieldOther and FieldRemoved
			dst = p.appendOwn(dst, id, name, value)
		} else if id != codec.FieldRemoved {
			dst = appendField(dst, name, value)
		}
	}
	if p.length >= 0 {
		dst = appendLength(dst, lengthName, p.length)
	}
	if p.chunked {
		dst = append(dst, "transfer-encoding: chunked\r\n"...)
	}
	if p.upgrade || p.te || p.close || p.keepSaid {
		dst = p.appendConnection(dst)
	}
	return append(dst, '\r', '\n')
}

var (
	hostName     = []byte("host")
	lengthName   = []byte("content-length")
	chunkedValue = []byte("chunked")
)

// appendOwn appends one of the first fields of codec.FieldID, if it is to be written at its place.
func (p *fieldPlan) appendOwn(dst []byte, id codec.FieldID, name, value []byte) []byte {
	switch id {
	case codec.FieldHost:
		if !p.request {
			return appendField(dst, name, value)
		}
		if p.host == nil { // a second one
			return dst
		}
		dst = appendField(dst, name, p.host)
		p.host = nil
	case codec.FieldConnection:
	case codec.FieldContentLength:
		if p.length >= 0 {
			dst = appendLength(dst, name, p.length)
			p.length = -1
		}
	case codec.FieldTransferEncoding:
		if p.chunked {
			dst = appendField(dst, name, chunkedValue)
			p.chunked = false
		}
	case codec.FieldUpgrade:
		if p.upgrade {
			dst = appendField(dst, name, value)
		}
	default: // TE, Trailer
		dst = appendField(dst, name, value)
	}
	return dst
}

func appendLength(dst, name []byte, n int64) []byte {
	dst = append(append(dst, name...), ':', ' ')
	return append(strconv.AppendInt(dst, n, 10), '\r', '\n')
}

// appendConnection appends Connection with the options of the plan.
func (p *fieldPlan) appendConnection(dst []byte) []byte {
	dst = append(dst, "connection: "...)
	from := len(dst)
	for _, o := range [...]struct {
		on   bool
		name string
	}{{p.upgrade, "upgrade"}, {p.te, "te"}, {p.close, "close"}, {p.keepSaid, "keep-alive"}} {
		if !o.on {
			continue
		}
		if len(dst) > from {
			dst = append(dst, ", "...)
		}
		dst = append(dst, o.name...)
	}
	return append(dst, '\r', '\n')
}
