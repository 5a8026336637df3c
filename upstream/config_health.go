package upstream

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"millrace/codec/ascii"
	"millrace/engine"
)

// HealthConfig is what a cluster does to know whether its hosts are well.
type HealthConfig struct {
	// HealthChecks ask the hosts whether they are well. A host that is new gets no requests before its first check has
	// passed, unless too few hosts are well (healthy_panic_threshold). At most one. Default: none, all hosts are taken to
	// be well.
	HealthChecks []HealthCheckConfig `json:"health_checks" max:"1"`
	// IgnoreNewHostsUntilFirstHC leaves new hosts out of the share of hosts that are well, until their first check: they
	// cause no panic and no spill to other priorities. Default false.
	IgnoreNewHostsUntilFirstHC bool `json:"ignore_new_hosts_until_first_hc" default:"false" v3:"common_lb_config.ignore_new_hosts_until_first_hc"`
	// WaitForWarmOnInit makes the listeners wait at the start, and a reload that brings the cluster or changes where its
	// hosts come from, until its hosts are found and each new one has been checked once, 15s at most. Default true.
	WaitForWarmOnInit bool `json:"wait_for_warm_on_init" default:"true"`
	// IgnoreHealthOnHostRemoval lets hosts go as soon as they are gone from where they came from: DNS, or a file. Without it
	// those whose health checks pass stay until they fail. Default false.
	IgnoreHealthOnHostRemoval bool `json:"ignore_health_on_host_removal" default:"false"`
}

// HealthCheckConfig is one way of asking hosts whether they are well.
type HealthCheckConfig struct {
	// Type is "http", "tcp", "redis" or "grpc". Required.
	Type string `json:"type" required:"true" enum:"http,tcp,redis,grpc"`
	// Interval is the time between the end of a check and the next one. Default 5s.
	Interval time.Duration `json:"interval" default:"5s" min:"1ms" max:"24h"`
	// Timeout bounds a check, its connection included. Default 1s.
	Timeout time.Duration `json:"timeout" default:"1s" min:"1ms" max:"1h"`
	// UnhealthyThreshold is how many checks in a row have to fail before the host is not well: those without an answer,
	// or with one of retriable_statuses. A wrong answer counts at once. Default 3.
	UnhealthyThreshold uint32 `json:"unhealthy_threshold" default:"3" min:"1" max:"1000000"`
	// HealthyThreshold is how many checks in a row have to pass before a host is well again. The first check of a new host
	// decides by itself. Default 2.
	HealthyThreshold uint32 `json:"healthy_threshold" default:"2" min:"1" max:"1000000"`
	// MovingAverage takes the place of the two thresholds. Absent: they decide.
	MovingAverage *MovingAverageConfig `json:"moving_average"`

	// InitialJitter delays the first check of a host by a random time up to this. Default 0s.
	InitialJitter time.Duration `json:"initial_jitter" default:"0s" min:"0s" max:"24h"`
	// IntervalJitter lengthens each interval by a random time up to this. Default 0s.
	IntervalJitter time.Duration `json:"interval_jitter" default:"0s" min:"0s" max:"24h"`
	// IntervalJitterPercent lengthens each interval by a random share of it, up to so many percent. Default 0.
	IntervalJitterPercent float64 `json:"interval_jitter_percent" default:"0" unit:"percent"`
	// NoTrafficInterval is used in place of interval while the cluster has had no connection at all. Default 60s.
	NoTrafficInterval time.Duration `json:"no_traffic_interval" default:"60s" min:"1ms" max:"24h"`
	// NoTrafficHealthyInterval is that for hosts that are well. 0 is no_traffic_interval. Default 0s.
	NoTrafficHealthyInterval time.Duration `json:"no_traffic_healthy_interval" default:"0s" min:"0s" max:"24h"`
	// UnhealthyInterval is used for hosts that are not well. 0 is interval. Default 0s.
	UnhealthyInterval time.Duration `json:"unhealthy_interval" default:"0s" min:"0s" max:"24h"`
	// UnhealthyEdgeInterval is used while a host that is well fails checks, until it is not well. 0 is unhealthy_interval.
	// Default 0s.
	UnhealthyEdgeInterval time.Duration `json:"unhealthy_edge_interval" default:"0s" min:"0s" max:"24h"`
	// HealthyEdgeInterval is used while a host that is not well passes checks, until it is well. 0 is interval. Default 0s.
	HealthyEdgeInterval time.Duration `json:"healthy_edge_interval" default:"0s" min:"0s" max:"24h"`
	// ReuseConnection keeps the connection of a check for the next one. Default true.
	ReuseConnection bool `json:"reuse_connection" default:"true"`
	// Port is asked in place of the port of the host. 0 is that of the host. Default 0.
	Port uint16 `json:"port" default:"0" v3:"health_check_config.port_value"`
	// ALPN are the protocols offered where the cluster has TLS. Default: what the check speaks.
	ALPN []string `json:"alpn" max:"16" v3:"tls_options.alpn_protocols"`

	// Path is asked for by "http". Required there.
	Path string `json:"path" v3:"http_health_check.path"`
	// Host is sent as the name of the host by "http". Default: the name of the cluster.
	Host string `json:"host" v3:"http_health_check.host"`
	// Method of the request of "http". Default "GET".
	Method string `json:"method" default:"GET" enum:"GET,HEAD,POST,PUT,DELETE,OPTIONS,TRACE,PATCH" v3:"http_health_check.method"`
	// RequestHeadersToAdd are added to the request of "http", and to that of "grpc".
	RequestHeadersToAdd []HealthHeaderConfig `json:"request_headers_to_add" max:"128" v3:"http_health_check.request_headers_to_add"`
	// RequestHeadersToRemove are not sent by "http", such as "user-agent".
	RequestHeadersToRemove []string `json:"request_headers_to_remove" max:"128" v3:"http_health_check.request_headers_to_remove"`
	// ExpectedStatuses are those with which "http" passes: "200", "200-299", or {"start": 200, "end": 300} where the end is
	// not in the range. Default: 200.
	ExpectedStatuses []StatusRange `json:"expected_statuses" max:"64" v3:"http_health_check.expected_statuses"`
	// RetriableStatuses are those that fail and count toward unhealthy_threshold, where any other fails at once.
	// Default: none.
	RetriableStatuses []StatusRange `json:"retriable_statuses" max:"64" v3:"http_health_check.retriable_statuses"`
	// CodecClientType is what "http" speaks: "http1" or "http2". Default "http1".
	CodecClientType string `json:"codec_client_type" default:"http1" enum:"http1,http2" v3:"http_health_check.codec_client_type"`
	// ServiceName is, for "http", the beginning of what x-envoy-upstream-healthchecked-cluster has to say; for "grpc", the
	// service that is asked about. Default: the field is not looked at, and all of the server is asked about.
	ServiceName string `json:"service_name" v3:"grpc_health_check.service_name"`
	// ServiceNameMatcher is what x-envoy-upstream-healthchecked-cluster has to say, for "http". Absent: see service_name.
	ServiceNameMatcher *NameMatcher `json:"service_name_matcher" v3:"http_health_check.service_name_matcher"`
	// ResponseBufferSize is how much of a body "http" keeps to look for receive. A size. Default 1KiB.
	ResponseBufferSize int `json:"response_buffer_size" default:"1KiB" min:"1" max:"1MiB" unit:"bytes" v3:"http_health_check.response_buffer_size"`
	// Send is what "tcp" writes, and the body of the request of "http": {"string": "…"}, or bytes in hexadecimal. Absent: nothing.
	Send *Payload `json:"send"`
	// Receive is what has to be in what "tcp" reads, or in the body that "http" gets: each after the one before, other bytes
	// in between allowed. Empty: "tcp" only connects, each time anew.
	Receive []Payload `json:"receive" max:"64"`
	// RedisKey makes "redis" ask EXISTS instead of PING: a host that has this key is not well, which takes it out by
	// hand. Default: PING.
	RedisKey string `json:"redis_key" v3:"custom_health_check.redis.key"`
	// Authority is sent as the name of the host by "grpc". Default: the name of the cluster.
	Authority string `json:"authority" v3:"grpc_health_check.authority"`

	// EventLogPath is a file for one JSON line for each host that becomes well or unwell. Default: none.
	EventLogPath string `json:"event_log_path" v3:"event_logger.file.event_log_path"`
	// AlwaysLogHealthCheckFailures adds a line for each check that fails. Default false.
	AlwaysLogHealthCheckFailures bool `json:"always_log_health_check_failures" default:"false"`
	// AlwaysLogHealthCheckSuccess adds a line for each check that passes. Default false.
	AlwaysLogHealthCheckSuccess bool `json:"always_log_health_check_success" default:"false"`
}

// MovingAverageConfig makes a host well while enough of its last checks have passed.
type MovingAverageConfig struct {
	// Window is how many checks count. 1 to 64. Default 10.
	Window int `json:"window" default:"10" min:"1" max:"64"`
	// Threshold is the share of them that has to pass: below it the host is not well. Above 0 to 1. Default 0.5.
	Threshold float64 `json:"threshold" default:"0.5" min:"0.000001" max:"1"`
}

// HealthHeaderConfig is a field of a health check's request.
type HealthHeaderConfig struct {
	// Key is its name. Required.
	Key string `json:"key" required:"true" v3:"header.key"`
	// Value is its value.
	Value string `json:"value" v3:"header.value"`
	// AppendAction says what to do with a field that is there already. Default "append_if_exists_or_add".
	AppendAction string `json:"append_action" default:"append_if_exists_or_add" enum:"append_if_exists_or_add,add_if_absent,overwrite_if_exists_or_add,overwrite_if_exists"`
}

// StatusRange is a range of status codes.
type StatusRange struct {
	// Start is the first of them.
	Start int `json:"start" required:"true" min:"100" max:"599"`
	// End is the one behind the last.
	End int `json:"end" required:"true" min:"101" max:"600"`
}

// DecodeConfigString takes the short forms "200" and "200-299".
func (r *StatusRange) DecodeConfigString(s string) error {
	from, to, ranged := strings.Cut(s, "-")
	if !ranged {
		to = from
	}
	a, errA := strconv.Atoi(from)
	b, errB := strconv.Atoi(to)
	if errA != nil || errB != nil || a < 100 || b > 599 {
		return fmt.Errorf("%q is no range of status codes; write \"200\" or \"200-299\"", s)
	}
	r.Start, r.End = a, b+1
	return nil
}

// Validate reports an empty range.
func (r *StatusRange) Validate(report func(path, problem, hint string)) {
	if r.Start >= r.End {
		report("", fmt.Sprintf("the range from %d to below %d is empty", r.Start, r.End), "")
	}
}

// Has reports whether a status is in the range.
func (r StatusRange) Has(status int) bool { return status >= r.Start && status < r.End }

// NameMatcher says which names match. Exactly one of the fields is given.
type NameMatcher struct {
	// Exact is the whole name.
	Exact string `json:"exact"`
	// Prefix is what it starts with.
	Prefix string `json:"prefix"`
	// Suffix is what it ends with.
	Suffix string `json:"suffix"`
	// Contains is what is in it.
	Contains string `json:"contains"`
}

// Validate reports a matcher that says nothing, or several things.
func (m *NameMatcher) Validate(report func(path, problem, hint string)) {
	n := 0
	for _, s := range []string{m.Exact, m.Prefix, m.Suffix, m.Contains} {
		if s != "" {
			n++
		}
	}
	if n != 1 {
		report("", fmt.Sprintf("%d matches are given", n), "give one of exact, prefix, suffix and contains")
	}
}

// Matches reports whether a name is as wanted.
func (m *NameMatcher) Matches(name string) bool {
	switch {
	case m.Exact != "":
		return name == m.Exact
	case m.Prefix != "":
		return strings.HasPrefix(name, m.Prefix)
	case m.Suffix != "":
		return strings.HasSuffix(name, m.Suffix)
	}
	return strings.Contains(name, m.Contains)
}

// Payload is bytes to send or to look for. In a file a string is hexadecimal.
type Payload struct {
	// Hex is the bytes in hexadecimal.
	Hex string `json:"hex" v3:"text"`
	// String is the bytes as they are.
	String string `json:"string"`
}

// DecodeConfigString takes the short form: hexadecimal.
func (p *Payload) DecodeConfigString(s string) error {
	if _, err := hex.DecodeString(s); err != nil || s == "" {
		return fmt.Errorf("%q is not hexadecimal; write the bytes as \"50494e47\", or {\"string\": \"PING\"}", s)
	}
	p.Hex = s
	return nil
}

// Validate reports bytes that cannot be read, or none.
func (p *Payload) Validate(report func(path, problem, hint string)) {
	_, err := hex.DecodeString(p.Hex)
	switch {
	case err != nil:
		report("hex", fmt.Sprintf("%q is not hexadecimal", p.Hex), `write text as {"string": "…"}`)
	case p.Hex != "" && p.String != "":
		report("", "hex and string are both given", "keep one of them")
	case p.Hex == "" && p.String == "":
		report("", "no bytes are given", "")
	}
}

// Bytes returns the bytes.
func (p *Payload) Bytes() []byte {
	if p.Hex == "" {
		return []byte(p.String)
	}
	b, _ := hex.DecodeString(p.Hex) // Validate has seen it
	return b
}

// DefaultHealthCheckConfig returns the defaults of a type.
func DefaultHealthCheckConfig(kind string) HealthCheckConfig {
	return HealthCheckConfig{
		Type: kind, Interval: 5 * time.Second, Timeout: time.Second, UnhealthyThreshold: 3, HealthyThreshold: 2,
		NoTrafficInterval: time.Minute, ReuseConnection: true, Method: "GET", CodecClientType: "http1", ResponseBufferSize: 1 << 10,
	}
}

// HealthCheck returns how hosts are asked whether they are well, nil if they are not.
func (c *Config) HealthCheck() *HealthCheckConfig {
	if len(c.HealthChecks) == 0 {
		return nil
	}
	return &c.HealthChecks[0]
}

// SameChecks reports whether hosts are asked in the same way under o.
func (c *Config) SameChecks(o *Config) bool {
	a, b := c.HealthCheck(), o.HealthCheck()
	if a == nil || b == nil {
		return a == b
	}
	return reflect.DeepEqual(a, b) && c.Name == o.Name && equal(c.UpstreamBindConfig, o.UpstreamBindConfig) && c.SameTLS(o)
}

// newHostHealth returns the flags that a host begins with.
func (c *Config) newHostHealth() HealthFlag {
	switch {
	case c.HealthCheck() == nil:
		return 0
	case c.IgnoreNewHostsUntilFirstHC:
		return FailedActiveCheck | PendingActiveCheck
	}
	return FailedActiveCheck
}

// Validate reports what a type does not know, and what it cannot do without.
func (h *HealthCheckConfig) Validate(report func(path, problem, hint string)) {
	http, tcp, grpc := h.Type == "http", h.Type == "tcp", h.Type == "grpc"
	for _, f := range []struct {
		path  string
		given bool
		of    string
		ok    bool
	}{
		{"path", h.Path != "", `"http"`, http},
		{"host", h.Host != "", `"http"`, http},
		{"request_headers_to_add", len(h.RequestHeadersToAdd) > 0, `"http" and "grpc"`, http || grpc},
		{"request_headers_to_remove", len(h.RequestHeadersToRemove) > 0, `"http"`, http},
		{"expected_statuses", len(h.ExpectedStatuses) > 0, `"http"`, http},
		{"retriable_statuses", len(h.RetriableStatuses) > 0, `"http"`, http},
		{"service_name", h.ServiceName != "", `"http" and "grpc"`, http || grpc},
		{"service_name_matcher", h.ServiceNameMatcher != nil, `"http"`, http},
		{"send", h.Send != nil, `"tcp" and "http"`, http || tcp},
		{"receive", len(h.Receive) > 0, `"tcp" and "http"`, http || tcp},
		{"redis_key", h.RedisKey != "", `"redis"`, h.Type == "redis"},
		{"authority", h.Authority != "", `"grpc"`, grpc},
	} {
		if f.given && !f.ok {
			report(f.path, fmt.Sprintf("a check of type %q does not use it", h.Type), "it is for "+f.of)
		}
	}
	if http {
		h.checkHTTP(report)
	}
	for i := range h.RequestHeadersToAdd {
		f := &h.RequestHeadersToAdd[i]
		path := fmt.Sprintf("request_headers_to_add[%d]", i)
		checkCheckField(path+".key", f.Key, report)
		if strings.ContainsAny(f.Value, "\r\n\x00") {
			report(path+".value", "no value of a field has a line end", "")
		}
	}
	if tcp && h.Send != nil && len(h.Receive) == 0 {
		report("send", "without receive nothing is sent: the check only connects", "give receive")
	}
}

// checkHTTP reports what "http" cannot do without.
func (h *HealthCheckConfig) checkHTTP(report func(path, problem, hint string)) {
	switch {
	case h.Path == "":
		report("path", "is missing", `such as "/healthz"`)
	case h.Path[0] != '/' || strings.ContainsFunc(h.Path, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		report("path", fmt.Sprintf("%q is no path", h.Path), "it starts with a slash and has no spaces")
	}
	if strings.ContainsFunc(h.Host, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		report("host", fmt.Sprintf("%q is no name of a host", h.Host), "")
	}
	if h.ServiceName != "" && h.ServiceNameMatcher != nil {
		report("service_name", "service_name and service_name_matcher are both given", "keep one of them")
	}
	if h.Send != nil && (h.Method == "GET" || h.Method == "HEAD" || h.Method == "TRACE") {
		report("send", fmt.Sprintf("a request of method %s has no body", h.Method), `write "method": "POST"`)
	}
}

// checkCheckField reports a name that a check cannot send.
func checkCheckField(path, name string, report func(path, problem, hint string)) {
	switch strings.ToLower(name) {
	case "":
	case "host", "content-length", "transfer-encoding", "connection", "upgrade", "keep-alive", "te":
		report(path, fmt.Sprintf("%q frames the message, or names the host", name), "")
	default:
		if !ascii.All([]byte(name), ascii.Token) {
			report(path, fmt.Sprintf("%q is not the name of a field", name), "")
		}
	}
}

// checkHealth reports checks that no host can pass.
func (c *Config) checkHealth(report func(path, problem, hint string)) {
	h := c.HealthCheck()
	if h == nil {
		if c.IgnoreNewHostsUntilFirstHC {
			report("ignore_new_hosts_until_first_hc", "no check would ever end their being new", "give health_checks")
		}
		return
	}
	if h.Port == 0 {
		return
	}
	for i := range c.Hosts {
		if a, err := engine.ParseAddr(c.Hosts[i].Address); err == nil && a.IsUnix() {
			report("health_checks[0].port", fmt.Sprintf("hosts[%d] is a unix socket and has no port", i), "")
			return
		}
	}
}
