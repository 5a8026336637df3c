package h1

import (
	"strings"
	"testing"

	"millrace/codec"
)

// parseHead returns the head of a request, for sending on.
func parseHead(t *testing.T, in string) *codec.RequestHead {
	t.Helper()
	s, ev := NewServer(&testLimits), newEvent()
	if _, err := s.Feed([]byte(in), ev); err != nil || ev.Kind != codec.EventHead {
		t.Fatalf("Feed(%q) = %v, %s; want a head", in, err, ev.Kind)
	}
	return ev.Request
}

// TestAppendRequestHead: order and spelling stay, framing and Connection are our own.
func TestAppendRequestHead(t *testing.T) {
	t.Parallel()
	const get, put = "GET /a HTTP/1.1\r\n", "PUT /a HTTP/1.1\r\n"
	for _, tt := range []struct {
		name, in string
		change   func(h *codec.RequestHead)
		end      bool
		want     string
	}{
		{"plain", get + "X-A: 1\r\nhOST: a\r\nx-b:2 \r\n\r\n", nil, true,
			get + "X-A: 1\r\nhOST: a\r\nx-b: 2\r\n\r\n"},
		{"connection is ours", get + "Host: a\r\nConnection: close, x\r\nX: y\r\n\r\n", nil, true,
			get + "Host: a\r\nX: y\r\n\r\n"},
		{"http/1.0 becomes http/1.1 with a host", "GET /a HTTP/1.0\r\nX: y\r\n\r\n", nil, true,
			get + "host: \r\nX: y\r\n\r\n"},
		{"absolute-form becomes origin-form", "GET http://a:80/a HTTP/1.1\r\nX: y\r\nHost: a\r\n\r\n", nil, true,
			get + "X: y\r\nHost: a:80\r\n\r\n"},
		{"authority changed", get + "X: y\r\nHost: a\r\n\r\n",
			func(h *codec.RequestHead) { h.SetAuthority([]byte("b:1")); h.SetPath([]byte("/b c")) }, true,
			"GET /b%20c HTTP/1.1\r\nX: y\r\nHost: b:1\r\n\r\n"},
		{"host field added twice", get + "Host: a\r\n\r\n",
			func(h *codec.RequestHead) { h.Add(codec.FieldHost, []byte("b")) }, true,
			get + "Host: a\r\n\r\n"},
		{"length", put + "Content-LENGTH: 5, 5\r\nHost: a\r\ncontent-length: 5\r\n\r\n", nil, false,
			put + "Content-LENGTH: 5\r\nHost: a\r\n\r\n"},
		{"length zero", put + "Host: a\r\nContent-Length: 0\r\n\r\n", nil, true,
			put + "Host: a\r\nContent-Length: 0\r\n\r\n"},
		{"body dropped", put + "Host: a\r\nContent-Length: 5\r\n\r\n", nil, true,
			put + "Host: a\r\nContent-Length: 0\r\n\r\n"},
		{"chunked body dropped", put + "Host: a\r\nTransfer-Encoding: chunked\r\n\r\n", nil, true,
			put + "Host: a\r\ncontent-length: 0\r\n\r\n"},
		{"chunked", put + "transfer-Encoding: CHUNKED\r\nHost: a\r\n\r\n", nil, false,
			put + "transfer-Encoding: chunked\r\nHost: a\r\n\r\n"},
		{"body of unknown length added", get + "Host: a\r\n\r\n", nil, false,
			get + "Host: a\r\ntransfer-encoding: chunked\r\n\r\n"},
		{"length made known", put + "Transfer-Encoding: chunked\r\nHost: a\r\n\r\n",
			func(h *codec.RequestHead) { h.ContentLength, h.Chunked = 7, false }, false,
			put + "Host: a\r\ncontent-length: 7\r\n\r\n"},
		{"upgrade", get + "Host: a\r\nConnection: upgrade\r\nUpgrade: x\r\nX: y\r\n\r\n", nil, false,
			get + "Host: a\r\nUpgrade: x\r\nX: y\r\nconnection: upgrade\r\n\r\n"},
		{"upgrade not meant", get + "Host: a\r\nUpgrade: x\r\n\r\n", nil, true,
			get + "Host: a\r\n\r\n"},
		{"upgrade without protocol", get + "Host: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
			func(h *codec.RequestHead) { h.Remove(codec.FieldUpgrade) }, true,
			get + "Host: a\r\n\r\n"},
		{"te", get + "Host: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n", nil, true,
			get + "Host: a\r\nTE: trailers\r\nconnection: te\r\n\r\n"},
		{"connect", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", nil, false,
			"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"},
		{"options of the server", "OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", nil, true,
			"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"other method", "PURGE * HTTP/1.1\r\nHost: a\r\n\r\n"[:6] + "/ HTTP/1.1\r\nHost: a\r\n\r\n", nil, true,
			"PURGE / HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"removed and added", get + "Host: a\r\nX: y\r\nZ: z\r\n\r\n",
			func(h *codec.RequestHead) { h.RemoveName("x"); h.Add(codec.FieldVia, []byte("1.1 m")) }, true,
			get + "Host: a\r\nZ: z\r\nvia: 1.1 m\r\n\r\n"},
		{"injection", get + "Host: a\r\n\r\n",
			func(h *codec.RequestHead) { h.AddString("X", "y\r\nEvil: 1\r\n\r\nGET / HTTP/1.1") }, true,
			get + "Host: a\r\nX: y  Evil: 1    GET / HTTP/1.1\r\n\r\n"},
	} {
		h := parseHead(t, tt.in)
		if tt.change != nil {
			tt.change(h)
		}
		c := NewClient(&testLimits)
		if got := string(c.AppendRequestHead(nil, 0, h, tt.end)); got != tt.want {
			t.Errorf("%s: %q\ngot  %q\nwant %q", tt.name, tt.in, got, tt.want)
		}
	}
}

func TestAppendRequestHeadClose(t *testing.T) {
	t.Parallel()
	c := NewClient(&testLimits)
	c.SetClose()
	if c.Reusable() {
		t.Error("reusable after SetClose")
	}
	h := parseHead(t, "GET / HTTP/1.1\r\nHost: a\r\nTE: x\r\nConnection: upgrade\r\nUpgrade: y\r\n\r\n")
	got := string(c.AppendRequestHead(nil, 0, h, true))
	if want := "connection: upgrade, te, close\r\n\r\n"; !strings.HasSuffix(got, want) {
		t.Errorf("got %q; want %q at the end", got, want)
	}
	if _, err := c.Feed([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), newEvent()); err != nil || c.Reusable() {
		t.Errorf("Feed = %v, Reusable %v; want nil, false", err, c.Reusable())
	}
}

// TestSetCloseBeforeSecondRequest: the request after SetClose is the last, also on a connection that has carried others.
func TestSetCloseBeforeSecondRequest(t *testing.T) {
	t.Parallel()
	c := NewClient(&testLimits)
	exchange := func() (request string) {
		request = string(c.AppendRequestHead(nil, 0, parseHead(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"), true))
		if _, err := c.Feed([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), newEvent()); err != nil {
			t.Fatal(err)
		}
		return request
	}
	if got := exchange(); strings.Contains(got, "close") || !c.Reusable() {
		t.Errorf("first request %q, Reusable %v; want no word of close, true", got, c.Reusable())
	}
	c.SetClose()
	if got := exchange(); !strings.HasSuffix(got, "connection: close\r\n\r\n") || c.Reusable() {
		t.Errorf("last request %q, Reusable %v; want connection: close, false", got, c.Reusable())
	}
	defer func() {
		if recover() == nil {
			t.Error("a request after the last one is written")
		}
	}()
	exchange()
}

// TestAppendResponseHead: the framing follows the request, the status and what is known of the body.
func TestAppendResponseHead(t *testing.T) {
	t.Parallel()
	head10, head11 := "HEAD / HTTP/1.0\r\n\r\n", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
	keep10 := "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
	close11 := "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
	for _, tt := range []struct {
		request string
		status  int
		length  int64
		end     bool
		fields  []string
		want    string
		keep    bool // after the end
	}{
		{get11, 200, 5, false, nil, "content-length: 5\r\n", true},
		{get11, 200, 5, false, []string{"X", "y", "Content-LENGTH", "9", "Z", "z"}, "X: y\r\nContent-LENGTH: 5\r\nZ: z\r\n", true},
		{get11, 200, 5, false, []string{"Content-Length", "9", "Content-Length", "8"}, "Content-Length: 5\r\n", true},
		{get11, 200, -1, false, nil, "transfer-encoding: chunked\r\n", true},
		{get11, 200, -1, false, []string{"Transfer-encoding", "gzip", "Transfer-Encoding", "x"}, "Transfer-encoding: chunked\r\n", true},
		{get11, 200, -1, false, []string{"Content-Length", "5"}, "transfer-encoding: chunked\r\n", true},
		{get11, 200, -1, true, nil, "content-length: 0\r\n", true},
		{get11, 200, 5, true, nil, "content-length: 0\r\n", true},
		{get11, 404, 0, true, nil, "content-length: 0\r\n", true},
		{get11, 204, 5, true, []string{"Content-Length", "5"}, "", true},
		{get11, 204, -1, false, []string{"Transfer-Encoding", "chunked"}, "", true},
		{get11, 205, -1, true, nil, "content-length: 0\r\n", true},
		{get11, 304, 5, true, []string{"ETag", "x"}, "ETag: x\r\ncontent-length: 5\r\n", true},
		{get11, 304, -1, true, nil, "", true},
		{get11, 200, 5, false, []string{"Connection", "close", "Upgrade", "h2c", "Keep-Alive", "x"},
			"Keep-Alive: x\r\ncontent-length: 5\r\n", true},
		{get11, 426, 0, true, []string{"Upgrade", "TLS/1.0"}, "Upgrade: TLS/1.0\r\ncontent-length: 0\r\nconnection: upgrade\r\n", true},
		{get11, 200, 5, false, []string{"Host", "x", "TE", "y", "Trailer", "X-Sum"},
			"Host: x\r\nTE: y\r\nTrailer: X-Sum\r\ncontent-length: 5\r\n", true},
		{head11, 200, 5, true, nil, "content-length: 5\r\n", true},
		{head11, 200, 5, false, nil, "content-length: 5\r\n", true},
		{head11, 200, -1, true, []string{"Transfer-Encoding", "chunked"}, "", true},
		{head10, 200, 5, true, nil, "content-length: 5\r\nconnection: close\r\n", false},
		{get10, 200, 5, false, nil, "content-length: 5\r\nconnection: close\r\n", false},
		{get10, 200, -1, false, []string{"Transfer-Encoding", "chunked"}, "connection: close\r\n", false},
		{keep10, 200, 5, false, nil, "content-length: 5\r\nconnection: keep-alive\r\n", true},
		{keep10, 200, -1, true, nil, "content-length: 0\r\nconnection: keep-alive\r\n", true},
		{keep10, 200, -1, false, nil, "connection: close\r\n", false},
		{keep10, 204, -1, true, nil, "connection: keep-alive\r\n", true},
		{close11, 200, 5, false, nil, "content-length: 5\r\nconnection: close\r\n", false},
		{close11, 200, -1, false, nil, "transfer-encoding: chunked\r\nconnection: close\r\n", false},
		{close11, 426, 0, true, []string{"Upgrade", "x"},
			"Upgrade: x\r\ncontent-length: 0\r\nconnection: upgrade, close\r\n", false},
	} {
		c := newConn(t)
		c.wantFeed(tt.request, "head.")
		c.head(tt.status, tt.length, tt.end, tt.fields...)
		_, fields, _ := strings.Cut(string(c.out), "\r\n")
		if fields != tt.want+"\r\n" {
			t.Errorf("%q, %d, length %d, end %v, %q:\ngot  %q\nwant %q", tt.request, tt.status, tt.length, tt.end,
				tt.fields, fields, tt.want+"\r\n")
		}
		if !c.ResponseDone() {
			if tt.length > 0 {
				c.data(strings.Repeat("x", int(tt.length)), false)
			}
			c.data("", true)
		}
		c.wantDone(true, true, tt.keep)
	}
}

func TestAppendStatusLine(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status       int
		reason, want string
	}{
		{200, "", "HTTP/1.1 200 OK\r\n"},
		{200, "OK", "HTTP/1.1 200 OK\r\n"},
		{200, "Fine", "HTTP/1.1 200 Fine\r\n"},
		{404, "", "HTTP/1.1 404 Not Found\r\n"},
		{599, "", "HTTP/1.1 599 \r\n"},
		{500, "a\r\nX: y", "HTTP/1.1 500 a  X: y\r\n"},
	} {
		var h codec.ResponseHead
		h.Reset()
		h.Status = tt.status
		h.SetReason(tt.reason)
		if got := string(appendStatusLine(nil, &h)); got != tt.want {
			t.Errorf("%d, %q: got %q; want %q", tt.status, tt.reason, got, tt.want)
		}
	}
}

func TestAppendInformational(t *testing.T) {
	t.Parallel()
	c := newConn(t)
	c.wantFeed("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n", "head")
	c.out = c.AppendContinue(c.out, 0)
	c.head(103, -1, false, "Link", "</a>", "Content-Length", "4", "Connection", "x")
	c.wantSent("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
	c.head(200, 0, true)
	c.out = c.AppendContinue(nil, 0)
	c.wantSent("")

	c = newConn(t) // HTTP/1.0 knows no 1xx
	c.wantFeed(get10, "head.")
	c.out = c.AppendContinue(c.out, 0)
	c.head(103, -1, false, "Link", "</a>")
	c.wantSent("")
	c.head(200, 0, true)
	c.wantSent("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

// TestAppendData is the framing of bodies, by mode.
func TestAppendData(t *testing.T) {
	t.Parallel()
	send := func(request string, length int64, body func(c *conn)) *conn {
		c := newConn(t)
		c.wantFeed(request, "head.")
		c.head(200, length, false)
		c.out = nil
		body(c)
		return c
	}
	var trailers codec.Fields
	trailers.AddString("X-Sum", "1")
	trailers.AddString("Content-Length", "5")
	trailers.AddString("X-Gone", "1")
	trailers.RemoveName("X-Gone")

	c := send(get11, -1, func(c *conn) { c.data("hello, world.....", false); c.data("", false); c.data("x", true) })
	c.wantSent("11\r\nhello, world.....\r\n1\r\nx\r\n0\r\n\r\n")
	c.wantDone(true, true, true)
	c = send(get11, -1, func(c *conn) { c.data("x", false); c.data("", true) })
	c.wantSent("1\r\nx\r\n0\r\n\r\n")
	c.wantDone(true, true, true)
	c = send(get11, -1, func(c *conn) { c.data("x", false); c.out = c.AppendTrailers(c.out, 0, &trailers) })
	c.wantSent("1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n")
	c.wantDone(true, true, true)
	c = send(get11, 3, func(c *conn) { c.data("ab", false); c.data("c", true) })
	c.wantSent("abc")
	c.wantDone(true, true, true)
	c = send(get11, 3, func(c *conn) { c.data("abc", false); c.out = c.AppendTrailers(c.out, 0, &trailers) })
	c.wantSent("abc")
	c.wantDone(true, true, true)
	c = send(get11, 3, func(c *conn) { c.data("ab", false); c.data("", true) }) // too short
	c.wantSent("ab")
	c.wantDone(true, true, false)
	c = send(get10, -1, func(c *conn) { c.data("ab", false); c.data("c", true) })
	c.wantSent("abc")
	c.wantDone(true, true, false)
}

// TestBugs: what only our own callers can do wrong ends the connection, before a wrong byte leaves.
func TestBugs(t *testing.T) {
	t.Parallel()
	started := func(length int64, status int) *conn {
		c := newConn(t)
		c.wantFeed(get11, "head.")
		c.head(status, length, false)
		return c
	}
	for name, do := range map[string]func(){
		"data before the head":     func() { newConn(t).data("x", true) },
		"data past the length":     func() { started(3, 200).data("abcd", true) },
		"data after the end":       func() { c := started(-1, 200); c.data("", true); c.data("x", true) },
		"data with 204":            func() { started(-1, 204).data("x", true) },
		"second head":              func() { c := started(3, 200); c.head(200, 3, false) },
		"status that is none":      func() { started(3, 99) },
		"101 without an upgrade":   func() { started(-1, 101) },
		"skip outside a body":      func() { started(3, 200).Skip(0, 1) },
		"request while one is out": func() { clientAfter(kindGET).AppendRequestHead(nil, 0, plainRequest(kindGET), true) },
		"skip past the run": func() {
			c := newConn(t)
			c.wantFeed("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", "head")
			c.Skip(0, 6)
		},
	} {
		func() {
			defer func() {
				if msg, _ := recover().(string); !strings.HasPrefix(msg, "BUG: h1: ") {
					t.Errorf("%s: panic %q; want one that says BUG", name, msg)
				}
			}()
			do()
		}()
	}
}

func TestFlowControlIsNone(t *testing.T) {
	t.Parallel()
	s, c := NewServer(&testLimits), NewClient(&testLimits)
	s.Consume(0, 1)
	c.Consume(0, 1)
	if s.Writable(0) < 1<<30 || c.Writable(0) < 1<<30 {
		t.Error("Writable has a bound")
	}
}
