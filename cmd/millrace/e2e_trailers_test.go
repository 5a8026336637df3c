package main

import (
	"fmt"
	"io"
	"net/http"
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
