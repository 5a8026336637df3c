package engine

import (
	"syscall"

	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
)

const (
	// packetBatch is the most datagrams one recvmmsg or sendmmsg takes.
	packetBatch = 64
	// packetReceiveBytes is what one recvmmsg can bring, over all sockets of a loop: 16 times what the kernel joins, or 64
	// datagrams of up to 16 KiB. Pages of it that are never reached cost nothing.
	packetReceiveBytes = 1 << 20
)

// rxBatch is what recvmmsg fills. All sockets of a loop receive into it.
type rxBatch struct {
	msgs    [packetBatch]sys.Mmsg
	iovs    [packetBatch]sys.Iovec
	names   [packetBatch]sys.Sockaddr
	control [packetBatch][sys.ControlMax]byte
	buf     []byte

	parsed   sys.Control
	datagram Datagram
}

func (b *rxBatch) init() { b.buf = make([]byte, packetReceiveBytes) }

// prepare makes room for datagrams of a socket and returns how many it is, at most want.
func (b *rxBatch) prepare(s *PacketSocket, want int) int {
	room := int(s.maxDatagram)
	if s.gro {
		room = MaxDatagramLimit
	}
	n := min(want, packetBatch, len(b.buf)/room)
	for i := range n {
		m := &b.msgs[i]
		sys.SetIovec(&b.iovs[i], b.buf[i*room:(i+1)*room])
		m.SetIov(b.iovs[i : i+1])
		if s.connected {
			m.SetName(nil)
		} else {
			m.SetNameRoom(&b.names[i])
		}
		m.SetControl(b.control[i][:])
	}
	return n
}

// receive takes what has arrived for s, at most its share of a turn.
//
// Hot path: guarded by BenchmarkPacketEcho.
func (p *packetLoop) receive(s *PacketSocket) {
	for left := packetsPerTurn; left > 0; {
		if s.handler == nil { // closed, or SetHandler will go on
			return
		}
		want := p.rx.prepare(s, left)
		n, errno := sys.RecvMmsg(int(s.fd), p.rx.msgs[:want])
		if errno != 0 {
			if !p.receiveFailed(s, errno) {
				return
			}
			left--
			continue
		}
		// A short batch means that nothing was left at that moment; what comes later is a new edge.
		if n < want {
			s.readable = false
		}
		for i := range n {
			left -= p.deliver(s, i)
			if s.handler == nil { // closed, or the rest of the batch has nobody
				return
			}
		}
		if n < want {
			return
		}
	}
	p.loop.stats.ReadShareHit.Inc()
	p.again(s)
}

// receiveFailed sorts the errors of recvmmsg. It reports whether to try again.
func (p *packetLoop) receiveFailed(s *PacketSocket, errno syscall.Errno) bool {
	switch {
	case errno == unix.EAGAIN:
		s.readable = false
		return false
	case errno == unix.EINTR:
	case isUnreachable(errno):
		p.report(s, PacketUnreachable, errno, 1)
	default:
		p.report(s, PacketReceiveFailed, errno, 1)
	}
	return true
}

// isUnreachable reports whether errno is what an ICMP message made of a socket: it says something of the
// peer, and was taken from the socket by being returned. ip(7), udp(7)
func isUnreachable(errno syscall.Errno) bool {
	switch errno {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENONET, unix.EPROTO,
		unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.EACCES, unix.ECONNRESET:
		return true
	}
	return false
}

// deliver gives message i of the batch to the handler, one datagram after the other if the kernel has
// joined several. It returns how many there were.
func (p *packetLoop) deliver(s *PacketSocket, i int) int {
	b := &p.rx
	m, d := &b.msgs[i], &b.datagram
	b.parsed.Parse(b.control[i][:min(uint64(m.Hdr.Controllen), sys.ControlMax)])
	if !s.connected {
		m.NameInto(&b.names[i])
		d.Flow.remote = fromKernel(&b.names[i])
		d.Flow.local = s.bound
		if s.wildcard {
			d.Flow.local = localOf(&b.parsed, s.port)
		}
	} else {
		d.Flow = Flow{}
	}
	p.countOverrun(s, &b.parsed)
	if m.Truncated() {
		p.report(s, PacketTruncated, 0, 1)
		return 1
	}
	data := sys.IovecBytes(&b.iovs[i])[:m.Len]
	return p.split(s, d, data, b.parsed.Segment)
}

// split delivers the datagrams of size segment that data is made of, the last of which may be shorter. 0 says
// that data is one.
func (p *packetLoop) split(s *PacketSocket, d *Datagram, data []byte, segment int) (count int) {
	if segment <= 0 || segment > len(data) {
		segment = len(data)
	}
	for {
		n := min(segment, len(data))
		d.Data = data[:n:n]
		count++
		if n > int(s.maxDatagram) { // as the kernel does it without GRO
			p.report(s, PacketTruncated, 0, 1)
		} else {
			s.handler.OnDatagram(s, d)
		}
		data = data[n:]
		if len(data) == 0 || s.handler == nil {
			return count
		}
	}
}

// countOverrun reports what the kernel has dropped since the last datagram.
func (p *packetLoop) countOverrun(s *PacketSocket, c *sys.Control) {
	if !c.HasOverrun {
		return
	}
	if n := c.Overrun - s.overrun; n != 0 {
		p.report(s, PacketOverrun, 0, uint64(n))
	}
	s.overrun = c.Overrun
}
