package h2

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"millrace/codec"
	"millrace/codec/hpack"
)

// raw is one frame as bytes.
func raw(typ frameType, flags uint8, stream uint32, payload []byte) []byte {
	return append(appendFrameHead(nil, len(payload), typ, flags, stream), payload...)
}

// TestFeedGoesOnAfterEmptyEnd: an empty DATA frame that ends a stream nobody knows any more is no reason to leave what
// follows in the same read where it is.
func TestFeedGoesOnAfterEmptyEnd(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(p *peer){
		"reset by us": func(p *peer) {
			p.headers(flagEndHeaders, 1, post()...)
			p.server.Reset(1, Cancel)
		},
		"body too short": func(p *peer) { p.headers(flagEndHeaders, 1, post("content-length: 5")...) },
		"ended":          func(p *peer) { p.headers(wholeHead, 1, get...) },
	} {
		p := newServerPeer(t, testOptions())
		begin(p)
		p.log.Reset()
		both := raw(frameData, flagEndStream, 1, nil)
		both = append(both, raw(frameHeaders, wholeHead, 3, p.block(get...))...)
		p.feed(both)
		if got := p.log.String(); !strings.HasSuffix(got, "3 head GET example.com/ end\n") {
			t.Errorf("%s: %q, and %d bytes are left", name, got, len(p.kept))
		}
	}
}

// TestRFC9113_6_8_StreamsAboveTheLast: "the sender can discard frames for streams initiated by the receiver with identifiers
// higher than the identified last stream."
func TestRFC9113_6_8_StreamsAboveTheLast(t *testing.T) {
	t.Parallel()
	p := newServerPeer(t, testOptions())
	p.headers(flagEndHeaders, 1, post()...)
	p.server.SendGoAway(p.server.LastStream(), NoError)
	p.take()
	p.log.Reset()
	p.headers(flagEndHeaders, 3, post()...)
	p.frame(frameData, 0, 3, []byte("abc"))
	p.headers(wholeHead, 3, "x-checksum: 1")
	p.headers(flagEndHeaders, 5, post()...)
	p.frame(frameData, flagEndStream, 5, []byte("abc"))
	p.want("", "")
	p.frame(frameData, flagEndStream, 1, []byte("abc")) // the one that is served
	p.want("1 data \"abc\" end\n", "")
}

// TestNoBodyWhereThereIsNone: "Responses to the HEAD request method never include a response body", RFC 9110
// section 6.4.1, nor do 204 and 304. What comes all the same must not be taken for one.
func TestNoBodyWhereThereIsNone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ method, status string }{{"HEAD", "200"}, {"GET", "204"}, {"GET", "304"}} {
		for _, length := range []string{"", "content-length: 3"} {
			fields := []string{":status: " + tt.status}
			if length != "" {
				fields = append(fields, length)
			}
			p := newClientPeer(t, testOptions())
			p.open(tt.method, true)
			p.headers(flagEndHeaders, 3, fields...)
			p.take()
			p.log.Reset()
			p.frame(frameData, flagEndStream, 3, []byte("abc"))
			p.want("3 reset PROTOCOL_ERROR\nstream PROTOCOL_ERROR\n", "RST 3 PROTOCOL_ERROR\n")

			p = newClientPeer(t, testOptions())
			p.open(tt.method, true)
			p.headers(flagEndHeaders, 3, fields...)
			p.take()
			p.log.Reset()
			p.frame(frameData, flagEndStream, 3, nil)
			p.want("3 data \"\" end\n", "")
		}
	}
}

// TestSettingsAckFlood: acknowledgements that nobody waits for cost the sender its budget.
func TestSettingsAckFlood(t *testing.T) {
	t.Parallel()
	p := newServerPeer(t, testOptions())
	for range 2000 {
		p.frame(frameSettings, flagAck, 0, nil)
	}
	p.want("conn ENHANCE_YOUR_CALM\n", "GOAWAY 0 ENHANCE_YOUR_CALM\n")
}

// TestRFC7541_4_2_TableBeforeTheAck: until a client has acknowledged our SETTINGS its table has the initial size.
func TestRFC7541_4_2_TableBeforeTheAck(t *testing.T) {
	t.Parallel()
	for _, size := range []uint32{0, 100, 4096, 8192} {
		opt := testOptions()
		opt.TableBytes = size
		p := newServerPeer(t, opt)
		p.headers(wholeHead, 1, append(get, "x-one: a value that is rather long, so that two of them are too much")...)
		p.headers(wholeHead, 3, append(get, "x-one: a value that is rather long, so that two of them are too much")...)
		if p.dead {
			t.Errorf("%d: %s", size, p.log.String())
			continue
		}
		// "an encoder MUST signal a reduction": the block after the acknowledgement begins with a size update.
		p.frame(frameSettings, flagAck, 0, nil)
		p.enc.SetMax(min(size, hpack.TableSizeDefault))
		p.headers(wholeHead, 5, append(get, "x-one: a value that is rather long, so that two of them are too much")...)
		p.headers(wholeHead, 7, append(get, "x-one: a value that is rather long, so that two of them are too much")...)
		if p.dead {
			t.Errorf("%d after the acknowledgement: %s", size, p.log.String())
		}
	}
	opt := testOptions()
	opt.TableBytes = 100
	p := newServerPeer(t, opt)
	p.frame(frameSettings, flagAck, 0, nil)
	p.headers(wholeHead, 1, get...)
	p.want("conn COMPRESSION_ERROR\n", "GOAWAY 1 COMPRESSION_ERROR\n")
}

// TestEmptyName: a field without name and value is malformed wherever it stands.
func TestEmptyName(t *testing.T) {
	t.Parallel()
	for _, block := range []string{"\x00\x00\x00", "\x40\x00\x00", "\x10\x00\x00\x00\x00\x00"} {
		p := newServerPeer(t, testOptions())
		p.frame(frameHeaders, wholeHead, 1, append([]byte(block), p.block(get...)...))
		p.want("stream PROTOCOL_ERROR\n", "RST 1 PROTOCOL_ERROR\n")
	}
}

// TestRFC9113_8_5_TrailersOfTunnels: "Frame types other than DATA or stream management frames (RST_STREAM, WINDOW_UPDATE, and
// PRIORITY) MUST NOT be sent on a connected stream and MUST be treated as a stream error if received."
func TestRFC9113_8_5_TrailersOfTunnels(t *testing.T) {
	t.Parallel()
	p := newServerPeer(t, testOptions())
	p.headers(flagEndHeaders, 1, ":method: CONNECT", ":authority: example.com:443")
	h := new(codec.ResponseHead)
	h.Reset()
	h.Status, h.ContentLength = 200, -1
	p.server.AppendResponseHead(nil, 1, h, false)
	p.take()
	p.log.Reset()
	p.headers(wholeHead, 1, "x-end: 1")
	p.want("1 reset PROTOCOL_ERROR\nstream PROTOCOL_ERROR\n", "RST 1 PROTOCOL_ERROR\n")

	p = newClientPeer(t, testOptions())
	p.open("CONNECT", false)
	p.headers(flagEndHeaders, 3, ":status: 200")
	p.take()
	p.log.Reset()
	p.headers(wholeHead, 3, "x-end: 1")
	p.want("3 reset PROTOCOL_ERROR\nstream PROTOCOL_ERROR\n", "RST 3 PROTOCOL_ERROR\n")

	// One that was refused is a response like any other.
	p = newClientPeer(t, testOptions())
	p.open("CONNECT", false)
	p.headers(flagEndHeaders, 3, ":status: 407", "content-length: 3")
	p.take()
	p.log.Reset()
	p.frame(frameData, 0, 3, []byte("abc"))
	p.headers(wholeHead, 3, "x-end: 1")
	p.want("3 data \"abc\"\n3 trailers x-end=1 end\n", "")
	p.open("CONNECT", false)
	p.headers(flagEndHeaders, 5, ":status: 407", "content-length: 3")
	p.take()
	p.log.Reset()
	p.frame(frameData, flagEndStream, 5, []byte("abcd"))
	p.want("5 reset PROTOCOL_ERROR\nstream PROTOCOL_ERROR\n", "RST 5 PROTOCOL_ERROR\n")
}

// TestWindowsOfALongLife: whatever becomes of streams, with padding, resets in the middle of frames, refusals and
// trailers, the window of the connection comes back whole.
func TestWindowsOfALongLife(t *testing.T) {
	t.Parallel()
	opt := testOptions()
	opt.ConcurrentStreams = 4
	opt.Resets, opt.ResetsPerSecond = 1<<30, 1<<20
	opt.EmptyFrames = 1 << 30
	p := newServerPeer(t, opt)
	rnd := newRand(7)
	next := uint32(1)
	open := map[uint32]bool{}
	payload := make([]byte, 4000)
	for range 30000 {
		switch rnd.IntN(8) {
		case 0, 1:
			p.headers(flagEndHeaders, next, post()...)
			if _, ok := p.server.streams.find(next); ok {
				open[next] = true
			}
			next += 2
		case 2:
			for id := range open {
				p.server.Reset(codec.StreamID(id), Cancel)
				delete(open, id)
				break
			}
		case 3:
			for id := range open {
				p.frame(frameRSTStream, 0, id, u32(Cancel))
				delete(open, id)
				break
			}
		default:
			if next == 1 {
				continue
			}
			id := next - 2
			for i := range open {
				id = i
				break
			}
			n, flags := rnd.IntN(len(payload)), uint8(0)
			b := payload[:n]
			if rnd.IntN(3) == 0 {
				pad := rnd.IntN(256)
				flags |= flagPadded
				b = append(append([]byte{byte(pad)}, b...), make([]byte, pad)...)
			}
			frame := raw(frameData, flags, id, b)
			cut := rnd.IntN(len(frame) + 1)
			p.feed(frame[:cut])
			if rnd.IntN(4) == 0 && cut > 9 { // in the middle
				p.server.Reset(codec.StreamID(id), Cancel)
				delete(open, id)
			}
			p.feed(frame[cut:])
		}
		if p.dead {
			t.Fatal(p.log.String())
		}
		p.log.Reset()
		p.take()
		for id := range open {
			if s := p.server.streams.get(id); s == nil {
				delete(open, id)
			} else if int64(s.recvWindow)+int64(s.consumed) != int64(opt.StreamWindow) {
				t.Fatalf("stream %d: window %d, consumed %d", id, s.recvWindow, s.consumed)
			}
		}
		if got := int64(p.server.recvWindow) + int64(p.server.consumed); got != int64(opt.ConnWindow) {
			t.Fatalf("the window of the connection is %d, want %d", got, opt.ConnWindow)
		}
	}
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, seed)) }

// TestRFC7541_6_2_3_NeverIndexed: a field that came marked leaves so, cookie crumbs too.
func TestRFC7541_6_2_3_NeverIndexed(t *testing.T) {
	t.Parallel()
	p := newServerPeer(t, testOptions())
	block := p.block(get...)
	for _, f := range []string{"x-secret: s3cret", "cookie: a=1"} {
		name, value, _ := strings.Cut(f, ": ")
		block = p.enc.Append(block, 0, []byte(name), []byte(value), hpack.NeverIndex)
	}
	block = p.enc.Append(block, 0, []byte("x-open"), []byte("1"), hpack.Index)
	block = p.enc.Append(block, 0, []byte("cookie"), []byte("b=2"), hpack.Index)
	p.frame(frameHeaders, wholeHead, 1, block)
	c, d := NewClient(testOptions(), &Scratch{}), hpack.NewDecoder(hpack.TableSizeDefault)
	for range 2 {
		id, _ := c.Open()
		wire, got := c.AppendRequestHead(nil, id, &p.request, true)[frameHeadLen:], ""
		d.Begin()
		for len(wire) > 0 {
			out, n, f, err := d.Next(nil, wire, 1000)
			if err != hpack.ErrNone {
				t.Fatal(err)
			}
			if wire = wire[n:]; f.Never {
				got += string(out[f.Off:f.Value]) + "=" + string(out[f.Value:f.End]) + "\n"
			}
		}
		if want := "x-secret=s3cret\ncookie=a=1; b=2\n"; got != want {
			t.Errorf("never to be indexed: %q, want %q", got, want)
		}
	}
}

// TestLengthOfTunnels: a length on the head of a tunnel must not become the length of the upgrade that it is made into.
func TestLengthOfTunnels(t *testing.T) {
	t.Parallel()
	websocket := []string{":method: CONNECT", ":protocol: websocket", ":scheme: http", ":path: /", ":authority: example.com"}
	p := newServerPeer(t, testOptions())
	p.headers(flagEndHeaders, 1, append(websocket, "content-length: 5")...)
	p.want("stream PROTOCOL_ERROR\n", "RST 1 PROTOCOL_ERROR\n")
	p.headers(flagEndHeaders, 3, append(websocket, "content-length: 0")...)
	p.want("3 head CONNECT example.com/\n", "")
	if p.request.ContentLength != -1 || p.request.Has(codec.FieldContentLength) {
		t.Errorf("ContentLength = %d, with a field: %v", p.request.ContentLength, p.request.Has(codec.FieldContentLength))
	}
	p.frame(frameData, 0, 3, []byte("frame"))
	p.want("3 data \"frame\"\n", "")
}

// TestRFC9218_2_1_NoPriorities: "Any value other than 0 or 1 MUST be treated as a connection error of type PROTOCOL_ERROR."
func TestRFC9218_2_1_NoPriorities(t *testing.T) {
	t.Parallel()
	p := newServerPeer(t, testOptions())
	p.frame(frameSettings, 0, 0, append([]byte{0, settingNoPriorities}, u32(1)...))
	p.want("", "SETTINGS flags 1, 0 bytes\n")
	p.frame(frameSettings, 0, 0, append([]byte{0, settingNoPriorities}, u32(2)...))
	p.want("conn PROTOCOL_ERROR\n", "GOAWAY 0 PROTOCOL_ERROR\n")
}

// TestRFC9113_8_2_3_CookieCrumbs: "If there are multiple Cookie header fields after decompression, these MUST be
// concatenated into a single octet string using the two-octet delimiter of 0x3b, 0x20 (the ASCII string "; ")".
func TestRFC9113_8_2_3_CookieCrumbs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, want string
		fields     []string
	}{
		{"one", " cookie=a=1", []string{"cookie: a=1"}},
		{"together", " x=y cookie=a=1; b=22; c=333", []string{"cookie: a=1", "cookie: b=22", "cookie: c=333", "x: y"}},
		{"at the end", " x=y cookie=a=1; b=22", []string{"x: y", "cookie: a=1", "cookie: b=22"}},
		{"apart", " x=y z=w cookie=a=1; b=22; c=333", []string{"cookie: a=1", "x: y", "cookie: b=22", "cookie: c=333", "z: w"}},
		{"empty", " cookie=; a=1; ; b=2; ", []string{"cookie: ", "cookie: a=1", "cookie: ", "cookie: b=2", "cookie: "}},
	} {
		p := newServerPeer(t, testOptions())
		for _, id := range []uint32{1, 3} { // the second from the tables
			p.headers(wholeHead, id, append(slices.Clone(get), tt.fields...)...)
			if got, want := p.log.String(), fmt.Sprintf("%d head GET example.com/%s end\n", id, tt.want); got != want {
				t.Errorf("%s: %q, want %q", tt.name, got, want)
			}
			p.log.Reset()
		}
	}
}

// TestHeadSwells: a head that names the same entry of the table again and again takes hundreds of times its bytes on the
// wire. It costs the stream, and the connection with the next ones; one that names each entry once is never so large.
func TestHeadSwells(t *testing.T) {
	t.Parallel()
	value := strings.Repeat("v", 500)
	times := func(n int) []string {
		return append(slices.Clone(get), slices.Repeat([]string{"x: " + value}, n)...)
	}
	p := newServerPeer(t, testOptions())
	p.headers(wholeHead, 1, times(1)...)
	p.headers(wholeHead, 3, times(14)...) // 7 KB
	p.log.Reset()
	p.headers(wholeHead, 5, times(20)...)                                                        // 10 KB
	p.want("stream ENHANCE_YOUR_CALM\n", "type 1 flags 5 stream 5 0803343331\nRST 5 NO_ERROR\n") // 431
	p.headers(wholeHead, 7, get...)
	p.want("7 head GET example.com/ end\n", "")

	p = newServerPeer(t, testOptions())
	once := slices.Clone(get)
	for i := range 24 { // 19 KB, of 12 on the wire
		once = append(once, fmt.Sprintf("x-%d: %s", i, strings.Repeat("0", 800)))
	}
	p.headers(wholeHead, 1, once...)
	if got := p.log.String(); !strings.HasPrefix(got, "1 head") {
		t.Errorf("a head of %d fields that are spelled out: %.100q", len(once), got)
	}
}

// TestSettingsOnce: the windows move once for a frame, by what its last SETTINGS_INITIAL_WINDOW_SIZE says; one that was too
// large on the way is an error as if they had moved each time.
func TestSettingsOnce(t *testing.T) {
	t.Parallel()
	const more = windowMax - windowInitial - 10 // the window of the stream is 10 below the largest
	for _, tt := range []struct {
		name     string
		initial  []uint32
		writable int
		want     string
	}{
		{"one", []uint32{100}, 100, ""},
		{"the last", []uint32{70000, 0, 100}, 100, ""},
		{"back", []uint32{0, windowInitial}, windowInitial, ""},
		{"below zero", []uint32{windowInitial, 0}, 0, ""},
		{"too large on the way", []uint32{windowInitial + 11, windowInitial}, 0, "conn FLOW_CONTROL_ERROR\n"},
		{"as large as may be", []uint32{windowInitial + 10, 5}, windowMax - windowInitial - 5, ""},
		{"no window", []uint32{windowMax + 1, 5}, 0, "conn FLOW_CONTROL_ERROR\n"},
	} {
		p := newServerPeer(t, testOptions())
		p.headers(flagEndHeaders, 1, post()...)
		p.frame(frameWindowUpdate, 0, 0, u32(windowMax-windowInitial))
		if strings.Contains(tt.name, "large") {
			p.frame(frameWindowUpdate, 0, 1, u32(more))
		}
		p.log.Reset()
		var list []byte
		for _, v := range tt.initial {
			list = appendSetting(list, settingInitialWindow, v)
		}
		p.frame(frameSettings, 0, 0, list)
		if got := p.log.String(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		if got := p.server.Writable(1); tt.want == "" && got != tt.writable {
			t.Errorf("%s: %d bytes may be sent, want %d", tt.name, got, tt.writable)
		}
	}
}

// TestUnsolicitedPong: an answer to a PING that was not sent is none to one that was, and does not hide its answer.
func TestUnsolicitedPong(t *testing.T) {
	t.Parallel()
	p := newServerPeer(t, testOptions())
	pong := func(v uint64) { p.frame(framePing, flagAck, 0, binary.BigEndian.AppendUint64(nil, v)) }
	pong(0)
	pong(7)
	p.server.Ping(1)
	p.server.Ping(2)
	pong(3)
	if n := p.server.Heard(); n != 0 {
		t.Errorf("heard %d; want 0", n)
	}
	pong(1)
	pong(1)
	if n := p.server.Heard(); n != 1 {
		t.Errorf("heard %d; want 1", n)
	}
	if pong(2); p.server.Heard() != 2 {
		t.Errorf("heard %d; want 2", p.server.Heard())
	}
}

// TestRFC9218_7_1_BeforeTheStream: "Servers SHOULD buffer the most recently received PRIORITY_UPDATE frame and apply it once
// the referenced stream is opened."
func TestRFC9218_7_1_BeforeTheStream(t *testing.T) {
	t.Parallel()
	p := newServerPeer(t, testOptions())
	update := func(id uint32, value string) { p.frame(framePriorityUpdate, 0, 0, append(u32(id), value...)) }
	want := func(id codec.StreamID, urgency uint8, increments bool) {
		t.Helper()
		p.headers(flagEndHeaders, uint32(id), post("priority: u=6")...)
		if u, i := p.server.Priority(id); u != urgency || i != increments {
			t.Errorf("stream %d has urgency %d, incremental %v; want %d, %v", id, u, i, urgency, increments)
		}
	}
	update(1, "u=1")
	update(5, "u=2, i")
	update(1, "u=0, i") // the latest counts
	want(1, 0, true)
	want(3, 6, false)
	want(5, 2, true)
	for i := range uint32(expectedMax + 1) { // the first of them is forgotten
		update(101+2*i, "u=1")
	}
	if len(p.server.expected) != expectedMax {
		t.Errorf("%d are kept", len(p.server.expected))
	}
	want(101, 6, false)
	want(103, 1, false)
	want(105, 1, false)
	want(1001, 6, false)
	if len(p.server.expected) != 0 {
		t.Errorf("%d are kept of streams that will not open", len(p.server.expected))
	}
}

// TestServiceTime: the time that a host took is in the table when it is one of a few, and does not fill the table when it
// is one of many.
func TestServiceTime(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		value string
		most  int // bytes of a HEADERS frame that follows an equal one
	}{{"7", frameHeadLen + 2}, {"1234", frameHeadLen + 1 + 30}} {
		p := newServerPeer(t, testOptions())
		var out []byte
		for _, id := range []uint32{1, 3} {
			p.headers(wholeHead, id, get...)
			var h codec.ResponseHead
			h.Reset()
			h.Status = 200
			h.Add(codec.FieldXEnvoyUpstreamServiceTime, []byte(tt.value))
			out = p.server.AppendResponseHead(out[:0], codec.StreamID(id), &h, true)
		}
		if len(out) > tt.most {
			t.Errorf("%s: the second response has %d bytes, want at most %d", tt.value, len(out), tt.most)
		}
	}
}
