package l4

import (
	"fmt"
	"net/netip"
	"time"

	"millrace/filters/accesslog"
	"millrace/upstream"
)

// TCPProxyConfig configures tcp_proxy, which forwards the bytes of a connection to a host of a cluster. Exactly one
// of cluster, weighted_clusters and route_config says where to.
type TCPProxyConfig struct {
	// StatPrefix names the counters: tcp.<stat_prefix>.… Required.
	StatPrefix string `json:"stat_prefix" required:"true"`
	// Cluster takes all connections.
	Cluster string `json:"cluster"`
	// WeightedClusters share the connections.
	WeightedClusters []TCPWeightedCluster `json:"weighted_clusters" max:"1024" v3:"weighted_clusters.clusters"`
	// RouteConfig chooses the cluster by addresses and ports.
	RouteConfig *TCPRouteConfig `json:"route_config"`
	// MetadataMatch is what the metadata of a host have to be, such as {"stage": "prod"}, where the cluster has an lb_subset_config.
	// Default: anything.
	MetadataMatch map[string]string `json:"metadata_match" v3:"metadata_match.filter_metadata.envoy.lb"`
	// IdleTimeout ends a connection on which no byte has passed in either direction for so long. 0 is never. Default 1h.
	IdleTimeout time.Duration `json:"idle_timeout" default:"1h" min:"0s"`
	// DownstreamIdleTimeout is idle_timeout for the downstream side alone: no byte received from there or sent to it.
	// 0 is never. Default 0: idle_timeout alone holds.
	DownstreamIdleTimeout time.Duration `json:"downstream_idle_timeout" default:"0s" min:"0s"`
	// UpstreamIdleTimeout is idle_timeout for the upstream side alone. 0 is never. Default 0.
	UpstreamIdleTimeout time.Duration `json:"upstream_idle_timeout" default:"0s" min:"0s"`
	// MaxConnectAttempts is how many hosts are tried before the connection is given up, with flag URX. 1 to 1000. Default 1.
	MaxConnectAttempts int `json:"max_connect_attempts" default:"1" min:"1" max:"1000"`
	// BackoffOptions make it wait between attempts. Absent: the next one begins at once.
	BackoffOptions *TCPBackoffConfig `json:"backoff_options"`
	// MaxDownstreamConnectionDuration ends a connection this old, with flag DT. 0 is never. Default 0.
	MaxDownstreamConnectionDuration time.Duration `json:"max_downstream_connection_duration" default:"0s" min:"0s"`
	// MaxDownstreamConnectionDurationJitterPercentage adds up to this share of it to the duration of each connection,
	// drawn at random. Default 0.
	MaxDownstreamConnectionDurationJitterPercentage float64 `json:"max_downstream_connection_duration_jitter_percentage" default:"0" unit:"percent"`
	// AccessLog is where each connection is written down when it ends. Default: nowhere.
	AccessLog []accesslog.Config `json:"access_log"`
	// AccessLogOptions say when a connection is written down besides.
	AccessLogOptions TCPAccessLogOptions `json:"access_log_options"`
	// HashPolicy gives policies that keep a client with one host what they hash. At most one entry. Default: nothing.
	HashPolicy []TCPHashPolicy `json:"hash_policy" max:"1"`
	// UpstreamConnectMode says when to connect to a host. "immediate": when the connection is accepted and, if its filter
	// chain has TLS, the handshake is complete. "on_downstream_tls_handshake": the same, by the name that says so.
	// "on_downstream_data": when the first bytes have come. Default "immediate".
	//
	// Deviation: Envoy's immediate does not wait for the handshake. A client that does not complete it would cost a connection to
	// a host.
	UpstreamConnectMode string `json:"upstream_connect_mode" default:"immediate" enum:"immediate,on_downstream_data,on_downstream_tls_handshake"`
	// MaxEarlyDataBytes is how many bytes are read from downstream before the host has accepted, at most 64KiB. 0 reads
	// none, but with upstream_connect_mode on_downstream_data it is what the first read brings. A size. Default 0.
	MaxEarlyDataBytes int `json:"max_early_data_bytes" default:"0" min:"0" max:"64KiB" unit:"bytes"`
	// ProxyProtocolTLVs are added to the PROXY header of clusters with proxy_protocol version "v2". One of the same type
	// takes the place of those that downstream sent and the cluster adds.
	ProxyProtocolTLVs []upstream.TLVConfig `json:"proxy_protocol_tlvs" max:"64"`
}

// TCPWeightedCluster is one of the clusters that share the connections.
type TCPWeightedCluster struct {
	// Name of the cluster. Required.
	Name string `json:"name" required:"true"`
	// Weight is its share relative to the others. 1 to 1000000. Required.
	Weight uint32 `json:"weight" required:"true" min:"1" max:"1000000"`
	// MetadataMatch is what the metadata of a host have to be besides metadata_match of the filter; where both name a key this holds.
	MetadataMatch map[string]string `json:"metadata_match" v3:"metadata_match.filter_metadata.envoy.lb"`
}

// TCPRouteConfig chooses a cluster by the addresses and ports of a connection.
type TCPRouteConfig struct {
	// Routes are tried in order: the first that matches wins. A connection that none matches is closed, with
	// flag NR.
	Routes []TCPRoute `json:"routes" required:"true" max:"1024"`
}

// TCPRoute matches when all of its criteria do; without any it always matches.
type TCPRoute struct {
	// Cluster takes the connections that match. Required.
	Cluster string `json:"cluster" required:"true"`
	// DestinationIPList are prefixes such as "10.0.0.0/8", one of which holds the address the client wanted to go to.
	DestinationIPList []string `json:"destination_ip_list"`
	// DestinationPorts are the ports the client wanted to go to: "1-1024,2048-4096,12345".
	DestinationPorts string `json:"destination_ports"`
	// SourceIPList are prefixes, one of which holds the address of the client.
	SourceIPList []string `json:"source_ip_list"`
	// SourcePorts are the ports of the client, in the form of destination_ports.
	SourcePorts string `json:"source_ports"`
}

// TCPBackoffConfig is the wait between attempts to connect: a random time up to base_interval, which doubles with each
// attempt up to max_interval.
type TCPBackoffConfig struct {
	// BaseInterval is the most that the first wait takes. 1ms to 1h. Required.
	BaseInterval time.Duration `json:"base_interval" required:"true" min:"1ms" max:"1h"`
	// MaxInterval is the most that any wait takes. Default: 10 times base_interval.
	MaxInterval *time.Duration `json:"max_interval" min:"1ms" max:"10h"`
}

// TCPAccessLogOptions say when a connection is written down besides at its end.
type TCPAccessLogOptions struct {
	// AccessLogFlushInterval writes it down again and again while it lives. 0 is not. At least 1ms. Default 0.
	AccessLogFlushInterval time.Duration `json:"access_log_flush_interval" default:"0s" min:"0s"`
	// FlushAccessLogOnConnected writes it down when the host has accepted. Default false.
	FlushAccessLogOnConnected bool `json:"flush_access_log_on_connected" default:"false"`
}

// TCPHashPolicy says what is hashed.
type TCPHashPolicy struct {
	// SourceIP hashes the address of the client, without its port.
	SourceIP *struct{} `json:"source_ip"`
}

// Validate reports what the tags cannot say.
func (c *TCPProxyConfig) Validate(report func(path, problem, hint string)) {
	n := 0
	for _, set := range []bool{c.Cluster != "", len(c.WeightedClusters) > 0, c.RouteConfig != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		report("", fmt.Sprintf("exactly one of cluster, weighted_clusters and route_config says where to, not %d", n), "")
	}
	if d := c.MaxDownstreamConnectionDuration; d == 0 && c.MaxDownstreamConnectionDurationJitterPercentage > 0 {
		report("max_downstream_connection_duration_jitter_percentage", "there is no duration to add to",
			"give max_downstream_connection_duration")
	}
	if c.BackoffOptions != nil && c.MaxConnectAttempts == 1 {
		report("backoff_options", "there is no second attempt to wait for", "give max_connect_attempts")
	}
	for i := range c.HashPolicy {
		if c.HashPolicy[i].SourceIP == nil {
			report(fmt.Sprintf("hash_policy[%d]", i), "nothing is hashed", `write {"source_ip": {}}`)
		}
	}
	upstream.CheckTLVs("proxy_protocol_tlvs", c.ProxyProtocolTLVs, report)
}

// References reports the clusters that are named.
func (c *TCPProxyConfig) References(report func(path, kind, name string)) {
	if c.Cluster != "" {
		report("cluster", "cluster", c.Cluster)
	}
	for i := range c.WeightedClusters {
		report(fmt.Sprintf("weighted_clusters[%d].name", i), "cluster", c.WeightedClusters[i].Name)
	}
	if c.RouteConfig != nil {
		for i := range c.RouteConfig.Routes {
			report(fmt.Sprintf("route_config.routes[%d].cluster", i), "cluster", c.RouteConfig.Routes[i].Cluster)
		}
	}
}

// Validate reports an interval that is too short, or longer than the longest.
func (c *TCPBackoffConfig) Validate(report func(path, problem, hint string)) {
	if c.MaxInterval != nil && *c.MaxInterval < c.BaseInterval {
		report("max_interval", fmt.Sprintf("%s is less than base_interval %s", *c.MaxInterval, c.BaseInterval), "")
	}
}

// Validate reports an interval that is too short.
func (c *TCPAccessLogOptions) Validate(report func(path, problem, hint string)) {
	if d := c.AccessLogFlushInterval; d > 0 && d < time.Millisecond {
		report("access_log_flush_interval", fmt.Sprintf("%s is less than 1ms", d), `write "0s" to turn it off`)
	}
}

// Validate reports criteria that cannot be read.
func (r *TCPRoute) Validate(report func(path, problem, hint string)) {
	checkCIDRs("destination_ip_list", r.DestinationIPList, report)
	checkCIDRs("source_ip_list", r.SourceIPList, report)
	checkPorts("destination_ports", r.DestinationPorts, report)
	checkPorts("source_ports", r.SourcePorts, report)
}

// checkPorts reports what is wrong with a list of ports.
func checkPorts(path, s string, report func(path, problem, hint string)) {
	if _, err := parsePortRanges(s); err != nil {
		report(path, err.Error(), `write ports and ranges such as "1-1024,2048-4096,12345"`)
	}
}

// Validate reports routes that no connection reaches, because an earlier one takes all that they match.
func (c *TCPRouteConfig) Validate(report func(path, problem, hint string)) {
	if len(c.Routes) == 0 {
		report("routes", "there is no route", "add one, such as {\"cluster\": \"…\"}")
		return
	}
	var earlier []*tcpMatch
	for i := range c.Routes {
		m, err := newTCPMatch(&c.Routes[i])
		if err != nil { // reported at the route itself
			earlier = append(earlier, nil)
			continue
		}
		for k, e := range earlier {
			if e != nil && e.covers(m) {
				report(fmt.Sprintf("routes[%d]", i), fmt.Sprintf("is never reached: routes[%d] takes all connections that it matches", k),
					"put the more specific route first")
				break
			}
		}
		earlier = append(earlier, m)
	}
}

// prefixesOf reads a list of prefixes.
func prefixesOf(list []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, s := range list {
		p, err := parseCIDR(s)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}
