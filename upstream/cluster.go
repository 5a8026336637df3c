package upstream

import (
	"fmt"

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

	weights []uint32 // of Hosts; see Apply
	slots   uint32   // one above the largest Host.Slot
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
		h, weight := old[a], max(cfg.Hosts[i].Weight, 1)
		if h == nil {
			h = newHost(a, weight)
		}
		c.Hosts, c.weights = append(c.Hosts, h), append(c.weights, weight)
	}
	if err := c.checkUnique(); err != nil {
		return nil, err
	}
	c.assignSlots(prev)
	return c, nil
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
	for i, h := range c.Hosts {
		h.weight.Store(c.weights[i])
	}
	for p, b := range c.Budgets {
		b.SetLimits(c.Config.CircuitBreakers.Thresholds(Priority(p)))
	}
}
