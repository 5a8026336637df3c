package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"
)

// Types of records, RFC 8446 section 5.1.
const (
	recordAlert     = 21
	recordHandshake = 22
	recordData      = 23
	recordHead      = 5
	keyBytes        = 16 // of AES-128-GCM, the suite of the attackers
	nonceBytes      = 12
)

// A sealer makes the records of a client, whatever is in them, after a handshake of crypto/tls.
type sealer struct {
	secret []byte // of TLS 1.3, which changes with KeyUpdate; nil in TLS 1.2
	aead   cipher.AEAD
	iv     []byte // 12 bytes, or the 4 that are not sent in TLS 1.2
	seq    uint64
}

// handshake makes one of a version and returns what seals the records after it.
func (a *attacker) handshake(version uint16) (*sealer, error) {
	_ = a.SetDeadline(time.Now().Add(dialWait))
	var log bytes.Buffer
	l := &listenedTo{Conn: a.Conn}
	c := tls.Client(l, &tls.Config{
		InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, KeyLogWriter: &log,
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
	})
	if err := c.HandshakeContext(a.ctx); err != nil {
		return nil, a.left("no handshake", err)
	}
	_ = a.SetDeadline(time.Time{})
	label := "CLIENT_TRAFFIC_SECRET_0"
	if version == tls.VersionTLS12 {
		label = "CLIENT_RANDOM"
	}
	for line := range bytes.Lines(log.Bytes()) {
		var name, random, secret string
		if _, err := fmt.Sscan(string(line), &name, &random, &secret); err != nil || name != label {
			continue
		}
		key, err := hex.DecodeString(secret)
		if err != nil {
			return nil, err
		}
		if version == tls.VersionTLS13 {
			if suite := c.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
				return nil, fmt.Errorf("the target chose %s", tls.CipherSuiteName(suite))
			}
			return newSealer13(key)
		}
		client, err := hex.DecodeString(random)
		if err != nil {
			return nil, err
		}
		const at = recordHead + 4 + 2 // of the random in ServerHello
		return newSealer12(key, append(bytes.Clone(l.read[at:at+32]), client...))
	}
	return nil, fmt.Errorf("no %s", label)
}

// newSealer13 derives keys from a traffic secret. RFC 8446 section 7.3
func newSealer13(secret []byte) (*sealer, error) {
	key, err := expandLabel(secret, "key", keyBytes)
	if err != nil {
		return nil, err
	}
	iv, err := expandLabel(secret, "iv", nonceBytes)
	if err != nil {
		return nil, err
	}
	aead, err := newGCM(key)
	return &sealer{secret: secret, aead: aead, iv: iv}, err
}

func expandLabel(secret []byte, label string, n int) ([]byte, error) {
	label = "tls13 " + label
	info := append([]byte{byte(n >> 8), byte(n), byte(len(label))}, label...)
	return hkdf.Expand(sha256.New, secret, string(append(info, 0)), n)
}

// newSealer12 derives keys from a master secret. RFC 5246 section 6.3, RFC 5288
func newSealer12(master, randoms []byte) (*sealer, error) {
	seed := append([]byte("key expansion"), randoms...)
	sum := func(b ...[]byte) []byte {
		m := hmac.New(sha256.New, master)
		_, _ = m.Write(bytes.Join(b, nil))
		return m.Sum(nil)
	}
	var block []byte
	for at := sum(seed); len(block) < 2*keyBytes+8; at = sum(at) {
		block = append(block, sum(at, seed)...)
	}
	aead, err := newGCM(block[:keyBytes])
	return &sealer{aead: aead, iv: block[2*keyBytes:][:4], seq: 1}, err // Finished was the first
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// appendRecord seals a record.
func (s *sealer) appendRecord(dst []byte, typ byte, content []byte) []byte {
	var seq [8]byte
	binary.BigEndian.PutUint64(seq[:], s.seq)
	s.seq++
	if s.secret == nil {
		n := len(content) + len(seq) + s.aead.Overhead()
		aad := append(seq[:], typ, 3, 3, byte(len(content)>>8), byte(len(content)))
		dst = append(dst, typ, 3, 3, byte(n>>8), byte(n))
		dst = append(dst, seq[:]...)
		return s.aead.Seal(dst, append(bytes.Clone(s.iv), seq[:]...), content, aad)
	}
	nonce := bytes.Clone(s.iv)
	for i, b := range seq {
		nonce[nonceBytes-len(seq)+i] ^= b
	}
	n := len(content) + 1 + s.aead.Overhead()
	head := []byte{recordData, 3, 3, byte(n >> 8), byte(n)}
	return s.aead.Seal(append(dst, head...), nonce, append(bytes.Clone(content), typ), head)
}

// appendKeyUpdate changes the keys, and wants new ones of the peer. RFC 8446 section 4.6.3
func (s *sealer) appendKeyUpdate(dst []byte) ([]byte, error) {
	dst = s.appendRecord(dst, recordHandshake, []byte{24, 0, 0, 1, 1})
	next, err := expandLabel(s.secret, "traffic upd", sha256.Size)
	if err != nil {
		return dst, err
	}
	fresh, err := newSealer13(next)
	if err == nil {
		*s = *fresh
	}
	return dst, err
}

// sealed repeats what next makes with a sealer, after a handshake of a version.
func sealed(version uint16, next func(s *sealer, dst []byte) []byte) func(a *attacker) error {
	return func(a *attacker) error {
		s, err := a.handshake(version)
		if err != nil {
			return err
		}
		go a.discard()
		var b []byte
		return a.repeat(func() []byte {
			b = b[:0]
			for range piecesPerWrite {
				b = next(s, b)
			}
			return b
		})
	}
}

// keyUpdates changes the keys without end.
func keyUpdates(a *attacker) error {
	return sealed(tls.VersionTLS13, func(s *sealer, dst []byte) []byte {
		dst, err := s.appendKeyUpdate(dst)
		if err != nil {
			a.tally.wrong("KeyUpdate: %v", err)
		}
		return dst
	})(a)
}

// emptyRecords speaks either version, by turns.
func emptyRecords(a *attacker) error {
	version := uint16(tls.VersionTLS12 + a.index%2)
	return sealed(version, func(s *sealer, dst []byte) []byte { return s.appendRecord(dst, recordData, nil) })(a)
}

// largeRecords says it has more than a record may have, or really has.
func largeRecords(a *attacker) error {
	large := make([]byte, 1<<14+1)
	return sealed(uint16(tls.VersionTLS12+a.index%2), func(s *sealer, dst []byte) []byte {
		if a.index%4 < 2 {
			return append(append(dst, recordData, 3, 3, 0xff, 0xff), large...)
		}
		return s.appendRecord(dst, recordData, large)
	})(a)
}

// warnings sends alerts that end nothing: user_canceled. RFC 5246 section 7.2
func warnings(a *attacker) error {
	return sealed(tls.VersionTLS12, func(s *sealer, dst []byte) []byte { return s.appendRecord(dst, recordAlert, []byte{1, 90}) })(a)
}

// renegotiations wants another handshake on a connection that has had one.
func renegotiations(a *attacker) error {
	hello := clientHello()[recordHead:]
	return sealed(tls.VersionTLS12, func(s *sealer, dst []byte) []byte { return s.appendRecord(dst, recordHandshake, hello) })(a)
}

// garbage sends records under a key that nobody has.
func garbage(a *attacker) error {
	return sealed(uint16(tls.VersionTLS12+a.index%2), func(_ *sealer, dst []byte) []byte {
		return append(append(dst, recordData, 3, 3, 0, 64), make([]byte, 64)...)
	})(a)
}
