package pool

import (
	"testing"

	"millrace/upstream"
)

// lastPick keeps what it was asked.
type lastPick struct{ p upstream.Pick }

func (b *lastPick) Pick(set *upstream.Bucket, p *upstream.Pick) *upstream.Host {
	b.p = *p
	return set.Hosts[0]
}

// TestPickActive: policies that bound load are told how much there is, of requests or of connections; others cost nothing.
func TestPickActive(t *testing.T) {
	t.Parallel()
	for _, factor := range []uint32{0, 150} {
		w := newWorld(t)
		c := w.set(config(func(cfg *upstream.Config) {
			cfg.LbPolicy, cfg.ConsistentHash.HashBalanceFactor = "maglev", factor
		}, "127.0.0.1:1"), nil)
		asked := &lastPick{}
		c.balancer = asked
		b := c.Shared().Budgets
		b[upstream.Default].TryRequest()
		b[upstream.High].TryPending()
		b[upstream.Default].ForceConnection()
		want := [2]int64{2, 1}
		if factor == 0 {
			want = [2]int64{}
		}
		for i, tunnel := range []bool{false, true} {
			w.do(func() { c.Pick(&upstream.Pick{Tunnel: tunnel}) })
			if asked.p.Active != want[i] {
				t.Errorf("factor %d, tunnel %t: %d active, want %d", factor, tunnel, asked.p.Active, want[i])
			}
		}
	}
}
