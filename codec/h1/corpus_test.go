package h1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"millrace/codec"
	"millrace/codec/codectest"
)

// outcome counts what a transcript tells, in the words of a corpus.
func outcome(transcript string) string {
	whole, status := 0, ""
	for line := range strings.Lines(transcript) {
		line = strings.TrimSuffix(line, "\n")
		if line == "end" {
			whole++
		}
		if name, found := strings.CutPrefix(line, "error "); found {
			status = name
		}
	}
	switch {
	case strings.HasSuffix(status, "_incomplete (400)"):
		return fmt.Sprintf("ok %d, incomplete", whole)
	case status != "":
		return fmt.Sprintf("ok %d, %s", whole, strings.Trim(status[strings.Index(status, "("):], "()"))
	default:
		return fmt.Sprintf("ok %d", whole)
	}
}

// wantOutcome is what c wants, in the same words.
func wantOutcome(c *codectest.Case) string {
	switch {
	case c.Incomplete:
		return fmt.Sprintf("ok %d, incomplete", c.Requests)
	case c.Status != 0:
		return fmt.Sprintf("ok %d, %d", c.Requests, c.Status)
	default:
		return fmt.Sprintf("ok %d", c.Requests)
	}
}

func recordServer(pieces ...[]byte) string {
	limits := codec.DefaultLimits()
	s := NewServer(&limits)
	return codectest.Record(&s, pieces...)
}

// TestSmuggling runs the corpus: nothing in it may be read as more or other requests than it is meant to be,
// however the bytes arrive.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	cases, err := codectest.ReadCases("testdata/smuggling")
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 60 {
		t.Errorf("%d cases; want 60 or more", len(cases))
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			whole := recordServer(c.Input)
			if got, want := outcome(whole), wantOutcome(&c); got != want {
				t.Errorf("%s: got %s; want %s\n%s", c.Place, got, want, whole)
			}
			if split := recordServer(codectest.Every(c.Input, 1+len(c.Input)/1000)...); split != whole {
				t.Errorf("%s: in pieces it is different\nwhole: %s\nsplit: %s", c.Place, whole, split)
			}
		})
	}
}

// TestOrigins runs the corpus of answers, each to one GET.
func TestOrigins(t *testing.T) {
	t.Parallel()
	cases, err := codectest.ReadCases("testdata/origin")
	if err != nil {
		t.Fatal(err)
	}
	record := func(pieces ...[]byte) string {
		c := clientAfter(kindGET)
		return codectest.RecordClient(c, func() bool { return true }, pieces...)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			whole := record(c.Input)
			got := strings.Replace(outcome(strings.ReplaceAll(whole, "_incomplete (502)", "_incomplete (400)")), "ok 0, 502", "502", 1)
			if want := strings.Replace(wantOutcome(&c), "ok 0, 502", "502", 1); got != want {
				t.Errorf("%s: got %s; want %s\n%s", c.Place, got, want, whole)
			}
			if split := record(codectest.Every(c.Input, 1+len(c.Input)/1000)...); split != whole {
				t.Errorf("%s: in pieces it is different\nwhole: %s\nsplit: %s", c.Place, whole, split)
			}
		})
	}
}

// TestForwardedIsReadTheSame sends the corpus on and lets another reader of HTTP, net/http, count: it must see the
// requests we saw, and their bodies.
func TestForwardedIsReadTheSame(t *testing.T) {
	t.Parallel()
	cases, err := codectest.ReadCases("testdata/smuggling")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		var wire []byte
		var sent []*message
		for in := c.Input; len(sent) < c.Requests; {
			s := NewServer(&testLimits)
			used := 0
			m, ok := gather(func(b []byte, ev *codec.Event) (int, *codec.Error) {
				n, err := s.Feed(b, ev)
				used += n
				return n, err
			}, in)
			if !ok {
				t.Fatalf("%s: request %d cannot be read", c.Place, len(sent)+1)
			}
			in = in[used:]
			wire, sent = append(wire, forwardRequest(m)...), append(sent, m)
		}
		r := bufio.NewReader(bytes.NewReader(wire))
		for i, m := range sent {
			req, err := http.ReadRequest(r)
			if err != nil {
				t.Fatalf("%s: request %d of %q: net/http says %v", c.Place, i+1, wire, err)
			}
			body, err := io.ReadAll(req.Body)
			if err != nil || req.Method != string(m.request.MethodBytes()) || req.Host != string(m.request.Authority()) ||
				req.Method != "CONNECT" && req.RequestURI != string(m.request.Path()) || !bytes.Equal(body, m.body) {
				t.Errorf("%s: net/http reads %q, %v as %s %s of %s with %q", c.Place, wire, err, req.Method, req.RequestURI, req.Host, body)
			}
		}
		if _, err := r.Peek(1); err != io.EOF {
			t.Errorf("%s: net/http finds more than %d requests in %q", c.Place, len(sent), wire)
		}
	}
}
