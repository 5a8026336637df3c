package pool

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/codec"
	"millrace/codec/h2"
	"millrace/upstream"
)

// http2 makes a config one of HTTP/2 hosts.
func http2(edit func(*upstream.Config)) func(*upstream.Config) {
	return func(c *upstream.Config) {
		c.Protocol = "http2"
		if edit != nil {
			edit(c)
		}
	}
}

// h2peer is the host's end of an HTTP/2 connection, driven by hand.
type h2peer struct {
	t    testing.TB
	w    *world
	c    net.Conn
	s    *h2.Server
	ev   codec.Event
	kept []byte
	log  []string               // what came
	open map[codec.StreamID]int // bytes of the body so far
	eof  bool
	// hold makes the peer give no credit.
	hold bool
}

func h2options(edit func(*h2.Options)) *h2.Options {
	l := codec.DefaultLimits()
	opt := h2.DefaultOptions(&l)
	if edit != nil {
		edit(&opt)
	}
	return &opt
}

// acceptH2 takes the next connection, and answers its preface.
func (o *origin) acceptH2(edit func(*h2.Options)) *h2peer {
	o.t.Helper()
	p := &h2peer{t: o.t, w: o.w, c: o.accept().c, s: h2.NewServer(h2options(edit), &h2.Scratch{}), open: map[codec.StreamID]int{}}
	p.ev.Request, p.ev.Trailers = new(codec.RequestHead), new(codec.Fields)
	p.flush(nil)
	p.read()
	return p
}

// flush sends what the protocol has to say, and more.
func (p *h2peer) flush(more []byte) {
	p.t.Helper()
	if b := append(p.s.AppendControl(nil), more...); len(b) > 0 {
		if _, err := p.c.Write(b); err != nil && !p.eof {
			p.t.Fatal(err)
		}
	}
	p.w.settle()
}

// read takes in all that has come.
func (p *h2peer) read() {
	p.t.Helper()
	buf := make([]byte, 64<<10)
	for quiet := 0; quiet < 2 && !p.eof; {
		p.w.settle()
		_ = p.c.SetReadDeadline(time.Now().Add(time.Millisecond))
		n, err := p.c.Read(buf)
		if ne, ok := err.(net.Error); err != nil && (!ok || !ne.Timeout()) {
			p.eof = true
			p.log = append(p.log, "eof")
		}
		if n == 0 {
			quiet++
			continue
		}
		quiet = 0
		p.kept = append(p.kept, buf[:n]...)
		p.feed()
		p.flush(nil)
	}
}

func (p *h2peer) feed() {
	p.t.Helper()
	for {
		n, err := p.s.Feed(p.kept, &p.ev)
		p.kept = p.kept[n:]
		if err != nil && err.Scope == codec.ScopeConn {
			p.t.Fatalf("the host was sent what it does not take: %v", err)
		}
		if p.ev.Kind == codec.EventNone && err == nil {
			return
		}
		p.note()
	}
}

func (p *h2peer) note() {
	ev := &p.ev
	s := fmt.Sprintf("%d %s", ev.Stream, ev.Kind)
	switch ev.Kind {
	case codec.EventHead:
		s = fmt.Sprintf("%d %s %s", ev.Stream, ev.Request.MethodBytes(), ev.Request.Path())
		if x := ev.Request.Protocol(); x != nil {
			s += " " + string(x)
		}
	case codec.EventData:
		if p.open[ev.Stream] += len(ev.Data); !p.hold {
			p.s.Consume(ev.Stream, len(ev.Data))
		}
		if !ev.End {
			return
		}
		s = fmt.Sprintf("%d data %d", ev.Stream, p.open[ev.Stream])
	case codec.EventTrailers:
		s = fmt.Sprintf("%d trailers %s after %d", ev.Stream, ev.Trailers.Lookup("x-t"), p.open[ev.Stream])
	case codec.EventReset, codec.EventGoAway:
		s += " " + h2.CodeName(ev.Code)
	case codec.EventWindow:
		return
	}
	if ev.End {
		s += " end"
	}
	p.log = append(p.log, s)
}

// want checks what has come since the last time.
func (p *h2peer) want(want ...string) {
	p.t.Helper()
	p.read()
	if !slices.Equal(p.log, want) {
		p.t.Fatalf("the host got %q, want %q", p.log, want)
	}
	p.log = nil
}

// head answers a stream.
func (p *h2peer) head(id codec.StreamID, status int, end bool, fields ...string) {
	p.t.Helper()
	h := new(codec.ResponseHead)
	h.Reset()
	h.Status = status
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		h.AddString(name, value)
	}
	p.flush(p.s.AppendResponseHead(nil, id, h, end))
}

// data sends a body, as far as one frame can.
func (p *h2peer) data(id codec.StreamID, body string, end bool) {
	p.t.Helper()
	var b []byte
	for len(body) > p.s.FrameMax() {
		b = append(p.s.AppendDataPrefix(b, id, p.s.FrameMax(), false), body[:p.s.FrameMax()]...)
		body = body[p.s.FrameMax():]
	}
	p.flush(append(p.s.AppendDataPrefix(b, id, len(body), end), body...))
}

// answer is a whole answer.
func (p *h2peer) answer(id codec.StreamID) {
	p.t.Helper()
	p.head(id, 200, false)
	p.data(id, "ok", true)
}

// reset resets a stream.
func (p *h2peer) reset(id codec.StreamID, code uint32) {
	p.t.Helper()
	p.s.Reset(id, code)
	p.flush(nil)
}

// close closes the host's end.
func (p *h2peer) close() {
	p.c.Close()
	p.w.settle()
}

// startH2 makes a cluster of one HTTP/2 host that has answered one request, on stream 1.
func (w *world) startH2(edit func(*upstream.Config), host func(*h2.Options)) (*Cluster, *origin, *h2peer) {
	w.t.Helper()
	o := newOrigin(w)
	c := w.set(config(http2(edit), o.addr), nil)
	a := newOwner()
	if r := w.lease(c, a); r != LeasePending {
		w.t.Fatalf("lease on a cold pool = %d, want pending", r)
	}
	p := o.acceptH2(host)
	p.want("1 GET / end")
	p.answer(1)
	w.wantLog(a, "ready", "head 200", "end")
	return c, o, p
}
