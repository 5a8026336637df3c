package sys

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Control is what the ancillary data of a datagram says.
type Control struct {
	// IP is the address of ours it was sent to, or is to be sent from. IPv4 in the first four bytes.
	IP [16]byte
	// Segment is the size of the datagrams that the kernel has joined, 0 if it has not.
	Segment int
	// Overrun is how many datagrams the socket has lost so far because its receive buffer was full.
	// Only valid if HasOverrun.
	Overrun uint32
	// Has4 and Has6 say that IP is an IPv4, or an IPv6 address.
	Has4, Has6, HasOverrun bool
}

// The layout of struct cmsghdr: a length of the machine's word, a level and a type, then the data, each
// message aligned to a word.
const (
	cmsgAlign  = int(unsafe.Sizeof(uintptr(0)))
	cmsgHeader = int(unsafe.Sizeof(unix.Cmsghdr{}))

	pktinfo4Size = unix.SizeofInet4Pktinfo // interface, address of ours, address in the header
	pktinfo6Size = unix.SizeofInet6Pktinfo // address, interface
)

// ControlMax is room for all that Control can hold.
const ControlMax = 128

// Parse reads the ancillary data b of a datagram. What it does not know, or is cut short, it passes over.
func (c *Control) Parse(b []byte) {
	*c = Control{}
	for len(b) >= cmsgHeader {
		size := int(int64(wordAt(b)))
		if size < cmsgHeader || size > len(b) {
			return
		}
		level, kind := cmsgInt(b, cmsgAlign), cmsgInt(b, cmsgAlign+4)
		c.message(level, kind, b[cmsgHeader:size])
		next := (size + cmsgAlign - 1) &^ (cmsgAlign - 1)
		if next >= len(b) {
			return
		}
		b = b[next:]
	}
}

func (c *Control) message(level, kind int, data []byte) {
	switch {
	case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO && len(data) >= pktinfo4Size:
		c.Has4 = true
		copy(c.IP[:4], data[4:8]) // ipi_spec_dst: ours even if the datagram went to a group
	case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO && len(data) >= pktinfo6Size:
		c.IP, c.Has6 = [16]byte(data[:16]), true
	case level == unix.IPPROTO_UDP && kind == unix.UDP_GRO && len(data) >= 4:
		c.Segment = max(cmsgInt(data, 0), 0)
	case level == unix.SOL_SOCKET && kind == unix.SO_RXQ_OVFL && len(data) >= 4:
		c.Overrun, c.HasOverrun = binary.NativeEndian.Uint32(data), true
	}
}

// Append appends the ancillary data that makes a datagram leave from c.IP, and in segments of c.Segment
// bytes.
func (c *Control) Append(dst []byte) []byte {
	switch {
	case c.Has4:
		dst = appendHeader(dst, pktinfo4Size, unix.IPPROTO_IP, unix.IP_PKTINFO)
		dst = append(dst, 0, 0, 0, 0) // any interface
		dst = append(dst, c.IP[:4]...)
		dst = appendPadding(append(dst, 0, 0, 0, 0))
	case c.Has6:
		dst = appendHeader(dst, pktinfo6Size, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO)
		dst = append(dst, c.IP[:]...)
		dst = appendPadding(append(dst, 0, 0, 0, 0))
	}
	if c.Segment > 0 {
		dst = appendHeader(dst, 2, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		dst = appendPadding(binary.NativeEndian.AppendUint16(dst, uint16(c.Segment)))
	}
	return dst
}

func appendHeader(dst []byte, data, level, kind int) []byte {
	if cmsgAlign == 8 {
		dst = binary.NativeEndian.AppendUint64(dst, uint64(cmsgHeader+data))
	} else {
		dst = binary.NativeEndian.AppendUint32(dst, uint32(cmsgHeader+data))
	}
	dst = binary.NativeEndian.AppendUint32(dst, uint32(level))
	return binary.NativeEndian.AppendUint32(dst, uint32(kind))
}

// appendPadding fills up to a whole word. Precondition: dst began at a word.
func appendPadding(dst []byte) []byte {
	for len(dst)%cmsgAlign != 0 {
		dst = append(dst, 0)
	}
	return dst
}

func wordAt(b []byte) uint64 {
	if cmsgAlign == 8 {
		return binary.NativeEndian.Uint64(b)
	}
	return uint64(binary.NativeEndian.Uint32(b))
}

func cmsgInt(b []byte, at int) int { return int(int32(binary.NativeEndian.Uint32(b[at:]))) }
