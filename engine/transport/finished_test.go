package transport

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"

	"millrace/engine/certs"
	"millrace/engine/internal/record"
)

// clientFlight is the second flight of a TLS 1.3 client of crypto/tls, and the keys to make another one.
type clientFlight struct {
	raw     *net.TCPConn
	end     *testEnd
	secrets handshakeSecrets
	suite   uint16
	sent    []byte // change_cipher_spec and Finished
}

// holdConn keeps what is written when told to.
type holdConn struct {
	net.Conn
	hold bool
	kept []byte
}

func (c *holdConn) Write(b []byte) (int, error) {
	if c.hold {
		c.kept = append(c.kept, b...)
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// secretsWriter gathers the secrets of a handshake.
type secretsWriter struct{ h *handshakeSecrets }

func (w secretsWriter) Write(b []byte) (int, error) {
	w.h.note(b)
	return len(b), nil
}

// flight has a client make its second flight, and keeps it.
func (r *runner) flight() *clientFlight {
	r.t.Helper()
	f := &clientFlight{raw: r.dialPlain()}
	c := &holdConn{Conn: f.raw}
	cfg := dialConfig(tls.VersionTLS13)
	cfg.KeyLogWriter = secretsWriter{&f.secrets}
	tc := tls.Client(&afterFirst{holdConn: c}, cfg)
	if err := tc.Handshake(); err != nil {
		r.t.Fatal(err)
	}
	f.suite, f.sent, f.end = tc.ConnectionState().CipherSuite, c.kept, wait(r.t, r.ends)
	return f
}

// afterFirst holds what follows the first write.
type afterFirst struct {
	*holdConn
	writes int
	holds  atomic.Int32
}

func (c *afterFirst) Write(b []byte) (int, error) {
	c.hold = c.writes > 0
	c.writes++
	if c.hold {
		c.holds.Add(1)
	}
	return c.holdConn.Write(b)
}

// TestFinished: what may come in the place of the client's Finished, and how it is answered. crypto/tls must take and refuse the same.
func TestFinished(t *testing.T) {
	t.Parallel()
	ccs := []byte{20, 3, 3, 0, 1, 1}
	for _, mode := range []Established{EstablishedOwn, EstablishedOwnParked} {
		r := newRunner(t, serverConfig(), Limits{}, AcceptorOptions{Established: mode}, nil)
		// seal makes records with the client's keys.
		seal := func(f *clientFlight, typ record.ContentType, b ...[]byte) (out []byte) {
			c, err := record.New(&record.Params{Version: tls.VersionTLS13, Suite: f.suite, Client: true, In: f.secrets.server, Out: f.secrets.client})
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range b {
				if out, err = c.Out().Seal(out, typ, b); err != nil {
					t.Fatal(err)
				}
			}
			return out
		}
		// message opens the Finished that the client made.
		message := func(f *clientFlight) []byte {
			c, err := record.New(&record.Params{Version: tls.VersionTLS13, Suite: f.suite, In: f.secrets.client, Out: f.secrets.server})
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, record.RecordLenMax)
			n, _, err := c.In().Open(b, bytes.TrimPrefix(f.sent, ccs))
			if err != nil {
				t.Fatal(err)
			}
			return b[:n]
		}
		for _, tt := range []struct {
			name string
			send func(f *clientFlight) []byte
			ok   bool
		}{
			{"as it is", func(f *clientFlight) []byte { return f.sent }, true},
			{"without change_cipher_spec", func(f *clientFlight) []byte { return bytes.TrimPrefix(f.sent, ccs) }, true},
			{"two change_cipher_spec", func(f *clientFlight) []byte { return append(bytes.Clone(ccs), f.sent...) }, true},
			{"in pieces", func(f *clientFlight) []byte {
				m := message(f)
				return seal(f, record.TypeHandshake, m[:1], m[1:4], m[4:5], m[5:])
			}, true},
			{"wrong", func(f *clientFlight) []byte {
				m := message(f)
				m[len(m)-1] ^= 1
				return seal(f, record.TypeHandshake, m)
			}, false},
			{"short", func(f *clientFlight) []byte {
				m := message(f)
				m[3]--
				return seal(f, record.TypeHandshake, m[:len(m)-1])
			}, false},
			{"long", func(f *clientFlight) []byte { return seal(f, record.TypeHandshake, append(message(f), 0)) }, false},
			{"another message", func(f *clientFlight) []byte { return seal(f, record.TypeHandshake, []byte{24, 0, 0, 1, 0}) }, false},
			{"data", func(f *clientFlight) []byte { return seal(f, record.TypeApplicationData, []byte("data")) }, false},
			{"empty handshake", func(f *clientFlight) []byte { return seal(f, record.TypeHandshake, nil, message(f)) }, false},
			{"alert", func(f *clientFlight) []byte { return seal(f, record.TypeAlert, []byte{2, 42}) }, false},
			{"other keys", func(f *clientFlight) []byte {
				b := bytes.Clone(f.sent)
				b[len(b)-1] ^= 1
				return b
			}, false},
			{"plain", func(f *clientFlight) []byte { return append([]byte{22, 3, 3, 0, 36}, message(f)...) }, false},
			{"plain alert", func(f *clientFlight) []byte { return []byte{21, 3, 3, 0, 2, 2, 40} }, false},
			{"another change_cipher_spec", func(f *clientFlight) []byte { return append([]byte{20, 3, 3, 0, 1, 2}, f.sent...) }, false},
			{"long change_cipher_spec", func(f *clientFlight) []byte { return append([]byte{20, 3, 3, 0, 2, 1, 1}, f.sent...) }, false},
			{"many change_cipher_spec", func(f *clientFlight) []byte { return append(bytes.Repeat(ccs, 40), f.sent...) }, false},
			{"too long a record", func(f *clientFlight) []byte { return []byte{23, 3, 3, 0xff, 0xff, 1} }, false},
			{"nonsense", func(f *clientFlight) []byte { return []byte("GET / HTTP/1.1\r\n\r\n") }, false},
		} {
			f := r.flight()
			for _, b := range tt.send(f) { // byte by byte
				if _, err := f.raw.Write([]byte{b}); err != nil {
					break
				}
			}
			if tt.ok {
				wait(t, f.end.made)
				f.raw.Close()
				continue
			}
			if err := wait(t, f.end.closed); err == nil || f.end.session != nil {
				t.Errorf("mode %d, %s: closed with %v, session %v", mode, tt.name, err, f.end.session)
			}
			if _, err := io.Copy(io.Discard, f.raw); err != nil {
				t.Errorf("mode %d, %s: %v instead of an orderly end", mode, tt.name, err)
			}
		}
		r.idle()
	}
}

// TestFinishedAlert: the client hears why its Finished was refused.
func TestFinishedAlert(t *testing.T) {
	t.Parallel()
	r := newRunner(t, serverConfig(), Limits{}, AcceptorOptions{}, nil)
	raw := r.dialPlain()
	c := tls.Client(&corruptConn{TCPConn: raw}, dialConfig(tls.VersionTLS13))
	err := c.Handshake() // it is over for the client when it has sent its Finished
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	var op *net.OpError
	if !errors.As(err, &op) || op.Err.Error() != "tls: bad record MAC" {
		t.Errorf("the client read %v", err)
	}
	if err := wait(t, wait(t, r.ends).closed); err == nil {
		t.Error("no error")
	}
}

// corruptConn changes the last byte of the second flight.
type corruptConn struct {
	*net.TCPConn
	writes int
}

func (c *corruptConn) Write(b []byte) (int, error) {
	if c.writes++; c.writes > 1 {
		b = bytes.Clone(b)
		b[len(b)-1] ^= 1
	}
	return c.TCPConn.Write(b)
}

// TestAwaitsWithoutGoroutine: a TLS 1.3 client that does not finish holds no goroutine, is counted, and times out.
func TestAwaitsWithoutGoroutine(t *testing.T) {
	r := newRunner(t, serverConfig(), Limits{}, AcceptorOptions{}, nil) // not parallel: it measures
	const clients = 200
	before, running := memory(r), runtime.NumGoroutine()
	for range clients {
		r.flight().sent = nil
	}
	r.until("no goroutine computes", func(s Snapshot) bool { return s.Computing == 0 }) // a flight leaves a little earlier
	s := r.hs.Snapshot()
	if s.UnderWay != clients || s.Computing != 0 || s.Queued != 0 {
		t.Errorf("%+v", s)
	}
	each := (memory(r) - before) / clients
	t.Logf("%d bytes for each client that does not finish, the test's socket included", each)
	if n := runtime.NumGoroutine() - running; n > idleWorkers*runtime.GOMAXPROCS(0) {
		t.Errorf("%d goroutines for %d clients that do not finish", n, clients)
	}
	if each > 10<<10 && !raceEnabled {
		t.Errorf("%d bytes for each", each)
	}
}

// TestMutualStaysWithCryptoTLS: whoever is asked for a certificate is crypto/tls's to the end of the handshake.
func TestMutualStaysWithCryptoTLS(t *testing.T) {
	t.Parallel()
	r := newRunner(t, serverConfig(func(c *certs.DownstreamConfig) { c.ClientCAFile = theCA().file("ca.pem") }), Limits{}, AcceptorOptions{}, nil)
	for _, with := range []bool{false, true} {
		cfg := dialConfig(tls.VersionTLS13)
		if with {
			cfg.Certificates = []tls.Certificate{pairOf(t, "ecdsa")}
		}
		c := r.dial(cfg)
		io.WriteString(c, "x")
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Error(err)
		}
		e := wait(t, r.ends)
		wait(t, e.made)
		if (e.session.Peer != nil) != with || !e.session.Own {
			t.Errorf("session %+v", e.session)
		}
	}
}

// FuzzFinished: whatever a client sends in the place of its Finished, cut wherever, nothing but the Finished is taken.
func FuzzFinished(f *testing.F) {
	f.Add([]byte{20, 3, 3, 0, 1, 1, 23, 3, 3, 0, 17, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17}, uint16(4))
	f.Add([]byte{21, 3, 3, 0, 2, 2, 40}, uint16(6))
	secret := bytes.Repeat([]byte{7}, 32)
	f.Fuzz(func(t *testing.T, in []byte, cut uint16) {
		feed := func(pieces ...[]byte) (bool, record.Alert, bool) {
			hs, err := record.New(&record.Params{Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256, In: secret, Out: secret})
			if err != nil {
				t.Fatal(err)
			}
			a := &awaited{hs: hs, size: messageHeadBytes + 32}
			a.want[0], a.want[3] = messageFinished, 32
			var b []byte
			scratch := make([]byte, record.RecordLenMax)
			for _, p := range pieces {
				b = append(b, p...)
				used, done, alert, err := a.feed(b, scratch)
				if used > len(b) {
					t.Fatalf("used %d of %d bytes", used, len(b))
				}
				b = b[used:]
				if done || err != nil {
					return done, alert, err != nil
				}
			}
			return false, 0, false
		}
		at := int(cut) % (len(in) + 1)
		done1, alert1, err1 := feed(in)
		done2, alert2, err2 := feed(in[:at], in[at:])
		if done1 || done2 || alert1 != alert2 || err1 != err2 {
			t.Errorf("whole: %v, %v, %v; cut: %v, %v, %v", done1, alert1, err1, done2, alert2, err2)
		}
	})
}
