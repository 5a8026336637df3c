package route

import "time"

// ForwardConfig forwards a request: exactly one of cluster, weighted_clusters and cluster_header.
type ForwardConfig struct {
	// Cluster is the name of the cluster.
	Cluster string `json:"cluster"`
	// WeightedClusters share the requests by weight.
	WeightedClusters []WeightedClusterConfig `json:"weighted_clusters" max:"1024" v3:"weighted_clusters.clusters"`
	// ClusterHeader names the request header that holds the name of the cluster.
	ClusterHeader string `json:"cluster_header"`
	// ClusterNotFoundResponseCode answers when there is no such cluster: 503, 404 or 500. Default 503.
	ClusterNotFoundResponseCode int `json:"cluster_not_found_response_code" default:"503"`

	// PrefixRewrite replaces the matched prefix (or the whole path, if all of it was matched). The
	// query is kept.
	PrefixRewrite string `json:"prefix_rewrite"`
	// RegexRewrite rewrites the path by a regular expression. The query is kept.
	RegexRewrite *RegexRewriteConfig `json:"regex_rewrite"`
	// PathRewrite replaces the whole path. The query is kept.
	PathRewrite string `json:"path_rewrite"`

	// HostRewriteLiteral replaces the host.
	HostRewriteLiteral string `json:"host_rewrite_literal"`
	// HostRewriteHeader names the request header whose value replaces the host; nothing is replaced
	// when it is absent or empty.
	HostRewriteHeader string `json:"host_rewrite_header"`
	// HostRewritePathRegex makes the host from the path, query left out.
	HostRewritePathRegex *RegexRewriteConfig `json:"host_rewrite_path_regex"`
	// AutoHostRewrite makes the host the name of the upstream host, if that has one: what it was resolved from, or its
	// hostname. Default false.
	AutoHostRewrite bool `json:"auto_host_rewrite"`
	// AppendXForwardedHost appends the original host to x-forwarded-host when the host is
	// rewritten. Default false.
	AppendXForwardedHost bool `json:"append_x_forwarded_host"`

	// Timeout of the whole response, retries included, counted from the end of the request. Default
	// 15s. 0s means none.
	Timeout time.Duration `json:"timeout" default:"15s" min:"0s"`
	// IdleTimeout of the stream on this route. Default: that of the connection manager. 0s means none.
	IdleTimeout *time.Duration `json:"idle_timeout" min:"0s"`
	// MaxStreamDuration bounds how long streams of this route last; of gRPC requests by what they say themselves.
	MaxStreamDuration *StreamDurationConfig `json:"max_stream_duration"`
	// RetryPolicy of this route, in place of the virtual host's.
	RetryPolicy *RetryPolicyConfig `json:"retry_policy"`
	// HedgePolicy of this route, in place of the virtual host's.
	HedgePolicy *HedgePolicyConfig `json:"hedge_policy"`
	// MetadataMatch is what the metadata of a host have to be, such as {"version": "v2"}, where the cluster has an lb_subset_config.
	// Default: anything.
	MetadataMatch map[string]string `json:"metadata_match" v3:"metadata_match.filter_metadata.envoy.lb"`
	// RequestMirrorPolicies send copies of the requests elsewhere, in place of those of the virtual host. An empty list sends none.
	// Default: those of the virtual host.
	RequestMirrorPolicies *[]MirrorConfig `json:"request_mirror_policies" max:"8"`
	// HashPolicy is what requests are hashed by, for clusters with lb_policy "ring_hash" or "maglev": the hashes of all
	// entries that a request has something for are combined. A request without any goes to a random host. Default:
	// nothing.
	HashPolicy []HashPolicyConfig `json:"hash_policy" max:"32"`
	// Priority chooses connection pools and circuit breakers: default or high. Default default.
	Priority string `json:"priority" default:"default" enum:"default,high"`
	// Upgrades are the protocols a request may upgrade to on this route, in any case, such as
	// websocket and connect. Default: those of the connection manager. An empty list allows none.
	Upgrades *[]string `json:"upgrades" v3:"upgrade_configs"`
	// ConnectConfig ends CONNECT requests here, which it allows: the route's cluster gets the bytes of the tunnel over a connection
	// of TCP. Absent: a CONNECT is passed on as one. Default absent.
	ConnectConfig *ConnectConfig `json:"connect_config" v3:"upgrade_configs.connect_config"`
	// MaxGRPCTimeout is grpc_timeout_header_max of max_stream_duration, by its older name. Default absent.
	MaxGRPCTimeout *time.Duration `json:"max_grpc_timeout" min:"0s"`
	// GRPCTimeoutOffset is grpc_timeout_header_offset of max_stream_duration, by its older name. Default absent.
	GRPCTimeoutOffset *time.Duration `json:"grpc_timeout_offset" min:"0s"`
}

// ConnectConfig says how CONNECT requests end here. timeout and retry_policy do not apply to them; the idle timeout does.
type ConnectConfig struct {
	// ProxyProtocolConfig makes the connection begin with a PROXY protocol header, in place of the cluster's. Default absent.
	ProxyProtocolConfig *ConnectProxyConfig `json:"proxy_protocol_config"`
	// AllowPost takes a POST for a CONNECT too: its body are the bytes to the host, and the body of the response those from it.
	// The match is to be one that a POST can have. Default false.
	AllowPost bool `json:"allow_post" default:"false"`
}

// ConnectProxyConfig is the PROXY protocol header of a connection that a CONNECT ends in. It tells the address of the client.
type ConnectProxyConfig struct {
	// Version of the header: "v1" is a line of text, "v2" binary. Default "v1".
	Version string `json:"version" default:"v1" enum:"v1,v2"`
}

// StreamDurationConfig says how long streams may last, counted from the head of the request.
type StreamDurationConfig struct {
	// MaxStreamDuration ends a stream that lasts longer, tunnels too, in place of the connection manager's
	// max_stream_duration. 0s: never. Default: that of the connection manager.
	MaxStreamDuration *time.Duration `json:"max_stream_duration" min:"0s"`
	// GRPCTimeoutHeaderMax lets gRPC requests say in grpc-timeout how long they last, in place of timeout and of
	// max_stream_duration, and caps that time. 0s does not. Absent: grpc-timeout is only passed on. Default absent.
	GRPCTimeoutHeaderMax *time.Duration `json:"grpc_timeout_header_max" min:"0s"`
	// GRPCTimeoutHeaderOffset is taken off the time, if that is longer, so that the client hears of the end from
	// upstream. Default 0s.
	GRPCTimeoutHeaderOffset time.Duration `json:"grpc_timeout_header_offset" default:"0s" min:"0s"`
}

// WeightedClusterConfig is one cluster of a weighted route.
type WeightedClusterConfig struct {
	// Name of the cluster.
	Name string `json:"name" required:"true"`
	// Weight is its share of the sum of all weights. Default 1. 0 gets nothing.
	Weight uint32 `json:"weight" default:"1"`
	// MetadataMatch is what the metadata of a host have to be besides what the route says; where both name a key this holds.
	MetadataMatch map[string]string `json:"metadata_match" v3:"metadata_match.filter_metadata.envoy.lb"`
	// HostRewriteLiteral replaces the host for this cluster, before the route's.
	HostRewriteLiteral string `json:"host_rewrite_literal"`

	HeaderMutations
}

// RegexRewriteConfig replaces every match of a regular expression.
type RegexRewriteConfig struct {
	// Pattern is a regular expression (RE2). At most 4096 bytes.
	Pattern string `json:"pattern" required:"true" v3:"pattern.regex"`
	// Substitution is the new text; \0 is the whole match, \1 to \9 its groups, \\ a backslash.
	Substitution string `json:"substitution"`
}

// RedirectConfig answers with a redirect.
type RedirectConfig struct {
	// HTTPSRedirect makes the scheme https. Exclusive with scheme_redirect.
	HTTPSRedirect bool `json:"https_redirect"`
	// SchemeRedirect is the new scheme, http or https.
	SchemeRedirect string `json:"scheme_redirect"`
	// HostRedirect is the new host, port not included.
	HostRedirect string `json:"host_redirect"`
	// PortRedirect is the new port. Default 0: the port of the request, which is left out if it is
	// the default one of the old scheme and the scheme changes.
	PortRedirect uint16 `json:"port_redirect"`
	// PathRedirect is the new path. A query in it takes the place of the request's. Exclusive with
	// prefix_rewrite and regex_rewrite.
	PathRedirect string `json:"path_redirect"`
	// PrefixRewrite replaces the matched prefix of the path.
	PrefixRewrite string `json:"prefix_rewrite"`
	// RegexRewrite rewrites the path.
	RegexRewrite *RegexRewriteConfig `json:"regex_rewrite"`
	// StripQuery leaves the query of the request out. Default false.
	StripQuery bool `json:"strip_query"`
	// ResponseCode is 301, 302, 303, 307 or 308. Default 301.
	ResponseCode int `json:"response_code" default:"301"`
}

// DirectResponseConfig is a fixed response.
type DirectResponseConfig struct {
	// Status is the status code, 200 to 599.
	Status int `json:"status" required:"true" min:"200" max:"599"`
	// Body is its text. At most max_direct_response_body_size_bytes.
	Body string `json:"body" v3:"body.inline_string"`
}
