package record

import (
	"bytes"
	"encoding/hex"
	"io"
	"math"
	"strings"
	"testing"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The connection of RFC 8448 section 3, "Simple 1-RTT Handshake".
const (
	rfcClientSecret = "9e40646ce79a7f9dc05af8889bce6552 875afa0b06df0087f792ebb7c17504a5"
	rfcServerSecret = "a11af9f05531f856ad47116b45a95032 8204b4f44bfb6b3a4b4f1f3fcb631643"
	rfcClientKey    = "17422dda596ed5d9acd890e3c63f5051"
	rfcClientIV     = "5b78923dee08579033e523d9"
	rfcServerKey    = "9f02283b6c9c07efc26bb9f2ac92e356"
	rfcServerIV     = "cf782b88dd83549aadf1e984"
	rfcTicket       = `17030300de3a6b8f90414a97d6959c3487680de5134a2b240e6cffac116e95d41d6af8f6b580dcf3d11d63c758db
		289a015940252f55713e061dc13e078891a38efbcf5753ad8ef170ad3c7353d16d9da773b9ca7f2b9fa1b6c0d4a3d03f75e09c30ba1e62972ac46f75f7b981be
		63439b2999ce1306461513 9891d5e4c5b406f16e3fc181a77ca475840025db2f0a77f81b5ab05b94c01346755f69232c86519d86cbeeac87aac347d143f9605d
		64f650db4d023e70e952ca49fe5137121c74bc2697687e248746d6df353005f3bce18696129c8153556b3b6c6779b37bf15985684f`
	rfcClientData = `1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b
		62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4`
	rfcServerData = `17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8
		fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d`
	rfcClientClose = "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3"
	rfcServerClose = "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9"
)

func TestRFC8448_3(t *testing.T) {
	t.Parallel()
	p := Params{Version: VersionTLS13, Suite: 0x1301, In: unhex(t, rfcClientSecret), Out: unhex(t, rfcServerSecret)}
	in, out, err := p.Keys()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		got  []byte
		want string
	}{
		{"client key", in.Key, rfcClientKey},
		{"client IV", in.IV, rfcClientIV},
		{"server key", out.Key, rfcServerKey},
		{"server IV", out.IV, rfcServerIV},
	} {
		if !bytes.Equal(tt.got, unhex(t, tt.want)) {
			t.Errorf("%s = %x, want %s", tt.name, tt.got, tt.want)
		}
	}
	data := make([]byte, 50)
	for i := range data {
		data[i] = byte(i)
	}
	server, err := New(&p)
	if err != nil {
		t.Fatal(err)
	}
	ticket := unhex(t, rfcTicket)
	if n, err := server.CountWritten(ticket, make([]byte, RecordLenMax)); n != 1 || err != nil {
		t.Fatalf("CountWritten(the ticket) = %d, %v; want 1", n, err)
	}
	client, err := New(&Params{Version: VersionTLS13, Suite: 0x1301, Client: true, In: p.Out, Out: p.In})
	if err != nil {
		t.Fatal(err)
	}
	exchange := func(name string, from, to *Conn, data []byte, want, before string) {
		t.Helper()
		sealed, err := from.AppendData(nil, data)
		if len(data) == 0 {
			sealed, err = from.AppendClose(nil)
		}
		if err != nil || !bytes.Equal(sealed, unhex(t, want)) {
			t.Errorf("%s: sealed %x, %v; want %s", name, sealed, err, want)
		}
		stream := append(unhex(t, before), sealed...)
		got := make([]byte, 1000)
		n, used, err := to.Read(got, stream)
		if !bytes.Equal(got[:n], data) || used != len(stream) || (err == io.EOF) != (len(data) == 0) {
			t.Errorf("%s: read %x of %d bytes, %v", name, got[:n], used, err)
		}
	}
	exchange("client data", client, server, data, rfcClientData, "")
	exchange("server data", server, client, data, rfcServerData, rfcTicket)
	exchange("client close", client, server, nil, rfcClientClose, "")
	exchange("server close", server, client, nil, rfcServerClose, "")
}

// pair returns two connected to each other, with secrets made up.
func pair(t testing.TB, k kind) (client, server *Conn) {
	t.Helper()
	s := &suites[mustFind(t, k)]
	fill := func(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }
	p := Params{Version: k.version, Suite: k.suite}
	if k.version == VersionTLS13 {
		p.In, p.Out = fill(1, s.hashLen()), fill(2, s.hashLen())
	} else {
		p.Master, p.ClientRandom, p.ServerRandom, p.InSeq, p.OutSeq = fill(3, 48), fill(4, 32), fill(5, 32), 1, 1
	}
	server, err := New(&p)
	if err != nil {
		t.Fatal(err)
	}
	p.Client, p.In, p.Out = true, p.Out, p.In
	if client, err = New(&p); err != nil {
		t.Fatal(err)
	}
	return client, server
}

func mustFind(t testing.TB, k kind) uint8 {
	t.Helper()
	i, ok := findSuite(k.version, k.suite)
	if !ok {
		t.Fatalf("no suite %x", k.suite)
	}
	return i
}

var (
	tls13aes    = kind{"1.3", VersionTLS13, 0x1301}
	tls13chacha = kind{"1.3 ChaCha20", VersionTLS13, 0x1303}
	tls12aes    = kind{"1.2", VersionTLS12, 0xc02f}
	tls12chacha = kind{"1.2 ChaCha20", VersionTLS12, 0xcca8}
)

// seal makes one record of any type.
func seal(t testing.TB, c *Conn, typ ContentType, data ...byte) []byte {
	t.Helper()
	b, err := c.out.Seal(nil, typ, data)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sealPadded makes a record of TLS 1.3 whose inner plaintext is as given.
func sealPadded(c *Conn, inner []byte) []byte {
	n := len(inner) + tagLen
	rec := append([]byte{byte(TypeApplicationData), 3, 3, byte(n >> 8), byte(n)}, inner...)
	c.out.mask()
	rec = c.out.aead.Seal(rec[:HeaderLen], c.out.iv[:], rec[HeaderLen:], rec[:HeaderLen])
	c.out.mask()
	c.out.seq++
	return rec
}

// wantEnd reads a stream and wants the given end, and the alert that goes with it.
func wantEnd(t *testing.T, from, to *Conn, stream []byte, want error) {
	t.Helper()
	_, _, err := to.Read(make([]byte, 2*RecordLenMax), stream)
	if err != want {
		t.Fatalf("Read(%x...) = %v, want %v", stream[:min(len(stream), 32)], err, want)
	}
	if _, _, again := to.Read(make([]byte, RecordLenMax), stream); again != want {
		t.Errorf("Read after the end = %v, want %v again", again, want)
	}
	ours, mine := want.(*Error)
	if to.HasReplies() != mine {
		t.Fatalf("HasReplies = %t after %v", to.HasReplies(), want)
	}
	alert, err := to.AppendReplies(nil)
	if err != nil {
		t.Fatal(err)
	}
	if !mine {
		return
	}
	if _, _, err := from.Read(make([]byte, 100), alert); err != RemoteError(ours.Alert) && ours.Alert != NoRenegotiation {
		t.Errorf("the peer reads %v, want %v", err, ours.Alert)
	}
	if b, err := to.AppendData(nil, []byte("x")); err != ErrShut || len(b) > 0 {
		t.Errorf("AppendData after an alert = %x, %v; want ErrShut", b, err)
	}
}

// TestEnds has a record, or several, for each way in which reading ends.
func TestEnds(t *testing.T) {
	t.Parallel()
	times := func(n int, f func() []byte) (b []byte) {
		for range n {
			b = append(b, f()...)
		}
		return b
	}
	for _, tt := range []struct {
		name   string
		kind   kind
		client bool // the reader
		stream func(t *testing.T, c *Conn) []byte
		want   error
	}{
		{"close_notify", tls13aes, false, func(t *testing.T, c *Conn) []byte { return seal(t, c, TypeAlert, 1, 0) }, io.EOF},
		{"close_notify 1.2", tls12aes, false, func(t *testing.T, c *Conn) []byte { return seal(t, c, TypeAlert, 1, 0) }, io.EOF},
		// "All the alerts listed in Section 6.2 MUST be sent with AlertLevel=fatal and MUST be treated as error alerts
		// when received regardless of the AlertLevel in the message." RFC 8446 section 6
		{"alert", tls13aes, false, func(t *testing.T, c *Conn) []byte { return seal(t, c, TypeAlert, 1, 40) }, RemoteError(40)},
		{"alert 1.2", tls12aes, false, func(t *testing.T, c *Conn) []byte { return seal(t, c, TypeAlert, 2, 40) }, RemoteError(40)},
		{"alert of a strange level", tls12aes, false, func(t *testing.T, c *Conn) []byte { return seal(t, c, TypeAlert, 3, 40) }, failures[endAlert]},
		{"alert of one byte", tls13aes, false, func(t *testing.T, c *Conn) []byte { return seal(t, c, TypeAlert, 1) }, failures[endAlert]},
		{"two alerts in one record", tls13aes, false, func(t *testing.T, c *Conn) []byte { return seal(t, c, TypeAlert, 1, 90, 1, 0) }, failures[endAlert]},
		{"version", tls13aes, false, func(*testing.T, *Conn) []byte { return []byte{23, 3, 4, 0, 20} }, failures[endVersion]},
		{"version 1.2", tls12aes, false, func(*testing.T, *Conn) []byte { return []byte{23, 3, 1, 0, 20} }, failures[endVersion]},
		{"plain HTTP", tls13aes, false, func(*testing.T, *Conn) []byte { return []byte("GET / HTTP/1.1\r\n") }, failures[endVersion]},
		{"too long", tls13aes, false, func(*testing.T, *Conn) []byte { return []byte{23, 3, 3, 0x41, 0x01} }, failures[endTooLong]},
		{"too long 1.2", tls12aes, false, func(*testing.T, *Conn) []byte { return []byte{23, 3, 3, 0x48, 0x01} }, failures[endTooLong]},
		{"change_cipher_spec", tls13aes, false, func(*testing.T, *Conn) []byte { return []byte{20, 3, 3, 0, 1, 1} }, failures[endType]},
		{"change_cipher_spec 1.2", tls12aes, false, func(t *testing.T, c *Conn) []byte { return seal(t, c, TypeChangeCipherSpec, 1) }, failures[endType]},
		{"change_cipher_spec inside", tls13aes, false, func(t *testing.T, c *Conn) []byte { return seal(t, c, TypeChangeCipherSpec, 1) }, failures[endInnerType]},
		{"plain alert", tls13aes, false, func(*testing.T, *Conn) []byte { return []byte{21, 3, 3, 0, 2, 1, 0} }, failures[endType]},
		{"heartbeat", tls12aes, false, func(*testing.T, *Conn) []byte { return []byte{24, 3, 3, 0, 2, 1, 0} }, failures[endType]},
		{"heartbeat inside", tls13aes, false, func(t *testing.T, c *Conn) []byte { return seal(t, c, 24, 1) }, failures[endInnerType]},
		{"empty", tls13aes, false, func(*testing.T, *Conn) []byte { return []byte{23, 3, 3, 0, 0} }, failures[endMAC]},
		{"shorter than a tag", tls12aes, false, func(*testing.T, *Conn) []byte { return []byte{23, 3, 3, 0, 1, 0} }, failures[endMAC]},
		{"other key", tls13aes, false, func(t *testing.T, c *Conn) []byte { return sealPadded(&Conn{out: c.in}, []byte{1, 23}) }, failures[endMAC]},
		{"padding alone", tls13aes, false, func(_ *testing.T, c *Conn) []byte { return sealPadded(c, make([]byte, 100)) }, failures[endNoType]},
		{"no inner byte", tls13aes, false, func(_ *testing.T, c *Conn) []byte { return sealPadded(c, nil) }, failures[endNoType]},
		{"inner text too long", tls13aes, false, func(_ *testing.T, c *Conn) []byte {
			return sealPadded(c, bytes.Repeat([]byte{23}, MaxPlaintext+2))
		}, failures[endTooLong]},
		{"useless", tls13aes, false, func(t *testing.T, c *Conn) []byte {
			return times(UselessMax+1, func() []byte { return seal(t, c, TypeApplicationData) })
		}, failures[endUseless]},
		{"useless 1.2", tls12chacha, false, func(t *testing.T, c *Conn) []byte {
			return times(UselessMax+1, func() []byte { return seal(t, c, TypeApplicationData) })
		}, failures[endUseless]},
		{"user_canceled", tls13aes, false, func(t *testing.T, c *Conn) []byte {
			return times(UselessMax+1, func() []byte { return seal(t, c, TypeAlert, 1, 90) })
		}, failures[endUseless]},
		{"warnings 1.2", tls12aes, false, func(t *testing.T, c *Conn) []byte {
			return times(UselessMax+1, func() []byte { return seal(t, c, TypeAlert, 1, 100) })
		}, failures[endUseless]},
		{"KeyUpdates", tls13aes, false, func(t *testing.T, c *Conn) []byte {
			return times(UselessMax+1, func() []byte {
				b, err := c.AppendKeyUpdate(nil, true)
				if err != nil {
					t.Fatal(err)
				}
				return b
			})
		}, failures[endUseless]},
		{"tickets", tls13aes, true, func(t *testing.T, c *Conn) []byte {
			return seal(t, c, TypeHandshake, bytes.Repeat(append([]byte{4, 0, 0, 13}, make([]byte, 13)...), UselessMax+1)...)
		}, failures[endUseless]},
		{"short ticket", tls13aes, true, func(t *testing.T, c *Conn) []byte { return seal(t, c, TypeHandshake, 4, 0, 0, 12) }, failures[endTicket]},
		{"long ticket", tls13aes, true, func(t *testing.T, c *Conn) []byte { return seal(t, c, TypeHandshake, 4, 1, 0, 1) }, failures[endHandshakeTooLong]},
		{"ticket of a client", tls13aes, false, func(t *testing.T, c *Conn) []byte { return seal(t, c, TypeHandshake, 4) }, failures[endHandshake]},
		{"ClientHello", tls12aes, false, func(t *testing.T, c *Conn) []byte { return seal(t, c, TypeHandshake, 1, 0, 1) }, failures[endHandshake]},
		{"HelloRequest", tls12aes, true, func(t *testing.T, c *Conn) []byte { return seal(t, c, TypeHandshake, 0, 0, 0, 0) }, failures[endRenegotiation]},
		{"CertificateRequest", tls13aes, true, func(t *testing.T, c *Conn) []byte { return seal(t, c, TypeHandshake, 13) }, failures[endHandshake]},
		{"empty handshake record", tls13aes, false, func(t *testing.T, c *Conn) []byte { return seal(t, c, TypeHandshake) }, failures[endEmptyHandshake]},
		{"data in a message", tls13aes, false, func(t *testing.T, c *Conn) []byte {
			return append(seal(t, c, TypeHandshake, 24, 0), seal(t, c, TypeApplicationData, 'x')...)
		}, failures[endInterleaved]},
		{"alert in a message", tls13aes, true, func(t *testing.T, c *Conn) []byte {
			return append(seal(t, c, TypeHandshake, 4, 0, 0, 20), seal(t, c, TypeAlert, 1, 0)...)
		}, failures[endInterleaved]},
		{"KeyUpdate of two bytes", tls13aes, false, func(t *testing.T, c *Conn) []byte { return seal(t, c, TypeHandshake, 24, 0, 0, 2) }, failures[endKeyUpdate]},
		{"KeyUpdate of value 2", tls13aes, false, func(t *testing.T, c *Conn) []byte { return seal(t, c, TypeHandshake, 24, 0, 0, 1, 2) }, failures[endKeyUpdateValue]},
		{"KeyUpdate with something behind", tls13aes, false, func(t *testing.T, c *Conn) []byte {
			return seal(t, c, TypeHandshake, 24, 0, 0, 1, 0, 24)
		}, failures[endKeyUpdateBoundary]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			from, to := pair(t, tt.kind)
			if tt.client {
				from, to = to, from
			}
			wantEnd(t, from, to, tt.stream(t, from), tt.want)
		})
	}
}

// "If a TLS implementation would need to wrap a sequence number, it MUST either rekey (Section 4.6.3) or terminate the
// connection": the last one is never used.
func TestRFC8446_5_3_Sequence(t *testing.T) {
	t.Parallel()
	for _, k := range []kind{tls13aes, tls12aes, tls12chacha} {
		c, s := pair(t, k)
		rec := seal(t, c, TypeApplicationData, 1)
		c.out.seq, s.in.seq = math.MaxUint64, math.MaxUint64
		if _, err := c.out.Seal(nil, TypeApplicationData, []byte{1}); err != ErrKeyUsedUp {
			t.Errorf("%s: Seal with the last sequence number: %v, want ErrKeyUsedUp", k.name, err)
		}
		wantEnd(t, c, s, rec, failures[endSequence])
	}
}

// A key seals RekeyRecords, whoever seals them; TLS 1.2 counts bytes.
func TestRFC8446_5_5_Limits(t *testing.T) {
	t.Parallel()
	c, s := pair(t, tls13aes)
	c.out.seq, s.in.seq = RekeyRecords-1, RekeyRecords-1
	send := func(want uint64) {
		t.Helper()
		b, err := c.AppendData(nil, []byte("hello"))
		if err != nil {
			t.Fatal(err)
		}
		if n, _, err := s.Read(make([]byte, 1000), b); n != 5 || err != nil {
			t.Fatalf("Read = %d, %v", n, err)
		}
		if c.out.seq != want || s.in.seq != want {
			t.Fatalf("sequence numbers %d and %d, want %d", c.out.seq, s.in.seq, want)
		}
	}
	send(RekeyRecords)
	if !s.HasReplies() || !c.HasReplies() {
		t.Fatal("no KeyUpdate is due")
	}
	ask, err := s.AppendReplies(nil) // our own key is new, but the peer's is used up: ask
	if err != nil || s.HasReplies() {
		t.Fatalf("AppendReplies: %v, HasReplies = %t", err, s.HasReplies())
	}
	send(1) // c takes its next key before the data
	if _, _, err := c.Read(make([]byte, 100), ask); err != nil || !c.HasReplies() {
		t.Fatalf("Read of a KeyUpdate that asks: %v, HasReplies = %t", err, c.HasReplies())
	}
	if n, err := c.SealData(make([]byte, 100), 1); err != ErrReplyDue {
		t.Errorf("SealData = %d, %v; want ErrReplyDue", n, err)
	}
	send(1)
	c.out.seq = sealRecordsMax
	if _, err := c.SealData(make([]byte, 100), 1); err != ErrKeyUsedUp {
		t.Errorf("SealData at the limit: %v, want ErrKeyUsedUp", err)
	}

	for _, tt := range []struct {
		kind kind
		want error
	}{{tls12aes, ErrKeyUsedUp}, {tls12chacha, nil}} {
		c, _ := pair(t, tt.kind)
		for i, b := range []byte{0xf6, 0xff, 0xff, 0xff, 0x3f} { // SealedBytesMax-10
			c.out.keep[sealedAt+i] = b
		}
		b := make([]byte, 100)
		if _, err := c.SealData(b, 10); err != nil {
			t.Errorf("%s: SealData below the limit: %v", tt.kind.name, err)
		}
		if _, err := c.SealData(b, 1); err != tt.want {
			t.Errorf("%s: SealData at the limit: %v, want %v", tt.kind.name, err, tt.want)
		}
	}
}

// What brings data starts the count of useless records anew.
func TestUselessInARow(t *testing.T) {
	t.Parallel()
	c, s := pair(t, tls13aes)
	for range 3 {
		var b []byte
		for range UselessMax {
			b = append(b, seal(t, c, TypeApplicationData)...)
		}
		b = append(b, seal(t, c, TypeApplicationData, 'x')...)
		if n, used, err := s.Read(make([]byte, 100), b); n != 1 || used != len(b) || err != nil {
			t.Fatalf("Read = %d, %d, %v; want 1, %d", n, used, err, len(b))
		}
	}
}

// "All encrypted TLS records can be padded to inflate the size of the TLSCiphertext.": by any amount.
func TestRFC8446_5_4_Padding(t *testing.T) {
	t.Parallel()
	for _, k := range []kind{tls13aes, tls13chacha} {
		c, s := pair(t, k)
		for _, pad := range []int{0, 1, 100, MaxPlaintext} {
			inner := append([]byte{23}, make([]byte, pad)...)
			if pad < MaxPlaintext {
				inner = append([]byte("x"), inner...)
			}
			rec := sealPadded(c, inner)
			if n, used, err := s.Read(make([]byte, RecordLenMax), rec); n != len(inner)-1-pad || used != len(rec) || err != nil {
				t.Errorf("%s: %d bytes of padding: %d, %d, %v", k.name, pad, n, used, err)
			}
		}
	}
}
