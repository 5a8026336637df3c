package server

import (
	"slices"

	"millrace/engine"
	"millrace/filters"
)

// packetSocket is a UDP socket on one loop.
type packetSocket struct {
	*engine.PacketSocket
	key   string
	users []filters.DatagramTerminal // those that answer through it: the last one gets what comes, the others drain
}

// nobody has a UDP socket until its configuration is in force: what comes meanwhile is lost, as before it was there.
type nobody struct{}

func (nobody) OnDatagram(*engine.PacketSocket, *engine.Datagram)      {}
func (nobody) OnPacketError(*engine.PacketSocket, engine.PacketError) {}
func (nobody) OnPacketClose(*engine.PacketSocket)                     {}

// commitPackets gives the sockets of a new UDP listener to its chain.
func (w *worker) commitPackets(sv *serving) {
	for i := range sv.listener.Sockets {
		key := sv.listener.Sockets[i].Key
		s := w.prepared.packets[key]
		if s == nil {
			continue
		}
		// Two sockets on one address would share what comes.
		w.closing = slices.DeleteFunc(w.closing, func(p *packetSocket) bool {
			if p.key != key {
				return false
			}
			p.end()
			return true
		})
		w.packets[key] = &packetSocket{PacketSocket: s, key: key}
	}
	w.attach(sv)
}

// attach gives the sockets of a UDP listener to its chain, if they have another one.
func (w *worker) attach(sv *serving) {
	if !sv.listener.UDP || !w.accepting {
		return
	}
	d := sv.datagram()
	for i := range sv.listener.Sockets {
		p := w.packets[sv.listener.Sockets[i].Key]
		if p == nil || len(p.users) > 0 && p.users[len(p.users)-1] == d {
			continue
		}
		p.users = append(slices.DeleteFunc(p.users, func(u filters.DatagramTerminal) bool { return u.Conns() == 0 }), d)
		d.Attach(p.PacketSocket)
	}
	if w.server.isStopped(sv.listener) {
		d.Drain()
	}
}

// datagram returns the only filter of a UDP listener.
func (sv *serving) datagram() filters.DatagramTerminal {
	for _, ch := range sv.chains {
		return ch.datagram
	}
	panic("BUG: server: a UDP listener has no chain")
}

// end closes the socket and the sessions that answer through it.
func (p *packetSocket) end() {
	for _, u := range p.users {
		u.Close()
	}
	p.Close()
}

// dropPackets lets go of the UDP sockets no listener has any more: they are closed when their last session has ended.
func (w *worker) dropPackets() {
	used := w.usedSockets()
	for key, p := range w.packets {
		if !used[key] {
			w.closing = append(w.closing, p)
			delete(w.packets, key)
		}
	}
}

// sweepPackets closes the sockets through which nobody answers any more.
func (w *worker) sweepPackets() {
	w.closing = slices.DeleteFunc(w.closing, func(p *packetSocket) bool {
		if slices.ContainsFunc(p.users, func(u filters.DatagramTerminal) bool { return u.Conns() > 0 }) {
			return false
		}
		p.end()
		return true
	})
}

// closePackets closes all UDP sockets.
func (w *worker) closePackets() {
	for _, p := range w.packets {
		p.end()
	}
	for _, p := range w.closing {
		p.end()
	}
	clear(w.packets)
	w.closing = nil
}
