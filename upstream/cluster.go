package upstream

import (
	"fmt"
	"sync/atomic"

	"millrace/engine"
)

// ClusterID is the index of a cluster in the tables of the loops. Control hands them out; a
// cluster keeps its ID over reloads.
type ClusterID uint32

// Priority is the class of a route, each with its own connections and budget.
type Priority uint8

const (
	Default Priority = iota
	High
)

// Cluster is a named service, shared by all loops.
type Cluster struct {
	// Immutable.
	ID     ClusterID
	Name   string
	Config *Config
	Hosts  []*Host // in the order of the config

	// Budgets bound the cost by [Priority]. They and their counts survive reloads.
	Budgets [2]*Budget

	// Tables makes what a policy needs of a bucket for all loops, such as a ring. Nil for most policies; set before
	// the loops see the cluster.
	Tables func(*Bucket) any

	members []member // of Hosts
	slots   uint32   // one above the largest Host.Slot

	version uint64                  // of set; kept by control
	set     atomic.Pointer[HostSet] // written by control
}

// member is a host as a cluster has it.
type member struct {
	host     *Host
	weight   uint32
	priority uint8
	locality *Locality // nil for none
}

// place returns its locality and priority.
func (m *member) place() localityAt {
	if m.locality == nil {
		return localityAt{priority: m.priority}
	}
	return localityAt{Locality: *m.locality, priority: m.priority}
}

// New builds a cluster. Hosts whose address prev has too are taken over from it, so that
// their counters, health and pools survive; so are the budgets. prev may be nil. Nothing
// shared with prev changes before [Cluster.Apply]: a cluster that is refused later leaves
// no trace.
func New(id ClusterID, cfg *Config, prev *Cluster) (*Cluster, error) {
	c := &Cluster{ID: id, Name: cfg.Name, Config: cfg}
	old := map[engine.Addr]*Host{}
	if prev != nil {
		c.Budgets = prev.Budgets
		for _, h := range prev.Hosts {
			old[h.Addr] = h
		}
	} else {
		for p := range c.Budgets {
			c.Budgets[p] = NewBudget(cfg.CircuitBreakers.Thresholds(Priority(p)))
		}
	}
	for i := range cfg.Hosts {
		a, err := engine.ParseAddr(cfg.Hosts[i].Address)
		if err != nil {
			return nil, fmt.Errorf("cluster %q: hosts[%d]: %w", cfg.Name, i, err)
		}
		hc := &cfg.Hosts[i]
		m := member{host: old[a], weight: max(hc.Weight, 1), priority: hc.Priority, locality: hc.Locality}
		if m.host == nil {
			m.host = newHost(a, m.weight)
		}
		c.Hosts, c.members = append(c.Hosts, m.host), append(c.members, m)
	}
	if err := c.checkUnique(); err != nil {
		return nil, err
	}
	c.assignSlots(prev)
	if prev != nil {
		c.version = prev.version
	}
	c.Rebuild()
	return c, nil
}

// HostSet returns the hosts as they are sorted now.
func (c *Cluster) HostSet() *HostSet { return c.set.Load() }

// Rebuild sorts the hosts by their health now. The loops take the new set up when they are told: see pool.Table.Refresh.
// Called on the control goroutine.
func (c *Cluster) Rebuild() {
	c.version++
	o := c.Config.setOptions()
	o.version, o.table = c.version, c.Tables
	c.set.Store(newHostSet(c.members, &o))
}

// checkUnique refuses two hosts at one address: they would share pools and counters.
func (c *Cluster) checkUnique() error {
	seen := make(map[engine.Addr]bool, len(c.Hosts))
	for i, h := range c.Hosts {
		if seen[h.Addr] {
			return fmt.Errorf("cluster %q: hosts[%d]: address %q appears twice", c.Name, i, h.Name)
		}
		seen[h.Addr] = true
	}
	return nil
}

// assignSlots gives new hosts the lowest slots that no host of prev or of c holds. A slot
// that a host of prev leaves is free one reload later, when the loops have let go of it.
func (c *Cluster) assignSlots(prev *Cluster) {
	used := map[uint32]bool{}
	if prev != nil {
		for _, h := range prev.Hosts {
			used[h.slot] = true
		}
	}
	next := uint32(0)
	for _, h := range c.Hosts {
		if !h.slotted {
			for used[next] {
				next++
			}
			h.slot, h.slotted, used[next] = next, true, true
		}
		c.slots = max(c.slots, h.slot+1)
	}
}

// Slots is one more than the largest slot of a host: the size of a table of pools.
func (c *Cluster) Slots() int { return int(c.slots) }

// Apply puts what hosts and budgets share with the previous cluster into force: weights and
// thresholds. Each loop calls it when it takes the cluster up; only the first call changes anything.
func (c *Cluster) Apply() {
	for i := range c.members {
		c.members[i].host.weight.Store(c.members[i].weight)
	}
	for p, b := range c.Budgets {
		b.SetLimits(c.Config.CircuitBreakers.Thresholds(Priority(p)))
	}
}
