package engine

import (
	"syscall"

	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
)

// splicer moves bytes from one conn to another without bringing them to user space.
//
//	src socket ── splice ──▶ pipe ── splice ──▶ dst socket
//
// A pipe takes far less than its size when it is fed small pieces, so EAGAIN from the
// source side says that the socket is drained only while the pipe is empty.
type splicer struct {
	src, dst *Conn
	pipe     pipe
	left     int64 // bytes still to be taken from src; negative: to EOF
	moved    int64 // bytes dst has taken since the last OnSplice
	inPipe   int
	eof      bool          // src has ended
	errno    syscall.Errno // src failed; what is in the pipe goes first
	next     *splicer      // free list
}

type pipe struct{ r, w, size int }

// pipesFreeMax is how many empty pipes a loop keeps open.
const pipesFreeMax = 64

// Splice moves the next n bytes of c to dst, or with n negative all until EOF, socket to
// socket. It reports false when that cannot be done now: a conn is not plain and open,
// bytes of c are kept, c is spliced already, or no pipe can be had.
//
// It begins later in the turn, behind what is written to dst in this event. While it goes on,
// OnData of c is not called, OnSplice reports progress, and nothing may be written to dst. Called inside OnData, bytes that OnData then leaves are sent first
// and count. If dst breaks, its own handler is told, and the splice ends without a word.
func (c *Conn) Splice(dst *Conn, n int64) bool {
	c.loop.owner.assert()
	l := c.loop
	const unfit = flagClosed | flagFailed | flagBroken | flagLinger | flagConnecting
	if n == 0 || c.loop != dst.loop || c == dst ||
		(c.flags|dst.flags)&unfit != 0 || c.flags&flagEOF != 0 ||
		c.wire != nil || dst.wire != nil || c.splice != nil || dst.feeder != nil ||
		c.kept != nil && c.flags&flagInData == 0 {
		return false
	}
	p, ok := l.leasePipe()
	if !ok {
		return false
	}
	s := l.newSplicer()
	*s = splicer{src: c, dst: dst, pipe: p, left: n}
	c.splice, dst.feeder = s, c
	c.flags |= flagSplice
	dst.flags |= flagFed
	l.markReady(c)
	return true
}

// Splicing reports whether a splice of c goes on.
func (c *Conn) Splicing() bool { return c.splice != nil }

// StopSplice ends the splice of c. What is in the pipe is queued for dst: n bytes beyond
// those OnSplice has reported. OnSplice is not called again; reading goes on with OnData.
func (c *Conn) StopSplice() (n int64) {
	c.loop.owner.assert()
	s := c.splice
	if s == nil {
		return 0
	}
	n = s.moved
	if s.inPipe > 0 && s.dst.flags&(flagClosed|flagFailed|flagBroken) == 0 {
		n += int64(s.inPipe)
		s.rescue()
		n -= int64(s.inPipe)
	}
	c.endSplice()
	c.loop.markReady(c)
	return n
}

// rescue queues the bytes in the pipe for dst.
func (s *splicer) rescue() {
	l := s.src.loop
	if l.stage.owner != nil {
		l.unstage(l.stage.owner) // it may refer to scratch
	}
	for s.inPipe > 0 {
		n, errno := sys.Read(s.pipe.r, l.scratch)
		if n <= 0 || errno != 0 {
			return
		}
		s.inPipe -= n
		s.dst.growQueue(n)
		s.dst.out.Append(l.scratch[:n])
	}
	if s.dst.flags&flagWritable != 0 {
		l.markDirty(s.dst)
	}
}

// spliceRest hands bytes that OnData left to dst, as the first of the span. It returns how many.
func (c *Conn) spliceRest(b []byte) int {
	s := c.splice
	if s.left >= 0 && int64(len(b)) > s.left {
		b = b[:s.left]
	}
	s.dst.Write(b)
	c.loop.endEvent()
	if c.splice != s { // dst broke
		return len(b)
	}
	s.moved += int64(len(b))
	if s.left >= 0 {
		s.left -= int64(len(b))
	}
	return len(b)
}

// endSplice takes c's splicer down. A pipe with bytes in it is closed: they must not
// reach another connection.
func (c *Conn) endSplice() {
	s := c.splice
	if s == nil {
		return
	}
	l := c.loop
	c.splice, s.dst.feeder = nil, nil
	c.flags &^= flagSplice
	s.dst.flags &^= flagFed
	if s.inPipe > 0 {
		l.closePipe(s.pipe)
	} else {
		l.returnPipe(s.pipe)
	}
	*s = splicer{next: l.splicers}
	l.splicers = s
}

// breakSplice ends the splice of c because its dst is gone. What c reads from now on goes to OnData.
func (c *Conn) breakSplice() {
	c.endSplice()
	if c.flags&flagClosed == 0 {
		c.loop.markReady(c)
	}
}

// pump moves what it can within the conn's share of the turn, and reports it.
func (c *Conn) pump() {
	s, l := c.splice, c.loop
	if s == nil {
		return
	}
	if l.stage.owner == s.dst { // what was written to dst before goes first
		l.unstage(s.dst)
	}
	if c.splice == s && s.dst.out != nil {
		if s.dst.flags&flagWritable == 0 {
			return
		}
		s.dst.flushQueue()
	}
	if c.splice != s || s.dst.out != nil {
		return
	}
	for share := l.readShare; ; {
		took := s.fill()
		gave, ok := s.empty()
		if !ok {
			return // dst broke: the splice is gone
		}
		if share -= took; share <= 0 {
			l.stats.ReadShareHit.Inc()
			l.again(c)
			break
		}
		if took == 0 && gave == 0 {
			break
		}
	}
	s.report()
}

// fill moves bytes from the source to the pipe, and returns how many.
func (s *splicer) fill() int {
	c := s.src
	if c.flags&flagReadable == 0 || s.left == 0 || s.eof || s.errno != 0 || c.flags&flagPaused != 0 {
		return 0
	}
	want := s.pipe.size - s.inPipe
	if s.left > 0 {
		want = int(min(int64(want), s.left))
	}
	if want <= 0 {
		return 0
	}
	n, errno := c.spliceIn(s.pipe.w, want)
	switch {
	case n > 0:
		c.in += uint64(n)
		s.inPipe += n
		if s.left > 0 {
			s.left -= int64(n)
		}
		return n
	case errno == 0:
		s.eof = true
		c.flags &^= flagReadable
	case errno == unix.EAGAIN:
		if s.inPipe == 0 {
			c.flags &^= flagReadable
		}
	case errno == unix.EINTR:
		c.loop.again(c)
	default:
		s.errno = errno
		c.flags &^= flagReadable
	}
	return 0
}

// empty moves bytes from the pipe to dst. It reports false when dst broke.
func (s *splicer) empty() (gave int, ok bool) {
	d := s.dst
	for s.inPipe > 0 && d.flags&flagWritable != 0 {
		n, errno := d.spliceOut(s.pipe.r, s.inPipe)
		switch {
		case n > 0:
			s.inPipe -= n
			gave += n
			s.moved += int64(n)
			d.outSum += uint64(n)
		case errno == unix.EAGAIN:
			d.flags &^= flagWritable
		case errno == unix.EINTR:
		default:
			d.breakWrite(errno)
			return gave, false
		}
	}
	d.loop.stats.SplicedBytes.Add(uint64(gave))
	return gave, true
}

// report tells the handler of src what has moved.
func (s *splicer) report() {
	c := s.src
	moved, eof := s.moved, s.eof
	done := s.inPipe == 0 && (s.left == 0 || eof || s.errno != 0)
	if moved == 0 && !done {
		return
	}
	s.moved = 0
	errno := s.errno
	if done {
		c.endSplice()
	}
	if errno != 0 {
		c.fail(CloseReset, errno)
		return
	}
	l, was := c.loop, c.loop.current
	l.current = c // this may be an event of dst
	c.handler.OnSplice(moved, done, eof)
	l.endEvent()
	if done && c.flags&(flagClosed|flagFailed|flagLinger) == 0 {
		if eof {
			c.onEOF()
		} else {
			l.markReady(c)
		}
	}
	l.current = was
}

// spliceIn moves up to n bytes from the socket of c to a pipe.
func (c *Conn) spliceIn(pipe, n int) (int, syscall.Errno) {
	if f := c.loop.faults; f != nil {
		if n = min(n, f.ReadMax(n)); n <= 0 {
			c.loop.refire(c, flagReadable)
			return -1, unix.EAGAIN
		}
	}
	return sys.Splice(int(c.fd), pipe, n)
}

// spliceOut moves up to n bytes from a pipe to the socket of c.
func (c *Conn) spliceOut(pipe, n int) (int, syscall.Errno) {
	if f := c.loop.faults; f != nil {
		if n = min(n, f.WriteMax(n)); n <= 0 {
			c.loop.refire(c, flagWritable)
			return -1, unix.EAGAIN
		}
	}
	return sys.Splice(pipe, int(c.fd), n)
}

// leasePipe takes an empty pipe.
func (l *Loop) leasePipe() (pipe, bool) {
	if n := len(l.pipes); n > 0 {
		p := l.pipes[n-1]
		l.pipes = l.pipes[:n-1]
		return p, true
	}
	if l.pipeCount >= l.cfg.SplicePipesMax {
		l.stats.SplicePipesHit.Inc()
		return pipe{}, false
	}
	r, w, size, errno := sys.Pipe(l.cfg.SplicePipeBytes)
	if errno != 0 {
		l.stats.SplicePipesHit.Inc()
		return pipe{}, false
	}
	l.pipeCount++
	l.stats.SplicePipes.Set(int64(l.pipeCount))
	return pipe{r, w, size}, true
}

// returnPipe takes an empty pipe back.
func (l *Loop) returnPipe(p pipe) {
	if len(l.pipes) >= pipesFreeMax {
		l.closePipe(p)
		return
	}
	l.pipes = append(l.pipes, p)
}

func (l *Loop) closePipe(p pipe) {
	sys.Close(p.r)
	sys.Close(p.w)
	l.pipeCount--
	l.stats.SplicePipes.Set(int64(l.pipeCount))
	l.fdFreed()
}

// newSplicer takes a splicer off the free list.
func (l *Loop) newSplicer() *splicer {
	s := l.splicers
	if s == nil {
		return new(splicer)
	}
	l.splicers = s.next
	return s
}
