package accesslog

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"millrace/engine/stats"
)

// Paths that name the process's own streams.
const (
	pathStdout = "/dev/stdout"
	pathStderr = "/dev/stderr"
)

// Defaults of what a Config leaves open.
const (
	defaultBufferBytes    = 64 << 10
	defaultRingBytes      = 1 << 20
	defaultFlushInterval  = 10 * time.Second
	defaultStreamInterval = time.Second // stdout and stderr, which somebody may be looking at
)

// A Writer writes the lines of all loops to one file, on a goroutine of its own. One
// Writer serves all logs with its path; [Files] counts them.
//
//	rings ──▶ batch ──▶ write       when a loop has a batch waiting, or the interval is over
type Writer struct {
	// Immutable.
	path    string
	asked   chan struct{}        // a loop has a batch, or Reopen was called; capacity 1
	flushes chan chan<- struct{} // closed when all is written
	ending  chan struct{}        // closed by close
	done    chan struct{}        // closed when the goroutine ends

	batchBytes atomic.Int64
	interval   atomic.Int64 // nanoseconds
	reopening  atomic.Bool

	// Guarded by mu: made by the control side, read by the goroutine once a batch.
	mu        sync.Mutex
	rings     map[int]*Ring // by loop
	order     []*Ring       // the same, oldest first; replaced, never changed
	ringBytes int

	set WriterStats
}

// WriterStats counts one file. The writer's goroutine writes it.
type WriterStats struct {
	FlushedByTimer stats.Counter `stat:"flushed_by_timer" help:"times lines were written because the flush interval was over"`
	ReopenFailed   stats.Counter `stat:"reopen_failed" help:"times a file could not be opened again; the old one stays in use"`
	WriteBuffered  stats.Counter `stat:"write_buffered" help:"times lines of a loop were taken over for writing"`
	WriteCompleted stats.Counter `stat:"write_completed" help:"successful writes"`
	WriteFailed    stats.Counter `stat:"write_failed" help:"writes that failed; their lines are lost"`
	TotalBuffered  stats.Gauge   `stat:"write_total_buffered" help:"bytes taken over and not yet written"`
}

// writer is the goroutine's side of a Writer.
type writer struct {
	*Writer
	file   io.Writer
	closer io.Closer // nil for stdout and stderr
	buf    []byte
	inLine bool // the last byte written is not the end of a line
	torn   bool // that line will not be finished
	skip   bool // what comes next begins inside a line that is lost
}

// openWriter opens the file and starts its goroutine.
func openWriter(path string, cfg *Config) (*Writer, error) {
	file, closer, err := openLog(path)
	if err != nil {
		return nil, fmt.Errorf("opening access log: %w", err)
	}
	w := newWriter(path, cfg)
	go (&writer{Writer: w, file: file, closer: closer}).run()
	return w, nil
}

// newWriter makes a Writer without its goroutine.
func newWriter(path string, cfg *Config) *Writer {
	w := &Writer{
		path: path, rings: map[int]*Ring{},
		asked: make(chan struct{}, 1), flushes: make(chan chan<- struct{}),
		ending: make(chan struct{}), done: make(chan struct{}),
	}
	w.configure(cfg)
	return w
}

// configure takes over the sizes of a config. Rings that exist keep theirs.
func (w *Writer) configure(cfg *Config) {
	batch, interval, ring := cfg.BufferSize, cfg.FlushInterval, cfg.RingSize
	if batch <= 0 {
		batch = defaultBufferBytes
	}
	if ring <= 0 {
		ring = defaultRingBytes
	}
	if interval <= 0 {
		interval = defaultFlushInterval
		if w.path == pathStdout || w.path == pathStderr {
			interval = defaultStreamInterval
		}
	}
	w.mu.Lock()
	w.ringBytes = ring
	w.mu.Unlock()
	w.batchBytes.Store(int64(batch))
	if old := w.interval.Swap(int64(interval)); old != 0 && old != int64(interval) {
		w.wakeUp() // the goroutine is waiting for the old one
	}
}

// openLog opens the file at path for appending.
func openLog(path string) (io.Writer, io.Closer, error) {
	switch path {
	case pathStdout:
		return os.Stdout, nil, nil
	case pathStderr:
		return os.Stderr, nil, nil
	}
	// Without O_NONBLOCK, opening a named pipe that nobody reads would hold up a start or a reload.
	const flags = os.O_WRONLY | os.O_APPEND | os.O_CREATE | syscall.O_NONBLOCK | syscall.O_NOCTTY
	f, err := os.OpenFile(path, flags, 0o644)
	if err != nil {
		return nil, nil, err
	}
	return f, f, nil
}

// Path returns the path of the file.
func (w *Writer) Path() string { return w.path }

// Ring returns the ring of a loop, made on first use. It is called by the control side; Put is
// called on the loop.
func (w *Writer) Ring(loop int) *Ring {
	r, _ := w.ring(loop)
	return r
}

func (w *Writer) ring(loop int) (r *Ring, fresh bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.rings[loop]; r != nil {
		return r, false
	}
	r = newRing(w, w.ringBytes)
	w.rings[loop] = r
	w.order = append(w.order[:len(w.order):len(w.order)], r)
	return r, true
}

func (w *Writer) ringList() []*Ring {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.order
}

// bytesMax returns what the rings of so many loops and the batch may hold.
func (w *Writer) bytesMax(loops int) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.batchBytes.Load()
	for _, r := range w.order {
		n += int64(len(r.buf))
	}
	return n + int64(max(0, loops-len(w.order))*ringBytes(w.ringBytes))
}

func (w *Writer) batch() uint64 { return uint64(w.batchBytes.Load()) }

// wakeUp asks the goroutine to drain. It never waits.
//
// Deviation: the data path has no channels (docs/style.md). This one is touched once for each
// batch of some two hundred lines, which is when a system call is due anyway, on the other side.
func (w *Writer) wakeUp() {
	select {
	case w.asked <- struct{}{}:
	default: // it has been asked already
	}
}

// Reopen opens the path again, for a log that was renamed by a rotation, after writing what is
// waiting to the old file. If that fails the old file stays in use. It does not wait.
func (w *Writer) Reopen() {
	w.reopening.Store(true)
	w.wakeUp()
}

// Flush writes what is waiting, and waits until it is written.
func (w *Writer) Flush() {
	flushed := make(chan struct{})
	select {
	case w.flushes <- flushed:
		<-flushed
	case <-w.done:
	}
}

// close writes what is waiting and closes the file. It gives up at the deadline, when the file
// does not take it: then the goroutine is left behind and lines are lost. It is called once.
func (w *Writer) close(deadline <-chan time.Time) error {
	close(w.ending)
	select {
	case <-w.done:
		return nil
	case <-deadline:
		return fmt.Errorf("closing access log %q: a write does not end", w.path)
	}
}
