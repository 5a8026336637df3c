package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDrainUnderLoad: SIGTERM ends the process without breaking a request that was accepted.
func TestDrainUnderLoad(t *testing.T) {
	t.Parallel()
	for round := range 3 {
		p := startProxy(t, strings.Replace(oneRoute(origin(t, echo), "", "", ""), `"concurrency": 1`, `"concurrency": 2`, 1))
		clients := startLoad(t, p.addr(""), 8)
		if !eventually(func() bool { return clients.requests.Load() > int64(200*(round+1)) }) {
			t.Fatal("the load stands still")
		}
		begun := time.Now()
		p.signal(syscall.SIGTERM)
		p.wantExit(exitFine)
		clients.check(t)
		if clients.closes.Load() == 0 {
			t.Error("no response said Connection: close")
		}
		if took := time.Since(begun); took > waitMax/2 {
			t.Errorf("draining took %v", took)
		}
	}
}

// TestDrainWaitsForRequests: what is under way at SIGTERM ends in its own time, and says close; an
// idle connection goes after drain_timeout; nobody is accepted any more.
func TestDrainWaitsForRequests(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	p := startProxy(t, oneRoute(origin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
		}
		_, _ = io.WriteString(w, "done")
	}), `"drain_timeout": "100ms"`, "", ""))
	addr := p.addr("")
	slow, idle := dial(t, addr), dial(t, addr)
	idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	idle.wantHead("200 OK")
	idle.bytes(4)
	slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
	p.wantStat("cluster.web.upstream_rq_active", 1)
	p.signal(syscall.SIGTERM)
	idle.wantEnd()
	if !eventually(func() bool { return strings.Contains(p.adminGet("/server_info"), "DRAINING") }) {
		t.Error("/server_info does not say DRAINING")
	}
	if resp, err := http.Get("http://" + p.admin + "/ready"); err != nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("/ready = %v, %v; want 503", resp, err)
	} else {
		_ = bodyOf(t, resp)
	}
	if c, err := net.Dial("tcp", addr); err == nil {
		_ = c.Close()
		t.Error("a draining process accepts")
	}
	close(release)
	slow.wantHead("200 OK", "onnection: close")
	if got := slow.rest(); got != "done" {
		t.Errorf("the request under way ends with %q", got)
	}
	p.wantExit(exitFine)
}

func TestDrainTimeIsKept(t *testing.T) {
	t.Parallel()
	block := make(chan struct{})
	defer close(block)
	p := startProxy(t, oneRoute(origin(t, func(http.ResponseWriter, *http.Request) { <-block }), "", "", ""), "--drain-time", "300ms")
	c := dial(t, p.addr(""))
	c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	p.wantStat("cluster.web.upstream_rq_active", 1)
	begun := time.Now()
	p.signal(syscall.SIGTERM)
	p.wantExit(exitFine)
	if took := time.Since(begun); took < 300*time.Millisecond || took > waitMax/2 {
		t.Errorf("the process ended after %v, want 300ms or a little more", took)
	}
}

func TestSecondSignalLeavesAtOnce(t *testing.T) {
	t.Parallel()
	block := make(chan struct{})
	defer close(block)
	p := startProxy(t, oneRoute(origin(t, func(http.ResponseWriter, *http.Request) { <-block }), "", "", ""))
	c := dial(t, p.addr(""))
	c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	p.wantStat("cluster.web.upstream_rq_active", 1)
	p.signal(syscall.SIGTERM)
	if !eventually(func() bool { return strings.Contains(p.logText(), "msg=draining") }) {
		t.Fatal("no drain after SIGTERM")
	}
	p.signal(syscall.SIGINT)
	p.wantExit(exitFine)
	if !strings.Contains(p.logText(), "second signal") {
		t.Error("the log does not say why the process left")
	}
}

func TestQuit(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(origin(t, echo), "", "", ""))
	if code, body := p.adminPost("/quitquitquit"); code != http.StatusOK || body != "OK\n" {
		t.Errorf("/quitquitquit = %d %q", code, body)
	}
	p.wantExit(exitFine)
}

// TestHealthcheckFail: a process that was told to fail says so to load balancers in front, and lets
// connections end, except those of listeners that drain only when they are modified.
func TestHealthcheckFail(t *testing.T) {
	t.Parallel()
	listener := func(name, drain string) string {
		return fmt.Sprintf(`{"name": %q, "address": "127.0.0.1:0", "drain_type": %q, "filters": [{"name": "http_connection_manager", "config": {
   "http_filters": [{"name": "health_check", "config": {"path": "/healthz"}}, {"name": "router"}],
   "route_config": {"routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": "ok"}}]}}}]}`, name, drain)
	}
	p := startProxy(t, fmt.Sprintf(`{"concurrency": 1, "listeners": [%s, %s]}`, listener("a", "default"), listener("b", "modify_only")))
	ask := func(listener, path string) (status int, closes bool) {
		t.Helper()
		c := dial(t, p.addr(listener))
		c.send("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = bodyOf(t, resp)
		return resp.StatusCode, resp.Close
	}
	want := func(when, listener, path string, status int, closes bool) {
		t.Helper()
		if s, c := ask(listener, path); s != status || c != closes {
			t.Errorf("%s: %s on %s gives %d, close %v; want %d, %v", when, path, listener, s, c, status, closes)
		}
	}
	ready := func(when string, want int) {
		t.Helper()
		resp, err := http.Get("http://" + p.admin + "/ready")
		if err != nil {
			t.Fatal(err)
		}
		if body := bodyOf(t, resp); resp.StatusCode != want {
			t.Errorf("%s: /ready = %d %s, want %d", when, resp.StatusCode, body, want)
		}
	}
	ready("at first", 200)
	want("at first", "a", "/healthz", 200, false)
	want("at first", "a", "/", 200, false)
	p.adminPost("/healthcheck/fail")
	ready("failed", 503)
	want("failed", "a", "/healthz", 503, true)
	want("failed", "b", "/healthz", 503, false)
	want("failed", "a", "/", 200, true)
	want("failed", "b", "/", 200, false)
	p.wantStat("server.live", 0)
	p.wantStat("server.state", 1)
	p.adminPost("/healthcheck/ok")
	ready("well again", 200)
	want("well again", "a", "/healthz", 200, false)
	want("well again", "a", "/", 200, false)
}

func TestDrainListeners(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		query   string
		refuses bool // new connections, in the end
	}{
		{"", true},
		{"?graceful", true},
		{"?graceful&skip_exit", false},
		{"?inboundonly", true},
	} {
		listener := `"address": "127.0.0.1:0"`
		if tt.query == "?inboundonly" {
			listener += `, "traffic_direction": "inbound"`
		}
		t.Run(tt.query, func(t *testing.T) {
			t.Parallel()
			config := strings.Replace(oneRoute(origin(t, echo), "", "", ""), `"address": "127.0.0.1:0"`, listener, 1)
			p := startProxy(t, config, "--drain-time", "300ms")
			addr := p.addr("")
			old := dial(t, addr)
			old.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			resp, err := http.ReadResponse(old.r, nil)
			if err != nil || resp.Close {
				t.Fatalf("response %v, %v", resp, err)
			}
			_ = bodyOf(t, resp)
			if code, body := p.adminPost("/drain_listeners" + tt.query); code != http.StatusOK {
				t.Fatalf("%d %s", code, body)
			}
			old.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			old.wantHead("200 OK", "onnection: close")
			refused := func() bool {
				c, err := net.Dial("tcp", addr)
				if err == nil {
					_ = c.Close()
				}
				return err != nil
			}
			if tt.refuses {
				if !eventually(refused) {
					t.Error("the listeners accept for ever")
				}
			} else if <-time.After(600 * time.Millisecond); refused() {
				t.Error("the listeners were closed in spite of skip_exit")
			}
			whole := tt.refuses && tt.query != "?inboundonly" // all that the process has
			if code, body := p.adminPost("/reload"); whole && (code != http.StatusBadRequest || !strings.Contains(body, "draining")) {
				t.Errorf("/reload of a draining process = %d %s", code, body)
			}
			p.signal(syscall.SIGTERM)
			p.wantExit(exitFine)
		})
	}
}

// TestAdminPages: every page answers, and what changes something wants POST.
func TestAdminPages(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(origin(t, echo), "", "", ""))
	if code, _ := get(t, p.url("/")); code != http.StatusOK {
		t.Fatal(code)
	}
	for path, want := range map[string]string{
		"/":                               "millrace",
		"/help":                           "/quitquitquit",
		"/ready":                          "LIVE",
		"/server_info":                    `"state": "LIVE"`,
		"/stats":                          "http.e2e.downstream_rq_total: 1\n",
		"/stats?filter=rq_200":            "cluster.web.upstream_rq_200: 1\n",
		"/stats?format=json":              `"stats"`,
		"/stats/prometheus":               `envoy_cluster_upstream_rq_total{envoy_cluster_name="web"} 1`,
		"/clusters":                       "web::default_priority::max_connections::1024\n",
		"/clusters?format=json":           `"cluster_statuses"`,
		"/listeners":                      p.addr(""),
		"/config_dump":                    `"route_config"`,
		"/config_dump?resource=clusters":  `"web"`,
		"/config_status":                  `"loads": 1`,
		"/memory":                         "loop 0 blocks",
		"/stats?filter=^server.live$":     "server.live: 1\n",
		"/stats?filter=arena_mapped_byte": "server.arena_mapped_bytes: ",
	} {
		if got := p.adminGet(path); !strings.Contains(got, want) {
			t.Errorf("%s lacks %q:\n%s", path, want, got)
		}
	}
	for _, path := range []string{"/quitquitquit", "/healthcheck/fail", "/drain_listeners", "/reload", "/reset_counters", "/reopen_logs", "/logging"} {
		resp, err := http.Get("http://" + p.admin + path)
		if err != nil {
			t.Fatal(err)
		}
		if body := bodyOf(t, resp); resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("GET %s = %d %s, want 405", path, resp.StatusCode, body)
		}
	}
	if code, body := p.adminPost("/logging?level=debug"); code != http.StatusOK || !strings.Contains(body, "debug") {
		t.Errorf("/logging = %d %s", code, body)
	}
}

// TestStatsFlushInterval: histograms have values of the last interval, of the length that the configuration says, until
// one passes in which nothing is recorded.
func TestStatsFlushInterval(t *testing.T) {
	t.Parallel()
	host := origin(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	config := oneRoute(host, "", "", "")
	p := startProxy(t, strings.Replace(config, "{", `{"stats_flush_interval": "40ms", `, 1))
	const page = "/stats?filter=^cluster.web.upstream_rq_time$"
	shows := regexp.MustCompile(`P100\((nan|[0-9.]+),`)
	last := func() string {
		if m := shows.FindStringSubmatch(p.adminGet(page)); m != nil {
			return m[1]
		}
		return "nothing"
	}
	if !eventually(func() bool { get(t, p.url("/")); v := last(); return v != "nan" && v != "nothing" }) {
		t.Errorf("no interval has values: %s", p.adminGet(page))
	}
	if !eventually(func() bool { return last() == "nan" }) {
		t.Errorf("the interval without requests has values: %s", p.adminGet(page))
	}
	p.write(strings.Replace(config, "{", `{"stats_flush_interval": "0s", `, 1))
	if status, text := p.adminPost("/reload"); status == http.StatusOK || !strings.Contains(text, "stats_flush_interval") {
		t.Errorf("an interval of nothing is taken: %d %s", status, text)
	}
}
