package route

import (
	"fmt"
	"maps"
	"slices"
)

// An Override is what a route says to one HTTP filter.
type Override struct {
	// Disabled leaves the filter out.
	Disabled bool
	// Config is the filter's own, made by NewOverride. It is immutable: loops share it.
	Config any
}

// NewOverride makes the override of one entry in per_filter_config. It is called once for each entry of the
// configuration, not for each route that has it.
type NewOverride func(filter string, cfg any) (Override, error)

// overrides are those of a route, by the index of the filter in Table.filters. A zero one says nothing.
type overrides []Override

// Filters returns the names of the filters that some route says something to. Their places are the arguments of
// [Route.Override]. Not to be changed.
func (t *Table) Filters() []string { return t.filters }

// EachOverride calls f for each entry of each per_filter_config, with its path.
func (cfg *Config) EachOverride(f func(path, filter string)) {
	each := func(path string, list map[string]any) {
		for _, name := range slices.Sorted(maps.Keys(list)) {
			f(path+"per_filter_config."+name, name)
		}
	}
	hosts := cfg.virtualHosts()
	for i := range hosts {
		prefix := cfg.hostPath(i)
		each(prefix, hosts[i].PerFilterConfig)
		for j := range hosts[i].Routes {
			each(fmt.Sprintf("%sroutes[%d].", prefix, j), hosts[i].Routes[j].PerFilterConfig)
		}
	}
}

// Override returns what the route says to filter i of [Table.Filters], nil for nothing.
func (r *Route) Override(i int) *Override {
	if r.overrides == 0 {
		return nil
	}
	list := r.VirtualHost.table.overrides[r.overrides]
	if uint(i) >= uint(len(list)) {
		return nil
	}
	if o := &list[i]; o.Disabled || o.Config != nil {
		return o
	}
	return nil
}

// Overridden reports whether the route says something to any filter.
func (r *Route) Overridden() bool { return r.overrides != 0 }

// overrides returns the place of what a level says, on top of what the level around it does.
func (c *compiler) overrides(outer uint32, cfg map[string]any, path string) uint32 {
	if len(cfg) == 0 || c.newOverride == nil {
		return outer
	}
	t := c.table
	if t.overrides == nil {
		t.overrides = []overrides{nil}
	}
	own := slices.Clone(t.overrides[outer])
	for _, name := range slices.Sorted(maps.Keys(cfg)) {
		o, err := c.newOverride(name, cfg[name])
		if err != nil {
			c.report(path+"per_filter_config."+name, err.Error(), "")
			continue
		}
		i := slices.Index(t.filters, name)
		if i < 0 {
			i = len(t.filters)
			t.filters = append(t.filters, name)
		}
		for len(own) <= i {
			own = append(own, Override{})
		}
		own[i] = o
	}
	t.overrides = append(t.overrides, own)
	return uint32(len(t.overrides) - 1)
}
