package httpconn

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"millrace/codec"
	"millrace/engine"
	"millrace/engine/enginetest"
	"millrace/filters"
	"millrace/filters/accesslog"
)

// ending is what a stream knew of itself at its end.
type ending struct {
	accesslog.Info
	client string
}

// terminal answers each request that reaches it with an empty 200, and remembers what came.
type terminal struct {
	filters.Terminal // what is not called is nil

	heads []*codec.RequestHead
	ended []ending
}

func (m *terminal) PickHost(s *filters.Stream) filters.Verdict {
	h := new(codec.RequestHead)
	h.Reset()
	h.SetMethodName(string(s.Request.MethodBytes()))
	h.SetPath(append([]byte(nil), s.Request.Path()...))
	h.SetAuthority(append([]byte(nil), s.Request.Authority()...))
	for i := range s.Request.Len() {
		if id, name, value := s.Request.At(i); id != codec.FieldRemoved {
			h.AddString(string(name), string(value))
		}
	}
	m.heads = append(m.heads, h)
	return s.ReplyWith(filters.LocalReply{Status: 200, Details: "direct_response"})
}

func (m *terminal) OnDestroy(s *filters.Stream) {
	m.ended = append(m.ended, ending{s.Info, s.Down().(*stream).Client.String()})
}

func (m *terminal) Abandon(*filters.Stream)        {}
func (m *terminal) PauseResponse(*filters.Stream)  {}
func (m *terminal) ResumeResponse(*filters.Stream) {}

func (m *terminal) Describe(*filters.Stream, *accesslog.Record) {}

// world is a manager on a loop that the test turns, listening on loopback.
type world struct {
	t    *testing.T
	tl   *enginetest.Loop
	m    *Manager
	term *terminal
	addr string

	panics bool // are expected
}

// testConfig has the defaults of the fields that matter here.
func testConfig() *Config {
	return &Config{
		ServerName: "millrace", ServerHeaderTransformation: "overwrite", GenerateRequestID: true, Proxy100Continue: true,
		PathWithEscapedSlashesAction: "keep_unchanged", HeadersWithUnderscoresAction: "allow",
		MaxRequestHeadersKb: 60, MaxHeadersCount: 100, AcceptHTTP10: true, DelayedCloseTimeout: time.Second,
		IdleTimeout: time.Hour, RequestHeadersTimeout: 10 * time.Second, StreamIdleTimeout: 5 * time.Minute,
	}
}

func newWorld(t *testing.T, edit func(*Config), list ...any) *world {
	t.Helper()
	cfg := testConfig()
	if edit != nil {
		edit(cfg)
	}
	w := &world{t: t, term: &terminal{}}
	w.tl = enginetest.NewLoop(t, func(c *engine.LoopConfig) {
		c.BlocksMax = 16 << 20
		c.OnPanic = func(v any, stack []byte) {
			if !w.panics {
				t.Errorf("panic on the loop: %v\n%s", v, stack)
			}
		}
	})
	chain := filters.NewChain(w.term)
	for i, f := range list {
		if err := chain.Add(fmt.Sprint("f", i), f); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if w.m, err = NewManager(cfg, Deps{Loop: w.tl.Loop, Chain: chain}); err != nil {
		t.Fatal(err)
	}
	addr, err := engine.ParseAddr("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := engine.Listen(addr, engine.ListenerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bound, err := engine.LocalAddr(fd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.tl.AddListener(fd, engine.ListenerOptions{}, acceptor{w.m}); err != nil {
		t.Fatal(err)
	}
	w.addr = bound.String()
	return w
}

// client is a connection to the manager from an address of this machine.
type client struct {
	net.Conn
	w *world
	r *bufio.Reader
}

func (w *world) dial(from string) *client {
	w.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{c, w, bufio.NewReader(c)}
}

// ask sends a request, waits for the end of a stream, and reads the response.
func (c *client) ask(text string) *http.Response {
	c.w.t.Helper()
	return c.answerTo(text, true)
}

// answerTo is ask for a request that may have been sent already: then text is its method.
func (c *client) answerTo(text string, send bool) *http.Response {
	c.w.t.Helper()
	n := len(c.w.term.ended)
	if send {
		if _, err := c.Write([]byte(text)); err != nil {
			c.w.t.Fatal(err)
		}
		c.w.tl.Until(func() bool { return len(c.w.term.ended) > n })
	}
	method, _, _ := strings.Cut(text, " ")
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.w.t.Fatalf("after %q: %v", text, err)
	}
	return resp
}

// forwarded returns the head that reached the terminal last, and whether one did since the last time.
func (w *world) forwarded() (*codec.RequestHead, bool) {
	if len(w.term.heads) == 0 {
		return nil, false
	}
	h := w.term.heads[len(w.term.heads)-1]
	w.term.heads = nil
	return h, true
}

// values returns all values of a field, joined by "|", "-" if it is absent.
func values(h *codec.RequestHead, name string) string {
	var list []string
	for i := range h.Len() {
		if _, n, v := h.At(i); strings.EqualFold(string(n), name) {
			list = append(list, string(v))
		}
	}
	if list == nil {
		return "-"
	}
	return strings.Join(list, "|")
}

// acceptor is a manager right behind a socket.
type acceptor struct{ *Manager }

func (a acceptor) OnAccept(io *engine.Conn) engine.Handler { return a.Accept(io, nil) }
