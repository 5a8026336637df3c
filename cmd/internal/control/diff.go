package control

import "fmt"

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
	// Socket says that the listener accepts elsewhere, or that its socket would need other options; Chain
	// that the filters are built anew; Routes that the table is another. Only valid if Action is Changed.
	Socket, Chain, Routes bool
}

// Rebuilds reports whether the chain of filters is built anew, and the one there was drains.
func (c *ListenerChange) Rebuilds() bool { return c.Action == Changed && (c.Socket || c.Chain) }

// Retires reports whether connections of the old listener have to end.
func (c *ListenerChange) Retires() bool { return c.Action == Removed || c.Rebuilds() }

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
		Socket: old.Socket != l.Socket || old.SocketHash != l.SocketHash,
		Chain:  old.ChainHash != l.ChainHash,
		Routes: old.RouteHash != l.RouteHash,
	}
	if c.Socket || c.Chain || c.Routes {
		d.Listeners = append(d.Listeners, c)
	}
	if !c.Socket && !c.Chain {
		d.Unchanged++
	}
	if !c.Routes {
		d.Unchanged++
	}
}

// Detail says in words what differs of a listener, "" unless it is a changed one.
func (c *ListenerChange) Detail() string {
	switch {
	case c.Action != Changed:
		return ""
	case c.Old.Socket != c.New.Socket:
		return fmt.Sprintf("address %s, was %s", c.New.Address, c.Old.Address)
	case c.Socket:
		return "socket options"
	case c.Chain && c.Routes:
		return "filters and routes"
	case c.Chain:
		return "filters"
	}
	return "routes"
}

// Detail says in words what differs of a cluster, "" unless it is a changed one.
func (c *ClusterChange) Detail() string {
	if c.Action != Changed {
		return ""
	}
	old := make(map[string]bool, len(c.Old.Hosts))
	for _, h := range c.Old.Hosts {
		old[h.Name] = true
	}
	added := 0
	for _, h := range c.New.Hosts {
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
