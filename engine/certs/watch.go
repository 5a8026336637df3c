package certs

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Run watches the files and swaps what changes, until ctx is done. It also turns the ticket keys of the process.
func (s *Store) Run(ctx context.Context) {
	w := &watcher{failed: map[string]bool{}}
	if fs, err := fsnotify.NewWatcher(); err == nil {
		w.fs, w.events, w.errors = fs, fs.Events, fs.Errors
		defer fs.Close()
	} else {
		s.log.Warn("certificates are looked at by the clock only", "every", pollEvery, "error", err)
	}
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	var settled <-chan time.Time // running while changed files may still change
	var first time.Time          // the event that began it
	s.follow(w)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
			s.follow(w)
		case <-poll.C:
			s.Check()
			s.follow(w)
		case <-w.errors: // the queue of the kernel ran over: something changed
			settled, first = settle(settled, first)
		case <-w.events:
			settled, first = settle(settled, first)
		case <-settled:
			settled = nil
			s.Check()
			s.follow(w)
		}
	}
}

// settle puts off reading until it has been quiet for a while, at most settleMax.
func settle(running <-chan time.Time, first time.Time) (<-chan time.Time, time.Time) {
	now := time.Now()
	if running == nil {
		first = now
	}
	return time.After(min(settleTime, max(0, settleMax-now.Sub(first)))), first
}

// A watcher knows which directories are watched. Directories, not files: files are replaced by renaming
// others over them, and links such as Kubernetes' ..data change beside them.
type watcher struct {
	fs     *fsnotify.Watcher // nil if the system has no more of them
	events chan fsnotify.Event
	errors chan error
	failed map[string]bool // directories that cannot be watched, said once
}

// follow makes w watch what is there now. A file may have changed between its reading and the watching of its
// directory, and a link may then lead elsewhere; so it looks again until nothing is new.
func (s *Store) follow(w *watcher) {
	const roundsMax = 4 // links that go on changing are for the next event
	for range roundsMax {
		if !s.watch(w) {
			return
		}
		s.Check()
	}
}

// watch makes w watch the directories of all files, no more and no less, and reports whether it added some. A
// directory that was removed and made again is no longer in the list of w, so it is added anew.
func (s *Store) watch(w *watcher) (added bool) {
	if w.fs == nil {
		return false
	}
	want := s.directories()
	for _, dir := range w.fs.WatchList() {
		if !want[dir] {
			w.fs.Remove(dir) // an error says that it is gone already
		}
		delete(want, dir)
	}
	for dir := range want {
		err := w.fs.Add(dir)
		if err != nil && !w.failed[dir] {
			s.log.Warn("directory of certificates is looked at by the clock only", "directory", dir, "every", pollEvery, "error", err)
		}
		w.failed[dir] = err != nil
		added = added || err == nil
	}
	return added
}

// directories returns those in which a change may concern a file: where it is, and where links lead.
func (s *Store) directories() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	dirs := map[string]bool{}
	for _, src := range s.sources {
		for _, path := range src.paths {
			dirs[filepath.Dir(path)] = true
			if target, err := filepath.EvalSymlinks(path); err == nil {
				dirs[filepath.Dir(target)] = true
			}
		}
	}
	return dirs
}
