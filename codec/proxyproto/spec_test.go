package proxyproto

import (
	"strings"
	"testing"
)

// The tests quote proxy-protocol.txt; the numbers in their names are its sections.

// "exactly one space"
func TestSpec_2_1_ExactlyOneSpace(t *testing.T) {
	t.Parallel()
	line := "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"
	for i := range line {
		if line[i] != ' ' {
			continue
		}
		for _, bad := range []string{line[:i] + "  " + line[i+1:], line[:i] + "\t" + line[i+1:]} {
			if _, n, err := Parse([]byte(bad), HeaderBytesMax); err == nil {
				t.Errorf("Parse(%q) = %d, nil; want an error", bad, n)
			}
		}
	}
}

// "For "UNKNOWN", the rest of the line before the CRLF may be omitted by the sender, and the receiver must
// ignore anything presented before the CRLF is found."
func TestSpec_2_1_Unknown(t *testing.T) {
	t.Parallel()
	in := "PROXY UNKNOWN 1.2.3.4 not-an-address \xff\xff\r\n"
	h, n, err := Parse([]byte(in), HeaderBytesMax)
	if n != len(in) || err != nil || h.Family != FamilyUnspec {
		t.Errorf("Parse(%q) = %+v, %d, %v", in, h, n, err)
	}
}

// "The receiver must wait for the CRLF sequence before starting to decode the addresses in order to ensure they are
// complete and properly parsed."
func TestSpec_2_1_WaitForCRLF(t *testing.T) {
	t.Parallel()
	in := "PROXY TCP4 1.2.3.4 5.6.7.8 1 22\r\n"
	for i := range len(in) {
		if _, n, err := Parse([]byte(in[:i]), HeaderBytesMax); n != 0 || err != nil {
			t.Errorf("Parse(%q) = %d, %v; want 0, nil", in[:i], n, err)
		}
	}
}

// "If the CRLF sequence is not found in the first 107 characters, the receiver should declare the line invalid."
func TestSpec_2_1_LineTooLong(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fill int
		err  error
	}{{91, nil}, {92, ReasonTooLong}, {200, ReasonTooLong}} {
		in := "PROXY UNKNOWN " + strings.Repeat("x", tt.fill) + "\r\n"
		if _, _, err := Parse([]byte(in), HeaderBytesMax); err != tt.err {
			t.Errorf("Parse of a line of %d bytes = %v; want %v", len(in), err, tt.err)
		}
	}
}

// "The receiver must not tolerate a single CR or LF character to end the line when a complete CRLF sequence is expected."
func TestSpec_2_1_CompleteCRLF(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"\n", "\r \n", "\n\r\n", "\r\r\n"} {
		if _, n, err := Parse([]byte("PROXY TCP4 1.2.3.4 5.6.7.8 1 2"+end), HeaderBytesMax); err != ReasonLine {
			t.Errorf("Parse of a line that ends in %q = %d, %v; want %v", end, n, err, ReasonLine)
		}
	}
}

// "Any sequence which does not exactly match the protocol must be discarded and cause the receiver to abort the
// connection. It is recommended to abort the connection as soon as possible"
func TestSpec_2_1_AbortSoon(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"G", "PR\x00", "PROXY U4", "PROXY TCP5", "\r\n\r\n\x01", "\r\nX", v2Signature + "\x11"} {
		if _, _, err := Parse([]byte(in[:len(in)-1]), HeaderBytesMax); len(in) > 1 && err != nil && in != "PROXY U4" {
			t.Errorf("Parse(%q) = %v; want nil", in[:len(in)-1], err)
		}
		if _, _, err := Parse([]byte(in), HeaderBytesMax); err == nil {
			t.Errorf("Parse(%q) = nil; want an error", in)
		}
	}
}

// "The receiver must accept this connection as valid and must use the real connection endpoints and discard the
// protocol block including the family which is ignored."
func TestSpec_2_2_LocalDiscards(t *testing.T) {
	t.Parallel()
	for _, pair := range []byte{0x00, 0x11, 0x21, 0x31, 0xff} {
		in := v2(0x20, pair, body4[:3])
		h, n, err := Parse([]byte(in), HeaderBytesMax)
		if n != len(in) || err != nil || !h.Local || h.Family != FamilyUnspec || len(h.TLVs) != 0 {
			t.Errorf("Parse of LOCAL with family byte %#x = %+v, %d, %v", pair, h, n, err)
		}
	}
}

// "other values are unassigned and must not be emitted by senders. Receivers must drop connections presenting
// unexpected values here."
func TestSpec_2_2_UnexpectedCommand(t *testing.T) {
	t.Parallel()
	for command := byte(2); command < 16; command++ {
		if _, _, err := Parse([]byte(v2(0x20|command, 0x11, body4)), HeaderBytesMax); err != ReasonCommand {
			t.Errorf("Parse of command %d = %v; want %v", command, err, ReasonCommand)
		}
	}
}

// "other values are unspecified and must not be emitted in version 2 of this protocol and must be rejected as
// invalid by receivers."
func TestSpec_2_2_UnspecifiedFamilyOrTransport(t *testing.T) {
	t.Parallel()
	valid := " \x00 \x11 \x12 \x21 \x22 \x31 \x32 "
	for pair := range 256 {
		_, n, err := Parse([]byte(v2(0x21, byte(pair), strings.Repeat("\x00", 216))), HeaderBytesMax)
		if ok := strings.Contains(valid, " "+string([]byte{byte(pair)})+" "); ok != (n > 0) || ok != (err != ReasonProtocol) {
			t.Errorf("Parse of family byte %#x = %d, %v", pair, n, err)
		}
	}
}

// "the length of the protocol header in bytes is always exactly 16 + this value. [...] Receivers MUST always consider
// this field to skip the appropriate number of bytes and must not assume zero is presented for LOCAL connections."
func TestSpec_2_2_LengthSkips(t *testing.T) {
	t.Parallel()
	for _, in := range []string{v2(0x20, 0, strings.Repeat("x", 300)), v2(0x21, 0, strings.Repeat("x", 300))} {
		if _, n, err := Parse([]byte(in+"behind"), HeaderBytesMax); n != len(in) || err != nil {
			t.Errorf("Parse = %d, %v; want %d, nil", n, err, len(in))
		}
	}
}

// "The receiver must not start to parse an address before the whole address block is received."
func TestSpec_2_2_WholeBlock(t *testing.T) {
	t.Parallel()
	in := v2(0x21, 0x11, body4, tlv(TypeCRC32C, "bad!"))
	for i := range len(in) {
		if _, n, err := Parse([]byte(in[:i]), HeaderBytesMax); n != 0 || err != nil {
			t.Errorf("Parse of %d bytes = %d, %v; want 0, nil", i, n, err)
		}
	}
}

// "If it is not, the receiver MUST treat the TCP connection providing the header as invalid."
func TestSpec_2_2_3_Checksum(t *testing.T) {
	t.Parallel()
	in := []byte(withChecksum(0x11, body4))
	if _, _, err := Parse(in, HeaderBytesMax); err != nil {
		t.Errorf("Parse of the right checksum: %v", err)
	}
	in[len(in)-1]++
	if _, _, err := Parse(in, HeaderBytesMax); err != ReasonChecksum {
		t.Errorf("Parse of a wrong checksum = %v; want %v", err, ReasonChecksum)
	}
}

// "The TLV of this type should be ignored when parsed. The value is zero or more bytes."
func TestSpec_2_2_4_Noop(t *testing.T) {
	t.Parallel()
	in := v2(0x21, 0x11, body4, tlv(TypeNoop, ""), tlv(TypeNoop, "12345"))
	h, _, err := Parse([]byte(in), HeaderBytesMax)
	if got, _, ok := NextTLV(h.TLVs); ok || err != nil {
		t.Errorf("NextTLV = %v, %v; want nothing but padding", got, err)
	}
}

// "an opaque byte sequence of up to 128 bytes"
func TestSpec_2_2_5_UniqueID(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]error{0: nil, 128: nil, 129: ReasonTLV} {
		in := v2(0x21, 0x11, body4, tlv(TypeUniqueID, strings.Repeat("u", size)))
		if _, _, err := Parse([]byte(in), HeaderBytesMax); err != want {
			t.Errorf("Parse with a unique ID of %d bytes = %v; want %v", size, err, want)
		}
	}
}
