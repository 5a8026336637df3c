package certs

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"time"
)

// ticketKeyBytes is the size of a session ticket key file, as Envoy has it.
const ticketKeyBytes = 80

// A ticketSecret is what a session ticket key file holds.
type ticketSecret struct{ bytes [ticketKeyBytes]byte }

func loadTicketSecret(paths []string, data [][]byte) (any, error) {
	if n := len(data[0]); n != ticketKeyBytes {
		return nil, fmt.Errorf("%s: file of %d bytes; want exactly %d random ones: openssl rand -out %s %d",
			paths[0], n, ticketKeyBytes, paths[0], ticketKeyBytes)
	}
	return &ticketSecret{[ticketKeyBytes]byte(data[0])}, nil
}

// A keyRing holds the ticket keys that the process makes for itself, newest first.
type keyRing struct {
	keys    []ringKey
	version uint64
}

type ringKey struct {
	secret [sha256.Size]byte
	born   time.Time
}

// turn makes a new key when the newest is old, and drops those that can resume nothing any more. It reports
// whether it did.
func (r *keyRing) turn(now time.Time) bool {
	if len(r.keys) > 0 && now.Sub(r.keys[0].born) < ticketKeyEvery {
		return false
	}
	k := ringKey{born: now}
	rand.Read(k.secret[:]) // never fails: see its documentation
	kept := []ringKey{k}
	for _, old := range r.keys {
		if old.resumes(now, sessionTimeoutMax) {
			kept = append(kept, old)
		}
	}
	r.keys = kept
	r.version++
	return true
}

// resumes reports whether sessions of at most an age may still be under the key.
func (k *ringKey) resumes(now time.Time, timeout time.Duration) bool {
	return now.Sub(k.born) < ticketKeyEvery+timeout
}

// ticketKeys derives the keys of one context. A session begun under a context with other demands (scope) is
// not resumed, though the secrets are shared.
func ticketKeys(secrets [][]byte, scope [sha256.Size]byte) (keys [][32]byte) {
	for _, secret := range secrets {
		h := sha256.New()
		h.Write([]byte("millrace session ticket\x00"))
		h.Write(secret)
		h.Write(scope[:])
		keys = append(keys, [32]byte(h.Sum(nil)))
	}
	return keys
}

// stampTag begins the entry of a ticket that says when it was made.
const stampTag = "millrace\x00"

// limitSessions makes cfg refuse tickets older than timeout. crypto/tls itself has only the limit of a week.
// Precondition: the ticket keys of cfg are set.
func limitSessions(cfg *tls.Config, timeout time.Duration, now func() time.Time) {
	keyed := cfg.Clone()
	cfg.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
		stamp := binary.BigEndian.AppendUint64([]byte(stampTag), uint64(now().Unix()))
		ss.Extra = append(ss.Extra, stamp)
		return keyed.EncryptTicket(cs, ss)
	}
	cfg.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		ss, err := keyed.DecryptTicket(ticket, cs)
		if ss == nil || err != nil {
			return nil, err
		}
		for _, e := range ss.Extra {
			if len(e) == len(stampTag)+8 && string(e[:len(stampTag)]) == stampTag {
				made := time.Unix(int64(binary.BigEndian.Uint64(e[len(stampTag):])), 0)
				if now().Sub(made) < timeout {
					return ss, nil
				}
			}
		}
		return nil, nil // too old: a full handshake
	}
}
