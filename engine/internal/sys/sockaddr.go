package sys

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sockaddr is an address in the kernel's form, with room for any family.
// The zero value is empty.
type Sockaddr struct {
	raw  unix.RawSockaddrAny
	size uint32
}

// Family returns unix.AF_INET, AF_INET6, AF_UNIX, or 0 when s is empty.
func (s *Sockaddr) Family() int {
	if s.size < 2 {
		return 0
	}
	return int(s.raw.Addr.Family)
}

// PutInet4 makes s an IPv4 address.
func (s *Sockaddr) PutInet4(ip [4]byte, port uint16) {
	a := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw))
	*a = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: swap(port), Addr: ip}
	s.size = unix.SizeofSockaddrInet4
}

// PutInet6 makes s an IPv6 address; zone is an interface index, or 0.
func (s *Sockaddr) PutInet6(ip [16]byte, port uint16, zone uint32) {
	a := (*unix.RawSockaddrInet6)(unsafe.Pointer(&s.raw))
	*a = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: swap(port), Addr: ip, Scope_id: zone}
	s.size = unix.SizeofSockaddrInet6
}

// UnixPathMax is the length of the longest unix socket path.
const UnixPathMax = 107

// PutUnix makes s a unix address. A leading '@' stands for the abstract namespace.
// It reports whether the path fits.
func (s *Sockaddr) PutUnix(path string) bool {
	if path == "" || len(path) > UnixPathMax {
		return false
	}
	a := (*unix.RawSockaddrUnix)(unsafe.Pointer(&s.raw))
	*a = unix.RawSockaddrUnix{Family: unix.AF_UNIX}
	for i := range len(path) {
		a.Path[i] = int8(path[i])
	}
	s.size = uint32(2 + len(path) + 1)
	if path[0] == '@' {
		a.Path[0] = 0
		s.size-- // abstract names have no terminating zero
	}
	return true
}

// Inet4 returns the address of an AF_INET Sockaddr.
func (s *Sockaddr) Inet4() (ip [4]byte, port uint16) {
	a := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw))
	return a.Addr, swap(a.Port)
}

// Inet6 returns the address of an AF_INET6 Sockaddr.
func (s *Sockaddr) Inet6() (ip [16]byte, port uint16, zone uint32) {
	a := (*unix.RawSockaddrInet6)(unsafe.Pointer(&s.raw))
	return a.Addr, swap(a.Port), a.Scope_id
}

// Unix returns the path of an AF_UNIX Sockaddr, "" for an unnamed socket.
func (s *Sockaddr) Unix() string {
	a := (*unix.RawSockaddrUnix)(unsafe.Pointer(&s.raw))
	n := min(int(s.size)-2, len(a.Path))
	if n <= 0 {
		return ""
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(a.Path[i])
	}
	if b[0] == 0 {
		b[0] = '@'
		return string(b)
	}
	for i, c := range b { // the kernel may or may not count the terminating zero
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// swap converts a port between host and network order.
func swap(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}
