package engine

import (
	"sync"

	"github.com/cloudwego/netpoll"

	"millrace/engine/internal/sys"
)

const (
	// queueNodeBytes is the memory a queue takes at a time. Nodes above 8 KiB make a
	// drained LinkBuffer give all of its memory back; it then holds 160 bytes.
	queueNodeBytes = 16 << 10
	// queueFlushBelow is how few bytes ready to be written make the queue turn appended
	// bytes into ready ones. Each such flush begins a new node, so a peer that reads a
	// little at a time must not cause one for each small append.
	queueFlushBelow = 64 << 10
	// queueIovecs is how many pieces one gathered write takes.
	queueIovecs = 16
)

// setNodeBytes runs once per process: netpoll has one setting for all buffers.
var setNodeBytes = sync.OnceFunc(func() { netpoll.LinkBufferCap = queueNodeBytes })

// A Queue holds bytes on their way to one socket, which did not take them yet. It is the
// one place that knows netpoll's LinkBuffer. It belongs to one loop.
type Queue struct {
	buf     *netpoll.LinkBuffer
	pending int    // appended, but not flushed in buf
	next    *Queue // free list
}

// Len returns the number of bytes in the queue.
func (q *Queue) Len() int { return q.buf.Len() + q.pending }

// Append copies b to the end.
func (q *Queue) Append(b []byte) {
	for len(b) > 0 {
		n := min(len(b), queueNodeBytes)
		d, err := q.buf.Malloc(n)
		if err != nil {
			panic("BUG: engine: LinkBuffer.Malloc: " + err.Error())
		}
		copy(d, b[:n])
		q.pending += n
		b = b[n:]
	}
}

// readFrom appends n bytes, at most queueNodeBytes, that a pipe has. It returns how many there were.
func (q *Queue) readFrom(fd, n int) int {
	d, err := q.buf.Malloc(n)
	q.must(err)
	got, _ := sys.Read(fd, d)
	q.pending += n
	return got
}

// vector fills v with the first pieces of the queue, using parts to hold them. It returns
// how many pieces there are and their length.
func (q *Queue) vector(v *[queueIovecs]sys.Iovec, parts *[queueIovecs][]byte) (count, size int) {
	if q.pending > 0 && q.buf.Len() < queueFlushBelow {
		q.must(q.buf.Flush())
		q.pending = 0
	}
	for _, b := range q.buf.GetBytes(parts[:]) {
		if len(b) == 0 {
			continue
		}
		sys.SetIovec(&v[count], b)
		count++
		size += len(b)
	}
	return count, size
}

// Skip removes the first n bytes.
func (q *Queue) Skip(n int) {
	q.must(q.buf.Skip(n))
	q.must(q.buf.Release())
}

func (q *Queue) must(err error) {
	if err != nil {
		panic("BUG: engine: LinkBuffer: " + err.Error())
	}
}

// queuesFreeMax is how many drained queues a loop keeps for the next that needs one.
const queuesFreeMax = 256

// newQueue takes an empty queue.
func (l *Loop) newQueue() *Queue {
	l.queuesUsed++
	q := l.queues
	if q == nil {
		return &Queue{buf: netpoll.NewLinkBuffer(0)}
	}
	l.queues, q.next = q.next, nil
	l.queuesFree--
	return q
}

// freeQueue takes q back, with or without bytes in it.
func (l *Loop) freeQueue(q *Queue) {
	n := q.Len()
	l.queuesUsed--
	l.stats.QueuedBytes.Add(-int64(n))
	if n > 0 || l.queuesFree >= queuesFreeMax {
		q.must(q.buf.Close())
		return
	}
	q.next = l.queues
	l.queues = q
	l.queuesFree++
}
