package h1

import (
	"bytes"
	"strings"
	"testing"

	"millrace/codec"
	"millrace/codec/codectest"
)

var testLimits = codec.DefaultLimits()

// conn is a Server with the event and heads it is used with.
type conn struct {
	t *testing.T
	Server
	ev  codec.Event
	out []byte // written so far, taken by wantSent
}

func newConn(t *testing.T) *conn {
	return &conn{t: t, Server: NewServer(&testLimits), ev: *newEvent()}
}

// feed feeds all of in and returns the kinds of the events, with "." for the end.
func (c *conn) feed(in string) string {
	c.t.Helper()
	var kinds []string
	for b := []byte(in); len(b) > 0; {
		n, err := c.Feed(b, &c.ev)
		if err != nil {
			return strings.Join(append(kinds, err.Reason.String()), " ")
		}
		if b = b[n:]; c.ev.Kind == codec.EventNone {
			if len(b) > 0 {
				kinds = append(kinds, "unread")
			}
			break
		}
		kind := c.ev.Kind.String()
		if c.ev.End {
			kind += "."
		}
		kinds = append(kinds, kind)
	}
	return strings.Join(kinds, " ")
}

func (c *conn) wantFeed(in, want string) {
	c.t.Helper()
	if got := c.feed(in); got != want {
		c.t.Errorf("feed(%q) = %q; want %q", in, got, want)
	}
}

// head writes a response head with the length, -1 for none.
func (c *conn) head(status int, length int64, end bool, fields ...string) {
	var h codec.ResponseHead
	h.Reset()
	h.Status, h.ContentLength = status, length
	for i := 0; i < len(fields); i += 2 {
		h.AddString(fields[i], fields[i+1])
	}
	c.out = c.AppendResponseHead(c.out, 0, &h, end)
}

// data writes a piece of the body.
func (c *conn) data(s string, end bool) {
	c.out = c.AppendDataPrefix(c.out, 0, len(s), end)
	c.out = append(c.out, s...)
	c.out = c.AppendDataSuffix(c.out, 0, len(s), end)
}

func (c *conn) wantSent(want string) {
	c.t.Helper()
	if string(c.out) != want {
		c.t.Errorf("sent %q\nwant %q", c.out, want)
	}
	c.out = nil
}

func (c *conn) wantDone(request, response, keepAlive bool) {
	c.t.Helper()
	if c.RequestDone() != request || c.ResponseDone() != response || c.KeepAlive() != keepAlive {
		c.t.Errorf("RequestDone, ResponseDone, KeepAlive = %v, %v, %v; want %v, %v, %v",
			c.RequestDone(), c.ResponseDone(), c.KeepAlive(), request, response, keepAlive)
	}
}

const (
	get10 = "GET / HTTP/1.0\r\n\r\n"
	get11 = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
)

// TestServerRefuses has one line for each reason that needs no state, and the status it gets.
func TestServerRefuses(t *testing.T) {
	t.Parallel()
	host := "GET / HTTP/1.1\r\nHost: a\r\n"
	post := "POST / HTTP/1.1\r\nHost: a\r\n"
	chunked := post + "Transfer-Encoding: chunked\r\n\r\n"
	for _, tt := range []struct {
		in     string
		reason codec.Reason
		code   int
	}{
		{"GET /\r\n", codec.ReasonRequestLine, 400},
		{"\x16\x03\x01", codec.ReasonRequestLine, 400},
		{"GET / HTCPCP/1.0\r\n", codec.ReasonRequestLine, 400},
		{"GE(T / HTTP/1.1\r\n", codec.ReasonMethod, 400},
		{"GET /\x7f HTTP/1.1\r\n", codec.ReasonTarget, 400},
		{"GET x HTTP/1.1\r\n", codec.ReasonTarget, 400},
		{"GET /" + strings.Repeat("a", 32<<10) + " HTTP/1.1\r\n", codec.ReasonTargetTooLong, 414},
		{"GET /" + strings.Repeat("a", 34<<10), codec.ReasonTargetTooLong, 414},
		{"GET / HTTP/3.0\r\n", codec.ReasonVersion, 505},
		{"GET / HTTP/1.1\n", codec.ReasonLineEnd, 400},
		{"GET / HTTP/1.1\rX\r\n", codec.ReasonLineEnd, 400},
		{"GE\rT / HTTP/1.1\r\n", codec.ReasonLineEnd, 400},
		{"\n", codec.ReasonLineEnd, 400},
		{"\rX", codec.ReasonLineEnd, 400},
		{"\r\n\n", codec.ReasonLineEnd, 400},
		{"\r\n\r\n\r", codec.ReasonLeadingLines, 400},
		{"\r\n\r\n\n", codec.ReasonLineEnd, 400},
		{host + "X\r\n", codec.ReasonFieldName, 400},
		{host + ": y\r\n", codec.ReasonFieldName, 400},
		{host + "X : y\r\n", codec.ReasonFieldName, 400},
		{host + "Cookie : y\r\n", codec.ReasonFieldName, 400},
		{host + "X: \x01\r\n", codec.ReasonFieldValue, 400},
		{host + "X: y\n", codec.ReasonLineEnd, 400},
		{host + "X: y\rz\r\n", codec.ReasonLineEnd, 400},
		{host + "X\rY: z\r\n", codec.ReasonLineEnd, 400},
		{host + "\n", codec.ReasonLineEnd, 400},
		{host + " y\r\n", codec.ReasonObsFold, 400},
		{host + "\ty\n", codec.ReasonObsFold, 400},
		{host + "X: " + strings.Repeat("a", 60<<10), codec.ReasonHeadTooLarge, 431},
		{host + strings.Repeat("X: y\r\n", 100), codec.ReasonTooManyFields, 431},
		{"GET / HTTP/1.1\r\n\r\n", codec.ReasonHostMissing, 400},
		{host + "Host: a\r\n\r\n", codec.ReasonHostRepeated, 400},
		{"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", codec.ReasonHostRepeated, 400},
		{"GET / HTTP/1.0\r\nHost: \r\n\r\n", codec.ReasonHostInvalid, 400},
		{"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", codec.ReasonHostInvalid, 400},
		{"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", codec.ReasonHostMismatch, 400},
		{"CONNECT b:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", codec.ReasonHostMismatch, 400},
		{post + "Content-Length: x\r\n\r\n", codec.ReasonContentLength, 400},
		{post + "Transfer-Encoding: chunked, x\r\n\r\n", codec.ReasonTransferEncoding, 400},
		{post + "Transfer-Encoding: x\r\n\r\n", codec.ReasonTransferEncodingOther, 501},
		{post + "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", codec.ReasonLengthAndChunked, 400},
		{"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", codec.ReasonTransferEncodingIn10, 400},
		{chunked + "x", codec.ReasonChunkSize, 400},
		{chunked + "1\n", codec.ReasonLineEnd, 400},
		{chunked + "200000000000000\r\n", codec.ReasonChunkTooLarge, 400},
		{chunked + "1;\"", codec.ReasonChunkExt, 400},
		{chunked + "1;" + strings.Repeat("a", 16<<10+1), codec.ReasonChunkExtTooLarge, 400},
		{chunked + "1\r\nab", codec.ReasonChunkEnd, 400},
		{chunked + "1\r\na\rb", codec.ReasonChunkEnd, 400},
		{chunked + "0\r\nX: " + strings.Repeat("a", 16<<10), codec.ReasonTrailersTooLarge, 431},
		{chunked + "0\r\n" + strings.Repeat("X: y\r\n", 51), codec.ReasonTooManyTrailers, 431},
		{chunked + "0\r\n" + strings.Repeat("Host: y\r\n", 51), codec.ReasonTooManyTrailers, 431},
	} {
		c := newConn(t)
		b := []byte(tt.in)
		var err *codec.Error
		for len(b) > 0 && err == nil {
			var n int
			n, err = c.Feed(b, &c.ev)
			if b = b[n:]; c.ev.Kind == codec.EventNone {
				break
			}
		}
		in := tt.in[:min(len(tt.in), 100)]
		if err == nil || err.Reason != tt.reason || err.Code != tt.code || err.Scope != codec.ScopeConn {
			t.Errorf("Feed(%q): %v; want %s (%d)", in, err, tt.reason, tt.code)
			continue
		}
		if n, again := c.Feed([]byte(get11), &c.ev); n != 0 || again != err {
			t.Errorf("after %v, Feed = %d, %v; want the same error", err, n, again)
		}
		if e := c.EOF(&c.ev); e != err {
			t.Errorf("after %v, EOF = %v; want the same error", err, e)
		}
		c.head(tt.code, 3, false)
		c.data("bad", true)
		if !strings.HasSuffix(string(c.out), "content-length: 3\r\nconnection: close\r\n\r\nbad") || c.KeepAlive() {
			t.Errorf("after %v the local reply is %q, KeepAlive %v", err, c.out, c.KeepAlive())
		}
	}
}

func TestServerHTTP10Refused(t *testing.T) {
	t.Parallel()
	l := testLimits
	l.AcceptHTTP10 = false
	s := NewServer(&l)
	ev := newEvent()
	if _, err := s.Feed([]byte(get10), ev); err == nil || err.Code != 426 || err.Reason != codec.ReasonVersionLow {
		t.Errorf("Feed(%q): %v; want low_version (426)", get10, err)
	}
}

// TestServerLimitsExact: what is exactly at a limit is taken.
func TestServerLimitsExact(t *testing.T) {
	t.Parallel()
	l := codec.Limits{HeadBytes: 64, FieldCount: 3, TargetBytes: 8, TrailerBytes: 16, TrailerCount: 1, ChunkExtBytes: 4,
		AcceptHTTP10: true}
	pad := func(total int) string {
		const rest = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n"
		return strings.Replace(rest, "X: ", "X: "+strings.Repeat("x", total-len(rest)), 1)
	}
	chunked := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	for in, want := range map[string]string{
		pad(64): "end", pad(65): "error http1.headers_too_large (431)",
		"GET /1234567 HTTP/1.1\r\nHost: a\r\n\r\n":                   "end",
		"GET /12345678 HTTP/1.1\r\nHost: a\r\n\r\n":                  "error http1.url_too_long (414)",
		"GET / HTTP/1.0\r\n" + strings.Repeat("X: \r\n", 3) + "\r\n": "end",
		"GET / HTTP/1.0\r\n" + strings.Repeat("X: \r\n", 4) + "\r\n": "error http1.too_many_headers (431)",
		chunked + "0;ab\r\n\r\n":                                     "end",
		chunked + "0;abcd\r\n\r\n":                                   "error http1.chunk_extensions_too_large (400)",
		chunked + "0\r\nX: 901234567\r\n\r\n":                        "end",
		chunked + "0\r\nX: 9012345678901\r\n\r\n":                    "error http1.trailers_too_large (431)",
		chunked + "0\r\nX: 1\r\nY: 1\r\n\r\n":                        "error http1.too_many_trailers (431)",
	} {
		s := NewServer(&l)
		got := strings.TrimSuffix(codectest.Record(&s, []byte(in)), "eof\n")
		if !strings.HasSuffix(got, want+"\n") {
			t.Errorf("%q: %s; want %s", in, got, want)
		}
		s.Reset(&l)
		if split := strings.TrimSuffix(codectest.Record(&s, codectest.Bytes([]byte(in))...), "eof\n"); split != got {
			t.Errorf("%q: byte by byte: %s; want %s", in, split, got)
		}
	}
}

// TestServerHead checks what is told of a head.
func TestServerHead(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n":                                       `GET "/a?b" HTTP/1.1 authority="a" scheme="" length=-1 keep-alive`,
		"get / HTTP/1.1\r\nHost: a\r\n\r\n":                                          `get "/" HTTP/1.1 authority="a" scheme="" length=-1 keep-alive`,
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: Keep-Alive, CLOSE\r\n\r\n":         `GET "/" HTTP/1.1 authority="a" scheme="" length=-1`,
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: ,close ,\r\n\r\n": `GET "/" HTTP/1.1 authority="a" scheme="" length=-1`,
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n":                    `GET "/" HTTP/1.1 authority="a" scheme="" length=-1 keep-alive`,
		get10: `GET "/" HTTP/1.0 authority="" scheme="" length=-1`,
		"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n":                                               `GET "/" HTTP/1.0 authority="" scheme="" length=-1 keep-alive`,
		"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n":                                        `GET "/" HTTP/1.0 authority="" scheme="" length=-1`,
		"GET / HTTP/1.0\r\nProxy-Connection: keep-alive\r\n\r\n":                                         `GET "/" HTTP/1.0 authority="" scheme="" length=-1`,
		"GET HTTPS://A.b:443/x HTTP/1.1\r\nHost: a.B\r\n\r\n":                                            `GET "/x" HTTP/1.1 authority="A.b:443" scheme="HTTPS" length=-1 keep-alive`,
		"GET http://a HTTP/1.1\r\nHost: a:80\r\n\r\n":                                                    `GET "/" HTTP/1.1 authority="a" scheme="http" length=-1 keep-alive`,
		"GET http://a?x/y HTTP/1.1\r\nHost: a\r\n\r\n":                                                   `GET "/?x/y" HTTP/1.1 authority="a" scheme="http" length=-1 keep-alive`,
		"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n":                                                   `OPTIONS "*" HTTP/1.1 authority="a" scheme="http" length=-1 keep-alive`,
		"OPTIONS http://a/ HTTP/1.1\r\nHost: a\r\n\r\n":                                                  `OPTIONS "/" HTTP/1.1 authority="a" scheme="http" length=-1 keep-alive`,
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n":                                                          `OPTIONS "*" HTTP/1.1 authority="a" scheme="" length=-1 keep-alive`,
		"CONNECT a:443 HTTP/1.1\r\nHost: A\r\n\r\n":                                                      `CONNECT "" HTTP/1.1 authority="a:443" scheme="" length=-1 keep-alive`,
		"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Length: 0\r\n\r\n":                             `CONNECT "" HTTP/1.1 authority="a:443" scheme="" length=0 keep-alive`,
		"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: x, Upgrade\r\n\r\n":              `GET "/" HTTP/1.1 authority="a" scheme="" length=-1 keep-alive upgrade`,
		"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: H2C\r\nConnection: Upgrade\r\n\r\n":                       `GET "/" HTTP/1.1 authority="a" scheme="" length=-1 keep-alive`,
		"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket, h2c\r\nConnection: Upgrade\r\n\r\n":            `GET "/" HTTP/1.1 authority="a" scheme="" length=-1 keep-alive`,
		"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n": `GET "/" HTTP/1.1 authority="a" scheme="" length=-1 keep-alive`,
		"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: HTTP/2.0\r\nConnection: Upgrade\r\n\r\n":                  `GET "/" HTTP/1.1 authority="a" scheme="" length=-1 keep-alive`,
		"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket,\r\nConnection: Upgrade\r\n\r\n":                `GET "/" HTTP/1.1 authority="a" scheme="" length=-1 keep-alive`,
		"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: IRC/6.9, RTA/x11\r\nConnection: Upgrade\r\n\r\n":          `GET "/" HTTP/1.1 authority="a" scheme="" length=-1 keep-alive upgrade`,
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\r\n":                                       `GET "/" HTTP/1.1 authority="a" scheme="" length=-1 keep-alive`,
		"GET / HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n":                 `GET "/" HTTP/1.0 authority="a" scheme="" length=-1`,
		"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-Continue\r\n\r\n":                 `PUT "/" HTTP/1.1 authority="a" scheme="" length=9 keep-alive expect-100`,
		"PUT / HTTP/1.0\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n":                 `PUT "/" HTTP/1.0 authority="a" scheme="" length=9`,
		"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n":                                      `PUT "/" HTTP/1.1 authority="a" scheme="" length=-1 keep-alive`,
		"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9, 9\r\nContent-length: 9\r\n\r\n":                 `PUT "/" HTTP/1.1 authority="a" scheme="" length=9 keep-alive`,
		"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-encoding: Chunked\r\n\r\n":                                `PUT "/" HTTP/1.1 authority="a" scheme="" length=-1 chunked keep-alive`,
	} {
		c := newConn(t)
		n, err := c.Feed([]byte(in), &c.ev)
		if err != nil || n != len(in) || c.ev.Kind != codec.EventHead {
			t.Errorf("Feed(%q) = %d, %v, %s; want a head", in, n, err, c.ev.Kind)
			continue
		}
		if got := codectest.RequestLine(c.ev.Request); got != "request "+want {
			t.Errorf("Feed(%q):\ngot  %s\nwant request %s", in, got, want)
		}
		if got := c.ev.End; got != c.ev.Request.BodyNone() || got != c.RequestDone() {
			t.Errorf("Feed(%q): End %v, BodyNone %v, RequestDone %v; want them equal", in, got,
				c.ev.Request.BodyNone(), c.RequestDone())
		}
	}
}

func TestServerBody(t *testing.T) {
	t.Parallel()
	c := newConn(t)
	c.wantFeed("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n", "head")
	c.wantFeed("abc", "data")
	if string(c.ev.Data) != "abc" || c.ev.Opaque != 7 {
		t.Errorf("Data %q, Opaque %d; want abc, 7", c.ev.Data, c.ev.Opaque)
	}
	c.Skip(0, 5)
	c.wantFeed("ijGET", "data. unread")
	c.wantDone(true, false, false)

	c = newConn(t)
	c.wantFeed("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n", "head")
	c.Skip(0, 10) // the last bytes may be skipped too
	c.wantDone(true, false, false)

	c = newConn(t)
	c.wantFeed("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "head")
	c.wantFeed("a;x\r\nabc", "data")
	if string(c.ev.Data) != "abc" || c.ev.Opaque != 7 {
		t.Errorf("Data %q, Opaque %d; want abc, 7", c.ev.Data, c.ev.Opaque)
	}
	c.Skip(0, 7)
	c.wantFeed("\r\n1\r\nx\r\n", "data")
	if c.ev.Kind != codec.EventNone {
		t.Errorf("kind %s; want none: the chunk was told", c.ev.Kind)
	}
	c.wantFeed("0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n", "trailers.")
	if f := c.ev.Trailers; f.Len() != 1 || string(f.Lookup("x-sum")) != "1" {
		t.Errorf("%d trailers; want only X-Sum", f.Len())
	}
	c.wantDone(true, false, false)
}

func TestServerTrailersNotLent(t *testing.T) {
	t.Parallel()
	c := newConn(t)
	c.ev.Trailers = nil
	c.wantFeed("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\n\r\n", "head data.")
	c = newConn(t)
	c.ev.Trailers = nil
	c.wantFeed("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX Sum: 1\r\n\r\n",
		"head http1.invalid_header_name")
}

// TestServerPipeline: the next request waits for the response to the one before.
func TestServerPipeline(t *testing.T) {
	t.Parallel()
	c := newConn(t)
	c.wantFeed(get11+get11, "head. unread")
	c.wantDone(true, false, false)
	c.wantFeed(get11, "unread")
	if c.ResponseStarted() {
		t.Error("ResponseStarted before the head")
	}
	c.head(200, 2, false)
	if !c.ResponseStarted() {
		t.Error("not ResponseStarted after the head")
	}
	c.wantFeed(get11, "unread")
	c.data("ok", true)
	c.wantDone(true, true, true)
	c.wantFeed("\r\n"+get11, "head.")
	c.wantDone(true, false, false)
	c.SetClose()
	c.head(204, -1, true)
	c.wantSent("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
	c.wantDone(true, true, false)
	c.wantFeed(get11, "unread")
}

// TestServerEarlyResponse: a response may be complete before its request, which is read on.
func TestServerEarlyResponse(t *testing.T) {
	t.Parallel()
	c := newConn(t)
	c.wantFeed("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab", "head data")
	c.head(413, -1, true)
	c.wantDone(false, true, false)
	c.wantFeed("cd", "data.")
	c.wantDone(true, true, true)
	c.wantFeed(get11, "head.")
}

// TestServerEOF is what the end of the peer means in each state.
func TestServerEOF(t *testing.T) {
	t.Parallel()
	chunked := "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	for in, want := range map[string]codec.Reason{
		"":                         codec.ReasonNone,
		"\r\n":                     codec.ReasonNone,
		"G":                        codec.ReasonHeadIncomplete,
		"GET / HTTP/1.1\r\n":       codec.ReasonHeadIncomplete,
		get11[:len(get11)-1]:       codec.ReasonHeadIncomplete,
		get11:                      codec.ReasonNone,
		get11 + "GET":              codec.ReasonNone, // not read before the response
		chunked:                    codec.ReasonBodyIncomplete,
		chunked + "5":              codec.ReasonBodyIncomplete,
		chunked + "5;x":            codec.ReasonBodyIncomplete,
		chunked + "5\r":            codec.ReasonBodyIncomplete,
		chunked + "5\r\nabcde":     codec.ReasonBodyIncomplete,
		chunked + "5\r\nabcde\r":   codec.ReasonBodyIncomplete,
		chunked + "5\r\nabcde\r\n": codec.ReasonBodyIncomplete,
		chunked + "0\r\n":          codec.ReasonBodyIncomplete,
		chunked + "0\r\n\r":        codec.ReasonBodyIncomplete,
		chunked + "0\r\nX: y\r\n":  codec.ReasonBodyIncomplete,
		chunked + "0\r\n\r\n":      codec.ReasonNone,
		"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n":   codec.ReasonBodyIncomplete,
		"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na":  codec.ReasonBodyIncomplete,
		"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab": codec.ReasonNone,
	} {
		c := newConn(t)
		c.feed(in)
		got := codec.ReasonNone
		if err := c.EOF(&c.ev); err != nil {
			got = err.Reason
		}
		if got != want || c.ev.Kind != codec.EventNone {
			t.Errorf("after %q, EOF gives %s and event %s; want %s and none", in, got, c.ev.Kind, want)
		}
	}
}

// TestServerHalfClose: a peer that sent a request and ended gets its response, and no second one.
func TestServerHalfClose(t *testing.T) {
	t.Parallel()
	c := newConn(t)
	c.wantFeed(get11, "head.")
	if err := c.EOF(&c.ev); err != nil {
		t.Fatalf("EOF = %v", err)
	}
	c.head(200, 0, true)
	c.wantSent("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
	c.wantDone(true, true, false)
}

func TestServerUpgrade(t *testing.T) {
	t.Parallel()
	const ws = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
	c := newConn(t)
	c.wantFeed(ws+"frame", "head. unread")
	c.head(101, -1, false, "Upgrade", "websocket", "Content-Length", "5")
	c.wantSent("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nconnection: upgrade\r\n\r\n")
	if !c.Tunnel() {
		t.Error("Tunnel() = false")
	}
	c.Skip(0, 1000)
	c.wantFeed("frame\r\n\r\n", "data")
	if string(c.ev.Data) != "frame\r\n\r\n" || c.ev.Opaque != -1 {
		t.Errorf("Data %q, Opaque %d; want all of it, -1", c.ev.Data, c.ev.Opaque)
	}
	c.data("back", false)
	c.wantSent("back")
	if err := c.EOF(&c.ev); err != nil || c.ev.Kind != codec.EventData || !c.ev.End {
		t.Errorf("EOF = %v, %s, End %v; want the end of the data", err, c.ev.Kind, c.ev.End)
	}
	c.wantDone(true, false, false)
	c.data("rest", true)
	c.wantDone(true, true, false)

	c = newConn(t) // turned down: what follows might be the other protocol
	c.wantFeed(ws, "head.")
	c.head(403, 0, true)
	c.wantSent("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
	c.wantFeed(get11, "unread")

	c = newConn(t) // the request has a body, which comes first
	c.wantFeed("POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\na", "head data")
	c.head(101, -1, false)
	c.wantFeed("bxyz", "data. data")
	if string(c.ev.Data) != "xyz" || c.ev.Opaque != -1 {
		t.Errorf("Data %q, Opaque %d; want xyz, -1", c.ev.Data, c.ev.Opaque)
	}
}

func TestServerConnect(t *testing.T) {
	t.Parallel()
	const connect = "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"
	c := newConn(t)
	c.wantFeed(connect+"hello", "head. unread")
	c.head(200, 7, false, "Content-Length", "7", "Transfer-Encoding", "chunked", "Via", "1.1 m")
	c.wantSent("HTTP/1.1 200 OK\r\nVia: 1.1 m\r\n\r\n")
	c.wantFeed("hello", "data")

	c = newConn(t)
	c.wantFeed(connect, "head.")
	c.head(502, 0, true)
	c.wantSent("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
	c.wantDone(true, true, false)
}

// TestServerSlowHead: however slowly a head comes, no byte is searched twice, and fields
// are parsed once.
func TestServerSlowHead(t *testing.T) {
	t.Parallel()
	in := []byte("GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X-Long: "+strings.Repeat("y", 2000)+"\r\n", 28) + "\r\n")
	c := newConn(t)
	for n := 1; n < len(in); n++ {
		used, err := c.Feed(in[:n:n], &c.ev)
		if used != 0 || err != nil || c.ev.Kind != codec.EventNone {
			t.Fatalf("after %d bytes, Feed = %d, %v, %s", n, used, err, c.ev.Kind)
		}
		if int(c.scanned) != n || c.line > c.scanned || int(c.lines) != bytes.Count(in[:c.line], []byte("\n"))-min(1, int(c.line)) {
			t.Fatalf("after %d bytes: scanned %d, line %d, %d fields", n, c.scanned, c.line, c.lines)
		}
	}
	if n, err := c.Feed(in, &c.ev); n != len(in) || err != nil || c.ev.Kind != codec.EventHead {
		t.Errorf("Feed = %d, %v, %s; want the head", n, err, c.ev.Kind)
	}
}

// TestServerAllocs: reading and answering a request allocates nothing.
func TestServerAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, bb := range benchRequests {
		s, ev, in, out := NewServer(&testLimits), newEvent(), []byte(bb.in), make([]byte, 0, 512)
		var h codec.ResponseHead
		h.Reset()
		h.Status = 200
		if got := testing.AllocsPerRun(100, func() { feedRequest(t, &s, in, ev, &h, out) }); got != 0 {
			t.Errorf("%s: %v allocations; want 0", bb.name, got)
		}
		pieces := codectest.Every(in, len(in))
		if got := testing.AllocsPerRun(100, func() {
			s.Reset(&testLimits)
			for n := 1; n < len(pieces[0]); n++ {
				if used, err := s.Feed(in[:n], ev); used > 0 || err != nil {
					return
				}
			}
		}); got != 0 {
			t.Errorf("%s in pieces: %v allocations; want 0", bb.name, got)
		}
	}
}

// TestHalfHeadsAreEmpty: a head or trailer section that is not complete, or refused, must not be
// readable: its bytes may be somebody else's by the time anybody looks.
func TestHalfHeadsAreEmpty(t *testing.T) {
	t.Parallel()
	empty := func(when string, f *codec.Fields, lines ...[]byte) {
		t.Helper()
		if f.Len() != 0 || f.Has(codec.FieldHost) || f.HeadBytes() != 0 || len(bytes.Join(lines, nil)) != 0 {
			t.Errorf("%s: %d fields, lines %q; want an empty head", when, f.Len(), lines)
		}
	}
	for _, in := range []string{"G", "GET /x HTT", "GET /x HTTP/1.1\r\n", "PURGE /x HTTP/1.1\r\nHost: a\r\nX: y", "GET /x HTTP/1.1\r\nHost: a\r\nX: \x00\r\n",
		"GET /x HTTP/1.1\r\n\r\n", "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"} {
		for _, pieces := range [][][]byte{{[]byte(in)}, codectest.Bytes([]byte(in))} {
			c, fed := newConn(t), ""
			for _, piece := range pieces {
				fed += string(piece)
				_, _ = c.Feed([]byte(fed), &c.ev)
				h := c.ev.Request
				empty(fed, &h.Fields, h.MethodBytes(), h.Path(), h.Authority(), h.Scheme())
				c.ev.Request = new(codec.RequestHead) // another one each time
				c.ev.Request.Reset()
			}
		}
	}
	for _, in := range []string{"HTTP/1.1 2", "HTTP/1.1 200 OK\r\nX: y\r\n", "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: x\r\n\r\n"} {
		c, ev := clientAfter(kindGET), newEvent()
		_, _ = c.Feed([]byte(in), ev)
		empty(in, &ev.Response.Fields, ev.Response.Reason())
	}
	c := newConn(t)
	c.wantFeed(postHead+"Transfer-Encoding: chunked\r\n\r\n0\r\n", "head")
	for _, in := range []string{"X: y", "X: y\r\nZ: ", "X: y\r\nZ: 0\r\n", "X: y\r\nZ: 0\r\n\r"} {
		c.ev.Trailers = parseTrailers("Old: 1") // what another connection has left
		if n, err := c.Feed([]byte(in), &c.ev); n != 0 || err != nil {
			t.Errorf("Feed(%q) = %d, %v; want 0, nil", in, n, err)
		}
		empty(in, c.ev.Trailers)
	}
	c.ev.Trailers = parseTrailers("Old: 1")
	c.wantFeed("X: y\r\nZ: 0\r\n\r\n", "trailers.")
	if f := c.ev.Trailers; f.Len() != 2 || string(f.Lookup("x")) != "y" || string(f.Lookup("z")) != "0" {
		t.Errorf("%d trailers; want X and Z", f.Len())
	}
}

func parseTrailers(line string) *codec.Fields {
	f := new(codec.Fields)
	name, value, _ := strings.Cut(line, ": ")
	f.AddString(name, value)
	return f
}
