package upstream

import (
	"fmt"
)

// BalanceConfig says which hosts take part in balancing, whatever the policy.
type BalanceConfig struct {
	// HealthyPanicThreshold is the share of usable hosts of a priority below which all its hosts are used: sending some
	// requests to hosts that look dead is better than burying the few that live. 0 is never. Percent. Default 50.
	HealthyPanicThreshold float64 `json:"healthy_panic_threshold" default:"50" unit:"percent" v3:"common_lb_config.healthy_panic_threshold"`
	// FailTrafficOnPanic answers 503 in panic instead. Default false.
	FailTrafficOnPanic bool `json:"fail_traffic_on_panic" default:"false" v3:"common_lb_config.zone_aware_lb_config.fail_traffic_on_panic"`
	// OverprovisioningFactor is how much a priority or a locality can take, in percent of its load when all its
	// hosts are well. Default 140.
	OverprovisioningFactor uint32 `json:"overprovisioning_factor" default:"140" min:"100" max:"1000000" v3:"load_assignment.policy.overprovisioning_factor"`
	// WeightedPriorityHealth computes the shares of priorities by the weights of their hosts instead of their number.
	// Default false.
	WeightedPriorityHealth bool `json:"weighted_priority_health" default:"false" v3:"load_assignment.policy.weighted_priority_health"`
	// LocalityWeightedLbConfig makes the weights of localities count. Absent: they do not.
	LocalityWeightedLbConfig *LocalityWeightedConfig `json:"locality_weighted_lb_config" v3:"common_lb_config.locality_weighted_lb_config"`
	// Localities are the weights of localities. Default: none.
	Localities []LocalityConfig `json:"localities" max:"4096" v3:"load_assignment.endpoints"`
}

// LocalityWeightedConfig has no fields.
type LocalityWeightedConfig struct{}

// LocalityConfig is the weight of one locality.
type LocalityConfig struct {
	// Locality whose hosts are meant.
	Locality Locality `json:"locality"`
	// Priority of those hosts. Default 0.
	Priority uint8 `json:"priority" default:"0" max:"127"`
	// Weight is its share relative to the other localities of that priority. A locality with 0, or one that is not
	// in the list, gets nothing. Default 0.
	Weight uint32 `json:"weight" default:"0" max:"1000000" v3:"load_balancing_weight"`
}

// DefaultBalanceConfig returns the defaults.
func DefaultBalanceConfig() BalanceConfig {
	return BalanceConfig{HealthyPanicThreshold: 50, OverprovisioningFactor: 140}
}

// setOptions returns what a HostSet depends on.
func (c *Config) setOptions() setOptions {
	b := &c.BalanceConfig
	o := setOptions{
		panicPct: b.HealthyPanicThreshold, overprovisioning: int(b.OverprovisioningFactor),
		weightedHealth: b.WeightedPriorityHealth, failOnPanic: b.FailTrafficOnPanic,
	}
	if b.LocalityWeightedLbConfig != nil {
		o.localityWeights = make(map[localityAt]uint32, len(b.Localities))
		for i := range b.Localities {
			l := &b.Localities[i]
			o.localityWeights[localityAt{l.Locality, l.Priority}] = l.Weight
		}
	}
	return o
}

// checkBalance reports what the tags cannot say.
func (c *Config) checkBalance(report func(path, problem, hint string)) {
	b := &c.BalanceConfig
	if len(b.Localities) > 0 && b.LocalityWeightedLbConfig == nil {
		report("localities", "the weights of localities do not count", "add \"locality_weighted_lb_config\": {}")
	}
	seen := map[localityAt]int{}
	for i := range b.Localities {
		at := localityAt{b.Localities[i].Locality, b.Localities[i].Priority}
		if first, ok := seen[at]; ok {
			report(fmt.Sprintf("localities[%d]", i), fmt.Sprintf("is localities[%d] once more", first), "")
			continue
		}
		seen[at] = i
	}
	top := uint8(0)
	used := [128]bool{}
	for i := range c.Hosts {
		top = max(top, c.Hosts[i].Priority)
		used[c.Hosts[i].Priority&127] = true
	}
	for p := range top {
		if !used[p] {
			report("hosts", fmt.Sprintf("no host has priority %d, but some have priority %d", p, top), "count priorities from 0 without gaps")
			return
		}
	}
}
