package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestOutlierUnderTraffic: a host that answers 503, resets or is slow is ejected by what requests bring, and comes back,
// without a client seeing anything of it.
func TestOutlierUnderTraffic(t *testing.T) {
	t.Parallel()
	good := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "page") }
	var mode atomic.Value
	mode.Store("")
	bad := origin(t, func(w http.ResponseWriter, r *http.Request) {
		switch mode.Load() {
		case "503":
			w.WriteHeader(503)
		case "reset":
			panic(http.ErrAbortHandler)
		case "slow":
			select {
			case <-time.After(waitMax):
			case <-r.Context().Done():
			}
		}
		fmt.Fprint(w, "page")
	})
	log := filepath.Join(t.TempDir(), "ejections")
	p := startProxy(t, `{"listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {
		"route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c",
		"retry_policy": {"retry_on": "5xx,reset,connect-failure", "num_retries": 5, "per_try_timeout": "500ms"}}}]}}}]}],
		"clusters": [{"name": "c", "circuit_breakers": {"retry_budget": {"min_retry_concurrency": 100}},
		"outlier_detection": {"consecutive_5xx": 3, "interval": "50ms", "base_ejection_time": "300ms", "max_ejection_time": "300ms",
			"max_ejection_percent": 50, "event_log_path": "`+log+`"},
		"hosts": ["`+origin(t, good)+`", "`+origin(t, good)+`", "`+bad+`"]}]}`)
	stop := traffic(t, p.url("/"))
	for _, m := range []string{"503", "reset", "slow"} {
		mode.Store(m)
		begun := time.Now()
		p.wantFlags(bad, "/failed_outlier_check")
		t.Logf("%s: out after %v", m, time.Since(begun).Round(time.Millisecond))
		mode.Store("")
		p.wantFlags(bad, "healthy")
		t.Logf("%s: back after %v", m, time.Since(begun).Round(time.Millisecond))
	}
	if n, failed := stop(); failed != "" || n == 0 {
		t.Errorf("of %d requests one was answered %q", n, failed)
	}
	if n := p.stat("cluster.c.outlier_detection.ejections_enforced_consecutive_5xx"); n < 3 {
		t.Errorf("%d ejections, want 3 or more", n)
	}
	text, _ := os.ReadFile(log)
	if s := string(text); strings.Count(s, `"action":"EJECT"`) < 3 || !strings.Contains(s, `"upstream_url":"`+bad+`"`) {
		t.Errorf("the event log is\n%s", s)
	}
}

// TestRetryStorm: when all requests fail, retries stay below the budget.
func TestRetryStorm(t *testing.T) {
	t.Parallel()
	var asked, now, most atomic.Int64
	o := origin(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("x-envoy-attempt-count") > "1" {
			n := now.Add(1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			defer now.Add(-1)
		}
		<-time.After(20 * time.Millisecond)
		w.WriteHeader(503)
	})
	p := startProxy(t, `{"listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {
		"route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "include_request_attempt_count": true,
		"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c",
		"retry_policy": {"retry_on": "5xx", "num_retries": 5, "retry_back_off": {"base_interval": "1ms"}}}}]}]}}}]}],
		"clusters": [{"name": "c", "hosts": ["`+o+`"]}]}`)
	const clients, requests = 50, 10
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			client := &http.Client{Timeout: waitMax, Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for range requests {
				resp, err := client.Get(p.url("/"))
				if err != nil {
					t.Error(err)
					return
				}
				bodyOf(t, resp)
			}
		})
	}
	all.Wait()
	t.Logf("%d requests, %d retries at most at once, %d in all", clients*requests, most.Load(), asked.Load()-clients*requests)
	if n := most.Load(); n > clients/5+3 || n == 0 {
		t.Errorf("%d retries at once of %d clients, want a fifth", n, clients)
	}
	if p.stat("cluster.c.upstream_rq_retry_overflow") == 0 {
		t.Error("no retry was refused")
	}
	p.wantStat("cluster.c.upstream_rq_active", 0)
}

// brokenOrigin is the name of an origin that answers 503.
const brokenOrigin = "broken"

// driveOutlierExample: clients do not notice the host that answers 503, which is ejected.
func driveOutlierExample(t *testing.T, p *proxy) {
	for range 30 {
		resp, err := http.Get(p.url("/"))
		if err != nil {
			t.Fatal(err)
		}
		if bodyOf(t, resp); resp.StatusCode != 200 {
			t.Errorf("status %d, want 200", resp.StatusCode)
		}
	}
	p.wantStat("cluster.shop.outlier_detection.ejections_active", 1)
}

// TestPeakEWMA: a slow host of three gets far fewer requests.
func TestPeakEWMA(t *testing.T) {
	t.Parallel()
	var counts [3]atomic.Int64
	var hosts []string
	for i := range counts {
		hosts = append(hosts, `"`+origin(t, func(w http.ResponseWriter, _ *http.Request) {
			if counts[i].Add(1); i == 0 {
				<-time.After(50 * time.Millisecond)
			}
			fmt.Fprint(w, "page")
		})+`"`)
	}
	p := startProxy(t, `{"listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {
		"route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}}}]}],
		"clusters": [{"name": "c", "lb_policy": "peak_ewma", "hosts": [`+strings.Join(hosts, ", ")+`]}]}`)
	for range 600 { // one after another: the number of requests a host has says nothing
		resp, err := http.Get(p.url("/"))
		if err != nil {
			t.Fatal(err)
		}
		bodyOf(t, resp)
	}
	slow, fast := counts[0].Load(), counts[1].Load()+counts[2].Load()
	t.Logf("slow %d, fast %d", slow, fast)
	if slow*2 > fast/2 { // one draw of nine has no other host in it
		t.Errorf("the slow host got %d requests, the fast ones %d", slow, fast)
	}
}

// TestDegradedHosts: a host that says x-envoy-degraded in a response gets no more requests while enough others do not say so,
// and is asked again when its time is over.
func TestDegradedHosts(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	degraded := origin(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("x-envoy-degraded", "")
		fmt.Fprint(w, "page")
	})
	page := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "page") }
	p := startProxy(t, `{"concurrency": 1, "listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {
		"route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}}}]}],
		"clusters": [{"name": "c", "hosts": ["`+origin(t, page)+`", "`+origin(t, page)+`", "`+origin(t, page)+`", "`+degraded+`"],
		"outlier_detection": {"detect_degraded_hosts": true, "interval": "50ms", "base_ejection_time": "1s"}}]}`)
	stop := traffic(t, p.url("/"))
	p.wantFlags(degraded, "/degraded_outlier_detection")
	p.wantStat("cluster.c.membership_degraded", 1)
	first := asked.Load()
	p.wantFlags(degraded, "healthy")
	if !eventually(func() bool { return asked.Load() > first }) {
		t.Error("the host gets no requests after its time")
	}
	if n, failed := stop(); failed != "" || n == 0 {
		t.Errorf("of %d requests one was answered %q", n, failed)
	}
	if n := p.stat("cluster.c.outlier_detection.detected_degradation"); n == 0 {
		t.Error("nothing is counted")
	}
}
