package upstream

// levelSum is what the shares of a priority are computed from: numbers of hosts, or sums of their weights.
type levelSum struct {
	total, healthy, degraded uint64 // without those that are excluded
	hosts                    uint64
}

func (s *levelSum) add(m *member, f HealthFlag, weighted bool) {
	n := uint64(1)
	if weighted {
		n = uint64(m.weight)
	}
	s.hosts++
	if f.Excluded() {
		return
	}
	s.total += n
	switch f.Class() {
	case Healthy:
		s.healthy += n
	case Degraded:
		s.degraded += n
	case Unhealthy:
	}
}

// share decides which percentage of the requests goes to the healthy and to the degraded hosts of each priority, and
// which priorities panic. A priority takes what overprovisioning times its share of usable hosts allows, the next one
// takes what is left: the healthy hosts of all come before the degraded ones of any.
//
// Source: Envoy, "Priority levels" and "Panic threshold".
func (hs *HostSet) share(sums []levelSum, o *setOptions) {
	health, degraded := make([]int, len(sums)), make([]int, len(sums))
	available := 0
	for p := range sums {
		health[p], degraded[p] = sums[p].percent(sums[p].healthy, o), sums[p].percent(sums[p].degraded, o)
		hs.Levels[p].healthyUsable, hs.Levels[p].degradedUsable = health[p], degraded[p]
		available += health[p] + degraded[p]
	}
	available = min(available, 100)
	panics := 0
	for p := range sums {
		hs.Levels[p].Panic = available < 100 && sums[p].panics(o)
		if hs.Levels[p].Panic || sums[p].hosts == 0 {
			panics++
		}
	}
	if panics == len(sums) {
		hs.shareInPanic(sums)
		return
	}
	left := 100
	take := func(usable int) int {
		if available == 0 {
			return 0
		}
		n := min(left, usable*100/available)
		left -= n
		return n
	}
	for p := range sums {
		hs.Levels[p].healthyPct = take(health[p])
	}
	for p := range sums {
		hs.Levels[p].degradedPct = take(degraded[p])
	}
	hs.shareRest(left, health, degraded)
}

// percent is overprovisioning times the share of usable, at most 100.
func (s *levelSum) percent(usable uint64, o *setOptions) int {
	if s.total == 0 {
		return 0
	}
	return int(min(100, uint64(o.overprovisioning)*usable/s.total))
}

// panics reports whether too few are usable.
func (s *levelSum) panics(o *setOptions) bool {
	return s.hosts > 0 && s.panicsBelow(o.panicPct)
}

// panicsBelow reports whether less than so many percent are usable.
func (s *levelSum) panicsBelow(pct float64) bool {
	if s.total == 0 {
		return pct > 0
	}
	return float64(100*(s.healthy+s.degraded))/float64(s.total) < pct
}

// shareRest gives what rounding has left to the first that is usable.
func (hs *HostSet) shareRest(left int, health, degraded []int) {
	for p := range health {
		if health[p] > 0 {
			hs.Levels[p].healthyPct += left
			return
		}
	}
	for p := range degraded {
		if degraded[p] > 0 {
			hs.Levels[p].degradedPct += left
			return
		}
	}
	if len(hs.Levels) > 0 { // nobody is usable and nobody panics: the first priority has no host to give
		hs.Levels[0].healthyPct = left
	}
}

// shareInPanic spreads over all hosts of all priorities.
func (hs *HostSet) shareInPanic(sums []levelSum) {
	hosts := uint64(0)
	for p := range sums {
		hosts += sums[p].hosts
	}
	left, first := 100, -1
	for p := range sums {
		if sums[p].hosts == 0 {
			continue
		}
		if first < 0 {
			first = p
		}
		n := int(100 * sums[p].hosts / hosts)
		hs.Levels[p].healthyPct = n
		left -= n
	}
	if first >= 0 {
		hs.Levels[first].healthyPct += left
	}
}

// chooseLevel returns the priority and the class at a place in 0 to 99.
func (hs *HostSet) chooseLevel(at int) (*PriorityLevel, HealthClass) {
	for p := range hs.Levels {
		if at -= hs.Levels[p].healthyPct; at < 0 {
			return &hs.Levels[p], Healthy
		}
	}
	for p := range hs.Levels {
		if at -= hs.Levels[p].degradedPct; at < 0 {
			return &hs.Levels[p], Degraded
		}
	}
	return nil, Healthy
}
