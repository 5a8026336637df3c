package lb

import (
	"math/rand/v2"

	"millrace/upstream"
)

// peakEWMA draws two hosts and takes the one that is expected to answer sooner: the moving average of its response
// times, which a slow response raises at once and time lowers again, times one and the requests it has for its weight.
// Weights count twice, as in least_request.
//
// Source: Twitter Finagle, "Peak EWMA".
type peakEWMA struct {
	weights perBucket[weights]
	rtt     float64 // of hosts that nobody knows, in microseconds
	decay   int64
	rng     *rand.Rand
}

func newPeakEWMA(cfg *upstream.Config, rng *rand.Rand) upstream.Balancer {
	return &peakEWMA{rtt: float64(cfg.PeakEWMA.DefaultRTT.Microseconds()), decay: int64(cfg.PeakEWMA.DecayTime), rng: rng}
}

// Pick implements [upstream.Balancer].
func (p *peakEWMA) Pick(b *upstream.Bucket, pick *upstream.Pick) *upstream.Host {
	switch len(b.Hosts) {
	case 0:
		return nil
	case 1:
		return b.Hosts[0]
	}
	w := p.weights.at(b)
	i, j := w.draw(b, p.rng), w.draw(b, p.rng)
	if i != j && p.cost(b, j, pick.Now) < p.cost(b, i, pick.Now) {
		i = j
	}
	return b.Hosts[i]
}

// cost is how long a host is expected to take.
func (p *peakEWMA) cost(b *upstream.Bucket, i int, now int64) float64 {
	h := b.Hosts[i]
	rtt := h.Latency.Load(now, p.decay)
	if rtt == 0 {
		rtt = p.rtt
	}
	return rtt * (1 + float64(h.RqActive.Load())/float64(b.Weight(i)))
}
