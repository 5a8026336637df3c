package upstream

import (
	"math"
	"time"
)

// autoscaleSteps is how many samples make a window.
const autoscaleSteps = 30

// SampleInterval returns how often an [Autoscaler] wants to be asked.
func (c *AutoscalingConfig) SampleInterval() time.Duration {
	return max(c.Window/autoscaleSteps, 50*time.Millisecond)
}

// AutoscaleSample is what was measured at one time.
type AutoscaleSample struct {
	// At is the time, from any beginning.
	At time.Duration
	// Total is how many requests there were so far, Active how many there are.
	Total, Active uint64
}

// An Autoscaler says how many hosts are wanted. It is pure: time and traffic come from outside.
//
// N = ceil(T/R), for the traffic T of a window and the target R of a host, between the bounds. A number W that is wanted
// stays until T is beyond W·R by the hysteresis, or so far below (W-1)·R, for as long as the stabilization asks.
type Autoscaler struct {
	config  *AutoscalingConfig
	samples []AutoscaleSample // of one window and the one before it, the oldest first
	wanted  uint32
	traffic float64

	changed   time.Duration // when wanted was
	was       bool          // changed is valid
	direction int           // 1 or -1: since asks for more or fewer; 0: for neither
	since     time.Duration
	mildest   uint32 // of the numbers asked for since
}

// NewAutoscaler returns one that wants what there is, as far as the bounds allow.
func NewAutoscaler(c *AutoscalingConfig, hosts uint32) *Autoscaler {
	return &Autoscaler{config: c, wanted: c.clamp(hosts)}
}

func (c *AutoscalingConfig) clamp(n uint32) uint32 { return min(max(n, c.MinHosts), c.MaxHosts) }

// Wanted returns the number of hosts wanted.
func (a *Autoscaler) Wanted() uint32 { return a.wanted }

// Traffic returns the traffic of the last window, in the unit of the target.
func (a *Autoscaler) Traffic() float64 { return a.traffic }

// Add takes a sample, later than the one before, and reports whether another number is wanted now.
func (a *Autoscaler) Add(s AutoscaleSample) (changed bool) {
	a.samples = append(a.samples, s)
	first := 0 // the youngest that is a window old
	for first+1 < len(a.samples) && s.At-a.samples[first+1].At >= a.config.Window {
		first++
	}
	a.samples = append(a.samples[:0], a.samples[first:]...)
	span := s.At - a.samples[0].At
	if span <= 0 {
		return false
	}
	a.traffic = a.measure(span)
	if span < a.config.Window {
		return false
	}
	return a.decide(s.At)
}

// measure returns the traffic of the samples.
func (a *Autoscaler) measure(span time.Duration) float64 {
	last := a.samples[len(a.samples)-1]
	if a.config.Metric != ActiveRequests {
		return float64(last.Total-a.samples[0].Total) / span.Seconds()
	}
	sum := 0.0
	for i := range a.samples[1:] {
		sum += float64(a.samples[1+i].Active)
	}
	return sum / float64(len(a.samples)-1)
}

// decide changes what is wanted, if it is time.
func (a *Autoscaler) decide(now time.Duration) bool {
	n := a.asked()
	direction := a.leaves(n)
	if direction == 0 {
		a.direction = 0
		return false
	}
	if direction != a.direction {
		a.direction, a.since, a.mildest = direction, now, n
	}
	wait := a.config.ScaleUpStabilization
	if direction > 0 {
		a.mildest = min(a.mildest, n)
	} else {
		a.mildest = max(a.mildest, n)
		wait = a.config.ScaleDownStabilization
	}
	if wait == 0 { // a cooldown alone smooths nothing
		a.mildest = n
	}
	if now-a.since < wait || a.was && now-a.changed < a.config.Cooldown {
		return false
	}
	a.wanted, a.changed, a.was, a.direction = a.mildest, now, true, 0
	return true
}

// asked returns N for the traffic of now.
func (a *Autoscaler) asked() uint32 {
	// What floating point has left over a whole number is not another host.
	n := math.Ceil(a.traffic/a.config.TargetPerHost - 1e-9)
	return a.config.clamp(uint32(min(max(n, 0), math.MaxUint32)))
}

// leaves returns 1 or -1 if n is far enough above or below what is wanted, else 0.
func (a *Autoscaler) leaves(n uint32) int {
	c := a.config
	h := c.HysteresisPercent / 100
	switch w := float64(a.wanted); {
	case n > a.wanted && n-a.wanted >= c.HysteresisHosts && a.traffic > w*c.TargetPerHost*(1+h):
		return 1
	case n < a.wanted && a.wanted-n >= c.HysteresisHosts && a.traffic <= (w-1)*c.TargetPerHost*(1-h):
		return -1
	}
	return 0
}
