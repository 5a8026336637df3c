package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// TestTrailersOfRetriesStayApart: the trailers that a second try sends are those of its own request, whatever other
// connections have sent in the meantime.
func TestTrailersOfRetriesStayApart(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]int{}
	p := startProxy(t, oneRoute(origin(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		seen[r.URL.Path]++
		first := seen[r.URL.Path] == 1
		mu.Unlock()
		if first {
			w.WriteHeader(503)
		}
		_, _ = io.WriteString(w, r.Trailer.Get("X-Id"))
	}), "", `"retry_policy": {"retry_on": "5xx"}`, `"circuit_breakers": {"default": {"max_retries": 100}}`))
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			c := dial(t, p.addr(""))
			id := fmt.Sprintf("%08d", i)
			c.send("POST /" + id + " HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-Id\r\n\r\n1\r\na\r\n0\r\nX-Id: " + id + "\r\n\r\n")
			c.wantHead("200 OK")
			if got := c.bytes(8); got != id {
				t.Errorf("request %s was sent with the trailer %q", id, got)
			}
		}()
	}
	wg.Wait()
}

// TestLogOfUpstream: what an access log tells of the connection to the host and of the trailers it sent.
func TestLogOfUpstream(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	const response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n"
	p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) {
		for head := c.head(); head != ""; head = c.head() {
			if strings.HasPrefix(head, "GET /plain ") {
				c.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				continue
			}
			c.send(response)
		}
	}), fmt.Sprintf(`"access_log": [{"path": %q, "flush_interval": "5ms",
	 "format": "%%UPSTREAM_CONNECTION_ID%% %%UPSTREAM_WIRE_BYTES_SENT%% %%UPSTREAM_WIRE_BYTES_RECEIVED%% %%TRAILER(x-sum)%% %%RESPONSE_TRAILERS_BYTES%%"}]`, path), "", ""))
	c := dial(t, p.addr(""))
	c.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\nGET /plain HTTP/1.1\r\nHost: a\r\n\r\n")
	c.wantHead("200 OK")
	c.bytes(len("2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n"))
	c.wantHead("200 OK", "ontent-Length: 0")
	want := regexp.MustCompile(fmt.Sprintf(`^([1-9]\d*) [1-9]\d* %d 7 6\n([1-9]\d*) [1-9]\d* 38 - 0\n$`, len(response)))
	var text []byte
	if !eventually(func() bool { text, _ = os.ReadFile(path); return strings.Count(string(text), "\n") == 2 }) {
		t.Fatalf("log %q, want two lines", text)
	}
	if m := want.FindSubmatch(text); m == nil || string(m[1]) != string(m[2]) {
		t.Errorf("log %q, want %s with one connection", text, want)
	}
}
