package certs

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"
)

// A kind is what a source holds.
type kind uint8

const (
	kindPair    kind = iota // cert_file and key_file: *pair
	kindCA                  // a CA bundle: *caBundle
	kindCRL                 // revocation lists: *crlSet
	kindStaple              // an OCSP response: *staple
	kindTickets             // a session ticket key: *ticketSecret
)

// kinds has what differs between kinds.
var kinds = [...]struct {
	name     string
	bytesMax int64
	load     func(paths []string, data [][]byte) (any, error)
}{
	kindPair:    {"certificate", pairFileBytesMax, loadPair},
	kindCA:      {"CA bundle", caFileBytesMax, loadCABundle},
	kindCRL:     {"CRL", crlFileBytesMax, loadCRLs},
	kindStaple:  {"OCSP staple", stapleFileBytesMax, loadStaple},
	kindTickets: {"session ticket key", ticketKeyBytes, loadTicketSecret},
}

// A source is one or two files that are read and swapped together. Contexts share it.
type source struct {
	// Immutable.
	kind  kind
	paths []string

	// Guarded by Store.mu.
	users   int               // contexts
	value   any               // what the last good files hold
	version uint64            // goes up when value is replaced
	loaded  time.Time         // when value was read
	err     error             // why the files of now are not value, or nil
	sum     [sha256.Size]byte // of the contents tried last
	stamps  []stamp
	warned  expiryStep // the last that was logged
}

// A stamp tells one content of a file from another without reading it.
type stamp struct {
	dev, ino uint64
	size     int64
	changed  time.Time
	racy     bool // changed so shortly before it was read that a later change may not show
}

func sourceKey(k kind, paths []string) string {
	return fmt.Sprintf("%d\x00%s", k, strings.Join(paths, "\x00"))
}

// stale reports whether the files may hold something else than at the last refresh.
func (s *source) stale() bool {
	for i, path := range s.paths {
		info, err := os.Stat(path)
		if err != nil || s.stamps[i].racy || stampOf(info) != s.stamps[i] {
			return true
		}
	}
	return false
}

func stampOf(info os.FileInfo) stamp {
	st := stamp{size: info.Size(), changed: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		st.dev, st.ino = uint64(sys.Dev), sys.Ino
	}
	return st
}

// refresh reads the files. It returns whether they hold something that was not tried before; then either
// value is new or err says why not.
func (s *source) refresh(now time.Time) bool {
	data := make([][]byte, len(s.paths))
	h := sha256.New()
	var err error
	for i, path := range s.paths {
		var e error
		data[i], s.stamps[i], e = readFile(path, kinds[s.kind].bytesMax, now)
		if e != nil {
			err = errors.Join(err, &fileError{i, e})
			fmt.Fprintf(h, "%v", e)
		}
		fmt.Fprintf(h, "%d\x00", len(data[i]))
		h.Write(data[i])
	}
	sum := [sha256.Size]byte(h.Sum(nil))
	if sum == s.sum {
		return false
	}
	s.sum = sum
	var value any
	if err == nil {
		value, err = kinds[s.kind].load(s.paths, data)
	}
	s.err = err
	if err == nil {
		s.value, s.loaded = value, now
		s.version++
	}
	return true
}

// A fileError is why one of the files of a source cannot be read.
type fileError struct {
	at int // in paths
	error
}

// Unwrap returns the error without the place.
func (e *fileError) Unwrap() error { return e.error }

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64, now time.Time) ([]byte, stamp, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, stamp{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, stamp{}, err
	case !info.Mode().IsRegular():
		return nil, stamp{}, fmt.Errorf("%s: not a regular file", path)
	}
	st := stampOf(info)
	st.racy = now.Sub(info.ModTime()) < racyTime
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, st, fmt.Errorf("reading %s: %w", path, err)
	case int64(len(data)) > limit:
		return nil, st, fmt.Errorf("%s: file exceeds %d bytes", path, limit)
	case len(data) == 0:
		return nil, st, fmt.Errorf("%s: file is empty", path)
	}
	return data, st, nil
}
