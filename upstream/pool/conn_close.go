package pool

import (
	"errors"

	"millrace/engine"
	"millrace/engine/transport"
)

// closer says which side ended a connection.
type closer uint8

const (
	closeLocal closer = iota
	closeRemote
	closeEngine // the engine has closed it already, because of the host
)

// close ends the connection, and its exchange if it has one, without telling the owner.
func (c *conn) close(by closer) {
	if c.state == connClosed {
		return
	}
	active := c.x != nil
	if active {
		c.detach()
	} else if c.state == connIdle {
		c.pool.unpark(c)
	}
	c.countBytes()
	switch {
	case by == closeEngine:
	case active || c.ec.Transport() == nil:
		c.ec.Close()
	default:
		c.ec.CloseLinger(0) // with close_notify
	}
	c.pool.countDestroy(by, active, c.createdAt, c.requests)
	c.forget()
	c.pool.settle()
}

// fail ends the connection and tells the owner, if there is one.
func (c *conn) fail(by closer, why ResetReason) { c.failWith(by, why, "") }

// failWith is fail with what the owner is told.
func (c *conn) failWith(by closer, why ResetReason, text string) {
	x := c.x
	if x != nil && by != closeLocal {
		c.pool.cluster.Stats.RqRxReset.Inc()
	}
	c.close(by)
	if x != nil {
		x.Owner.OnReset(why, text)
	}
}

// forget takes the connection out of every count.
func (c *conn) forget() {
	p := c.pool
	if c.state == connConnecting {
		p.opened()
	}
	c.state = connClosed
	if c.meant != nil {
		c.meant.meant, c.meant = nil, nil
	}
	p.uncountConn()
}

// countConn counts a connection that was admitted and begins to open.
func (p *Pool) countConn() {
	p.conns++
	p.connecting++
	p.cluster.connecting++
	if p.root != nil {
		p.root.inNames++
	}
	p.cluster.Stats.CxTotal.Inc()
	p.cluster.Stats.CxActive.Inc()
	p.host.CxTotal.Add(1)
}

// uncountConn counts one that is gone.
func (p *Pool) uncountConn() {
	p.conns--
	if p.root != nil {
		p.root.inNames--
	}
	p.cluster.Stats.CxActive.Dec()
	p.host.ReleaseConnection()
	p.breaker.budget.ReleaseConnection()
}

// countDestroy counts the end of an open connection.
func (p *Pool) countDestroy(by closer, active bool, createdAt int64, requests uint32) {
	st := &p.cluster.Stats
	st.RqPerCx.Record(uint64(requests))
	st.CxLengthMs.Record(p.cluster.sinceUs(createdAt))
	st.CxDestroy.Inc()
	if by == closeLocal {
		st.CxDestroyLocal.Inc()
	} else {
		st.CxDestroyRemote.Inc()
	}
	if !active {
		return
	}
	st.CxDestroyActive.Inc()
	if by == closeLocal {
		st.CxDestroyLocalActive.Inc()
	} else {
		st.CxDestroyRemoteActive.Inc()
	}
}

// countConnectFail counts a connection that did not open.
func (p *Pool) countConnectFail() {
	p.cluster.Stats.CxConnectFail.Inc()
	p.host.CxConnectFail.Add(1)
}

// countBind counts a connection without a socket if that is because of its source address.
func (c *Cluster) countBind(err error) {
	if errors.Is(err, engine.ErrBind) {
		c.Stats.BindErrors.Inc()
	}
}

// connectFailed ends a connection that did not open, and the wait of all that wait for its host.
func (c *conn) connectFailed(by closer, why ResetReason, text string) {
	if by != closeEngine {
		c.ec.Close()
	}
	c.pool.countConnectFail()
	c.forget()
	c.pool.failPending(why, text)
	c.pool.settle()
}

// endOfLoop ends everything that hangs on the connection; nothing new opens.
func (c *conn) endOfLoop() {
	c.pool.cluster.table.ended = true
	if c.state != connConnecting {
		c.fail(closeEngine, LocalClose)
		return
	}
	c.forget()
	c.pool.failPending(LocalClose, "")
	c.pool.settle()
}

// OnClose implements [engine.Handler].
func (c *conn) OnClose(why engine.CloseReason) {
	switch {
	case c.state == connClosed:
	case why == engine.CloseLoopEnd:
		c.endOfLoop()
	case c.state == connConnecting:
		c.connectFailed(closeEngine, ConnectFailure, errorText(c.ec))
	default:
		c.failWith(closeEngine, ConnectionTermination, errorText(c.ec))
	}
}

// errorText returns what the kernel or TLS said, or "".
func errorText(ec *engine.Conn) string {
	if err := ec.TransportError(); err != nil {
		return transport.Explain(err)
	}
	if e := ec.Errno(); e != 0 {
		return e.Error() // constant text
	}
	return ""
}
