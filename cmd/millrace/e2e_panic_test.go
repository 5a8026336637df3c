package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// TestPanic: with one host of four well, all four are used; with two of four only those are. Unless the cluster says that
// it fails in panic.
func TestPanic(t *testing.T) {
	t.Parallel()
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprintf("fails=%t", fails), func(t *testing.T) {
			t.Parallel()
			var ill [4]atomic.Bool
			var hosts []string
			for i := range ill {
				hosts = append(hosts, origin(t, func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/health" && ill[i].Load() {
						w.WriteHeader(503)
					}
					fmt.Fprint(w, i)
				}))
			}
			p := balanced(t, fmt.Sprintf(`"fail_traffic_on_panic": %t, "health_checks": [{"type": "http", "path": "/health", "interval": "30ms",
				"no_traffic_interval": "30ms", "timeout": "5s", "unhealthy_threshold": 1, "healthy_threshold": 1}],
				"hosts": ["%s"]`, fails, strings.Join(hosts, `", "`)), "")
			set := func(n int) { // the first n are well
				for i := range ill {
					ill[i].Store(i >= n)
				}
				p.wantStat("cluster.c.membership_healthy", int64(n))
			}
			const requests = 40
			// spread asks for pages and returns how many each host has answered, and how many nobody.
			spread := func() (by [4]int, unserved int) {
				for range requests {
					resp, err := http.Get(p.url("/"))
					if err != nil {
						t.Fatal(err)
					}
					body := bodyOf(t, resp)
					if resp.StatusCode != 200 {
						if body != "no healthy upstream" {
							t.Errorf("status %d: %s", resp.StatusCode, body)
						}
						unserved++
						continue
					}
					by[body[0]-'0']++
				}
				return by, unserved
			}
			entered := int64(0)
			for _, step := range []struct {
				well   int
				panics bool
			}{{4, false}, {1, true}, {2, false}, {0, true}, {3, false}} {
				set(step.well)
				// The loops hear of it a moment later than the counts.
				if !eventually(func() bool {
					before := p.stat("cluster.c.lb_healthy_panic")
					by, unserved := spread()
					panicked := p.stat("cluster.c.lb_healthy_panic")-before == requests
					entered = p.stat("cluster.c.lb_healthy_panic")
					for i, n := range by {
						want := i < step.well || step.panics
						if step.panics && fails {
							want = false
						}
						if (n > 0) != want {
							return false
						}
					}
					return panicked == step.panics && (unserved == requests) == (step.panics && fails)
				}) {
					by, unserved := spread()
					t.Fatalf("%d of 4 well: answers %v, %d unserved, panics %d after %d", step.well, by, unserved, p.stat("cluster.c.lb_healthy_panic"), entered)
				}
			}
		})
	}
}
