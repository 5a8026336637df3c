package control

import (
	"fmt"
	"strings"
	"testing"

	"millrace/engine"
	"millrace/upstream"
)

// snapshotOf makes a snapshot of words: "c web 1 HOST…" is a cluster with a hash and hosts,
// "l edge :80 1 2 3 KEY:4:5…" a listener with address, the hashes of socket, environment and front, and chains with the
// hashes of their filters, routes and TLS; without a route hash a chain has no routes.
func snapshotOf(t *testing.T, words ...string) *Snapshot {
	t.Helper()
	s := &Snapshot{}
	for _, w := range words {
		f := strings.Fields(w)
		if f[0] == "c" {
			cfg := upstream.DefaultConfig(f[1])
			for _, h := range f[3:] {
				cfg.Hosts = append(cfg.Hosts, upstream.HostConfig{Address: h})
			}
			c, err := upstream.New(0, &cfg, nil)
			if err != nil {
				t.Fatal(err)
			}
			s.AddCluster(&Cluster{Cluster: c, Hash: uint64(f[2][0])})
			continue
		}
		l := &Listener{Name: f[1], Address: f[2], SocketHash: uint64(f[3][0]), EnvHash: uint64(f[4][0]), FrontHash: uint64(f[5][0])}
		for _, address := range strings.Split(f[2], ",") {
			addr, err := engine.ParseAddr(address)
			if err != nil {
				t.Fatal(err)
			}
			l.Sockets = append(l.Sockets, Socket{Key: SocketKey(f[1], addr, false), Configured: addr})
		}
		for _, chain := range f[6:] {
			part := strings.Split(chain, ":")
			c := &Chain{Key: part[0], Hash: uint64(part[1][0])}
			if len(part) > 2 {
				c.RouteHash, c.Routes = uint64(part[2][0]), &Routes{}
			}
			if len(part) > 3 {
				c.TLSHash = uint64(part[3][0])
			}
			if c.Key == "default" {
				l.Default = c
			} else {
				l.Chains = append(l.Chains, c)
			}
		}
		s.AddListener(l)
	}
	return s
}

// describe writes a diff as words.
func describe(d *Diff) string {
	var b strings.Builder
	for i := range d.Clusters {
		c := &d.Clusters[i]
		name := c.New
		if name == nil {
			name = c.Old
		}
		fmt.Fprintf(&b, "%v cluster %s (%s); ", c.Action, name.Name, c.Detail())
	}
	for i := range d.Listeners {
		c := &d.Listeners[i]
		name := c.New
		if name == nil {
			name = c.Old
		}
		retires := ""
		if c.Retires() {
			retires = " retires"
		}
		if c.InPlace() {
			retires = " in place"
			for k := range c.Chains {
				if c.Chains[k].Retires() {
					retires += fmt.Sprintf(", %q retires", c.Chains[k].Title())
				}
			}
		}
		fmt.Fprintf(&b, "%v listener %s (%s)%s; ", c.Action, name.Name, c.Detail(), retires)
	}
	fmt.Fprintf(&b, "%d unchanged", d.Unchanged)
	return b.String()
}

func TestCompare(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		prev, next []string // prev nil: the start
		want       string
	}{
		{"start", nil, []string{"c web 1", "l a :80 1 1 1 :1:1"}, "added cluster web (); added listener a (); 0 unchanged"},
		{"nothing", []string{"c web 1", "l a :80 1 1 1 :1:1"}, []string{"c web 1", "l a :80 1 1 1 :1:1"}, "3 unchanged"},
		{"nothing, without routes", []string{"l a :80 1 1 1 x:1 y:1 default:1"}, []string{"l a :80 1 1 1 x:1 y:1 default:1"}, "1 unchanged"},
		{"order", []string{"c a 1", "c b 1"}, []string{"c b 1", "c a 1"}, "2 unchanged"},
		{
			"clusters",
			[]string{"c same 1", "c settings 1 127.0.0.1:1", "c hosts 1 127.0.0.1:1 127.0.0.1:2", "c gone 1"},
			[]string{"c new 1", "c same 1", "c settings 2 127.0.0.1:1", "c hosts 2 127.0.0.1:2 127.0.0.1:3 127.0.0.1:4"},
			"added cluster new (); changed cluster settings (settings); changed cluster hosts (hosts: 2 added, 1 removed); removed cluster gone (); 1 unchanged",
		},
		{"routes", []string{"l a :80 1 1 1 :1:1"}, []string{"l a :80 1 1 1 :1:2"}, "changed listener a (routes) in place; 1 unchanged"},
		{"filters", []string{"l a :80 1 1 1 :1:1"}, []string{"l a :80 1 1 1 :2:1"}, `changed listener a (filters) in place, "" retires; 1 unchanged`},
		{"both", []string{"l a :80 1 1 1 :1:1"}, []string{"l a :80 1 1 1 :2:2"}, `changed listener a (filters and routes) in place, "" retires; 0 unchanged`},
		{"TLS", []string{"l a :80 1 1 1 :1:1:1 y:1:1:1"}, []string{"l a :80 1 1 1 :1:1:2 y:1:1:1"}, `changed listener a (tls) in place, "" retires; 2 unchanged`},
		{"TLS comes, routes differ", []string{"l a :80 1 1 1 x:1:1"}, []string{"l a :80 1 1 1 x:1:2:1"}, `changed listener a (tls and routes of x) in place, "x" retires; 0 unchanged`},
		{"options", []string{"l a :80 1 1 1 :1:1"}, []string{"l a :80 2 1 1 :1:1"}, "changed listener a (socket options) retires; 1 unchanged"},
		{"environment", []string{"l a :80 1 1 1 :1:1"}, []string{"l a :80 1 2 1 :1:1"}, "changed listener a (settings of all filter chains) retires; 1 unchanged"},
		{"listener filters", []string{"l a :80 1 1 1 :1:1"}, []string{"l a :80 1 1 2 :1:1"}, "changed listener a (listener) in place; 2 unchanged"},
		{
			"chains",
			[]string{"l a :80 1 1 1 same:1:1 routes:1:1 filters:1:1 gone:1:1 default:1"},
			[]string{"l a :80 1 1 2 new:1:1 same:1:1 routes:1:2 filters:2:1 default:2"},
			"changed listener a (listener, filter chain new added, routes of routes, filters of filters, filters of default, filter chain gone removed)" +
				` in place, "filters" retires, "default" retires, "gone" retires; 2 unchanged`,
		},
		{"a default comes", []string{"l a :80 1 1 1 x:1"}, []string{"l a :80 1 1 2 x:1 default:1"}, "changed listener a (listener, filter chain default added) in place; 1 unchanged"},
		{"address", []string{"l a :80 1 1 1 :1:1"}, []string{"l a :81 1 1 1 :1:1"}, "changed listener a (address :81, was :80) retires; 1 unchanged"},
		{"one more address", []string{"l a :80 1 1 1 :1:1"}, []string{"l a :80,:81 1 1 1 :1:1"}, "changed listener a (address :80, :81, was :80) retires; 1 unchanged"},
		{"same address, spelled anew", []string{"l a [::1]:80 1 1 1 :1:1"}, []string{"l a [0::1]:80 1 1 1 :1:1"}, "2 unchanged"},
		{"renamed", []string{"l a :80 1 1 1 :1:1"}, []string{"l b :80 1 1 1 :1:1"}, "added listener b (); removed listener a () retires; 0 unchanged"},
		{
			"swapped",
			[]string{"l a :80 1 1 1 :1:1", "l b :81 1 1 1 :1:1"},
			[]string{"l a :81 1 1 1 :1:1", "l b :80 1 1 1 :1:1"},
			"changed listener a (address :81, was :80) retires; changed listener b (address :80, was :81) retires; 2 unchanged",
		},
		{"all gone", []string{"c web 1", "l a :80 1 1 1 :1:1"}, []string{}, "removed cluster web (); removed listener a () retires; 0 unchanged"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var prev *Snapshot
			if tt.prev != nil {
				prev = snapshotOf(t, tt.prev...)
			}
			d := Compare(prev, snapshotOf(t, tt.next...))
			if got := describe(d); got != tt.want {
				t.Errorf("Compare(%q, %q)\n got %s\nwant %s", tt.prev, tt.next, got, tt.want)
			}
			if got, want := d.Empty(), !strings.ContainsAny(tt.want, ";"); got != want {
				t.Errorf("Empty() = %v, want %v", got, want)
			}
		})
	}
}

func TestSocketKey(t *testing.T) {
	t.Parallel()
	key := func(name, address string) string {
		a, err := engine.ParseAddr(address)
		if err != nil {
			t.Fatal(err)
		}
		return SocketKey(name, a, false)
	}
	if key("a", "127.0.0.1:80") != key("b", "127.0.0.1:80") {
		t.Error("a socket depends on the name of its listener")
	}
	if key("a", "127.0.0.1:0") == key("b", "127.0.0.1:0") {
		t.Error("two listeners on free ports share a socket")
	}
	if a, err := engine.ParseAddr(":53"); err != nil || SocketKey("a", a, true) == SocketKey("a", a, false) {
		t.Errorf("TCP and UDP share a socket: %v", err)
	}
	if key("a", "unix:/run/x") != key("b", "unix:/run/x") || key("a", "unix:/run/x") == key("a", "unix:@/run/x") {
		t.Error("Unix sockets are not told apart by their path")
	}
}

func TestSnapshotLookups(t *testing.T) { // not parallel: it counts allocations
	var none *Snapshot
	if none.Listener("a") != nil || none.Cluster("a") != nil {
		t.Error("no snapshot has a part")
	}
	s := snapshotOf(t, "c web 1", "l a :80 1 1 1 :1:1")
	if s.Listener("a") == nil || s.Cluster("web") == nil || s.ClusterOf([]byte("web")) == nil || s.ClusterOf([]byte("b")) != nil {
		t.Error("a part is not found by its name")
	}
	name := []byte("web")
	if n := testing.AllocsPerRun(10, func() { s.ClusterOf(name) }); n > 0 {
		t.Errorf("ClusterOf allocates %v times", n)
	}
}

// BenchmarkCompare is the cost of finding one changed route table among 10,000 clusters.
func BenchmarkCompare(b *testing.B) {
	prev, next := &Snapshot{}, &Snapshot{}
	for i := range 10_000 {
		c := &Cluster{Cluster: &upstream.Cluster{Name: fmt.Sprint("c", i)}, Hash: 1}
		prev.AddCluster(c)
		next.AddCluster(c)
	}
	prev.AddListener(&Listener{Name: "a", Chains: []*Chain{{RouteHash: 1}}})
	next.AddListener(&Listener{Name: "a", Chains: []*Chain{{RouteHash: 2}}})
	for b.Loop() {
		if d := Compare(prev, next); len(d.Listeners) != 1 {
			b.Fatal(d)
		}
	}
}
