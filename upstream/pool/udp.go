package pool

import (
	"millrace/engine"
	"millrace/engine/stats"
	"millrace/upstream"
)

// UDPStats counts the UDP sessions of one cluster on one loop, under cluster.<name>.udp. Whoever makes
// sessions registers it.
type UDPStats struct {
	SessTxDatagrams        stats.Counter `stat:"sess_tx_datagrams" help:"datagrams sent to hosts"`
	SessRxDatagrams        stats.Counter `stat:"sess_rx_datagrams" help:"datagrams received from hosts"`
	SessRxDatagramsDropped stats.Counter `stat:"sess_rx_datagrams_dropped" help:"datagrams from hosts that were too long, or lost because the kernel's buffer was full"`
	SessTxErrors           stats.Counter `stat:"sess_tx_errors" help:"datagrams to hosts that could not be sent"`
	SessRxErrors           stats.Counter `stat:"sess_rx_errors" help:"errors of receiving from hosts, such as that nobody listens there"`
}

// UDP is the socket of one UDP session to one host. It is embedded in what the owner keeps for the session.
// The owner is the handler of the socket.
type UDP struct {
	cluster *Cluster
	host    *upstream.Host
	budget  *upstream.Budget
	socket  *engine.PacketSocket
	seen    *upstream.HostSet // the cluster's hosts when the host was last looked at
}

// UDPResult is the answer to OpenUDP.
type UDPResult uint8

const (
	// UDPOpen: the session has its socket.
	UDPOpen UDPResult = iota
	// UDPOverflow: max_connections of the cluster is reached. Counted; the UDP is free.
	UDPOverflow
	// UDPFailed: no socket can be had, or not from that source. The UDP is free.
	UDPFailed
)

// OpenUDP connects u to h. It counts against max_connections of priority default, as a connection does. Without a
// source in o the session comes from where the cluster says.
func (c *Cluster) OpenUDP(u *UDP, h *upstream.Host, o *engine.PacketDialOptions, handler engine.PacketHandler) UDPResult {
	if u.socket != nil {
		panic("BUG: pool: open of a UDP that is not free")
	}
	b := c.shared.Budgets[upstream.Default]
	if !b.TryConnection() {
		c.Stats.CxOverflow.Inc()
		return UDPOverflow
	}
	if !h.TryConnection(c.settings.hostConnsMax) {
		b.ReleaseConnection()
		c.Stats.CxOverflow.Inc()
		return UDPOverflow
	}
	from := *o
	if d := c.settings.dial; d != nil && from.Source.IsZero() {
		from.Source = d.Source.WithPort(0) // sessions to one host cannot share a port
		from.Transparent, from.Freebind, from.Mark = d.Transparent, d.Freebind, d.Mark
	}
	s, err := c.loop.DialPacket(h.Target(), &from, handler)
	if err != nil {
		h.ReleaseConnection()
		b.ReleaseConnection()
		h.CxConnectFail.Add(1)
		return UDPFailed
	}
	u.cluster, u.host, u.budget, u.socket, u.seen = c, h, b, s, c.hosts
	h.CxTotal.Add(1)
	h.RqActive.Add(1) // what least_request compares
	return UDPOpen
}

// Send sends b to the host at the end of the turn.
func (u *UDP) Send(b []byte) {
	u.cluster.Stats.CxTxBytes.Add(uint64(len(b)))
	u.socket.Send(b)
}

// Received counts what the owner has heard from the host.
func (u *UDP) Received(b []byte) { u.cluster.Stats.CxRxBytes.Add(uint64(len(b))) }

// Host returns the host, also after Close.
func (u *UDP) Host() *upstream.Host { return u.host }

// LocalAddr returns the address of the socket. It costs a system call.
func (u *UDP) LocalAddr() engine.Addr { return u.socket.LocalAddr() }

// Close sends what is staged and frees u.
func (u *UDP) Close() {
	u.socket.Close()
	u.socket = nil
	u.host.ReleaseConnection()
	u.host.RqActive.Add(-1)
	u.budget.ReleaseConnection()
}

// Standing is what has become of the host of a session.
type Standing uint8

const (
	HostStays     Standing = iota
	HostUnhealthy          // better moved to another one, if there is a healthy one
	HostGone               // it, or the whole cluster, is not in the configuration any more
)

// Standing looks after the host, if anything in the cluster has changed since. It is cheap: it may be
// called for each datagram.
func (u *UDP) Standing() Standing {
	c := u.cluster
	if u.seen == c.hosts && !c.removed {
		return HostStays
	}
	switch {
	case c.removed || !c.hosts.Has(u.host):
		return HostGone
	case !u.host.Healthy():
		return HostUnhealthy
	}
	u.seen = c.hosts
	return HostStays
}
