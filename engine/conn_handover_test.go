package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"millrace/engine"
	"millrace/engine/enginetest"
)

// A handler that takes over is shown what the one before left, in the same turn.
func TestSetHandlerOffersKept(t *testing.T) {
	t.Parallel()
	for _, eof := range []bool{false, true} {
		for _, inside := range []bool{false, true} {
			t.Run(fmt.Sprintf("eof=%v/inside=%v", eof, inside), func(t *testing.T) {
				tl := enginetest.NewLoop(t)
				first, second := enginetest.NewRecorder(), enginetest.NewRecorder()
				c, peer := tl.Pair(first)
				first.DataFunc = func(b []byte) int {
					if inside {
						c.SetHandler(second)
					}
					return 2
				}
				peer.Write("h:rest")
				if eof {
					peer.CloseWrite()
				}
				if inside {
					tl.Step()
				} else {
					tl.Settle()
					c.SetHandler(second)
					tl.Step()
				}
				want, wantFirst := []string{`data "rest"`}, []string{`data "h:rest"`}
				if eof {
					want = append(want, "eof")
					if !inside {
						wantFirst = append(wantFirst, "eof")
					}
				}
				first.Want(t, wantFirst...)
				second.Want(t, want...)
				if !eof {
					peer.Write("more")
					tl.Settle()
					second.Want(t, `data "more"`)
				}
				wantNoBlocks(t, tl)
			})
		}
	}
}

// While reading is paused, what is kept and the end wait for ResumeRead.
func TestSetHandlerPaused(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	first, second := enginetest.NewRecorder(), enginetest.NewRecorder()
	c, peer := tl.Pair(first)
	first.DataFunc = func([]byte) int { return 0 }
	peer.Write("kept")
	peer.CloseWrite()
	tl.Settle()
	first.Want(t, `data "kept"`, "eof")
	c.PauseRead()
	c.SetHandler(second)
	tl.Settle()
	second.Want(t)
	// And a handler that pauses while it is shown the bytes hears of the end later.
	second.DataFunc = func([]byte) int { c.PauseRead(); return 1 }
	c.ResumeRead()
	tl.Step()
	second.Want(t, `data "kept"`)
	second.DataFunc = nil
	c.ResumeRead()
	tl.Step()
	second.Want(t, `data "ept"`, "eof")
	wantNoBlocks(t, tl)
}

// The handler is replaced in any of its calls; the next one goes to the new one.
func TestSetHandlerAnywhere(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		when string
		want []string
	}{
		{"timeout", []string{`data "kept"`, `data "kept, more"`, "eof"}},
		{"eof", []string{`data "kept, more"`, "eof"}},
		{"data", []string{`data "kept"`, `data "kept, more"`, "eof"}},
	} {
		t.Run(tt.when, func(t *testing.T) {
			tl := enginetest.NewLoop(t)
			first, second := enginetest.NewRecorder(), enginetest.NewRecorder()
			second.DataFunc = func(b []byte) int {
				if bytes.HasSuffix(b, []byte("more")) {
					return len(b)
				}
				return 0
			}
			c, peer := tl.Pair(first)
			swap := func() { c.SetHandler(second) }
			first.DataFunc = func([]byte) int {
				if tt.when == "data" {
					swap()
				}
				return 0
			}
			first.EOFFunc, first.TimeoutFunc = swap, swap
			c.SetDeadline(tl.Now() + int64(time.Second))
			peer.Write("kept")
			tl.Settle()
			if tt.when == "timeout" {
				tl.Advance(2 * time.Second)
			}
			peer.Write(", more")
			tl.Settle()
			peer.CloseWrite()
			tl.Settle()
			second.Want(t, tt.want...)
		})
	}
}

// The deadline, and calls that are due already, go to the new handler.
func TestSetHandlerKeepsDeadline(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	first, second := enginetest.NewRecorder(), enginetest.NewRecorder()
	c, _ := tl.Pair(first)
	c.SetDeadline(tl.Now() + int64(time.Second))
	c.SetHandler(second)
	tl.Advance(2 * time.Second)
	first.Want(t)
	second.Want(t, "timeout")
	c.Close()
	c.SetHandler(first) // a conn that is gone calls nobody
	tl.Settle()
	first.Want(t)
}

// An acceptor that looks at the first bytes itself, as listener filters do.
func TestSetHandlerAfterAccept(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	tl.Faults = enginetest.Faults{ReadChunk: 1, EAGAIN: true}
	second := &enginetest.Recorder{Quiet: true}
	a := &peekOnce{next: second}
	ls := listen(t, tl, abstract("peek"), a)
	addr := ls.Addr()
	sender := enginetest.NewRecorder()
	c, err := tl.Dial(&addr, sender)
	if err != nil {
		t.Fatal(err)
	}
	c.Write([]byte("HEAD\nbody"))
	c.CloseWrite()
	tl.Settle()
	second.Want(t, "eof")
	if got := string(second.Data); got != "body" {
		t.Errorf("the second handler got %q, want %q", got, "body")
	}
}

// peekOnce waits for a line, and gives what follows to next.
type peekOnce struct {
	proxyEnd
	next engine.Handler
}

func (p *peekOnce) OnAccept(c *engine.Conn) engine.Handler { return &peekOnce{proxyEnd{c: c}, p.next} }
func (p *peekOnce) OnData(b []byte) int {
	if n := bytes.IndexByte(b, '\n'); n >= 0 {
		p.c.SetHandler(p.next)
		return n + 1
	}
	return 0
}

// FuzzHandover: whatever is consumed, whoever takes over and when, and whether reading is paused meanwhile, each byte
// is consumed once and in order, the end is told to the last handler, and no block stays behind. A transport
// that comes at some point sees all bytes from there on.
func FuzzHandover(f *testing.F) {
	f.Add([]byte("\x05\x01\x90\x03\xff\x40\x11"), uint8(7), false, uint8(3))
	f.Add(bytes.Repeat([]byte{0xf0, 0x01, 0x76}, 14), uint8(0), true, uint8(200))
	f.Add([]byte{0x0c, 0x1c, 0x2c, 0x3c, 0x48, 0x0f}, uint8(1), false, uint8(5))
	f.Fuzz(func(t *testing.T, script []byte, chunk uint8, eagain bool, upgradeAt uint8) {
		script = script[:min(len(script), 40)]
		tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) { c.ScratchBytes = 16 << 10 })
		tl.Faults.ReadChunk, tl.Faults.EAGAIN = int(chunk)*16, eagain
		var sent, got []byte
		var c *engine.Conn
		var current *enginetest.Recorder
		op, owners, upgraded, raw := byte(0), 0, false, 0
		var takeOver func()
		data := func(owner int) func(b []byte) int {
			return func(b []byte) int {
				if owner != owners {
					t.Fatalf("handler %d is shown bytes, %d is the latest", owner, owners)
				}
				for i := range b {
					if want := sent[len(got)+i]; b[i] != want && !upgraded || upgraded && b[i] != want^0x20 {
						t.Fatalf("byte %d is wrong", len(got)+i)
					}
				}
				n := len(b) * int(op>>4) / 15
				got = append(got, sent[len(got):len(got)+n]...)
				if op&1 != 0 && !c.ReadPaused() {
					c.PauseRead()
				}
				if op&2 != 0 {
					op &^= 2
					takeOver()
				}
				if op&8 != 0 && !upgraded {
					upgraded, raw = true, len(got)
					c.SetTransport(&xorTransport{})
				}
				return n
			}
		}
		takeOver = func() {
			owners++
			current = &enginetest.Recorder{DataFunc: data(owners), Quiet: true}
			c.SetHandler(current)
		}
		c, peer := tl.Pair(enginetest.NewRecorder())
		takeOver()
		for i, s := range script {
			op = s
			b := make([]byte, int(s)*int(s)/16)
			pattern(b, i*3)
			n := len(sent)
			sent = append(sent, b...)
			sent = sent[:n+peer.TryWrite(b)]
			tl.Settle()
			if s&4 != 0 {
				takeOver()
				tl.Step()
			}
			if i == int(upgradeAt) && !upgraded {
				upgraded, raw = true, len(got)
				c.SetTransport(&xorTransport{})
			}
			if c.ReadPaused() {
				c.ResumeRead()
			}
		}
		peer.CloseWrite()
		tl.Settle()
		op = 0xf0
		takeOver()
		if !c.ReadPaused() {
			c.PauseRead()
		}
		c.ResumeRead()
		tl.Settle()
		if len(got) != len(sent) {
			t.Errorf("%d of %d bytes were consumed (transport since %d)", len(got), len(sent), raw)
		}
		current.Want(t, "eof")
		if got := tl.Arena().Leased(); got != 16<<10 {
			t.Errorf("arena has %d bytes leased, want %d (scratch alone)", got, 16<<10)
		}
	})
}

// xorTransport flips bits, and shows its end as its own, so that a byte that went around it is noticed.
type xorTransport struct {
	shaken int // bytes of the handshake still to come
	closed int
	err    error
}

func (x *xorTransport) Handshake(w *engine.Wire) (bool, error) {
	var b [1]byte
	for x.shaken > 0 {
		n, err := w.Read(b[:])
		if err != nil {
			return false, err
		}
		x.shaken -= n
	}
	return true, nil
}

func (x *xorTransport) Read(w *engine.Wire, dst []byte) (int, error) {
	n, err := w.Read(dst[:min(len(dst), 1000)])
	for i := range dst[:n] {
		dst[i] ^= 0x20
	}
	if err != nil && !errors.Is(err, engine.ErrWouldBlock) {
		x.err = err
	}
	return n, err
}

func (x *xorTransport) Write(w *engine.Wire, v [][]byte) error {
	enc := bytes.Join(v, nil)
	for i := range enc {
		enc[i] ^= 0x20
	}
	_, err := w.Write(enc)
	return err
}
func (x *xorTransport) CloseWrite(*engine.Wire) {}
func (x *xorTransport) Close()                  { x.closed++ }

// Bytes that came before there was a transport go through it.
func TestSetTransportWithKept(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name                string
		inside, eof, paused bool
		size, chunk         int
	}{
		{"outside", false, false, false, 10, 0},
		{"outside, end seen", false, true, false, 10, 0},
		{"outside, paused", false, false, true, 10, 0},
		{"outside, paused, end seen", false, true, true, 10, 0},
		{"inside", true, false, false, 10, 0},
		{"inside, end waits", true, true, false, 10, 0},
		{"inside, byte by byte", true, true, false, 10, 1},
		{"large", false, false, false, 100_000, 0},
		{"large, end seen", false, true, false, 100_000, 0},
		{"large, inside, paused", true, false, true, 100_000, 0},
		{"nothing kept", false, false, false, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tl := enginetest.NewLoop(t)
			tl.Faults.ReadChunk = tt.chunk
			x := &xorTransport{shaken: min(tt.size, 3)}
			first, second := &enginetest.Recorder{Quiet: true}, &enginetest.Recorder{Quiet: true}
			c, peer := tl.Pair(first)
			up := func() {
				if tt.paused {
					c.PauseRead()
				}
				c.SetTransport(x)
				c.SetHandler(second)
			}
			first.DataFunc = func(b []byte) int {
				if len(b) < 2 || first.Data != nil {
					return 0
				}
				if tt.inside {
					up()
				}
				return 2
			}
			in := strings.Repeat("abc", tt.size/3+1)[:tt.size]
			mustWrite(t, peer, []byte("H:"+in))
			if tt.eof {
				peer.CloseWrite()
			}
			tl.Settle()
			if !tt.inside {
				up()
				tl.Settle()
			}
			if tt.paused {
				second.Want(t)
				c.ResumeRead()
				tl.Settle()
			}
			want := strings.ToUpper(in)[min(tt.size, 3):]
			if !tt.eof {
				peer.Write("later")
				tl.Settle()
				second.Want(t)
				want += "LATER"
			} else {
				second.Want(t, "eof")
				if x.err != io.EOF {
					t.Errorf("the transport read %v at the end, want EOF", x.err)
				}
			}
			if string(second.Data) != want {
				t.Errorf("the handler got %d bytes %.20q, want %d %.20q", len(second.Data), second.Data, len(want), want)
			}
			c.Write([]byte("answer"))
			tl.Settle()
			if got := peer.Read(); got != "ANSWER" {
				t.Errorf("the peer got %q, want ANSWER", got)
			}
			if got, want := c.BytesIn(), uint64(len(in)+2); tt.eof && got != want {
				t.Errorf("BytesIn = %d, want %d", got, want)
			}
			wantNoBlocks(t, tl)
			c.Close()
			if x.closed != 1 {
				t.Errorf("the transport was closed %d times", x.closed)
			}
		})
	}
}

// A conn that ends before its transport has read what was kept gives the block back.
func TestSetTransportNoLeak(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	c, peer := tl.Pair(&enginetest.Recorder{DataFunc: func([]byte) int { return 0 }})
	peer.Write(strings.Repeat("x", 50_000))
	tl.Settle()
	c.SetTransport(&xorTransport{})
	c.Close()
	tl.Settle()
	wantNoBlocks(t, tl)
	x := &xorTransport{}
	c.SetTransport(x)
	if x.closed != 1 {
		t.Error("a transport given to a closed conn was not closed")
	}
}

func TestConnAddrs(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	acc := &acceptAll{}
	ls := listen(t, tl, "127.0.0.1:0", acc)
	dial(t, tl, ls, acc)
	c := acc.conns[0]
	for _, text := range []string{"192.0.2.7:4711", "[2001:db8::1]:443", "unix:/run/x.sock", "unix:@far", "10.0.0.1:0"} {
		a := mustAddr(t, text)
		c.SetRemoteAddr(a)
		c.SetLocalAddr(a)
		if r, l := c.RemoteAddr(), c.LocalAddr(); r != a || l != a {
			t.Errorf("after Set(%s): RemoteAddr %s, LocalAddr %s", a, r, l)
		}
	}
	path := mustAddr(t, "unix:/run/x.sock")
	c.SetRemoteAddr(path)
	c.Close()
	if got := c.RemoteAddr(); got != path {
		t.Errorf("RemoteAddr = %s after Close, want %s until the turn ends", got, path)
	}
	tl.Settle()
	dial(t, tl, ls, acc) // in the same slot
	if got := acc.conns[1].RemoteAddr(); got == path || !got.IsLoopback() {
		t.Errorf("RemoteAddr = %s of a new conn", got)
	}
	acc.conns[1].SetRemoteAddr(engine.Addr{})
	if got := acc.conns[1].RemoteAddr(); !got.IsZero() {
		t.Errorf("RemoteAddr = %s, want none", got)
	}
}
