package h1

import (
	"testing"

	"millrace/codec"
)

// Requests of the benchmarks, by name.
var benchRequests = []struct{ name, in string }{
	{"get-small", "GET /index.html HTTP/1.1\r\nHost: example.com\r\nAccept: */*\r\nUser-Agent: wrk/4.2\r\n\r\n"},
	{"get-browser", "GET /search?q=mill+race&page=2 HTTP/1.1\r\nHost: www.example.com\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" +
		"Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n" +
		"Connection: keep-alive\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n" +
		"Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n\r\n"},
	{"post-length", "POST /api/v1/items HTTP/1.1\r\nHost: api.example.com\r\nContent-Type: application/json\r\n" +
		"Content-Length: 27\r\nAccept: application/json\r\nAuthorization: Bearer abcdef0123456789\r\n\r\n" +
		`{"name":"wheel","count":12}`},
	{"post-chunked", "POST /api HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"b\r\nhello world\r\n5\r\nagain\r\n0\r\n\r\n"},
}

var benchResponse = "HTTP/1.1 200 OK\r\nServer: nginx/1.31.0\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\n" +
	"Content-Type: application/octet-stream\r\nContent-Length: 128\r\nLast-Modified: Sun, 22 Nov 2026 11:00:00 GMT\r\n" +
	"Connection: keep-alive\r\nETag: \"6921a2b0-80\"\r\nAccept-Ranges: bytes\r\n\r\n"

// feedRequest feeds a whole request and completes its response.
func feedRequest(tb testing.TB, s *Server, in []byte, ev *codec.Event, h *codec.ResponseHead, out []byte) {
	for b := in; len(b) > 0; {
		n, err := s.Feed(b, ev)
		if err != nil || ev.Kind == codec.EventNone && n < len(b) {
			tb.Fatalf("Feed(%q) = %d, %v", b, n, err)
		}
		b = b[n:]
	}
	if !s.RequestDone() {
		tb.Fatalf("Feed(%q): not done", in)
	}
	s.AppendResponseHead(out[:0], 0, h, true)
}

func newEvent() *codec.Event {
	return &codec.Event{Request: new(codec.RequestHead), Response: new(codec.ResponseHead), Trailers: new(codec.Fields)}
}

// BenchmarkServerFeed is a request head and body in, and the smallest response out.
func BenchmarkServerFeed(b *testing.B) {
	limits := codec.DefaultLimits()
	for _, bb := range benchRequests {
		b.Run(bb.name, func(b *testing.B) {
			s, ev, in, out := NewServer(&limits), newEvent(), []byte(bb.in), make([]byte, 0, 512)
			var h codec.ResponseHead
			h.Reset()
			h.Status = 200
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				feedRequest(b, &s, in, ev, &h, out)
			}
		})
	}
}

// BenchmarkClientAppendHead serialises a parsed request.
func BenchmarkClientAppendHead(b *testing.B) {
	limits := codec.DefaultLimits()
	for _, bb := range benchRequests {
		b.Run(bb.name, func(b *testing.B) {
			s, ev, out := NewServer(&limits), newEvent(), make([]byte, 0, 4096)
			if _, err := s.Feed([]byte(bb.in), ev); err != nil {
				b.Fatal(err)
			}
			c := NewClient(&limits)
			b.ReportAllocs()
			for b.Loop() {
				c.Reset(&limits)
				out = c.AppendRequestHead(out[:0], 0, ev.Request, ev.End)
			}
			b.SetBytes(int64(len(out)))
		})
	}
}

func BenchmarkClientFeed(b *testing.B) {
	limits := codec.DefaultLimits()
	c, ev, in := NewClient(&limits), newEvent(), []byte(benchResponse)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		c.Reset(&limits)
		c.state = stateStart
		if n, err := c.Feed(in, ev); n != len(in) || err != nil {
			b.Fatalf("Feed = %d, %v", n, err)
		}
	}
}

func BenchmarkServerAppendHead(b *testing.B) {
	limits := codec.DefaultLimits()
	c, ev, out := NewClient(&limits), newEvent(), make([]byte, 0, 4096)
	c.state = stateStart
	if _, err := c.Feed([]byte(benchResponse), ev); err != nil {
		b.Fatal(err)
	}
	s := NewServer(&limits)
	s.request = serverRequest{version: codec.Version11, keepAlive: true}
	b.ReportAllocs()
	for b.Loop() {
		s.writer = writer{}
		out = s.AppendResponseHead(out[:0], 0, ev.Response, false)
	}
	b.SetBytes(int64(len(out)))
}
