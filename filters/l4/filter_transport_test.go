package l4

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"millrace/engine"
	"millrace/engine/enginetest"
	"millrace/filters"
)

// sniffFilter is a read and a write filter that looks at everything. It answers what it is told to.
type sniffFilter struct {
	name          string
	log           *[]string // shared by the filters of a chain
	read, written strings.Builder
	readEnds      int
	writeEnds     int
	onRead        func(c *filters.Connection, b []byte, end bool) filters.NetworkVerdict
	onWrite       func(c *filters.Connection, b []byte, end bool) filters.NetworkVerdict
}

func (f *sniffFilter) OnRead(c *filters.Connection, b []byte, end bool) filters.NetworkVerdict {
	f.note("read", b, end)
	f.read.Write(b)
	if end {
		f.readEnds++
	}
	if f.onRead != nil {
		return f.onRead(c, b, end)
	}
	return filters.NetworkContinue
}

func (f *sniffFilter) OnWrite(c *filters.Connection, b []byte, end bool) filters.NetworkVerdict {
	f.note("write", b, end)
	f.written.Write(b)
	if end {
		f.writeEnds++
	}
	if f.onWrite != nil {
		return f.onWrite(c, b, end)
	}
	return filters.NetworkContinue
}

func (f *sniffFilter) note(what string, b []byte, end bool) {
	if f.log != nil {
		*f.log = append(*f.log, fmt.Sprintf("%s %s %q %v", f.name, what, b, end))
	}
}

func TestFilterTransportOrder(t *testing.T) {
	t.Parallel()
	var log []string
	p := newFakeProcess(t)
	a, b := &sniffFilter{name: "a", log: &log}, &sniffFilter{name: "b", log: &log}
	_, peer := p.conn(t, p.build(t, "echo", &EchoConfig{}).(filters.NetworkTerminal), a, b)
	if out := exchange(t, p.loop, peer, "hello"); out != "hello" {
		t.Errorf("echo gave %q", out)
	}
	want := `a read "hello" false
b read "hello" false
b write "hello" false
a write "hello" false
a read "" true
b read "" true
b write "" true
a write "" true`
	if got := strings.Join(log, "\n"); got != want {
		t.Errorf("calls\n%s\nwant\n%s", got, want)
	}
	if p.gate.left != 1 || p.loop.Conns() != 0 {
		t.Errorf("%d left, %d conns", p.gate.left, p.loop.Conns())
	}
}

// relayTerminal is a terminal filter that consumes what it likes, as a proxy with a stalled upstream does, and
// answers with the same bytes.
type relayTerminal struct {
	terminalConns
	rng *rand.Rand
	rec func(engine.CloseReason)
}

type relayTerminalConn struct {
	echoConn
	f *relayTerminal
}

func (f *relayTerminal) Accept(io *engine.Conn, c *filters.Connection) engine.Handler {
	rc := &relayTerminalConn{f: f}
	f.add(&rc.terminalConn, io, c)
	return rc
}

func (rc *relayTerminalConn) OnData(b []byte) int {
	n := 1 + rc.f.rng.IntN(len(b))
	rc.io.Write(b[:n])
	if n < len(b) { // the rest is kept until someone resumes
		rc.io.PauseRead()
		rc.io.Loop().Later(rc)
	}
	return n
}
func (rc *relayTerminalConn) RunTask() {
	if !rc.gone {
		rc.io.ResumeRead()
	}
}
func (rc *relayTerminalConn) OnClose(why engine.CloseReason) {
	if rc.f.rec != nil {
		rc.f.rec(why)
	}
	rc.left()
}

// pausing makes a filter that pauses at random calls and is resumed by a posted function.
func pausing(loop *enginetest.Loop, rng *rand.Rand) func(*filters.Connection, []byte, bool) filters.NetworkVerdict {
	return func(c *filters.Connection, _ []byte, _ bool) filters.NetworkVerdict {
		if rng.IntN(3) == 0 {
			return filters.NetworkContinue
		}
		loop.Post(func() { c.Resume() })
		return filters.NetworkPause
	}
}

// TestFilterTransportCuts: whatever the reads and writes are cut into, and whoever pauses when, every byte and the
// end pass each filter once and unchanged; the end of what is written only if the connection was not over before.
func TestFilterTransportCuts(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 1))
		p := newFakeProcess(t)
		p.loop.Faults = enginetest.Faults{ReadChunk: []int{0, 1, 70, 4000}[seed%4], WriteChunk: []int{0, 30, 1000}[seed%3], EAGAIN: seed%2 == 0}
		size := 200_000
		if p.loop.Faults.ReadChunk == 1 {
			size = 3000
		}
		in := make([]byte, size)
		for i := range in {
			in[i] = byte(rng.Uint32())
		}
		var terminal filters.NetworkTerminal = &relayTerminal{terminalConns: terminalConns{gate: &p.gate}, rng: rng}
		if seed%5 == 0 {
			terminal = p.build(t, "echo", &EchoConfig{}).(filters.NetworkTerminal)
		}
		a, b, c := &sniffFilter{onRead: pausing(p.loop, rng)}, &sniffFilter{}, &sniffFilter{onRead: pausing(p.loop, rng)}
		_, peer := p.conn(t, terminal, a, b, c)
		out := exchange(t, p.loop, peer, string(in))
		for i, f := range []*sniffFilter{a, b, c} {
			if f.read.String() != string(in) || f.written.String() != string(in) || f.readEnds != 1 || f.writeEnds > 1 {
				t.Errorf("seed %d: filter %d saw %d bytes and %d ends, wrote %d and %d; want %d and one end", seed, i,
					f.read.Len(), f.readEnds, f.written.Len(), f.writeEnds, len(in))
			}
		}
		if out != string(in) {
			t.Errorf("seed %d: %d bytes came back changed or short", seed, len(out))
		}
		if p.gate.left != 1 || p.loop.Conns() != 0 {
			t.Errorf("seed %d: %d left, %d conns", seed, p.gate.left, p.loop.Conns())
		}
	}
}

// TestFilterTransportPause: while a filter pauses nothing is read, what was read is held, and the bytes go to the
// next filter only.
func TestFilterTransportPause(t *testing.T) {
	t.Parallel()
	var log []string
	p := newFakeProcess(t)
	pause := func(*filters.Connection, []byte, bool) filters.NetworkVerdict { return filters.NetworkPause }
	a, b := &sniffFilter{name: "a", log: &log, onRead: pause}, &sniffFilter{name: "b", log: &log, onRead: pause}
	terminal := p.build(t, "echo", &EchoConfig{}).(filters.NetworkTerminal)
	c, peer := p.conn(t, terminal, a, b)
	leased := p.loop.Arena().Leased()
	peer.Write("one")
	p.loop.Settle()
	peer.Write("two")
	peer.CloseWrite()
	p.loop.Settle()
	if in := c.IO.BytesIn(); in != 3 {
		t.Errorf("%d bytes were read while paused; want 3", in)
	}
	if p.loop.Arena().Leased() == leased {
		t.Error("nothing is held")
	}
	for range 4 { // behind a, behind b; then the same with the rest and the end
		c.Resume()
		c.Resume() // one too many does nothing
		p.loop.Settle()
	}
	if p.loop.Arena().Leased() > leased {
		t.Error("the block was not given back")
	}
	for range 2 {
		c.Resume()
		p.loop.Settle()
	}
	want := `a read "one" false, b read "one" false, b write "one" false, a write "one" false, ` +
		`a read "two" false, b read "two" false, b write "two" false, a write "two" false, ` +
		`a read "" true, b read "" true, b write "" true, a write "" true`
	if got := strings.Join(log, ", "); got != want {
		t.Errorf("calls\n%s\nwant\n%s", got, want)
	}
	if out := peer.Read(); out != "onetwo" || p.gate.left != 1 {
		t.Errorf("echo gave %q, %d left", out, p.gate.left)
	}
	if c.Resume(); terminal.Conns() != 0 {
		t.Error("the connection is still there")
	}
}

// TestFilterTransportClose: a filter that closes at any call ends the connection, and its terminal filter hears.
func TestFilterTransportClose(t *testing.T) {
	t.Parallel()
	closes := func(c *filters.Connection, _ []byte, _ bool) filters.NetworkVerdict {
		c.Details = "refused"
		return filters.NetworkClose
	}
	atEnd := func(c *filters.Connection, b []byte, end bool) filters.NetworkVerdict {
		if end {
			return closes(c, b, end)
		}
		return filters.NetworkContinue
	}
	second := 0
	later := func(c *filters.Connection, b []byte, end bool) filters.NetworkVerdict {
		if second++; second%2 == 0 {
			return closes(c, b, end)
		}
		return filters.NetworkContinue
	}
	for _, tt := range []struct {
		name   string
		filter *sniffFilter
		lost   bool // the terminal filter is told with OnClose
	}{
		{"read", &sniffFilter{onRead: closes}, true},
		{"second read", &sniffFilter{onRead: later}, true},
		{"end of reading", &sniffFilter{onRead: atEnd}, true},
		{"write", &sniffFilter{onWrite: closes}, true},
		{"end of writing", &sniffFilter{onWrite: atEnd}, false}, // it has closed by itself
	} {
		p := newFakeProcess(t)
		var why engine.CloseReason
		terminal := &relayTerminal{terminalConns: terminalConns{gate: &p.gate}, rng: p.loop.Rand(),
			rec: func(r engine.CloseReason) { why = r }}
		c, peer := p.conn(t, terminal, tt.filter)
		peer.Write("abc")
		p.loop.Settle()
		if p.gate.left == 0 {
			peer.Write("def")
			peer.CloseWrite()
			p.loop.Settle()
		}
		if (why == engine.CloseTransport) != tt.lost || p.gate.left != 1 || p.loop.Conns() != 0 || c.Details != "refused" {
			t.Errorf("%s: OnClose(%v), %d left, %d conns, details %q", tt.name, why, p.gate.left, p.loop.Conns(), c.Details)
		}
		if peer.Read(); !peer.AtEOF() && peer.TryWrite([]byte("x")) == 1 {
			t.Errorf("%s: the socket is still open", tt.name)
		}
	}
}

// TestFilterTransportHalfCloses: a filter closes at the end of what is written while the other direction goes on.
func TestFilterTransportHalfCloses(t *testing.T) {
	t.Parallel()
	p := newFakeProcess(t)
	rec := enginetest.NewRecorder()
	filter := &sniffFilter{onWrite: func(_ *filters.Connection, _ []byte, end bool) filters.NetworkVerdict {
		if end {
			return filters.NetworkClose
		}
		return filters.NetworkContinue
	}}
	io, peer := p.loop.Pair(rec)
	io.SetTransport(transportOf(newFakeConnection(io), nil, filter))
	p.loop.Settle()
	io.Write([]byte("bye"))
	io.CloseWrite()
	p.loop.Settle()
	rec.Want(t, "close transport")
	if got := peer.Read(); got != "bye" {
		t.Errorf("the peer got %q", got)
	}
}

// TestFilterTransportEnds: the connection ends while bytes are held, in each way that it can.
func TestFilterTransportEnds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		end  func(io *engine.Conn, terminal filters.NetworkTerminal, peer *enginetest.Peer)
	}{
		{"closed by the terminal filter", func(_ *engine.Conn, terminal filters.NetworkTerminal, _ *enginetest.Peer) { terminal.Close() }},
		{"reset of the socket", func(io *engine.Conn, terminal filters.NetworkTerminal, _ *enginetest.Peer) {
			io.Reset()
			terminal.Close()
		}},
		{"loop ends", nil},
	} {
		p := newFakeProcess(t)
		terminal := p.build(t, "echo", &EchoConfig{}).(filters.NetworkTerminal)
		leased := p.loop.Arena().Leased()
		c, peer := p.conn(t, terminal, &sniffFilter{onRead: func(*filters.Connection, []byte, bool) filters.NetworkVerdict { return filters.NetworkPause }})
		peer.Write("held")
		p.loop.Settle()
		if tt.end == nil {
			p.loop.Close()
		} else {
			tt.end(c.IO, terminal, peer)
			p.loop.Settle()
			if n := p.loop.Arena().Leased(); n != leased {
				t.Errorf("%s: %d bytes are leased, %d before", tt.name, n, leased)
			}
		}
		if p.gate.left != 1 || terminal.Conns() != 0 {
			t.Errorf("%s: %d left, %d conns", tt.name, p.gate.left, terminal.Conns())
		}
		c.Resume() // late: an answer that nobody needs any more
		c.Chain.Resume(c)
	}
}

// TestFilterTransportClosedInside: a filter that closes the socket itself may go on to look at what it was shown.
func TestFilterTransportClosedInside(t *testing.T) {
	t.Parallel()
	p := newFakeProcess(t)
	terminal := p.build(t, "echo", &EchoConfig{}).(filters.NetworkTerminal)
	leased := p.loop.Arena().Leased()
	a := &sniffFilter{onRead: func(*filters.Connection, []byte, bool) filters.NetworkVerdict { return filters.NetworkPause }}
	seen := ""
	b := &sniffFilter{onRead: func(c *filters.Connection, b []byte, _ bool) filters.NetworkVerdict {
		terminal.Close()
		seen = string(b)
		return filters.NetworkContinue
	}}
	c, peer := p.conn(t, terminal, a, b)
	peer.Write("held")
	p.loop.Settle()
	c.Resume()
	p.loop.Settle()
	if seen != "held" || p.gate.left != 1 || p.loop.Arena().Leased() != leased {
		t.Errorf("saw %q, %d left, %d bytes leased, %d before", seen, p.gate.left, p.loop.Arena().Leased(), leased)
	}
}

// TestFilterTransportNoMemory: a connection whose bytes cannot be held ends.
func TestFilterTransportNoMemory(t *testing.T) {
	t.Parallel()
	p := newFakeProcess(t)
	p.loop = enginetest.NewLoop(t, func(cfg *engine.LoopConfig) { cfg.BlocksMax = 1 << 20 })
	p.env.Loop = p.loop.Loop
	for { // use up the budget
		if _, ok := p.loop.Arena().Lease(1); !ok {
			break
		}
	}
	pause := &sniffFilter{onRead: func(*filters.Connection, []byte, bool) filters.NetworkVerdict { return filters.NetworkPause }}
	_, peer := p.conn(t, p.build(t, "echo", &EchoConfig{}).(filters.NetworkTerminal), pause)
	peer.Write("x")
	p.loop.Settle()
	if p.gate.left != 1 || !peer.AtEOF() {
		t.Errorf("%d left", p.gate.left)
	}
}

// xorTransport is an inner transport with a handshake of one byte, which turns bits around.
type xorTransport struct {
	shaken, closed, shut bool
}

func (x *xorTransport) Handshake(w *engine.Wire) (bool, error) {
	var b [1]byte
	if n, err := w.Read(b[:]); n == 0 {
		return false, err
	}
	if b[0] != '!' {
		return false, io.ErrUnexpectedEOF
	}
	x.shaken = true
	return true, nil
}

func (x *xorTransport) Read(w *engine.Wire, dst []byte) (int, error) {
	n, err := w.Read(dst)
	for i := range dst[:n] {
		dst[i] ^= 0x20
	}
	return n, err
}

func (x *xorTransport) Write(w *engine.Wire, v [][]byte) error {
	out := bytes.Join(v, nil)
	for i := range out {
		out[i] ^= 0x20
	}
	_, err := w.Write(out)
	return err
}
func (x *xorTransport) CloseWrite(w *engine.Wire) {
	x.shut = true
	w.Write([]byte("."))
}
func (x *xorTransport) Close() { x.closed = true }

// TestFilterTransportInner: filters see what an inner transport has decrypted, and what it has not encrypted yet.
func TestFilterTransportInner(t *testing.T) {
	t.Parallel()
	for _, hello := range []string{"!", "?"} {
		p := newFakeProcess(t)
		rec := enginetest.NewRecorder()
		rec.EOFFunc = func() {}
		inner, sniff := &xorTransport{}, &sniffFilter{}
		sniff.onRead = pausing(p.loop, rand.New(rand.NewPCG(3, 4)))
		conn, peer := p.loop.Pair(rec)
		c := newFakeConnection(conn)
		c.Chain.(*fakeChain).transport = transportOf(c, inner, sniff)
		conn.SetTransport(c.Chain.(*fakeChain).transport)
		p.loop.Settle()
		peer.Write(hello)
		p.loop.Settle()
		if hello == "?" {
			rec.Want(t, "close transport")
			if !inner.closed || sniff.read.Len() > 0 {
				t.Errorf("a failed handshake: closed %v, %d bytes read", inner.closed, sniff.read.Len())
			}
			continue
		}
		peer.Write("ABC")
		peer.CloseWrite()
		p.loop.Settle()
		rec.Want(t, `data "abc"`, "eof")
		conn.Write([]byte("xyz"))
		conn.CloseLinger(time.Second)
		p.loop.Settle()
		if got := peer.Read(); got != "XYZ." || sniff.read.String() != "abc" || sniff.written.String() != "xyz" || !inner.shut || !inner.closed {
			t.Errorf("peer got %q, filter %q and %q, shut %v, closed %v", got, &sniff.read, &sniff.written, inner.shut, inner.closed)
		}
	}
}
