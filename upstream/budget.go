package upstream

import (
	"math"
	"sync/atomic"

	"millrace/engine/stats"
)

// Resource is one of the things a [Budget] bounds.
type Resource uint8

const (
	Connections Resource = iota // open or opening
	Pending                     // requests waiting for a connection
	Requests                    // requests on a connection
	Retries                     // retries going on
	resourceCount
)

var resourceNames = [resourceCount]string{"cx", "rq_pending", "rq", "rq_retry"}

// String returns the name as in the gauges circuit_breakers.<priority>.<name>_open.
func (r Resource) String() string { return resourceNames[r] }

// resource is a count with a limit, on a cache line of its own.
type resource struct {
	count atomic.Int64
	max   atomic.Int64
	_     [48]byte
}

// try takes one, if the limit allows it. A compare-and-swap, since add-then-undo would
// for a moment refuse a neighbour what is free.
func (r *resource) try() bool { return r.tryBelow(r.max.Load()) }

// tryBelow is try with another limit.
func (r *resource) tryBelow(most int64) bool {
	for {
		n := r.count.Load()
		if n >= most {
			return false
		}
		if r.count.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Budget bounds what one priority of a cluster may cost, for all loops together.
//
// A loop that is refused a connection joins the waiting members and tries once more; whoever
// gives one back afterwards wakes one of them. Nobody blocks.
type Budget struct {
	// Atomic: written by the loops, read by admin; the limits written by Apply.
	resources [resourceCount]resource
	// retryShare is the share of the requests that may be retries, as a float64; 0 if their number is fixed.
	retryShare atomic.Uint64

	waiting atomic.Int32              // members that wait for a connection
	next    atomic.Uint32             // where the next search for one starts
	members atomic.Pointer[[]*Member] // copied on write, when a loop takes a cluster up
}

// NewBudget returns a budget with nothing spent.
func NewBudget(t Thresholds) *Budget {
	b := &Budget{}
	b.SetLimits(t)
	return b
}

// SetLimits replaces the limits. What is above a new one goes on; nothing is added.
func (b *Budget) SetLimits(t Thresholds) {
	retries, share := t.Retries()
	if share != nil {
		retries = share.MinRetryConcurrency
		b.retryShare.Store(math.Float64bits(share.BudgetPercent / 100))
	} else {
		b.retryShare.Store(0)
	}
	for r, n := range [resourceCount]uint32{t.MaxConnections, t.MaxPendingRequests, t.MaxRequests, retries} {
		b.resources[r].max.Store(int64(n))
	}
}

// Active returns how much of r is in use.
func (b *Budget) Active(r Resource) int64 { return b.resources[r].count.Load() }

// Max returns the limit of r. That of retries grows with the requests there are, if they have a budget.
func (b *Budget) Max(r Resource) int64 {
	most := b.resources[r].max.Load()
	if share := math.Float64frombits(b.retryShare.Load()); r == Retries && share > 0 {
		return max(most, int64(share*float64(b.Active(Requests)+b.Active(Pending))))
	}
	return most
}

// Open reports whether the breaker of r is open: the limit is reached.
func (b *Budget) Open(r Resource) bool { return b.Remaining(r) == 0 }

// Remaining returns how much more of r is allowed.
func (b *Budget) Remaining(r Resource) int64 { return max(b.Max(r)-b.Active(r), 0) }

// TryConnection reports whether another connection is admitted, and counts it.
func (b *Budget) TryConnection() bool { return b.resources[Connections].try() }

// ForceConnection counts a connection beyond the limit: the first of a loop to a host.
func (b *Budget) ForceConnection() { b.resources[Connections].count.Add(1) }

// ReleaseConnection gives a connection back and wakes one waiting loop.
func (b *Budget) ReleaseConnection() {
	b.resources[Connections].count.Add(-1)
	if b.waiting.Load() != 0 {
		b.wakeOne()
	}
}

// TryPending reports whether another request may wait, and counts it.
func (b *Budget) TryPending() bool { return b.resources[Pending].try() }

// ReleasePending ends the wait of a request.
func (b *Budget) ReleasePending() { b.resources[Pending].count.Add(-1) }

// TryRequest reports whether another request is admitted to a connection, and counts it.
func (b *Budget) TryRequest() bool { return b.resources[Requests].try() }

// ReleaseRequest ends a request.
func (b *Budget) ReleaseRequest() { b.resources[Requests].count.Add(-1) }

// TryRetry reports whether another retry is admitted, and counts it.
func (b *Budget) TryRetry() bool { return b.resources[Retries].tryBelow(b.Max(Retries)) }

// ReleaseRetry ends a retry.
func (b *Budget) ReleaseRetry() { b.resources[Retries].count.Add(-1) }

// Member is one loop's part in a budget.
type Member struct {
	// Idle is how many of the loop's connections under this budget carry no request.
	// Written by the loop.
	Idle stats.Gauge

	waiting atomic.Bool
	wake    func() // called on any loop: there may be room for a connection
	shed    func() // called on any loop: someone waits, give an idle connection up
}

// Join adds a member. wake and shed are called on the goroutines of other loops, so they
// only post.
func (b *Budget) Join(wake, shed func()) *Member {
	m := &Member{wake: wake, shed: shed}
	b.editMembers(func(old []*Member) []*Member { return append(old, m) })
	return m
}

// Leave removes a member. Its connections may outlive it.
func (b *Budget) Leave(m *Member) {
	b.editMembers(func(old []*Member) []*Member {
		for i := range old {
			if old[i] == m {
				return append(old[:i], old[i+1:]...)
			}
		}
		return old
	})
	b.StopWaiting(m)
}

// editMembers replaces the list by an edited copy.
func (b *Budget) editMembers(edit func([]*Member) []*Member) {
	for {
		old := b.members.Load()
		var list []*Member
		if old != nil {
			list = append(list, *old...)
		}
		list = edit(list)
		if b.members.CompareAndSwap(old, &list) {
			return
		}
	}
}

// Members returns how many members there are.
func (b *Budget) Members() int { return len(b.from()) }

// Waiting reports whether any loop waits for a connection.
func (b *Budget) Waiting() bool { return b.waiting.Load() != 0 }

// Wait marks m as waiting for a connection and tries once more, since one given back a moment ago
// woke nobody. It reports whether that try was admitted, as [Budget.TryConnection]; m waits even
// then, for it may have other pools that do, and a needless wake does no harm. If it was
// not, one member with an idle connection is asked to give it up.
func (b *Budget) Wait(m *Member) (admitted bool) {
	if m.waiting.CompareAndSwap(false, true) {
		b.waiting.Add(1)
	}
	if b.TryConnection() {
		return true
	}
	for _, o := range b.from() {
		if o.Idle.Load() > 0 {
			o.shed()
			return false
		}
	}
	return false
}

// StopWaiting ends the wait of m, whose needs were met otherwise.
func (b *Budget) StopWaiting(m *Member) {
	if m.waiting.CompareAndSwap(true, false) {
		b.waiting.Add(-1)
	}
}

// PassOn is called by a member that was woken, after it took what it needs: what is left
// goes to the next.
func (b *Budget) PassOn() {
	if b.waiting.Load() != 0 && !b.Open(Connections) {
		b.wakeOne()
	}
}

// wakeOne wakes one waiting member; members take turns.
func (b *Budget) wakeOne() {
	list := b.from()
	start := int(b.next.Add(1))
	for i := range list {
		m := list[(start+i)%len(list)]
		if m.waiting.CompareAndSwap(true, false) {
			b.waiting.Add(-1)
			m.wake()
			return
		}
	}
}

// from returns the members as of now.
func (b *Budget) from() []*Member {
	if p := b.members.Load(); p != nil {
		return *p
	}
	return nil
}
