package accesslog

import (
	"math/bits"
	"sync/atomic"

	"millrace/engine/stats"
)

// A Ring carries lines from one loop to the writer of a file: a circle of bytes with one
// producer and one consumer, who never wait for one another.
//
//	        tail: the loop moves it over whole lines
//	          ▼
//	│ free    │▓▓▓▓▓▓▓ lines ▓▓▓▓▓▓▓│    free    │
//	                                ▲
//	                              head: the writer moves it over bytes it has taken
//
// Invariant: head <= tail <= head+len(buf), and all bytes between them are whole lines
// whenever the loop is not inside Put.
type Ring struct {
	// Immutable.
	buf    []byte // its length is a power of two
	writer *Writer

	// Owned by the loop.
	stats    RingStats
	headSeen uint64 // head, as last looked up
	_        [64]byte

	// Atomic: written by the loop, read by the writer.
	tail atomic.Uint64
	_    [56]byte // the two sides write different cache lines

	// Atomic: written by the writer, read by the loop.
	head atomic.Uint64

	// asked is set by the loop when it wakes the writer, and cleared by the writer when it
	// begins to drain, so that a loop wakes it once for each batch.
	asked atomic.Bool
}

// RingStats counts the lines of one loop for one file.
type RingStats struct {
	Lines   stats.Counter `stat:"lines_total" help:"lines handed to the writer"`
	Dropped stats.Counter `stat:"lines_dropped" help:"lines lost because the ring was full: the file is slower than the traffic"`
	Cut     stats.Counter `stat:"lines_cut" help:"lines that would have exceeded 64 KiB; their values were cut"`
	TooLong stats.Counter `stat:"lines_too_long" help:"lines lost because they exceeded 64 KiB even so"`
}

// LineBytesMax bounds a line with its newline: the smallest ring holds it.
const LineBytesMax = 64 << 10

// newRing makes a ring of at least size bytes.
func newRing(w *Writer, size int) *Ring {
	return &Ring{buf: make([]byte, ringBytes(size)), writer: w}
}

// ringBytes returns what a ring of at least size bytes takes.
func ringBytes(size int) int { return 1 << bits.Len(uint(max(size, LineBytesMax)-1)) }

// Put hands a whole line, which ends in a newline, to the writer. It copies line and never
// waits: it reports false if the line was dropped, and has counted it then.
//
// Precondition: called on the ring's loop.
//
// Hot path: BenchmarkLogger.
func (r *Ring) Put(line []byte) bool {
	if len(line) > LineBytesMax {
		r.stats.TooLong.Inc()
		return false
	}
	tail, size := r.tail.Load(), uint64(len(r.buf))
	end := tail + uint64(len(line))
	if end-r.headSeen > size {
		if r.headSeen = r.head.Load(); end-r.headSeen > size {
			r.stats.Dropped.Inc()
			return false
		}
	}
	at := tail & (size - 1)
	n := copy(r.buf[at:], line)
	copy(r.buf, line[n:])
	r.tail.Store(end)
	r.stats.Lines.Inc()
	if batch := r.batch(); end-r.headSeen >= batch {
		r.wake(end, batch)
	}
	return true
}

// batch is how much is worth a call: the writer has to come before the ring is full.
func (r *Ring) batch() uint64 { return min(r.writer.batch(), uint64(len(r.buf)/2)) }

// wake asks the writer to come when a batch is waiting.
func (r *Ring) wake(tail, batch uint64) {
	r.headSeen = r.head.Load()
	if tail-r.headSeen < batch || r.asked.Load() {
		return
	}
	r.asked.Store(true)
	r.writer.wakeUp()
}

// waiting returns the bytes to be taken, in up to two pieces. Precondition: called by the writer.
func (r *Ring) waiting() (first, second []byte) {
	head, tail := r.head.Load(), r.tail.Load()
	mask := uint64(len(r.buf) - 1)
	from, to := head&mask, tail&mask
	switch {
	case head == tail:
		return nil, nil
	case from < to:
		return r.buf[from:to], nil
	}
	return r.buf[from:], r.buf[:to]
}

// take gives n bytes back to the loop. Precondition: called by the writer.
func (r *Ring) take(n int) { r.head.Add(uint64(n)) }
