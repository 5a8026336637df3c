package pool

import "millrace/codec"

// OnData implements [engine.Handler]: it feeds the codec until the bytes are used up, the owner
// pauses, or the exchange ends.
//
// Hot path: TestExchangeAllocs, BenchmarkExchange.
func (c *conn) OnData(b []byte) int {
	n := 0
	for n < len(b) {
		x := c.x
		if x == nil || !x.headSent { // bytes nobody asked for
			c.countBroken(codec.ReasonUnsolicited)
			c.fail(closeRemote, ConnectionTermination)
			return len(b)
		}
		if c.splices { // what it spliced to broke, and took nobody knows how much: Cancel follows
			x.PauseRead()
		}
		if c.ec.ReadPaused() {
			return n
		}
		ev := &c.pool.cluster.table.event
		if !c.headDone {
			ev.Response = x.Owner.ResponseHead()
		}
		ev.Trailers = &c.trailers
		used, err := c.client.Feed(b[n:], ev)
		n += used
		if err != nil {
			c.countBroken(err.Reason)
			c.fail(closeLocal, ProtocolError)
			return len(b)
		}
		if ev.Kind == codec.EventNone {
			return n
		}
		if ev.End {
			c.finish(ev, len(b)-n)
			return len(b)
		}
		c.handle(x, ev)
		if c.x != x { // cancelled from inside
			return len(b)
		}
		if c.splices { // the rest of b goes the same way
			return n
		}
	}
	return n
}

// countBroken counts the rule that the host broke.
func (c *conn) countBroken(why codec.Reason) {
	c.pool.cluster.Stats.CxProtocolError.Inc()
	c.pool.cluster.Stats.Broken.Inc(why)
}

// handle passes on an event that does not end the response.
func (c *conn) handle(x *Exchange, ev *codec.Event) {
	switch ev.Kind {
	case codec.EventHead:
		c.upgraded = c.client.Tunnel()
		c.headDone = ev.Response.Status >= 200 || c.upgraded
		x.Owner.OnResponseHead(false)
	case codec.EventData:
		c.countBytes() // a tunnel may live for days
		x.Owner.OnResponseData(ev.Data, false)
	}
}

// finish ends the exchange: the response is complete, with rest bytes after it. The
// connection is free before the owner is told, so that a retry from inside gets it, unless
// others have waited longer.
func (c *conn) finish(ev *codec.Event, rest int) {
	x, p := c.x, c.pool
	keep := c.keep(rest) && (p.next(true) != nil || p.welcomes())
	c.detach()
	if keep && p.next(true) == nil {
		p.park(c)
	}
	tell(x.Owner, ev)
	if c.state != connReturning { // parked, and perhaps leased or closed since
		return
	}
	if keep {
		p.serve(c)
	} else {
		c.close(closeLocal)
	}
}

// keep reports whether the connection may carry another request: not when the host
// answered before it had taken the whole request, nor when it sent more than the answer.
func (c *conn) keep(rest int) bool {
	if rest > 0 {
		c.countBroken(codec.ReasonUnsolicited)
		return false
	}
	if c.pool.settings.proxy != nil { // its header speaks for one client
		return false
	}
	return !c.ended && c.client.Reusable() && c.ec.Buffered() == 0 && !c.isSpent() && !c.isOld()
}

// tell passes on the event that ends a response.
func tell(o Owner, ev *codec.Event) {
	switch ev.Kind {
	case codec.EventHead:
		o.OnResponseHead(true)
	case codec.EventData:
		o.OnResponseData(ev.Data, true)
	case codec.EventTrailers:
		o.OnResponseTrailers(ev.Trailers)
	}
}

// OnEOF implements [engine.Handler]. The end of the connection is the end of a response that has no
// other framing; anything else it cuts short.
func (c *conn) OnEOF() {
	if c.x == nil || !c.x.headSent || c.splices { // or a splice broke before it saw this end
		c.fail(closeRemote, ConnectionTermination)
		return
	}
	ev := &c.pool.cluster.table.event
	if !c.headDone {
		ev.Response = c.x.Owner.ResponseHead()
	}
	ev.Trailers = &c.trailers
	if err := c.client.EOF(ev); err != nil || ev.Kind == codec.EventNone || !ev.End {
		c.fail(closeRemote, ConnectionTermination)
		return
	}
	c.ended = true
	c.finish(ev, 0)
}

// OnSplice implements [engine.Handler]: bytes of the body went past us. After eof, OnEOF follows and
// says whether the host was allowed to end there.
func (c *conn) OnSplice(n int64, done, eof bool) {
	x := c.x
	if x == nil || !c.splices {
		return
	}
	c.splices = !done
	c.client.Skip(0, n)
	c.countBytes()
	if n > 0 {
		x.splicer.OnSpliced(n)
	}
	if c.x == x && done && !eof && c.client.ResponseDone() {
		ev := &c.pool.cluster.table.event
		*ev = codec.Event{Kind: codec.EventData, End: true}
		c.finish(ev, 0)
	}
}
