package config

import (
	"time"

	"millrace/upstream"
)

// Config is the whole file.
type Config struct {
	// Admin is the admin port. Left out, there is none unless a flag asks for it.
	Admin *Admin `json:"admin"`
	// Node says which proxy this is, in /server_info and in the headers of the health_check filter.
	Node Node `json:"node"`
	// ClusterManager is what concerns all clusters.
	ClusterManager ClusterManager `json:"cluster_manager"`
	// Concurrency is the number of loops. 0 means one for each processor the process may use.
	Concurrency int `json:"concurrency" min:"0" max:"1024" v3:"--concurrency"`
	// DrainTime is how long a removed listener, or the whole process after SIGTERM, gives its connections to end.
	DrainTime time.Duration `json:"drain_time" default:"600s" max:"24h" v3:"--drain-time-s"`
	// StatsFlushInterval is how long an interval of the histograms on the admin port's page /stats is.
	StatsFlushInterval time.Duration `json:"stats_flush_interval" default:"5s" min:"1ms" max:"5m"`
	// Overload is what the whole process takes.
	Overload Overload `json:"overload" v3:"overload_manager"`
	// LoopBalancing is what loops do about being busier than others.
	LoopBalancing LoopBalancing `json:"loop_balancing"`
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
	Locality upstream.Locality `json:"locality"`
}

// ClusterManager is the "cluster_manager" block.
type ClusterManager struct {
	// LocalClusterName is the cluster whose hosts are the proxies that share the traffic, this one among them. With it and
	// node.locality requests prefer hosts in the zone of this proxy: see zone_aware_lb_config. Default: zones do not count.
	LocalClusterName string `json:"local_cluster_name"`
}

// References reports the cluster.
func (c *ClusterManager) References(report func(path, kind, name string)) {
	if c.LocalClusterName != "" {
		report("local_cluster_name", "cluster", c.LocalClusterName)
	}
}

// Overload is the "overload" block: limits of the whole process.
type Overload struct {
	// MaxActiveDownstreamConnections is the most downstream connections open at once, over all listeners; more are
	// accepted and closed at once (downstream_global_cx_overflow). Those of listeners with ignore_global_conn_limit do
	// not count. 0 means no limit.
	MaxActiveDownstreamConnections int `json:"max_active_downstream_connections" min:"0" max:"1073741824" v3:"resource_monitors.downstream_connections.max_active_downstream_connections"`
	// TLSHandshakes are limits of TLS handshakes, over all listeners and clusters. Connections whose handshake is complete are never
	// affected. They change with a restart.
	TLSHandshakes TLSHandshakes `json:"tls_handshakes"`
}

// TLSHandshakes is what TLS handshakes may take of the process.
type TLSHandshakes struct {
	// MaxActive is the most handshakes that have begun and are not complete, those included that wait for their turn or for the
	// peer. One more takes the place of that which has waited longest for its client, if that is a second or more
	// (tls.handshakes_evicted); else it is shed: its connection is closed (tls.handshakes_shed). A client that has not sent a whole
	// ClientHello does not count.
	MaxActive int `json:"max_active" default:"4096" min:"1" max:"1048576"`
	// MaxQueued is the most handshakes that wait for a processor before they begin; one more is shed.
	MaxQueued int `json:"max_queued" default:"1024" min:"1" max:"1048576"`
	// MaxComputing is the most handshakes that compute at once. 0 means as many as there are processors beyond those of
	// the loops, at least one.
	MaxComputing int `json:"max_computing" min:"0" max:"1024"`
}

// Validate reports what tags cannot say of the admin port.
func (a *Admin) Validate(report func(path, problem, hint string)) {
	if p := addressProblem(a.Address); p != nil {
		report("address", p.text, p.hint)
	}
}
