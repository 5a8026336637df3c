package l4

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/engine/enginetest"
	"millrace/filters"
)

func TestDirectResponse(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "text")
	large := strings.Repeat("0123456789abcdef", 60_000)
	if err := os.WriteFile(file, []byte(large), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		cfg    DirectResponseConfig
		want   string
		faults enginetest.Faults
	}{
		{DirectResponseConfig{Response: "no service here\n"}, "no service here\n", enginetest.Faults{}},
		{DirectResponseConfig{}, "", enginetest.Faults{}},
		{DirectResponseConfig{ResponseFile: file}, large, enginetest.Faults{}},
		{DirectResponseConfig{ResponseFile: file}, large, enginetest.Faults{WriteChunk: 5000, EAGAIN: true}},
	} {
		for _, with := range [][]any{nil, {&sniffFilter{}}} {
			p := newFakeProcess(t)
			p.loop.Faults = tt.faults
			c, peer := p.conn(t, p.build(t, "direct_response", &tt.cfg).(filters.NetworkTerminal), with...)
			if c.Details != "direct_response" {
				t.Errorf("details %q", c.Details)
			}
			if n := c.IO.Buffered(); !c.Ended() && n > p.env.BufferLimit+directResponsePiece {
				t.Errorf("%d bytes are buffered; the limit is %d", n, p.env.BufferLimit)
			}
			if out := exchange(t, p.loop, peer, "who is there?"); out != tt.want {
				t.Errorf("response of %d bytes; want %d", len(out), len(tt.want))
			}
			p.loop.Advance(2 * time.Second)
			if p.gate.left != 1 || p.loop.Conns() != 0 {
				t.Errorf("%d left, %d conns", p.gate.left, p.loop.Conns())
			}
		}
	}
}

// TestDirectResponseStalled: a peer that does not read costs no more than the watermark, and may go.
func TestDirectResponseStalled(t *testing.T) {
	t.Parallel()
	p := newFakeProcess(t)
	f := p.build(t, "direct_response", &DirectResponseConfig{Response: strings.Repeat("x", directResponseBytesMax)}).(filters.NetworkTerminal)
	c, peer := p.conn(t, f)
	peer.Write("hello?")
	peer.CloseWrite()
	p.loop.Settle()
	if n := c.IO.Buffered(); f.Conns() != 1 || n < p.env.BufferLimit/2 || n > p.env.BufferLimit+directResponsePiece {
		t.Errorf("%d conns, %d bytes are buffered; the limit is %d", f.Conns(), n, p.env.BufferLimit)
	}
	peer.Close()
	p.loop.Settle()
	if f.Conns() != 0 || p.gate.left != 1 {
		t.Errorf("%d conns, %d left", f.Conns(), p.gate.left)
	}
}

// TestDirectResponseGone: the connection ends before the response begins.
func TestDirectResponseGone(t *testing.T) {
	t.Parallel()
	p := newFakeProcess(t)
	f := p.build(t, "direct_response", &DirectResponseConfig{Response: "x"}).(filters.NetworkTerminal)
	io, peer := p.loop.Pair(enginetest.NewRecorder())
	io.SetHandler(f.Accept(io, nil))
	f.Close()
	p.loop.Settle()
	if got := peer.Read(); got != "" || p.gate.left != 1 {
		t.Errorf("got %q, %d left", got, p.gate.left)
	}
}

func TestDirectResponseConfig(t *testing.T) {
	t.Parallel()
	both := DirectResponseConfig{Response: strings.Repeat("x", directResponseBytesMax+1), ResponseFile: "f"}
	want := "response_file: response and response_file are both given\nresponse: response of 1048577 bytes exceeds 1048576"
	if got := problems(both.Validate); got != want {
		t.Errorf("Validate = %q; want %q", got, want)
	}
	if got := problems((&DirectResponseConfig{}).Validate); got != "" {
		t.Errorf("Validate = %q", got)
	}
	p := newFakeProcess(t)
	dir := t.TempDir()
	long := filepath.Join(dir, "long")
	if err := os.WriteFile(long, make([]byte, directResponseBytesMax+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ file, want string }{
		{filepath.Join(dir, "none"), "no such file"}, {long, "exceeds 1048576 bytes"}, {dir, "is a directory"},
	} {
		if _, err := p.tryBuild(t, "direct_response", &DirectResponseConfig{ResponseFile: tt.file}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %q", tt.file, err, tt.want)
		}
	}
}
