package engine

import (
	"syscall"

	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
)

// txEntry is one datagram on its way out.
type txEntry struct {
	next  *txEntry
	data  []byte // in packetLoop.stage, or owned
	flow  Flow   // only valid on sockets that are not connected
	owned bool   // data is the entry's own: it waits for the kernel
}

// txList is the datagrams of a socket, in order.
type txList struct{ head, tail *txEntry }

func (l *txList) push(e *txEntry) {
	if l.tail == nil {
		l.head = e
	} else {
		l.tail.next = e
	}
	l.tail = e
}

func (l *txList) pop() *txEntry {
	e := l.head
	l.head, e.next = e.next, nil
	if l.head == nil {
		l.tail = nil
	}
	return e
}

const (
	// gsoSegmentsMax is the most datagrams the kernel takes as one: UDP_MAX_SEGMENTS in linux/udp.h, which
	// was 64 before Linux 6.9.
	gsoSegmentsMax = 64
	// gsoBytesMax is the most bytes of such a one: what fits into an IP packet, headers not counted.
	gsoBytesMax = 65535 - 40 - 8
	// txEntryBytes is what a datagram that waits costs beside its bytes, so that empty ones count too.
	txEntryBytes = 128
	// packetQueuesMax bounds what waits for the kernel's send buffers, over all sockets of a loop.
	packetQueuesMax = 16 << 20
	// packetIovecs bounds the datagrams of one sendmmsg, joined ones counted singly.
	packetIovecs = 256
)

// txBatch is what sendmmsg is given.
type txBatch struct {
	msgs    [packetBatch]sys.Mmsg
	iovs    [packetIovecs]sys.Iovec
	names   [packetBatch]sys.Sockaddr
	control [packetBatch][sys.ControlMax]byte
	count   [packetBatch]int // datagrams of a message
}

// Send sends b to the peer of a connected socket at the end of the turn. b is copied.
func (s *PacketSocket) Send(b []byte) { s.send(b, nil) }

// Reply sends b to where a datagram of that flow came from, and from where it went to, at the end of the
// turn. b is copied.
func (s *PacketSocket) Reply(f *Flow, b []byte) { s.send(b, f) }

func (s *PacketSocket) send(b []byte, f *Flow) {
	if s.gone {
		return
	}
	p := s.loop.packets
	if len(b) > MaxDatagramLimit {
		p.report(s, PacketNotSent, unix.EMSGSIZE, 1)
		return
	}
	if s.blocked {
		if !p.mayOwn(s, b) {
			p.report(s, PacketNotSent, unix.EAGAIN, 1)
			return
		}
		e := p.newEntry(f)
		p.own(s, e, b)
		s.tx.push(e)
		return
	}
	if len(p.stage)+len(b) > cap(p.stage) || p.staged == packetStageMax {
		p.flushAll()
		if s.blocked {
			s.send(b, f)
			return
		}
	}
	e := p.newEntry(f)
	at := len(p.stage)
	p.stage = append(p.stage, b...)
	e.data = p.stage[at:len(p.stage):len(p.stage)]
	s.tx.push(e)
	p.staged++
	if !s.dirty {
		s.dirty = true
		p.dirty = append(p.dirty, s)
	}
}

// mayOwn reports whether b may wait for the kernel: the queue of s and those of all have room.
func (p *packetLoop) mayOwn(s *PacketSocket, b []byte) bool {
	cost := len(b) + txEntryBytes
	return s.queueBytes+cost <= s.queueMax && p.queuedBytes+cost <= packetQueuesMax
}

// own gives e a copy of b of its own, which counts against the limits of queues.
func (p *packetLoop) own(s *PacketSocket, e *txEntry, b []byte) {
	e.data, e.owned = append([]byte(nil), b...), true
	s.queueBytes += len(b) + txEntryBytes
	p.queuedBytes += len(b) + txEntryBytes
}

func (p *packetLoop) newEntry(f *Flow) *txEntry {
	e := p.entries
	if e == nil {
		e = new(txEntry)
	} else {
		p.entries, e.next = e.next, nil
		p.entryLeft++
	}
	if f != nil {
		e.flow = *f
	}
	return e
}

// drop takes the first n datagrams off the list of s.
func (p *packetLoop) drop(s *PacketSocket, n int) {
	for range n {
		e := s.tx.pop()
		if e.owned {
			s.queueBytes -= len(e.data) + txEntryBytes
			p.queuedBytes -= len(e.data) + txEntryBytes
		}
		e.data, e.owned = nil, false
		if p.entryLeft > 0 {
			p.entryLeft--
			e.next, p.entries = p.entries, e
		}
	}
}

// dropAll drops all datagrams of s.
func (p *packetLoop) dropAll(s *PacketSocket) (count int) {
	for s.tx.head != nil {
		p.drop(s, 1)
		count++
	}
	return count
}

// flushAll sends what is staged.
func (p *packetLoop) flushAll() {
	for i, s := range p.dirty {
		p.dirty[i] = nil
		s.dirty = false
		if !s.gone && !s.blocked {
			p.flush(s)
		}
	}
	p.dirty = p.dirty[:0]
	p.stage, p.staged = p.stage[:0], 0 // what did not leave has copies of its own
}

// flush sends the datagrams of s. Those for which the kernel has no room wait for it.
//
// Hot path: guarded by BenchmarkPacketEcho.
func (p *packetLoop) flush(s *PacketSocket) {
	retried := false
	for s.tx.head != nil {
		n := p.tx.build(s)
		sent, errno := p.sendBatch(s, n)
		for i := range sent {
			p.drop(s, p.tx.count[i])
		}
		if sent > 0 {
			retried = false
		}
		if errno == 0 {
			continue
		}
		switch {
		case errno == unix.EAGAIN:
			p.block(s)
			return
		case errno == unix.EINTR:
		case isUnreachable(errno) && s.connected && !retried:
			// The answer to an earlier datagram: this one was not tried yet.
			p.report(s, PacketUnreachable, errno, 1)
			retried = true
		case p.tx.count[0] > 1:
			s.joinLess(errno)
		default:
			p.report(s, PacketNotSent, errno, 1)
			p.drop(s, 1)
			retried = false
		}
	}
}

// joinLess makes the socket send singly what the kernel did not take as one.
func (s *PacketSocket) joinLess(errno syscall.Errno) {
	if errno == unix.EINVAL || errno == unix.EMSGSIZE {
		s.gsoMax = int32(len(s.tx.head.data)) - 1 // they are longer than the packets of that way
		return
	}
	s.gso = false // the device cannot
}

// sendBatch sends n messages. It returns how many left, and why not the next one if none did.
func (p *packetLoop) sendBatch(s *PacketSocket, n int) (int, syscall.Errno) {
	if p.sendFault != nil {
		if errno := p.sendFault(p.tx.count[0]); errno != 0 {
			return 0, errno
		}
	}
	sent, errno := sys.SendMmsg(int(s.fd), p.tx.msgs[:n])
	if errno != 0 {
		return 0, errno
	}
	return sent, 0
}

// build makes messages of the first datagrams of s, and returns how many messages.
func (b *txBatch) build(s *PacketSocket) (n int) {
	iov := 0
	for e := s.tx.head; e != nil && n < packetBatch && iov < packetIovecs; n++ {
		first, from := e, iov
		sys.SetIovec(&b.iovs[iov], e.data)
		iov++
		e = e.next
		if s.gso && len(first.data) <= int(s.gsoMax) {
			e, iov = b.join(s, first, iov)
		}
		b.count[n] = iov - from
		b.msgs[n].SetIov(b.iovs[from:iov])
		b.address(s, n, first)
	}
	return n
}

// join adds the datagrams behind first that can leave with it: to the same peer, of the same size, but for
// the last one, which may be shorter.
func (b *txBatch) join(s *PacketSocket, first *txEntry, iov int) (*txEntry, int) {
	size, total, count := len(first.data), len(first.data), 1
	e := first.next
	for ; e != nil && iov < packetIovecs && count < gsoSegmentsMax; e = e.next {
		n := len(e.data)
		if n > size || n == 0 || total+n > gsoBytesMax || !s.connected && e.flow != first.flow {
			return e, iov
		}
		sys.SetIovec(&b.iovs[iov], e.data)
		iov, count, total = iov+1, count+1, total+n
		if n < size {
			return e.next, iov
		}
	}
	return e, iov
}

// address sets to whom message n goes, from which address, and in which segments.
func (b *txBatch) address(s *PacketSocket, n int, e *txEntry) {
	m := &b.msgs[n]
	var c sys.Control
	if b.count[n] > 1 {
		c.Segment = len(e.data)
	}
	if s.connected {
		m.SetName(nil)
	} else {
		e.flow.remote.toKernelIn(s.domain, &b.names[n])
		m.SetName(&b.names[n])
		if s.wildcard {
			e.flow.local.source(s.domain, &c)
		}
	}
	m.SetControl(c.Append(b.control[n][:0]))
}

// block keeps what is left of s until the kernel has room.
func (p *packetLoop) block(s *PacketSocket) {
	s.blocked = true
	_ = sys.EpollMod(p.loop.epfd, int(s.fd), sys.In|sys.Out|sys.Edge, slotListener|slotPacket|s.slot, s.gen)
	kept := 0
	for e := s.tx.head; e != nil; e = e.next {
		if !e.owned {
			if !p.mayOwn(s, e.data) {
				break
			}
			p.own(s, e, e.data)
		}
		kept++
	}
	p.cut(s, kept)
}

// cut drops what is behind the first n datagrams of s.
func (p *packetLoop) cut(s *PacketSocket, n int) {
	var kept txList
	for range n {
		kept.push(s.tx.pop())
	}
	lost := p.dropAll(s)
	s.tx = kept
	if lost > 0 {
		p.report(s, PacketNotSent, unix.EAGAIN, uint64(lost))
	}
}

// unblock goes on sending.
func (p *packetLoop) unblock(s *PacketSocket) {
	s.blocked = false
	p.flush(s)
	if !s.blocked {
		_ = sys.EpollMod(p.loop.epfd, int(s.fd), sys.In|sys.Edge, slotListener|slotPacket|s.slot, s.gen)
	}
}
