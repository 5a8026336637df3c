package upstream

import "fmt"

// ZoneAwareConfig says how requests prefer the hosts in the zone of this proxy. It only counts if
// cluster_manager.local_cluster_name is set.
type ZoneAwareConfig struct {
	// RoutingEnabled is the share of the requests for which zones count. Percent. Default 100.
	RoutingEnabled float64 `json:"routing_enabled" default:"100" unit:"percent"`
	// MinClusterSize is how many healthy hosts the first priority needs: with fewer, zones do not count. Default 6.
	MinClusterSize uint32 `json:"min_cluster_size" default:"6"`
	// ForceLocalZone keeps all requests in the own zone whatever it can take. Absent: it gets its share.
	ForceLocalZone *ForceLocalZoneConfig `json:"force_local_zone"`
	// LocalityBasis is what the size of a zone is: "healthy_hosts_num" (its healthy hosts), or "healthy_hosts_weight" (the
	// sum of their weights). Default "healthy_hosts_num".
	LocalityBasis string `json:"locality_basis" default:"healthy_hosts_num" enum:"healthy_hosts_num,healthy_hosts_weight"`
}

// ForceLocalZoneConfig is the "force_local_zone" block.
type ForceLocalZoneConfig struct {
	// MinSize is how many healthy hosts the own zone needs for that. Default 1.
	MinSize uint32 `json:"min_size" default:"1" min:"1"`
}

// DefaultZoneAwareConfig returns the defaults.
func DefaultZoneAwareConfig() ZoneAwareConfig {
	return ZoneAwareConfig{RoutingEnabled: 100, MinClusterSize: 6, LocalityBasis: "healthy_hosts_num"}
}

// bound reports whether the policy knows the host of a request, wherever that is.
func (c *Config) bound() bool {
	return c.LbPolicy == "ring_hash" || c.LbPolicy == "maglev" || c.LbPolicy == ClusterProvided
}

// checkZones reports what cannot go with zone-aware routing.
func (c *Config) checkZones(report func(path, problem, hint string)) {
	switch {
	case c.ZoneAware == nil:
	case c.LocalityWeightedLbConfig != nil:
		report("zone_aware_lb_config", "stands beside locality_weighted_lb_config", "zones get their requests by one of them")
	case c.bound():
		report("zone_aware_lb_config", fmt.Sprintf("has no meaning for lb_policy %q: there is one host for a request, wherever that is", c.LbPolicy), "")
	}
}

// zoneOptions are what the plan of a HostSet is made by.
type zoneOptions struct {
	local    *Local
	enabled  uint64 // of zoneUnit
	minHosts int
	force    int // hosts of the own zone from which on it gets all; 0: never
	byWeight bool
	panicPct float64
	fail     bool // in a panic of the local cluster
}

// zoneOptions returns those of the cluster, nil if zones do not count: those of the local cluster itself never do.
func (c *Cluster) zoneOptions() *zoneOptions {
	cfg := c.Config
	if c.Local == nil || c.Local.name == c.Name || cfg.LocalityWeightedLbConfig != nil || cfg.bound() {
		return nil
	}
	z := DefaultZoneAwareConfig()
	if cfg.ZoneAware != nil {
		z = *cfg.ZoneAware
	}
	o := &zoneOptions{
		local: c.Local, enabled: uint64(z.RoutingEnabled * zoneUnit / 100), minHosts: int(z.MinClusterSize),
		byWeight: z.LocalityBasis == "healthy_hosts_weight", panicPct: cfg.HealthyPanicThreshold, fail: cfg.FailTrafficOnPanic,
	}
	if z.ForceLocalZone != nil {
		o.force = int(z.ForceLocalZone.MinSize)
	}
	return o
}
