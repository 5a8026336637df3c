//go:build !race

package stats

import "sync/atomic"

// value is a number with one writer and many readers.
//
// Deviation from the Go memory model, on purpose: the writer adds with a plain
// instruction. An aligned 64-bit store is one store on every 64-bit machine, so a reader
// sees an old or a new value, never a mixture, and a counter read a moment late is what
// admin pages show anyway. An atomic add costs a locked instruction of about 5 ns; a
// request passes some thirty counters. Under the race detector value_race.go is used.
type value struct{ n uint64 }

func (v *value) add(n uint64) { v.n += n }
func (v *value) set(n uint64) { v.n = n }
func (v *value) load() uint64 { return atomic.LoadUint64(&v.n) }
