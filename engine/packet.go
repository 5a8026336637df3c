package engine

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
)

// A PacketSocket is one UDP socket on one loop: bound, as listeners have it, or connected to one peer.
//
//	          recvmmsg            OnDatagram
//	kernel ────────────▶ Loop ────────────────▶ PacketHandler
//	   ▲                                            │
//	   └── sendmmsg, end of turn ◀── staged ◀───────┘ Send, Reply
//
// Datagrams that are sent in one turn leave together at its end, those of one size to one peer as one
// (UDP_SEGMENT) where the kernel can. What the kernel joined on the way in (UDP_GRO) is taken apart again: a
// handler sees single datagrams always.
//
// Nothing fails synchronously: what went wrong is told to the handler later in the turn.
type PacketSocket struct {
	// Immutable until closed.
	loop      *Loop
	fd        int32
	slot, gen uint32
	domain    int32 // unix.AF_INET or AF_INET6
	connected bool
	wildcard  bool // bound to all addresses: which of ours a datagram went to is asked for
	port      uint16
	bound     inetAddr // only valid if not wildcard

	// Owned by the loop.
	handler     PacketHandler
	maxDatagram int32 // longer ones are dropped
	gone        bool
	readable    bool // an edge was seen and is not used up
	queued      bool // in packetLoop.ready
	dirty       bool // in packetLoop.dirty
	blocked     bool // the kernel's send buffer is full: wait for EPOLLOUT
	troubled    bool // in packetLoop.troubled
	gro, gso    bool
	gsoMax      int32  // longer datagrams leave singly
	overrun     uint32 // SO_RXQ_OVFL as of the last datagram that had it

	tx         txList
	queueBytes int // owned by entries of tx, and what they cost themselves
	queueMax   int
	trouble    *[packetTroubles]PacketError // nil until the first
}

// A PacketHandler is what a [PacketSocket] calls, on its loop. It is never called from inside a method of a
// PacketSocket.
type PacketHandler interface {
	// OnDatagram takes a datagram. d and its Data are valid during the call only.
	OnDatagram(s *PacketSocket, d *Datagram)
	// OnPacketError tells what went wrong since it was last called. The socket goes on.
	OnPacketError(s *PacketSocket, e PacketError)
	// OnPacketClose is the last call: the loop ends, and the socket with it. It is not called after Close or
	// Detach.
	OnPacketClose(s *PacketSocket)
}

// A Datagram is one that arrived.
type Datagram struct {
	Data []byte
	// Flow says whence it came and where it went. Zero on connected sockets, which know their peer.
	Flow Flow
}

// PacketTrouble is what can go wrong with a socket that goes on nevertheless.
type PacketTrouble uint8

const (
	// PacketTruncated: a datagram was longer than MaxDatagram and was dropped.
	PacketTruncated PacketTrouble = iota
	// PacketOverrun: the kernel dropped datagrams because its receive buffer was full.
	PacketOverrun
	// PacketUnreachable: the network reported that the peer of a connected socket cannot be reached, or nobody
	// listens there (ECONNREFUSED).
	PacketUnreachable
	// PacketReceiveFailed: receiving failed for another reason.
	PacketReceiveFailed
	// PacketNotSent: datagrams were dropped because the kernel refused them, or, with EAGAIN, because the
	// queue of the socket was full.
	PacketNotSent

	packetTroubles = 5
)

// String returns the trouble in lower snake case.
func (t PacketTrouble) String() string {
	names := [...]string{"truncated", "overrun", "unreachable", "receive_failed", "not_sent"}
	if int(t) < len(names) {
		return names[t]
	}
	return "unknown"
}

// A PacketError says how often something went wrong since the last one of its kind.
type PacketError struct {
	Trouble PacketTrouble
	Errno   syscall.Errno // the last one, 0 if there is none to it
	Count   uint64        // 1 or more
}

// The limits of a socket.
const (
	// MaxDatagramDefault is the longest datagram that is taken unless SetMaxDatagram says otherwise: what an
	// Ethernet frame carries. As Envoy's max_rx_datagram_size.
	MaxDatagramDefault = 1500
	// MaxDatagramLimit is the longest there can be: the 16 bits of the length in a UDP header.
	MaxDatagramLimit = 65535
	// PacketQueueDefault bounds the bytes that wait for the kernel's send buffer, for each socket, each
	// datagram counted with txEntryBytes more.
	PacketQueueDefault = 256 << 10
	// packetsPerTurn bounds the datagrams one socket receives in a turn, so that a flood of one does not starve the
	// others; the rest follows in the next turn.
	packetsPerTurn = 256
)

// AddPacketSocket starts to receive on fd, which becomes the loop's; on error it stays the caller's. h may be
// nil until SetHandler: what arrives waits in the kernel. A socket belongs to one loop: others bind sockets of their own with ReusePort, and the kernel keeps each
// flow on one of them.
func (l *Loop) AddPacketSocket(fd int, h PacketHandler) (*PacketSocket, error) {
	l.owner.assert()
	addr, err := LocalAddr(fd)
	if err != nil {
		return nil, fmt.Errorf("engine: add packet socket: %w", err)
	}
	domain, errno := sys.GetInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if errno != 0 {
		return nil, fmt.Errorf("engine: add packet socket: SO_DOMAIN: %w", errno)
	}
	s := &PacketSocket{domain: int32(domain), port: addr.inet.port, bound: addr.inet}
	s.wildcard = addr.NetIP().IsUnspecified()
	if err := s.askForControl(fd); err != nil {
		return nil, fmt.Errorf("engine: add packet socket: %w", err)
	}
	if errno := l.packetLoop().add(s, fd, h); errno != 0 {
		return nil, fmt.Errorf("engine: add packet socket: epoll_ctl: %w", errno)
	}
	return s, nil
}

// askForControl makes the kernel tell where a datagram went, and how many were lost.
func (s *PacketSocket) askForControl(fd int) error {
	_ = sys.SetInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1) // without it losses are not counted
	if !s.wildcard {
		return nil
	}
	level, name := unix.IPPROTO_IP, unix.IP_PKTINFO
	if s.domain == unix.AF_INET6 {
		level, name = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
	}
	if errno := sys.SetInt(fd, level, name, 1); errno != 0 {
		return fmt.Errorf("setsockopt IP_PKTINFO: %w", errno)
	}
	return nil
}

// Loop returns the loop of the socket.
func (s *PacketSocket) Loop() *Loop { return s.loop }

// Fd returns the socket's descriptor, -1 when it is closed. It stays the socket's.
func (s *PacketSocket) Fd() int {
	if s.gone {
		return -1
	}
	return int(s.fd)
}

// LocalAddr returns the address the socket is bound to.
func (s *PacketSocket) LocalAddr() Addr {
	if s.gone {
		return Addr{}
	}
	a, err := LocalAddr(int(s.fd))
	if err != nil {
		return Addr{}
	}
	return a
}

// SetHandler makes h hear of what arrives from now on. While it is nil, what arrives waits in the kernel.
func (s *PacketSocket) SetHandler(h PacketHandler) {
	if s.gone {
		return
	}
	s.handler = h
	if h != nil && s.readable {
		s.loop.packets.makeReady(s)
	}
}

// SetMaxDatagram bounds the datagrams that are taken. Longer ones are dropped and told as PacketTruncated.
func (s *PacketSocket) SetMaxDatagram(size int) {
	s.maxDatagram = int32(min(max(size, 1), MaxDatagramLimit))
}

// SetQueueMax bounds the bytes that wait for the kernel's send buffer.
func (s *PacketSocket) SetQueueMax(size int) { s.queueMax = size }

// SetGRO lets the kernel join datagrams of one peer on their way in, which are taken apart here again: one
// system call then brings up to 64 KiB. It reports whether the kernel can.
func (s *PacketSocket) SetGRO(on bool) bool {
	if s.gone || s.gro == on {
		return s.gro
	}
	value := 0
	if on {
		value = 1
	}
	if sys.SetInt(int(s.fd), unix.IPPROTO_UDP, unix.UDP_GRO, value) == 0 {
		s.gro = on
	}
	return s.gro
}

// SetGSO allows or forbids to hand several datagrams to the kernel as one. It is allowed at first where
// the kernel can.
func (s *PacketSocket) SetGSO(on bool) { s.gso = on && s.loop.packets.canGSO }

// Close sends what is staged and closes the socket. What the kernel does not take at once is lost.
func (s *PacketSocket) Close() {
	if s.gone {
		return
	}
	fd := s.takeOff()
	sys.Close(fd)
	s.loop.fdFreed()
}

// Detach sends what is staged, takes the socket off the loop and gives its fd back, for a successor: what
// is queued on it is not lost.
func (s *PacketSocket) Detach() int {
	if s.gone {
		return -1
	}
	fd := int(s.fd)
	// The fd may be duplicated in another process, so closing it later does not take it out of this epoll.
	_ = sys.EpollDel(s.loop.epfd, fd)
	return s.takeOff()
}

// takeOff removes the socket from the loop, which has let go of its fd.
func (s *PacketSocket) takeOff() (fd int) {
	p := s.loop.packets
	if !s.blocked {
		p.flush(s)
	}
	p.dropAll(s)
	fd = int(s.fd)
	s.gone, s.readable, s.handler, s.fd = true, false, nil, -1
	p.remove(s)
	return fd
}
