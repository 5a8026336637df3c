package httpconn

import (
	"io"
	"strings"
	"testing"
	"time"

	"millrace/filters"
	"millrace/filters/accesslog"
)

// TestLocalReplies is the table of what the connection manager answers itself.
func TestLocalReplies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, request string
		edit          func(*Config)
		filter        any
		after         time.Duration // the clock moves on by it
		status        int
		body, details string
		flags         accesslog.Flags
		close         bool
	}{
		{name: "no Host", request: "GET / HTTP/1.1\r\n\r\n", status: 400, flags: accesslog.FlagDownstreamProtocolError, close: true},
		{name: "space in front of a colon", request: "GET / HTTP/1.1\r\nHost : a\r\n\r\n", status: 400, flags: accesslog.FlagDownstreamProtocolError, close: true},
		{name: "unknown coding", request: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", status: 501, flags: accesslog.FlagDownstreamProtocolError, close: true},
		{name: "head too large", request: "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 61<<10) + "\r\n\r\n", status: 431, flags: accesslog.FlagDownstreamProtocolError, close: true},
		{name: "too many fields", request: "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 101) + "\r\n", status: 431, flags: accesslog.FlagDownstreamProtocolError, close: true},
		{name: "HTTP/1.0 refused", edit: func(c *Config) { c.AcceptHTTP10 = false }, request: "GET / HTTP/1.0\r\nHost: a\r\n\r\n", status: 426, flags: accesslog.FlagDownstreamProtocolError, close: true},
		{name: "upgrade", request: "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", status: 200, details: "direct_response", close: true}, // without a route: the router's business
		{name: "CONNECT", request: "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", status: 501, details: "route_not_found", flags: accesslog.FlagNoRoute, close: true},
		{name: "slow head", request: "GET / HT", after: 11 * time.Second, status: 408, body: "request header timeout", details: "request_header_timeout", close: true},
		{name: "slow request", edit: func(c *Config) { c.RequestTimeout = time.Second }, filter: &holding{filters.Pause}, request: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n",
			after: 2 * time.Second, status: 408, body: "request timeout", details: "request_overall_timeout", close: true},
		{name: "idle request", filter: &holding{filters.Pause}, request: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n",
			after: 6 * time.Minute, status: 408, body: "stream timeout", details: "stream_idle_timeout", flags: accesslog.FlagStreamIdleTimeout, close: true},
		{name: "idle response", filter: &holding{filters.Pause}, request: "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
			after: 6 * time.Minute, status: 504, body: "stream timeout", details: "stream_idle_timeout", flags: accesslog.FlagStreamIdleTimeout, close: true},
		{name: "too long", edit: func(c *Config) { c.MaxStreamDuration = time.Second }, filter: &holding{filters.Pause}, request: "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
			after: 2 * time.Second, status: 504, body: "downstream duration timeout", details: "max_duration_timeout", flags: accesslog.FlagDurationTimeout, close: true},
		{name: "body too large to buffer", filter: &holding{filters.Buffer}, request: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n" + strings.Repeat("x", 1100<<10),
			status: 413, body: "Payload Too Large", details: "request_payload_too_large", close: true},
		{name: "a filter's own", filter: &holding{filters.Replied}, request: "GET / HTTP/1.1\r\nHost: a\r\n\r\n", status: 418, details: "teapot"},
		{name: "HEAD has no body", filter: &holding{filters.Pause}, request: "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
			after: 6 * time.Minute, status: 504, details: "stream_idle_timeout", flags: accesslog.FlagStreamIdleTimeout, close: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var list []any
			if tt.filter != nil {
				list = append(list, tt.filter)
			}
			w := newWorld(t, tt.edit, list...)
			c := w.dial("127.0.0.1")
			if tt.after > 0 {
				if _, err := c.Write([]byte(tt.request)); err != nil {
					t.Fatal(err)
				}
				w.tl.Until(func() bool { return w.m.conns != nil && w.m.conns.io.BytesIn() == uint64(len(tt.request)) })
				w.tl.Advance(tt.after)
				tt.request = strings.Fields(tt.request)[0]
			}
			n := len(w.term.ended)
			resp := c.answerTo(tt.request, n == 0 && tt.after == 0)
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != tt.status || string(body) != tt.body || resp.Close != tt.close {
				t.Errorf("got %d %q, close %v, %v; want %d %q, %v", resp.StatusCode, body, resp.Close, err, tt.status, tt.body, tt.close)
			}
			end := w.term.ended[0]
			if end.Flags != tt.flags || tt.details != "" && end.Details != tt.details || end.Details == "" || int(end.Status) != tt.status {
				t.Errorf("log: %d %v %q; want %d %v %q", end.Status, end.Flags, end.Details, tt.status, tt.flags, tt.details)
			}
			if resp.Header.Get("Server") != "millrace" || resp.Header.Get("Date") == "" {
				t.Errorf("server %q, date %q", resp.Header.Get("Server"), resp.Header.Get("Date"))
			}
			if tt.status >= 400 && len(w.term.heads) > 0 {
				t.Error("the request reached the end of the filters, too")
			}
		})
	}
}

// holding is a filter that answers each head with one verdict.
type holding struct{ v filters.Verdict }

func (f *holding) OnRequestHead(s *filters.Stream, _ bool) filters.Verdict {
	if f.v == filters.Replied {
		return s.Reply(418, "teapot")
	}
	return f.v
}

func (f *holding) OnRequestData(*filters.Stream, []byte, bool) filters.Verdict { return f.v }

// TestPipelineWaitsForReader: a peer that does not read its responses is not given more of them.
func TestPipelineWaitsForReader(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	c := w.dial("127.0.0.1")
	request := []byte(strings.Repeat("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1000))
	sent := 0
	_ = c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	done := make(chan struct{})
	go func() { // until nothing is taken any more
		defer close(done)
		for {
			n, err := c.Write(request)
			if sent += n; err != nil {
				return
			}
		}
	}()
	w.tl.Until(func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
	if queued := w.m.conns.io.Buffered(); queued > 2<<20 {
		t.Errorf("%d bytes wait for a peer that reads nothing", queued)
	}
	if sent < 1<<20 {
		t.Errorf("only %d bytes of requests were taken", sent)
	}
}
