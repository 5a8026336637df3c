package filters

import (
	"fmt"

	"millrace/engine"
	"millrace/engine/stats"
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
	// Build makes the filter object of one chain on one loop. It implements one or more of
	// the contracts of this package.
	Build func(cfg any, env *Env) (any, error)
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
