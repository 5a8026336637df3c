package certs

import (
	"crypto/sha256"
	"crypto/x509"
)

// caCertsMax bounds the certificates of a bundle.
const caCertsMax = 10_000

// A caBundle is what one CA file holds. It is immutable.
type caBundle struct {
	path  string
	certs []*x509.Certificate
	pool  *x509.CertPool
	sum   [sha256.Size]byte
}

func loadCABundle(paths []string, data [][]byte) (any, error) {
	certs, err := parseCerts(paths[0], data[0], caCertsMax)
	if err != nil {
		return nil, err
	}
	b := &caBundle{path: paths[0], certs: certs, pool: x509.NewCertPool()}
	h := sha256.New()
	for _, c := range certs {
		b.pool.AddCert(c)
		h.Write(c.Raw)
	}
	b.sum = [sha256.Size]byte(h.Sum(nil))
	return b, nil
}
