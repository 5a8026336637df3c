package h1

import (
	"strings"
	"testing"

	"millrace/codec"
	"millrace/codec/codectest"
)

// clientAfter returns a Client that has sent a request of the kind of plainRequest.
func clientAfter(kind uint8) *Client {
	c := NewClient(&testLimits)
	c.AppendRequestHead(nil, 0, plainRequest(kind), true)
	return &c
}

const (
	kindGET = iota
	kindHEAD
	kindCONNECT
	kindUpgrade
)

// TestClientRefuses has one line for each reason; all of them are 502 for downstream.
func TestClientRefuses(t *testing.T) {
	t.Parallel()
	ok := "HTTP/1.1 200 OK\r\n"
	for _, tt := range []struct {
		in     string
		reason codec.Reason
	}{
		{"\x00", codec.ReasonStatusLine},
		{"\r\n" + ok, codec.ReasonStatusLine},
		{"SSH-2.0-x\r\n", codec.ReasonStatusLine},
		{"HTTP/1.1\r\n", codec.ReasonStatusLine},
		{"HTTP/1.1 \r\n", codec.ReasonStatusLine},
		{"HTTP/1.1 20\r\n", codec.ReasonStatusLine},
		{"HTTP/1.1 20 OK\r\n", codec.ReasonStatusLine},
		{"HTTP/1.1 099 OK\r\n", codec.ReasonStatusLine},
		{"HTTP/1.1 2000 OK\r\n", codec.ReasonStatusLine},
		{"HTTP/1.1 +20 OK\r\n", codec.ReasonStatusLine},
		{"HTTP/1.1  200 OK\r\n", codec.ReasonStatusLine},
		{"HTTP/1.1 200\tOK\r\n", codec.ReasonStatusLine},
		{"HTTP/1.1 200OK\r\n", codec.ReasonStatusLine},
		{"HTTP/1.1 200 O\x00K\r\n", codec.ReasonStatusLine},
		{"HTTP/1.2 200 OK\r\n", codec.ReasonStatusLine},
		{"HTTP/2.0 200 OK\r\n", codec.ReasonStatusLine},
		{"HTTP/1.x 200 OK\r\n", codec.ReasonStatusLine},
		{"HTTP/1.1 200 OK\n", codec.ReasonLineEnd},
		{"HTTP/1.1 200 O\rK\r\n", codec.ReasonLineEnd},
		{ok + "X: y\n", codec.ReasonLineEnd},
		{ok + "X: y\r\n z\r\n", codec.ReasonObsFold},
		{ok + "X y: z\r\n", codec.ReasonFieldName},
		{ok + "X y : z\r\n", codec.ReasonFieldName},
		{ok + " : z\r\n", codec.ReasonObsFold},
		{ok + ": z\r\n", codec.ReasonFieldName},
		{ok + "X: \x00\r\n", codec.ReasonFieldValue},
		{"HTTP/1.1 200 " + strings.Repeat("a", 60<<10), codec.ReasonHeadTooLarge},
		{ok + "X: " + strings.Repeat("a", 60<<10), codec.ReasonHeadTooLarge},
		{ok + strings.Repeat("X: y\r\n", 101), codec.ReasonTooManyFields},
		{ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", codec.ReasonContentLength},
		{ok + "Content-Length: -1\r\n\r\n", codec.ReasonContentLength},
		{ok + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", codec.ReasonLengthAndChunked},
		{ok + "Transfer-Encoding: gzip\r\n\r\n", codec.ReasonTransferEncodingOther},
		{ok + "Transfer-Encoding: chunked, gzip\r\n\r\n", codec.ReasonTransferEncoding},
		{"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", codec.ReasonTransferEncodingIn10},
		{"HTTP/1.1 204 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", codec.ReasonLengthAndChunked},
		{ok + "Transfer-Encoding: chunked\r\n\r\nx", codec.ReasonChunkSize},
		{ok + "Transfer-Encoding: chunked\r\n\r\n1\r\nab", codec.ReasonChunkEnd},
		{"HTTP/1.1 101 Switching Protocols\r\n\r\n", codec.ReasonSwitching},
		{strings.Repeat("HTTP/1.1 103 \r\n\r\n", 17), codec.ReasonInformational},
		{ok + "Content-Length: 1\r\n\r\nab", codec.ReasonUnsolicited},
		{ok + "Content-Length: 0\r\n\r\n" + ok, codec.ReasonUnsolicited},
		{"HTTP/1.1 204 No Content\r\n\r\nbody", codec.ReasonUnsolicited},
		{"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nbody", codec.ReasonUnsolicited},
	} {
		c, ev := clientAfter(kindGET), newEvent()
		var err *codec.Error
		for b := []byte(tt.in); len(b) > 0 && err == nil; {
			var n int
			n, err = c.Feed(b, ev)
			if b = b[n:]; err == nil && ev.Kind == codec.EventNone {
				break
			}
		}
		in := tt.in[:min(len(tt.in), 100)]
		if err == nil || err.Reason != tt.reason || err.Code != 502 {
			t.Errorf("Feed(%q): %v; want %s (502)", in, err, tt.reason)
			continue
		}
		if _, again := c.Feed([]byte(ok), ev); again != err || c.Reusable() {
			t.Errorf("after %v, Feed gives %v, Reusable %v; want the same error, false", err, again, c.Reusable())
		}
	}
}

// TestClientUnsolicited: bytes that nobody asked for are an error, on a connection never used too.
func TestClientUnsolicited(t *testing.T) {
	t.Parallel()
	c, ev := NewClient(&testLimits), newEvent()
	if !c.Reusable() || c.Started() {
		t.Errorf("new: Reusable %v, Started %v; want true, false", c.Reusable(), c.Started())
	}
	if _, err := c.Feed([]byte("HTTP/1.1 408 Request Timeout\r\n"), ev); err == nil || err.Reason != codec.ReasonUnsolicited {
		t.Errorf("Feed = %v; want unsolicited", err)
	}
	if c.Reusable() {
		t.Error("Reusable after unsolicited bytes")
	}
}

// TestClientResponses: framing, and whether the connection can be used again.
func TestClientResponses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		kind     uint8
		in       string
		want     string // line of the last head
		data     string
		end      bool // complete before the end of the peer
		reusable bool
	}{
		{kindGET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
			`200 "OK" HTTP/1.1 length=2 keep-alive`, "ok", true, true},
		{kindGET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
			`200 "OK" HTTP/1.1 length=0 keep-alive`, "", true, true},
		{kindGET, "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\nConnection: close\r\n\r\nok",
			`200 "OK" HTTP/1.1 length=2`, "ok", true, false},
		{kindGET, "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
			`200 "" HTTP/1.1 length=-1 chunked keep-alive`, "ok", true, true},
		{kindGET, "HTTP/1.1 200 \r\n\r\nok",
			`200 "" HTTP/1.1 length=-1 close-delimited`, "ok", false, false},
		{kindGET, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
			`200 "OK" HTTP/1.0 length=2`, "ok", true, false},
		{kindGET, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok",
			`200 "OK" HTTP/1.0 length=2 keep-alive`, "ok", true, true},
		{kindGET, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nok",
			`200 "OK" HTTP/1.0 length=-1 close-delimited`, "ok", false, false},
		{kindGET, "HTTP/1.1 999 caf\xe9 a\tb\r\nContent-Length: 2\r\n\r\nok",
			`999 "caf\xe9 a\tb" HTTP/1.1 length=2 keep-alive`, "ok", true, true},
		{kindGET, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
			`204 "No Content" HTTP/1.1 length=-1 keep-alive`, "", true, true},
		{kindGET, "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
			`204 "No Content" HTTP/1.1 length=-1 keep-alive`, "", true, true},
		{kindGET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
			`304 "Not Modified" HTTP/1.1 length=5 keep-alive`, "", true, true},
		{kindHEAD, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
			`200 "OK" HTTP/1.1 length=5 keep-alive`, "", true, true},
		{kindHEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
			`200 "OK" HTTP/1.1 length=-1 chunked keep-alive`, "", true, true},
		{kindHEAD, "HTTP/1.1 200 OK\r\n\r\n",
			`200 "OK" HTTP/1.1 length=-1 keep-alive`, "", true, true},
		{kindCONNECT, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, world",
			`200 "OK" HTTP/1.1 length=-1 keep-alive`, "hello, world", false, false},
		{kindCONNECT, "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno",
			`403 "No" HTTP/1.1 length=2 keep-alive`, "no", true, true},
		{kindUpgrade, "HTTP/1.1 101 \r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\x81\x00",
			`101 "" HTTP/1.1 length=-1 keep-alive`, "\x81\x00", false, false},
		{kindUpgrade, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
			`200 "OK" HTTP/1.1 length=2 keep-alive`, "ok", true, true},
	} {
		c, ev := clientAfter(tt.kind), newEvent()
		line, data, end := "", "", false
		for b := []byte(tt.in); len(b) > 0; {
			n, err := c.Feed(b, ev)
			if err != nil || ev.Kind == codec.EventNone && n < len(b) {
				t.Fatalf("Feed(%q) = %d, %v, %s", b, n, err, ev.Kind)
			}
			b = b[n:]
			if ev.Kind == codec.EventHead {
				line = codectest.StatusLine(ev.Response)
			}
			data += string(ev.Data)
			end = end || ev.End
		}
		if line != "response "+tt.want || data != tt.data || end != tt.end || c.ResponseDone() != end {
			t.Errorf("%q:\ngot  %s, data %q, end %v, ResponseDone %v\nwant response %s, data %q, end %v",
				tt.in, line, data, end, c.ResponseDone(), tt.want, tt.data, tt.end)
		}
		if c.Reusable() != tt.reusable {
			t.Errorf("%q: Reusable() = %v; want %v", tt.in, c.Reusable(), tt.reusable)
		}
	}
}

func TestClientInformational(t *testing.T) {
	t.Parallel()
	got := recordClient(kindGET, []byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 4\r\n\r\n"+
		"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	const want = `response 100 "Continue" HTTP/1.1 length=-1 keep-alive
response 103 "Early Hints" HTTP/1.1 length=-1 keep-alive
  Link: "</a>"
  Content-Length: "4"
response 102 "Processing" HTTP/1.1 length=-1 keep-alive
response 200 "OK" HTTP/1.1 length=2 keep-alive
  Content-Length: "2"
data "ok"
end
error http1.head_incomplete (502)
` // RecordClient has sent the next request
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// TestClientEOF is what the end of the peer means in each state.
func TestClientEOF(t *testing.T) {
	t.Parallel()
	chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, tt := range []struct {
		kind uint8
		in   string
		want codec.Reason
		end  bool // EOF gives the end of the data
	}{
		{kindGET, "", codec.ReasonHeadIncomplete, false},
		{kindGET, "H", codec.ReasonHeadIncomplete, false},
		{kindGET, "HTTP/1.1 200 OK\r\n", codec.ReasonHeadIncomplete, false},
		{kindGET, "HTTP/1.1 100 Continue\r\n\r\n", codec.ReasonHeadIncomplete, false},
		{kindGET, "HTTP/1.1 200 OK\r\n\r\n", codec.ReasonNone, true},
		{kindGET, "HTTP/1.1 200 OK\r\n\r\ndata", codec.ReasonNone, true},
		{kindGET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", codec.ReasonBodyIncomplete, false},
		{kindGET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na", codec.ReasonBodyIncomplete, false},
		{kindGET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", codec.ReasonNone, false},
		{kindHEAD, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", codec.ReasonNone, false},
		{kindGET, chunked, codec.ReasonBodyIncomplete, false},
		{kindGET, chunked + "2\r\nab\r\n", codec.ReasonBodyIncomplete, false},
		{kindGET, chunked + "2\r\nab\r\n0\r\n", codec.ReasonBodyIncomplete, false},
		{kindGET, chunked + "2\r\nab\r\n0\r\n\r\n", codec.ReasonNone, false},
		{kindUpgrade, "HTTP/1.1 101 \r\nUpgrade: websocket\r\n\r\n", codec.ReasonNone, true},
		{kindCONNECT, "HTTP/1.1 200 \r\n\r\nx", codec.ReasonNone, true},
	} {
		c, ev := clientAfter(tt.kind), newEvent()
		for b := []byte(tt.in); len(b) > 0; {
			n, err := c.Feed(b, ev)
			if err != nil {
				t.Fatalf("Feed(%q) = %v", b, err)
			}
			if b = b[n:]; ev.Kind == codec.EventNone {
				break
			}
		}
		if got, want := c.Started(), tt.in != ""; got != want {
			t.Errorf("after %q, Started() = %v; want %v", tt.in, got, want)
		}
		got := codec.ReasonNone
		if err := c.EOF(ev); err != nil {
			got = err.Reason
		}
		if got != tt.want || ev.End != tt.end || tt.end != (ev.Kind == codec.EventData) {
			t.Errorf("after %q, EOF gives %s, event %s, End %v; want %s, End %v", tt.in, got, ev.Kind, ev.End, tt.want, tt.end)
		}
		if c.Reusable() {
			t.Errorf("after %q and EOF: reusable", tt.in)
		}
	}
	c, ev := NewClient(&testLimits), newEvent()
	if err := c.EOF(ev); err != nil {
		t.Errorf("EOF of an idle connection = %v; want nil", err)
	}
}

// TestClientNotReusableBeforeRequestEnds: an early response does not free the connection.
func TestClientNotReusableBeforeRequestEnds(t *testing.T) {
	t.Parallel()
	c, ev := NewClient(&testLimits), newEvent()
	h := plainRequest(kindGET)
	h.ContentLength = 10
	c.AppendRequestHead(nil, 0, h, false)
	c.AppendDataPrefix(nil, 0, 4, false)
	in := []byte("HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
	if n, err := c.Feed(in, ev); n != len(in) || err != nil || !ev.End {
		t.Fatalf("Feed = %d, %v, End %v", n, err, ev.End)
	}
	if c.RequestDone() || !c.ResponseDone() || c.Reusable() {
		t.Errorf("RequestDone %v, ResponseDone %v, Reusable %v; want only ResponseDone",
			c.RequestDone(), c.ResponseDone(), c.Reusable())
	}
	c.AppendDataPrefix(nil, 0, 6, true)
	c.AppendDataSuffix(nil, 0, 6, true)
	if !c.Reusable() {
		t.Error("not reusable after the request has ended too")
	}
}

// TestClientShortRequest: a request that ends before its length leaves the connection unusable.
func TestClientShortRequest(t *testing.T) {
	t.Parallel()
	c, ev := NewClient(&testLimits), newEvent()
	h := plainRequest(kindGET)
	h.ContentLength = 10
	c.AppendRequestHead(nil, 0, h, false)
	c.AppendDataPrefix(nil, 0, 0, true)
	if _, err := c.Feed([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), ev); err != nil || c.Reusable() {
		t.Errorf("Feed = %v, Reusable %v; want nil, false", err, c.Reusable())
	}
}

// TestClientSwitchingToWhat: a 101 has to say to what, and not to HTTP.
func TestClientSwitchingToWhat(t *testing.T) {
	t.Parallel()
	for _, fields := range []string{"", "Upgrade:\r\n", "Upgrade: h2c\r\n", "Upgrade: websocket\r\nUpgrade: h2c\r\n", "Upgrade: HTTP/2.0\r\n"} {
		c, ev := clientAfter(kindUpgrade), newEvent()
		if _, err := c.Feed([]byte("HTTP/1.1 101 \r\n"+fields+"\r\n"), ev); err == nil || err.Reason != codec.ReasonSwitching {
			t.Errorf("101 with %q: %v; want unexpected switching", fields, err)
		}
	}
}

func TestClientSwitchingBeforeRequestEnds(t *testing.T) {
	t.Parallel()
	c, ev := NewClient(&testLimits), newEvent()
	h := plainRequest(kindUpgrade)
	h.ContentLength = 10
	c.AppendRequestHead(nil, 0, h, false)
	if _, err := c.Feed([]byte("HTTP/1.1 101 \r\nUpgrade: websocket\r\n\r\n"), ev); err == nil || err.Reason != codec.ReasonSwitching {
		t.Errorf("Feed = %v; want unexpected switching", err)
	}
}

// TestClientAllocs: writing a request and reading its response allocates nothing.
func TestClientAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	s, ev, out := NewServer(&testLimits), newEvent(), make([]byte, 0, 4096)
	if _, err := s.Feed([]byte(benchRequests[1].in), ev); err != nil {
		t.Fatal(err)
	}
	in, c := []byte(strings.Replace(benchResponse, "Length: 128", "Length: 0", 1)), NewClient(&testLimits)
	if got := testing.AllocsPerRun(100, func() {
		out = c.AppendRequestHead(out[:0], 0, ev.Request, true)
		if n, err := c.Feed(in, ev); n != len(in) || err != nil || !ev.End {
			t.Fatalf("Feed = %d, %v", n, err)
		}
	}); got != 0 {
		t.Errorf("%v allocations; want 0", got)
	}
}

func TestClientTunnel(t *testing.T) {
	t.Parallel()
	c, ev := clientAfter(kindUpgrade), newEvent()
	if _, err := c.Feed([]byte("HTTP/1.1 101 \r\nUpgrade: websocket\r\n\r\n"), ev); err != nil || !c.Tunnel() || ev.End {
		t.Fatalf("Feed = %v, Tunnel %v, End %v; want nil, true, false", err, c.Tunnel(), ev.End)
	}
	c.Skip(0, 1<<40)
	if got := c.AppendDataPrefix(nil, 0, 5, false); len(got) != 0 {
		t.Errorf("AppendDataPrefix in a tunnel gives %q", got)
	}
	c.AppendDataPrefix(nil, 0, 0, true)
	if !c.RequestDone() || c.ResponseDone() || c.Reusable() {
		t.Errorf("RequestDone %v, ResponseDone %v, Reusable %v; want only RequestDone", c.RequestDone(), c.ResponseDone(), c.Reusable())
	}
	c.Reset(&testLimits)
	if c.Tunnel() || !c.Reusable() {
		t.Errorf("after Reset: Tunnel %v, Reusable %v; want false, true", c.Tunnel(), c.Reusable())
	}
}

func TestClientSkip(t *testing.T) {
	t.Parallel()
	c, ev := clientAfter(kindGET), newEvent()
	if _, err := c.Feed([]byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"), ev); err != nil {
		t.Fatal(err)
	}
	c.Skip(0, 100)
	if !c.ResponseDone() || !c.Reusable() {
		t.Errorf("after the last byte is skipped: ResponseDone %v, Reusable %v; want true, true", c.ResponseDone(), c.Reusable())
	}
	c = clientAfter(kindGET)
	if _, err := c.Feed([]byte("HTTP/1.1 200 OK\r\n\r\n"), ev); err != nil {
		t.Fatal(err)
	}
	c.Skip(0, 100)
	if err := c.EOF(ev); err != nil || !ev.End || c.Reusable() {
		t.Errorf("EOF = %v, End %v, Reusable %v; want nil, true, false", err, ev.End, c.Reusable())
	}
}
