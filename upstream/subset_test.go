package upstream

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"millrace/engine"
)

// described returns a member for each metadata: "stage=prod version=1".
func described(list ...string) []member {
	var ms []member
	for i, text := range list {
		h := newHost(engine.Addr{}, 1, 0)
		h.Name, h.slot = fmt.Sprint(i), uint32(i)
		ms = append(ms, member{host: h, weight: 1, metadata: pairs(text)})
	}
	return ms
}

// pairs returns the pairs in a text.
func pairs(text string) map[string]string {
	m := map[string]string{}
	for f := range strings.FieldsSeq(text) {
		k, v, _ := strings.Cut(f, "=")
		m[k] = v
	}
	return m
}

// found returns the names of the hosts that a request with these criteria may get, and how they were chosen.
func found(hs *HostSet, criteria string) string {
	b, how := hs.Choose(0, &Pick{Criteria: NewCriteria(pairs(criteria))})
	var names []string
	for _, h := range b.Hosts {
		names = append(names, h.Name)
	}
	s := strings.Join(names, "")
	switch how & subsetMask {
	case ChoseFallback:
		s += " fallback"
	case ChoseFallbackPanic:
		s += " panic"
	case ChoseSubset:
		s += " selected"
	}
	return strings.TrimSpace(s)
}

func subsetsOf(cfg *SubsetConfig, ms []member) *HostSet {
	o := testOptions()
	o.subsets = cfg
	return newHostSet(ms, &o)
}

// TestSubsets has the rules.
func TestSubsets(t *testing.T) {
	t.Parallel()
	hosts := described("stage=prod version=1", "stage=prod version=2", "stage=dev version=2", "version=3", "")
	sel := func(list ...SubsetSelectorConfig) []SubsetSelectorConfig { return list }
	one := func(keys ...string) SubsetSelectorConfig { return SubsetSelectorConfig{Keys: keys} }
	with := func(policy string, keys ...string) SubsetSelectorConfig {
		return SubsetSelectorConfig{Keys: keys, FallbackPolicy: policy}
	}
	for _, tt := range []struct {
		name string
		cfg  SubsetConfig
		want map[string]string // by criteria
	}{
		{"no fallback", SubsetConfig{FallbackPolicy: noFallback, Selectors: sel(one("version"), one("version", "stage"))}, map[string]string{
			"version=2": "12 selected", "stage=prod version=2": "1 selected", "version=3": "3 selected",
			"": "", "version=9": "", "stage=prod": "", "stage=dev version=1": "", "version=2 stage=prod other=1": "",
		}},
		{"any", SubsetConfig{FallbackPolicy: anyEndpoint, Selectors: sel(one("version"))}, map[string]string{
			"version=1": "0 selected", "version=9": "01234 fallback", "": "01234 fallback", "stage=prod": "01234 fallback",
		}},
		{"default", SubsetConfig{FallbackPolicy: defaultSubset, DefaultSubset: pairs("stage=prod"), Selectors: sel(one("version"))}, map[string]string{
			"version=1": "0 selected", "version=9": "01 fallback", "": "01 fallback",
		}},
		{"empty default", SubsetConfig{FallbackPolicy: defaultSubset, DefaultSubset: pairs("stage=test"), Selectors: sel(one("version"))}, map[string]string{
			"version=1": "0 selected", "": "fallback",
		}},
		{"panic", SubsetConfig{FallbackPolicy: defaultSubset, DefaultSubset: pairs("stage=test"), PanicModeAny: true, Selectors: sel(one("version"))}, map[string]string{
			"version=1": "0 selected", "": "01234 panic", "version=9": "01234 panic",
		}},
		{"of a selector", SubsetConfig{FallbackPolicy: anyEndpoint, DefaultSubset: pairs("stage=prod"), Selectors: sel(
			with(noFallback, "version"), with(defaultSubset, "stage"), with(anyEndpoint, "stage", "version"))}, map[string]string{
			"version=9": "", "stage=x": "01 fallback", "stage=x version=9": "01234 fallback", "other=1": "01234 fallback", "": "01234 fallback",
		}},
		{"fewer keys", SubsetConfig{FallbackPolicy: anyEndpoint, Selectors: sel(
			SubsetSelectorConfig{Keys: []string{"version", "stage"}, FallbackPolicy: keysSubset, FallbackKeysSubset: []string{"version"}},
			with(noFallback, "version"))}, map[string]string{
			"stage=dev version=2": "2 selected", "stage=dev version=1": "0 selected", "stage=dev version=9": "", "stage=dev": "01234 fallback",
		}},
		{"fewer keys of no selector", SubsetConfig{FallbackPolicy: anyEndpoint, Selectors: sel(
			SubsetSelectorConfig{Keys: []string{"version", "stage"}, FallbackPolicy: keysSubset, FallbackKeysSubset: []string{"stage"}})}, map[string]string{
			"stage=dev version=2": "2 selected", "stage=dev version=1": "01234 fallback",
		}},
		{"single", SubsetConfig{FallbackPolicy: noFallback, Selectors: sel(SubsetSelectorConfig{Keys: []string{"version"}, SingleHostPerSubset: true})}, map[string]string{
			"version=2": "1 selected", "version=1": "0 selected",
		}},
	} {
		hs := subsetsOf(&tt.cfg, hosts)
		for criteria, want := range tt.want {
			if got := found(hs, criteria); got != want {
				t.Errorf("%s: %q gets %q, want %q", tt.name, criteria, got, want)
			}
		}
		if !hs.Has(hosts[4].host) || len(hs.Hosts) != 5 {
			t.Errorf("%s: the whole set lacks hosts", tt.name)
		}
		if want := (map[bool]int{true: 1})[tt.name == "single"]; hs.subsets.duplicates != want {
			t.Errorf("%s: %d duplicates, want %d", tt.name, hs.subsets.duplicates, want)
		}
	}
}

// TestSubsetsApart: values are told apart whatever is in them.
func TestSubsetsApart(t *testing.T) {
	t.Parallel()
	hosts := described("", "")
	hosts[0].metadata = map[string]string{"a": "x\x00", "b": "y"}
	hosts[1].metadata = map[string]string{"a": "x", "b": "\x00y"}
	hs := subsetsOf(&SubsetConfig{FallbackPolicy: noFallback, Selectors: []SubsetSelectorConfig{{Keys: []string{"a", "b"}}}}, hosts)
	for i := range hosts {
		b, how := hs.Choose(0, &Pick{Criteria: NewCriteria(hosts[i].metadata)})
		if how != ChoseSubset || len(b.Hosts) != 1 || b.Hosts[0] != hosts[i].host {
			t.Errorf("host %d: %d hosts, %b", i, len(b.Hosts), how)
		}
	}
	one, other := described("a=1,"), described("a=1")
	one[0].metadata = map[string]string{"a": "1, b=2"}
	cfg := &SubsetConfig{FallbackPolicy: noFallback, Selectors: []SubsetSelectorConfig{{Keys: []string{"a"}}}}
	if created, removed := subsetChanges(subsetsOf(cfg, one).subsets, subsetsOf(cfg, other).subsets); created != 1 || removed != 1 {
		t.Errorf("%d created, %d removed", created, removed)
	}
}

// TestSubsetHealth: priorities, panic and shares are those of the subset.
func TestSubsetHealth(t *testing.T) {
	t.Parallel()
	hosts := described("v=1", "v=1", "v=1", "v=2", "v=2")
	hosts[4].priority = 1
	cfg := &SubsetConfig{FallbackPolicy: anyEndpoint, Selectors: []SubsetSelectorConfig{{Keys: []string{"v"}}}}
	hosts[0].host.SetHealth(FailedActiveCheck, true)
	hosts[3].host.SetHealth(FailedActiveCheck, true)
	hs := subsetsOf(cfg, hosts)
	for criteria, want := range map[string]string{"v=1": "12 selected", "v=2": "4 selected", "": "12 fallback"} {
		if got := found(hs, criteria); got != want {
			t.Errorf("%q gets %q, want %q", criteria, got, want)
		}
	}
	hosts[1].host.SetHealth(FailedActiveCheck, true)
	b, how := subsetsOf(cfg, hosts).Choose(0, &Pick{Criteria: NewCriteria(pairs("v=1"))})
	if len(b.Hosts) != 3 || how != ChoseSubset|ChosePanic {
		t.Errorf("with one of three well: %d hosts, %b", len(b.Hosts), how)
	}
	var st ClusterStats
	for _, how := range []Choice{how, ChoseShare, ChoseFallback, ChoseFallbackPanic | ChosePanic} {
		st.CountChoice(how)
	}
	if got := [4]uint64{st.SubsetsSelected.Load(), st.SubsetsFallback.Load(), st.SubsetsPanic.Load(), st.HealthyPanic.Load()}; got != [4]uint64{1, 2, 1, 2} {
		t.Errorf("selected, fallback, fallback panic, panic: %v", got)
	}
}

// TestSubsetsAgainstModel compares with a filter over all hosts for each request.
func TestSubsetsAgainstModel(t *testing.T) {
	t.Parallel()
	keys := []string{"a", "b", "c"}
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.SliceOfNDistinct(rapid.SampledFrom(keys), 1, 3, rapid.ID[string])
		random := func(label string) map[string]string {
			m := map[string]string{}
			for _, k := range keys {
				if v := rapid.IntRange(0, 3).Draw(t, label+k); v > 0 {
					m[k] = fmt.Sprint(v)
				}
			}
			return m
		}
		var hosts []member
		for i := range rapid.IntRange(0, 12).Draw(t, "hosts") {
			h := newHost(engine.Addr{}, 1, 0)
			h.Name, h.slot = fmt.Sprint(i), uint32(i)
			hosts = append(hosts, member{host: h, weight: 1, metadata: random("host")})
		}
		cfg := &SubsetConfig{FallbackPolicy: noFallback}
		seen := map[string]bool{}
		for range rapid.IntRange(1, 4).Draw(t, "selectors") {
			list := sortedKeys(some.Draw(t, "keys"))
			if id := strings.Join(list, ""); !seen[id] {
				seen[id] = true
				cfg.Selectors = append(cfg.Selectors, SubsetSelectorConfig{Keys: list})
			}
		}
		hs := subsetsOf(cfg, hosts)
		used := map[int]bool{}
		for range 10 {
			want := random("criteria")
			b, how := hs.Choose(0, &Pick{Criteria: NewCriteria(want)})
			var model []*Host
			if seen[strings.Join(slices.Sorted(maps.Keys(want)), "")] {
				for _, m := range hosts {
					if NewCriteria(want).hold(m.metadata) {
						model = append(model, m.host)
					}
				}
			}
			if !slices.Equal(b.Hosts, model) || (how == ChoseSubset) != (len(model) > 0) {
				t.Fatalf("%v gets %d hosts, %b; want %d", want, len(b.Hosts), how, len(model))
			}
			if len(b.Hosts) > 0 {
				used[b.Index] = true
				if b.Index >= hs.Buckets {
					t.Fatalf("bucket %d of %d", b.Index, hs.Buckets)
				}
			}
		}
	})
}

// TestSubsetsMax: subsets beyond the limit are refused and counted, and their hosts are found by the fallback.
func TestSubsetsMax(t *testing.T) {
	t.Parallel()
	var list []string
	for i := range subsetsMax + 5 {
		list = append(list, fmt.Sprintf("id=%d", i))
	}
	hs := subsetsOf(&SubsetConfig{FallbackPolicy: anyEndpoint, Selectors: []SubsetSelectorConfig{{Keys: []string{"id"}}}}, described(list...))
	if len(hs.subsets.subsets) != subsetsMax || hs.subsets.refused != 5 {
		t.Errorf("%d subsets, %d refused", len(hs.subsets.subsets), hs.subsets.refused)
	}
	if got := found(hs, "id=17"); got != "17 selected" {
		t.Errorf("id=17 gets %q", got)
	}
	b, how := hs.Choose(0, &Pick{Criteria: NewCriteria(pairs(fmt.Sprintf("id=%d", subsetsMax+1)))})
	if len(b.Hosts) != len(list) || how != ChoseFallback {
		t.Errorf("one beyond the limit gets %d hosts, %b", len(b.Hosts), how)
	}
}

// TestMetadataChanges: a host whose metadata change stays the same one.
func TestMetadataChanges(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig("c")
	cfg.Subsets = &SubsetConfig{FallbackPolicy: noFallback, Selectors: []SubsetSelectorConfig{{Keys: []string{"v"}}}}
	hosts := func(a, b string) []HostConfig {
		return []HostConfig{{Address: "10.0.0.1:1", Weight: 1, Metadata: pairs(a)}, {Address: "10.0.0.2:1", Weight: 1, Metadata: pairs(b)}}
	}
	cfg.Hosts = hosts("v=1", "v=2")
	c, err := New(0, &cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	var st MembershipStats
	st.Update(c, nil)
	first := c.Hosts()[0]
	for _, tt := range []struct {
		a, b             string
		changed          bool
		created, removed uint64 // so far
		active           int64
	}{{"v=1", "v=2", false, 2, 0, 2}, {"v=2", "v=2", true, 2, 1, 1}, {"v=3", "v=4", true, 4, 2, 2}, {"", "", true, 4, 4, 0}} {
		changed, err := c.SetHosts(hosts(tt.a, tt.b))
		if err != nil || changed != tt.changed {
			t.Fatalf("%q, %q: changed %t, %v", tt.a, tt.b, changed, err)
		}
		st.Refresh(c)
		if c.Hosts()[0] != first {
			t.Error("another host")
		}
		if st.SubsetsCreated.Load() != tt.created || st.SubsetsRemoved.Load() != tt.removed || st.SubsetsActive.Load() != tt.active {
			t.Errorf("%q, %q: %d created, %d removed, %d active", tt.a, tt.b, st.SubsetsCreated.Load(), st.SubsetsRemoved.Load(), st.SubsetsActive.Load())
		}
		if got := c.Members()[0].Metadata; !maps.Equal(got, pairs(tt.a)) {
			t.Errorf("metadata %v", got)
		}
		if tt.a != "" {
			if b, _ := c.HostSet().Choose(0, &Pick{Criteria: NewCriteria(pairs(tt.a))}); len(b.Hosts) == 0 || b.Hosts[0] != first {
				t.Errorf("%q is not found", tt.a)
			}
		}
	}
}

func TestSubsetProblems(t *testing.T) {
	t.Parallel()
	v := []SubsetSelectorConfig{{Keys: []string{"v"}}}
	for want, cfg := range map[string]SubsetConfig{
		"": {FallbackPolicy: noFallback, Selectors: v},
		"subset_selectors[1].keys: these are the keys of subset_selectors[0] already":          {Selectors: []SubsetSelectorConfig{{Keys: []string{"a", "b"}}, {Keys: []string{"b", "a"}}}},
		"subset_selectors[0].keys: a key appears twice":                                        {Selectors: []SubsetSelectorConfig{{Keys: []string{"a", "a"}}}},
		"subset_selectors[0].single_host_per_subset: it is for selectors of one key":           {Selectors: []SubsetSelectorConfig{{Keys: []string{"a", "b"}, SingleHostPerSubset: true}}},
		"subset_selectors[0].fallback_keys_subset: the fallback policy is not \"keys_subset\"": {Selectors: []SubsetSelectorConfig{{Keys: []string{"a", "b"}, FallbackKeysSubset: []string{"a"}}}},
		"subset_selectors[0].fallback_keys_subset: it is not a part of keys":                   {Selectors: []SubsetSelectorConfig{{Keys: []string{"a", "b"}, FallbackPolicy: keysSubset, FallbackKeysSubset: []string{"c"}}}},
		"default_subset: the fallback policy is \"default_subset\", and there is none":         {FallbackPolicy: defaultSubset, Selectors: v},
		"default_subset: no fallback policy is \"default_subset\"":                             {FallbackPolicy: anyEndpoint, DefaultSubset: pairs("a=1"), Selectors: v},
		"panic_mode_any: it is for fallback_policy \"default_subset\"":                         {FallbackPolicy: anyEndpoint, PanicModeAny: true, Selectors: v},
	} {
		var got []string
		cfg.Validate(func(path, problem, _ string) { got = append(got, path+": "+problem) })
		if s := strings.Join(got, "\n"); s != want {
			t.Errorf("%q, want %q", s, want)
		}
	}
}

// TestSubsetAllocs: the choice costs no memory. BenchmarkSubset measures its time.
func TestSubsetAllocs(t *testing.T) {
	hs, p := manySubsets()
	if n := testing.AllocsPerRun(100, func() {
		if b, _ := hs.Choose(1, p); len(b.Hosts) != 1 {
			t.Fatal("not found")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func manySubsets() (*HostSet, *Pick) {
	var list []string
	for i := range 1000 {
		list = append(list, fmt.Sprintf("id=%d stage=prod", i))
	}
	hs := subsetsOf(&SubsetConfig{FallbackPolicy: anyEndpoint, Selectors: []SubsetSelectorConfig{{Keys: []string{"stage"}}, {Keys: []string{"stage", "id"}}}}, described(list...))
	return hs, &Pick{Criteria: NewCriteria(pairs("stage=prod id=617"))}
}

func BenchmarkSubset(b *testing.B) {
	hs, p := manySubsets()
	for b.Loop() {
		hs.Choose(1, p)
	}
}
