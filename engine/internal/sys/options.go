package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MPTCPSocket makes a non-blocking multipath TCP socket.
func MPTCPSocket(family int) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_SOCKET, uintptr(family), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP)
	return int(n), errno
}

// SetBytes sets a socket option that is not an int.
func SetBytes(fd, level, option int, value []byte) syscall.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(unsafe.SliceData(value))), uintptr(len(value)), 0)
	return errno
}

// originalDst is the number of both SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST
// (linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h).
const originalDst = 80

// OriginalDst stores in sa where a connection went before the packet filter redirected it. v6 says which
// table to ask: not the family of the socket, which may have both, but that of the peer.
func OriginalDst(fd int, v6 bool, sa *Sockaddr) syscall.Errno {
	level := uintptr(unix.SOL_IP)
	sa.size = unix.SizeofSockaddrInet4
	if v6 {
		level, sa.size = unix.SOL_IPV6, unix.SizeofSockaddrInet6
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), level, originalDst,
		uintptr(unsafe.Pointer(&sa.raw)), uintptr(unsafe.Pointer(&sa.size)), 0)
	return errno
}
