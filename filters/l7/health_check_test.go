package l7

import (
	"testing"
	"time"

	"millrace/filters"
)

func TestHealthCheckPlain(t *testing.T) {
	t.Parallel()
	health := &fakeHealth{service: "edge-proxy"}
	f, filter := newFake(t, "health_check", &HealthCheckConfig{Path: "/healthz"}, health)
	hc := filter.(*healthCheck)

	s := f.request("GET /healthz?full=1")
	s.Pass(filters.Request, true)
	f.want("reply 200 health_check_ok ", "response 200")
	f.wantResponse("x-envoy-upstream-healthchecked-cluster", "edge-proxy")
	f.wantResponse("x-envoy-immediate-health-check-fail", "")
	if !s.Info.HealthCheck {
		t.Error("the stream is not marked as a health check")
	}

	s = f.request("GET /healthz/more")
	s.Pass(filters.Request, true)
	f.want("request head length=-1 chunked=false end=true")
	f.respond(200)
	f.want("response 200")
	f.wantResponse("x-envoy-upstream-healthchecked-cluster", "")
	if s.Info.HealthCheck {
		t.Error("an ordinary stream is marked as a health check")
	}

	health.failed = true
	f.request("GET /healthz").Pass(filters.Request, true)
	f.want("reply 503 health_check_failed LH", "response 503")
	f.wantResponse("x-envoy-immediate-health-check-fail", "true")
	f.request("GET /").Pass(filters.Request, true)
	f.respond(200)
	f.want("request head length=-1 chunked=false end=true", "response 200")
	f.wantResponse("x-envoy-immediate-health-check-fail", "true")

	if total, ok, failed := hc.stats.RequestTotal.Load(), hc.stats.OK.Load(), hc.stats.Failed.Load(); total != 2 || ok != 1 || failed != 1 {
		t.Errorf("request_total %d, ok %d, failed %d; want 2, 1, 1", total, ok, failed)
	}
}

func TestHealthCheckClusters(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		clusters map[string][2]int
		want     map[string]float64
		status   string
		counter  func(*healthCheckStats) uint64
	}{
		{"healthy", map[string][2]int{"a": {1, 2}}, map[string]float64{"a": 50}, "200 health_check_cluster_healthy ", func(s *healthCheckStats) uint64 { return s.OK.Load() }},
		{"unhealthy", map[string][2]int{"a": {1, 2}}, map[string]float64{"a": 50.5}, "503 health_check_cluster_unhealthy LH", func(s *healthCheckStats) uint64 { return s.ClusterUnhealthy.Load() }},
		{"empty", map[string][2]int{"a": {}}, map[string]float64{"a": 1}, "503 health_check_cluster_empty LH", func(s *healthCheckStats) uint64 { return s.ClusterEmpty.Load() }},
		{"empty, none wanted", map[string][2]int{"a": {}}, map[string]float64{"a": 0}, "200 health_check_cluster_healthy ", func(s *healthCheckStats) uint64 { return s.OK.Load() }},
		{"unknown", nil, map[string]float64{"a": 0}, "503 health_check_no_cluster LH", func(s *healthCheckStats) uint64 { return s.ClusterNotFound.Load() }},
		{"one of two", map[string][2]int{"a": {2, 2}, "b": {0, 2}}, map[string]float64{"a": 1, "b": 1}, "503 health_check_cluster_unhealthy LH", func(s *healthCheckStats) uint64 { return s.Failed.Load() }},
	} {
		cfg := &HealthCheckConfig{Path: "/healthz", ClusterMinHealthyPercentages: tt.want}
		f, filter := newFake(t, "health_check", cfg, &fakeHealth{clusters: tt.clusters})
		f.request("GET /healthz").Pass(filters.Request, true)
		f.want("reply "+tt.status, "response "+tt.status[:3])
		if n := tt.counter(filter.(*healthCheck).stats); n != 1 {
			t.Errorf("%s: counter = %d; want 1", tt.name, n)
		}
	}
}

func TestHealthCheckHeaders(t *testing.T) {
	t.Parallel()
	f, _ := newFake(t, "health_check", &HealthCheckConfig{Headers: []HealthCheckHeader{
		{Name: ":path", Prefix: ptr("/health")},
		{Name: ":Method", Exact: ptr("GET")},
		{Name: "X-Checker"},
		{Name: "x-user", Present: ptr(false)},
		{Name: ":authority", Exact: ptr("public"), InvertMatch: true},
	}}, &fakeHealth{})
	for _, tt := range []struct {
		line   string
		fields []string
		want   bool
	}{
		{"GET /healthz", []string{"Host: internal", "x-checker: 1"}, true},
		{"HEAD /healthz", []string{"Host: internal", "x-checker: 1"}, false},
		{"GET /other", []string{"Host: internal", "x-checker: 1"}, false},
		{"GET /healthz", []string{"Host: internal"}, false},
		{"GET /healthz", []string{"Host: internal", "x-checker: 1", "x-user: 1"}, false},
		{"GET /healthz", []string{"Host: public", "x-checker: 1"}, false},
		{"GET /healthz", []string{"x-checker: 1"}, false}, // no authority, so none other than "public"
	} {
		s := f.request(tt.line, tt.fields...)
		s.Pass(filters.Request, true)
		if s.Info.HealthCheck != tt.want {
			t.Errorf("%s %q is a health check: %v; want %v", tt.line, tt.fields, s.Info.HealthCheck, tt.want)
		}
	}
}

func TestHealthCheckPassThrough(t *testing.T) {
	t.Parallel()
	health := &fakeHealth{}
	f, filter := newFake(t, "health_check", &HealthCheckConfig{Path: "/healthz", PassThroughMode: true, CacheTime: time.Second}, health)
	passed := "request head length=-1 chunked=false end=true"
	f.request("GET /healthz").Pass(filters.Request, true)
	f.respond(204)
	f.want(passed, "response 204")

	f.request("GET /healthz").Pass(filters.Request, true)
	f.want("reply 204 health_check_cached ", "response 204")

	f.clock += int64(time.Second)
	if err := f.loop.Turn(0); err != nil {
		t.Fatal(err)
	}
	f.request("GET /healthz").Pass(filters.Request, true)
	f.respond(500)
	f.want(passed, "response 500")
	f.request("GET /healthz").Pass(filters.Request, true)
	f.want("reply 500 health_check_cached LH", "response 500")

	health.failed = true // whatever is cached
	f.request("GET /healthz").Pass(filters.Request, true)
	f.want("reply 503 health_check_failed LH", "response 503")
	health.failed = false
	f.request("GET /healthz").Pass(filters.Request, true)
	f.want("reply 500 health_check_cached LH", "response 500")

	if n := filter.(*healthCheck).stats.CachedResponse.Load(); n != 3 {
		t.Errorf("cached_response = %d; want 3", n)
	}

	f.clock += int64(time.Second)
	if err := f.loop.Turn(0); err != nil {
		t.Fatal(err)
	}
	s := f.request("GET /healthz")
	s.Pass(filters.Request, true)
	s.Response.Reset()
	s.Response.Status = 200
	s.Response.SetString("x-envoy-degraded", "1")
	s.Pass(filters.Response, true)
	f.want(passed, "response 200")
	f.request("GET /healthz").Pass(filters.Request, true)
	f.want("reply 200 health_check_cached ", "response 200")
	if n := filter.(*healthCheck).stats.Degraded.Load(); n != 1 || f.stream.Response.Lookup("x-envoy-degraded") == nil {
		t.Errorf("degraded = %d, answer with x-envoy-degraded %t; want 1 and true", n, f.stream.Response.Lookup("x-envoy-degraded") != nil)
	}
}

func TestHealthCheckValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cfg  HealthCheckConfig
		want string
	}{
		{HealthCheckConfig{Path: "/x"}, ""},
		{HealthCheckConfig{}, ": nothing tells a health check from other requests"},
		{HealthCheckConfig{Path: "x"}, `path: path "x" does not start with a slash`},
		{HealthCheckConfig{Path: "/x", Headers: []HealthCheckHeader{{Name: "a"}}}, "path: path and headers are both given"},
		{HealthCheckConfig{Path: "/x", CacheTime: 1}, "cache_time: without pass_through_mode there is nothing to cache"},
		{HealthCheckConfig{Path: "/x", PassThroughMode: true, ClusterMinHealthyPercentages: map[string]float64{"a": 1}},
			"cluster_min_healthy_percentages: with pass_through_mode the upstream decides"},
	} {
		if got := problems(tt.cfg.Validate); got != tt.want {
			t.Errorf("Validate(%+v) = %q; want %q", tt.cfg, got, tt.want)
		}
	}
	bad := HealthCheckHeader{Name: "a b", Exact: ptr(""), Prefix: ptr("")}
	if got, want := problems(bad.Validate), "name: \"a b\" is not the name of a field\n: 2 matches are given"; got != want {
		t.Errorf("Validate = %q; want %q", got, want)
	}
	refs := ""
	(&HealthCheckConfig{ClusterMinHealthyPercentages: map[string]float64{"b": 1, "a": 1}}).References(func(_, kind, name string) { refs += kind + " " + name + " " })
	if refs != "cluster a cluster b " {
		t.Errorf("References = %q", refs)
	}
}
