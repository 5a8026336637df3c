package upstream

import (
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"millrace/engine"
	"millrace/engine/certs"
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

// Cluster is a named service, shared by all loops. Its configuration stays; its hosts may change.
type Cluster struct {
	// Immutable.
	ID     ClusterID
	Name   string
	Config *Config

	// TLS is what connections to the hosts are made with, nil for plain ones. It is set once, before a loop sees the
	// cluster, and is that of Config.TLS.
	TLS *certs.Client

	// Budgets bound the cost by [Priority]. They and their counts survive reloads.
	Budgets [2]*Budget

	// Tables makes what a policy needs of a bucket for all loops, such as a ring. Nil for most policies; set before
	// the loops see the cluster.
	Tables func(*Bucket) any

	// Outlier takes in what requests bring, nil without outlier detection. Set before the loops see the cluster.
	Outlier *Outlier

	// LatencyDecay is that of Host.Latency, in nanoseconds; 0 if no policy asks for it.
	LatencyDecay int64

	// Destinations make the hosts of a cluster of type "original_dst", nil in others. They survive reloads.
	Destinations *Destinations

	// Local is what zone-aware routing reckons with, nil without a local cluster. Set before the loops see the cluster.
	Local *Local

	members    []member     // kept by control
	version    uint64       // of set; kept by control
	membership uint64       // of members; kept by control
	seen       uint64       // version of Destinations that members are; kept by control
	moved      *engine.Addr // where the only host of "logical_dns" is to be from Apply on, nil for where it is; kept by control
	ramping    bool         // slow start goes on; kept by control

	set        atomic.Pointer[HostSet] // written by control
	unresolved atomic.Bool             // see Unresolved; written by control
}

// member is a host as a cluster has it.
type member struct {
	host     *Host
	weight   uint32
	ramped   uint32 // in units of 1/rampUnit; only valid while the cluster is ramping
	priority uint8
	locality *Locality // nil for none
	metadata map[string]string
	others   []engine.Addr // see Host.Others
}

// place returns its locality and priority.
func (m *member) place() localityAt {
	if m.locality == nil {
		return localityAt{priority: m.priority}
	}
	return localityAt{Locality: *m.locality, priority: m.priority}
}

// sameMember reports whether nothing of a host differs.
func sameMember(a, b member) bool {
	return a.host == b.host && a.weight == b.weight && a.place() == b.place() && maps.Equal(a.metadata, b.metadata) &&
		slices.Equal(a.others, b.others)
}

// New builds a cluster. Hosts whose address prev has too are taken over from it, so that
// their counters, health and pools survive; so are the budgets. A cluster whose hosts have to be found begins with those
// of prev. prev may be nil. Nothing
// shared with prev changes before [Cluster.Apply]: a cluster that is refused later leaves
// no trace.
func New(id ClusterID, cfg *Config, prev *Cluster) (*Cluster, error) {
	c := &Cluster{ID: id, Name: cfg.Name, Config: cfg}
	if cfg.LbPolicy == "peak_ewma" {
		c.LatencyDecay = int64(cfg.PeakEWMA.DecayTime)
	}
	var old []member
	if prev != nil {
		c.Budgets, c.version, c.membership, old = prev.Budgets, prev.version, prev.membership, prev.members
	} else {
		for p := range c.Budgets {
			c.Budgets[p] = NewBudget(cfg.CircuitBreakers.Thresholds(Priority(p)))
		}
	}
	if cfg.Type == OriginalDst {
		if prev != nil && prev.Destinations != nil {
			c.Destinations = prev.Destinations
		} else {
			c.Destinations = &Destinations{max: int(cfg.OriginalDst.MaxHosts)}
		}
		c.Rebuild()
		return c, nil
	}
	if cfg.Discovered() { // what was found so far does until there is something newer
		c.members = old
		c.unresolved.Store(prev != nil && prev.unresolved.Load() && cfg.SameDiscovery(prev.Config))
		c.Rebuild()
		return c, nil
	}
	if err := c.setMembers(cfg.Hosts, old, false); err != nil {
		return nil, fmt.Errorf("cluster %q: %w", cfg.Name, err)
	}
	c.Rebuild()
	return c, nil
}

// SetHosts replaces the hosts. Those whose address stays are the same ones as before. It reports whether any came or
// went, or differs; if so the loops have to be told, as after Rebuild. Called on the control goroutine.
func (c *Cluster) SetHosts(list []HostConfig) (changed bool, err error) {
	old := c.members
	if err := c.setMembers(list, old, c.Config.keepsWell()); err != nil {
		c.members = old
		return false, err
	}
	c.move()
	if slices.EqualFunc(old, c.members, sameMember) {
		return false, nil
	}
	c.Apply()
	c.Rebuild()
	return true, nil
}

// Propose is SetHosts for a cluster that is not in force yet: nothing changes that it shares with the one that is.
func (c *Cluster) Propose(list []HostConfig) error {
	old, moved := c.members, c.moved
	if err := c.setMembers(list, old, false); err != nil {
		c.members, c.moved = old, moved
		return err
	}
	c.Rebuild()
	return nil
}

// Follow brings a cluster that has waited since New up to date with prev, whose place it takes now.
func (c *Cluster) Follow(prev *Cluster) {
	c.version, c.membership = max(c.version, prev.version), max(c.membership, prev.membership)
	if c.Config.Discovered() && c.Config.SameDiscovery(prev.Config) {
		c.members = prev.members
	}
	c.membership++
	c.move()
	c.Rebuild()
}

// Unresolved reports whether there are no hosts because no name of the cluster could be resolved so far.
func (c *Cluster) Unresolved() bool { return c.unresolved.Load() }

// SetResolved takes in whether hosts could be found. Called on the control goroutine.
func (c *Cluster) SetResolved(found bool) {
	c.unresolved.Store(!found && c.Config.Resolves() && len(c.members) == 0)
}

// move lets the host of a name go where its name leads now.
func (c *Cluster) move() {
	if c.moved != nil {
		c.members[0].host.target.Store(c.moved)
		c.moved = nil
	}
}

// setMembers makes the members of list, with the hosts of old where the address is the same. keep adds those of old that are
// gone and well.
func (c *Cluster) setMembers(list []HostConfig, old []member, keep bool) error {
	known := make(map[engine.Addr]*Host, len(old))
	for i := range old {
		known[old[i].host.Addr] = old[i].host
	}
	c.members, c.moved = make([]member, 0, len(list)), nil
	seen := make(map[engine.Addr]bool, len(list))
	for i := range list {
		hc := &list[i]
		a, err := engine.ParseAddr(hc.Address)
		if err != nil {
			return fmt.Errorf("hosts[%d]: %w", i, err)
		}
		if seen[a] { // they would share pools and counters
			return fmt.Errorf("hosts[%d]: address %q appears twice", i, a)
		}
		seen[a] = true
		m := member{host: c.sameHost(known[a], hc, a, old), weight: max(hc.Weight, 1), priority: hc.Priority, locality: hc.Locality, metadata: hc.Metadata}
		if m.host == nil {
			m.host = newHost(a, m.weight, c.Config.newHostHealth())
			m.host.Hostname = hc.Hostname
		}
		for _, s := range hc.AdditionalAddresses {
			other, err := engine.ParseAddr(s)
			if err != nil {
				return fmt.Errorf("hosts[%d]: additional address: %w", i, err)
			}
			m.others = append(m.others, other)
		}
		c.members = append(c.members, m)
	}
	if keep {
		c.keep(old, seen)
	}
	if !slices.EqualFunc(old, c.members, func(a, b member) bool { return a.host == b.host }) {
		c.membership++
	}
	assignSlots(c.members, old)
	return nil
}

// sameHost returns the host that hc stands for, of those there were: known has its address and may be nil. The host of a
// name stays if only the address is another one, and takes that.
func (c *Cluster) sameHost(known *Host, hc *HostConfig, a engine.Addr, old []member) *Host {
	if c.Config.Type == LogicalDNS && hc.Hostname != "" && len(old) == 1 && old[0].host.Hostname == hc.Hostname {
		h := old[0].host
		if *h.Target() != a {
			c.moved = &a
		}
		return h
	}
	if known != nil && known.Hostname == hc.Hostname && *known.Target() == a {
		return known
	}
	return nil
}

// assignSlots gives new hosts the lowest slots that no host of old or of members holds. A slot
// that a host of old leaves is free one update later, when most loops have let go of it.
func assignSlots(members, old []member) {
	used := make(map[uint32]bool, len(old))
	for i := range old {
		used[old[i].host.slot] = true
	}
	for i := range members {
		if h := members[i].host; h.slotted {
			used[h.slot] = true
		}
	}
	next := uint32(0)
	for i := range members {
		if h := members[i].host; !h.slotted {
			for used[next] {
				next++
			}
			h.slot, h.slotted, used[next] = next, true, true
		}
	}
}

// Members returns the hosts of now as they would be configured. Called on the control goroutine.
func (c *Cluster) Members() []HostConfig {
	list := make([]HostConfig, len(c.members))
	for i := range c.members {
		m := &c.members[i]
		list[i] = HostConfig{
			Address: m.host.Target().String(), Hostname: m.host.Hostname, Weight: m.weight, Priority: m.priority, Locality: m.locality, Metadata: m.metadata,
		}
		for _, a := range m.others {
			list[i].AdditionalAddresses = append(list[i].AdditionalAddresses, a.String())
		}
	}
	return list
}

// HostSet returns the hosts as they are sorted now.
func (c *Cluster) HostSet() *HostSet { return c.set.Load() }

// Hosts returns the hosts of now, in the order of their source.
func (c *Cluster) Hosts() []*Host { return c.HostSet().Hosts }

// Rebuild sorts the hosts by their health now, takes up those that Destinations have, and lets go of those that were only
// kept while they were well. The loops take the new set up when they are told: see pool.Table.Refresh.
// Called on the control goroutine.
func (c *Cluster) Rebuild() {
	c.version++
	c.dropKept()
	if d := c.Destinations; d != nil {
		if list, version := d.members(c.seen); version != c.seen {
			c.members, c.seen = list, version
			c.membership++
		}
	}
	o := c.Config.setOptions()
	o.version, o.membership, o.table, o.zones = c.version, c.membership, c.Tables, c.zoneOptions()
	if s := c.Config.slowStart(); s != nil {
		c.ramping = c.rampUp(s, time.Now())
		o.ramping = c.ramping
	}
	c.set.Store(newHostSet(c.members, &o))
}

// Apply puts what hosts and budgets share with the previous cluster into force: weights and
// thresholds. Each loop calls it when it takes the cluster up; only the first call changes anything.
func (c *Cluster) Apply() {
	for i := range c.members {
		m := &c.members[i]
		m.host.weight.Store(m.weight)
		if !slices.Equal(m.host.Others(), m.others) {
			m.host.others.Store(&m.others)
		}
	}
	if c.Destinations != nil {
		c.Destinations.setMax(int(c.Config.OriginalDst.MaxHosts))
	}
	for p, b := range c.Budgets {
		b.SetLimits(c.Config.CircuitBreakers.Thresholds(Priority(p)))
	}
}
