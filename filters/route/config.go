package route

// Config is a route configuration: virtual hosts chosen by the host of a request, each with routes.
type Config struct {
	// Name of the configuration, for stats and reports.
	Name string `json:"name"`
	// VirtualHosts are chosen by domain. Exclusive with routes.
	VirtualHosts []VirtualHostConfig `json:"virtual_hosts"`
	// Routes is the short form: one virtual host for the domain "*".
	Routes []RouteConfig `json:"routes"`

	HeaderMutations

	// MostSpecificHeaderMutationsWins makes the mutations of a route win over those of its virtual
	// host, and these over those of the table. Default false: the table's are applied last and win.
	MostSpecificHeaderMutationsWins bool `json:"most_specific_header_mutations_wins"`
	// InternalOnlyHeaders are removed from requests that do not come from inside.
	InternalOnlyHeaders []string `json:"internal_only_headers"`
	// IgnorePortInHostMatching leaves ":port" at the end of the host out of the search for a
	// domain. Default false.
	IgnorePortInHostMatching bool `json:"ignore_port_in_host_matching"`
	// IgnorePathParametersInPathMatching leaves out what follows the first ";" of a path when paths
	// are compared. Default false.
	IgnorePathParametersInPathMatching bool `json:"ignore_path_parameters_in_path_matching"`
	// MaxDirectResponseBodySizeBytes limits the body of a direct_response. Default 4096.
	MaxDirectResponseBodySizeBytes uint32 `json:"max_direct_response_body_size_bytes" default:"4096" max:"1048576" unit:"bytes"`
	// RequestMirrorPolicies send copies of the requests elsewhere, for virtual hosts and routes that say nothing of it. Default: none.
	RequestMirrorPolicies []MirrorConfig `json:"request_mirror_policies" max:"8"`
	// ValidateClusters refuses a table that names an unknown cluster. Default true.
	// If false, such a route answers with cluster_not_found_response_code.
	ValidateClusters bool `json:"validate_clusters" default:"true"`
}

// VirtualHostConfig is the routes of some domains.
type VirtualHostConfig struct {
	// Name of the virtual host, for stats and reports. Unique in its table.
	Name string `json:"name" required:"true"`
	// Domains are hosts in any case: "www.example.com", "*.example.com" and "*-bar.example.com"
	// (suffix), "www.example.*" (prefix) or "*". The port of a request is part of its host, see
	// ignore_port_in_host_matching. The exact domain wins, then the longest suffix, then the
	// longest prefix, then "*". A wildcard never stands for nothing.
	Domains []string `json:"domains" required:"true" min:"1"`
	// Routes in order: the first that matches wins.
	Routes []RouteConfig `json:"routes"`
	// RequireTLS answers plain-text requests with 301 to https: none, external_only (requests from
	// inside may pass) or all. Default none.
	RequireTLS string `json:"require_tls" default:"none" enum:"none,external_only,all"`

	HeaderMutations

	// RetryPolicy is that of the routes which have none of their own.
	RetryPolicy *RetryPolicyConfig `json:"retry_policy"`
	// HedgePolicy is that of the routes which have none of their own. Absent: no hedging.
	HedgePolicy *HedgePolicyConfig `json:"hedge_policy"`
	// RequestMirrorPolicies send copies of the requests elsewhere, for routes that say nothing of it, in place of those of the
	// table. An empty list sends none. Default: those of the table.
	RequestMirrorPolicies *[]MirrorConfig `json:"request_mirror_policies" max:"8"`
	// PerFilterConfig is what the routes of this virtual host say to HTTP filters, by name: a config in place of the filter's own, or
	// {"disabled": true} to leave it out. An entry of a route takes the place of the one here.
	PerFilterConfig map[string]any `json:"per_filter_config" filter:"http_route" v3:"typed_per_filter_config"`
	// IncludeRequestAttemptCount sends x-envoy-attempt-count upstream. Default false.
	IncludeRequestAttemptCount bool `json:"include_request_attempt_count"`
	// IncludeAttemptCountInResponse sends x-envoy-attempt-count downstream. Default false.
	IncludeAttemptCountInResponse bool `json:"include_attempt_count_in_response"`
	// IncludeIsTimeoutRetryHeader sends x-envoy-is-timeout-retry upstream with each retry: "true" if the attempt before ran out of
	// time, else "false". Default false.
	IncludeIsTimeoutRetryHeader bool `json:"include_is_timeout_retry_header"`
}

// RouteConfig is one route: a match and exactly one of route, redirect and direct_response.
type RouteConfig struct {
	// Name of the route, for access logs and reports.
	Name string `json:"name"`
	// Match is what a request must be like.
	Match MatchConfig `json:"match" required:"true"`
	// Route forwards the request to a cluster.
	Route *ForwardConfig `json:"route"`
	// Redirect answers with a redirect.
	Redirect *RedirectConfig `json:"redirect"`
	// DirectResponse answers with a fixed response.
	DirectResponse *DirectResponseConfig `json:"direct_response"`
	// PerFilterConfig is what this route says to HTTP filters, by name: a config in place of the filter's own, or
	// {"disabled": true} to leave it out. Default: the virtual host's.
	PerFilterConfig map[string]any `json:"per_filter_config" filter:"http_route" v3:"typed_per_filter_config"`

	HeaderMutations
}

// HeaderMutations change heads. The levels of a request are, in order: the weighted cluster, the route,
// the virtual host, the table. At each level removals come first, then the values are computed,
// then overwrites, then additions.
type HeaderMutations struct {
	// RequestHeadersToAdd are added to the request sent upstream.
	RequestHeadersToAdd []HeaderValueConfig `json:"request_headers_to_add" max:"128"`
	// RequestHeadersToRemove are removed from the request sent upstream.
	RequestHeadersToRemove []string `json:"request_headers_to_remove" max:"128"`
	// ResponseHeadersToAdd are added to the response sent downstream.
	ResponseHeadersToAdd []HeaderValueConfig `json:"response_headers_to_add" max:"128"`
	// ResponseHeadersToRemove are removed from the response sent downstream.
	ResponseHeadersToRemove []string `json:"response_headers_to_remove" max:"128"`
}

// HeaderValueConfig is one header to add.
type HeaderValueConfig struct {
	// Key is the name. Host, names with ":" and those that frame a message cannot be changed.
	Key string `json:"key" required:"true" v3:"header.key"`
	// Value may hold access-log operators such as %REQ(x-id)%; %% is a percent sign.
	Value string `json:"value" v3:"header.value"`
	// AppendAction says what to do if the header is there already. Default append_if_exists_or_add:
	// one more field of that name.
	AppendAction string `json:"append_action" default:"append_if_exists_or_add" enum:"append_if_exists_or_add,add_if_absent,overwrite_if_exists_or_add,overwrite_if_exists"`
	// KeepEmptyValue adds the header also when its value comes out empty. Default false: then
	// nothing is changed.
	KeepEmptyValue bool `json:"keep_empty_value"`
}
