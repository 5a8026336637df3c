package upstream

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Criteria are what a request demands of the metadata of its host. They are made once, for a route, and immutable.
type Criteria struct {
	pairs []criterion // by key
	hash  uint64      // the sum of those of the pairs
}

// criterion is a key of metadata and its value.
type criterion struct {
	key, value string
	hash       uint64
}

// NewCriteria returns criteria that demand all of m; nil if that is empty.
func NewCriteria(m map[string]string) *Criteria {
	if len(m) == 0 {
		return nil
	}
	c := &Criteria{}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		p := criterion{key: key, value: m[key], hash: xxhash.Sum64String(fmt.Sprintf("%d:%s%s", len(key), key, m[key]))}
		c.pairs, c.hash = append(c.pairs, p), c.hash+p.hash
	}
	return c
}

// MergeCriteria returns what outer and inner demand together; where both name a key inner wins.
func MergeCriteria(outer, inner map[string]string) *Criteria {
	m := maps.Clone(outer)
	if m == nil {
		m = map[string]string{}
	}
	maps.Copy(m, inner)
	return NewCriteria(m)
}

// hold reports whether metadata are what the criteria demand.
func (c *Criteria) hold(metadata map[string]string) bool {
	for _, p := range c.pairs {
		if got, ok := metadata[p.key]; !ok || got != p.value {
			return false
		}
	}
	return true
}

// String returns the criteria as "key=value, …".
func (c *Criteria) String() string {
	var b strings.Builder
	for i, p := range c.pairs {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(p.key + "=" + p.value)
	}
	return b.String()
}
