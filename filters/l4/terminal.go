package l4

import (
	"millrace/engine"
	"millrace/filters"
)

// terminalConns are the connections of a terminal filter on one loop: the part of filters.NetworkTerminal that
// is the same for all of them.
type terminalConns struct {
	gate filters.Gate
	all  []*terminalConn // in no order
}

// A terminalConn is what each connection of a terminal filter begins with.
type terminalConn struct {
	io   *engine.Conn
	c    *filters.Connection // nil if nobody has anything to say
	list *terminalConns
	at   int
	gone bool
}

// add takes a connection in.
func (l *terminalConns) add(tc *terminalConn, io *engine.Conn, c *filters.Connection) {
	*tc = terminalConn{io: io, c: c, list: l, at: len(l.all)}
	l.all = append(l.all, tc)
}

// left takes a connection out whose socket is closed, or flushes the last bytes by itself, and tells the gate.
// It does nothing the second time.
func (tc *terminalConn) left() {
	if tc.gone {
		return
	}
	tc.gone = true
	l := tc.list
	last := len(l.all) - 1
	l.all[tc.at] = l.all[last]
	l.all[tc.at].at = tc.at
	l.all[last] = nil
	l.all = l.all[:last]
	l.gate.Left(tc.io, tc.c)
}

// Conns implements filters.NetworkTerminal.
func (l *terminalConns) Conns() int { return len(l.all) }

// Drain implements filters.NetworkTerminal. Nothing in plain bytes tells where a connection could end, so all of
// them go on, until Close.
func (l *terminalConns) Drain() {}

// Close implements filters.NetworkTerminal.
func (l *terminalConns) Close() {
	for len(l.all) > 0 {
		tc := l.all[len(l.all)-1]
		tc.io.Close()
		tc.left()
	}
}

// Release implements filters.NetworkTerminal.
func (l *terminalConns) Release() {}
