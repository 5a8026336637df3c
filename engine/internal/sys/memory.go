package sys

import (
	"golang.org/x/sys/unix"
)

// Map returns size bytes of zeroed memory outside the Go heap.
func Map(size int) ([]byte, error) {
	return unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
}

// Unmap gives memory from Map back.
func Unmap(b []byte) error { return unix.Munmap(b) }

// Forget lets the kernel take the pages of b back; they read as zeros afterwards.
func Forget(b []byte) error { return unix.Madvise(b, unix.MADV_DONTNEED) }
