package transport

import (
	"bytes"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"millrace/engine/internal/record"
)

// clientHello returns the first flight of a client of crypto/tls.
func clientHello(t testing.TB) []byte {
	t.Helper()
	return clientHelloOf(t, &tls.Config{ServerName: "localhost"})
}

func clientHelloOf(t testing.TB, cfg *tls.Config) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go tls.Client(a, cfg).Handshake()
	buf := make([]byte, 16<<10)
	_ = b.SetDeadline(time.Now().Add(waitMax))
	n := 0
	for {
		k, err := b.Read(buf[n:])
		if err != nil {
			t.Fatal(err)
		}
		if n += k; n > 5 && n >= 5+int(buf[3])<<8+int(buf[4]) {
			return buf[:n]
		}
	}
}

// inRecords cuts the one record of b into records of n bytes.
func inRecords(b []byte, n int) (out []byte) {
	for body := b[5:]; len(body) > 0; {
		k := min(n, len(body))
		out = append(append(out, 22, 3, 1, byte(k>>8), byte(k)), body[:k]...)
		body = body[k:]
	}
	return out
}

func TestCheckHello(t *testing.T) {
	t.Parallel()
	hello := clientHello(t)
	long := append([]byte{22, 3, 1, 0x40, 0, 1, 1, 0, 0}, make([]byte, 16380)...)
	for _, tt := range []struct {
		name  string
		in    []byte
		state helloState
		alert record.Alert
	}{
		{"empty", nil, helloPartial, 0},
		{"whole", hello, helloWhole, 0},
		{"and more", append(bytes.Clone(hello), "more"...), helloWhole, 0},
		{"in records", inRecords(hello, 100), helloWhole, 0},
		{"in many records", inRecords(hello, 3), helloLong, record.DecodeError},
		{"HTTP", []byte("GET / HTTP/1.1\r\n"), helloPlain, 0},
		{"one letter", []byte("G"), helloPlain, 0},
		{"SSL 2.0", []byte{0x80, 0x2e, 1}, helloBad, record.ProtocolVersion},
		{"alert", []byte{21, 3, 1, 0, 2, 1, 0}, helloBad, record.UnexpectedMessage},
		{"zeros", make([]byte, 100), helloBad, record.UnexpectedMessage},
		{"version", []byte{22, 2, 0, 0, 10}, helloBad, record.UnexpectedMessage},
		{"empty record", []byte{22, 3, 1, 0, 0}, helloBad, record.UnexpectedMessage},
		{"record too long", []byte{22, 3, 1, 0x40, 1}, helloBad, record.RecordOverflow},
		{"other message", []byte{22, 3, 1, 0, 4, 2, 0, 0, 0}, helloBad, record.UnexpectedMessage},
		{"message too long", []byte{22, 3, 1, 0, 4, 1, 1, 0, 1}, helloLong, record.DecodeError},
		{"message a little too long", []byte{22, 3, 1, 0, 4, 1, 0, 0x7f, 0xfd}, helloLong, record.DecodeError},
		{"message long", []byte{22, 3, 1, 0, 4, 1, 0, 0x7f, 0x00}, helloPartial, 0},
		{"records together too long", bytes.Repeat(long, 4), helloBad, record.UnexpectedMessage},
	} {
		if tt.name == "records together too long" {
			tt.in = append(bytes.Clone(long), bytes.Repeat(append([]byte{22, 3, 1, 0x40, 0}, make([]byte, 1<<14)...), 3)...)
			tt.in[6], tt.in[7] = 0, 0x7f
			tt.state, tt.alert = helloLong, record.DecodeError
		}
		if state, alert := checkHello(tt.in); state != tt.state || alert != tt.alert {
			t.Errorf("checkHello(%s) = %d, %v; want %d, %v", tt.name, state, alert, tt.state, tt.alert)
		}
	}
	for i := range hello {
		if state, _ := checkHello(hello[:i]); state != helloPartial {
			t.Fatalf("checkHello of %d of %d bytes = %d", i, len(hello), state)
		}
	}
}

// FuzzCheckHello: what is refused stays refused with more bytes, and what is whole stays whole.
func FuzzCheckHello(f *testing.F) {
	hello := clientHello(f)
	f.Add(hello, uint16(3))
	f.Add(inRecords(hello, 100), uint16(104))
	f.Add([]byte("GET / HTTP/1.0"), uint16(1))
	f.Add([]byte{22, 3, 1, 0, 4, 1, 1, 0, 1}, uint16(8))
	f.Fuzz(func(t *testing.T, in []byte, cut uint16) {
		part := in[:int(cut)%(len(in)+1)]
		before, why := checkHello(part)
		after, because := checkHello(in)
		if before != helloPartial && (before != after || why != because) {
			t.Errorf("%d bytes: %d, %v; with %d more: %d, %v", len(part), before, why, len(in)-len(part), after, because)
		}
		if after == helloPartial && len(in) >= helloBytesMax+record.HeaderLen {
			t.Errorf("%d bytes are not enough", len(in))
		}
	})
}

// FuzzCutter: a reader that is given at most one record at a time gets each byte once, and sees the ends of records.
func FuzzCutter(f *testing.F) {
	f.Add([]byte{22, 3, 3, 0, 2, 1, 2, 23, 3, 3, 0, 0, 23, 3, 3, 0, 1, 9}, []byte{1, 2, 3, 200})
	f.Fuzz(func(t *testing.T, in, cuts []byte) {
		var c cutter
		ends := map[int]bool{}
		for at := 0; at+5 <= len(in); {
			at += 5 + int(in[at+3])<<8 + int(in[at+4])
			ends[at] = true
		}
		for at, i := 0, 0; at < len(in); i++ {
			have := in[at:]
			if len(cuts) > 0 { // what has come so far
				have = have[:min(len(have), 1+int(cuts[i%len(cuts)]))]
			}
			n := c.next(have)
			if n <= 0 || n > len(have) {
				t.Fatalf("next(%d bytes) = %d", len(have), n)
			}
			for e := at + 1; e < at+n; e++ {
				if ends[e] {
					t.Fatalf("%d bytes at %d reach over the end of a record at %d", n, at, e)
				}
			}
			c.advance(have[:n])
			at += n
			if c.mid() == ends[at] {
				t.Fatalf("mid() = %v at %d", c.mid(), at)
			}
		}
	})
}

func TestSessionID(t *testing.T) {
	t.Parallel()
	hello := append([]byte{22, 3, 3, 0, 74, 2, 0, 0, 70, 3, 3}, make([]byte, 32)...)
	for i := range hello {
		if id := sessionID(hello[:i]); id != nil {
			t.Errorf("sessionID of %d bytes = %x", i, id)
		}
	}
	if id := sessionID(append(hello, 3, 7, 8, 9, 0)); string(id) != "\x07\x08\x09" {
		t.Errorf("sessionID = %x", id)
	}
	if id := sessionID(append(hello, 33, 7, 8, 9, 0)); id != nil {
		t.Errorf("sessionID = %x", id)
	}
}
