package upstream

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"millrace/engine"
)

// level is one priority of a test: how many hosts are in which state.
type level struct{ healthy, degraded, failed, excluded int }

// members returns the hosts of levels.
func members(levels ...level) []member {
	var list []member
	for p, l := range levels {
		add := func(n int, f HealthFlag) {
			for range n {
				h := newHost(engine.Addr{}, 1, 0)
				h.SetHealth(f, f != 0)
				list = append(list, member{host: h, weight: 1, priority: uint8(p)})
			}
		}
		add(l.healthy, 0)
		add(l.degraded, DegradedActiveCheck)
		add(l.failed, FailedActiveCheck)
		add(l.excluded, FailedActiveCheck|PendingActiveCheck)
	}
	return list
}

func testOptions() setOptions {
	cfg := DefaultConfig("c")
	o := cfg.setOptions()
	o.version = 1
	return o
}

// TestShares has the worked examples of Envoy's documentation, and the edges.
func TestShares(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		levels []level
		edit   func(*setOptions)
		want   string // healthy and degraded percent of each priority, ! for panic
	}{
		{"none", nil, nil, "[]"},
		{"one", []level{{healthy: 1}}, nil, "[100/0]"},
		{"one failed", []level{{failed: 1}}, nil, "[100/0!]"},
		{"half failed", []level{{healthy: 1, failed: 1}}, nil, "[100/0]"},
		{"a third left", []level{{healthy: 1, failed: 2}}, nil, "[100/0!]"},
		{"72 of 100", []level{{healthy: 72, failed: 28}, {healthy: 100}}, nil, "[100/0 0/0]"},
		{"71 of 100", []level{{healthy: 71, failed: 29}, {healthy: 100}}, nil, "[99/0 1/0]"},
		{"50 of 100", []level{{healthy: 50, failed: 50}, {healthy: 100}}, nil, "[70/0 30/0]"},
		{"25 healthy, 65 degraded", []level{{healthy: 25, degraded: 65, failed: 10}}, nil, "[35/65]"},
		{"0 and 100", []level{{failed: 4}, {healthy: 4}}, nil, "[0/0 100/0]"},
		{"25 and 25", []level{{healthy: 25, failed: 75}, {healthy: 25, failed: 75}}, nil, "[50/0! 50/0!]"},
		{"5 and 65: only the first panics", []level{{healthy: 5, failed: 95}, {healthy: 65, failed: 35}}, nil, "[8/0! 92/0]"},
		{"all failed", []level{{failed: 1}, {failed: 3}}, nil, "[25/0! 75/0!]"},
		{"all failed, without panic", []level{{failed: 1}, {failed: 3}}, func(o *setOptions) { o.panicPct = 0 }, "[100/0 0/0]"},
		{"excluded do not count", []level{{healthy: 1, excluded: 9}}, nil, "[100/0]"},
		{"only excluded", []level{{excluded: 3}}, nil, "[100/0!]"},
		{"overprovisioning off", []level{{healthy: 90, failed: 10}, {healthy: 1}}, func(o *setOptions) { o.overprovisioning = 100 }, "[90/0 10/0]"},
		{"a gap", []level{{}, {healthy: 1}}, nil, "[0/0 100/0]"},
	} {
		o := testOptions()
		if tt.edit != nil {
			tt.edit(&o)
		}
		if got := shares(newHostSet(members(tt.levels...), &o)); got != tt.want {
			t.Errorf("%s: shares %s, want %s", tt.name, got, tt.want)
		}
	}
}

func shares(hs *HostSet) string {
	text := []string{}
	for i := range hs.Levels {
		l := &hs.Levels[i]
		s := fmt.Sprintf("%d/%d", l.healthyPct, l.degradedPct)
		if l.Panic {
			s += "!"
		}
		text = append(text, s)
	}
	return fmt.Sprint(text)
}

// TestSharesByWeight: with weighted_priority_health one heavy host counts for many light ones.
func TestSharesByWeight(t *testing.T) {
	t.Parallel()
	list := members(level{healthy: 1, failed: 1}, level{healthy: 1})
	list[1].weight = 9
	o := testOptions()
	o.weightedHealth = true
	if got := shares(newHostSet(list, &o)); got != "[14/0 86/0]" {
		t.Errorf("shares %s, want a tenth of the weight times 1.4", got)
	}
}

// TestSharesProperties: shares are never negative and come to 100; a priority that all panic about or nobody lives in
// gets nothing while another one lives.
func TestSharesProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.IntRange(0, 12)
		var levels []level
		for range rapid.IntRange(1, 5).Draw(t, "levels") {
			levels = append(levels, level{count.Draw(t, "healthy"), count.Draw(t, "degraded"), count.Draw(t, "failed"), count.Draw(t, "excluded")})
		}
		o := testOptions()
		o.overprovisioning = rapid.IntRange(100, 300).Draw(t, "overprovisioning")
		hs := newHostSet(members(levels...), &o)
		sum := 0
		for i := range hs.Levels {
			l := &hs.Levels[i]
			if l.healthyPct < 0 || l.degradedPct < 0 {
				t.Fatalf("negative share in %s", shares(hs))
			}
			sum += l.healthyPct + l.degradedPct
			if !l.Panic && l.healthyPct > 0 && len(l.Healthy.Hosts) == 0 && hs.healthy+hs.degraded > 0 {
				t.Errorf("%+v: %d%% for the healthy hosts of priority %d, which has none", levels, l.healthyPct, i)
			}
		}
		if len(hs.Hosts) > 0 && sum != 100 {
			t.Errorf("%+v: shares %s come to %d", levels, shares(hs), sum)
		}
		for at := range uint64(100) {
			b, how := hs.Choose(at, &Pick{})
			if len(b.Hosts) == 0 && hs.healthy+hs.degraded > 0 && len(hs.Hosts) > 0 {
				t.Errorf("%+v: place %d has no host (choice %d), shares %s", levels, at, how, shares(hs))
			}
		}
	})
}

func TestFailTrafficOnPanic(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.failOnPanic = true
	b, how := newHostSet(members(level{healthy: 1, failed: 3}), &o).Choose(0, &Pick{})
	if len(b.Hosts) != 0 || how != ChosePanic {
		t.Errorf("%d hosts, choice %d; want none, and panic", len(b.Hosts), how)
	}
}

// TestLocalityWeights: localities get their weights, less what too few usable hosts cannot take.
func TestLocalityWeights(t *testing.T) {
	t.Parallel()
	east, west, none := &Locality{Zone: "east"}, &Locality{Zone: "west"}, &Locality{Zone: "none"}
	list := members(level{healthy: 6, failed: 4})
	for i, z := range []*Locality{east, east, west, west, west, none, west, west, west, west} { // 6 to 9 have failed
		list[i].locality = z
	}
	o := testOptions()
	o.localityWeights = map[localityAt]uint32{{Locality: *east}: 30, {Locality: *west}: 70}
	hs := newHostSet(list, &o)
	// West has 3 of 7: 70 * 1.4 * 3/7 = 42, beside 30 of east.
	got := map[string]int{}
	const picks = 100_000
	for i := range uint64(picks) {
		b, _ := hs.Choose(i*0x9e3779b97f4a7c15, &Pick{})
		switch len(b.Hosts) {
		case 2:
			got["east"]++
		case 3:
			got["west"]++
		default:
			t.Fatalf("a bucket of %d hosts", len(b.Hosts))
		}
	}
	if want := picks * 30 / 72; got["east"] < want*98/100 || got["east"] > want*102/100 {
		t.Errorf("east got %d of %d, want about %d", got["east"], picks, want)
	}
}

// TestHashStays: requests of one hash stay with one priority whatever the random value.
func TestHashStays(t *testing.T) {
	t.Parallel()
	o := testOptions()
	hs := newHostSet(members(level{healthy: 5, failed: 5}, level{healthy: 5}), &o)
	p := Pick{Hash: 85, HashSet: true}
	first, _ := hs.Choose(1, &p)
	for r := range uint64(100) {
		if b, _ := hs.Choose(r, &p); b != first {
			t.Fatal("another priority for the same hash")
		}
	}
}

func TestChooseAllocs(t *testing.T) {
	o := testOptions()
	hs := newHostSet(members(level{healthy: 5, failed: 5}, level{healthy: 5}), &o)
	var p Pick
	if n := testing.AllocsPerRun(1000, func() { hs.Choose(77, &p) }); n != 0 {
		t.Errorf("Choose allocates %v times", n)
	}
}

func TestHealthClass(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		flags    HealthFlag
		class    HealthClass
		excluded bool
	}{
		{0, Healthy, false},
		{DegradedDiscovery, Degraded, false},
		{DegradedActiveCheck | FailedOutlier, Unhealthy, false},
		{FailedActiveCheck | PendingActiveCheck, Unhealthy, true},
		{ExcludedImmediate | FailedActiveCheck, Unhealthy, true},
		{PendingRemoval, Healthy, false},
		{DegradedOutlier, Degraded, false},
	} {
		if c := tt.flags.Class(); c != tt.class || tt.flags.Excluded() != tt.excluded {
			t.Errorf("flags %b: class %d, excluded %t; want %d, %t", tt.flags, c, tt.flags.Excluded(), tt.class, tt.excluded)
		}
	}
}
