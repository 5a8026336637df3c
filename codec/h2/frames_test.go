package h2

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFrameCases feeds the frames of other people's test cases: those that are right must not end the connection, those that are wrong must
// be answered with the code they ask for.
func TestFrameCases(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/frames/*.json")
	if err != nil || len(files) != 34 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c struct {
			Wire  string
			Error []int
		}
		if err := json.Unmarshal(text, &c); err != nil {
			t.Fatal(err)
		}
		wire, err := hex.DecodeString(c.Wire)
		if err != nil {
			t.Fatal(err)
		}
		h := parseFrameHead(wire)
		p := newServerPeer(t, testOptions())
		if h.stream > 0 && h.typ != frameHeaders && h.stream&1 == 1 {
			p.headers(flagEndHeaders, h.stream, post()...)
			p.log.Reset()
		}
		if h.typ == frameContinuation {
			p = newServerPeer(t, testOptions())
			p.frame(frameHeaders, 0, h.stream, nil)
		}
		p.feed(wire)
		got, want := p.log.String()+p.take(), false
		for _, code := range c.Error {
			want = want || strings.Contains(got, CodeName(uint32(code)))
		}
		name := filepath.Base(file)
		if len(c.Error) > 0 {
			if !want {
				t.Errorf("%s: %q, want one of the codes %v", name, got, c.Error)
			}
			continue
		}
		// Some are for streams of a server, which a client cannot open; what the fields say is no HTTP; and pushing is
		// not for clients.
		if p.dead && (h.stream == 0 || h.stream&1 == 1) && h.typ != framePushPromise && h.typ != frameHeaders && h.typ != frameContinuation {
			t.Errorf("%s: %q", name, got)
		}
	}
}
