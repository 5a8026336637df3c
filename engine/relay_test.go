package engine_test

import (
	"bytes"
	"testing"

	"millrace/engine"
	"millrace/engine/enginetest"
)

// relayEnd is one side of a relay with back-pressure, as every proxy has it.
type relayEnd struct {
	t       *testing.T
	c       *engine.Conn
	other   *relayEnd
	held    bool // reading is paused because the other side is full
	spliced bool
	got     int
	eof     bool
	closed  bool
}

func (r *relayEnd) OnConnect() {}
func (r *relayEnd) OnData(b []byte) int {
	r.got += len(b)
	r.other.c.WriteRef(b)
	if r.other.c.Full() && !r.held {
		r.held = true
		r.c.PauseRead()
	}
	return len(b)
}
func (r *relayEnd) OnEOF() {
	r.eof = true
	r.other.c.CloseWrite()
}
func (r *relayEnd) OnWriteLow() {
	if r.other.held {
		r.other.held = false
		r.other.c.ResumeRead()
	}
}
func (r *relayEnd) OnSplice(n int64, done, _ bool) {
	r.got += int(n)
	r.spliced = !done
}
func (r *relayEnd) OnTimeout()                 {}
func (r *relayEnd) OnClose(engine.CloseReason) { r.closed = true }

// FuzzRelay: a relay between two sockets, with reads and writes of any size, slow readers on both
// sides, spans that are spliced, and watermarks, delivers every byte in order.
func FuzzRelay(f *testing.F) {
	f.Add([]byte("\x01\x12\x23\x34\x45\x56\x67\x78\x89\x9a\xab\xbc\xcd\xde\xef\xf0"), uint16(0), uint16(0), false)
	f.Add(bytes.Repeat([]byte{0xf0, 0xf1, 0xf2, 0xf4, 0x53, 0x25, 0xf6}, 12), uint16(3), uint16(0), true)
	f.Add(bytes.Repeat([]byte{0xf0, 0xf0, 0xf0, 0xf1}, 20), uint16(0), uint16(700), false)
	f.Add(bytes.Repeat([]byte{0xf4, 0xf0, 0x12, 0xf5, 0xf1, 0x23}, 16), uint16(5000), uint16(900), true)
	f.Fuzz(func(t *testing.T, script []byte, readChunk, writeChunk uint16, eagain bool) {
		script = script[:min(len(script), 96)]
		tl := enginetest.NewLoop(t, func(c *engine.LoopConfig) {
			c.ScratchBytes = 16 << 10
			c.SpliceBytesMin = 1 << (writeChunk % 16)
			c.SplicePipesMax = 1 + int(readChunk)&1
		})
		// Not too small: other tests go byte by byte, here many bytes are to pass.
		tl.Faults = enginetest.Faults{ReadChunk: int(readChunk) + 200, WriteChunk: int(writeChunk) + 200, EAGAIN: eagain}
		if readChunk == 0 && writeChunk == 0 {
			tl.Faults = enginetest.Faults{}
		}
		var ends [2]*relayEnd
		var peers [2]*enginetest.Peer
		var sent, got [2][]byte
		for i := range ends {
			ends[i] = &relayEnd{t: t}
			ends[i].c, peers[i] = tl.Pair(ends[i])
			ends[i].c.SetWatermarks(20_000, 5_000)
		}
		ends[0].other, ends[1].other = ends[1], ends[0]
		buf := make([]byte, 32<<10)
		read := func(i, limit int) int {
			n := max(peers[i].ReadSome(buf[:limit]), 0)
			got[i] = append(got[i], buf[:n]...)
			return n
		}
		for at, s := range script {
			i, size := int(s)&1, int(s>>4)*int(s>>4)*100+1
			switch s & 7 {
			case 0, 1:
				b := buf[:size]
				pattern(b, at*31+len(sent[i]))
				sent[i] = append(sent[i], b[:peers[i].TryWrite(b)]...)
			case 2, 3:
				read(i, min(size, len(buf)))
			case 4, 5:
				if !ends[i].spliced && !ends[i].held {
					n := int64(size)
					if s&8 != 0 { // a tunnel, until it is stopped
						n = -1
					}
					ends[i].spliced = ends[i].c.Splice(ends[1-i].c, n)
				}
			case 6:
				ends[i].got += int(ends[i].c.StopSplice())
				ends[i].spliced = false
			}
			tl.Step()
		}
		for idle := 0; idle < 3; idle++ {
			tl.Settle()
			if read(0, len(buf))+read(1, len(buf)) > 0 {
				idle = 0
			}
		}
		for i, p := range peers {
			p.CloseWrite()
			tl.Settle()
			if !bytes.Equal(got[1-i], sent[i]) {
				t.Errorf("side %d sent %d bytes, %d arrived, or others", i, len(sent[i]), len(got[1-i]))
			}
			if !ends[i].eof || ends[i].closed || ends[i].got != len(sent[i]) {
				t.Errorf("side %d: EOF seen %v, closed %v, %d of %d bytes counted", i, ends[i].eof, ends[i].closed, ends[i].got, len(sent[i]))
			}
			if !peers[1-i].AtEOF() {
				t.Errorf("side %d closed, and the other peer does not see it", i)
			}
		}
		if n := tl.Stats().QueuedBytes.Load(); n != 0 {
			t.Errorf("loop_queued_bytes = %d in the end", n)
		}
	})
}

// A relay over real TCP, whose buffers fill and drain in the kernel's own time: an edge
// that is missed shows as a test that waits in vain.
func TestRelayTCP(t *testing.T) {
	t.Parallel()
	for _, splice := range []bool{false, true} {
		tl := enginetest.NewLoop(t)
		acc := &acceptAll{}
		ls := listen(t, tl, "127.0.0.1:0", acc)
		var ends [2]*relayEnd
		var peers [2]*enginetest.Peer
		for i := range ends {
			ends[i] = &relayEnd{t: t}
			ends[i].c, peers[i] = tcpPair(t, tl, ls, acc)
			ends[i].c.SetHandler(ends[i])
			peers[i].SetBuffers(64<<10, 128<<10)
		}
		ends[0].other, ends[1].other = ends[1], ends[0]
		if splice && !(ends[0].c.Splice(ends[1].c, -1) && ends[1].c.Splice(ends[0].c, -1)) {
			t.Fatal("Splice = false")
		}
		const size = 2 << 20
		var sent, got [2]int
		out, in, want := make([]byte, 60<<10), make([]byte, 40<<10), make([]byte, 40<<10)
		turn := 0
		tl.Until(func() bool {
			turn++
			for i, p := range peers {
				b := out[:min(len(out), size-sent[i])]
				pattern(b, sent[i]+i)
				if sent[i] += p.TryWrite(b); sent[i] == size && len(b) > 0 {
					p.CloseWrite()
				}
				if turn%8 < 4*(i+1) { // at different paces
					n := max(p.ReadSome(in), 0) // a little at a time
					pattern(want[:n], got[i]+1-i)
					if !bytes.Equal(in[:n], want[:n]) {
						t.Fatalf("splice=%v: bytes %d of side %d are wrong", splice, got[i], i)
					}
					got[i] += n
				}
			}
			return got[0] == size && got[1] == size
		})
		tl.Until(func() bool { return ends[0].eof && ends[1].eof && peers[0].AtEOF() && peers[1].AtEOF() })
	}
}
