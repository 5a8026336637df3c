package record

import (
	"crypto/cipher"
	"encoding/binary"
	"io"
	"math"
)

// A ContentType says what a record carries.
type ContentType uint8

// The content types. RFC 8446 section 5.1
const (
	TypeChangeCipherSpec ContentType = 20
	TypeAlert            ContentType = 21
	TypeHandshake        ContentType = 22
	TypeApplicationData  ContentType = 23
)

const (
	// HeaderLen is the length of a record's header.
	HeaderLen = 5
	// MaxPlaintext is the most data in one record.
	MaxPlaintext = 1 << 14
	// RecordLenMax is the length of the longest record, its header included: with TLS 1.2.
	RecordLenMax = HeaderLen + MaxPlaintext + expansionMax12

	// "An AEAD algorithm used in TLS 1.3 MUST NOT produce an expansion greater than 255 octets." and one for the type.
	// RFC 8446 section 5.2
	expansionMax13 = 256
	expansionMax12 = 2048
	// PrefixMax and SuffixMax bound what sealing puts before and behind the data.
	PrefixMax = HeaderLen + explicitLen
	SuffixMax = 1 + tagLen
)

const (
	// RekeyRecords is after how many records TLS 1.3 takes the next key. AES-GCM would allow 2^24.5 records of full size.
	RekeyRecords = 1 << 23
	// sealRecordsMax is that bound: "up to 2^24.5 full-size records (about 24 million) may be encrypted on a
	// given connection". RFC 8446 section 5.5
	sealRecordsMax = 23_726_566
	// SealedBytesMax is how much data TLS 1.2 seals with AES-GCM, which has no next key: fewer than 2^24.5
	// records of full size. Smaller records do not count as full ones: they would end a connection that has
	// done little.
	SealedBytesMax = 1 << 38
)

// A Half seals or opens the records of one direction.
//
// Hot path: BenchmarkOpen, BenchmarkSeal. The nonce and the additional data stand in fields, because what is passed
// to an AEAD through its interface escapes.
type Half struct {
	aead cipher.AEAD // nil while it rests: see Conn.Rest
	seq  uint64      // of the next record
	iv   [nonceLen]byte

	suite  uint8 // index into suites
	tls13  bool
	prefix uint8 // bytes of a record before its ciphertext
	suffix uint8 // and what sealing puts behind the data

	// keep is the traffic secret of TLS 1.3. TLS 1.2 keeps none, and uses the place: 13 bytes of additional data, from
	// sealedAt on the number of bytes that were sealed, and from keyAt on the key.
	keep [56]byte
}

const (
	sealedAt = 16
	keyAt    = 24
)

// init makes h ready for the record with number seq. secret is that of TLS 1.3.
func (h *Half) init(index uint8, k Keys, secret []byte, seq uint64) error {
	s := &suites[index]
	aead, err := s.aead(k.Key)
	if err != nil {
		return err
	}
	*h = Half{aead: aead, seq: seq, suite: index, tls13: s.version == VersionTLS13, prefix: HeaderLen, suffix: tagLen}
	copy(h.iv[:], k.IV)
	copy(h.keep[:], secret)
	if !h.tls13 {
		copy(h.keep[keyAt:], k.Key)
	}
	if s.explicit {
		h.prefix += explicitLen
	}
	if h.tls13 {
		h.suffix++
	}
	return nil
}

// next takes the key of the next generation. RFC 8446 section 7.2
//
// Precondition: the version is TLS 1.3.
func (h *Half) next() error {
	s := &suites[h.suite]
	secret, err := s.expandLabel(h.keep[:s.hashLen()], "traffic upd", s.hashLen())
	if err != nil {
		return err
	}
	k, err := s.keys13(secret)
	if err != nil {
		return err
	}
	return h.init(h.suite, k, secret, 0)
}

// Seq returns the sequence number of the next record.
func (h *Half) Seq() uint64 { return h.seq }

// Prefix returns how many bytes stand before the data of a record: the header, and the explicit nonce with
// AES-GCM of TLS 1.2.
func (h *Half) Prefix() int { return int(h.prefix) }

// Suffix returns how many bytes stand behind the data of a record that Seal makes.
func (h *Half) Suffix() int { return int(h.suffix) }

// RecordLen returns the length of the record that b begins with, its header included, or 0 if b is shorter than
// a header.
func (h *Half) RecordLen(b []byte) (n int, err error) {
	n, end := h.recordLen(b)
	return n, end.err(0)
}

func (h *Half) recordLen(b []byte) (int, ending) {
	if len(b) < HeaderLen {
		return 0, endNone
	}
	if b[1] != 3 || b[2] != 3 { // TLS 1.3 as well: RFC 8446 section 5.1
		return 0, endVersion
	}
	n := int(b[3])<<8 | int(b[4])
	typ := ContentType(b[0])
	if h.tls13 {
		// "If an implementation detects a change_cipher_spec record received before the first ClientHello message or
		// after the peer's Finished message, it MUST be treated as an unexpected record type". RFC 8446 section 5
		if typ != TypeApplicationData {
			return 0, endType
		}
		if n > MaxPlaintext+expansionMax13 {
			return 0, endTooLong
		}
		return HeaderLen + n, endNone
	}
	if typ <= TypeChangeCipherSpec || typ > TypeApplicationData {
		return 0, endType
	}
	if n > MaxPlaintext+expansionMax12 {
		return 0, endTooLong
	}
	return HeaderLen + n, endNone
}

// room is how much of dst Open needs for a record of the given length: with TLS 1.3 the type and the padding too.
func (h *Half) room(size int) int { return max(0, size-int(h.prefix)-tagLen) }

// Open opens one whole record into dst, which must not overlap it and has room for what is encrypted: with TLS
// 1.3 one byte more than the data, and the padding. It returns the length of the data and their type.
// io.ErrShortBuffer changes nothing.
//
// Precondition: RecordLen(record) is len(record).
func (h *Half) Open(dst, record []byte) (n int, typ ContentType, err error) {
	if len(dst) < h.room(len(record)) {
		return 0, 0, io.ErrShortBuffer
	}
	n, typ, end := h.open(dst, record)
	return n, typ, end.err(0)
}

// OpenInPlace is Open with the data in the place of the ciphertext.
func (h *Half) OpenInPlace(record []byte) (data []byte, typ ContentType, err error) {
	data, typ, end := h.openInPlace(record)
	return data, typ, end.err(0)
}

func (h *Half) openInPlace(record []byte) ([]byte, ContentType, ending) {
	if len(record) < int(h.prefix)+tagLen {
		return nil, 0, endMAC
	}
	dst := record[h.prefix:]
	n, typ, end := h.open(dst, record)
	return dst[:n], typ, end
}

func (h *Half) open(dst, record []byte) (n int, typ ContentType, end ending) {
	if len(record) < int(h.prefix)+tagLen {
		return 0, 0, endMAC
	}
	// "If a TLS implementation would need to wrap a sequence number, it MUST either rekey (Section 4.6.3) or terminate
	// the connection." RFC 8446 section 5.3
	if h.seq == math.MaxUint64 {
		return 0, 0, endSequence
	}
	if h.aead == nil {
		h.wake()
	}
	body := record[h.prefix:]
	if !h.tls13 {
		return h.open12(dst, record, body)
	}
	h.mask()
	out, err := h.aead.Open(dst[:0:len(dst)], h.iv[:], body, record[:HeaderLen])
	h.mask()
	if err != nil {
		return 0, 0, endMAC
	}
	h.seq++
	return inner(out)
}

// inner finds the end of the data in a TLSInnerPlaintext: data, type, zeros. RFC 8446 section 5.2
func inner(b []byte) (n int, typ ContentType, end ending) {
	if len(b) > MaxPlaintext+1 {
		return 0, 0, endTooLong
	}
	for n = len(b) - 1; n >= 0; n-- {
		if b[n] != 0 {
			return n, ContentType(b[n]), endNone
		}
	}
	// "If a receiving implementation does not find a non-zero octet in the cleartext, it MUST terminate the
	// connection with an "unexpected_message" alert." RFC 8446 section 5.4
	return 0, 0, endNoType
}

// open12 opens a record of TLS 1.2. RFC 5246 section 6.2.3.3
func (h *Half) open12(dst, record, body []byte) (n int, typ ContentType, end ending) {
	explicit := h.prefix > HeaderLen
	if explicit {
		copy(h.iv[nonceLen-explicitLen:], record[HeaderLen:])
	} else {
		h.mask()
	}
	out, err := h.aead.Open(dst[:0:len(dst)], h.iv[:], body, h.additional(ContentType(record[0]), len(body)-tagLen))
	if !explicit {
		h.mask()
	}
	if err != nil {
		return 0, 0, endMAC
	}
	h.seq++
	if len(out) > MaxPlaintext {
		return 0, 0, endTooLong
	}
	return len(out), ContentType(record[0]), endNone
}

// mask turns iv into the nonce of the next record, and back. RFC 8446 section 5.3, RFC 7905 section 2
func (h *Half) mask() {
	b := h.iv[nonceLen-8:]
	binary.BigEndian.PutUint64(b, binary.BigEndian.Uint64(b)^h.seq)
}

// additional is what TLS 1.2 authenticates with a record of n bytes of data.
func (h *Half) additional(typ ContentType, n int) []byte {
	b := h.keep[:13]
	binary.BigEndian.PutUint64(b, h.seq)
	b[8], b[9], b[10], b[11], b[12] = byte(typ), 3, 3, byte(n>>8), byte(n)
	return b
}

// CountOpened tells how many of the last records in b were sealed with the keys of h, beginning with its next
// record, and goes on behind them. It is for a Half that takes over from another sealer, whose records b are,
// from the first one. scratch has room for the longest of them.
func (h *Half) CountOpened(b, scratch []byte) (count int, err error) {
	for len(b) >= HeaderLen {
		n := HeaderLen + (int(b[3])<<8 | int(b[4]))
		if n > len(b) {
			break
		}
		switch _, _, err := h.Open(scratch, b[:n]); {
		case err == nil:
			count++
		case err == io.ErrShortBuffer:
			return count, err
		case count > 0:
			return count, err // something between our records
		}
		b = b[n:]
	}
	if len(b) > 0 {
		return count, io.ErrUnexpectedEOF
	}
	return count, nil
}
