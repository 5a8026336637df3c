package engine

import (
	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
)

// cutWrite asks the test's Faults how much of b may be written. full stands for EAGAIN.
func (c *Conn) cutWrite(b []byte) (cut []byte, full bool) {
	n := min(c.loop.cfg.Faults.WriteMax(len(b)), len(b))
	if n == len(b) {
		return b, false
	}
	c.flags &^= flagWritable
	c.loop.refire(c, flagWritable)
	if n <= 0 {
		return nil, true
	}
	return b[:n], false
}

// sendvFaulty writes the first piece of v alone, cut as the test wants it.
func (c *Conn) sendvFaulty(v []sys.Iovec) (n int, ok bool) {
	piece := v[:1]
	want := int(v[0].Len)
	allowed := min(c.loop.cfg.Faults.WriteMax(want), want)
	if allowed < want || len(v) > 1 {
		c.flags &^= flagWritable
		c.loop.refire(c, flagWritable)
	}
	if allowed <= 0 {
		return 0, true
	}
	v[0].Len = uint64(allowed)
	n, errno := sys.Writev(int(c.fd), piece)
	if errno == unix.EAGAIN {
		return 0, true
	}
	return c.sent(n, allowed, errno)
}
