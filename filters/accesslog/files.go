package accesslog

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"millrace/engine/stats"
)

// closeTimeout bounds how long the last log of a file waits for its lines to be written.
const closeTimeout = 5 * time.Second

// Files are the files of all access logs of a process. Logs with one path share a [Writer],
// also those of a configuration and its successor, so a reload loses no line and cuts none.
type Files struct {
	registry *stats.Registry // nil: nothing is registered

	mu   sync.Mutex
	open map[string]*openFile // by path
}

// openFile is a writer and the number of logs that use it.
type openFile struct {
	writer *Writer
	logs   int
}

// NewFiles makes an empty set whose counters go to registry, unless that is nil.
func NewFiles(registry *stats.Registry) *Files {
	return &Files{registry: registry, open: map[string]*openFile{}}
}

// Open compiles an entry and opens its file, or takes the one that is open already.
func (f *Files) Open(cfg *Config) (*Log, error) {
	format, err := Compile(cfg)
	if err != nil {
		return nil, err
	}
	filter, err := newFilter(cfg.Filter)
	if err != nil {
		return nil, err
	}
	w, err := f.acquire(cfg)
	if err != nil {
		return nil, err
	}
	return &Log{format: format, filter: filter, writer: w, files: f, sizes: *cfg}, nil
}

func (f *Files) acquire(cfg *Config) (*Writer, error) {
	path := filepath.Clean(cfg.Path)
	f.mu.Lock()
	defer f.mu.Unlock()
	if file := f.open[path]; file != nil {
		file.logs++
		return file.writer, nil
	}
	w, err := openWriter(path, cfg)
	if err != nil {
		return nil, err
	}
	f.open[path] = &openFile{writer: w, logs: 1}
	if f.registry != nil {
		f.registry.Add(stats.Root("filesystem"), &w.set)
	}
	return w, nil
}

// ring returns the ring of a loop, and registers it if it is new.
func (f *Files) ring(w *Writer, loop int) *Ring {
	r, fresh := w.ring(loop)
	if fresh && f.registry != nil {
		f.registry.Add(ringScope(w, loop), &r.stats)
	}
	return r
}

func ringScope(w *Writer, loop int) stats.Scope {
	return stats.Root("access_log").Tag("envoy_access_log_path", w.path).OnLoop(loop)
}

// release lets go of a writer and closes it with its last log.
func (f *Files) release(w *Writer) error {
	f.mu.Lock()
	file := f.open[w.path]
	last := false
	if file != nil && file.writer == w {
		file.logs--
		last = file.logs == 0
	}
	if last {
		delete(f.open, w.path)
	}
	f.mu.Unlock()
	if !last {
		return nil
	}
	f.unregister(w)
	return w.close(time.After(closeTimeout))
}

func (f *Files) unregister(w *Writer) {
	if f.registry == nil {
		return
	}
	f.registry.Remove(stats.Root("filesystem"), &w.set)
	w.mu.Lock()
	defer w.mu.Unlock()
	for loop, r := range w.rings {
		f.registry.Remove(ringScope(w, loop), &r.stats)
	}
}

// BytesMax returns what the files may hold of lines not yet written, with so many loops.
func (f *Files) BytesMax(loops int) (n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, file := range f.open {
		n += file.writer.bytesMax(loops)
	}
	return n
}

// Reopen opens all files again, as SIGUSR1 asks. It does not wait.
func (f *Files) Reopen() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, file := range f.open {
		file.writer.Reopen()
	}
}

// Close writes what is waiting in all files and closes them, within the timeout for all of them
// together. Loops must not log any more.
func (f *Files) Close(timeout time.Duration) error {
	f.mu.Lock()
	files := slices.Collect(maps.Values(f.open))
	clear(f.open)
	f.mu.Unlock()
	deadline := make(chan time.Time)
	timer := time.AfterFunc(timeout, func() { close(deadline) })
	defer timer.Stop()
	errs := make([]error, 0, len(files))
	for _, file := range files {
		f.unregister(file.writer)
		errs = append(errs, file.writer.close(deadline))
	}
	return errors.Join(errs...)
}
