package lb

import (
	"math/rand/v2"

	"millrace/upstream"
)

// leastRequest draws a few hosts at random and takes the least busy. Two choices come close to
// the least busy of all without a scan, and loops do not herd onto one host.
//
// Weights count twice: hosts are drawn in proportion to them, and load is active requests
// divided by weight. An idle cluster so spreads as the weights say (the first drawn wins a
// tie), and a busy one keeps the load per weight level.
type leastRequest struct {
	weights weights
	choices int
	rng     *rand.Rand
}

func newLeastRequest(cfg *upstream.Config, rng *rand.Rand) upstream.Balancer {
	return &leastRequest{choices: max(cfg.LeastRequest.ChoiceCount, 2), rng: rng}
}

// Pick implements [upstream.Balancer].
func (p *leastRequest) Pick(hs *upstream.HostSet, _ *upstream.Pick) *upstream.Host {
	p.weights.follow(hs)
	switch len(p.weights.hosts) {
	case 0:
		return nil
	case 1:
		return p.weights.hosts[0]
	}
	best := p.weights.draw(p.rng)
	for range p.choices - 1 {
		if h := p.weights.draw(p.rng); h != best && lessBusy(h, best) {
			best = h
		}
	}
	return best
}

// lessBusy compares active requests for each unit of weight, without dividing.
func lessBusy(a, b *upstream.Host) bool {
	return a.RqActive.Load()*int64(b.Weight()) < b.RqActive.Load()*int64(a.Weight())
}
