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
	weights perBucket[weights]
	choices int
	rng     *rand.Rand
}

func newLeastRequest(cfg *upstream.Config, rng *rand.Rand) upstream.Balancer {
	return &leastRequest{choices: max(cfg.LeastRequest.ChoiceCount, 2), rng: rng}
}

// Pick implements [upstream.Balancer].
func (p *leastRequest) Pick(b *upstream.Bucket, _ *upstream.Pick) *upstream.Host {
	switch len(b.Hosts) {
	case 0:
		return nil
	case 1:
		return b.Hosts[0]
	}
	w := p.weights.at(b)
	best := w.draw(b, p.rng)
	for range p.choices - 1 {
		if i := w.draw(b, p.rng); i != best && lessBusy(b, i, best) {
			best = i
		}
	}
	return b.Hosts[best]
}

// lessBusy compares active requests for each unit of weight, without dividing.
func lessBusy(b *upstream.Bucket, i, j int) bool {
	return b.Hosts[i].RqActive.Load()*int64(b.Weight(j)) < b.Hosts[j].RqActive.Load()*int64(b.Weight(i))
}
