package upstream

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// spillLevels draws priorities.
func spillLevels(t *rapid.T) (levels []level) {
	count := rapid.IntRange(0, 20)
	for range rapid.IntRange(1, 4).Draw(t, "levels") {
		levels = append(levels, level{healthy: count.Draw(t, "healthy"), degraded: count.Draw(t, "degraded"), failed: count.Draw(t, "failed")})
	}
	return levels
}

// totalPanic reports whether all priorities panic: then the numbers of hosts decide.
func totalPanic(hs *HostSet) bool {
	return !slices.ContainsFunc(hs.Levels, func(l PriorityLevel) bool { return !l.Panic && len(l.All.Hosts) > 0 })
}

// TestSpillMonotone: when a healthy host of a priority fails, the healthy hosts of that priority do not get more, and the
// priorities after it do not get less.
func TestSpillMonotone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		levels := spillLevels(t)
		o := testOptions()
		o.overprovisioning = rapid.IntRange(100, 200).Draw(t, "overprovisioning")
		at := rapid.IntRange(0, len(levels)-1).Draw(t, "at")
		if levels[at].healthy == 0 {
			t.Skip("nobody to fail")
		}
		before := newHostSet(members(levels...), &o)
		worse := slices.Clone(levels)
		worse[at].healthy--
		worse[at].failed++
		after := newHostSet(members(worse...), &o)
		if totalPanic(before) || totalPanic(after) || before.healthy+before.degraded == 0 || after.healthy == 0 {
			t.Skip("numbers of hosts decide")
		}
		if a, b := after.Levels[at].healthyPct, before.Levels[at].healthyPct; a > b && a-b > len(levels) {
			t.Errorf("%+v: priority %d loses a host and gets %d%% instead of %d%%", levels, at, a, b)
		}
		later := func(hs *HostSet) (n int) {
			for i := range hs.Levels[at+1:] {
				n += hs.Levels[at+1+i].healthyPct
			}
			return n
		}
		if a, b := later(after), later(before); b-a > len(levels) { // what rounding leaves goes to the first
			t.Errorf("%+v: priority %d loses a host, and those after it get %d%% instead of %d%%", levels, at, a, b)
		}
	})
}

// TestSpillOnlyWhenNeeded: a priority gets nothing while those before it can take everything.
func TestSpillOnlyWhenNeeded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		levels := spillLevels(t)
		o := testOptions()
		hs := newHostSet(members(levels...), &o)
		can := 0
		for p := range hs.Levels { // without the last priorities, if they have no host
			l := levels[p]
			if can >= 100 && hs.Levels[p].healthyPct > 0 {
				t.Errorf("%+v: priority %d gets %d%%, but those before it can take %d%%", levels, p, hs.Levels[p].healthyPct, can)
			}
			if n := l.healthy + l.degraded + l.failed; n > 0 {
				can += min(100, 140*l.healthy/n)
			}
		}
	})
}

// TestLocalitySpill: a locality gets its weight times what its hosts can take, and nothing without weight or hosts that are
// well; when one of its hosts fails, it gets no more than before, and every other one no less.
func TestLocalitySpill(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		zones := make([]zoneHosts, rapid.IntRange(1, 5).Draw(t, "zones"))
		o := testOptions()
		o.localityWeights = map[localityAt]uint32{}
		for i := range zones {
			zones[i] = zoneHosts{healthy: rapid.IntRange(0, 9).Draw(t, "healthy"), failed: rapid.IntRange(0, 9).Draw(t, "failed")}
			o.localityWeights[localityAt{Locality: *zoneNames[i]}] = rapid.Uint32Range(0, 100).Draw(t, "weight")
		}
		before := localityShares(zones, &o)
		want, sum := make([]float64, len(zones)), 0.0
		for i, z := range zones {
			if z.healthy > 0 {
				want[i] = float64(o.localityWeights[localityAt{Locality: *zoneNames[i]}]) * min(1, 1.4*float64(z.healthy)/float64(z.healthy+z.failed))
			}
			sum += want[i]
		}
		if sum == 0 {
			t.Skip("nobody gets anything")
		}
		for i := range zones {
			if math.Abs(before[i]-want[i]/sum) > 0.001 || want[i] == 0 && before[i] != 0 {
				t.Errorf("%+v, weights %v: locality %d gets %.4f, want %.4f", zones, o.localityWeights, i, before[i], want[i]/sum)
			}
		}
		at := rapid.IntRange(0, len(zones)-1).Draw(t, "at")
		if zones[at].healthy == 0 {
			return
		}
		zones[at].healthy--
		zones[at].failed++
		after := localityShares(zones, &o)
		for i := range after {
			if i == at && after[i] > before[i]+1e-9 || i != at && after[i] < before[i]-1e-9 && slices.Max(after) > 0 {
				t.Errorf("%+v: locality %d loses a host, and %d gets %.4f instead of %.4f", zones, at, i, after[i], before[i])
			}
		}
	})
}

// localityShares returns which share of the requests for healthy hosts each zone gets.
func localityShares(zones []zoneHosts, o *setOptions) []float64 {
	hs, shares := newHostSet(zoneMembers(zones), o), make([]float64, len(zones))
	if len(hs.Hosts) == 0 || hs.Levels[0].localities[Healthy].empty() {
		return shares
	}
	table := &hs.Levels[0].localities[Healthy]
	zoneOf, first := map[*Host]int{}, 0
	for i, z := range zones {
		for n := range z.healthy {
			zoneOf[hs.Hosts[first+n]] = i
		}
		first += z.healthy + z.failed
	}
	last := uint64(0)
	for i := range table.buckets {
		shares[zoneOf[table.buckets[i].Hosts[0]]] += float64(table.sums[i]-last) / float64(table.sums[len(table.sums)-1])
		last = table.sums[i]
	}
	return shares
}
