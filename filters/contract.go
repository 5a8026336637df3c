package filters

import (
	"millrace/codec"
	"millrace/filters/accesslog"
)

// The contracts of an HTTP filter. A filter implements those it needs. All are called on
// the stream's loop. end says that the message is complete with this part.

// RequestHeadFilter looks at the head of a request.
type RequestHeadFilter interface {
	OnRequestHead(s *Stream, end bool) Verdict
}

// RequestDataFilter looks at the body of a request, piece by piece. data is valid during the call.
type RequestDataFilter interface {
	OnRequestData(s *Stream, data []byte, end bool) Verdict
}

// RequestTrailersFilter looks at the trailers of a request, which end it.
type RequestTrailersFilter interface {
	OnRequestTrailers(s *Stream, t *codec.Fields) Verdict
}

// ResponseHeadFilter looks at the head of the response, in Stream.Response. It does not see 1xx heads.
type ResponseHeadFilter interface {
	OnResponseHead(s *Stream, end bool) Verdict
}

// ResponseDataFilter looks at the body of the response, piece by piece. data is valid during the call.
type ResponseDataFilter interface {
	OnResponseData(s *Stream, data []byte, end bool) Verdict
}

// ResponseTrailersFilter looks at the trailers of the response, which end it.
type ResponseTrailersFilter interface {
	OnResponseTrailers(s *Stream, t *codec.Fields) Verdict
}

// A Part is a piece of a message, or its end, as a rewriter is given it.
type Part struct {
	// Data is a piece of the body, valid during the call.
	Data []byte
	// End says that the message ends with it.
	End bool
	// Trailers end the message; nil if there are none, or not yet. End is set with them.
	Trailers *codec.Fields
}

// RequestRewriter puts another body in the place of the request's. It gets what the filter has let go of, if the
// filter has said Stream.Rewrite while it was shown the head.
type RequestRewriter interface {
	// RewriteRequest appends to dst what goes on in the place of p, and returns the trailers that do: p.Trailers, others, or
	// none. Without p.End they have no meaning. A message that ends with its head is given as a Part without data,
	// before the head goes on, and may so get a body. It may answer the request (Stream.Reply).
	RewriteRequest(s *Stream, dst []byte, p Part) ([]byte, *codec.Fields)
}

// ResponseRewriter puts another body in the place of the response's, as a RequestRewriter does.
type ResponseRewriter interface {
	RewriteResponse(s *Stream, dst []byte, p Part) ([]byte, *codec.Fields)
}

// A Destroyer cancels what it has outstanding for a stream that ends.
type Destroyer interface {
	OnDestroy(s *Stream)
}

// Terminal is the last filter of a chain: it makes the request happen. The router is one.
// It answers through the stream: RespondHead, RespondData, RespondTrailers, Reply, or ResetResponse.
type Terminal interface {
	// PickHost finds the cluster of the stream's route and a host in it.
	PickHost(s *Stream) Verdict
	// Forward sends the request to the picked host. It pauses while there is no connection yet.
	Forward(s *Stream) Verdict
	// OnRequestData takes a piece of the request's body. data is valid during the call, and for
	// engine's WriteRef until the end of the event.
	OnRequestData(s *Stream, data []byte, end bool)
	// OnRequestTrailers takes the trailers, which end the request.
	OnRequestTrailers(s *Stream, t *codec.Fields)
	// SpliceRequest begins to move the next n bytes of the request's body, all until its end if n is
	// negative, from the downstream connection past the filters. It reports whether it can;
	// SplicedRequest tells that they have gone.
	SpliceRequest(s *Stream, n int64) bool
	SplicedRequest(s *Stream, n int64)
	// PauseResponse stops reading the response from upstream, because downstream does not take it as
	// fast or a filter holds it. Counted: each needs its ResumeResponse.
	PauseResponse(s *Stream)
	// ResumeResponse takes one PauseResponse back.
	ResumeResponse(s *Stream)
	// Abandon ends what the stream has upstream: it is answered without it. What Describe tells stays.
	Abandon(s *Stream)
	// OnDestroy ends what the stream still has upstream.
	OnDestroy(s *Stream)
	// Describe fills what the terminal knows of a stream into its log record, before OnDestroy.
	Describe(s *Stream, r *accesslog.Record)
}
