package router_test

import (
	"encoding/binary"
	"net"
	"testing"

	"millrace/codec/h2"
	"millrace/filters/httpconn"
	"millrace/filters/route"
)

// path2 is a path whose client speaks HTTP/2.
type path2 struct {
	*path
	stream uint32
	frame  []byte
}

// newPath2 opens a connection of HTTP/2 to a path beside the one it has.
func newPath2(t testing.TB, edit func(*httpconn.Config, *route.ForwardConfig)) *path2 {
	t.Helper()
	p := &path2{path: newPath(t, edit), stream: 1}
	client, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	p.client = p.descriptor(client)
	p.send(p.client, append([]byte(h2.Preface), "\x00\x00\x00\x04\x00\x00\x00\x00\x00"+"\x00\x00\x00\x04\x01\x00\x00\x00\x00"...))
	p.pass(p.client)
	return p
}

// run runs one request, of which frames is HEADERS and what follows, for any stream.
func (p *path2) run(frames, answer []byte) {
	p.frame = append(p.frame[:0], frames...)
	for b := p.frame; len(b) > 0; {
		binary.BigEndian.PutUint32(b[5:], p.stream)
		b = b[9+int(b[0])<<16+int(b[1])<<8+int(b[2]):]
	}
	p.stream += 2
	p.send(p.client, p.frame)
	p.pass(p.origin)
	p.send(p.origin, answer)
	for ended := false; !ended; { // the last frame may come later
		for b := p.pass(p.client); len(b) >= 9; b = b[9+int(b[0])<<16+int(b[1])<<8+int(b[2]):] {
			ended = ended || b[3] <= 1 && b[4]&1 != 0
		}
	}
}

// frame2 returns a frame.
func frame2(typ, flags byte, payload string) string {
	return string([]byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), typ, flags, 0, 0, 0, 0}) + payload
}

// Header blocks without entries for the table: they can be sent again and again.
const (
	block2Get  = "\x82\x86\x84\x01\x0bexample.com\x0f\x2b\x0bMozilla/5.0\x0f\x11\x03a=b\x0f\x11\x03c=d"
	block2Post = "\x83\x86\x84\x01\x0bexample.com"
)

// TestHTTP2RequestAllocs: a request by HTTP/2 to an upstream of HTTP/1.1 costs no allocation anywhere between the sockets.
func TestHTTP2RequestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	small := "HTTP/1.1 200 OK\r\nServer: o\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
	for _, tt := range []struct{ name, request, answer string }{
		{"get", frame2(1, 5, block2Get), small},
		{"post", frame2(1, 4, block2Post) + frame2(0, 1, "hello"), small},
		{"no content", frame2(1, 5, block2Get), "HTTP/1.1 204 No Content\r\n\r\n"},
		{"4 KiB body", frame2(1, 5, block2Get), "HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n" + string(make([]byte, 4096))},
		{"chunked", frame2(1, 5, block2Get), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPath2(t, nil)
			request, answer := []byte(tt.request), []byte(tt.answer)
			window := []byte(frame2(8, 0, "\x00\x00\x20\x00"))
			run := func() {
				p.send(p.client, window) // the connection's
				p.run(request, answer)
			}
			for range 200 {
				run()
			}
			if n := testing.AllocsPerRun(500, run); n != 0 {
				t.Errorf("a request allocates %v times, want 0", n)
			}
		})
	}
}

// BenchmarkHTTP2Request includes the system calls of all four ends.
func BenchmarkHTTP2Request(b *testing.B) {
	p := newPath2(b, nil)
	window := []byte(frame2(8, 0, "\x00\x00\x00\x05"))
	request := append([]byte(frame2(1, 5, block2Get)), window...)
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
	p.run(request[:len(request)-len(window)], answer)
	b.ReportAllocs()
	for b.Loop() {
		p.send(p.client, window)
		p.run(request[:len(request)-len(window)], answer)
	}
}
