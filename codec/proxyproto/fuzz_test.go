package proxyproto

import (
	"bytes"
	"strings"
	"testing"
)

func seeds(f *testing.F) {
	for _, s := range []string{
		"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET / HTTP/1.1\r\n",
		"PROXY TCP6 ::1 2001:db8::a:0:0:1 1 2\r\n",
		"PROXY UNKNOWN ffff:f...f:ffff\r\n", "PROXY UNKNOWN\r\n", "PROXY TCP4 1.2.3.4\r\n", "PROXY", "GET /",
		v2(0x20, 0x00), v2(0x21, 0x11, body4, tlv(TypeNoop, ""), tlv(TypeALPN, "h2")), v2(0x21, 0x22, body6()),
		v2(0x21, 0x31, bodyUnix("/run/a", "\x00b")), withChecksum(0x21, body6(), tlv(0xe0, "x")),
		v2(0x21, 0x11, body4, tlv(TypeSSL, "\x01\x00\x00\x00\x00"+tlv(TypeSSLVersion, "TLSv1.3"))),
		v2(0x21, 0x11, body4, "\x01\xff\xff"), v2(0x21, 0x00, strings.Repeat("x", 90)),
	} {
		f.Add([]byte(s))
	}
}

// FuzzParse: the verdict does not depend on where the bytes were cut, and what is appended again says the same.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		const limit = 4096
		h, n, err := Parse(in, limit)
		if n < 0 || n > len(in) || err != nil && n != 0 {
			t.Fatalf("Parse(%q) = %d, %v", in, n, err)
		}
		for i := range len(in) {
			// Copied, so that reading past the end shows.
			part, m, errPart := Parse(bytes.Clone(in[:i]), limit)
			if m == 0 && errPart == nil {
				continue
			}
			if m != n || errPart != err || show(&part) != show(&h) || !bytes.Equal(part.TLVs, h.TLVs) {
				t.Fatalf("Parse(%q) = %s, %d, %v; of %d bytes of it %s, %d, %v", in, show(&h), n, err, i, show(&part), m, errPart)
			}
			break
		}
		if n == 0 {
			return
		}
		checkAgain(t, &h, AppendV1(nil, &h), 1)
		out, ok := AppendV2(nil, &h)
		if !ok {
			t.Fatalf("AppendV2(%s) reports false", show(&h))
		}
		checkAgain(t, &h, out, 2)
	})
}

// checkAgain checks that out says what h does, as far as its version can.
func checkAgain(t *testing.T, h *Header, out []byte, version uint8) {
	t.Helper()
	again, n, err := Parse(out, v2PrefixBytes+v2LengthMax)
	if n != len(out) || err != nil || again.Version != version {
		t.Fatalf("Parse(%q) = %d, %v", out, n, err)
	}
	want := *h
	if sayable := want.Transport == TransportStream && want.Family != FamilyUnix; version == 1 && !sayable {
		want = Header{}
	}
	if show(&again) != show(&want) {
		t.Fatalf("%s became %s", show(&want), show(&again))
	}
	if version == 2 && !bytes.Equal(again.TLVs, h.TLVs) {
		t.Fatalf("TLVs %q became %q", h.TLVs, again.TLVs)
	}
}
