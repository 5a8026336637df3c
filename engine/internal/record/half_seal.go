package record

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
)

var (
	// ErrKeyUsedUp tells that a key has sealed as much as it may.
	ErrKeyUsedUp = errors.New("record: the key has sealed as much as it may")
	errTooLong   = errors.New("record: more data than a record holds")
)

// Seal appends one record with the given data, at most MaxPlaintext bytes, to dst. They must not overlap.
func (h *Half) Seal(dst []byte, typ ContentType, data []byte) ([]byte, error) {
	at, n := len(dst), len(data)
	size := int(h.prefix) + n + int(h.suffix)
	dst = slices.Grow(dst, size)[:at+size]
	copy(dst[at+int(h.prefix):], data)
	if _, err := h.SealInPlace(dst[at:], typ, n); err != nil {
		return dst[:at], err
	}
	return dst, nil
}

// SealInPlace makes a record of the n bytes at buf[Prefix():] and returns its length, Prefix()+n+Suffix(),
// which buf has room for.
func (h *Half) SealInPlace(buf []byte, typ ContentType, n int) (size int, err error) {
	at := int(h.prefix)
	size = at + n + int(h.suffix)
	if n > MaxPlaintext {
		return 0, errTooLong
	}
	if len(buf) < size {
		return 0, io.ErrShortBuffer
	}
	if err := h.spend(n); err != nil {
		return 0, err
	}
	if h.aead == nil {
		h.wake()
	}
	buf[1], buf[2] = 3, 3
	buf[3], buf[4] = byte((size-HeaderLen)>>8), byte(size-HeaderLen)
	if h.tls13 {
		buf[0] = byte(TypeApplicationData)
		buf[at+n] = byte(typ)
		h.mask()
		h.aead.Seal(buf[at:at], h.iv[:], buf[at:at+n+1], buf[:HeaderLen])
		h.mask()
		h.seq++
		return size, nil
	}
	buf[0] = byte(typ)
	h.seal12(buf, typ, n)
	h.seq++
	return size, nil
}

// seal12 seals a record of TLS 1.2. The explicit nonce is the sequence number, which never comes twice.
func (h *Half) seal12(buf []byte, typ ContentType, n int) {
	at := int(h.prefix)
	if at > HeaderLen {
		binary.BigEndian.PutUint64(buf[HeaderLen:], h.seq)
		binary.BigEndian.PutUint64(h.iv[nonceLen-explicitLen:], h.seq)
		h.aead.Seal(buf[at:at], h.iv[:], buf[at:at+n], h.additional(typ, n))
		return
	}
	h.mask()
	h.aead.Seal(buf[at:at], h.iv[:], buf[at:at+n], h.additional(typ, n))
	h.mask()
}

// spend counts a record with n bytes of data against the limits of its key.
func (h *Half) spend(n int) error {
	if h.seq == math.MaxUint64 || h.tls13 && h.seq >= sealRecordsMax {
		return ErrKeyUsedUp
	}
	if h.tls13 || suites[h.suite].chacha {
		return nil
	}
	sealed := h.sealedBytes() + uint64(n)
	if sealed > SealedBytesMax {
		return ErrKeyUsedUp
	}
	binary.LittleEndian.PutUint64(h.keep[sealedAt:], sealed)
	return nil
}

// sealedBytes returns how much data a key of TLS 1.2 has sealed.
func (h *Half) sealedBytes() uint64 { return binary.LittleEndian.Uint64(h.keep[sealedAt:]) }
