package proxyproto

import (
	"bytes"
	"strconv"
)

const (
	v1Signature = "PROXY "
	v1Unknown   = "UNKNOWN"
)

// parseV1 reads a line of version 1. b begins with its signature.
func parseV1(b []byte) (h Header, n int, err error) {
	// "The receiver must wait for the CRLF sequence before starting to decode the addresses in order to
	// ensure they are complete and properly parsed. If the CRLF sequence is not found in the first 107
	// characters, the receiver should declare the line invalid."
	// The specification, section 2.1
	line := b[:min(len(b), V1BytesMax)]
	if !beginsV1(line[len(v1Signature):]) {
		return h, 0, ReasonProtocol
	}
	end := bytes.IndexAny(line, "\r\n")
	switch {
	case end < 0 && len(line) == V1BytesMax:
		return h, 0, ReasonTooLong
	case end < 0:
		return h, 0, nil
	case line[end] == '\n':
		return h, 0, ReasonLine
	case end+1 == V1BytesMax:
		return h, 0, ReasonTooLong
	case end+1 == len(line):
		return h, 0, nil
	case line[end+1] != '\n':
		// "The receiver must not tolerate a single CR or LF character to end the line when a complete CRLF
		// sequence is expected."
		// The specification, section 2.1
		return h, 0, ReasonLine
	}
	h, err = decodeV1(line[len(v1Signature):end])
	if err != nil {
		return Header{}, 0, err
	}
	return h, end + 2, nil
}

// beginsV1 reports whether a protocol is named behind the signature, or can still come to be: "It is
// recommended to abort the connection as soon as possible".
func beginsV1(b []byte) bool {
	return hasSignature(b, "TCP4 ") || hasSignature(b, "TCP6 ") || hasSignature(b, v1Unknown+" ") || hasSignature(b, v1Unknown+"\r\n")
}

// decodeV1 reads what lies between the signature and CRLF.
func decodeV1(line []byte) (h Header, err error) {
	h.Version = 1
	protocol, rest, _ := bytes.Cut(line, space)
	switch string(protocol) {
	case v1Unknown:
		// "For "UNKNOWN", the rest of the line before the CRLF may be omitted by the sender, and the
		// receiver must ignore anything presented before the CRLF is found."
		// The specification, section 2.1
		return h, nil
	case "TCP4":
		h.Family = FamilyIPv4
	case "TCP6":
		h.Family = FamilyIPv6
	}
	h.Transport = TransportStream
	var part [4][]byte
	for i := range part {
		var more bool
		// "exactly one space" stands between two parts, so an empty part is a second space.
		// The specification, section 2.1
		if part[i], rest, more = bytes.Cut(rest, space); more != (i < 3) || len(part[i]) == 0 {
			return h, ReasonLine
		}
	}
	for i, e := range []*Endpoint{&h.Source, &h.Destination} {
		var ok bool
		if h.Family == FamilyIPv4 {
			ok = parseIPv4(part[i], e.IP[:4])
		} else {
			ok = parseIPv6(part[i], &e.IP)
		}
		if !ok {
			return h, ReasonAddress
		}
		if e.Port, ok = parsePort(part[2+i]); !ok {
			return h, ReasonPort
		}
	}
	return h, nil
}

var space = []byte{' '}

// parsePort reads a port: "a decimal integer in the range [0..65535] inclusive. Heading zeroes are not permitted".
func parsePort(b []byte) (uint16, bool) {
	n, ok := parseDecimal(b, 5)
	return uint16(n), ok && n <= 0xffff
}

// parseDecimal reads 1 to max digits without a zero in front of others.
func parseDecimal(b []byte, max int) (n int, ok bool) {
	if len(b) == 0 || len(b) > max || b[0] == '0' && len(b) > 1 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// parseIPv4 reads an address into the four bytes of ip.
func parseIPv4(b, ip []byte) bool {
	// "exactly 4 integers in the range [0..255] inclusive written in decimal representation separated by exactly
	// one dot between each other. Heading zeroes are not permitted in front of numbers"
	// The specification, section 2.1
	for i := range 4 {
		part, rest, more := bytes.Cut(b, dot)
		n, ok := parseDecimal(part, 3)
		if !ok || n > 255 || more != (i < 3) {
			return false
		}
		ip[i], b = byte(n), rest
	}
	return true
}

var (
	dot         = []byte{'.'}
	doubleColon = []byte("::")
)

// parseIPv6 reads an address.
//
// Deviation: the last 32 bits may be written as IPv4. The specification knows hexadecimal groups only, but
// senders that print mapped addresses write them so.
func parseIPv6(b []byte, ip *[16]byte) bool {
	front, back, shortened := bytes.Cut(b, doubleColon)
	var tail [16]byte
	n, ok := parseGroups(front, ip[:], !shortened)
	m, okBack := parseGroups(back, tail[:], true)
	if !ok || !okBack {
		return false
	}
	if !shortened {
		return n == 16
	}
	if n+m > 14 { // "::" stands for one group at least
		return false
	}
	copy(ip[16-m:], tail[:m])
	return true
}

// parseGroups reads groups between colons into ip, and returns how many bytes they are. last says that the end
// of b is that of the address, where IPv4 may be.
func parseGroups(b, ip []byte, last bool) (n int, ok bool) {
	for more := len(b) > 0; more; {
		var group []byte
		group, b, more = bytes.Cut(b, colon)
		if !more && last && n <= 12 && bytes.IndexByte(group, '.') >= 0 {
			return n + 4, parseIPv4(group, ip[n:n+4])
		}
		v, ok := parseHex(group)
		if !ok || n > 14 {
			return n, false
		}
		ip[n], ip[n+1] = byte(v>>8), byte(v)
		n += 2
	}
	return n, true
}

var colon = []byte{':'}

// parseHex reads 1 to 4 hexadecimal digits.
func parseHex(b []byte) (v uint16, ok bool) {
	if len(b) == 0 || len(b) > 4 {
		return 0, false
	}
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		v = v<<4 | uint16(c)
	}
	return v, true
}

// AppendV1 appends h as a line of version 1. What that cannot say, anything but TCP over IP, is UNKNOWN.
func AppendV1(dst []byte, h *Header) []byte {
	dst = append(dst, v1Signature...)
	ip := h.Family == FamilyIPv4 || h.Family == FamilyIPv6
	if !ip || h.Local || h.Transport != TransportStream {
		return append(append(dst, v1Unknown...), "\r\n"...)
	}
	if h.Family == FamilyIPv4 {
		dst = append(dst, "TCP4 "...)
		dst = append(appendIPv4(dst, h.Source.IP[:4]), ' ')
		dst = appendIPv4(dst, h.Destination.IP[:4])
	} else {
		dst = append(dst, "TCP6 "...)
		dst = append(appendIPv6(dst, &h.Source.IP), ' ')
		dst = appendIPv6(dst, &h.Destination.IP)
	}
	dst = strconv.AppendUint(append(dst, ' '), uint64(h.Source.Port), 10)
	dst = strconv.AppendUint(append(dst, ' '), uint64(h.Destination.Port), 10)
	return append(dst, "\r\n"...)
}

func appendIPv4(dst, ip []byte) []byte {
	for i, b := range ip {
		if i > 0 {
			dst = append(dst, '.')
		}
		dst = strconv.AppendUint(dst, uint64(b), 10)
	}
	return dst
}

// appendIPv6 appends an address in the form of RFC 5952, the last 32 bits in hexadecimal too.
func appendIPv6(dst []byte, ip *[16]byte) []byte {
	from, to := longestZeros(ip)
	for i := 0; i < 16; i += 2 {
		if i == from {
			dst = append(dst, "::"...)
			if i = to; i == 16 {
				break
			}
		} else if i > 0 {
			dst = append(dst, ':')
		}
		dst = strconv.AppendUint(dst, uint64(ip[i])<<8|uint64(ip[i+1]), 16)
	}
	return dst
}

// longestZeros finds the longest run of two or more zero groups, the first of equal ones: from is -1 if there is none.
func longestZeros(ip *[16]byte) (from, to int) {
	from = -1
	for i := 0; i < 16; i += 2 {
		j := i
		for j < 16 && ip[j] == 0 && ip[j+1] == 0 {
			j += 2
		}
		if j-i > max(to-from, 2) {
			from, to = i, j
		}
		i = max(i, j-2)
	}
	return from, to
}
