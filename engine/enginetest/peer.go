package enginetest

import (
	"testing"

	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
)

// A Peer is the other end of a conn, in the hands of the test. Nothing it does blocks.
type Peer struct {
	t      testing.TB
	fd     int
	closed bool
}

func newPeer(t testing.TB, fd int) *Peer {
	p := &Peer{t: t, fd: fd}
	t.Cleanup(p.Close)
	return p
}

// NewPeer makes a Peer of a connected, non-blocking socket.
func NewPeer(t testing.TB, fd int) *Peer { return newPeer(t, fd) }

// Write sends all of s, which must fit the socket's buffer.
func (p *Peer) Write(s string) {
	p.t.Helper()
	if n := p.TryWrite([]byte(s)); n != len(s) {
		p.t.Fatalf("peer wrote %d of %d bytes", n, len(s))
	}
}

// TryWrite sends what the socket takes of b, and returns how much that is.
func (p *Peer) TryWrite(b []byte) int {
	sum := 0
	for sum < len(b) {
		n, errno := sys.Write(p.fd, b[sum:])
		if errno != 0 {
			break
		}
		sum += n
	}
	return sum
}

// Read returns everything that has arrived.
func (p *Peer) Read() string {
	var all []byte
	buf := make([]byte, 64<<10)
	for {
		n := p.ReadSome(buf)
		if n <= 0 {
			return string(all)
		}
		all = append(all, buf[:n]...)
	}
}

// ReadSome reads into b once: a length, 0 at the end, -1 when nothing has arrived or the
// conn was reset.
func (p *Peer) ReadSome(b []byte) int {
	n, errno := sys.Read(p.fd, b)
	if errno != 0 {
		return -1
	}
	return n
}

// AtEOF reports whether the conn has finished sending and everything was read.
func (p *Peer) AtEOF() bool {
	var b [1]byte
	return p.ReadSome(b[:]) == 0
}

// CloseWrite ends the peer's direction.
func (p *Peer) CloseWrite() { _ = sys.Shutdown(p.fd, unix.SHUT_WR) }

// Close closes the peer's end.
func (p *Peer) Close() {
	if !p.closed {
		p.closed = true
		sys.Close(p.fd)
	}
}

// Reset closes the peer's end with a reset, on TCP.
func (p *Peer) Reset() {
	_ = sys.SetLingerZero(p.fd)
	p.Close()
}

// SetBuffers makes the kernel's buffers of the peer's end small (or large).
func (p *Peer) SetBuffers(send, receive int) {
	p.t.Helper()
	if errno := sys.SetInt(p.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, send); errno != 0 {
		p.t.Fatalf("SO_SNDBUF: %v", errno)
	}
	if errno := sys.SetInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receive); errno != 0 {
		p.t.Fatalf("SO_RCVBUF: %v", errno)
	}
}
