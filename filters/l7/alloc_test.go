//go:build !race

package l7

import (
	"testing"

	"millrace/codec"
	"millrace/filters"
	"millrace/filters/route"
)

// TestAllocs: a request costs these filters no allocation.
func TestAllocs(t *testing.T) { // AllocsPerRun does not go with t.Parallel
	for _, tt := range []struct {
		name string
		cfg  any
	}{
		{"health_check", &HealthCheckConfig{Path: "/healthz"}},
		{"health_check", &HealthCheckConfig{Headers: []HealthCheckHeader{{Name: "x-checker", Exact: ptr("1")}}}},
		{"cors", &CORSConfig{AllowOriginStringMatch: []CORSOrigin{{SafeRegex: ptr(`https://.*\.example`)}}, AllowCredentials: true, ExposeHeaders: "x-total"}},
		{"cors", &CORSConfig{AllowOriginStringMatch: []CORSOrigin{{Exact: ptr("*")}}, ExposeHeaders: "x-total"}},
		{"adaptive_concurrency", gradientConfig()},
	} {
		f, filter := newFake(t, tt.name, tt.cfg, &fakeHealth{service: "edge"})
		s := f.request("GET /items", "Origin: https://a-rather-long-name.of.a.shop.example", "X-Other: 1")
		s.Route = &route.Route{}
		run := func() {
			filter.(filters.RequestHeadFilter).OnRequestHead(s, true)
			s.Response.Reset()
			s.Response.Status = 200
			s.Response.Add(codec.FieldServer, []byte("x"))
			filter.(filters.ResponseHeadFilter).OnResponseHead(s, true)
			s.Info.UpstreamLastRx = s.Now()
			if d, ok := filter.(filters.Destroyer); ok {
				d.OnDestroy(s)
			}
		}
		run()
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s allocates %v times for a request; want 0", tt.name, n)
		}
	}
}
