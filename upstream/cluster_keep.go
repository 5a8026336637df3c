package upstream

import (
	"slices"

	"millrace/engine"
)

// keptMax bounds the hosts of a cluster that are kept although they are gone from where they came from.
const keptMax = 4096

// keepsWell reports whether hosts that are gone from where they came from stay while their checks pass: a registry that has
// forgotten hosts does not take them down.
//
// Source: Envoy, "On eventually consistent service discovery".
func (c *Config) keepsWell() bool {
	return (c.Type == StrictDNS || c.Type == HostsFile) && c.HealthCheck() != nil && !c.IgnoreHealthOnHostRemoval
}

// keep appends the members of old that are gone and well, and marks them. taken are the addresses of the others.
func (c *Cluster) keep(old []member, taken map[engine.Addr]bool) {
	for i := range c.members {
		c.members[i].host.SetHealth(PendingRemoval, false)
	}
	most := len(c.members) + keptMax
	for _, m := range old {
		if h := m.host; !taken[h.Addr] && h.Health()&FailedActiveCheck == 0 && len(c.members) < most {
			h.SetHealth(PendingRemoval, true)
			c.members = append(c.members, m)
		}
	}
}

// dropKept lets go of members that were kept and are not well any more, or of all of them if the cluster keeps none.
func (c *Cluster) dropKept() {
	all := !c.Config.keepsWell()
	gone := func(m member) bool {
		f := m.host.Health()
		return f&PendingRemoval != 0 && (all || f&FailedActiveCheck != 0)
	}
	if c.Config.Discovered() && slices.ContainsFunc(c.members, gone) {
		c.members = slices.DeleteFunc(slices.Clone(c.members), gone)
		c.membership++
	}
}
