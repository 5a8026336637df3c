package pool

import (
	"millrace/codec"
	"millrace/codec/h1"
	"millrace/engine"
	"millrace/engine/transport"
)

// connState is where a connection stands.
//
//	connecting ──▶ active ──▶ returning ──▶ idle
//	     │          ▲ │            │         │
//	     │          └─┼────────────┴─────────┤
//	     └────────────┴──▶ closed ◀──────────┘
type connState uint8

const (
	connConnecting connState = iota
	connActive               // has an exchange
	connReturning            // its exchange ended, the owner is being told
	connIdle                 // in Pool.idle
	connClosed
)

// conn is one HTTP/1.1 connection to a host. It carries one exchange at a time.
type conn struct {
	pool *Pool
	ec   *engine.Conn
	x    *Exchange // only valid if active

	session *transport.Session // nil without TLS
	meant   *Exchange          // while connecting: whom it is opened for alone, else nil

	older, newer *conn // in Pool.idle

	client   h1.Client
	trailers codec.Fields

	state    connState
	headDone bool // the final response head was passed on
	upgraded bool
	ended    bool // the host finished sending
	backedUp bool // the exchange saw Full, OnWriteLow has not come
	splices  bool // the body is spliced, for x.splicer
	requests uint32
	id       uint32 // number of the connection on this loop

	createdAt int64 // loop clock, ns
	idleSince int64
	rxCounted uint64 // of ec.BytesIn, what is in the stats already
	txCounted uint64
}

// newConn counts a connection of p. open or forget follows.
func newConn(p *Pool) *conn {
	c := &conn{pool: p, id: p.cluster.table.nextConn(), createdAt: p.cluster.loop.Now()}
	c.client.Reset(&p.settings.limits)
	p.countConn()
	p.cluster.Stats.CxHTTP1Total.Inc()
	return c
}

// open stores the dialled conn.
func (c *conn) open(ec *engine.Conn) {
	c.ec = ec
	c.pool.prepare(ec, c.createdAt)
	c.dedicate()
	c.pool.encrypt(ec, c)
}

// OnSession implements [transport.Owner].
func (c *conn) OnSession(s *transport.Session) { c.session = s }

// OnConnect implements [engine.Handler].
func (c *conn) OnConnect() {
	p := c.pool
	p.opened()
	c.ec.SetDeadline(0)
	p.cluster.Stats.CxConnectMs.Record(p.cluster.sinceUs(c.createdAt))
	c.state = connReturning
	if c.meant != nil {
		p.serveMeant(c)
		return
	}
	p.serve(c)
}

// attach gives the connection to x.
func (c *conn) attach(x *Exchange) {
	c.state, c.x = connActive, x
	x.state, x.pool, x.conn = exchangeActive, c.pool, c
	x.last, x.lastToken = c.ec, c.ec.Token()
	x.connID, x.session, x.isH2, x.canceled = c.id, c.session, false, false
	x.reused = c.requests > 0
	x.headSent, x.written, x.pauses = false, false, 0
	x.bytesOut, x.bytesIn = c.ec.BytesOut(), c.ec.BytesIn()
	c.requests++
	c.pool.active++
	c.pool.host.RqTotal.Add(1)
	st := &c.pool.cluster.Stats
	st.RqTotal.Inc()
	st.RqActive.Inc()
	if c.pool.settings.proxy != nil && c.pool.settings.tls == nil {
		c.sendProxyHeader(x)
	}
}

// detach frees the exchange and counts what it moved.
func (c *conn) detach() {
	x, p := c.x, c.pool
	for ; x.pauses > 0; x.pauses-- {
		c.ec.ResumeRead()
	}
	c.ec.SetReadMax(0)
	x.bytesOut, x.bytesIn = x.BytesSent(), x.BytesReceived()
	x.written = x.bytesOut > 0
	x.free()
	c.x, c.state, c.backedUp, c.splices = nil, connReturning, false, false
	c.countBytes()
	p.active--
	p.cluster.Stats.RqActive.Dec()
	p.breaker.budget.ReleaseRequest()
	p.host.RqActive.Add(-1)
}

// countBytes adds what moved since the last time.
func (c *conn) countBytes() {
	st := &c.pool.cluster.Stats
	rx, tx := c.ec.BytesIn(), c.ec.BytesOut()
	st.CxRxBytes.Add(rx - c.rxCounted)
	st.CxTxBytes.Add(tx - c.txCounted)
	c.rxCounted, c.txCounted = rx, tx
}

// cancel ends the exchange without telling the owner.
func (c *conn) cancel() {
	if !c.x.headSent && c.pool.settings.proxy == nil { // nothing was asked of the host: as good as before
		c.detach()
		c.requests--
		c.pool.serve(c)
		return
	}
	c.pool.cluster.Stats.RqTxReset.Inc()
	c.close(closeLocal)
}

// OnWriteLow implements [engine.Handler].
func (c *conn) OnWriteLow() {
	if c.backedUp {
		c.backedUp = false
		c.pool.cluster.Stats.FlowDrained.Inc()
	}
	if c.x != nil {
		c.x.Owner.OnWriteLow()
	}
}

// armIdle sets the deadline of a connection that became idle: the earlier of idle_timeout and
// max_connection_duration. It is not cleared when the connection is leased again,
// which would cost a store for each request; OnTimeout looks at the state instead.
func (c *conn) armIdle() {
	s := c.pool.settings
	c.idleSince = c.pool.cluster.loop.Now()
	if at := c.expiry(s); at != 0 {
		c.ec.SetDeadline(at)
	}
}

// expiry returns when an idle connection is to be closed, or 0 for never.
func (c *conn) expiry(s *settings) int64 {
	var at int64
	if s.idleTimeout > 0 {
		at = c.idleSince + s.idleTimeout
	}
	if old := s.oldAt(c.createdAt, c.id); old != 0 && (at == 0 || old < at) {
		at = old
	}
	return at
}

// isSpent reports whether the connection has carried max_requests_per_connection, and counts it.
func (c *conn) isSpent() bool {
	limit := c.pool.settings.maxRequests
	if limit == 0 || c.requests < limit {
		return false
	}
	c.pool.cluster.Stats.CxMaxRequests.Inc()
	return true
}

// isOld reports whether max_connection_duration is over, and counts it.
func (c *conn) isOld() bool {
	old := c.pool.settings.oldAt(c.createdAt, c.id)
	if old == 0 || c.pool.cluster.loop.Now() < old {
		return false
	}
	c.pool.cluster.Stats.CxMaxDuration.Inc()
	return true
}

// OnTimeout implements [engine.Handler].
func (c *conn) OnTimeout() {
	switch c.state {
	case connConnecting:
		c.pool.cluster.Stats.CxConnectTimeout.Inc()
		c.connectFailed(closeLocal, ConnectTimeout, timeoutText(c.ec))
	case connIdle:
		at := c.expiry(c.pool.settings)
		switch {
		case at == 0:
		case at > c.pool.cluster.loop.Now():
			c.ec.SetDeadline(at)
		case c.isOld():
			c.close(closeLocal)
		default:
			c.pool.cluster.Stats.CxIdleTimeout.Inc()
			c.close(closeLocal)
		}
	case connActive, connReturning, connClosed: // a deadline from the last idle time
	}
}
