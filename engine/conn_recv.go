package engine

import (
	"syscall"

	"golang.org/x/sys/unix"

	"millrace/engine/arena"
	"millrace/engine/internal/sys"
)

// keptCopyMax is how many kept bytes are copied to the front of the scratch block, so
// that the next read has the whole of it. Longer ones are read behind in their own
// block: a peer that sends byte by byte must not make us copy 60 KiB each time.
const keptCopyMax = 4 << 10

// keptData is what OnData left: block[off:off+n].
type keptData struct {
	block arena.Block
	off   int
	n     int
	next  *keptData // free list
}

func (k *keptData) bytes() []byte { return k.block.Bytes()[k.off : k.off+k.n] }

// read shows the handler what the socket has, until the socket is drained, the handler
// pauses or the conn's share of the turn is used up.
//
// Hot path: guarded by BenchmarkEcho.
func (c *Conn) read() {
	l := c.loop
	for share := l.readShare; c.flags&cannotRead == 0; {
		buf, front := l.scratch, 0
		if c.kept != nil {
			if c.flags&flagOffer != 0 {
				return // resumed, and on the ready list: the offer goes before what this read may bring, the end
			}
			if buf, front = c.keptRoom(); buf == nil {
				return
			}
		}
		if most := front + int(c.most); c.most > 0 && most < len(buf) {
			buf = buf[:most]
		}
		n, errno := c.recv(buf[front:])
		if n <= 0 {
			c.readEnd(n, errno)
			return
		}
		c.in += uint64(n)
		if n < len(buf)-front && c.flags&flagHup == 0 {
			c.flags &^= flagReadable
		}
		c.offer(buf[:front+n], front, front > keptCopyMax)
		if c.flags&flagReadable == 0 || c.wire != nil {
			return // drained, or given a transport
		}
		if share -= n; share <= 0 {
			l.stats.ReadShareHit.Inc()
			l.again(c)
			return
		}
	}
}

// readEnd handles a read that brought nothing.
func (c *Conn) readEnd(n int, errno syscall.Errno) {
	switch {
	case n == 0 && errno == 0:
		c.onEOF()
	case errno == unix.EAGAIN:
		c.flags &^= flagReadable
	case errno == unix.EINTR:
		c.loop.again(c)
	default:
		c.fail(CloseReset, errno)
	}
}

// onEOF tells the handler that the peer has finished: with sending, or if a write has failed
// before, altogether.
func (c *Conn) onEOF() {
	if c.flags&flagBroken != 0 {
		c.fail(CloseReset, syscall.Errno(c.errno))
		return
	}
	c.flags |= flagEOF
	c.flags &^= flagReadable
	c.handler.OnEOF()
	c.loop.endEvent()
}

// tellEOF tells a handler that came later.
func (c *Conn) tellEOF() {
	c.flags &^= flagEOFDue
	if c.flags&(flagClosed|flagFailed|flagLinger) == 0 {
		c.handler.OnEOF()
		c.loop.endEvent()
	}
}

// recv reads from the socket.
func (c *Conn) recv(b []byte) (int, syscall.Errno) {
	if c.loop.faults != nil {
		return c.recvFaulty(b)
	}
	return sys.Recv(int(c.fd), b)
}

// offer shows b to the handler and keeps what it leaves. The first front bytes of b
// were kept before; b lies in scratch, or in the block of c.kept (inBlock).
//
// Hot path: guarded by BenchmarkEcho.
func (c *Conn) offer(b []byte, front int, inBlock bool) {
	l := c.loop
	c.flags = c.flags&^flagOffer | flagInData
	n := c.handler.OnData(b)
	c.flags &^= flagInData
	if l.stage.owner != nil {
		l.endEvent() // before anything b refers to moves
	}
	if c.flags&(flagClosed|flagLinger|flagUpgrade) != 0 {
		c.offered(b, n, front, inBlock)
		return
	}
	if n == len(b) && c.kept == nil {
		return
	}
	if n < 0 || n > len(b) {
		panic("BUG: engine: a handler consumed more than it was shown")
	}
	if c.splice != nil && n < len(b) {
		n += c.spliceRest(b[n:])
	}
	c.keep(b, n, front, inBlock)
}

// offered is the end of offer for a conn that the handler has closed, or given a transport.
func (c *Conn) offered(b []byte, n, front int, inBlock bool) {
	if c.flags&(flagClosed|flagLinger) != 0 {
		c.dropKept() // the handler may have gone on to use b after it closed c
		return
	}
	if n < 0 || n > len(b) {
		panic("BUG: engine: a handler consumed more than it was shown")
	}
	c.keep(b, n, front, inBlock)
	c.upgrade()
}

// offerKept shows the kept bytes again, after ResumeRead.
func (c *Conn) offerKept() {
	if c.kept == nil || c.flags&(cannotRead&^flagStuck&^flagEOF) != 0 {
		return
	}
	c.flags &^= flagStuck
	c.offer(c.kept.bytes(), c.kept.n, true)
}

// keep stores b[n:]. b begins with front bytes that are kept already; it lies in their
// block itself (inBlock) or is a copy in scratch.
func (c *Conn) keep(b []byte, n, front int, inBlock bool) {
	k := c.kept
	switch {
	case n == len(b):
		c.dropKept()
		return
	case k == nil:
		c.keepNew(b[n:])
		return
	case inBlock:
		k.off, k.n = k.off+n, len(b)-n
	default:
		gone := min(n, front)
		k.off, k.n = k.off+gone, k.n-gone
		fresh := b[max(n, front):]
		if !c.growKept(k.n + len(fresh)) {
			return
		}
		copy(k.block.Bytes()[k.off+k.n:], fresh)
		k.n += len(fresh)
	}
	if k.n <= arena.BlockMin && k.block.Size() > 4*arena.BlockMin {
		c.shrinkKept()
	}
}

// keepNew copies b to a fresh block.
func (c *Conn) keepNew(b []byte) {
	block, ok := c.loop.arena.Lease(len(b))
	if !ok {
		c.fail(CloseNoMemory, unix.ENOMEM)
		return
	}
	c.kept = c.loop.newKept()
	c.kept.block = block
	c.kept.n = copy(block.Bytes(), b)
}

// growKept makes room for n bytes from off on, moving or leasing as needed.
func (c *Conn) growKept(n int) bool {
	k := c.kept
	if k.off+n <= k.block.Size() {
		return true
	}
	if n <= k.block.Size() {
		copy(k.block.Bytes(), k.bytes())
		k.off = 0
		return true
	}
	block, ok := c.loop.arena.Lease(n)
	if !ok {
		c.fail(CloseNoMemory, unix.ENOMEM)
		return false
	}
	copy(block.Bytes(), k.bytes())
	c.loop.arena.Return(k.block)
	k.block, k.off = block, 0
	return true
}

// shrinkKept moves a few bytes out of a large block. It is no loss if there is no small one.
func (c *Conn) shrinkKept() {
	k := c.kept
	block, ok := c.loop.arena.Lease(k.n)
	if !ok {
		return
	}
	copy(block.Bytes(), k.bytes())
	c.loop.arena.Return(k.block)
	k.block, k.off = block, 0
}

// keptRoom returns a buffer that begins with the kept bytes, front of them, and has room behind.
// It returns nil when the bytes are at their maximum: then the handler has seen them all and
// must pause and resume, or close.
func (c *Conn) keptRoom() (buf []byte, front int) {
	k, l := c.kept, c.loop
	if k.n >= len(l.scratch) {
		c.flags |= flagStuck
		l.stats.KeptMaxHit.Inc()
		return nil, 0
	}
	if k.n <= keptCopyMax {
		return l.scratch, copy(l.scratch, k.bytes())
	}
	if k.off+k.n == k.block.Size() && !c.growKept(min(k.n+1, len(l.scratch))) {
		return nil, 0
	}
	end := min(k.block.Size(), k.off+len(l.scratch))
	return k.block.Bytes()[k.off:end], k.n
}

// dropKept gives the block of the kept bytes back. Inside OnData the handler may be
// looking at it: then offer does it.
func (c *Conn) dropKept() {
	if c.kept == nil || c.flags&flagInData != 0 {
		return
	}
	c.loop.arena.Return(c.kept.block)
	c.loop.freeKept(c.kept)
	c.kept = nil
}

// SetReadMax bounds what one read brings, in bytes; 0 is no limit but the loop's. For a reader that knows how little it can
// pass on: what it was shown and cannot use takes memory until it can. A splice is not bounded.
func (c *Conn) SetReadMax(n int) { c.most = uint32(n) }

// PauseRead stops OnData until ResumeRead has been called as often. Bytes already read
// and not consumed are kept; the kernel holds the rest and slows the peer down.
func (c *Conn) PauseRead() {
	c.loop.owner.assert()
	if c.flags&(flagClosed|flagFailed|flagLinger) != 0 {
		return
	}
	if c.pauses == 1<<16-1 {
		panic("BUG: engine: reading paused 65535 times")
	}
	c.pauses++
	c.flags |= flagPaused
}

// ResumeRead takes one PauseRead back. After the last, what is kept or readable reaches
// OnData in the same turn.
func (c *Conn) ResumeRead() {
	c.loop.owner.assert()
	if c.flags&(flagClosed|flagFailed|flagLinger) != 0 {
		return
	}
	if c.pauses == 0 {
		panic("BUG: engine: reading resumed more often than paused")
	}
	c.pauses--
	if c.pauses > 0 {
		return
	}
	c.flags &^= flagPaused | flagStuck
	if c.kept != nil || c.flags&flagInData != 0 {
		c.flags |= flagOffer
	}
	if c.flags&(flagOffer|flagReadable|flagEOFDue) != 0 || c.wire != nil && c.wire.more {
		c.loop.markReady(c)
	}
}

// ReadPaused reports whether reading is paused.
func (c *Conn) ReadPaused() bool { return c.flags&flagPaused != 0 }
