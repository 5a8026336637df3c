package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// A pair is a certificate, its intermediate CAs and its key. It is immutable.
type pair struct {
	paths []string // cert_file, key_file
	cert  tls.Certificate
	leaf  *x509.Certificate
	chain []*x509.Certificate // leaf first
	sum   [sha256.Size]byte   // of the leaf
}

// publicKey is what every public key of the standard library can do.
type publicKey interface{ Equal(crypto.PublicKey) bool }

// loadPair parses a certificate chain and its key and holds them together.
func loadPair(paths []string, data [][]byte) (any, error) {
	certPath, keyPath := paths[0], paths[1]
	chain, err := parseCerts(certPath, data[0], chainCertsMax)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(keyPath, data[1])
	if err != nil {
		return nil, err
	}
	leaf := chain[0]
	if !leaf.PublicKey.(publicKey).Equal(key.Public()) {
		return nil, fmt.Errorf("%s: the key is not that of the certificate in %s (%s)", keyPath, certPath, foreignKey(chain, key))
	}
	p := &pair{paths: paths, leaf: leaf, chain: chain, sum: sha256.Sum256(leaf.Raw)}
	p.cert = tls.Certificate{PrivateKey: key, Leaf: leaf}
	for _, c := range chain {
		p.cert.Certificate = append(p.cert.Certificate, c.Raw)
	}
	return p, nil
}

// foreignKey says what a key that does not fit is.
func foreignKey(chain []*x509.Certificate, key crypto.Signer) string {
	for i, c := range chain[1:] {
		if k, ok := c.PublicKey.(publicKey); ok && k.Equal(key.Public()) {
			return fmt.Sprintf("it is that of certificate %d of the file: put the server's own first", i+2)
		}
	}
	return fmt.Sprintf("certificate: %s, key: %s", keyName(chain[0].PublicKey), keyName(key.Public()))
}

// keyName names a kind of public key for a person.
func keyName(key crypto.PublicKey) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d bits", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return fmt.Sprintf("%T", key)
}

// parseCerts parses a PEM file of 1 to most certificates.
func parseCerts(path string, data []byte, most int) (list []*x509.Certificate, err error) {
	other := ""
	for rest := data; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" && b.Type != "TRUSTED CERTIFICATE" {
			other = b.Type
			continue
		}
		if len(list) == most {
			return nil, fmt.Errorf("%s: more than %d certificates", path, most)
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %d: %w", path, len(list)+1, err)
		}
		list = append(list, c)
	}
	switch {
	case len(list) > 0:
		return list, nil
	case other != "":
		return nil, fmt.Errorf("%s: no certificate in the file, only a PEM block %q; are the files mixed up?", path, other)
	case isDER(data):
		return nil, fmt.Errorf("%s: DER in place of PEM; convert it: openssl x509 -inform der -in %s -out cert.pem", path, path)
	}
	return nil, fmt.Errorf("%s: no certificate in the file; want PEM, which begins with -----BEGIN CERTIFICATE-----", path)
}

// isDER reports whether data begins like an ASN.1 SEQUENCE of 128 bytes or more.
func isDER(data []byte) bool { return len(data) > 1 && data[0] == 0x30 && data[1] > 0x80 }

// parseKey parses the private key of a PEM file.
func parseKey(path string, data []byte) (crypto.Signer, error) {
	other := ""
	for rest := data; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		switch {
		case b.Type == "ENCRYPTED PRIVATE KEY" || b.Headers["DEK-Info"] != "":
			return nil, fmt.Errorf("%s: the key is encrypted; write it without a password, readable by this process alone: openssl pkey -in %s -out key.pem", path, path)
		case b.Type == "PRIVATE KEY", b.Type == "RSA PRIVATE KEY", b.Type == "EC PRIVATE KEY":
			key, err := parseKeyBlock(b)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			return key, nil
		}
		if b.Type != "EC PARAMETERS" || other == "" {
			other = b.Type
		}
	}
	switch {
	case other != "":
		return nil, fmt.Errorf("%s: no private key in the file, only a PEM block %q; are the files mixed up?", path, other)
	case isDER(data):
		return nil, fmt.Errorf("%s: DER in place of PEM; convert it: openssl pkey -inform der -in %s -out key.pem", path, path)
	}
	return nil, fmt.Errorf("%s: no private key in the file; want PEM, which begins with -----BEGIN PRIVATE KEY-----", path)
}

// rsaBitsMin is the smallest RSA key used. Smaller ones are broken, and crypto/tls refuses them.
const rsaBitsMin = 1024

func parseKeyBlock(b *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch b.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(b.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
	}
	if err != nil {
		return nil, fmt.Errorf("PEM block %q: %w", b.Type, err)
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if n := k.N.BitLen(); n < rsaBitsMin {
			return nil, fmt.Errorf("RSA key of %d bits; want at least 2048", n)
		}
		return k, nil
	case *ecdsa.PrivateKey:
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	}
	return nil, errors.New("want an RSA, ECDSA or Ed25519 key")
}
