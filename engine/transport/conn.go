package transport

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"io"
	"time"

	"millrace/engine"
	"millrace/engine/arena"
	"millrace/engine/internal/record"
	"millrace/engine/timer"
)

// earlyBytesMax bounds what may be written before the end of the handshake.
const earlyBytesMax = 64 << 10

// alertLinger is how long a connection that has failed stays for its peer to read the alert.
const alertLinger = 2 * time.Second

// side is what the connections of an Acceptor or a Dialer share.
type side struct {
	loop    *engine.Loop
	hs      *Handshakes
	stats   *Stats
	buf     *buffers
	timeout time.Duration // of a handshake
	own     bool          // the own record layer is wanted
	awaits  bool          // and the client's Finished awaited without a goroutine
	plain   []byte        // answers who does not speak TLS
	client  bool

	verified    func(*tls.ConnectionState) bool                      // whether the chain of the peer was
	certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error) // of a server
}

// conn is one TLS connection.
//
//	Handshake:  ClientHello ──▶ shake ──▶ established: rec, or tls
//	                   └───────────┴─────▶ failed: the wire knows why
//
// What only a handshake needs lies in opening, so that an idle connection is small.
type conn struct {
	side    *side
	wire    *engine.Wire
	opening *opening     // nil when established or over
	tls     *tls.Conn    // established by crypto/tls
	rec     *record.Conn // established by the own record layer
	in      held         // ciphertext
	plain   held         // data for which a read had no room
	eof     bool         // the socket has ended
	shut    bool         // Close was called
}

// opening is a handshake as the loop sees it.
type opening struct {
	conn   *conn
	owner  Owner
	config func(*shake) *tls.Config
	timer  timer.Timer
	begun  time.Time
	hello  held   // a part of the ClientHello
	shake  *shake // nil before a whole one

	// awaits, session and rec are those of a handshake that waits for the client's Finished.
	awaits  *awaited
	session *Session
	early   []byte // written before the end of the handshake
	failed  bool
}

// held is bytes that wait in a block of the arena: block[off:off+n].
type held struct {
	block  arena.Block
	off, n int32
}

func (h *held) bytes() []byte { return h.block.Bytes()[h.off : h.off+h.n] }

// keep makes h hold b.
func (h *held) keep(l *engine.Loop, b []byte) error {
	h.drop(l)
	if len(b) == 0 {
		return nil
	}
	block, ok := l.Arena().Lease(len(b))
	if !ok {
		return ErrNoMemory
	}
	*h = held{block: block, n: int32(copy(block.Bytes(), b))}
	return nil
}

// grow makes sure that there is room behind what h holds, up to most bytes together. It reports false without memory, or at most.
func (h *held) grow(l *engine.Loop, most int) bool {
	if int(h.n) < h.block.Size() {
		return true
	}
	if int(h.n) >= most {
		return false
	}
	block, ok := l.Arena().Lease(int(h.n) + 1)
	if !ok {
		return false
	}
	copy(block.Bytes(), h.bytes())
	l.Arena().Return(h.block)
	h.block, h.off = block, 0
	return true
}

// take moves what h holds to dst, as much as there is room for.
func (h *held) take(l *engine.Loop, dst []byte) int {
	if h.n == 0 {
		return 0
	}
	n := copy(dst, h.bytes())
	h.off, h.n = h.off+int32(n), h.n-int32(n)
	if h.n == 0 {
		h.drop(l)
	}
	return n
}

// drop gives the block back.
func (h *held) drop(l *engine.Loop) {
	if !h.block.IsZero() {
		l.Arena().Return(h.block)
		*h = held{}
	}
}

// newConn makes the transport of a connection whose handshake is to come.
func (s *side) newConn(o Owner, config func(*shake) *tls.Config) *conn {
	c := &conn{side: s}
	c.opening = &opening{conn: c, owner: o, config: config}
	c.opening.timer.Init(c.opening)
	return c
}

// Handshake implements engine.Transport.
func (c *conn) Handshake(w *engine.Wire) (done bool, err error) {
	o := c.opening
	if o == nil {
		return c.tls != nil || c.rec != nil, nil
	}
	if c.wire == nil {
		c.wire, o.begun = w, time.Now()
		if t := c.side.timeout; t > 0 {
			c.side.loop.Wheel().Set(&o.timer, c.side.loop.Now()+int64(t))
		}
		if c.side.client {
			return false, c.note(c.start(nil))
		}
	}
	switch {
	case o.shake == nil:
		return false, c.note(c.readHello(w))
	case o.awaits != nil:
		done, err = c.readFinished(w)
		return done, c.note(err)
	}
	return false, c.note(c.feed(w))
}

// note counts the error of a handshake.
func (c *conn) note(err error) error {
	if err != nil && !errors.Is(err, engine.ErrWouldBlock) {
		c.side.stats.failed(err)
		if c.opening != nil {
			c.opening.failed = true
		}
	}
	return err
}

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
		case state == helloBad:
			w.Linger(alertLinger)
			_, _ = w.Write(plainAlert(alert))
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
	}
	c.side.stats.established(session)
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
			return true, c.establish(o.session, o.awaits.rec, nil)
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

// closeOpening gives up what the handshake held.
func (c *conn) closeOpening() {
	o := c.opening
	if o == nil {
		return
	}
	c.opening = nil
	c.side.loop.Wheel().Unlink(&o.timer)
	o.hello.drop(c.side.loop)
	if o.shake != nil {
		c.side.hs.drop(o.shake)
	}
}

// Read implements engine.Transport.
func (c *conn) Read(w *engine.Wire, dst []byte) (n int, err error) {
	if c.rec != nil {
		n, err = c.readRecords(w, dst)
	} else {
		n, err = c.readTLS(dst)
	}
	if err != nil && err != io.EOF && !errors.Is(err, engine.ErrWouldBlock) {
		c.failed(w, err)
	}
	return n, err
}

// failed counts the error that ends the connection, once.
func (c *conn) failed(w *engine.Wire, err error) {
	if c.shut {
		return
	}
	c.shut = true
	c.side.stats.failed(err)
	w.Linger(alertLinger)
}

// Write implements engine.Transport.
func (c *conn) Write(w *engine.Wire, v [][]byte) error {
	if c.rec != nil {
		return c.writeRecords(w, v)
	}
	if o := c.opening; o != nil {
		return o.keep(v)
	}
	return c.writeTLS(v)
}

// keep stores what is written during the handshake.
func (o *opening) keep(v [][]byte) error {
	for _, b := range v {
		if len(o.early)+len(b) > earlyBytesMax {
			return ErrEarly
		}
		o.early = append(o.early, b...)
	}
	return nil
}

// CloseWrite implements engine.Transport.
func (c *conn) CloseWrite(w *engine.Wire) {
	if c.rec != nil {
		c.closeRecords(w)
		return
	}
	if c.tls != nil {
		_ = c.tls.CloseWrite() // what fails is the wire, which tells itself
		c.flush()
	}
}

// Close implements engine.Transport.
func (c *conn) Close() {
	c.closeOpening()
	l := c.side.loop
	c.in.drop(l)
	c.plain.drop(l)
	if c.rec != nil {
		c.rec.Wipe()
	}
	c.rec, c.tls = nil, nil
}
