package router_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"millrace/filters"
)

// until turns the loop until a read of fd gives what want accepts, and reports the end of the connection.
func (p *path) until(fd int, want func(got []byte, end bool) bool) {
	p.t.Helper()
	var got []byte
	for giveUp := time.Now().Add(20 * time.Second); time.Now().Before(giveUp); {
		p.turn()
		n, err := unix.Read(fd, p.buf)
		got = append(got, p.buf[:max(n, 0)]...)
		if want(got, n == 0 && err == nil || errors.Is(err, unix.ECONNRESET)) {
			return
		}
	}
	p.t.Fatalf("got %q; waited for more", got)
}

// swap answers a response that is not whole with one of its own.
type swap struct{ on bool }

func (f *swap) OnResponseHead(s *filters.Stream, end bool) filters.Verdict {
	if !f.on || end || s.Response.Status != 200 {
		return filters.Continue
	}
	return s.Reply(502, "swapped")
}

// keep holds responses of a status until the test lets go of them.
type keep struct {
	status int
	s      *filters.Stream
	token  filters.Token
}

func (f *keep) OnResponseHead(s *filters.Stream, _ bool) filters.Verdict {
	if s.Response.Status != f.status {
		return filters.Continue
	}
	f.s, f.token = s, s.Token()
	return filters.Pause
}

// TestHeldReplyEndsExchange: a reply in place of a response ends what there is upstream, also while a filter holds the
// reply, and nothing of the response gets into it.
func TestHeldReplyEndsExchange(t *testing.T) {
	k, swapping := &keep{status: 502}, &swap{}
	p := newPath(t, nil, k, swapping)
	swapping.on = true
	p.send(p.client, []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	p.pass(p.origin)
	p.send(p.origin, []byte("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nsecret"))
	p.until(p.origin, func(_ []byte, end bool) bool { return end })
	if k.s == nil {
		t.Fatal("no reply is held")
	}
	p.loop.Post(func() { k.s.Resume(filters.Response, k.token) })
	p.until(p.client, func(got []byte, _ bool) bool {
		return bytes.HasPrefix(got, []byte("HTTP/1.1 502 ")) && bytes.HasSuffix(got, []byte("\r\n\r\n")) && !strings.Contains(string(got), "secret")
	})
}

// fragile panics at the end of a response.
type fragile struct{ on bool }

func (f *fragile) OnResponseData(_ *filters.Stream, _ []byte, end bool) filters.Verdict {
	if f.on && end {
		panic("expected")
	}
	return filters.Continue
}

// TestPanicAfterExchange: a filter that panics when the exchange upstream is over already does not leave its stream
// waiting.
func TestPanicAfterExchange(t *testing.T) {
	f := &fragile{}
	p := newPath(t, nil, f)
	f.on = true
	p.send(p.client, []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	p.pass(p.origin)
	p.send(p.origin, []byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
	p.until(p.client, func(_ []byte, end bool) bool { return end })
	if p.panics != 1 {
		t.Errorf("%d panics; want 1", p.panics)
	}
}
