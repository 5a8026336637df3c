package upstream

import (
	"math"
	"sync/atomic"
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

	Waiters // for a connection
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
	b.wake()
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

// Wait marks m as waiting for a connection and tries once more, as [Waiters.Mark] says. It reports whether that try was
// admitted, as [Budget.TryConnection]. If it was not, one member with an idle connection is asked to give it up.
func (b *Budget) Wait(m *Member) (admitted bool) {
	b.Mark(m)
	if b.TryConnection() {
		return true
	}
	b.askToShed()
	return false
}

// PassOn is called by a member that was woken, after it took what it needs: what is left
// goes to the next.
func (b *Budget) PassOn() {
	if !b.Open(Connections) {
		b.wake()
	}
}
