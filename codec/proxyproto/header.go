package proxyproto

// A Header says whom a connection is relayed for.
type Header struct {
	// Version is 1 or 2.
	Version uint8
	// Local says that the proxy made the connection for itself, such as for a health check: its own addresses
	// count. Version 2 only.
	Local bool
	// Family says which fields of Source and Destination are valid. With FamilyUnspec none is, and the addresses of
	// the connection itself count.
	Family Family
	// Transport is that of the relayed connection. TransportUnspec only with FamilyUnspec.
	Transport Transport
	// Source is the client, Destination where it wanted to go.
	Source, Destination Endpoint
	// TLVs are what version 2 says beside the addresses, as on the wire and known to be well-formed: see NextTLV.
	TLVs []byte
}

// An Endpoint is one end of the relayed connection.
type Endpoint struct {
	// IP is the address; IPv4 in the first four bytes.
	IP [16]byte
	// Port is valid for IPv4 and IPv6.
	Port uint16
	// Path of a unix socket, without the zeros at its end. The abstract namespace begins with a zero byte. May be empty.
	Path []byte
}

// Family is a family of addresses, with the numbers of version 2.
type Family uint8

// The families.
const (
	FamilyUnspec Family = 0
	FamilyIPv4   Family = 1
	FamilyIPv6   Family = 2
	FamilyUnix   Family = 3
)

// Transport is a kind of connection, with the numbers of version 2.
type Transport uint8

// The transports.
const (
	TransportUnspec   Transport = 0
	TransportStream   Transport = 1
	TransportDatagram Transport = 2
)

const (
	// V1BytesMax is the longest header of version 1, with its CRLF.
	V1BytesMax = 107
	// HeaderBytesMax is the limit for a header of version 2 where nothing speaks for another. A client certificate, the
	// largest thing that senders put into one, has room.
	HeaderBytesMax = 16 << 10
	// UnixPathBytes is the room for a path in a header.
	UnixPathBytes = 108
)

// A Reason is what is wrong with a header. It is an error.
type Reason uint8

// The reasons.
const (
	ReasonNone     Reason = iota
	ReasonNotFound        // the bytes are no header, of any version
	ReasonTooLong         // version 1: no CRLF within 107 bytes; version 2: longer than the limit
	ReasonLine            // version 1: a part is missing, or spaces or line end are wrong
	ReasonProtocol        // the protocol, or the pair of family and transport, is none of the specification's
	ReasonAddress         // version 1: not an address of the family
	ReasonPort            // version 1: not a port
	ReasonVersion         // version 2: another version behind the signature
	ReasonCommand         // version 2: neither LOCAL nor PROXY
	ReasonLength          // version 2: shorter than the addresses of the family
	ReasonTLV             // version 2: a TLV does not fit, or its value is not of its type's form
	ReasonChecksum        // version 2: CRC32C is wrong
)

// reasonNames are in the order of the constants.
var reasonNames = [...]string{
	"none", "not_found", "too_long", "line", "protocol", "address", "port", "version", "command", "length", "tlv", "checksum",
}

// String returns the reason in lower snake case, for counters and details.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "unknown"
}

// Error implements error.
func (r Reason) Error() string { return "PROXY protocol header: " + r.String() }

// Parse reads the header that b begins with, of either version, at most max bytes of version 2. n is its length. If b
// ends before the header does n is 0 and err is nil: call again with more. err is a [Reason].
func Parse(b []byte, max int) (h Header, n int, err error) {
	switch Version(b) {
	case 1:
		return parseV1(b)
	case 2:
		return parseV2(b, max)
	case Undecided:
		return Header{}, 0, nil
	}
	return Header{}, 0, ReasonNotFound
}

// Undecided is what [Version] returns for too few bytes.
const Undecided = -1

// Version tells the version of the header that b begins with: 1, 2, 0 for none, or Undecided. One byte that fits
// neither is enough to know that there is none.
func Version(b []byte) int {
	switch {
	case hasSignature(b, v1Signature):
		if len(b) >= len(v1Signature) {
			return 1
		}
		return Undecided
	case hasSignature(b, v2Signature):
		if len(b) >= len(v2Signature) {
			return 2
		}
		return Undecided
	}
	return 0
}

// hasSignature reports whether b begins with s, as far as b goes.
func hasSignature(b []byte, s string) bool {
	n := min(len(b), len(s))
	return string(b[:n]) == s[:n]
}
