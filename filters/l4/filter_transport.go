package l4

import (
	"errors"
	"io"

	"millrace/engine"
	"millrace/engine/arena"
	"millrace/filters"
)

// errFilterClosed is what a conn fails with when a read or write filter closes it; engine.Conn.TransportError has
// it. The reason for the log is in filters.Connection.
var errFilterClosed = errors.New("closed by a network filter")

// errHoldMemory is what a conn fails with when no block is left to hold its bytes in.
var errHoldMemory = errors.New("no memory to hold bytes for a network filter")

// A filterTransport runs the read and write filters of one connection between its terminal filter and its socket,
// or what decrypts:
//
//	socket ─▶ inner ─▶ reads[0] ─▶ reads[1] ─▶ terminal
//	socket ◀─ inner ◀─ writes[0] ◀─ writes[1] ◀─ terminal
//
// A read filter that pauses stops reading: what was read with that call, one read of the loop at most, is held in
// a block until resume. A filter that closes makes the conn fail with CloseTransport, so that the
// terminal filter hears of it as of any other end.
type filterTransport struct {
	c      *filters.Connection
	reads  []filters.ReadFilter
	writes []filters.WriteFilter // in the order of the chain
	inner  engine.Transport      // nil over the socket

	wire    *engine.Wire
	pool    *arena.Pool // of block
	block   arena.Block // holds block[off:end]; none where only the end of data is held
	off     int
	end     int
	next    int  // the read filter that gets what is held
	holds   bool // something is held
	heldEOF bool // the end of data is, behind the bytes
	paused  bool // until resume. Invariant: implies holds
	ended   bool // the end of data went to the terminal filter
	running bool // a read filter is being called
	closed  bool
}

// newFilterTransport makes the transport of a connection. reads and writes are in the order of the chain; inner may
// be nil.
func newFilterTransport(c *filters.Connection, reads []filters.ReadFilter, writes []filters.WriteFilter, inner engine.Transport) *filterTransport {
	return &filterTransport{c: c, reads: reads, writes: writes, inner: inner}
}

// Handshake implements engine.Transport.
func (t *filterTransport) Handshake(w *engine.Wire) (bool, error) {
	t.wire = w
	if t.inner == nil {
		return true, nil
	}
	return t.inner.Handshake(w)
}

// Read implements engine.Transport.
func (t *filterTransport) Read(w *engine.Wire, dst []byte) (int, error) {
	t.wire = w
	switch {
	case t.paused:
		return 0, engine.ErrWouldBlock
	case t.holds:
		return t.readHeld(dst)
	case t.ended:
		return 0, io.EOF
	}
	n, err := t.readInner(w, dst)
	if n == 0 && err != io.EOF {
		return 0, err
	}
	end := err == io.EOF
	t.next = 0
	switch t.run(dst[:n], end) {
	case filters.NetworkPause:
		return 0, t.hold(dst[:n], end)
	case filters.NetworkClose:
		return 0, errFilterClosed
	}
	t.ended = end
	return n, err
}

func (t *filterTransport) readInner(w *engine.Wire, dst []byte) (int, error) {
	if t.inner == nil {
		return w.Read(dst)
	}
	return t.inner.Read(w, dst)
}

// run shows b to the read filters from number t.next on.
func (t *filterTransport) run(b []byte, end bool) filters.NetworkVerdict {
	v := filters.NetworkContinue
	t.running = true
	for v == filters.NetworkContinue && t.next < len(t.reads) && !t.closed {
		v = t.reads[t.next].OnRead(t.c, b, end)
		t.next++
	}
	t.running = false
	if t.closed {
		t.drop() // Close had to leave it: a filter was looking at it
		return filters.NetworkClose
	}
	t.paused = v == filters.NetworkPause
	return v
}

// hold keeps a copy of b until the filter that paused resumes. It returns what Read has to.
func (t *filterTransport) hold(b []byte, end bool) error {
	if len(b) > 0 {
		t.pool = t.wire.Conn().Loop().Arena()
		block, ok := t.pool.Lease(len(b))
		if !ok {
			return errHoldMemory
		}
		t.block = block
		t.off, t.end = 0, copy(block.Bytes(), b)
	}
	t.holds, t.heldEOF = true, end
	return engine.ErrWouldBlock
}

// readHeld goes on with what is held: through the filters it has not passed, and to dst, piece by piece.
func (t *filterTransport) readHeld(dst []byte) (int, error) {
	switch t.run(t.held(), t.heldEOF) {
	case filters.NetworkPause:
		return 0, engine.ErrWouldBlock
	case filters.NetworkClose:
		return 0, errFilterClosed
	}
	n := copy(dst, t.held())
	t.off += n
	if t.off < t.end {
		return n, nil
	}
	t.drop()
	t.holds, t.ended = false, t.heldEOF
	if t.ended {
		return n, io.EOF
	}
	return n, nil
}

func (t *filterTransport) held() []byte { return t.block.Bytes()[t.off:t.end] }

// drop gives the block back.
func (t *filterTransport) drop() {
	if !t.block.IsZero() {
		t.pool.Return(t.block)
		t.block = arena.Block{}
	}
	t.off, t.end = 0, 0
}

// resume goes on behind the read filter that paused, later in the turn. It reports whether one had.
func (t *filterTransport) resume() bool {
	if !t.paused || t.running || t.closed {
		return false
	}
	t.paused = false
	t.wire.ReadAgain()
	return true
}

// Write implements engine.Transport.
func (t *filterTransport) Write(w *engine.Wire, v [][]byte) error {
	t.wire = w
	for _, b := range v {
		if !t.write(b, false) {
			return errFilterClosed
		}
	}
	if t.inner != nil {
		return t.inner.Write(w, v)
	}
	for _, b := range v {
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// write shows b to the write filters, the last one first. It reports whether none of them closed.
func (t *filterTransport) write(b []byte, end bool) bool {
	for i := len(t.writes) - 1; i >= 0 && !t.c.Ended(); i-- {
		if t.writes[i].OnWrite(t.c, b, end) == filters.NetworkClose || t.closed {
			return false
		}
	}
	return true
}

// CloseWrite implements engine.Transport. Write filters hear of a half close; a conn that only lingers, flushing its
// last bytes, is over for them, and EndFilter.OnEnd has told them so.
func (t *filterTransport) CloseWrite(w *engine.Wire) {
	t.wire = w
	if !t.write(nil, true) {
		// Not now: the engine is about to send the FIN, and a conn that lingers would be closed twice.
		w.Conn().Loop().Later(t)
		return
	}
	if t.inner != nil {
		t.inner.CloseWrite(w)
	}
}

// RunTask implements engine.Task: it ends a conn that a filter closed when it saw the end of data.
func (t *filterTransport) RunTask() {
	if !t.closed {
		t.wire.Fail(errFilterClosed)
	}
}

// Close implements engine.Transport.
func (t *filterTransport) Close() {
	if t.closed {
		return
	}
	t.closed, t.paused = true, false
	if !t.running {
		t.drop()
	}
	if t.inner != nil {
		t.inner.Close()
	}
}
