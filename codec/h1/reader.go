package h1

import (
	"bytes"

	"millrace/codec"
	"millrace/codec/ascii"
)

// state says what the next byte belongs to; doc.go has the picture.
type state uint8

const (
	stateStart       state = iota // the start line, nothing of it parsed yet
	stateFields                   // the field lines of a head
	stateLength                   // a body of known length
	stateUntilClose               // a body that ends with the connection
	stateChunkSize                // the digits of a chunk-size
	stateChunkExt                 // chunk extensions, up to CR
	stateChunkSizeLF              // the LF after them
	stateChunkData                // the data of a chunk
	stateChunkDataCR              // the CR after it
	stateChunkDataLF              // and the LF
	stateTrailers                 // trailer lines and the empty line
	stateDone                     // the message is complete
	stateTunnel                   // no longer HTTP
	stateIdle                     // Client: no request is out
	stateFailed                   // an error was given; it is given again
)

// reader is where the message being read stands. Server and Client share it.
type reader struct {
	limits  *codec.Limits
	remain  int64 // bytes left of the body or chunk
	line    int32 // offset of the line being read in its head or trailer section
	scanned int32 // bytes of the section searched for LF. Invariant: line <= scanned
	lines   int32 // fields of the section so far
	spent   int32 // bytes of chunk extensions so far
	state   state
	ext     extState
	digits  uint8        // of the chunk-size so far
	failed  codec.Reason // valid only in stateFailed
}

// nextLine finds the end of the line at r.line, which must end within the first most bytes of b.
// It returns the offset of the LF, or -1 if the line is not complete.
func (r *reader) nextLine(b []byte, most int) (lf int, ok bool) {
	if len(b) > most {
		b = b[:most]
	}
	i := bytes.IndexByte(b[r.scanned:], '\n')
	if i < 0 {
		r.scanned = int32(len(b))
		return -1, len(b) < most
	}
	return int(r.scanned) + i, true
}

// fields parses the complete field lines of b, a section that begins at b[0], from r.line on. It returns the
// offset after the empty line, or 0 if that is not there yet.
//
// Hot path: BenchmarkServerFeed. The position stays in registers until the loop ends.
func (r *reader) fields(b []byte, f *codec.Fields, lim *sectionLimits) (end int, why codec.Reason) {
	window := b[:min(len(b), lim.bytes)]
	start, from := int(r.line), int(r.scanned)
	for {
		i := bytes.IndexByte(window[from:], '\n')
		if i < 0 {
			break
		}
		lf := from + i
		if window[start] == '\r' && lf == start+1 {
			return lf + 1, codec.ReasonNone
		}
		if why := r.fieldLine(window[:lf], start, f, lim); why != codec.ReasonNone {
			return 0, why
		}
		start, from = lf+1, lf+1
	}
	r.line, r.scanned = int32(start), int32(len(window))
	if len(b) >= lim.bytes { // the line that is not complete cannot be within the limit
		return 0, lim.whyBytes
	}
	return 0, codec.ReasonNone
}

// sectionLimits are the limits of a head or a trailer section, and the reasons to give for them.
type sectionLimits struct {
	bytes, count       int
	whyBytes, whyCount codec.Reason
	response, trailers bool
}

// fieldLine parses the line of b from start to the end, where its LF was, and adds the field to f, if there is one.
//
// A name that is known is a token, and needs no second look.
func (r *reader) fieldLine(b []byte, start int, f *codec.Fields, lim *sectionLimits) codec.Reason {
	line := b[start:]
	end := len(line) - 1
	colon := bytes.IndexByte(line, ':')
	if end < 0 || line[end] != '\r' || colon <= 0 {
		return badLineReason(line)
	}
	name := line[:colon]
	id := codec.KnownField(name)
	if id == codec.FieldOther && !ascii.All(name, ascii.Token) {
		if name = r.responseName(name, lim); name == nil {
			return badNameReason(line)
		}
		id = codec.KnownField(name)
	}
	at := colon + 1
	for line[at] == ' ' || line[at] == '\t' { // stops at the CR
		at++
	}
	for end > at && (line[end-1] == ' ' || line[end-1] == '\t') {
		end--
	}
	if !ascii.IsValue(line[at:end]) {
		return badValueReason(line[at:end])
	}
	if int(r.lines) >= lim.count {
		return lim.whyCount
	}
	r.lines++
	if f == nil || lim.trailers && trailerForbidden(id) {
		return codec.ReasonNone
	}
	if len(name) > fieldNameMax {
		return lim.whyBytes
	}
	f.AppendSpan(id, codec.Span{Off: uint32(start), Len: uint32(len(name))},
		codec.Span{Off: uint32(start + at), Len: uint32(end - at)})
	return codec.ReasonNone
}

// responseName returns name without the whitespace at its end, if it may be left out; nil if it is no name.
//
// "A proxy MUST remove any such whitespace from a response message before forwarding the message downstream."
// RFC 9112 section 5.1
func (r *reader) responseName(name []byte, lim *sectionLimits) []byte {
	n := ascii.Span(name, ascii.Token)
	if !lim.response || n == 0 || len(ascii.Trim(name[n:])) > 0 {
		return nil
	}
	return name[:n]
}

// fieldNameMax is the longest name codec.Fields can hold, in bytes.
const fieldNameMax = 1<<16 - 1

// badLineReason tells why a line without CR in front of its LF, or without a name, is refused.
func badLineReason(line []byte) codec.Reason {
	if len(line) > 0 && line[len(line)-1] == '\r' || len(line) > 0 && isBlank(line[0]) {
		return badNameReason(line)
	}
	return codec.ReasonLineEnd
}

func badNameReason(line []byte) codec.Reason {
	switch {
	case isBlank(line[0]):
		// "A server that receives an obs-fold in a request message that is not within a "message/http"
		// container MUST either reject the message by sending a 400 (Bad Request) ... or replace ..."
		// RFC 9112 section 5.2
		return codec.ReasonObsFold
	case bytes.IndexByte(line[:len(line)-1], '\r') >= 0:
		return codec.ReasonLineEnd
	default:
		return codec.ReasonFieldName
	}
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func badValueReason(value []byte) codec.Reason {
	if bytes.IndexByte(value, '\r') >= 0 {
		return codec.ReasonLineEnd
	}
	return codec.ReasonFieldValue
}

// trailerForbidden reports whether a field may not come as a trailer: one that frames the message, routes
// it, changes how it is processed or proves who sent it. RFC 9110 section 6.5.1.
func trailerForbidden(id codec.FieldID) bool {
	switch id {
	case codec.FieldHost, codec.FieldConnection, codec.FieldContentLength, codec.FieldTransferEncoding,
		codec.FieldTE, codec.FieldTrailer, codec.FieldUpgrade, codec.FieldKeepAlive, codec.FieldProxyConnection,
		codec.FieldExpect, codec.FieldCacheControl, codec.FieldAuthorization, codec.FieldProxyAuthorization,
		codec.FieldProxyAuthenticate, codec.FieldCookie, codec.FieldSetCookie, codec.FieldContentType,
		codec.FieldContentEncoding, codec.FieldLocation, codec.FieldRetryAfter, codec.FieldVia,
		codec.FieldXForwardedFor, codec.FieldXForwardedProto, codec.FieldXForwardedHost,
		codec.FieldXForwardedPort:
		return true
	default:
		return false
	}
}

// begin starts the next message.
func (r *reader) begin() {
	r.state = stateStart
	r.line, r.scanned, r.lines, r.remain = 0, 0, 0, 0
}

// enterBody goes from a complete head to the body that follows it.
func (r *reader) enterBody(length int64, chunked bool) (end bool) {
	r.line, r.scanned = 0, 0
	switch {
	case chunked:
		r.state, r.remain, r.digits, r.spent = stateChunkSize, 0, 0, 0
	case length > 0:
		r.state, r.remain = stateLength, length
	default:
		r.state = stateDone
		return true
	}
	return false
}

// body handles the next event of the states of a body.
func (r *reader) body(b []byte, ev *codec.Event, response bool) (n int, why codec.Reason) {
	switch r.state {
	case stateLength:
		n = r.take(b, ev)
		if ev.Opaque = r.remain; r.remain == 0 {
			ev.End, r.state = true, stateDone
		}
		return n, codec.ReasonNone
	case stateUntilClose, stateTunnel:
		ev.Kind, ev.Data, ev.Opaque = codec.EventData, b, -1
		return len(b), codec.ReasonNone
	case stateDone, stateIdle, stateStart, stateFields, stateFailed:
		return 0, codec.ReasonNone
	default:
		return r.chunked(b, ev, response)
	}
}

// take gives the piece of b that belongs to the body or chunk.
func (r *reader) take(b []byte, ev *codec.Event) int {
	if int64(len(b)) > r.remain {
		b = b[:r.remain]
	}
	r.remain -= int64(len(b))
	ev.Kind, ev.Data = codec.EventData, b
	return len(b)
}

// skip tells that n bytes of the body or chunk went by without Feed.
func (r *reader) skip(n int64) {
	switch r.state {
	case stateLength, stateChunkData:
		if r.remain -= n; r.remain < 0 {
			panic("BUG: h1: skipped more than the opaque run")
		}
		if r.remain == 0 && r.state == stateLength {
			r.state = stateDone
		} else if r.remain == 0 {
			r.state = stateChunkDataCR
		}
	case stateUntilClose, stateTunnel:
	default:
		if n != 0 {
			panic("BUG: h1: skipped outside a body")
		}
	}
}

// eof handles the end of the peer's bytes.
func (r *reader) eof(ev *codec.Event) codec.Reason {
	switch r.state {
	case stateStart, stateFields:
		if r.scanned > 0 || r.state == stateFields {
			return codec.ReasonHeadIncomplete
		}
		return codec.ReasonNone
	case stateUntilClose, stateTunnel:
		ev.Kind, ev.End = codec.EventData, true
		r.state = stateDone
		return codec.ReasonNone
	case stateDone, stateIdle:
		return codec.ReasonNone
	case stateFailed:
		return r.failed
	default:
		return codec.ReasonBodyIncomplete
	}
}

// fail remembers the reason, so that whoever feeds on gets it again.
func (r *reader) fail(why codec.Reason) {
	r.state, r.failed = stateFailed, why
}

// clear sets what Feed gives to nothing, and leaves what is lent.
func clearEvent(ev *codec.Event) {
	ev.Kind, ev.Stream, ev.End, ev.Data, ev.Opaque = codec.EventNone, 0, false, nil, 0
}
