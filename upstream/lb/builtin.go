package lb

import (
	"fmt"
	"math/rand/v2"

	"millrace/upstream"
)

// A policy is one line of the table below.
type policy struct {
	// make returns the policy for one cluster on one loop.
	make func(*upstream.Config, *rand.Rand) upstream.Balancer
	// table makes what the policy needs of a bucket for all loops, as Bucket.Table. Nil: nothing.
	table func(*upstream.Config, *upstream.Bucket) any
}

// builtin lists the policies by their name in the config.
var builtin = map[string]policy{
	"round_robin":   {make: newRoundRobin},
	"least_request": {make: newLeastRequest},
	"random":        {make: newRandom},
	"ring_hash":     {make: newRingHash, table: ringTable},
	"maglev":        {make: newMaglev, table: maglevTable},
	"peak_ewma":     {make: newPeakEWMA},
}

// New returns the policy called name for one cluster on one loop. rng is the loop's.
func New(name string, cfg *upstream.Config, rng *rand.Rand) (upstream.Balancer, error) {
	p, ok := builtin[name]
	if !ok {
		return nil, fmt.Errorf("unknown lb_policy %q", name)
	}
	return p.make(cfg, rng), nil
}

// Tables returns what makes the tables of a cluster's buckets, nil if its policy has none. See upstream.Cluster.Tables.
func Tables(cfg *upstream.Config) func(*upstream.Bucket) any {
	table := builtin[cfg.LbPolicy].table
	if table == nil {
		return nil
	}
	return func(b *upstream.Bucket) any { return table(cfg, b) }
}
