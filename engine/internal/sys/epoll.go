package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Event is what epoll_wait fills in. Fd and Pad together are the 64 bits of user data:
// here the slot and the generation of a token, never a pointer.
type Event = unix.EpollEvent

// Readiness bits of an Event.
const (
	In    = unix.EPOLLIN
	Out   = unix.EPOLLOUT
	RdHup = unix.EPOLLRDHUP
	Hup   = unix.EPOLLHUP
	Err   = unix.EPOLLERR
	Pri   = unix.EPOLLPRI
	// Edge asks for edge-triggered events.
	Edge = unix.EPOLLET & 0xffffffff
	// Exclusive wakes one of several epoll instances that share a listening socket.
	Exclusive = unix.EPOLLEXCLUSIVE
)

// EpollCreate makes an epoll instance.
func EpollCreate() (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_EPOLL_CREATE1, unix.EPOLL_CLOEXEC, 0, 0)
	return int(n), errno
}

// EpollAdd registers fd with the readiness bits and user data given.
func EpollAdd(epfd, fd int, bits, slot, gen uint32) syscall.Errno {
	return epollCtl(epfd, unix.EPOLL_CTL_ADD, fd, bits, slot, gen)
}

// EpollMod changes the bits of a registered fd.
func EpollMod(epfd, fd int, bits, slot, gen uint32) syscall.Errno {
	return epollCtl(epfd, unix.EPOLL_CTL_MOD, fd, bits, slot, gen)
}

// EpollDel removes fd. Closing the last duplicate does the same.
func EpollDel(epfd, fd int) syscall.Errno {
	return epollCtl(epfd, unix.EPOLL_CTL_DEL, fd, 0, 0, 0)
}

// epollCtl has six parameters, as the system call with its event has.
func epollCtl(epfd, op, fd int, bits, slot, gen uint32) syscall.Errno {
	ev := Event{Events: bits, Fd: int32(slot), Pad: int32(gen)}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epfd), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&ev)), 0, 0)
	return errno
}

// EpollWait waits up to timeoutMs for events; 0 does not wait, -1 waits without end.
// A signal gives no events and no error.
func EpollWait(epfd int, events []Event, timeoutMs int) (int, syscall.Errno) {
	var n uintptr
	var errno syscall.Errno
	if timeoutMs == 0 {
		n, _, errno = syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
	} else {
		n, _, errno = syscall.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), uintptr(timeoutMs), 0, 0)
	}
	if errno != 0 {
		if errno == unix.EINTR {
			return 0, 0
		}
		return 0, errno
	}
	return int(n), 0
}
