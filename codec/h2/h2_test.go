package h2

import (
	"math/rand/v2"
	"strings"
	"testing"

	"millrace/codec"
	"millrace/codec/hpack"
)

// TestStreamTable: streams are found, and slots are not shared, whatever comes and goes.
func TestStreamTable(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	var table streamTable
	open := map[uint32]uint32{} // id to slot
	next := uint32(1)
	for range 200000 {
		if len(open) < 120 && rng.IntN(2) == 0 {
			_, slot := table.open(next)
			for id, s := range open {
				if s == slot {
					t.Fatalf("streams %d and %d share slot %d", id, next, slot)
				}
			}
			open[next] = slot
			next += 2 * uint32(1+rng.IntN(3))
			continue
		}
		for id := range open {
			table.close(id)
			delete(open, id)
			break
		}
		for id, slot := range open {
			if got, ok := table.find(id); !ok || got != slot {
				t.Fatalf("stream %d is at slot %d, %v; want %d", id, got, ok, slot)
			}
			break
		}
		if _, ok := table.find(next); ok || table.count != len(open) {
			t.Fatalf("%d streams, want %d", table.count, len(open))
		}
	}
}

// TestBigHead: a head larger than a frame goes out in several, and comes back.
func TestBigHead(t *testing.T) {
	t.Parallel()
	opt := testOptions()
	s, c := NewServer(opt, &Scratch{}), NewClient(opt, &Scratch{})
	h := requestHead("GET", "/", "example.com")
	for i := range 20 {
		h.AddString("x-"+string(rune('a'+i)), strings.Repeat("~", 2000))
	}
	id, _ := c.Open()
	wire := c.AppendRequestHead(c.AppendControl(nil), id, h, true)
	ev := &codec.Event{Request: new(codec.RequestHead)}
	for len(wire) > 0 {
		n, err := s.Feed(wire, ev)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		wire = wire[n:]
	}
	if ev.Kind != codec.EventHead || ev.Request.Len() != 20 || len(ev.Request.Lookup("x-t")) != 2000 {
		t.Errorf("%s with %d fields", ev.Kind, ev.Request.Len())
	}
}

// exchange is a request and its response between a client and a server.
type exchange struct {
	client   *Client
	server   *Server
	request  codec.RequestHead
	response codec.ResponseHead
	got      codec.RequestHead
	answer   codec.ResponseHead
	ev       codec.Event
	wire     []byte
}

func newExchange() *exchange {
	l := codec.DefaultLimits()
	opt := DefaultOptions(&l)
	scratch := &Scratch{}
	x := &exchange{client: NewClient(&opt, scratch), server: NewServer(&opt, scratch)}
	x.request = *requestHead("GET", "/api/items?page=3", "shop.example.com")
	for _, f := range [][2]string{{"User-Agent", "curl/8.5.0"}, {"Accept", "*/*"}, {"X-Forwarded-For", "10.1.2.3"},
		{"X-Forwarded-Proto", "http"}, {"X-Request-Id", "9c9d1f2e-1b1c-4f57-8e1e-0f9b2a7d6c33"}} {
		x.request.AddString(f[0], f[1])
	}
	x.response.Reset()
	x.response.Status, x.response.ContentLength = 200, 128
	for _, f := range [][2]string{{"Server", "millrace"}, {"Date", "Sun, 22 Nov 2026 12:00:00 GMT"}, {"Content-Type", "text/plain"},
		{"Connection", "keep-alive"}, {"X-Envoy-Upstream-Service-Time", "3"}} {
		x.response.AddString(f[0], f[1])
	}
	return x
}

var body [128]byte

// run does one request and response, head and body each way.
func (x *exchange) run() {
	id, _ := x.client.Open()
	x.wire = x.client.AppendRequestHead(x.client.AppendControl(x.wire[:0]), id, &x.request, true)
	x.pass(x.server.Feed)
	x.wire = x.server.AppendResponseHead(x.server.AppendControl(x.wire[:0]), id, &x.response, false)
	x.wire = append(x.server.AppendDataPrefix(x.wire, id, len(body), true), body[:]...)
	x.pass(x.client.Feed)
	x.client.Consume(id, len(body))
}

func (x *exchange) pass(feed func([]byte, *codec.Event) (int, *codec.Error)) {
	x.ev.Request, x.ev.Response = &x.got, &x.answer
	for b := x.wire; len(b) > 0; {
		n, err := feed(b, &x.ev)
		if err != nil || n == 0 {
			panic(err)
		}
		b = b[n:]
	}
}

func TestExchangeAllocs(t *testing.T) {
	x := newExchange()
	for range 10 {
		x.run()
	}
	if n := testing.AllocsPerRun(1000, x.run); n != 0 {
		t.Errorf("%v allocations an exchange, want 0", n)
	}
	if x.answer.Status != 200 || x.client.Streams() != 0 || x.server.Streams() != 0 {
		t.Errorf("status %d, %d and %d streams open", x.answer.Status, x.client.Streams(), x.server.Streams())
	}
}

// BenchmarkExchange is both sides of a request: two heads and a body encoded and decoded.
func BenchmarkExchange(b *testing.B) {
	x := newExchange()
	b.ReportAllocs()
	for b.Loop() {
		x.run()
	}
}

// FuzzServer: no bytes make a server panic, and its events do not depend on where they were cut.
func FuzzServer(f *testing.F) {
	enc := hpack.NewEncoder(4096)
	p := &peer{enc: enc}
	seed := append([]byte{}, appendFrameHead(nil, 0, frameSettings, 0, 0)...)
	block := p.block(post("content-length: 5", "cookie: a", "cookie: b")...)
	seed = append(appendFrameHead(seed, len(block), frameHeaders, flagEndHeaders, 1), block...)
	seed = append(appendFrameHead(seed, 9, frameData, flagPadded, 1), "\x03hello\x00\x00\x00"...)
	block = p.block("x-sum: 1")
	seed = append(appendFrameHead(seed, len(block), frameHeaders, wholeHead, 1), block...)
	seed = append(appendFrameHead(seed, 4, frameWindowUpdate, 0, 0), u32(100)...)
	seed = append(appendFrameHead(seed, 8, framePing, 0, 0), "12345678"...)
	seed = append(appendFrameHead(seed, 4, frameRSTStream, 0, 1), u32(8)...)
	seed = append(appendFrameHead(seed, 5, framePriorityUpdate, 0, 0), "\x00\x00\x00\x01u"...)
	seed = append(appendFrameHead(seed, 8, frameGoAway, 0, 0), make([]byte, 8)...)
	f.Add(seed, uint16(30))
	f.Add(append(appendFrameHead(seed[:9:9], 3, frameHeaders, 0, 1), 0x82, 0x86, 0x84), uint16(11))
	f.Fuzz(func(t *testing.T, in []byte, cut uint16) {
		at := int(cut) % (len(in) + 1)
		run := func(parts ...[]byte) string {
			p := newServerPeer(t, testOptions())
			for _, b := range parts {
				p.feed(b)
			}
			return joinData(p.log.String()) + p.take()
		}
		whole, split := run(in), run(in[:at], in[at:])
		if whole != split {
			t.Errorf("cut at byte %d changes the events\nwhole: %s\nsplit: %s", at, whole, split)
		}
	})
}

// FuzzClient is the same for a client with a few requests under way.
func FuzzClient(f *testing.F) {
	p := &peer{enc: hpack.NewEncoder(4096)}
	block := p.block(":status: 200", "content-length: 5")
	seed := append(appendFrameHead(nil, len(block), frameHeaders, flagEndHeaders, 1), block...)
	seed = append(appendFrameHead(seed, 5, frameData, flagEndStream, 1), "hello"...)
	block = p.block(":status: 103")
	seed = append(appendFrameHead(seed, len(block), frameHeaders, flagEndHeaders, 3), block...)
	f.Add(seed, uint16(12))
	f.Fuzz(func(t *testing.T, in []byte, cut uint16) {
		at := int(cut) % (len(in) + 1)
		run := func(parts ...[]byte) string {
			p := newClientPeer(t, testOptions())
			p.open("POST", false)
			p.open("HEAD", true)
			for _, b := range parts {
				p.feed(b)
			}
			return joinData(p.log.String()) + p.take()
		}
		whole, split := run(in), run(in[:at], in[at:])
		if whole != split {
			t.Errorf("cut at byte %d changes the events\nwhole: %s\nsplit: %s", at, whole, split)
		}
	})
}

// joinData makes one line of consecutive pieces of data of one stream.
func joinData(log string) string {
	var out []string
	for _, line := range strings.Split(log, "\n") {
		if len(out) > 0 {
			last := out[len(out)-1]
			i, j := strings.Index(last, ` data "`), strings.Index(line, ` data "`)
			if i > 0 && i == j && last[:i] == line[:j] && strings.HasSuffix(last, `"`) {
				out[len(out)-1] = last[:len(last)-1] + line[j+len(` data "`):]
				continue
			}
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// TestLateAnswers: a client that gives many requests up at once passes over whatever answers were under way.
func TestLateAnswers(t *testing.T) {
	t.Parallel()
	p := newClientPeer(t, testOptions())
	ids := []codec.StreamID{1}
	for range 2 * recentResets {
		ids = append(ids, p.open("GET", true))
	}
	for _, id := range ids {
		p.client.Reset(id, Cancel)
	}
	p.take()
	for _, id := range ids {
		p.headers(flagEndHeaders, uint32(id), ":status: 200")
		p.frame(frameData, flagEndStream, uint32(id), []byte("late"))
	}
	p.want("", "")
}
