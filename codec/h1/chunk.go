package h1

import (
	"millrace/codec"
	"millrace/codec/ascii"
)

// chunkMax bounds a chunk-size, in bytes: far above any real one, far below overflow.
const chunkMax = 1 << 56

// chunkDigitsMax bounds the digits of a chunk-size, so that leading zeros end.
const chunkDigitsMax = 16

// extState says what the next byte of a chunk extension may be.
//
//	chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )
//	chunk-ext-val = token / quoted-string
//
// RFC 9112 section 7.1.1.
type extState uint8

const (
	extBeforeSemicolon extState = iota // BWS was seen, ";" must follow
	extBeforeName                      // after ";"
	extName
	extAfterName // BWS after a name
	extBeforeValue
	extValue
	extQuoted
	extEscaped
	extAfterQuoted
)

// chunked handles the next event of a chunked body. Framing bytes are used up as they come.
func (r *reader) chunked(b []byte, ev *codec.Event, response bool) (n int, why codec.Reason) {
	for n < len(b) {
		c := b[n]
		switch r.state {
		case stateChunkSize:
			why = r.chunkSize(c)
		case stateChunkExt:
			why = r.chunkExt(c)
		case stateChunkSizeLF:
			why = r.chunkSizeEnd(c)
		case stateChunkData:
			n += r.take(b[n:], ev)
			if ev.Opaque = r.remain; r.remain == 0 {
				r.state = stateChunkDataCR
			}
			return n, codec.ReasonNone
		case stateChunkDataCR:
			if r.state = stateChunkDataLF; c != '\r' {
				why = codec.ReasonChunkEnd
			}
		case stateChunkDataLF:
			if r.state, r.digits = stateChunkSize, 0; c != '\n' {
				why = codec.ReasonChunkEnd
			}
		default: // stateTrailers
			m, why := r.trailers(b[n:], ev, response)
			return n + m, why
		}
		if why != codec.ReasonNone {
			return n, why
		}
		n++
	}
	return n, codec.ReasonNone
}

// chunkSize takes one byte of a chunk-size, or the one after it.
func (r *reader) chunkSize(c byte) codec.Reason {
	v := ascii.HexValue(c)
	if v == ascii.NotHex {
		return r.chunkSizeNext(c)
	}
	// "recipients MUST anticipate potentially large hexadecimal numerals and prevent parsing
	// errors due to integer conversion overflows"
	// RFC 9112 section 7.1
	if r.remain > chunkMax>>4 || r.digits == chunkDigitsMax {
		return codec.ReasonChunkTooLarge
	}
	r.remain, r.digits = r.remain<<4|int64(v), r.digits+1
	return codec.ReasonNone
}

// chunkSizeNext takes the byte after the digits.
func (r *reader) chunkSizeNext(c byte) codec.Reason {
	if r.digits == 0 { // chunk-size = 1*HEXDIG
		return codec.ReasonChunkSize
	}
	switch c {
	case '\r':
		r.state = stateChunkSizeLF
	case ';':
		r.state, r.ext = stateChunkExt, extBeforeName
	case ' ', '\t':
		r.state, r.ext = stateChunkExt, extBeforeSemicolon
	case '\n':
		return codec.ReasonLineEnd
	default:
		return codec.ReasonChunkSize
	}
	return codec.ReasonNone
}

// chunkSizeEnd takes the LF after a chunk-size and its extensions.
func (r *reader) chunkSizeEnd(c byte) codec.Reason {
	if c != '\n' {
		return codec.ReasonLineEnd
	}
	if r.remain > 0 {
		r.state = stateChunkData
	} else {
		r.state, r.line, r.scanned, r.lines = stateTrailers, 0, 0, 0
	}
	return codec.ReasonNone
}

// chunkExt takes one byte of the chunk extensions, which are checked and dropped: "A recipient MUST ignore
// unrecognized chunk extensions." RFC 9112 section 7.1.1.
func (r *reader) chunkExt(c byte) codec.Reason {
	// "A server ought to limit the total length of chunk extensions received in a request to an amount
	// reasonable for the services provided"
	// RFC 9112 section 7.1.1
	if r.spent++; int(r.spent) > r.limits.ChunkExtBytes {
		return codec.ReasonChunkExtTooLarge
	}
	if c == '\r' {
		if r.ext != extName && r.ext != extValue && r.ext != extAfterQuoted {
			return codec.ReasonChunkExt
		}
		r.state = stateChunkSizeLF
		return codec.ReasonNone
	}
	next, ok := r.ext.next(c)
	if r.ext = next; !ok {
		return codec.ReasonChunkExt
	}
	return codec.ReasonNone
}

// next returns the state after c, and whether c may stand there.
func (e extState) next(c byte) (extState, bool) {
	bws, token := c == ' ' || c == '\t', ascii.Is(c, ascii.Token)
	switch e {
	case extBeforeSemicolon:
		if c == ';' {
			return extBeforeName, true
		}
		return e, bws
	case extBeforeName:
		if token {
			return extName, true
		}
		return e, bws
	case extName, extAfterName:
		return e.nextAfterName(c, bws, token)
	case extBeforeValue:
		switch {
		case token:
			return extValue, true
		case c == '"':
			return extQuoted, true
		}
		return e, bws
	case extValue:
		if token {
			return e, true
		}
		return e.nextAfterValue(c, bws)
	case extQuoted:
		switch c {
		case '"':
			return extAfterQuoted, true
		case '\\':
			return extEscaped, true
		}
		return e, ascii.Is(c, ascii.Quoted)
	case extEscaped:
		return extQuoted, ascii.Is(c, ascii.Value)
	default: // extAfterQuoted
		return e.nextAfterValue(c, bws)
	}
}

func (e extState) nextAfterName(c byte, bws, token bool) (extState, bool) {
	switch {
	case token && e == extName:
		return e, true
	case c == ';':
		return extBeforeName, true
	case c == '=':
		return extBeforeValue, true
	}
	return extAfterName, bws
}

func (e extState) nextAfterValue(c byte, bws bool) (extState, bool) {
	if c == ';' {
		return extBeforeName, true
	}
	return extBeforeSemicolon, bws
}

// trailers handles a trailer section, which stays with the caller until it is complete.
func (r *reader) trailers(b []byte, ev *codec.Event, response bool) (n int, why codec.Reason) {
	f := ev.Trailers
	whole := r.scanned == 0
	lim := sectionLimits{
		bytes: r.limits.TrailerBytes, whyBytes: codec.ReasonTrailersTooLarge,
		count: r.limits.TrailerCount, whyCount: codec.ReasonTooManyTrailers,
		response: response, trailers: true,
	}
	if f != nil {
		f.Reset()
	}
	end, why := r.fields(b, f, &lim)
	if why != codec.ReasonNone || end == 0 {
		if f != nil {
			f.Reset()
		}
		return 0, why
	}
	if !whole && f != nil { // the lines that came earlier are known to be good, but not in f
		f.Reset()
		r.line, r.scanned, r.lines = 0, 0, 0
		end, _ = r.fields(b, f, &lim)
	}
	ev.Kind, ev.End, r.state = codec.EventData, true, stateDone
	if f != nil && f.Len() > 0 {
		f.SetBuffer(b[:end])
		ev.Kind = codec.EventTrailers
	}
	return end, codec.ReasonNone
}
