package certs

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ocsp"
)

// A staple is an OCSP response.
type staple struct {
	path     string
	raw      []byte
	response *ocsp.Response // parsed; its signature is verified when it is put to a certificate
}

func loadStaple(paths []string, data [][]byte) (any, error) {
	r, err := ocsp.ParseResponse(data[0], nil)
	if err != nil {
		return nil, fmt.Errorf("%s: no OCSP response in DER: %w", paths[0], err)
	}
	return &staple{paths[0], data[0], r}, nil
}

// fits returns why the staple says nothing good of the certificate of p, or nil.
func (s *staple) fits(p *pair) error {
	r := s.response
	if r.SerialNumber.Cmp(p.leaf.SerialNumber) != 0 {
		return fmt.Errorf("%s: the OCSP response is for serial %x, not for %x of %s", s.path, r.SerialNumber, p.leaf.SerialNumber, p.paths[0])
	}
	if len(p.chain) > 1 { // the issuer is at hand
		if _, err := ocsp.ParseResponseForCert(s.raw, p.leaf, p.chain[1]); err != nil {
			return fmt.Errorf("%s: OCSP response for %s: %w", s.path, p.paths[0], err)
		}
	}
	switch r.Status {
	case ocsp.Good:
		return nil
	case ocsp.Revoked:
		return fmt.Errorf("%s: the OCSP response says that %s was revoked at %v", s.path, p.paths[0], r.RevokedAt)
	}
	return fmt.Errorf("%s: the OCSP responder does not know %s", s.path, p.paths[0])
}

// isCurrent reports whether the staple may be sent now.
func (s *staple) isCurrent(now time.Time) bool {
	r := s.response
	return !now.Before(r.ThisUpdate) && (r.NextUpdate.IsZero() || now.Before(r.NextUpdate))
}

// staplePolicy is ocsp_staple_policy.
type staplePolicy uint8

const (
	stapleLenient staplePolicy = iota
	stapleStrict
	stapleMust
)

var staplePolicies = map[string]staplePolicy{
	"": stapleLenient, "lenient_stapling": stapleLenient, "strict_stapling": stapleStrict, "must_staple": stapleMust,
}

// A stapleAction is what becomes of a certificate for one client.
type stapleAction uint8

const (
	stapleOmit stapleAction = iota // presented without
	stapleSend
	stapleFail // not presented
)

// act applies the policy. A client that does not ask for a staple gets none, whatever the policy.
func (x *index) act(e *entry, wanted bool) stapleAction {
	if !wanted {
		return stapleOmit
	}
	policy := x.policy
	if e.demanded {
		policy = stapleMust
	}
	switch {
	case e.stapled != nil && e.staple.isCurrent(x.now()):
		return stapleSend
	case policy == stapleMust, policy == stapleStrict && e.stapled != nil:
		return stapleFail
	}
	return stapleOmit
}

var errNoStaple = errors.New("certs: ocsp_staple_policy leaves no certificate to present")

// stapleCounts count the clients of a context by what they asked and got.
type stapleCounts struct{ requests, responses, omitted, failed atomic.Uint64 }

var (
	oidTLSFeature = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}
)

// demandsStaple reports whether a certificate has the TLS feature status_request (RFC 7633), called must-staple.
func demandsStaple(c *x509.Certificate) bool {
	for _, e := range c.Extensions {
		if !e.Id.Equal(oidTLSFeature) {
			continue
		}
		var features []int
		if _, err := asn1.Unmarshal(e.Value, &features); err != nil {
			return false
		}
		for _, f := range features {
			if f == extensionStatusRequest {
				return true
			}
		}
	}
	return false
}
