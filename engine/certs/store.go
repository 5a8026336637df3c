package certs

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Store owns the files of all contexts of a process: each is read once, watched and swapped for all who use
// it. It may be used from any goroutine, but reads files: not on a loop.
type Store struct {
	// Immutable.
	log     *slog.Logger
	now     func() time.Time
	inspect bool
	manager Manager

	mu       sync.Mutex
	sources  map[string]*source // by kind and paths
	contexts map[renewer]struct{}
	keys     keyRing
	keyLogs  map[string]*keyLog // by path
	counts   counts
	dirty    bool          // a source was swapped and its contexts are not rebuilt yet
	wake     chan struct{} // tells Run that there is more to watch
}

// StoreOptions are what a Store needs from outside.
type StoreOptions struct {
	// Log is told of swaps, of files that cannot be used and of certificates about to expire. Nil discards.
	Log *slog.Logger
	// Now is the clock. Nil is the real one.
	Now func() time.Time
	// Inspect makes a store whose contexts are only tried: no key log is written.
	Inspect bool
	// Manager obtains the certificates of contexts with acme. Nil refuses those.
	Manager Manager
}

// A renewer is a Server or a Client.
type renewer interface {
	base() *bound
	// rebuild makes the tls.Config of now and publishes it. With an error the one before may stay.
	rebuild(now time.Time) error
}

// bound is what Server and Client share: what they are made of.
type bound struct {
	store *Store
	turns bool // is made of the ticket keys of the process
	needs []*source

	// Guarded by Store.mu.
	seen   uint64 // the sum of the versions that the current config is made of
	err    error  // why the config of now could not be made, or nil
	users  []string
	closed bool
}

// versions changes when a source of the context or the ticket keys were swapped.
func (b *bound) versions() (sum uint64) {
	if b.turns {
		sum = b.store.keys.version
	}
	for _, s := range b.needs {
		sum += s.version
	}
	return sum
}

// NewStore returns a store without contexts. It works without Run, but then nothing is swapped.
func NewStore(opt StoreOptions) *Store {
	s := &Store{
		log: opt.Log, now: opt.Now, inspect: opt.Inspect, manager: opt.Manager,
		sources: map[string]*source{}, contexts: map[renewer]struct{}{}, keyLogs: map[string]*keyLog{},
		wake: make(chan struct{}, 1),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.keys.turn(s.now())
	return s
}

// Reload reads all files again, as for SIGHUP, and swaps what has changed. The error lists what cannot be used;
// for that the old stays.
func (s *Store) Reload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, src := range s.sources {
		src.stamps = make([]stamp, len(src.paths))
	}
	s.check()
	var list []error
	for _, src := range s.sources {
		if src.err != nil {
			list = append(list, src.err)
		}
	}
	for c := range s.contexts {
		if err := c.base().err; err != nil {
			list = append(list, err)
		}
	}
	slices.SortFunc(list, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(list...)
}

// Check reads the files that look changed and swaps what has changed. Run calls it.
func (s *Store) Check() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.check()
}

// check reads what is stale, then rebuilds the contexts that are made of it. Precondition: mu is held.
func (s *Store) check() {
	now := s.now()
	for _, src := range s.sources {
		if src.stale() {
			s.refresh(src, now)
		}
		s.warnExpiry(src, now)
	}
	if s.keys.turn(now) || s.dirty {
		s.renew(now)
	}
}

// renew rebuilds the contexts whose files or ticket keys were swapped. Precondition: mu is held.
func (s *Store) renew(now time.Time) {
	s.dirty = false
	for c := range s.contexts {
		if b := c.base(); b.versions() != b.seen {
			s.rebuild(c, now)
		}
	}
}

// refresh reads a source and says what came of it, once for each content.
func (s *Store) refresh(src *source, now time.Time) {
	if !src.refresh(now) {
		return
	}
	what := kinds[src.kind].name
	if src.err != nil {
		s.counts.Failed++
		s.log.Warn(what+" cannot be used; the one before stays", "files", src.paths, "error", src.err)
		return
	}
	s.counts.Swapped++
	s.dirty = true
	s.log.Info(what+" swapped", "files", src.paths)
	src.warned = expiryFar
	s.warnExpiry(src, now)
}

// rebuild makes the config of a context anew. Precondition: mu is held.
func (s *Store) rebuild(c renewer, now time.Time) {
	b := c.base()
	b.seen = b.versions()
	err := c.rebuild(now)
	if err != nil && (b.err == nil || b.err.Error() != err.Error()) {
		s.counts.Failed++
		s.log.Warn("TLS context cannot be renewed as its files are", "users", b.users, "error", err)
	}
	b.err = err
}

// need returns the source of files, read if nobody else has it yet. Precondition: mu is held.
func (s *Store) need(b *bound, k kind, paths ...string) (*source, error) {
	key := sourceKey(k, paths)
	src := s.sources[key]
	now := s.now()
	switch {
	case src == nil:
		src = &source{kind: k, paths: paths, stamps: make([]stamp, len(paths))}
		src.refresh(now)
		if src.err != nil {
			return nil, src.err
		}
		s.sources[key] = src
		s.warnExpiry(src, now)
	case src.stale():
		s.refresh(src, now)
	}
	if !slices.Contains(b.needs, src) {
		src.users++
		b.needs = append(b.needs, src)
	}
	return src, nil
}

// open registers a context whose sources are there and makes its first config. Precondition: mu is held.
func (s *Store) open(c renewer) error {
	b := c.base()
	b.seen = b.versions()
	if err := c.rebuild(s.now()); err != nil {
		s.drop(b)
		return err
	}
	s.contexts[c] = struct{}{}
	if s.dirty { // a file was found changed on the way
		s.renew(s.now())
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

// close forgets a context, and the files nobody else uses. It reports whether the context was open.
func (s *Store) close(c renewer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := c.base()
	if b.closed {
		return false
	}
	b.closed = true
	delete(s.contexts, c)
	s.drop(b)
	return true
}

// drop gives back the sources of a context. Precondition: mu is held.
func (s *Store) drop(b *bound) {
	for _, src := range b.needs {
		if src.users--; src.users == 0 {
			delete(s.sources, sourceKey(src.kind, src.paths))
		}
	}
	b.needs = nil
}

// warnExpiry logs what has expired or soon will, once for each step. Precondition: mu is held.
func (s *Store) warnExpiry(src *source, now time.Time) {
	step, end := src.expiry(now)
	if step == src.warned {
		return
	}
	src.warned = step
	what := kinds[src.kind].name
	switch step {
	case expiryPast:
		s.log.Warn(what+" has expired", "file", src.paths[0], "not_after", end)
	case expiryFuture:
		s.log.Warn(what+" is not valid yet", "file", src.paths[0])
	case expiryNear:
		s.log.Warn(what+" expires soon", "file", src.paths[0], "not_after", end, "days", daysLeft(end, now))
	}
}

// expiryStep is where a file is in its life.
type expiryStep uint8

const (
	expiryFar    expiryStep = iota // nothing to say
	expiryNear                     // within expirySoon of its end
	expiryPast                     //
	expiryFuture                   // not yet valid
)

// expiry returns where the value of a source is in its life, and its end.
func (src *source) expiry(now time.Time) (expiryStep, time.Time) {
	var from, end time.Time
	near := expirySoon
	switch v := src.value.(type) {
	case *pair:
		from, end = v.leaf.NotBefore, v.leaf.NotAfter
	case *caBundle: // the CA that ends last: old ones are often left in the file
		for _, c := range v.certs {
			if c.NotAfter.After(end) {
				end = c.NotAfter
			}
		}
	case *crlSet: // the list that ends first: each is needed
		end, near = v.end(), 0
	case *staple:
		end, near = v.response.NextUpdate, 0
	}
	switch {
	case end.IsZero():
		return expiryFar, end
	case !now.Before(end):
		return expiryPast, end
	case now.Before(from):
		return expiryFuture, end
	case end.Sub(now) < near:
		return expiryNear, end
	}
	return expiryFar, end
}

// field puts the config field in front of an error.
func field(name string, err error) error { return fmt.Errorf("%s: %w", name, err) }
