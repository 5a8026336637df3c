package main

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// retryHost is a config with one listener, whose route of everything is given without its cluster, before a cluster "c" of
// some hosts.
func retryHost(virtualHost, route, cluster string, hosts ...string) string {
	return `{"listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {"use_remote_address": true,
		"route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], ` + trailingComma(virtualHost) + `
		"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"` + leadingComma(route) + `}}]}]}}}]}],
		"clusters": [{"name": "c", ` + trailingComma(cluster) + `"hosts": ["` + strings.Join(hosts, `", "`) + `"]}]}`
}

// ask sends a GET and returns its status and body.
func (p *proxy) ask(path string, fields ...string) (int, string) {
	p.t.Helper()
	rq, err := http.NewRequest("GET", p.url(path), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		rq.Header.Add(name, value)
	}
	resp, err := http.DefaultClient.Do(rq)
	if err != nil {
		p.t.Error(err)
		return 0, ""
	}
	return resp.StatusCode, bodyOf(p.t, resp)
}

// TestRetryHeadersAtTheEdge: what a request says about its retries counts if it comes from inside, and does not if it comes from
// outside. In both cases no host hears of it.
func TestRetryHeadersAtTheEdge(t *testing.T) {
	t.Parallel()
	const slow = 600 * time.Millisecond
	var mu sync.Mutex
	asked := map[string]int{}
	o := origin(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked[r.Header.Get("X-Id")]++
		n := asked[r.Header.Get("X-Id")]
		mu.Unlock()
		for name := range r.Header {
			if name = strings.ToLower(name); strings.HasPrefix(name, "x-envoy-") && !slices.Contains(
				[]string{"x-envoy-internal", "x-envoy-external-address", "x-envoy-expected-rq-timeout-ms"}, name) {
				t.Errorf("%s: the host got %s", r.Header.Get("X-Id"), name)
			}
		}
		switch r.URL.Path {
		case "/grpc":
			w.Header().Set("grpc-status", "14")
		case "/again":
			w.Header().Set("X-Again", "")
		case "/slow":
			if n == 1 {
				select {
				case <-time.After(slow):
				case <-r.Context().Done():
				}
			}
		default:
			code, _ := strconv.Atoi(r.URL.Path[1:])
			w.WriteHeader(code)
		}
		fmt.Fprint(w, n)
	})
	p := startProxy(t, retryHost("", `"retry_policy": {"retry_on": "gateway-error,retriable-status-codes,retriable-headers",
		"retry_back_off": {"base_interval": "1ms"}}`, `"circuit_breakers": {"max_retries": 1000}`, o))
	const perTry = "x-envoy-upstream-rq-per-try-timeout-ms: 200"
	for _, tt := range []struct {
		path    string
		fields  string
		inside  string // status and number of attempts
		outside string
	}{
		{"/500", "x-envoy-retry-on: 5xx", "500 2", "500 1"},
		{"/grpc", "x-envoy-retry-grpc-on: unavailable", "200 2", "200 1"},
		{"/503", "x-envoy-max-retries: 3", "503 4", "503 2"},
		{"/503", "x-envoy-max-retries: 0", "503 1", "503 2"},
		{"/418", "x-envoy-retriable-status-codes: 404,418", "418 2", "418 1"},
		{"/again", "x-envoy-retriable-header-names: X-Again", "200 2", "200 1"},
		{"/slow", "x-envoy-upstream-rq-timeout-ms: 200", "504 1", "200 1"},
		{"/slow", "x-envoy-upstream-rq-timeout-ms: 200\nx-envoy-upstream-rq-timeout-alt-response: 1", "204 1", "200 1"},
		{"/slow", perTry, "200 2", "200 1"},
		{"/slow", perTry + "\nx-envoy-hedge-on-per-try-timeout: true", "200 2", "200 1"},
		{"/slow", "x-envoy-hedge-on-per-try-timeout: true", "200 1", "200 1"},
		{"/503", "x-envoy-upstream-alt-stat-name: other", "503 2", "503 2"},
	} {
		for _, where := range []string{"inside", "outside"} {
			fields, want := strings.Split(tt.fields, "\n"), tt.inside
			if where == "outside" {
				fields, want = append(fields, "x-forwarded-for: 203.0.113.1"), tt.outside
			}
			id := strings.ReplaceAll(fmt.Sprintf("%s %s, %s", tt.path, tt.fields, where), "\n", " ")
			status, _ := p.ask(tt.path, append(fields, "x-id: "+id)...)
			mu.Lock()
			got := fmt.Sprintf("%d %d", status, asked[id])
			mu.Unlock()
			if got != want {
				t.Errorf("%s: status and attempts %s, want %s", id, got, want)
			}
		}
	}
	p.wantStat("cluster.c.upstream_rq_per_try_timeout", 1) // that of the hedge is none
	p.wantStat("cluster.c.upstream_rq_active", 0)
}

// TestHedgingCutsTheTail: with one slow host of two, no client waits for it.
func TestHedgingCutsTheTail(t *testing.T) {
	t.Parallel()
	const slow = 3 * time.Second
	var late atomic.Int64
	lame := origin(t, func(w http.ResponseWriter, r *http.Request) {
		late.Add(1)
		select {
		case <-time.After(slow):
		case <-r.Context().Done():
		}
	})
	well := origin(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "page") })
	p := startProxy(t, retryHost(`"hedge_policy": {"hedge_on_per_try_timeout": true}`, `"retry_policy": {"retry_on": "5xx",
		"per_try_timeout": "150ms", "retry_host_predicate": ["previous_hosts"], "host_selection_retry_max_attempts": 3,
		"retry_back_off": {"base_interval": "1ms"}}`, `"circuit_breakers": {"max_retries": 1000}`, lame, well))
	var clients sync.WaitGroup
	var most atomic.Int64
	for range 4 {
		clients.Go(func() {
			for range 12 {
				begun := time.Now()
				if status, body := p.ask("/"); status != 200 || body != "page" {
					t.Errorf("status %d, body %q", status, body)
				}
				for d, old := int64(time.Since(begun)), most.Load(); d > old && !most.CompareAndSwap(old, d); old = most.Load() {
				}
			}
		})
	}
	clients.Wait()
	t.Logf("%d of 48 requests met the slow host, the longest took %v", late.Load(), time.Duration(most.Load()))
	if late.Load() == 0 || time.Duration(most.Load()) >= slow {
		t.Errorf("%d requests met the slow host, the longest took %v", late.Load(), time.Duration(most.Load()))
	}
	p.wantStat("cluster.c.upstream_rq_active", 0)
	if n := p.stat("cluster.c.upstream_rq_retry_success"); n == 0 || n > late.Load() {
		t.Errorf("upstream_rq_retry_success is %d, want 1 to %d", n, late.Load())
	}
	p.wantStat("cluster.c.upstream_rq_per_try_timeout", 0)
}

// TestHedgingWithinTheBudget: when all hosts are slow, hedges stay below the budget of retries.
func TestHedgingWithinTheBudget(t *testing.T) {
	t.Parallel()
	o := origin(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-r.Context().Done():
		}
	})
	p := startProxy(t, retryHost("", `"hedge_policy": {"hedge_on_per_try_timeout": true}, "retry_policy": {"retry_on": "5xx", "num_retries": 5,
		"per_try_timeout": "5ms", "retry_back_off": {"base_interval": "1ms"}}`, "", o))
	const clients, requests = 40, 5
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
				if bodyOf(t, resp); resp.StatusCode != 200 {
					t.Errorf("status %d", resp.StatusCode)
				}
			}
		})
	}
	all.Wait()
	retries, refused := p.stat("cluster.c.upstream_rq_retry"), p.stat("cluster.c.upstream_rq_retry_overflow")
	t.Logf("%d requests, %d hedges, %d refused", clients*requests, retries, refused)
	// A hedge lives about as long as a request: a fifth of all that is active is a quarter of the requests.
	if retries == 0 || retries > clients*requests*2/3 || refused == 0 {
		t.Errorf("%d hedges for %d requests, %d refused", retries, clients*requests, refused)
	}
	p.wantStat("cluster.c.upstream_rq_active", 0)
	p.wantStat("cluster.c.circuit_breakers.default.remaining_retries", 3)
}

// TestRetryAfter: a retry waits as long as the response says.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	o := origin(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1)%2 == 1 {
			w.Header().Set("Retry-After", r.URL.Path[1:])
			w.WriteHeader(503)
		}
	})
	p := startProxy(t, retryHost("", `"retry_policy": {"retry_on": "5xx", "rate_limited_retry_back_off": {
		"reset_headers": [{"name": "Retry-After"}], "max_interval": "10s"}}`, "", o))
	for _, tt := range []struct {
		path        string
		least, most time.Duration
	}{
		{"/1", time.Second, 5 * time.Second},
		{"/11", 0, 5 * time.Second}, // longer than anyone waits
		{"/soon", 0, 5 * time.Second},
	} {
		begun := time.Now()
		status, _ := p.ask(tt.path)
		if d := time.Since(begun); status != 200 || d < tt.least || d > tt.most {
			t.Errorf("%s: status %d after %v, want 200 after %v to %v", tt.path, status, d, tt.least, tt.most)
		}
	}
	p.wantStat("cluster.c.upstream_rq_retry_backoff_ratelimited", 1)
	p.wantStat("cluster.c.upstream_rq_retry_backoff_exponential", 2)
	p.wantStat("cluster.c.retry.upstream_rq_503", 3)
	p.wantStat("cluster.c.upstream_rq_503", 0)
	p.wantStat("cluster.c.upstream_rq_200", 3)
}

// TestPerTryIdleTimeout: a host of which nothing comes is given up, before its response and within.
func TestPerTryIdleTimeout(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	o := origin(t, func(w http.ResponseWriter, r *http.Request) {
		first := asked.Add(1) == 1
		for i := range 4 { // longer in all than the time, and shorter between two pieces
			if first || r.URL.Path == "/stalls" && i == 2 {
				<-r.Context().Done()
				return
			}
			fmt.Fprint(w, i)
			_ = http.NewResponseController(w).Flush()
			<-time.After(200 * time.Millisecond)
		}
	})
	p := startProxy(t, retryHost("", `"retry_policy": {"retry_on": "reset", "per_try_idle_timeout": "600ms"}`, "", o))
	if status, body := p.ask("/"); status != 200 || body != "0123" {
		t.Errorf("status %d, body %q; want 200, 0123", status, body)
	}
	p.wantStat("cluster.c.upstream_rq_per_try_idle_timeout", 1)
	p.wantStat("cluster.c.upstream_rq_retry", 1)
	resp, err := http.Get(p.url("/stalls"))
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	n := 0
	for err == nil {
		var k int
		k, err = resp.Body.Read(b[n:])
		n += k
	}
	_ = resp.Body.Close()
	if string(b[:n]) != "01" || err.Error() == "EOF" {
		t.Errorf("body %q, %v; want 01, and no end", b[:n], err)
	}
	p.wantStat("cluster.c.upstream_rq_per_try_idle_timeout", 2)
	p.wantStat("cluster.c.upstream_rq_active", 0)
}

// TestTimeoutAfterRetry: the timeout of the route holds when a retry has had to wait.
func TestTimeoutAfterRetry(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	o := origin(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) > 1 {
			<-r.Context().Done()
			return
		}
		w.WriteHeader(503)
	})
	p := startProxy(t, retryHost("", `"timeout": "300ms", "retry_policy": {"retry_on": "5xx"}`, "", o))
	if status, body := p.ask("/"); status != 504 {
		t.Errorf("status %d, body %q; want 504", status, body)
	}
	p.wantStat("cluster.c.upstream_rq_timeout", 1)
}

// TestHostHearsOfRetries: what the hosts of retries are told.
func TestHostHearsOfRetries(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var heard []string
	var expected []int
	o := origin(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n := len(heard)
		heard = append(heard, r.Header.Get("x-envoy-attempt-count")+" "+r.Header.Get("x-envoy-is-timeout-retry"))
		ms, _ := strconv.Atoi(r.Header.Get("x-envoy-expected-rq-timeout-ms"))
		expected = append(expected, ms)
		mu.Unlock()
		switch n {
		case 0:
			<-r.Context().Done()
		case 1:
			w.WriteHeader(503)
		}
	})
	p := startProxy(t, retryHost(`"include_request_attempt_count": true, "include_is_timeout_retry_header": true`, `"timeout": "10s",
		"hedge_policy": {"hedge_on_per_try_timeout": true}, "retry_policy": {"retry_on": "5xx", "num_retries": 2, "per_try_timeout": "300ms"}`, "", o))
	if status, body := p.ask("/", "x-envoy-is-timeout-retry: true"); status != 200 {
		t.Errorf("status %d, body %q; want 200", status, body)
	}
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(heard, ", "); got != "1 , 2 true, 3 false" {
		t.Errorf("the hosts heard %q", got)
	}
	if e := expected; len(e) != 3 || e[0] != 10000 || e[1] > 9700 || e[1] < 1 || e[2] > e[1] {
		t.Errorf("the hosts have %v ms, want less each time", e)
	}
}

// slowOrigin is the name of an origin that does not answer in time.
const slowOrigin = "slow"

// driveRetriesExample: clients notice neither the slow host nor the one that fails.
func driveRetriesExample(t *testing.T, p *proxy) {
	for _, path := range []string{"/catalog/a", "/order"} {
		for range 6 {
			if status, body := p.ask(path); status != 200 {
				t.Errorf("%s: status %d, body %q; want 200", path, status, body)
			}
		}
	}
	if p.stat("cluster.shop.upstream_rq_per_try_timeout") == 0 || p.stat("cluster.shop.retry.upstream_rq_503") == 0 {
		t.Error("no request met the slow host, or the one that fails")
	}
	p.wantStat("cluster.shop.upstream_rq_active", 0)
}
