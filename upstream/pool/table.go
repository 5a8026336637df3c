package pool

import (
	"millrace/codec"
	"millrace/codec/h2"
	"millrace/engine"
	"millrace/engine/transport"
	"millrace/upstream"
)

// Table is one loop's clusters, by their [upstream.ClusterID].
type Table struct {
	loop        *engine.Loop
	newBalancer func(*upstream.Cluster) upstream.Balancer
	clusters    []*Cluster
	draining    bool
	ended       bool   // the loop ends: nothing more is opened
	siblings    bool   // there are other loops
	conns       uint32 // begun so far, which numbers them

	// event is lent to each Feed: one does for all connections, since the loop never calls a
	// handler from inside another.
	event codec.Event

	// Of HTTP/2 connections.
	scratch      h2.Scratch
	head         codec.ResponseHead // lent to each Feed: only then it is known whose it is
	trailers     codec.Fields
	streams      *stream // free ones, linked
	streamsSpare int

	noProxyInfo ProxyInfo // of exchanges whose owner knows none
	handshakes  *transport.Handshakes
}

// NewTable returns an empty table. newBalancer is called on the loop for each cluster that
// is new or whose policy changed.
func NewTable(l *engine.Loop, newBalancer func(*upstream.Cluster) upstream.Balancer) *Table {
	return &Table{loop: l, newBalancer: newBalancer}
}

// SetHandshakes gives the bounds of the TLS handshakes of the process. It is called before a cluster with TLS is set;
// without it the table has bounds of its own.
func (t *Table) SetHandshakes(h *transport.Handshakes) { t.handshakes = h }

// SetSiblings says that other loops have tables of the same clusters: they may share idle connections. It is called before the
// first cluster is set.
func (t *Table) SetSiblings() { t.siblings = true }

// nextConn returns the number of a connection that begins.
func (t *Table) nextConn() uint32 {
	t.conns++
	return t.conns
}

// Set adds a cluster or replaces the one with its ID. Pools of hosts that stay are kept when
// what connections depend on is equal; other pools drain: idle connections close now, leased ones
// on return, and what waits there is still served.
func (t *Table) Set(c *upstream.Cluster) {
	for len(t.clusters) <= int(c.ID) {
		t.clusters = append(t.clusters, nil)
	}
	cur := t.clusters[c.ID]
	if cur == nil || cur.removed {
		cur = &Cluster{table: t, loop: t.loop}
		t.clusters[c.ID] = cur
	}
	cur.set(c)
}

// Remove drains a cluster. Its exchanges go on; its connections close when they end. Until Forget it
// is still there for requests whose route was chosen earlier.
func (t *Table) Remove(id upstream.ClusterID) {
	if c := t.Cluster(id); c != nil && !c.removed {
		c.remove()
	}
}

// Forget takes a removed cluster out, unless Set has brought its ID back.
func (t *Table) Forget(id upstream.ClusterID) {
	if c := t.Cluster(id); c != nil && c.removed {
		t.clusters[id] = nil
	}
}

// Cluster returns the cluster with this ID, or nil.
func (t *Table) Cluster(id upstream.ClusterID) *Cluster {
	if int(id) >= len(t.clusters) {
		return nil
	}
	return t.clusters[id]
}

// Refresh takes up the host set of a cluster, after [upstream.Cluster.Rebuild].
func (t *Table) Refresh(id upstream.ClusterID) {
	if c := t.Cluster(id); c != nil {
		c.refresh()
	}
}

// Drain closes idle connections, now and from now on: the process is leaving.
func (t *Table) Drain() {
	t.draining = true
	for _, c := range t.clusters {
		if c != nil {
			c.closeIdle()
		}
	}
}
