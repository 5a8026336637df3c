package discovery

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/fsnotify/fsnotify"

	"millrace/upstream"
)

const (
	// fileBytesMax bounds a hosts file.
	fileBytesMax = 16 << 20
	// filePoll is how often a file is looked at when no event says that it has changed.
	filePoll = time.Second
)

// file finds hosts in a file.
type file struct {
	cluster, path string
	env           *Env
	last          []upstream.HostConfig
	putOnce       bool
}

// Run implements Source.
func (f *file) Run(ctx context.Context, put Put) {
	var events chan fsnotify.Event // never ready without a watcher: the clock does alone
	if w, err := fsnotify.NewWatcher(); err == nil {
		defer w.Close()
		if w.Add(filepath.Dir(f.path)) == nil { // the directory: files are replaced by renaming others over them
			events = w.Events
		}
	}
	poll := time.NewTicker(filePoll)
	defer poll.Stop()
	state := health{log: f.env.Log, attrs: []any{"cluster", f.cluster, "file", f.path}}
	at := stampOf(f.path)
	state.note(f.read(put))
	f.env.answered()
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-events:
			if !ok {
				events = nil
			}
		case <-poll.C:
		}
		if now := stampOf(f.path); !now.same(at) {
			at = now
			state.note(f.read(put))
		}
	}
}

// read reads the file and puts what it lists.
func (f *file) read(put Put) error {
	s := f.env.Stats
	s.Attempt.Inc()
	hosts, err := f.load()
	if err != nil {
		s.Failure.Inc()
		put(nil, err)
		return err
	}
	s.Success.Inc()
	if len(hosts) == 0 {
		s.Empty.Inc()
	}
	if f.putOnce && reflect.DeepEqual(hosts, f.last) {
		s.NoRebuild.Inc()
		return nil
	}
	f.last, f.putOnce = hosts, true
	put(hosts, nil)
	return nil
}

// load reads and decodes the file.
func (f *file) load() ([]upstream.HostConfig, error) {
	r, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, fileBytesMax+1))
	if err != nil {
		return nil, err
	}
	if len(text) > fileBytesMax {
		return nil, fmt.Errorf("%s has more than %d bytes", f.path, fileBytesMax)
	}
	return f.env.Decode(f.path, text)
}
