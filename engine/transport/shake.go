package transport

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net"
	"runtime/debug"
	"time"

	"millrace/engine"
	"millrace/engine/internal/record"
)

// inputBytesMax bounds what is read ahead for a handshake that has not taken it yet.
const inputBytesMax = 32 << 10

// shake is one handshake: what its goroutine and the loop share.
type shake struct {
	// Immutable after start.
	side   *side
	hs     *Handshakes
	loop   *engine.Loop
	conn   *conn // touched on the loop only
	config func(*shake) *tls.Config
	addr   engine.Addr
	remote engine.Addr
	wake   chan struct{} // one value for each parking
	begun  time.Time

	// Guarded by hs.mu.
	state      state
	closed     bool // the connection is gone
	in         []byte
	eof        bool // after in
	full       bool // more is on the wire than in has room for
	written    []byte
	sent       int // of written
	prev, next *shake
	since      time.Time // that it waits for its client; only valid in hs.stalled

	// Owned by the goroutine until it posts finish, then by the loop.
	cut     cutter
	keys    record.KeyLog
	secrets handshakeSecrets
	hello   []byte // the ClientHello in its records
	mutual  bool   // the client is asked for a certificate
	awaits  *awaited
	tried   bool   // to leave crypto/tls; once, since later a part of the client's Finished may be inside it
	left    bool   // the goroutine leaves, and awaits is what goes on
	random  []byte // of the ClientHello
	master  []byte // of a resumed TLS 1.2 session
	leaf    *x509.Certificate
	asks    *tls.ClientHelloInfo
	tls     *tls.Conn
	net     *netConn
	err     error
	session *Session
	rec     *record.Conn
}

// run is the handshake, on its goroutine.
func (s *shake) run() {
	s.err = s.compute()
	s.loop.Post(s.finish)
}

// compute makes the handshake, and what is to be known of it.
func (s *shake) compute() (err error) {
	defer func() {
		if v := recover(); v != nil {
			s.hs.panicked(v, debug.Stack())
			err = ErrPanic
		}
		s.wipe()
	}()
	s.net = &netConn{shake: s}
	if s.side.client {
		s.tls = tls.Client(s.net, s.config(s))
	} else {
		s.tls = tls.Server(s.net, s.config(s))
	}
	if err := s.tls.Handshake(); err != nil && s.awaits == nil {
		return err
	}
	s.session = newSession(s.tls, s.side.verified)
	s.session.Local, s.session.Duration = s.local(), time.Since(s.begun)
	if !s.side.client {
		s.session.ID = sessionID(s.written)
		switch {
		case s.awaits != nil:
			s.session.Own, s.tls, s.left = true, nil, true
		case s.side.own:
			s.takeOver()
		}
	}
	return nil
}

// wipe forgets the secrets. What goes on has its keys.
func (s *shake) wipe() {
	s.keys.Wipe()
	s.secrets.wipe()
	clear(s.master)
	s.master = nil
}

// finishedBytes12 is the length of a Finished of TLS 1.2. Where the client's took another number of bytes, it came in pieces, or with something
// behind it that crypto/tls holds now.
const finishedBytes12 = messageHeadBytes + 12

// takeOver makes the own record layer for the connection, if it can.
func (s *shake) takeOver() {
	p := record.Params{Version: s.session.Version, Suite: s.session.Suite}
	if !record.Supported(p.Version, p.Suite) || s.cut.mid() {
		return
	}
	known := s.keys.Fill(&p)
	if p.Version == record.VersionTLS12 {
		p.InSeq = 1 // the client's Finished
		p.ServerRandom, _ = record.ServerRandom(s.written)
		if !known && s.session.Resumed {
			p.Master, p.ClientRandom = s.master, s.random
			known = true // CountWritten finds out whether it is right
		}
	}
	if !known {
		return
	}
	rec, err := record.New(&p)
	if err != nil {
		return
	}
	// What was sealed with the keys of the connection: the Finished of TLS 1.2, tickets of TLS 1.3.
	n, err := rec.CountWritten(s.written, make([]byte, longestRecord(s.written)))
	if err != nil || p.Version == record.VersionTLS12 && (n != 1 || s.cut.sealed != rec.In().Prefix()+finishedBytes12+rec.In().Suffix()) {
		return
	}
	s.rec, s.session.Own = rec, true
}

// longestRecord returns the length of the longest of the whole records in b.
func longestRecord(b []byte) (longest int) {
	for len(b) >= record.HeaderLen {
		n := min(len(b), record.HeaderLen+int(binary.BigEndian.Uint16(b[3:])))
		longest, b = max(longest, n), b[n:]
	}
	return longest
}

// read gives the goroutine input, at most to the end of the record that is being read: what follows the handshake stays ours.
// While there is none it waits, without a token.
func (s *shake) read(b []byte) (int, error) {
	if s.side.awaits && !s.tried && !s.mutual && s.secrets.server != nil && s.keys.Established() {
		s.tried = true
		if s.awaits = s.await(); s.awaits != nil {
			return 0, errLeft
		}
	}
	h := s.hs
	h.mu.Lock()
	for len(s.in) == 0 && !s.eof && !s.closed {
		h.stall(s, stateParked)
		if s.sent < len(s.written) || s.full {
			s.loop.Post(s.flush)
		}
		h.pass(false)
		h.mu.Unlock()
		<-s.wake
		h.mu.Lock()
	}
	defer h.mu.Unlock()
	switch {
	case s.closed:
		return 0, errClosed
	case len(s.in) == 0:
		return 0, io.EOF
	}
	n := copy(b, s.in[:s.cut.next(s.in)])
	s.cut.advance(s.in[:n])
	s.in = s.in[n:]
	return n, nil
}

// write takes output, which leaves when the goroutine waits or ends.
func (s *shake) write(b []byte) (int, error) {
	s.hs.mu.Lock()
	defer s.hs.mu.Unlock()
	if s.closed {
		return 0, errClosed
	}
	s.written = append(s.written, b...)
	return len(b), nil
}

// unsent returns what is to be written, once.
func (s *shake) unsent() []byte {
	s.hs.mu.Lock()
	defer s.hs.mu.Unlock()
	b := s.written[s.sent:]
	s.sent = len(s.written)
	return b
}

// flush writes a flight, and reads what there was no room for. Precondition: called on the loop.
func (s *shake) flush() {
	c := s.conn
	if c.opening == nil || c.opening.shake != s {
		return // the connection is gone
	}
	c.wire.Write(s.unsent())
	s.hs.mu.Lock()
	full := s.full
	s.full = false
	s.hs.mu.Unlock()
	if full {
		c.wire.ReadAgain()
	}
}

// finish hands the result to the connection. Precondition: called on the loop.
func (s *shake) finish() {
	c := s.conn
	if c.opening == nil || c.opening.shake != s {
		return
	}
	before := s.loop.Blame(c.wire.Conn())
	c.shaken(s)
	s.loop.Blame(before)
}

// evict ends the connection, whose place another has. Precondition: called on the loop.
func (s *shake) evict() {
	c := s.conn
	if c.opening != nil && c.opening.shake == s {
		c.wire.Fail(c.note(ErrEvicted))
	}
}

// keyWriter takes the lines of the key log.
type keyWriter struct {
	shake *shake
	also  io.Writer // of the config, for debugging; or nil
}

// Write implements io.Writer.
func (k keyWriter) Write(b []byte) (int, error) {
	if k.also != nil {
		_, _ = k.also.Write(b) // debugging must not end connections
	}
	k.shake.secrets.note(b)
	return k.shake.keys.Write(b)
}

// cutter follows the records of a stream.
type cutter struct {
	head [record.HeaderLen]byte
	at   int // in the record, its header included

	ciphered bool // a change_cipher_spec was among them
	sealed   int  // the length of the records since, with their headers
}

// mid reports whether a record has begun and not ended.
func (c *cutter) mid() bool { return c.at > 0 }

// next returns how much of b lies in the record that is being read.
func (c *cutter) next(b []byte) int {
	head := c.head
	if c.at < len(head) {
		k := copy(head[c.at:], b)
		if c.at+k < len(head) {
			return k
		}
	}
	return min(len(b), record.HeaderLen+int(binary.BigEndian.Uint16(head[3:]))-c.at)
}

// advance goes on by b, which is no longer than next allows.
func (c *cutter) advance(b []byte) {
	if c.at < len(c.head) {
		copy(c.head[c.at:], b)
	}
	c.at += len(b)
	if c.at >= len(c.head) && c.at == len(c.head)+int(binary.BigEndian.Uint16(c.head[3:])) {
		c.at = 0
		switch {
		case record.ContentType(c.head[0]) == record.TypeChangeCipherSpec:
			c.ciphered = true
		case c.ciphered:
			c.sealed += len(c.head) + int(binary.BigEndian.Uint16(c.head[3:]))
		}
	}
}

// netConn is what a tls.Conn reads and writes: the handshake at first, then the wire.
type netConn struct {
	shake *shake // during the handshake
	conn  *conn  // after it, on the loop
}

// Read implements net.Conn.
func (n *netConn) Read(b []byte) (int, error) {
	if s := n.shake; s != nil {
		return s.read(b)
	}
	return n.conn.readCipher(b)
}

// Write implements net.Conn.
func (n *netConn) Write(b []byte) (int, error) {
	if s := n.shake; s != nil {
		return s.write(b)
	}
	return n.conn.writeCipher(b)
}

// LocalAddr implements net.Conn. The choice of a certificate may look at it.
func (n *netConn) LocalAddr() net.Addr {
	if n.shake == nil {
		return &net.TCPAddr{}
	}
	return netAddr(n.shake.addr)
}

// RemoteAddr implements net.Conn.
func (n *netConn) RemoteAddr() net.Addr {
	if n.shake == nil {
		return &net.TCPAddr{}
	}
	return netAddr(n.shake.remote)
}

func netAddr(a engine.Addr) net.Addr {
	if a.IsUnix() {
		return &net.UnixAddr{Name: a.Path(), Net: "unix"}
	}
	ip := a.NetIP()
	return &net.TCPAddr{IP: ip.AsSlice(), Port: a.Port(), Zone: ip.Zone()}
}

// Close implements net.Conn. The conn is closed by who owns it.
func (n *netConn) Close() error { return nil }

// SetDeadline implements net.Conn, as do the next two; deadlines are the loop's.
func (n *netConn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (n *netConn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (n *netConn) SetWriteDeadline(time.Time) error { return nil }
