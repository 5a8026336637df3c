package router_test

import (
	"testing"

	"millrace/codec"
	"millrace/codec/h2"
	"millrace/filters/httpconn"
	"millrace/filters/route"
)

// http2Origin in the list of newPath makes the origin one of HTTP/2.
const http2Origin = "http2"

// h2end is an origin that speaks HTTP/2, and answers each request with a small body and trailers.
type h2end struct {
	s       *h2.Server
	ev      codec.Event
	head    *codec.ResponseHead
	trailer *codec.Fields
	out     []byte
}

func newH2End() *h2end {
	l := codec.DefaultLimits()
	opt := h2.DefaultOptions(&l)
	e := &h2end{s: h2.NewServer(&opt, &h2.Scratch{}), head: new(codec.ResponseHead), trailer: new(codec.Fields)}
	e.ev.Request, e.ev.Trailers = new(codec.RequestHead), new(codec.Fields)
	e.head.Reset()
	e.head.Status = 200
	e.head.AddString("content-type", "application/grpc")
	e.trailer.AddString("grpc-status", "0")
	return e
}

// serveH2 turns the loop until the origin has got a request and its copies, and answers them.
func (p *path) serveH2() {
	for left := p.asked; left > 0; {
		e := p.h2
		e.out = e.s.AppendControl(e.out[:0])
		for b := p.pass(p.origin); len(b) > 0; {
			n, err := e.s.Feed(b, &e.ev)
			if err != nil || n == 0 {
				panic("the origin got nonsense")
			}
			b = b[n:]
			if e.ev.Kind == codec.EventData {
				e.s.Consume(e.ev.Stream, len(e.ev.Data))
			}
			if e.ev.End {
				left--
				id := e.ev.Stream
				e.out = e.s.AppendResponseHead(e.s.AppendControl(e.out), id, e.head, false)
				e.out = append(e.s.AppendDataPrefix(e.out, id, 5, false), "hello"...)
				e.out = e.s.AppendTrailers(e.out, id, e.trailer)
			}
		}
		p.send(p.origin, e.s.AppendControl(e.out))
	}
}

// TestRequestAllocsHTTP2: nor does a request that goes on to a host of HTTP/2, with trailers in the answer.
func TestRequestAllocsHTTP2(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, tt := range []struct {
		name, request string
		edit          func(*httpconn.Config, *route.ForwardConfig)
	}{
		{"get", "GET /index.html?q=1 HTTP/1.1\r\nHost: www.example.com\r\nAccept: */*\r\n\r\n", nil},
		{"post", "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nTE: trailers\r\nContent-Length: 5\r\n\r\nhello", nil},
		{"body kept", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", func(_ *httpconn.Config, f *route.ForwardConfig) {
			f.RetryPolicy = &route.RetryPolicyConfig{RetryOn: "5xx", NumRetries: 1}
		}},
		{"get mirrored", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", mirrorTwice},
		{"post mirrored", "POST / HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\n\r\nhello", mirrorTwice},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPath(t, tt.edit, http2Origin)
			request := []byte(tt.request)
			run := func() { p.run(request, nil) }
			for range 100 {
				run()
			}
			if n := testing.AllocsPerRun(500, run); n != 0 {
				t.Errorf("a request costs %v allocations, want 0", n)
			}
		})
	}
}

// mirrorTwice sends two copies of each request.
func mirrorTwice(_ *httpconn.Config, f *route.ForwardConfig) {
	f.RequestMirrorPolicies = &[]route.MirrorConfig{{Cluster: "web"}, {Cluster: "web"}}
}

func BenchmarkRequestHTTP2(b *testing.B) {
	p := newPath(b, nil, http2Origin)
	request := []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	p.run(request, nil)
	b.ReportAllocs()
	for b.Loop() {
		p.run(request, nil)
	}
}
