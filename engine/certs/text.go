package certs

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"net/netip"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// What certificates are in text, for logs and header fields: as OpenSSL prints it, and with it Envoy. All
// of it appends, so that a line of a log costs no allocation.

// A NameKind is a kind of subject alternative name: the tag of GeneralName.
// RFC 5280 section 4.2.1.6
type NameKind uint8

const (
	NameOther NameKind = 0
	NameEmail NameKind = 1
	NameDNS   NameKind = 2
	NameURI   NameKind = 6
	NameIP    NameKind = 7
)

// AltNames walks over the subject alternative names of a certificate.
type AltNames struct{ rest cryptobyte.String }

// AltNamesOf returns the names of c in their order. c may be nil, which has none.
func AltNamesOf(c *x509.Certificate) (a AltNames) {
	if c == nil {
		return a
	}
	for i := range c.Extensions {
		if e := &c.Extensions[i]; len(e.Id) == len(oidAltName) && e.Id.Equal(oidAltName[:]) {
			in := cryptobyte.String(e.Value)
			in.ReadASN1(&a.rest, asn1.SEQUENCE)
			return a
		}
	}
	return a
}

var oidAltName = [...]int{2, 5, 29, 17}

// Next returns the next name, as it stands in the certificate: an IP address is 4 or 16 bytes, an other name the DER of
// its type and value. ok is false behind the last one. Names may hold any byte: their issuer wrote them.
func (a *AltNames) Next() (kind NameKind, value []byte, ok bool) {
	var v cryptobyte.String
	var tag asn1.Tag
	if a.rest.Empty() || !a.rest.ReadAnyASN1(&v, &tag) {
		return 0, nil, false
	}
	return NameKind(tag & 0x1f), v, true
}

// AppendAltNames appends the names of one kind, separated with commas. Of other names it prints those whose value is a
// UTF8String, such as user principal names.
func AppendAltNames(dst []byte, c *x509.Certificate, want NameKind) []byte {
	begin := len(dst)
	names := AltNamesOf(c)
	for kind, value, ok := names.Next(); ok; kind, value, ok = names.Next() {
		if kind != want {
			continue
		}
		end := len(dst)
		if end > begin {
			dst = append(dst, ',')
		}
		before := len(dst)
		if dst = AppendAltName(dst, kind, value); len(dst) == before {
			dst = dst[:end]
		}
	}
	return dst
}

// AppendAltName appends one name as text, nothing if it has none.
func AppendAltName(dst []byte, kind NameKind, value []byte) []byte {
	switch kind {
	case NameIP:
		if ip, ok := netip.AddrFromSlice(value); ok {
			return ip.AppendTo(dst)
		}
		return dst
	case NameOther:
		in := cryptobyte.String(value)
		var explicit, text cryptobyte.String
		if in.SkipASN1(asn1.OBJECT_IDENTIFIER) && in.ReadASN1(&explicit, asn1.Tag(0).ContextSpecific().Constructed()) &&
			explicit.ReadASN1(&text, asn1.UTF8String) {
			return append(dst, text...)
		}
		return dst
	case NameEmail, NameDNS, NameURI:
		return append(dst, value...)
	}
	return dst
}

// AppendName appends a distinguished name, the last part first, as OpenSSL's RFC2253 form has it: "CN=a,O=b". Specials are escaped, and
// all that is not printable ASCII is \XX, so that it is one line and may stand between quotes. der is such as RawSubject.
func AppendName(dst, der []byte) []byte {
	in := cryptobyte.String(der)
	var name cryptobyte.String
	if !in.ReadASN1(&name, asn1.SEQUENCE) {
		return dst
	}
	var parts [nameDepthMax]cryptobyte.String // of which the certificate has the last at the end
	n := 0
	for ; n < len(parts) && !name.Empty(); n++ {
		if !name.ReadASN1(&parts[n], asn1.SET) {
			break
		}
	}
	begin := len(dst)
	for i := n - 1; i >= 0; i-- {
		if len(dst) > begin {
			dst = append(dst, ',')
		}
		dst = appendPart(dst, parts[i])
	}
	return dst
}

const (
	// nameDepthMax bounds the parts of a name that are printed. Real ones have up to ten.
	nameDepthMax = 32
	// partAttributesMax bounds the attributes of one part. Nearly all have one.
	partAttributesMax = 8
)

// appendPart appends the attributes of one part, "CN=a+UID=b", the last one first.
func appendPart(dst []byte, part cryptobyte.String) []byte {
	var pairs [partAttributesMax]cryptobyte.String
	n := 0
	for n < len(pairs) && !part.Empty() && part.ReadASN1(&pairs[n], asn1.SEQUENCE) {
		n++
	}
	for i := n - 1; i >= 0; i-- {
		if i < n-1 {
			dst = append(dst, '+')
		}
		dst = appendAttribute(dst, pairs[i])
	}
	return dst
}

// appendAttribute appends one "CN=a".
func appendAttribute(dst []byte, pair cryptobyte.String) []byte {
	var id, value cryptobyte.String
	var tag asn1.Tag
	if !pair.ReadASN1(&id, asn1.OBJECT_IDENTIFIER) {
		return dst
	}
	raw := pair
	if !pair.ReadAnyASN1(&value, &tag) {
		return dst
	}
	if short := attributeNames[string(id)]; short != "" {
		return appendText(append(append(dst, short...), '='), value, tag)
	}
	dst = append(appendOID(dst, id), '=', '#')
	for _, c := range raw { // the DER of what is not known
		dst = append(dst, upperHex[c>>4], upperHex[c&15])
	}
	return dst
}

// attributeNames are OpenSSL's short names of attribute types, by the DER of what identifies them.
var attributeNames = map[string]string{
	"\x55\x04\x03": "CN", "\x55\x04\x04": "SN", "\x55\x04\x05": "serialNumber", "\x55\x04\x06": "C", "\x55\x04\x07": "L",
	"\x55\x04\x08": "ST", "\x55\x04\x09": "street", "\x55\x04\x0a": "O", "\x55\x04\x0b": "OU", "\x55\x04\x0c": "title",
	"\x55\x04\x0d": "description", "\x55\x04\x0f": "businessCategory", "\x55\x04\x11": "postalCode",
	"\x55\x04\x29": "name", "\x55\x04\x2a": "GN", "\x55\x04\x2b": "initials", "\x55\x04\x2c": "generationQualifier",
	"\x55\x04\x2e": "dnQualifier", "\x55\x04\x41": "pseudonym", "\x55\x04\x61": "organizationIdentifier",
	"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19":     "DC",
	"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01":     "UID",
	"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01":         "emailAddress",
	"\x2b\x06\x01\x04\x01\x82\x37\x3c\x02\x01\x01": "jurisdictionL",
	"\x2b\x06\x01\x04\x01\x82\x37\x3c\x02\x01\x02": "jurisdictionST",
	"\x2b\x06\x01\x04\x01\x82\x37\x3c\x02\x01\x03": "jurisdictionC",
}

// appendOID appends the dotted form.
func appendOID(dst []byte, id []byte) []byte {
	var n uint64
	first := true
	for _, c := range id {
		if n >= 1<<56 {
			return dst
		}
		n = n<<7 | uint64(c&0x7f)
		if c&0x80 != 0 {
			continue
		}
		if first {
			root := min(n/40, 2)
			dst = strconv.AppendUint(dst, root, 10)
			n -= root * 40
			first = false
		}
		dst = strconv.AppendUint(append(dst, '.'), n, 10)
		n = 0
	}
	return dst
}

// appendText appends the value of an attribute, escaped.
func appendText(dst []byte, v []byte, tag asn1.Tag) []byte {
	switch tag {
	case tagBMPString:
		var buf [utf8.UTFMax]byte
		for i := 0; i+1 < len(v); i += 2 {
			r := rune(v[i])<<8 | rune(v[i+1])
			if utf16.IsSurrogate(r) {
				r = utf8.RuneError
			}
			dst = appendEscaped(dst, buf[:utf8.EncodeRune(buf[:], r)], i == 0, i+3 >= len(v))
		}
		return dst
	case asn1.T61String: // taken as Latin-1, as OpenSSL does
		var buf [utf8.UTFMax]byte
		for i, c := range v {
			dst = appendEscaped(dst, buf[:utf8.EncodeRune(buf[:], rune(c))], i == 0, i == len(v)-1)
		}
		return dst
	}
	return appendEscaped(dst, v, true, true)
}

const tagBMPString = asn1.Tag(30)

// appendEscaped escapes as RFC 2253 section 2.4, and with \XX whatever a line or a header field must not have.
func appendEscaped(dst, v []byte, begins, ends bool) []byte {
	for i, c := range v {
		switch {
		case c < ' ' || c > '~':
			dst = append(dst, '\\', upperHex[c>>4], upperHex[c&15])
			continue
		case c == ',' || c == '+' || c == '"' || c == '\\' || c == '<' || c == '>' || c == ';',
			begins && i == 0 && (c == ' ' || c == '#'), ends && i == len(v)-1 && c == ' ':
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return dst
}

const upperHex = "0123456789ABCDEF"

// AppendSerial appends a serial number in hexadecimal, two digits for each byte.
func AppendSerial(dst []byte, c *x509.Certificate) []byte {
	n := c.SerialNumber
	if n == nil {
		return dst
	}
	if n.Sign() == 0 {
		return append(dst, '0')
	}
	if n.Sign() < 0 {
		dst = append(dst, '-')
	}
	var buf [serialBytesMax]byte
	size := (n.BitLen() + 7) / 8
	if size > len(buf) {
		return hex.AppendEncode(dst, new(big.Int).Abs(n).Bytes())
	}
	return hex.AppendEncode(dst, n.FillBytes(buf[:size]))
}

// serialBytesMax is the longest serial number that a conforming certificate has.
// "Conforming CAs MUST NOT use serialNumber values longer than 20 octets."
// RFC 5280 section 4.1.2.2
const serialBytesMax = 20

// AppendEscapedPEM appends the PEM of a certificate with its line ends, spaces and "+/=" percent-encoded.
func AppendEscapedPEM(dst []byte, c *x509.Certificate) []byte {
	const line = 48 // bytes, which are 64 characters
	var buf [64]byte
	dst = append(dst, "-----BEGIN%20CERTIFICATE-----%0A"...)
	for der := c.Raw; len(der) > 0; {
		n := min(line, len(der))
		text := buf[:base64.StdEncoding.EncodedLen(n)]
		base64.StdEncoding.Encode(text, der[:n])
		der = der[n:]
		for _, ch := range text {
			switch ch {
			case '+':
				dst = append(dst, "%2B"...)
			case '/':
				dst = append(dst, "%2F"...)
			case '=':
				dst = append(dst, "%3D"...)
			default:
				dst = append(dst, ch)
			}
		}
		dst = append(dst, "%0A"...)
	}
	return append(dst, "-----END%20CERTIFICATE-----%0A"...)
}
