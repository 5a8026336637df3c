package lb

import (
	"fmt"
	"math/rand/v2"

	"millrace/upstream"
)

// builtin lists the policies by their name in the config.
var builtin = map[string]func(*upstream.Config, *rand.Rand) upstream.Balancer{
	"round_robin":   newRoundRobin,
	"least_request": newLeastRequest,
	"random":        newRandom,
}

// New returns the policy called name for one cluster on one loop. rng is the loop's.
func New(name string, cfg *upstream.Config, rng *rand.Rand) (upstream.Balancer, error) {
	policy := builtin[name]
	if policy == nil {
		return nil, fmt.Errorf("unknown lb_policy %q", name)
	}
	return policy(cfg, rng), nil
}
