package engine

import (
	"syscall"

	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
)

// An Offloader is a Transport that can leave the sealing of what is written to the kernel, so that a splice may end at its conn:
//
//	own          Conn.Write ─▶ Transport.Write ─▶ Wire.Write ─▶ socket
//	offloaded    Conn.Write, Splice ──────────────────────────▶ socket, which seals
//
// Reading stays with the transport. There is no way back.
type Offloader interface {
	Transport
	// MayOffload reports whether Offload has a chance.
	MayOffload() bool
	// Offload calls Wire.Seal and reports whether the kernel has agreed. Nothing that the transport has sealed is queued when it is called.
	Offload(w *Wire) bool
}

// A Seal is what the kernel needs to seal what is written to a socket.
type Seal struct {
	sys.TLSSeal
	// Expansion is by how many bytes a record is longer than its data.
	Expansion int
	// BytesMax is how much data may be sealed. Beyond it Transport.Write is called, which refuses.
	BytesMax uint64
}

// sealed is what is known of a socket whose bytes the kernel seals.
type sealed struct {
	// Immutable.
	version   uint16
	cipher    sys.TLSCipher
	expansion uint64
	from      uint64 // Conn.outSum when it began
	upTo      uint64 // Conn.outSum at which it ends
	written   uint64 // what TCP had taken
	seq       uint64 // of the first record

	// Owned by the loop.
	last  [2]byte // an alert
	typ   byte    // its type of record
	extra uint64  // length of last, when it is sent
	cut   bool    // data were lost within a record
}

// Seal makes the kernel seal what is written to the socket from now on. After an error nothing has changed.
//
// Precondition: it is called by Offload.
func (w *Wire) Seal(s *Seal) syscall.Errno {
	c := w.conn
	written, errno := sys.TCPWritten(int(c.fd))
	if errno != 0 {
		return errno
	}
	if errno := sys.SetTLSSeal(int(c.fd), &s.TLSSeal); errno != 0 {
		return errno
	}
	w.seal = &sealed{
		version: s.Version, cipher: s.Cipher, expansion: uint64(s.Expansion), from: c.outSum, upTo: c.outSum + s.BytesMax,
		written: written, seq: s.Seq,
	}
	return 0
}

// direct reports whether what is written goes to the socket as it is.
func (w *Wire) direct() bool { return w.seal != nil && w.conn.outSum < w.seal.upTo }

// mayOffload reports whether a splice may end at the conn.
func (w *Wire) mayOffload() bool {
	if w.seal != nil {
		return w.direct()
	}
	o, ok := w.t.(Offloader)
	return ok && w.ready && w.err == nil && o.MayOffload()
}

// offload makes the wire direct, if it can. Precondition: nothing is staged or queued.
func (w *Wire) offload() bool {
	if w.seal != nil {
		return w.direct()
	}
	o, ok := w.t.(Offloader)
	return ok && o.Offload(w)
}

// WriteLast sends an alert as a record of its own, behind everything that was written. Nothing may be written afterwards.
//
// Precondition: the kernel seals.
func (w *Wire) WriteLast(typ byte, alert [2]byte) {
	c, k := w.conn, w.seal
	if w.gone() || c.flags&(flagBroken|flagLast) != 0 || k.extra > 0 {
		return
	}
	if k.cut || c.feeder != nil && c.feeder.splice.inPipe > 0 {
		// A record is half full, and the kernel takes the alert for data if the socket has no room for that first
		// (tls_process_cmsg, Linux 6.1).
		c.flags |= flagReset
		return
	}
	k.typ, k.last = typ, alert
	c.flags |= flagLast
	c.sendLast()
}

// sendLast sends the last record. It reports whether that is over; otherwise the conn comes back when the socket has room.
func (c *Conn) sendLast() bool {
	if c.out != nil {
		return false
	}
	k := c.wire.seal
	switch errno := sys.SendTLSRecord(int(c.fd), k.typ, k.last[:]); errno {
	case 0:
		k.extra = uint64(len(k.last))
		c.flags &^= flagLast
	case unix.EAGAIN:
		c.flags &^= flagWritable
		return false
	case unix.EINTR:
		c.loop.refire(c, flagWritable)
		return false
	default:
		c.breakWrite(errno)
	}
	return true
}

// holds reports whether the kernel has sealed records, or is filling one, that TCP has not taken yet. Its TLS takes more than TCP has
// room for; a FIN or a close that comes before the rest has found room loses it.
func (k *sealed) holds(fd int, outSum uint64) bool {
	seq, errno := sys.TLSSealSeq(fd, k.version, k.cipher)
	if errno != 0 {
		return false
	}
	written, errno := sys.TCPWritten(fd)
	// An error: the peer is gone, and nothing can be lost any more.
	return errno == 0 && written-k.written < outSum-k.from+k.extra+(seq-k.seq)*k.expansion
}

// holds reports whether the kernel holds bytes of c that a FIN would cut off.
func (c *Conn) holds() bool {
	return c.wire != nil && c.wire.seal != nil && c.wire.seal.holds(int(c.fd), c.outSum)
}
