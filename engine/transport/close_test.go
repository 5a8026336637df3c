package transport

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"millrace/engine"
)

// collect reads to the end and then answers.
type collect struct {
	echo
	got    []byte
	eof    chan struct{}
	answer string
}

func (h *collect) OnData(b []byte) int {
	h.got = append(h.got, b...)
	return len(b)
}

func (h *collect) OnEOF() {
	close(h.eof)
	h.c.Write([]byte(h.answer))
	h.c.CloseLinger(waitMax)
}

// TestHalfClose: after the client's close_notify we still write, and our close_notify comes last.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, version uint16, mode Established) {
		h := &collect{eof: make(chan struct{}), answer: strings.Repeat("answer", 100_000)}
		r := newRunner(t, serverConfig(), Limits{}, AcceptorOptions{Established: mode}, func(c *engine.Conn, e *testEnd) engine.Handler {
			h.echo = echo{c: c, end: e}
			return h
		})
		c := r.dial(dialConfig(version))
		io.WriteString(c, "question")
		c.CloseWrite()
		got, err := io.ReadAll(c) // an end without close_notify would be io.ErrUnexpectedEOF
		if string(got) != h.answer || err != nil {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
		wait(t, h.eof)
		r.on(func() {
			if string(h.got) != "question" {
				t.Errorf("got %q", h.got)
			}
		})
	})
}

// TestOurHalfClose: after our close_notify the client still writes.
func TestOurHalfClose(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, version uint16, mode Established) {
		h := &collect{eof: make(chan struct{})}
		r := newRunner(t, serverConfig(), Limits{}, AcceptorOptions{Established: mode}, func(c *engine.Conn, e *testEnd) engine.Handler {
			h.echo = echo{c: c, end: e}
			c.Write([]byte("all I have to say")) // before the handshake
			c.CloseWrite()
			return h
		})
		c := r.dial(dialConfig(version))
		if got, err := io.ReadAll(c); string(got) != "all I have to say" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		io.WriteString(c, "but I")
		c.CloseWrite()
		wait(t, h.eof)
		r.on(func() {
			if string(h.got) != "but I" {
				t.Errorf("got %q", h.got)
			}
		})
	})
}

// TestTruncated: a socket that just ends is an error, after the data before it.
func TestTruncated(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, version uint16, mode Established) {
		for _, part := range []int{0, 3, 20} { // of one more record
			h := &collect{eof: make(chan struct{})}
			r := newRunner(t, serverConfig(), Limits{}, AcceptorOptions{Established: mode}, func(c *engine.Conn, e *testEnd) engine.Handler {
				h.echo = echo{c: c, end: e}
				return h
			})
			raw := r.dialPlain()
			cut := &cutConn{TCPConn: raw, left: 1 << 20}
			c := tls.Client(cut, dialConfig(version))
			if _, err := io.WriteString(c, "data"); err != nil {
				t.Fatal(err)
			}
			cut.left = part
			c.Write([]byte("more data"))
			raw.CloseWrite()
			e := wait(t, r.ends)
			if err := wait(t, e.closed); err != ErrTruncated || e.reason != engine.CloseTransport {
				t.Errorf("closed with %v, %v", e.reason, err)
			}
			r.on(func() {
				if string(h.got) != "data" || r.stats.Truncated.Load() != 1 {
					t.Errorf("got %q; truncated %d", h.got, r.stats.Truncated.Load())
				}
			})
			select {
			case <-h.eof:
				t.Error("OnEOF")
			default:
			}
		}
	})
}

// TestBadRecord: a record that does not open is answered with an alert that the client sees, although it goes on sending.
func TestBadRecord(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, version uint16, mode Established) {
		r := newRunner(t, serverConfig(), Limits{}, AcceptorOptions{Established: mode}, nil)
		raw := r.dialPlain()
		c := tls.Client(raw, dialConfig(version))
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		raw.Write([]byte("\x17\x03\x03\x00\x20" + strings.Repeat("z", 32) + strings.Repeat("unread", 10_000)))
		_, err := c.Read(make([]byte, 1))
		var remote tls.AlertError
		if !errors.As(err, &remote) && (err == nil || !strings.Contains(err.Error(), "bad record MAC")) {
			t.Errorf("the client read %v", err)
		}
		e := wait(t, r.ends)
		if err := wait(t, e.closed); err == nil || e.reason != engine.CloseTransport {
			t.Errorf("closed with %v, %v", e.reason, err)
		}
		r.on(func() {
			if n := r.stats.ConnectionError.Load(); n != 1 {
				t.Errorf("connection_error = %d", n)
			}
		})
	})
}

// spoilConn changes what is read while it is told to.
type spoilConn struct {
	net.Conn
	on atomic.Bool
}

func (c *spoilConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.on.Load() && n > 0 {
		b[n-1] ^= 1
	}
	return n, err
}

// TestPeerAlert: an alert of the peer ends the connection with an error that names it.
func TestPeerAlert(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, version uint16, mode Established) {
		r := newRunner(t, serverConfig(), Limits{}, AcceptorOptions{Established: mode}, nil)
		spoil := &spoilConn{Conn: r.dialPlain()}
		c := tls.Client(spoil, dialConfig(version))
		io.WriteString(c, "ab")
		if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
			t.Fatal(err)
		}
		spoil.on.Store(true)
		io.WriteString(c, "c")
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a spoilt record was read")
		}
		e := wait(t, r.ends)
		if err := wait(t, e.closed); err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), " ", "_"), "bad_record_") {
			t.Errorf("closed with %v, %v", e.reason, err)
		}
	})
}
