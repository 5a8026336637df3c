package transport

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"io"
	"time"

	"millrace/engine"
	"millrace/engine/certs"
	"millrace/engine/internal/record"
)

// readHello gathers the ClientHello, and begins when it is whole. A client that is slow holds a block, and no more; what it sends is
// read behind what is there.
func (c *conn) readHello(w *engine.Wire) error {
	o, l := c.opening, c.side.loop
	buf, n := c.side.buf.in[:helloBytesMax+record.HeaderLen], 0
	for {
		if o.hello.n > 0 {
			if !o.hello.grow(l, helloBytesMax+record.HeaderLen) {
				return ErrNoMemory
			}
			buf, n = o.hello.block.Bytes(), int(o.hello.n)
		}
		k, err := w.Read(buf[n:])
		n += k
		if o.hello.n > 0 {
			o.hello.n = int32(n)
		}
		state, alert := checkHello(buf[:n])
		switch {
		case n > 0 && state == helloWhole:
			in := bytes.Clone(buf[:n])
			o.hello.drop(l)
			return c.start(in)
		case state == helloPlain:
			return c.refusePlain(w)
		case state == helloBad || state == helloLong:
			w.Linger(alertLinger)
			_, _ = w.Write(plainAlert(alert))
			if state == helloLong {
				return ErrHelloLong
			}
			return ErrHello
		case err == io.EOF:
			return ErrAborted
		case err != nil && !errors.Is(err, engine.ErrWouldBlock):
			return err
		case err != nil && o.hello.n > 0:
			return err
		case err != nil:
			return cmp.Or(o.hello.keep(l, buf[:n]), err)
		}
	}
}

// refusePlain answers a client that does not speak TLS.
func (c *conn) refusePlain(w *engine.Wire) error {
	if len(c.side.plain) > 0 {
		w.Linger(alertLinger)
		_, _ = w.Write(c.side.plain)
	}
	return ErrPlain
}

// start begins the handshake with what has come so far.
func (c *conn) start(in []byte) error {
	o, io := c.opening, c.wire.Conn()
	s := &shake{
		side: c.side, hs: c.side.hs, loop: c.side.loop, conn: c, config: o.config,
		addr: io.LocalAddr(), remote: io.RemoteAddr(), wake: make(chan struct{}, 1), begun: o.begun, in: in,
		random: clientRandom(in), hello: in,
	}
	if !c.side.hs.start(s) {
		return ErrShed
	}
	o.shake = s
	return nil
}

// feed gives what the peer sends to the handshake under way.
func (c *conn) feed(w *engine.Wire) error {
	s, h, buf := c.opening.shake, c.side.hs, c.side.buf.in
	for {
		h.mu.Lock()
		room := inputBytesMax - len(s.in)
		s.full = room <= 0
		h.mu.Unlock()
		if room <= 0 {
			return nil // flush comes back
		}
		n, err := w.Read(buf[:min(room, len(buf))])
		if n > 0 || err == io.EOF {
			h.mu.Lock()
			s.in = append(s.in, buf[:n]...)
			s.eof = err == io.EOF
			h.ready(s)
			h.mu.Unlock()
		}
		switch {
		case err == nil:
		case err == io.EOF, errors.Is(err, engine.ErrWouldBlock):
			return nil
		default:
			return err
		}
	}
}

// OnTimer implements timer.Firer: the deadline of the handshake.
func (o *opening) OnTimer(int64) {
	if o.failed || o.conn.opening != o {
		return
	}
	o.conn.side.hs.timeouts.Add(1)
	o.conn.wire.Fail(o.conn.note(ErrHandshakeTimeout))
}

// shaken takes the result of the handshake.
func (c *conn) shaken(s *shake) {
	o := c.opening
	if o.failed {
		return
	}
	out := s.unsent()
	if len(out) > 0 {
		_, _ = c.wire.Write(out)
	}
	if s.err != nil {
		if len(out) > 0 {
			c.wire.Linger(alertLinger)
		}
		c.wire.Fail(c.note(abortedOr(s.err)))
		return
	}
	if s.awaits != nil {
		c.await(s)
		return
	}
	if err := c.in.keep(c.side.loop, s.in); err != nil {
		c.wire.Fail(c.note(err))
		return
	}
	if s.rec == nil {
		s.net.shake, s.net.conn = nil, c
	}
	if err := c.establish(s.session, s.rec, s.tls); err != nil {
		c.wire.Fail(err)
		return
	}
	c.wire.Established()
}

// establish begins the connection proper.
func (c *conn) establish(session *Session, rec *record.Conn, t *tls.Conn) error {
	o := c.opening
	c.closeOpening()
	if c.rec = rec; rec == nil {
		c.tls = t
	} else {
		c.side.buf.awake.use(c) // it may never be
	}
	c.side.stats.established(session)
	if session.ALPN == certs.ALPNChallenge && !c.side.client {
		c.wire.Linger(alertLinger)
		c.CloseWrite(c.wire)
		return ErrChallenge // for what it came it has seen
	}
	o.owner.OnSession(session)
	if len(o.early) > 0 {
		return c.Write(c.wire, [][]byte{o.early})
	}
	return nil
}

// await goes on without crypto/tls, whose goroutine has ended. Of the shake only its place among those under way is kept.
func (c *conn) await(s *shake) {
	o, in := c.opening, s.in
	o.awaits, o.session = s.awaits, s.session
	s.awaits, s.session, s.asks, s.net, s.config = nil, nil, nil, nil, nil
	s.written, s.in, s.hello, s.random = nil, nil, nil, nil
	if err := o.hello.keep(c.side.loop, in); err != nil {
		c.wire.Fail(c.note(err))
		return
	}
	c.wire.ReadAgain()
}

// readFinished waits for the client's Finished.
func (c *conn) readFinished(w *engine.Wire) (done bool, err error) {
	o, l, buf := c.opening, c.side.loop, c.side.buf.in
	n := o.hello.take(l, buf)
	scratch := c.side.buf.out
	for {
		used, done, alert, err := o.awaits.feed(buf[:n], scratch)
		n = copy(buf, buf[used:n])
		switch {
		case err != nil:
			c.alert(w, alert)
			return false, err
		case done:
			if err := c.in.keep(l, buf[:n]); err != nil {
				return false, err
			}
			o.session.Duration = time.Since(o.begun)
			rec := o.awaits.rec
			o.awaits.rec = nil // not to be wiped
			return true, c.establish(o.session, rec, nil)
		}
		k, err := w.Read(buf[n:min(len(buf), n+record.RecordLenMax)])
		n += k
		switch {
		case k > 0 || err == nil:
		case err == io.EOF:
			return false, ErrAborted
		case errors.Is(err, engine.ErrWouldBlock):
			return false, o.hello.keep(l, buf[:n])
		default:
			return false, err
		}
	}
}

// alert tells the client why its Finished is not taken: with the keys of the connection, as all that follows our own Finished.
func (c *conn) alert(w *engine.Wire, a record.Alert) {
	if a == record.CloseNotify {
		return
	}
	w.Linger(alertLinger)
	if b, err := c.opening.awaits.rec.AppendAlert(c.side.buf.out[:0], a); err == nil {
		_, _ = w.Write(b)
	}
}

// abortedOr returns ErrAborted for the errors that mean it.
func abortedOr(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrAborted
	}
	return err
}
