package upstream

import "slices"

// zoneUnit is what the shares of zones are counted in.
const zoneUnit = 10_000

// zoneTable is the healthy hosts of the first priority by their locality.
type zoneTable struct {
	zones []zone // that of this proxy first, if it has any host
	sum   zoneSize
	note  zoneNote
}

// zone is the healthy hosts of one locality.
type zone struct {
	bucket Bucket
	at     Locality
	size   zoneSize
}

// zoneNote is what was found when the plan was made. Each value but the first has a counter.
type zoneNote uint8

const (
	zoneReckoned zoneNote = iota
	zoneTooSmall
	zoneLocalNotOK
)

// zonePlan says which zone gets a request.
type zonePlan struct {
	zones    []zone
	enabled  uint64   // share of the requests that it is for
	direct   bool     // all go to the first zone
	panics   bool     // the local cluster does: its sizes say nothing
	fail     bool     // in that case
	sampled  uint64   // share of the requests that the first zone gets
	residual []uint64 // running sums of what each zone can take besides
}

// zoneTable sorts the hosts of the first priority. It is nil if they are in one zone.
func (hs *HostSet) zoneTable(members []member, o *setOptions) *zoneTable {
	groups := groupByLocality(members)
	if len(groups) < 2 {
		return nil
	}
	here := slices.IndexFunc(groups, func(g localityGroup) bool { return g.at == o.zones.local.here })
	if here > 0 {
		own := groups[here]
		groups = slices.Insert(slices.Delete(groups, here, here+1), 0, own)
	}
	t := &zoneTable{}
	for _, g := range groups {
		if len(g.healthy) == 0 {
			continue
		}
		z := zone{bucket: hs.bucket(g.healthy, o), at: g.at}
		for i := range g.healthy {
			z.size.add(&g.healthy[i])
			t.sum.add(&g.healthy[i])
		}
		t.zones = append(t.zones, z)
	}
	return t
}

// localityGroup is the healthy ones of the hosts in one locality.
type localityGroup struct {
	at      Locality
	healthy []member
}

// groupByLocality returns the groups in the order of their first host.
func groupByLocality(members []member) (groups []localityGroup) {
	known, last := map[Locality]int{}, 0
	for _, m := range members {
		at := m.place().Locality
		if len(groups) == 0 || groups[last].at != at { // else without asking the map: hosts of a locality often stand together
			i, ok := known[at]
			if !ok {
				i = len(groups)
				known[at] = i
				groups = append(groups, localityGroup{at: at})
			}
			last = i
		}
		if m.host.Health().Class() == Healthy {
			groups[last].healthy = append(groups[last].healthy, m)
		}
	}
	return groups
}

// planZones decides which zone gets what. A zone sends its proxies' share of all requests, and can take its hosts' share:
// what the own zone cannot take goes to zones that can take more than they send.
//
// Source: Envoy, "Zone aware routing".
func (hs *HostSet) planZones(o *zoneOptions) {
	t, local := *hs.zones, o.local
	t.note = zoneReckoned
	hs.zones, hs.plan = &t, nil
	switch {
	case o.force == 0 && len(local.zones) < 2:
		return
	case !local.has():
		t.note = zoneLocalNotOK
		return
	case t.sum.healthy < o.minHosts:
		t.note = zoneTooSmall
		return
	case len(t.zones) == 0:
		return
	}
	p := &zonePlan{zones: t.zones, enabled: o.enabled, panics: local.used.panicsBelow(o.panicPct), fail: o.fail}
	hs.plan = p
	sends, takes := make([]uint64, len(t.zones)), make([]uint64, len(t.zones))
	for i := range t.zones {
		z := &t.zones[i]
		sends[i] = shareOf(local.zones[z.at].by(o.byWeight), local.sum.by(o.byWeight))
		takes[i] = shareOf(z.size.by(o.byWeight), t.sum.by(o.byWeight))
	}
	own := t.zones[0].at == local.here
	if own && (takes[0] > 0 && takes[0] >= sends[0] || o.force > 0 && t.zones[0].size.healthy >= o.force) {
		p.direct = true
		return
	}
	if own && sends[0] > 0 {
		p.sampled = takes[0] * zoneUnit / sends[0]
	}
	p.residual = make([]uint64, len(t.zones))
	sum := uint64(0)
	for i := range p.residual {
		if (i > 0 || !own) && takes[i] > sends[i] {
			sum += takes[i] - sends[i]
		}
		p.residual[i] = sum
	}
}

// shareOf returns n of sum in units of zoneUnit.
func shareOf(n, sum uint64) uint64 {
	if sum == 0 {
		return 0
	}
	return zoneUnit * n / sum
}

// choose returns the bucket for a request to the healthy hosts of the first priority, l.
func (p *zonePlan) choose(l *PriorityLevel, random uint64) (*Bucket, Choice) {
	if random%zoneUnit >= p.enabled {
		return &l.Healthy, ChoseShare
	}
	switch {
	case p.panics && p.fail:
		return &noHosts, ChoseLocalPanic
	case p.panics:
		return &l.Healthy, ChoseLocalPanic
	case p.direct:
		return &p.zones[0].bucket, ChoseZoneDirect
	}
	random /= zoneUnit
	if random%zoneUnit < p.sampled {
		return &p.zones[0].bucket, ChoseZoneSampled
	}
	random /= zoneUnit
	all := p.residual[len(p.residual)-1]
	if all == 0 {
		return &p.zones[random%uint64(len(p.zones))].bucket, ChoseZoneFull
	}
	at, i := random%all, 0
	for at >= p.residual[i] {
		i++
	}
	return &p.zones[i].bucket, ChoseZoneCross
}

// Rezone makes the plan of zone-aware routing anew, after the [Local] has changed, and reports whether the cluster has one:
// then the loops have to be told. The buckets stay, and policies their place in them. Called on the control goroutine.
func (c *Cluster) Rezone() bool {
	old, o := c.HostSet(), c.zoneOptions()
	if old.zones == nil || o == nil {
		return false
	}
	c.version++
	hs := *old
	hs.Version = c.version
	hs.planZones(o)
	hs.simplify()
	c.set.Store(&hs)
	return true
}

// CountZones counts that a loop has taken up hs, if zones count in it.
func (s *ClusterStats) CountZones(hs *HostSet) {
	if hs.zones == nil {
		return
	}
	s.ZonesReckoned.Inc()
	switch hs.zones.note {
	case zoneReckoned:
	case zoneTooSmall:
		s.ZoneTooSmall.Inc()
	case zoneLocalNotOK:
		s.LocalNotOK.Inc()
	}
}
