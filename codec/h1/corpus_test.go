package h1

import (
	"fmt"
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
