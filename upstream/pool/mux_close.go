package pool

import (
	"millrace/codec/h2"
	"millrace/engine"
)

// close ends a connection that carries nothing.
func (m *mux) close(by closer) {
	if m.state == muxClosed {
		return
	}
	m.shut(by)
	m.pool.settle()
}

// fail ends the connection and tells the owners of what it carries, but for those whose response has come whole and is
// only kept for them.
func (m *mux) fail(by closer, why ResetReason) { m.failWith(by, why, "") }

// failWith is fail with what the owners are told.
func (m *mux) failWith(by closer, why ResetReason, text string) {
	switch m.state {
	case muxClosed:
		return
	case muxConnecting:
		m.connectFailed(by, why, text)
		return
	}
	m.shut(by)
	for st := m.first; st != nil; st = m.first {
		m.unlink(st)
		if st.ended {
			continue
		}
		x := st.x
		m.detach(st)
		if by != closeLocal {
			m.pool.cluster.Stats.RqRxReset.Inc()
		}
		x.Owner.OnReset(why, text)
	}
	m.pool.settle()
}

// shut closes the socket and takes the connection out of every count.
func (m *mux) shut(by closer) {
	p := m.pool
	p.unlist(m)
	if m.resting {
		m.unrest()
	}
	if by == closeLocal && !m.client.Failed() {
		p.cluster.Stats.H2GoAwaySent.Inc()
		m.client.SendGoAway(m.client.LastStream(), h2.NoError)
		m.ec.Staged(m.stage())
	}
	m.countBytes()
	switch by {
	case closeLocal:
		m.ec.CloseLinger(0)
	case closeRemote:
		m.ec.Close()
	}
	p.countDestroy(by, m.first != nil, m.createdAt, m.requests)
	m.forget()
}

// forget takes the connection out of every count.
func (m *mux) forget() {
	p := m.pool
	if m.state == muxConnecting {
		p.opened()
	}
	m.state = muxClosed
	p.cluster.muxSpare -= m.noted
	m.noted = 0
	p.uncountConn()
}

// connectFailed ends a connection that did not open, and the wait of all that wait for its host.
func (m *mux) connectFailed(by closer, why ResetReason, text string) {
	if by != closeEngine {
		m.ec.CloseLinger(0)
	}
	p := m.pool
	p.countConnectFail()
	m.forget()
	p.failPending(why, text)
	p.settle()
}

// OnClose implements [engine.Handler].
func (m *mux) OnClose(why engine.CloseReason) {
	switch {
	case m.state == muxClosed:
	case why == engine.CloseLoopEnd:
		m.endOfLoop()
	case m.state == muxConnecting:
		m.connectFailed(closeEngine, ConnectFailure, errorText(m.ec))
	default:
		m.failWith(closeEngine, ConnectionTermination, errorText(m.ec))
	}
}

// endOfLoop ends everything that hangs on the connection; nothing new opens.
func (m *mux) endOfLoop() {
	m.pool.cluster.table.ended = true
	m.fail(closeEngine, LocalClose)
}
