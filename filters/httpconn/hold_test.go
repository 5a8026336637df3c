package httpconn

import (
	"io"
	"testing"
	"time"

	"millrace/filters"
	"millrace/filters/accesslog"
)

// keeper holds the request and the local reply in its place until the test lets go of them.
type keeper struct {
	s                 *filters.Stream
	request, response filters.Token
	replies           int
	cleared           []bool // what ClearRoute said to the request, and to the response
}

func (k *keeper) OnRequestHead(s *filters.Stream, _ bool) filters.Verdict {
	k.s, k.request = s, s.Token()
	k.cleared = append(k.cleared, s.ClearRoute())
	return filters.Pause
}

func (k *keeper) OnResponseHead(s *filters.Stream, _ bool) filters.Verdict {
	k.response = s.Token()
	k.replies++
	k.cleared = append(k.cleared, s.ClearRoute())
	return filters.Pause
}

// TestHeldReplyEndsRequest: a request that has its answer goes nowhere any more, although a filter still holds the
// answer; the answer goes out when that filter lets go, and never if it does not.
func TestHeldReplyEndsRequest(t *testing.T) {
	t.Parallel()
	for _, release := range []bool{true, false} {
		k := &keeper{}
		w := newWorld(t, func(c *Config) { c.MaxStreamDuration = time.Second }, k)
		c := w.dial("127.0.0.1")
		if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		w.tl.Until(func() bool { return k.s != nil })
		w.tl.Advance(2 * time.Second)
		if k.replies != 1 || len(w.term.ended) != 0 {
			t.Fatalf("%d replies held, %d streams ended; want 1, 0", k.replies, len(w.term.ended))
		}
		k.s.Resume(filters.Request, k.request)
		w.tl.Settle()
		if len(w.term.heads) > 0 {
			t.Error("a request that was answered is forwarded")
		}
		if len(k.cleared) != 2 || !k.cleared[0] || k.cleared[1] {
			t.Errorf("ClearRoute says %v; want true of the request, false once it is answered", k.cleared)
		}
		if !release {
			w.tl.Advance(6 * time.Minute)
			w.tl.Until(func() bool { return len(w.term.ended) == 1 })
			if end := w.term.ended[0]; end.Status != 0 || end.Flags&accesslog.FlagDurationTimeout == 0 {
				t.Errorf("log: %d %v; want no status, DT", end.Status, end.Flags)
			}
			if _, err := io.ReadAll(c); err == nil && w.m.Conns() > 0 {
				t.Error("the connection outlives a reply that nobody lets go of")
			}
			continue
		}
		w.tl.Post(func() { k.s.Resume(filters.Response, k.response) })
		w.tl.Until(func() bool { return len(w.term.ended) == 1 })
		if resp := c.answerTo("GET", false); resp.StatusCode != 504 {
			t.Errorf("status %d; want 504", resp.StatusCode)
		}
	}
}

// TestDiscardDeadline: the rest of a request that was answered is not waited for without end, even where
// stream_idle_timeout is off.
func TestDiscardDeadline(t *testing.T) {
	t.Parallel()
	for _, idle := range []time.Duration{0, 10 * time.Second} {
		w := newWorld(t, func(c *Config) { c.StreamIdleTimeout = idle }, &holding{filters.Replied})
		c := w.dial("127.0.0.1")
		if resp := c.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"); resp.StatusCode != 418 || resp.Close {
			t.Fatalf("status %d, close %v; want 418 on a connection that stays", resp.StatusCode, resp.Close)
		}
		w.tl.Advance(5 * time.Second)
		if w.m.Conns() != 1 {
			t.Errorf("stream_idle_timeout %v: the rest of the request is not waited for", idle)
		}
		w.tl.Advance(discardIdleMax)
		if w.m.Conns() != 0 {
			t.Errorf("stream_idle_timeout %v: the connection waits for ever", idle)
		}
	}
}

// TestPanicOfResume: a filter that panics in what it has posted ends the stream it works for.
func TestPanicOfResume(t *testing.T) {
	t.Parallel()
	k := &keeper{}
	w := newWorld(t, nil, k, panics{})
	w.panics = true
	c := w.dial("127.0.0.1")
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	w.tl.Until(func() bool { return k.s != nil })
	w.tl.Post(func() { k.s.Resume(filters.Request, k.request) })
	w.tl.Until(func() bool { return w.m.Conns() == 0 })
	if n := w.tl.Stats().Panics.Load(); n != 1 || len(w.term.ended) != 1 {
		t.Errorf("%d panics, %d streams ended; want one of each", n, len(w.term.ended))
	}
}

// panics panics when it sees a request.
type panics struct{}

func (panics) OnRequestHead(*filters.Stream, bool) filters.Verdict { panic("filter") }
