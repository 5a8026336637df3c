package upstream

// HostSet is the hosts of a cluster as of one moment, sorted by priority, health and locality. The control goroutine
// builds it, all loops share it. It is replaced, never changed.
type HostSet struct {
	// Hosts are all of them, in the order of their source.
	Hosts []*Host
	// Version differs between any two sets of a cluster, Membership between those with other hosts.
	Version, Membership uint64
	// Levels are the priorities, the most wanted first. A priority without hosts is there, but empty.
	Levels []PriorityLevel
	// Buckets is how many buckets there are.
	Buckets int

	slots                       []*Host             // by Host.Slot
	priorities                  []uint8             // likewise; nil while there is one
	metadata                    []map[string]string // likewise; nil while there are none
	healthy, degraded, excluded int
	simple                      bool         // all requests go to the healthy hosts of Levels[0]
	zones                       *zoneTable   // nil unless zones count
	plan                        *zonePlan    // nil while they have no say
	subsets                     *subsetTable // nil unless there are subsets
	failOnPanic                 bool
}

// A PriorityLevel is the hosts of one priority.
type PriorityLevel struct {
	// All, Healthy and Degraded are its hosts. Without a host that is ill Healthy is the same bucket as All.
	All, Healthy, Degraded Bucket
	// Excluded is how many of its hosts do not count.
	Excluded int
	// Panic says that too few hosts are well, so that all are used.
	Panic bool

	healthyPct, degradedPct int // shares of the requests of the cluster
	// How much of the cluster's requests its hosts could take, were there no others, in percent.
	healthyUsable, degradedUsable int
	localities                    [2]localityTable // of Healthy and Degraded; empty unless localities have weights
}

// A Bucket is hosts that a policy picks among.
type Bucket struct {
	Hosts []*Host
	// Weights are those of Hosts; nil while they are equal.
	Weights []uint32
	// Version is that of the set.
	Version uint64
	// Index is below HostSet.Buckets: policies keep what they know of a bucket by it, for one version.
	Index int
	// Table is what the policy has made of the bucket for all loops, or nil: see [Cluster.Tables].
	Table any
}

// Weight returns the weight of Hosts[i].
func (b *Bucket) Weight(i int) uint32 {
	if b.Weights == nil {
		return 1
	}
	return b.Weights[i]
}

// setOptions are what a HostSet is made by, besides the hosts.
type setOptions struct {
	version          uint64
	membership       uint64
	panicPct         float64 // of usable hosts below which a priority panics; 0 is never
	overprovisioning int     // percent
	weightedHealth   bool    // shares by weight instead of number
	failOnPanic      bool
	localityWeights  map[localityAt]uint32 // nil unless they count
	table            func(*Bucket) any     // nil: none
	zones            *zoneOptions          // nil unless zones count
	subsets          *SubsetConfig         // nil unless there are subsets
	isPart           bool                  // it is for one of them
	firstBucket      int                   // index of the first bucket
	ramping          bool                  // the weights are those of slow start
}

// weight returns that of a host now.
func (o *setOptions) weight(m *member) uint32 {
	if o.ramping {
		return m.ramped
	}
	return m.weight
}

// newHostSet sorts members by their health now.
func newHostSet(members []member, o *setOptions) *HostSet {
	hs := &HostSet{
		Version: o.version, Membership: o.membership, failOnPanic: o.failOnPanic, Hosts: make([]*Host, len(members)), Buckets: o.firstBucket,
	}
	levels, slots := 0, 0
	for i := range members {
		h := members[i].host
		hs.Hosts[i] = h
		levels, slots = max(levels, int(members[i].priority)+1), max(slots, h.Slot()+1)
	}
	if !o.isPart {
		hs.slots = make([]*Host, slots)
		for _, h := range hs.Hosts {
			hs.slots[h.slot] = h
		}
		hs.keepFacts(members, levels)
	}
	hs.Levels = make([]PriorityLevel, levels)
	sums := make([]levelSum, levels)
	for p := range hs.Levels {
		hs.fillLevel(&hs.Levels[p], &sums[p], membersAt(members, p, levels), o)
	}
	hs.share(sums, o)
	if o.zones != nil && levels > 0 {
		if hs.zones = hs.zoneTable(membersAt(members, 0, levels), o); hs.zones != nil {
			hs.planZones(o.zones)
		}
	}
	if o.subsets != nil {
		hs.subsets = hs.subsetTable(members, o)
	}
	hs.simplify()
	return hs
}

// simplify finds out whether there is anything to choose.
func (hs *HostSet) simplify() {
	l := hs.Levels
	hs.simple = len(l) > 0 && l[0].healthyPct == 100 && !l[0].Panic && l[0].localities[Healthy].empty() && hs.plan == nil && hs.subsets == nil
}

// membersAt returns those of a priority.
func membersAt(members []member, priority, levels int) []member {
	if levels == 1 {
		return members
	}
	var list []member
	for _, m := range members {
		if int(m.priority) == priority {
			list = append(list, m)
		}
	}
	return list
}

// fillLevel makes the buckets of a priority.
func (hs *HostSet) fillLevel(l *PriorityLevel, sum *levelSum, members []member, o *setOptions) {
	var byClass [Unhealthy + 1][]member
	for _, m := range members {
		f := m.host.Health()
		sum.add(&m, f, o.weightedHealth)
		if f.Excluded() {
			l.Excluded++
		}
		byClass[f.Class()] = append(byClass[f.Class()], m)
	}
	hs.healthy += len(byClass[Healthy])
	hs.degraded += len(byClass[Degraded])
	hs.excluded += l.Excluded
	l.All = hs.bucket(members, o)
	l.Healthy = l.All
	if len(byClass[Healthy]) < len(members) {
		l.Healthy = hs.bucket(byClass[Healthy], o)
		l.Degraded = hs.bucket(byClass[Degraded], o)
	}
	if o.localityWeights != nil {
		for class := range l.localities {
			l.localities[class] = hs.localities(members, byClass[class], o)
		}
	}
}

// bucket makes a bucket.
func (hs *HostSet) bucket(members []member, o *setOptions) Bucket {
	b := Bucket{Version: o.version, Index: hs.Buckets, Hosts: make([]*Host, len(members))}
	hs.Buckets++
	equal := true
	for i := range members {
		b.Hosts[i] = members[i].host
		equal = equal && o.weight(&members[i]) == o.weight(&members[0])
	}
	if !equal {
		b.Weights = make([]uint32, len(members))
		for i := range members {
			b.Weights[i] = o.weight(&members[i])
		}
	}
	if o.table != nil {
		b.Table = o.table(&b)
	}
	return b
}

// Slots is one more than the largest slot of a host: the size of a table of pools.
func (hs *HostSet) Slots() int { return len(hs.slots) }

// Has reports whether h is one of the hosts.
func (hs *HostSet) Has(h *Host) bool { return h.Slot() < len(hs.slots) && hs.slots[h.slot] == h }

// Healthy returns how many hosts are neither failed nor degraded.
func (hs *HostSet) Healthy() int { return hs.healthy }

// Degraded returns how many are degraded.
func (hs *HostSet) Degraded() int { return hs.degraded }

// Excluded returns how many do not count.
func (hs *HostSet) Excluded() int { return hs.excluded }

// Choose returns the bucket for a request, which may be empty, and how it was found. random is spent on it; a request
// with a hash stays with the bucket of its hash as long as the shares stay.
func (hs *HostSet) Choose(random uint64, p *Pick) (b *Bucket, how Choice) {
	if hs.simple && p.Passed == (Priorities{}) {
		return &hs.Levels[0].Healthy, ChoseShare
	}
	if hs.subsets != nil {
		return hs.chooseSubset(random, p)
	}
	return hs.choose(random, p)
}

// choose is Choose among all hosts of the set.
func (hs *HostSet) choose(random uint64, p *Pick) (b *Bucket, how Choice) {
	at := random
	if p.HashSet {
		at = p.Hash
	}
	l, class := hs.chooseLevel(int(at % 100))
	if p.Passed != (Priorities{}) {
		l, class = hs.choosePassing(int(at%100), &p.Passed)
	}
	switch {
	case l == nil:
		return &noHosts, ChoseShare
	case l.Panic && hs.failOnPanic:
		return &noHosts, ChosePanic
	case l.Panic:
		return &l.All, ChosePanic
	}
	if t := &l.localities[class]; !t.empty() {
		return t.draw(random>>32 | random<<32), ChoseShare
	}
	if class == Degraded {
		return &l.Degraded, ChoseShare
	}
	if hs.plan != nil && l == &hs.Levels[0] {
		return hs.plan.choose(l, random/100)
	}
	return &l.Healthy, ChoseShare
}

// noHosts is an empty bucket.
var noHosts Bucket

// Pick is what a policy may look at besides the hosts.
type Pick struct {
	// Random is the request's random value, the same for each attempt.
	Random uint64
	// Now is the time of the loop. The pool sets it.
	Now int64
	// Tunnel says that the host is for a connection of TCP or a session of UDP instead of a request.
	Tunnel bool
	// Active is how many of what it is for the cluster has. The pool sets it for policies that bound load.
	Active int64
	// Attempt is 0 for the first try of a request and counts its retries.
	Attempt int
	// Reselect counts the hosts that were picked for this attempt and rejected.
	Reselect int
	// Passed are priorities that a retry goes round. Choose empties it if no other priority has a host that is well.
	Passed Priorities
	// Hash is the request's hash for policies that keep it with one host. Only valid if HashSet.
	Hash    uint64
	HashSet bool
	// Criteria are what the metadata of the host have to be, nil for anything. Only clusters with subsets look at them.
	Criteria *Criteria
}

// Balancer picks the host of a request. One belongs to one cluster on one loop.
type Balancer interface {
	// Pick returns one of b.Hosts, nil only when there are none.
	Pick(b *Bucket, p *Pick) *Host
}
