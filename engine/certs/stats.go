package certs

import (
	"math"
	"slices"
	"strings"
	"time"
)

// counts count what the store did. Guarded by Store.mu.
type counts struct{ Swapped, Failed uint64 }

// Stats are the numbers of all certificates of the process.
type Stats struct {
	// DaysUntilFirstCertExpiring is how many whole days are left until a certificate or CA expires, 0 if one has,
	// math.MaxUint32 if there is none (server.days_until_first_cert_expiring).
	DaysUntilFirstCertExpiring int64
	// InError is how many sets of files or contexts cannot be used as they are now; for these the old goes on.
	InError int64
	// Swapped counts files that were swapped, Failed those refused.
	Swapped, Failed uint64
	// Expirations has one entry for each certificate that is presented, by name.
	Expirations []Expiration
}

// An Expiration is the gauge ssl.certificate.<name>.expiration_unix_time_seconds.
type Expiration struct {
	Name string // made of the path of the cert_file: letters, digits, "_" and "-"
	Unix int64
}

// Stats returns the numbers of now.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	st := Stats{DaysUntilFirstCertExpiring: math.MaxUint32, Swapped: s.counts.Swapped, Failed: s.counts.Failed}
	for _, src := range s.sources {
		if src.err != nil {
			st.InError++
		}
		for _, c := range src.certs() {
			st.DaysUntilFirstCertExpiring = min(st.DaysUntilFirstCertExpiring, daysLeft(c.NotAfter, now))
		}
		if p, ok := src.value.(*pair); ok {
			st.Expirations = append(st.Expirations, Expiration{statName(src.paths[0]), p.leaf.NotAfter.Unix()})
		}
	}
	for _, in := range s.managedInfos(now) {
		if in.Serial != "" {
			st.DaysUntilFirstCertExpiring = min(st.DaysUntilFirstCertExpiring, in.DaysLeft)
		}
	}
	for c := range s.contexts {
		if c.base().err != nil {
			st.InError++
		}
	}
	slices.SortFunc(st.Expirations, func(a, b Expiration) int { return strings.Compare(a.Name, b.Name) })
	st.Expirations = slices.CompactFunc(st.Expirations, func(a, b Expiration) bool { return a.Name == b.Name }) // with several keys
	return st
}

// daysLeft returns the whole days until a certificate expires, 0 if it has.
func daysLeft(notAfter, now time.Time) int64 {
	return max(0, int64(notAfter.Sub(now)/(24*time.Hour)))
}

// statName makes a part of a stat name of a path.
func statName(path string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '_'
	}, path), "_")
}

// StapleCounts count the clients of a context that asked for an OCSP staple.
type StapleCounts struct {
	Requests, Responses uint64 // ocsp_staple_requests, ocsp_staple_responses
	Omitted, Failed     uint64 // ocsp_staple_omitted, ocsp_staple_failed
}

// Staples returns the counts of now.
func (x *Server) Staples() StapleCounts {
	c := &x.staples
	return StapleCounts{c.requests.Load(), c.responses.Load(), c.omitted.Load(), c.failed.Load()}
}
