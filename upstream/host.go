package upstream

import (
	"sync/atomic"

	"millrace/engine"
)

// HealthFlag is a reason not to send requests to a host.
type HealthFlag uint32

const (
	FailedActiveCheck HealthFlag = 1 << iota // active health checks fail
	FailedOutlier                            // ejected by outlier detection
	FailedDiscovery                          // marked unhealthy by where it came from
)

// Host is one endpoint of a cluster, shared by all loops.
//
// The counters that every request touches are on a cache line of their own, apart from what
// loops only read.
type Host struct {
	// Immutable.
	Addr    engine.Addr
	Name    string // the address as text, such as "10.0.0.1:80"
	slot    uint32
	slotted bool // only valid while the control goroutine builds a cluster

	// Atomic: written by control.
	weight atomic.Uint32
	health atomic.Uint32

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
	_             [64]byte
}

// newHost returns a healthy host.
func newHost(a engine.Addr, weight uint32) *Host {
	h := &Host{Addr: a, Name: a.String()}
	h.weight.Store(weight)
	return h
}

// Slot is the index of the host among the pools of its cluster. It never changes; a host that
// is new after a reload may get the slot of one that is gone.
func (h *Host) Slot() int { return int(h.slot) }

// Weight returns the host's share relative to its neighbours, 1 or more. It can change at a
// reload, so policies that add weights up read it once for each version of their HostSet.
func (h *Host) Weight() uint32 { return h.weight.Load() }

// Healthy reports whether nothing speaks against sending requests to the host.
func (h *Host) Healthy() bool { return h.health.Load() == 0 }

// Health returns the flags set now.
func (h *Host) Health() HealthFlag { return HealthFlag(h.health.Load()) }

// SetHealth sets or clears a flag and reports whether the host is healthy now but was not
// before, or the other way round. The loops see it after pool.Table.Refresh.
func (h *Host) SetHealth(f HealthFlag, on bool) (changed bool) {
	for {
		old := h.health.Load()
		now := old &^ uint32(f)
		if on {
			now = old | uint32(f)
		}
		if h.health.CompareAndSwap(old, now) {
			return (old == 0) != (now == 0)
		}
	}
}

// healthyPanicPct is the share of healthy hosts below which all hosts are used: sending some
// requests to hosts that look dead is better than burying the few that live. As
// healthy_panic_threshold in Envoy.
const healthyPanicPct = 50

// HostSet is what a [Balancer] sees: the hosts of a cluster on one loop, as of one moment.
// It is replaced, never changed.
type HostSet struct {
	All     []*Host
	Healthy []*Host
	// Version differs between any two sets of a loop; policies keep tables for one version.
	Version uint64
	// Panic says that less than healthyPanicPct of the hosts are healthy, so all are used.
	Panic bool
}

// NewHostSet sorts hosts by their health now.
func NewHostSet(hosts []*Host, version uint64) *HostSet {
	hs := &HostSet{All: hosts, Version: version}
	for _, h := range hosts {
		if h.Healthy() {
			hs.Healthy = append(hs.Healthy, h)
		}
	}
	hs.Panic = 100*len(hs.Healthy) < healthyPanicPct*len(hosts)
	return hs
}

// Usable returns the hosts to pick from: the healthy ones, or in panic all.
func (hs *HostSet) Usable() []*Host {
	if hs.Panic {
		return hs.All
	}
	return hs.Healthy
}

// Pick is what a policy may look at besides the hosts.
type Pick struct {
	// Random is the request's random value, the same for each attempt.
	Random uint64
	// Attempt is 0 for the first try of a request and counts its retries.
	Attempt int
	// Hash is the request's hash for policies that keep it with one host. Only valid if HashSet.
	Hash    uint64
	HashSet bool
}

// Balancer picks the host of a request. One belongs to one cluster on one loop.
type Balancer interface {
	// Pick returns one of hs.Usable(), nil only when that is empty.
	Pick(hs *HostSet, p *Pick) *Host
}
