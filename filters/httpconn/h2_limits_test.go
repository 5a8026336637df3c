package httpconn

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"millrace/codec"
	"millrace/codec/h2"
	"millrace/filters"
	"millrace/filters/accesslog"
)

// replies answers each request with a body.
type replies struct{ body string }

func (r replies) OnRequestHead(s *filters.Stream, _ bool) filters.Verdict {
	return s.ReplyWith(filters.LocalReply{Status: 200, Body: r.body, Details: "direct_response"})
}

// collects holds each request, and collects what is shown of its body when it is let go.
type collects struct {
	s     *filters.Stream
	token filters.Token
	body  []byte
	ends  int
}

func (c *collects) OnRequestHead(s *filters.Stream, _ bool) filters.Verdict {
	c.s, c.token = s, s.Token()
	return filters.Pause
}

func (c *collects) OnRequestData(_ *filters.Stream, b []byte, end bool) filters.Verdict {
	if c.body = append(c.body, b...); end {
		c.ends++
	}
	return filters.Continue
}

// TestHTTP2Floods reaches the limits on frames. Each ends the connection, and is counted.
func TestHTTP2Floods(t *testing.T) {
	t.Parallel()
	reset := func(i int) string {
		id := uint32(1 + 2*i)
		return get2(id, "/") + frame2(frameReset, 0, id, num(8))
	}
	for _, tt := range []struct {
		name  string
		frame func(i int) string
		count func(w *world) uint64
	}{
		{"rapid reset", reset, func(w *world) uint64 { return w.m.stats.RqPrematureResets.Load() }},
		{"made you reset", func(i int) string {
			id := uint32(1 + 2*i)
			return post2(id, "/") + frame2(frameWindow, 0, id, num(0))
		}, func(w *world) uint64 { return w.m.stats.RqPrematureResets.Load() }},
		{"malformed", func(i int) string { return frame2(frameHeaders, flagHeadEnd, uint32(1+2*i), block2("x: y")) },
			func(w *world) uint64 { return w.m.stats.RqPrematureResets.Load() }},
		{"continuation", func(i int) string {
			if i == 0 {
				return frame2(frameHeaders, flagEnd, 1, block2(head2("GET", "/")...))
			}
			return frame2(frameContinuation, 0, 1, "")
		}, func(w *world) uint64 { return w.m.stats2.ContinueFlood.Load() }},
		{"empty", func(i int) string {
			if i == 0 {
				return post2(1, "/")
			}
			return frame2(frameData, 0, 1, "")
		}, func(w *world) uint64 { return w.m.stats2.EmptyFlood.Load() }},
		{"ping", func(int) string { return frame2(framePing, 0, 0, "12345678") }, func(w *world) uint64 { return w.m.stats2.OtherFlood.Load() }},
		{"settings", func(int) string { return frame2(frameSettings, 0, 0, "") }, func(w *world) uint64 { return w.m.stats2.OtherFlood.Load() }},
		{"unknown", func(int) string { return frame2(99, 0, 0, "") }, func(w *world) uint64 { return w.m.stats2.OtherFlood.Load() }},
		{"priority", func(int) string { return frame2(framePriority, 0, 9, num(3)+"\x00") }, func(w *world) uint64 { return w.m.stats2.PriorityFlood.Load() }},
		{"window update", func(int) string { return frame2(frameWindow, 0, 0, num(1)) }, func(w *world) uint64 { return w.m.stats2.WindowFlood.Load() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil, &collects{})
			p := w.dial2()
			var b strings.Builder
			for i := range 1100 {
				b.WriteString(tt.frame(i))
			}
			_, _ = p.Write([]byte(b.String())) // it may be cut off before the end
			frames := p.wantClosed()
			if last := frames[len(frames)-1]; !strings.HasPrefix(last, "GOAWAY ") || !strings.HasSuffix(last, " ENHANCE_YOUR_CALM") {
				t.Errorf("the connection ends with %q", last)
			}
			if n := tt.count(w); n != 1 || w.m.stats.CxProtocolError.Load() != 1 {
				t.Errorf("counted %d times, %d protocol errors; want 1 each", n, w.m.stats.CxProtocolError.Load())
			}
			w.wantNothing()
		})
	}
}

// wantNothing checks that no connection, stream or block is left.
func (w *world) wantNothing() {
	w.t.Helper()
	w.tl.Settle()
	st, st2 := w.m.stats, w.m.stats2
	if w.m.Conns() != 0 || st.RqActive.Load() != 0 || st2.StreamsActive.Load() != 0 || st.CxHTTP2Active.Load() != 0 || st2.PendingSend.Load() != 0 {
		w.t.Errorf("left: %d connections, %d requests, %d streams, %d bytes", w.m.Conns(), st.RqActive.Load(), st2.StreamsActive.Load(), st2.PendingSend.Load())
	}
}

// TestHTTP2ResetUnstarted: a stream that is reset in the read that brings it does not begin.
func TestHTTP2ResetUnstarted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	p := w.dial2()
	p.write(post2(1, "/") + frame2(frameData, 0, 1, "body") + frame2(frameReset, 0, 1, num(8)) + get2(3, "/"))
	p.want("HEADERS 3 200 end")
	if len(w.term.heads) != 1 || len(w.term.ended) != 2 {
		t.Fatalf("%d requests reached the terminal, %d ended; want 1, 2", len(w.term.heads), len(w.term.ended))
	}
	if e := w.term.ended[0]; e.Flags != accesslog.FlagDownstreamRemoteReset || e.Details != "http2.remote_reset" {
		t.Errorf("log: %v %q", e.Flags, e.Details)
	}
	if n := w.m.stats2.RxReset.Load(); n != 1 {
		t.Errorf("counted %d resets", n)
	}
}

// TestHTTP2StreamLimits: what is too much of one stream costs that stream.
func TestHTTP2StreamLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) {
		c.MaxHeadersCount, c.MaxRequestHeadersKb = 10, 4
		c.HTTP2ProtocolOptions = DefaultHTTP2Config()
		c.HTTP2ProtocolOptions.MaxConcurrentStreams = 2
	}, &collects{})
	p := w.dial2()
	p.write(post2(1, "/") + post2(3, "/") + post2(5, "/"))
	p.want("RST 5 REFUSED_STREAM")
	p.write(frame2(frameReset, 0, 1, num(8)))
	crumbs := slices.Repeat([]string{"cookie: a=b"}, 12)
	p.write(get2(7, "/", crumbs...))
	p.want("HEADERS 7 431 end", "RST 7 NO_ERROR")
	p.write(get2(9, "/", "x: "+strings.Repeat("y", 5000)))
	p.want("HEADERS 9 431 end", "RST 9 NO_ERROR")
	p.write(get2(11, "/") + frame2(framePing, 0, 0, "pingpong"))
	p.want("PING ack")
	st := w.m.stats2
	if st.StreamRefused.Load() != 1 || st.HeaderOverflow.Load() != 2 || st.StreamsActive.Load() != 2 {
		t.Errorf("refused %d, overflow %d, active %d", st.StreamRefused.Load(), st.HeaderOverflow.Load(), st.StreamsActive.Load())
	}
}

// TestHTTP2ZeroWindow: a response whose client opens no window waits for stream_idle_timeout, within max_held_bytes.
func TestHTTP2ZeroWindow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) {
		c.StreamIdleTimeout = 10 * time.Second
		c.HTTP2ProtocolOptions = DefaultHTTP2Config()
		// Who waits has given its head back: of the second 4 KiB and twice 5,000 bytes count, of the third three times.
		c.HTTP2ProtocolOptions.MaxHeldBytes = headBlockBytes + 14_500
	}, replies{strings.Repeat("x", 5000)})
	p := w.dial2(4, 0)
	p.write(get2(1, "/") + get2(3, "/") + get2(5, "/"))
	p.want("HEADERS 1 200", "HEADERS 3 200", "HEADERS 5 200", "RST 5 ENHANCE_YOUR_CALM")
	if n := w.m.stats2.PendingOverflow.Load(); n != 1 || w.m.stats2.PendingSend.Load() != 10_000 {
		t.Errorf("overflow %d times, %d bytes wait", n, w.m.stats2.PendingSend.Load())
	}
	w.tl.Advance(6 * time.Second)
	p.write(frame2(frameWindow, 0, 1, num(1)))
	p.want("DATA 1 1")
	w.tl.Advance(6 * time.Second)
	p.want("RST 3 INTERNAL_ERROR")
	p.write(frame2(frameWindow, 0, 1, num(6000)))
	p.want("DATA 1 4999 end")
	if n := w.m.stats2.TxFlushTimeout.Load(); n != 1 {
		t.Errorf("tx_flush_timeout %d", n)
	}
	_ = p.Close()
	w.tl.Until(func() bool { return w.m.Conns() == 0 })
	w.wantNothing()
}

// TestHTTP2Trim: a connection that has had no streams for a while gives its memory back, and takes requests as before.
func TestHTTP2Trim(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	p := w.dial2()
	stored := func(id uint32, field string) string {
		return frame2(frameHeaders, flagHeadEnd, id, block2(head2("GET", "/")...)+field)
	}
	p.write(stored(1, "\x40\x01a\x01b"))
	p.want("HEADERS 1 200 end")
	for round := range 2 {
		w.tl.Advance(trimAfter / 2)
		if w.m.conns2.streams == nil {
			t.Fatal("it gave its memory back at once")
		}
		w.tl.Advance(trimAfter)
		if w.m.conns2.streams != nil || !w.m.conns2.life.trimmed {
			t.Fatal("it keeps its memory")
		}
		w.tl.Advance(time.Minute) // once is enough
		id := uint32(3 + 2*round)
		p.write(stored(id, "\xbe"))
		p.want(fmt.Sprintf("HEADERS %d 200 end", id))
		if got := string(w.term.heads[round+1].Lookup("a")); got != "b" {
			t.Errorf("the entry of the table is %q", got)
		}
	}
}

// TestHTTP2Hurry: while much is held, a stream whose client takes nothing has ten seconds.
func TestHTTP2Hurry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, replies{strings.Repeat("x", 20_000)})
	p := w.dial2(4, 0)
	for i := range 100 {
		p.write(get2(uint32(1+2*i), "/"))
		p.want(fmt.Sprintf("HEADERS %d 200", 1+2*i))
	}
	p.write(frame2(frameWindow, 0, 1, num(1)))
	p.want("DATA 1 1")
	w.tl.Advance(8 * time.Second)
	p.write(frame2(frameWindow, 0, 199, num(1)))
	p.want("DATA 199 1")
	w.tl.Advance(3 * time.Second)
	n, held := w.m.stats2.TxFlushTimeout.Load(), w.m.stats2.Held.Load()
	if n == 0 || n > 70 || w.m.stats2.StreamsActive.Load() != int64(100-n) {
		t.Errorf("%d of 100 streams reset, %d active; want those for which there was no room", n, w.m.stats2.StreamsActive.Load())
	}
	if budget := w.tl.Arena().Budget() / hurryShare; held > budget+20_000 {
		t.Errorf("%d bytes are held, budget %d", held, budget)
	}
}

// bombs2 returns requests of which each has a head of about 48 KiB: one large entry of the table, named again and again.
func bombs2(count int) string {
	entry := "\x40\x01x\x7f" + "\xa1\x1e" + strings.Repeat("y", 4000)
	var b strings.Builder
	for i := range count {
		block := block2(head2("GET", "/")...)
		if i == 0 {
			block += entry
		}
		b.WriteString(frame2(frameHeaders, flagHeadEnd, uint32(1+2*i), block+strings.Repeat("\xbe", 12)))
	}
	return b.String()
}

// TestHTTP2HeadSwells: a head that names the same entry of the table again and again costs the stream, and does not begin.
func TestHTTP2HeadSwells(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, &collects{})
	p := w.dial2()
	p.write(bombs2(2))
	p.want("HEADERS 1 431 end", "RST 1 NO_ERROR", "HEADERS 3 431 end", "RST 3 NO_ERROR")
	st := w.m.stats2
	if st.HeaderOverflow.Load() != 2 || st.Broken.Load(codec.ReasonHeadSwells) != 2 || st.Held.Load() != 0 {
		t.Errorf("overflow %d, of it swollen %d; %d bytes held", st.HeaderOverflow.Load(), st.Broken.Load(codec.ReasonHeadSwells), st.Held.Load())
	}
}

// TestHTTP2SwollenHeads: what heads take beyond the usual is bounded, for each connection and more tightly while all of them
// take much; who asks for more again and again loses the connection.
func TestHTTP2SwollenHeads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) {
		c.HTTP2ProtocolOptions = DefaultHTTP2Config()
		c.HTTP2ProtocolOptions.MaxConcurrentStreams = 1000
		c.HTTP2ProtocolOptions.MaxHeaderSwellBytes = 1 << 20
		c.HTTP2ProtocolOptions.MaxSwollenHeadBytes = 100 << 10 // more than a 256th of the blocks
	}, &collects{})
	st, alone := w.m.stats2, w.dial2()
	alone.write(bombs2(3)) // 48 KiB more than usual each
	alone.want("RST 5 REFUSED_STREAM")
	if n := st.Swollen.Load(); n < 80<<10 || n > 100<<10 {
		t.Errorf("two heads take %d bytes more", n)
	}
	_ = alone.Close()
	w.tl.Until(func() bool { return w.m.Conns() == 0 })

	budget := w.tl.Arena().Budget() / swollenShare
	var others []*peer2
	for i := range 4 {
		p := w.dial2()
		others = append(others, p)
		_, _ = p.Write([]byte(bombs2(300)))
		frames := p.wantClosed()
		if last := frames[len(frames)-1]; !strings.HasSuffix(last, "ENHANCE_YOUR_CALM") {
			t.Errorf("connection %d ends with %q", i, last)
		}
	}
	for range 4 {
		p := w.dial2()
		others = append(others, p)
		p.write(bombs2(20))
		p.write(frame2(framePing, 0, 0, "pingpong"))
		for text := ""; text != "PING ack"; text, _ = p.next() {
		}
	}
	if n := st.Swollen.Load(); n > budget+4*swollenTight {
		t.Errorf("%d bytes of swollen heads, budget %d", n, budget)
	}
	if n := st.StreamRefused.Load(); n < 300 {
		t.Errorf("%d streams refused", n)
	}
	for _, p := range others {
		_ = p.Close()
	}
	w.tl.Until(func() bool { return w.m.Conns() == 0 })
	w.wantNothing()
	if st.Held.Load() != 0 || st.Swollen.Load() != 0 {
		t.Errorf("%d bytes are held, %d of swollen heads", st.Held.Load(), st.Swollen.Load())
	}
}

// TestHTTP2HeldBytes: all that a connection makes the proxy hold is bounded.
func TestHTTP2HeldBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) {
		c.HTTP2ProtocolOptions = DefaultHTTP2Config()
		c.HTTP2ProtocolOptions.MaxHeldBytes = 3 * headBlockBytes
	}, &collects{})
	p := w.dial2()
	p.write(get2(1, "/") + get2(3, "/") + get2(5, "/") + get2(7, "/"))
	p.want("RST 7 REFUSED_STREAM")
	if n := w.m.stats2.Held.Load(); n != 3*headBlockBytes || w.m.stats2.StreamRefused.Load() != 1 {
		t.Errorf("%d bytes held, %d streams refused", n, w.m.stats2.StreamRefused.Load())
	}
}

// TestHTTP2ForgetHeads: heads are given back when the response waits for its client, unless somebody may ask for them.
func TestHTTP2ForgetHeads(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		other any
		held  int64
	}{
		{"nobody looks", nil, 5000},
		{"a filter hears of bodies", &collects{}, 5000 + headBlockBytes},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			all := []any{replies{strings.Repeat("x", 5000)}}
			if tt.other != nil {
				all = append(all, tt.other)
			}
			w := newWorld(t, nil, all...)
			p := w.dial2(4, 0)
			p.write(get2(1, "/", "x: y"))
			p.want("HEADERS 1 200")
			if n := w.m.stats2.Held.Load(); n != tt.held {
				t.Errorf("%d bytes held; want %d", n, tt.held)
			}
			p.write(frame2(frameWindow, 0, 1, num(6000)))
			p.want("DATA 1 5000 end")
			p.write(get2(3, "/", "x: y")) // the stream is used again
			p.want("HEADERS 3 200")
		})
	}
}

// TestHTTP2Priorities: what waited leaves in the order of RFC 9218.
func TestHTTP2Priorities(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, replies{strings.Repeat("x", 20_000)})
	p := w.dial2(5, 16384)
	p.write(get2(1, "/") + get2(3, "/") + get2(5, "/") + get2(7, "/")) // they use the connection's window up
	p.want("HEADERS 1 200", "DATA 1 16384", "DATA 1 3616 end", "HEADERS 3 200", "DATA 3 16384", "DATA 3 3616 end",
		"HEADERS 5 200", "DATA 5 16384", "DATA 5 3616 end", "HEADERS 7 200", "DATA 7 5535")
	p.write(get2(9, "/", "priority: u=5") + get2(11, "/", "priority: u=1, i") + get2(13, "/", "priority: u=1, i") +
		get2(15, "/", "priority: u=1") + get2(17, "/", "priority: u=1") + get2(19, "/", "priority: u=7"))
	for id := 9; id < 20; id += 2 {
		p.want(fmt.Sprintf("HEADERS %d 200", id))
	}
	p.write(frame2(16, 0, 0, num(19)+"u=0")) // PRIORITY_UPDATE
	p.write(frame2(frameWindow, 0, 0, num(1<<20)))
	var got []string
	for len(got) == 0 || !strings.HasPrefix(got[len(got)-1], "DATA 9 ") || !strings.HasSuffix(got[len(got)-1], "end") {
		text, _ := p.next()
		got = append(got, text)
	}
	var order []string
	for _, g := range got {
		if id := strings.Fields(g)[1]; len(order) == 0 || order[len(order)-1] != id {
			order = append(order, id)
		}
	}
	if text := strings.Join(order, " "); text != "19 15 17 11 13 11 13 7 9" {
		t.Errorf("order of streams %s; want 19 15 17 11 13 11 13 7 9", text)
	}
}

// TestHTTP2HeldRequest: a request that a filter holds waits within its window, which opens when it goes on.
func TestHTTP2HeldRequest(t *testing.T) {
	t.Parallel()
	f := &collects{}
	w := newWorld(t, nil, f)
	p := w.dial2()
	body := strings.Repeat("0123456789abcdef", 1000)
	p.write(post2(1, "/"))
	for i := range 15 {
		flags := byte(0)
		if i == 14 {
			flags = flagEnd
		}
		p.write(frame2(frameData, flags, 1, body))
	}
	w.tl.Until(func() bool { return f.s != nil })
	if !p.silent() || len(f.body) > 0 {
		t.Fatalf("%d bytes were shown, %q was sent", len(f.body), p.in)
	}
	w.tl.Post(func() { f.s.Resume(filters.Request, f.token) })
	p.want("HEADERS 1 200 end")
	_ = p.Close()
	w.tl.Until(func() bool { return w.m.Conns() == 0 })
	w.wantNothing()
}

// TestHTTP2Deadlines: a connection that does not go on ends.
func TestHTTP2Deadlines(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, &collects{})
	p := dialRaw2(t, w.addr, w.tl.Step)
	p.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame2(frameSettings, 0, 0, ""))
	p.want("SETTINGS", "WINDOW 0 983041", "SETTINGS ack")
	w.tl.Advance(11 * time.Second)
	p.want("GOAWAY 0 SETTINGS_TIMEOUT", "closed")
	if n := w.m.stats2.SettingsTimeout.Load(); n != 1 {
		t.Errorf("settings_timeout %d", n)
	}
	for _, cut := range []string{get2(1, "/")[:20], frame2(frameHeaders, flagEnd, 1, block2(head2("GET", "/")...)), "\x00\x00"} {
		p = w.dial2()
		p.write(cut)
		w.tl.Settle()
		w.tl.Advance(11 * time.Second)
		p.want("GOAWAY 0 NO_ERROR", "closed")
	}
	p = w.dial2()
	p.write(get2(1, "/"))
	w.tl.Until(func() bool { return w.m.stats.RqActive.Load() == 1 })
	w.tl.Advance(6 * time.Minute) // stream_idle_timeout
	p.want("HEADERS 1 504")
	if what, _ := p.next(); what != "DATA 1 14 end" {
		t.Errorf("%s", what)
	}
	w.tl.Advance(2 * time.Hour)
	p.want("GOAWAY 2147483647 NO_ERROR", "PING")
	w.tl.Advance(time.Second)
	p.want("GOAWAY 1 NO_ERROR", "closed")
	if n := w.m.stats.CxIdleTimeout.Load(); n != 1 {
		t.Errorf("idle_timeout %d", n)
	}
	w.wantNothing()
}

// TestHTTP2Keepalive: PINGs are sent, and the one that is not answered ends the connection.
func TestHTTP2Keepalive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) {
		c.HTTP2ProtocolOptions = DefaultHTTP2Config()
		c.HTTP2ProtocolOptions.ConnectionKeepalive = &KeepaliveConfig{Interval: 10 * time.Second, Timeout: 3 * time.Second, IntervalJitter: 10}
	})
	p := w.dial2()
	for range 3 {
		w.tl.Advance(12 * time.Second)
		what, payload := p.next()
		if what != "PING" {
			t.Fatalf("%s; want PING", what)
		}
		p.write(frame2(framePing, flagAck, 0, payload))
		w.tl.Settle()
	}
	w.tl.Advance(12 * time.Second)
	p.want("PING")
	w.tl.Advance(4 * time.Second)
	p.want("GOAWAY 0 NO_ERROR", "closed")
	if n := w.m.stats2.KeepaliveMissed.Load(); n != 1 {
		t.Errorf("keepalive_timeout %d", n)
	}
}

// TestHTTP2Drain: a connection ends when its streams are complete, and takes those that come before it has heard.
func TestHTTP2Drain(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"drain", "max_requests_per_connection", "max_connection_duration"} {
		w := newWorld(t, func(c *Config) {
			c.DrainTimeout = 5 * time.Second
			switch how {
			case "max_requests_per_connection":
				c.MaxRequestsPerConnection = 1
			case "max_connection_duration":
				c.MaxConnectionDuration = time.Minute
			}
		}, replies{strings.Repeat("x", 1000)})
		p := w.dial2(4, 0)
		p.write(get2(1, "/"))
		switch how {
		case "max_requests_per_connection":
			p.want("GOAWAY 2147483647 NO_ERROR")
		case "drain":
			p.want("HEADERS 1 200")
			w.m.Drain()
			p.want("GOAWAY 2147483647 NO_ERROR")
		default:
			p.want("HEADERS 1 200")
			w.tl.Advance(61 * time.Second)
			p.want("GOAWAY 2147483647 NO_ERROR")
		}
		what, ping := p.next()
		if what != "PING" {
			t.Fatalf("%s: %s; want PING", how, what)
		}
		if how == "max_requests_per_connection" {
			p.want("HEADERS 1 200")
		}
		p.write(get2(3, "/"))
		p.want("HEADERS 3 200")
		p.write(frame2(framePing, flagAck, 0, ping))
		p.want("GOAWAY 3 NO_ERROR")
		p.write(get2(5, "/")) // too late
		p.write(frame2(frameWindow, 0, 3, num(1000)) + frame2(frameWindow, 0, 1, num(1000)))
		p.want("DATA 1 1000 end", "DATA 3 1000 end", "closed")
		w.wantNothing()
	}
}

// TestHTTP2DrainEnds: the drain time is over.
func TestHTTP2DrainEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.DrainTimeout = 5 * time.Second }, &collects{})
	p := w.dial2()
	p.write(get2(1, "/"))
	w.tl.Until(func() bool { return w.m.stats.RqActive.Load() == 1 })
	w.m.Drain()
	p.want("GOAWAY 2147483647 NO_ERROR", "PING")
	w.tl.Advance(6 * time.Second)
	p.want("GOAWAY 1 NO_ERROR")
	w.m.Close()
	p.want("GOAWAY 1 NO_ERROR", "RST 1 INTERNAL_ERROR", "closed")
	w.wantNothing()
}

// TestHTTP2ControlFlood: a peer that does not read may not ask for answers without end.
func TestHTTP2ControlFlood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) {
		c.HTTP2ProtocolOptions = DefaultHTTP2Config()
		c.HTTP2ProtocolOptions.MaxOutboundControlFrames = 100
	})
	p := w.dial2()
	w.m.conns2.io.SetWatermarks(100, 50)
	w.tl.Faults.WriteChunk = 1
	for range 30 {
		_, _ = p.Write([]byte(strings.Repeat(frame2(framePing, 0, 0, "12345678"), 10)))
		w.tl.Step()
	}
	w.tl.Until(func() bool { return w.m.Conns() == 0 })
	if n := w.m.stats2.ControlFlood.Load(); n != 1 {
		t.Errorf("outbound_control_flood %d", n)
	}
}

// TestHTTP2NotRead: requests do not begin while the peer does not read its responses.
func TestHTTP2NotRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	p := w.dial2()
	w.m.conns2.io.SetWatermarks(100, 50)
	w.tl.Faults.WriteChunk = 1
	for i := range 20 {
		p.write(get2(uint32(1+2*i), "/"))
		w.tl.Step()
	}
	if n := len(w.term.heads); n == 20 {
		t.Errorf("%d requests have begun", n)
	}
	w.tl.Faults.WriteChunk = 0
	for i := range 20 {
		p.want(fmt.Sprintf("HEADERS %d 200 end", 1+2*i))
	}
}

// TestHTTP2NeverRead: a peer that never reads loses its requests, those that wait to begin too, and then the connection.
func TestHTTP2NeverRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, replies{strings.Repeat("x", 20_000)})
	io, peer := w.tl.Pair(dummy{})
	if err := unix.SetsockoptInt(io.Fd(), unix.SOL_SOCKET, unix.SO_SNDBUF, 4096); err != nil {
		t.Fatal(err)
	}
	io.SetWatermarks(100, 50)
	io.SetHandler(w.m.Accept(io, nil))
	peer.Write(h2.Preface + frame2(frameSettings, 0, 0, "") + frame2(frameSettings, flagAck, 0, ""))
	w.tl.Settle()
	for i := range 20 {
		peer.Write(get2(uint32(1+2*i), "/"))
		w.tl.Settle()
	}
	for range 12 {
		w.tl.Advance(time.Minute)
	}
	w.wantNothing()
	if n := w.m.stats2.TxFlushTimeout.Load(); n == 0 || w.m.stats.TxFlushTimeout.Load() != 1 {
		t.Errorf("tx_flush_timeout of %d streams, %d connections", n, w.m.stats.TxFlushTimeout.Load())
	}
}

// TestHTTP2BadRequests: what HTTP forbids costs the stream, and no other one.
func TestHTTP2BadRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.HeadersWithUnderscoresAction = "reject_request" })
	p := w.dial2()
	for i, tt := range []struct {
		frames string
		want   []string
	}{
		{frame2(frameHeaders, flagHeadEnd, 1, block2(head2("GET", "/", "connection: close")...)), []string{"RST 1 PROTOCOL_ERROR"}},
		{frame2(frameHeaders, flagHeadEnd, 5, block2(":method: GET", ":path: /")), []string{"RST 5 PROTOCOL_ERROR"}},
		{post2(9, "/", "content-length: 3") + frame2(frameData, flagEnd, 9, "four"), []string{"RST 9 PROTOCOL_ERROR"}},
		{get2(13, "/", "a_b: c"), []string{"HEADERS 13 400 end"}},
		{frame2(frameHeaders, flagHeadEnd, 17, block2(head2("GET", "/", "host: b")...)), []string{"RST 17 PROTOCOL_ERROR"}},
	} {
		p.write(tt.frames + get2(uint32(4*i+3), "/"))
		p.want(append(tt.want, fmt.Sprintf("HEADERS %d 200 end", 4*i+3))...)
	}
	if n := w.m.stats2.RxMessaging.Load(); n != 4 {
		t.Errorf("rx_messaging_error %d", n)
	}
}
