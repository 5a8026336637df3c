package upstream

import (
	"sync/atomic"

	"millrace/engine"
)

// HealthFlag is something that speaks against sending requests to a host.
type HealthFlag uint32

const (
	FailedActiveCheck   HealthFlag = 1 << iota // active health checks fail
	FailedOutlier                              // ejected by outlier detection
	FailedDiscovery                            // marked unhealthy by where it came from
	DegradedActiveCheck                        // passes its checks with x-envoy-degraded
	DegradedDiscovery                          // marked degraded by where it came from
	PendingActiveCheck                         // new, and waits for its first check
	ExcludedImmediate                          // has said x-envoy-immediate-health-check-fail
	ActiveCheckTimeout                         // FailedActiveCheck is because of a timeout
	PendingRemoval                             // gone from where it came from, kept while its checks pass
	DegradedOutlier                            // a response has said x-envoy-degraded (detect_degraded_hosts)
)

const (
	unhealthyFlags = FailedActiveCheck | FailedOutlier | FailedDiscovery
	degradedFlags  = DegradedActiveCheck | DegradedDiscovery | DegradedOutlier
	excludedFlags  = PendingActiveCheck | ExcludedImmediate
)

// HealthClass is the health of a host as far as balancing cares.
type HealthClass uint8

const (
	Healthy   HealthClass = iota
	Degraded              // used when the healthy ones are too few
	Unhealthy             // used in panic only
)

// Class returns what the flags come to.
func (f HealthFlag) Class() HealthClass {
	switch {
	case f&unhealthyFlags != 0:
		return Unhealthy
	case f&degradedFlags != 0:
		return Degraded
	}
	return Healthy
}

// Excluded reports whether the host does not count, neither as well nor as ill, in what share of a priority is well.
func (f HealthFlag) Excluded() bool { return f&excludedFlags != 0 }

// Host is one endpoint of a cluster, shared by all loops.
//
// The counters that every request touches are on a cache line of their own, apart from what
// loops only read.
type Host struct {
	// Immutable.
	Addr     engine.Addr
	Name     string // the address as text, such as "10.0.0.1:80"
	Hostname string // the name it was resolved from, or ""
	slot     uint32
	slotted  bool // only valid while the control goroutine builds a cluster

	// Owned by control.
	ramp *ramp // nil without slow start

	// Atomic: written by control.
	target atomic.Pointer[engine.Addr]   // see Target; nil: Addr
	others atomic.Pointer[[]engine.Addr] // see Others; nil: none
	weight atomic.Uint32
	health atomic.Uint32
	// Atomic: written by the loops when it changes.
	spoke atomic.Uint32 // see Spoke
	use   hostUse       // only in clusters of type "original_dst"
	// Room is who waits for a connection to the host, which has as many as it may: see [PerHostThresholds].
	Room Waiters
	// Idle says which loops have connections to spare.
	Idle IdleShares

	_ [64]byte
	// Atomic: written by the loops, read by balancers and admin.
	RqActive      atomic.Int64  // requests leased, those waiting for a connection included
	RqTotal       atomic.Uint64 // requests that got a connection
	RqSuccess     atomic.Uint64 // answered with a status below 500; kept by the router
	RqError       atomic.Uint64 // answered with 5xx, reset or timed out; kept by the router
	RqTimeout     atomic.Uint64 // no response in time; kept by the router
	CxActive      atomic.Int64  // connections open or opening
	CxTotal       atomic.Uint64 // connections opened, or tried
	CxConnectFail atomic.Uint64 // connections that did not open, timeouts included
	Latency       Latency       // only with a policy that asks for it; kept by the router
	Outlier       HostOutlier   // only with outlier detection
	_             [64]byte
}

// newHost returns a host that nobody has seen so far.
func newHost(a engine.Addr, weight uint32, health HealthFlag) *Host {
	h := &Host{Addr: a, Name: a.String()}
	h.weight.Store(weight)
	h.health.Store(uint32(health))
	return h
}

// Target is where new connections go. It is Addr, but for the host of a cluster of type "logical_dns", which stays the same
// one when its name comes to have another address.
func (h *Host) Target() *engine.Addr {
	if a := h.target.Load(); a != nil {
		return a
	}
	return &h.Addr
}

// Others are the addresses that new connections try when Target does not accept soon. They are not changed.
func (h *Host) Others() []engine.Addr {
	if list := h.others.Load(); list != nil {
		return *list
	}
	return nil
}

// Slot is the index of the host among the pools of its cluster. It never changes; a host that
// is new after a reload may get the slot of one that is gone.
func (h *Host) Slot() int { return int(h.slot) }

// Weight returns the host's share relative to its neighbours, 1 or more. It can change at a
// reload, so policies that add weights up read it once for each version of their HostSet.
func (h *Host) Weight() uint32 { return h.weight.Load() }

// Healthy reports whether the host is not failed. It may be degraded.
func (h *Host) Healthy() bool { return h.Health().Class() != Unhealthy }

// Health returns the flags set now.
func (h *Host) Health() HealthFlag { return HealthFlag(h.health.Load()) }

// SetHealth sets or clears a flag and reports whether balancing has to hear of it. The loops do when a new HostSet
// reaches them: see [Cluster.Rebuild].
func (h *Host) SetHealth(f HealthFlag, on bool) (changed bool) {
	if on {
		return h.ReplaceHealth(f, f)
	}
	return h.ReplaceHealth(f, 0)
}

// ReplaceHealth is SetHealth for the flags of mask at once: those of to are set, the others cleared.
func (h *Host) ReplaceHealth(mask, to HealthFlag) (changed bool) {
	for {
		old := HealthFlag(h.health.Load())
		now := old&^mask | to&mask
		if h.health.CompareAndSwap(uint32(old), uint32(now)) {
			return old.Class() != now.Class() || old.Excluded() != now.Excluded()
		}
	}
}

// Spoke returns the version of HTTP that the last connection of protocol "auto" has agreed on, codec.Version11 or
// codec.Version20; 0 before there was one.
func (h *Host) Spoke() uint8 { return uint8(h.spoke.Load()) }

// SetSpoke notes it.
func (h *Host) SetSpoke(version uint8) {
	if h.Spoke() != version {
		h.spoke.Store(uint32(version))
	}
}

// TryConnection reports whether another connection is admitted, of at most most, and counts it. 0 is no limit.
func (h *Host) TryConnection(most int64) bool {
	if most == 0 {
		h.CxActive.Add(1)
		return true
	}
	for {
		n := h.CxActive.Load()
		if n >= most {
			return false
		}
		if h.CxActive.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// ForceConnection counts a connection beyond the limit: the first of a loop.
func (h *Host) ForceConnection() { h.CxActive.Add(1) }

// ReleaseConnection gives a connection back and wakes one loop that waits for it.
func (h *Host) ReleaseConnection() {
	h.CxActive.Add(-1)
	h.Room.wake()
}

// WaitForConnection is [Budget.Wait] for the connections of the host.
func (h *Host) WaitForConnection(m *Member, most int64) (admitted bool) {
	h.Room.Mark(m)
	if h.TryConnection(most) {
		return true
	}
	h.Room.askToShed()
	return false
}

// PassOnConnection is [Budget.PassOn] for the connections of the host.
func (h *Host) PassOnConnection(most int64) {
	if h.CxActive.Load() < most {
		h.Room.wake()
	}
}
