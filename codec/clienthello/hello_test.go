package clienthello

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// wire is a net.Conn that reads b and then ends, and keeps what is written.
type wire struct {
	r   io.Reader
	out bytes.Buffer
}

func (w *wire) Read(b []byte) (int, error)       { return w.r.Read(b) }
func (w *wire) Write(b []byte) (int, error)      { return w.out.Write(b) }
func (w *wire) Close() error                     { return nil }
func (w *wire) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (w *wire) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// helloOf returns what a client of crypto/tls sends first.
func helloOf(cfg *tls.Config) []byte {
	w := &wire{r: strings.NewReader("")}
	cfg.InsecureSkipVerify = true
	_ = tls.Client(w, cfg).Handshake() // fails: nobody answers
	return w.out.Bytes()
}

// serverSees returns what a server of crypto/tls makes of a hello; nil if it refuses it.
func serverSees(b []byte) (info *tls.ClientHelloInfo) {
	stop := errors.New("seen")
	cfg := &tls.Config{GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
		info = i
		return nil, stop
	}}
	_ = tls.Server(&wire{r: bytes.NewReader(b)}, cfg).HandshakeContext(context.Background())
	return info
}

func clientHellos() map[string][]byte {
	big := make([]string, 40)
	for i := range big {
		big[i] = strings.Repeat("p", i+1)
	}
	return map[string][]byte{
		"plain":        helloOf(&tls.Config{ServerName: "www.example.com"}),
		"h2":           helloOf(&tls.Config{ServerName: "WWW.Example.COM", NextProtos: []string{"h2", "http/1.1"}}),
		"no name":      helloOf(&tls.Config{NextProtos: []string{"h2"}}),
		"tls 1.0":      helloOf(&tls.Config{ServerName: "old.example", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}),
		"tls 1.2":      helloOf(&tls.Config{ServerName: "a.b", MaxVersion: tls.VersionTLS12}),
		"post-quantum": helloOf(&tls.Config{ServerName: "pq.example", CurvePreferences: []tls.CurveID{tls.X25519MLKEM768}}),
		"classical":    helloOf(&tls.Config{ServerName: "c.example", CurvePreferences: []tls.CurveID{tls.CurveP521}}),
		"many alpn":    helloOf(&tls.Config{ServerName: "alpn.example", NextProtos: big}),
	}
}

// fragment spreads the message of a hello over records of size bytes.
func fragment(hello []byte, size int) []byte {
	var out []byte
	for b := hello[recordHeadBytes:]; len(b) > 0; {
		n := min(size, len(b))
		out = append(out, hello[:3]...)
		out = binary.BigEndian.AppendUint16(out, uint16(n))
		out = append(out, b[:n]...)
		b = b[n:]
	}
	return out
}

func TestParseClients(t *testing.T) {
	t.Parallel()
	for name, in := range clientHellos() {
		want := serverSees(in)
		if want == nil {
			t.Fatalf("%s: crypto/tls does not take its own hello", name)
		}
		for _, size := range []int{len(in), 1 << 14, 100, 40} {
			b := fragment(in, size)
			h, n, err := Parse(append(b, "behind"...), HelloBytesMax)
			if n != len(b) || err != nil {
				t.Fatalf("%s in records of %d: Parse = %d, %v; want %d, nil", name, size, n, err, len(b))
			}
			if h.ServerName != strings.ToLower(want.ServerName) || !slices.Equal(h.Protocols, want.SupportedProtos) {
				t.Errorf("%s: %q, %q; want %q, %q", name, h.ServerName, h.Protocols, want.ServerName, want.SupportedProtos)
			}
			if len(h.Versions) > 0 && !slices.Equal(h.Versions, want.SupportedVersions) {
				t.Errorf("%s: versions %x; want %x", name, h.Versions, want.SupportedVersions)
			}
			if !slices.Equal(numbers(h.ciphers), want.CipherSuites) || !slices.Equal(h.extensionTypes(), want.Extensions) {
				t.Errorf("%s: ciphers %x, extensions %x; want %x, %x", name, h.ciphers, h.extensionTypes(), want.CipherSuites, want.Extensions)
			}
			for i := range b {
				if _, n, err := Parse(bytes.Clone(b[:i]), HelloBytesMax); n != 0 || err != nil {
					t.Fatalf("%s: Parse of %d bytes = %d, %v; want 0, nil", name, i, n, err)
				}
			}
		}
	}
}

// A session ticket makes a hello long.
func TestParseResumption(t *testing.T) {
	t.Parallel()
	in := made(extension(35, strings.Repeat("t", 9000)), extension(41, strings.Repeat("k", 20000)), sni("ticket.example"))
	h, n, err := Parse(in, HelloBytesMax)
	if n != len(in) || err != nil || h.ServerName != "ticket.example" {
		t.Errorf("Parse = %+v, %d, %v", h, n, err)
	}
}

func vector8(s string) string  { return string([]byte{byte(len(s))}) + s }
func vector16(s string) string { return string([]byte{byte(len(s) >> 8), byte(len(s))}) + s }

func extension(typ uint16, value string) string {
	return string([]byte{byte(typ >> 8), byte(typ)}) + vector16(value)
}

func sni(name string) string { return extension(0, vector16("\x00"+vector16(name))) }

func alpn(names ...string) string {
	list := ""
	for _, n := range names {
		list += vector8(n)
	}
	return extension(16, vector16(list))
}

// made makes a hello of extensions, in as few records as can be.
func made(extensions ...string) []byte {
	return message("\x03\x03" + strings.Repeat("r", 32) + vector8("") + vector16("\x13\x01\x0a\x0a") + vector8("\x00") +
		vector16(strings.Join(extensions, "")))
}

func message(body string) []byte {
	head := []byte{messageClientHello, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}
	return fragment(append([]byte("\x16\x03\x01\x00\x00"), string(head)+body...), recordBytesMax)
}

func TestParseVerdicts(t *testing.T) {
	t.Parallel()
	random := strings.Repeat("r", 32)
	for _, tt := range []struct {
		name string
		in   []byte
		err  error
	}{
		{"no extensions", message("\x03\x01" + random + vector8("") + vector16("\x00\x2f") + vector8("\x00")), nil},
		{"empty extensions", made(), nil},
		{"dot at the end", made(sni("a.example.")), nil},
		{"underscore", made(sni("_dmarc.a-b.example")), nil},
		{"address", made(sni("127.0.0.1")), nil},
		{"unknown extensions", made(extension(0x1234, "x"), extension(0x0a0a, ""), sni("a.example")), nil},

		{"http", []byte("GET / HTTP/1.1\r\n"), ReasonNotTLS},
		{"ssl 2", []byte("\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10"), ReasonNotTLS},
		{"alert", []byte("\x15\x03\x01\x00\x02"), ReasonNotTLS},
		{"server hello", []byte("\x16\x03\x03\x00\x40\x02"), ReasonNotTLS},
		{"version 2 of records", []byte("\x16\x02\x00"), ReasonNotTLS},
		{"version 3.5 of records", []byte("\x16\x03\x05"), ReasonNotTLS},
		{"empty record", []byte("\x16\x03\x01\x00\x00"), ReasonNotTLS},
		{"record too long", []byte("\x16\x03\x01\x40\x01"), ReasonNotTLS},
		{"message too long", []byte("\x16\x03\x01\x40\x00\x01\x01\x00\x00"), ReasonTooLarge},
		{"alert between", append(fragment(made(sni("a.b")), 10)[:15], "\x15\x03\x01\x00\x02\x01\x00"...), ReasonMalformed},
		{"too many records", fragment(made(sni("abcdefghij.example")), 1), ReasonTooLarge},

		{"ssl 1 inside", message("\x02\x03" + random + vector8("") + vector16("\x00\x2f") + vector8("\x00")), ReasonMalformed},
		{"session id of 33", message("\x03\x01" + random + vector8(random+"x") + vector16("\x00\x2f") + vector8("\x00")), ReasonMalformed},
		{"no ciphers", message("\x03\x01" + random + vector8("") + vector16("") + vector8("\x00")), ReasonMalformed},
		{"odd ciphers", message("\x03\x01" + random + vector8("") + vector16("\x00\x2f\x00") + vector8("\x00")), ReasonMalformed},
		{"no compression", message("\x03\x01" + random + vector8("") + vector16("\x00\x2f") + vector8("")), ReasonMalformed},
		{"cut", message("\x03\x01" + random), ReasonMalformed},
		{"bytes behind", message("\x03\x01" + random + vector8("") + vector16("\x00\x2f") + vector8("\x00") + vector16("") + "x"), ReasonMalformed},
		{"extension twice", made(extension(5, ""), extension(5, "")), ReasonMalformed},
		{"sni twice", made(sni("a.example"), sni("b.example")), ReasonMalformed},
		{"two names", made(extension(0, vector16("\x00"+vector16("a.b")+"\x00"+vector16("c.d")))), ReasonMalformed},
		{"name of another type", made(extension(0, vector16("\x01"+vector16("a.b")))), ReasonMalformed},
		{"no names", made(extension(0, vector16(""))), ReasonMalformed},
		{"empty sni", made(extension(0, "")), ReasonMalformed},
		{"empty alpn", made(extension(16, vector16(""))), ReasonMalformed},
		{"alpn with an empty name", made(alpn("h2", "")), ReasonMalformed},
		{"alpn cut", made(extension(16, vector16("\x05h2"))), ReasonMalformed},
		{"too many protocols", made(alpn(strings.Split(strings.Repeat("a", ProtocolsMax+1), "")...)), ReasonMalformed},
		{"odd versions", made(extension(43, vector8("\x03\x04\x03"))), ReasonMalformed},
		{"odd groups", made(extension(10, vector16("\x03\x04\x03"))), ReasonMalformed},
		{"odd signatures", made(extension(13, vector16("\x03"))), ReasonMalformed},
		{"points cut", made(extension(11, "\x05\x00")), ReasonMalformed},
		{"empty name", made(sni("")), ReasonName},
		{"dot", made(sni(".")), ReasonName},
		{"two dots at the end", made(sni("a..")), ReasonName},
		{"empty label", made(sni("a..b")), ReasonName},
		{"zero byte", made(sni("a\x00.example")), ReasonName},
		{"utf-8", made(sni("ü.example")), ReasonName},
		{"port", made(sni("a.example:443")), ReasonName},
		{"wildcard", made(sni("*.example")), ReasonName},
		{"IPv6", made(sni("::1")), ReasonName},
		{"label of 64", made(sni(strings.Repeat("a", 64) + ".example")), ReasonName},
		{"name of 254", made(sni(strings.Repeat("a.", 126) + "ab")), ReasonName},
	} {
		h, n, err := Parse(tt.in, HelloBytesMax)
		if err != tt.err || err == nil && (n != len(tt.in) || h == nil) {
			t.Errorf("%s: Parse = %+v, %d, %v; want %v", tt.name, h, n, err, tt.err)
		}
	}
}

// 64 KiB, byte by byte.
func TestParseTooLarge(t *testing.T) {
	t.Parallel()
	in := made(extension(21, strings.Repeat("\x00", 65000)))
	if _, n, err := Parse(in, len(in)); n != len(in) || err != nil {
		t.Errorf("Parse of %d bytes = %d, %v", len(in), n, err)
	}
	if _, n, err := Parse(in, len(in)-1); err != ReasonTooLarge {
		t.Errorf("Parse with a limit below = %d, %v; want %v", n, err, ReasonTooLarge)
	}
	if _, _, err := Parse(in[:9], 60000); err != ReasonTooLarge {
		t.Errorf("Parse of the first 9 bytes = %v; want %v: the length is known", err, ReasonTooLarge)
	}
	for i := range in {
		if _, n, err := Parse(in[:i], HelloBytesMax); n != 0 || err != nil {
			t.Fatalf("Parse of %d bytes = %d, %v; want 0, nil", i, n, err)
		}
	}
}

// The hello, its name, two protocols and their list, and the versions.
func TestParseAllocs(t *testing.T) {
	in := helloOf(&tls.Config{ServerName: "a.example", NextProtos: []string{"h2", "http/1.1"}})
	if n := testing.AllocsPerRun(100, func() { _, _, _ = Parse(in, HelloBytesMax) }); n > 6 {
		t.Errorf("%v allocations, want 6", n)
	}
}

func TestIncompleteAllocs(t *testing.T) {
	in := made(extension(21, strings.Repeat("\x00", 65000)))
	if n := testing.AllocsPerRun(10, func() { _, _, _ = Parse(in[:60000], HelloBytesMax) }); n != 0 {
		t.Errorf("%v allocations for an incomplete hello", n)
	}
}

func TestGREASE(t *testing.T) {
	t.Parallel()
	in := made(extension(0x1a1a, ""), sni("a.b"), alpn("\x0a\x0a", "h2"), extension(43, vector8("\x2a\x2a\x03\x04\x03\x03")),
		extension(10, vector16("\xfa\xfa\x00\x1d")), extension(11, vector8("\x00")), extension(0xdada, "\x00"))
	h, _, err := Parse(in, HelloBytesMax)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	if !slices.Equal(h.Protocols, []string{"h2"}) || !slices.Equal(h.Versions, []uint16{0x0304, 0x0303}) {
		t.Errorf("protocols %q, versions %x", h.Protocols, h.Versions)
	}
	if got, want := h.JA3(), "771,4865,0-16-43-10-11,29,0"; got != want {
		t.Errorf("JA3 = %q, want %q", got, want)
	}
}

// The example of the JA4 specification, and that of JA3.
func TestFingerprints(t *testing.T) {
	t.Parallel()
	ciphers := "\x13\x01\x13\x02\x13\x03\xc0\x2b\xc0\x2f\xc0\x2c\xc0\x30\xcc\xa9\xcc\xa8\xc0\x13\xc0\x14\x00\x9c\x00\x9d\x00\x2f\x00\x35"
	exts := sni("a.example") + extension(0x17, "") + extension(0xff01, "\x00") + extension(10, vector16("\x00\x1d\x00\x17\x00\x18")) +
		extension(11, vector8("\x00")) + extension(0x23, "") + alpn("h2", "http/1.1") + extension(5, "") +
		extension(13, vector16("\x04\x03\x08\x04\x04\x01\x05\x03\x08\x05\x05\x01\x08\x06\x06\x01")) + extension(0x12, "") + extension(0x33, "") +
		extension(0x2d, "") + extension(43, vector8("\x0a\x0a\x03\x04\x03\x03")) + extension(0x1b, "") + extension(0x4469, "") +
		extension(0x15, "")
	in := message("\x03\x03" + strings.Repeat("r", 32) + vector8("") + vector16("\x3a\x3a"+ciphers) + vector8("\x00") +
		vector16(extension(0x6a6a, "")+exts))
	h, _, err := Parse(in, HelloBytesMax)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	head, c, e := h.JA4()
	got := head + "_" + shortHash(c) + "_" + shortHash(e)
	if want := "t13d1516h2_8daaf6152771_e5627efa2ab1"; got != want {
		t.Errorf("JA4 = %q, want %q (%s, %s)", got, want, c, e)
	}
	want := "771,4865-4866-4867-49195-49199-49196-49200-52393-52392-49171-49172-156-157-47-53," +
		"0-23-65281-10-11-35-16-5-13-18-51-45-43-27-17513-21,29-23-24,0"
	if got := h.JA3(); got != want {
		t.Errorf("JA3 = %q, want %q", got, want)
	}
	if sum := md5.Sum([]byte(want)); hex.EncodeToString(sum[:]) != "cd08e31494f9531f560d64c695473da9" {
		t.Errorf("JA3 hash = %x", sum)
	}
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])[:12]
}

func TestJA4Parts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   []byte
		want string
	}{
		{message("\x03\x01" + strings.Repeat("r", 32) + vector8("") + vector16("\x00\x2f") + vector8("\x00")), "t10i010000"},
		{made(alpn("\xab\x01")), "t12i0101a1"},
		{made(alpn("x")), "t12i0101xx"},
		{made(sni("a.b"), extension(43, vector8("\x7f\x1c"))), "t00d010200"},
	} {
		h, _, err := Parse(tt.in, HelloBytesMax)
		if err != nil {
			t.Fatalf("Parse: %v", err)
		}
		if got, _, _ := h.JA4(); got != tt.want {
			t.Errorf("JA4 = %q, want %q", got, tt.want)
		}
	}
}

func TestReasons(t *testing.T) {
	t.Parallel()
	for r := ReasonNone; r <= ReasonName; r++ {
		if r.String() == "unknown" {
			t.Errorf("reason %d has no name", r)
		}
	}
	if Reason(99).String() != "unknown" || ReasonNotTLS.Error() != "TLS ClientHello: not_tls" {
		t.Error("wrong text of a reason")
	}
}

// FuzzParse: the verdict does not depend on where the bytes were cut, and where crypto/tls takes a hello too, both
// see the same.
func FuzzParse(f *testing.F) {
	for _, in := range clientHellos() {
		f.Add(in, uint16(100))
		f.Add(fragment(in, 60), uint16(1))
	}
	f.Add(made(extension(0x1a1a, ""), sni("a.b."), alpn("\x0a\x0a", "h2")), uint16(1))
	f.Fuzz(func(t *testing.T, in []byte, cut uint16) {
		const limit = 16 << 10
		h, n, err := Parse(in, limit)
		if n < 0 || n > len(in) || n > limit || (n > 0) != (h != nil) || err != nil && n > 0 {
			t.Fatalf("Parse(%x) = %v, %d, %v", in, h, n, err)
		}
		at := int(cut) % (len(in) + 1)
		part, m, errPart := Parse(bytes.Clone(in[:at]), limit)
		if (m > 0 || errPart != nil) && (m != n || errPart != err) {
			t.Fatalf("Parse(%x) = %d, %v; of %d bytes of it %d, %v", in, n, err, at, m, errPart)
		}
		if h == nil {
			return
		}
		if part != nil && part.JA3() != h.JA3() {
			t.Fatalf("JA3 depends on the cut: %q, %q", part.JA3(), h.JA3())
		}
		h.JA4()
		if info := serverSees(in); info != nil {
			name := strings.TrimSuffix(strings.ToLower(info.ServerName), ".")
			if name != h.ServerName || !slices.Equal(withoutGREASEText(info.SupportedProtos), h.Protocols) {
				t.Fatalf("Parse(%x) = %q, %q; crypto/tls sees %q, %q", in, h.ServerName, h.Protocols, name, info.SupportedProtos)
			}
		}
	})
}

func withoutGREASEText(list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool {
		return len(s) == 2 && isGREASE(binary.BigEndian.Uint16([]byte(s)))
	})
}

func BenchmarkParse(b *testing.B) {
	for name, in := range clientHellos() {
		b.Run(strings.ReplaceAll(name, " ", "-"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, n, err := Parse(in, HelloBytesMax); n != len(in) || err != nil {
					b.Fatalf("Parse = %d, %v", n, err)
				}
			}
		})
	}
}
