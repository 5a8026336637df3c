package hpack

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRFC7541_C_Integers has the examples of appendix C.1.
func TestRFC7541_C_Integers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		wire string
		bits uint
		want uint32
	}{{"0a", 5, 10}, {"1f9a0a", 5, 1337}, {"2a", 8, 42}} {
		wire := unhex(t, tt.wire)
		v, n, err := readInteger(wire, tt.bits)
		if v != tt.want || n != len(wire) || err != ErrNone {
			t.Errorf("readInteger(%s, %d) = %d, %d, %v; want %d", tt.wire, tt.bits, v, n, err, tt.want)
		}
		if got := appendInteger(nil, 0, tt.bits, tt.want); !bytes.Equal(got, wire) {
			t.Errorf("appendInteger(%d) = %x, want %s", tt.want, got, tt.wire)
		}
	}
}

// TestRFC7541_5_1_IntegerLimits: "Integer encodings that exceed implementation limits -- in value or octet length --
// MUST be treated as decoding errors."
func TestRFC7541_5_1_IntegerLimits(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		wire string
		want Error
	}{
		{"ff ffffffffff7f", ErrInteger},
		{"ff ffffffff0f", ErrInteger},
		{"ff 808080808000", ErrInteger}, // zeros, encoded too long
		{"ff 80", ErrMore},
		{"ff", ErrMore},
		{"ff 8080808000", ErrNone},
	} {
		if _, _, err := readInteger(unhex(t, tt.wire), 7); err != tt.want {
			t.Errorf("readInteger(%s): %v, want %v", tt.wire, err, tt.want)
		}
	}
}

// appendixC are the sequences of appendix C.3 to C.6: requests and responses, plain and Huffman coded, with the sizes the
// table has after each.
var appendixC = []struct {
	name   string
	size   uint32 // of the table
	blocks []string
	lists  []string
	sizes  []uint32
}{
	{
		"C.3 requests", 4096,
		[]string{
			"828684410f7777772e6578616d706c652e636f6d",
			"828684be58086e6f2d6361636865",
			"828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
		},
		requestLists, []uint32{57, 110, 164},
	},
	{
		"C.4 requests, Huffman", 4096,
		[]string{
			"828684418cf1e3c2e5f23a6ba0ab90f4ff",
			"828684be5886a8eb10649cbf",
			"828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
		},
		requestLists, []uint32{57, 110, 164},
	},
	{
		"C.5 responses", 256,
		[]string{
			"4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
			"4803333037c1c0bf",
			"88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
		},
		responseLists, []uint32{222, 222, 215},
	},
	{
		"C.6 responses, Huffman", 256,
		[]string{
			"488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
			"4883640effc1c0bf",
			"88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
		},
		responseLists, []uint32{222, 222, 215},
	},
}

var requestLists = []string{
	":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n",
	":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\ncache-control: no-cache\n",
	":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value\n",
}

var responseLists = []string{
	":status: 302\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com\n",
	":status: 307\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com\n",
	":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\nlocation: https://www.example.com\n" +
		"content-encoding: gzip\nset-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n",
}

func TestRFC7541_C_Sequences(t *testing.T) {
	t.Parallel()
	for _, tt := range appendixC {
		t.Run(tt.name, func(t *testing.T) {
			d := NewDecoder(tt.size)
			for i, block := range tt.blocks {
				got, err := decodeBlock(&d, unhex(t, block))
				if got != tt.lists[i] || err != ErrNone || d.table.size != tt.sizes[i] {
					t.Errorf("block %d: %v, table of %d bytes, want %d\n%swant\n%s", i, err, d.table.size, tt.sizes[i], got, tt.lists[i])
				}
			}
		})
	}
}

// TestRFC7541_5_2_Huffman has what the appendices spell out, and what section 5.2 forbids.
func TestRFC7541_5_2_Huffman(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		wire, want string
		err        Error
	}{
		{"f1e3c2e5f23a6ba0ab90f4ff", "www.example.com", ErrNone},
		{"", "", ErrNone},
		{"ff", "", ErrHuffman},           // 8 bits of padding
		{"1fff", "a", ErrHuffman},        // 11 bits of padding
		{"18", "", ErrHuffman},           // 'a' is 00011, padded with zeros
		{"1f", "a", ErrNone},             //
		{"fffffffc", "", ErrHuffman},     // EOS
		{"3fffffffff", "", ErrHuffman},   // EOS behind '?'s bits
		{"fffffff3ffff", "", ErrHuffman}, // LF is 30 bits: then too much padding
		{"fffffff3", "\n", ErrNone},
	} {
		got, err := appendHuffmanDecoded(nil, unhex(t, tt.wire), 100)
		if err != tt.err || err == ErrNone && string(got) != tt.want {
			t.Errorf("decode(%s) = %q, %v; want %q, %v", tt.wire, got, err, tt.want, tt.err)
		}
	}
	if _, err := appendHuffmanDecoded(nil, unhex(t, "f1e3c2e5f23a6ba0ab90f4ff"), 14); err != ErrTooLong {
		t.Errorf("beyond the limit: %v", err)
	}
	// The codes of some symbols, as appendix B has them.
	for s, want := range map[int]uint32{'0': 0x0, 'a': 0x3, ' ': 0x14, '~': 0x1ffd, 0: 0x1ff8, 10: 0x3ffffffc, 255: 0x3ffffee, eos: 0x3fffffff} {
		if codes[s] != want {
			t.Errorf("the code of %d is %x, want %x", s, codes[s], want)
		}
	}
}

// TestEverySymbol: each byte comes back, alone and between others.
func TestEverySymbol(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		for _, s := range [][]byte{{byte(c)}, {'a', byte(c), 'b'}, {byte(c), byte(c), byte(c)}} {
			b := appendHuffman(nil, s)
			if got, err := appendHuffmanDecoded(nil, b, 3); err != ErrNone || !bytes.Equal(got, s) || len(b) != huffmanLength(s) {
				t.Errorf("%q becomes %x, %d bytes expected, and %q, %v", s, b, huffmanLength(s), got, err)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, wire string
		want       Error
	}{
		// "The index value of 0 is not used. It MUST be treated as a decoding error if found in an indexed header field
		// representation." RFC 7541 section 6.1
		{"index 0", "80", ErrIndex},
		{"index beyond the tables", "be", ErrIndex},
		{"name beyond the tables", "7e0161", ErrIndex},
		{"no name", "40", ErrMore},
		{"short name", "400361", ErrMore},
		{"no value", "4001 61", ErrMore},
		{"short value", "400161 0562", ErrMore},
		{"update too large", "3fe21f", ErrSizeUpdate}, // 4097
		{"update behind a field", "82 20", ErrSizeUpdate},
		{"three updates", "20 20 20 82", ErrSizeUpdate},
		{"two updates", "20 3fe11f 82", ErrNone},
		{"update alone", "20", ErrNone},
		{"long", "00 01 61 7f e5 07" + strings.Repeat("62", 1124), ErrTooLong},
	} {
		d := NewDecoder(TableSizeDefault)
		d.Begin()
		b, err := unhex(t, tt.wire), ErrNone
		for len(b) > 0 && err == ErrNone {
			var n int
			_, n, _, err = d.Next(nil, b, 1000)
			b = b[n:]
		}
		if err != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// TestRFC7541_4_2_LoweredSize: after SETTINGS lowered the table, the next block must say that the peer has seen it.
func TestRFC7541_4_2_LoweredSize(t *testing.T) {
	t.Parallel()
	d := NewDecoder(TableSizeDefault)
	if _, err := decodeBlock(&d, unhex(t, "400161 0162")); err != ErrNone {
		t.Fatal(err)
	}
	d.SetAgreed(100)
	if _, err := decodeBlock(&d, unhex(t, "82")); err != ErrNoUpdate {
		t.Errorf("no update: %v", err)
	}
	if got, err := decodeBlock(&d, unhex(t, "3f45 be")); err != ErrNone || got != "a: b\n" { // 100
		t.Errorf("update: %q, %v", got, err)
	}
	d.SetAgreed(0)
	if got, err := decodeBlock(&d, unhex(t, "20 82")); err != ErrNone || got != ":method: GET\n" || d.table.len() != 0 {
		t.Errorf("update to 0: %q, %v, %d entries", got, err, d.table.len())
	}
	d.SetAgreed(4096)
	if got, err := decodeBlock(&d, unhex(t, "3fe11f 82")); err != ErrNone || got == "" {
		t.Errorf("back: %q, %v", got, err)
	}
}

// TestEncoderTellsSizes: the smallest size since the last block, then the final one.
func TestEncoderTellsSizes(t *testing.T) {
	t.Parallel()
	e := NewEncoder(TableSizeDefault)
	e.SetMax(10)
	e.SetMax(50)
	if got := fmt.Sprintf("%x", e.Begin(nil)); got != "2a3f13" {
		t.Errorf("Begin = %s, want 2a3f13", got)
	}
	if got := e.Begin(nil); len(got) != 0 {
		t.Errorf("the second Begin = %x", got)
	}
	small := NewEncoder(0)
	if got := fmt.Sprintf("%x", small.Begin(nil)); got != "20" {
		t.Errorf("Begin of an encoder without table = %s, want 20", got)
	}
}

// TestNever: a field marked never to be indexed is told as such, and stays out of both tables.
func TestNever(t *testing.T) {
	t.Parallel()
	e, d := NewEncoder(TableSizeDefault), NewDecoder(TableSizeDefault)
	block := e.Append(nil, StaticName("authorization"), []byte("authorization"), []byte("secret"), NeverIndex)
	d.Begin()
	out, n, f, err := d.Next(nil, block, 100)
	if err != ErrNone || n != len(block) || !f.Never || f.Static != 23 || string(out[f.Value:f.End]) != "secret" {
		t.Errorf("Next = %q, %d, %+v, %v", out, n, f, err)
	}
	if e.table.len()+d.table.len() != 0 {
		t.Error("a secret is in a table")
	}
}
