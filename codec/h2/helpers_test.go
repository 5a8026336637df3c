package h2

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"millrace/codec"
	"millrace/codec/hpack"
)

// A peer speaks raw frames to one side of a connection, and records the events.
type peer struct {
	t       *testing.T
	server  *Server
	client  *Client
	enc     hpack.Encoder
	log     strings.Builder
	request codec.RequestHead
	answer  codec.ResponseHead
	trailer codec.Fields
	ev      codec.Event
	kept    []byte // fed and not used up
	dead    bool   // after a connection error
}

func testOptions() *Options {
	l := codec.DefaultLimits()
	opt := DefaultOptions(&l)
	opt.ConnectProtocol = true
	return &opt
}

// newServerPeer returns a client that has sent its preface and SETTINGS.
func newServerPeer(t *testing.T, opt *Options) *peer {
	p := &peer{t: t, server: NewServer(opt, &Scratch{}), enc: hpack.NewEncoder(hpack.TableSizeDefault)}
	p.feed([]byte(Preface))
	p.frame(frameSettings, 0, 0, nil)
	p.take()
	p.log.Reset()
	return p
}

// newClientPeer returns a server that has sent its SETTINGS, and got a request on stream 1.
func newClientPeer(t *testing.T, opt *Options) *peer {
	p := &peer{t: t, client: NewClient(opt, &Scratch{}), enc: hpack.NewEncoder(hpack.TableSizeDefault)}
	p.frame(frameSettings, 0, 0, nil)
	p.take()
	p.open("GET", true)
	p.log.Reset()
	return p
}

// open sends a request of the client.
func (p *peer) open(method string, end bool) codec.StreamID {
	id, _ := p.client.Open()
	h := requestHead(method, "/", "example.com")
	p.client.AppendRequestHead(nil, id, h, end)
	return id
}

func requestHead(method, path, authority string) *codec.RequestHead {
	h := new(codec.RequestHead)
	h.Reset()
	h.SetMethodName(method)
	h.SetPath([]byte(path))
	h.SetAuthority([]byte(authority))
	return h
}

func (p *peer) conn() *conn {
	if p.server != nil {
		return &p.server.conn
	}
	return &p.client.conn
}

// feed gives bytes to the connection and records what comes of them.
func (p *peer) feed(b []byte) {
	p.kept = append(p.kept, b...)
	for !p.dead {
		p.ev.Request, p.ev.Response, p.ev.Trailers = &p.request, &p.answer, &p.trailer
		var n int
		var err *codec.Error
		if p.server != nil {
			n, err = p.server.Feed(p.kept, &p.ev)
		} else {
			n, err = p.client.Feed(p.kept, &p.ev)
		}
		p.kept = p.kept[n:]
		p.record()
		if err != nil {
			fmt.Fprintf(&p.log, "%s %s\n", [...]string{"conn", "stream"}[err.Scope], CodeName(uint32(err.Code)))
			p.dead = err.Scope == codec.ScopeConn
			continue
		}
		if p.ev.Kind == codec.EventNone {
			return
		}
	}
}

func (p *peer) record() {
	ev := &p.ev
	if ev.Kind == codec.EventNone {
		return
	}
	fmt.Fprintf(&p.log, "%d %s", ev.Stream, ev.Kind)
	switch ev.Kind {
	case codec.EventHead:
		if p.server != nil {
			fmt.Fprintf(&p.log, " %s %s%s", p.request.MethodBytes(), p.request.Authority(), p.request.Path())
			writeFields(&p.log, &p.request.Fields)
		} else {
			fmt.Fprintf(&p.log, " %d", p.answer.Status)
			writeFields(&p.log, &p.answer.Fields)
		}
	case codec.EventData:
		fmt.Fprintf(&p.log, " %+q", latin1(ev.Data))
		p.conn().Consume(ev.Stream, len(ev.Data))
	case codec.EventTrailers:
		writeFields(&p.log, &p.trailer)
	case codec.EventReset, codec.EventGoAway:
		fmt.Fprintf(&p.log, " %s", CodeName(ev.Code))
	}
	if ev.End {
		p.log.WriteString(" end")
	}
	p.log.WriteByte('\n')
}

// latin1 makes a character of each byte, so that what is quoted does not depend on where data was cut.
func latin1(b []byte) string {
	text := make([]rune, len(b))
	for i, c := range b {
		text[i] = rune(c)
	}
	return string(text)
}

func writeFields(w *strings.Builder, f *codec.Fields) {
	for i := range f.Len() {
		if id, name, value := f.At(i); id != codec.FieldRemoved {
			fmt.Fprintf(w, " %s=%s", name, value)
		}
	}
}

// frame sends one frame.
func (p *peer) frame(typ frameType, flags uint8, stream uint32, payload []byte) {
	p.feed(append(appendFrameHead(nil, len(payload), typ, flags, stream), payload...))
}

// headers sends a HEADERS frame with fields "name: value".
func (p *peer) headers(flags uint8, stream uint32, fields ...string) {
	p.frame(frameHeaders, flags, stream, p.block(fields...))
}

func (p *peer) block(fields ...string) []byte {
	b := p.enc.Begin(nil)
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		b = p.enc.Append(b, 0, []byte(name), []byte(value), hpack.Index)
	}
	return b
}

// get is the head of a plain request.
var get = []string{":method: GET", ":scheme: http", ":path: /", ":authority: example.com"}

func post(more ...string) []string {
	return append([]string{":method: POST", ":scheme: http", ":path: /", ":authority: example.com"}, more...)
}

const wholeHead = flagEndHeaders | flagEndStream

// take returns the control frames that wait, as text.
func (p *peer) take() string {
	var text strings.Builder
	b := p.conn().AppendControl(nil)
	b = []byte(strings.TrimPrefix(string(b), Preface))
	for len(b) > 0 {
		h := parseFrameHead(b)
		payload := b[frameHeadLen : frameHeadLen+h.length]
		b = b[frameHeadLen+h.length:]
		switch h.typ {
		case frameRSTStream:
			fmt.Fprintf(&text, "RST %d %s\n", h.stream, CodeName(binary.BigEndian.Uint32(payload)))
		case frameGoAway:
			fmt.Fprintf(&text, "GOAWAY %d %s\n", binary.BigEndian.Uint32(payload), CodeName(binary.BigEndian.Uint32(payload[4:])))
		case frameWindowUpdate:
			fmt.Fprintf(&text, "WINDOW_UPDATE %d %d\n", h.stream, binary.BigEndian.Uint32(payload))
		case frameSettings:
			fmt.Fprintf(&text, "SETTINGS flags %d, %d bytes\n", h.flags, h.length)
		case framePing:
			fmt.Fprintf(&text, "PING flags %d %x\n", h.flags, payload)
		default:
			fmt.Fprintf(&text, "type %d flags %d stream %d %x\n", h.typ, h.flags, h.stream, payload)
		}
	}
	return text.String()
}

// want compares what was recorded since the last call, and the control frames, with what they should be.
func (p *peer) want(events, control string) {
	p.t.Helper()
	if got := p.log.String(); got != events {
		p.t.Errorf("events:\n%swant\n%s", got, events)
	}
	if got := p.take(); got != control {
		p.t.Errorf("control frames:\n%swant\n%s", got, control)
	}
	p.log.Reset()
}

func u32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
