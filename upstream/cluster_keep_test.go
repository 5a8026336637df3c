package upstream

import (
	"fmt"
	"strings"
	"testing"
)

// checkedNames builds a cluster of names with health checks, in place of prev.
func checkedNames(t *testing.T, prev *Cluster, edit func(*Config)) *Cluster {
	t.Helper()
	cfg := DefaultConfig("c")
	cfg.Type, cfg.Hosts = StrictDNS, []HostConfig{{Address: "app.test:80"}}
	cfg.HealthChecks = []HealthCheckConfig{DefaultHealthCheckConfig("tcp")}
	if edit != nil {
		edit(&cfg)
	}
	c, err := New(1, &cfg, prev)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// find gives a cluster the hosts of ports.
func (c *Cluster) find(t *testing.T, ports ...int) {
	t.Helper()
	var list []HostConfig
	for _, p := range ports {
		list = append(list, HostConfig{Address: fmt.Sprintf("127.0.0.1:%d", p), Hostname: "app.test"})
	}
	if _, err := c.SetHosts(list); err != nil {
		t.Fatal(err)
	}
}

// describeHosts lists the ports of the hosts, those that are only kept with a mark.
func describeHosts(c *Cluster) string {
	var s []string
	for _, h := range c.Hosts() {
		mark := ""
		if h.Health()&PendingRemoval != 0 {
			mark = "-"
		}
		s = append(s, fmt.Sprint(mark, h.Addr.Port()))
	}
	return strings.Join(s, " ")
}

// TestKeep: the rule of two times two, discovered or gone, well or ill.
func TestKeep(t *testing.T) {
	t.Parallel()
	c := checkedNames(t, nil, nil)
	want := func(want string) {
		t.Helper()
		if got := describeHosts(c); got != want {
			t.Errorf("hosts %q, want %q", got, want)
		}
	}
	c.find(t, 1, 2, 3, 4)
	hosts := c.Hosts()
	for _, h := range hosts[:3] {
		h.SetHealth(FailedActiveCheck, false)
	}
	c.find(t, 1) // 2 and 3 are well, 4 has never been
	want("1 -2 -3")
	membership := c.HostSet().Membership
	if c.Rebuild(); c.HostSet().Membership != membership {
		t.Error("a rebuild changes the membership")
	}
	hosts[1].SetHealth(FailedActiveCheck, true)
	if c.Rebuild(); c.HostSet().Membership == membership {
		t.Error("a host is gone, and the membership is the same")
	}
	want("1 -3")
	c.find(t, 1, 3)
	want("1 3")
	if c.Hosts()[1] != hosts[2] {
		t.Error("a host that comes back is another one")
	}
	hosts[2].SetHealth(FailedActiveCheck, true)
	c.Rebuild()
	want("1 3") // ill, but discovered
	c.find(t)
	want("-1")

	for name, edit := range map[string]func(*Config){
		"ignore_health_on_host_removal": func(c *Config) { c.IgnoreHealthOnHostRemoval = true },
		"no checks":                     func(c *Config) { c.HealthChecks = nil },
	} {
		next := checkedNames(t, c, edit)
		if got := describeHosts(next); got != "" {
			t.Errorf("%s: hosts %q after a reload", name, got)
		}
		next.find(t, 7)
		next.Hosts()[0].SetHealth(FailedActiveCheck, false)
		if next.find(t); len(next.Hosts()) != 0 {
			t.Errorf("%s: hosts %q are kept", name, describeHosts(next))
		}
	}
	want("-1") // of the cluster in force
}

// TestKeepBounded: answers that change all the time do not make a cluster grow for ever.
func TestKeepBounded(t *testing.T) {
	t.Parallel()
	c := checkedNames(t, nil, nil)
	for round := range 4 {
		ports := make([]int, 2000)
		for i := range ports {
			ports[i] = 1 + round*len(ports) + i
		}
		c.find(t, ports...)
		for _, h := range c.Hosts() {
			h.SetHealth(FailedActiveCheck, false)
		}
	}
	if n := len(c.Hosts()); n != 2000+keptMax {
		t.Errorf("%d hosts, want %d", n, 2000+keptMax)
	}
}

func TestUnresolved(t *testing.T) {
	t.Parallel()
	c := checkedNames(t, nil, nil)
	if c.Unresolved() {
		t.Error("unresolved before anybody has asked")
	}
	if c.SetResolved(false); !c.Unresolved() {
		t.Error("resolved after a failure")
	}
	if !checkedNames(t, c, func(c *Config) { c.ConnectTimeout++ }).Unresolved() {
		t.Error("a reload of something else resolves names")
	}
	if c.SetResolved(true); c.Unresolved() {
		t.Error("unresolved after an answer")
	}
	c.find(t, 1)
	if c.SetResolved(false); c.Unresolved() {
		t.Error("unresolved with hosts")
	}
}
