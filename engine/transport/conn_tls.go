package transport

import (
	"errors"
	"io"

	"millrace/engine"
	"millrace/engine/internal/record"
)

// readTLS reads data through crypto/tls.
func (c *conn) readTLS(dst []byte) (int, error) {
	if c.tls == nil {
		return 0, errClosed
	}
	n, err := c.tls.Read(dst)
	c.flush() // an alert, or the answer to a KeyUpdate
	switch {
	case err == nil || err == io.EOF && !c.eof:
		return n, err
	case errors.Is(err, engine.ErrWouldBlock):
		return n, engine.ErrWouldBlock
	case c.eof && (err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF)):
		return n, ErrTruncated // without a close_notify crypto/tls went on to the end of the socket
	}
	return n, err
}

// writeTLS writes the pieces of v through crypto/tls: small ones gathered, so that they do not become a record each.
func (c *conn) writeTLS(v [][]byte) (err error) {
	if c.tls == nil {
		return errClosed
	}
	for i := 0; i < len(v) && err == nil; {
		if i == len(v)-1 || len(v[i]) >= record.MaxPlaintext {
			_, err = c.tls.Write(v[i])
			i++
			continue
		}
		b := c.side.buf.gather[:0]
		for i < len(v) && len(b) < record.MaxPlaintext {
			n := min(len(v[i]), record.MaxPlaintext-len(b))
			b = append(b, v[i][:n]...)
			if v[i] = v[i][n:]; len(v[i]) == 0 {
				i++
			}
		}
		_, err = c.tls.Write(b)
	}
	c.flush()
	return err
}

// readCipher is what a tls.Conn reads from after the handshake.
func (c *conn) readCipher(b []byte) (int, error) {
	if n := c.in.take(c.side.loop, b); n > 0 {
		return n, nil
	}
	n, err := c.wire.Read(b)
	if err == io.EOF {
		c.eof = true
	}
	return n, err
}

// writeCipher is what a tls.Conn writes to after the handshake: the records of one call leave together.
func (c *conn) writeCipher(b []byte) (int, error) {
	buf := c.side.buf
	if buf.n+len(b) > len(buf.out) {
		c.flush()
	}
	if len(b) > len(buf.out) {
		return c.wire.Write(b)
	}
	buf.n += copy(buf.out[buf.n:], b)
	return len(b), nil
}

// flush writes what is gathered in the loop's buffer.
func (c *conn) flush() {
	buf := c.side.buf
	if n := buf.n; n > 0 {
		buf.n = 0
		_, _ = c.wire.Write(buf.out[:n]) // it never fails but for a conn that is gone
	}
}
