package upstream

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"

	"millrace/engine"
)

// zoneNames are the zones of a test; the proxy is in the first.
var zoneNames = []*Locality{{Zone: "a"}, {Zone: "b"}, {Zone: "c"}, {Zone: "d"}, {Zone: "e"}}

// zoneHosts is one zone of a test.
type zoneHosts struct {
	healthy, failed int
	weight          uint32 // of each host; 0 is 1
}

// zoneMembers returns the hosts of zones.
func zoneMembers(zones []zoneHosts) (list []member) {
	for i, z := range zones {
		for n := range z.healthy + z.failed {
			h := newHost(engine.Addr{}, 1, 0)
			h.SetHealth(FailedActiveCheck, n >= z.healthy)
			list = append(list, member{host: h, weight: max(z.weight, 1), locality: zoneNames[i]})
		}
	}
	return list
}

// healthyZones returns zones of healthy hosts.
func healthyZones(counts ...int) []zoneHosts {
	zones := make([]zoneHosts, len(counts))
	for i, n := range counts {
		zones[i].healthy = n
	}
	return zones
}

// zoneCluster is a cluster and the local one beside it.
type zoneCluster struct {
	*Cluster
	local *Cluster
}

// newZoneCluster returns a cluster with hosts in zones, and proxies in others.
func newZoneCluster(proxies, hosts []zoneHosts, edit func(*Config)) *zoneCluster {
	localCfg, cfg := DefaultConfig("proxies"), DefaultConfig("c")
	z := DefaultZoneAwareConfig()
	cfg.ZoneAware = &z
	if edit != nil {
		edit(&cfg)
	}
	c := &zoneCluster{
		&Cluster{Name: "c", Config: &cfg, Local: NewLocal("proxies", *zoneNames[0]), members: zoneMembers(hosts)},
		&Cluster{Name: "proxies", Config: &localCfg, members: zoneMembers(proxies)},
	}
	c.Local.Update(c.local)
	c.Rebuild()
	return c
}

// plan describes what the cluster makes of zones.
func (c *zoneCluster) plan() string {
	hs := c.HostSet()
	switch p := hs.plan; {
	case hs.zones == nil:
		return "one zone"
	case p == nil && hs.zones.note == zoneTooSmall:
		return "too small"
	case p == nil && hs.zones.note == zoneLocalNotOK:
		return "local not ok"
	case p == nil:
		return "none"
	case p.panics:
		return "local panic"
	case p.direct:
		return "direct"
	default:
		return fmt.Sprint(p.sampled, " ", p.residual)
	}
}

// TestZonePlan has worked figures of each case.
func TestZonePlan(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name           string
		proxies, hosts []zoneHosts
		edit           func(*Config)
		want           string
	}{
		{"equal", healthyZones(1, 1, 1), healthyZones(2, 2, 2), nil, "direct"},
		{"more hosts than proxies here", healthyZones(1, 3), healthyZones(4, 4), nil, "direct"},
		// Proxies 40, 40, 20 %, hosts 25, 50, 25 %: 25/40 stay; b takes 10 % more, c 5 %.
		{"40 40 20 to 25 50 25", healthyZones(2, 2, 1), healthyZones(5, 10, 5), nil, "6250 [0 1000 1500]"},
		// Proxies a third each, hosts 20, 40, 40 %: 2000/3333 stay.
		{"a host is gone", healthyZones(1, 1, 1), []zoneHosts{{healthy: 1, failed: 1}, {healthy: 2}, {healthy: 2}}, func(c *Config) { c.ZoneAware.MinClusterSize = 5 }, "6000 [0 667 1334]"},
		{"no host here", healthyZones(2, 1, 1), healthyZones(0, 3, 3), nil, "0 [2500 5000]"},
		{"no healthy host here", healthyZones(2, 1, 1), []zoneHosts{{failed: 2}, {healthy: 3}, {healthy: 3}}, nil, "0 [2500 5000]"},
		{"all the others are ill", healthyZones(1, 1), []zoneHosts{{healthy: 6}, {failed: 6}}, nil, "direct"},
		{"nobody else has proxies", healthyZones(4, 0), healthyZones(4, 4), nil, "none"},
		{"no proxies here", healthyZones(0, 2, 2), healthyZones(3, 3, 3), nil, "local not ok"},
		{"no proxies known", nil, healthyZones(3, 3), nil, "none"},
		{"no proxies known, forced", nil, healthyZones(3, 3), func(c *Config) { c.ZoneAware.ForceLocalZone = &ForceLocalZoneConfig{MinSize: 1} }, "local not ok"},
		{"five hosts", healthyZones(1, 1), healthyZones(3, 2), nil, "too small"},
		{"five healthy hosts", healthyZones(1, 1), []zoneHosts{{healthy: 3, failed: 4}, {healthy: 2}}, nil, "too small"},
		{"one zone", healthyZones(1, 1), healthyZones(9), nil, "one zone"},
		{"proxies in panic", []zoneHosts{{healthy: 1, failed: 3}, {healthy: 1, failed: 2}}, healthyZones(3, 3), nil, "local panic"},
		{"proxies in panic that nobody minds", []zoneHosts{{healthy: 1, failed: 3}, {healthy: 1, failed: 2}}, healthyZones(3, 3), func(c *Config) { c.HealthyPanicThreshold = 0 }, "direct"},
		{"forced", healthyZones(9, 1), healthyZones(2, 9), func(c *Config) { c.ZoneAware.ForceLocalZone = &ForceLocalZoneConfig{MinSize: 2} }, "direct"},
		{"forced with one zone of proxies", healthyZones(9), healthyZones(2, 9), func(c *Config) { c.ZoneAware.ForceLocalZone = &ForceLocalZoneConfig{MinSize: 2} }, "direct"},
		// 18 and 81 %: 1818 of 9000 stay.
		{"too small to be forced", healthyZones(9, 1), healthyZones(2, 9), func(c *Config) { c.ZoneAware.ForceLocalZone = &ForceLocalZoneConfig{MinSize: 3} }, "2020 [0 7181]"},
		{"by weight", healthyZones(1, 1), []zoneHosts{{healthy: 3, weight: 1}, {healthy: 3, weight: 3}}, func(c *Config) { c.ZoneAware.LocalityBasis = "healthy_hosts_weight" }, "5000 [0 2500]"},
		{"weights do not count", healthyZones(1, 1), []zoneHosts{{healthy: 3, weight: 1}, {healthy: 3, weight: 3}}, nil, "direct"},
		{"rounding leaves no room", []zoneHosts{{healthy: 2}, {healthy: 1}, {healthy: 1}}, []zoneHosts{{healthy: 2, weight: 4999}, {healthy: 2, weight: 2501}, {healthy: 2, weight: 2501}},
			func(c *Config) { c.ZoneAware.LocalityBasis = "healthy_hosts_weight" }, "9996 [0 0 0]"},
	} {
		c := newZoneCluster(tt.proxies, tt.hosts, tt.edit)
		if got := c.plan(); got != tt.want {
			t.Errorf("%s: plan %s, want %s", tt.name, got, tt.want)
		}
		if fast := c.HostSet().plan == nil; c.HostSet().simple != (fast && !c.HostSet().Levels[0].Panic && c.HostSet().Levels[0].healthyPct == 100) {
			t.Errorf("%s: simple is %t", tt.name, c.HostSet().simple)
		}
	}
}

// TestZonesDoNotCount: the clusters that go by something else.
func TestZonesDoNotCount(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*Config){
		"weights of localities": func(c *Config) { c.LocalityWeightedLbConfig = &LocalityWeightedConfig{} },
		"ring_hash":             func(c *Config) { c.LbPolicy = "ring_hash" },
		"maglev":                func(c *Config) { c.LbPolicy = "maglev" },
	} {
		c := newZoneCluster(healthyZones(1, 1), healthyZones(3, 3), edit)
		if c.HostSet().zones != nil || c.Rezone() {
			t.Errorf("%s: zones count", name)
		}
	}
	c := newZoneCluster(healthyZones(1, 1), healthyZones(3, 3), nil)
	c.local.Local = c.Local
	if c.local.Rebuild(); c.local.HostSet().zones != nil {
		t.Error("zones count for the local cluster")
	}
}

// picks returns the share of each zone among n picks.
func (c *zoneCluster) picks(random uint64, n int, s *ClusterStats) map[string]float64 {
	got := map[string]float64{}
	at := map[*Host]string{}
	for i := range c.members {
		at[c.members[i].host] = c.members[i].locality.Zone
	}
	for range n {
		random = random*6364136223846793005 + 1442695040888963407
		mixed := (random ^ random>>29) * 0x9e3779b97f4a7c15
		b, how := c.HostSet().Choose(mixed^mixed>>32, &Pick{})
		s.CountChoice(how)
		for _, h := range b.Hosts {
			got[at[h]] += 1 / float64(n) / float64(len(b.Hosts))
		}
	}
	return got
}

// TestZoneShares: whatever hosts and proxies there are, each zone gets what the formula says.
func TestZoneShares(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		zones := rapid.IntRange(2, 5).Draw(t, "zones")
		count := func(name string, least int) (list []zoneHosts) {
			for i := range zones {
				list = append(list, zoneHosts{healthy: rapid.IntRange(least, 12).Draw(t, fmt.Sprint(name, i))})
			}
			return list
		}
		proxies, hosts := count("proxies", 1), count("hosts", 0)
		c := newZoneCluster(proxies, hosts, func(c *Config) { c.ZoneAware.MinClusterSize = 1 })
		if c.HostSet().plan == nil {
			t.Skip("no plan")
		}
		sum := func(list []zoneHosts) (n float64) {
			for _, z := range list {
				n += float64(z.healthy)
			}
			return n
		}
		sends := func(i int) float64 { return float64(proxies[i].healthy) / sum(proxies) }
		takes := func(i int) float64 { return float64(hosts[i].healthy) / sum(hosts) }
		stays, room := min(1, takes(0)/sends(0)), 0.0
		for i := 1; i < zones; i++ {
			room += max(0, takes(i)-sends(i))
		}
		var s ClusterStats
		const n = 20_000
		got := c.picks(rapid.Uint64().Draw(t, "random"), n, &s)
		for i := range hosts {
			want := stays
			if i > 0 && room > 0 {
				want = (1 - stays) * max(0, takes(i)-sends(i)) / room
			} else if i > 0 {
				want = 0
			}
			if d := math.Abs(got[zoneNames[i].Zone] - want); d > 0.02 {
				t.Errorf("proxies %v, hosts %v: zone %d got %.3f, want %.3f", proxies, hosts, i, got[zoneNames[i].Zone], want)
			}
		}
		if all := s.ZoneDirect.Load() + s.ZoneSampled.Load() + s.ZoneCross.Load(); all != n {
			t.Errorf("%d picks are counted as %d", n, all)
		}
	})
}

// TestZonesTogether: if the proxies of all zones follow the formula, every host gets the same.
func TestZonesTogether(t *testing.T) {
	t.Parallel()
	proxies, hosts := healthyZones(4, 3, 2, 1), healthyZones(2, 6, 1, 7)
	total := map[string]float64{}
	for here := range proxies {
		c := newZoneCluster(proxies, hosts, nil)
		c.Local.here = *zoneNames[here]
		c.Rebuild()
		for zone, share := range c.picks(7, 100_000, &ClusterStats{}) {
			total[zone] += share * float64(proxies[here].healthy) / 10
		}
	}
	for i := range hosts {
		if got, want := total[zoneNames[i].Zone], float64(hosts[i].healthy)/16; math.Abs(got-want) > 0.01 {
			t.Errorf("zone %d gets %.3f of all requests, want %.3f", i, got, want)
		}
	}
}

// TestZoneChoices: what Choose says of each kind of pick, and what is counted.
func TestZoneChoices(t *testing.T) {
	t.Parallel()
	panics := []zoneHosts{{healthy: 1, failed: 3}, {healthy: 1, failed: 2}}
	for _, tt := range []struct {
		name    string
		proxies []zoneHosts
		hosts   []zoneHosts
		edit    func(*Config)
		random  uint64
		hosted  int // of the bucket
		want    string
	}{
		{"direct", healthyZones(1, 1), healthyZones(3, 4), func(c *Config) { c.ZoneAware.ForceLocalZone = &ForceLocalZoneConfig{MinSize: 1} }, 0, 3, "direct"},
		{"sampled", healthyZones(3, 1), healthyZones(3, 4), nil, 0, 3, "sampled"},
		{"cross", healthyZones(3, 1), healthyZones(3, 4), nil, 100 * 9_999 * zoneUnit, 4, "cross"},
		{"not for all", healthyZones(1, 1), healthyZones(4, 4), func(c *Config) { c.ZoneAware.RoutingEnabled = 25 }, 100 * 2500, 8, ""},
		{"for a few", healthyZones(1, 1), healthyZones(4, 4), func(c *Config) { c.ZoneAware.RoutingEnabled = 25 }, 100 * 2499, 4, "direct"},
		{"for none", healthyZones(1, 1), healthyZones(4, 4), func(c *Config) { c.ZoneAware.RoutingEnabled = 0 }, 0, 8, ""},
		{"local panic", panics, healthyZones(3, 3), nil, 0, 6, "local"},
		{"local panic fails", panics, healthyZones(3, 3), func(c *Config) { c.FailTrafficOnPanic = true }, 0, 0, "local"},
		{"panic", healthyZones(1, 1), []zoneHosts{{healthy: 3, failed: 6}, {healthy: 3, failed: 6}}, nil, 0, 18, "panic"},
		{"full", []zoneHosts{{healthy: 2}, {healthy: 1}, {healthy: 1}}, []zoneHosts{{healthy: 2, weight: 4999}, {healthy: 3, weight: 1667}, {healthy: 3, weight: 1667}},
			func(c *Config) { c.ZoneAware.LocalityBasis = "healthy_hosts_weight" }, 100 * (9_999*zoneUnit + zoneUnit*zoneUnit), 3, "cross full"},
	} {
		c := newZoneCluster(tt.proxies, tt.hosts, tt.edit)
		b, how := c.HostSet().Choose(tt.random, &Pick{})
		var s ClusterStats
		s.CountChoice(how)
		got := ""
		for _, n := range []struct {
			name  string
			count uint64
		}{{"direct", s.ZoneDirect.Load()}, {"sampled", s.ZoneSampled.Load()}, {"cross", s.ZoneCross.Load()}, {" full", s.ZoneFull.Load()}, {"local", s.LocalNotOK.Load()}, {"panic", s.HealthyPanic.Load()}} {
			if n.count > 0 {
				got += n.name
			}
		}
		if got != tt.want || len(b.Hosts) != tt.hosted {
			t.Errorf("%s: %d hosts, counted %q; want %d, %q", tt.name, len(b.Hosts), got, tt.hosted, tt.want)
		}
	}
}

// TestRezone: a change of the local cluster reaches the plan and leaves the buckets alone.
func TestRezone(t *testing.T) {
	t.Parallel()
	c := newZoneCluster(healthyZones(2, 2, 1), healthyZones(5, 10, 5), nil)
	if c.Local.Update(c.local) {
		t.Error("the same proxies are said to be others")
	}
	before := c.HostSet()
	c.local.members = zoneMembers(healthyZones(1, 2, 1))
	if !c.Local.Update(c.local) || !c.Rezone() {
		t.Fatal("other proxies make no difference")
	}
	after := c.HostSet()
	if got := c.plan(); got != "direct" {
		t.Errorf("plan %s, want a quarter of the proxies to stay with a quarter of the hosts", got)
	}
	if after.Version <= before.Version || after.zones.zones[0].bucket.Version != before.zones.zones[0].bucket.Version || before.plan.direct {
		t.Error("the set is not another one with the same buckets")
	}
	var s ClusterStats
	s.CountZones(after)
	if !c.Local.Update(nil) || !c.Rezone() || c.plan() != "none" || !c.HostSet().simple {
		t.Errorf("without a local cluster: plan %s", c.plan())
	}
	c.members = c.members[:5]
	c.Local.Update(c.local)
	c.Rebuild()
	s.CountZones(c.HostSet()) // of one zone: nothing to reckon
	if s.ZonesReckoned.Load() != 1 || s.ZoneTooSmall.Load()+s.LocalNotOK.Load() != 0 {
		t.Errorf("%d rebuilds counted, want 1", s.ZonesReckoned.Load())
	}
	for want, c := range map[string]*zoneCluster{"too small": newZoneCluster(healthyZones(1, 1), healthyZones(1, 1), nil), "local": newZoneCluster(healthyZones(0, 1, 1), healthyZones(4, 4), nil)} {
		var s ClusterStats
		s.CountZones(c.HostSet())
		if small, local := s.ZoneTooSmall.Load() == 1, s.LocalNotOK.Load() == 1; small != (want == "too small") || local != (want == "local") {
			t.Errorf("%s: counted too small %t, local not ok %t", want, small, local)
		}
	}
}

func TestZoneChooseAllocs(t *testing.T) {
	hs := newZoneCluster(healthyZones(3, 1), healthyZones(3, 4), nil).HostSet()
	var p Pick
	random := uint64(1)
	if n := testing.AllocsPerRun(1000, func() { random *= 0x9e3779b97f4a7c15; hs.Choose(random, &p) }); n != 0 {
		t.Errorf("Choose allocates %v times", n)
	}
}

func BenchmarkChoose(b *testing.B) {
	for name, hs := range map[string]*HostSet{
		"simple": newZoneCluster(nil, healthyZones(6), nil).HostSet(), "zones": newZoneCluster(healthyZones(3, 1), healthyZones(3, 4), nil).HostSet(),
	} {
		b.Run(name, func(b *testing.B) {
			var p Pick
			random := uint64(1)
			for b.Loop() {
				random *= 0x9e3779b97f4a7c15
				hs.Choose(random, &p)
			}
		})
	}
}
