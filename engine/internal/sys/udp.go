package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Mmsg is one datagram of a batch, or several of one size that share a system call's header: what
// recvmmsg and sendmmsg take. The kernel's struct is padded to its alignment, as Go's is.
type Mmsg struct {
	Hdr unix.Msghdr
	Len uint32 // bytes received, or sent
}

// SetName makes sa the room for the address of the peer, nil for none.
func (m *Mmsg) SetName(sa *Sockaddr) {
	if sa == nil {
		m.Hdr.Name, m.Hdr.Namelen = nil, 0
		return
	}
	m.Hdr.Name = (*byte)(unsafe.Pointer(&sa.raw))
	m.Hdr.Namelen = sa.size
}

// SetNameRoom makes all of sa room for an address to be received.
func (m *Mmsg) SetNameRoom(sa *Sockaddr) {
	m.Hdr.Name = (*byte)(unsafe.Pointer(&sa.raw))
	m.Hdr.Namelen = uint32(unsafe.Sizeof(sa.raw))
}

// NameInto tells sa, which SetNameRoom was given, how much of it the kernel has filled.
func (m *Mmsg) NameInto(sa *Sockaddr) { sa.size = m.Hdr.Namelen }

// SetIov makes v the pieces of the datagram. v must not be empty, and stay in place.
func (m *Mmsg) SetIov(v []Iovec) {
	m.Hdr.Iov = unsafe.SliceData(v)
	m.Hdr.SetIovlen(len(v))
}

// SetControl makes b the ancillary data, or the room for it. An empty b is none.
func (m *Mmsg) SetControl(b []byte) {
	m.Hdr.Control = nil
	if len(b) > 0 {
		m.Hdr.Control = unsafe.SliceData(b)
	}
	m.Hdr.SetControllen(len(b))
}

// Truncated reports whether the datagram received was longer than the room for it.
func (m *Mmsg) Truncated() bool { return m.Hdr.Flags&unix.MSG_TRUNC != 0 }

// RecvMmsg receives up to len(m) datagrams without waiting. m must not be empty.
//
// Hot path: guarded by engine's BenchmarkPacketEcho.
func RecvMmsg(fd int, m []Mmsg) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(m))), uintptr(len(m)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// SendMmsg sends datagrams without waiting, and returns how many left. m must not be empty.
//
// Hot path: guarded by engine's BenchmarkPacketEcho.
func SendMmsg(fd int, m []Mmsg) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(m))), uintptr(len(m)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// DatagramSocket makes a non-blocking UDP socket.
func DatagramSocket(family int) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_SOCKET, uintptr(family), unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	return int(n), errno
}
