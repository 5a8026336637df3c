package upstream

import (
	"sync"
	"sync/atomic"
	"testing"

	"millrace/engine/stats"
)

func TestBudgetLimits(t *testing.T) {
	t.Parallel()
	b := NewBudget(Thresholds{MaxConnections: 1, MaxPendingRequests: 2, MaxRequests: 3, MaxRetries: new(uint32(4))})
	for _, tt := range []struct {
		r       Resource
		max     int
		try     func() bool
		release func()
	}{
		{Connections, 1, b.TryConnection, b.ReleaseConnection},
		{Pending, 2, b.TryPending, b.ReleasePending},
		{Requests, 3, b.TryRequest, b.ReleaseRequest},
		{Retries, 4, b.TryRetry, b.ReleaseRetry},
	} {
		for i := range tt.max {
			if !tt.try() {
				t.Errorf("%s: number %d of %d is refused", tt.r, i+1, tt.max)
			}
		}
		if tt.try() || !b.Open(tt.r) || b.Active(tt.r) != int64(tt.max) {
			t.Errorf("%s: at %d of %d one more is admitted", tt.r, b.Active(tt.r), tt.max)
		}
		tt.release()
		if b.Open(tt.r) || b.Remaining(tt.r) != 1 || !tt.try() {
			t.Errorf("%s: after a release none is admitted", tt.r)
		}
	}
	b.ForceConnection()
	if b.Active(Connections) != 2 || b.Remaining(Connections) != 0 {
		t.Errorf("forced: %d active, %d remaining; want 2, 0", b.Active(Connections), b.Remaining(Connections))
	}
}

func TestBudgetLowerLimit(t *testing.T) {
	t.Parallel()
	b := NewBudget(DefaultThresholds())
	for range 5 {
		b.TryRequest()
	}
	b.SetLimits(Thresholds{MaxRequests: 2})
	for range 3 {
		if b.TryRequest() {
			t.Fatal("admitted above the new limit")
		}
		b.ReleaseRequest()
	}
	if b.ReleaseRequest(); !b.TryRequest() {
		t.Error("refused below the new limit")
	}
}

// TestBudgetRace: from many goroutines the limit is never passed and always reached again.
func TestBudgetRace(t *testing.T) {
	t.Parallel()
	const limit, workers, rounds = 3, 8, 2000
	b := NewBudget(Thresholds{MaxRequests: limit})
	var now, most, admitted atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range rounds {
				if !b.TryRequest() {
					continue
				}
				n := now.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				admitted.Add(1)
				now.Add(-1)
				b.ReleaseRequest()
			}
		})
	}
	wg.Wait()
	if most.Load() > limit || admitted.Load() == 0 || b.Active(Requests) != 0 {
		t.Errorf("%d at one time of %d, %d admitted, %d left; want at most the limit and none left",
			most.Load(), limit, admitted.Load(), b.Active(Requests))
	}
}

// TestBudgetWakes: a member that waits is woken by a release, and sheds are asked of idle members.
func TestBudgetWakes(t *testing.T) {
	t.Parallel()
	b := NewBudget(Thresholds{MaxConnections: 1})
	var wakes, sheds [2]int
	var members [2]*Member
	for i := range members {
		members[i] = b.Join(func() { wakes[i]++ }, func() { sheds[i]++ })
	}
	if !b.TryConnection() || b.Waiting() {
		t.Fatal("the first connection is refused")
	}
	members[0].Idle.Inc()
	if b.Wait(members[1]) || !b.Waiting() || sheds != [2]int{1, 0} {
		t.Fatalf("Wait at the limit: waiting %t, sheds %v; want true, [1 0]", b.Waiting(), sheds)
	}
	b.ReleaseConnection()
	if wakes != [2]int{0, 1} || b.Waiting() {
		t.Errorf("after the release: wakes %v, waiting %t; want [0 1], false", wakes, b.Waiting())
	}
	if !b.Wait(members[1]) {
		t.Error("Wait below the limit = false")
	}
	b.Wait(members[0])
	b.Leave(members[1])
	b.Leave(members[0])
	if b.ReleaseConnection(); b.Waiting() || wakes != [2]int{0, 1} {
		t.Errorf("after all left: waiting %t, wakes %v; want false, [0 1]", b.Waiting(), wakes)
	}
}

// TestBudgetPassOn: a member woken for nothing passes the room on.
func TestBudgetPassOn(t *testing.T) {
	t.Parallel()
	b := NewBudget(Thresholds{MaxConnections: 1})
	var order []int
	var members [3]*Member
	for i := range members {
		members[i] = b.Join(func() { order = append(order, i) }, func() {})
	}
	b.TryConnection()
	for _, m := range members {
		b.Wait(m)
	}
	b.ReleaseConnection()
	b.PassOn()
	b.TryConnection()
	b.PassOn() // nothing left
	if len(order) != 2 || order[0] == order[1] || !b.Waiting() {
		t.Errorf("woken: %v, waiting %t; want two different members, true", order, b.Waiting())
	}
}

// TestBudgetNoLostWake: with members on many goroutines that wait whenever they are refused,
// all get their turns.
func TestBudgetNoLostWake(t *testing.T) {
	t.Parallel()
	const workers, rounds = 4, 500
	b := NewBudget(Thresholds{MaxConnections: 1})
	var wg sync.WaitGroup
	for range workers {
		woken := make(chan struct{}, 1)
		m := b.Join(func() {
			select {
			case woken <- struct{}{}:
			default:
			}
		}, func() {})
		wg.Go(func() {
			for range rounds {
				for !b.TryConnection() && !b.Wait(m) {
					<-woken
				}
				b.ReleaseConnection()
			}
			b.Leave(m)
			b.PassOn()
		})
	}
	wg.Wait()
	if b.Active(Connections) != 0 || b.Waiting() {
		t.Errorf("%d connections left, waiting %t; want 0, false", b.Active(Connections), b.Waiting())
	}
}

func TestClusterStatsTags(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, f := range stats.Fields(&ClusterStats{}) {
		if f.Help == "" || seen[f.Name] {
			t.Errorf("stat %q has no help or appears twice", f.Name)
		}
		seen[f.Name] = true
	}
	for _, name := range []string{"upstream_cx_total", "upstream_rq_time", "upstream_rq_pending_overflow", "upstream_cx_none_healthy"} {
		if !seen[name] {
			t.Errorf("stat %q is missing", name)
		}
	}
}

// TestRetryBudget: a fifth of the requests there are may be retries, three in any case, unless their number is fixed.
func TestRetryBudget(t *testing.T) {
	t.Parallel()
	b := NewBudget(DefaultThresholds())
	for _, tt := range []struct{ requests, pending, want int }{
		{0, 0, 3}, {15, 0, 3}, {10, 9, 3}, {20, 0, 4}, {10, 10, 4}, {900, 100, 200},
	} {
		for b.Active(Requests) > 0 {
			b.ReleaseRequest()
		}
		for b.Active(Pending) > 0 {
			b.ReleasePending()
		}
		for range tt.requests {
			b.TryRequest()
		}
		for range tt.pending {
			b.TryPending()
		}
		got := 0
		for b.TryRetry() {
			got++
		}
		if got != tt.want || !b.Open(Retries) {
			t.Errorf("%d active and %d pending: %d retries, want %d", tt.requests, tt.pending, got, tt.want)
		}
		for range got {
			b.ReleaseRetry()
		}
	}
	fixed := DefaultThresholds()
	fixed.MaxRetries = new(uint32(1))
	if b.SetLimits(fixed); b.Max(Retries) != 1 {
		t.Errorf("with max_retries 1: %d retries of 1000 requests", b.Max(Retries))
	}
	fixed.MaxRetries, fixed.RetryBudget = nil, &RetryBudgetConfig{BudgetPercent: 50}
	if b.SetLimits(fixed); b.Max(Retries) != 500 {
		t.Errorf("with budget_percent 50: %d retries of 1000 requests", b.Max(Retries))
	}
}
