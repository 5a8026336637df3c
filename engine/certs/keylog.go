package certs

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// A keyLog appends lines to a file. Contexts with the same path share it.
type keyLog struct {
	path  string
	users int // guarded by Store.mu

	mu sync.Mutex
	f  *os.File // nil once closed
}

// Write appends one line. crypto/tls calls it once for each, from any goroutine.
func (k *keyLog) Write(line []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.f == nil { // closed: an error would end the handshake of a chain that drains
		return len(line), nil
	}
	return k.f.Write(line)
}

// openKeyLog opens the key log of a config, or shares it. Precondition: mu is held.
func (s *Store) openKeyLog(cfg *KeyLogConfig) (*keyLog, error) {
	if cfg == nil {
		return nil, nil
	}
	k := s.keyLogs[cfg.Path]
	switch {
	case k != nil:
	case s.inspect:
		if info, err := os.Stat(filepath.Dir(cfg.Path)); err != nil {
			return nil, fmt.Errorf("key_log: %w", err)
		} else if !info.IsDir() {
			return nil, fmt.Errorf("key_log: %s is no directory", filepath.Dir(cfg.Path))
		}
		return nil, nil
	default:
		f, err := os.OpenFile(cfg.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("key_log: %w", err)
		}
		s.log.Warn("the secrets of TLS connections are written to a file: whoever reads it reads the traffic", "file", cfg.Path)
		k = &keyLog{path: cfg.Path, f: f}
		s.keyLogs[cfg.Path] = k
	}
	k.users++
	return k, nil
}

// closeKeyLog gives a key log back. Precondition: mu is held.
func (s *Store) closeKeyLog(k *keyLog) {
	if k == nil {
		return
	}
	if k.users--; k.users == 0 {
		delete(s.keyLogs, k.path)
		k.mu.Lock()
		defer k.mu.Unlock()
		k.f.Close()
		k.f = nil
	}
}

// writer returns k as a writer, nil if there is none.
func (k *keyLog) writer() io.Writer {
	if k == nil {
		return nil
	}
	return k
}
