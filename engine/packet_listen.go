package engine

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
)

// PacketOptions says how to bind a UDP socket. The zero value is usable.
type PacketOptions struct {
	// ReusePort lets each loop bind a socket of its own to the same address.
	ReusePort bool
	// Transparent takes datagrams that were meant for addresses of others (IP_TRANSPARENT); it needs
	// CAP_NET_ADMIN.
	Transparent bool
	// Freebind allows to bind to an address that is not there yet.
	Freebind bool
	// ReceiveBuffer and SendBuffer are the sizes of the kernel's buffers, in bytes; 0 is the system's
	// setting. The kernel cuts them to net.core.rmem_max and wmem_max.
	ReceiveBuffer, SendBuffer int
	// Mark is the SO_MARK of what is sent, 0 for none; it needs CAP_NET_ADMIN.
	Mark uint32
	// IPv4Compat makes "[::]:53" take IPv4 too, as ":53" does.
	IPv4Compat bool
	// SocketOptions are set in their order, those of state SocketListening never.
	SocketOptions []SocketOption
}

// PacketDialOptions says how to connect a UDP socket to one peer. The zero value is usable.
type PacketDialOptions struct {
	// Source is the address to send from; none leaves it to the kernel. Port 0 takes a free port.
	Source Addr
	// Transparent allows an address of others as Source; it needs CAP_NET_ADMIN.
	Transparent bool
	// Freebind, Mark, ReceiveBuffer and SendBuffer are as in PacketOptions.
	Freebind                  bool
	Mark                      uint32
	ReceiveBuffer, SendBuffer int
	// GRO is as PacketSocket.SetGRO.
	GRO bool
	// MaxDatagram is as PacketSocket.SetMaxDatagram; 0 means MaxDatagramDefault.
	MaxDatagram int
}

// ListenPacket binds a UDP socket. It is for the control side. Port 0 takes a free port: see LocalAddr.
func ListenPacket(addr Addr, opts PacketOptions) (fd int, err error) {
	fd, err = bindPacket(addr, opts)
	if addr.inet.family == familyAny && errors.Is(err, unix.EAFNOSUPPORT) {
		v4 := Addr{inet: inetAddr{family: family4, port: addr.inet.port}} // no IPv6 here
		fd, err = bindPacket(v4, opts)
	}
	if err != nil {
		return -1, fmt.Errorf("listen on %s (udp): %w", addr, err)
	}
	return fd, nil
}

func bindPacket(addr Addr, opts PacketOptions) (int, error) {
	var sa sys.Sockaddr
	if addr.IsUnix() || !addr.toKernel(&sa) {
		return -1, errors.New("not an address for UDP")
	}
	fd, errno := sys.DatagramSocket(addr.domain())
	if errno != 0 {
		return -1, fmt.Errorf("socket: %w", errno)
	}
	if err := setPacketOptions(fd, addr, opts); err != nil {
		sys.Close(fd)
		return -1, err
	}
	if errno := sys.Bind(fd, &sa); errno != 0 {
		sys.Close(fd)
		return -1, fmt.Errorf("bind: %w", errno)
	}
	if err := setOptions(fd, opts.SocketOptions, SocketBound); err != nil {
		sys.Close(fd)
		return -1, err
	}
	return fd, nil
}

// setPacketOptions sets what must be set before bind.
func setPacketOptions(fd int, addr Addr, o PacketOptions) error {
	v6 := addr.domain() == unix.AF_INET6
	set := func(name string, level, option, value int) error {
		if errno := sys.SetInt(fd, level, option, value); errno != 0 {
			return fmt.Errorf("setsockopt %s: %w", name, errno)
		}
		return nil
	}
	var errs []error
	if v6 {
		only := 1 // "[::]:53" leaves IPv4 to "0.0.0.0:53"; ":53" takes both
		if addr.inet.family == familyAny || o.IPv4Compat {
			only = 0
		}
		errs = append(errs, set("IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only))
	}
	// Not SO_REUSEADDR: with UDP it lets a second process take the datagrams of the first.
	if o.ReusePort {
		errs = append(errs, set("SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	}
	if o.Freebind {
		errs = append(errs, set("IP_FREEBIND", unix.IPPROTO_IP, unix.IP_FREEBIND, 1))
	}
	if o.Transparent {
		errs = append(errs, wrapErrno("setsockopt IP_TRANSPARENT", setTransparent(fd, v6)))
	}
	errs = append(errs, wrapErrno("setsockopt", setPacketBuffers(fd, o.ReceiveBuffer, o.SendBuffer, o.Mark)),
		setOptions(fd, o.SocketOptions, SocketPrebind))
	return errors.Join(errs...)
}

func wrapErrno(what string, errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w", what, errno)
}

func setTransparent(fd int, v6 bool) syscall.Errno {
	if v6 {
		return sys.SetInt(fd, unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT, 1)
	}
	return sys.SetInt(fd, unix.IPPROTO_IP, unix.IP_TRANSPARENT, 1)
}

// setPacketBuffers sets what bound and connected sockets have in common.
func setPacketBuffers(fd, receive, send int, mark uint32) syscall.Errno {
	for _, o := range [...]struct{ option, value int }{
		{unix.SO_RCVBUF, receive}, {unix.SO_SNDBUF, send}, {unix.SO_MARK, int(mark)},
	} {
		if o.value == 0 {
			continue
		}
		if errno := sys.SetInt(fd, unix.SOL_SOCKET, o.option, o.value); errno != 0 {
			return errno
		}
	}
	return 0
}

// CheckTransparent returns why datagrams cannot be sent from addresses of others, or nil. For the control side.
func CheckTransparent() error {
	fd, errno := sys.DatagramSocket(unix.AF_INET)
	if errno != 0 {
		return fmt.Errorf("socket: %w", errno)
	}
	defer sys.Close(fd)
	return wrapErrno("setsockopt IP_TRANSPARENT", setTransparent(fd, false))
}

// DialPacket makes a UDP socket that is connected to addr: it hears from that peer alone, and of the network's
// errors. o may be nil. The error is ErrConnsMax or a syscall.Errno. h hears nothing before the turn ends.
func (l *Loop) DialPacket(addr *Addr, o *PacketDialOptions, h PacketHandler) (*PacketSocket, error) {
	l.owner.assert()
	p := l.packetLoop()
	if l.Conns()+p.count >= l.cfg.ConnsMax {
		l.stats.ConnsMaxHit.Inc()
		return nil, ErrConnsMax
	}
	if addr.IsUnix() || !addr.toKernel(&l.sockaddr) {
		return nil, unix.EAFNOSUPPORT
	}
	domain := addr.domain()
	fd, errno := sys.DatagramSocket(domain)
	if errno != 0 {
		return nil, errno
	}
	if o != nil {
		errno = o.apply(fd, domain)
	}
	if errno == 0 {
		errno = sys.Connect(fd, &l.sockaddr)
	}
	if errno != 0 {
		sys.Close(fd)
		return nil, errno
	}
	s := p.lease()
	s.domain, s.connected = int32(domain), true
	if errno := p.add(s, fd, h); errno != 0 {
		sys.Close(fd)
		return nil, errno
	}
	_ = sys.SetInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1) // without it losses are not counted
	if o != nil {
		s.SetGRO(o.GRO)
		if o.MaxDatagram > 0 {
			s.SetMaxDatagram(o.MaxDatagram)
		}
	}
	return s, nil
}

// apply sets the options that come before connect.
func (o *PacketDialOptions) apply(fd, domain int) syscall.Errno {
	if errno := setPacketBuffers(fd, o.ReceiveBuffer, o.SendBuffer, o.Mark); errno != 0 {
		return errno
	}
	if o.Transparent {
		if errno := setTransparent(fd, domain == unix.AF_INET6); errno != 0 {
			return errno
		}
	}
	if o.Freebind {
		if errno := sys.SetInt(fd, unix.IPPROTO_IP, unix.IP_FREEBIND, 1); errno != 0 {
			return errno
		}
	}
	if o.Source.IsZero() {
		return 0
	}
	var sa sys.Sockaddr
	o.Source.inet.toKernelIn(int32(domain), &sa)
	return sys.Bind(fd, &sa)
}
