//go:build race

package stats

import "sync/atomic"

// value is the same as in value.go, with accesses the race detector accepts.
type value struct{ n atomic.Uint64 }

func (v *value) add(n uint64) { v.n.Add(n) }
func (v *value) set(n uint64) { v.n.Store(n) }
func (v *value) load() uint64 { return v.n.Load() }
