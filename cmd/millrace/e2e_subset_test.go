package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestSubsets: requests go to hosts of the version that they ask for, while a hosts file gives hosts other versions.
func TestSubsets(t *testing.T) {
	t.Parallel()
	addrs := namedOrigins(t, 3)
	dir := t.TempDir()
	file := filepath.Join(dir, "hosts.json")
	give := func(versions ...string) {
		text := ""
		for i, v := range versions {
			text += fmt.Sprintf(`%s{"address": %q, "metadata": {"version": %q}}`, map[bool]string{true: ", "}[i > 0], addrs[i], v)
		}
		next := filepath.Join(dir, "next")
		if err := os.WriteFile(next, []byte(`[`+text+`]`), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, file); err != nil {
			t.Fatal(err)
		}
	}
	give("1", "1", "2")
	p := startProxy(t, fmt.Sprintf(`{"listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {
		"route_config": {"routes": [
			{"match": {"prefix": "/", "headers": [{"name": "x-version", "exact": "1"}]}, "route": {"cluster": "c", "metadata_match": {"version": "1"}}},
			{"match": {"prefix": "/", "headers": [{"name": "x-version", "exact": "2"}]}, "route": {"cluster": "c", "metadata_match": {"version": "2"}}},
			{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}}}]}],
		"clusters": [{"name": "c", "type": "file", "hosts_file": %q,
			"lb_subset_config": {"fallback_policy": "default_subset", "default_subset": {"version": "1"}, "subset_selectors": [{"keys": ["version"]}]}}]}`, file))
	asked := func(version string) string {
		seen := map[string]bool{}
		for range 12 {
			host, _ := p.who("x-version: " + version)
			seen[host] = true
		}
		s := ""
		for i := range addrs {
			if seen[fmt.Sprint(i)] {
				s += fmt.Sprint(i)
			}
		}
		return s
	}
	want := func(one, two string) {
		t.Helper()
		if !eventually(func() bool { return asked("1") == one && asked("2") == two && asked("0") == one }) {
			t.Errorf("version 1 gets %s, 2 %s, none %s; want %s, %s, %s", asked("1"), asked("2"), asked("0"), one, two, one)
		}
	}
	want("01", "2")
	p.wantStat("cluster.c.lb_subsets_active", 2)
	changes := p.stat("cluster.c.membership_change")
	stop := traffic(t, p.url("/"))
	give("1", "2", "2")
	want("0", "12")
	give("1", "1", "1") // nobody is left: the default subset takes over
	want("012", "012")
	if good, bad := stop(); bad != "" || good == 0 {
		t.Errorf("%d good answers, but %s", good, bad)
	}
	p.wantStat("cluster.c.lb_subsets_removed", 1)
	for _, name := range []string{"lb_subsets_selected", "lb_subsets_fallback"} {
		if p.stat("cluster.c."+name) == 0 {
			t.Errorf("%s is 0", name)
		}
	}
	p.wantStat("cluster.c.membership_change", changes) // hosts have only changed what they are
}
