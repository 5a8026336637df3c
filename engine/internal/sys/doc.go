// Package sys is the only package with raw system calls and unsafe code.
//
// It does not know what a connection is: see engine. Each function is one system call,
// reports the kernel's error number as it is, allocates nothing, and keeps no state.
//
// # Raw or not
//
// Calls that cannot block (non-blocking sockets, epoll_wait without a timeout) go
// through RawSyscall, which saves about 70 ns by not telling the scheduler. A raw call
// that did block would hold up the garbage collector, so [EpollWait] with a timeout
// goes through Syscall.
//
// Pointers are converted in the call expression itself, which keeps their targets alive
// and, the callee being a system call, in place.
package sys
