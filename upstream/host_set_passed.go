package upstream

// Priorities is a set of priorities.
type Priorities [2]uint64

// Add adds a priority.
func (s *Priorities) Add(p uint8) { s[p>>6&1] |= 1 << (p & 63) }

// Has reports whether a priority is in the set.
func (s *Priorities) Has(p uint8) bool { return s[p>>6&1]>>(p&63)&1 != 0 }

// keepFacts keeps what PriorityOf and Matches tell of the members.
func (hs *HostSet) keepFacts(members []member, levels int) {
	if levels > 1 {
		hs.priorities = make([]uint8, len(hs.slots))
		for i := range members {
			hs.priorities[members[i].host.slot] = members[i].priority
		}
	}
	for i := range members {
		m := &members[i]
		if len(m.metadata) == 0 {
			continue
		}
		if hs.metadata == nil {
			hs.metadata = make([]map[string]string, len(hs.slots))
		}
		hs.metadata[m.host.slot] = m.metadata
	}
}

// PriorityOf returns the priority of a host, 0 for one that is not in the set.
func (hs *HostSet) PriorityOf(h *Host) uint8 {
	if hs.priorities == nil || !hs.Has(h) {
		return 0
	}
	return hs.priorities[h.slot]
}

// Matches reports whether the metadata of a host are what criteria demand.
func (hs *HostSet) Matches(h *Host, c *Criteria) bool {
	return hs.metadata != nil && hs.Has(h) && c.hold(hs.metadata[h.slot])
}

// choosePassing is chooseLevel for a request that passes some priorities by: what these would have got is shared among the others.
// If the others have no host that is well, passed is emptied, and all are there again.
//
// Source: Envoy, the retry priority "previous_priorities".
func (hs *HostSet) choosePassing(at int, passed *Priorities) (*PriorityLevel, HealthClass) {
	available := 0
	for p := range hs.Levels {
		if !passed.Has(uint8(p)) {
			available += hs.Levels[p].healthyUsable + hs.Levels[p].degradedUsable
		}
	}
	if available == 0 {
		*passed = Priorities{}
		return hs.chooseLevel(at)
	}
	available = min(available, 100)
	first, firstClass, left := (*PriorityLevel)(nil), Healthy, 100
	for _, class := range [...]HealthClass{Healthy, Degraded} {
		for p := range hs.Levels {
			l := &hs.Levels[p]
			usable := l.healthyUsable
			if class == Degraded {
				usable = l.degradedUsable
			}
			if usable == 0 || passed.Has(uint8(p)) {
				continue
			}
			if first == nil {
				first, firstClass = l, class
			}
			share := min(left, usable*100/available)
			left -= share
			if at -= share; at < 0 {
				return l, class
			}
		}
	}
	return first, firstClass // gets what rounding has left
}
