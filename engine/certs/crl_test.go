package certs

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"
)

// revocationList returns a CRL of a in DER; change may alter it before.
func revocationList(t *testing.T, a *authority, change func(*x509.RevocationList)) []byte {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	if change != nil {
		change(list)
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestLoadCRLs(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "root")
	critical := func(id asn1.ObjectIdentifier) []pkix.Extension {
		return []pkix.Extension{{Id: id, Critical: true, Value: []byte{5, 0}}}
	}
	good := revocationList(t, ca, nil)
	// A delta CRL lists only what is new, one with an issuing distribution point may leave certificates out.
	delta := revocationList(t, ca, func(l *x509.RevocationList) { l.ExtraExtensions = critical(asn1.ObjectIdentifier{2, 5, 29, 27}) })
	indirect := revocationList(t, ca, func(l *x509.RevocationList) {
		l.RevokedCertificateEntries = []x509.RevocationListEntry{{
			SerialNumber: big.NewInt(1), RevocationTime: time.Now(), ExtraExtensions: critical(asn1.ObjectIdentifier{2, 5, 29, 29}),
		}}
	})
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"PEM", pemText("X509 CRL", good), ""},
		{"DER", good, ""},
		{"two", append(pemText("X509 CRL", good), pemText("X509 CRL", good)...), ""},
		{"delta", pemText("X509 CRL", delta), "CRL 1 has the critical extension 2.5.29.27, which is not supported"},
		{"indirect", pemText("X509 CRL", indirect), "CRL 1, entry 1 has the critical extension 2.5.29.29, which is not supported"},
		{"second is bad", append(pemText("X509 CRL", good), pemText("X509 CRL", []byte{1})...), "CRL 2: "},
		{"certificate", pemText("CERTIFICATE", ca.cert.Raw), `PEM block "CERTIFICATE"; want "X509 CRL"`},
		{"junk", []byte("junk"), "no CRL in the file; want PEM"},
		{"broken DER", good[:20], "CRL 1: "},
	} {
		_, err := loadCRLs([]string{"a.crl"}, [][]byte{tt.data})
		if got := errorText(err); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) || got != "" && !strings.HasPrefix(got, "a.crl: ") {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestCRLCheck(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "root")
	forger := newAuthority(t, "root") // the same name, another key
	c := ca.issue(t.TempDir(), "a", "ecdsa", nil, nil).cert
	revoke := func(l *x509.RevocationList) {
		l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: c.SerialNumber, RevocationTime: time.Now()}}
	}
	old := func(l *x509.RevocationList) { l.NextUpdate = time.Now().Add(-time.Minute) }
	early := func(l *x509.RevocationList) {
		l.ThisUpdate, l.NextUpdate = time.Now().Add(time.Minute), time.Now().Add(time.Hour)
	}
	for _, tt := range []struct {
		name  string
		lists [][]byte
		want  string
	}{
		{"good", [][]byte{revocationList(t, ca, nil)}, ""},
		{"revoked", [][]byte{revocationList(t, ca, revoke)}, "the certificate is revoked"},
		{"revoked by one of two", [][]byte{revocationList(t, ca, nil), revocationList(t, ca, revoke)}, "the certificate is revoked"},
		{"revoked in an old list", [][]byte{revocationList(t, ca, nil), revocationList(t, ca, func(l *x509.RevocationList) { revoke(l); old(l) })}, "the certificate is revoked"},
		{"old", [][]byte{revocationList(t, ca, old)}, "is out of date"},
		{"not yet", [][]byte{revocationList(t, ca, early)}, "is out of date"},
		{"old and new", [][]byte{revocationList(t, ca, old), revocationList(t, ca, nil)}, ""},
		{"forged", [][]byte{revocationList(t, forger, nil)}, "no CRL of CN=root"},
		{"forged revocation", [][]byte{revocationList(t, ca, nil), revocationList(t, forger, revoke)}, ""},
	} {
		set := &crlSet{"a.crl", map[string][]*crl{}}
		for i, der := range tt.lists {
			if err := set.add(der, i+1); err != nil {
				t.Fatal(err)
			}
		}
		err := set.check(c, ca.cert, time.Now())
		if got := errorText(err); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if errors.Is(err, errRevoked) != strings.Contains(tt.want, "revoked") {
			t.Errorf("%s: %v is errRevoked: %t", tt.name, err, errors.Is(err, errRevoked))
		}
	}
}
