package l4

import (
	"fmt"
	"time"

	"millrace/filters/accesslog"
)

// UDPProxyConfig configures udp_proxy, which forwards datagrams to a host of a cluster, and the answers back. The
// datagrams of one peer to one address of ours are a session: it stays with its host. Exactly one of cluster and
// route_config says where to.
//
// A session counts against max_connections of its cluster, 1024 by default.
type UDPProxyConfig struct {
	// StatPrefix names the counters: udp.<stat_prefix>.… Required.
	StatPrefix string `json:"stat_prefix" required:"true"`
	// Cluster takes all sessions.
	Cluster string `json:"cluster" v3:"matcher"`
	// RouteConfig chooses the cluster of a session by who sent its first datagram.
	RouteConfig *UDPRouteConfig `json:"route_config" v3:"matcher"`
	// IdleTimeout ends a session in which no datagram has passed in either direction for so long. 1ms to 24h. Default 60s.
	IdleTimeout time.Duration `json:"idle_timeout" default:"60s" min:"1ms" max:"24h"`
	// UseOriginalSrcIP sends to hosts from the address of the client. It needs CAP_NET_ADMIN, and routes that bring the
	// answers here. Default false.
	UseOriginalSrcIP bool `json:"use_original_src_ip" default:"false"`
	// HashPolicies give policies that keep a client with one host what they hash. At most one entry. Default: nothing.
	HashPolicies []UDPHashPolicy `json:"hash_policies" max:"1"`
	// UsePerPacketLoadBalancing picks a host for each datagram, not for each session. A session then is a peer, an
	// address of ours and a host. Default false.
	UsePerPacketLoadBalancing bool `json:"use_per_packet_load_balancing" default:"false"`
	// UpstreamSocketConfig is for the sockets to the hosts.
	UpstreamSocketConfig UDPUpstreamSocketConfig `json:"upstream_socket_config"`
	// DownstreamSocketConfig is for the sockets of the listener.
	DownstreamSocketConfig UDPDownstreamSocketConfig `json:"downstream_socket_config" v3:"udp_listener_config.downstream_socket_config"`
	// MaxSessions bounds the sessions of this filter, over all loops. Datagrams that would begin more are dropped
	// (downstream_sess_overflow). 1 to 1000000. Default 10000.
	MaxSessions int `json:"max_sessions" default:"10000" min:"1" max:"1000000"`
	// SessionRateLimit bounds how fast sessions begin, over all loops. Datagrams that would begin more are dropped
	// (downstream_sess_rate_limited). Default: no limit.
	SessionRateLimit *TokenBucketConfig `json:"session_rate_limit"`
	// AccessLog is where each session is written down when it ends. Default: nowhere.
	AccessLog []accesslog.Config `json:"access_log"`
	// ProxyAccessLog is where the sums of each loop are written down when the filter ends, by a reload or with the
	// process. Default: nowhere.
	ProxyAccessLog []accesslog.Config `json:"proxy_access_log"`
}

// UDPRouteConfig chooses a cluster by the address of the client.
type UDPRouteConfig struct {
	// Routes are tried in order: the first that matches wins. Datagrams that none matches are dropped
	// (downstream_sess_no_route).
	Routes []UDPRoute `json:"routes" required:"true" max:"1024"`
}

// UDPRoute matches when all of its criteria do; without any it always matches.
type UDPRoute struct {
	// Cluster takes the sessions that match. Required.
	Cluster string `json:"cluster" required:"true"`
	// SourceIPList are prefixes such as "10.0.0.0/8", one of which holds the address of the client.
	SourceIPList []string `json:"source_ip_list"`
}

// UDPHashPolicy says what is hashed: exactly one of its fields.
type UDPHashPolicy struct {
	// SourceIP hashes the address of the client, without its port.
	SourceIP bool `json:"source_ip" default:"false"`
	// Key is hashed itself: all sessions go to one host.
	Key string `json:"key"`
}

// UDPUpstreamSocketConfig says how datagrams of hosts are received.
type UDPUpstreamSocketConfig struct {
	// MaxRxDatagramSize is the longest datagram that is taken; longer ones are dropped
	// (sess_rx_datagrams_dropped). A size, 1 to 65535. Default 1500.
	MaxRxDatagramSize int `json:"max_rx_datagram_size" default:"1500" min:"1" max:"65535" unit:"bytes"`
	// PreferGRO lets the kernel join datagrams on their way in, if it can. Default true.
	PreferGRO bool `json:"prefer_gro" default:"true"`
}

// UDPDownstreamSocketConfig says how datagrams of clients are received.
type UDPDownstreamSocketConfig struct {
	// MaxRxDatagramSize is the longest datagram that is taken; longer ones are dropped
	// (downstream_rx_datagram_dropped). A size, 1 to 65535. Default 1500.
	MaxRxDatagramSize int `json:"max_rx_datagram_size" default:"1500" min:"1" max:"65535" unit:"bytes"`
	// PreferGRO lets the kernel join datagrams of one client on their way in, if it can. It helps where few
	// clients send much. Default false.
	PreferGRO bool `json:"prefer_gro" default:"false"`
}

// Validate reports what the tags cannot say.
func (c *UDPProxyConfig) Validate(report func(path, problem, hint string)) {
	switch {
	case c.Cluster == "" && c.RouteConfig == nil:
		report("", "neither cluster nor route_config says where to", `add "cluster"`)
	case c.Cluster != "" && c.RouteConfig != nil:
		report("route_config", "cluster and route_config are both given", "keep one of them")
	}
	for i, p := range c.HashPolicies {
		if p.SourceIP == (p.Key != "") {
			report(fmt.Sprintf("hash_policies[%d]", i), "exactly one of source_ip and key says what is hashed", `write {"source_ip": true}`)
		}
	}
	if len(c.HashPolicies) > 0 && c.UsePerPacketLoadBalancing {
		report("hash_policies", "use_per_packet_load_balancing hashes nothing", "keep one of them")
	}
}

// Validate reports a list without routes, and routes behind one that takes all.
func (c *UDPRouteConfig) Validate(report func(path, problem, hint string)) {
	if len(c.Routes) == 0 {
		report("routes", "there is no route", `add one, such as {"cluster": "…"}`)
	}
	for i := range c.Routes {
		if i > 0 && len(c.Routes[i-1].SourceIPList) == 0 {
			report(fmt.Sprintf("routes[%d]", i), fmt.Sprintf("is never reached: routes[%d] takes all that it matches", i-1),
				"put the more specific route first")
			return
		}
	}
}

// Validate reports prefixes that cannot be read.
func (r *UDPRoute) Validate(report func(path, problem, hint string)) {
	checkCIDRs("source_ip_list", r.SourceIPList, report)
}

// References reports the clusters that are named.
func (c *UDPProxyConfig) References(report func(path, kind, name string)) {
	if c.Cluster != "" {
		report("cluster", "cluster", c.Cluster)
	}
	if c.RouteConfig != nil {
		for i := range c.RouteConfig.Routes {
			report(fmt.Sprintf("route_config.routes[%d].cluster", i), "cluster", c.RouteConfig.Routes[i].Cluster)
		}
	}
}
