package l7

import (
	"strconv"

	"millrace/codec"
	"millrace/filters"
)

// BufferConfig configures the "buffer" filter, which takes in a request whole before anything of it
// goes upstream: a slow sender costs the upstream nothing, and it gets a content-length.
type BufferConfig struct {
	// MaxRequestBytes is the longest body that is taken; a longer one is answered with 413. 1 byte to 1 GiB.
	MaxRequestBytes int `json:"max_request_bytes" unit:"bytes" required:"true" min:"1" max:"1GiB"`
}

// buffer keeps requests until they are complete.
type buffer struct {
	requestBytesMax int64
}

// BufferRouteConfig is what a route says to the "buffer" filter: exactly one of its fields.
type BufferRouteConfig struct {
	filters.RouteOverride

	// MaxRequestBytes takes the place of the filter's. 1 byte to 1 GiB.
	MaxRequestBytes *int `json:"max_request_bytes" unit:"bytes" min:"1" max:"1GiB" v3:"buffer.max_request_bytes"`
}

// Validate reports a config that says nothing, or both.
func (c *BufferRouteConfig) Validate(report func(path, problem, hint string)) {
	if c.Disabled == (c.MaxRequestBytes != nil) {
		report("", "neither or both of disabled and max_request_bytes are given", "give one of them")
	}
}

// newBufferRoute makes what PerRoute gives: a buffer with another limit.
func newBufferRoute(cfg *BufferRouteConfig) (any, error) {
	if cfg.MaxRequestBytes == nil {
		return nil, nil
	}
	return &buffer{requestBytesMax: int64(*cfg.MaxRequestBytes)}, nil
}

// of returns the filter as the route of the stream wants it.
func (f *buffer) of(s *filters.Stream) *buffer {
	if own, ok := s.PerRoute().(*buffer); ok {
		return own
	}
	return f
}

func newBuffer(cfg *BufferConfig, _ *filters.Env) (any, error) {
	return &buffer{requestBytesMax: int64(cfg.MaxRequestBytes)}, nil
}

// bufferIdle is the slot of a stream that is not buffered. While one is, the slot has the
// bytes so far, and one more.
const bufferIdle = 0

// OnRequestHead implements filters.RequestHeadFilter.
func (f *buffer) OnRequestHead(s *filters.Stream, end bool) filters.Verdict {
	if end { // also a tunnel: what follows its head is no body
		return filters.Continue
	}
	f = f.of(s)
	if s.Request.ContentLength > f.requestBytesMax {
		return f.refuse(s)
	}
	if s.Request.Expect100 && s.Request.Has(codec.FieldExpect) {
		f.sendContinue(s)
	}
	s.BufferLimit[filters.Request] = max(s.BufferLimit[filters.Request], int(f.requestBytesMax))
	s.Slot().N = bufferIdle + 1
	return filters.Buffer
}

// sendContinue asks for the body. Nobody upstream will, since nothing reaches it before the body is here.
func (f *buffer) sendContinue(s *filters.Stream) {
	var h codec.ResponseHead
	h.Reset()
	h.Status = 100
	s.Down().Informational(&h)
	s.Request.Remove(codec.FieldExpect)
	s.Request.Expect100 = false
}

// OnRequestData implements filters.RequestDataFilter.
func (f *buffer) OnRequestData(s *filters.Stream, data []byte, end bool) filters.Verdict {
	slot := s.Slot()
	if slot.N == bufferIdle {
		return filters.Continue
	}
	slot.N += int64(len(data))
	if f = f.of(s); slot.N-1 > f.requestBytesMax {
		return f.refuse(s)
	}
	if !end {
		return filters.Buffer
	}
	if s.Request.ContentLength < 0 {
		setContentLength(&s.Request, slot.N-1)
	}
	slot.N = bufferIdle
	return filters.Continue
}

// refuse answers with 413.
func (f *buffer) refuse(s *filters.Stream) filters.Verdict {
	s.Down().BufferOverflow(filters.Request)
	return filters.Replied
}

// setContentLength changes the framing of a request whose body is known now.
func setContentLength(h *codec.RequestHead, n int64) {
	var digits [20]byte
	h.ContentLength, h.Chunked = n, false
	h.Remove(codec.FieldTransferEncoding)
	h.Set(codec.FieldContentLength, strconv.AppendInt(digits[:0], n, 10))
}
