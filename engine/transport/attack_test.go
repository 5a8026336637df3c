package transport

import (
	"bytes"
	"crypto/tls"
	"net"
	"testing"
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
