package l7

import (
	"errors"

	"millrace/codec"
	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/grpcjson"
)

// grpcJSON makes calls of gRPC of requests with JSON.
//
//	request:  head, body ─▶ held until whole ─▶ POST /service/method, one message      (unary, server streams)
//	          head ─▶ at once; array ─▶ a message for each element                     (client streams)
//	response: head, messages, trailers ─▶ held until whole ─▶ status, JSON             (unary, client streams)
//	          head ─▶ at once; message ─▶ element of an array; trailers                (server streams)
type grpcJSON struct {
	cfg      *GRPCJSONTranscoderConfig
	set      *grpcjson.Set
	stats    *grpcJSONStats
	scratch  []byte
	original []byte // method of the request
}

// grpcJSONStats counts one connection manager on one loop.
type grpcJSONStats struct {
	RqTotal      stats.Counter `stat:"rq_total" help:"requests that became calls of gRPC"`
	RqUnmatched  stats.Counter `stat:"rq_unmatched" help:"requests that are for no method"`
	RqInvalid    stats.Counter `stat:"rq_invalid" help:"requests that could not become messages"`
	RqTooLarge   stats.Counter `stat:"rq_too_large" help:"requests longer than max_request_body_size"`
	RsInvalid    stats.Counter `stat:"rs_invalid" help:"responses that could not become JSON"`
	RsTooLarge   stats.Counter `stat:"rs_too_large" help:"responses with messages longer than max_response_body_size"`
	RsNotGRPC    stats.Counter `stat:"rs_not_grpc" help:"responses to calls that were not gRPC, passed as they were"`
	RsConverted  stats.Counter `stat:"rs_status_converted" help:"errors whose status became the body"`
	RsUnreadable stats.Counter `stat:"rs_status_unreadable" help:"errors whose details could not become JSON"`
}

// jsonCall is what is remembered of one call.
type jsonCall struct {
	call        *grpcjson.Call
	contentType string // of the request
	body        []byte // of the request, as far as it is here
	message     []byte // framed, ready to be sent
	split       grpcjson.Splitter

	plain     bool       // the response is not gRPC: it passes as it is
	peek      grpcFrames // of the response, while the head is held
	frames    grpcFrames // of the response
	out       []byte     // the body of the response
	converted bool       // out is a status
	typed     bool       // the content-type of a raw response is known
	count     int        // messages of the response
}

func newGRPCJSONTranscoder(cfg *GRPCJSONTranscoderConfig, env *filters.Env) (any, error) {
	set, err := cfg.loaded()
	if err != nil {
		return nil, err
	}
	return &grpcJSON{cfg: cfg, set: set, stats: stats.Register[grpcJSONStats](env.Stats, scopeOf(env, "grpc_json_transcoder"))}, nil
}

const (
	detailsJSONFailed   = "grpc_json_transcode_failure"
	detailsJSONTooLarge = "grpc_json_transcode_failure_request_too_large"
)

// requestMax is the longest body of a request.
func (f *grpcJSON) requestMax(s *filters.Stream) int {
	if f.cfg.MaxRequestBodySize != nil {
		return *f.cfg.MaxRequestBodySize
	}
	return s.BufferLimit[filters.Request]
}

// responseMax is the longest message of a response.
func (f *grpcJSON) responseMax(s *filters.Stream) int {
	if f.cfg.MaxResponseBodySize != nil {
		return *f.cfg.MaxResponseBodySize
	}
	return s.BufferLimit[filters.Response]
}

// OnRequestHead implements filters.RequestHeadFilter.
func (f *grpcJSON) OnRequestHead(s *filters.Stream, end bool) filters.Verdict {
	h := &s.Request
	contentType := h.Get(codec.FieldContentType)
	if h.Upgrade || h.Method() == codec.MethodCONNECT || filters.IsGRPC(contentType) {
		return filters.Continue
	}
	call, err := f.set.Match(h.MethodBytes(), h.Path())
	if err != nil {
		return f.unmatched(s, err)
	}
	f.stats.RqTotal.Inc()
	c := &jsonCall{call: call, contentType: string(contentType)}
	s.Slot().P = c
	s.PlainReplies = true
	if h.Expect100 && !end {
		f.sendContinue(s)
	}
	f.becomeCall(s, call.Method.Path)
	s.Rewrite(filters.Request)
	if !f.cfg.MatchIncomingRequestRoute {
		s.ClearRoute()
	}
	switch {
	case call.Method.ClientStreaming && call.TakesBody():
		return filters.Continue
	case end || !call.TakesBody():
		return f.makeMessage(s, c)
	}
	s.BufferLimit[filters.Request] = max(s.BufferLimit[filters.Request], f.requestMax(s))
	return filters.Buffer
}

// unmatched deals with a request that is for no method.
func (f *grpcJSON) unmatched(s *filters.Stream, err error) filters.Verdict {
	f.stats.RqUnmatched.Inc()
	v := &f.cfg.RequestValidationOptions
	_, unknown := errors.AsType[grpcjson.UnknownParameter](err)
	switch {
	case unknown && v.RejectUnknownQueryParameters:
		return s.ReplyWith(filters.LocalReply{Status: 400, Details: detailsJSONFailed, Body: err.Error()})
	case !unknown && v.RejectUnknownMethod:
		return s.ReplyWith(filters.LocalReply{Status: 404, Details: detailsJSONFailed, Body: err.Error()})
	}
	return filters.Continue
}

// sendContinue asks for the body: nobody upstream will.
func (f *grpcJSON) sendContinue(s *filters.Stream) {
	var h codec.ResponseHead
	h.Reset()
	h.Status = 100
	s.Down().Informational(&h)
	s.Request.Remove(codec.FieldExpect)
	s.Request.Expect100 = false
}

// becomeCall makes the head one of gRPC.
func (f *grpcJSON) becomeCall(s *filters.Stream, path string) {
	h := &s.Request
	f.original = append(f.original[:0], h.MethodBytes()...)
	h.SetString("x-envoy-original-method", string(f.original))
	f.scratch = append(f.scratch[:0], h.Path()...)
	h.Set(codec.FieldXEnvoyOriginalPath, f.scratch)
	h.SetMethod(codec.MethodPOST)
	f.scratch = append(f.scratch[:0], path...)
	h.SetPath(f.scratch)
	h.Set(codec.FieldContentType, grpcTypeBytes)
	h.Set(codec.FieldTE, grpcTE)
	h.ContentLength, h.Chunked = -1, true
	h.Remove(codec.FieldContentLength)
	h.RemoveName("grpc-accept-encoding") // what is compressed could not become JSON
}

// makeMessage makes the message of a request that is here whole.
func (f *grpcJSON) makeMessage(s *filters.Stream, c *jsonCall) filters.Verdict {
	var err error
	if c.message, err = appendJSONMessage(c.message, c, c.body); err != nil {
		return f.refuse(s, err)
	}
	c.body = nil
	return filters.Continue
}

// appendJSONMessage appends a message with its framing.
func appendJSONMessage(dst []byte, c *jsonCall, body []byte) ([]byte, error) {
	begin := len(dst)
	dst = appendGRPCHead(dst, 0, 0)
	dst, err := c.call.AppendRequest(dst, body, c.contentType)
	if err != nil {
		return dst[:begin], err
	}
	appendGRPCHead(dst[:begin], 0, len(dst)-begin-grpcHeadBytes)
	return dst, nil
}

// refuse answers a request that cannot become a message.
func (f *grpcJSON) refuse(s *filters.Stream, err error) filters.Verdict {
	if errors.Is(err, grpcjson.ErrTooLong) {
		f.stats.RqTooLarge.Inc()
		return s.ReplyWith(filters.LocalReply{Status: 413, Details: detailsJSONTooLarge, Body: "Payload Too Large", Close: true})
	}
	f.stats.RqInvalid.Inc()
	return s.ReplyWith(filters.LocalReply{Status: 400, Details: detailsJSONFailed, Body: err.Error()})
}

// OnRequestData implements filters.RequestDataFilter.
func (f *grpcJSON) OnRequestData(s *filters.Stream, data []byte, end bool) filters.Verdict {
	c, _ := s.Slot().P.(*jsonCall)
	if c == nil || c.call.Method.ClientStreaming || c.message != nil {
		return filters.Continue
	}
	if len(c.body)+len(data) > f.requestMax(s) {
		return f.refuse(s, grpcjson.ErrTooLong)
	}
	if c.body = append(c.body, data...); !end {
		return filters.Buffer
	}
	return f.makeMessage(s, c)
}

// RewriteRequest implements filters.RequestRewriter.
func (f *grpcJSON) RewriteRequest(s *filters.Stream, dst []byte, p filters.Part) ([]byte, *codec.Fields) {
	c := s.Slot().P.(*jsonCall)
	if !c.call.Method.ClientStreaming || !c.call.TakesBody() {
		if p.End {
			dst = append(dst, c.message...)
		}
		return dst, nil
	}
	var err error
	if dst, err = f.streamRequest(s, c, dst, p); err != nil {
		f.refuse(s, err)
	}
	return dst, nil
}

// streamRequest makes a message of each element of an array, or of each piece of a body that is no JSON.
func (f *grpcJSON) streamRequest(s *filters.Stream, c *jsonCall, dst []byte, p filters.Part) ([]byte, error) {
	if c.call.RawRequest() {
		if len(p.Data) == 0 {
			return dst, nil
		}
		return appendJSONMessage(dst, c, p.Data)
	}
	err := c.split.Feed(p.Data, f.requestMax(s), func(element []byte) (err error) {
		dst, err = appendJSONMessage(dst, c, element)
		return err
	})
	if err == nil && p.End {
		err = c.split.End()
	}
	return dst, err
}
