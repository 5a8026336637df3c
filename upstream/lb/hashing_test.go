package lb

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"millrace/upstream"
)

// hashed returns the host of a hash.
func hashed(b upstream.Balancer, set *upstream.Bucket, hash uint64) *upstream.Host {
	return b.Pick(set, &upstream.Pick{Hash: hash, HashSet: true})
}

// TestRingPlaces: the ring that Envoy makes of these hosts.
func TestRingPlaces(t *testing.T) {
	t.Parallel()
	cfg := upstream.DefaultConfig("c")
	cfg.LbPolicy, cfg.RingHash.MinimumRingSize = "ring_hash", 12
	for port := range 6 {
		cfg.Hosts = append(cfg.Hosts, upstream.HostConfig{Address: fmt.Sprintf("127.0.0.1:%d", 90+port), Weight: 1})
	}
	set := bucketOfConfig(t, &cfg)
	want := []struct {
		port int
		hash uint64
	}{
		{94, 833437586790550860}, {92, 928266305478181108}, {90, 1033482794131418490}, {95, 3551244743356806947},
		{93, 3851675632748031481}, {91, 5583722120771150861}, {91, 6311230543546372928}, {93, 7700377290971790572},
		{95, 13144177310400110813}, {92, 13444792449719432967}, {94, 15516499411664133160}, {90, 16117243373044804889},
	}
	r := set.Table.(ring)
	if len(r) != len(want) {
		t.Fatalf("a ring of %d places, want %d", len(r), len(want))
	}
	for i, w := range want {
		if h := set.Hosts[r[i].host]; h.Name != fmt.Sprintf("127.0.0.1:%d", w.port) || r[i].hash != w.hash {
			t.Errorf("place %d is %s at %d, want port %d at %d", i, h.Name, r[i].hash, w.port, w.hash)
		}
	}
	p := newPolicy(t, "ring_hash", 1)
	for _, tt := range []struct {
		hash     uint64
		reselect int
		port     int
	}{
		{0, 0, 94}, {833437586790550860, 0, 94}, {833437586790550861, 0, 92}, {16117243373044804890, 0, 94},
		{math.MaxUint64, 0, 94}, {math.MaxUint64, 1, 92}, {3551244743356806947, 0, 95}, {3551244743356806947, 1, 93},
	} {
		h := p.Pick(set, &upstream.Pick{Hash: tt.hash, HashSet: true, Reselect: tt.reselect})
		if h.Name != fmt.Sprintf("127.0.0.1:%d", tt.port) {
			t.Errorf("hash %d, reselected %d times: %s, want port %d", tt.hash, tt.reselect, h.Name, tt.port)
		}
	}
}

// TestMurmur2: values of std::hash<std::string> of libstdc++.
func TestMurmur2(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		want uint64
	}{
		{"", 6142509188972423790},
		{"a", 4993892634952068459},
		{"abc", 3663726644998027833},
	} {
		if got := murmur2([]byte(tt.in)); got != tt.want {
			t.Errorf("murmur2(%q) = %d, want %d", tt.in, got, tt.want)
		}
	}
}

// TestRingSpread: a large ring is even, by weight.
func TestRingSpread(t *testing.T) {
	t.Parallel()
	cfg := upstream.DefaultConfig("c")
	cfg.LbPolicy, cfg.RingHash.MinimumRingSize = "ring_hash", 400_000
	weights := []uint32{1, 2, 3, 4}
	c := newCluster(t, weights...)
	c.Tables = Tables(&cfg)
	c.Rebuild()
	set, _ := c.HostSet().Choose(0, &upstream.Pick{})
	const picks = 500_000
	got := spread(newPolicy(t, "ring_hash", 3), set, picks)
	for i, h := range c.Hosts() {
		want := picks * int(weights[i]) / 10
		if n := got[h]; n < want*98/100 || n > want*102/100 {
			t.Errorf("the host of weight %d got %d, want about %d", weights[i], n, want)
		}
	}
}

// TestMaglevEntries: entries follow the weights, and the order of the hosts does not matter.
func TestMaglevEntries(t *testing.T) {
	t.Parallel()
	weights := []uint32{1, 2, 3, 4, 10}
	c := newCluster(t, weights...)
	set := bucket(c, "maglev")
	count := make([]int, len(weights))
	for _, h := range set.Table.(maglev) {
		count[h]++
	}
	for i, n := range count {
		if want := 65537 * int(weights[i]) / 20; n < want*98/100-2 || n > want*102/100+2 {
			t.Errorf("the host of weight %d has %d entries, want about %d", weights[i], n, want)
		}
	}
	turned := slices.Clone(c.Hosts())
	slices.Reverse(turned)
	cfg := upstream.DefaultConfig("c")
	other := bucketOf(turned, 1)
	other.Table = maglevTable(&cfg, other)
	p := newPolicy(t, "maglev", 1)
	for hash := range uint64(1000) {
		if a, b := hashed(p, set, hash), hashed(p, other, hash); a != b {
			t.Fatalf("hash %d: %s and %s in another order", hash, a.Name, b.Name)
		}
	}
}

// TestMinimalMovement: when one of 50 hosts goes, requests of others stay where they are: all with a ring, nearly all with
// maglev.
func TestMinimalMovement(t *testing.T) {
	t.Parallel()
	for name, most := range map[string]int{"ring_hash": 0, "maglev": 250} {
		weights := make([]uint32, 50)
		for i := range weights {
			weights[i] = 1
		}
		c := newCluster(t, weights...)
		p := newPolicy(t, name, 1)
		const picks = 10_000
		hash := func(i int) uint64 { return uint64(i) * 0x9e3779b97f4a7c15 }
		before := make([]*upstream.Host, picks)
		set := bucket(c, name)
		for i := range before {
			before[i] = hashed(p, set, hash(i))
		}
		gone := c.Hosts()[17]
		gone.SetHealth(upstream.FailedOutlier, true)
		set = bucket(c, name)
		moved := 0
		for i, h := range before {
			now := hashed(p, set, hash(i))
			if now == gone {
				t.Fatalf("%s: the host that is gone was picked", name)
			}
			if h != gone && now != h {
				moved++
			}
		}
		if moved > most {
			t.Errorf("%s: %d of %d requests of hosts that stayed have moved, want at most %d", name, moved, picks, most)
		}
	}
}

// TestMinimalMovementOfNew: what moves when a host joins, or gets more weight, goes to that host: all of it with a ring,
// nearly all with maglev.
func TestMinimalMovementOfNew(t *testing.T) {
	t.Parallel()
	for name, most := range map[string]int{"ring_hash": 0, "maglev": 300} {
		for what, weight := range map[string]uint32{"joins": 0, "grows": 1} {
			const picks = 10_000
			before, after := make([]uint32, 50), make([]uint32, 50)
			for i := range before {
				before[i], after[i] = 1, 1
			}
			before[31], after[31] = weight, weight+1
			host := func(weights []uint32) []string {
				cfg := upstream.DefaultConfig("c")
				cfg.LbPolicy, cfg.RingHash.MinimumRingSize = name, 1029 // 21 places for a weight of 1 before and after
				for i, w := range weights {
					if w > 0 {
						cfg.Hosts = append(cfg.Hosts, upstream.HostConfig{Address: fmt.Sprintf("127.0.0.1:%d", 1000+i), Weight: w})
					}
				}
				set := bucketOfConfig(t, &cfg)
				p, list := newPolicy(t, name, 1), make([]string, picks)
				for i := range list {
					list[i] = hashed(p, set, uint64(i)*0x9e3779b97f4a7c15).Name
				}
				return list
			}
			moved, elsewhere := 0, 0
			was := host(before)
			for i, now := range host(after) {
				if now != was[i] {
					moved++
					if now != "127.0.0.1:1031" {
						elsewhere++
					}
				}
			}
			if moved == 0 || elsewhere > most {
				t.Errorf("%s: a host %s: %d of %d requests have moved, %d of them to others, want at most %d", name, what, moved, picks, elsewhere, most)
			}
		}
	}
}

// TestBoundedLoad: with hash_balance_factor no host has more than its share of the requests, even for one hash.
func TestBoundedLoad(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"ring_hash", "maglev"} {
		weights := []uint32{1, 1, 2, 4}
		c := newCluster(t, weights...)
		cfg := upstream.DefaultConfig("c")
		cfg.ConsistentHash.HashBalanceFactor = 125
		p, err := New(name, &cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		set := bucket(c, name)
		const requests = 800
		for n := range int64(requests) {
			p.Pick(set, &upstream.Pick{Hash: 42, HashSet: true, Active: n}).RqActive.Add(1)
		}
		for i, h := range c.Hosts() {
			if most := int64(requests*5/4)*int64(weights[i])/8 + 2; h.RqActive.Load() > most {
				t.Errorf("%s: the host of weight %d has %d requests, want at most %d", name, weights[i], h.RqActive.Load(), most)
			}
		}
	}
}

// TestStrideVisitsAll: whatever the hash, every host is tried.
func TestStrideVisitsAll(t *testing.T) {
	t.Parallel()
	for n := 1; n < 60; n++ {
		for hash := range uint64(50) {
			seen, step := map[int]bool{}, stride(hash<<32|hash, n)
			for at := range n {
				seen[at*step%n] = true
			}
			if len(seen) != n {
				t.Fatalf("step %d visits %d of %d", step, len(seen), n)
			}
		}
	}
}

// TestPeakEWMA: the faster host gets more, the slow one is tried again when its past is forgotten.
func TestPeakEWMA(t *testing.T) {
	t.Parallel()
	const decay = 10e9
	c := newCluster(t, 1, 1)
	p, set := newPolicy(t, "peak_ewma", 1), bucket(c, "peak_ewma")
	slow, fast := c.Hosts()[0], c.Hosts()[1]
	count := func(now int64) int {
		n := 0
		for range 1000 {
			if p.Pick(set, &upstream.Pick{Now: now}) == slow {
				n++
			}
		}
		return n
	}
	slow.Latency.Observe(0, 50_000, decay)
	fast.Latency.Observe(0, 1_000, decay)
	if n := count(1); n > 300 { // when both draws are the slow one
		t.Errorf("the slow host got %d of 1000, want a quarter", n)
	}
	fast.RqActive.Store(100)
	if n := count(1); n < 700 {
		t.Errorf("with a hundred requests on the fast one the slow host got %d of 1000, want three quarters", n)
	}
	fast.RqActive.Store(0)
	now := int64(100e9)
	fast.Latency.Observe(now, 1_000, decay)
	if n := count(now); n < 700 {
		t.Errorf("after ten decay times the slow host got %d of 1000, want it tried", n)
	}
	fast.Latency.Observe(now, 90_000, decay)
	if ms := fast.Latency.Load(now, decay) / 1000; ms < 89 || ms > 91 {
		t.Errorf("the average is %.0f ms after a peak of 90, want the peak", ms)
	}
	fast.Latency.Observe(now+decay, 1_000, decay)
	if ms := fast.Latency.Load(now+decay, decay) / 1000; ms < 30 || ms > 40 {
		t.Errorf("the average is %.0f ms one decay time later, want about a third", ms)
	}
}
