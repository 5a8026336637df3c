package upstream

import (
	"math"
	"sync/atomic"
	"time"
)

// Latency is the moving average of how long the responses of a host take. It goes up to a slow one at once, and down
// with time. All loops write it.
type Latency struct {
	// state has the time of the last response in its upper half, in units of latencyTick, and the average in
	// microseconds, as a float32, in its lower half. Atomic.
	state atomic.Uint64
}

// latencyTick is the resolution of the time: 32 bits of it are 50 days.
const latencyTick = time.Millisecond

// Load returns the average in microseconds, less with the time since the last response, or 0 if there was none.
func (l *Latency) Load(now, decay int64) float64 {
	old := l.state.Load()
	return float64(math.Float32frombits(uint32(old))) * keeps(old, now, decay)
}

// keeps returns the share of an average that is left now. Loops may disagree about the time by a tick.
func keeps(state uint64, now, decay int64) float64 {
	since := max(int32(uint32(now/int64(latencyTick))-uint32(state>>32)), 0) // right even after the time has wrapped
	return math.Exp(-float64(since) * float64(latencyTick) / float64(decay))
}

// Observe takes up a response that took us microseconds. now is the time of the loop, decay that of the average.
func (l *Latency) Observe(now, us, decay int64) {
	tick := uint32(now / int64(latencyTick))
	for {
		old := l.state.Load()
		next := float32(max(us, 1))
		if avg := math.Float32frombits(uint32(old)); avg > next {
			keep := float32(keeps(old, now, decay))
			next = avg*keep + next*(1-keep)
		}
		if l.state.CompareAndSwap(old, uint64(tick)<<32|uint64(math.Float32bits(next))) {
			return
		}
	}
}
