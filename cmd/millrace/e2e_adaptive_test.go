package main

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestAdaptiveConcurrency: an origin that does four requests at a time is offered far more by 80 clients. Without the filter all of
// them wait; with it those that are let in are answered soon, and the others at once.
func TestAdaptiveConcurrency(t *testing.T) {
	t.Parallel()
	const workers, service, clients, lasts = 4, 20 * time.Millisecond, 80, 2 * time.Second
	run := func(filter string) (good []time.Duration, refused int, p *proxy) {
		slots := make(chan struct{}, workers)
		o := origin(t, func(w http.ResponseWriter, _ *http.Request) {
			slots <- struct{}{}
			<-time.After(service)
			<-slots
		})
		p = startProxy(t, `{"listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {"stat_prefix": "edge",
			"http_filters": [`+filter+`{"name": "router"}],
			"route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}}}]}],
			"clusters": [{"name": "c", "hosts": ["`+o+`"]}]}`)
		var mu sync.Mutex
		var all sync.WaitGroup
		end := time.Now().Add(lasts)
		for range clients {
			all.Go(func() {
				client := &http.Client{Timeout: waitMax, Transport: &http.Transport{}}
				defer client.CloseIdleConnections()
				for time.Now().Before(end) {
					begun := time.Now()
					resp, err := client.Get(p.url("/"))
					if err != nil {
						t.Error(err)
						return
					}
					body := bodyOf(t, resp)
					took := time.Since(begun)
					mu.Lock()
					if resp.StatusCode == 200 {
						good = append(good, took)
					} else if refused++; resp.StatusCode != 503 || body != "reached concurrency limit" {
						t.Errorf("status %d: %s", resp.StatusCode, body)
					}
					mu.Unlock()
					if resp.StatusCode != 200 {
						<-time.After(10 * time.Millisecond) // a client that is refused waits
					}
				}
			})
		}
		all.Wait()
		slices.Sort(good)
		return good, refused, p
	}
	without, _, _ := run("")
	with, refused, p := run(`{"name": "adaptive_concurrency", "config": {"gradient_controller_config": {"concurrency_limit_params": {
		"concurrency_update_interval": "100ms"}, "min_rtt_calc_params": {"interval": "60s", "request_count": 10}}}}, `)
	if len(with) == 0 || len(without) == 0 {
		t.Fatalf("%d answers with the filter, %d without", len(with), len(without))
	}
	median := func(d []time.Duration) time.Duration { return d[len(d)/2].Round(time.Millisecond) }
	slowest := func(d []time.Duration) time.Duration { return d[len(d)*99/100].Round(time.Millisecond) }
	t.Logf("without: %d answers, median %v, p99 %v; with: %d answers, median %v, p99 %v, %d refused, limit %d", len(without), median(without),
		slowest(without), len(with), median(with), slowest(with), refused, p.stat("http.edge.adaptive_concurrency.gradient_controller.concurrency_limit"))
	if median(with) > median(without)/2 {
		t.Errorf("median %v with the filter, %v without", median(with), median(without))
	}
	if n := p.stat("http.edge.adaptive_concurrency.gradient_controller.rq_blocked"); n != int64(refused) || n == 0 {
		t.Errorf("rq_blocked %d, %d refusals seen", n, refused)
	}
	if p.stat("http.edge.adaptive_concurrency.gradient_controller.min_rtt_msecs") < 15 {
		t.Error("min_rtt_msecs is below what the origin takes")
	}
	p.wantStat("cluster.c.upstream_rq_active", 0)
}

// driveAdaptiveConcurrencyExample measures for the first 50 requests, and then has a limit.
func driveAdaptiveConcurrencyExample(t *testing.T, p *proxy) {
	const scope = "http.edge.adaptive_concurrency.gradient_controller."
	p.wantStat(scope+"min_rtt_calculation_active", 1)
	for range 60 {
		resp, err := http.Get(p.url("/"))
		if err != nil {
			t.Fatal(err)
		}
		bodyOf(t, resp)
	}
	p.wantStat(scope+"min_rtt_calculation_active", 0)
}
