package main

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// What h2spec does to a server, done to the proxy as a client: hosts that break each rule of RFC 9113 that a server can
// break, and some that only look as if they did. Cases are named after the sections, of the RFC and of h2spec.

// A scope is what has to end because of what a host sent.
type scope int

const (
	none   scope = iota // nothing: it was fine, or is to be ignored
	stream              // the stream, with RST_STREAM
	conn                // the connection, with GOAWAY
	gone                // the stream, without a word: the host has ended it itself
)

// The streams of a case: the first has to survive what is done to the second. The third was never opened.
const (
	other  = 1
	victim = 3
	idle   = 5
)

// A hostCase is one thing that a host does to the victim.
type hostCase struct {
	name  string
	send  []byte
	scope scope
	code  http2.ErrCode
	// want is what the client of the victim gets, as one of outcomes; "" is a 502 for what ends something.
	want string
	// open leaves the request of the victim unfinished.
	open bool
	// again says that the request is sent once more, on the same connection.
	again bool
	// preface is sent instead of the host's SETTINGS.
	preface []byte
}

const (
	fine    = "200 fine" // the answer that the host adds when nothing was broken
	badHost = "502"      // an answer of the proxy
	lost    = "503"
	cut     = "200 cut" // a response that has begun and is broken off
	early   = "200 early"
)

// Frame types and flags, named shorter than in package http2 because tables are full of them.
const (
	fData, fHeaders, fPriority, fReset, fSettings = 0, 1, 2, 3, 4
	fPush, fPing, fGoAway, fWindow, fContinuation = 5, 6, 7, 8, 9

	endStream, endHeaders, padded, priority, ack = 1, 4, 8, 0x20, 1
)

// frame builds a frame by hand, whatever it is.
func frame(typ, flags byte, id uint32, payload ...byte) []byte {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), typ, flags}
	return append(append(b, u32(id)...), payload...)
}

// fields is a header block that leaves the table alone: "name: value", each literal.
func fields(list ...string) []byte {
	var b []byte
	for _, f := range list {
		at := strings.Index(f[1:], ":") + 1
		name, value := f[:at], strings.TrimPrefix(f[at+1:], " ")
		b = append(b, 0, byte(len(name)))
		b = append(append(b, name...), byte(len(value)))
		b = append(b, value...)
	}
	return b
}

// head is a response head, or trailers.
func head(flags byte, id uint32, list ...string) []byte {
	return frame(fHeaders, flags|endHeaders, id, fields(list...)...)
}

func data(flags byte, id uint32, text string) []byte { return frame(fData, flags, id, []byte(text)...) }

func u32(n uint32) []byte { return []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)} }

func setting(id uint16, value uint32) []byte {
	return append([]byte{byte(id >> 8), byte(id)}, u32(value)...)
}

func join(b ...[]byte) []byte { return bytes.Join(b, nil) }

// ok is the head of an answer.
func ok(flags byte) []byte { return head(flags, victim, ":status: 200") }

// fragment is a HEADERS frame that CONTINUATION has to follow.
func fragment() []byte { return frame(fHeaders, 0, victim, fields(":status: 200")...) }

const (
	protocolError = http2.ErrCodeProtocol
	sizeError     = http2.ErrCodeFrameSize
	flowError     = http2.ErrCodeFlowControl
	closedError   = http2.ErrCodeStreamClosed
	hpackError    = http2.ErrCodeCompression
)

// done is an answer that ends the victim's stream; what follows it comes too late.
var done = join(ok(0), data(endStream, victim, "early"))

// hostCases lists all of them.
var hostCases = []hostCase{
	{name: "3.4 no SETTINGS", preface: frame(fPing, 0, 0, make([]byte, 8)...), scope: conn, code: protocolError, want: badHost},
	{name: "3.4 acknowledgement first", preface: frame(fSettings, ack, 0), scope: conn, code: protocolError, want: badHost},
	{name: "3.4 HTTP/1.1", preface: []byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), scope: conn, code: protocolError, want: badHost},

	{name: "4.1 unknown type", send: frame(0x16, 0, 0, make([]byte, 8)...), want: fine},
	{name: "4.1 undefined flags", send: frame(fPing, 0x16, 0, make([]byte, 8)...), want: fine},
	{name: "4.1 reserved bit", send: frame(fPing, 0, 1<<31, make([]byte, 8)...), want: fine},
	{name: "4.2 largest DATA", send: join(ok(0), frame(fData, endStream, victim, make([]byte, 16384)...)), want: "200 16384 bytes"},
	{name: "4.2 DATA too large", send: join(ok(0), frame(fData, 0, victim, make([]byte, 16385)...)), scope: conn, code: sizeError, want: cut},
	{name: "4.2 HEADERS too large", send: frame(fHeaders, endHeaders, victim, make([]byte, 16385)...), scope: conn, code: sizeError},
	{name: "4.3 broken block", send: frame(fHeaders, endHeaders, victim, 0xff, 0xff, 0xff, 0xff, 0xff), scope: conn, code: hpackError},
	{name: "4.3 cut block", send: frame(fHeaders, endHeaders, victim, 0, 5, 'a'), scope: conn, code: hpackError},
	{name: "4.3 PRIORITY inside a block", send: join(fragment(), frame(fPriority, 0, victim, make([]byte, 5)...)), scope: conn, code: protocolError},
	{name: "4.3 another block inside a block", send: join(fragment(), head(0, other, ":status: 200")), scope: conn, code: protocolError},

	{name: "5.1 idle: DATA", send: data(0, idle, "x"), scope: conn, code: protocolError},
	{name: "5.1 idle: HEADERS", send: head(0, idle, ":status: 200"), scope: conn, code: protocolError},
	{name: "5.1 idle: RST_STREAM", send: frame(fReset, 0, idle, u32(8)...), scope: conn, code: protocolError},
	{name: "5.1 idle: WINDOW_UPDATE", send: frame(fWindow, 0, idle, u32(1)...), scope: conn, code: protocolError},
	{name: "5.1 idle: CONTINUATION", send: frame(fContinuation, endHeaders, idle), scope: conn, code: protocolError},
	// The rest of the request is cancelled, and what comes for a stream that was reset is not looked at.
	{name: "5.1 half closed (remote): DATA", open: true, send: join(done, data(0, victim, "x")), scope: stream, code: http2.ErrCodeCancel, want: early},
	{name: "5.1 half closed (remote): HEADERS", open: true, send: join(done, head(0, victim, ":status: 200")), scope: stream, code: http2.ErrCodeCancel, want: early},
	{name: "5.1 half closed (remote): CONTINUATION", open: true, send: join(done, frame(fContinuation, endHeaders, victim)), scope: conn, code: protocolError, want: early},
	{name: "5.1 half closed (remote): WINDOW_UPDATE", open: true, send: join(done, frame(fWindow, 0, victim, u32(1)...)), want: early},
	{name: "5.1 half closed (remote): RST_STREAM", open: true, send: join(done, frame(fReset, 0, victim, u32(0)...)), want: early},
	{name: "5.1 closed by RST_STREAM: DATA", send: join(frame(fReset, 0, victim, u32(8)...), data(0, victim, "x")), scope: stream, code: closedError, want: lost},
	{name: "5.1 closed by RST_STREAM: HEADERS", send: join(frame(fReset, 0, victim, u32(8)...), ok(0)), scope: conn, code: closedError, want: lost},
	{name: "5.1 closed by RST_STREAM: CONTINUATION", send: join(frame(fReset, 0, victim, u32(8)...), frame(fContinuation, endHeaders, victim)), scope: conn, code: protocolError, want: lost},
	{name: "5.1 closed: DATA", send: join(done, data(0, victim, "x")), scope: stream, code: closedError, want: early},
	{name: "5.1 closed: HEADERS", send: join(done, ok(0)), scope: conn, code: closedError, want: early},
	{name: "5.1 closed: CONTINUATION", send: join(done, frame(fContinuation, endHeaders, victim)), scope: conn, code: protocolError, want: early},
	{name: "5.1 closed: WINDOW_UPDATE", send: join(done, frame(fWindow, 0, victim, u32(1)...)), want: early},
	{name: "5.1 closed: RST_STREAM", send: join(done, frame(fReset, 0, victim, u32(0)...)), want: early},
	{name: "5.1 closed: PRIORITY", send: join(done, frame(fPriority, 0, victim, make([]byte, 5)...)), want: early},
	{name: "5.1.1 even number", send: head(0, 2, ":status: 200"), scope: conn, code: protocolError},
	// RFC 9113 leaves it open, h2spec wants an error.
	{name: "5.3 depends on itself", send: frame(fPriority, 0, victim, 0, 0, 0, victim, 1), scope: stream, code: protocolError},
	{name: "5.5 unknown frame", send: frame(0xfe, 0xff, victim, 1, 2, 3), want: fine},
	{name: "5.5 unknown frame inside a block", send: join(fragment(), frame(0xfe, 0, 0)), scope: conn, code: protocolError},

	{name: "6.1 DATA on the connection", send: data(0, 0, "x"), scope: conn, code: protocolError},
	{name: "6.1 padding too long", send: join(ok(0), frame(fData, padded, victim, 6, 'h', 'e', 'l', 'l', 'o')), scope: conn, code: protocolError, want: cut},
	{name: "6.1 padding without length", send: join(ok(0), frame(fData, padded, victim)), scope: conn, code: sizeError, want: cut},
	{name: "6.1 padding", send: join(ok(0), frame(fData, padded|endStream, victim, 2, 'e', 'a', 'r', 'l', 'y', 0, 0)), want: early},
	{name: "6.2 HEADERS on the connection", send: head(0, 0, ":status: 200"), scope: conn, code: protocolError},
	{name: "6.2 padding too long", send: frame(fHeaders, endHeaders|padded, victim, append([]byte{99}, fields(":status: 200")...)...), scope: conn, code: protocolError},
	{name: "6.2 priority cut", send: frame(fHeaders, endHeaders|priority, victim, 0, 0, 0, 0), scope: conn, code: sizeError},
	{name: "6.2 padding and priority", send: join(frame(fHeaders, endHeaders|padded|priority, victim, join([]byte{1, 0, 0, 0, other, 7}, fields(":status: 200"), []byte{0})...), data(endStream, victim, "early")), want: early},
	{name: "6.3 PRIORITY on the connection", send: frame(fPriority, 0, 0, make([]byte, 5)...), scope: conn, code: protocolError},
	{name: "6.3 PRIORITY of 4 bytes", send: frame(fPriority, 0, victim, make([]byte, 4)...), scope: stream, code: sizeError},
	{name: "6.4 RST_STREAM on the connection", send: frame(fReset, 0, 0, u32(8)...), scope: conn, code: protocolError},
	{name: "6.4 RST_STREAM of 3 bytes", send: frame(fReset, 0, victim, 0, 0, 0), scope: conn, code: sizeError},
	{name: "6.4 RST_STREAM", send: frame(fReset, 0, victim, u32(2)...), scope: gone, want: lost},
	{name: "6.4 RST_STREAM inside a response", send: join(ok(0), data(0, victim, "x"), frame(fReset, 0, victim, u32(2)...)), scope: gone, want: cut},
	{name: "6.4 REFUSED_STREAM", send: frame(fReset, 0, victim, u32(7)...), scope: gone, again: true, want: "200 again"},
	{name: "6.5 acknowledgement with settings", send: frame(fSettings, ack, 0, setting(4, 1)...), scope: conn, code: sizeError},
	{name: "6.5 SETTINGS on a stream", send: frame(fSettings, 0, victim, setting(4, 65535)...), scope: conn, code: protocolError},
	{name: "6.5 SETTINGS of 3 bytes", send: frame(fSettings, 0, 0, 0, 4, 0), scope: conn, code: sizeError},
	{name: "6.5.2 ENABLE_PUSH 1", send: frame(fSettings, 0, 0, setting(2, 1)...), scope: conn, code: protocolError},
	{name: "6.5.2 ENABLE_PUSH 2", send: frame(fSettings, 0, 0, setting(2, 2)...), scope: conn, code: protocolError},
	{name: "6.5.2 ENABLE_PUSH 0", send: frame(fSettings, 0, 0, setting(2, 0)...), want: fine},
	{name: "6.5.2 INITIAL_WINDOW_SIZE too large", send: frame(fSettings, 0, 0, setting(4, 1<<31)...), scope: conn, code: flowError},
	{name: "6.5.2 MAX_FRAME_SIZE too small", send: frame(fSettings, 0, 0, setting(5, 16383)...), scope: conn, code: protocolError},
	{name: "6.5.2 MAX_FRAME_SIZE too large", send: frame(fSettings, 0, 0, setting(5, 1<<24)...), scope: conn, code: protocolError},
	{name: "6.5.2 unknown setting", send: frame(fSettings, 0, 0, setting(0xff, 1)...), want: fine},
	{name: "6.5.3 two values", send: frame(fSettings, 0, 0, append(setting(4, 1), setting(4, 65535)...)...), want: fine},
	{name: "6.6 PUSH_PROMISE", send: frame(fPush, endHeaders, victim, append(u32(2), fields(":method: GET")...)...), scope: conn, code: protocolError},
	{name: "6.7 PING", send: frame(fPing, 0, 0, make([]byte, 8)...), want: fine},
	{name: "6.7 acknowledgement of nothing", send: frame(fPing, ack, 0, []byte("whatever")...), want: fine},
	{name: "6.7 PING on a stream", send: frame(fPing, 0, victim, make([]byte, 8)...), scope: conn, code: protocolError},
	{name: "6.7 PING of 6 bytes", send: frame(fPing, 0, 0, make([]byte, 6)...), scope: conn, code: sizeError},
	{name: "6.8 GOAWAY on a stream", send: frame(fGoAway, 0, victim, append(u32(victim), u32(0)...)...), scope: conn, code: protocolError},
	{name: "6.8 GOAWAY of 7 bytes", send: frame(fGoAway, 0, 0, make([]byte, 7)...), scope: conn, code: sizeError},
	{name: "6.8 GOAWAY", send: frame(fGoAway, 0, 0, append(u32(victim), u32(0)...)...), want: fine},
	{name: "6.8 GOAWAY before the stream", send: frame(fGoAway, 0, 0, append(u32(other), u32(0)...)...), scope: gone, want: "200 again"},
	{name: "6.8 GOAWAY that grows", send: join(frame(fGoAway, 0, 0, append(u32(victim), u32(0)...)...), frame(fGoAway, 0, 0, append(u32(idle), u32(0)...)...)), want: fine},
	{name: "6.9 increment 0", send: frame(fWindow, 0, 0, u32(0)...), scope: conn, code: protocolError},
	{name: "6.9 increment 0 on a stream", send: frame(fWindow, 0, victim, u32(0)...), scope: stream, code: protocolError},
	{name: "6.9 WINDOW_UPDATE of 3 bytes", send: frame(fWindow, 0, 0, 0, 0, 1), scope: conn, code: sizeError},
	{name: "6.9.1 window too large", send: bytes.Repeat(frame(fWindow, 0, 0, u32(1<<31-1)...), 2), scope: conn, code: flowError},
	{name: "6.9.1 window of a stream too large", send: bytes.Repeat(frame(fWindow, 0, victim, u32(1<<31-1)...), 2), scope: stream, code: flowError},
	{name: "6.9.1 more than the stream's window", send: join(ok(0), bytes.Repeat(frame(fData, 0, victim, make([]byte, 16384)...), 4096)), scope: stream, code: flowError, want: cut, open: true},
	{name: "6.9.2 window too large by a setting", send: join(frame(fWindow, 0, victim, u32(1)...), frame(fSettings, 0, 0, setting(4, 1<<31-1)...)), scope: conn, code: flowError},
	{name: "6.9.2 negative window", send: join(frame(fSettings, 0, 0, setting(4, 0)...), frame(fSettings, 0, 0, setting(4, 65535)...)), want: fine},
	{name: "6.10 CONTINUATION", send: join(fragment(), frame(fContinuation, 0, victim, fields("a: b")...), frame(fContinuation, endHeaders, victim, fields("c: d")...), data(endStream, victim, "early")), want: early},
	{name: "6.10 DATA inside a block", send: join(fragment(), data(0, victim, "x")), scope: conn, code: protocolError},
	{name: "6.10 CONTINUATION on the connection", send: join(fragment(), frame(fContinuation, endHeaders, 0)), scope: conn, code: protocolError},
	{name: "6.10 CONTINUATION of another stream", send: join(fragment(), frame(fContinuation, endHeaders, other)), scope: conn, code: protocolError},
	{name: "6.10 CONTINUATION after the end of a block", send: join(ok(0), frame(fContinuation, endHeaders, victim, fields("a: b")...)), scope: conn, code: protocolError, want: cut},
	{name: "6.10 CONTINUATION after the end by CONTINUATION", send: join(fragment(), frame(fContinuation, endHeaders, victim), frame(fContinuation, endHeaders, victim, fields("a: b")...)), scope: conn, code: protocolError, want: cut},
	{name: "6.10 CONTINUATION after DATA", send: join(ok(0), data(0, victim, "x"), frame(fContinuation, endHeaders, victim)), scope: conn, code: protocolError, want: cut},

	{name: "7 unknown code of GOAWAY", send: frame(fGoAway, 0, 0, append(u32(victim), u32(0xff)...)...), want: fine},
	{name: "7 unknown code of RST_STREAM", send: frame(fReset, 0, victim, u32(0xff)...), scope: gone, want: lost},

	{name: "8.1 DATA before the head", send: data(0, victim, "x"), scope: stream, code: protocolError},
	{name: "8.1 trailers without an end", send: join(ok(0), data(0, victim, "x"), head(0, victim, "a: b")), scope: stream, code: protocolError, want: cut},
	{name: "8.1 head and trailers alone", send: join(ok(0), head(endStream, victim, "a: b")), want: "200 "},
	{name: "8.1 informational head that ends", send: head(endStream, victim, ":status: 103"), scope: stream, code: protocolError},
	{name: "8.1 informational head after the final one", send: join(ok(0), head(0, victim, ":status: 103")), scope: stream, code: protocolError, want: cut},
	{name: "8.1 DATA after an informational head", send: join(head(0, victim, ":status: 103"), data(0, victim, "x")), scope: stream, code: protocolError},
	{name: "8.1 informational heads", send: join(head(0, victim, ":status: 103"), head(0, victim, ":status: 103"), done), want: early},
	{name: "8.6 switching protocols", send: head(0, victim, ":status: 101"), scope: stream, code: protocolError},
	{name: "8.1.1 length too small", send: join(head(0, victim, ":status: 200", "content-length: 1"), data(endStream, victim, "xx")), scope: stream, code: protocolError, want: cut},
	{name: "8.1.1 length too large", send: join(head(0, victim, ":status: 200", "content-length: 9"), data(endStream, victim, "xx")), scope: stream, code: protocolError, want: cut},
	{name: "8.1.1 length of two frames", send: join(head(0, victim, ":status: 200", "content-length: 3"), data(0, victim, "xx"), data(endStream, victim, "xx")), scope: stream, code: protocolError, want: cut},
	{name: "8.1.1 length and trailers", send: join(head(0, victim, ":status: 200", "content-length: 3"), data(0, victim, "xx"), head(endStream, victim, "a: b")), scope: stream, code: protocolError, want: cut},
	{name: "8.1.1 length and no content", send: head(endStream, victim, ":status: 200", "content-length: 3"), scope: stream, code: protocolError},
	{name: "8.1.1 no number", send: head(0, victim, ":status: 200", "content-length: x"), scope: stream, code: protocolError},
	{name: "8.1.1 two lengths", send: head(0, victim, ":status: 200", "content-length: 1", "content-length: 2"), scope: stream, code: protocolError},
	{name: "8.2.1 name in capitals", send: head(0, victim, ":status: 200", "Server: x"), scope: stream, code: protocolError},
	{name: "8.2.1 space in a name", send: head(0, victim, ":status: 200", "a b: x"), scope: stream, code: protocolError},
	{name: "8.2.1 line break in a value", send: head(0, victim, ":status: 200", "a: b\r\nc: d"), scope: stream, code: protocolError},
	{name: "8.2.1 NUL in a value", send: head(0, victim, ":status: 200", "a: \x00"), scope: stream, code: protocolError},
	{name: "8.2.1 space at the end of a value", send: head(0, victim, ":status: 200", "a: b "), scope: stream, code: protocolError},
	{name: "8.2.2 connection", send: head(0, victim, ":status: 200", "connection: close"), scope: stream, code: protocolError},
	{name: "8.2.2 transfer-encoding", send: head(0, victim, ":status: 200", "transfer-encoding: chunked"), scope: stream, code: protocolError},
	{name: "8.2.2 upgrade", send: head(0, victim, ":status: 200", "upgrade: h2c"), scope: stream, code: protocolError},
	{name: "8.2.2 keep-alive", send: head(0, victim, ":status: 200", "keep-alive: timeout=5"), scope: stream, code: protocolError},
	{name: "8.3 pseudo-field behind", send: head(0, victim, "a: b", ":status: 200"), scope: stream, code: protocolError},
	{name: "8.3 pseudo-field of requests", send: head(0, victim, ":status: 200", ":path: /"), scope: stream, code: protocolError},
	{name: "8.3 unknown pseudo-field", send: head(0, victim, ":status: 200", ":x: y"), scope: stream, code: protocolError},
	{name: "8.3 pseudo-field in trailers", send: join(ok(0), head(endStream, victim, ":status: 200")), scope: stream, code: protocolError, want: cut},
	{name: "8.3.2 no status", send: head(0, victim, "a: b"), scope: stream, code: protocolError},
	{name: "8.3.2 no fields", send: head(0, victim), scope: stream, code: protocolError},
	{name: "8.3.2 two", send: head(0, victim, ":status: 200", ":status: 200"), scope: stream, code: protocolError},
	{name: "8.3.2 no number", send: head(0, victim, ":status: 2x0"), scope: stream, code: protocolError},
	{name: "8.3.2 two digits", send: head(0, victim, ":status: 20"), scope: stream, code: protocolError},
	{name: "8.3.2 four digits", send: head(0, victim, ":status: 2000"), scope: stream, code: protocolError},
	{name: "8.3.2 below 100", send: head(0, victim, ":status: 099"), scope: stream, code: protocolError},

	{name: "hpack 2.3.3 no such index", send: frame(fHeaders, endHeaders, victim, 0xff, 0x80, 0x01), scope: conn, code: hpackError},
	{name: "hpack 2.3.3 no such name", send: frame(fHeaders, endHeaders, victim, 0x7f, 0x80, 0x01, 1, 'x'), scope: conn, code: hpackError},
	{name: "hpack 4.2 table size at the end", send: frame(fHeaders, endHeaders, victim, 0x88, 0x20), scope: conn, code: hpackError},
	{name: "hpack 4.2 table size", send: join(frame(fHeaders, endHeaders, victim, 0x20, 0x88), data(endStream, victim, "early")), want: early},
	{name: "hpack 5.2 padding of 8 bits", send: frame(fHeaders, endHeaders, victim, 0x88, 0x00, 0x82, 0x1f, 0xff, 0x01, 'x'), scope: conn, code: hpackError},
	{name: "hpack 5.2 padding of zeros", send: frame(fHeaders, endHeaders, victim, 0x88, 0x00, 0x81, 0x18, 0x01, 'x'), scope: conn, code: hpackError},
	{name: "hpack 5.2 end of string", send: frame(fHeaders, endHeaders, victim, 0x88, 0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0x01, 'x'), scope: conn, code: hpackError},
	{name: "hpack 6.1 index 0", send: frame(fHeaders, endHeaders, victim, 0x80), scope: conn, code: hpackError},
	{name: "hpack 6.3 table too large", send: frame(fHeaders, endHeaders, victim, 0x3f, 0xe2, 0xff, 0x03, 0x88), scope: conn, code: hpackError},
}

// TestH2UpstreamSpec: a host that breaks a rule gets the RFC's error code, the client whose request it was gets an answer,
// and no other stream suffers unless the connection has to end.
func TestH2UpstreamSpec(t *testing.T) {
	t.Parallel()
	var routes, clusters []string
	origins := make([]*specOrigin, len(hostCases))
	for i := range hostCases {
		origins[i] = newSpecOrigin(t)
		routes = append(routes, fmt.Sprintf(`{"match": {"prefix": "/%d/"}, "route": {"cluster": "c%d"}}`, i, i))
		clusters = append(clusters, fmt.Sprintf(`{"name": "c%d", "protocol": "http2", "hosts": [%q]}`, i, origins[i].ln.Addr()))
	}
	p := startProxy(t, fmt.Sprintf(`{"concurrency": 1,
 "listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {"stat_prefix": "e2e", "codec_type": "http1",
   "route_config": {"routes": [%s]}}}]}],
 "clusters": [%s]}`, strings.Join(routes, ",\n"), strings.Join(clusters, ",\n")))
	t.Cleanup(func() { // after the cases, which run in parallel
		p.wantStat("http.e2e.downstream_rq_active", 0)
		for i := range hostCases {
			p.wantStat(fmt.Sprintf("cluster.c%d.upstream_rq_active", i), 0)
		}
	})
	for i, tt := range hostCases {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			runHostCase(t, p, origins[i], tt, fmt.Sprintf("/%d/", i))
		})
	}
}

func runHostCase(t *testing.T, p *proxy, o *specOrigin, tt hostCase, path string) {
	first := askSpec(t, p.url(path+"other"), false)
	h := o.accept(t)
	if tt.preface != nil {
		h.write(tt.preface)
		h.wantEnd(tt.code)
		first.want(t, "the client", tt.want)
		return
	}
	h.write(join(frame(fSettings, 0, 0), frame(fSettings, ack, 0)))
	h.wantRequest(other)
	second := askSpec(t, p.url(path+"victim"), tt.open)
	h.wantRequest(victim)
	go o.serveAgain()
	h.write(tt.send)
	switch tt.scope {
	case conn:
		h.wantEnd(tt.code)
	case stream:
		h.wantReset(victim, tt.code)
	case none:
		if !tt.open { // the rest of an open request is cancelled
			h.wantAlive()
		}
	case gone:
	}
	if tt.again {
		h.wantRequest(idle)
		h.write(join(head(0, idle, ":status: 200"), data(endStream, idle, "again")))
	}
	if tt.want == fine {
		h.write(join(ok(0), data(endStream, victim, "fine")))
	}
	second.want(t, "the victim's client", cmp.Or(tt.want, badHost))
	rest := badHost
	if tt.scope != conn {
		rest = "200 other"
		h.write(join(head(0, other, ":status: 200"), data(endStream, other, "other")))
	}
	first.want(t, "the other client", rest)
}
