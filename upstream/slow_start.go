package upstream

import (
	"math"
	"time"
)

// rampUnit is what weights are multiplied by while hosts warm up, so that parts of them can be told apart.
const rampUnit = 1000

// ramp is the slow start of a host. The control goroutine owns it.
type ramp struct {
	since time.Time // when it began; only valid if begun
	begun bool
}

// follow begins anew when a host is added, or passes its active checks after it has failed them.
func (r *ramp) follow(f HealthFlag, now time.Time) {
	switch passes := f&(FailedActiveCheck|PendingActiveCheck) == 0; {
	case !passes:
		r.begun = false
	case !r.begun:
		r.begun, r.since = true, now
	}
}

// factor is the share of its weight that a host has so long after its slow start began. It is 1 from the end of the window
// on.
func (s *SlowStartConfig) factor(age time.Duration) float64 {
	if age >= s.SlowStartWindow {
		return 1
	}
	f := float64(max(age, time.Millisecond)) / float64(s.SlowStartWindow)
	if s.Aggression != 1 {
		f = math.Pow(f, 1/s.Aggression)
	}
	return max(f, s.MinWeightPercent/100)
}

// rampUp brings the weights of slow start up to now and reports whether they count: a host is in its window, and others
// are not, or began at another time. Hosts that began together share as they always do.
func (c *Cluster) rampUp(s *SlowStartConfig, now time.Time) bool {
	var first time.Time
	healthy, warming, apart := 0, false, false
	for i := range c.members {
		m := &c.members[i]
		h := m.host
		if h.ramp == nil {
			h.ramp = &ramp{}
		}
		f := h.Health()
		h.ramp.follow(f, now)
		m.ramped = m.weight * rampUnit
		if !h.ramp.begun || f.Class() != Healthy {
			continue
		}
		age := now.Sub(h.ramp.since)
		m.ramped = max(uint32(float64(m.ramped)*s.factor(age)), 1)
		warming = warming || age < s.SlowStartWindow
		if healthy++; healthy == 1 {
			first = h.ramp.since
		}
		apart = apart || !h.ramp.since.Equal(first)
	}
	return warming && apart
}

// Ramping reports whether weights grow with time: then [Cluster.Rebuild] is due once more a second later. Called on the
// control goroutine.
func (c *Cluster) Ramping() bool { return c.ramping }
