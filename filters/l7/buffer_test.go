package l7

import (
	"strings"
	"testing"

	"millrace/codec"
	"millrace/filters"
)

func newBufferFake(t *testing.T, requestBytesMax int) *fakeDownstream {
	f, _ := newFake(t, "buffer", &BufferConfig{MaxRequestBytes: requestBytesMax}, nil)
	return f
}

func TestBufferChunked(t *testing.T) {
	t.Parallel()
	f := newBufferFake(t, 10)
	s := f.request("POST /", "Transfer-Encoding: chunked", "X-After: 1")
	s.Request.Chunked = true
	s.Pass(filters.Request, false)
	s.PassData(filters.Request, []byte("hello"), false)
	f.want() // nothing goes upstream before the end
	s.PassData(filters.Request, []byte("world"), true)
	f.want("request head length=10 chunked=false end=false", `request data "helloworld" end=true`)
	if s.Request.Has(codec.FieldTransferEncoding) || string(s.Request.Get(codec.FieldContentLength)) != "10" {
		t.Errorf("framing fields are transfer-encoding %q, content-length %q", s.Request.Lookup("transfer-encoding"), s.Request.Lookup("content-length"))
	}
}

func TestBufferEndAlone(t *testing.T) {
	t.Parallel()
	f := newBufferFake(t, 10)
	for _, body := range []string{"", "abc"} {
		s := f.request("POST /")
		s.Request.Chunked = true
		s.Pass(filters.Request, false)
		if body != "" {
			s.PassData(filters.Request, []byte(body), false)
		}
		s.PassData(filters.Request, nil, true)
		if body == "" {
			f.want("request head length=0 chunked=false end=true")
			continue
		}
		f.want("request head length=3 chunked=false end=false", `request data "abc" end=true`)
	}
}

func TestBufferContentLength(t *testing.T) {
	t.Parallel()
	f := newBufferFake(t, 10)
	s := f.request("POST /", "Content-Length: 3")
	s.Request.ContentLength = 3
	s.Pass(filters.Request, false)
	s.PassData(filters.Request, []byte("abc"), true)
	f.want("request head length=3 chunked=false end=false", `request data "abc" end=true`)
}

func TestBufferTrailers(t *testing.T) {
	t.Parallel()
	f := newBufferFake(t, 10)
	s := f.request("POST /", "Transfer-Encoding: chunked")
	s.Request.Chunked = true
	s.Pass(filters.Request, false)
	s.PassData(filters.Request, []byte("abc"), false)
	s.PassTrailers(filters.Request, new(codec.Fields))
	f.want("request head length=3 chunked=false end=false", `request data "abc" end=false`, "request trailers")
}

func TestBufferNoBody(t *testing.T) {
	t.Parallel()
	f := newBufferFake(t, 10)
	s := f.request("GET /")
	s.Pass(filters.Request, true)
	f.want("request head length=-1 chunked=false end=true")
	// The bytes of a tunnel that began without a body are not a body.
	s.Reopen(filters.Request)
	s.PassData(filters.Request, []byte(strings.Repeat("x", 11)), false)
	f.want(`request data "xxxxxxxxxxx" end=false`)
}

func TestBufferTooLarge(t *testing.T) {
	t.Parallel()
	f := newBufferFake(t, 10)
	s := f.request("POST /")
	s.Request.Chunked = true
	s.Pass(filters.Request, false)
	s.PassData(filters.Request, []byte("12345678"), false)
	f.want()
	s.PassData(filters.Request, []byte("901"), true)
	f.want("request overflow")

	s = f.request("POST /", "Content-Length: 11") // refused before a byte of it is read
	s.Request.ContentLength = 11
	s.Pass(filters.Request, false)
	f.want("request overflow")
}

// TestBufferLimit: the filter's maximum holds, even when it is above the stream's own limit.
func TestBufferLimit(t *testing.T) {
	t.Parallel()
	f := newBufferFake(t, 100)
	s := f.request("POST /")
	s.BufferLimit[filters.Request] = 10
	s.Request.ContentLength = 100
	s.Pass(filters.Request, false)
	s.PassData(filters.Request, []byte(strings.Repeat("x", 100)), true)
	f.want("request head length=100 chunked=false end=false", `request data "`+strings.Repeat("x", 100)+`" end=true`)
}

// TestBufferExpect: the peer is asked for the body by us, for nobody upstream will.
func TestBufferExpect(t *testing.T) {
	t.Parallel()
	f := newBufferFake(t, 10)
	s := f.request("POST /", "Expect: 100-continue")
	s.Request.ContentLength, s.Request.Expect100 = 3, true
	s.Pass(filters.Request, false)
	f.want("informational 100")
	s.PassData(filters.Request, []byte("abc"), true)
	f.want("request head length=3 chunked=false end=false", `request data "abc" end=true`)
	if s.Request.Has(codec.FieldExpect) || s.Request.Expect100 {
		t.Error("the expectation is still there")
	}
}

// TestBufferRoute: what a route says is one thing or the other.
func TestBufferRoute(t *testing.T) {
	t.Parallel()
	n := 5
	for _, tt := range []struct {
		cfg      BufferRouteConfig
		problems int
		max      int64 // 0 is no buffer of its own
	}{
		{BufferRouteConfig{MaxRequestBytes: &n}, 0, 5},
		{BufferRouteConfig{RouteOverride: filters.RouteOverride{Disabled: true}}, 0, 0},
		{BufferRouteConfig{}, 1, 0},
		{BufferRouteConfig{RouteOverride: filters.RouteOverride{Disabled: true}, MaxRequestBytes: &n}, 1, 5},
	} {
		problems := 0
		tt.cfg.Validate(func(string, string, string) { problems++ })
		own, err := newBufferRoute(&tt.cfg)
		b, _ := own.(*buffer)
		if problems != tt.problems || err != nil || (b != nil) != (tt.max > 0) || b != nil && b.requestBytesMax != tt.max {
			t.Errorf("%+v: %d problems, %v, %v; want %d, %d", tt.cfg, problems, own, err, tt.problems, tt.max)
		}
	}
}
