package filters

import "millrace/engine"

// A DatagramTerminal is the last filter of a listener for UDP: it owns the sessions it makes of the datagrams
// of one socket on one loop. It is the socket's handler.
//
//	build ─▶ Attach ─▶ sessions ─▶ Drain: no new ones ─▶ Conns is 0, or time is up: Close ─▶ Release
//
// A reload gives the socket to the terminal that follows, by its Attach. Sessions of the one before go on
// answering through the socket until they are idle; what their peers send goes to the new one. Whoever owns
// the socket closes it last: after Close or at Conns 0 of all terminals that had it.
//
// A socket that the loop closed while it ends tells its handler, by OnPacketClose; sessions end then.
type DatagramTerminal interface {
	engine.PacketHandler
	// Attach takes a socket: the terminal makes itself its handler and sets what it needs of it. It is
	// called once, unless the listener has several sockets on the loop.
	Attach(s *engine.PacketSocket)
	// Conns returns the number of its sessions.
	Conns() int
	// Drain makes no new sessions from now on.
	Drain()
	// Close ends all sessions now.
	Close()
	// Release gives back what it holds. It has no sessions and gets no more datagrams.
	Release()
}
