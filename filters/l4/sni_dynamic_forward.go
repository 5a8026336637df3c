package l4

import (
	"fmt"
	"strconv"
	"strings"

	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/accesslog"
)

// SNIDynamicForwardConfig configures the "sni_dynamic_forward_proxy" filter, which makes tcp_proxy forward by the
// name the client asks for (SNI); the listener filter tls_inspector finds it out. Names that are not listed are
// refused.
//
// Limitation: Envoy's filter of this name resolves any name by DNS when it is asked for. Here names lead to
// clusters, until clusters can resolve them.
type SNIDynamicForwardConfig struct {
	// StatPrefix is the name in the counters: sni_dynamic_forward_proxy.<stat_prefix>. Default: "default".
	StatPrefix string `json:"stat_prefix" default:"default"`
	// PortValue is the port that names are meant with, kept with the name in the connection's metadata
	// (namespace envoy.upstream, keys dynamic_host and dynamic_port) for access logs. The hosts of the clusters
	// have ports of their own. Default: 443.
	PortValue int `json:"port_value" default:"443" min:"1" max:"65535"`
	// Routes lead from names to clusters. 1 to 10000.
	Routes []SNIRoute `json:"routes" required:"true" min:"1" max:"10000"`
}

// An SNIRoute leads names to a cluster.
type SNIRoute struct {
	// ServerNames are names such as "db.example.com", "*.example.com" for all names below one, or "*" for any.
	// A whole name goes before "*.", and the longest of those first. 1 to 10000.
	ServerNames []string `json:"server_names" required:"true" min:"1" max:"10000"`
	// Cluster is where they lead to.
	Cluster string `json:"cluster" required:"true"`
}

// Validate reports names that are none, and names that are there twice.
func (c *SNIDynamicForwardConfig) Validate(report func(path, problem, hint string)) {
	seen := map[string]string{}
	for i := range c.Routes {
		for j, name := range c.Routes[i].ServerNames {
			path := fmt.Sprintf("routes[%d].server_names[%d]", i, j)
			lower := strings.ToLower(name)
			if rest := strings.TrimPrefix(lower, "*."); lower != "*" && (rest == "" || strings.ContainsAny(rest, "*:/ ") || rest[0] == '.') {
				report(path, fmt.Sprintf("%q is not a server name", name), `write a name, "*.example.com" or "*"`)
				continue
			}
			if other, dup := seen[lower]; dup {
				report(path, fmt.Sprintf("server name %q is also %s", name, other), "keep one of them")
				continue
			}
			seen[lower] = path
		}
	}
}

// References reports the clusters.
func (c *SNIDynamicForwardConfig) References(report func(path, kind, name string)) {
	for i := range c.Routes {
		report(fmt.Sprintf("routes[%d].cluster", i), "cluster", c.Routes[i].Cluster)
	}
}

// sniTable leads names to clusters. It does not change.
type sniTable struct {
	exact  map[string]string
	below  map[string]string // by ".example.com", for "*.example.com"
	others string            // for "*", or ""
}

func shareSNIDynamicForward(cfg *SNIDynamicForwardConfig, _ *filters.SharedEnv) (*sniTable, error) {
	t := &sniTable{exact: map[string]string{}, below: map[string]string{}}
	for i := range cfg.Routes {
		r := &cfg.Routes[i]
		for _, name := range r.ServerNames {
			name = strings.ToLower(name)
			switch {
			case name == "*":
				t.others = r.Cluster
			case name[0] == '*':
				t.below[name[1:]] = r.Cluster
			default:
				t.exact[name] = r.Cluster
			}
		}
	}
	return t, nil
}

// find returns the cluster of a name in lower case, "" for none.
func (t *sniTable) find(name string) string {
	if cluster, ok := t.exact[name]; ok {
		return cluster
	}
	if len(t.below) > 0 {
		for i := 1; i < len(name); i++ { // from 1: "*." stands for one label at least
			if name[i] != '.' {
				continue
			}
			if cluster, ok := t.below[name[i:]]; ok {
				return cluster
			}
		}
	}
	return t.others
}

// sniDynamicForward makes tcp_proxy forward by name.
type sniDynamicForward struct {
	table *sniTable
	port  string
	stats *sniDynamicForwardStats
}

// sniDynamicForwardStats counts one chain on one loop.
type sniDynamicForwardStats struct {
	Total   stats.Counter `stat:"total" help:"connections"`
	NoName  stats.Counter `stat:"no_server_name" help:"connections closed because the client asks for no name"`
	NoRoute stats.Counter `stat:"no_route" help:"connections closed because the name is not listed"`
}

func newSNIDynamicForward(cfg *SNIDynamicForwardConfig, t *sniTable, env *filters.NetworkEnv) (any, error) {
	return &sniDynamicForward{
		table: t, port: strconv.Itoa(cfg.PortValue),
		stats: stats.Register[sniDynamicForwardStats](env.Stats,
			stats.Root("sni_dynamic_forward_proxy").Tag("envoy_sni_dynamic_forward_proxy_prefix", cfg.StatPrefix)),
	}, nil
}

// OnNewConnection implements filters.NewConnectionFilter.
func (f *sniDynamicForward) OnNewConnection(c *filters.Connection) filters.NetworkVerdict {
	f.stats.Total.Inc()
	if c.ServerName == "" {
		f.stats.NoName.Inc()
		return f.refuse(c, "sni_dynamic_forward_proxy_no_server_name")
	}
	cluster := f.table.find(c.ServerName)
	if cluster == "" {
		f.stats.NoRoute.Inc()
		return f.refuse(c, "sni_dynamic_forward_proxy_no_route")
	}
	c.Cluster = cluster
	c.SetMetadata("envoy.upstream", "dynamic_host", c.ServerName)
	c.SetMetadata("envoy.upstream", "dynamic_port", f.port)
	return filters.NetworkContinue
}

func (f *sniDynamicForward) refuse(c *filters.Connection, details string) filters.NetworkVerdict {
	c.Flags |= accesslog.FlagNoRoute
	c.Details = details
	return filters.NetworkClose
}
