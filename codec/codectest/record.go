package codectest

import (
	"fmt"
	"strings"

	"millrace/codec"
)

// Record feeds the pieces to s as a connection would, whose unread bytes are kept and
// fed again with more, and returns what came of it, one event to a line:
//
//	request GET /path HTTP/1.1 authority="example.com" length=-1 keep-alive
//	  Host: example.com
//	data "hello"
//	end
//	trailers
//	  X-Sum: 1
//	end
//	error http1.invalid_characters (400)
//	eof
//
// Data that comes in several events is told as one, so that the transcript does not depend on
// the cuts. To each complete request it writes an empty response, so that pipelined requests go on: 200, but 405 to
// CONNECT, and never a 101.
// After the last piece comes the end of the peer, told as "eof" or as an error.
func Record(s codec.Server, pieces ...[]byte) string {
	var t transcript
	ev := codec.Event{Request: new(codec.RequestHead), Trailers: new(codec.Fields)}
	t.run(&peer{feed: s.Feed, eof: s.EOF, head: func() { t.request(ev.Request) }, reply: func() {
		var h codec.ResponseHead
		h.Reset()
		if h.Status = 200; ev.Request.Method() == codec.MethodCONNECT {
			h.Status = 405
		}
		s.AppendResponseHead(nil, 0, &h, true)
	}}, &ev, pieces)
	return t.String()
}

// RecordClient is Record for responses. next writes the request that the next response
// is for and reports whether there is one; it is called first, and after each complete response.
func RecordClient(c codec.Client, next func() bool, pieces ...[]byte) string {
	var t transcript
	ev := codec.Event{Response: new(codec.ResponseHead), Trailers: new(codec.Fields)}
	next()
	t.run(&peer{feed: c.Feed, eof: c.EOF, head: func() { t.response(ev.Response) }, reply: func() {
		if c.Reusable() {
			next()
		} else {
			t.line("not reusable")
		}
	}}, &ev, pieces)
	return t.String()
}

// peer is what is common to a Server and a Client.
type peer struct {
	feed  func([]byte, *codec.Event) (int, *codec.Error)
	eof   func(*codec.Event) *codec.Error
	head  func() // tells of a head
	reply func() // a message is complete
}

// transcript gathers lines, and data until something else comes.
type transcript struct {
	out  strings.Builder
	data []byte
}

// run feeds the pieces. What is not used up is kept, as in a connection.
func (t *transcript) run(p *peer, ev *codec.Event, pieces [][]byte) {
	var kept []byte
	for _, piece := range pieces {
		kept = append(kept, piece...)
		n, err := t.feed(p, ev, kept)
		if err != nil {
			t.line("error %s (%d)", err.Reason, err.Code)
			return
		}
		kept = append([]byte(nil), kept[n:]...) // other memory: nothing may look back at the old
	}
	if err := p.eof(ev); err != nil {
		t.line("error %s (%d)", err.Reason, err.Code)
		return
	}
	t.event(p, ev)
	if len(kept) > 0 {
		t.line("unread %d", len(kept))
	}
	t.line("eof")
}

// feed handles the events of b until no more come.
func (t *transcript) feed(p *peer, ev *codec.Event, b []byte) (total int, err *codec.Error) {
	for total < len(b) {
		n, err := p.feed(b[total:], ev)
		if n < 0 || n > len(b)-total {
			panic(fmt.Sprintf("BUG: Feed used up %d of %d bytes", n, len(b)-total))
		}
		if total += n; err != nil {
			return total, err
		}
		if ev.Kind == codec.EventNone {
			return total, nil
		}
		t.event(p, ev)
	}
	return total, nil
}

func (t *transcript) event(p *peer, ev *codec.Event) {
	switch ev.Kind {
	case codec.EventNone:
		return
	case codec.EventHead:
		p.head()
	case codec.EventData:
		t.data = append(t.data, ev.Data...)
	case codec.EventTrailers:
		t.line("trailers")
		t.fields(ev.Trailers)
	default:
		t.line("%s", ev.Kind)
	}
	if ev.End {
		t.line("end")
		p.reply()
	}
}

// line adds a line, after the data that came before it.
func (t *transcript) line(format string, args ...any) {
	if len(t.data) > 0 {
		fmt.Fprintf(&t.out, "data %q\n", t.data)
		t.data = t.data[:0]
	}
	fmt.Fprintf(&t.out, format+"\n", args...)
}

// String returns the transcript so far.
func (t *transcript) String() string { return t.out.String() }

func (t *transcript) request(h *codec.RequestHead) {
	t.line("%s", RequestLine(h))
	t.fields(&h.Fields)
}

func (t *transcript) response(h *codec.ResponseHead) {
	t.line("%s", StatusLine(h))
	t.fields(&h.Fields)
}

func (t *transcript) fields(f *codec.Fields) {
	for i := range f.Len() {
		if id, name, value := f.At(i); id != codec.FieldRemoved {
			t.line("  %s: %q", name, value)
		}
	}
}

// RequestLine tells all of a request head but the fields.
func RequestLine(h *codec.RequestHead) string {
	return fmt.Sprintf("request %s %q HTTP/%d.%d authority=%q scheme=%q length=%d%s",
		h.MethodBytes(), h.Path(), h.Version/10, h.Version%10, h.Authority(), h.Scheme(), h.ContentLength,
		flags("chunked", h.Chunked, "keep-alive", h.KeepAlive, "expect-100", h.Expect100, "upgrade", h.Upgrade))
}

// StatusLine tells all of a response head but the fields.
func StatusLine(h *codec.ResponseHead) string {
	return fmt.Sprintf("response %d %q HTTP/%d.%d length=%d%s",
		h.Status, h.Reason(), h.Version/10, h.Version%10, h.ContentLength,
		flags("chunked", h.Chunked, "keep-alive", h.KeepAlive, "close-delimited", h.CloseDelimited))
}

// flags joins the names whose flag is set.
func flags(pairs ...any) string {
	var s strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1].(bool) {
			s.WriteString(" " + pairs[i].(string))
		}
	}
	return s.String()
}
