package engine

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
)

// ErrConnsMax is returned by Dial when the loop has LoopConfig.ConnsMax conns.
var ErrConnsMax = errors.New("engine: connection limit of the loop reached")

// ErrBind is in the chain of what DialFrom returns when the source address cannot be had.
var ErrBind = errors.New("bind to source")

// DialOptions says how to connect. The zero value is usable.
type DialOptions struct {
	// Source is the address to connect from, of the family of the one to connect to. With port 0
	// the kernel picks a port, one that is free towards that address. The zero Addr leaves all of it to the kernel.
	Source Addr
	// Transparent lets Source be an address that is not of this machine. Its answers have to be
	// routed here. Needs CAP_NET_ADMIN or CAP_NET_RAW.
	Transparent bool
	// Freebind lets Source be an address that the machine does not have yet.
	Freebind bool
	// Mark is the SO_MARK of its packets, for routing; 0 sets none. Needs CAP_NET_ADMIN or CAP_NET_RAW.
	Mark uint32
	// KeepAlive makes the kernel probe a silent connection. Nil: it does not.
	KeepAlive *KeepAlive
	// SendBuffer and ReceiveBuffer are the sizes of the kernel's buffers in bytes, which the kernel
	// doubles and then no longer adapts; 0 leaves them to it.
	SendBuffer, ReceiveBuffer int
	// Nagle leaves TCP_NODELAY off.
	Nagle bool
	// SocketOptions are set beside those above, in order.
	SocketOptions []SocketOption
}

// Dial begins to connect to addr. It returns an error only when no socket can be had.
// h hears OnConnect or OnClose(CloseConnectFailed) later in a turn. What is written
// before OnConnect is queued.
func (l *Loop) Dial(addr *Addr, h Handler) (*Conn, error) { return l.DialFrom(addr, nil, h) }

// DialFrom is Dial with options; nil are the defaults. It also returns an error when an option
// cannot be set, or the source address cannot be had.
func (l *Loop) DialFrom(addr *Addr, o *DialOptions, h Handler) (*Conn, error) {
	l.owner.assert()
	if l.Conns() >= l.cfg.ConnsMax {
		l.stats.ConnsMaxHit.Inc()
		return nil, ErrConnsMax
	}
	var sa sys.Sockaddr
	if !addr.toKernel(&sa) {
		return nil, fmt.Errorf("engine: dial %q: not an address to connect to", addr)
	}
	fd, errno := sys.Socket(addr.domain())
	if errno != 0 {
		return nil, fmt.Errorf("engine: dial %s: socket: %w", addr, errno)
	}
	if addr.inet.family != familyUnix && (o == nil || !o.Nagle) {
		// Only fails on sockets that are not TCP.
		_ = sys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if o != nil {
		if err := l.prepareDial(fd, addr, o); err != nil {
			sys.Close(fd)
			return nil, fmt.Errorf("engine: dial %s: %w", addr, err)
		}
	}
	l.stats.Dialled.Inc()
	connectErr := sys.Connect(fd, &sa)
	// Registered after connect: a socket that is not connecting yet reports a hang-up.
	c, err := l.adopt(fd, addr.inet, h, flagConnecting)
	if err != nil {
		sys.Close(fd)
		return nil, err
	}
	switch connectErr {
	case unix.EINPROGRESS:
	case 0: // a unix socket
		c.connected()
	default:
		c.fail(CloseConnectFailed, connectErr)
	}
	return c, nil
}

// prepareDial does what must be done before connect.
func (l *Loop) prepareDial(fd int, addr *Addr, o *DialOptions) error {
	s := optionSetter{fd: fd, v6: addr.domain() == unix.AF_INET6}
	if o.SendBuffer > 0 {
		s.int("SO_SNDBUF", unix.SOL_SOCKET, unix.SO_SNDBUF, o.SendBuffer, "")
	}
	if o.ReceiveBuffer > 0 {
		s.int("SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, o.ReceiveBuffer, "")
	}
	if !addr.IsUnix() {
		if o.Mark != 0 {
			s.int("SO_MARK", unix.SOL_SOCKET, unix.SO_MARK, int(o.Mark), needRaw)
		}
		if o.KeepAlive != nil {
			s.keepAlive(o.KeepAlive)
		}
		if o.Transparent {
			s.transparent()
		}
		if o.Freebind {
			s.freebind()
		}
	}
	if s.err != nil {
		return s.err
	}
	if err := setOptions(fd, o.SocketOptions, SocketPrebind); err != nil {
		return err
	}
	if !o.Source.IsZero() {
		if err := l.bindSource(fd, addr, o); err != nil {
			return err
		}
	}
	return setOptions(fd, o.SocketOptions, SocketBound)
}

// bindSource gives the socket its source address.
func (l *Loop) bindSource(fd int, addr *Addr, o *DialOptions) error {
	src := &o.Source
	if src.domain() != addr.domain() || !src.toKernel(&l.sockaddr) {
		return fmt.Errorf("source %s is not of the same family", src)
	}
	switch {
	case addr.IsUnix():
	case src.inet.port == 0:
		// Without it bind would take one of the machine's 28,000 ports for itself, whatever the
		// destination. Where it is missing (before Linux 4.2) that is what happens.
		_ = sys.SetInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	default: // one port towards many addresses, and again soon
		_ = sys.SetInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if errno := sys.Bind(fd, &l.sockaddr); errno != 0 {
		return fmt.Errorf("%w %s: %w", ErrBind, src, errno)
	}
	return nil
}

// finishConnect looks at how connecting ended.
func (c *Conn) finishConnect() {
	if c.flags&flagHup != 0 {
		if errno := sys.SocketError(int(c.fd)); errno != 0 {
			if !c.raceOn(errno) {
				c.fail(CloseConnectFailed, errno)
			}
			return
		}
	}
	if c.flags&flagRacing != 0 {
		c.endRace()
	}
	c.connected()
}

// connected opens a dialled conn.
func (c *Conn) connected() {
	c.flags &^= flagConnecting
	c.flags |= flagWritable
	if c.wire != nil {
		c.loop.markReady(c) // begins the handshake
		return
	}
	c.flags |= flagConnectDue
	c.loop.notice(c)
	if c.out != nil {
		c.flushQueue()
	} else if c.flags&flagShut != 0 {
		c.flushed()
	}
}

// adopt makes a conn of fd and registers it: once, for everything, edge-triggered.
func (l *Loop) adopt(fd int, peer inetAddr, h Handler, state flags) (*Conn, error) {
	c := l.slab.lease()
	errno := sys.EpollAdd(l.epfd, fd, sys.In|sys.Out|sys.RdHup|sys.Edge, c.slot, c.gen)
	if errno != 0 {
		l.slab.release(c)
		return nil, fmt.Errorf("engine: epoll_ctl: %w", errno)
	}
	*c = Conn{
		loop: l, fd: int32(fd), slot: c.slot, gen: c.gen, peer: peer,
		flags: state, handler: h,
		high: int32(l.cfg.WatermarkHigh), low: int32(l.cfg.WatermarkLow),
	}
	c.timer.Init((*connTimer)(c))
	l.stats.ConnsOpen.Inc()
	return c, nil
}
