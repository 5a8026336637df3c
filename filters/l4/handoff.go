package l4

// handOver gives the connection to the listener of the address that its client wanted to reach, if there is
// another one and this one does that: with its own listener filters, limit and stats. It happens once.
// It reports whether it did.
func (c *conn) handOver() bool {
	if c.l.opt.HandOff == nil || !c.IO.LocalRestored() || c.flags&connHanded != 0 {
		return false
	}
	to := c.l.opt.HandOff(c.IO.LocalAddr())
	if to == nil || to == c.l {
		return false
	}
	c.leaveListener()
	c.IO.SetDeadline(0)
	c.flags |= connHanded
	if c.gate != nil {
		c.gate.Left(c.IO, &c.Connection)
	}
	c.l, c.gate, c.steps, c.at = to, to.opt.Gate, to.steps, 0
	if c.gate != nil && !c.gate.Admit(c.IO) {
		c.gate = nil
		c.end()
	}
	return true
}

// listen waits in the list of the listener for more bytes.
func (c *conn) listen() {
	c.l.conns.add(c)
	c.l.opt.Stats.PreCxActive.Inc()
	if c.l.opt.Timeout > 0 {
		c.IO.SetDeadline(c.Start + int64(c.l.opt.Timeout))
	}
}
