package upstream

import (
	"fmt"
	"strings"
	"testing"

	"millrace/engine"
)

// destinationCluster builds a cluster of type "original_dst" in place of prev, which may be nil.
func destinationCluster(t *testing.T, prev *Cluster, max uint32) *Cluster {
	t.Helper()
	cfg := DefaultConfig("dst")
	cfg.Type, cfg.LbPolicy, cfg.OriginalDst.MaxHosts = OriginalDst, ClusterProvided, max
	c, err := New(1, &cfg, prev)
	if err != nil {
		t.Fatal(err)
	}
	c.Apply()
	return c
}

func destination(t *testing.T, i int) engine.Addr {
	t.Helper()
	a, err := engine.ParseAddr(fmt.Sprintf("10.%d.%d.%d:80", i>>16, i>>8&255, i&255))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A host is made once for each address, can be used before it is listed, and goes when nobody has used it between two
// sweeps.
func TestDestinations(t *testing.T) {
	t.Parallel()
	c := destinationCluster(t, nil, 4)
	d, told := c.Destinations, 0
	d.Added = func() { told++ }
	a, b := d.Find(destination(t, 1)), d.Find(destination(t, 2))
	if a == nil || b == nil || a == b || d.Find(destination(t, 1)) != a || told != 2 {
		t.Fatalf("hosts %p and %p, told %d times", a, b, told)
	}
	if len(c.Hosts()) != 0 {
		t.Fatalf("%d hosts before Rebuild", len(c.Hosts()))
	}
	before := c.HostSet().Membership
	c.Rebuild()
	if hs := c.HostSet(); !hs.Has(a) || !hs.Has(b) || hs.Membership != before+1 || hs.Healthy() != 2 {
		t.Errorf("after Rebuild: %v, membership %d, want %d", hs.Hosts, hs.Membership, before+1)
	}
	if c.Rebuild(); c.HostSet().Membership != before+1 {
		t.Error("a rebuild without news changes the membership")
	}
	if d.Sweep() {
		t.Error("hosts that were used since the last sweep are gone")
	}
	a.Touch()
	b.RqActive.Add(1)
	if d.Sweep() {
		t.Error("a host that is used, or carries something, is gone")
	}
	b.RqActive.Add(-1)
	if !d.Sweep() || !a.Gone() || !b.Gone() {
		t.Errorf("after two sweeps: gone %v and %v", a.Gone(), b.Gone())
	}
	if c.Rebuild(); len(c.Hosts()) != 0 {
		t.Errorf("%d hosts left", len(c.Hosts()))
	}
	if again := d.Find(destination(t, 1)); again == a || again.Slot() == a.Slot() || again.Slot() == b.Slot() {
		t.Errorf("the new host has slot %d, which loops may still use (%d, %d)", again.Slot(), a.Slot(), b.Slot())
	}
	d.Sweep()
	if third := d.Find(destination(t, 3)); third.Slot() > 1 {
		t.Errorf("slot %d, though 0 and 1 are free by now", third.Slot())
	}
}

// There are never more than max_hosts, and slots do not grow without bound.
func TestDestinationsBounded(t *testing.T) {
	t.Parallel()
	const most = 100
	c := destinationCluster(t, nil, most)
	d := c.Destinations
	for round := range 100 {
		for i := range 3 * most {
			if h := d.Find(destination(t, round*3*most+i)); (h != nil) != (i < most) {
				t.Fatalf("round %d, destination %d: host %v", round, i, h)
			}
		}
		c.Rebuild()
		if n := len(c.Hosts()); n != most {
			t.Fatalf("round %d: %d hosts", round, n)
		}
		d.Sweep()
		d.Sweep()
		c.Rebuild()
		if n := len(d.slots); n > 2*most {
			t.Fatalf("round %d: %d slots", round, n)
		}
	}
	if len(d.hosts)+len(c.Hosts()) != 0 {
		t.Errorf("%d hosts left", len(d.hosts))
	}
}

// Destinations outlive a reload, one that changes max_hosts too, and not a change of type.
func TestDestinationsReload(t *testing.T) {
	t.Parallel()
	a := destinationCluster(t, nil, 2)
	h := a.Destinations.Find(destination(t, 1))
	b := destinationCluster(t, a, 1)
	if b.Destinations.Find(destination(t, 1)) != h || !b.HostSet().Has(h) {
		t.Error("the host is another one after a reload")
	}
	if b.Destinations.Find(destination(t, 2)) != nil {
		t.Error("the new max_hosts does not hold")
	}
	c := newTestCluster(t, b, 80)
	if c.Destinations != nil || len(c.Hosts()) != 1 {
		t.Errorf("a static cluster has destinations, or hosts %v", c.Hosts())
	}
	if d := destinationCluster(t, c, 1); len(d.Hosts()) != 0 {
		t.Errorf("hosts of a static cluster are destinations: %v", d.Hosts())
	}
}

func TestOriginalDstConfig(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		edit func(*Config)
		want string // "" for none
	}{
		{"plain", func(*Config) {}, ""},
		{"by header", func(c *Config) { c.OriginalDst.UseHTTPHeader, c.OriginalDst.HTTPHeaderName = true, "x-to" }, ""},
		{"policy", func(c *Config) { c.LbPolicy = "random" }, "lb_policy"},
		{"hosts", func(c *Config) { c.Hosts = []HostConfig{{Address: "10.0.0.1:80"}} }, "hosts"},
		{"checks", func(c *Config) { c.HealthChecks = make([]HealthCheckConfig, 1) }, "health_checks"},
		{"outliers", func(c *Config) { c.OutlierDetection = &OutlierConfig{} }, "outlier_detection"},
		{"a name that is none", func(c *Config) { c.OriginalDst.UseHTTPHeader, c.OriginalDst.HTTPHeaderName = true, "x to" },
			"original_dst_lb_config.http_header_name"},
		{"a name for nothing", func(c *Config) { c.OriginalDst.HTTPHeaderName = "x-to" }, "original_dst_lb_config.http_header_name"},
		{"static, but provided", func(c *Config) { c.Type = Static }, "lb_policy"},
		{"static, but configured", func(c *Config) { c.Type, c.LbPolicy, c.OriginalDst.MaxHosts = Static, "random", 7 }, "original_dst_lb_config"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := DefaultConfig("dst")
			cfg.Type, cfg.LbPolicy = OriginalDst, ClusterProvided
			tt.edit(&cfg)
			var got []string
			cfg.Validate(func(path, problem, hint string) { got = append(got, path) })
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("problems at %q, want %q", s, tt.want)
			}
		})
	}
}
