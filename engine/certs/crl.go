package certs

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// A crlSet is what one CRL file holds. It is immutable.
type crlSet struct {
	path  string
	lists map[string][]*crl // by raw issuer
}

// A crl is one revocation list. The signature is verified against the issuer of the chain at hand.
type crl struct {
	list    *x509.RevocationList
	revoked map[string]struct{} // serials, as big.Int.Bytes
}

func loadCRLs(paths []string, data [][]byte) (any, error) {
	path, rest := paths[0], data[0]
	set := &crlSet{path, map[string][]*crl{}}
	if isDER(rest) {
		return set, set.add(rest, 1)
	}
	for n := 1; ; n++ {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type != "X509 CRL" {
			return nil, fmt.Errorf("%s: PEM block %q; want \"X509 CRL\"", path, b.Type)
		}
		if n > crlsPerFileMax {
			return nil, fmt.Errorf("%s: more than %d CRLs", path, crlsPerFileMax)
		}
		if err := set.add(b.Bytes, n); err != nil {
			return nil, err
		}
	}
	if len(set.lists) == 0 {
		return nil, fmt.Errorf("%s: no CRL in the file; want PEM, which begins with -----BEGIN X509 CRL-----", path)
	}
	return set, nil
}

// Extensions of CRLs and their entries that are understood; any other critical one makes a list unusable:
// "applications MUST NOT use that CRL to determine the status of certificates" RFC 5280 section 5.2
var (
	oidCRLNumber = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidAKI       = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidReason    = asn1.ObjectIdentifier{2, 5, 29, 21}
	oidInvalid   = asn1.ObjectIdentifier{2, 5, 29, 24}
)

func (s *crlSet) add(der []byte, n int) error {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return fmt.Errorf("%s: CRL %d: %w", s.path, n, err)
	}
	for _, e := range list.Extensions {
		if e.Critical && !e.Id.Equal(oidCRLNumber) && !e.Id.Equal(oidAKI) {
			return fmt.Errorf("%s: CRL %d has the critical extension %v, which is not supported (delta and indirect CRLs)", s.path, n, e.Id)
		}
	}
	c := &crl{list, make(map[string]struct{}, len(list.RevokedCertificateEntries))}
	for i := range list.RevokedCertificateEntries {
		e := &list.RevokedCertificateEntries[i]
		for _, x := range e.Extensions {
			if x.Critical && !x.Id.Equal(oidReason) && !x.Id.Equal(oidInvalid) {
				return fmt.Errorf("%s: CRL %d, entry %x has the critical extension %v, which is not supported", s.path, n, e.SerialNumber, x.Id)
			}
		}
		c.revoked[serialKey(e.SerialNumber)] = struct{}{}
	}
	list.RevokedCertificateEntries = nil // the map has what is needed
	key := string(list.RawIssuer)
	s.lists[key] = append(s.lists[key], c)
	return nil
}

func serialKey(n *big.Int) string { return string(n.Bytes()) }

// end returns when the first of the lists is out of date, zero if none ever is. Of several lists of one issuer the
// latest counts.
func (s *crlSet) end() (end time.Time) {
	for _, lists := range s.lists {
		var latest time.Time
		for _, l := range lists {
			if l.list.NextUpdate.IsZero() {
				latest = time.Time{}
				break
			}
			if l.list.NextUpdate.After(latest) {
				latest = l.list.NextUpdate
			}
		}
		if !latest.IsZero() && (end.IsZero() || latest.Before(end)) {
			end = latest
		}
	}
	return end
}

// isCurrent reports whether the list is in force. One without nextUpdate always is.
func (c *crl) isCurrent(now time.Time) bool {
	return !now.Before(c.list.ThisUpdate) && (c.list.NextUpdate.IsZero() || now.Before(c.list.NextUpdate))
}

var errRevoked = errors.New("the certificate is revoked")

// check returns why the certificate at place i of a chain may not be used, or nil. A CA without a current list
// fails: an attacker who can hold lists back must not gain by it.
func (s *crlSet) check(c, issuer *x509.Certificate, now time.Time) error {
	found, outdated := false, false
	for _, l := range s.lists[string(c.RawIssuer)] {
		if len(l.list.AuthorityKeyId) > 0 && len(issuer.SubjectKeyId) > 0 && !bytes.Equal(l.list.AuthorityKeyId, issuer.SubjectKeyId) {
			continue // another key of the same CA
		}
		if l.list.CheckSignatureFrom(issuer) != nil {
			continue
		}
		if _, revoked := l.revoked[serialKey(c.SerialNumber)]; revoked {
			return fmt.Errorf("%w (serial %x, CRL of %s)", errRevoked, c.SerialNumber, issuer.Subject)
		}
		if l.isCurrent(now) {
			found = true
		} else {
			outdated = true
		}
	}
	switch {
	case found:
		return nil
	case outdated:
		return fmt.Errorf("the CRL of %s in %s is out of date", issuer.Subject, s.path)
	}
	return fmt.Errorf("no CRL of %s in %s", issuer.Subject, s.path)
}
