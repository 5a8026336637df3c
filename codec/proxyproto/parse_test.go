package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

// show is what a header says, for comparison.
func show(h *Header) string {
	family := map[Family]string{FamilyUnspec: "unspec", FamilyIPv4: "ip4", FamilyIPv6: "ip6", FamilyUnix: "unix"}[h.Family]
	transport := []string{"", " stream", " dgram"}[h.Transport]
	if h.Local {
		return "local"
	}
	ends := ""
	for _, e := range []*Endpoint{&h.Source, &h.Destination} {
		switch h.Family {
		case FamilyIPv4:
			ends += " " + netip.AddrPortFrom(netip.AddrFrom4([4]byte(e.IP[:4])), e.Port).String()
		case FamilyIPv6:
			ends += " " + netip.AddrPortFrom(netip.AddrFrom16(e.IP), e.Port).String()
		case FamilyUnix:
			ends += " " + strings.ReplaceAll(string(e.Path), "\x00", "@")
		}
	}
	return family + transport + ends
}

func TestParseV1(t *testing.T) {
	t.Parallel()
	long := "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
	for _, tt := range []struct {
		in   string
		want string
		err  error
	}{
		{"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n", "ip4 stream 255.255.255.255:65535 0.0.0.0:0", nil},
		{"PROXY TCP6 " + long + " " + long + " 65535 65535\r\n", "ip6 stream [" + long + "]:65535 [" + long + "]:65535", nil},
		{"PROXY TCP6 :: ::1 1 2\r\n", "ip6 stream [::]:1 [::1]:2", nil},
		{"PROXY TCP6 1:: FE80::A 1 2\r\n", "ip6 stream [1::]:1 [fe80::a]:2", nil},
		{"PROXY TCP6 1:2:3:4:5:6:7:: ::2:3:4:5:6:7:8 1 2\r\n", "ip6 stream [1:2:3:4:5:6:7:0]:1 [0:2:3:4:5:6:7:8]:2", nil},
		{"PROXY TCP6 ::ffff:1.2.3.4 1:2:3:4:5:6:7.8.9.10 1 2\r\n", "ip6 stream [::ffff:1.2.3.4]:1 [1:2:3:4:5:6:708:90a]:2", nil},
		{"PROXY UNKNOWN\r\n", "unspec", nil},
		{"PROXY UNKNOWN " + long + " " + long + " 65535 65535\r\n", "unspec", nil},
		{"PROXY UNKNOWN anything at all\r\n", "unspec", nil},

		{"PROXY UNKNOWN " + long + " " + long + " 65535 65535 \r\n", "", ReasonTooLong},
		{"PROXY UNKNOWN " + strings.Repeat("x", 200), "", ReasonTooLong},
		{"PROXY UNKNOWN\n", "", ReasonProtocol},
		{"PROXY UNKNOWN a\nb\r\n", "", ReasonLine},
		{"PROXY UNKNOWN a\rb\r\n", "", ReasonLine},
		{"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", "", ReasonLine},
		{"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rX", "", ReasonLine},
		{"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "", ReasonLine},
		{"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", "", ReasonLine},
		{"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", "", ReasonLine},
		{"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n", "", ReasonLine},
		{"PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n", "", ReasonLine},
		{"PROXY TCP4\r\n", "", ReasonProtocol},
		{"PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n", "", ReasonProtocol},
		{"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n", "", ReasonProtocol},
		{"PROXY UNKNOWNS\r\n", "", ReasonProtocol},
		{"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", "", ReasonProtocol},
		{"PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n", "", ReasonProtocol},
		{"PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n", "", ReasonAddress},
		{"PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n", "", ReasonAddress},
		{"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n", "", ReasonAddress},
		{"PROXY TCP4 1.2.3.4.5 1.2.3.4 1 2\r\n", "", ReasonAddress},
		{"PROXY TCP4 1.2.3.+4 1.2.3.4 1 2\r\n", "", ReasonAddress},
		{"PROXY TCP4 ::1 ::1 1 2\r\n", "", ReasonAddress},
		{"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", "", ReasonAddress},
		{"PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 2\r\n", "", ReasonAddress},
		{"PROXY TCP6 1:2:3:4:5:6:7 ::1 1 2\r\n", "", ReasonAddress},
		{"PROXY TCP6 1::2::3 ::1 1 2\r\n", "", ReasonAddress},
		{"PROXY TCP6 1:2:3:4::5:6:7:8 ::1 1 2\r\n", "", ReasonAddress},
		{"PROXY TCP6 ::12345 ::1 1 2\r\n", "", ReasonAddress},
		{"PROXY TCP6 ::g ::1 1 2\r\n", "", ReasonAddress},
		{"PROXY TCP6 :1:2:3:4:5:6:7 ::1 1 2\r\n", "", ReasonAddress},
		{"PROXY TCP6 1:2:3:4:5:6:7: ::1 1 2\r\n", "", ReasonAddress},
		{"PROXY TCP6 ::: ::1 1 2\r\n", "", ReasonAddress},
		{"PROXY TCP6 fe80::1%1 ::1 1 2\r\n", "", ReasonAddress},
		{"PROXY TCP6 1.2.3.4:: ::1 1 2\r\n", "", ReasonAddress},
		{"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", "", ReasonPort},
		{"PROXY TCP4 1.2.3.4 1.2.3.4 1 01\r\n", "", ReasonPort},
		{"PROXY TCP4 1.2.3.4 1.2.3.4 1 -1\r\n", "", ReasonPort},
		{"PROXY TCP4 1.2.3.4 1.2.3.4 1 100000\r\n", "", ReasonPort},
		{"PROXY\r\n", "", ReasonNotFound},
		{"proxy TCP4 ", "", ReasonNotFound},
		{"GET / HTTP/1.1\r\n", "", ReasonNotFound},
		{" PROXY TCP4", "", ReasonNotFound},
	} {
		h, n, err := Parse([]byte(tt.in), HeaderBytesMax)
		if err != tt.err || err == nil && (n != len(tt.in) || show(&h) != tt.want || h.Version != 1) {
			t.Errorf("Parse(%q) = %s, %d, %v; want %s, %d, %v", tt.in, show(&h), n, err, tt.want, len(tt.in), tt.err)
		}
		if err == nil {
			behind, m, err := Parse([]byte(tt.in+"\r\nPROXY"), HeaderBytesMax)
			if m != n || err != nil || show(&behind) != show(&h) {
				t.Errorf("Parse(%q and more) = %s, %d, %v", tt.in, show(&behind), m, err)
			}
		}
	}
}

// v2 makes a header of version 2.
func v2(versionCommand, pair byte, body ...string) string {
	s := strings.Join(body, "")
	return v2Signature + string([]byte{versionCommand, pair, byte(len(s) >> 8), byte(len(s))}) + s
}

// tlv makes one TLV.
func tlv(typ byte, value string) string {
	return string([]byte{typ, byte(len(value) >> 8), byte(len(value))}) + value
}

const (
	body4 = "\x0a\x00\x00\x01\x0a\x00\x00\x02\x04\xd2\x01\xbb" // 10.0.0.1:1234 10.0.0.2:443
	text4 = "ip4 stream 10.0.0.1:1234 10.0.0.2:443"
)

func body6() string {
	return strings.Repeat("\x00", 15) + "\x01" + "\x20\x01" + strings.Repeat("\x00", 14) + "\x04\xd2\x01\xbb"
}

func bodyUnix(a, b string) string {
	return a + strings.Repeat("\x00", UnixPathBytes-len(a)) + b + strings.Repeat("\x00", UnixPathBytes-len(b))
}

func TestParseV2(t *testing.T) {
	t.Parallel()
	full := strings.Repeat("p", UnixPathBytes)
	for _, tt := range []struct {
		name, in, want string
		err            error
	}{
		{"tcp4", v2(0x21, 0x11, body4), text4, nil},
		{"udp4", v2(0x21, 0x12, body4), "ip4 dgram 10.0.0.1:1234 10.0.0.2:443", nil},
		{"tcp6", v2(0x21, 0x21, body6()), "ip6 stream [::1]:1234 [2001::]:443", nil},
		{"udp6", v2(0x21, 0x22, body6()), "ip6 dgram [::1]:1234 [2001::]:443", nil},
		{"unix", v2(0x21, 0x31, bodyUnix("/a", "\x00b\x00c")), "unix stream /a @b@c", nil},
		{"unix datagram, full paths", v2(0x21, 0x32, bodyUnix(full, "/a\x00rubbish")), "unix dgram " + full + " /a", nil},
		{"unspec", v2(0x21, 0x00), "unspec", nil},
		{"unspec with bytes to skip", v2(0x21, 0x00, "anything"), "unspec", nil},
		{"local", v2(0x20, 0x00), "local", nil},
		{"local, family ignored", v2(0x20, 0xff, "\x01\xff\xff"), "local", nil},
		{"tlvs", v2(0x21, 0x11, body4, tlv(TypeALPN, "h2"), tlv(0xe0, "")), text4, nil},
		{"unknown tlv", v2(0x21, 0x11, body4, tlv(0x99, "x")), text4, nil},
		{"ssl", v2(0x21, 0x11, body4, tlv(TypeSSL, "\x01\x00\x00\x00\x00"+tlv(TypeSSLVersion, "TLSv1.3"))), text4, nil},
		{"unique id of 128", v2(0x21, 0x11, body4, tlv(TypeUniqueID, full+full[:20])), text4, nil},

		{"version 1", v2(0x11, 0x11, body4), "", ReasonVersion},
		{"version 3", v2(0x31, 0x11, body4), "", ReasonVersion},
		{"command 2", v2(0x22, 0x11, body4), "", ReasonCommand},
		{"family 4", v2(0x21, 0x41, body4), "", ReasonProtocol},
		{"transport 3", v2(0x21, 0x13, body4), "", ReasonProtocol},
		{"family without transport", v2(0x21, 0x10, body4), "", ReasonProtocol},
		{"transport without family", v2(0x21, 0x01, body4), "", ReasonProtocol},
		{"ipv4 too short", v2(0x21, 0x11, body4[:11]), "", ReasonLength},
		{"ipv6 too short", v2(0x21, 0x21, body6()[:35]), "", ReasonLength},
		{"unix too short", v2(0x21, 0x31, bodyUnix("", "")[:215]), "", ReasonLength},
		{"tlv without length", v2(0x21, 0x11, body4, "\x01\x00"), "", ReasonTLV},
		{"tlv beyond the end", v2(0x21, 0x11, body4, "\x01\x00\x03h2"), "", ReasonTLV},
		{"checksum of 3 bytes", v2(0x21, 0x11, body4, tlv(TypeCRC32C, "123")), "", ReasonTLV},
		{"checksum wrong", v2(0x21, 0x11, body4, tlv(TypeCRC32C, "1234")), "", ReasonChecksum},
		{"unique id of 129", v2(0x21, 0x11, body4, tlv(TypeUniqueID, full+full[:21])), "", ReasonTLV},
		{"ssl of 4 bytes", v2(0x21, 0x11, body4, tlv(TypeSSL, "\x01\x00\x00\x00")), "", ReasonTLV},
		{"tlv in ssl beyond the end", v2(0x21, 0x11, body4, tlv(TypeSSL, "\x01\x00\x00\x00\x00\x21\x00\x02x")), "", ReasonTLV},
		{"too long", v2(0x21, 0x11, body4, tlv(0xe0, strings.Repeat("x", 17<<10))), "", ReasonTooLong},
		{"another signature", "\r\n\r\n\x00\r\nQUIX\n!", "", ReasonNotFound},
	} {
		h, n, err := Parse([]byte(tt.in), HeaderBytesMax)
		if err != tt.err || err == nil && (n != len(tt.in) || show(&h) != tt.want || h.Version != 2) {
			t.Errorf("%s: Parse = %s, %d, %v; want %s, %d, %v", tt.name, show(&h), n, err, tt.want, len(tt.in), tt.err)
		}
	}
}

// withChecksum appends a TLV that is right according to another implementation.
func withChecksum(pair byte, body ...string) string {
	b := []byte(v2(0x21, pair, append(body, tlv(TypeCRC32C, "\x00\x00\x00\x00"))...))
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	binary.BigEndian.PutUint32(b[len(b)-4:], sum)
	return string(b)
}

func TestChecksum(t *testing.T) {
	t.Parallel()
	in := []byte(withChecksum(0x11, body4, tlv(TypeALPN, "h2")))
	if _, n, err := Parse(in, HeaderBytesMax); n != len(in) || err != nil {
		t.Fatalf("Parse = %d, %v; want %d, nil", n, err, len(in))
	}
	// Behind the checksum there may be more, which it covers.
	h, _, _ := Parse(in, HeaderBytesMax)
	h.TLVs, _ = AppendTLV(bytes.Clone(h.TLVs), 0xe1, []byte("behind"))
	out, _ := AppendV2([]byte("before"), &h)
	if _, n, err := Parse(out[len("before"):], HeaderBytesMax); n != len(out)-len("before") || err != nil {
		t.Errorf("Parse of a checksum with more behind = %d, %v", n, err)
	}
	twice := bytes.Clone(h.TLVs)
	twice = append(twice, h.TLVs...)
	h.TLVs = twice
	out, _ = AppendV2(nil, &h)
	if _, _, err := Parse(out, HeaderBytesMax); err != ReasonTLV {
		t.Errorf("Parse of two checksums = %v; want %v", err, ReasonTLV)
	}
	for i := range in {
		bad := bytes.Clone(in)
		bad[i] ^= 0x10
		isType := i == len(in)-tlvPrefixBytes-checksumBytes // without it there is no checksum
		if _, n, err := Parse(bad, HeaderBytesMax); n > 0 && !isType {
			t.Errorf("Parse with byte %d changed = %d, %v; want an error", i, n, err)
		}
	}
}

func TestTLVs(t *testing.T) {
	t.Parallel()
	ssl := "\x05\x00\x00\x00\x09" + tlv(TypeSSLVersion, "TLSv1.3") + tlv(TypeSSLCN, "example.com")
	in := v2(0x21, 0x11, body4, tlv(TypeNoop, "pad"), tlv(TypeAuthority, "a.b"), tlv(TypeNoop, ""), tlv(TypeSSL, ssl), tlv(TypeNoop, ""))
	h, _, err := Parse([]byte(in), HeaderBytesMax)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	a, rest, ok := NextTLV(h.TLVs)
	if !ok || a.Type != TypeAuthority || string(a.Value) != "a.b" {
		t.Errorf("first TLV = %v, %v", a, ok)
	}
	s, rest, ok := NextTLV(rest)
	if !ok || s.Type != TypeSSL {
		t.Errorf("second TLV = %v, %v", s, ok)
	}
	if end, _, ok := NextTLV(rest); ok {
		t.Errorf("third TLV = %v; want none", end)
	}
	parsed, ok := ParseSSL(s.Value)
	if !ok || parsed.Client != ClientSSL|ClientCertSess || parsed.Verify != 9 {
		t.Errorf("ParseSSL = %+v, %v", parsed, ok)
	}
	_, rest, _ = NextTLV(parsed.TLVs)
	if cn, _, ok := NextTLV(rest); !ok || cn.Type != TypeSSLCN || string(cn.Value) != "example.com" {
		t.Errorf("common name = %v, %v", cn, ok)
	}
}

func TestAppendV1(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var ip [16]byte
		for i := range ip {
			if rng.IntN(3) == 0 {
				ip[i] = byte(rng.Uint32())
			}
		}
		h := Header{Version: 1, Family: FamilyIPv6, Transport: TransportStream, Source: Endpoint{IP: ip, Port: 7}}
		got := AppendV1(nil, &h)
		a := netip.AddrFrom16(ip)
		if want := a.String(); !a.Is4In6() && string(bytes.Fields(got)[2]) != want {
			t.Errorf("AppendV1 = %q; want the address %q", got, want)
		}
		if back, n, err := Parse(got, 0); n != len(got) || err != nil || show(&back) != show(&h) {
			t.Errorf("Parse(%q) = %s, %d, %v; want %s", got, show(&back), n, err, show(&h))
		}
	}
	for _, h := range []Header{{Local: true}, {Family: FamilyUnix, Transport: TransportStream}, {Family: FamilyIPv4, Transport: TransportDatagram}, {}} {
		if got := string(AppendV1(nil, &h)); got != "PROXY UNKNOWN\r\n" {
			t.Errorf("AppendV1(%s) = %q", show(&h), got)
		}
	}
}

func TestAppendV2Refuses(t *testing.T) {
	t.Parallel()
	long := make([]byte, v2LengthMax+1)
	if out, ok := AppendTLV([]byte("x"), 1, long); ok || string(out) != "x" {
		t.Error("AppendTLV took a value of 65536 bytes")
	}
	for _, h := range []Header{
		{Family: FamilyIPv4, Transport: TransportStream, TLVs: long[:v2LengthMax-11]},
		{Family: FamilyUnix, Transport: TransportStream, Source: Endpoint{Path: long[:UnixPathBytes+1]}},
		{Family: FamilyUnix, Transport: TransportStream, Destination: Endpoint{Path: long[:UnixPathBytes+1]}},
	} {
		if out, ok := AppendV2([]byte("x"), &h); ok || string(out) != "x" {
			t.Errorf("AppendV2 took %s with %d bytes of TLVs", h.Source.Path, len(h.TLVs))
		}
	}
}

func TestReason(t *testing.T) {
	t.Parallel()
	for r := ReasonNone; r <= ReasonChecksum; r++ {
		if r.String() == "unknown" || !errors.Is(r, r) {
			t.Errorf("reason %d has no name", r)
		}
	}
	if Reason(99).String() != "unknown" || ReasonTLV.Error() != "PROXY protocol header: tlv" {
		t.Error("wrong text of a reason")
	}
}

// A parse and an append allocate nothing.
func TestAllocs(t *testing.T) {
	in := []byte(withChecksum(0x11, body4, tlv(TypeALPN, "h2")))
	line := []byte("PROXY TCP6 ::1 2001:db8::1 1234 443\r\n")
	dst := make([]byte, 0, 256)
	n := testing.AllocsPerRun(100, func() {
		h, _, _ := Parse(in, HeaderBytesMax)
		dst, _ = AppendV2(dst[:0], &h)
		h, _, _ = Parse(line, HeaderBytesMax)
		dst = AppendV1(dst[:0], &h)
		_, _, _ = Parse(line[:20], HeaderBytesMax)
		_, _, _ = Parse(in[1:], HeaderBytesMax)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkParse(b *testing.B) {
	for _, bb := range []struct{ name, in string }{
		{"v1", "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"},
		{"v2", v2(0x21, 0x11, body4)},
		{"v2-checksum", withChecksum(0x11, body4, tlv(TypeALPN, "h2"))},
	} {
		b.Run(bb.name, func(b *testing.B) {
			in := []byte(bb.in)
			b.ReportAllocs() // TestAllocs holds this at zero
			for b.Loop() {
				if _, n, err := Parse(in, HeaderBytesMax); n != len(in) || err != nil {
					b.Fatalf("Parse = %d, %v", n, err)
				}
			}
		})
	}
}
