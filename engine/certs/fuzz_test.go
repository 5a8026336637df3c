package certs

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"testing"
	"time"
)

// FuzzFiles: whatever a file holds, it is loaded or refused with its name in the error.
func FuzzFiles(f *testing.F) {
	ca := newAuthority(f, "root")
	dir := f.TempDir()
	c := ca.issue(dir, "a", "ecdsa", []string{"a.example"}, nil)
	key, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		f.Fatal(err)
	}
	crl, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(7), RevocationTime: time.Now()}},
	}, ca.cert, ca.key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint8(kindPair), append(c.chainPEM(), pemText("PRIVATE KEY", key)...))
	f.Add(uint8(kindCA), pemText("CERTIFICATE", ca.cert.Raw))
	f.Add(uint8(kindCRL), pemText("X509 CRL", crl))
	f.Add(uint8(kindCRL), crl)
	f.Add(uint8(kindStaple), []byte{0x30, 0x03, 0x0a, 0x01, 0x00})
	f.Add(uint8(kindTickets), make([]byte, ticketKeyBytes))
	f.Fuzz(func(t *testing.T, k uint8, data []byte) {
		kind := kind(k) % (kindTickets + 1)
		paths, texts := []string{"file.pem"}, [][]byte{data}
		if kind == kindPair {
			paths, texts = append(paths, "file.pem"), append(texts, data)
		}
		v, err := kinds[kind].load(paths, texts)
		if err != nil {
			if !bytes.Contains([]byte(err.Error()), []byte("file.pem")) {
				t.Errorf("error %q does not name the file", err)
			}
			return
		}
		if set, ok := v.(*crlSet); ok {
			set.check(c.cert, ca.cert, time.Now())
			set.end()
		}
		if p, ok := v.(*pair); ok {
			p.serverNames()
		}
	})
}

// FuzzTicket: a ticket that was not made by the context resumes nothing.
func FuzzTicket(f *testing.F) {
	c := &tls.Config{}
	c.SetSessionTicketKeys([][32]byte{{1}})
	limitSessions(c, time.Hour, time.Now)
	f.Add(make([]byte, 120))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, ticket []byte) {
		if ss, err := c.UnwrapSession(ticket, tls.ConnectionState{}); ss != nil {
			t.Errorf("UnwrapSession(%x) = %v, %v", ticket, ss, err)
		}
	})
}

// FuzzCertificateName: the choice of a certificate stands any name.
func FuzzCertificateName(f *testing.F) {
	c := newAuthority(f, "root").issue(f.TempDir(), "a", "ecdsa", []string{"a.example", "*.a.example"}, nil)
	x := newServer(f, &DownstreamConfig{Certificates: []CertificateConfig{c.CertificateConfig}})
	for _, s := range []string{"", ".", "..", "a.", ".a", "a.example.", "\x00", "A.A.EXAMPLE"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if c, err := x.TLS().GetCertificate(&tls.ClientHelloInfo{ServerName: name}); c == nil || err != nil {
			t.Errorf("GetCertificate(%q) = %v, %v", name, c, err)
		}
	})
}
