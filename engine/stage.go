package engine

import "millrace/engine/internal/sys"

const (
	// refMin is the size from which WriteRef references instead of copying: below it a
	// copy costs less than one more piece in the gathered write.
	refMin = 2 << 10
	// refsMax bounds the pieces of one gathered write; one more flushes first.
	refsMax = 32
)

// stage gathers what one conn writes during an event. The loop has one; the conn that
// writes takes it over, and what the owner before it staged is written first.
type stage struct {
	owner *Conn // nil when nothing is staged
	buf   []byte
	count int    // of refs
	sum   int    // bytes in refs
	home  []byte // the buffer of stageBytes; buf may outgrow it for a while
	refs  [refsMax]stageRef
	iov   [2*refsMax + 1]sys.Iovec
	parts [2*refsMax + 1][]byte // for list
}

// stageRef is memory to be written after the first at bytes of the buffer.
type stageRef struct {
	at int
	b  []byte
}

// size returns the number of bytes staged.
func (s *stage) size() int { return len(s.buf) + s.sum }

// reset empties the stage. A buffer that one large append made grow is let go.
func (s *stage) reset() {
	s.owner = nil
	if cap(s.buf) > cap(s.home) {
		s.buf = s.home
	}
	s.buf = s.buf[:0]
	if s.count > 0 {
		clear(s.refs[:s.count])
		s.count, s.sum = 0, 0
	}
}

// vector lists the staged pieces in order.
func (s *stage) vector() []sys.Iovec {
	v, done := s.iov[:0], 0
	add := func(b []byte) {
		if len(b) > 0 {
			v = v[:len(v)+1]
			sys.SetIovec(&v[len(v)-1], b)
		}
	}
	for i := range s.count {
		r := &s.refs[i]
		add(s.buf[done:r.at])
		add(r.b)
		done = r.at
	}
	add(s.buf[done:])
	return v
}

// list lists the staged pieces in order, for a transport.
func (s *stage) list() [][]byte {
	v, done := s.parts[:0], 0
	add := func(b []byte) {
		if len(b) > 0 {
			v = append(v, b)
		}
	}
	for i := range s.count {
		r := &s.refs[i]
		add(s.buf[done:r.at])
		add(r.b)
		done = r.at
	}
	add(s.buf[done:])
	return v
}

// queueFrom appends what is staged, less the first skip bytes, to q.
func (s *stage) queueFrom(q *Queue, skip int) {
	done := 0
	add := func(b []byte) {
		n := min(skip, len(b))
		skip -= n
		q.Append(b[n:])
	}
	for i := range s.count {
		r := &s.refs[i]
		add(s.buf[done:r.at])
		add(r.b)
		done = r.at
	}
	add(s.buf[done:])
}

// stageFor makes c the owner of the stage.
func (l *Loop) stageFor(c *Conn) {
	if l.stage.owner != nil {
		l.unstage(l.stage.owner)
	}
	l.stage.owner = c
}

// unstage makes what c staged leave: to the socket, or for batch conns to the queue.
//
// Hot path: guarded by BenchmarkEcho.
func (l *Loop) unstage(c *Conn) {
	s := &l.stage
	switch {
	case c.flags&(flagClosed|flagFailed|flagBroken|flagShut) != 0 || s.size() == 0:
		// A broken conn swallows writes, OnClose is on its way; so does one that was
		// told CloseWrite.
	case c.wire != nil && !c.wire.direct():
		c.stageToWire(s)
	case c.out != nil || c.flags&flagWritable == 0:
		c.queueStage(0)
	case c.flags&flagBatch != 0 && !l.flushing:
		c.queueStage(0)
		l.markDirty(c)
	default:
		c.writeStage(s)
	}
	s.reset()
	if c.flags&flagWasFull != 0 {
		c.queueMoved()
	}
}

// endEvent lets what was staged during a call of a handler leave.
func (l *Loop) endEvent() {
	c := l.stage.owner
	if c == nil {
		return
	}
	if c.flags&flagBatch != 0 && l.stage.count == 0 && l.stage.size() > 0 {
		l.markDirty(c) // stays staged until the turn ends or someone else needs the stage
		return
	}
	l.unstage(c)
}

// writeStage writes the staged bytes to the socket, and queues what it does not take.
func (c *Conn) writeStage(s *stage) {
	size := s.size()
	n, ok := 0, true
	if s.count == 0 {
		n, ok = c.send(s.buf)
	} else {
		n, ok = c.sendv(s.vector(), size)
	}
	if ok && n < size {
		c.queueStage(n)
	}
}

// queueStage appends the staged bytes after the first skip to the queue.
func (c *Conn) queueStage(skip int) {
	s := &c.loop.stage
	c.growQueue(s.size() - skip)
	s.queueFrom(c.out, skip)
}
