package h2

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"millrace/codec"
)

func TestRFC9113_3_4_Preface(t *testing.T) {
	t.Parallel()
	for cut := range len(Preface) {
		s := NewServer(testOptions(), &Scratch{})
		p := &peer{t: t, server: s}
		p.feed([]byte(Preface[:cut]))
		p.want("", "SETTINGS flags 0, 30 bytes\nWINDOW_UPDATE 0 983041\n")
		p.feed([]byte("x"))
		p.want("conn PROTOCOL_ERROR\n", "GOAWAY 0 PROTOCOL_ERROR\n")
	}
	p := &peer{t: t, server: NewServer(testOptions(), &Scratch{})}
	p.take()
	p.feed([]byte(Preface))
	p.frame(framePing, 0, 0, make([]byte, 8))
	p.want("conn PROTOCOL_ERROR\n", "GOAWAY 0 PROTOCOL_ERROR\n")
	p = newClientPeer(t, testOptions())
	p.client = NewClient(testOptions(), &Scratch{})
	p.take()
	p.feed([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) // its first bytes would be the length of a frame that is too large
	p.want("conn PROTOCOL_ERROR\n", "GOAWAY 0 PROTOCOL_ERROR\n")
}

func TestRequest(t *testing.T) {
	t.Parallel()
	p := newServerPeer(t, testOptions())
	p.headers(wholeHead, 1, append(get, "accept: */*", "cookie: a=1", "x-b: c", "cookie: b=2", "priority: u=1, i")...)
	p.want("1 head GET example.com/ accept=*/* x-b=c priority=u=1, i cookie=a=1; b=2 end\n", "")
	if p.request.Version != codec.Version20 || !p.request.BodyNone() {
		t.Errorf("version %d, body %v", p.request.Version, !p.request.BodyNone())
	}
	if u, i := p.server.Priority(1); u != 1 || !i {
		t.Errorf("priority %d, %v", u, i)
	}
	p.headers(flagEndHeaders, 3, post("content-length: 5", "expect: 100-continue")...)
	if !p.request.Expect100 || p.request.ContentLength != 5 {
		t.Errorf("Expect100 %v, length %d", p.request.Expect100, p.request.ContentLength)
	}
	p.frame(frameData, flagPadded, 3, []byte("\x03hel\x00\x00\x00"))
	p.frame(frameData, flagEndStream, 3, []byte("lo"))
	p.want("3 head POST example.com/ content-length=5 expect=100-continue\n3 data \"hel\"\n3 data \"lo\" end\n", "")
	p.headers(flagEndHeaders, 5, post()...)
	if !p.request.Chunked {
		t.Error("a body of unknown length is not told")
	}
	p.frame(frameData, 0, 5, []byte("x"))
	p.headers(wholeHead, 5, "x-sum: 1")
	p.want("5 head POST example.com/\n5 data \"x\"\n5 trailers x-sum=1 end\n", "")
	p.headers(wholeHead, 7, ":method: OPTIONS", ":scheme: http", ":path: *", "host: example.com")
	p.want("7 head OPTIONS example.com* host=example.com end\n", "")
	p.headers(flagEndHeaders, 9, ":method: CONNECT", ":authority: example.com:443")
	p.want("9 head CONNECT example.com:443\n", "")
	p.headers(flagEndHeaders, 11, ":method: CONNECT", ":protocol: websocket", ":scheme: https", ":path: /ws", ":authority: a")
	if string(p.request.Protocol()) != "websocket" {
		t.Errorf("protocol %q", p.request.Protocol())
	}
	p.want("11 head CONNECT a/ws\n", "")
	p.frame(frameHeaders, flagEndStream, 13, p.block(get...)[:3])
	p.want("", "")
}

// TestMalformed has heads that end a stream with PROTOCOL_ERROR and leave the connection alone.
func TestMalformed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		fields []string
	}{
		{"8.3.1 no method", get[1:]},
		{"8.3.1 no scheme", []string{get[0], get[2], get[3]}},
		{"8.3.1 no path", []string{get[0], get[1], get[3]}},
		{"8.3.1 empty path", []string{get[0], get[1], ":path: ", get[3]}},
		{"8.3.1 path without slash", []string{get[0], get[1], ":path: x", get[3]}},
		{"8.3.1 asterisk", []string{get[0], get[1], ":path: *", get[3]}},
		{"8.3.1 space in the path", []string{get[0], get[1], ":path: /a b", get[3]}},
		{"8.3.1 no authority", get[:3]},
		{"8.3.1 userinfo", []string{get[0], get[1], get[2], ":authority: a@b"}},
		{"8.3.1 other host", append(get[:4:4], "host: other")},
		{"8.3 method twice", append(get[:4:4], ":method: GET")},
		{"8.3 pseudo-field behind", append(get[:3:3], "a: b", get[3])},
		{"8.3 unknown pseudo-field", append(get[:4:4], ":x: y")},
		{"8.3 status", append(get[:4:4], ":status: 200")},
		{"8.3 protocol without CONNECT", append(get[:4:4], ":protocol: websocket")},
		{"8.5 CONNECT with path", []string{":method: CONNECT", ":path: /", ":authority: a"}},
		{"8.5 CONNECT without authority", []string{":method: CONNECT"}},
		{"8.2.1 upper case", append(get[:4:4], "Accept: x")},
		{"8.2.1 space in a name", append(get[:4:4], "a b: x")},
		{"8.2.1 empty name", append(get[:4:4], ": x")},
		{"8.2.1 LF in a value", append(get[:4:4], "a: x\ny")},
		{"8.2.1 NUL in a value", append(get[:4:4], "a: x\x00y")},
		{"8.2.1 leading space", append(get[:4:4], "a:  x")},
		{"8.2.1 trailing tab", append(get[:4:4], "a: x\t")},
		{"8.2.2 connection", append(get[:4:4], "connection: close")},
		{"8.2.2 transfer-encoding", append(get[:4:4], "transfer-encoding: chunked")},
		{"8.2.2 upgrade", append(get[:4:4], "upgrade: h2c")},
		{"8.2.2 keep-alive", append(get[:4:4], "keep-alive: 1")},
		{"8.2.2 proxy-connection", append(get[:4:4], "proxy-connection: close")},
		{"8.2.2 te", append(get[:4:4], "te: gzip")},
		{"8.1.1 length", append(get[:4:4], "content-length: x")},
		{"8.1.1 lengths", append(get[:4:4], "content-length: 1", "content-length: 2")},
		{"8.1.1 length and end", append(get[:4:4], "content-length: 1")},
		{"method", []string{":method: G T", get[1], get[2], get[3]}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newServerPeer(t, testOptions())
			p.headers(wholeHead, 1, tt.fields...)
			p.want("stream PROTOCOL_ERROR\n", "RST 1 PROTOCOL_ERROR\n")
			p.headers(wholeHead, 3, get...)
			p.want("3 head GET example.com/ end\n", "")
		})
	}
}

// TestStreamErrors has frames that end one stream.
func TestStreamErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		do   func(p *peer)
		code string
		told bool // EventReset
	}{
		{"6.9 update of zero", func(p *peer) { p.frame(frameWindowUpdate, 0, 1, u32(0)) }, "PROTOCOL_ERROR", true},
		{"6.9.1 window too large", func(p *peer) { p.frame(frameWindowUpdate, 0, 1, u32(windowMax)) }, "FLOW_CONTROL_ERROR", true},
		{"8.1 trailers without end", func(p *peer) { p.headers(flagEndHeaders, 1, "a: b") }, "PROTOCOL_ERROR", true},
		{"8.1 pseudo-field in trailers", func(p *peer) { p.headers(wholeHead, 1, ":path: /") }, "PROTOCOL_ERROR", true},
		{"8.1.1 body too long", func(p *peer) { p.frame(frameData, 0, 1, []byte("123456")) }, "PROTOCOL_ERROR", true},
		{"8.1.1 body too short", func(p *peer) { p.frame(frameData, flagEndStream, 1, []byte("1")) }, "PROTOCOL_ERROR", true},
		{"8.1.1 body too short, trailers", func(p *peer) { p.headers(wholeHead, 1, "a: b") }, "PROTOCOL_ERROR", true},
		{"5.3.1 self dependency", func(p *peer) { p.frame(framePriority, 0, 1, append(u32(1), 0)) }, "PROTOCOL_ERROR", true},
		{"6.3 priority of a wrong size", func(p *peer) { p.frame(framePriority, 0, 1, u32(5)) }, "FRAME_SIZE_ERROR", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newServerPeer(t, testOptions())
			p.headers(flagEndHeaders, 1, post("content-length: 5")...)
			p.log.Reset()
			tt.do(p)
			p.want(fmt.Sprintf("1 reset %s\nstream %s\n", tt.code, tt.code), fmt.Sprintf("RST 1 %s\n", tt.code))
			p.frame(frameData, 0, 1, []byte("late")) // was under way
			p.headers(wholeHead, 3, get...)
			p.want("3 head GET example.com/ end\n", "")
		})
	}
	t.Run("5.1 half closed", func(t *testing.T) {
		p := newServerPeer(t, testOptions())
		p.headers(wholeHead, 1, get...)
		p.log.Reset()
		p.frame(frameData, 0, 1, []byte("x"))
		p.want("1 reset STREAM_CLOSED\nstream STREAM_CLOSED\n", "RST 1 STREAM_CLOSED\n")
	})
	t.Run("5.1 closed", func(t *testing.T) {
		p := newServerPeer(t, testOptions())
		p.headers(wholeHead, 1, get...)
		p.frame(frameRSTStream, 0, 1, u32(Cancel))
		p.log.Reset()
		p.frame(frameData, 0, 1, []byte("x"))
		p.want("stream STREAM_CLOSED\n", "RST 1 STREAM_CLOSED\n")
	})
}

// TestConnErrors has frames that end the connection.
func TestConnErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		do   func(p *peer)
		code string
	}{
		{"4.2 too large", func(p *peer) { p.feed(appendFrameHead(nil, 16385, frameData, 0, 1)) }, "FRAME_SIZE_ERROR"},
		{"5.1 data for an idle stream", func(p *peer) { p.frame(frameData, 0, 3, []byte("x")) }, "PROTOCOL_ERROR"},
		{"5.1 reset of an idle stream", func(p *peer) { p.frame(frameRSTStream, 0, 3, u32(0)) }, "PROTOCOL_ERROR"},
		{"5.1 window of an idle stream", func(p *peer) { p.frame(frameWindowUpdate, 0, 3, u32(1)) }, "PROTOCOL_ERROR"},
		{"5.1 continuation of nothing", func(p *peer) { p.frame(frameContinuation, flagEndHeaders, 1, nil) }, "PROTOCOL_ERROR"},
		{"5.1.1 even stream", func(p *peer) { p.headers(wholeHead, 2, get...) }, "PROTOCOL_ERROR"},
		{"5.1 headers of a closed stream", func(p *peer) {
			p.frame(frameRSTStream, 0, 1, u32(Cancel))
			p.log.Reset()
			p.headers(wholeHead, 1, get...)
		}, "STREAM_CLOSED"},
		{"6.1 data on 0", func(p *peer) { p.frame(frameData, 0, 0, nil) }, "PROTOCOL_ERROR"},
		{"6.1 padding", func(p *peer) { p.frame(frameData, flagPadded, 1, []byte("\x05abc")) }, "PROTOCOL_ERROR"},
		{"6.1 no pad length", func(p *peer) { p.frame(frameData, flagPadded, 1, nil) }, "FRAME_SIZE_ERROR"},
		{"6.2 headers on 0", func(p *peer) { p.headers(wholeHead, 0, get...) }, "PROTOCOL_ERROR"},
		{"6.2 padding", func(p *peer) { p.frame(frameHeaders, wholeHead|flagPadded, 3, []byte("\x09a")) }, "PROTOCOL_ERROR"},
		{"6.2 frames between", func(p *peer) {
			p.frame(frameHeaders, 0, 3, p.block(get...))
			p.frame(framePing, 0, 0, make([]byte, 8))
		}, "PROTOCOL_ERROR"},
		{"6.10 another stream's continuation", func(p *peer) {
			p.frame(frameHeaders, 0, 3, p.block(get...))
			p.frame(frameContinuation, flagEndHeaders, 5, nil)
		}, "PROTOCOL_ERROR"},
		{"6.3 priority on 0", func(p *peer) { p.frame(framePriority, 0, 0, make([]byte, 5)) }, "PROTOCOL_ERROR"},
		{"6.4 reset on 0", func(p *peer) { p.frame(frameRSTStream, 0, 0, u32(0)) }, "PROTOCOL_ERROR"},
		{"6.4 size", func(p *peer) { p.frame(frameRSTStream, 0, 1, u32(0)[:3]) }, "FRAME_SIZE_ERROR"},
		{"6.5 settings of a stream", func(p *peer) { p.frame(frameSettings, 0, 1, nil) }, "PROTOCOL_ERROR"},
		{"6.5 size", func(p *peer) { p.frame(frameSettings, 0, 0, make([]byte, 5)) }, "FRAME_SIZE_ERROR"},
		{"6.5 ack with settings", func(p *peer) { p.frame(frameSettings, flagAck, 0, make([]byte, 6)) }, "FRAME_SIZE_ERROR"},
		{"6.5.2 push", func(p *peer) { p.frame(frameSettings, 0, 0, appendSetting(nil, settingEnablePush, 2)) }, "PROTOCOL_ERROR"},
		{"6.5.2 window", func(p *peer) { p.frame(frameSettings, 0, 0, appendSetting(nil, settingInitialWindow, 1<<31)) }, "FLOW_CONTROL_ERROR"},
		{"6.5.2 frame size", func(p *peer) { p.frame(frameSettings, 0, 0, appendSetting(nil, settingFrameBytes, 16383)) }, "PROTOCOL_ERROR"},
		{"6.5.2 larger frame size", func(p *peer) { p.frame(frameSettings, 0, 0, appendSetting(nil, settingFrameBytes, 1<<24)) }, "PROTOCOL_ERROR"},
		{"8441 connect protocol", func(p *peer) { p.frame(frameSettings, 0, 0, appendSetting(nil, settingConnectProtocol, 2)) }, "PROTOCOL_ERROR"},
		{"6.6 push promise", func(p *peer) { p.frame(framePushPromise, flagEndHeaders, 1, u32(2)) }, "PROTOCOL_ERROR"},
		{"6.7 ping of a stream", func(p *peer) { p.frame(framePing, 0, 1, make([]byte, 8)) }, "PROTOCOL_ERROR"},
		{"6.7 size", func(p *peer) { p.frame(framePing, 0, 0, make([]byte, 7)) }, "FRAME_SIZE_ERROR"},
		{"6.8 goaway of a stream", func(p *peer) { p.frame(frameGoAway, 0, 1, make([]byte, 8)) }, "PROTOCOL_ERROR"},
		{"6.8 size", func(p *peer) { p.frame(frameGoAway, 0, 0, make([]byte, 7)) }, "FRAME_SIZE_ERROR"},
		{"6.9 size", func(p *peer) { p.frame(frameWindowUpdate, 0, 0, make([]byte, 5)) }, "FRAME_SIZE_ERROR"},
		{"6.9 update of zero", func(p *peer) { p.frame(frameWindowUpdate, 0, 0, u32(0)) }, "PROTOCOL_ERROR"},
		{"6.9.1 window too large", func(p *peer) { p.frame(frameWindowUpdate, 0, 0, u32(windowMax)) }, "FLOW_CONTROL_ERROR"},
		{"6.9.2 initial window too large", func(p *peer) {
			p.frame(frameWindowUpdate, 0, 1, u32(windowMax-windowInitial))
			p.frame(frameSettings, 0, 0, appendSetting(nil, settingInitialWindow, windowInitial+1))
		}, "FLOW_CONTROL_ERROR"},
		{"4.3 compression", func(p *peer) { p.frame(frameHeaders, wholeHead, 3, []byte{0x80}) }, "COMPRESSION_ERROR"},
		{"9218 update of a stream", func(p *peer) { p.frame(framePriorityUpdate, 0, 1, append(u32(1), "u=1"...)) }, "PROTOCOL_ERROR"},
		{"9218 size", func(p *peer) { p.frame(framePriorityUpdate, 0, 0, u32(1)[:3]) }, "FRAME_SIZE_ERROR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newServerPeer(t, testOptions())
			p.headers(flagEndHeaders, 1, post()...)
			p.log.Reset()
			tt.do(p)
			if got, want := p.log.String(), "conn "+tt.code+"\n"; got != want {
				t.Errorf("%q, want %q", got, want)
			}
			if got := p.take(); !strings.HasSuffix(got, " "+tt.code+"\n") || !strings.Contains(got, "GOAWAY ") {
				t.Errorf("control frames %q", got)
			}
			p.dead = false
			p.frame(framePing, 0, 0, make([]byte, 8))
			if got := p.log.String(); strings.Count(got, "conn "+tt.code) != 2 || p.take() != "" {
				t.Errorf("it goes on: %q", got)
			}
		})
	}
}

// TestFloods reaches each limit on frames.
func TestFloods(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		do   func(p *peer, i int)
		most int // rounds that the defaults allow, one more ends the connection
	}{
		{"ping", func(p *peer, _ int) { p.frame(framePing, 0, 0, make([]byte, 8)) }, 1019},             // the head of the request brings 20
		{"settings", func(p *peer, _ int) { p.frame(frameSettings, 0, 0, nil) }, 1019},                 // the head of the request brings 20
		{"priority", func(p *peer, _ int) { p.frame(framePriority, 0, 9, append(u32(3), 0)) }, 1019},   // the head of the request brings 20
		{"priority update", func(p *peer, _ int) { p.frame(framePriorityUpdate, 0, 0, u32(1)) }, 1019}, // the head of the request brings 20
		{"window update", func(p *peer, _ int) { p.frame(frameWindowUpdate, 0, 1, u32(1)) }, 1019},     // the head of the request brings 20
		{"unknown", func(p *peer, _ int) { p.frame(99, 0, 0, nil) }, 1019},                             // the head of the request brings 20
		{"goaway", func(p *peer, _ int) { p.frame(frameGoAway, 0, 0, make([]byte, 8)) }, 1019},         // the head of the request brings 20
		{"empty data", func(p *peer, _ int) { p.frame(frameData, 0, 1, nil) }, 10},
		{"padding alone", func(p *peer, _ int) { p.frame(frameData, flagPadded, 1, []byte{3, 0, 0, 0}) }, 10},
		{"rapid reset", func(p *peer, i int) {
			p.headers(wholeHead, uint32(3+2*i), get...)
			p.frame(frameRSTStream, 0, uint32(3+2*i), u32(Cancel))
		}, 100},
		{"made you reset", func(p *peer, i int) {
			p.headers(wholeHead, uint32(3+2*i), get...)
			p.frame(frameWindowUpdate, 0, uint32(3+2*i), u32(0))
		}, 100 / brokenCost},
		{"refused streams", func(p *peer, i int) { p.headers(flagEndHeaders, uint32(3+2*i), post()...) }, 99 + 100},
		{"refused streams of who knows", func(p *peer, i int) {
			if i == 0 {
				p.frame(frameSettings, flagAck, 0, nil)
			}
			p.headers(flagEndHeaders, uint32(3+2*i), post()...)
		}, 99 + 100/brokenCost},
		{"malformed", func(p *peer, i int) { p.headers(wholeHead, uint32(3+2*i), "x: y") }, 100 / brokenCost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newServerPeer(t, testOptions())
			p.server.SetNow(1)
			p.headers(flagEndHeaders, 1, post()...)
			for i := range tt.most {
				if tt.do(p, i); p.dead {
					t.Fatalf("round %d of %d: %s", i, tt.most, p.log.String())
				}
			}
			p.log.Reset()
			for i := range 5 {
				tt.do(p, tt.most+i)
			}
			if got := p.take(); !p.dead || !strings.Contains(got, "ENHANCE_YOUR_CALM") {
				t.Errorf("%d rounds: %q", tt.most+5, p.log.String())
			}
		})
	}
	t.Run("time brings it back", func(t *testing.T) {
		p := newServerPeer(t, testOptions())
		for i := range 100 {
			p.server.SetNow(int64(i+1) * 10 * second)
			for range 900 {
				p.frame(framePing, 0, 0, make([]byte, 8))
			}
		}
		if p.dead {
			t.Error(p.log.String())
		}
	})
	t.Run("continuations", func(t *testing.T) {
		for _, n := range []int{10, 11} {
			p := newServerPeer(t, testOptions())
			p.frame(frameHeaders, flagEndStream, 1, p.block(get...))
			for i := range n {
				flags := uint8(0)
				if i == n-1 {
					flags = flagEndHeaders
				}
				p.frame(frameContinuation, flags, 1, nil)
			}
			if p.dead != (n == 11) {
				t.Errorf("%d frames: %s", n, p.log.String())
			}
		}
	})
}

// TestHeadLimits: a head beyond the limits is answered with 431 or 414, and the next request is not hurt.
func TestHeadLimits(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 10<<10)
	for _, tt := range []struct {
		name   string
		fields []string
		status string
	}{
		{"bytes", append(get[:4:4], "a: "+long, "b: "+long, "c: "+long, "d: "+long, "e: "+long, "f: "+long), "343331"},
		{"count", append(get[:4:4], manyFields(102)...), "343331"},
		{"crumbs", append(get[:4:4], strings.Split(strings.Repeat("cookie: a|", 102), "|")[:102]...), "343331"},
		{"target", []string{get[0], get[1], ":path: /" + strings.Repeat(long, 4), get[3]}, "343134"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newServerPeer(t, testOptions())
			block := p.block(tt.fields...)
			for first := true; len(block) > 0; first = false {
				n := min(len(block), 16384)
				typ, flags := frameHeaders, uint8(flagEndStream)
				if !first {
					typ, flags = frameContinuation, 0
				}
				if n == len(block) {
					flags |= flagEndHeaders
				}
				p.frame(typ, flags, 1, block[:n])
				block = block[n:]
			}
			got := p.take()
			if p.log.String() != "stream ENHANCE_YOUR_CALM\n" || !strings.Contains(got, tt.status) && !strings.Contains(got, "type 1 flags 5 stream 1") ||
				!strings.HasSuffix(got, "RST 1 NO_ERROR\n") {
				t.Errorf("%q, %q", p.log.String(), got)
			}
			p.log.Reset()
			p.headers(wholeHead, 3, get...)
			p.want("3 head GET example.com/ end\n", "")
		})
	}
	t.Run("bomb", func(t *testing.T) {
		p := newServerPeer(t, testOptions())
		p.headers(wholeHead, 1, append(get[:4:4], "a: "+long[:4000])...)
		if p.dead {
			t.Fatal(p.log.String())
		}
		p.frame(frameHeaders, wholeHead, 3, bytes.Repeat([]byte{0xbe}, 16000)) // 64 MB
		if !p.dead || !strings.Contains(p.log.String(), "conn ENHANCE_YOUR_CALM") {
			t.Error(p.log.String())
		}
	})
}

func manyFields(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("x-%d: y", i))
	}
	return list
}

func TestRFC9113_5_1_2_ConcurrentStreams(t *testing.T) {
	t.Parallel()
	opt := testOptions()
	opt.ConcurrentStreams = 2
	p := newServerPeer(t, opt)
	for id := uint32(1); id <= 5; id += 2 {
		p.headers(flagEndHeaders, id, post("n: v")...)
	}
	p.want("1 head POST example.com/ n=v\n3 head POST example.com/ n=v\nstream REFUSED_STREAM\n", "RST 5 REFUSED_STREAM\n")
	p.frame(frameRSTStream, 0, 1, u32(Cancel))
	p.headers(flagEndHeaders, 7, post("n: v")...) // the table was kept up to date by what was refused
	p.want("1 reset CANCEL\n7 head POST example.com/ n=v\n", "")
}

func TestRFC9113_6_8_GoAway(t *testing.T) {
	t.Parallel()
	p := newServerPeer(t, testOptions())
	p.headers(flagEndHeaders, 1, post()...)
	p.server.SendGoAway(GoAwayLater, NoError)
	p.headers(flagEndHeaders, 3, post()...)
	p.server.SendGoAway(p.server.LastStream(), NoError)
	p.headers(flagEndHeaders, 5, post()...)
	p.frame(frameData, flagEndStream, 3, []byte("x"))
	p.want("1 head POST example.com/\n3 head POST example.com/\n3 data \"x\" end\n",
		"GOAWAY 2147483647 NO_ERROR\nGOAWAY 3 NO_ERROR\n")
}

// TestWindows: what the peer may send comes back as it is consumed, and what we may send as it says.
func TestWindows(t *testing.T) {
	t.Parallel()
	opt := testOptions()
	opt.StreamWindow, opt.ConnWindow = 65535, 65535
	p := newServerPeer(t, opt)
	p.headers(flagEndHeaders, 1, post()...)
	p.headers(flagEndHeaders, 3, post()...)
	p.log.Reset()
	chunk := make([]byte, 16384)
	for range 2 {
		p.frame(frameData, 0, 1, chunk)
	}
	p.log.Reset()
	p.want("", "WINDOW_UPDATE 0 32768\nWINDOW_UPDATE 1 32768\n")

	h := &codec.ResponseHead{}
	h.Reset()
	h.Status = 200
	p.server.AppendResponseHead(nil, 1, h, false)
	p.server.AppendResponseHead(nil, 3, h, false)
	for _, want := range []int{65535, 49151, 32767, 16383} {
		if got := p.server.Writable(1); got != want {
			t.Fatalf("Writable = %d, want %d", got, want)
		}
		p.server.AppendDataPrefix(nil, 1, min(16384, want), false)
	}
	if p.server.Writable(1)+p.server.Writable(3) != 0 {
		t.Error("the window is not used up")
	}
	p.frame(frameWindowUpdate, 0, 0, u32(5))
	p.want("0 window\n", "")
	if p.server.Writable(1) != 0 || p.server.Writable(3) != 5 {
		t.Error("windows of connection and stream are mixed up")
	}
	p.frame(frameWindowUpdate, 0, 1, u32(2))
	p.want("1 window\n", "")
	if got := p.server.Writable(1); got != 2 {
		t.Errorf("Writable = %d, want 2", got)
	}
	p.server.AppendDataPrefix(nil, 1, 2, false)
	p.server.Writable(1)
	p.frame(frameSettings, 0, 0, appendSetting(nil, settingInitialWindow, 65536))
	p.want("0 window\n", "SETTINGS flags 1, 0 bytes\n")
	p.frame(frameSettings, 0, 0, appendSetting(nil, settingInitialWindow, 0))
	if got := p.server.Writable(1); got != 0 {
		t.Errorf("Writable = %d after the window was lowered", got)
	}
	p.log.Reset()
	p.take()

	// The peer goes beyond what it was given: of a stream, of the connection.
	for range 2 {
		p.frame(frameData, 0, 3, chunk[:16000])
	}
	for range 3 {
		p.server.conn.streams.get(3).recvWindow = 10
		p.log.Reset()
		p.frame(frameData, 0, 3, chunk[:11])
		break
	}
	if got := p.log.String(); got != "3 reset FLOW_CONTROL_ERROR\nstream FLOW_CONTROL_ERROR\n" {
		t.Errorf("stream window exceeded: %q", got)
	}
	p.log.Reset()
	p.server.conn.recvWindow = 10
	p.frame(frameData, 0, 1, chunk[:11])
	if got := p.log.String(); got != "conn FLOW_CONTROL_ERROR\n" {
		t.Errorf("connection window exceeded: %q", got)
	}
}

// TestUnconsumed: data of streams that are gone does not eat the connection's window up.
func TestUnconsumed(t *testing.T) {
	t.Parallel()
	opt := testOptions()
	opt.Resets = 1 << 20
	p := newServerPeer(t, opt)
	chunk := make([]byte, 16000)
	for id := uint32(1); id < 1000; id += 2 {
		p.headers(flagEndHeaders, id, post()...)
		p.server.Reset(codec.StreamID(id), Cancel)
		p.frame(frameData, flagPadded, id, append([]byte{200}, chunk...))
		p.take()
	}
	if p.dead {
		t.Error(p.log.String()[p.log.Len()-100:])
	}
}

func TestResponse(t *testing.T) {
	t.Parallel()
	p := newClientPeer(t, testOptions())
	p.headers(flagEndHeaders, 1, ":status: 103", "link: x")
	p.headers(flagEndHeaders, 1, ":status: 200", "content-length: 2")
	p.frame(frameData, 0, 1, []byte("ok"))
	p.headers(wholeHead, 1, "grpc-status: 0")
	p.want("1 head 103 link=x\n1 head 200 content-length=2\n1 data \"ok\"\n1 trailers grpc-status=0 end\n", "")
	if p.client.Streams() != 0 {
		t.Error("the stream stays open")
	}
	p.open("HEAD", true)
	p.headers(wholeHead, 3, ":status: 200", "content-length: 2")
	p.want("3 head 200 content-length=2 end\n", "")
	p.open("POST", false)
	p.headers(wholeHead, 5, ":status: 413")
	p.want("5 head 413 end\n", "")
	if p.client.Streams() != 1 {
		t.Error("the request's direction is closed too")
	}
	p.frame(frameRSTStream, 0, 5, u32(NoError))
	p.want("5 reset NO_ERROR\n", "")
	p.frame(frameGoAway, 0, 0, append(u32(3), u32(NoError)...))
	p.want("3 goaway NO_ERROR\n", "")
	if p.client.Reusable() || !p.client.Away() {
		t.Error("a stream can be opened after GOAWAY")
	}
}

func TestMalformedResponse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		flags uint8
		heads [][]string
	}{
		{"no status", wholeHead, [][]string{{"a: b"}}},
		{"bad status", wholeHead, [][]string{{":status: 20"}}},
		{"101", wholeHead, [][]string{{":status: 101"}}},
		{"1xx with end", wholeHead, [][]string{{":status: 103"}}},
		{"request pseudo-field", wholeHead, [][]string{{":status: 200", ":path: /"}}},
		{"length and end", wholeHead, [][]string{{":status: 200", "content-length: 4"}}},
		{"second head", flagEndHeaders, [][]string{{":status: 200"}, {"a: b"}}},
		{"connection", flagEndHeaders, [][]string{{":status: 200", "connection: close"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newClientPeer(t, testOptions())
			for _, h := range tt.heads {
				p.log.Reset()
				p.headers(tt.flags, 1, h...)
			}
			p.want("1 reset PROTOCOL_ERROR\nstream PROTOCOL_ERROR\n", "RST 1 PROTOCOL_ERROR\n")
			p.open("GET", true)
			p.headers(wholeHead, 3, ":status: 204")
			p.want("3 head 204 end\n", "")
		})
	}
	t.Run("data before the head", func(t *testing.T) {
		p := newClientPeer(t, testOptions())
		p.open("GET", true)
		p.frame(frameData, 0, 1, []byte("x"))
		p.want("1 reset PROTOCOL_ERROR\nstream PROTOCOL_ERROR\n", "RST 1 PROTOCOL_ERROR\n")
		p.headers(wholeHead, 3, ":status: 204")
		p.want("3 head 204 end\n", "")
	})
	for _, tt := range []struct {
		name string
		do   func(p *peer)
	}{
		{"stream nobody opened", func(p *peer) { p.headers(wholeHead, 7, ":status: 200") }},
		{"even stream", func(p *peer) { p.headers(wholeHead, 2, ":status: 200") }},
		{"push", func(p *peer) { p.frame(framePushPromise, flagEndHeaders, 1, u32(2)) }},
		{"push enabled", func(p *peer) { p.frame(frameSettings, 0, 0, appendSetting(nil, settingEnablePush, 1)) }},
		{"priority update", func(p *peer) { p.frame(framePriorityUpdate, 0, 0, u32(1)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newClientPeer(t, testOptions())
			tt.do(p)
			if got := p.log.String(); got != "conn PROTOCOL_ERROR\n" {
				t.Error(got)
			}
		})
	}
}

// TestResetCrossed: what is under way when we reset a stream is passed over, until the peer has reset it as well.
func TestResetCrossed(t *testing.T) {
	t.Parallel()
	p := newServerPeer(t, testOptions())
	p.headers(flagEndHeaders, 1, post()...)
	p.server.Reset(1, NoError)
	p.want("1 head POST example.com/\n", "RST 1 NO_ERROR\n")
	p.frame(frameData, 0, 1, []byte("late"))
	p.want("", "")
	p.headers(flagEndHeaders, 1, "x: y")
	p.want("stream PROTOCOL_ERROR\n", "RST 1 PROTOCOL_ERROR\n")
	p.headers(wholeHead, 1, ":path: /")
	p.want("stream PROTOCOL_ERROR\n", "RST 1 PROTOCOL_ERROR\n")
	p.headers(wholeHead, 1, "x: y")
	p.frame(frameRSTStream, 0, 1, u32(Cancel))
	p.want("", "")
	p.frame(frameData, 0, 1, []byte("later"))
	p.want("stream STREAM_CLOSED\n", "RST 1 STREAM_CLOSED\n")
}
