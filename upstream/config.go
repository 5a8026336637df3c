package upstream

import (
	"time"

	"millrace/codec"
	"millrace/engine"
	"millrace/engine/certs"
)

// Config is one entry of "clusters": a named service and how to reach it.
type Config struct {
	// Name is what routes call the cluster. Required, unique.
	Name string `json:"name" required:"true"`
	// AltStatName replaces the name in stat names (cluster.<name>.…). Default: the name.
	AltStatName string `json:"alt_stat_name" v3:"alt_stat_name"`
	// Type says where hosts come from. "static": they are those listed in hosts. "strict_dns": the hosts are names, and all
	// addresses of all of them are hosts. "logical_dns": one name, of which new connections go to the first address.
	// "file": a list in hosts_file. "original_dst": wherever a client wanted to go before it was redirected here; such a
	// cluster has lb_policy "cluster_provided". Default "static".
	Type string `json:"type" default:"static" enum:"static,strict_dns,logical_dns,file,original_dst" v3:"type"`
	DiscoveryConfig
	// ConnectTimeout bounds the opening of a connection, its TLS handshake included. 1ms to 1h. Default 5s.
	ConnectTimeout time.Duration `json:"connect_timeout" default:"5s" min:"1ms" max:"1h"`
	// Protocol is what the hosts speak: "http1", or "http2" without asking first (prior knowledge). "auto" is for hosts
	// reached by TLS: each connection speaks what its host agrees to (ALPN). Default "http1".
	Protocol string `json:"protocol" default:"http1" enum:"http1,http2,auto" v3:"typed_extension_protocol_options.explicit_http_config"`
	// HTTP2 is how HTTP/2 connections behave. Only used with protocol "http2" or "auto".
	HTTP2 HTTP2Config `json:"http2_protocol_options" v3:"typed_extension_protocol_options.explicit_http_config.http2_protocol_options"`
	// LbPolicy picks the host of a request: "round_robin", "least_request" (the less busy of a few), "random",
	// "ring_hash" and "maglev" (the same host for the same hash), "peak_ewma" (the fastest, by latency and load),
	// "cluster_provided" (there is no choice: type "original_dst"). Default "round_robin".
	LbPolicy string `json:"lb_policy" default:"round_robin" enum:"round_robin,least_request,random,ring_hash,maglev,peak_ewma,cluster_provided"`
	// LeastRequest configures the policy "least_request".
	LeastRequest LeastRequestConfig `json:"least_request_lb_config"`
	BalanceConfig
	HealthConfig
	// Hosts are the endpoints. A cluster without hosts answers 503 with flag UH.
	Hosts []HostConfig `json:"hosts" v3:"load_assignment.endpoints.lb_endpoints"`
	// OutlierDetection ejects hosts by what requests to them bring. Absent: none is ejected.
	OutlierDetection *OutlierConfig `json:"outlier_detection"`
	// CircuitBreakers bound what the cluster may cost, for all loops together.
	CircuitBreakers CircuitBreakers `json:"circuit_breakers"`
	// PreconnectPolicy opens connections before there are requests for them. Default: none.
	PreconnectPolicy PreconnectConfig `json:"preconnect_policy"`
	// MaxRequestsPerConnection closes a connection after so many requests. 0 is no limit, 1
	// turns keep-alive off. Default 0.
	MaxRequestsPerConnection uint32 `json:"max_requests_per_connection" default:"0" v3:"common_http_protocol_options.max_requests_per_connection"`
	// IdleTimeout closes a connection that carried no request for so long. 0 is never. Default 1h.
	IdleTimeout time.Duration `json:"idle_timeout" default:"1h" min:"0s" v3:"common_http_protocol_options.idle_timeout"`
	// MaxConnectionDuration closes a connection this old once its request is over. 0 is never.
	// Default 0.
	MaxConnectionDuration time.Duration `json:"max_connection_duration" default:"0s" min:"0s" v3:"common_http_protocol_options.max_connection_duration"`
	// MaxConnectionDurationJitter lengthens the max_connection_duration of each connection by a random share of it, up to
	// so many percent, so that connections opened together do not end together. Default 0.
	MaxConnectionDurationJitter float64 `json:"max_connection_duration_jitter" default:"0" unit:"percent" v3:"common_http_protocol_options.max_connection_duration_jitter"`
	// ShareIdleConnections lets a loop that has no idle connection to a host take one that another loop has left idle for 100 ms,
	// before it opens one. HTTP/1.1 only: a connection of HTTP/2 serves many requests at once. Default true.
	ShareIdleConnections bool `json:"share_idle_connections" default:"true"`
	// PerConnectionBufferLimitBytes bounds what waits for a connection to take it: above it the
	// reading side is paused. A size. Default 1MiB.
	PerConnectionBufferLimitBytes int `json:"per_connection_buffer_limit_bytes" default:"1MiB" min:"4KiB" max:"1GiB" unit:"bytes"`
	// MaxResponseHeadersKb bounds the head of a response, in KiB. Beyond it 502. Default 60.
	MaxResponseHeadersKb int `json:"max_response_headers_kb" default:"60" min:"1" max:"8192" v3:"common_http_protocol_options.max_response_headers_kb"`
	// MaxHeadersCount bounds the fields of a response's head. Beyond it 502. Default 100.
	MaxHeadersCount int `json:"max_headers_count" default:"100" min:"1" max:"10000" v3:"common_http_protocol_options.max_headers_count"`
	// UpstreamBindConfig says where connections to the hosts come from. Absent: the kernel chooses.
	UpstreamBindConfig *BindConfig `json:"upstream_bind_config"`
	// UpstreamConnectionOptions are options of the sockets to the hosts.
	UpstreamConnectionOptions ConnectionOptions `json:"upstream_connection_options"`
	// CloseConnectionsOnHostHealthFailure ends connections of tcp_proxy to a host that begins to fail its health
	// checks. Without it they go on. Default false.
	CloseConnectionsOnHostHealthFailure bool `json:"close_connections_on_host_health_failure" default:"false"`
	// TLS is how the hosts are spoken to by TLS. Absent: in plain text.
	TLS *certs.UpstreamConfig `json:"tls" v3:"transport_socket.typed_config"`
	// ProxyProtocol makes each connection begin with a PROXY protocol header. Absent: none does.
	ProxyProtocol *ProxyProtocolConfig `json:"proxy_protocol" v3:"transport_socket.typed_config.config"`
	// Autoscaling says how many hosts the traffic is for. Absent: nobody is told.
	Autoscaling *AutoscalingConfig `json:"autoscaling"`
}

// LeastRequestConfig configures the policy "least_request".
type LeastRequestConfig struct {
	// ChoiceCount is how many random hosts are compared. 2 to 64. Default 2.
	ChoiceCount int `json:"choice_count" default:"2" min:"2" max:"64"`
	// ActiveRequestBias is how much active requests count against the weight of a host: its load is (active + 1) to
	// this power, divided by its weight. 0 makes it weighted random. 0 to 10. Default 1.
	ActiveRequestBias float64 `json:"active_request_bias" default:"1" min:"0" max:"10"`
	// SlowStart gives new hosts less at first. Absent: they get their share at once.
	SlowStart *SlowStartConfig `json:"slow_start_config"`
}

// HostConfig is one endpoint. In a file a string is the address alone.
type HostConfig struct {
	// Address is "10.0.0.1:80", "[::1]:80", "unix:/run/app.sock" or "unix:@abstract"; of a cluster that resolves names
	// "app.example.com:80", or "_http._tcp.example.com" for an SRV record. Required.
	Address string `json:"address" required:"true" v3:"endpoint.address"`
	// AdditionalAddresses are other addresses of the same host, such as those of the other family: they are tried beside
	// address, in this order, when it does not accept a connection within 300ms, or fails. Default: none.
	AdditionalAddresses []string `json:"additional_addresses" max:"15" v3:"endpoint.additional_addresses"`
	// Hostname is what auto_host_rewrite and use_hostname_for_hashing call the host. Default: the name it was resolved
	// from, if it was.
	Hostname string `json:"hostname" v3:"endpoint.hostname"`
	// Weight is the host's share relative to its neighbours. 1 to 1000000. Default 1.
	Weight uint32 `json:"weight" default:"1" min:"1" max:"1000000" v3:"load_balancing_weight"`
	// Priority is 0 for the hosts that are wanted most. Others get requests as far as those of the priorities before
	// are not well enough. Default 0.
	Priority uint8 `json:"priority" default:"0" max:"127" v3:"load_assignment.endpoints.priority"`
	// Locality is where the host is. Absent: unknown.
	Locality *Locality `json:"locality" v3:"load_assignment.endpoints.locality"`
	// Metadata say what the host is, such as {"version": "v2", "stage": "prod"}, for lb_subset_config and retry_host_predicate. Of
	// Envoy's namespaces they are "envoy.lb". Default: none.
	Metadata map[string]string `json:"metadata" v3:"metadata.filter_metadata.envoy.lb"`
}

// DecodeConfigString takes the short form: an address, or a name, of weight 1.
func (h *HostConfig) DecodeConfigString(s string) error {
	if _, err := engine.ParseAddr(s); err != nil {
		if _, bad := ParseHostName(s); bad != nil {
			return err
		}
	}
	*h = HostConfig{Address: s, Weight: 1}
	return nil
}

// Thresholds are the limits of one priority.
type Thresholds struct {
	// MaxConnections bounds open connections. A host without one may always have one. Default 1024.
	MaxConnections uint32 `json:"max_connections" default:"1024"`
	// MaxPendingRequests bounds requests that wait for a connection. Default 1024.
	MaxPendingRequests uint32 `json:"max_pending_requests" default:"1024"`
	// MaxRequests bounds requests on connections. Default 1024.
	MaxRequests uint32 `json:"max_requests" default:"1024"`
	// MaxRetries bounds retries going on at one time, in place of retry_budget. Default: retry_budget does.
	MaxRetries *uint32 `json:"max_retries"`
	// RetryBudget bounds them by the requests there are. Default: 20 percent of them, and 3 anyway.
	RetryBudget *RetryBudgetConfig `json:"retry_budget"`
}

// DefaultThresholds returns the defaults.
func DefaultThresholds() Thresholds {
	return Thresholds{MaxConnections: 1024, MaxPendingRequests: 1024, MaxRequests: 1024}
}

// RetryBudgetConfig bounds retries by the requests there are: when all of them fail, retries add little to the load.
type RetryBudgetConfig struct {
	// BudgetPercent is how many retries may go on, in percent of the requests that are active or wait for a connection.
	// Default 20.
	BudgetPercent float64 `json:"budget_percent" default:"20" unit:"percent"`
	// MinRetryConcurrency is how many may go on in any case. Default 3.
	MinRetryConcurrency uint32 `json:"min_retry_concurrency" default:"3"`
}

// DefaultRetryBudget returns the defaults.
func DefaultRetryBudget() RetryBudgetConfig {
	return RetryBudgetConfig{BudgetPercent: 20, MinRetryConcurrency: 3}
}

// Retries returns what bounds retries: a fixed number, or else a budget.
func (t *Thresholds) Retries() (most uint32, b *RetryBudgetConfig) {
	switch {
	case t.MaxRetries != nil:
		return *t.MaxRetries, nil
	case t.RetryBudget != nil:
		return 0, t.RetryBudget
	}
	d := DefaultRetryBudget()
	return 0, &d
}

// check reports two bounds for one thing.
func (t *Thresholds) check(path string, report func(path, problem, hint string)) {
	if t.MaxRetries != nil && t.RetryBudget != nil {
		report(path+".retry_budget", "stands beside max_retries", "write one of them")
	}
}

// CircuitBreakers holds thresholds for priority default directly, or one object per
// priority in "default" and "high".
type CircuitBreakers struct {
	// MaxConnections is that of priority default. Default 1024.
	MaxConnections uint32 `json:"max_connections" default:"1024" v3:"thresholds.max_connections"`
	// MaxPendingRequests is that of priority default. Default 1024.
	MaxPendingRequests uint32 `json:"max_pending_requests" default:"1024" v3:"thresholds.max_pending_requests"`
	// MaxRequests is that of priority default. Default 1024.
	MaxRequests uint32 `json:"max_requests" default:"1024" v3:"thresholds.max_requests"`
	// MaxRetries is that of priority default. Default: retry_budget bounds retries.
	MaxRetries *uint32 `json:"max_retries" v3:"thresholds.max_retries"`
	// RetryBudget is that of priority default. Default: 20 percent of the requests there are, and 3 anyway.
	RetryBudget *RetryBudgetConfig `json:"retry_budget" v3:"thresholds.retry_budget"`
	// Default stands for the five fields above.
	Default *Thresholds `json:"default"`
	// High are the thresholds of routes with priority "high". Absent: the defaults.
	High *Thresholds `json:"high"`
	// PerHostThresholds bound what one host may cost, for all loops and both priorities together.
	PerHostThresholds PerHostThresholds `json:"per_host_thresholds"`
	// MaxPendingDuration is how long a request may wait for a connection, that is for one to open or for one that
	// others have: then it gets 503. For both priorities. Not in Envoy; "timeout queue" of HAProxy. 0 is as long as
	// the timeouts of the request allow. Default 0.
	MaxPendingDuration time.Duration `json:"max_pending_duration" default:"0s" min:"0s"`
}

// PerHostThresholds are the limits of each host.
type PerHostThresholds struct {
	// MaxConnections bounds open connections to one host. A loop without one may always have one. At the limit
	// requests go to another host, or wait for a connection of this one. 0 is no limit. Default 0.
	MaxConnections uint32 `json:"max_connections" default:"0"`
}

// direct returns the thresholds written without a priority.
func (b *CircuitBreakers) direct() Thresholds {
	return Thresholds{b.MaxConnections, b.MaxPendingRequests, b.MaxRequests, b.MaxRetries, b.RetryBudget}
}

// boundsHosts reports whether there are limits for one host.
func (b *CircuitBreakers) boundsHosts() bool { return b.PerHostThresholds.MaxConnections > 0 }

// Thresholds returns the limits of priority p.
func (b *CircuitBreakers) Thresholds(p Priority) Thresholds {
	switch {
	case p == High && b.High != nil:
		return *b.High
	case p == High:
		return DefaultThresholds()
	case b.Default != nil:
		return *b.Default
	}
	return b.direct()
}

// DefaultConfig returns a cluster named name with the defaults and no hosts.
func DefaultConfig(name string) Config {
	t := DefaultThresholds()
	return Config{
		Name:            name,
		Type:            "static",
		ConnectTimeout:  5 * time.Second,
		Protocol:        "http1",
		HTTP2:           DefaultHTTP2Config(),
		LbPolicy:        "round_robin",
		LeastRequest:    DefaultLeastRequestConfig(),
		BalanceConfig:   DefaultBalanceConfig(),
		DiscoveryConfig: DefaultDiscoveryConfig(),
		CircuitBreakers: CircuitBreakers{MaxConnections: t.MaxConnections,
			MaxPendingRequests: t.MaxPendingRequests, MaxRequests: t.MaxRequests},
		PreconnectPolicy:              DefaultPreconnectConfig(),
		HealthConfig:                  HealthConfig{WaitForWarmOnInit: true},
		IdleTimeout:                   time.Hour,
		ShareIdleConnections:          true,
		PerConnectionBufferLimitBytes: 1 << 20,
		MaxResponseHeadersKb:          60,
		MaxHeadersCount:               100,
	}
}

// Validate reports what the tags cannot say.
func (c *Config) Validate(report func(path, problem, hint string)) {
	c.checkDiscovery(report)
	c.checkSource(report)
	c.checkProxyProtocol(report)
	c.checkProtocol(report)
	c.checkBalance(report)
	c.checkHealth(report)
	c.checkPreconnect(report)
	b := &c.CircuitBreakers
	direct := b.direct()
	direct.check("circuit_breakers", report)
	if b.Default != nil {
		b.Default.check("circuit_breakers.default", report)
	}
	if b.High != nil {
		b.High.check("circuit_breakers.high", report)
	}
	if b.Default != nil && b.direct() != DefaultThresholds() {
		report("circuit_breakers", "thresholds stand both here and in \"default\"", "write them in one place")
	}
}

// StatName returns the name of the cluster in stat names.
func (c *Config) StatName() string {
	if c.AltStatName != "" {
		return c.AltStatName
	}
	return c.Name
}

// Limits returns what a response may cost the codec.
func (c *Config) Limits() codec.Limits {
	l := codec.DefaultLimits()
	l.HeadBytes = c.MaxResponseHeadersKb << 10
	l.FieldCount = c.MaxHeadersCount
	return l
}

// SameConnections reports whether connections made under o may go on being used under c.
func (c *Config) SameConnections(o *Config) bool {
	return c.Protocol == o.Protocol &&
		c.MaxRequestsPerConnection == o.MaxRequestsPerConnection &&
		c.IdleTimeout == o.IdleTimeout &&
		c.MaxConnectionDuration == o.MaxConnectionDuration &&
		c.MaxConnectionDurationJitter == o.MaxConnectionDurationJitter &&
		c.sameHTTP2(o) &&
		c.PerConnectionBufferLimitBytes == o.PerConnectionBufferLimitBytes &&
		c.MaxResponseHeadersKb == o.MaxResponseHeadersKb &&
		c.MaxHeadersCount == o.MaxHeadersCount &&
		c.CircuitBreakers.boundsHosts() == o.CircuitBreakers.boundsHosts() &&
		c.sameDial(o) &&
		c.ProxyProtocol.same(o.ProxyProtocol) &&
		c.SameTLS(o)
}
