package lb

import (
	"math/rand/v2"

	"millrace/upstream"
)

// random takes any host, in proportion to the weights.
//
// Deviation: Envoy's RANDOM ignores weights, which surprises whoever has set them.
type random struct {
	weights weights
	rng     *rand.Rand
}

func newRandom(_ *upstream.Config, rng *rand.Rand) upstream.Balancer { return &random{rng: rng} }

// Pick implements [upstream.Balancer].
func (p *random) Pick(hs *upstream.HostSet, _ *upstream.Pick) *upstream.Host {
	p.weights.follow(hs)
	if len(p.weights.hosts) == 0 {
		return nil
	}
	return p.weights.draw(p.rng)
}
