package l7

import (
	"bytes"
	"strconv"

	"millrace/codec"
	"millrace/filters"
)

// GRPCHTTP1BridgeConfig configures the "grpc_http1_bridge" filter, which lets clients that speak HTTP/1.1, and know no trailers, call
// unary methods of gRPC.
type GRPCHTTP1BridgeConfig struct {
	// UpgradeProtobufToGRPC takes requests with content-type application/x-protobuf, too: the body is one message
	// without the five bytes that gRPC puts in front of it, and so is that of the response. Default: false.
	UpgradeProtobufToGRPC bool `json:"upgrade_protobuf_to_grpc"`
	// IgnoreQueryParameters takes the query off the path of such requests. Default: false.
	IgnoreQueryParameters bool `json:"ignore_query_parameters"`
}

// Validate reports a field that has no effect.
func (c *GRPCHTTP1BridgeConfig) Validate(report func(path, problem, hint string)) {
	if c.IgnoreQueryParameters && !c.UpgradeProtobufToGRPC {
		report("ignore_query_parameters", "without upgrade_protobuf_to_grpc it has no effect", "set upgrade_protobuf_to_grpc, or leave it out")
	}
}

// protobufType is the content-type of a message without framing.
const protobufType = "application/x-protobuf"

// grpcBridge puts the status of gRPC into the head of a response.
type grpcBridge struct {
	upgrade, ignoreQuery bool
	counts               *grpcCounts
	free                 *grpcBridgeStream
}

// grpcBridgeStream is what is remembered of one call.
type grpcBridgeStream struct {
	upgraded bool // it came without framing
	begun    bool // the framing of the request is out
	answered bool // the response is one of gRPC
	request  int64
	response int64
	skip     int // bytes of framing to leave out of the response
	next     *grpcBridgeStream
}

func newGRPCHTTP1Bridge(cfg *GRPCHTTP1BridgeConfig, env *filters.Env) (any, error) {
	return &grpcBridge{upgrade: cfg.UpgradeProtobufToGRPC, ignoreQuery: cfg.IgnoreQueryParameters, counts: newGRPCCounts(env)}, nil
}

// OnRequestHead implements filters.RequestHeadFilter.
func (f *grpcBridge) OnRequestHead(s *filters.Stream, end bool) filters.Verdict {
	h := &s.Request
	if h.Version >= codec.Version20 {
		return filters.Continue
	}
	contentType := h.Get(codec.FieldContentType)
	_, bare := cutType(contentType, protobufType)
	upgraded := bare && f.upgrade
	if !upgraded && !filters.IsGRPC(contentType) {
		return filters.Continue
	}
	st := f.free
	if st == nil {
		st = &grpcBridgeStream{}
	}
	f.free = st.next
	*st = grpcBridgeStream{upgraded: upgraded}
	s.Slot().P = st
	h.Set(codec.FieldTE, grpcTE)
	if !upgraded {
		return filters.Continue
	}
	h.Set(codec.FieldContentType, grpcTypeBytes)
	if path, _, ok := bytes.Cut(h.Path(), []byte{'?'}); ok && f.ignoreQuery {
		h.SetPath(path)
	}
	s.Rewrite(filters.Request)
	switch {
	case end:
		setContentLength(h, grpcHeadBytes)
	case h.ContentLength >= 0:
		st.request = h.ContentLength
		setContentLength(h, st.request+grpcHeadBytes)
	default:
		return filters.Buffer // the length goes first
	}
	return filters.Continue
}

var (
	grpcTE        = []byte("trailers")
	grpcTypeBytes = []byte(grpcType)
)

// OnRequestData implements filters.RequestDataFilter.
func (f *grpcBridge) OnRequestData(s *filters.Stream, data []byte, end bool) filters.Verdict {
	st, _ := s.Slot().P.(*grpcBridgeStream)
	if st == nil || !st.upgraded || s.Request.ContentLength >= 0 {
		return filters.Continue
	}
	if st.request += int64(len(data)); !end {
		return filters.Buffer
	}
	setContentLength(&s.Request, st.request+grpcHeadBytes)
	return filters.Continue
}

// RewriteRequest implements filters.RequestRewriter.
func (f *grpcBridge) RewriteRequest(s *filters.Stream, dst []byte, p filters.Part) ([]byte, *codec.Fields) {
	st := s.Slot().P.(*grpcBridgeStream)
	if !st.begun {
		st.begun = true
		dst = appendGRPCHead(dst, 0, int(st.request))
	}
	return append(dst, p.Data...), nil
}

// OnResponseHead implements filters.ResponseHeadFilter.
func (f *grpcBridge) OnResponseHead(s *filters.Stream, end bool) filters.Verdict {
	st, _ := s.Slot().P.(*grpcBridgeStream)
	if st == nil {
		return filters.Continue
	}
	h := &s.Response
	st.answered, st.response, st.skip = filters.IsGRPC(h.Get(codec.FieldContentType)), 0, 0
	if !st.answered {
		return filters.Continue
	}
	if st.upgraded {
		h.SetString("content-type", protobufType)
	}
	if end {
		f.finish(s, st, &h.Fields)
		return filters.Continue
	}
	s.Rewrite(filters.Response)
	return filters.Buffer
}

// OnResponseData implements filters.ResponseDataFilter.
func (f *grpcBridge) OnResponseData(s *filters.Stream, data []byte, end bool) filters.Verdict {
	st, _ := s.Slot().P.(*grpcBridgeStream)
	if st == nil || !st.answered {
		return filters.Continue
	}
	if st.response += int64(len(data)); !end {
		return filters.Buffer
	}
	if st.upgraded {
		st.skip = int(min(st.response, grpcHeadBytes))
	}
	h := &s.Response
	h.ContentLength, h.Chunked, h.CloseDelimited = st.response-int64(st.skip), false, false
	h.Remove(codec.FieldTransferEncoding)
	h.Remove(codec.FieldTrailer)
	h.Set(codec.FieldContentLength, strconv.AppendInt(nil, h.ContentLength, 10))
	return filters.Continue
}

// OnResponseTrailers implements filters.ResponseTrailersFilter. The head is still held here: what OnResponseData lets go of has not
// moved on yet.
func (f *grpcBridge) OnResponseTrailers(s *filters.Stream, t *codec.Fields) filters.Verdict {
	if st, _ := s.Slot().P.(*grpcBridgeStream); st != nil && st.answered {
		f.finish(s, st, t)
	}
	return filters.Continue
}

// finish copies the status into the head.
func (f *grpcBridge) finish(s *filters.Stream, st *grpcBridgeStream, t *codec.Fields) {
	code, ok := grpcCodeOf(t)
	if !ok {
		return
	}
	h := &s.Response
	if code != grpcOK {
		h.Status = 503
		h.SetReason("")
	}
	if t != &h.Fields {
		h.SetString(grpcStatusField, string(t.Lookup(grpcStatusField)))
		if v := t.Lookup(grpcMessageField); v != nil {
			h.SetString(grpcMessageField, string(v))
		}
	}
	if s.Info.Cluster != "" {
		service, method := cutGRPCPath(s.Request.Path())
		f.counts.of(s.Info.Cluster, "grpc", service, method).count(code)
	}
}

// RewriteResponse implements filters.ResponseRewriter: trailers end here.
func (f *grpcBridge) RewriteResponse(s *filters.Stream, dst []byte, p filters.Part) ([]byte, *codec.Fields) {
	st := s.Slot().P.(*grpcBridgeStream)
	n := min(st.skip, len(p.Data))
	st.skip -= n
	return append(dst, p.Data[n:]...), nil
}

// OnDestroy implements filters.Destroyer.
func (f *grpcBridge) OnDestroy(s *filters.Stream) {
	if st, _ := s.Slot().P.(*grpcBridgeStream); st != nil {
		s.Slot().P = nil
		st.next, f.free = f.free, st
	}
}
