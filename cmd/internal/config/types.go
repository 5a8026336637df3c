package config

import (
	"time"

	"millrace/filters"
	"millrace/upstream"
)

// Config is the whole file.
type Config struct {
	// Admin is the admin port. Left out, there is none unless a flag asks for it.
	Admin *Admin `json:"admin"`
	// Node says which proxy this is, in /server_info and in the headers of the health_check filter.
	Node Node `json:"node"`
	// Concurrency is the number of loops. 0 means one for each processor the process may use.
	Concurrency int `json:"concurrency" min:"0" max:"1024" v3:"--concurrency"`
	// DrainTime is how long a removed listener, or the whole process after SIGTERM, gives its connections to end.
	DrainTime time.Duration `json:"drain_time" default:"600s" max:"24h" v3:"--drain-time-s"`
	// Listeners are the addresses the proxy accepts connections on.
	Listeners []Listener `json:"listeners" v3:"static_resources.listeners"`
	// Clusters are the services that requests are forwarded to.
	Clusters []upstream.Config `json:"clusters" v3:"static_resources.clusters"`
}

// Admin is the "admin" block.
type Admin struct {
	// Address of the admin port. Anyone who can reach it can read the configuration and stop the process.
	Address string `json:"address" default:"127.0.0.1:9901"`
	// Hosts are names, besides localhost and IP addresses, that requests may use in their Host field.
	// Others are refused, so that a page in a browser cannot reach the port under a name of its own.
	Hosts []string `json:"hosts"`
	// AllowPaths are the only paths that are answered, such as "/stats" and "/ready". Default: all.
	AllowPaths []string `json:"allow_paths"`
	// Pprof opens /debug/pprof/ for profiles of the process, which show memory and cost time.
	Pprof bool `json:"pprof" default:"false"`
}

// Node is the "node" block.
type Node struct {
	// ID is the name of this proxy, unique in the cluster.
	ID string `json:"id"`
	// Cluster is the name of the group of proxies that this one belongs to.
	Cluster string `json:"cluster"`
	// Locality is where this proxy runs.
	Locality Locality `json:"locality"`
}

// Locality is a place, from wide to narrow.
type Locality struct {
	// Region such as "eu-west-1".
	Region string `json:"region"`
	// Zone inside the region.
	Zone string `json:"zone"`
	// SubZone inside the zone.
	SubZone string `json:"sub_zone"`
}

// Listener is one address that connections are accepted on.
type Listener struct {
	// Name of the listener, unique in the file. Left out, it is the address.
	Name string `json:"name"`
	// Address such as "127.0.0.1:80", "[::1]:80", ":8080", "unix:/run/app.sock" or "unix:@abstract". Port 0 takes a
	// free port, which the admin port tells.
	Address string `json:"address" required:"true"`
	// Filters is the short form of one entry in filter_chains.
	Filters []filters.Config `json:"filters" filter:"network" v3:"filter_chains[0].filters"`
	// FilterChains are the chains of network filters; exactly one.
	FilterChains []FilterChain `json:"filter_chains"`
	// PerConnectionBufferLimitBytes is where a connection's queue pauses the side that fills it; at half of
	// it that side goes on.
	PerConnectionBufferLimitBytes int `json:"per_connection_buffer_limit_bytes" unit:"bytes" default:"1MiB" min:"1KiB" max:"1GiB"`
	// TCPBacklogSize is the length of the kernel's queue of connections not yet accepted. 0 means the
	// system's own limit (net.core.somaxconn).
	TCPBacklogSize int `json:"tcp_backlog_size" min:"0" max:"1048576"`
	// MaxConnectionsToAcceptPerSocketEvent is the most connections one loop accepts in one turn; the rest
	// wait for the next. 0 means the engine's own limit.
	MaxConnectionsToAcceptPerSocketEvent int `json:"max_connections_to_accept_per_socket_event" min:"0" max:"65536"`
	// EnableReusePort gives each loop a socket of its own on the address, among which the kernel spreads the
	// connections. Without it one socket is shared by all loops. Unix sockets are always shared.
	EnableReusePort bool `json:"enable_reuse_port" default:"true"`
	// TCPKeepalive probes silent downstream connections. Left out, the kernel does not probe.
	TCPKeepalive *TCPKeepalive `json:"tcp_keepalive"`
	// DrainType says when connections are asked to end: whenever the process drains, or only when the
	// listener is changed or removed.
	DrainType string `json:"drain_type" enum:"default,modify_only" default:"default"`
	// ConnectionLimit is the most connections open at once, over all loops; more are accepted and closed at
	// once. 0 means no limit.
	ConnectionLimit int `json:"connection_limit" min:"0" max:"1073741824" v3:"runtime envoy.resource_limits.listener.<name>.connection_limit"`
}

// FilterChain is one chain of network filters.
type FilterChain struct {
	// Name of the chain, for access logs (%FILTER_CHAIN_NAME%).
	Name string `json:"name"`
	// Filters of the chain, in order. The last one must end the chain, as http_connection_manager does.
	Filters []filters.Config `json:"filters" filter:"network" required:"true"`
}

// TCPKeepalive is how silent connections are probed. Zero fields take the kernel's own setting.
type TCPKeepalive struct {
	// KeepaliveProbes is the number of unanswered probes that end a connection. 0 means the kernel's setting.
	KeepaliveProbes int `json:"keepalive_probes" min:"0" max:"127"`
	// KeepaliveTime is the silence before the first probe, in whole seconds. 0s means the kernel's setting.
	KeepaliveTime time.Duration `json:"keepalive_time" max:"9h"`
	// KeepaliveInterval is the time between two probes, in whole seconds. 0s means the kernel's setting.
	KeepaliveInterval time.Duration `json:"keepalive_interval" max:"9h"`
}

// Validate reports what tags cannot say of a listener.
func (l *Listener) Validate(report func(path, problem, hint string)) {
	if p := addressProblem(l.Address); p != nil {
		report("address", p.text, p.hint)
	}
	switch {
	case l.Filters != nil && l.FilterChains != nil:
		report("filters", "stands beside filter_chains", "give one of the two")
	case len(l.Filters) == 0 && len(l.FilterChains) == 0:
		report("", "listener has no filters", `give "filters", or one entry in "filter_chains"`)
	case len(l.FilterChains) > 1:
		report("filter_chains[1]", "a listener has exactly one filter chain", "move its filters to a listener of its own")
	case len(l.FilterChains) == 1 && len(l.FilterChains[0].Filters) == 0:
		report("filter_chains[0].filters", "filter chain has no filters", "")
	}
}

// Validate reports what tags cannot say of the admin port.
func (a *Admin) Validate(report func(path, problem, hint string)) {
	if p := addressProblem(a.Address); p != nil {
		report("address", p.text, p.hint)
	}
}

// Validate reports what tags cannot say of a keepalive setting.
func (k *TCPKeepalive) Validate(report func(path, problem, hint string)) {
	for _, f := range []struct {
		path string
		d    time.Duration
	}{{"keepalive_time", k.KeepaliveTime}, {"keepalive_interval", k.KeepaliveInterval}} {
		if f.d%time.Second != 0 {
			report(f.path, f.d.String()+" is not a number of whole seconds", "")
		}
	}
}
