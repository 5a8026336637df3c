package engine

import (
	"syscall"

	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
)

// recvFaulty reads as much as the test's Faults allow. A read that was cut leaves bytes
// behind without a new edge from the kernel, so one is made up.
func (c *Conn) recvFaulty(b []byte) (int, syscall.Errno) {
	allowed := min(c.loop.faults.ReadMax(len(b)), len(b))
	if allowed <= 0 {
		c.loop.refire(c, flagReadable)
		return -1, unix.EAGAIN
	}
	n, errno := sys.Recv(int(c.fd), b[:allowed])
	if n == allowed && allowed < len(b) {
		c.loop.refire(c, flagReadable)
	}
	return n, errno
}

// sendFaulty writes as much of b as the test's Faults allow. A write that was cut finds the
// socket writable without a new edge from the kernel, so one is made up.
func (c *Conn) sendFaulty(b []byte) (n int, ok bool) {
	allowed := min(c.loop.faults.WriteMax(len(b)), len(b))
	if allowed <= 0 {
		c.flags &^= flagWritable
		c.loop.refire(c, flagWritable)
		return 0, true
	}
	n, errno := sys.Send(int(c.fd), b[:allowed])
	n, ok = c.sent(n, allowed, errno)
	if ok && n == allowed && allowed < len(b) {
		c.flags &^= flagWritable
		c.loop.refire(c, flagWritable)
	}
	return n, ok
}

// sendvFaulty writes the first piece of v alone, cut as the test wants it.
func (c *Conn) sendvFaulty(v []sys.Iovec) (n int, ok bool) {
	n, ok = c.sendFaulty(sys.IovecBytes(&v[0]))
	if ok && n == int(v[0].Len) && len(v) > 1 {
		c.flags &^= flagWritable
		c.loop.refire(c, flagWritable)
	}
	return n, ok
}
