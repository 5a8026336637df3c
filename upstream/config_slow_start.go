package upstream

import "time"

// RoundRobinConfig configures the policy "round_robin".
type RoundRobinConfig struct {
	// SlowStart gives new hosts less at first. Absent: they get their share at once.
	SlowStart *SlowStartConfig `json:"slow_start_config"`
}

// SlowStartConfig says how the weight of a host grows after it was added or, with active health checks, after it has
// passed them. At time t of the window it is the weight times (t / window) to the power of (1 / aggression).
type SlowStartConfig struct {
	// SlowStartWindow is how long that takes. Required.
	SlowStartWindow time.Duration `json:"slow_start_window" required:"true" min:"1s" max:"24h"`
	// Aggression is how fast the weight grows: 1 is linear, with more it grows faster at first. Default 1.
	Aggression float64 `json:"aggression" default:"1" min:"0.01" max:"100" v3:"aggression.default_value"`
	// MinWeightPercent is the least weight of a host, in percent of its weight. Default 10.
	MinWeightPercent float64 `json:"min_weight_percent" default:"10" unit:"percent"`
}

// slowStart returns that of the policy in use, or nil.
func (c *Config) slowStart() *SlowStartConfig {
	switch c.LbPolicy {
	case "round_robin":
		return c.RoundRobin.SlowStart
	case "least_request":
		return c.LeastRequest.SlowStart
	}
	return nil
}
