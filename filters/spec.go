package filters

import (
	"fmt"

	"millrace/engine"
	"millrace/engine/stats"
	"millrace/filters/route"
)

// Config is one entry of a list of filters in the file:
// {"name": "cors", "config": {…}}. The loader decodes config by the name.
type Config struct {
	// Name of the filter.
	Name string `json:"name" required:"true"`
	// Config is a pointer to the filter's own struct, nil for a filter without one.
	Config any `json:"config"`
}

// Env is what a filter may use of the process that runs it. One Env serves one chain on one loop.
type Env struct {
	// Loop the filter object will live on.
	Loop *engine.Loop
	// StatPrefix is the prefix of the connection manager's stats, such as "http.edge.".
	StatPrefix string
	// Scope is the scope of that prefix.
	Scope stats.Scope
	// Stats makes the counters of the filter known: see stats.Register.
	Stats stats.Registrar
	// Health tells what the process says of itself and of its clusters.
	Health Health
	// Shared is what Spec.Share has made, nil without it.
	Shared any
}

// Health is the answer of the process about itself, for health-check filters.
type Health interface {
	// Failed reports whether the process was told to fail its health checks (it is draining).
	Failed() bool
	// ClusterHealth returns how many hosts of a cluster are fit to serve and how many
	// there are; ok is false for an unknown cluster.
	ClusterHealth(name string) (healthy, total int, ok bool)
	// ServiceCluster is node.cluster, for x-envoy-upstream-healthchecked-cluster.
	ServiceCluster() string
}

// A Spec describes a kind of HTTP filter: one line in filters/l7/builtin.go.
type Spec struct {
	// Name in the configuration.
	Name string
	// Doc is the sentence of the reference page.
	Doc string
	// NewConfig returns a pointer to a config struct with zero values; the loader puts the defaults in.
	NewConfig func() any
	// Share makes what all loops have in common, as that of a NetworkSpec does. May be nil.
	Share func(cfg any, env *SharedEnv) (any, error)
	// Build makes the filter object of one chain on one loop. It implements one or more of
	// the contracts of this package.
	Build func(cfg any, env *Env) (any, error)
	// NewRoute returns a pointer to a config struct for per_filter_config, which embeds RouteOverride. Default: one
	// that has nothing else.
	NewRoute func() any
	// BuildRoute makes of it what Stream.PerRoute gives to the filter. Loops share it. May be nil.
	BuildRoute func(cfg any) (any, error)
}

// RouteOverride is what every config in per_filter_config has.
type RouteOverride struct {
	// Disabled leaves the filter out. Default: false.
	Disabled bool `json:"disabled"`
}

// LeftOut reports whether the filter is left out.
func (o *RouteOverride) LeftOut() bool { return o.Disabled }

// RouteConfig returns a config for per_filter_config.
func (s *Spec) RouteConfig() any {
	if s.NewRoute == nil {
		return new(RouteOverride)
	}
	return s.NewRoute()
}

// Override makes an override of a config for per_filter_config.
func (s *Spec) Override(cfg any) (o route.Override, err error) {
	if d, ok := cfg.(interface{ LeftOut() bool }); ok && d.LeftOut() {
		return route.Override{Disabled: true}, nil
	}
	if s.BuildRoute != nil {
		o.Config, err = s.BuildRoute(cfg)
	}
	return o, err
}

// PerRoute adds to a Spec what builds its per_filter_config.
func PerRoute[C any](s Spec, build func(cfg *C) (any, error)) Spec {
	s.NewRoute = func() any { return new(C) }
	s.BuildRoute = func(cfg any) (any, error) {
		c, ok := cfg.(*C)
		if !ok {
			return nil, fmt.Errorf("filter %q: config of a route is a %T", s.Name, cfg)
		}
		return build(c)
	}
	return s
}

// Shared adds to a Spec what makes that which its loops have in common.
func Shared[C any](s Spec, share func(cfg *C, env *SharedEnv) (any, error)) Spec {
	s.Share = func(cfg any, env *SharedEnv) (any, error) {
		c, ok := cfg.(*C)
		if !ok {
			return nil, fmt.Errorf("filter %q: config is a %T", s.Name, cfg)
		}
		return share(c, env)
	}
	return s
}

// HTTP makes a Spec from a typed constructor.
func HTTP[C any](name string, build func(cfg *C, env *Env) (any, error)) Spec {
	return Spec{
		Name:      name,
		NewConfig: func() any { return new(C) },
		Build: func(cfg any, env *Env) (any, error) {
			c, ok := cfg.(*C)
			if !ok {
				return nil, fmt.Errorf("filter %q: config is a %T", name, cfg)
			}
			return build(c, env)
		},
	}
}
