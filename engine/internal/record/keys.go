package record

import (
	"crypto/hkdf"
	"crypto/hmac"
	"errors"
	"fmt"
)

// Params are what an established connection goes on from. They are plain data, and secret.
type Params struct {
	Version uint16 // VersionTLS12 or VersionTLS13
	Suite   uint16
	Client  bool // this side is the client

	// In and Out are the application traffic secrets of what the peer sends and of what this side sends. TLS 1.3 only.
	In, Out []byte
	// TLS 1.2 only.
	Master, ClientRandom, ServerRandom []byte

	// InSeq and OutSeq are the sequence numbers of the next records: how many were opened and sealed with these keys
	// before. With TLS 1.2 each Finished was one; with TLS 1.3 a server may have sent tickets: see Conn.CountWritten.
	InSeq, OutSeq uint64
}

// Keys are the keys of one direction.
type Keys struct {
	Key []byte
	IV  []byte // 12 bytes, or the salt of 4 with AES-GCM of TLS 1.2
}

var (
	errSuite  = errors.New("record: no such cipher suite in this version")
	errSecret = errors.New("record: secrets of the wrong length")
)

// Keys derives the keys of both directions.
func (p *Params) Keys() (in, out Keys, err error) {
	i, ok := findSuite(p.Version, p.Suite)
	if !ok {
		return in, out, errSuite
	}
	s := &suites[i]
	if p.Version == VersionTLS12 {
		return p.keys12(s)
	}
	if in, err = s.keys13(p.In); err == nil {
		out, err = s.keys13(p.Out)
	}
	return in, out, err
}

// keys13 derives the keys of a traffic secret. RFC 8446 section 7.3
func (s *suite) keys13(secret []byte) (k Keys, err error) {
	if len(secret) != s.hashLen() {
		return k, errSecret
	}
	if k.Key, err = s.expandLabel(secret, "key", int(s.keyLen)); err == nil {
		k.IV, err = s.expandLabel(secret, "iv", nonceLen)
	}
	return k, err
}

// expandLabel is HKDF-Expand-Label without a context. RFC 8446 section 7.1
func (s *suite) expandLabel(secret []byte, label string, n int) ([]byte, error) {
	info := make([]byte, 0, 32)
	info = append(info, byte(n>>8), byte(n), byte(len("tls13 ")+len(label)))
	info = append(info, "tls13 "...)
	info = append(info, label...)
	info = append(info, 0)
	b, err := hkdf.Expand(s.hash(), secret, string(info), n)
	if err != nil {
		return nil, fmt.Errorf("record: deriving %q: %w", label, err)
	}
	return b, nil
}

const (
	masterLen = 48
	randomLen = 32
)

// keys12 cuts the key block of TLS 1.2: no MAC keys with an AEAD, then the client's key and the server's, then
// their IVs. RFC 5246 section 6.3
func (p *Params) keys12(s *suite) (in, out Keys, err error) {
	if len(p.Master) != masterLen || len(p.ClientRandom) != randomLen || len(p.ServerRandom) != randomLen {
		return in, out, errSecret
	}
	k, iv := int(s.keyLen), s.ivLen()
	b := s.prf(p.Master, 2*(k+iv), []byte("key expansion"), p.ServerRandom, p.ClientRandom)
	client := Keys{Key: b[:k:k], IV: b[2*k : 2*k+iv : 2*k+iv]}
	server := Keys{Key: b[k : 2*k : 2*k], IV: b[2*k+iv:]}
	if p.Client {
		return server, client, nil
	}
	return client, server, nil
}

// prf is the pseudorandom function of TLS 1.2, n bytes of it. RFC 5246 section 5
func (s *suite) prf(secret []byte, n int, seed ...[]byte) []byte {
	mac := hmac.New(s.hash(), secret)
	writeSeed := func() {
		for _, x := range seed {
			mac.Write(x)
		}
	}
	writeSeed()
	a := mac.Sum(nil)
	var out []byte
	for len(out) < n {
		mac.Reset()
		mac.Write(a)
		writeSeed()
		out = mac.Sum(out)
		mac.Reset()
		mac.Write(a)
		a = mac.Sum(a[:0])
	}
	return out[:n]
}
