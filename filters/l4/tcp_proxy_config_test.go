package l4

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/engine"
	"millrace/engine/enginetest"
	"millrace/filters"
	"millrace/upstream"
)

func TestTCPProxyValidate(t *testing.T) {
	t.Parallel()
	long := time.Hour
	for _, tt := range []struct {
		name string
		edit func(*TCPProxyConfig)
		want []string // "path: part of the problem"
	}{
		{"defaults", func(*TCPProxyConfig) {}, nil},
		{"nowhere", func(c *TCPProxyConfig) { c.Cluster = "" }, []string{": exactly one"}},
		{"two ways", func(c *TCPProxyConfig) { c.WeightedClusters = []TCPWeightedCluster{{Name: "a", Weight: 1}} }, []string{": exactly one"}},
		{"jitter of nothing", func(c *TCPProxyConfig) { c.MaxDownstreamConnectionDurationJitterPercentage = 5 },
			[]string{"max_downstream_connection_duration_jitter_percentage: no duration"}},
		{"backoff of one attempt", func(c *TCPProxyConfig) { c.BackoffOptions = &TCPBackoffConfig{BaseInterval: time.Second} },
			[]string{"backoff_options: no second attempt"}},
		{"no hash", func(c *TCPProxyConfig) { c.HashPolicy = []TCPHashPolicy{{}} }, []string{"hash_policy[0]: nothing is hashed"}},
		{"one type twice", func(c *TCPProxyConfig) {
			c.ProxyProtocolTLVs = []upstream.TLVConfig{{Type: 224}, {Type: 225}, {Type: 224}}
		},
			[]string{"proxy_protocol_tlvs[2].type: proxy_protocol_tlvs[0]"}},
	} {
		c := tcpDefaults()
		tt.edit(c)
		wantProblems(t, tt.name, c.Validate, tt.want)
	}
	wantProblems(t, "backoff", (&TCPBackoffConfig{BaseInterval: 2 * time.Hour, MaxInterval: &long}).Validate, []string{"max_interval: is less than"})
	wantProblems(t, "log", (&TCPAccessLogOptions{AccessLogFlushInterval: 1}).Validate, []string{"access_log_flush_interval: less than 1ms"})
	bad := &TCPRoute{DestinationIPList: []string{"10.0.0.0/8", "x"}, SourceIPList: []string{"1.2.3.4/33"}, DestinationPorts: "1-", SourcePorts: "0"}
	wantProblems(t, "route", bad.Validate, []string{"destination_ip_list[1]: ", "source_ip_list[0]: ", "destination_ports: port", "source_ports: port"})
}

// wantProblems checks what a Validate reports.
func wantProblems(t *testing.T, name string, validate func(func(path, problem, hint string)), want []string) {
	t.Helper()
	var got []string
	validate(func(path, problem, _ string) { got = append(got, path+": "+problem) })
	ok := len(got) == len(want)
	for i := 0; ok && i < len(want); i++ {
		path, part, _ := strings.Cut(want[i], ": ")
		ok = strings.HasPrefix(got[i], path+": ") && strings.Contains(got[i], part)
	}
	if !ok {
		t.Errorf("%s: problems %q, want %q", name, got, want)
	}
}

func TestTCPRouteReachable(t *testing.T) {
	t.Parallel()
	nets := func(s ...string) []string { return s }
	for _, tt := range []struct {
		name          string
		first, second TCPRoute
		unreachable   bool
	}{
		{"behind all", TCPRoute{}, TCPRoute{SourcePorts: "5"}, true},
		{"before all", TCPRoute{SourcePorts: "5"}, TCPRoute{}, false},
		{"equal", TCPRoute{DestinationPorts: "5"}, TCPRoute{DestinationPorts: "5"}, true},
		{"ports within", TCPRoute{DestinationPorts: "1-10"}, TCPRoute{DestinationPorts: "2-3,9"}, true},
		{"ports beyond", TCPRoute{DestinationPorts: "1-10"}, TCPRoute{DestinationPorts: "2-11"}, false},
		{"nets within", TCPRoute{SourceIPList: nets("10.0.0.0/8", "::/0")}, TCPRoute{SourceIPList: nets("10.9.0.0/16", "fd00::/8")}, true},
		{"nets around", TCPRoute{SourceIPList: nets("10.9.0.0/16")}, TCPRoute{SourceIPList: nets("10.0.0.0/8")}, false},
		{"other criterion", TCPRoute{DestinationIPList: nets("10.0.0.0/8")}, TCPRoute{SourceIPList: nets("10.0.0.0/8")}, false},
		{"more criteria", TCPRoute{DestinationIPList: nets("10.0.0.0/8")}, TCPRoute{DestinationIPList: nets("10.1.0.0/16"), SourcePorts: "1"}, true},
		{"fewer criteria", TCPRoute{DestinationIPList: nets("10.0.0.0/8"), SourcePorts: "1"}, TCPRoute{DestinationIPList: nets("10.0.0.0/8")}, false},
		{"cannot be read", TCPRoute{DestinationPorts: "x"}, TCPRoute{DestinationPorts: "x"}, false},
	} {
		c := &TCPRouteConfig{Routes: []TCPRoute{tt.first, tt.second}}
		var want []string
		if tt.unreachable {
			want = []string{"routes[1]: never reached: routes[0]"}
		}
		got := []string{}
		c.Validate(func(path, problem, _ string) { got = append(got, path+": "+problem) })
		if len(got) != len(want) || len(got) == 1 && !strings.Contains(got[0], "routes[0] takes all") {
			t.Errorf("%s: problems %q, want %q", tt.name, got, want)
		}
	}
	wantProblems(t, "none", (&TCPRouteConfig{}).Validate, []string{"routes: there is no route"})
}

func TestTCPProxyReferences(t *testing.T) {
	t.Parallel()
	c := &TCPProxyConfig{Cluster: "a", WeightedClusters: []TCPWeightedCluster{{Name: "b", Weight: 1}, {Name: "c", Weight: 1}},
		RouteConfig: &TCPRouteConfig{Routes: []TCPRoute{{Cluster: "d"}, {Cluster: "e"}}}}
	var got []string
	c.References(func(path, kind, name string) { got = append(got, fmt.Sprintf("%s %s %s", path, kind, name)) })
	want := []string{"cluster cluster a", "weighted_clusters[0].name cluster b", "weighted_clusters[1].name cluster c",
		"route_config.routes[0].cluster cluster d", "route_config.routes[1].cluster cluster e"}
	if !slices.Equal(got, want) {
		t.Errorf("References reports %q, want %q", got, want)
	}
	env := &filters.SharedEnv{ClusterID: func(string) (upstream.ClusterID, bool) { return 0, false }}
	for _, c := range []*TCPProxyConfig{{Cluster: "a"}, {WeightedClusters: c.WeightedClusters}, {RouteConfig: c.RouteConfig}} {
		if _, err := newTCPRoutes(c, env); err == nil || !strings.Contains(err.Error(), "unknown cluster") {
			t.Errorf("newTCPRoutes without clusters = %v, want an error", err)
		}
	}
}

func TestTCPRoutesFind(t *testing.T) {
	t.Parallel()
	tl := enginetest.NewLoop(t)
	names := []string{"ports", "nets", "source", "rest"}
	env := &filters.SharedEnv{ClusterID: func(n string) (upstream.ClusterID, bool) { return upstream.ClusterID(slices.Index(names, n)), true }}
	r, err := newTCPRoutes(&TCPProxyConfig{RouteConfig: &TCPRouteConfig{Routes: []TCPRoute{
		{Cluster: "ports", DestinationPorts: "1-100,5432"},
		{Cluster: "nets", DestinationIPList: []string{"10.0.0.0/8", "fd00::/8"}},
		{Cluster: "source", SourceIPList: []string{"192.168.0.0/16"}, SourcePorts: "1000-2000"},
	}}}, env)
	if err != nil {
		t.Fatal(err)
	}
	addr := func(s string) engine.Addr {
		return engine.AddrFrom(netip.MustParseAddrPort(s).Addr(), netip.MustParseAddrPort(s).Port(), 0)
	}
	for _, tt := range []struct {
		local, remote engine.Addr
		want          string // "" is none
	}{
		{addr("1.1.1.1:50"), addr("2.2.2.2:5"), "ports"},
		{addr("10.1.1.1:5432"), addr("2.2.2.2:5"), "ports"},
		{addr("10.1.1.1:101"), addr("2.2.2.2:5"), "nets"},
		{addr("[fd00::1]:101"), addr("[fd00::2]:5"), "nets"},
		{addr("[fe80::1]:101"), addr("[fd00::2]:5"), ""},
		{addr("1.1.1.1:101"), addr("192.168.3.4:1000"), "source"},
		{addr("1.1.1.1:101"), addr("192.168.3.4:999"), ""},
		{engine.UnixAddr("/a"), engine.UnixAddr("/b"), ""},
	} {
		c, _ := tl.Pair(enginetest.NewRecorder())
		c.SetLocalAddr(tt.local)
		c.SetRemoteAddr(tt.remote)
		id, _, ok := r.find(c)
		if got := append(names, "")[id]; ok != (tt.want != "") || ok && got != tt.want {
			t.Errorf("find(%s from %s) = %s, %t; want %q", tt.local, tt.remote, got, ok, tt.want)
		}
	}
}

func TestTCPRoutesPick(t *testing.T) {
	t.Parallel()
	r := &tcpRoutes{weights: []tcpWeight{{end: 1, cluster: 5}, {end: 4, cluster: 6}}, sum: 4}
	for random, want := range []upstream.ClusterID{5, 6, 6, 6, 5} {
		if got := r.pick(uint64(random)).cluster; got != want {
			t.Errorf("pick(%d) = %d, want %d", random, got, want)
		}
	}
}

// TestTCPCriteria: what the filter demands of hosts, and a weighted cluster besides.
func TestTCPCriteria(t *testing.T) {
	t.Parallel()
	env := &filters.SharedEnv{ClusterID: func(string) (upstream.ClusterID, bool) { return 1, true }}
	stage := map[string]string{"stage": "prod", "v": "1"}
	plain, err := newTCPRoutes(&TCPProxyConfig{Cluster: "a", MetadataMatch: stage}, env)
	if err != nil {
		t.Fatal(err)
	}
	if got := plain.criteria.String(); got != "stage=prod, v=1" {
		t.Errorf("of the filter: %s", got)
	}
	weighted, err := newTCPRoutes(&TCPProxyConfig{MetadataMatch: stage, WeightedClusters: []TCPWeightedCluster{
		{Name: "a", Weight: 1}, {Name: "b", Weight: 1, MetadataMatch: map[string]string{"v": "2", "w": "3"}}}}, env)
	if err != nil {
		t.Fatal(err)
	}
	for random, want := range []string{"stage=prod, v=1", "stage=prod, v=2, w=3"} {
		if got := weighted.pick(uint64(random)).criteria.String(); got != want {
			t.Errorf("of cluster %d: %s, want %s", random, got, want)
		}
	}
}
