package engine

import (
	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
)

// A Flow is the two ends of a datagram's way: plain data, comparable, fit for the key of a map.
type Flow struct {
	remote, local inetAddr
}

// FlowFrom makes a flow of two addresses, which are not unix sockets.
func FlowFrom(remote, local Addr) Flow { return Flow{remote: remote.inet, local: local.inet} }

// Remote returns the address of the peer.
func (f *Flow) Remote() Addr { return Addr{inet: f.remote} }

// Local returns our address: the one the peer used, also on a socket bound to all addresses. It has no IP
// if the datagram went to a group.
func (f *Flow) Local() Addr { return Addr{inet: f.local} }

// toKernelIn writes a in the form a socket of this family takes: an IPv6 socket knows IPv4 addresses as
// mapped ones.
func (a *inetAddr) toKernelIn(domain int32, sa *sys.Sockaddr) {
	if domain == unix.AF_INET {
		sa.PutInet4([4]byte(a.ip[:4]), a.port)
		return
	}
	sa.PutInet6(a.ip6(), a.port, a.zone)
}

// ip6 returns the address as an IPv6 one.
func (a *inetAddr) ip6() [16]byte {
	if a.family != family4 {
		return a.ip
	}
	return [16]byte{10: 0xff, 11: 0xff, 12: a.ip[0], 13: a.ip[1], 14: a.ip[2], 15: a.ip[3]}
}

// source sets the address a datagram leaves from. It leaves c alone if that is the kernel's choice.
func (a *inetAddr) source(domain int32, c *sys.Control) {
	switch {
	case a.family == familyNone || a.family == familyAny:
	case domain == unix.AF_INET:
		c.IP, c.Has4 = a.ip, true
	default:
		c.IP, c.Has6 = a.ip6(), true
	}
}

// localOf returns our address of a datagram as its ancillary data tells it.
func localOf(c *sys.Control, port uint16) inetAddr {
	a := inetAddr{port: port}
	switch {
	case c.Has4 && c.IP != [16]byte{}:
		a.ip, a.family = c.IP, family4
	case c.Has6 && isMapped(&c.IP):
		copy(a.ip[:4], c.IP[12:])
		a.family = family4
	case c.Has6 && c.IP != [16]byte{} && c.IP[0] != groupPrefix:
		a.ip, a.family = c.IP, family6
	}
	return a
}

// groupPrefix is the first byte of IPv6 multicast addresses. RFC 4291 section 2.7
const groupPrefix = 0xff
