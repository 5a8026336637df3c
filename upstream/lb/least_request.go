package lb

import (
	"math"
	"math/rand/v2"

	"millrace/upstream"
)

// leastRequest draws a few hosts at random and takes the least busy. Two choices come close to
// the least busy of all without a scan, and loops do not herd onto one host.
//
// Weights count twice: hosts are drawn in proportion to them, and load is active requests
// divided by weight. An idle cluster so spreads as the weights say (the first drawn wins a
// tie), and a busy one keeps the load per weight level. active_request_bias says how much load counts.
type leastRequest struct {
	weights perBucket[weights]
	choices int
	bias    float64
	rng     *rand.Rand
}

func newLeastRequest(cfg *upstream.Config, rng *rand.Rand) upstream.Balancer {
	return &leastRequest{choices: max(cfg.LeastRequest.ChoiceCount, 2), bias: cfg.LeastRequest.ActiveRequestBias, rng: rng}
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
		if i := w.draw(b, p.rng); i != best && p.lessBusy(b, i, best) {
			best = i
		}
	}
	return b.Hosts[best]
}

// lessBusy compares active requests for each unit of weight. Without a special bias it does without dividing.
func (p *leastRequest) lessBusy(b *upstream.Bucket, i, j int) bool {
	m, n := b.Hosts[i].RqActive.Load(), b.Hosts[j].RqActive.Load()
	switch p.bias {
	case 0:
		return false
	case 1:
		return m*int64(b.Weight(j)) < n*int64(b.Weight(i))
	}
	return math.Pow(float64(m+1), p.bias)*float64(b.Weight(j)) < math.Pow(float64(n+1), p.bias)*float64(b.Weight(i))
}
