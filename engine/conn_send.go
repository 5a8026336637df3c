package engine

import (
	"syscall"

	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
)

// writeCopyMax is the size up to which Write copies to the stage.
const writeCopyMax = 16 << 10

// Stage returns the loop's staging buffer with what c has staged in this event already.
// Append to it and give the result to Staged. It must not be kept.
func (c *Conn) Stage() []byte {
	c.loop.owner.assert()
	l := c.loop
	if l.stage.owner != c {
		l.stageFor(c)
	}
	return l.stage.buf
}

// Staged takes the buffer from Stage back. The bytes leave in one write at the end of the
// event, or of the turn when SetBatch was called, after all earlier ones.
func (c *Conn) Staged(b []byte) {
	if c.loop.stage.owner != c {
		panic("BUG: engine: Staged without Stage, or another conn wrote in between")
	}
	c.loop.stage.buf = b
}

// WriteRef writes b without copying it, if it is large. b must stay valid and unchanged
// until the end of the event: a part of what OnData was shown, or constant memory. What
// the socket refuses is copied to the queue.
func (c *Conn) WriteRef(b []byte) {
	c.loop.owner.assert()
	l := c.loop
	if l.stage.owner != c {
		l.stageFor(c)
	}
	s := &l.stage
	if s.count == refsMax || len(b) < refMin && len(s.buf)+len(b) > cap(s.buf) {
		l.unstage(c) // rather than grow
		s.owner = c
	}
	if len(b) < refMin {
		s.buf = append(s.buf, b...)
		return
	}
	s.refs[s.count] = stageRef{at: len(s.buf), b: b}
	s.count++
	s.sum += len(b)
}

// Write writes b, which may change as soon as Write returns.
func (c *Conn) Write(b []byte) {
	if len(b) <= writeCopyMax {
		buf := c.Stage()
		if len(buf)+len(b) > cap(buf) { // rather than grow
			c.loop.unstage(c)
			buf = c.Stage()
		}
		c.Staged(append(buf, b...))
		return
	}
	c.WriteRef(b)
	c.loop.unstage(c)
}

// Buffered returns the bytes written that the socket has not taken yet.
func (c *Conn) Buffered() int {
	n := 0
	if c.out != nil {
		n = c.out.Len()
	}
	if c.loop.stage.owner == c {
		n += c.loop.stage.size()
	}
	return n
}

// Full reports whether Buffered has reached the high watermark. After it did, OnWriteLow
// follows when the queue is at the low one.
func (c *Conn) Full() bool {
	c.loop.owner.assert()
	if c.Buffered() < int(c.high) {
		return false
	}
	c.flags |= flagWasFull
	return true
}

// send writes b to the socket. It reports false when the conn broke; otherwise n tells what was taken,
// and less than all of it that the socket is full.
//
// Hot path: guarded by BenchmarkEcho.
func (c *Conn) send(b []byte) (n int, ok bool) {
	if c.loop.faults != nil {
		return c.sendFaulty(b)
	}
	n, errno := sys.Send(int(c.fd), b)
	return c.sent(n, len(b), errno)
}

// sendv is send for several pieces of size bytes together.
func (c *Conn) sendv(v []sys.Iovec, size int) (n int, ok bool) {
	if len(v) == 0 {
		return 0, true
	}
	if c.loop.faults != nil {
		return c.sendvFaulty(v)
	}
	n, errno := sys.Writev(int(c.fd), v)
	return c.sent(n, size, errno)
}

// sent looks at the result of a write of size bytes.
func (c *Conn) sent(n, size int, errno syscall.Errno) (int, bool) {
	switch {
	case errno == 0:
		if n < size { // the kernel reports writable again when there is room
			c.flags &^= flagWritable
		}
		c.outSum += uint64(n)
		return n, true
	case errno == unix.EAGAIN:
		c.flags &^= flagWritable
		return 0, true
	case errno == unix.EINTR:
		c.flags &^= flagWritable
		c.loop.refire(c, flagWritable)
		return 0, true
	default:
		c.breakWrite(errno)
		return 0, false
	}
}

// breakWrite handles a peer that takes no more bytes. An origin that answers early and closes
// resets us while its answer waits to be read, so reading goes on to its end first.
func (c *Conn) breakWrite(errno syscall.Errno) {
	c.errno = uint16(errno)
	c.flags &^= flagLast
	c.dropQueue()
	if c.feeder != nil {
		c.feeder.breakSplice()
	}
	paused := c.flags&(flagPaused|flagStuck|flagSplice) != 0
	switch {
	case c.flags&(flagEOF|flagLinger|flagEager) != 0,
		paused && c.kept == nil && sys.Unread(int(c.fd)) == 0:
		c.fail(CloseReset, errno)
	default:
		c.flags |= flagBroken | flagHup | flagReadable
		c.flags &^= flagWritable
		c.loop.markReady(c)
	}
}

// growQueue makes sure there is a queue, and counts n bytes that will be appended.
func (c *Conn) growQueue(n int) {
	if c.out == nil {
		c.out = c.loop.newQueue()
	}
	c.loop.stats.QueuedBytes.Add(int64(n))
	c.loop.queueGrew()
	if c.out.Len()+n >= int(c.high) {
		c.flags |= flagWasFull
	}
}

// flushQueue writes the queue until it is empty or the socket is full.
func (c *Conn) flushQueue() {
	l := c.loop
	for c.out != nil && c.flags&flagWritable != 0 {
		count, size := c.out.vector(&l.queueVec, &l.queueParts)
		n, ok := c.sendv(l.queueVec[:count], size)
		if !ok {
			return
		}
		c.out.Skip(n)
		l.stats.QueuedBytes.Add(-int64(n))
		if c.out.Len() == 0 {
			l.freeQueue(c.out)
			c.out = nil
		}
	}
	c.queueMoved()
}

// queueMoved acts on a queue that has become shorter.
func (c *Conn) queueMoved() {
	if c.flags&flagWasFull != 0 && (c.out == nil || c.out.Len() <= int(c.low)) {
		c.flags &^= flagWasFull
		if c.flags&flagLinger == 0 {
			c.flags |= flagLowDue
			c.loop.notice(c)
		}
	}
	if c.out == nil && c.flags&(flagShut|flagLinger) != 0 {
		c.flushed()
	}
}

// dropQueue forgets the queue.
func (c *Conn) dropQueue() {
	if c.out != nil {
		c.loop.freeQueue(c.out)
		c.out = nil
	}
}
