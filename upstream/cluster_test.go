package upstream

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"
)

// newTestCluster builds a cluster of hosts 127.0.0.1:<port>, of weight 1.
func newTestCluster(t *testing.T, prev *Cluster, ports ...int) *Cluster {
	t.Helper()
	cfg := DefaultConfig("c")
	for _, p := range ports {
		cfg.Hosts = append(cfg.Hosts, HostConfig{Address: fmt.Sprintf("127.0.0.1:%d", p), Weight: 1})
	}
	c, err := New(3, &cfg, prev)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNewTakesOverHosts(t *testing.T) {
	t.Parallel()
	a := newTestCluster(t, nil, 80, 81, 82)
	a.Hosts()[1].RqTotal.Add(5)
	b := newTestCluster(t, a, 83, 81)
	if b.Hosts()[1] != a.Hosts()[1] {
		t.Error("the host that stays is another one")
	}
	if b.Budgets != a.Budgets {
		t.Error("the budgets are others")
	}
	for _, h := range a.Hosts() {
		if b.Hosts()[0].Slot() == h.Slot() {
			t.Errorf("the new host has slot %d, which %s still holds", h.Slot(), h.Name)
		}
	}
	c := newTestCluster(t, b, 83, 81, 84)
	if got := c.Hosts()[2].Slot(); got != 0 {
		t.Errorf("the next new host has slot %d, want 0, which is free by now", got)
	}
	if c.HostSet().Slots() != 4 {
		t.Errorf("Slots = %d, want 4", c.HostSet().Slots())
	}
}

// TestApply: building a cluster changes nothing that is running; applying it does.
func TestApply(t *testing.T) {
	t.Parallel()
	a := newTestCluster(t, nil, 80)
	a.Apply()
	cfg := *a.Config
	cfg.Hosts = []HostConfig{{Address: "127.0.0.1:80", Weight: 9}}
	cfg.CircuitBreakers.MaxRetries = new(uint32(77))
	b, err := New(3, &cfg, a)
	if err != nil {
		t.Fatal(err)
	}
	if w, m := a.Hosts()[0].Weight(), a.Budgets[Default].Max(Retries); w != 1 || m != 3 {
		t.Errorf("before Apply: weight %d, max_retries %d; want 1, 3", w, m)
	}
	b.Apply()
	if w, m := a.Hosts()[0].Weight(), a.Budgets[Default].Max(Retries); w != 9 || m != 77 {
		t.Errorf("after Apply: weight %d, max_retries %d; want 9, 77", w, m)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		hosts []string
		want  string
	}{
		{[]string{"web:80"}, `cluster "c": hosts[0]`},
		{[]string{"127.0.0.1:80", "127.0.0.1:80"}, "appears twice"},
	} {
		cfg := DefaultConfig("c")
		for _, a := range tt.hosts {
			cfg.Hosts = append(cfg.Hosts, HostConfig{Address: a})
		}
		if _, err := New(0, &cfg, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("New with hosts %q = %v, want %q", tt.hosts, err, tt.want)
		}
	}
}

func TestHostHealth(t *testing.T) {
	t.Parallel()
	h := newTestCluster(t, nil, 80).Hosts()[0]
	for i, step := range []struct {
		flag    HealthFlag
		on      bool
		changed bool
		healthy bool
	}{
		{FailedActiveCheck, true, true, false},
		{FailedActiveCheck, true, false, false},
		{FailedOutlier, true, false, false},
		{FailedActiveCheck, false, false, false},
		{FailedOutlier, false, true, true},
		{FailedOutlier, false, false, true},
	} {
		if changed := h.SetHealth(step.flag, step.on); changed != step.changed || h.Healthy() != step.healthy {
			t.Errorf("step %d: SetHealth = %t, Healthy = %t; want %t, %t", i, changed, h.Healthy(), step.changed, step.healthy)
		}
	}
}

func TestMembershipStats(t *testing.T) {
	t.Parallel()
	a := newTestCluster(t, nil, 80, 81)
	b := newTestCluster(t, a, 80, 81)
	c := newTestCluster(t, b, 80)
	var s MembershipStats
	s.Update(a, nil)
	s.Update(b, a)
	if s.Total.Load() != 2 || s.Healthy.Load() != 2 || s.Change.Load() != 1 {
		t.Errorf("after an equal set: total %d, healthy %d, change %d; want 2, 2, 1", s.Total.Load(), s.Healthy.Load(), s.Change.Load())
	}
	c.Hosts()[0].SetHealth(FailedOutlier, true)
	c.Rebuild()
	s.Update(c, b)
	if s.Total.Load() != 1 || s.Healthy.Load() != 0 || s.Change.Load() != 2 {
		t.Errorf("after a loss: total %d, healthy %d, change %d; want 1, 0, 2", s.Total.Load(), s.Healthy.Load(), s.Change.Load())
	}
}

// Each counted resource has a cache line of its own.
var _ = [1]struct{}{}[64-unsafe.Sizeof(resource{})]

// TestSetHosts: hosts whose address stays are the same ones, slots are free one update later, and what does not differ
// changes nothing.
func TestSetHosts(t *testing.T) {
	t.Parallel()
	list := func(ports ...int) (list []HostConfig) {
		for _, p := range ports {
			list = append(list, HostConfig{Address: fmt.Sprintf("127.0.0.1:%d", p), Weight: 1})
		}
		return list
	}
	c := newTestCluster(t, nil, 80, 81)
	before := c.HostSet()
	if changed, err := c.SetHosts(list(80, 81)); changed || err != nil || c.HostSet() != before {
		t.Errorf("SetHosts of the same hosts = %t, %v; want no change", changed, err)
	}
	if changed, err := c.SetHosts(list(81, 82)); !changed || err != nil {
		t.Fatalf("SetHosts = %t, %v; want a change", changed, err)
	}
	after := c.HostSet()
	if after.Hosts[0] != before.Hosts[1] || after.Membership == before.Membership || after.Version == before.Version {
		t.Error("the host that stays is another one, or the set has an old version")
	}
	if before.Has(after.Hosts[1]) || !after.Has(after.Hosts[1]) || after.Has(before.Hosts[0]) {
		t.Error("Has does not tell old hosts from new ones")
	}
	if after.Hosts[1].Slot() != 2 {
		t.Errorf("the new host has slot %d, want 2: the one that is gone may still have pools", after.Hosts[1].Slot())
	}
	heavier := list(81, 82)
	heavier[0].Weight = 7
	if changed, err := c.SetHosts(heavier); !changed || err != nil || c.HostSet().Membership != after.Membership || c.Hosts()[0].Weight() != 7 {
		t.Errorf("SetHosts with another weight = %t, %v; want a change of the weight alone", changed, err)
	}
	now := c.HostSet()
	if _, err := c.SetHosts(list(83, 83)); err == nil || c.HostSet() != now {
		t.Errorf("SetHosts with an address twice = %v; want an error and no change", err)
	}
	if changed, err := c.SetHosts(nil); !changed || err != nil || len(c.Hosts()) != 0 {
		t.Errorf("SetHosts of nothing = %t, %v", changed, err)
	}
}

// TestPropose: what a cluster finds while it waits concerns nobody else, until it follows the one whose place it takes.
func TestPropose(t *testing.T) {
	t.Parallel()
	named := func(prev *Cluster, server string) *Cluster {
		t.Helper()
		cfg := DefaultConfig("c")
		cfg.Type, cfg.Hosts, cfg.DNSResolvers = LogicalDNS, []HostConfig{{Address: "app.test:80"}}, []string{server}
		cfg.CircuitBreakers.MaxConnections = uint32(len(server))
		c, err := New(1, &cfg, prev)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	at := func(ip string) []HostConfig { return []HostConfig{{Address: ip + ":80", Hostname: "app.test"}} }
	a := named(nil, "10.0.0.2")
	a.Apply()
	if _, err := a.SetHosts(at("10.1.0.1")); err != nil {
		t.Fatal(err)
	}
	h := a.Hosts()[0]
	b := named(a, "10.0.0.33")
	for _, ip := range []string{"10.1.0.9", "10.1.0.2"} {
		if err := b.Propose(at(ip)); err != nil {
			t.Fatal(err)
		}
	}
	if b.Propose([]HostConfig{{Address: "app.test:80"}}) == nil {
		t.Error("a name is taken for an address")
	}
	if got := h.Target().String(); got != "10.1.0.1:80" || b.Hosts()[0] != h || a.Budgets[Default].Remaining(Connections) != int64(len("10.0.0.2")) {
		t.Errorf("while the new cluster waits, the host of the one in force is at %s", got)
	}
	for range 3 { // meanwhile
		a.Rebuild()
	}
	version, membership := a.HostSet().Version, a.HostSet().Membership
	b.Follow(a)
	if got := h.Target().String(); got != "10.1.0.2:80" {
		t.Errorf("the host is at %s", got)
	}
	if hs := b.HostSet(); hs.Version <= version || hs.Membership <= membership {
		t.Errorf("version %d and membership %d, after %d and %d", hs.Version, hs.Membership, version, membership)
	}

	// One that finds its hosts in the same way takes those that the other has found meanwhile.
	c := named(b, "10.0.0.33")
	if _, err := b.SetHosts([]HostConfig{{Address: "10.1.0.3:80", Hostname: "other.test"}}); err != nil {
		t.Fatal(err)
	}
	if c.Follow(b); c.Hosts()[0] != b.Hosts()[0] {
		t.Errorf("hosts %v, want %v", c.Hosts(), b.Hosts())
	}
}

// TestOthers: additional addresses come into force with Apply, and a host whose other addresses change is the same host.
func TestOthers(t *testing.T) {
	t.Parallel()
	at := func(prev *Cluster, others ...string) *Cluster {
		t.Helper()
		cfg := DefaultConfig("c")
		cfg.Hosts = []HostConfig{{Address: "10.0.0.1:80", AdditionalAddresses: others}}
		cfg.Validate(func(path, problem, _ string) { t.Errorf("%s: %s", path, problem) })
		c, err := New(1, &cfg, prev)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	a := at(nil, "[2001:db8::1]:80")
	h := a.Hosts()[0]
	if a.Apply(); len(h.Others()) != 1 || h.Others()[0].String() != "[2001:db8::1]:80" {
		t.Errorf("others %v", h.Others())
	}
	b := at(a, "[2001:db8::2]:80", "10.0.0.2:80")
	if len(h.Others()) != 1 || b.Hosts()[0] != h {
		t.Errorf("others %v before Apply", h.Others())
	}
	if b.Apply(); len(h.Others()) != 2 {
		t.Errorf("others %v", h.Others())
	}
	if m := b.Members(); len(m[0].AdditionalAddresses) != 2 {
		t.Errorf("members %+v", m)
	}
	list := b.Members()
	list[0].AdditionalAddresses = nil
	if changed, err := b.SetHosts(list); !changed || err != nil || len(h.Others()) != 0 {
		t.Errorf("SetHosts = %v, %v; others %v", changed, err, h.Others())
	}
	list[0].AdditionalAddresses = []string{"app.test:80"}
	if _, err := b.SetHosts(list); err == nil {
		t.Error("a name is taken for an address")
	}
}

func TestAdditionalAddresses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ kind, address, other, want string }{
		{"static", "10.0.0.1:80", "[::1]:80", ""},
		{"static", "10.0.0.1:80", "10.0.0.1:80", "hosts[0].additional_addresses[0]"},
		{"static", "10.0.0.1:80", "app.test:80", "hosts[0].additional_addresses[0]"},
		{"static", "10.0.0.1:80", "10.0.0.1:0", "hosts[0].additional_addresses[0]"},
		{"static", "10.0.0.1:80", "unix:/run/a", "hosts[0].additional_addresses[0]"},
		{"static", "unix:/run/a", "10.0.0.1:80", "hosts[0].additional_addresses[0]"},
		{"logical_dns", "app.test:80", "10.0.0.1:80", "hosts[0].additional_addresses"},
	} {
		cfg := DefaultConfig("c")
		cfg.Type, cfg.Hosts = tt.kind, []HostConfig{{Address: tt.address, AdditionalAddresses: []string{tt.other}}}
		var got []string
		cfg.Validate(func(path, _, _ string) { got = append(got, path) })
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s and %s: problems at %q, want %q", tt.address, tt.other, s, tt.want)
		}
	}
}
