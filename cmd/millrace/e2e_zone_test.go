package main

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// zoneFile writes a hosts file with so many proxies in each of the zones a, b and c.
func zoneFile(t *testing.T, path string, proxies ...int) {
	t.Helper()
	list := []map[string]any{}
	for z, n := range proxies {
		for i := range n {
			list = append(list, map[string]any{"address": fmt.Sprintf("10.0.%d.%d:80", z, i+1), "locality": map[string]string{"zone": string(rune('a' + z))}})
		}
	}
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", text, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// shares returns the share of n requests that each answer has.
func (p *proxy) shares(n int) map[string]float64 {
	p.t.Helper()
	var mu sync.Mutex
	var asked atomic.Int64
	var all sync.WaitGroup
	got := map[string]float64{}
	for range 4 {
		all.Go(func() {
			client := &http.Client{Timeout: waitMax, Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for asked.Add(1) <= int64(n) {
				resp, err := client.Get(p.url("/"))
				if err != nil {
					p.t.Error(err)
					return
				}
				who := bodyOf(p.t, resp)
				mu.Lock()
				got[who] += 1 / float64(n)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return got
}

// wantShares asks n times.
func (p *proxy) wantShares(when string, n int, want map[string]float64) {
	p.t.Helper()
	for who, share := range p.shares(n) {
		if d := math.Abs(share - want[who]); d > 5*math.Sqrt(want[who]*(1-want[who])/float64(n))+1e-9 {
			p.t.Errorf("%s: %q got %.3f of %d requests, want %.3f", when, who, share, n, want[who])
		}
	}
}

// TestZoneAware: requests stay in the zone of the proxy as far as it can take them. When a host there stops, and when
// proxies come and go, the shares follow the formula.
func TestZoneAware(t *testing.T) {
	t.Parallel()
	proxies := filepath.Join(t.TempDir(), "proxies.json")
	zoneFile(t, proxies, 1, 1, 1)
	stopped := processOrigin(t, "127.0.0.1:0")
	hosts := []string{fmt.Sprintf(`{"address": %q, "locality": {"zone": "a"}}`, stopped.addr(""))}
	for _, zone := range []string{"a", "b", "b", "c", "c"} {
		addr := origin(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, zone) })
		hosts = append(hosts, fmt.Sprintf(`{"address": %q, "locality": {"zone": %q}}`, addr, zone))
	}
	p := startProxy(t, `{"concurrency": 2, "node": {"locality": {"zone": "a"}}, "cluster_manager": {"local_cluster_name": "proxies"},
		"listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {
			"route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}}}]}],
		"clusters": [{"name": "proxies", "type": "file", "hosts_file": "`+proxies+`"},
			{"name": "c", "zone_aware_lb_config": {"min_cluster_size": 5}, "hosts": [`+strings.Join(hosts, ", ")+`],
			"health_checks": [{"timeout": "1s", "interval": "50ms", "no_traffic_interval": "50ms", "unhealthy_threshold": 2, "healthy_threshold": 1, "type": "http", "path": "/"}]}]}`)
	p.wantStat("cluster.c.membership_healthy", 6)
	// A third of the proxies, a third of the hosts: all stay.
	p.wantShares("all hosts", 200, map[string]float64{"process": 0.5, "a": 0.5})
	if n := p.stat("cluster.c.lb_zone_routing_all_directly"); n != 200 {
		t.Errorf("lb_zone_routing_all_directly is %d after 200 requests", n)
	}

	// change does what changes the shares, and waits until both loops go by them.
	change := func(what func()) {
		t.Helper()
		before := p.stat("cluster.c.lb_recalculate_zone_structures")
		what()
		if !eventually(func() bool { return p.stat("cluster.c.lb_recalculate_zone_structures") >= before+2 }) {
			t.Fatal("the loops have not taken the change up")
		}
	}
	change(func() {
		stopped.signal(syscall.SIGSTOP)
		t.Cleanup(func() { stopped.signal(syscall.SIGCONT) })
	})
	p.wantStat("cluster.c.membership_healthy", 5)
	// A third of the proxies, a fifth of the hosts: 2000/3333 stay, and the others can take 667 each.
	p.wantShares("a host is stopped", 1000, map[string]float64{"a": 0.6, "b": 0.2, "c": 0.2})
	if s, c := p.stat("cluster.c.lb_zone_routing_sampled"), p.stat("cluster.c.lb_zone_routing_cross_zone"); s+c < 1000 || s < c {
		t.Errorf("%d sampled and %d cross zone after 1000 requests", s, c)
	}

	change(func() { zoneFile(t, proxies, 2, 3, 0) })
	// 40 % of the proxies, 20 % of the hosts: half stay; b sends 60 % and takes 40 %, so that c gets the rest.
	p.wantShares("other proxies", 1000, map[string]float64{"a": 0.5, "c": 0.5})
	change(func() { zoneFile(t, proxies, 0, 3, 3) })
	p.wantStat("cluster.c.lb_local_cluster_not_ok", 2)
	p.wantShares("no proxy here", 1000, map[string]float64{"a": 0.2, "b": 0.4, "c": 0.4})
}

// TestSlowStart: a host that is added takes more and more, and at the end of the window its share.
func TestSlowStart(t *testing.T) {
	t.Parallel()
	const window = 2 * time.Second
	for _, policy := range []string{"round_robin", "least_request"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			addrs := namedOrigins(t, 2)
			hosts := filepath.Join(t.TempDir(), "hosts.json")
			write := func(addrs ...string) {
				text := `["` + strings.Join(addrs, `", "`) + `"]`
				if err := os.WriteFile(hosts+".new", []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(hosts+".new", hosts); err != nil {
					t.Fatal(err)
				}
			}
			write(addrs[0])
			p := balanced(t, `"type": "file", "hosts_file": "`+hosts+`", "lb_policy": "`+policy+`", "`+policy+`_lb_config": {
				"slow_start_config": {"slow_start_window": "`+window.String()+`"}}`, "")
			p.wantStat("cluster.c.membership_total", 1)
			time.Sleep(window) // the first host is to be old
			write(addrs...)
			p.wantStat("cluster.c.membership_total", 2)
			// A tenth of its weight beside all of the other host's is 9 %, half of it a second later 33 %.
			if first := p.shares(200)["1"]; first > 0.42 {
				t.Errorf("the new host has %.2f of the requests at once", first)
			}
			last := 0.0
			if !eventually(func() bool { last = p.shares(200)["1"]; return last > 0.45 && last < 0.55 }) {
				t.Errorf("the new host has %.2f of the requests, want half in the end", last)
			}
		})
	}
}
