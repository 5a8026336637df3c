package accesslog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/engine/stats"
)

func newTestLogger(t testing.TB, cfg *Config) *Logger {
	t.Helper()
	files := NewFiles(nil)
	log, err := files.Open(cfg)
	if err != nil {
		t.Fatalf("Open(%+v) = %v", cfg, err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return NewLogger([]*Log{log}, 0)
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestFiles: logs with one path share a writer; the lines of loops come out whole and in order.
func TestFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "access.log")
	var reg stats.Registry
	files := NewFiles(&reg)
	a, err := files.Open(&Config{Path: path, Format: "a %CONNECTION_ID% %STREAM_ID%", BufferSize: 4096})
	if err != nil {
		t.Fatal(err)
	}
	b, err := files.Open(&Config{Path: path, Format: "b", BufferSize: 4096})
	if err != nil || a.Writer() != b.Writer() {
		t.Fatalf("Open of the same path = %p, %v; want %p", b.Writer(), err, a.Writer())
	}
	const loops, lines = 4, 5000
	var wait sync.WaitGroup
	for loop := range loops {
		l := NewLogger([]*Log{a}, loop)
		wait.Go(func() {
			r := &Record{ConnID: uint64(loop + 1)}
			for i := range lines {
				r.StreamID = uint64(i + 1)
				for before := l.logs[0].ring.stats.Dropped.Load(); ; {
					l.Log(r)
					if n := l.logs[0].ring.stats.Dropped.Load(); n == before {
						break
					} else {
						before = n
						a.Writer().Flush() // the test is faster than a proxy
					}
				}
			}
		})
	}
	wait.Wait()
	a.Writer().Flush()
	if err := a.Close(); err != nil { // the file stays open for b
		t.Fatal(err)
	}
	NewLogger([]*Log{b}, 0).Log(&Record{})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	next := [loops]int{}
	text := strings.TrimSuffix(readFile(t, path), "b\n")
	for line := range strings.Lines(text) {
		var loop, i int
		if n, err := fmt.Sscanf(line, "a %d %d\n", &loop, &i); n != 2 || err != nil || i != next[loop-1]+1 {
			t.Fatalf("line %q after line %v", line, next)
		}
		next[loop-1] = i
	}
	for loop, n := range next {
		if n != lines {
			t.Errorf("loop %d has %d lines in the file; want %d", loop, n, lines)
		}
	}
}

func TestReopen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "access.log")
	files := NewFiles(nil)
	log, err := files.Open(&Config{Path: path, Format: "%CONNECTION_ID%"})
	if err != nil {
		t.Fatal(err)
	}
	l := NewLogger([]*Log{log}, 0)
	l.Log(&Record{ConnID: 1})
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	files.Reopen()
	log.Writer().Flush()
	l.Log(&Record{ConnID: 2})
	if err := files.Close(time.Minute); err != nil {
		t.Fatal(err)
	}
	if old, now := readFile(t, path+".1"), readFile(t, path); old != "1\n" || now != "2\n" {
		t.Errorf("old file has %q, new file %q; want 1 and 2", old, now)
	}
}

// TestReopenFails: the old file stays in use.
func TestReopenFails(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	files := NewFiles(nil)
	log, err := files.Open(&Config{Path: filepath.Join(dir, "a"), Format: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+"-gone"); err != nil {
		t.Fatal(err)
	}
	files.Reopen()
	log.Writer().Flush()
	if n := log.Writer().set.ReopenFailed.Load(); n != 1 {
		t.Errorf("reopen_failed = %d; want 1", n)
	}
	NewLogger([]*Log{log}, 0).Log(&Record{})
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, filepath.Join(dir+"-gone", "a")); got != "x\n" {
		t.Errorf("the old file has %q; want the line", got)
	}
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	for _, cfg := range []*Config{
		{Path: filepath.Join(t.TempDir(), "none", "a")},
		{Path: t.TempDir()},
		{Path: "/dev/null", Format: "%X%"},
		{Path: "/dev/null", Filter: &FilterConfig{Header: &HeaderConfig{Name: " "}}},
	} {
		if _, err := NewFiles(nil).Open(cfg); err == nil {
			t.Errorf("Open(%+v) = nil; want an error", cfg)
		}
	}
}

// TestFlushByTimer: a lone line does not wait for others for ever.
func TestFlushByTimer(t *testing.T) {
	t.Parallel()
	out := &recorder{wrote: make(chan struct{}, 1)}
	w := newWriter("test", &Config{FlushInterval: time.Millisecond})
	go (&writer{Writer: w, file: out}).run()
	w.Ring(0).Put([]byte("a\n"))
	<-out.wrote
	if err := w.close(nil); err != nil {
		t.Fatal(err)
	}
	if n := w.set.FlushedByTimer.Load(); n != 1 || out.String() != "a\n" {
		t.Errorf("flushed_by_timer = %d, written %q; want 1 and the line", n, out.String())
	}
}

// TestBatch: a full batch is written without the timer, in one call.
func TestBatch(t *testing.T) {
	t.Parallel()
	out := &recorder{wrote: make(chan struct{}, 1)}
	w := newWriter("test", &Config{FlushInterval: time.Hour, BufferSize: 4096})
	go (&writer{Writer: w, file: out}).run()
	line := append(bytes.Repeat([]byte("x"), 1023), '\n')
	for range 4 {
		w.Ring(0).Put(line)
	}
	<-out.wrote
	if err := w.close(nil); err != nil {
		t.Fatal(err)
	}
	if n := w.set.WriteCompleted.Load(); n != 1 || out.Len() != 4096 {
		t.Errorf("%d bytes in %d writes; want 4096 in one", out.Len(), n)
	}
}

// TestRingFull: a ring whose file does not take anything drops whole lines, counts them, and goes on.
func TestRingFull(t *testing.T) {
	t.Parallel()
	w := newWriter("test", &Config{RingSize: LineBytesMax})
	r := w.Ring(0)
	line := append(bytes.Repeat([]byte("x"), 999), '\n')
	put := 0
	for r.Put(line) {
		put++
	}
	if want := LineBytesMax / 1000; put != want || r.stats.Dropped.Load() != 1 {
		t.Errorf("%d lines put, %d dropped; want %d and 1", put, r.stats.Dropped.Load(), want)
	}
	out := new(recorder)
	g := &writer{Writer: w, file: out}
	g.drain()
	for i := range 3 * put { // around the end of the ring several times
		if !r.Put(line) {
			t.Fatalf("line %d after the drain was dropped", i)
		}
		if i%7 == 0 {
			g.drain()
		}
	}
	g.drain()
	if want := strings.Repeat(string(line), 4*put); out.String() != want {
		t.Errorf("%d bytes written; want %d whole lines", out.Len(), 4*put)
	}
	if r.Put(make([]byte, LineBytesMax+1)) || r.stats.TooLong.Load() != 1 {
		t.Errorf("a line beyond LineBytesMax: lines_too_long = %d; want 1", r.stats.TooLong.Load())
	}
	if !r.Put(make([]byte, LineBytesMax)) {
		t.Errorf("a line of LineBytesMax was dropped by an empty ring")
	}
}

// TestWriteFails: what follows a failed write begins with a whole line.
func TestWriteFails(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		takes  []int // bytes of each failing call
		writes []string
		want   string
	}{
		{"nothing taken", []int{0}, []string{"a\n", "b\n"}, "b\n"},
		{"in the middle", []int{3}, []string{"aa\nbb\n", "cc\n"}, "aa\ncc\n"},
		{"inside a line", []int{4}, []string{"aa\nbb\n", "cc\n"}, "aa\nb\ncc\n"},
		{"a piece that ends inside a line", []int{0}, []string{"aa\nb", "b\ncc\n"}, "cc\n"},
		{"twice", []int{1, 0, 0}, []string{"aa\nb", "b\ncc\n", "dd\n", "ee\n"}, "a\nee\n"},
		{"a long line", []int{0}, []string{"a", "a", "a\nb\n"}, "b\n"},
	} {
		out := &recorder{fail: tt.takes}
		g := &writer{Writer: newWriter("test", &Config{}), file: out}
		for _, s := range tt.writes {
			g.write([]byte(s))
		}
		if out.String() != tt.want {
			t.Errorf("%s: written %q; want %q", tt.name, out.String(), tt.want)
		}
		if n := g.set.WriteFailed.Load(); n != uint64(len(tt.takes)) {
			t.Errorf("%s: write_failed = %d; want %d", tt.name, n, len(tt.takes))
		}
	}
}

// TestCloseDeadline: a file that takes nothing does not hold up the end of the process.
func TestCloseDeadline(t *testing.T) {
	t.Parallel()
	out := &recorder{block: make(chan struct{})}
	w := newWriter("test", &Config{})
	go (&writer{Writer: w, file: out}).run()
	w.Ring(0).Put([]byte("a\n"))
	over := make(chan time.Time)
	close(over)
	if err := w.close(over); err == nil || !strings.Contains(err.Error(), "does not end") {
		t.Errorf("close = %v; want an error", err)
	}
	close(out.block)
	<-w.done
}

func TestConfigure(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		path     string
		cfg      Config
		batch    uint64
		interval time.Duration
	}{
		{"a", Config{}, 64 << 10, 10 * time.Second},
		{pathStdout, Config{}, 64 << 10, time.Second},
		{pathStderr, Config{FlushInterval: time.Minute}, 64 << 10, time.Minute},
		{"a", Config{BufferSize: 1 << 20, RingSize: 64 << 10}, 1 << 20, 10 * time.Second},
	} {
		w := newWriter(tt.path, &tt.cfg)
		if w.batch() != tt.batch || time.Duration(w.interval.Load()) != tt.interval {
			t.Errorf("%s %+v: batch %d, interval %v; want %d, %v", tt.path, tt.cfg, w.batch(), time.Duration(w.interval.Load()), tt.batch, tt.interval)
		}
	}
}

// TestNewInterval: a shorter interval holds at once, when a log that wants it is put to use.
func TestNewInterval(t *testing.T) {
	t.Parallel()
	out := &recorder{wrote: make(chan struct{}, 1)}
	w := newWriter("test", &Config{FlushInterval: time.Hour})
	go (&writer{Writer: w, file: out}).run()
	l := NewLogger([]*Log{{format: mustCompile(t, &Config{Format: "x"}), writer: w, files: NewFiles(nil),
		sizes: Config{FlushInterval: time.Millisecond}}}, 0)
	l.Log(&Record{})
	<-out.wrote
	if err := w.close(nil); err != nil {
		t.Fatal(err)
	}
}

// TestSmallRing: a ring smaller than the batch calls the writer before it is full.
func TestSmallRing(t *testing.T) {
	t.Parallel()
	w := newWriter("test", &Config{BufferSize: 1 << 20, RingSize: 64 << 10})
	line := append(bytes.Repeat([]byte("x"), 1023), '\n')
	for i := range 32 {
		if len(w.asked) != 0 {
			t.Fatalf("called after %d lines; want 32", i)
		}
		w.Ring(0).Put(line)
	}
	if len(w.asked) != 1 {
		t.Error("not called when the ring was half full")
	}
}

func TestLoggerEmpty(t *testing.T) {
	t.Parallel()
	var none *Logger
	none.Log(&Record{})
	if none.Enabled() || NewLogger(nil, 0).Enabled() {
		t.Error("a Logger without logs is enabled")
	}
}

// recorder is a file that may fail, block, or tell of a write.
type recorder struct {
	bytes.Buffer
	fail  []int
	block chan struct{}
	wrote chan struct{}
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.block != nil {
		<-r.block
	}
	if len(r.fail) > 0 {
		n := r.fail[0]
		r.fail = r.fail[1:]
		r.Buffer.Write(b[:n])
		return n, errors.New("no space left")
	}
	if r.wrote != nil {
		defer func() { r.wrote <- struct{}{} }()
	}
	return r.Buffer.Write(b)
}

// TestStats: counters are shown while the file is open.
func TestStats(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a")
	var reg stats.Registry
	log, err := NewFiles(&reg).Open(&Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	for loop := range 2 {
		NewLogger([]*Log{log}, loop).Log(newRecord())
	}
	log.Writer().Flush()
	got := map[string]int64{}
	collect := func(m *stats.Metric) bool {
		got[m.Scope.Prefix+m.Name] = m.Value
		return true
	}
	reg.Each(collect)
	if n, writes := got["access_log."+path+".lines_total"], got["filesystem.write_completed"]; n != 2 || writes != 1 {
		t.Errorf("lines_total = %d, write_completed = %d; want 2, 1, in %v", n, writes, got)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	clear(got)
	if reg.Each(collect); len(got) != 0 {
		t.Errorf("after Close there is %v", got)
	}
}
