package l7

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"millrace/codec"
	"millrace/codec/ascii"
	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/accesslog"
)

// HealthCheckConfig configures the "health_check" filter, which answers active health checks for the
// process, and tells whoever checks it that it drains.
type HealthCheckConfig struct {
	// PassThroughMode forwards health checks instead of answering them. A process that fails its health checks
	// answers them with 503 all the same. Default: false.
	PassThroughMode bool `json:"pass_through_mode"`
	// Path is the short form of one matcher: requests with this path, whatever their query, are health checks.
	// One of path and headers is given.
	Path string `json:"path"`
	// Headers are what a request must have to be a health check: all of them.
	Headers []HealthCheckHeader `json:"headers" max:"64"`
	// CacheTime is how long the upstream's answer to a health check serves for later ones. Only with pass_through_mode.
	// Default: 0s, no cache.
	CacheTime time.Duration `json:"cache_time"`
	// ClusterMinHealthyPercentages names clusters and the percentage of their hosts, 0 to 100, that must be fit
	// to serve. If one has less the answer is 503. Not with pass_through_mode.
	ClusterMinHealthyPercentages map[string]float64 `json:"cluster_min_healthy_percentages" unit:"percent"`
}

// HealthCheckHeader matches one field of a request. At most one of exact, prefix and present is given; with none of
// them the field must be present.
type HealthCheckHeader struct {
	// Name of the field, in any case, or :method, :path, :authority.
	Name string `json:"name" required:"true"`
	// Exact is the whole value.
	Exact *string `json:"exact" v3:"string_match.exact"`
	// Prefix is what the value starts with.
	Prefix *string `json:"prefix" v3:"string_match.prefix"`
	// Present says whether the field has to be there or has to be absent.
	Present *bool `json:"present" v3:"present_match"`
	// InvertMatch turns the result around. Default: false.
	InvertMatch bool `json:"invert_match"`
}

// Validate reports fields that exclude one another.
func (c *HealthCheckConfig) Validate(report func(path, problem, hint string)) {
	switch {
	case c.Path != "" && len(c.Headers) > 0:
		report("path", "path and headers are both given",
			`write the path as one of headers: {"name": ":path", "exact": …}`)
	case c.Path == "" && len(c.Headers) == 0:
		report("", "nothing tells a health check from other requests", `give "path", such as "/healthz"`)
	case c.Path != "" && !strings.HasPrefix(c.Path, "/"):
		report("path", fmt.Sprintf("path %q does not start with a slash", c.Path), fmt.Sprintf("write %q", "/"+c.Path))
	}
	if c.PassThroughMode && len(c.ClusterMinHealthyPercentages) > 0 {
		report("cluster_min_healthy_percentages", "with pass_through_mode the upstream decides", "keep one of them")
	}
	if !c.PassThroughMode && c.CacheTime > 0 {
		report("cache_time", "without pass_through_mode there is nothing to cache",
			"set pass_through_mode, or leave cache_time out")
	}
}

// Validate reports a bad name and matches that exclude one another.
func (c *HealthCheckHeader) Validate(report func(path, problem, hint string)) {
	name := strings.ToLower(c.Name)
	pseudo := name == ":method" || name == ":path" || name == ":authority"
	if c.Name != "" && !pseudo && !ascii.All([]byte(c.Name), ascii.Token) {
		report("name", fmt.Sprintf("%q is not the name of a field", c.Name),
			"write the name of a field, or :method, :path or :authority")
	}
	n := 0
	for _, given := range []bool{c.Exact != nil, c.Prefix != nil, c.Present != nil} {
		if given {
			n++
		}
	}
	if n > 1 {
		report("", fmt.Sprintf("%d matches are given", n), "keep one of exact, prefix and present")
	}
}

// References reports the clusters whose health is asked for.
func (c *HealthCheckConfig) References(report func(path, kind, name string)) {
	for _, name := range slices.Sorted(maps.Keys(c.ClusterMinHealthyPercentages)) {
		report("cluster_min_healthy_percentages", "cluster", name)
	}
}

// healthCheck answers health checks.
type healthCheck struct {
	health      filters.Health
	passThrough bool
	path        []byte // of the short form, or nil
	headers     []healthCheckMatch
	clusters    []healthCheckCluster // sorted by name, so that the answer does not depend on a map's order
	cluster     []byte               // of this process
	stats       *healthCheckStats

	cacheTime      int64 // nanoseconds; 0 is no cache
	cachedStatus   int   // 0 is none
	cachedDegraded bool
	cachedUntil    int64 // on the loop's clock
}

type healthCheckMatch struct {
	name     string // in lower case
	value    []byte
	prefix   bool // the value need only start so
	presence bool // any value
	want     bool
}

type healthCheckCluster struct {
	name   string
	minPct float64
}

// healthCheckStats counts one connection manager on one loop.
type healthCheckStats struct {
	RequestTotal     stats.Counter `stat:"request_total" help:"health checks received"`
	Failed           stats.Counter `stat:"failed" help:"health checks answered with anything but 200"`
	OK               stats.Counter `stat:"ok" help:"health checks answered with 200"`
	CachedResponse   stats.Counter `stat:"cached_response" help:"health checks answered from the cache"`
	ClusterNotFound  stats.Counter `stat:"failed_cluster_not_found" help:"health checks that failed for an unknown cluster"`
	ClusterEmpty     stats.Counter `stat:"failed_cluster_empty" help:"health checks that failed for a cluster without hosts"`
	ClusterUnhealthy stats.Counter `stat:"failed_cluster_unhealthy" help:"health checks that failed for a cluster with too few healthy hosts"`
	Degraded         stats.Counter `stat:"degraded" help:"health checks answered from the cache with x-envoy-degraded"`
}

func newHealthCheck(cfg *HealthCheckConfig, env *filters.Env) (any, error) {
	f := &healthCheck{
		health: env.Health, passThrough: cfg.PassThroughMode, cacheTime: int64(cfg.CacheTime),
		cluster: []byte(env.Health.ServiceCluster()),
	}
	if cfg.Path != "" {
		f.path = []byte(cfg.Path)
	}
	for i := range cfg.Headers {
		f.headers = append(f.headers, newHealthCheckMatch(&cfg.Headers[i]))
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.ClusterMinHealthyPercentages)) {
		f.clusters = append(f.clusters, healthCheckCluster{name, cfg.ClusterMinHealthyPercentages[name]})
	}
	f.stats = stats.Register[healthCheckStats](env.Stats, scopeOf(env, "health_check"))
	return f, nil
}

func newHealthCheckMatch(c *HealthCheckHeader) healthCheckMatch {
	m := healthCheckMatch{name: strings.ToLower(c.Name), want: !c.InvertMatch}
	switch {
	case c.Exact != nil:
		m.value = []byte(*c.Exact)
	case c.Prefix != nil:
		m.value, m.prefix = []byte(*c.Prefix), true
	default:
		m.presence = true
		if c.Present != nil && !*c.Present {
			m.want = !m.want
		}
	}
	return m
}

// What the slot of a health check says.
const (
	healthCheckPassed   = 1 // it was passed on
	healthCheckDegraded = 2 // it is answered for an upstream that called itself degraded
)

// OnRequestHead implements filters.RequestHeadFilter.
func (f *healthCheck) OnRequestHead(s *filters.Stream, _ bool) filters.Verdict {
	if !f.matches(&s.Request) {
		return filters.Continue
	}
	s.Info.HealthCheck = true
	f.stats.RequestTotal.Inc()
	switch {
	case f.health.Failed():
		return f.answer(s, 503, "health_check_failed")
	case !f.passThrough:
		status, details := f.judge()
		return f.answer(s, status, details)
	case f.cachedStatus != 0 && s.Now() < f.cachedUntil:
		f.stats.CachedResponse.Inc()
		if f.cachedDegraded {
			f.stats.Degraded.Inc()
			s.Slot().N = healthCheckDegraded
		}
		return f.answer(s, f.cachedStatus, "health_check_cached")
	}
	s.Slot().N = healthCheckPassed
	return filters.Continue
}

// judge tells the status of a process that does not fail by itself.
func (f *healthCheck) judge() (status int, details string) {
	for i := range f.clusters {
		c := &f.clusters[i]
		healthy, total, ok := f.health.ClusterHealth(c.name)
		switch {
		case !ok:
			f.stats.ClusterNotFound.Inc()
			return 503, "health_check_no_cluster"
		case total == 0 && c.minPct > 0:
			f.stats.ClusterEmpty.Inc()
			return 503, "health_check_cluster_empty"
		case 100*float64(healthy) < float64(total)*c.minPct:
			f.stats.ClusterUnhealthy.Inc()
			return 503, "health_check_cluster_unhealthy"
		}
	}
	if len(f.clusters) > 0 {
		return 200, "health_check_cluster_healthy"
	}
	return 200, "health_check_ok"
}

func (f *healthCheck) answer(s *filters.Stream, status int, details string) filters.Verdict {
	reply := filters.LocalReply{Status: status, Details: details}
	if status/100 == 2 {
		f.stats.OK.Inc()
	} else {
		f.stats.Failed.Inc()
		reply.Flags = accesslog.FlagFailedLocalHealthCheck
	}
	return s.ReplyWith(reply)
}

// healthCheckDegradedField has no value: that it is there says it.
const healthCheckDegradedField = "x-envoy-degraded"

var healthCheckTrue = []byte("true")

// OnResponseHead implements filters.ResponseHeadFilter.
func (f *healthCheck) OnResponseHead(s *filters.Stream, _ bool) filters.Verdict {
	if f.health.Failed() {
		s.Response.Set(codec.FieldXEnvoyImmediateHealthCheckFail, healthCheckTrue)
	}
	if !s.Info.HealthCheck {
		return filters.Continue
	}
	if len(f.cluster) > 0 {
		s.Response.Set(codec.FieldXEnvoyUpstreamHealthcheckedCluster, f.cluster)
	}
	switch n := s.Slot().N; {
	case n == healthCheckDegraded:
		s.Response.SetString(healthCheckDegradedField, "")
	case n == healthCheckPassed && f.cacheTime > 0:
		f.cachedStatus, f.cachedUntil = s.Response.Status, s.Now()+f.cacheTime
		f.cachedDegraded = s.Response.Lookup(healthCheckDegradedField) != nil
	}
	return filters.Continue
}

// matches reports whether a request is a health check.
func (f *healthCheck) matches(h *codec.RequestHead) bool {
	if f.path != nil {
		path := h.Path()
		if i := bytes.IndexByte(path, '?'); i >= 0 {
			path = path[:i]
		}
		return bytes.Equal(path, f.path)
	}
	for i := range f.headers {
		if !f.headers[i].matches(h) {
			return false
		}
	}
	return true
}

// matches reports whether the field is as wanted. As in Envoy, an absent field has no value,
// so it matches no value, inverted or not.
func (m *healthCheckMatch) matches(h *codec.RequestHead) bool {
	v := m.of(h)
	switch {
	case m.presence:
		return (v != nil) == m.want
	case v == nil:
		return false
	case m.prefix:
		return bytes.HasPrefix(v, m.value) == m.want
	}
	return bytes.Equal(v, m.value) == m.want
}

func (m *healthCheckMatch) of(h *codec.RequestHead) []byte {
	switch m.name {
	case ":method":
		return h.MethodBytes()
	case ":path":
		return h.Path()
	case ":authority":
		return h.Authority()
	}
	return h.Lookup(m.name)
}
