package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// bulk is how much the tests of long bodies move.
func bulk() int {
	if testing.Short() || raceEnabled {
		return 16 << 20
	}
	return 100 << 20
}

// held is the most that a proxy may hold of one body whose receiver does not read: what both windows and queues let
// through, twice over.
const held = 24 << 20

// pattern reads as n bytes that repeat with a period no buffer has.
type pattern struct{ at, n int }

// Read implements io.Reader.
func (p *pattern) Read(b []byte) (int, error) {
	if p.at == p.n {
		return 0, io.EOF
	}
	b = b[:min(len(b), p.n-p.at)]
	for i := range b {
		b[i] = byte((p.at + i) * 31 % 251)
	}
	p.at += len(b)
	return len(b), nil
}

// patternSum is the hash of a pattern.
func patternSum(n int) string {
	h := sha256.New()
	_, _ = io.Copy(h, &pattern{n: n})
	return sumOf(h)
}

func sumOf(h hash.Hash) string { return fmt.Sprintf("%x", h.Sum(nil)) }

// stopped waits until a counter of bytes moves no more, and returns it.
func stopped(p *proxy, name string) int64 {
	p.t.Helper()
	last, since := int64(-1), time.Now()
	eventually(func() bool {
		if n := p.stat(name); n != last {
			last, since = n, time.Now()
		}
		return last > 0 && time.Since(since) > 300*time.Millisecond
	})
	return last
}

// TestH2LongResponses: a client that stops reading holds its own response and nobody else's, and the proxy keeps little
// of it; in the end every byte comes.
func TestH2LongResponses(t *testing.T) {
	t.Parallel()
	n := bulk()
	want := patternSum(n)
	host := bothVersions(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			_, _ = io.Copy(w, &pattern{n: n})
		}
	})
	for _, v := range h2Versions {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			p := startProxy(t, oneRoute(host, "", `"timeout": "0s"`, v.cluster))
			client := &http.Client{Transport: h2Transport(t)}
			if _, err := client.Get(p.url("/")); err != nil {
				t.Fatal(err)
			}
			before := p.rss()
			resp, err := client.Get(p.url("/long"))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			first := make([]byte, 100000)
			if _, err := io.ReadFull(resp.Body, first); err != nil {
				t.Fatal(err)
			}
			stopped(p, "cluster.web.upstream_cx_rx_bytes_total")
			if grown := p.rss() - before; grown > held && !raceEnabled {
				t.Errorf("a response that is not read costs %d KiB", grown>>10)
			}
			// The same connection is free for others.
			other, err := client.Get(p.url("/"))
			if err != nil || other.StatusCode != http.StatusOK {
				t.Fatalf("beside a response that is not read: %v, %v", other, err)
			}
			_ = other.Body.Close()
			h := sha256.New()
			h.Write(first)
			if m, err := io.Copy(h, resp.Body); err != nil || sumOf(h) != want {
				t.Errorf("%d bytes, %v; want %d that are right", int(m)+len(first), err, n)
			}
			p.wantQuiet()
			p.wantStat("http.e2e.downstream_cx_http2_total", 1)
		})
	}
}

// TestH2LongRequests: the same for a request whose origin does not read.
func TestH2LongRequests(t *testing.T) {
	t.Parallel()
	n := bulk()
	want := patternSum(n)
	for _, v := range h2Versions {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			goOn := make(chan struct{})
			host := bothVersions(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/long" {
					return
				}
				<-goOn
				h := sha256.New()
				m, err := io.Copy(h, r.Body)
				fmt.Fprintf(w, "%s %d %v %s", sumOf(h), m, err, r.Trailer.Get("X-Last"))
			})
			p := startProxy(t, oneRoute(host, "", `"timeout": "0s"`, v.cluster))
			client := &http.Client{Transport: h2Transport(t)}
			if _, err := client.Get(p.url("/")); err != nil {
				t.Fatal(err)
			}
			before := p.rss()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url("/long"), &pattern{n: n})
			if err != nil {
				t.Fatal(err)
			}
			req.Trailer = http.Header{"X-Last": {"one"}}
			answered := make(chan string, 1)
			go func() {
				resp, err := client.Do(req)
				if err != nil {
					answered <- err.Error()
					return
				}
				answered <- bodyOf(t, resp)
			}()
			stopped(p, "cluster.web.upstream_cx_tx_bytes_total")
			if grown := p.rss() - before; grown > held && !raceEnabled {
				t.Errorf("a request that is not read costs %d KiB", grown>>10)
			}
			other, err := client.Get(p.url("/"))
			if err != nil || other.StatusCode != http.StatusOK {
				t.Fatalf("beside a request that is not read: %v, %v", other, err)
			}
			_ = other.Body.Close()
			close(goOn)
			if got := <-answered; got != fmt.Sprintf("%s %d <nil> one", want, n) {
				t.Errorf("the origin read %q, want %d bytes that are right, and the trailer", got, n)
			}
			p.wantQuiet()
		})
	}
}

// TestH2Streaming: pieces of a body travel as they come, both ways at once, and trailers after them.
func TestH2Streaming(t *testing.T) {
	t.Parallel()
	host := bothVersions(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex() // which HTTP/1.1 has to ask for
		w.Header().Set("Trailer", "X-Count")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		b := make([]byte, 100)
		count := 0
		for {
			n, err := r.Body.Read(b)
			if n > 0 {
				count++
				_, _ = w.Write(b[:n])
				_ = http.NewResponseController(w).Flush()
			}
			if err != nil {
				break
			}
		}
		w.Header().Set("X-Count", fmt.Sprintf("%d %s", count, r.Trailer.Get("X-Sent")))
	})
	for _, v := range h2Versions {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			p := startProxy(t, oneRoute(host, "", `"timeout": "0s"`, v.cluster))
			in, out := io.Pipe()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url("/"), in)
			if err != nil {
				t.Fatal(err)
			}
			req.Trailer = http.Header{"X-Sent": {"of 3"}}
			resp, err := h2Transport(t).RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			for _, word := range []string{"one", "three", "fifteen"} {
				if _, err := io.WriteString(out, word); err != nil {
					t.Fatal(err)
				}
				got := make([]byte, len(word))
				if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != word {
					t.Fatalf("echo of %q: %q, %v", word, got, err)
				}
			}
			_ = out.Close()
			if rest := bodyOf(t, resp); rest != "" || resp.Trailer.Get("X-Count") != "3 of 3" {
				t.Errorf("at the end %q and trailers %v, want 3 of 3", rest, resp.Trailer)
			}
			p.wantQuiet()
		})
	}
}

// TestH2Resets: a request that its client gives up ends upstream too; a response that breaks off ends as a reset; neither
// is felt by the other requests of the connection.
func TestH2Resets(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{}, 100)
	steady := make(chan struct{})
	host := bothVersions(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hang":
			_, _ = io.WriteString(w, "begun")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			gone <- struct{}{}
		case "/break":
			_, _ = io.WriteString(w, "begun")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/early":
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, "no")
		case "/steady":
			_, _ = io.WriteString(w, "be")
			_ = http.NewResponseController(w).Flush()
			<-steady
			_, _ = io.WriteString(w, "gun")
		}
	})
	var ends sync.WaitGroup
	for _, v := range h2Versions {
		ends.Add(1)
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			p := startProxy(t, oneRoute(host, "", `"timeout": "0s"`, v.cluster))
			client := &http.Client{Transport: h2Transport(t)}
			kept, err := client.Get(p.url("/steady"))
			if err != nil {
				t.Fatal(err)
			}
			for range 10 {
				ctx, cancel := context.WithCancel(t.Context())
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url("/hang"), nil)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				cancel()
				_ = resp.Body.Close()
				select {
				case <-gone:
				case <-time.After(waitMax):
					t.Fatal("the origin did not hear that the client gave up")
				}
			}
			for range 5 {
				resp, err := client.Get(p.url("/break"))
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(resp.Body)
				if err == nil || string(b) != "begun" {
					t.Errorf("a response that broke off: %q, %v; want an error", b, err)
				}
			}
			early, err := client.Post(p.url("/early"), "", io.MultiReader(strings.NewReader("body"), &pattern{n: 50 << 20}))
			if err != nil {
				t.Errorf("an answer before the body has come: %v", err)
			} else if got, err := io.ReadAll(early.Body); early.StatusCode != http.StatusTeapot || string(got) != "no" || err != nil && !errors.Is(err, io.EOF) {
				t.Errorf("an answer before the body has come: %d %q, %v", early.StatusCode, got, err)
			}
			ends.Done()
			ends.Wait()
			if v.cluster == "" {
				close(steady)
			}
			if got := bodyOf(t, kept); got != "begun" {
				t.Errorf("the request beside them all: %q, want begun", got)
			}
			p.wantQuiet()
			p.wantStat("http.e2e.downstream_cx_http2_total", 1)
		})
	}
}
