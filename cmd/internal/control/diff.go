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
	// Address says that the sockets move, Chain that the filters are built anew, Routes that the table
	// is another. Only valid if Action is Changed.
	Address, Chain, Routes bool
}

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

// Compare returns how next differs from prev, which is nil at the start.
func Compare(prev, next *Snapshot) *Diff {
	d := &Diff{}
	d.clusters(prev, next)
	d.listeners(prev, next)
	return d
}

func (d *Diff) clusters(prev, next *Snapshot) {
	old := map[string]*Cluster{}
	if prev != nil {
		for _, c := range prev.Clusters {
			old[c.Name] = c
		}
	}
	for _, c := range next.Clusters {
		o := old[c.Name]
		delete(old, c.Name)
		switch {
		case o == nil:
			d.Clusters = append(d.Clusters, ClusterChange{Action: Added, New: c})
		case o.Hash != c.Hash:
			d.Clusters = append(d.Clusters, ClusterChange{Action: Changed, Old: o, New: c})
		default:
			d.Unchanged++
		}
	}
	if prev == nil {
		return
	}
	for _, o := range prev.Clusters {
		if old[o.Name] != nil {
			d.Clusters = append(d.Clusters, ClusterChange{Action: Removed, Old: o})
		}
	}
}

func (d *Diff) listeners(prev, next *Snapshot) {
	for _, l := range next.Listeners {
		o := prev.Listener(l.Name)
		if o == nil {
			d.Listeners = append(d.Listeners, ListenerChange{Action: Added, New: l})
			continue
		}
		c := ListenerChange{
			Action: Changed, Old: o, New: l,
			Address: o.Address != l.Address || o.SocketHash != l.SocketHash,
			Chain:   o.ChainHash != l.ChainHash,
			Routes:  o.RouteHash != l.RouteHash,
		}
		if c.Address || c.Chain || c.Routes {
			d.Listeners = append(d.Listeners, c)
		}
		if !c.Address && !c.Chain {
			d.Unchanged++
		}
		if !c.Routes {
			d.Unchanged++
		}
	}
	if prev == nil {
		return
	}
	for _, o := range prev.Listeners {
		if next.Listener(o.Name) == nil {
			d.Listeners = append(d.Listeners, ListenerChange{Action: Removed, Old: o})
		}
	}
}

// Detail says in words what differs of a listener.
func (c *ListenerChange) Detail() string {
	switch {
	case c.Action != Changed:
		return ""
	case c.Address && c.Old.Address != c.New.Address:
		return fmt.Sprintf("address %s, was %s", c.New.Address, c.Old.Address)
	case c.Address:
		return "socket options"
	case c.Chain && c.Routes:
		return "filters and routes"
	case c.Chain:
		return "filters"
	}
	return "routes"
}

// Detail says in words what differs of a cluster.
func (c *ClusterChange) Detail() string {
	if c.Action != Changed {
		return ""
	}
	old := map[string]bool{}
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
