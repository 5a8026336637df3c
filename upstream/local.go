package upstream

import "maps"

// Local is where this proxy is, and how many proxies are in which zone: the hosts of the local cluster. Zone-aware routing
// reckons with both. The control goroutine owns it.
type Local struct {
	name  string
	here  Locality
	zones map[Locality]zoneSize // of the first priority
	sum   zoneSize
	used  levelSum
}

// zoneSize is what a zone has.
type zoneSize struct {
	healthy int    // hosts
	weight  uint64 // of the healthy ones
}

// add adds a healthy host.
func (z *zoneSize) add(m *member) {
	z.healthy++
	z.weight += uint64(m.weight)
}

// by returns the number or the weight of the healthy hosts.
func (z zoneSize) by(weight bool) uint64 {
	if weight {
		return z.weight
	}
	return uint64(z.healthy)
}

// NewLocal returns that of a proxy whose local cluster, which has no hosts so far, is called name.
func NewLocal(name string, here Locality) *Local { return &Local{name: name, here: here} }

// Name returns the name of the local cluster.
func (l *Local) Name() string { return l.name }

// Update takes up the hosts of the local cluster, nil if there is none, and reports whether that makes a difference. If so,
// [Cluster.Rezone] is due for all clusters.
func (l *Local) Update(c *Cluster) (changed bool) {
	was := *l
	l.zones, l.sum, l.used = map[Locality]zoneSize{}, zoneSize{}, levelSum{}
	if c != nil {
		l.count(c)
	}
	return l.sum != was.sum || l.used != was.used || !maps.Equal(l.zones, was.zones)
}

// count counts the hosts of c.
func (l *Local) count(c *Cluster) {
	for i := range c.members {
		m := &c.members[i]
		if m.priority != 0 {
			continue
		}
		f, at := m.host.Health(), m.place().Locality
		l.used.add(m, f, false)
		zone := l.zones[at]
		if f.Class() == Healthy {
			zone.add(m)
			l.sum.add(m)
		}
		l.zones[at] = zone
	}
}

// has reports whether a proxy of the local cluster is in the zone of this one.
func (l *Local) has() bool {
	_, ok := l.zones[l.here]
	return ok
}
