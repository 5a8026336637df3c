package l7

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strconv"

	"millrace/codec"
	"millrace/codec/ascii"
	"millrace/filters"
)

// The response half of grpc_json_transcoder.

// OnResponseHead implements filters.ResponseHeadFilter.
func (f *grpcJSON) OnResponseHead(s *filters.Stream, end bool) filters.Verdict {
	c, _ := s.Slot().P.(*jsonCall)
	if c == nil {
		return filters.Continue
	}
	h := &s.Response
	c.plain, c.out, c.count, c.typed, c.converted = false, nil, 0, false, false // an answer of our own may replace one that has begun
	if c.plain = !filters.IsGRPC(h.Get(codec.FieldContentType)); c.plain {
		f.stats.RsNotGRPC.Inc()
		return filters.Continue
	}
	h.Set(codec.FieldContentType, f.contentType(c))
	s.Rewrite(filters.Response)
	unframe(h)
	switch {
	case end:
		f.finish(s, c, &h.Fields)
		return filters.Continue
	case c.call.Method.ServerStreaming && !c.call.RawResponse():
		return filters.Continue
	}
	s.BufferLimit[filters.Response] = max(s.BufferLimit[filters.Response], f.responseMax(s))
	return filters.Buffer
}

// The content-types of JSON.
var (
	jsonType      = []byte("application/json")
	jsonLinesType = []byte("application/x-ndjson")
	sseType       = []byte("text/event-stream")
)

// contentType is the one of a response with JSON.
func (f *grpcJSON) contentType(c *jsonCall) []byte {
	p := &f.cfg.PrintOptions
	switch {
	case c.call.Method.ServerStreaming && p.StreamNewlineDelimited:
		return jsonLinesType
	case c.call.Method.ServerStreaming && p.StreamSSEStyleDelimited:
		return sseType
	}
	return jsonType
}

// OnResponseData implements filters.ResponseDataFilter. What it is shown it keeps: unary responses until their status is known, raw ones
// until their content-type is.
func (f *grpcJSON) OnResponseData(s *filters.Stream, data []byte, end bool) filters.Verdict {
	c, _ := s.Slot().P.(*jsonCall)
	streams := c != nil && c.call.Method.ServerStreaming
	if c == nil || c.plain || streams && (c.typed || !c.call.RawResponse()) {
		return filters.Continue
	}
	for len(data) > 0 && !c.typed {
		message, rest, ok, err := c.peek.next(data, f.responseMax(s))
		if err == nil && ok {
			err = f.takeMessage(s, c, message)
		}
		if err != nil {
			return f.fail(s, err)
		}
		data = rest
	}
	if streams && c.typed {
		return filters.Continue
	}
	if !end {
		return filters.Buffer
	}
	if c.peek.partial() {
		return f.fail(s, errGRPCPartial)
	}
	f.finish(s, c, &s.Response.Fields) // if there are trailers, they have more to say
	return filters.Continue
}

// takeMessage takes a message while the head is held.
func (f *grpcJSON) takeMessage(s *filters.Stream, c *jsonCall, message []byte) (err error) {
	if c.count++; c.count > 1 { // which a unary method does not have
		return nil
	}
	if !c.call.RawResponse() {
		c.out, err = c.call.AppendResponse(c.out, message)
		return err
	}
	var contentType string
	c.out, contentType, err = c.call.AppendRaw(c.out, message)
	if contentType != "" {
		s.Response.SetString("content-type", contentType)
	}
	c.typed = c.call.Method.ServerStreaming
	return err
}

// fail answers instead of a response that cannot become JSON.
func (f *grpcJSON) fail(s *filters.Stream, err error) filters.Verdict {
	if errors.Is(err, errGRPCTooLong) {
		f.stats.RsTooLarge.Inc()
		return s.ReplyWith(filters.LocalReply{Status: 500, Details: "response_payload_too_large", Body: "Internal Server Error"})
	}
	f.stats.RsInvalid.Inc()
	return s.ReplyWith(filters.LocalReply{Status: 502, Details: detailsJSONFailed, Body: err.Error()})
}

// OnResponseTrailers implements filters.ResponseTrailersFilter. The head is still held here, unless the method streams: what
// OnResponseData lets go of has not moved on yet.
func (f *grpcJSON) OnResponseTrailers(s *filters.Stream, t *codec.Fields) filters.Verdict {
	c, _ := s.Slot().P.(*jsonCall)
	if c == nil || c.plain {
		return filters.Continue
	}
	if !c.call.Method.ServerStreaming || c.call.RawResponse() && !c.typed {
		f.finish(s, c, t)
	}
	return filters.Continue
}

// finish puts the status into a head that is held, and settles the body.
func (f *grpcJSON) finish(s *filters.Stream, c *jsonCall, t *codec.Fields) {
	h := &s.Response
	code, ok := grpcCodeOf(t)
	switch {
	case !ok: // the upstream broke its promise
		h.Status = 503
	case code == grpcOK:
		h.Status = 200
		if c.call.Method.ServerStreaming && c.count == 0 {
			c.out = f.appendStreamEnd(c, nil)
		}
	case f.cfg.ConvertGRPCStatus && f.convert(c, code, t):
		h.Status = filters.HTTPOfGRPC(code)
		h.SetString("content-type", "application/json")
		h.RemoveName(grpcStatusField)
		h.RemoveName(grpcMessageField)
		h.RemoveName(grpcDetailsField)
	default:
		h.Status, c.out = filters.HTTPOfGRPC(code), nil
	}
	h.SetReason("")
	if ok && t != &h.Fields && !c.converted {
		h.SetString(grpcStatusField, string(t.Lookup(grpcStatusField)))
		if v := t.Lookup(grpcMessageField); v != nil {
			h.SetString(grpcMessageField, string(v))
		}
	}
	h.ContentLength, h.Chunked = int64(len(c.out)), false
	h.Set(codec.FieldContentLength, strconv.AppendInt(nil, h.ContentLength, 10))
}

// convert makes the status the body. It reports whether it can.
func (f *grpcJSON) convert(c *jsonCall, code int64, t *codec.Fields) bool {
	details := bytes.TrimRight(t.Lookup(grpcDetailsField), "=")
	binary, err := base64.RawStdEncoding.AppendDecode(nil, details)
	var out []byte
	if err == nil {
		out, err = f.set.AppendStatus(nil, binary, int32(max(code, 0)), string(unescapeGRPCMessage(t.Lookup(grpcMessageField))))
	}
	if err != nil {
		f.stats.RsUnreadable.Inc()
		return false
	}
	f.stats.RsConverted.Inc()
	c.out, c.converted = out, true
	return true
}

// unescapeGRPCMessage decodes a grpc-message. A "%" without two digits stays.
func unescapeGRPCMessage(v []byte) []byte {
	out := make([]byte, 0, len(v))
	for i := 0; i < len(v); i++ {
		c := v[i]
		if c == '%' && i+2 < len(v) {
			hi, lo := ascii.HexValue(v[i+1]), ascii.HexValue(v[i+2])
			if hi < 16 && lo < 16 {
				c, i = hi<<4|lo, i+2
			}
		}
		out = append(out, c)
	}
	return bytes.ToValidUTF8(out, []byte("\ufffd"))
}

// RewriteResponse implements filters.ResponseRewriter.
func (f *grpcJSON) RewriteResponse(s *filters.Stream, dst []byte, p filters.Part) ([]byte, *codec.Fields) {
	c := s.Slot().P.(*jsonCall)
	if s.Response.ContentLength >= 0 { // what finish has settled
		if p.End {
			dst = append(dst, c.out...)
		}
		return dst, nil
	}
	dst, err := f.streamResponse(s, c, dst, p)
	if err != nil {
		f.stats.RsInvalid.Inc()
		s.Down().ResetResponse(detailsJSONFailed)
	}
	return dst, p.Trailers
}

// streamResponse makes an element of each message.
func (f *grpcJSON) streamResponse(s *filters.Stream, c *jsonCall, dst []byte, p filters.Part) ([]byte, error) {
	for data := p.Data; len(data) > 0; {
		message, rest, ok, err := c.frames.next(data, f.responseMax(s))
		if err != nil {
			return dst, err
		}
		if data = rest; !ok {
			break
		}
		if dst, err = f.appendElement(c, dst, message); err != nil {
			return dst, err
		}
	}
	if !p.End {
		return dst, nil
	}
	if c.frames.partial() {
		return dst, errGRPCPartial
	}
	return f.appendStreamEnd(c, dst), nil
}

var errGRPCPartial = errors.New("the response ends within a message")

// appendElement appends one message of a stream.
func (f *grpcJSON) appendElement(c *jsonCall, dst, message []byte) (out []byte, err error) {
	if c.call.RawResponse() {
		dst, _, err = c.call.AppendRaw(dst, message)
		return dst, err
	}
	p := &f.cfg.PrintOptions
	c.count++
	switch {
	case p.StreamNewlineDelimited:
		dst, err = c.call.AppendResponse(dst, message)
		return append(dst, '\n'), err
	case p.StreamSSEStyleDelimited:
		dst, err = c.call.AppendResponse(append(dst, "data: "...), message)
		return append(dst, "\n\n"...), err
	case c.count == 1:
		dst = append(dst, '[')
	default:
		dst = append(dst, ',')
	}
	return c.call.AppendResponse(dst, message)
}

// appendStreamEnd appends what ends a stream.
func (f *grpcJSON) appendStreamEnd(c *jsonCall, dst []byte) []byte {
	p := &f.cfg.PrintOptions
	switch {
	case c.call.RawResponse() || p.StreamNewlineDelimited || p.StreamSSEStyleDelimited:
		return dst
	case c.count == 0:
		return append(dst, "[]"...)
	}
	return append(dst, ']')
}
