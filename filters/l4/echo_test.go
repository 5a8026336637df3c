package l4

import (
	"strings"
	"testing"

	"millrace/engine/enginetest"
	"millrace/filters"
)

func TestEcho(t *testing.T) {
	t.Parallel()
	for _, faults := range []enginetest.Faults{{}, {ReadChunk: 100, WriteChunk: 77}, {EAGAIN: true}} {
		p := newFakeProcess(t)
		p.loop.Faults = faults
		_, peer := p.conn(t, p.build(t, "echo", &EchoConfig{}).(filters.NetworkTerminal))
		in := strings.Repeat("0123456789abcdef", 10_000)
		if out := exchange(t, p.loop, peer, in); out != in {
			t.Errorf("faults %+v: %d bytes came back as %d", faults, len(in), len(out))
		}
		if p.gate.left != 1 || p.loop.Conns() != 0 {
			t.Errorf("%d left, %d conns", p.gate.left, p.loop.Conns())
		}
	}
}

// TestEchoStalled: a peer that sends and does not read is not read from beyond the watermark.
func TestEchoStalled(t *testing.T) {
	t.Parallel()
	for _, with := range [][]any{nil, {&sniffFilter{}}} {
		p := newFakeProcess(t)
		c, peer := p.conn(t, p.build(t, "echo", &EchoConfig{}).(filters.NetworkTerminal), with...)
		block, sent := make([]byte, 64<<10), 0
		for range 1000 {
			n := peer.TryWrite(block)
			p.loop.Settle()
			if sent += n; n == 0 {
				break
			}
		}
		if n := c.IO.Buffered(); n < p.env.BufferLimit/2 || n > p.env.BufferLimit+64<<10 {
			t.Errorf("%d bytes are buffered; the limit is %d", n, p.env.BufferLimit)
		}
		got := 0
		for n := -1; n != 0; {
			n = len(peer.Read())
			got += n
			p.loop.Settle()
		}
		if got != sent {
			t.Errorf("%d bytes came back of %d", got, sent)
		}
	}
}

func TestTerminalConns(t *testing.T) {
	t.Parallel()
	p := newFakeProcess(t)
	f := p.build(t, "echo", &EchoConfig{}).(filters.NetworkTerminal)
	_, first := p.conn(t, f)
	_, second := p.conn(t, f)
	_, third := p.conn(t, f)
	f.Drain() // plain bytes have no end of their own
	first.Close()
	p.loop.Settle()
	if n := f.Conns(); n != 2 || p.gate.left != 1 {
		t.Errorf("%d conns, %d left; want 2, 1", n, p.gate.left)
	}
	third.Write("x")
	p.loop.Settle()
	if got := third.Read(); got != "x" {
		t.Errorf("echo gave %q", got)
	}
	f.Close()
	p.loop.Settle()
	if n := f.Conns(); n != 0 || p.gate.left != 3 || !second.AtEOF() || !third.AtEOF() {
		t.Errorf("%d conns, %d left; want 0, 3 and closed", n, p.gate.left)
	}
	f.Release()
}
