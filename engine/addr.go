package engine

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
)

// An Addr is the address of a socket: IPv4, IPv6 or unix. It is plain, comparable data.
// The zero Addr is no address.
type Addr struct {
	inet inetAddr
	path string // unix only; a leading '@' is the abstract namespace
}

// inetAddr is the part of an address that is kept per conn.
type inetAddr struct {
	ip     [16]byte // IPv4 in the first four bytes
	zone   uint32   // interface index of a link-local IPv6 address
	port   uint16
	family family
}

type family uint8

const (
	familyNone family = iota
	family4
	family6
	familyUnix
	familyAny // both IPv4 and IPv6, to listen on: ":8080"
)

// ParseAddr reads an address: "127.0.0.1:80", "[::1]:80", ":8080" (all addresses, IPv6 and
// IPv4), "unix:/run/app.sock" or "unix:@abstract". It does not resolve names.
func ParseAddr(s string) (Addr, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return parseUnix(s, path)
	}
	if s == "" {
		return Addr{}, fmt.Errorf("address is empty; write an address such as \"127.0.0.1:80\"")
	}
	colon := strings.LastIndexByte(s, ':')
	if _, err := strconv.ParseUint(s, 10, 16); err == nil {
		return Addr{}, fmt.Errorf("address %q is a port alone; write %q", s, ":"+s)
	}
	if colon < 0 {
		return Addr{}, fmt.Errorf("address %q has no port; write %q", s, s+":80")
	}
	host, portText := s[:colon], s[colon+1:]
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || portText[0] == '+' {
		if strings.Count(s, ":") > 1 && !strings.Contains(s, "]") {
			return Addr{}, fmt.Errorf("address %q: an IPv6 address needs brackets; write %q", s, "["+s+"]:80")
		}
		return Addr{}, fmt.Errorf("address %q: port %q is not a number from 0 to 65535", s, portText)
	}
	if host == "" {
		return Addr{inet: inetAddr{family: familyAny, port: uint16(port)}}, nil
	}
	return parseHost(s, host, uint16(port))
}

func parseUnix(s, path string) (Addr, error) {
	switch {
	case path == "" || path == "@":
		return Addr{}, fmt.Errorf("address %q has no path; write \"unix:/run/app.sock\" or \"unix:@name\"", s)
	case len(path) > sys.UnixPathMax:
		return Addr{}, fmt.Errorf("address %q: path of %d bytes exceeds the %d of a unix socket", s, len(path), sys.UnixPathMax)
	case strings.IndexByte(path, 0) >= 0:
		return Addr{}, fmt.Errorf("address %q: a zero byte in a path; write '@' for the abstract namespace", s)
	}
	return Addr{inet: inetAddr{family: familyUnix}, path: path}, nil
}

func parseHost(s, host string, port uint16) (Addr, error) {
	bracketed := len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']'
	if bracketed {
		host = host[1 : len(host)-1]
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil && !bracketed && strings.Contains(host, ":"):
		return Addr{}, fmt.Errorf("address %q: an IPv6 address needs brackets; write %q", s, "["+s+"]:80")
	case err != nil && strings.Contains(host, ":"):
		return Addr{}, fmt.Errorf("address %q: %q is not an IPv6 address", s, host)
	case err != nil:
		return Addr{}, fmt.Errorf("address %q: %q is not an IP address; names are not resolved here, write the address", s, host)
	case ip.Is6() && !bracketed:
		return Addr{}, fmt.Errorf("address %q: an IPv6 address needs brackets; write \"[%s]:%d\"", s, host, port)
	case ip.Is4() && bracketed:
		return Addr{}, fmt.Errorf("address %q: an IPv4 address takes no brackets; write \"%s:%d\"", s, host, port)
	}
	zone, err := zoneIndex(ip.Zone())
	if err != nil {
		return Addr{}, fmt.Errorf("address %q: interface %q: %w", s, ip.Zone(), err)
	}
	return AddrFrom(ip.WithZone(""), port, zone), nil
}

func zoneIndex(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	return sys.InterfaceIndex(zone)
}

// AddrFrom makes an address from its parts. zone is an interface index, or 0. IPv4-mapped
// addresses become IPv4.
func AddrFrom(ip netip.Addr, port uint16, zone uint32) Addr {
	a := Addr{inet: inetAddr{port: port, zone: zone, family: family6}}
	ip = ip.Unmap()
	if ip.Is4() {
		b := ip.As4()
		copy(a.inet.ip[:], b[:])
		a.inet.family, a.inet.zone = family4, 0
		return a
	}
	a.inet.ip = ip.As16()
	return a
}

// UnixAddr returns the address of a unix socket; a leading '@' is the abstract namespace.
func UnixAddr(path string) Addr { return Addr{inet: inetAddr{family: familyUnix}, path: path} }

// IsZero reports whether a is no address.
func (a Addr) IsZero() bool { return a.inet.family == familyNone }

// IsUnix reports whether a is a unix socket.
func (a Addr) IsUnix() bool { return a.inet.family == familyUnix }

// IsLoopback reports whether a can only be reached from this machine: 127.0.0.0/8, ::1 or
// a unix socket.
func (a Addr) IsLoopback() bool {
	return a.IsUnix() || a.NetIP().IsLoopback()
}

// Port returns the port, 0 for a unix socket.
func (a Addr) Port() int { return int(a.inet.port) }

// WithPort returns a with another port.
func (a Addr) WithPort(port uint16) Addr {
	a.inet.port = port
	return a
}

// Path returns the path of a unix socket, "" otherwise.
func (a Addr) Path() string { return a.path }

// NetIP returns the IP address; the zero value for a unix socket.
func (a Addr) NetIP() netip.Addr {
	switch a.inet.family {
	case family4:
		return netip.AddrFrom4([4]byte(a.inet.ip[:4]))
	case family6, familyAny:
		ip := netip.AddrFrom16(a.inet.ip)
		if a.inet.zone != 0 {
			ip = ip.WithZone(strconv.FormatUint(uint64(a.inet.zone), 10))
		}
		return ip
	}
	return netip.Addr{}
}

// String returns the form ParseAddr reads.
func (a Addr) String() string { return string(a.AppendTo(make([]byte, 0, 64))) }

// AppendTo appends the form ParseAddr reads.
func (a Addr) AppendTo(dst []byte) []byte {
	switch a.inet.family {
	case familyNone:
		return dst
	case familyUnix:
		return append(append(dst, "unix:"...), a.path...)
	case family6:
		dst = append(a.AppendIP(append(dst, '[')), ']')
	case family4:
		dst = a.AppendIP(dst)
	}
	return strconv.AppendUint(append(dst, ':'), uint64(a.inet.port), 10)
}

// AppendIP appends the IP address alone, as X-Forwarded-For has it; nothing for a unix socket.
func (a Addr) AppendIP(dst []byte) []byte {
	if a.inet.family == family4 {
		// The common case, without the detour of netip: 12 ns against 25.
		for i, b := range a.inet.ip[:4] {
			if i > 0 {
				dst = append(dst, '.')
			}
			dst = strconv.AppendUint(dst, uint64(b), 10)
		}
		return dst
	}
	ip := a.NetIP()
	if !ip.IsValid() {
		return dst
	}
	return ip.AppendTo(dst)
}

// toKernel writes a in the kernel's form. It reports false for what cannot be connected to.
func (a *Addr) toKernel(sa *sys.Sockaddr) bool {
	switch a.inet.family {
	case family4:
		sa.PutInet4([4]byte(a.inet.ip[:4]), a.inet.port)
	case family6, familyAny:
		sa.PutInet6(a.inet.ip, a.inet.port, a.inet.zone)
	case familyUnix:
		return sa.PutUnix(a.path)
	default:
		return false
	}
	return true
}

// domain returns the kernel's number for the address family.
func (a *Addr) domain() int {
	switch a.inet.family {
	case family4:
		return unix.AF_INET
	case familyUnix:
		return unix.AF_UNIX
	default:
		return unix.AF_INET6
	}
}

// fromKernel reads the kernel's form, without the path of a unix socket.
func fromKernel(sa *sys.Sockaddr) inetAddr {
	var a inetAddr
	switch sa.Family() {
	case unix.AF_INET:
		ip, port := sa.Inet4()
		copy(a.ip[:4], ip[:])
		a.port, a.family = port, family4
	case unix.AF_INET6:
		ip, port, zone := sa.Inet6()
		a.port, a.zone = port, zone
		if isMapped(&ip) { // an IPv4 peer of a dual-stack listener
			copy(a.ip[:4], ip[12:])
			a.zone, a.family = 0, family4
		} else {
			a.ip, a.family = ip, family6
		}
	case unix.AF_UNIX:
		a.family = familyUnix
	}
	return a
}

func isMapped(ip *[16]byte) bool {
	return [12]byte(ip[:12]) == [12]byte{10: 0xff, 11: 0xff}
}

// addrFromKernel is fromKernel with the path.
func addrFromKernel(sa *sys.Sockaddr) Addr {
	a := Addr{inet: fromKernel(sa)}
	if a.inet.family == familyUnix {
		a.path = sa.Unix()
	}
	return a
}
