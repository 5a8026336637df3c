package l4

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// left returns how many tokens there are at the time now.
func (b *tokenBucket) left(now int64) int64 {
	filled := b.fill(now)
	return b.max - (max(b.taken.Load(), filled) - filled)
}

func TestTokenBucket(t *testing.T) {
	t.Parallel()
	b := newTokenBucket(&TokenBucketConfig{MaxTokens: 3, TokensPerFill: 2, FillInterval: time.Second})
	at := func(ms int64) int64 { return int64(time.Hour) + ms*int64(time.Millisecond) }
	for i, step := range []struct {
		ms   int64
		want bool
		left int64
	}{
		{0, true, 2}, {0, true, 1}, {0, true, 0}, {0, false, 0}, {999, false, 0},
		{1000, true, 1}, {1001, true, 0}, {1999, false, 0},
		{2500, true, 1},          // the interval counts from the start, not from the fill
		{3000, true, 2},          // 1 left and 2 more
		{10_000, true, 2},        // full again, not more
		{9_999, true, 1},         // a loop whose clock is a little behind
		{9_000, true, 0},         //
		{9_000, false, 0},        //
		{11_000, true, 1},        //
		{1_000_000_000, true, 2}, // full
	} {
		got := b.take(at(step.ms))
		if left := b.left(at(step.ms)); got != step.want || left != step.left {
			t.Errorf("step %d: take at %d ms = %v, left %d; want %v, %d", i, step.ms, got, left, step.want, step.left)
		}
	}
}

func TestTokenBucketFillIsCapped(t *testing.T) {
	t.Parallel()
	b := newTokenBucket(&TokenBucketConfig{MaxTokens: 1, TokensPerFill: 1_000_000_000, FillInterval: 50 * time.Millisecond})
	tenYears := int64(10 * 365 * 24 * time.Hour)
	for _, now := range []int64{0, tenYears, 9 * tenYears} {
		if !b.take(now) || b.take(now) {
			t.Errorf("at %v: not exactly one token", time.Duration(now))
		}
	}
	large := newTokenBucket(&TokenBucketConfig{MaxTokens: 1_000_000_000, TokensPerFill: 1_000_000_000, FillInterval: 50 * time.Millisecond})
	large.take(1)
	if n := large.left(tenYears); n != 1_000_000_000 {
		t.Errorf("after ten years %d are left", n)
	}
}

// TestTokenBucketShared: takers on several goroutines get exactly what there is.
func TestTokenBucketShared(t *testing.T) {
	t.Parallel()
	b := newTokenBucket(&TokenBucketConfig{MaxTokens: 100, TokensPerFill: 10, FillInterval: time.Second})
	var got atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range int64(1000) {
				if b.take(1 + i*int64(5*time.Millisecond)) { // 5 s in all: 4 fills
					got.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := got.Load(); n != 140 {
		t.Errorf("%d tokens were taken, want 140", n)
	}
}

func TestTokenBucketAllocs(t *testing.T) { // not parallel: allocations of others would count
	b := newTokenBucket(&TokenBucketConfig{MaxTokens: 1, TokensPerFill: 1, FillInterval: 50})
	now := int64(0)
	if n := testing.AllocsPerRun(100, func() { now += 10; b.take(now) }); n != 0 {
		t.Errorf("take allocates %v times", n)
	}
	l, err := newCIDRList([]string{"10.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	a := mustAddr(t, "10.0.0.7:80")
	if n := testing.AllocsPerRun(100, func() { l.contains(&a) }); n != 0 {
		t.Errorf("contains allocates %v times", n)
	}
}
