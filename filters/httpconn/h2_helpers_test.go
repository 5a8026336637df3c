package httpconn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"millrace/codec/h2"
	"millrace/codec/hpack"
)

// The types and flags of frames that the tests write.
const (
	frameData         = 0
	frameHeaders      = 1
	framePriority     = 2
	frameReset        = 3
	frameSettings     = 4
	framePing         = 6
	frameGoAway       = 7
	frameWindow       = 8
	frameContinuation = 9

	flagEnd     = 1
	flagAck     = 1
	flagWhole   = 4 // END_HEADERS
	flagHeadEnd = flagEnd | flagWhole
)

// peer2 is the client's end of a connection of HTTP/2, frame by frame.
type peer2 struct {
	net.Conn
	t    testing.TB
	turn func() // of a loop that does not turn by itself
	dec  hpack.Decoder
	in   []byte
}

// dial2 opens a connection and says the preface with some settings. The answers are passed over.
func dial2(t testing.TB, addr string, turn func(), settings ...uint32) *peer2 {
	t.Helper()
	p := dialRaw2(t, addr, turn)
	var b []byte
	for i := 0; i+1 < len(settings); i += 2 {
		b = binary.BigEndian.AppendUint16(b, uint16(settings[i]))
		b = binary.BigEndian.AppendUint32(b, settings[i+1])
	}
	p.write(h2.Preface + frame2(frameSettings, 0, 0, string(b)) + frame2(frameSettings, flagAck, 0, ""))
	p.want("SETTINGS", "WINDOW 0 983041", "SETTINGS ack")
	return p
}

func dialRaw2(t testing.TB, addr string, turn func()) *peer2 {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &peer2{Conn: c, t: t, turn: turn, dec: hpack.NewDecoder(4096)}
}

// frame2 returns a frame.
func frame2(typ, flags byte, stream uint32, payload string) string {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), typ, flags}
	return string(binary.BigEndian.AppendUint32(b, stream)) + payload
}

func num(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }

// block2 returns a header block of "name: value" fields that does not use the tables.
func block2(fields ...string) string {
	var b strings.Builder
	for _, f := range fields {
		at := strings.Index(f[1:], ": ") + 1
		b.WriteByte(0)
		for _, s := range []string{f[:at], f[at+2:]} {
			if len(s) < 127 {
				b.WriteByte(byte(len(s)))
			} else {
				n := len(s) - 127
				b.WriteByte(127)
				for ; n >= 128; n >>= 7 {
					b.WriteByte(byte(n) | 128)
				}
				b.WriteByte(byte(n))
			}
			b.WriteString(s)
		}
	}
	return b.String()
}

// head2 returns the fields of a request.
func head2(method, path string, more ...string) []string {
	return append([]string{":method: " + method, ":scheme: http", ":path: " + path, ":authority: a"}, more...)
}

// get2 returns a GET without a body.
func get2(stream uint32, path string, more ...string) string {
	return frame2(frameHeaders, flagHeadEnd, stream, block2(head2("GET", path, more...)...))
}

// post2 returns the head of a POST.
func post2(stream uint32, path string, more ...string) string {
	return frame2(frameHeaders, flagWhole, stream, block2(head2("POST", path, more...)...))
}

func (p *peer2) write(s string) {
	p.t.Helper()
	if _, err := p.Write([]byte(s)); err != nil {
		p.t.Fatal(err)
	}
}

// fill reads until n bytes are there. It reports false at the end of the connection.
func (p *peer2) fill(n int) bool {
	p.t.Helper()
	buf := make([]byte, 64<<10)
	for end := time.Now().Add(10 * time.Second); len(p.in) < n; {
		if time.Now().After(end) {
			p.t.Fatalf("nothing came; %d bytes so far", len(p.in))
		}
		wait := 10 * time.Second
		if p.turn != nil {
			p.turn()
			wait = time.Millisecond
		}
		_ = p.SetReadDeadline(time.Now().Add(wait))
		k, err := p.Read(buf)
		p.in = append(p.in, buf[:k]...)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return len(p.in) >= n
		}
	}
	return true
}

// next reads a frame and describes it: "HEADERS 1 200 end", "DATA 1 5 end", "RST 1 CANCEL"; "closed" at the end of the
// connection. What it carries is returned too.
func (p *peer2) next() (text, payload string) {
	p.t.Helper()
	if !p.fill(9) {
		return "closed", ""
	}
	n := int(p.in[0])<<16 | int(p.in[1])<<8 | int(p.in[2])
	typ, flags, stream := p.in[3], p.in[4], binary.BigEndian.Uint32(p.in[5:])
	if !p.fill(9 + n) {
		return "closed", ""
	}
	b := p.in[9 : 9+n]
	p.in = p.in[9+n:]
	end := ""
	if flags&flagEnd != 0 {
		end = " end"
	}
	switch typ {
	case frameData:
		return fmt.Sprintf("DATA %d %d%s", stream, n, end), string(b)
	case frameHeaders:
		fields := p.fields(b)
		status, _, _ := strings.Cut(strings.TrimPrefix(fields, ":status: "), "\n")
		return fmt.Sprintf("HEADERS %d %s%s", stream, status, end), fields
	case frameReset:
		return fmt.Sprintf("RST %d %s", stream, h2.CodeName(binary.BigEndian.Uint32(b))), ""
	case frameSettings:
		if flags&flagAck != 0 {
			return "SETTINGS ack", ""
		}
		return "SETTINGS", string(b)
	case framePing:
		if flags&flagAck != 0 {
			return "PING ack", string(b)
		}
		return "PING", string(b)
	case frameGoAway:
		return fmt.Sprintf("GOAWAY %d %s", binary.BigEndian.Uint32(b), h2.CodeName(binary.BigEndian.Uint32(b[4:]))), ""
	case frameWindow:
		return fmt.Sprintf("WINDOW %d %d", stream, binary.BigEndian.Uint32(b)), ""
	}
	return fmt.Sprintf("frame %d", typ), ""
}

// fields decodes a header block, one field a line.
func (p *peer2) fields(b []byte) string {
	p.t.Helper()
	var text strings.Builder
	for p.dec.Begin(); len(b) > 0; {
		out, n, f, err := p.dec.Next(nil, b, 1<<20)
		if err != hpack.ErrNone {
			p.t.Fatalf("header block: %v", err)
		}
		b = b[n:]
		if f.End >= 0 {
			fmt.Fprintf(&text, "%s: %s\n", out[f.Off:f.Value], out[f.Value:f.End])
		}
	}
	return text.String()
}

// want reads frames and compares what they are.
func (p *peer2) want(frames ...string) {
	p.t.Helper()
	for _, w := range frames {
		if got, _ := p.next(); got != w {
			p.t.Fatalf("got %q; want %q", got, w)
		}
	}
}

// wantClosed reads to the end, and returns what came before it.
func (p *peer2) wantClosed() (frames []string) {
	p.t.Helper()
	for {
		text, _ := p.next()
		if text == "closed" {
			return frames
		}
		frames = append(frames, text)
	}
}

// silent reports whether nothing comes.
func (p *peer2) silent() bool {
	p.t.Helper()
	if p.turn != nil {
		for range 5 {
			p.turn()
		}
	}
	_ = p.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	var b [1]byte
	n, err := p.Read(b[:])
	p.in = append(p.in, b[:n]...)
	return len(p.in) == 0 && errors.Is(err, os.ErrDeadlineExceeded)
}

// dial2 opens a connection of HTTP/2 to the manager of w.
func (w *world) dial2(settings ...uint32) *peer2 {
	w.t.Helper()
	return dial2(w.t, w.addr, w.tl.Step, settings...)
}

// originOf accepts connections and hands each to serve.
func originOf(t testing.TB, serve func(c net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return l.Addr().String()
}
