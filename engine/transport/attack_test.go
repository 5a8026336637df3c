package transport

import (
	"bytes"
	"crypto/tls"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// TestGarbageAfterFinished: what comes in one segment with the client's Finished, and is no record, ends the connection with an alert.
func TestGarbageAfterFinished(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, version uint16, mode Established) {
		for _, n := range []int{1, 5, heldCopyMax, heldCopyMax + 1, 40 << 10} {
			r := newRunner(t, serverConfig(), Limits{}, AcceptorOptions{Established: mode}, nil)
			raw := &appendConn{TCPConn: r.dialPlain(), tail: bytes.Repeat([]byte("z"), n)}
			c := tls.Client(raw, dialConfig(version))
			_ = c.Handshake()
			raw.CloseWrite()
			e := wait(t, r.ends)
			if err := wait(t, e.closed); err == nil {
				t.Errorf("%d bytes: no error", n)
			}
			r.idle()
		}
	})
}

// appendConn adds a tail to its second write, the client's second flight.
type appendConn struct {
	*net.TCPConn
	tail   []byte
	writes int
}

func (c *appendConn) Write(b []byte) (int, error) {
	if c.writes++; c.writes != 2 {
		return c.TCPConn.Write(b)
	}
	if _, err := c.TCPConn.Write(append(bytes.Clone(b), c.tail...)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// TestKeyUpdatesUnread: a peer that asks for one KeyUpdate after the other and reads nothing does not make the queue grow; what it asked for
// comes before the next data.
func TestKeyUpdatesUnread(t *testing.T) {
	t.Parallel()
	s := newStepped(t, tls.VersionTLS13, EstablishedOwn)
	got := 0
	s.rec.DataFunc = func(b []byte) int {
		got += len(b)
		return len(b)
	}
	c, answer := s.ownClient(), make([]byte, 4<<20) // more than sockets take
	s.conn.Write(answer)
	s.loop.Settle()
	before := s.conn.Buffered()
	if before == 0 {
		t.Fatal("the socket has taken all")
	}
	const asks = 2000
	for i := range asks {
		b, err := c.rec.AppendKeyUpdate(nil, true)
		if err == nil {
			b, err = c.rec.AppendData(b, []byte{1})
		}
		if n, werr := unix.Write(s.fd, b); err != nil || n != len(b) {
			t.Fatal(i, n, err, werr)
		}
		s.loop.Settle()
	}
	if n := s.conn.Buffered() - before; got != asks || n > 1000 {
		t.Errorf("%d of %d bytes came, the queue grew by %d", got, asks, n)
	}
	s.conn.Write(make([]byte, 1000))
	c.receive(len(answer) + 1000)
	if seq := s.conn.Transport().(*conn).rec.Out().Seq(); seq != 1 {
		t.Errorf("%d records since the last KeyUpdate", seq)
	}
}
