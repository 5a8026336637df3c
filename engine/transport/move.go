package transport

import "millrace/engine"

var _ engine.Mover = (*conn)(nil)

// Movable implements engine.Mover. Keys and sequence numbers lie in the connection itself, whoever carries it; of its loop it holds
// blocks with what has come of a record or was not read yet.
func (c *conn) Movable() bool {
	return c.opening == nil && c.in.n == 0 && c.plain.n == 0 && !c.shut && !c.eof &&
		(c.tls != nil || c.rec != nil && !c.rec.HasReplies())
}

// Leave implements engine.Mover. Acceptor.Adopt or Dialer.Adopt follows on the other loop, or Close.
func (c *conn) Leave() {
	c.side.buf.awake.forget(c)
	c.side = nil
}

// Adopt makes t, which has left another loop, go on under a. It is called on the loop of a, before Loop.Join.
//
// Precondition: t is of an Acceptor of the same filter chain.
func (a *Acceptor) Adopt(t engine.Transport) { a.side.adopt(t) }

// Adopt makes t, which has left another loop, go on under d. It is called on the loop of d, before Loop.Join.
//
// Precondition: t is of a Dialer of the same cluster.
func (d *Dialer) Adopt(t engine.Transport) { d.side.adopt(t) }

func (s *side) adopt(t engine.Transport) {
	c := t.(*conn)
	c.side = s
	if c.rec != nil {
		s.buf.awake.use(c) // it may never be
	}
}
