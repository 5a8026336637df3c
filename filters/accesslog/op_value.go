package accesslog

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"

	"millrace/codec"
	"millrace/engine"
)

func requestHeadBytes(_ *operator, r *Record) (uint64, bool) { return uint64(r.RequestHeadBytes), true }

func responseHeadBytes(_ *operator, r *Record) (uint64, bool) {
	return uint64(r.ResponseHeadBytes), true
}

func upstreamHeadSent(_ *operator, r *Record) (uint64, bool) { return uint64(r.UpstreamHeadSent), true }

func upstreamHeadReceived(_ *operator, r *Record) (uint64, bool) {
	return uint64(r.UpstreamHeadReceived), true
}

// zero is the value of what only QUIC counts.
func zero(*operator, *Record) (uint64, bool) { return 0, true }

// absent is an operator that never has a value: what it prints does not exist here.
func absent() operator { return operator{str: constant} }

// responseTrailersBytes is what names and values take, without the framing.
func responseTrailersBytes(_ *operator, r *Record) (uint64, bool) {
	n := 0
	if r.ResponseTrailers != nil {
		for i := range r.ResponseTrailers.Len() {
			_, name, value := r.ResponseTrailers.At(i)
			n += len(name) + len(value)
		}
	}
	return uint64(n), true
}

func protocolName(version uint8) string {
	switch version {
	case codec.Version10:
		return "HTTP/1.0"
	case codec.Version11:
		return "HTTP/1.1"
	case codec.Version20:
		return "HTTP/2"
	}
	return ""
}

func constant(o *operator, _ *Record) string { return o.text }

// details prints RESPONSE_CODE_DETAILS as one word, unless the argument allows spaces. They are
// static texts without anything to escape; whatever else came in is printed as "_".
func details(dst []byte, o *operator, r *Record) []byte {
	for i := range len(r.Details) {
		c := r.Details[i]
		if escapes[c] != plain || c == ' ' && o.text == "" {
			c = '_'
		}
		dst = append(dst, c)
	}
	return dst
}

func parseDetails(o *operator, arg string) error {
	if arg != "" && arg != "ALLOW_WHITESPACES" {
		return fmt.Errorf("unknown argument %q", arg)
	}
	o.text = arg
	return nil
}

// addressChoice says which address of a record an operator prints.
type addressChoice uint8

const (
	downstreamRemote addressChoice = iota
	downstreamDirect
	downstreamLocal
	downstreamDirectLocal
	upstreamRemote
	upstreamLocal
)

func (o *operator) address(r *Record) *engine.Addr {
	switch o.addr {
	case downstreamDirect:
		return &r.DirectRemote
	case downstreamLocal:
		return &r.Local
	case downstreamDirectLocal:
		if r.DirectLocal.IsZero() {
			return &r.Local
		}
		return &r.DirectLocal
	case upstreamRemote:
		return &r.UpstreamRemote
	case upstreamLocal:
		return &r.UpstreamLocal
	}
	return &r.Remote
}

// address appends address and port. The path of a unix socket is the peer's choice, and
// escaped in the way that holds in text and in JSON.
func address(dst []byte, o *operator, r *Record) []byte { return appendAddress(dst, o.address(r)) }

func appendAddress(dst []byte, a *engine.Addr) []byte {
	if a.IsUnix() {
		return appendUnixPath(dst, a)
	}
	return a.AppendTo(dst)
}

// addressIP appends the address without its port, or the network it is in with a mask.
func addressIP(dst []byte, o *operator, r *Record) []byte {
	a := o.address(r)
	if o.prefix < 0 || a.IsZero() || a.IsUnix() {
		return appendIP(dst, a)
	}
	ip := a.NetIP().WithZone("")
	network, err := ip.Prefix(min(o.prefix, ip.BitLen()))
	if err != nil {
		return dst
	}
	return network.AppendTo(dst)
}

// appendIP appends the address without its port.
func appendIP(dst []byte, a *engine.Addr) []byte {
	switch {
	case a.IsZero():
		return dst
	case a.IsUnix():
		return appendUnixPath(dst, a)
	}
	return a.AppendIP(dst)
}

// appendUnixPath appends the path, percent-encoded where a log would have to escape it.
func appendUnixPath(dst []byte, a *engine.Addr) []byte {
	dst = append(dst, "unix:"...)
	path := a.Path()
	for i := range len(path) {
		if c := path[i]; escapes[c] == plain && c != '%' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return dst
}

func addressPort(o *operator, r *Record) (uint64, bool) {
	a := o.address(r)
	return uint64(a.Port()), !a.IsZero() && !a.IsUnix()
}

const maskUsage = "the length of a network prefix, such as %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(24)%"

func parseMask(o *operator, arg string) error {
	if arg == "" {
		return nil
	}
	bits, err := strconv.ParseUint(arg, 10, 8)
	if err != nil || bits > uint64(netip.IPv6Unspecified().BitLen()) {
		return fmt.Errorf("prefix length %q is not a number from 0 to 128", arg)
	}
	o.prefix = int(bits)
	return nil
}

// streamID prints the request id, or the number of the stream if there is none.
func streamID(dst []byte, _ *operator, r *Record) []byte {
	if r.Request != nil {
		if id := r.Request.Get(codec.FieldXRequestID); isUUID(id) {
			return append(dst, id...)
		}
	}
	if r.StreamID == 0 {
		return dst
	}
	return strconv.AppendUint(dst, r.StreamID, 10)
}

// uuidBytes is the length of a UUID as text.
const uuidBytes = 36

// isUUID reports whether b may be printed as it is.
func isUUID(b []byte) bool {
	for _, c := range b {
		if c != '-' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return false
		}
	}
	return len(b) == uuidBytes
}

// uniqueID prints a new UUID of version 4 (RFC 9562 section 5.4).
func uniqueID(dst []byte, _ *operator, _ *Record) []byte {
	var raw [16]byte
	for i := range 2 {
		n := rand.Uint64()
		for j := range 8 {
			raw[8*i+j] = byte(n >> (8 * j))
		}
	}
	raw[6], raw[8] = raw[6]&0x0f|0x40, raw[8]&0x3f|0x80
	for i, end := range [...]int{4, 6, 8, 10, 16} {
		begin := 0
		if i > 0 {
			begin = 2 + 2*i
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, raw[begin:end])
	}
	return dst
}

func parseHostname(o *operator, arg string) (err error) {
	if arg != "" {
		return fmt.Errorf("takes no argument")
	}
	o.text, err = os.Hostname()
	return err
}

func parseEnvironment(o *operator, arg string) error {
	o.text = os.Getenv(arg)
	return nil
}
