package admin

import (
	"strconv"
	"sync"
	"time"

	"millrace/engine/stats"
)

// memoryMaxAge is how old a measurement may be that a page shows: one page asks for several
// of its numbers.
const memoryMaxAge = 100 * time.Millisecond

// stateNumbers are Envoy's numbers for server.state.
var stateNumbers = map[State]int64{StateLive: 0, StateDraining: 1, StatePreInitializing: 2, StateInitializing: 3}

// memoryCache measures when asked, but not for every number of a page.
type memoryCache struct {
	mu   sync.Mutex
	at   time.Time
	last Memory
}

func (c *memoryCache) read() *Memory {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.at) > memoryMaxAge {
		c.last, c.at = ReadMemory(), now
	}
	m := c.last
	return &m
}

// registerProcess registers the server.* values that deps and the runtime know.
func registerProcess(reg *stats.Registry, deps *Deps) {
	if deps.Info != nil {
		registerInfo(reg, deps.Info)
	}
	if state := deps.State; state != nil {
		reg.Func("server.state", stats.KindGauge, func() int64 { return stateNumbers[state()] }, "0 live, 1 draining, 2 pre-initializing, 3 initializing")
		reg.Func("server.live", stats.KindGauge, func() int64 {
			if state() == StateLive {
				return 1
			}
			return 0
		}, "1 unless draining or initializing")
	}
	c := new(memoryCache)
	reg.Func("server.memory_allocated", stats.KindGauge, func() int64 { return int64(c.read().Allocated) }, "bytes of Go objects, live or not yet collected")
	reg.Func("server.memory_heap_size", stats.KindGauge, func() int64 { return int64(c.read().HeapSize) }, "bytes held by the Go heap")
	reg.Func("server.memory_physical_size", stats.KindGauge, func() int64 { return int64(c.read().Physical) }, "resident bytes of the process")
	reg.Func("server.gc_total", stats.KindCounter, func() int64 { return int64(c.read().Collections) }, "garbage collections")
	reg.Func("server.gc_pause_total_us", stats.KindCounter, func() int64 { return c.read().Pauses.PauseTotal.Microseconds() }, "microseconds that collections stopped the process")
	reg.Func("server.gc_pause_recent_max_us", stats.KindGauge, func() int64 { return c.read().Pauses.PauseQuantiles[4].Microseconds() }, "longest stop of the last 256 collections, microseconds")
	if regions := deps.Regions; regions != nil {
		reg.Func("server.memory_outside_heap", stats.KindGauge, func() int64 {
			total := uint64(0)
			for _, r := range regions() {
				total += r.Bytes
			}
			return int64(total)
		}, "bytes of blocks outside the Go heap")
	}
}

func registerInfo(reg *stats.Registry, info func() Info) {
	reg.Func("server.uptime", stats.KindGauge, func() int64 { return int64(time.Since(info().Started) / time.Second) }, "seconds since the process started")
	reg.Func("server.concurrency", stats.KindGauge, func() int64 { return int64(info().Concurrency) }, "loops")
	reg.Func("server.hot_restart_epoch", stats.KindGauge, func() int64 { return int64(info().RestartEpoch) }, "number of the process in a chain of hot restarts")
	reg.Func("server.version", stats.KindGauge, func() int64 { return versionNumber(info().Commit) }, "the first six hex digits of the commit, as a number")
}

// versionNumber is the number Envoy makes of a commit; 0 if it is not known.
func versionNumber(commit string) int64 {
	if len(commit) < 6 {
		return 0
	}
	n, err := strconv.ParseInt(commit[:6], 16, 64)
	if err != nil {
		return 0
	}
	return n
}
