package httpconn

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/filters/route"
)

// Config is the config of the network filter "http_connection_manager".
type Config struct {
	// StatPrefix is the middle of the names of this manager's stats: "http.<stat_prefix>.".
	StatPrefix string `json:"stat_prefix" default:"ingress_http"`
	// CodecType is the version of HTTP spoken downstream: "http1" is 1.1 and 1.0, "http2" is HTTP/2 with prior knowledge, "auto"
	// takes the one that TLS has agreed on (ALPN); without, the one that the first bytes of a connection are in, and without TLS
	// it lets HTTP/1.1 upgrade to h2c.
	CodecType string `json:"codec_type" default:"auto" enum:"auto,http1,http2"`
	// RouteConfig is the route table.
	RouteConfig route.Config `json:"route_config" required:"true"`
	// HTTPFilters are the filters of a request, in order. The last is "router".
	HTTPFilters []filters.Config `json:"http_filters" filter:"http" default:"[{\"name\": \"router\"}]"`
	// AccessLog lists the access logs. Default: none.
	AccessLog []accesslog.Config `json:"access_log"`

	// UseRemoteAddress says that the peer's address is the client's: the proxy is an edge. It
	// appends the peer to x-forwarded-for, and nothing in that field makes a request internal.
	UseRemoteAddress bool `json:"use_remote_address" default:"false"`
	// XffNumTrustedHops is how many addresses from the right of x-forwarded-for were put there by proxies in front.
	XffNumTrustedHops int `json:"xff_num_trusted_hops" default:"0" min:"0" max:"64"`
	// SkipXffAppend leaves x-forwarded-for as it came even with use_remote_address.
	SkipXffAppend bool `json:"skip_xff_append" default:"false"`
	// AppendXForwardedPort sends the listener's port as x-forwarded-port.
	AppendXForwardedPort bool `json:"append_x_forwarded_port" default:"false"`
	// InternalAddressConfig says which client addresses are internal.
	InternalAddressConfig InternalAddressConfig `json:"internal_address_config"`
	// Via is appended to the via field in both directions, as "1.1 <via>", or "1.0 <via>" and "2 <via>" of what came in those
	// versions. Default: nothing.
	Via string `json:"via"`

	// ForwardClientCertDetails says what becomes of x-forwarded-client-cert, which tells hosts of the certificate that a client has shown:
	// "sanitize" removes it, "forward_only" passes on what the client says, "append_forward" adds what this proxy has seen, "sanitize_set"
	// puts that in the place of what the client says. All of them remove it where the client has shown no certificate here;
	// "always_forward_only" passes it on from anybody.
	ForwardClientCertDetails string `json:"forward_client_cert_details" default:"sanitize" enum:"sanitize,forward_only,append_forward,sanitize_set,always_forward_only"`
	// SetCurrentClientCertDetails says what is told besides the hash, with "append_forward" and "sanitize_set".
	SetCurrentClientCertDetails ClientCertDetails `json:"set_current_client_cert_details"`

	// SchemeHeaderTransformation says what :scheme hosts of HTTP/2 see. Default: that of the request, else what x-forwarded-proto says.
	SchemeHeaderTransformation SchemeConfig `json:"scheme_header_transformation"`

	// GenerateRequestID gives requests an x-request-id, a random UUID.
	GenerateRequestID bool `json:"generate_request_id" default:"true"`
	// PreserveExternalRequestID keeps the x-request-id an edge request came with.
	PreserveExternalRequestID bool `json:"preserve_external_request_id" default:"false"`
	// AlwaysSetRequestIDInResponse copies x-request-id to the response.
	AlwaysSetRequestIDInResponse bool `json:"always_set_request_id_in_response" default:"false"`

	// ServerName is what the proxy calls itself in the server field.
	ServerName string `json:"server_name" default:"millrace"`
	// ServerHeaderTransformation says what happens to the server field of a response: "overwrite" it,
	// "append_if_absent", or "pass_through".
	ServerHeaderTransformation string `json:"server_header_transformation" default:"overwrite" enum:"overwrite,append_if_absent,pass_through"`
	// Proxy100Continue passes "expect: 100-continue" on and waits for the upstream's answer. Off, the
	// proxy answers 100 itself. Default: true. Deviation: Envoy's default is false.
	Proxy100Continue bool `json:"proxy_100_continue" default:"true"`

	// NormalizePath normalizes the path before the match (RFC 3986 section 6.2.2).
	NormalizePath bool `json:"normalize_path" default:"false"`
	// MergeSlashes merges adjacent slashes of the path before the match.
	MergeSlashes bool `json:"merge_slashes" default:"false"`
	// PathWithEscapedSlashesAction says what happens to %2F and %5C in a path.
	PathWithEscapedSlashesAction string `json:"path_with_escaped_slashes_action" default:"keep_unchanged" enum:"keep_unchanged,reject_request,unescape_and_redirect,unescape_and_forward"`
	// HeadersWithUnderscoresAction says what happens to request fields with "_" in their name.
	HeadersWithUnderscoresAction string `json:"headers_with_underscores_action" default:"allow" enum:"allow,reject_request,drop_header"`
	// StripAnyHostPort removes the port from the authority before the match.
	StripAnyHostPort bool `json:"strip_any_host_port" default:"false" v3:"strip_port_mode.strip_any_host_port"`
	// StripMatchingHostPort removes the port from the authority if it is the listener's.
	StripMatchingHostPort bool `json:"strip_matching_host_port" default:"false"`
	// StripTrailingHostDot removes the dot at the end of the authority's host.
	StripTrailingHostDot bool `json:"strip_trailing_host_dot" default:"false"`

	// Upgrades are the protocols a request may upgrade to, such as "websocket", where the route does not say.
	Upgrades []string `json:"upgrades" v3:"upgrade_configs"`

	// MaxRequestHeadersKb is the largest head of a request, in KiB: 431 beyond.
	MaxRequestHeadersKb int `json:"max_request_headers_kb" default:"60" min:"1" max:"8192"`
	// MaxHeadersCount is the largest number of fields in the head of a request: 431 beyond.
	MaxHeadersCount int `json:"max_headers_count" default:"100" min:"1" max:"10000" v3:"common_http_protocol_options.max_headers_count"`
	// MaxRequestsPerConnection closes a connection after that many requests. 0: no limit.
	MaxRequestsPerConnection uint32 `json:"max_requests_per_connection" default:"0" v3:"common_http_protocol_options.max_requests_per_connection"`
	// AcceptHTTP10 serves HTTP/1.0 requests. Off, they get 426. Default: true. Deviation: Envoy's default is false.
	AcceptHTTP10 bool `json:"accept_http_10" default:"true" v3:"http_protocol_options.accept_http_10"`

	// HTTP2ProtocolOptions are about HTTP/2.
	HTTP2ProtocolOptions HTTP2Config `json:"http2_protocol_options"`

	// AbortOnHalfClose gives a request up when its client ends its direction of the connection, which most clients
	// only do to leave. Off, the client still gets its response. Deviation: Envoy always gives up.
	AbortOnHalfClose bool `json:"abort_on_half_close" default:"false"`

	// IdleTimeout closes a connection without a request. 0s: never.
	IdleTimeout time.Duration `json:"idle_timeout" default:"1h" min:"0s" v3:"common_http_protocol_options.idle_timeout"`
	// RequestHeadersTimeout is how long the head of a request may take from its first byte: 408 beyond. 0s: for ever.
	// Deviation: Envoy's default is 0s; an edge on the open Internet wants a bound.
	RequestHeadersTimeout time.Duration `json:"request_headers_timeout" default:"10s" min:"0s"`
	// RequestTimeout is how long a whole request may take to arrive: 408 beyond. 0s: for ever.
	RequestTimeout time.Duration `json:"request_timeout" default:"0s" min:"0s"`
	// StreamIdleTimeout ends a stream on which nothing moves: 408 while the request is incomplete, else
	// 504. 0s: never. A route's idle_timeout takes its place.
	StreamIdleTimeout time.Duration `json:"stream_idle_timeout" default:"5m" min:"0s"`
	// MaxStreamDuration ends a stream that lasts longer. 0s: never.
	MaxStreamDuration time.Duration `json:"max_stream_duration" default:"0s" min:"0s" v3:"common_http_protocol_options.max_stream_duration"`
	// MaxConnectionDuration ends a connection that lasts longer, after the response under way. 0s: never.
	MaxConnectionDuration time.Duration `json:"max_connection_duration" default:"0s" min:"0s" v3:"common_http_protocol_options.max_connection_duration"`
	// DelayedCloseTimeout is how long a connection the proxy closes may take to say its own end, so that
	// the last response is not lost to a reset. 0s: do not wait.
	DelayedCloseTimeout time.Duration `json:"delayed_close_timeout" default:"1s" min:"0s"`
	// DrainTimeout is how long a connection may linger after the proxy has told its peer that it drains.
	DrainTimeout time.Duration `json:"drain_timeout" default:"5s" min:"0s"`
}

// ClientCertDetails says what x-forwarded-client-cert tells of the client's certificate besides its hash.
type ClientCertDetails struct {
	// Subject tells the subject (RFC 2253).
	Subject bool `json:"subject" default:"false"`
	// Cert tells the certificate, percent-encoded PEM.
	Cert bool `json:"cert" default:"false"`
	// Chain tells all certificates that the client has sent, likewise.
	Chain bool `json:"chain" default:"false"`
	// DNS tells the DNS names among its subject alternative names.
	DNS bool `json:"dns" default:"false"`
	// URI tells the URIs among them.
	URI bool `json:"uri" default:"false"`
}

// SchemeConfig says what becomes of the scheme of requests. Routes and x-forwarded-proto do not depend on it.
type SchemeConfig struct {
	// SchemeToOverwrite is the scheme of all requests: "http" or "https". It counts for more than match_upstream.
	SchemeToOverwrite string `json:"scheme_to_overwrite" enum:"http,https"`
	// MatchUpstream makes it that of the connection to the host: https with TLS, else http.
	MatchUpstream bool `json:"match_upstream" default:"false"`
}

// InternalAddressConfig says which client addresses count as internal.
type InternalAddressConfig struct {
	// UnixSockets counts clients on Unix sockets as internal.
	UnixSockets bool `json:"unix_sockets" default:"false"`
	// CIDRRanges are the internal networks. Default: the private IPv4 networks, 127.0.0.1, fd00::/8 and ::1.
	CIDRRanges []string `json:"cidr_ranges"`
}

// Validate implements the loader's hook.
func (c *Config) Validate(report func(path, problem, hint string)) {
	for i, r := range c.InternalAddressConfig.CIDRRanges {
		if _, err := netip.ParsePrefix(r); err != nil {
			report(indexed("internal_address_config.cidr_ranges", i), quoted(r)+" is not a network", `write it as "10.0.0.0/8"`)
		}
	}
	if c.StripAnyHostPort && c.StripMatchingHostPort {
		report("strip_matching_host_port", "given together with strip_any_host_port", "keep one of them")
	}
	if strings.ContainsAny(c.ServerName+c.Via, "\r\n\x00") {
		report("server_name", "server_name or via has a control character", "")
	}
	if n := len(c.HTTPFilters); n == 0 || c.HTTPFilters[n-1].Name != "router" {
		report("http_filters", "the last HTTP filter is not router", `append {"name": "router"}, or leave http_filters out`)
	}
	c.RouteConfig.EachOverride(func(path, filter string) {
		if !slices.ContainsFunc(c.HTTPFilters, func(f filters.Config) bool { return f.Name == filter }) {
			report("route_config."+path, "http_filters has no filter "+quoted(filter), "add it there, or leave this out")
		}
	})
	for i := range c.HTTPFilters[:max(0, len(c.HTTPFilters)-1)] {
		if c.HTTPFilters[i].Name == "router" {
			report(indexed("http_filters", i), "filters after router are never reached", "move router to the end")
		}
	}
}
