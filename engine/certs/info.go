package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net"
	"slices"
	"strings"
	"time"
)

// Info is one certificate of a file, for people and /certs.
type Info struct {
	// Role is "certificate" for what is presented, "ca" for what peers are verified against.
	Role string
	// Path is the file, KeyPath that of the key, "" for CAs.
	Path, KeyPath string
	// Subject and Issuer are distinguished names; Serial is in hexadecimal.
	Subject, Issuer, Serial string
	// SANs are the subject alternative names, DNS names first.
	SANs []SAN
	// NotBefore and NotAfter bound its validity.
	NotBefore, NotAfter time.Time
	// DaysLeft are the whole days until NotAfter, 0 once it is past.
	DaysLeft int64
	// SHA256 is the sum of the certificate, in hexadecimal.
	SHA256 string
	// Key is the kind of key, such as "ECDSA P-256".
	Key string
	// OCSP is the validity of the staple, nil without one.
	OCSP *OCSPInfo
	// Contexts is how many contexts use the file, Users their names as far as they were told.
	Contexts int
	Users    []string
	// Loaded is when the file was read as it is used.
	Loaded time.Time
	// LastError is why the file as it is now is not used, "" if it is.
	LastError string
}

// SAN is one subject alternative name.
type SAN struct {
	Type string // "dns", "uri", "email" or "ip_address"
	Name string
}

// OCSPInfo is the validity of a staple. Until is zero if it never ends.
type OCSPInfo struct {
	Path        string
	From, Until time.Time
	LastError   string
}

// Context are the certificates of one context, as /certs groups them.
type Context struct {
	Users []string
	// CACert are the CAs that peers are verified against, CertChain the certificates presented.
	CACert, CertChain []Info
	// LastError is why the context could not be renewed, "" if it was.
	LastError string
}

// List returns the certificates of all files, by role and path.
func (s *Store) List() (list []Info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	users, now := s.users(), s.now()
	for _, src := range s.sources {
		list = append(list, users.infos(src, now)...)
	}
	list = append(list, s.managedInfos(now)...)
	slices.SortStableFunc(list, func(a, b Info) int {
		if c := strings.Compare(b.Role, a.Role); c != 0 { // "certificate" before "ca"
			return c
		}
		return strings.Compare(a.Path, b.Path)
	})
	return list
}

// Contexts returns the certificates of each context, by the names of its users.
func (s *Store) Contexts() (list []Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	users, now := s.users(), s.now()
	for c := range s.contexts {
		b := c.base()
		one := Context{Users: slices.Clone(b.users), LastError: errorText(b.err)}
		for _, src := range b.needs {
			switch src.kind {
			case kindCA:
				one.CACert = append(one.CACert, users.infos(src, now)...)
			case kindPair:
				one.CertChain = append(one.CertChain, users.infos(src, now)...)
			}
		}
		list = append(list, one)
	}
	slices.SortStableFunc(list, func(a, b Context) int { return slices.Compare(a.Users, b.Users) })
	return list
}

// usedBy names a user of a context.
func (b *bound) usedBy(name string) {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	if !slices.Contains(b.users, name) {
		b.users = append(b.users, name)
	}
}

// certs returns the certificates of a source that are worth listing: not the intermediate ones of a pair.
func (src *source) certs() []*x509.Certificate {
	switch v := src.value.(type) {
	case *pair:
		return v.chain[:1]
	case *caBundle:
		return v.certs
	}
	return nil
}

// users knows who uses what, looked up once for a whole list.
type users struct {
	names   map[*source][]string
	staples map[*source]*source // of a pair
}

// users looks at all contexts. Precondition: mu is held.
func (s *Store) users() *users {
	u := &users{map[*source][]string{}, map[*source]*source{}}
	for c := range s.contexts {
		b := c.base()
		for _, src := range b.needs {
			u.names[src] = append(u.names[src], b.users...)
		}
		if x, ok := c.(*Server); ok {
			for _, cs := range x.certs {
				if cs.staple != nil {
					u.staples[cs.pair] = cs.staple
				}
			}
		}
	}
	for src, names := range u.names {
		slices.Sort(names)
		u.names[src] = slices.Compact(names)
	}
	return u
}

// infos describes the certificates of a source. Precondition: mu is held.
func (u *users) infos(src *source, now time.Time) (list []Info) {
	for _, c := range src.certs() {
		in := describe(c, now)
		in.Role, in.Path = "ca", src.paths[0]
		if src.kind == kindPair {
			in.Role, in.KeyPath = "certificate", src.paths[1]
			in.OCSP = ocspInfo(u.staples[src])
		}
		in.Contexts, in.Users, in.Loaded, in.LastError = src.users, u.names[src], src.loaded, errorText(src.err)
		list = append(list, in)
	}
	return list
}

// ocspInfo describes the staple of a pair; nil is none.
func ocspInfo(src *source) *OCSPInfo {
	if src == nil {
		return nil
	}
	st := src.value.(*staple)
	return &OCSPInfo{st.path, st.response.ThisUpdate, st.response.NextUpdate, errorText(src.err)}
}

// describe says what a certificate is.
func describe(c *x509.Certificate, now time.Time) Info {
	sum := sha256.Sum256(c.Raw)
	in := Info{
		Subject: c.Subject.String(), Issuer: c.Issuer.String(), Serial: c.SerialNumber.Text(16),
		NotBefore: c.NotBefore, NotAfter: c.NotAfter, DaysLeft: daysLeft(c.NotAfter, now),
		SHA256: hex.EncodeToString(sum[:]), Key: keyName(c.PublicKey),
	}
	for _, n := range c.DNSNames {
		in.SANs = append(in.SANs, SAN{"dns", n})
	}
	for _, u := range c.URIs {
		in.SANs = append(in.SANs, SAN{"uri", u.String()})
	}
	for _, e := range c.EmailAddresses {
		in.SANs = append(in.SANs, SAN{"email", e})
	}
	for _, ip := range c.IPAddresses {
		in.SANs = append(in.SANs, SAN{"ip_address", net.IP(ip).String()})
	}
	return in
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
