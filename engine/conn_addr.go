package engine

import (
	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
)

// RemoteAddr returns the address of the peer. It is stored at accept. It stays known until
// the end of the turn in which c is closed, but for the path of a unix socket.
func (c *Conn) RemoteAddr() Addr {
	switch {
	case c.flags&flagPeerPath != 0:
		return c.loop.peerPaths[c.slot]
	case c.peer.family != familyUnix || c.flags&flagClosed != 0:
		return Addr{inet: c.peer}
	}
	var sa sys.Sockaddr
	if sys.PeerAddr(int(c.fd), &sa) != 0 {
		return Addr{inet: c.peer}
	}
	return addrFromKernel(&sa)
}

// SetRemoteAddr sets what RemoteAddr returns from now on: the address that a proxy in front of
// us says its client has. The zero Addr stands for unknown.
func (c *Conn) SetRemoteAddr(a Addr) {
	c.loop.owner.assert()
	c.dropPeerPath()
	c.peer = a.inet
	if a.IsUnix() { // rare, so that no conn has room for it
		if c.loop.peerPaths == nil {
			c.loop.peerPaths = map[uint32]Addr{}
		}
		c.loop.peerPaths[c.slot] = a
		c.flags |= flagPeerPath
	}
}

// dropPeerPath forgets what SetRemoteAddr has put aside.
func (c *Conn) dropPeerPath() {
	if c.flags&flagPeerPath != 0 {
		c.flags &^= flagPeerPath
		delete(c.loop.peerPaths, c.slot)
	}
}

// LocalAddr returns the local address of c. It asks the kernel once.
func (c *Conn) LocalAddr() Addr {
	if c.local != nil {
		return *c.local
	}
	if c.flags&flagClosed != 0 {
		return Addr{}
	}
	a, err := LocalAddr(int(c.fd))
	if err != nil {
		return Addr{}
	}
	c.local = c.loop.intern(a)
	return a
}

// SetLocalAddr sets what LocalAddr returns from now on: where the client wanted to go, as the
// packet filter or a proxy in front of us says.
func (c *Conn) SetLocalAddr(a Addr) {
	c.loop.owner.assert()
	c.local = c.loop.intern(a)
	c.flags |= flagLocalSet
}

// LocalRestored reports whether LocalAddr is where the client wanted to go, as SetLocalAddr has said, and not only where it
// came to.
func (c *Conn) LocalRestored() bool { return c.flags&flagLocalSet != 0 }

// OriginalDst returns where the client wanted to go before the packet filter redirected it here
// (SO_ORIGINAL_DST), or for a transparent listener the address it was given (TPROXY). It reports
// false when the kernel knows of neither. It asks the kernel each time.
func (c *Conn) OriginalDst() (Addr, bool) {
	if c.flags&flagClosed != 0 {
		return Addr{}, false
	}
	fd, sa := int(c.fd), &c.loop.sockaddr
	if sys.LocalAddr(fd, sa) != 0 {
		return Addr{}, false
	}
	local := fromKernel(sa)
	switch local.family {
	case family4, family6:
	default:
		return Addr{}, false
	}
	if sys.OriginalDst(fd, local.family == family6, sa) == 0 {
		return Addr{inet: fromKernel(sa)}, true
	}
	// The option of an IPv6 socket and that of IPv4 are the same bit, but each family has its own name for it.
	level, option := unix.SOL_IP, unix.IP_TRANSPARENT
	if local.family == family6 {
		level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	}
	if on, errno := sys.GetInt(fd, level, option); errno == 0 && on != 0 {
		return Addr{inet: local}, true
	}
	return Addr{}, false
}

// localAddrsMax is how many local addresses a loop remembers. Accepted conns have few
// between them, so that each need not hold its own.
const localAddrsMax = 32

// intern returns a pointer to a value equal to a, the same one for equal addresses as far
// as possible.
func (l *Loop) intern(a Addr) *Addr {
	for _, p := range l.localAddrs {
		if *p == a {
			return p
		}
	}
	p := new(Addr) // and not &a, which would be made before it is known to be needed
	*p = a
	if len(l.localAddrs) < localAddrsMax {
		l.localAddrs = append(l.localAddrs, p)
	} else {
		l.localAddrs[l.rng.IntN(localAddrsMax)] = p // dialled conns push each other out
	}
	return p
}
