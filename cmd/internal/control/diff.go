package control

import (
	"fmt"
	"slices"
	"strings"
)

// An Action is what happened to a part between two snapshots.
type Action uint8

const (
	Added Action = iota
	Changed
	Removed
)

// String returns the word of the reload report.
func (a Action) String() string { return [...]string{"added", "changed", "removed"}[a] }

// A ListenerChange is one listener that differs.
type ListenerChange struct {
	Action Action
	Old    *Listener // nil if added
	New    *Listener // nil if removed
	// Socket says that the listener accepts elsewhere, or that its sockets would need other options; Env that all
	// chains are built with something that differs; Front that only what happens to new connections differs. Only
	// valid if Action is Changed.
	Socket, Env, Front bool
	// Chains are the filter chains that differ. Only valid if the listener is updated in place.
	Chains []ChainChange
}

// Replaces reports whether the whole listener is built anew, and the one there was drains.
func (c *ListenerChange) Replaces() bool { return c.Action == Changed && (c.Socket || c.Env) }

// InPlace reports whether the listener stays, and with it the connections of the chains that do not differ.
func (c *ListenerChange) InPlace() bool { return c.Action == Changed && !c.Replaces() }

// Retires reports whether all connections of the old listener have to end.
func (c *ListenerChange) Retires() bool { return c.Action == Removed || c.Replaces() }

// A ChainChange is one filter chain that differs.
type ChainChange struct {
	Action Action
	Old    *Chain // nil if added
	New    *Chain // nil if removed
	// Filters and TLS say that the filters, or the TLS context, are built anew, and the chain there was drains; Routes that
	// the table is another. Only valid if Action is Changed.
	Filters, TLS, Routes bool
}

// Builds reports whether filters are built for the chain.
func (c *ChainChange) Builds() bool { return c.Action == Added || c.replaces() }

// Retires reports whether connections of the old chain have to end.
func (c *ChainChange) Retires() bool { return c.Action == Removed || c.replaces() }

// replaces reports whether the whole chain is built anew.
func (c *ChainChange) replaces() bool { return c.Action == Changed && (c.Filters || c.TLS) }

// A ClusterChange is one cluster that differs.
type ClusterChange struct {
	Action Action
	Old    *Cluster // nil if added
	New    *Cluster // nil if removed
}

// A Diff is what has to be done to get from one snapshot to another.
type Diff struct {
	Listeners []ListenerChange
	Clusters  []ClusterChange
	// Unchanged counts the listeners, route tables and clusters that are left alone.
	Unchanged int
}

// Empty reports whether nothing differs.
func (d *Diff) Empty() bool { return len(d.Listeners)+len(d.Clusters) == 0 }

// Compare returns how next differs from prev, which is nil at the start. Its time is linear in what
// the snapshots hold.
func Compare(prev, next *Snapshot) *Diff {
	if prev == nil {
		prev = &Snapshot{}
	}
	d := &Diff{}
	d.compareClusters(prev, next)
	d.compareListeners(prev, next)
	return d
}

func (d *Diff) compareClusters(prev, next *Snapshot) {
	for _, c := range next.Clusters {
		switch old := prev.Cluster(c.Name); {
		case old == nil:
			d.Clusters = append(d.Clusters, ClusterChange{Action: Added, New: c})
		case old.Hash != c.Hash:
			d.Clusters = append(d.Clusters, ClusterChange{Action: Changed, Old: old, New: c})
		default:
			d.Unchanged++
		}
	}
	for _, old := range prev.Clusters {
		if next.Cluster(old.Name) == nil {
			d.Clusters = append(d.Clusters, ClusterChange{Action: Removed, Old: old})
		}
	}
}

func (d *Diff) compareListeners(prev, next *Snapshot) {
	for _, l := range next.Listeners {
		if old := prev.Listener(l.Name); old != nil {
			d.compareListener(old, l)
		} else {
			d.Listeners = append(d.Listeners, ListenerChange{Action: Added, New: l})
		}
	}
	for _, old := range prev.Listeners {
		if next.Listener(old.Name) == nil {
			d.Listeners = append(d.Listeners, ListenerChange{Action: Removed, Old: old})
		}
	}
}

func (d *Diff) compareListener(old, l *Listener) {
	c := ListenerChange{
		Action: Changed, Old: old, New: l,
		Socket: !sameSockets(old, l) || old.SocketHash != l.SocketHash,
		Env:    old.EnvHash != l.EnvHash,
		Front:  old.FrontHash != l.FrontHash || old.FilterHash != l.FilterHash || old.LogHash != l.LogHash,
	}
	retires := c.Replaces()
	for _, chain := range l.AllChains() {
		if change, differs := d.compareChain(old.Chain(chain.Key), chain); differs {
			c.Chains = append(c.Chains, change)
			retires = retires || change.Retires()
		}
	}
	for _, chain := range old.AllChains() {
		if l.Chain(chain.Key) == nil {
			c.Chains = append(c.Chains, ChainChange{Action: Removed, Old: chain})
			retires = true
		}
	}
	if c.Socket || c.Env || c.Front || len(c.Chains) > 0 {
		d.Listeners = append(d.Listeners, c)
	}
	if !retires {
		d.Unchanged++
	}
}

// compareChain compares a chain with the one of the same key, which may be nil.
func (d *Diff) compareChain(old, chain *Chain) (c ChainChange, differs bool) {
	if old == nil {
		return ChainChange{Action: Added, New: chain}, true
	}
	c = ChainChange{
		Action: Changed, Old: old, New: chain,
		Filters: old.Hash != chain.Hash, TLS: old.TLSHash != chain.TLSHash, Routes: old.RouteHash != chain.RouteHash,
	}
	if !c.Routes && chain.Routes != nil {
		d.Unchanged++
	}
	return c, c.Filters || c.TLS || c.Routes
}

// sameSockets reports whether two listeners accept at the same places.
func sameSockets(a, b *Listener) bool {
	return slices.EqualFunc(a.Sockets, b.Sockets, func(x, y Socket) bool { return x.Key == y.Key && x.Unbound == y.Unbound })
}

// Detail says in words what differs of a listener, "" unless it is a changed one.
func (c *ListenerChange) Detail() string {
	switch {
	case c.Action != Changed:
		return ""
	case !sameSockets(c.Old, c.New):
		return fmt.Sprintf("address %s, was %s", addresses(c.New), addresses(c.Old))
	case c.Socket:
		return "socket options"
	case c.Env:
		return "settings of all filter chains"
	}
	var parts []string
	if c.Front {
		parts = append(parts, "listener")
	}
	for i := range c.Chains {
		parts = append(parts, c.Chains[i].detail())
	}
	return strings.Join(parts, ", ")
}

// detail says in words what differs of a chain, and of which.
func (c *ChainChange) detail() string {
	title := c.Title()
	switch {
	case c.Action != Changed && title == "":
		return "filter chain " + c.Action.String()
	case c.Action != Changed:
		return "filter chain " + title + " " + c.Action.String()
	case title == "":
		return c.Detail()
	}
	return c.Detail() + " of " + title
}

// Detail says in words what differs of a chain, "" unless it is a changed one.
func (c *ChainChange) Detail() string {
	if c.Action != Changed {
		return ""
	}
	var parts []string
	for _, p := range []struct {
		differs bool
		name    string
	}{{c.TLS, "tls"}, {c.Filters, "filters"}, {c.Routes, "routes"}} {
		if p.differs {
			parts = append(parts, p.name)
		}
	}
	return strings.Join(parts, " and ")
}

// Title names the chain for people; "" is the only one of a listener.
func (c *ChainChange) Title() string {
	if c.New != nil {
		return c.New.Key
	}
	return c.Old.Key
}

// addresses lists the addresses of a listener.
func addresses(l *Listener) string {
	var list []string
	for i := range l.Sockets {
		list = append(list, l.Sockets[i].Configured.String())
	}
	return strings.Join(list, ", ")
}

// Detail says in words what differs of a cluster, "" unless it is a changed one.
func (c *ClusterChange) Detail() string {
	if c.Action != Changed {
		return ""
	}
	old := make(map[string]bool, len(c.Old.Hosts()))
	for _, h := range c.Old.Hosts() {
		old[h.Name] = true
	}
	added := 0
	for _, h := range c.New.Hosts() {
		if old[h.Name] {
			delete(old, h.Name)
		} else {
			added++
		}
	}
	if added+len(old) == 0 {
		return "settings"
	}
	return fmt.Sprintf("hosts: %d added, %d removed", added, len(old))
}
