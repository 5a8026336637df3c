package pool

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"millrace/codec"
	"millrace/codec/h2"
	"millrace/codec/hpack"
	"millrace/upstream"
)

// frame builds a frame by hand, for hosts that do what the codec does not.
func frame(typ, flags byte, stream uint32, payload []byte) []byte {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), typ, flags}
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

// block is a header block.
func block(fields ...string) []byte {
	enc := hpack.NewEncoder(hpack.TableSizeDefault)
	b := enc.Begin(nil)
	for _, f := range fields {
		name, value, _ := strings.Cut(f, "= ")
		b = enc.Append(b, 0, []byte(name), []byte(value), hpack.Literal)
	}
	return b
}

// TestHostsThatBreakLimits: what a host must not do costs its stream or its connection, with a counter, and no request waits.
func TestHostsThatBreakLimits(t *testing.T) {
	t.Parallel()
	const (
		data, headers, rst, settings, push, ping, window, continuation = 0, 1, 3, 4, 5, 6, 8, 9
		endStream, endHeaders                                          = 1, 4
	)
	head := frame(headers, endHeaders, 3, block(":status= 200"))
	counter := func(f func(s *upstream.ClusterStats) uint64) func(s *upstream.ClusterStats) uint64 { return f }
	conn := counter(func(s *upstream.ClusterStats) uint64 { return s.CxProtocolError.Load() })
	stream := counter(func(s *upstream.ClusterStats) uint64 { return s.H2RxMessaging.Load() })
	for _, tt := range []struct {
		name string
		edit func(*upstream.Config)
		send []byte
		conn bool // the connection ends
		stat func(s *upstream.ClusterStats) uint64
	}{
		{"push", nil, frame(push, endHeaders, 3, []byte{0, 0, 0, 2}), true, conn},
		{"no frame", nil, frame(ping, 0, 0, make([]byte, 7)), true, conn},
		{"frame too large", nil, frame(data, 0, 3, make([]byte, 16385)), true, conn},
		{"data without a head", nil, frame(data, 0, 3, []byte("x")), false, stream},
		{"answer to nothing", nil, frame(headers, endHeaders, 7, block(":status= 200")), true, conn},
		{"stream of its own", nil, frame(headers, endHeaders, 2, block(":status= 200")), true, conn},
		{"broken compression", nil, frame(headers, endHeaders, 3, []byte{0xff, 0xff, 0xff, 0xff, 0xff}), true, conn},
		{"window beyond all", nil, bytes.Repeat(frame(window, 0, 0, []byte{0x7f, 0xff, 0xff, 0xff}), 2), true, conn},
		{"no status", nil, frame(headers, endHeaders, 3, block("a= b")), false, stream},
		{"switching protocols", nil, frame(headers, endHeaders, 3, block(":status= 101")), false, stream},
		{"field of a connection", nil, frame(headers, endHeaders, 3, block(":status= 200", "connection= close")), false, stream},
		{"name in capitals", nil, frame(headers, endHeaders, 3, block(":status= 200", "A= b")), false, stream},
		{"line break", nil, frame(headers, endHeaders, 3, block(":status= 200", "a= b\r\nc: d")), false, stream},
		{"too much data", nil, append(frame(headers, endHeaders, 3, block(":status= 200", "content-length= 1")), frame(data, 0, 3, []byte("xx"))...), false, stream},
		{"too little data", nil, append(frame(headers, endHeaders, 3, block(":status= 200", "content-length= 9")), frame(data, endStream, 3, []byte("xx"))...), false, stream},
		{"window of a stream", nil, append(frame(window, 0, 3, []byte{0x7f, 0xff, 0xff, 0xff}), frame(window, 0, 3, []byte{0x7f, 0xff, 0xff, 0xff})...), false, stream},
		{"head too large", nil, frame(headers, endHeaders, 3, block(":status= 200", "a= "+strings.Repeat("x", 8000), "b= "+strings.Repeat("x", 8000))), false,
			counter(func(s *upstream.ClusterStats) uint64 { return s.H2HeaderOverflow.Load() })},
		{"too many fields", func(c *upstream.Config) { c.MaxHeadersCount = 3 }, frame(headers, endHeaders, 3, block(":status= 200", "a= 1", "a= 2", "a= 3", "a= 4", "a= 5", "a= 6", "a= 7", "a= 8", "a= 9")), false,
			counter(func(s *upstream.ClusterStats) uint64 { return s.H2HeaderOverflow.Load() })},
		{"continuations", nil, append(frame(headers, 0, 3, block(":status= 200")), bytes.Repeat(frame(continuation, 0, 3, nil), 11)...), true, conn},
		{"empty frames", nil, append(bytes.Clone(head), bytes.Repeat(frame(data, 0, 3, nil), 11)...), true,
			counter(func(s *upstream.ClusterStats) uint64 { return s.H2EmptyFlood.Load() })},
		{"pings", func(c *upstream.Config) { c.HTTP2.MaxInboundControlFrames = 20 }, bytes.Repeat(frame(ping, 0, 0, make([]byte, 8)), 200), true,
			counter(func(s *upstream.ClusterStats) uint64 { return s.H2ControlFlood.Load() })},
		{"settings", func(c *upstream.Config) { c.HTTP2.MaxInboundControlFrames = 20 }, bytes.Repeat(frame(settings, 0, 0, nil), 200), true,
			counter(func(s *upstream.ClusterStats) uint64 { return s.H2ControlFlood.Load() })},
		{"unknown frames", func(c *upstream.Config) { c.HTTP2.MaxInboundControlFrames = 20 }, bytes.Repeat(frame(0xbe, 0, 0, nil), 200), true,
			counter(func(s *upstream.ClusterStats) uint64 { return s.H2ControlFlood.Load() })},
		{"resets", func(c *upstream.Config) { c.HTTP2.MaxInboundResets = 1; c.HTTP2.MaxInboundResetsPerSecond = 1 },
			append(frame(rst, 0, 3, make([]byte, 4)), frame(rst, 0, 5, make([]byte, 4))...), true,
			counter(func(s *upstream.ClusterStats) uint64 { return s.H2ResetFlood.Load() })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c, _, p := w.startH2(func(c *upstream.Config) {
				c.MaxResponseHeadersKb = 8
				if tt.edit != nil {
					tt.edit(c)
				}
			}, nil)
			a, b := newOwner(), newOwner()
			w.lease(c, a)
			w.lease(c, b)
			p.want("3 GET / end", "5 GET / end")
			p.hold = true
			_, _ = p.c.Write(tt.send)
			w.until("the end of the exchange", func() bool { return a.done })
			if last := a.log[len(a.log)-1]; !strings.HasPrefix(last, "reset ") {
				t.Errorf("told %q", a.log)
			}
			if tt.stat(&c.Stats) == 0 {
				t.Error("not counted")
			}
			if b.done != tt.conn {
				t.Errorf("the other exchange has ended: %t, want %t", b.done, tt.conn)
			}
			w.do(b.x.Cancel)
			w.settle()
			if idle := c.Stats.CxActive.Load(); (idle == 0) != tt.conn {
				t.Errorf("%d connections are left", idle)
			}
			w.wantIdle(c, c.Stats.CxActive.Load())
		})
	}
}

// TestHostThatDoesNotRead: answers to the frames of a host that reads nothing do not pile up.
func TestHostThatDoesNotRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, _, p := w.startH2(func(c *upstream.Config) {
		c.PerConnectionBufferLimitBytes = 4 << 10
		c.HTTP2.MaxInboundControlFrames = 1000000
	}, nil)
	a := newOwner()
	w.lease(c, a)
	pings := bytes.Repeat(frame(6, 0, 0, make([]byte, 8)), 4000)
	w.until("the end of the connection", func() bool {
		_, _ = p.c.Write(pings)
		w.turn(0)
		return a.done
	})
	if c.Stats.H2OutboundFlood.Load() != 1 {
		t.Errorf("counted %d", c.Stats.H2OutboundFlood.Load())
	}
	w.wantIdle(c, 0)
}

// TestPausedResponses: one that nobody takes does not hold up the others, up to a limit.
func TestPausedResponses(t *testing.T) {
	t.Parallel()
	for _, most := range []uint32{0, 1 << 20} {
		w := newWorld(t)
		c, _, p := w.startH2(func(c *upstream.Config) {
			c.HTTP2.InitialStreamWindowSize, c.HTTP2.InitialConnectionWindowSize, c.HTTP2.MaxPausedResponseBytes = 65535, 65535, most
		}, nil)
		a, b := newOwner(), newOwner()
		w.lease(c, a)
		w.lease(c, b)
		p.want("3 GET / end", "5 GET / end")
		p.head(3, 200, false)
		p.head(5, 200, false)
		w.do(a.x.PauseRead)
		for p.s.Writable(3) > 0 {
			p.data(3, strings.Repeat("x", min(p.s.Writable(3), 16384)), false)
			p.read()
		}
		if free := p.s.Writable(5) > 0; free != (most > 0) {
			t.Errorf("with %d bytes, the other stream may go on: %t", most, free)
		}
		if counted := c.Stats.H2PausedFull.Load() > 0; counted != (most == 0) {
			t.Errorf("with %d bytes, counted: %t", most, counted)
		}
		w.do(a.x.ResumeRead)
		w.settle()
		p.read()
		if len(a.body) < 65000 || p.s.Writable(3) < 32000 || p.s.Writable(5) < 32000 { // windows are opened by halves
			t.Errorf("%d bytes passed on, then windows of %d and %d", len(a.body), p.s.Writable(3), p.s.Writable(5))
		}
		p.data(5, "ok", true)
		p.data(3, "", true)
		w.wantLog(b, "head 200", "end")
		w.wantIdle(c, 1)
	}
}

// TestTableOfStreams: an id out of the blue finds no stream of ours.
func TestTableOfStreams(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, _, p := w.startH2(nil, nil)
	a := newOwner()
	w.lease(c, a)
	p.want("3 GET / end")
	w.do(a.x.Cancel)
	p.want("3 reset CANCEL")
	for _, f := range [][]byte{ // all under way when we gave the request up
		frame(1, 4, 3, block(":status= 200")), frame(0, 0, 3, make([]byte, 1000)), frame(8, 0, 3, []byte{0, 0, 1, 0}), frame(3, 0, 3, []byte{0, 0, 0, byte(h2.Cancel)}),
	} {
		_, _ = p.c.Write(f)
	}
	w.settle()
	w.wantIdle(c, 1)
	w.exchangeH2(c, p, codec.StreamID(5))
}
