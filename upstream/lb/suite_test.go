package lb

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"millrace/upstream"
)

// newCluster returns a cluster with one host for each weight.
func newCluster(t testing.TB, weights ...uint32) *upstream.Cluster {
	t.Helper()
	cfg := upstream.DefaultConfig("c")
	for i, w := range weights {
		addr := fmt.Sprintf("127.0.0.1:%d", 1000+i)
		cfg.Hosts = append(cfg.Hosts, upstream.HostConfig{Address: addr, Weight: w})
	}
	c, err := upstream.New(0, &cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// bucket returns the bucket for a request, of the hosts as they are now.
func bucket(c *upstream.Cluster, policy string) *upstream.Bucket {
	cfg := *c.Config
	cfg.LbPolicy = policy
	c.Tables = Tables(&cfg)
	c.Rebuild()
	b, _ := c.HostSet().Choose(0, &upstream.Pick{})
	return b
}

// bucketOfConfig returns the bucket for a request to a new cluster.
func bucketOfConfig(t testing.TB, cfg *upstream.Config) *upstream.Bucket {
	t.Helper()
	c, err := upstream.New(0, cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Tables = Tables(cfg)
	c.Rebuild()
	b, _ := c.HostSet().Choose(0, &upstream.Pick{})
	return b
}

// bucketOf returns a bucket of hosts in this order.
func bucketOf(hosts []*upstream.Host, version uint64) *upstream.Bucket {
	b := &upstream.Bucket{Hosts: hosts, Version: version}
	for _, h := range hosts {
		b.Weights = append(b.Weights, h.Weight())
	}
	return b
}

// newPolicy returns a builtin policy with its own seed.
func newPolicy(t testing.TB, name string, seed uint64) upstream.Balancer {
	t.Helper()
	cfg := upstream.DefaultConfig("c")
	b, err := New(name, &cfg, rand.New(rand.NewPCG(seed, 1)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// spread counts n picks by host.
func spread(b upstream.Balancer, hs *upstream.Bucket, n int) map[*upstream.Host]int {
	got := map[*upstream.Host]int{}
	for range n {
		got[b.Pick(hs, &upstream.Pick{})]++
	}
	return got
}

// eachPolicy runs a test over the table.
func eachPolicy(t *testing.T, test func(t *testing.T, name string)) {
	t.Parallel()
	for name := range builtin {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(t, name) })
	}
}

func TestSpread(t *testing.T) {
	for _, weights := range [][]uint32{{1}, {1, 1}, {1, 1, 1, 1, 1}, {1, 2}, {5, 1, 1}, {1, 100}, {7, 7, 7}, {1, 2, 3, 4, 5, 6}} {
		t.Run(fmt.Sprint(weights), func(t *testing.T) {
			eachPolicy(t, func(t *testing.T, name string) {
				if name == "ring_hash" {
					t.Skip("as even as a ring of this size is: see TestRingSpread")
				}
				const picks = 60000
				c := newCluster(t, weights...)
				got := spread(newPolicy(t, name, 7), bucket(c, name), picks)
				sum := 0.0
				for _, w := range weights {
					sum += float64(w)
				}
				for i, h := range c.Hosts() {
					want := picks * float64(weights[i]) / sum
					if math.Abs(float64(got[h])-want) > 5*math.Sqrt(want)+2 {
						t.Errorf("host %d of weight %d got %d picks, want about %.0f", i, weights[i], got[h], want)
					}
				}
			})
		})
	}
}

// TestSpreadOfMany: over many picks each host is within 2 % of its share, whatever the policy.
func TestSpreadOfMany(t *testing.T) {
	weights := []uint32{1, 2, 3, 4, 10}
	eachPolicy(t, func(t *testing.T, name string) {
		if name == "ring_hash" {
			t.Skip("a ring of this size is not as even: see TestRingSpread")
		}
		const picks = 1_000_000
		c := newCluster(t, weights...)
		got := spread(newPolicy(t, name, 11), bucket(c, name), picks)
		for i, h := range c.Hosts() {
			if want := picks / 20 * float64(weights[i]); math.Abs(float64(got[h])-want) > want*0.02 {
				t.Errorf("the host of weight %d got %d picks, want %.0f ± 2 %%", weights[i], got[h], want)
			}
		}
	})
}

func TestNoHost(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		hs := &upstream.Bucket{Version: 1}
		if h := newPolicy(t, name, 1).Pick(hs, &upstream.Pick{}); h != nil {
			t.Errorf("Pick of an empty set = %s, want nil", h.Name)
		}
	})
}

func TestUnhealthyHostsAreLeftOut(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		c := newCluster(t, 1, 2, 3, 4)
		c.Hosts()[1].SetHealth(upstream.FailedActiveCheck, true)
		got := spread(newPolicy(t, name, 1), bucket(c, name), 1000)
		if got[c.Hosts()[1]] != 0 || len(got) != 3 {
			t.Errorf("picks = %v, want the three healthy hosts", got)
		}
	})
}

// TestChurn: whatever the sets that follow each other, a pick is a member of the last.
func TestChurn(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		rng := rand.New(rand.NewPCG(3, 3))
		c := newCluster(t, 1, 1, 1, 5, 2, 9, 1, 1)
		b := newPolicy(t, name, 2)
		for version := range uint64(500) {
			hosts := slices.Clone(c.Hosts())
			rng.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
			hosts = hosts[:rng.IntN(len(hosts)+1)]
			hs := bucketOf(hosts, version+1)
			for h, n := range spread(b, hs, 20) {
				if (h == nil) != (len(hosts) == 0) || h != nil && !slices.Contains(hosts, h) {
					t.Fatalf("version %d: host %v picked %d times is not in the set of %d", version, h, n, len(hosts))
				}
			}
		}
	})
}

// TestLoopsDoNotHerd: several loops that pick in lockstep do not all pick the same host.
func TestLoopsDoNotHerd(t *testing.T) {
	for _, weights := range [][]uint32{{1, 1, 1, 1, 1, 1, 1, 1}, {1, 2, 3, 4, 5, 6, 7, 8}} {
		t.Run(fmt.Sprint(weights), func(t *testing.T) {
			eachPolicy(t, func(t *testing.T, name string) {
				const loops, rounds = 4, 400
				c := newCluster(t, weights...)
				hs := bucket(c, name)
				var policies [loops]upstream.Balancer
				for i := range policies {
					policies[i] = newPolicy(t, name, uint64(i))
				}
				together := 0
				for range rounds {
					picks := map[*upstream.Host]bool{}
					for _, b := range policies {
						picks[b.Pick(hs, &upstream.Pick{})] = true
					}
					if len(picks) == 1 {
						together++
					}
				}
				if together > rounds/10 {
					t.Errorf("all %d loops picked one host in %d of %d rounds", loops, together, rounds)
				}
			})
		})
	}
}

func TestPickAllocs(t *testing.T) {
	for name := range builtin {
		for _, weights := range [][]uint32{{1, 1, 1}, {1, 2, 3}} {
			b := newPolicy(t, name, 1)
			hs := bucket(newCluster(t, weights...), name)
			var p upstream.Pick
			if n := testing.AllocsPerRun(1000, func() { b.Pick(hs, &p) }); n != 0 {
				t.Errorf("%s: Pick with weights %v allocates %v times, want 0", name, weights, n)
			}
		}
	}
}

// TestConfigNamesPolicies: the enum of the config field and the table are the same names, but for the policy that is none.
func TestConfigNamesPolicies(t *testing.T) {
	t.Parallel()
	f, _ := reflect.TypeFor[upstream.Config]().FieldByName("LbPolicy")
	enum := strings.Split(f.Tag.Get("enum"), ",")
	enum = slices.DeleteFunc(enum, func(name string) bool { return name == upstream.ClusterProvided })
	for name := range builtin {
		if !slices.Contains(enum, name) {
			t.Errorf("policy %q is not in the enum of lb_policy", name)
		}
	}
	if len(enum) != len(builtin) {
		t.Errorf("enum of lb_policy = %v, want the %d names of the table", enum, len(builtin))
	}
}

func TestNewUnknown(t *testing.T) {
	t.Parallel()
	if b, err := New("leastconn", &upstream.Config{}, nil); err == nil || b != nil {
		t.Errorf("New of an unknown policy = %v, %v; want an error", b, err)
	}
}

func BenchmarkPick(b *testing.B) {
	for name := range builtin {
		for _, n := range []int{3, 1000} {
			for _, kind := range []string{"equal", "weighted"} {
				b.Run(fmt.Sprintf("%s/%d/%s", name, n, kind), func(b *testing.B) {
					weights := make([]uint32, n)
					for i := range weights {
						weights[i] = 1
						if kind == "weighted" {
							weights[i] = uint32(i%7 + 1)
						}
					}
					p := newPolicy(b, name, 1)
					hs := bucket(newCluster(b, weights...), name)
					var pick upstream.Pick
					b.ReportAllocs()
					for b.Loop() {
						p.Pick(hs, &pick)
					}
				})
			}
		}
	}
}
