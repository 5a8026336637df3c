package record

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// A plan makes a stream of records from the bytes of a fuzzer, sealed with the keys of c, and with some of it
// spoiled: so that a fuzzer comes behind authentication.
//
//	op, n, ...    the lowest three bits of op say what, n is how long or which
type plan struct {
	c   *Conn
	in  []byte
	out []byte
}

func (p *plan) byte() byte {
	if len(p.in) == 0 {
		return 0
	}
	b := p.in[0]
	p.in = p.in[1:]
	return b
}

func (p *plan) bytes(n int) []byte {
	n = min(n, len(p.in))
	b := p.in[:n]
	p.in = p.in[n:]
	return b
}

func (p *plan) seal(typ ContentType, data []byte) {
	p.out, _ = p.c.out.Seal(p.out, typ, data)
}

// run makes the stream of the whole plan.
func (p *plan) run() []byte {
	for len(p.in) > 0 && len(p.out) < 1<<18 {
		p.step()
	}
	return p.out
}

func (p *plan) step() {
	op, n := p.byte(), int(p.byte())
	switch op % 8 {
	case 0: // data, also long
		p.seal(TypeApplicationData, bytes.Repeat([]byte{op}, n<<(op>>5)%(MaxPlaintext+1)))
	case 1:
		p.seal(TypeAlert, p.bytes(n%4))
	case 2:
		p.seal(TypeHandshake, p.bytes(n))
	case 3: // a good KeyUpdate
		if p.c.in.tls13 {
			p.out, _ = p.c.AppendKeyUpdate(p.out, n%2 == 1)
		}
	case 4: // any type
		p.seal(ContentType(n), p.bytes(int(op>>3)))
	case 5: // any inner plaintext, and one of the longest
		inner := append(bytes.Clone(p.bytes(int(op>>3))), make([]byte, n)...)
		if n == 255 {
			inner = append(inner, bytes.Repeat([]byte{23}, MaxPlaintext+1-int(op>>3))...)
		}
		if p.c.in.tls13 && len(inner) <= MaxPlaintext+expansionMax13-tagLen {
			p.out = append(p.out, sealPadded(p.c, inner)...)
		}
	case 6: // spoil something of the last bytes
		if len(p.out) > 0 {
			p.out[len(p.out)-1-n%len(p.out)] ^= 1 << (op >> 5)
		}
	case 7: // not sealed
		p.out = append(p.out, p.bytes(n)...)
	}
}

func addPlans(f *testing.F) {
	for _, plan := range []string{
		"\x00\x05\x00\x00\xe0\xff\x60\xff",                                                              // data of all sizes
		"\x00\x05\x01\x02\x01\x00\x00\x05",                                                              // close_notify, and data behind it
		"\x01\x02\x01\x5a\x01\x02\x02\x28",                                                              // user_canceled, an alert
		"\x00\x05\x03\x01\x00\x07\x03\x00\x00\x03",                                                      // KeyUpdates
		"\x02\x02\x18\x00\x02\x02\x00\x01\x02\x01\x00\x00\x09",                                          // one in pieces
		"\x02\x05\x18\x00\x00\x01\x00\x00\x09",                                                          // one after which the key is the old one
		"\x02\x06\x18\x00\x00\x01\x00\x18",                                                              // something behind it
		"\x02\x05\x18\x00\x00\x01\x02",                                                                  // one of value 2
		"\x02\x02\x18\x00\x00\x05",                                                                      // one that data interrupt
		"\x02\x00\x02\x04\x01\x00\x00\x05",                                                              // empty handshake, a ClientHello
		"\x02\x12\x04\x00\x00\x0e\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01x\x00\x00\x00\x05",         // a ticket, for clients
		"\x02\x05\x04\x00\x00\x0e\x00\x02\x0d\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01x\x00\x00\x00\x05", // one in pieces
		"\x02\x04\x00\x00\x00\x00",                                                                      // HelloRequest
		"\x0c\x14\x01\x0c\x18\x01\x0c\x00\x01",                                                          // change_cipher_spec inside, and others
		"\x0d\x05\x17\x05\x20\xfd\xff\x05\xff", "\x05\x00",                                              // padding, nothing at all
		"\x00\x05\x06\x03", "\x00\x05\x06\x15", "\x00\x05\x06\x18\x05", // spoiled
		"\x07\x05\x17\x03\x03\x00\x00", "\x07\x06\x14\x03\x03\x00\x01\x01", "\x07\x05\x17\x03\x03\x41\x01", "\x07\x03GET",
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01",
	} {
		for i := range uint8(len(suites)) {
			f.Add(i, uint16(6), []byte(plan))
			f.Add(i, uint16(7), []byte(plan))
		}
	}
}

func fuzzKind(n uint8) kind { return kinds()[int(n)%len(suites)] }

// FuzzRead: what is read does not depend on where the stream is cut, on the room for it, or on the place.
func FuzzRead(f *testing.F) {
	addPlans(f)
	f.Fuzz(func(t *testing.T, suite uint8, cut uint16, in []byte) {
		k := fuzzKind(suite)
		from, whole := pair(t, k)
		stream := (&plan{c: from, in: in}).run()
		at := int(cut) % (len(stream) + 1)
		want := tell(whole, make([]byte, len(stream)), stream)
		for _, room := range []int{0, 100, 2 * RecordLenMax} {
			_, to := pair(t, k)
			if got := tell(to, make([]byte, room), bytes.Clone(stream[:at]), bytes.Clone(stream[at:])); got != want {
				t.Errorf("cut at byte %d of %d, room for %d:\n%s, want\n%s", at, len(stream), room, got, want)
			}
		}
	})
}

// tell says what came of a stream.
func tell(c *Conn, dst []byte, pieces ...[]byte) string {
	data, left, err := collect(c, dst, pieces...)
	replies, rerr := c.AppendReplies(nil)
	return fmt.Sprintf("%d bytes %x, error %v, end %t, replies %x %v, keys %d %d", len(data), sha256.Sum256(data), err, left == 0 || err != nil, replies, rerr,
		c.in.seq, c.out.seq)
}

// FuzzReadRaw: bytes of no key do no harm.
func FuzzReadRaw(f *testing.F) {
	f.Add(uint8(0), []byte("\x17\x03\x03\x00\x20"+"0123456789abcdef0123456789abcdef"))
	f.Add(uint8(3), []byte("\x17\x03\x03\x00\x20"+"0123456789abcdef0123456789abcdef"))
	f.Add(uint8(3), []byte("\x15\x03\x03\x00\x00\x17\x03\x03"))
	f.Fuzz(func(t *testing.T, suite uint8, in []byte) {
		_, c := pair(t, fuzzKind(suite))
		dst := make([]byte, 100)
		if n, used, err := c.Read(dst, in); n != 0 || used > len(in) || err == io.EOF {
			t.Errorf("Read(%x) = %d, %d, %v", in, n, used, err)
		}
	})
}

// FuzzCryptoTLS: crypto/tls and ours, both as server or both as client, read the same ciphertext and get the same data, and the
// same kind of end.
func FuzzCryptoTLS(f *testing.F) {
	addPlans(f)
	f.Fuzz(func(t *testing.T, suite uint8, role uint16, in []byte) {
		reader := role%2 == 0 // the readers are clients
		x := establish(t, fuzzKind(suite), !reader)
		p := x.p
		p.Client, p.In, p.Out = reader, p.Out, p.In
		p.InSeq += uint64(x.tickets)
		twin, err := New(&p)
		if err != nil {
			t.Fatal(err)
		}
		twin.useless = uint8(x.tickets) // those before the plan
		stream := (&plan{c: x.c, in: in}).run()
		x.end.Write(stream)
		x.end.Close()
		theirs, theirErr := io.ReadAll(endless{x.peer})
		ours, _, ourErr := collect(twin, make([]byte, 2*RecordLenMax), stream)
		if why := compare(twin, ours, theirs, ourErr, theirErr); why != "" {
			t.Errorf("client %t: %s: ours %d bytes, %v; crypto/tls %d bytes, %v; stream %x", reader, why, len(ours), ourErr, len(theirs),
				theirErr, stream[:min(len(stream), 1000)])
		}
	})
}

// endless makes of io.EOF an error that io.ReadAll returns.
type endless struct{ r io.Reader }

var errClosed = errors.New("close_notify")

func (e endless) Read(b []byte) (int, error) {
	n, err := e.r.Read(b)
	if err == io.EOF {
		err = errClosed
	}
	return n, err
}

// compare says what differs that may not.
func compare(twin *Conn, ours, theirs []byte, ourErr, theirErr error) string {
	why := theirErr.Error()
	if twin.flags&flagClient != 0 && bytes.HasPrefix(ours, theirs) &&
		(strings.Contains(why, "session ticket") || strings.Contains(why, "error decoding message")) {
		return "" // a ticket that crypto/tls looks into, and we do not
	}
	switch twin.end {
	case endInnerType, endType, endNoType:
		// crypto/tls ignores change_cipher_spec in TLS 1.3, even an encrypted one, takes a record of TLS 1.3
		// without a type for empty data, and looks at types when a record is whole. RFC 8446 sections 5, 5.1
		// and 5.4 have it our way.
	case endHandshake, endRenegotiation, endKeyUpdate:
		// We refuse a message by its header. crypto/tls does when it is whole; until then anything may come.
	default:
		switch {
		case errors.Is(theirErr, errClosed) != (ourErr == io.EOF):
			return "one sees a close_notify"
		case errors.Is(theirErr, errWireEnd) != (ourErr == nil):
			return "one sees an end"
		case !bytes.Equal(ours, theirs):
			return "the data differ"
		}
		return ""
	}
	if !bytes.HasPrefix(theirs, ours) {
		return "the data differ"
	}
	return ""
}
