package transport

import (
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
	kernel  *Kernel // nil unless it may seal

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
	refused bool         // by the kernel

	newer, older *conn // in awake
	usedAt       int64 // when it came there, 0 if it is not in
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

// closeOpening gives up what the handshake held.
func (c *conn) closeOpening() {
	o := c.opening
	if o == nil {
		return
	}
	c.opening = nil
	c.side.loop.Wheel().Unlink(&o.timer)
	o.hello.drop(c.side.loop)
	if o.awaits != nil {
		o.awaits.wipe()
	}
	if o.shake != nil {
		c.side.hs.drop(o.shake)
	}
}

// Read implements engine.Transport.
func (c *conn) Read(w *engine.Wire, dst []byte) (n int, err error) {
	if c.rec != nil {
		c.side.buf.awake.use(c)
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
		c.side.buf.awake.use(c)
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
	if s := c.side; s != nil { // else it is on no loop, and holds nothing of one
		c.in.drop(s.loop)
		c.plain.drop(s.loop)
		s.buf.awake.forget(c)
	}
	if c.rec != nil {
		c.rec.Wipe()
	}
	c.rec, c.tls = nil, nil
}
