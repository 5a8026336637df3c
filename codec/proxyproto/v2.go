package proxyproto

import (
	"bytes"
	"encoding/binary"
)

// A header of version 2:
//
//	0  12  signature
//	12  1  version (high four bits), command (low)
//	13  1  family (high four bits), transport (low)
//	14  2  length of what follows, big-endian
//	16     addresses, then TLVs
const (
	v2Signature   = "\r\n\r\n\x00\r\nQUIT\n"
	v2PrefixBytes = 16
	v2LengthMax   = 0xffff

	commandLocal = 0
	commandProxy = 1
)

// addressBytes is how many bytes the addresses take, by family.
var addressBytes = [...]int{FamilyUnspec: 0, FamilyIPv4: 12, FamilyIPv6: 36, FamilyUnix: 2 * UnixPathBytes}

// parseV2 reads a header of version 2. b begins with its signature.
func parseV2(b []byte, max int) (h Header, n int, err error) {
	if len(b) > 12 {
		// "the receiver must only accept this value"; "Receivers must drop connections presenting
		// unexpected values here."
		// The specification, section 2.2
		switch {
		case b[12]>>4 != 2:
			return h, 0, ReasonVersion
		case b[12]&0xf > commandProxy:
			return h, 0, ReasonCommand
		}
	}
	if len(b) < v2PrefixBytes {
		return h, 0, nil
	}
	n = v2PrefixBytes + int(binary.BigEndian.Uint16(b[14:]))
	switch {
	case n > max:
		return h, 0, ReasonTooLong
	case !validPair(b[13]) && b[12]&0xf == commandProxy:
		return h, 0, ReasonProtocol
	case len(b) < n:
		return h, 0, nil
	}
	h.Version = 2
	if b[12]&0xf == commandLocal {
		// "The receiver must accept this connection as valid and must use the real connection endpoints and
		// discard the protocol block including the family which is ignored."
		// The specification, section 2.2
		h.Local = true
		return h, n, nil
	}
	if err = decodeV2(&h, b[:n]); err != nil {
		return Header{}, 0, err
	}
	return h, n, nil
}

// validPair reports whether a byte is a family and a transport that go together.
func validPair(b byte) bool {
	// "other values are unspecified and must not be emitted in version 2 of this protocol and must be rejected
	// as invalid by receivers."
	// The specification, section 2.2
	family, transport := Family(b>>4), Transport(b&0xf)
	if family > FamilyUnix || transport > TransportDatagram {
		return false
	}
	return (family == FamilyUnspec) == (transport == TransportUnspec)
}

// decodeV2 reads a whole header.
func decodeV2(h *Header, b []byte) error {
	h.Family, h.Transport = Family(b[13]>>4), Transport(b[13]&0xf)
	body := b[v2PrefixBytes:]
	size := addressBytes[h.Family]
	if len(body) < size {
		return ReasonLength
	}
	switch h.Family {
	case FamilyUnspec:
		// "The receiver should ignore address information"; how long that is nobody knows, so there are no TLVs either.
		// The specification, section 2.2
		return nil
	case FamilyIPv4:
		copy(h.Source.IP[:4], body)
		copy(h.Destination.IP[:4], body[4:])
	case FamilyIPv6:
		copy(h.Source.IP[:], body)
		copy(h.Destination.IP[:], body[16:])
	case FamilyUnix:
		h.Source.Path = unixPath(body[:UnixPathBytes])
		h.Destination.Path = unixPath(body[UnixPathBytes:size])
	}
	if h.Family != FamilyUnix {
		h.Source.Port = binary.BigEndian.Uint16(body[size-4:])
		h.Destination.Port = binary.BigEndian.Uint16(body[size-2:])
	}
	h.TLVs = body[size:]
	return checkTLVs(h.TLVs, b)
}

// unixPath cuts the zeros behind a path. A name of the abstract namespace begins with one.
func unixPath(b []byte) []byte {
	if b[0] != 0 {
		path, _, _ := bytes.Cut(b, zero)
		return path
	}
	return bytes.TrimRight(b, "\x00")
}

var zero = []byte{0}

// AppendV2 appends h as a header of version 2. If h.TLVs have one of type CRC32C its value becomes the
// checksum of the header. It reports false, and appends nothing, if that does not fit 65,535 bytes or a path its field.
func AppendV2(dst []byte, h *Header) (out []byte, ok bool) {
	start := len(dst)
	size := addressBytes[h.Family] + len(h.TLVs)
	if h.Local {
		size = 0
	}
	if size > v2LengthMax || max(len(h.Source.Path), len(h.Destination.Path)) > UnixPathBytes {
		return dst, false
	}
	dst = append(dst, v2Signature...)
	if h.Local {
		return append(dst, 2<<4|commandLocal, 0, 0, 0), true
	}
	dst = append(dst, 2<<4|commandProxy, byte(h.Family)<<4|byte(h.Transport))
	dst = binary.BigEndian.AppendUint16(dst, uint16(size))
	switch h.Family {
	case FamilyUnspec:
	case FamilyIPv4:
		dst = append(append(dst, h.Source.IP[:4]...), h.Destination.IP[:4]...)
	case FamilyIPv6:
		dst = append(append(dst, h.Source.IP[:]...), h.Destination.IP[:]...)
	case FamilyUnix:
		dst = appendUnixPath(appendUnixPath(dst, h.Source.Path), h.Destination.Path)
	}
	if h.Family == FamilyIPv4 || h.Family == FamilyIPv6 {
		dst = binary.BigEndian.AppendUint16(dst, h.Source.Port)
		dst = binary.BigEndian.AppendUint16(dst, h.Destination.Port)
	}
	tlvs := len(dst)
	dst = append(dst, h.TLVs...)
	if at := checksumAt(dst[tlvs:]); at >= 0 {
		at += tlvs - start
		binary.BigEndian.PutUint32(dst[start+at:], checksum(dst[start:], at))
	}
	return dst, true
}

func appendUnixPath(dst, path []byte) []byte {
	n := len(dst) + UnixPathBytes
	dst = append(dst, path...)
	for len(dst) < n {
		dst = append(dst, 0)
	}
	return dst
}
