package upstream

import "slices"

// Locality says where a host or a proxy is.
type Locality struct {
	// Region, such as "eu". Default: "".
	Region string `json:"region"`
	// Zone in the region, such as "eu-1a". Default: "".
	Zone string `json:"zone"`
	// SubZone in the zone. Default: "".
	SubZone string `json:"sub_zone"`
}

// localityAt is a locality of one priority.
type localityAt struct {
	Locality
	priority uint8
}

// localityTable draws the localities of one priority and class by their weights.
type localityTable struct {
	buckets []Bucket
	sums    []uint64 // running sums of the effective weights
}

func (t *localityTable) empty() bool { return len(t.buckets) == 0 }

// draw returns the bucket at a random place. Precondition: not empty.
func (t *localityTable) draw(random uint64) *Bucket {
	at := random % t.sums[len(t.sums)-1]
	i, _ := slices.BinarySearchFunc(t.sums, at, func(sum, at uint64) int {
		if sum > at {
			return 1
		}
		return -1
	})
	return &t.buckets[i]
}

// localityUnit is what a locality weight is multiplied by, so that shares of it can be told apart.
const localityUnit = 10_000

// localities makes the table of those members that are of one class. A locality whose hosts are only partly usable
// keeps its weight times the usable share, times overprovisioning, at most all of it.
func (hs *HostSet) localities(all, usable []member, o *setOptions) localityTable {
	var order []localityAt
	total, by := map[localityAt]uint64{}, map[localityAt][]member{}
	for _, m := range all {
		if !m.host.Health().Excluded() {
			total[m.place()]++
		}
	}
	for _, m := range usable {
		at := m.place()
		if by[at] == nil {
			order = append(order, at)
		}
		by[at] = append(by[at], m)
	}
	var t localityTable
	sum := uint64(0)
	for _, at := range order {
		share := uint64(localityUnit)
		if n := total[at]; n > 0 {
			share = min(share, localityUnit*uint64(o.overprovisioning)*uint64(len(by[at]))/(100*n))
		}
		weight := uint64(o.localityWeights[at]) * share
		if weight == 0 {
			continue
		}
		sum += weight
		t.buckets = append(t.buckets, hs.bucket(by[at], o))
		t.sums = append(t.sums, sum)
	}
	return t
}
