package l4

import (
	"millrace/engine"
	"millrace/filters"
	"millrace/filters/accesslog"
)

// A conn is one connection until its terminal filter has it, and its network filters ever after. It is the
// connection's handler until then.
//
//	listen ─▶ choose ─▶ new ─▶ transport ─▶ handshake ─▶ established ─▶ accept ─▶ terminal ─▶ over
//	  │ bytes   │ none    │ a filter pauses, or closes          │                     ▲
//	  └─────────┴─────────┴─────────────────────────────────────┴─────────────────────┘
type conn struct {
	filters.Connection
	l      *Listener
	gate   Gate // that admitted it
	id     uint64
	steps  []listenerStep // those of the listener when it was accepted
	chain  *Chain         // nil until one is chosen
	phase  phase
	flags  connFlags
	at     uint16 // index of the next step or network filter
	passed uint16 // network filters that OnNewConnection has reached
	up     uint16 // network filters that OnEstablished has reached
	shown  int    // bytes of the input that were shown and not consumed

	handler engine.Handler   // of the terminal filter
	data    *filterTransport // the read and write filters, or nil

	list       *connList
	prev, next *conn
}

// phase is where a connection is on its way.
type phase uint8

const (
	phaseListen      phase = iota // in listener filters
	phaseChoose                   // they are done
	phaseNew                      // in OnNewConnection of the chain's filters
	phaseTransport                // they are done
	phaseHandshake                // waiting for the transport
	phaseEstablished              // in OnEstablished of the chain's filters
	phaseAccept                   // they are done
	phaseTerminal                 // the terminal filter has it
	phaseOver
)

type connFlags uint8

const (
	connEOF     connFlags = 1 << iota // the peer has finished sending
	connHeld                          // a network filter has paused
	connPaused                        // reading is paused, because bytes came while it was held
	connClosing                       // Close was called in phaseTerminal, and the handler will hear of it
	connHanded                        // another listener had it before
	connNoChain                       // no chain takes it
)

// start begins with the first listener filter, and returns the handler to begin with, nil if the connection is over.
func (c *conn) start() engine.Handler {
	c.peek(nil)
	switch c.phase {
	case phaseOver:
		return nil
	case phaseTerminal:
		return c.handler
	case phaseListen:
		if c.list == nil {
			c.listen()
		}
	}
	return c
}

// OnConnect implements engine.Handler.
func (c *conn) OnConnect() {}

// OnData implements engine.Handler.
func (c *conn) OnData(b []byte) int {
	switch {
	case c.phase == phaseListen:
		n := c.peek(b)
		c.shown = len(b) - n
		return n
	case c.phase < phaseTerminal:
		// Bytes wait for the terminal filter. What has come is enough: the kernel keeps the rest.
		c.pauseRead()
	}
	return 0
}

// OnEOF implements engine.Handler.
func (c *conn) OnEOF() {
	c.flags |= connEOF
	switch {
	case c.phase != phaseListen:
	case c.shown == 0:
		c.peek(nil)
	default:
		// What is kept is shown once more, with end.
		c.IO.PauseRead()
		c.IO.ResumeRead()
	}
}

// OnWriteLow implements engine.Handler.
func (c *conn) OnWriteLow() {}

// OnSplice implements engine.Handler.
func (c *conn) OnSplice(int64, bool, bool) {}

// OnTimeout implements engine.Handler.
func (c *conn) OnTimeout() {
	if c.phase != phaseListen {
		return
	}
	c.l.opt.Stats.PreCxTimeout.Inc()
	if !c.l.opt.ContinueOnTimeout {
		c.Details = "listener_filters_timeout"
		c.end()
		return
	}
	if !c.handOver() {
		c.choose()
		return
	}
	if !c.Ended() {
		c.peek(nil)
	}
	if c.phase != phaseListen {
		return
	}
	if c.list == nil {
		c.listen()
	}
	if c.shown > 0 { // it is shown to the filters of the other listener
		c.IO.PauseRead()
		c.IO.ResumeRead()
	}
}

// OnClose implements engine.Handler.
func (c *conn) OnClose(why engine.CloseReason) {
	if c.phase == phaseListen && why != engine.CloseLoopEnd {
		c.l.opt.Stats.ListenerFilterError.Inc()
	}
	c.left() // not Close: the last word of the transport may still be on its way
}

// peek runs listener filters over b, and returns how much of it they consumed. When all are done the
// connection goes on.
func (c *conn) peek(b []byte) (consumed int) {
	for int(c.at) < len(c.steps) {
		n, v := c.runStep(b[consumed:])
		consumed += n
		switch {
		case c.Ended():
			return consumed
		case v == filters.ListenerClose:
			c.end()
			return consumed
		case v == filters.ListenerWait && c.flags&connEOF != 0:
			c.l.opt.Stats.ListenerFilterRemoteClose.Inc()
			c.Details = "listener_filter_remote_close"
			c.end()
			return consumed
		case v == filters.ListenerWait:
			return consumed
		}
		c.at++
	}
	if !c.handOver() {
		c.choose()
		return consumed
	}
	if !c.Ended() {
		consumed += c.peek(b[consumed:])
	}
	if c.phase == phaseListen && c.list == nil {
		c.listen()
	}
	return consumed
}

// runStep runs one contract of one listener filter.
func (c *conn) runStep(b []byte) (consumed int, v filters.ListenerVerdict) {
	step := &c.steps[c.at]
	if step.accept != nil {
		return 0, step.accept.OnAccept(&c.Connection)
	}
	n, v := step.peek.OnPeek(&c.Connection, b, c.flags&connEOF != 0)
	if n < 0 || n > len(b) || n > 0 && v == filters.ListenerWait {
		panic("BUG: l4: a listener filter consumed what it must not")
	}
	return n, v
}

// choose leaves the listener filters behind and begins with a filter chain.
func (c *conn) choose() {
	c.leaveListener()
	c.IO.SetDeadline(0)
	c.phase = phaseChoose
	c.step()
}

// leaveListener takes the connection off the list of those in listener filters.
func (c *conn) leaveListener() {
	if c.list == &c.l.conns {
		c.list.remove(c)
		c.l.opt.Stats.PreCxActive.Dec()
	}
}

// step moves the connection on until it has to wait.
func (c *conn) step() {
	for ready := true; ready; {
		switch c.phase {
		case phaseChoose: // then New
			ready = c.pickChain()
		case phaseNew: // then Transport; not ready while a filter pauses
			ready = c.runNew()
		case phaseTransport: // then Established, or Handshake, which is not ready
			ready = c.setTransport()
		case phaseEstablished: // then Accept; not ready while a filter pauses
			ready = c.runEstablished()
		case phaseAccept: // then Terminal
			c.accept()
			return
		case phaseListen, phaseHandshake, phaseTerminal, phaseOver:
			return
		}
	}
}

// pickChain finds the chain.
func (c *conn) pickChain() bool {
	c.chain = c.l.find(c)
	if c.chain == nil {
		c.l.opt.Stats.NoFilterChainMatch.Inc()
		c.Flags |= accesslog.FlagNoRoute
		c.flags |= connNoChain
		c.end()
		return false
	}
	c.ChainName = c.chain.name
	c.chain.conns.add(c)
	c.phase, c.at = phaseNew, 0
	return true
}

// runNew runs OnNewConnection.
func (c *conn) runNew() bool {
	for int(c.at) < len(c.chain.filters) {
		f := c.chain.filters[c.at].onNew
		c.at++
		c.passed = c.at
		if f != nil && !c.goesOn(f.OnNewConnection(&c.Connection)) {
			return false
		}
	}
	c.phase, c.at = phaseTransport, 0
	return true
}

// runEstablished runs OnEstablished.
func (c *conn) runEstablished() bool {
	for int(c.at) < len(c.chain.filters) {
		f := c.chain.filters[c.at].onEstablished
		c.at++
		c.up = c.at
		if f != nil && !c.goesOn(f.OnEstablished(&c.Connection)) {
			return false
		}
	}
	c.phase = phaseAccept
	return true
}

// goesOn does what a network filter has answered, and reports whether the next one may run.
func (c *conn) goesOn(v filters.NetworkVerdict) bool {
	switch {
	case c.Ended():
		return false
	case v == filters.NetworkPause:
		c.flags |= connHeld
		return false
	case v == filters.NetworkClose:
		c.end()
		return false
	}
	return true
}

// Resume implements filters.ConnectionChain.
func (c *conn) Resume(*filters.Connection) {
	switch {
	case c.flags&connHeld != 0:
		c.flags &^= connHeld
		c.step()
	case c.data != nil:
		c.data.resume()
	}
}

// accept gives the connection to the terminal filter.
func (c *conn) accept() {
	if c.chain.terminal == nil {
		c.end()
		return
	}
	c.list.remove(c)
	c.phase = phaseTerminal
	h := c.chain.terminal.Accept(c.IO, &c.Connection)
	switch {
	case c.phase == phaseOver:
		return
	case h == nil:
		c.end()
		return
	}
	c.handler = h
	c.IO.SetHandler(h) // shows it what is kept
	c.resumeRead()
}

// pauseRead stops reading while filters hold the connection.
func (c *conn) pauseRead() {
	if c.flags&connPaused == 0 {
		c.flags |= connPaused
		c.IO.PauseRead()
	}
}

// resumeRead takes pauseRead back.
func (c *conn) resumeRead() {
	if c.flags&connPaused != 0 {
		c.flags &^= connPaused
		c.IO.ResumeRead()
	}
}

// Close implements filters.ConnectionChain. A terminal filter hears of it when nobody is inside a call of its
// connection: at the end of the turn.
func (c *conn) Close(*filters.Connection) {
	switch {
	case c.phase != phaseTerminal:
		c.end()
	case c.flags&connClosing == 0:
		c.flags |= connClosing
		c.l.opt.Loop.Later(c)
	}
}

// RunTask implements engine.Task: it ends a connection of the terminal filter.
func (c *conn) RunTask() {
	if c.phase == phaseOver {
		return
	}
	h := c.IO.Handler() // not the one of Accept any more, if the connection turned out to speak HTTP/2
	c.IO.Close()
	h.OnClose(engine.CloseTransport)
}

// end closes a connection that the terminal filter does not have.
func (c *conn) end() {
	if c.phase == phaseOver {
		return
	}
	c.IO.Close()
	c.left()
}

// left is end for a connection that is closed already.
func (c *conn) left() {
	if c.phase == phaseOver {
		return
	}
	c.over()
	if c.gate != nil {
		c.gate.Left(c.IO, &c.Connection)
	}
}

// over tells those who have heard of the connection that it has ended.
func (c *conn) over() {
	if c.phase == phaseOver {
		return
	}
	terminal := c.phase == phaseTerminal
	c.noteTransportError()
	c.phase = phaseOver
	c.leaveListener()
	if c.list != nil {
		c.list.remove(c)
	}
	c.End()
	if c.chain != nil {
		for i := range c.chain.filters {
			f := &c.chain.filters[i]
			heard := f.onNew != nil && i < int(c.passed) || f.onEstablished != nil && i < int(c.up) || terminal
			if f.onEnd != nil && heard {
				f.onEnd.OnEnd(&c.Connection)
			}
		}
	}
	c.l.log(c)
}

// fill takes what is matched from a connection.
func (in *MatchInput) fill(c *filters.Connection) {
	local, remote := c.IO.LocalAddr(), c.IO.RemoteAddr()
	in.Destination, in.DestinationPort = local.NetIP().WithZone(""), uint16(local.Port())
	in.Source, in.SourcePort = remote.NetIP().WithZone(""), uint16(remote.Port())
	in.DirectSource = c.DirectRemote.NetIP().WithZone("")
	in.ServerName, in.TransportProtocol = c.ServerName, c.TransportProtocol
	in.ApplicationProtocols = c.ApplicationProtocols
}

// A connList is a list of connections.
type connList struct {
	first *conn
	count int
}

func (l *connList) add(c *conn) {
	if c.next = l.first; c.next != nil {
		c.next.prev = c
	}
	l.first, c.list = c, l
	l.count++
}

func (l *connList) remove(c *conn) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		l.first = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.prev, c.next, c.list = nil, nil, nil
	l.count--
}

// closeAll ends all connections of the list.
func (l *connList) closeAll() {
	for c := l.first; c != nil; c = l.first {
		c.end()
	}
}
