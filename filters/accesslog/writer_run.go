package accesslog

import (
	"bytes"
	"io"
	"time"
)

// run is the goroutine of a Writer: it waits for a reason to write, and writes.
func (g *writer) run() {
	defer close(g.done)
	defer func() {
		if g.closer != nil {
			_ = g.closer.Close() // what was written is with the kernel; nothing is left to save
		}
	}()
	interval := time.Duration(g.interval.Load())
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for ended := false; !ended; {
		timed := false
		var flushed chan<- struct{}
		select {
		case <-g.asked:
		case flushed = <-g.flushes:
		case <-g.ending:
			ended = true
		case <-timer.C:
			timed = true
		}
		if now := time.Duration(g.interval.Load()); timed || now != interval {
			interval = now
			timer.Reset(interval)
		}
		if n := g.drain(); n > 0 && timed {
			g.set.FlushedByTimer.Inc()
		}
		if g.reopening.Swap(false) {
			g.reopen()
		}
		if flushed != nil {
			g.drain() // to the new file, if there is one
			close(flushed)
		}
	}
}

// drain writes the lines of all rings and returns how many bytes there were. Lines of one loop stay in
// order; loops take turns by batches.
func (g *writer) drain() int {
	total := 0
	for _, r := range g.ringList() {
		r.asked.Store(false) // from now on the loop may call again
		first, second := r.waiting()
		if len(first) == 0 {
			continue
		}
		g.set.WriteBuffered.Inc()
		total += len(first) + len(second)
		g.collect(first)
		g.collect(second)
		r.take(len(first) + len(second))
	}
	g.write(g.buf)
	g.buf = g.buf[:0]
	g.set.TotalBuffered.Set(0)
	return total
}

// collect puts a piece behind what is collected. Pieces that make a batch are written from where they are.
func (g *writer) collect(piece []byte) {
	batch := int(g.batchBytes.Load())
	if len(g.buf)+len(piece) < batch {
		g.buf = append(g.buf, piece...)
		g.set.TotalBuffered.Set(int64(len(g.buf)))
		return
	}
	g.write(g.buf)
	g.buf = g.buf[:0]
	g.write(piece)
}

// write writes b, which may begin and end inside a line, or counts a failure. What follows a
// failure begins a line of its own: the rest of a line whose beginning is lost is left out.
func (g *writer) write(b []byte) {
	if g.skip {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return
		}
		b, g.skip = b[i+1:], false
	}
	if len(b) == 0 {
		return
	}
	err := g.mend()
	n := 0
	if err == nil {
		n, err = g.file.Write(b)
	}
	if n > 0 {
		g.inLine = b[n-1] != '\n'
	}
	if err != nil {
		g.set.WriteFailed.Inc()
		g.skip, g.torn = b[len(b)-1] != '\n', g.inLine
		return
	}
	g.set.WriteCompleted.Inc()
}

// mend ends the line that a failed write left unfinished.
func (g *writer) mend() error {
	if !g.torn {
		return nil
	}
	_, err := io.WriteString(g.file, "\n")
	if err == nil {
		g.torn, g.inLine = false, false
	}
	return err
}

// reopen changes to a file opened anew.
func (g *writer) reopen() {
	if g.closer == nil { // stdout or stderr: there is nothing to open
		return
	}
	file, closer, err := openLog(g.path)
	if err != nil {
		g.set.ReopenFailed.Inc()
		return
	}
	old := g.closer
	g.file, g.closer, g.torn, g.inLine = file, closer, false, false
	if err := old.Close(); err != nil {
		g.set.WriteFailed.Inc() // a network file system tells of lost writes here
	}
}
