package transport

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"millrace/engine"
	"millrace/engine/internal/record"
)

// script is what a client does in the place of its last flight: a program of two bytes for each step, an op and its argument.
//
// Steps are of the client's side alone, which is right up to there. They seal with the keys of the handshake until opKeys, with TLS 1.2
// with the only ones there are.
type script []byte

const (
	opCCS       = iota // arg: the value, 0 for 1
	opFinished         // whole
	opPart             // the next 1+arg bytes of the Finished
	opWrong            // the Finished with a bit of byte arg changed
	opTrail            // the Finished, and a message in the same record
	opKeys             // from now on the keys of the connection
	opData             // arg+1 bytes
	opBulk             // 64*arg bytes
	opAlert            // arg: its code
	opPlain            // the same without encryption
	opEmpty            // a record of type 20 + arg%5 without data
	opKeyUpdate        // arg%2: asked for one, too
	opMessage          // a message of type arg
	opGarbage          // 32*arg bytes
	opFlip             // a bit of the byte arg before the end
	opVersion          // a record of version 3.arg
	opLong             // the header of a record of 256*arg bytes
	opPadding          // a record of zeros alone
	opSegment          // what follows comes later
	opShort            // a record of arg bytes that are no ciphertext
	opCount
)

// differ is a client that has got so far, with what it needs to play a script.
type differ struct {
	raw     *net.TCPConn
	end     *testEnd
	out     []byte
	keys    *record.Conn // client to server
	app     *record.Params
	plain   []byte // of a TLS 1.2 flight: what comes before the Finished
	finish  []byte // the message
	part    int
	pieces  [][]byte
	resumed bool
}

// tapConn keeps what is read, and what is written after the first write; then there is nothing more to read.
type tapConn struct {
	net.Conn
	writes int
	read   []byte
	kept   []byte
}

func (c *tapConn) Read(b []byte) (int, error) {
	if len(c.kept) > 0 {
		return 0, io.EOF
	}
	n, err := c.Conn.Read(b)
	c.read = append(c.read, b[:n]...)
	return n, err
}

func (c *tapConn) Write(b []byte) (int, error) {
	if c.writes++; c.writes == 1 {
		return c.Conn.Write(b)
	}
	c.kept = append(c.kept, b...)
	return len(b), nil
}

// bothLogs gathers the secrets of handshake and connection.
type bothLogs struct {
	h handshakeSecrets
	k record.KeyLog
}

func (l *bothLogs) Write(b []byte) (int, error) {
	l.h.note(b)
	return l.k.Write(b)
}

// differ makes the handshake up to the client's last flight. It returns what the server has said so far.
func (r *runner) differ(version uint16, cache tls.ClientSessionCache) (d *differ, said []byte) {
	r.t.Helper()
	d = &differ{raw: r.dialPlain()}
	tap, log := &tapConn{Conn: d.raw}, &bothLogs{}
	cfg := dialConfig(version)
	cfg.KeyLogWriter, cfg.ClientSessionCache = log, cache
	tc := tls.Client(tap, cfg)
	_ = tc.Handshake() // with TLS 1.2 it ends at the end of tap
	d.end = wait(r.t, r.ends)
	suite := tc.ConnectionState().CipherSuite
	d.resumed = tc.ConnectionState().DidResume
	if version == tls.VersionTLS12 {
		suite = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
	}
	d.app = &record.Params{Version: version, Suite: suite, Client: true}
	if !log.k.Fill(d.app) {
		r.t.Fatal("no keys")
	}
	hs := *d.app
	last := bytes.TrimPrefix(tap.kept, []byte{20, 3, 3, 0, 1, 1})
	if version == tls.VersionTLS12 {
		d.app.ServerRandom, _ = record.ServerRandom(tap.read)
		hs.ServerRandom = d.app.ServerRandom
		for at := 0; at < len(tap.kept); at += 5 + int(tap.kept[at+3])<<8 + int(tap.kept[at+4]) {
			d.plain, last = tap.kept[:at], tap.kept[at:]
		}
		d.plain = bytes.TrimSuffix(d.plain, []byte{20, 3, 3, 0, 1, 1})
	} else {
		hs.In, hs.Out = log.h.server, log.h.client
	}
	var err error
	if d.keys, err = record.New(&hs); err != nil {
		r.t.Fatal(err)
	}
	if hs.Client = false; version == tls.VersionTLS13 {
		hs.In, hs.Out = hs.Out, hs.In
	}
	opens, err := record.New(&hs)
	if err != nil {
		r.t.Fatal(err)
	}
	buf := make([]byte, record.RecordLenMax)
	n, _, err := opens.In().Open(buf, last)
	if err != nil {
		r.t.Fatal(err)
	}
	d.finish, d.out = buf[:n], bytes.Clone(d.plain)
	return d, tap.read
}

// seal adds a record.
func (d *differ) seal(typ record.ContentType, b []byte) {
	d.out, _ = d.keys.Out().Seal(d.out, typ, b)
}

// step adds one step of a script.
func (d *differ) step(op, arg byte) {
	switch op % opCount {
	case opCCS:
		d.out = append(d.out, 20, 3, 3, 0, 1, max(1, arg))
	case opFinished:
		d.seal(record.TypeHandshake, d.finish)
	case opPart:
		n := min(1+int(arg), len(d.finish)-d.part)
		if n > 0 {
			d.seal(record.TypeHandshake, d.finish[d.part:d.part+n])
			d.part += n
		}
	case opWrong:
		b := bytes.Clone(d.finish)
		b[int(arg)%len(b)] ^= 1
		d.seal(record.TypeHandshake, b)
	case opTrail:
		d.seal(record.TypeHandshake, append(bytes.Clone(d.finish), []byte{24, 0, 0, 1, 0}[:1+arg%5]...))
	case opKeys:
		if d.app.Version == tls.VersionTLS13 {
			d.keys, _ = record.New(d.app)
		}
	case opData:
		d.seal(record.TypeApplicationData, bytes.Repeat([]byte{arg}, 1+int(arg)))
	case opBulk:
		d.seal(record.TypeApplicationData, bytes.Repeat([]byte{arg}, 64*int(arg)))
	case opAlert:
		d.seal(record.TypeAlert, []byte{2 - arg&1, arg})
	case opPlain:
		d.out = append(d.out, 21, 3, 3, 0, 2, 2, arg)
	case opEmpty:
		d.seal(record.ContentType(20+arg%5), nil)
	case opKeyUpdate:
		if d.app.Version == tls.VersionTLS13 {
			d.out, _ = d.keys.AppendKeyUpdate(d.out, arg%2 == 1)
		}
	case opMessage:
		d.seal(record.TypeHandshake, []byte{arg, 0, 0, 1, 0})
	default:
		d.raws(op%opCount, arg)
	}
}

// raws adds a step that is no record of the client's keys, or spoils one.
func (d *differ) raws(op, arg byte) {
	switch op {
	case opGarbage:
		d.out = append(d.out, bytes.Repeat([]byte("z"), 32*int(arg))...)
	case opFlip:
		if n := len(d.out) - len(d.plain); n > 0 {
			d.out[len(d.out)-1-int(arg)%n] ^= 1
		}
	case opVersion:
		d.out = append(d.out, 23, 3, arg, 0, 20)
		d.out = append(d.out, make([]byte, 20)...)
	case opLong:
		d.out = append(d.out, 23, 3, 3, arg, 0)
	case opPadding:
		if d.app.Version == tls.VersionTLS13 {
			d.seal(0, nil)
		}
	case opSegment:
		if len(d.out) > 0 {
			d.pieces, d.out, d.plain = append(d.pieces, d.out), nil, nil
		}
	case opShort:
		d.out = append(append(d.out, 23, 3, 3, 0, arg), make([]byte, arg)...)
	}
}

// verdict is what came of a script.
type verdict struct {
	made  bool
	data  string
	eof   bool   // an orderly end
	alert string // that the server sent
}

func (v verdict) String() string {
	return fmt.Sprintf("made %v, %d bytes, EOF %v, alert %s", v.made, len(v.data), v.eof, v.alert)
}

// gather is a handler that keeps what it is given.
type gather struct {
	echo
	got  []byte
	eof  bool
	over chan struct{}
}

func (h *gather) OnData(b []byte) int {
	if h.end.session == nil {
		panic("data before the session")
	}
	h.got = append(h.got, b...)
	return len(b)
}

func (h *gather) OnEOF() {
	h.eof = true
	h.c.CloseLinger(waitMax)
	close(h.over)
}

func (h *gather) OnClose(engine.CloseReason) { close(h.over) }

// session returns a cache that holds a session of r.
func (r *runner) session(version uint16) tls.ClientSessionCache {
	r.t.Helper()
	cfg := dialConfig(version)
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	c := r.dial(cfg)
	_ = c.CloseWrite()
	if _, err := io.ReadAll(c); err != nil { // the ticket on the way
		r.t.Fatal(err)
	}
	wait(r.t, r.ends)
	return cfg.ClientSessionCache
}

// play has a client play a script against r, in a session of cache if that is not nil.
func (r *runner) play(version uint16, s script, cache tls.ClientSessionCache) (v verdict) {
	r.t.Helper()
	d, said := r.differ(version, cache)
	defer d.raw.Close()
	if d.resumed != (cache != nil) {
		r.t.Errorf("resumed %v", d.resumed)
	}
	h := (*d.end.handler.Load()).(*gather)
	for i := 0; i+1 < len(s); i += 2 {
		d.step(s[i], s[i+1])
	}
	for _, b := range append(d.pieces, d.out) {
		if _, err := d.raw.Write(b); err != nil {
			break
		}
	}
	_ = d.raw.CloseWrite()
	rest, err := io.ReadAll(d.raw)
	wait(r.t, h.over)
	r.on(func() { v.made, v.data, v.eof = d.end.session != nil, string(h.got), h.eof })
	v.alert = r.saidAlert(d.app, append(said, rest...))
	if err != nil {
		v.alert += ", " + err.Error()
	}
	return v
}

// saidAlert returns the alert in what a server said.
func (r *runner) saidAlert(p *record.Params, said []byte) string {
	dst := make([]byte, 1<<20)
	for at := 0; at+5 <= len(said); {
		n := 5 + int(said[at+3])<<8 + int(said[at+4])
		if at+n > len(said) {
			return "cut"
		}
		if said[at] == 21 && n == 7 {
			return "plain " + record.Alert(said[at+6]).String()
		}
		c, err := record.New(p)
		if err != nil {
			r.t.Fatal(err)
		}
		if _, _, err := c.In().Open(dst, said[at:at+n]); err != nil {
			at += n
			continue
		}
		if p.Version == tls.VersionTLS13 { // the first is read again: it is a ticket, or the alert
			c, _ = record.New(p)
			n = 0
		}
		_, used, err := c.Read(dst, said[at+n:])
		var remote record.RemoteError
		switch {
		case err == io.EOF:
			return "close_notify"
		case errors.As(err, &remote):
			return record.Alert(remote).String()
		case err != nil:
			return "unreadable: " + err.Error()
		case at+n+used != len(said):
			return "cut"
		}
		return "none"
	}
	return "none"
}

// newDiffer returns a runner in a mode whose handlers gather.
func newDiffer(t testing.TB, mode Established) *runner {
	return newRunner(t, serverConfig(), Limits{}, AcceptorOptions{Established: mode}, func(c *engine.Conn, e *testEnd) engine.Handler {
		return &gather{echo: echo{c: c, end: e}, over: make(chan struct{})}
	})
}

// TestDiffer: crypto/tls alone, and our shortcuts, take, deliver and answer the same.
func TestDiffer(t *testing.T) {
	t.Parallel()
	ours, parked, theirs := newDiffer(t, EstablishedOwn), newDiffer(t, EstablishedOwnParked), newDiffer(t, EstablishedCryptoTLS)
	caches := map[*runner]tls.ClientSessionCache{}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13, tls.VersionTLS13} {
		for _, tt := range differs {
			want := theirs.play(version, tt.script, caches[theirs])
			for _, r := range []*runner{ours, parked} {
				if got := r.play(version, tt.script, caches[r]); got != want && !allowed[tt.name] {
					t.Errorf("%s, resumed %v, %s, parked %v:\n  ours   %v\n  theirs %v",
						VersionName(version), caches[r] != nil, tt.name, r == parked, got, want)
				}
			}
		}
		if version == tls.VersionTLS13 {
			for _, r := range []*runner{ours, parked, theirs} {
				caches[r] = r.session(version)
			}
		}
	}
	for _, r := range []*runner{ours, parked, theirs} {
		r.idle()
	}
}

// allowed are the scripts to which we answer with another alert, or without one; what is taken and delivered is the same.
var allowed = map[string]bool{
	"plain alert":        true, // a client without keys: it ended the connection, so there is nothing to say; crypto/tls takes it for a record
	"wrong length":       true, // crypto/tls waits for the rest of a Finished that is announced longer
	"wrong length, high": true, // or has a limit
	"many KeyUpdates":    true, // crypto/tls answers each, which is too many in a row for the reader of this test
	"ClientHello behind": true, // crypto/tls parses it before it refuses it
}

var differs = []struct {
	name   string
	script script
}{
	{"as it is", script{opCCS, 0, opFinished, 0, opKeys, 0, opData, 9, opAlert, 0}},
	{"truncated", script{opCCS, 0, opFinished, 0, opKeys, 0, opData, 9}},
	{"nothing", nil},
	{"close_notify in place", script{opCCS, 0, opAlert, 0}},
	{"alert in place", script{opCCS, 0, opAlert, 40}},
	{"user_canceled", script{opCCS, 0, opAlert, 90, opFinished, 0, opKeys, 0, opData, 9, opAlert, 0}},
	{"plain alert", script{opCCS, 0, opPlain, 40}},
	{"wrong", script{opCCS, 0, opWrong, 20, opKeys, 0, opData, 9}},
	{"wrong type", script{opCCS, 0, opWrong, 0}},
	{"wrong length", script{opCCS, 0, opWrong, 3}},
	{"wrong length, high", script{opCCS, 0, opWrong, 1}},
	{"in parts", script{opCCS, 0, opPart, 0, opPart, 2, opSegment, 0, opPart, 99, opKeys, 0, opData, 9, opAlert, 0}},
	{"a part, and data", script{opCCS, 0, opPart, 9, opData, 9}},
	{"a part, and an alert", script{opCCS, 0, opPart, 9, opAlert, 40}},
	{"a part, and change_cipher_spec", script{opCCS, 0, opPart, 9, opCCS, 0, opPart, 99}},
	{"with a trail", script{opCCS, 0, opTrail, 4, opKeys, 0, opData, 9}},
	{"twice", script{opCCS, 0, opFinished, 0, opFinished, 0}},
	{"twice, new keys", script{opCCS, 0, opFinished, 0, opKeys, 0, opFinished, 0}},
	{"data before", script{opCCS, 0, opData, 9, opFinished, 0}},
	{"data behind with the old keys", script{opCCS, 0, opFinished, 0, opData, 9}},
	{"new keys too early", script{opCCS, 0, opKeys, 0, opFinished, 0}},
	{"KeyUpdate behind", script{opCCS, 0, opFinished, 0, opKeys, 0, opKeyUpdate, 1, opData, 9, opKeyUpdate, 0, opData, 3, opAlert, 0}},
	{"KeyUpdate before", script{opCCS, 0, opKeyUpdate, 1, opFinished, 0}},
	{"many KeyUpdates", append(script{opCCS, 0, opFinished, 0, opKeys, 0}, bytes.Repeat(script{opKeyUpdate, 1}, 17)...)},
	{"ClientHello behind", script{opCCS, 0, opFinished, 0, opKeys, 0, opData, 9, opMessage, 1}},
	{"empty handshake", script{opCCS, 0, opEmpty, 2, opFinished, 0}},
	{"empty data", script{opCCS, 0, opEmpty, 3, opFinished, 0}},
	{"empty data behind", script{opCCS, 0, opFinished, 0, opKeys, 0, opEmpty, 3, opData, 9, opAlert, 0}},
	{"empty handshake behind", script{opCCS, 0, opFinished, 0, opKeys, 0, opEmpty, 2, opData, 9}},
	{"empty alert", script{opCCS, 0, opEmpty, 1, opFinished, 0}},
	{"empty alert behind", script{opCCS, 0, opFinished, 0, opKeys, 0, opEmpty, 1}},
	{"another type", script{opCCS, 0, opEmpty, 4, opFinished, 0}},
	{"padding alone", script{opCCS, 0, opPadding, 0, opFinished, 0}},
	{"padding alone behind", script{opCCS, 0, opFinished, 0, opKeys, 0, opPadding, 0, opData, 1}},
	{"spoilt", script{opCCS, 0, opFinished, 0, opFlip, 0, opKeys, 0, opData, 9}},
	{"spoilt data", script{opCCS, 0, opFinished, 0, opKeys, 0, opData, 9, opData, 8, opFlip, 0, opData, 7}},
	{"version", script{opCCS, 0, opVersion, 1, opFinished, 0}},
	{"version behind", script{opCCS, 0, opFinished, 0, opKeys, 0, opData, 9, opVersion, 1}},
	{"version of change_cipher_spec", script{opCCS, 0, opFlip, 3, opFinished, 0}},
	{"too long", script{opCCS, 0, opLong, 0x49, opFinished, 0}},
	{"too long behind", script{opCCS, 0, opFinished, 0, opKeys, 0, opData, 9, opLong, 0x49}},
	{"too short", script{opCCS, 0, opShort, 3, opFinished, 0}},
	{"too short behind", script{opCCS, 0, opFinished, 0, opKeys, 0, opData, 9, opShort, 3}},
	{"garbage", script{opCCS, 0, opGarbage, 200}},
	{"garbage behind", script{opCCS, 0, opFinished, 0, opGarbage, 200}},
	{"bulk behind", script{opCCS, 0, opFinished, 0, opKeys, 0, opBulk, 255, opBulk, 200, opData, 1, opAlert, 0}},
}

// FuzzDiffer: whatever a client does in the place of its last flight, we let in whom crypto/tls lets in, deliver nothing that it would
// not, and see an orderly end only where it does.
func FuzzDiffer(f *testing.F) {
	for _, tt := range differs {
		for kind := range byte(4) {
			f.Add(append([]byte{kind}, tt.script...))
		}
	}
	modes := [...]*runner{newDiffer(f, EstablishedOwn), newDiffer(f, EstablishedOwnParked)}
	theirs := newDiffer(f, EstablishedCryptoTLS)
	const stepsMax = 16 // fewer than records without data are too many, which are not counted alike
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 || len(in) > 1+2*stepsMax {
			return
		}
		version, ours := tls.VersionTLS12+uint16(in[0]&1), modes[in[0]>>1&1]
		ours.t, theirs.t = t, t
		got, want := ours.play(version, in[1:], nil), theirs.play(version, in[1:], nil)
		switch {
		case got.made != want.made, !strings.HasPrefix(want.data, got.data), got.eof && !want.eof,
			got.eof && got.data != want.data, strings.HasPrefix(got.alert, "unreadable"), strings.HasPrefix(got.alert, "cut"):
			t.Errorf("%x:\n  ours   %v\n  theirs %v", in, got, want)
		}
	})
}
