package upstream

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// subsetsMax is how many subsets a cluster has at most. The hosts of others are found by none.
const subsetsMax = 10_000

// subsetTable is the hosts of a set by their metadata.
type subsetTable struct {
	selectors  []subsetSelector
	subsets    []subset // by hash
	fallback   fallback
	common     *HostSet // of the default subset; nil without one
	panicAny   bool
	duplicates int // hosts left out by single_host_per_subset
	refused    int // subsets beyond subsetsMax
}

// subsetSelector is the keys of some subsets.
type subsetSelector struct {
	keys     []string        // sorted
	fallback fallback        // fallbackUnset: that of the table
	fewer    *subsetSelector // of fallbackKeys; nil if there is none with its keys
}

// fallback is what a request gets for which there is no subset.
type fallback uint8

const (
	fallbackUnset fallback = iota
	fallbackNone
	fallbackAny
	fallbackDefault
	fallbackKeys
)

var fallbacks = map[string]fallback{
	"": fallbackUnset, noFallback: fallbackNone, anyEndpoint: fallbackAny, defaultSubset: fallbackDefault, keysSubset: fallbackKeys,
}

// subset is the hosts with some values of the keys of a selector.
type subset struct {
	of  Criteria
	set *HostSet
}

// subsetTable divides the members of hs.
func (hs *HostSet) subsetTable(members []member, o *setOptions) *subsetTable {
	cfg := o.subsets
	t := &subsetTable{fallback: fallbacks[cfg.FallbackPolicy], panicAny: cfg.PanicModeAny, selectors: make([]subsetSelector, len(cfg.Selectors))}
	for i := range cfg.Selectors {
		t.selectors[i] = subsetSelector{keys: sortedKeys(cfg.Selectors[i].Keys), fallback: fallbacks[cfg.Selectors[i].FallbackPolicy]}
	}
	for i := range cfg.Selectors {
		s := &t.selectors[i]
		if s.fallback == fallbackKeys {
			s.fewer = t.withKeys(sortedKeys(cfg.Selectors[i].FallbackKeysSubset))
		}
		t.divide(hs, s, cfg.Selectors[i].SingleHostPerSubset, members, o)
	}
	slices.SortFunc(t.subsets, func(a, b subset) int { return cmp.Compare(a.of.hash, b.of.hash) })
	if c := NewCriteria(cfg.DefaultSubset); c != nil {
		var list []member
		for _, m := range members {
			if c.hold(m.metadata) {
				list = append(list, m)
			}
		}
		t.common = hs.part(list, o)
	}
	return t
}

// withKeys returns the selector with these keys, nil if there is none.
func (t *subsetTable) withKeys(keys []string) *subsetSelector {
	for i := range t.selectors {
		if slices.Equal(t.selectors[i].keys, keys) {
			return &t.selectors[i]
		}
	}
	return nil
}

// divide makes the subsets of a selector.
func (t *subsetTable) divide(hs *HostSet, s *subsetSelector, single bool, members []member, o *setOptions) {
	by, order := map[string][]member{}, []string(nil)
	for _, m := range members {
		id, ok := s.valuesOf(m.metadata)
		if !ok {
			continue
		}
		if by[id] == nil {
			order = append(order, id)
		}
		by[id] = append(by[id], m)
	}
	for _, id := range order {
		if len(t.subsets) == subsetsMax {
			t.refused++
			continue
		}
		list := by[id]
		if single {
			t.duplicates += len(list) - 1
			list = list[:1]
		}
		values := map[string]string{}
		for _, k := range s.keys {
			values[k] = list[0].metadata[k]
		}
		t.subsets = append(t.subsets, subset{of: *NewCriteria(values), set: hs.part(list, o)})
	}
}

// valuesOf returns what tells the values of the keys apart; ok is false if metadata lack one.
func (s *subsetSelector) valuesOf(metadata map[string]string) (id string, ok bool) {
	var b strings.Builder
	for _, k := range s.keys {
		v, ok := metadata[k]
		if !ok {
			return "", false
		}
		fmt.Fprintf(&b, "%d:%s", len(v), v)
	}
	return b.String(), true
}

// part makes the set of some of the hosts. Its buckets count on from those of hs.
func (hs *HostSet) part(members []member, o *setOptions) *HostSet {
	so := *o
	so.subsets, so.zones, so.isPart, so.firstBucket = nil, nil, true, hs.Buckets
	sub := newHostSet(members, &so)
	hs.Buckets = sub.Buckets
	return sub
}

// subsetChanges returns how many subsets of now were not there before, and how many there were that are not any more.
func subsetChanges(before, now *subsetTable) (created, removed int) {
	if before == nil {
		before = &subsetTable{}
	}
	if now == nil {
		now = &subsetTable{}
	}
	stay := 0
	for i := range now.subsets {
		if c := &now.subsets[i].of; before.withHash(c.hash, len(c.pairs), c) != nil {
			stay++
		}
	}
	return len(now.subsets) - stay, len(before.subsets) - stay
}

// find returns the set for a request with criteria, nil if it gets none. hs is the whole one.
func (t *subsetTable) find(hs *HostSet, c *Criteria) (set *HostSet, how Choice) {
	policy := t.fallback
	for s := t.selectorOf(c); s != nil; s = s.fewer {
		if set := t.lookup(s, c); set != nil {
			return set, ChoseSubset
		}
		if s.fallback == fallbackKeys {
			continue
		}
		if s.fallback != fallbackUnset {
			policy = s.fallback
		}
		break
	}
	switch policy {
	case fallbackAny:
		return hs, ChoseFallback
	case fallbackDefault:
		if t.panicAny && len(t.common.Levels) == 0 {
			return hs, ChoseFallbackPanic
		}
		return t.common, ChoseFallback
	case fallbackUnset, fallbackNone, fallbackKeys:
	}
	return nil, ChoseShare
}

// selectorOf returns the selector with exactly the keys of c, nil if there is none.
func (t *subsetTable) selectorOf(c *Criteria) *subsetSelector {
	if c == nil {
		return nil
	}
	for i := range t.selectors {
		s := &t.selectors[i]
		if len(s.keys) == len(c.pairs) && s.within(c) {
			return s
		}
	}
	return nil
}

// within reports whether c has all keys of s.
func (s *subsetSelector) within(c *Criteria) bool {
	i := 0
	for _, k := range s.keys {
		for i < len(c.pairs) && c.pairs[i].key < k {
			i++
		}
		if i == len(c.pairs) || c.pairs[i].key != k {
			return false
		}
	}
	return true
}

// lookup returns the subset with what c says of the keys of s, nil if there is none.
func (t *subsetTable) lookup(s *subsetSelector, c *Criteria) *HostSet {
	hash := c.hash
	if len(s.keys) < len(c.pairs) {
		hash = 0
		for i := range c.pairs {
			if _, ok := slices.BinarySearch(s.keys, c.pairs[i].key); ok {
				hash += c.pairs[i].hash
			}
		}
	}
	return t.withHash(hash, len(s.keys), c)
}

// withHash returns the subset with that hash and so many keys whose values c demands, nil if there is none.
func (t *subsetTable) withHash(hash uint64, keys int, c *Criteria) *HostSet {
	at, _ := slices.BinarySearchFunc(t.subsets, hash, func(s subset, hash uint64) int { return cmp.Compare(s.of.hash, hash) })
	for ; at < len(t.subsets) && t.subsets[at].of.hash == hash; at++ {
		if x := &t.subsets[at]; len(x.of.pairs) == keys && x.of.isPartOf(c) {
			return x.set
		}
	}
	return nil
}

// isPartOf reports whether d demands all that c does.
func (c *Criteria) isPartOf(d *Criteria) bool {
	i := 0
	for _, p := range c.pairs {
		for i < len(d.pairs) && d.pairs[i].key < p.key {
			i++
		}
		if i == len(d.pairs) || d.pairs[i].key != p.key || d.pairs[i].value != p.value {
			return false
		}
	}
	return true
}

// chooseSubset is Choose where there are subsets.
func (hs *HostSet) chooseSubset(random uint64, p *Pick) (*Bucket, Choice) {
	set, how := hs.subsets.find(hs, p.Criteria)
	if set == nil {
		return &noHosts, how
	}
	b, within := set.choose(random, p)
	return b, how | within
}
