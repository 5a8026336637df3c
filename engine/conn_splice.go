package engine

import (
	"syscall"

	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
)

// splicer moves bytes from one conn to another.
//
//	src socket ── splice ──▶ pipe ── splice ──▶ dst socket      large pieces
//	src socket ── read ──▶ scratch ── write ──▶ dst socket      small ones, and when no pipe can be had
//	                                    └─▶ dst.out             what it refuses; it goes before more is read
//
// Which of the two is cheaper depends on how much is there at once, so the last pieces decide. A pipe is
// held only while bytes are in it: idle tunnels share the few of the loop.
//
// A pipe takes far less than its size when it is fed small pieces, so EAGAIN from the
// source side says that the socket is drained only while the pipe is empty.
type splicer struct {
	src, dst *Conn
	pipe     pipe  // none while size is 0. Invariant: one is held while inPipe > 0
	left     int64 // bytes still to be taken from src; negative: to EOF
	moved    int64 // bytes dst has taken, or queued, since the last OnSplice
	inPipe   int
	eof      bool          // src has ended
	errno    syscall.Errno // src failed; what is in the pipe goes first
	large    bool          // the pieces are large: through a pipe
	plain    bool          // the kernel cannot splice these sockets
	shown    bool          // the transport of dst seals what comes: the kernel would not
	held     bool          // dst takes less than there is, as far as src's handler knows
	smalls   uint8         // small pieces in a row
	next     *splicer      // free list
}

// spliceSmallsMax small pieces in a row end the use of the pipe. The end of a large message is one of them.
const spliceSmallsMax = 3

// Splice moves the next n bytes of c to dst, or with n negative all until EOF, without showing
// them to a handler: large pieces socket to socket, small ones (LoopConfig.SpliceBytesMin) by reading and
// writing, which is cheaper for them. It reports false when that cannot be done now: c is not plain, dst is neither plain nor an
// Offloader that may, one is not open, the end of c was seen, or c or dst is spliced already.
//
// It begins later in the turn, behind what is written to dst in this event. While it goes on, OnData
// of c is not called, OnSplice reports progress, and nothing may be written to dst. PauseRead stops it
// until ResumeRead. Bytes of c that are kept are sent first and count: called inside OnData, what that then
// leaves. If dst breaks, its own handler is told, and the splice ends without a word.
//
// When dst takes no more, reading stops, which OnSplice tells: SpliceBuffered is not 0 then, until it is
// told again. What is under way then, in a pipe or in the queue of dst, is at most the high
// watermark of dst, or 4 KiB if that is less.
func (c *Conn) Splice(dst *Conn, n int64) bool {
	c.loop.owner.assert()
	l := c.loop
	const unfit = flagClosed | flagFailed | flagBroken | flagLinger | flagConnecting
	if n == 0 || c.loop != dst.loop || c == dst ||
		(c.flags|dst.flags)&unfit != 0 || c.flags&flagEOF != 0 || dst.flags&flagShut != 0 ||
		c.wire != nil || c.splice != nil || dst.feeder != nil || dst.wire != nil && !dst.wire.mayOffload() {
		return false
	}
	s := l.newSplicer()
	// Of a span that is known to be long, large pieces can be expected.
	*s = splicer{src: c, dst: dst, left: n, large: n >= int64(l.cfg.SpliceBytesMin)}
	c.splice, dst.feeder = s, c
	c.flags |= flagSplice
	dst.flags |= flagFed
	l.markReady(c)
	if c.kept != nil && c.flags&flagInData == 0 {
		c.spliceKept()
	}
	return true
}

// spliceKept makes what is kept of c the first bytes of its splice.
func (c *Conn) spliceKept() {
	k := c.kept
	c.flags &^= flagStuck
	n := c.spliceRest(k.bytes())
	if c.flags&flagClosed != 0 {
		return
	}
	if k.off, k.n = k.off+n, k.n-n; k.n == 0 {
		c.dropKept()
	}
}

// Splicing reports whether a splice of c goes on.
func (c *Conn) Splicing() bool { return c.splice != nil }

// SpliceBuffered returns how many bytes the splice of c has taken from it that its dst has not taken yet.
func (c *Conn) SpliceBuffered() int {
	s := c.splice
	if s == nil {
		return 0
	}
	return s.inPipe + s.dst.Buffered()
}

// StopSplice ends the splice of c. What is in the pipe is queued for dst: n bytes beyond
// those OnSplice has reported. OnSplice is not called again; reading goes on with OnData.
func (c *Conn) StopSplice() (n int64) {
	c.loop.owner.assert()
	s := c.splice
	if s == nil {
		return 0
	}
	n = s.moved
	if s.dst.flags&(flagClosed|flagFailed|flagBroken) == 0 {
		n += s.rescue()
	}
	errno := s.errno
	c.endSplice()
	if errno != 0 {
		c.fail(CloseReset, errno)
		return n
	}
	if c.flags&flagClosed == 0 {
		c.flags |= flagReadable // the end may have been seen, and what the pipe had no room for
		c.loop.markReady(c)
	}
	return n
}

// rescue moves the bytes in the pipe to the queue of dst. They are read into its memory: scratch may hold what a handler
// is looking at. It returns how many there were.
func (s *splicer) rescue() (n int64) {
	d := s.dst
	for s.inPipe > 0 {
		want := min(s.inPipe, queueNodeBytes)
		d.growQueue(want)
		if d.out.readFrom(s.pipe.r, want) != want {
			panic("BUG: engine: a pipe has fewer bytes than were spliced to it")
		}
		s.inPipe -= want
		n += int64(want)
	}
	if d.out != nil && d.flags&flagWritable != 0 {
		d.loop.markDirty(d)
	}
	return n
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
	if s.pipe.size > 0 {
		if s.inPipe > 0 {
			if w := s.dst.wire; w != nil {
				w.seal.cut = true
			}
			l.closePipe(s.pipe)
		} else {
			l.returnPipe(s.pipe)
		}
	}
	l.freeSplicer(s)
}

// breakSplice ends the splice of c because its dst is gone. What c reads from now on goes to OnData.
func (c *Conn) breakSplice() {
	errno := c.splice.errno
	c.endSplice()
	switch {
	case c.flags&flagClosed != 0:
	case errno != 0:
		c.fail(CloseReset, errno)
	default:
		c.flags |= flagReadable // the end may have been seen
		c.loop.markReady(c)
	}
}

// pump moves what it can within the conn's share of the turn, and reports it.
//
// Hot path: guarded by BenchmarkTunnel.
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
	if w := s.dst.wire; w != nil && s.inPipe == 0 {
		s.shown = !w.offload()
	}
	for share := l.readShare; ; {
		took, gave, ok := s.move()
		if !ok {
			return // dst broke: the splice is gone
		}
		if share -= took; share <= 0 {
			l.stats.ReadShareHit.Inc()
			l.again(c)
			break
		}
		if took == 0 && gave == 0 || s.dst.out != nil {
			break
		}
	}
	if s.pipe.size > 0 && s.inPipe == 0 {
		l.returnPipe(s.pipe)
		s.pipe = pipe{}
	}
	s.report()
}

// move moves one piece. It reports false when dst broke.
func (s *splicer) move() (took, gave int, ok bool) {
	if s.inPipe == 0 && (!s.canTake() || !s.large || s.plain || s.shown || !s.leasePipe()) {
		return s.copy()
	}
	took = s.fill()
	gave, ok = s.empty()
	return took, gave, ok
}

// canTake reports whether there may be something to be had from src.
func (s *splicer) canTake() bool {
	return s.src.flags&(flagReadable|flagPaused) == flagReadable && s.left != 0 && !s.eof && s.errno == 0
}

// leasePipe makes sure that there is a pipe.
func (s *splicer) leasePipe() (ok bool) {
	if s.pipe.size == 0 {
		s.pipe, ok = s.src.loop.leasePipe()
		return ok
	}
	return true
}

// copy moves a piece through scratch. What dst does not take is queued.
func (s *splicer) copy() (took, gave int, ok bool) {
	c, d := s.src, s.dst
	if !s.canTake() || d.flags&flagWritable == 0 {
		return 0, 0, true
	}
	l := c.loop
	want := min(len(l.scratch), s.dstRoom())
	if s.left > 0 {
		want = int(min(int64(want), s.left))
	}
	n, errno := c.recv(l.scratch[:want])
	if n <= 0 {
		s.takeEnd(errno)
		return 0, 0, true
	}
	c.in += uint64(n)
	if n < want && c.flags&flagHup == 0 {
		c.flags &^= flagReadable
	}
	if s.left > 0 {
		s.left -= int64(n)
	}
	s.size(n)
	if s.shown {
		gave, ok = d.sendWire(l.scratch[:n])
	} else {
		gave, ok = d.send(l.scratch[:n])
	}
	if !ok {
		return n, 0, false
	}
	if gave < n {
		d.growQueue(n - gave)
		d.out.Append(l.scratch[gave:n])
	}
	s.moved += int64(n)
	l.stats.SpliceCopied.Add(uint64(n))
	return n, n, true
}

// sendWire is send through the transport.
func (c *Conn) sendWire(b []byte) (n int, ok bool) {
	v := c.loop.stage.parts[:1]
	v[0] = b
	err := c.wire.t.Write(c.wire, v)
	v[0] = nil
	if err != nil {
		c.wire.Fail(err)
		if c.feeder != nil {
			c.feeder.breakSplice()
		}
	}
	return len(b), c.feeder != nil // a write that failed has taken the splice down
}

// spliceRoomMin is the least that is taken at a time on behalf of a dst with a low watermark.
const spliceRoomMin = 4 << 10

// dstRoom returns how much may be under way to dst.
func (s *splicer) dstRoom() int { return max(int(s.dst.high), spliceRoomMin) }

// takeEnd handles src giving nothing.
func (s *splicer) takeEnd(errno syscall.Errno) {
	c := s.src
	switch errno {
	case 0:
		s.eof = true
		c.flags &^= flagReadable
	case unix.EAGAIN:
		if s.inPipe == 0 {
			c.flags &^= flagReadable
		}
	case unix.EINTR:
		c.loop.again(c)
	default:
		s.errno = errno
		c.flags &^= flagReadable
	}
}

// fill moves bytes from the source to the pipe, and returns how many.
func (s *splicer) fill() int {
	if !s.canTake() {
		return 0
	}
	c := s.src
	want := min(s.pipe.size, s.dstRoom()) - s.inPipe
	if s.left > 0 {
		want = int(min(int64(want), s.left))
	}
	if want <= 0 {
		return 0
	}
	n, errno := c.spliceIn(s.pipe.w, want)
	if n <= 0 {
		if errno == unix.EINVAL && s.inPipe == 0 {
			s.plain = true // such as multipath TCP: move goes on with copy
			c.loop.again(c)
			return 0
		}
		s.takeEnd(errno)
		return 0
	}
	c.in += uint64(n)
	s.inPipe += n
	if s.left > 0 {
		s.left -= int64(n)
	}
	s.size(n)
	return n
}

// size decides by the size of a piece which way the next ones go.
func (s *splicer) size(n int) {
	if n >= s.src.loop.cfg.SpliceBytesMin {
		s.large, s.smalls = true, 0
		return
	}
	if s.smalls++; s.smalls >= spliceSmallsMax {
		s.smalls, s.large = 0, false
	}
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
		case errno == unix.EINVAL:
			s.plain = true
			s.moved += s.rescue()
			return gave, true
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
	held := s.inPipe > 0 || s.dst.out != nil
	if moved == 0 && !done && held == s.held {
		return
	}
	s.moved, s.held = 0, held
	if done {
		errno := s.errno
		c.endSplice()
		if errno != 0 {
			c.fail(CloseReset, errno)
			return
		}
	}
	l, was := c.loop, c.loop.current
	l.current = c // this may be an event of dst
	c.handler.OnSplice(moved, done, eof)
	l.endEvent()
	if done && c.flags&(flagClosed|flagFailed|flagLinger) == 0 {
		if eof {
			c.onEOF()
		} else {
			if c.kept != nil { // OnData left more than the span
				c.flags |= flagOffer
			}
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
