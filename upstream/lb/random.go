package lb

import (
	"math/rand/v2"

	"millrace/upstream"
)

// random takes any host, in proportion to the weights.
//
// Deviation: Envoy's RANDOM ignores weights, which surprises whoever has set them.
type random struct {
	weights perBucket[weights]
	rng     *rand.Rand
}

func newRandom(_ *upstream.Config, rng *rand.Rand) upstream.Balancer { return &random{rng: rng} }

// Pick implements [upstream.Balancer].
func (p *random) Pick(b *upstream.Bucket, _ *upstream.Pick) *upstream.Host {
	if len(b.Hosts) == 0 {
		return nil
	}
	return b.Hosts[p.weights.at(b).draw(b, p.rng)]
}
