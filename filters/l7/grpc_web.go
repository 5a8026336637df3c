package l7

import (
	"bytes"
	"encoding/base64"

	"millrace/codec"
	"millrace/codec/ascii"
	"millrace/engine/stats"
	"millrace/filters"
)

// GRPCWebConfig configures the "grpc_web" filter, which lets browsers call gRPC: it takes requests of grpc-web, in
// binary or in base64, forwards them as gRPC, and puts the trailers of the response at the end of its body. It has no fields. Put
// "cors" in front of it, which answers preflight requests.
type GRPCWebConfig struct{}

// grpcWebMessageMax is how much of the body of a response that is not gRPC becomes its grpc-message, in bytes.
const grpcWebMessageMax = 1 << 10

// grpcWeb translates between grpc-web and gRPC.
type grpcWeb struct {
	counts *grpcCounts
	stats  *grpcWebStats
	free   *grpcWebStream
}

// grpcWebStats counts one connection manager on one loop.
type grpcWebStats struct {
	RqTotal     stats.Counter `stat:"rq_total" help:"requests of grpc-web"`
	RqText      stats.Counter `stat:"rq_text" help:"requests of grpc-web in base64"`
	RqMalformed stats.Counter `stat:"rq_malformed" help:"requests of grpc-web whose body is not base64"`
	RsOther     stats.Counter `stat:"rs_not_grpc" help:"responses to grpc-web that were not gRPC"`
}

// grpcWebStream is what is remembered of one call.
type grpcWebStream struct {
	textRequest, textResponse bool
	other                     bool // the response is not gRPC: its body becomes the message
	pending                   [4]byte
	have                      int // bytes of pending
	message                   []byte
	next                      *grpcWebStream
}

func newGRPCWeb(_ *GRPCWebConfig, env *filters.Env) (any, error) {
	return &grpcWeb{counts: newGRPCCounts(env), stats: stats.Register[grpcWebStats](env.Stats, scopeOf(env, "grpc_web"))}, nil
}

// cutGRPCWeb reports whether a content-type is one of grpc-web, and whether it is the one of base64. suffix names the encoding of
// the messages, such as "+proto".
func cutGRPCWeb(contentType []byte) (suffix []byte, text, ok bool) {
	if suffix, ok = cutType(contentType, grpcWebTextType); ok {
		return suffix, true, true
	}
	suffix, ok = cutType(contentType, grpcWebType)
	return suffix, false, ok
}

// OnRequestHead implements filters.RequestHeadFilter.
func (f *grpcWeb) OnRequestHead(s *filters.Stream, end bool) filters.Verdict {
	h := &s.Request
	suffix, text, ok := cutGRPCWeb(h.Get(codec.FieldContentType))
	if !ok {
		return filters.Continue
	}
	f.stats.RqTotal.Inc()
	st := f.free
	if st == nil {
		st = &grpcWebStream{}
	}
	f.free = st.next
	*st = grpcWebStream{textRequest: text, textResponse: acceptsGRPCWebText(h.Get(codec.FieldAccept), text), message: st.message[:0]}
	s.Slot().P = st
	var buf [64]byte
	h.Set(codec.FieldContentType, append(append(buf[:0], grpcType...), suffix...))
	h.Set(codec.FieldTE, grpcTE)
	if h.Lookup("grpc-accept-encoding") == nil { // Deviation: Envoy promises gzip and deflate for a browser that may know neither
		h.AddString("grpc-accept-encoding", "identity")
	}
	if text {
		f.stats.RqText.Inc()
	}
	if text && !end {
		h.ContentLength, h.Chunked = -1, true
		h.Remove(codec.FieldContentLength)
		s.Rewrite(filters.Request)
	}
	return filters.Continue
}

// acceptsGRPCWebText reports whether the response goes out in base64: as accept says, else as the request came.
func acceptsGRPCWebText(accept []byte, text bool) bool {
	if bytes.Contains(accept, []byte(grpcWebTextType)) {
		return true
	}
	return text && !bytes.Contains(accept, []byte(grpcWebType))
}

// RewriteRequest implements filters.RequestRewriter: base64 becomes what it stands for.
func (f *grpcWeb) RewriteRequest(s *filters.Stream, dst []byte, p filters.Part) ([]byte, *codec.Fields) {
	st := s.Slot().P.(*grpcWebStream)
	dst, ok := st.decode(dst, p.Data)
	if !ok || p.End && st.have > 0 {
		f.stats.RqMalformed.Inc()
		s.ReplyWith(filters.LocalReply{
			Status: 400, Details: "grpc_base_64_decode_failed", Body: "Bad gRPC-web request, invalid base64 data.",
		})
	}
	return dst, p.Trailers
}

// decode appends what a piece of base64 stands for. A group of four characters may lie in two pieces. Padding ends a group, not
// the body: clients encode messages one by one.
func (st *grpcWebStream) decode(dst, b []byte) (out []byte, ok bool) {
	for len(b) > 0 {
		if st.have == 0 && len(b) >= 4 {
			n := len(b) &^ 3
			if end := bytes.IndexByte(b[:n], '='); end >= 0 { // up to the end of the group with padding
				n = end&^3 + 4
			}
			if dst, ok = appendBase64(dst, b[:n]); !ok {
				return dst, false
			}
			b = b[n:]
			continue
		}
		n := copy(st.pending[st.have:], b)
		st.have, b = st.have+n, b[n:]
		if st.have == len(st.pending) {
			st.have = 0
			if dst, ok = appendBase64(dst, st.pending[:]); !ok {
				return dst, false
			}
		}
	}
	return dst, true
}

// appendBase64 appends what whole groups of base64 stand for.
func appendBase64(dst, b []byte) (out []byte, ok bool) {
	if bytes.IndexByte(b, '\n') >= 0 || bytes.IndexByte(b, '\r') >= 0 { // the decoder would pass over them
		return dst, false
	}
	out, err := base64.StdEncoding.AppendDecode(dst, b)
	return out, err == nil
}

// OnResponseHead implements filters.ResponseHeadFilter.
func (f *grpcWeb) OnResponseHead(s *filters.Stream, end bool) filters.Verdict {
	st, _ := s.Slot().P.(*grpcWebStream)
	if st == nil {
		return filters.Continue
	}
	h := &s.Response
	suffix, ok := cutType(h.Get(codec.FieldContentType), grpcType)
	if st.other = !ok; st.other {
		return f.takeOther(s, st, end)
	}
	setGRPCWebType(h, st.textResponse, suffix)
	if end { // trailers only: they are in the head
		if code, ok := grpcCodeOf(&h.Fields); ok {
			f.count(s, code)
		}
		return filters.Continue
	}
	unframe(h)
	s.Rewrite(filters.Response)
	return filters.Continue
}

// setGRPCWebType gives a response the type the client expects.
func setGRPCWebType(h *codec.ResponseHead, text bool, suffix []byte) {
	name := grpcWebType
	if text {
		name = grpcWebTextType
	}
	if len(suffix) == 0 {
		suffix = grpcWebProto
	}
	var buf [64]byte
	h.Set(codec.FieldContentType, append(append(buf[:0], name...), suffix...))
}

var grpcWebProto = []byte("+proto")

// unframe makes a response one whose length is not known.
func unframe(h *codec.ResponseHead) {
	h.ContentLength, h.Chunked, h.CloseDelimited = -1, true, false
	h.Remove(codec.FieldContentLength)
	h.Remove(codec.FieldTransferEncoding)
	h.Remove(codec.FieldTrailer)
}

// takeOther makes a status of gRPC of a response that is not gRPC, such as an error page. The status of HTTP stays.
func (f *grpcWeb) takeOther(s *filters.Stream, st *grpcWebStream, end bool) filters.Verdict {
	f.stats.RsOther.Inc()
	st.message = st.message[:0]
	if end {
		f.finishOther(s, st)
		return filters.Continue
	}
	s.Rewrite(filters.Response)
	return filters.Buffer
}

// OnResponseData implements filters.ResponseDataFilter.
func (f *grpcWeb) OnResponseData(s *filters.Stream, data []byte, end bool) filters.Verdict {
	st, _ := s.Slot().P.(*grpcWebStream)
	if st == nil || !st.other || s.Response.Lookup(grpcStatusField) != nil {
		return filters.Continue
	}
	st.message = append(st.message, data[:min(len(data), grpcWebMessageMax-len(st.message))]...)
	if !end && len(st.message) < grpcWebMessageMax {
		return filters.Buffer
	}
	f.finishOther(s, st)
	return filters.Continue
}

// finishOther puts the status into the head, if it has none.
func (f *grpcWeb) finishOther(s *filters.Stream, st *grpcWebStream) {
	h := &s.Response
	setGRPCWebType(h, st.textResponse, nil)
	h.ContentLength, h.Chunked, h.CloseDelimited = 0, false, false
	h.Remove(codec.FieldTransferEncoding)
	h.Set(codec.FieldContentLength, []byte{'0'})
	code, ok := grpcCodeOf(&h.Fields)
	if !ok {
		code = int64(filters.GRPCOfHTTP(h.Status))
		h.SetString(grpcStatusField, grpcCodeTexts[code])
		h.SetString(grpcMessageField, string(filters.AppendGRPCMessage(nil, string(st.message))))
	}
	f.count(s, code)
}

// grpcCodeTexts are the status codes as text.
var grpcCodeTexts = [grpcCodes]string{
	"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
}

// OnResponseTrailers implements filters.ResponseTrailersFilter.
func (f *grpcWeb) OnResponseTrailers(s *filters.Stream, t *codec.Fields) filters.Verdict {
	if st, _ := s.Slot().P.(*grpcWebStream); st != nil && !st.other {
		if code, ok := grpcCodeOf(t); ok {
			f.count(s, code)
		}
	}
	return filters.Continue
}

// RewriteResponse implements filters.ResponseRewriter. Each piece is encoded by itself: a message is not held back because its last
// bytes make no whole group.
func (f *grpcWeb) RewriteResponse(s *filters.Stream, dst []byte, p filters.Part) ([]byte, *codec.Fields) {
	st := s.Slot().P.(*grpcWebStream)
	if st.other {
		return dst, nil
	}
	if st.textResponse {
		dst = base64.StdEncoding.AppendEncode(dst, p.Data)
	} else {
		dst = append(dst, p.Data...)
	}
	if p.Trailers == nil {
		return dst, nil
	}
	st.message = appendGRPCWebTrailers(st.message[:0], p.Trailers)
	if st.textResponse {
		return base64.StdEncoding.AppendEncode(dst, st.message), nil
	}
	return append(dst, st.message...), nil
}

// appendGRPCWebTrailers appends the frame that trailers become: lines of names in lower case and values.
func appendGRPCWebTrailers(dst []byte, t *codec.Fields) []byte {
	begin := len(dst)
	dst = appendGRPCHead(dst, grpcTrailer, 0)
	for i := range t.Len() {
		id, name, value := t.At(i)
		if id == codec.FieldRemoved {
			continue
		}
		for _, c := range name {
			dst = append(dst, ascii.Lower(c))
		}
		dst = append(append(append(dst, ':'), value...), '\r', '\n')
	}
	appendGRPCHead(dst[:begin], grpcTrailer, len(dst)-begin-grpcHeadBytes)
	return dst
}

// count counts a call that ended.
func (f *grpcWeb) count(s *filters.Stream, code int64) {
	if s.Info.Cluster != "" {
		service, method := cutGRPCPath(s.Request.Path())
		f.counts.of(s.Info.Cluster, "grpc-web", service, method).count(code)
	}
}

// OnDestroy implements filters.Destroyer.
func (f *grpcWeb) OnDestroy(s *filters.Stream) {
	if st, _ := s.Slot().P.(*grpcWebStream); st != nil {
		s.Slot().P = nil
		st.next, f.free = f.free, st
	}
}
