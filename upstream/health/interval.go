package health

import (
	"math/rand/v2"
	"time"

	"millrace/upstream"
)

// intervalMin is the least time between two checks of a host.
const intervalMin = time.Millisecond

// intervals are the times between checks, by what is known of the host.
type intervals struct {
	well, ill, wellEdge, illEdge time.Duration // edge: while the last results point to a change
	quietWell, quiet             time.Duration // while the cluster has had no connection
	jitter                       time.Duration
	jitterShare                  float64
}

func newIntervals(c *upstream.HealthCheckConfig) intervals {
	or := func(d, other time.Duration) time.Duration {
		if d > 0 {
			return d
		}
		return other
	}
	ill := or(c.UnhealthyInterval, c.Interval)
	return intervals{
		well: c.Interval, ill: ill,
		wellEdge: or(c.UnhealthyEdgeInterval, ill), illEdge: or(c.HealthyEdgeInterval, c.Interval),
		quiet: c.NoTrafficInterval, quietWell: or(c.NoTrafficHealthyInterval, c.NoTrafficInterval),
		jitter: c.IntervalJitter, jitterShare: c.IntervalJitterPercent / 100,
	}
}

// next returns how long to wait after a check. traffic says that the cluster has had a connection.
func (iv *intervals) next(failed bool, change Change, traffic bool) time.Duration {
	d := iv.base(failed, change == Pending, traffic)
	if n := time.Duration(iv.jitterShare * float64(d)); n > 0 {
		d += rand.N(n)
	}
	if iv.jitter > 0 {
		d += rand.N(iv.jitter)
	}
	return max(d, intervalMin)
}

// base is next without what chance adds.
func (iv *intervals) base(failed, pending, traffic bool) time.Duration {
	switch {
	case !traffic && !failed && !pending:
		return iv.quietWell
	case !traffic:
		return iv.quiet
	case failed && pending:
		return iv.illEdge
	case failed:
		return iv.ill
	case pending:
		return iv.wellEdge
	}
	return iv.well
}
