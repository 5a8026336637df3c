package filters

import (
	"slices"

	"millrace/filters/route"
)

// Overrides tells for each filter of a chain which place its overrides have in the routes of one table, -1 for none. It is nil
// if the table has none for the chain.
type Overrides []int16

// Overrides finds the overrides of the chain in a table.
func (c *Chain) Overrides(t *route.Table) Overrides {
	if t == nil || len(t.Filters()) == 0 {
		return nil
	}
	own := make(Overrides, len(c.links))
	found := false
	for i := range c.links {
		at := slices.Index(t.Filters(), c.links[i].name)
		own[i], found = int16(at), found || at >= 0
	}
	if !found {
		return nil
	}
	return own
}

// SetRoute gives the stream a route, nil for none, and the overrides of the table that it comes from. Which filters the
// route leaves out is settled by the first one.
func (s *Stream) SetRoute(r *route.Route, own Overrides) {
	s.Route, s.own = r, own
	if s.routed || r == nil {
		return
	}
	s.routed = true
	if own == nil || !r.Overridden() {
		return
	}
	for i, at := range own {
		if o := r.Override(int(at)); o != nil && o.Disabled {
			s.leftOut |= 1 << i
		}
	}
}

// PerRoute returns what the route of the stream says to the calling filter, nil for nothing: what Spec.BuildRoute
// has made of its per_filter_config.
func (s *Stream) PerRoute() any {
	if s.own == nil || s.Route == nil {
		return nil
	}
	if o := s.Route.Override(int(s.own[s.slot])); o != nil {
		return o.Config
	}
	return nil
}

// without reports whether the route leaves the filter out whose turn it is.
func (s *Stream) without() bool { return s.leftOut>>s.slot&1 != 0 }
