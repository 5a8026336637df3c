package proxyproto

import "encoding/binary"

// The types of TLVs. 0xE0 to 0xEF are for applications, 0xF0 to 0xF7 for experiments.
const (
	TypeALPN      = 0x01 // the protocol agreed on
	TypeAuthority = 0x02 // the SNI
	TypeCRC32C    = 0x03 // the checksum of the header
	TypeNoop      = 0x04 // padding
	TypeUniqueID  = 0x05 // of the connection, at most 128 bytes
	TypeSSL       = 0x20 // see ParseSSL
	TypeNetns     = 0x30 // the name of the network namespace
)

// The types of TLVs inside one of TypeSSL.
const (
	TypeSSLVersion    = 0x21 // such as "TLSv1.3"
	TypeSSLCN         = 0x22 // the common name of the client certificate
	TypeSSLCipher     = 0x23
	TypeSSLSigAlg     = 0x24 // of our certificate
	TypeSSLKeyAlg     = 0x25 // of our certificate
	TypeSSLGroup      = 0x26
	TypeSSLSigScheme  = 0x27
	TypeSSLClientCert = 0x28 // the client certificate, DER
)

// The bits of SSL.Client.
const (
	ClientSSL      = 0x01 // the client came with TLS
	ClientCertConn = 0x02 // it gave a certificate on this connection
	ClientCertSess = 0x04 // or once in this TLS session
)

const (
	tlvPrefixBytes = 3 // type and length
	// uniqueIDBytesMax is by the specification, section 2.2.5.
	uniqueIDBytesMax = 128
	sslPrefixBytes   = 5
	checksumBytes    = 4
)

// A TLV is one type-length-value. Value is a view.
type TLV struct {
	Type  uint8
	Value []byte
}

// NextTLV returns the first TLV of b that is not padding, and what follows it. ok is false at the end, and where
// b is not well-formed, which what Parse returned always is.
func NextTLV(b []byte) (t TLV, rest []byte, ok bool) {
	for {
		t, rest, ok = cutTLV(b)
		if !ok || t.Type != TypeNoop {
			return t, rest, ok
		}
		b = rest
	}
}

// cutTLV returns the first TLV of b.
func cutTLV(b []byte) (t TLV, rest []byte, ok bool) {
	if len(b) < tlvPrefixBytes {
		return TLV{}, nil, false
	}
	n := tlvPrefixBytes + int(binary.BigEndian.Uint16(b[1:]))
	if n > len(b) {
		return TLV{}, nil, false
	}
	return TLV{Type: b[0], Value: b[tlvPrefixBytes:n]}, b[n:], true
}

// checksumAt returns where in b the value of the first TLV of TypeCRC32C begins; -1 if there is none of four bytes.
func checksumAt(b []byte) int {
	for rest := b; ; {
		t, next, ok := cutTLV(rest)
		switch {
		case !ok:
			return -1
		case t.Type == TypeCRC32C && len(t.Value) == checksumBytes:
			return len(b) - len(next) - checksumBytes
		}
		rest = next
	}
}

// AppendTLV appends a TLV to others. It reports false, and appends nothing, if value is longer than 65,535 bytes.
func AppendTLV(dst []byte, typ uint8, value []byte) (out []byte, ok bool) {
	if len(value) > v2LengthMax {
		return dst, false
	}
	dst = binary.BigEndian.AppendUint16(append(dst, typ), uint16(len(value)))
	return append(dst, value...), true
}

// checkTLVs walks tlvs, which are the end of header, and checks what it knows of their values.
func checkTLVs(tlvs, header []byte) error {
	summed := false
	for len(tlvs) > 0 {
		t, rest, ok := cutTLV(tlvs)
		if !ok {
			return ReasonTLV
		}
		switch t.Type {
		case TypeCRC32C:
			// "verify that the calculated CRC32c checksum is the same as the received CRC32c checksum. If it is not,
			// the receiver MUST treat the TCP connection providing the header as invalid." Two cannot both be right.
			// The specification, section 2.2.3
			if len(t.Value) != checksumBytes || summed {
				return ReasonTLV
			}
			at := len(header) - len(rest) - checksumBytes
			if summed = true; binary.BigEndian.Uint32(t.Value) != checksum(header, at) {
				return ReasonChecksum
			}
		case TypeUniqueID:
			if len(t.Value) > uniqueIDBytesMax {
				return ReasonTLV
			}
		case TypeSSL:
			if _, ok := ParseSSL(t.Value); !ok {
				return ReasonTLV
			}
		}
		tlvs = rest
	}
	return nil
}

// SSL is the value of a TLV of TypeSSL.
type SSL struct {
	// Client has the bits ClientSSL and so on.
	Client uint8
	// Verify is zero if the client gave a certificate and it was verified.
	Verify uint32
	// TLVs are of the types inside: see NextTLV.
	TLVs []byte
}

// ParseSSL reads the value of a TLV of TypeSSL. It reports whether it is well-formed.
func ParseSSL(b []byte) (s SSL, ok bool) {
	if len(b) < sslPrefixBytes {
		return SSL{}, false
	}
	s = SSL{Client: b[0], Verify: binary.BigEndian.Uint32(b[1:]), TLVs: b[sslPrefixBytes:]}
	for rest := s.TLVs; len(rest) > 0; {
		if _, rest, ok = cutTLV(rest); !ok {
			return SSL{}, false
		}
	}
	return s, true
}

// checksum returns the CRC32C of header with zeros in place of the four bytes at at.
func checksum(header []byte, at int) uint32 {
	var zeros [checksumBytes]byte
	crc := crc32c(^uint32(0), header[:at])
	crc = crc32c(crc, zeros[:])
	return ^crc32c(crc, header[at+checksumBytes:])
}

// crc32c goes on with a checksum, bit-reversed as it is on the wire (RFC 3385).
func crc32c(crc uint32, b []byte) uint32 {
	for _, c := range b {
		crc = castagnoli[byte(crc)^c] ^ crc>>8
	}
	return crc
}

// castagnoli is the table of CRC32C: hash/crc32 is no package a codec may import.
var castagnoli = func() (t [256]uint32) {
	const polynomial = 0x82f63b78
	for i := range t {
		crc := uint32(i)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ polynomial
			} else {
				crc >>= 1
			}
		}
		t[i] = crc
	}
	return t
}()
