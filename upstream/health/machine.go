package health

import (
	"math/bits"

	"millrace/upstream"
)

// Outcome is how one check went.
type Outcome uint8

const (
	Passed  Outcome = iota
	Network         // no connection, or it broke: one of a few may be chance
	Timeout         // no answer in time, likewise
	Wrong           // an answer that a host that is well does not give
	Passive         // nothing was asked: a response to a request said so
)

var outcomeNames = [...]string{"PASSED", "NETWORK", "NETWORK_TIMEOUT", "ACTIVE", "PASSIVE"}

// String returns the failure type as in the event log.
func (o Outcome) String() string { return outcomeNames[o] }

// A Result is how one check went, and what the host said besides.
type Result struct {
	Outcome Outcome
	// Retriable makes a wrong answer count as one of several.
	Retriable bool
	// Degraded says that a host that passes wants to be used only when others are too few.
	Degraded bool
	// Exclude says that a host that fails has asked to be counted out at once.
	Exclude bool
	// Verified says that the name of the service was looked at.
	Verified bool
}

// Change is what a result did to the health of a host.
type Change uint8

const (
	Unchanged Change = iota
	Pending          // some more like this one will change it
	Changed          // balancing has to hear of it
)

// rules are what a machine decides by.
type rules struct {
	unhealthy, healthy uint32
	window             int // of the moving average, 0 for none
	threshold          float64
}

func newRules(c *upstream.HealthCheckConfig) rules {
	r := rules{unhealthy: c.UnhealthyThreshold, healthy: c.HealthyThreshold}
	if a := c.MovingAverage; a != nil {
		r.window, r.threshold = a.Window, a.Threshold
	}
	return r
}

// activeFlags are those that a machine decides on.
const activeFlags = upstream.FailedActiveCheck | upstream.DegradedActiveCheck | upstream.PendingActiveCheck |
	upstream.ExcludedImmediate | upstream.ActiveCheckTimeout

// A machine is what the checks of one host have come to. It is pure: it knows no clock and no host.
//
//	        first check passes, or enough in a row
//	┌─────┐ ────────────────────────────────────▶ ┌──────┐
//	│ ill │                                       │ well │
//	└─────┘ ◀──────────────────────────────────── └──────┘
//	        a wrong answer, or enough failures in a row
//
// With a moving average there is one rule: the host is ill while too few of its last checks have passed.
type machine struct {
	flags           upstream.HealthFlag // of activeFlags
	passes, failing uint32              // checks in a row, counted toward a threshold
	checked         bool                // there was a result
	last            uint64              // results, the newest in bit 0; 1 is passed
	lastCount       int                 // valid bits of last
}

// newMachine returns the machine of a host with flags.
func newMachine(flags upstream.HealthFlag) machine { return machine{flags: flags & activeFlags} }

// failed reports whether the host is ill.
func (m *machine) failed() bool { return m.flags&upstream.FailedActiveCheck != 0 }

// record takes a result in.
func (m *machine) record(r Result, by *rules) Change {
	first := !m.checked
	m.checked = true
	m.note(r, by)
	var change Change
	switch {
	case r.Outcome == Passed && by.window > 0:
		change = m.average(by)
	case r.Outcome == Passed:
		change = m.pass(first, by)
	default:
		change = m.fail(r, by)
	}
	if m.flags&upstream.PendingActiveCheck != 0 { // it counts from now on, whatever the result
		m.flags &^= upstream.PendingActiveCheck
		change = Changed
	}
	if r.Outcome == Passed && r.Degraded != (m.flags&upstream.DegradedActiveCheck != 0) {
		m.flags ^= upstream.DegradedActiveCheck
		if change != Pending {
			change = Changed
		}
	}
	return change
}

// pass takes in a check that passed.
func (m *machine) pass(first bool, by *rules) Change {
	m.failing = 0
	if !m.failed() {
		return Unchanged
	}
	if m.passes++; !first && m.passes < by.healthy {
		return Pending
	}
	m.recover()
	return Changed
}

// recover makes the host well.
func (m *machine) recover() {
	m.flags &^= upstream.FailedActiveCheck | upstream.ActiveCheckTimeout | upstream.ExcludedImmediate
	m.passes, m.failing = 0, 0
}

// fail takes in a check that failed, or what a response said.
func (m *machine) fail(r Result, by *rules) Change {
	before := m.flags
	m.passes = 0
	change := Unchanged
	switch {
	case r.Exclude || r.Outcome == Passive:
		m.flags |= upstream.ExcludedImmediate | upstream.FailedActiveCheck
	case by.window > 0:
		change = m.average(by)
	case m.failed():
	case r.Outcome == Wrong && !r.Retriable:
		m.flags |= upstream.FailedActiveCheck
	default:
		change = Pending
		if m.failing++; m.failing >= by.unhealthy {
			m.flags |= upstream.FailedActiveCheck
		}
	}
	if m.flags&^before != 0 {
		change = Changed
	}
	if m.failed() {
		m.failing = 0
		m.flags &^= upstream.ActiveCheckTimeout
		if r.Outcome == Timeout {
			m.flags |= upstream.ActiveCheckTimeout
		}
	}
	return change
}

// note keeps a result for the moving average. What a host says of itself outweighs all before.
func (m *machine) note(r Result, by *rules) {
	if by.window == 0 {
		return
	}
	m.last <<= 1
	m.lastCount = min(m.lastCount+1, by.window)
	switch {
	case r.Outcome == Passed:
		m.last |= 1
	case r.Outcome == Passive || r.Exclude:
		m.last, m.lastCount = 0, by.window
	}
	m.last &= 1<<by.window - 1
}

// average decides by the mean of the last results, of those that there are so far.
func (m *machine) average(by *rules) Change {
	well := float64(bits.OnesCount64(m.last)) >= by.threshold*float64(m.lastCount)
	switch {
	case well && m.failed():
		m.recover()
		return Changed
	case !well && !m.failed():
		m.flags |= upstream.FailedActiveCheck
		return Changed
	case well != (m.last&1 == 1):
		return Pending
	}
	return Unchanged
}
