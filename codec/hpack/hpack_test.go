package hpack

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestTableChurn: fields of all sizes come back, whatever leaves the tables meanwhile.
func TestTableChurn(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	e, d := NewEncoder(TableSizeDefault), NewDecoder(TableSizeDefault)
	var m Memory
	e.Share(&m)
	d.Share(&m)
	var recent [][2][]byte
	for round := range 20000 {
		if round%500 == 0 {
			size := uint32(rng.IntN(TableSizeDefault + 1))
			e.SetMax(size)
		}
		if round%97 == 0 {
			e.Trim()
			d.Trim()
			if over := cap(e.table.data) - e.table.live(); over >= trimBytes {
				t.Fatalf("round %d: %d bytes of no use after Trim", round, over)
			}
		}
		f := [2][]byte{fmt.Appendf(nil, "x-%d", rng.IntN(40)), bytes.Repeat([]byte{byte('a' + rng.IntN(26))}, rng.IntN(300))}
		if len(recent) > 0 && rng.IntN(2) == 0 {
			f = recent[rng.IntN(len(recent))]
		}
		if recent = append(recent, f); len(recent) > 50 {
			recent = recent[1:]
		}
		block := e.Append(e.Begin(nil), 0, f[0], f[1], Index)
		got, err := decodeBlock(&d, block)
		if want := fmt.Sprintf("%s: %s\n", f[0], f[1]); got != want || err != ErrNone {
			t.Fatalf("round %d: %q, %v; want %q", round, got, err, want)
		}
		if e.table.size != d.table.size || e.table.len() != d.table.len() || e.table.size > e.table.max {
			t.Fatalf("round %d: tables of %d and %d bytes, at most %d", round, e.table.size, d.table.size, e.table.max)
		}
		if cap(e.table.data) > TableSizeDefault+TableSizeDefault/2 || len(e.table.ring) > 128 {
			t.Fatalf("round %d: memory of %d bytes and %d places", round, cap(e.table.data), len(e.table.ring))
		}
	}
}

// TestMemory: what one table gives back is the next one's.
func TestMemory(t *testing.T) {
	t.Parallel()
	var m Memory
	d := NewDecoder(TableSizeDefault)
	d.Share(&m)
	fill := func() {
		for i := range 30 {
			d.table.insert(fmt.Appendf(nil, "x-%d", i), make([]byte, 100))
		}
	}
	fill()
	data := &d.table.data[:1][0]
	d.Trim()
	if got, want := cap(d.table.data), d.table.live(); got > want+want/8 || d.table.len() != 30 {
		t.Errorf("%d bytes of memory for %d, %d entries", got, want, d.table.len())
	}
	if name, _, ok := d.table.get(29); !ok || string(name) != "x-0" {
		t.Errorf("the oldest entry is %q, %v", name, ok)
	}
	d.Release()
	d = NewDecoder(TableSizeDefault)
	d.Share(&m)
	fill()
	if &d.table.data[:1][0] != data {
		t.Error("the memory of the first table is not that of the second")
	}
	d.table.evict(TableSizeDefault + 1)
	d.Trim()
	if d.table.data != nil || d.table.ring != nil {
		t.Error("an empty table has memory")
	}
	fill()
}

var request = [][2]string{
	{":method", "GET"}, {":scheme", "https"}, {":path", "/api/v1/items?page=3"}, {":authority", "shop.example.com"},
	{"user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
	{"accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}, {"accept-encoding", "gzip, deflate, br"},
	{"cookie", "session=5f0c1c8e7a; theme=dark"}, {"x-request-id", "9c9d1f2e-1b1c-4f57-8e1e-0f9b2a7d6c33"},
}

// encodeRequest appends the block of request.
func encodeRequest(e *Encoder, dst []byte, fields [][2][]byte, static []int) []byte {
	dst = e.Begin(dst)
	for i := range fields {
		mode := Index
		if i == 2 || i == len(fields)-1 {
			mode = Literal
		}
		dst = e.Append(dst, static[i], fields[i][0], fields[i][1], mode)
	}
	return dst
}

func requestFields() (fields [][2][]byte, static []int) {
	for _, f := range request {
		fields = append(fields, [2][]byte{[]byte(f[0]), []byte(f[1])})
		static = append(static, StaticName(f[0]))
	}
	return fields, static
}

func decodeAll(d *Decoder, dst, block []byte) []byte {
	d.Begin()
	for len(block) > 0 {
		out, n, _, err := d.Next(dst, block, 4096)
		if err != ErrNone {
			panic(err.String())
		}
		dst, block = out, block[n:]
	}
	return dst
}

func TestAllocs(t *testing.T) {
	e, d := NewEncoder(TableSizeDefault), NewDecoder(TableSizeDefault)
	fields, static := requestFields()
	block, out := make([]byte, 0, 1024), make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() {
		decodeAll(&d, out, encodeRequest(&e, block, fields, static))
	}); n != 0 {
		t.Errorf("%v allocations a request, want 0", n)
	}
}

func BenchmarkEncode(b *testing.B) {
	e := NewEncoder(TableSizeDefault)
	fields, static := requestFields()
	block := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		block = encodeRequest(&e, block[:0], fields, static)
	}
}

func BenchmarkDecode(b *testing.B) {
	e, d := NewEncoder(TableSizeDefault), NewDecoder(TableSizeDefault)
	fields, static := requestFields()
	out := make([]byte, 0, 4096)
	out = decodeAll(&d, out[:0], encodeRequest(&e, nil, fields, static))
	block := encodeRequest(&e, nil, fields, static)
	b.ReportAllocs()
	for b.Loop() {
		out = decodeAll(&d, out[:0], block)
	}
}

// FuzzDecode: no block makes the decoder panic, give more than its limit, or exceed its table; what it
// accepts comes back after encoding it.
func FuzzDecode(f *testing.F) {
	for _, tt := range appendixC {
		for _, b := range tt.blocks {
			f.Add([]byte(b), uint16(4096))
		}
	}
	f.Add([]byte("\x20\x3f\xe1\x1f\x82\x40\x01a\x85\x1f\xff\xff\xff\xff"), uint16(64))
	f.Fuzz(func(t *testing.T, block []byte, size uint16) {
		d, e, again := NewDecoder(uint32(size)), NewEncoder(uint32(size)), NewDecoder(uint32(size))
		d.Begin()
		again.Begin()
		wire := e.Begin(nil)
		var sent, got []byte
		for len(block) > 0 {
			out, n, fd, err := d.Next(nil, block, 300)
			if err != ErrNone {
				break
			}
			if n == 0 || n > len(block) || len(out) > 300 || d.table.size > uint32(size) {
				t.Fatalf("Next used %d of %d bytes, gave %d; the table has %d of %d", n, len(block), len(out), d.table.size, size)
			}
			if block = block[n:]; fd.End < 0 {
				continue
			}
			wire = e.Append(wire, 0, out[fd.Off:fd.Value], out[fd.Value:fd.End], Mode(len(out)%3))
			sent = append(sent, out...)
		}
		for len(wire) > 0 {
			out, n, _, err := again.Next(nil, wire, 300)
			if err != ErrNone {
				t.Fatalf("what was encoded is refused: %v", err)
			}
			wire, got = wire[n:], append(got, out...)
		}
		if !bytes.Equal(sent, got) {
			t.Fatalf("%q came back as %q", sent, got)
		}
	})
}
