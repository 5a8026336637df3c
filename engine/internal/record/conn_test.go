package record

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/big"
	"testing"
	"unsafe"
)

// A Conn has a size class of Go to itself; with the keys of AES-GCM, 768 bytes each, it is 1,744 bytes while it does not rest.
var _ [208 - unsafe.Sizeof(Conn{})]byte

// collect reads a stream that comes in the given pieces, and says what came of it: data, error, and replies by
// their effect on another.
func collect(c *Conn, dst []byte, pieces ...[]byte) (data []byte, left int, err error) {
	var held []byte
	for _, p := range pieces {
		held = append(held, p...)
		for {
			n, used, e := c.Read(dst, held)
			data, held = append(data, dst[:n]...), held[used:]
			if errors.Is(e, io.ErrShortBuffer) {
				var b []byte
				b, used, e = c.Next(held)
				n, data, held = len(b), append(data, b...), held[used:]
			}
			if e != nil {
				return data, len(held), e
			}
			if n == 0 {
				break
			}
		}
	}
	return data, len(held), nil
}

// story is a stream of everything that may come in order, sealed by c, and the data in it.
func story(t testing.TB, c *Conn) (stream, data []byte) {
	say := func(s string) {
		b, err := c.AppendData(nil, []byte(s))
		if err != nil {
			t.Fatal(err)
		}
		stream, data = append(stream, b...), append(data, s...)
	}
	say("one")
	stream = append(stream, seal(t, c, TypeApplicationData)...)
	say("two, longer")
	if c.in.tls13 {
		stream = append(stream, seal(t, c, TypeAlert, 1, 90)...)
		stream = append(stream, sealPadded(c, []byte{'x', 23, 0, 0, 0})...)
		data = append(data, 'x')
		stream = append(stream, seal(t, c, TypeHandshake, 24, 0)...) // a KeyUpdate in three records
		stream = append(stream, seal(t, c, TypeHandshake, 0, 1)...)
		stream = append(stream, seal(t, c, TypeHandshake, 1)...)
		if err := c.out.next(); err != nil {
			t.Fatal(err)
		}
		say("three")
	} else {
		stream = append(stream, seal(t, c, TypeAlert, 1, 100)...)
	}
	say("four")
	b, err := c.AppendClose(nil)
	if err != nil {
		t.Fatal(err)
	}
	return append(stream, b...), data
}

func TestCutAtEveryByte(t *testing.T) {
	t.Parallel()
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			from, _ := pair(t, k)
			stream, want := story(t, from)
			for at := range len(stream) + 1 {
				_, to := pair(t, k)
				got, left, err := collect(to, make([]byte, 30), stream[:at], stream[at:])
				if !bytes.Equal(got, want) || left != 0 || err != io.EOF {
					t.Fatalf("cut at byte %d: %q, %d left, %v; want %q, EOF", at, got, left, err, want)
				}
			}
			_, to := pair(t, k)
			var each [][]byte
			for i := range stream {
				each = append(each, stream[i:i+1])
			}
			if got, left, err := collect(to, make([]byte, 1000), each...); !bytes.Equal(got, want) || left != 0 || err != io.EOF {
				t.Fatalf("byte by byte: %q, %d left, %v", got, left, err)
			}
			// A stream that is cut off is no end.
			for at := range len(stream) {
				_, to := pair(t, k)
				if got, _, err := collect(to, make([]byte, 1000), stream[:at]); err != nil || !bytes.HasPrefix(want, got) {
					t.Fatalf("cut off at byte %d: %q, %v; want no error", at, got, err)
				}
			}
		})
	}
}

func TestTamperEveryByte(t *testing.T) {
	t.Parallel()
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			from, _ := pair(t, k)
			stream := seal(t, from, TypeApplicationData, []byte("the data of a record")...)
			for at := range stream {
				for _, flip := range []byte{1, 0x80} {
					bad := bytes.Clone(stream)
					bad[at] ^= flip
					_, to := pair(t, k)
					dst := make([]byte, RecordLenMax)
					// behind it comes enough for any length, so that a changed one is whole
					n, _, err := to.Read(dst, append(bad, make([]byte, RecordLenMax)...))
					var e *Error
					if n != 0 || !errors.As(err, &e) {
						t.Fatalf("byte %d changed by %#x: %d bytes, %v", at, flip, n, err)
					}
					if bytes.Contains(dst, []byte("the")) {
						t.Fatalf("byte %d changed by %#x: plaintext of a record that is not authentic", at, flip)
					}
				}
			}
			// Also the order is authentic: twice the same, one left out.
			_, to := pair(t, k)
			if _, _, err := to.Read(make([]byte, 1000), append(bytes.Clone(stream), stream...)); err != failures[endMAC] {
				t.Errorf("the same record twice: %v", err)
			}
			_, to = pair(t, k)
			if _, _, err := to.Read(make([]byte, 1000), seal(t, from, TypeApplicationData, 1)); err != failures[endMAC] {
				t.Errorf("a record left out: %v", err)
			}
		})
	}
}

// TestKeyUpdate changes keys in the middle of a conversation with crypto/tls, which answers those that ask.
func TestKeyUpdate(t *testing.T) {
	t.Parallel()
	for _, k := range kinds() {
		if k.version != VersionTLS13 {
			continue
		}
		for _, client := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/client=%t", k.name, client), func(t *testing.T) {
				t.Parallel()
				x := establish(t, k, client)
				go io.Copy(x.peer, x.peer)
				for i := range 3 * UselessMax {
					b, err := x.c.AppendKeyUpdate(nil, i%3 != 0)
					if err != nil {
						t.Fatal(err)
					}
					x.end.Write(b)
					x.send(t, []byte("hello"))
					if got, err := x.pump(t, 5); string(got) != "hello" || err != nil {
						t.Fatalf("after KeyUpdate %d: %q, %v", i, got, err)
					}
				}
				if x.c.out.seq != 1 || x.c.in.seq > 2 {
					t.Errorf("sequence numbers %d out, %d in after a KeyUpdate", x.c.out.seq, x.c.in.seq)
				}
			})
		}
	}
}

// A peer that asks several times while we are silent gets one answer.
func TestKeyUpdateOneAnswer(t *testing.T) {
	t.Parallel()
	c, s := pair(t, tls13aes)
	var b []byte
	for range 5 {
		b, _ = c.AppendKeyUpdate(b, true)
	}
	if _, used, err := s.Read(make([]byte, 100), b); used != len(b) || err != nil || !s.HasReplies() {
		t.Fatalf("Read = %d, %v, HasReplies = %t", used, err, s.HasReplies())
	}
	answer, err := s.AppendData(nil, []byte("x")) // the answer comes before the data by itself
	if err != nil || s.HasReplies() || s.out.seq != 1 {
		t.Fatalf("AppendData: %v, HasReplies = %t, sequence number %d", err, s.HasReplies(), s.out.seq)
	}
	if n, _, err := c.Read(make([]byte, 100), answer); n != 1 || err != nil || c.HasReplies() {
		t.Errorf("the answer: %d, %v, HasReplies = %t", n, err, c.HasReplies())
	}
}

// TestHalfClose: both ends are independent.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	c, s := pair(t, tls13aes)
	bye, err := c.AppendClose(nil)
	if err != nil || !c.Shut() {
		t.Fatal(err)
	}
	if again, err := c.AppendClose(nil); len(again) != 0 || err != nil {
		t.Errorf("AppendClose once more = %x, %v", again, err)
	}
	// "Any data received after a closure alert has been received MUST be ignored." RFC 8446 section 6.1
	if n, used, err := s.Read(make([]byte, 100), append(bytes.Clone(bye), 1, 2, 3)); n != 0 || used != len(bye) || err != io.EOF {
		t.Fatalf("Read = %d, %d, %v; want EOF", n, used, err)
	}
	b, err := s.AppendData(nil, []byte("still here"))
	if err != nil {
		t.Fatalf("AppendData after the peer's close_notify: %v", err)
	}
	if n, _, err := c.Read(make([]byte, 100), b); n != 10 || err != nil {
		t.Errorf("Read after our own close_notify = %d, %v", n, err)
	}
}

// TestParams hands a connection over in the middle of it.
func TestParams(t *testing.T) {
	t.Parallel()
	x := establish(t, tls13aes, false)
	go io.Copy(x.peer, x.peer)
	for range 3 {
		x.send(t, []byte("hello"))
		if got, err := x.pump(t, 5); string(got) != "hello" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		b, err := x.c.AppendKeyUpdate(nil, false)
		if err != nil {
			t.Fatal(err)
		}
		x.end.Write(b)
		p, err := x.c.Params()
		if err != nil {
			t.Fatal(err)
		}
		x.c.Wipe()
		if x.c, err = New(p); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := establish(t, tls12aes, false).c.Params(); err == nil {
		t.Error("Params of TLS 1.2: no error")
	}
}

func TestNewErrors(t *testing.T) {
	t.Parallel()
	b := make([]byte, 64)
	for _, p := range []Params{
		{},
		{Version: VersionTLS13, Suite: 0xc02f, In: b[:32], Out: b[:32]},
		{Version: VersionTLS12, Suite: 0x1301, In: b[:32], Out: b[:32]},
		{Version: VersionTLS12, Suite: 0xc013, Master: b[:48], ClientRandom: b[:32], ServerRandom: b[:32]},
		{Version: VersionTLS13, Suite: 0x1301, In: b[:48], Out: b[:32]},
		{Version: VersionTLS13, Suite: 0x1302, In: b[:48], Out: b[:32]},
		{Version: VersionTLS13, Suite: 0x1301, In: b[:32]},
		{Version: VersionTLS12, Suite: 0xc02f, Master: b[:48], ClientRandom: b[:32]},
		{Version: VersionTLS12, Suite: 0xc02f, Master: b[:32], ClientRandom: b[:32], ServerRandom: b[:32]},
	} {
		if _, err := New(&p); err == nil {
			t.Errorf("New(%+v): no error", p)
		}
	}
}

// TestSupported: every suite of crypto/tls is known, but for those without an AEAD.
func TestSupported(t *testing.T) {
	t.Parallel()
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		aead := bytes.Contains([]byte(s.Name), []byte("GCM")) || bytes.Contains([]byte(s.Name), []byte("POLY1305"))
		version := s.SupportedVersions[len(s.SupportedVersions)-1]
		if got := Supported(version, s.ID); got != aead {
			t.Errorf("Supported(%#x, %s) = %t", version, s.Name, got)
		}
	}
}

func TestSealLimits(t *testing.T) {
	t.Parallel()
	for _, k := range []kind{tls13aes, tls12aes, tls12chacha} {
		c, s := pair(t, k)
		if _, err := c.out.Seal(nil, TypeApplicationData, make([]byte, MaxPlaintext+1)); err != errTooLong {
			t.Errorf("%s: Seal of too much: %v", k.name, err)
		}
		size := c.out.Prefix() + 10 + c.out.Suffix()
		if size > PrefixMax+10+SuffixMax {
			t.Errorf("%s: %d bytes around 10 of data", k.name, size)
		}
		if _, err := c.SealData(make([]byte, size-1), 10); err != io.ErrShortBuffer {
			t.Errorf("%s: SealData in a buffer one byte short: %v", k.name, err)
		}
		b := make([]byte, size)
		copy(b[c.out.Prefix():], "0123456789")
		if n, err := c.SealData(b, 10); n != size || err != nil {
			t.Fatalf("%s: SealData = %d, %v; want %d", k.name, n, err, size)
		}
		if _, _, err := s.in.Open(make([]byte, s.in.room(size)-1), b); err != io.ErrShortBuffer {
			t.Errorf("%s: Open into a buffer one byte short: %v", k.name, err)
		}
		data, typ, err := s.in.OpenInPlace(b)
		if string(data) != "0123456789" || typ != TypeApplicationData || err != nil {
			t.Errorf("%s: OpenInPlace = %q, %d, %v", k.name, data, typ, err)
		}
	}
}

func TestCountOpened(t *testing.T) {
	t.Parallel()
	c, s := pair(t, tls13aes)
	written := append(sealPadded(&Conn{out: c.in}, []byte{1, 23}), 22, 3, 3, 0, 2, 1, 1)
	scratch := make([]byte, RecordLenMax)
	if n, err := s.in.CountOpened(written, scratch); n != 0 || err != nil {
		t.Errorf("CountOpened of others = %d, %v", n, err)
	}
	written = append(written, seal(t, c, TypeHandshake, 1)...)
	written = append(written, seal(t, c, TypeHandshake, 2)...)
	if n, err := s.in.CountOpened(written[:len(written)-1], scratch); n != 1 || err != io.ErrUnexpectedEOF {
		t.Errorf("CountOpened of half a record = %d, %v", n, err)
	}
	_, s = pair(t, tls13aes)
	if n, err := s.in.CountOpened(written, scratch); n != 2 || err != nil || s.in.seq != 2 {
		t.Errorf("CountOpened = %d, %v, sequence number %d; want 2", n, err, s.in.seq)
	}
	if _, err := s.in.CountOpened(append(seal(t, c, TypeHandshake, 1), written...), scratch); err == nil {
		t.Error("CountOpened with another's record between: no error")
	}
	if _, err := s.in.CountOpened(written, nil); err != io.ErrShortBuffer {
		t.Errorf("CountOpened without scratch: %v", err)
	}
}

func TestKeyLog(t *testing.T) {
	t.Parallel()
	var k KeyLog
	p := Params{Version: VersionTLS13}
	for _, line := range []string{"", "\n", "CLIENT_RANDOM", "CLIENT_RANDOM x y\n", "CLIENT_TRAFFIC_SECRET_0 00 11\n",
		fmt.Sprintf("SERVER_TRAFFIC_SECRET_0 %064x %0100x\n", 1, 2), fmt.Sprintf("EXPORTER_SECRET %064x %064x\n", 1, 2),
		fmt.Sprintf("CLIENT_TRAFFIC_SECRET_0 %064x %062xzz\n", 1, 2), fmt.Sprintf("CLIENT_TRAFFIC_SECRET_0 %062xzz %064x\n", 1, 2)} {
		if n, err := k.Write([]byte(line)); n != len(line) || err != nil || k.Established() || k.Fill(&p) {
			t.Errorf("Write(%q) = %d, %v; Established = %t", line, n, err, k.Established())
		}
	}
	fmt.Fprintf(&k, "CLIENT_TRAFFIC_SECRET_0 %064x %064x\n", 1, 2)
	fmt.Fprintf(&k, "SERVER_TRAFFIC_SECRET_0 %064x %064x\n", 1, 3)
	if !k.Established() || !k.Fill(&p) || new(big.Int).SetBytes(p.In).Int64() != 2 || new(big.Int).SetBytes(p.Out).Int64() != 3 {
		t.Errorf("secrets of a server: %x, %x", p.In, p.Out)
	}
	p.Client = true
	if !k.Fill(&p) || p.In[31] != 3 || p.Out[31] != 2 {
		t.Errorf("secrets of a client: %x, %x", p.In, p.Out)
	}
	p.Version = VersionTLS12
	if k.Fill(&p) {
		t.Error("a master secret of TLS 1.3")
	}
	fmt.Fprintf(&k, "CLIENT_RANDOM %064x %096x\n", 1, 4)
	if !k.Fill(&p) || p.ClientRandom[31] != 1 || p.Master[47] != 4 {
		t.Errorf("TLS 1.2: %x, %x", p.ClientRandom, p.Master)
	}
	k.Wipe()
	if k.Established() {
		t.Error("Established after Wipe")
	}
}

func TestServerRandom(t *testing.T) {
	t.Parallel()
	hello := append([]byte{22, 3, 3, 0, 60, 2, 0, 0, 56, 3, 3}, bytes.Repeat([]byte{7}, 54)...)
	if r, ok := ServerRandom(hello); !ok || len(r) != 32 || r[0] != 7 {
		t.Errorf("ServerRandom = %x, %t", r, ok)
	}
	for i := range 43 {
		if _, ok := ServerRandom(hello[:i]); ok {
			t.Errorf("ServerRandom of %d bytes", i)
		}
	}
	for _, at := range []int{0, 4, 5} { // type of the record, its length, type of the message
		bad := bytes.Clone(hello)
		bad[at] = 21
		if _, ok := ServerRandom(bad); ok {
			t.Errorf("ServerRandom(%x)", bad)
		}
	}
}

// TestNoAllocations: sealing and opening allocate nothing, whatever the suite and the size.
func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, k := range kinds() {
		for _, n := range []int{1, 200, MaxPlaintext} {
			c, s := pair(t, k)
			buf, dst := make([]byte, RecordLenMax), make([]byte, RecordLenMax)
			data, out := make([]byte, n), make([]byte, 0, RecordLenMax)
			rand.Read(data)
			allocs := testing.AllocsPerRun(100, func() {
				copy(buf[c.out.Prefix():], data)
				size, err := c.SealData(buf, n)
				if err != nil {
					t.Fatal(err)
				}
				if m, used, err := s.Read(dst, buf[:size]); m != n || used != size || err != nil {
					t.Fatalf("Read = %d, %d, %v; want %d, %d", m, used, err, n, size)
				}
				out, err := c.AppendData(out[:0], data)
				if err != nil {
					t.Fatal(err)
				}
				if b, _, err := s.Next(out); len(b) != n || err != nil {
					t.Fatalf("Next = %d bytes, %v; want %d", len(b), err, n)
				}
			})
			if allocs != 0 {
				t.Errorf("%s: %v allocations for two records of %d bytes", k.name, allocs, n)
			}
		}
	}
}
