package engine

import (
	"syscall"

	"golang.org/x/sys/unix"

	"millrace/engine/internal/sys"
)

// packetLoop is what a loop with UDP sockets has for all of them. It is made with the first.
type packetLoop struct {
	loop *Loop

	sockets []*PacketSocket // by slot
	slots   []uint32        // free ones
	count   int
	gen     uint32
	spare   []*PacketSocket // connected sockets to be used again
	dead    []*PacketSocket // closed in this turn; spare at its end

	ready    []*PacketSocket // to be read from
	at       int             // next one to take
	running  *PacketSocket   // whose handler is being called; it answers for a panic
	later    []*PacketSocket // their share of this turn is used up
	dirty    []*PacketSocket // have datagrams staged
	troubled []*PacketSocket // have something to tell their handler
	telling  bool            // RunTask will be called

	canGSO      bool
	rx          rxBatch
	tx          txBatch
	stage       []byte                         // the data of staged datagrams
	staged      int                            // how many they are
	queuedBytes int                            // of all sockets: see PacketSocket.queueBytes
	entries     *txEntry                       // free ones
	entryLeft   int                            // how many more may be on the list of free ones
	sendFault   func(joined int) syscall.Errno // tests: what sendmmsg fails with
}

const (
	slotPacket = 1 << 30 // set, beside slotListener, in the slots of UDP sockets

	// packetSpareMax bounds the closed sockets that are kept to be used again.
	packetSpareMax = 1024
	// packetStageBytes bounds the datagrams staged in a turn. When it is full they leave at once.
	packetStageBytes = 256 << 10
	// packetStageMax bounds their number.
	packetStageMax = 4096
	// packetEntriesSpare bounds the records of datagrams that are kept to be used again.
	packetEntriesSpare = 1024
)

// packetLoop returns what the loop has for UDP sockets.
func (l *Loop) packetLoop() *packetLoop {
	if l.packets == nil {
		l.packets = &packetLoop{
			loop: l, canGSO: probeGSO(), entryLeft: packetEntriesSpare,
			stage: make([]byte, 0, packetStageBytes),
		}
		l.packets.rx.init()
	}
	return l.packets
}

// probeGSO reports whether the kernel knows UDP_SEGMENT (Linux 4.18).
func probeGSO() bool {
	fd, errno := sys.DatagramSocket(unix.AF_INET)
	if errno != 0 {
		return false
	}
	defer sys.Close(fd)
	_, errno = sys.GetInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
	return errno == 0
}

// lease returns a socket whose fields are zero.
func (p *packetLoop) lease() *PacketSocket {
	n := len(p.spare)
	if n == 0 {
		return new(PacketSocket)
	}
	s := p.spare[n-1]
	p.spare[n-1], p.spare = nil, p.spare[:n-1]
	*s = PacketSocket{}
	return s
}

// add puts s into epoll, edge-triggered. Not for EPOLLOUT yet: each datagram that leaves would be an edge.
func (p *packetLoop) add(s *PacketSocket, fd int, h PacketHandler) syscall.Errno {
	var at uint32
	if n := len(p.slots); n > 0 {
		at = p.slots[n-1]
		p.slots = p.slots[:n-1]
	} else {
		at = uint32(len(p.sockets))
		p.sockets = append(p.sockets, nil)
	}
	p.gen++
	s.loop, s.fd, s.handler = p.loop, int32(fd), h
	s.slot, s.gen = at, p.gen
	s.maxDatagram, s.queueMax = MaxDatagramDefault, PacketQueueDefault
	s.gso, s.gsoMax = p.canGSO, gsoBytesMax
	if errno := sys.EpollAdd(p.loop.epfd, fd, sys.In|sys.Edge, slotListener|slotPacket|at, s.gen); errno != 0 {
		p.slots = append(p.slots, at)
		s.gone, s.fd = true, -1
		return errno
	}
	p.sockets[at] = s
	p.count++
	return 0
}

// remove forgets s. A connected one is used again after the turn; others may be held by handlers that
// come after one another.
func (p *packetLoop) remove(s *PacketSocket) {
	p.sockets[s.slot] = nil
	p.slots = append(p.slots, s.slot)
	p.count--
	if s.connected {
		p.dead = append(p.dead, s)
	}
}

// event handles an event of epoll.
func (p *packetLoop) event(slot, gen, bits uint32) {
	if slot >= uint32(len(p.sockets)) || p.sockets[slot] == nil || p.sockets[slot].gen != gen {
		p.loop.stats.StaleEvents.Inc()
		return
	}
	s := p.sockets[slot]
	if bits&sys.Out != 0 && s.blocked {
		p.unblock(s)
	}
	if bits&(sys.In|sys.Err|sys.Hup) != 0 {
		s.readable = true
		p.makeReady(s)
	}
}

func (p *packetLoop) makeReady(s *PacketSocket) {
	if !s.queued {
		s.queued = true
		p.ready = append(p.ready, s)
	}
}

// run receives from all sockets that have something.
func (p *packetLoop) run() {
	if s := p.running; s != nil { // its handler panicked: the rest of that batch is lost
		p.running = nil
		p.again(s)
	}
	for p.at < len(p.ready) {
		s := p.ready[p.at]
		p.ready[p.at] = nil
		p.at++
		s.queued = false
		p.running = s
		p.receive(s)
		p.running = nil
		p.loop.endEvent()
	}
	p.ready, p.later, p.at = p.later, p.ready[:0], 0
}

// again receives from s in the next turn.
func (p *packetLoop) again(s *PacketSocket) {
	if s.readable && !s.queued && !s.gone {
		s.queued = true
		p.later = append(p.later, s)
	}
}

// pending reports whether something waits for the next turn already.
func (p *packetLoop) pending() bool { return p != nil && len(p.ready)+len(p.dirty) > 0 }

// report notes what went wrong with s, for its handler to hear of later in the turn.
func (p *packetLoop) report(s *PacketSocket, t PacketTrouble, errno syscall.Errno, count uint64) {
	if s.trouble == nil {
		s.trouble = new([packetTroubles]PacketError)
	}
	e := &s.trouble[t]
	e.Trouble, e.Errno = t, errno
	e.Count += count
	if s.troubled || s.gone {
		return
	}
	s.troubled = true
	p.troubled = append(p.troubled, s)
	if !p.telling {
		p.telling = true
		p.loop.Later(p)
	}
}

// RunTask tells handlers what went wrong. It implements [Task].
func (p *packetLoop) RunTask() {
	defer func() { // in case one panics
		if p.telling = len(p.troubled) > 0; p.telling {
			p.loop.Later(p)
		}
	}()
	for n := len(p.troubled); n > 0 && len(p.troubled) > 0; n-- {
		last := len(p.troubled) - 1
		s := p.troubled[last]
		p.troubled[last], p.troubled = nil, p.troubled[:last]
		s.troubled = false
		p.tell(s)
	}
}

func (p *packetLoop) tell(s *PacketSocket) {
	for i := range s.trouble {
		e := s.trouble[i]
		if e.Count == 0 || s.handler == nil {
			continue
		}
		s.trouble[i] = PacketError{}
		s.handler.OnPacketError(s, e)
	}
}

// reap makes the sockets closed in this turn usable again, when nothing can refer to them any more.
func (p *packetLoop) reap() {
	for i, s := range p.dead {
		p.dead[i] = nil
		if !s.queued && !s.dirty && !s.troubled && len(p.spare) < packetSpareMax {
			p.spare = append(p.spare, s)
		}
	}
	p.dead = p.dead[:0]
}

// end closes all sockets with the loop.
func (p *packetLoop) end() {
	for i := 0; i < len(p.sockets); i++ {
		s := p.sockets[i]
		if s == nil {
			continue
		}
		h := s.handler
		s.Close()
		if h != nil {
			h.OnPacketClose(s)
		}
	}
}
