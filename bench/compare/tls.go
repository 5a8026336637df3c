package compare

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"time"
)

// The files of WriteCertificate. HAProxy wants both in one.
const (
	certFile = "bench.crt"
	keyFile  = "bench.key"
	bothFile = "bench.pem"
)

// tlsSuite is what all peers encrypt with: left alone some prefer 256 bits, which cost more.
const tlsSuite = "TLS_AES_128_GCM_SHA256"

// WriteCertificate writes an ECDSA P-256 certificate of its own authority, and its key.
func WriteCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "localhost"},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
	for name, text := range map[string]string{certFile: string(cert), keyFile: string(private), bothFile: string(cert) + string(private)} {
		if err := replaceFile(filepath.Join(dir, name), text); err != nil {
			return err
		}
	}
	return nil
}

// millraceTLS is the tls of the listener.
func millraceTLS(s Site) string {
	if !s.TLS {
		return ""
	}
	return fmt.Sprintf(`, "tls": {"certificates": [{"cert_file": %q, "key_file": %q}], "alpn": ["h2", "http/1.1"]}`,
		filepath.Join(s.Dir, certFile), filepath.Join(s.Dir, keyFile))
}

// nginxTLS keeps sessions in tickets, as the others do.
func nginxTLS(s Site) string {
	if !s.TLS {
		return ""
	}
	return fmt.Sprintf(`    ssl_certificate %s;
    ssl_certificate_key %s;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_conf_command Ciphersuites %s;
    ssl_session_timeout 1d;
`, filepath.Join(s.Dir, certFile), filepath.Join(s.Dir, keyFile), tlsSuite)
}

func haproxyTLS(s Site) string {
	if !s.TLS {
		return ""
	}
	return "    ssl-default-bind-ciphersuites " + tlsSuite + "\n    ssl-default-bind-options ssl-min-ver TLSv1.2\n"
}

func haproxyBind(s Site) string {
	switch {
	case s.TLS:
		return " ssl crt " + filepath.Join(s.Dir, bothFile) + " alpn h2,http/1.1"
	case s.H2:
		return " proto h2"
	}
	return ""
}

func scheme(s Site) string {
	if s.TLS {
		return "https"
	}
	return "http"
}
