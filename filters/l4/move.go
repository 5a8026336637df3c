package l4

import (
	"millrace/engine"
	"millrace/filters"
)

// Movable reports whether a connection that its terminal filter has may go to the same filter chain on another loop. Network filters
// stand in the way: what they keep of it is their loop's.
func Movable(x *filters.Connection) bool {
	c, ok := x.Chain.(*conn)
	return ok && c.phase == phaseTerminal && c.flags&connClosing == 0 && len(c.chain.filters) == 0
}

// Adopt makes a connection that has left another loop one of chain ch of l, with the transport it has. The terminal filter comes
// next, and sets IO. x is nil for one that nothing is known of.
func (l *Listener) Adopt(x *filters.Connection, ch *Chain, d *engine.Detached) {
	if x == nil {
		return
	}
	c := x.Chain.(*conn)
	c.l, c.gate, c.chain = l, l.opt.Gate, ch
	switch t := d.Transport().(type) {
	case nil:
	case *handshake:
		ch.adopt(t.Transport)
	default:
		ch.adopt(t)
	}
}
