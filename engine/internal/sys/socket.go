package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Socket makes a non-blocking stream socket.
func Socket(family int) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_SOCKET, uintptr(family), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	return int(n), errno
}

// SocketPair makes two connected non-blocking unix stream sockets.
func SocketPair() (a, b int, errno syscall.Errno) {
	var fds [2]int32
	_, _, errno = unix.RawSyscall6(unix.SYS_SOCKETPAIR, unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, uintptr(unsafe.Pointer(&fds)), 0, 0)
	return int(fds[0]), int(fds[1]), errno
}

// Accept4 takes one queued connection off a listening socket and stores the peer's
// address in sa.
func Accept4(fd int, sa *Sockaddr) (int, syscall.Errno) {
	sa.size = uint32(unsafe.Sizeof(sa.raw))
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&sa.raw)), uintptr(unsafe.Pointer(&sa.size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int(n), errno
}

// Connect starts to connect a non-blocking socket.
func Connect(fd int, sa *Sockaddr) syscall.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa.raw)), uintptr(sa.size))
	return errno
}

// Bind gives the socket its local address.
func Bind(fd int, sa *Sockaddr) syscall.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&sa.raw)), uintptr(sa.size))
	return errno
}

// Listen makes fd a listening socket, or changes the backlog of one.
func Listen(fd, backlog int) syscall.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_LISTEN, uintptr(fd), uintptr(backlog), 0)
	return errno
}

// LocalAddr stores the local address of fd in sa.
func LocalAddr(fd int, sa *Sockaddr) syscall.Errno { return name(unix.SYS_GETSOCKNAME, fd, sa) }

// PeerAddr stores the address of the peer of fd in sa.
func PeerAddr(fd int, sa *Sockaddr) syscall.Errno { return name(unix.SYS_GETPEERNAME, fd, sa) }

func name(trap uintptr, fd int, sa *Sockaddr) syscall.Errno {
	sa.size = uint32(unsafe.Sizeof(sa.raw))
	_, _, errno := unix.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(&sa.raw)), uintptr(unsafe.Pointer(&sa.size)))
	return errno
}

// Shutdown ends one or both directions; how is unix.SHUT_RD, SHUT_WR or SHUT_RDWR.
func Shutdown(fd, how int) syscall.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), uintptr(how), 0)
	return errno
}

// SetInt sets a socket option that is an int.
func SetInt(fd, level, option, value int) syscall.Errno {
	v := int32(value)
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option), uintptr(unsafe.Pointer(&v)), 4, 0)
	return errno
}

// tcpFlags is where a TCP header has its flags, flagSyn and flagAck are two of them. RFC 9293 section 3.1
const (
	tcpFlags = 13
	flagSyn  = 0x02
	flagAck  = 0x10
)

// DropSyns makes a listening socket drop the packets that ask for a new connection, by a filter that
// passes all others: handshakes that have begun go on. Accepted sockets inherit it, which does no harm.
func DropSyns(fd int) syscall.Errno {
	filter := [...]unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: tcpFlags},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: flagSyn | flagAck},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: flagSyn, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		uintptr(unsafe.Pointer(&program)), unsafe.Sizeof(program), 0)
	return errno
}

// GetInt reads a socket option that is an int.
func GetInt(fd, level, option int) (int, syscall.Errno) {
	var v int32
	size := uint32(4)
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option), uintptr(unsafe.Pointer(&v)), uintptr(unsafe.Pointer(&size)), 0)
	return int(v), errno
}

// SetLingerZero makes the next Close of fd send a reset instead of a FIN. A positive
// linger time, which would make Close block, cannot be set.
func SetLingerZero(fd int) syscall.Errno {
	v := unix.Linger{Onoff: 1, Linger: 0}
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_LINGER, uintptr(unsafe.Pointer(&v)), unsafe.Sizeof(v), 0)
	return errno
}

// SocketError takes the pending error of fd, 0 when there is none.
func SocketError(fd int) syscall.Errno {
	v, errno := GetInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if errno != 0 {
		return errno
	}
	return syscall.Errno(v)
}

// InterfaceIndex returns the index of a network interface, the zone of a link-local address.
func InterfaceIndex(name string) (uint32, error) {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req); err != nil {
		return 0, err
	}
	return req.Uint32(), nil
}

// ThreadID returns the kernel's number of the calling thread.
func ThreadID() int {
	n, _, _ := unix.RawSyscall(unix.SYS_GETTID, 0, 0, 0)
	return int(n)
}
