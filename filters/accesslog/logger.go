package accesslog

// A Log is one compiled entry of access_log. It is immutable: loops share it.
type Log struct {
	format *Format
	filter filter
	writer *Writer
	files  *Files
	sizes  Config // of which the sizes are used
}

// Writer returns the writer of the log's file.
func (l *Log) Writer() *Writer { return l.writer }

// Close lets go of the file, which is closed with its last log. It is called when no loop uses a
// Logger of the log any more.
func (l *Log) Close() error { return l.files.release(l.writer) }

// A Logger writes the lines of one connection manager on one loop. The zero Logger and
// the nil one write nothing.
type Logger struct {
	logs []loopLog
	line []byte // scratch
}

type loopLog struct {
	log  *Log
	ring *Ring
}

// lineKeepMax bounds the scratch that a Logger keeps, in bytes: a rare long line does not stay.
const lineKeepMax = 16 << 10

// NewLogger makes the Logger of a loop. It is called by the control side, or on the loop before traffic. From
// now on the sizes of these logs hold for their files: not earlier, since a configuration that was
// opened may still be refused.
func NewLogger(logs []*Log, loop int) *Logger {
	l := &Logger{}
	for _, log := range logs {
		log.writer.configure(&log.sizes)
		l.logs = append(l.logs, loopLog{log, log.files.ring(log.writer, loop)})
	}
	return l
}

// Enabled reports whether there is anything to write to, so that the caller need not fill a record.
func (l *Logger) Enabled() bool { return l != nil && len(l.logs) > 0 }

// Log writes the line of r to every log whose filter wants it. It never waits.
//
// Precondition: called on the loop.
//
// Hot path: BenchmarkLogger.
func (l *Logger) Log(r *Record) {
	if l == nil {
		return
	}
	for i := range l.logs {
		to := &l.logs[i]
		if !to.log.filter.match(r) {
			continue
		}
		line, cut := to.log.format.appendLine(l.line[:0], r)
		if cut {
			to.ring.stats.Cut.Inc()
		}
		to.ring.Put(line)
		l.line = line
	}
	if cap(l.line) > lineKeepMax {
		l.line = nil
	}
}
