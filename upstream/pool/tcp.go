package pool

import (
	"millrace/engine"
	"millrace/engine/transport"
	"millrace/upstream"
)

// A TCPOwner hears of what is decided about its connection elsewhere.
type TCPOwner interface {
	// OnHostFailed tells that the host fails its health checks, and that the cluster wants its
	// connections closed then (close_connections_on_host_health_failure). It is not called from
	// inside a method of TCP.
	OnHostFailed()
}

// tcpState is where a TCP stands.
//
//	free ── Open ──▶ opening ── Connected ──▶ open
//	 ▲                  │                      │
//	 └──── Close, Reset, Closed, ConnectFailed ┘
type tcpState uint8

const (
	tcpFree    tcpState = iota // the zero value
	tcpOpening                 // connecting
	tcpOpen
)

// TCP is one connection to a host that carries bytes for one owner and is not used again. It is
// embedded in what the owner keeps for it, so it costs no allocation.
//
// The owner is the handler of the connection and tells TCP what it hears: Connected, ConnectTimedOut,
// Closed. What is counted, and what the cluster's limits bound, is done here.
//
// A host that leaves the cluster keeps its connections, as does a cluster that is removed.
type TCP struct {
	// Owner is set before Open.
	Owner TCPOwner

	cluster *Cluster
	host    *upstream.Host
	budget  *upstream.Budget
	ec      *engine.Conn
	token   engine.Token // of ec while it was this connection

	next, prev *TCP // of Cluster.tcp

	openedAt  int64  // loop clock, ns
	rxCounted uint64 // of ec.BytesIn, what is in the stats already
	txCounted uint64
	id        uint32
	state     tcpState

	session *transport.Session // nil without TLS
}

// TCPResult is the immediate answer to Open.
type TCPResult uint8

const (
	// TCPOpening: the handler hears OnConnect, OnTimeout or OnClose.
	TCPOpening TCPResult = iota
	// TCPOverflow: a circuit breaker is open. Counted; the TCP is free.
	TCPOverflow
	// TCPFailed: no socket can be had. Counted as a connection that did not open; the TCP is free.
	TCPFailed
)

// A Source is where a connection comes from, if not from where the cluster says.
type Source struct {
	// Addr is the address, which need not be one of this machine's.
	Addr engine.Addr
	// Mark is the SO_MARK of the packets, 0 for that of the cluster.
	Mark uint32
}

// A TCPTarget says where and how a TCP is to be opened.
type TCPTarget struct {
	Host     *upstream.Host
	Priority upstream.Priority
	// From is where to connect from, nil for where the cluster says.
	From *Source
	// ServerName is what TLS asks for in place of the name of the cluster's config, "" for that one. It is looked at if
	// Cluster.WantsServerName.
	ServerName string
	// Preface goes to the host first, before a TLS handshake: a PROXY header. It is only valid during the call.
	Preface []byte
}

// OpenTCP begins to connect t to a host. handler hears how it goes; its deadline is connect_timeout until
// Connected. text says why there is no socket.
func (c *Cluster) OpenTCP(t *TCP, to *TCPTarget, handler engine.Handler) (r TCPResult, text string) {
	if t.state != tcpFree {
		panic("BUG: pool: open of a TCP that is not free")
	}
	h, b := to.Host, c.shared.Budgets[to.Priority]
	if !b.TryConnection() {
		c.Stats.CxOverflow.Inc()
		return TCPOverflow, ""
	}
	if !b.TryPending() {
		b.ReleaseConnection()
		c.Stats.RqPendingOverflow.Inc()
		return TCPOverflow, ""
	}
	if !h.TryConnection(c.settings.hostConnsMax) {
		b.ReleasePending()
		b.ReleaseConnection()
		c.Stats.CxOverflow.Inc()
		return TCPOverflow, ""
	}
	t.begin(c, h, b)
	ec, err := c.loop.DialAny(h.Target(), h.Others(), c.dialOptions(to.From), handler)
	if err != nil { // no descriptor left, no such source address, or the kernel knows no way
		t.countConnectFail()
		c.countBind(err)
		t.end()
		return TCPFailed, err.Error()
	}
	t.ec, t.token = ec, ec.Token()
	limit := c.settings.bufferLimit
	ec.SetWatermarks(limit, limit/2)
	ec.SetDeadline(t.openedAt + c.settings.connectTimeout)
	if len(to.Preface) > 0 {
		ec.Write(to.Preface)
	}
	if s := c.settings.tls; s != nil {
		name := ""
		if s.auto {
			name = to.ServerName
		}
		ec.SetTransport(s.tcp.Transport(name, t))
	}
	return TCPOpening, ""
}

// dialOptions returns the cluster's options, with another source.
func (c *Cluster) dialOptions(from *Source) *engine.DialOptions {
	if from == nil {
		return c.settings.dial
	}
	o := &c.dialFrom
	*o = engine.DialOptions{}
	if c.settings.dial != nil {
		*o = *c.settings.dial
	}
	o.Source, o.Transparent = from.Addr, true
	if from.Mark != 0 {
		o.Mark = from.Mark
	}
	return o
}

// begin counts a connection that is about to open.
func (t *TCP) begin(c *Cluster, h *upstream.Host, b *upstream.Budget) {
	c.table.conns++
	t.cluster, t.host, t.budget = c, h, b
	t.state, t.id, t.openedAt = tcpOpening, c.table.conns, c.loop.Now()
	t.rxCounted, t.txCounted, t.ec, t.session = 0, 0, nil, nil
	if t.next = c.tcp; t.next != nil {
		t.next.prev = t
	}
	c.tcp = t
	st := &c.Stats
	st.CxTotal.Inc()
	st.CxActive.Inc()
	st.RqPendingTotal.Inc()
	st.RqPendingActive.Inc()
	h.CxTotal.Add(1)
	h.RqActive.Add(1)
}

// Connected is called by the handler in OnConnect.
func (t *TCP) Connected() {
	t.state = tcpOpen
	t.ec.SetDeadline(0)
	t.budget.ReleasePending()
	t.host.RqTotal.Add(1)
	t.cluster.shared.Outlier.Connected(t.host, true)
	st := &t.cluster.Stats
	st.CxConnectMs.Record(t.cluster.sinceUs(t.openedAt))
	st.RqPendingActive.Dec()
	st.RqTotal.Inc()
	st.RqActive.Inc()
}

// OnSession implements [transport.Owner].
func (t *TCP) OnSession(s *transport.Session) { t.session = s }

// Session returns what the TLS handshake of the connection found out, nil without TLS or before it is complete. It stays
// valid until the next Open.
func (t *TCP) Session() *transport.Session { return t.session }

// Opening reports whether t connects.
func (t *TCP) Opening() bool { return t.state == tcpOpening }

// IsOpen reports whether t is connected.
func (t *TCP) IsOpen() bool { return t.state == tcpOpen }

// Conn returns the connection. It stays readable until the next Open.
func (t *TCP) Conn() *engine.Conn { return t.ec }

// OpenedAt is when the last Open was, on the loop's clock.
func (t *TCP) OpenedAt() int64 { return t.openedAt }

// ID is the number of the connection among those of the loop, 0 before there was one.
func (t *TCP) ID() uint32 { return t.id }

// Host returns the host of the last Open, or nil.
func (t *TCP) Host() *upstream.Host { return t.host }

// Cluster returns the cluster of the last Open, or nil.
func (t *TCP) Cluster() *Cluster { return t.cluster }

// LocalAddr returns our address of the connection, also after the end while nothing else has its place.
func (t *TCP) LocalAddr() (a engine.Addr) {
	if t.ec != nil && t.ec.Token() == t.token {
		a = t.ec.LocalAddr()
	}
	return a
}

// RemoteAddr returns the address of the host that the connection goes to, also after the end. Precondition: there was an Open.
func (t *TCP) RemoteAddr() engine.Addr { return remoteOf(t.host, t.ec, t.token) }

// Bytes returns what was received and sent on the connection of the last Open.
func (t *TCP) Bytes() (rx, tx uint64) {
	if t.state == tcpOpen {
		return t.ec.BytesIn(), t.ec.BytesOut()
	}
	return t.rxCounted, t.txCounted
}

// ConnectTimedOut ends a connection that is not open after connect_timeout. It returns what there is to say about it.
func (t *TCP) ConnectTimedOut() (text string) {
	text = timeoutText(t.ec)
	t.cluster.Stats.CxConnectTimeout.Inc()
	t.countConnectFail()
	t.cluster.shared.Outlier.TimedOut(t.host, 504)
	t.ec.Close()
	t.end()
	return text
}

// Closed is called by the handler in OnClose. It reports whether the connection had been open, and what
// the kernel or TLS said, or "".
func (t *TCP) Closed(why engine.CloseReason) (wasOpen bool, text string) {
	text = errorText(t.ec)
	if t.state == tcpOpening {
		if why != engine.CloseLoopEnd {
			t.countConnectFail()
			t.cluster.shared.Outlier.ConnectFailed(t.host)
		}
		t.end()
		return false, text
	}
	t.finish(closeRemote)
	return true, text
}

// Close closes the connection, which may still be opening. What is queued is lost; with TLS it is not. ended says that the host
// has finished sending.
func (t *TCP) Close(ended bool) {
	if t.state == tcpOpening {
		t.cluster.Stats.RqCancelled.Inc()
		t.ec.Close()
		t.end()
		return
	}
	by := closeLocal
	if ended {
		by = closeRemote
	}
	if t.ec.Transport() != nil {
		t.ec.CloseLinger(0) // with close_notify, if there was none yet
	} else {
		t.ec.Close()
	}
	t.finish(by)
}

// Reset closes an open connection with a reset.
func (t *TCP) Reset() {
	if t.state == tcpOpening {
		t.Close(false)
		return
	}
	t.ec.Reset()
	t.finish(closeLocal)
}

// Count adds what moved since the last time to the counters of the cluster.
func (t *TCP) Count() {
	st := &t.cluster.Stats
	rx, tx := t.ec.BytesIn(), t.ec.BytesOut()
	st.CxRxBytes.Add(rx - t.rxCounted)
	st.CxTxBytes.Add(tx - t.txCounted)
	t.rxCounted, t.txCounted = rx, tx
}

// finish counts the end of a connection that was open.
func (t *TCP) finish(by closer) {
	t.Count()
	st := &t.cluster.Stats
	st.CxLengthMs.Record(t.cluster.sinceUs(t.openedAt))
	st.CxDestroy.Inc()
	st.CxDestroyActive.Inc()
	if by == closeLocal {
		st.CxDestroyLocal.Inc()
		st.CxDestroyLocalActive.Inc()
	} else {
		st.CxDestroyRemote.Inc()
		st.CxDestroyRemoteActive.Inc()
	}
	t.end()
}

func (t *TCP) countConnectFail() {
	t.cluster.Stats.CxConnectFail.Inc()
	t.host.CxConnectFail.Add(1)
}

// end takes the connection out of every count.
func (t *TCP) end() {
	st := &t.cluster.Stats
	if t.state == tcpOpening {
		t.budget.ReleasePending()
		st.RqPendingActive.Dec()
	} else {
		st.RqActive.Dec()
	}
	t.state = tcpFree
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		t.cluster.tcp = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	t.next, t.prev = nil, nil
	st.CxActive.Dec()
	t.host.ReleaseConnection()
	t.host.RqActive.Add(-1)
	t.budget.ReleaseConnection()
}

// failTCP tells the owners of connections whose host is not well any more, if the cluster wants that.
func (c *Cluster) failTCP() {
	if c.tcp == nil || !c.shared.Config.CloseConnectionsOnHostHealthFailure {
		return
	}
	var failed []*TCP // an owner may end any of them, and open others
	for t := c.tcp; t != nil; t = t.next {
		if !t.host.Healthy() {
			failed = append(failed, t)
		}
	}
	for _, t := range failed {
		if t.state != tcpFree && t.cluster == c && !t.host.Healthy() {
			t.Owner.OnHostFailed()
		}
	}
}
