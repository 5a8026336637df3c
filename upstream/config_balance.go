package upstream

import (
	"fmt"
	"math/big"
	"time"
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
	// RingHash configures "ring_hash".
	RingHash RingHashConfig `json:"ring_hash_lb_config"`
	// Maglev configures "maglev".
	Maglev MaglevConfig `json:"maglev_lb_config"`
	// ConsistentHash is for "ring_hash" and "maglev".
	ConsistentHash ConsistentHashConfig `json:"consistent_hashing_lb_config" v3:"common_lb_config.consistent_hashing_lb_config"`
	// PeakEWMA configures "peak_ewma".
	PeakEWMA PeakEWMAConfig `json:"peak_ewma_lb_config"`
	// RoundRobin configures "round_robin".
	RoundRobin RoundRobinConfig `json:"round_robin_lb_config"`
	// Subsets divides the hosts by their metadata. Absent: it does not.
	Subsets *SubsetConfig `json:"lb_subset_config"`
	// ZoneAware configures zone-aware routing. Absent: the defaults.
	ZoneAware *ZoneAwareConfig `json:"zone_aware_lb_config" v3:"common_lb_config.zone_aware_lb_config"`
	// LocalityWeightedLbConfig makes the weights of localities count. Absent: they do not.
	LocalityWeightedLbConfig *LocalityWeightedConfig `json:"locality_weighted_lb_config" v3:"common_lb_config.locality_weighted_lb_config"`
	// Localities are the weights of localities. Default: none.
	Localities []LocalityConfig `json:"localities" max:"4096" v3:"load_assignment.endpoints"`
}

// RingHashConfig configures the policy "ring_hash".
type RingHashConfig struct {
	// MinimumRingSize is the least number of places on the ring: more spread the load better, and cost memory.
	// Default 1024.
	MinimumRingSize uint32 `json:"minimum_ring_size" default:"1024" min:"1" max:"8388608"`
	// MaximumRingSize bounds the places, whatever the weights ask for. Default 8388608.
	MaximumRingSize uint32 `json:"maximum_ring_size" default:"8388608" min:"1" max:"8388608"`
	// HashFunction that puts hosts on the ring: "xx_hash" (xxHash64) or "murmur_hash_2" (as std::hash of libstdc++).
	// Default "xx_hash".
	HashFunction string `json:"hash_function" default:"xx_hash" enum:"xx_hash,murmur_hash_2"`
}

// MaglevConfig configures the policy "maglev".
type MaglevConfig struct {
	// TableSize is the number of entries, a prime: at least a hundred times the number of hosts. Default 65537.
	TableSize uint32 `json:"table_size" default:"65537" min:"2" max:"5000011"`
}

// ConsistentHashConfig is what "ring_hash" and "maglev" have in common.
type ConsistentHashConfig struct {
	// UseHostnameForHashing puts hosts on the ring by their name instead of their address, if they have one.
	// Default false.
	UseHostnameForHashing bool `json:"use_hostname_for_hashing" default:"false"`
	// HashBalanceFactor bounds the requests of a host, in percent of the average: what is above goes to another one.
	// 0 is no bound. Default 0.
	HashBalanceFactor uint32 `json:"hash_balance_factor" default:"0" max:"100000"`
}

// PeakEWMAConfig configures the policy "peak_ewma".
type PeakEWMAConfig struct {
	// DecayTime is how fast what a host did before is forgotten. Default 10s.
	DecayTime time.Duration `json:"decay_time" default:"10s" min:"1ms" max:"1h"`
	// DefaultRTT is what a host without a response so far is taken to need. Default 30ms.
	DefaultRTT time.Duration `json:"default_rtt" default:"30ms" min:"1us" max:"1m"`
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
	return BalanceConfig{
		HealthyPanicThreshold: 50, OverprovisioningFactor: 140,
		RingHash: RingHashConfig{MinimumRingSize: 1024, MaximumRingSize: 8 << 20, HashFunction: "xx_hash"},
		Maglev:   MaglevConfig{TableSize: 65537},
		PeakEWMA: PeakEWMAConfig{DecayTime: 10 * time.Second, DefaultRTT: 30 * time.Millisecond},
	}
}

// DefaultLeastRequestConfig returns the defaults.
func DefaultLeastRequestConfig() LeastRequestConfig {
	return LeastRequestConfig{ChoiceCount: 2, ActiveRequestBias: 1}
}

// SamePolicy reports whether the balancers of o do for c.
func (c *Config) SamePolicy(o *Config) bool {
	l, m := &c.LeastRequest, &o.LeastRequest
	return c.LbPolicy == o.LbPolicy && l.ChoiceCount == m.ChoiceCount && l.ActiveRequestBias == m.ActiveRequestBias && c.RingHash == o.RingHash &&
		c.Maglev == o.Maglev && c.ConsistentHash == o.ConsistentHash && c.PeakEWMA == o.PeakEWMA
}

// setOptions returns what a HostSet depends on.
func (c *Config) setOptions() setOptions {
	b := &c.BalanceConfig
	o := setOptions{
		panicPct: b.HealthyPanicThreshold, overprovisioning: int(b.OverprovisioningFactor),
		weightedHealth: b.WeightedPriorityHealth, failOnPanic: b.FailTrafficOnPanic, subsets: b.Subsets,
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
	if b.RingHash.MinimumRingSize > b.RingHash.MaximumRingSize {
		report("ring_hash_lb_config.minimum_ring_size", fmt.Sprintf("%d is above maximum_ring_size %d", b.RingHash.MinimumRingSize, b.RingHash.MaximumRingSize), "")
	}
	if n := b.Maglev.TableSize; !big.NewInt(int64(n)).ProbablyPrime(0) {
		report("maglev_lb_config.table_size", fmt.Sprintf("%d is not a prime", n), "such as 65537")
	}
	if f := b.ConsistentHash.HashBalanceFactor; f > 0 && f < 100 {
		report("consistent_hashing_lb_config.hash_balance_factor", fmt.Sprintf("%d would not let all hosts together take the load", f), "0 or at least 100")
	}
	c.checkZones(report)
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
