package record

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/sha512"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"
)

// Versions of TLS, as on the wire.
const (
	VersionTLS12 = 0x0303
	VersionTLS13 = 0x0304
)

const (
	nonceLen    = 12
	explicitLen = 8 // the part of a nonce that stands in each record: AES-GCM of TLS 1.2
	tagLen      = 16
)

// A suite is what a cipher suite means for records. The key exchange is over.
type suite struct {
	id       uint16
	version  uint16
	keyLen   uint8
	explicit bool // the nonce is a salt of four bytes and eight that stand in the record; else iv XOR sequence number
	sha384   bool // the hash of the key derivation
	chacha   bool
}

// suites are the suites with an AEAD. Half.suite is an index into it.
var suites = [...]suite{
	{0x1301, VersionTLS13, 16, false, false, false}, // TLS_AES_128_GCM_SHA256
	{0x1302, VersionTLS13, 32, false, true, false},  // TLS_AES_256_GCM_SHA384
	{0x1303, VersionTLS13, 32, false, false, true},  // TLS_CHACHA20_POLY1305_SHA256
	{0xc02b, VersionTLS12, 16, true, false, false},  // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
	{0xc02c, VersionTLS12, 32, true, true, false},   // TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
	{0xc02f, VersionTLS12, 16, true, false, false},  // TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
	{0xc030, VersionTLS12, 32, true, true, false},   // TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
	{0xcca8, VersionTLS12, 32, false, false, true},  // TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
	{0xcca9, VersionTLS12, 32, false, false, true},  // TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
	{0x009c, VersionTLS12, 16, true, false, false},  // TLS_RSA_WITH_AES_128_GCM_SHA256
	{0x009d, VersionTLS12, 32, true, true, false},   // TLS_RSA_WITH_AES_256_GCM_SHA384
}

// Supported reports whether New knows the cipher suite with the given number in the given version.
func Supported(version, id uint16) bool {
	_, ok := findSuite(version, id)
	return ok
}

func findSuite(version, id uint16) (index uint8, ok bool) {
	for i := range suites {
		if suites[i].id == id && suites[i].version == version {
			return uint8(i), true
		}
	}
	return 0, false
}

func (s *suite) hash() func() hash.Hash {
	if s.sha384 {
		return sha512.New384
	}
	return sha256.New
}

// hashLen is the length of a traffic secret.
func (s *suite) hashLen() int {
	if s.sha384 {
		return sha512.Size384
	}
	return sha256.Size
}

// ivLen is how much of a nonce the key derivation gives.
func (s *suite) ivLen() int {
	if s.explicit {
		return nonceLen - explicitLen
	}
	return nonceLen
}

func (s *suite) aead(key []byte) (cipher.AEAD, error) {
	if s.chacha {
		return chacha20poly1305.New(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
