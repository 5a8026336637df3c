package transport

import (
	"millrace/engine"
	"millrace/engine/internal/record"
)

// Kernel TLS is for what is sent, and begins with the first splice that is to end at a connection: large bodies then go from socket to
// socket. What is received stays with the record layer, and so do all connections that only exchange small messages, for which the
// kernel is not cheaper. docs/decisions/0026-kernel-tls.md

// MayOffload implements engine.Offloader.
func (c *conn) MayOffload() bool {
	k := c.side.kernel
	if k == nil || c.rec == nil || c.refused || c.shut {
		return false
	}
	version, suite := c.rec.Suite()
	return k.ok[kernelSuite{version, cipherOf(suite)}]
}

// Offload implements engine.Offloader.
func (c *conn) Offload(w *engine.Wire) bool {
	if !c.MayOffload() {
		return false
	}
	if c.rec.HasReplies() {
		c.reply(w)
	}
	s, ok := c.rec.Sealer()
	if !ok || w.Conn().Buffered() > 0 {
		return false
	}
	errno := w.Seal(kernelSeal(&s))
	clear(s.Key)
	if errno != 0 {
		c.refused = true
		c.side.stats.KernelRefused.Inc()
		return false
	}
	c.rec.Give()
	c.side.stats.Kernel.Inc()
	return true
}

// lastWord sends the alert that ends the connection, if it was not sent. Precondition: the kernel seals.
func (c *conn) lastWord(w *engine.Wire) {
	if msg, ok := c.rec.LastWord(); ok {
		w.WriteLast(byte(record.TypeAlert), msg)
	}
}
