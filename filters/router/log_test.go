package router_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/filters/accesslog"
	"millrace/filters/httpconn"
	"millrace/filters/route"
)

// TestLogFacts: what only connection manager and router know of a request gets into its line.
func TestLogFacts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "access.log")
	files := accesslog.NewFiles(nil)
	log, err := files.Open(&accesslog.Config{Path: file, RingSize: 64 << 10, BufferSize: 4 << 10, Format: "%RESPONSE_CODE% " +
		"%DOWNSTREAM_WIRE_BYTES_RECEIVED% %DOWNSTREAM_WIRE_BYTES_SENT% %DOWNSTREAM_HEADER_BYTES_SENT% %BYTES_SENT% " +
		"%UPSTREAM_HEADER_BYTES_SENT% %UPSTREAM_WIRE_BYTES_SENT% %UPSTREAM_HEADER_BYTES_RECEIVED% %UPSTREAM_WIRE_BYTES_RECEIVED% " +
		"%UPSTREAM_HOSTS_ATTEMPTED% %UPSTREAM_HOST% %UPSTREAM_CONNECTION_IDS_ATTEMPTED% %UPSTREAM_CONNECTION_ID% " +
		"%COMMON_DURATION(US_CX_BEG:US_CX_END)% %COMMON_DURATION(US_RX_BEG:US_RX_BODY_BEG)% %LOCAL_REPLY_BODY%"})
	if err != nil {
		t.Fatal(err)
	}
	p := newPath(t, func(_ *httpconn.Config, f *route.ForwardConfig) {
		f.RetryPolicy = &route.RetryPolicyConfig{RetryOn: "5xx", NumRetries: 1}
	}, accesslog.NewLogger([]*accesslog.Log{log}, 0))
	ok := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
	request := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"

	p.send(p.client, []byte(request))
	sent := len(p.passUntil(p.origin, "0\r\n\r\n"))
	p.send(p.origin, []byte("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"))
	if n := len(p.passUntil(p.origin, "0\r\n\r\n")); n != sent {
		t.Errorf("the second try is %d bytes, the first %d", n, sent)
	}
	p.send(p.origin, []byte(ok))
	answer := p.passUntil(p.client, "0\r\n\r\n")

	if err := files.Close(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines: %q; want 2", len(lines), lines)
	}
	first, second := strings.Fields(lines[0]), strings.Fields(lines[1])
	if first[13] == "-" || second[13] != "-" {
		t.Errorf("connecting took %s, then %s; want a number, then - of a kept connection", first[13], second[13])
	}
	head := strings.Index(answer, "\r\n\r\n") + 4
	host, id := second[10], second[12]
	const bodySent = len("5\r\nhello\r\n0\r\n\r\n")
	want := fmt.Sprint(200, " ", len(request), " ", len(answer), " ", head, " ", 5, " ", sent-bodySent, " ", sent, " ", len(ok)-bodySent, " ", len(ok), " ",
		host, ",", host, " ", host, " ", id, ",", id, " ", id, " - 0 -")
	if got := strings.Join(second, " "); got != want {
		t.Errorf("line\n got %s\nwant %s", got, want)
	}
}

// passUntil turns the loop until what has arrived at fd ends with a text, and returns it.
func (p *path) passUntil(fd int, end string) (text string) {
	p.t.Helper()
	p.until(fd, func(got []byte, _ bool) bool {
		text = string(got)
		return strings.HasSuffix(text, end)
	})
	return text
}
