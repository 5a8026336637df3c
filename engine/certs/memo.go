package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"sync"
	"time"
)

// A memo remembers certificates whose chain was verified, since hosts show the same ones again and again, on
// resumption too: two signatures less for each handshake. It belongs to one set of CAs and CRLs.
type memo struct {
	mu    sync.Mutex
	until map[[sha256.Size]byte]time.Time
}

const (
	memoEntriesMax = 1024      // beyond, all are forgotten
	memoTimeMax    = time.Hour // a chain is verified again after so long
)

func newMemo() *memo { return &memo{until: map[[sha256.Size]byte]time.Time{}} }

// memoKey names what a peer sent.
func memoKey(certs []*x509.Certificate) [sha256.Size]byte {
	h := sha256.New()
	for _, c := range certs {
		sum := sha256.Sum256(c.Raw)
		h.Write(sum[:])
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// has reports whether the chain was verified and still holds.
func (m *memo) has(key [sha256.Size]byte, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return now.Before(m.until[key])
}

func (m *memo) put(key [sha256.Size]byte, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.until) >= memoEntriesMax {
		clear(m.until)
	}
	m.until[key] = until
}

// until returns how long a verified chain surely holds.
func (v *verifier) until(chain []*x509.Certificate, now time.Time) time.Time {
	end := now.Add(memoTimeMax)
	for _, c := range chain {
		if !v.expiredOK && c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	if v.crls == nil {
		return end
	}
	for _, lists := range v.crls.lists {
		for _, l := range lists {
			if next := l.list.NextUpdate; !next.IsZero() && next.Before(end) {
				end = next
			}
		}
	}
	return end
}
