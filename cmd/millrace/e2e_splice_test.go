package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"testing"
)

// noise returns n bytes that do not repeat.
func noise(n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(b)
	return b
}

// serveNoise answers with body: of known length, in chunks, or up to the end of the connection.
func serveNoise(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/small":
			_, _ = io.WriteString(w, "small")
			return
		case "/length":
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		case "/close":
			w.Header().Set("Connection", "close")
		}
		for b := body; len(b) > 0; b = b[min(len(b), 1<<20):] {
			_, _ = w.Write(b[:min(len(b), 1<<20)])
		}
	}
}

// TestLongResponses: bodies beyond the splice threshold arrive whole, however they are framed, and the
// connection goes on after them.
func TestLongResponses(t *testing.T) {
	t.Parallel()
	body := noise(8 << 20)
	p := startProxy(t, oneRoute(origin(t, serveNoise(body)), "", "", ""))
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	for range 3 {
		for _, path := range []string{"/length", "/chunked", "/close"} {
			resp, err := client.Get(p.url(path))
			if err != nil {
				t.Fatal(err)
			}
			if got := bodyOf(t, resp); got != string(body) {
				t.Errorf("%s: %d bytes arrived, and are not the %d sent", path, len(got), len(body))
			}
		}
	}
	if p.stat("server.loop_spliced_bytes") == 0 {
		t.Error("nothing was spliced")
	}
	p.wantStat("http.e2e.downstream_rq_active", 0)
	p.wantStat("cluster.web.upstream_rq_active", 0)
}

// TestLongRequests: so do long requests.
func TestLongRequests(t *testing.T) {
	t.Parallel()
	body := noise(8 << 20)
	p := startProxy(t, oneRoute(origin(t, func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		n, _ := io.Copy(sum, r.Body)
		fmt.Fprintf(w, "%d %x", n, sum.Sum(nil))
	}), "", "", ""))
	want := fmt.Sprintf("%d %x", len(body), sha256.Sum256(body))
	for range 3 {
		for _, chunked := range []bool{false, true} {
			var r io.Reader = bytes.NewReader(body)
			if chunked {
				r = io.MultiReader(r)
			}
			resp, err := http.Post(p.url("/"), "application/octet-stream", r)
			if err != nil {
				t.Fatal(err)
			}
			if got := bodyOf(t, resp); got != want {
				t.Errorf("chunked %v: the origin got %q, want %q", chunked, got, want)
			}
		}
	}
	if p.stat("server.loop_spliced_bytes") == 0 {
		t.Error("nothing was spliced")
	}
}

// TestTunnelBulk: a tunnel carries bulk both ways at once.
func TestTunnelBulk(t *testing.T) {
	t.Parallel()
	body := noise(8 << 20)
	p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) {
		c.head()
		c.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		go func() { _, _ = c.Write(body) }()
		got := c.bytes(len(body))
		if got != string(body) {
			t.Errorf("the origin got %d bytes that differ", len(got))
		}
		c.send("end")
	}), "", `"upgrades": ["x"]`, ""))
	c := dial(t, p.addr(""))
	c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
	c.wantHead("101 Switching")
	go func() { _, _ = c.Write(body) }()
	if got := c.bytes(len(body)); got != string(body) {
		t.Errorf("%d bytes arrived that differ", len(got))
	}
	if got := c.bytes(3); got != "end" {
		t.Errorf("got %q at the end", got)
	}
	if p.stat("server.loop_spliced_bytes") == 0 {
		t.Error("nothing was spliced")
	}
}

// TestSpliceBrokenOff: an origin that breaks off in a spliced body must not look like a whole answer.
func TestSpliceBrokenOff(t *testing.T) {
	t.Parallel()
	body := noise(4 << 20)
	p := startProxy(t, oneRoute(rawOrigin(t, func(c *rawConn) {
		c.head()
		c.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(body)+1))
		_, _ = c.Write(body)
	}), "", "", ""))
	resp, err := http.Get(p.url("/"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Errorf("%d bytes came without an error", n)
	}
	p.wantStat("http.e2e.rq_reset_after_downstream_response_started", 1)
}
