package engine

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
)

// ErrConnsMax is returned by Dial when the loop has LoopConfig.ConnsMax conns.
var ErrConnsMax = errors.New("engine: connection limit of the loop reached")

// Dial begins to connect to addr. It returns an error only when no socket can be had.
// h hears OnConnect or OnClose(CloseConnectFailed) later in a turn. What is written
// before OnConnect is queued.
func (l *Loop) Dial(addr *Addr, h Handler) (*Conn, error) {
	l.owner.assert()
	if l.Conns() >= l.cfg.ConnsMax {
		l.stats.ConnsMaxHit.Inc()
		return nil, ErrConnsMax
	}
	if !addr.toKernel(&l.sockaddr) {
		return nil, fmt.Errorf("engine: dial %q: not an address to connect to", addr)
	}
	fd, errno := sys.Socket(addr.domain())
	if errno != 0 {
		return nil, fmt.Errorf("engine: dial %s: socket: %w", addr, errno)
	}
	if addr.inet.family != familyUnix {
		// Only fails on sockets that are not TCP.
		_ = sys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	l.stats.Dialled.Inc()
	connectErr := sys.Connect(fd, &l.sockaddr)
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

// finishConnect looks at how connecting ended.
func (c *Conn) finishConnect() {
	if c.flags&flagHup != 0 {
		if errno := sys.SocketError(int(c.fd)); errno != 0 {
			c.fail(CloseConnectFailed, errno)
			return
		}
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
