package admin

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace/engine/stats"
)

var update = flag.Bool("update", false, "write the golden files")

// httpSet and clusterSet are sets as the packages that own them have them.
type httpSet struct {
	CxTotal stats.Counter   `stat:"downstream_cx_total" help:"connections accepted"`
	RqTotal stats.Counter   `stat:"downstream_rq_total" help:"requests whose head was complete"`
	Active  stats.Gauge     `stat:"downstream_rq_active" help:"requests under way"`
	Time    stats.Histogram `stat:"downstream_rq_time" unit:"us" help:"first byte in to last byte out, milliseconds"`
	Codes   stats.Codes     `stat:"downstream_rq_" help:"responses by status code"`
}

type clusterSet struct {
	CxTotal stats.Counter   `stat:"upstream_cx_total" help:"connections opened"`
	RqTotal stats.Counter   `stat:"upstream_rq_total" help:"requests forwarded"`
	Retry   stats.Counter   `stat:"upstream_rq_retry" help:"requests tried again"`
	Length  stats.Histogram `stat:"upstream_cx_length_ms" help:"life of a connection, milliseconds"`
	Codes   stats.Codes     `stat:"upstream_rq_" help:"responses by status code"`
}

// fixture is a process with two loops, two clusters and known numbers.
type fixture struct {
	deps  Deps
	srv   *Server
	state atomic.Value // State
	calls chan string  // what was asked of the process

	http    [2]httpSet
	cluster [2]clusterSet
	report  Report
	failing error
}

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newFixture() *fixture {
	f := &fixture{calls: make(chan string, 16)}
	f.state.Store(StateLive)
	reg := new(stats.Registry)
	for i := range f.http {
		reg.Add(stats.HTTPScope("edge").OnLoop(i), &f.http[i])
		reg.Add(stats.ClusterScope("web").OnLoop(i), &f.cluster[i])
	}
	reg.Add(stats.ClusterScope(`we"ird\:one`), &clusterSet{})
	reg.Text("server.version_text", func() string { return `1.0 "x"` })
	f.http[0].RqTotal.Add(3)
	f.http[1].RqTotal.Add(4)
	f.http[0].Active.Inc()
	f.http[0].Time.Record(400)
	f.http[1].Time.Record(250_000)
	f.cluster[0].RqTotal.Add(5)
	f.cluster[0].Codes.Inc(200)
	f.cluster[1].Codes.Inc(200)
	f.cluster[1].Codes.Inc(503)
	f.deps = Deps{
		Stats: reg,
		Hosts: []string{"Proxy.Example.com:9901"},
		Info: func() Info {
			return Info{Version: "1.0", Commit: "0000ff12", Started: time.Now().Add(-90 * time.Second), Concurrency: 2, ConfigPath: "edge.json",
				DrainTime: 600 * time.Second, CommandLine: []string{"run", "-c", "edge.json"}, Node: Node{ID: "n1", Cluster: "edge", Zone: "a"}}
		},
		FlushInterval: func() time.Duration { return time.Minute },
		State:         func() State { return f.state.Load().(State) },
		Listeners:     f.listeners,
		Clusters:      f.clusters,
		Certificates:  func() []Certificates { return testCertificates },
		ConfigDump: func() (ConfigDump, error) {
			return ConfigDump{"abc", epoch, "edge.json", []byte(testConfig)}, f.failing
		},
		ConfigStatus: func() ConfigStatus {
			return ConfigStatus{Path: "edge.json", Hash: "abc", LoadedAt: epoch, Loads: 3, Refusals: 1, LastAttempt: epoch.Add(time.Minute), Last: refusedReport}
		},
		Regions:     func() []Region { return []Region{{"loop 0 blocks", 1 << 20, 4096}, {"loop 1 blocks", 1 << 20, 0}} },
		Reload:      func(context.Context) Report { f.calls <- "reload"; return f.report },
		Drain:       func(o DrainOptions) error { f.calls <- "drain" + drainText(o); return f.failing },
		Quit:        func() { f.calls <- "quit" },
		SetHealthy:  func(ok bool) { f.calls <- map[bool]string{true: "healthy", false: "unhealthy"}[ok] },
		ReopenLogs:  func() error { f.calls <- "reopen"; return f.failing },
		LogLevel:    func() string { return "info" },
		SetLogLevel: func(l string) error { f.calls <- "level " + l; return f.failing },
	}
	f.srv = New(f.deps)
	return f
}

func drainText(o DrainOptions) string {
	out := ""
	for name, set := range map[string]bool{"graceful": o.Graceful, "inboundonly": o.InboundOnly} {
		if set {
			out += " " + name
		}
	}
	if o.SkipExit {
		out += " skip_exit"
	}
	return out
}

const testConfig = `{"admin": {"address": "127.0.0.1:9901"},
 "listeners": [{"name": "https", "tls": {"key_file": "a.key", "private_key": "-----BEGIN", "session_ticket_keys": ["k"]}, "ratio": 0.25}],
 "clusters": [{"name": "web", "weight": 18446744073709551615, "basic": {"PASSWORD": {"inline_string": "hunter2"}}}, {"name": "api", "tags": [], "x": null, "on": true}]}`

var refusedReport = Report{Errors: []string{`edge.json:3:1: clusters[0].nme: unknown field; did you mean "name"?`, "edge.json:9:2: second"}, Took: 1500 * time.Microsecond}

var appliedReport = Report{Applied: true, Hash: "def", Took: 12 * time.Millisecond, Unchanged: 10, Warnings: []string{"edge.json:4:4: odd"}, Changes: []Change{
	{"added", "cluster", "api", ""}, {"changed", "listener", "ht\ntps", "address"}, {"removed", "cluster", "old", ""}}}

var testCertificates = []Certificates{
	{
		Chain: []Certificate{
			{
				Path: "shop.crt", Serial: "1a2b", Subject: "CN=shop.example.com", NotBefore: epoch, NotAfter: epoch.Add(24 * time.Hour), DaysLeft: 12, OCSPFrom: epoch, OCSPUntil: epoch.Add(time.Hour),
				Names: []AltName{{"dns", "shop.example.com"}, {"ip_address", "192.0.2.1"}, {"uri", "spiffe://a/b"}},
			},
			{Path: "shop.crt", Serial: "02", NotBefore: epoch, NotAfter: epoch.Add(48 * time.Hour)},
		},
		LastError: "shop.key: the key is not that of shop.crt", Users: []string{"listener edge"},
	},
	{CA: []Certificate{{Path: "clients\n.crt", Serial: "3", Subject: "CN=a\"CA", NotBefore: epoch, NotAfter: epoch}}},
}

func (f *fixture) listeners() []Listener {
	return []Listener{
		{Name: "https", Address: "0.0.0.0:8443", State: "active"}, {Name: "six", Address: "[::1]:80", State: "draining", Additional: []string{"127.0.0.1:80", "unix:/run/six"}, Chains: []string{`"shop"`, "default filter chain"}},
		{Name: "dns", Address: "0.0.0.0:53", UDP: true, State: "active"},
		{Name: "sock", Address: "unix:/run/x"}, {Name: "https", Address: "0.0.0.0:443", State: "draining", Retired: true},
	}
}

func (f *fixture) clusters(yield func(*Cluster) bool) {
	b := Thresholds{1024, 1024, 1024, 3}
	c := Cluster{Name: "web", Default: b, High: b, Hosts: []Host{
		{Address: "10.0.0.1:80", Hostname: "a.internal", CxActive: 2, CxTotal: 5, CxConnectFail: 1, RqActive: 1, RqTotal: 9, RqSuccess: 7, RqError: 1, RqTimeout: 1,
			Weight: 2, Region: "eu", Zone: "a", SubZone: "r1", SuccessRate: 99.5, HasSuccessRate: true},
		{Address: "unix:/run/app.sock", Weight: 1, Priority: 1, Canary: true, HealthFlags: []string{"/failed_active_hc", "/failed_outlier_check"}},
	}}
	if !yield(&c) {
		return
	}
	c = Cluster{Name: "api\ninjected::line", AddedViaAPI: true, EDSServiceName: "svc", Outlier: &Outlier{99, 90, 100, 95}}
	yield(&c)
}

// do sends a request to the server's handler.
func (f *fixture) do(t *testing.T, method, target string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.Host = "127.0.0.1:9901"
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	w := httptest.NewRecorder()
	f.srv.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// want sends a request and checks its status; it returns the body.
func (f *fixture) want(t *testing.T, code int, method, target string, header ...string) string {
	t.Helper()
	res := f.do(t, method, target, header...)
	text := body(t, res)
	if res.StatusCode != code {
		t.Errorf("%s %s: status %d, want %d; body %q", method, target, res.StatusCode, code, text)
	}
	return text
}

// wantCall checks what was asked of the process.
func (f *fixture) wantCall(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-f.calls:
		if got != want {
			t.Errorf("asked the process to %q, want %q", got, want)
		}
	default:
		if want != "" {
			t.Errorf("did not ask the process to %q", want)
		}
	}
}

// varying are the values of a page that depend on the process.
var varying = regexp.MustCompile(`(?m)(server[._](?:memory_(?:allocated|heap_size|physical_size)|gc_\w+|uptime)"?[^\n0-9}]*?[ :])[0-9]+`)

// golden compares text with a file in testdata.
func golden(t *testing.T, name, text string) {
	t.Helper()
	text = varying.ReplaceAllString(text, "${1}N")
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("page differs from %s (-update rewrites); got\n%s", path, text)
	}
}

// TestPages holds the layout of every page whose text does not depend on the process.
func TestPages(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, target string }{
		{"stats.txt", "/stats"},
		{"stats_used.txt", "/stats?usedonly&filter=^(cluster|http)"},
		{"stats_cumulative.txt", "/stats?histogram_buckets=cumulative&type=Histograms"},
		{"stats_disjoint.txt", "/stats?histogram_buckets=disjoint&type=histograms&usedonly"},
		{"stats_detailed.txt", "/stats?histogram_buckets=detailed&type=histograms"},
		{"stats_detailed.json", "/stats?format=json&histogram_buckets=detailed&filter=edge.*time"},
		{"stats_filter.txt", "/stats?filter=rq_(total|active)$"},
		{"stats.json", "/stats?format=json&filter=edge"},
		{"stats_buckets.json", "/stats?format=json&filter=edge.*time&histogram_buckets=cumulative"},
		{"stats.prom", "/stats/prometheus"},
		{"stats_used.prom", "/stats?format=prometheus&usedonly&type=Counters&filter=^(cluster|http)"},
		{"stats_text.prom", "/stats/prometheus?text_readouts&filter=^server"},
		{"certs.json", "/certs"},
		{"clusters.txt", "/clusters"},
		{"clusters.json", "/clusters?format=json"},
		{"listeners.txt", "/listeners"},
		{"listeners.json", "/listeners?format=json"},
		{"config_dump.json", "/config_dump"},
		{"config_dump_api.json", "/config_dump?resource=clusters&name_regex=^api"},
		{"config_status.json", "/config_status"},
		{"help.txt", "/help"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture()
			text := f.want(t, 200, "GET", tt.target)
			if strings.HasSuffix(tt.name, ".json") && !json.Valid([]byte(text)) {
				t.Errorf("GET %s is not JSON", tt.target)
			}
			golden(t, tt.name, text)
			f.want(t, 200, "HEAD", tt.target)
		})
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	f := newFixture()
	for _, target := range []string{"/", "/stats", "/clusters?format=json", "/nothing"} {
		h := f.do(t, "GET", target).Header
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Access-Control-Allow-Origin": ""} {
			if got := h.Get(name); got != want {
				t.Errorf("GET %s: %s is %q, want %q", target, name, got, want)
			}
		}
		if !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("Content-Type") == "" {
			t.Errorf("GET %s: headers %v", target, h)
		}
	}
}

// TestMethods goes through the table: the other method is always 405.
func TestMethods(t *testing.T) {
	t.Parallel()
	f := newFixture()
	for _, e := range endpoints() {
		if e.hidden {
			continue
		}
		wrong, allow := "GET", "POST"
		if e.method == get {
			wrong, allow = "POST", "GET, HEAD"
		}
		for _, method := range []string{wrong, "DELETE", "OPTIONS", "PUT"} {
			res := f.do(t, method, e.path)
			if res.StatusCode != 405 || res.Header.Get("Allow") != allow {
				t.Errorf("%s %s: status %d, Allow %q; want 405, %q", method, e.path, res.StatusCode, res.Header.Get("Allow"), allow)
			}
		}
	}
	f.wantCall(t, "")
}

func TestActions(t *testing.T) {
	t.Parallel()
	f := newFixture()
	for _, tt := range []struct {
		target, call, answer string
		code                 int
	}{
		{"/quitquitquit", "quit", "OK\n", 200},
		{"/healthcheck/fail", "unhealthy", "OK\n", 200},
		{"/healthcheck/ok", "healthy", "OK\n", 200},
		{"/reopen_logs", "reopen", "OK\n", 200},
		{"/drain_listeners", "drain", "OK\n", 200},
		{"/drain_listeners?graceful", "drain graceful", "OK\n", 200},
		{"/drain_listeners?graceful=1&skip_exit", "drain graceful skip_exit", "OK\n", 200},
		{"/drain_listeners?graceful=false", "drain", "OK\n", 200},
		{"/drain_listeners?inboundonly", "drain inboundonly", "OK\n", 200},
		{"/drain_listeners?skip_exit", "", "parameter skip_exit needs graceful\n", 400},
		{"/drain_listeners?gracefull", "", "unknown parameter \"gracefull\"; known are graceful, skip_exit, inboundonly\n", 400},
		{"/quitquitquit?x=1", "", "unknown parameter \"x\"; /quitquitquit has none\n", 400},
		{"/logging", "", "active loggers:\n  all: info\n", 200},
		{"/logging?level=debug", "level debug", "active loggers:\n  all: info\n", 200},
		{"/logging?level=loud", "", "parameter level: unknown value \"loud\"; use one of debug, info, warn, warning, error\n", 400},
		{"/logging?level=Warning", "level warn", "active loggers:\n  all: info\n", 200},
	} {
		if got := f.want(t, tt.code, "POST", tt.target); got != tt.answer {
			t.Errorf("POST %s answers %q, want %q", tt.target, got, tt.answer)
		}
		f.wantCall(t, tt.call)
	}
	f.failing = errors.New("disk full")
	f.want(t, 500, "POST", "/reopen_logs")
	f.want(t, 500, "POST", "/drain_listeners")
	f.want(t, 400, "POST", "/logging?level=debug")
	f.want(t, 500, "GET", "/config_dump")
}

func TestReload(t *testing.T) {
	t.Parallel()
	f := newFixture()
	f.report = appliedReport
	golden(t, "reload.txt", f.want(t, 200, "POST", "/reload"))
	golden(t, "reload.json", f.want(t, 200, "POST", "/reload?format=json"))
	f.report = refusedReport
	golden(t, "reload_refused.txt", f.want(t, 400, "POST", "/reload"))
	golden(t, "reload_refused.json", f.want(t, 400, "POST", "/reload?format=json"))
}

func TestReady(t *testing.T) {
	t.Parallel()
	f := newFixture()
	for state, code := range map[State]int{StateLive: 200, StateDraining: 503, StateInitializing: 503, StatePreInitializing: 503} {
		f.state.Store(state)
		if got := f.want(t, code, "GET", "/ready"); got != string(state)+"\n" {
			t.Errorf("/ready answers %q, want %q", got, state)
		}
	}
}

func TestServerInfo(t *testing.T) {
	t.Parallel()
	var got struct {
		Version, State       string
		Uptime               string `json:"uptime_current_epoch"`
		CommandLineOptions   map[string]any
		Node                 struct{ ID, Cluster string }
		Command_Line_Options struct{ Concurrency int }
	}
	text := newFixture().want(t, 200, "GET", "/server_info")
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	if got.Version != "1.0" || got.State != "LIVE" || got.Uptime != "90s" || got.Node.ID != "n1" || got.Command_Line_Options.Concurrency != 2 {
		t.Errorf("/server_info = %+v", got)
	}
}

func TestMemory(t *testing.T) {
	t.Parallel()
	f := newFixture()
	f.want(t, 200, "POST", "/memory/collect")
	var got struct {
		Allocated, HeapSize, Physical uint64
		Phys                          uint64 `json:"total_physical_bytes"`
		Heap                          uint64 `json:"heap_size"`
		Outside                       struct {
			Bytes, Used uint64
			Regions     []Region
		} `json:"outside_heap"`
		Collections struct {
			Total, Forced uint64
			Pauses        map[string]int64 `json:"recent_pauses_us"`
		}
	}
	text := f.want(t, 200, "GET", "/memory")
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	if got.Allocated == 0 || got.Heap < got.Allocated || got.Phys == 0 || got.Outside.Bytes != 2<<20 || len(got.Outside.Regions) != 2 ||
		got.Collections.Forced == 0 || got.Collections.Total < got.Collections.Forced || len(got.Collections.Pauses) != 5 {
		t.Errorf("/memory = %+v\n%s", got, text)
	}
}

func TestResetCounters(t *testing.T) {
	t.Parallel()
	f := newFixture()
	f.want(t, 200, "POST", "/reset_counters")
	if got := f.want(t, 200, "GET", "/stats?filter=edge.downstream_rq_total"); got != "http.edge.downstream_rq_total: 0\n" {
		t.Errorf("after /reset_counters: %q", got)
	}
	f.http[1].RqTotal.Inc()
	if got := f.want(t, 200, "GET", "/stats?filter=edge.downstream_rq_total"); got != "http.edge.downstream_rq_total: 1\n" {
		t.Errorf("after /reset_counters and one: %q", got)
	}
}

// TestRedacted: values under names of secrets are not shown, whatever they are; paths are.
func TestRedacted(t *testing.T) {
	t.Parallel()
	for name, secret := range map[string]bool{
		"password": true, "Password": true, "basic_password": true, "private_key": true, "session_ticket_keys": true, "token": true, "access_token": true,
		"hmac_key": true, "client_secret": true, "credentials": true, "key_file": false, "private_key_file": false, "token_bucket": false,
		"hash_key": false, "key": false, "secretary": false, "password_file": false,
	} {
		for _, value := range []string{`"hidden"`, `{"inline_string": "hidden"}`, `["hidden"]`} {
			f := newFixture()
			f.deps.ConfigDump = func() (ConfigDump, error) {
				return ConfigDump{JSON: []byte(`{"a": [{"` + name + `": ` + value + `}]}`)}, nil
			}
			f.srv = New(f.deps)
			if got := !strings.Contains(f.want(t, 200, "GET", "/config_dump"), "hidden"); got != secret {
				t.Errorf("%s: %s: redacted is %v, want %v", name, value, got, secret)
			}
		}
	}
}

func TestBadParams(t *testing.T) {
	t.Parallel()
	f := newFixture()
	for _, tt := range []struct{ target, part string }{
		{"/stats?filter=(", "invalid regular expression"},
		{"/stats/prometheus?filter=[", "invalid regular expression"},
		{"/clusters?filter=*", "invalid regular expression"},
		{"/config_dump?name_regex=*", "invalid regular expression"},
		{"/stats?filter=" + strings.Repeat("a", 1025), "exceeds 1024"},
		{"/stats?filter=a&filter=b", "given 2 times"},
		{"/stats?format=xml", "use one of text, json, prometheus"},
		{"/stats?type=counter", "use one of All, Counters"},
		{"/stats?filter=%zz", "reading the query"},
		{"/listeners?format=yaml", "use one of text, json"},
		{"/config_dump?resource=routes", "no member"},
	} {
		if got := f.want(t, 400, "GET", tt.target); !strings.Contains(got, tt.part) {
			t.Errorf("GET %s answers %q, want it to have %q", tt.target, got, tt.part)
		}
	}
	f.want(t, 200, "GET", "/stats?hidden=exclude&_=1") // pages ignore what they do not know
}

func TestGuard(t *testing.T) {
	t.Parallel()
	f := newFixture()
	for _, tt := range []struct {
		name, method string
		code         int
		header       []string
	}{
		{"address", "GET", 200, []string{"Host", "192.168.1.7:9901"}},
		{"address 6", "GET", 200, []string{"Host", "[::1]:9901"}},
		{"address 6 without port", "GET", 200, []string{"Host", "[::1]"}},
		{"localhost", "GET", 200, []string{"Host", "LocalHost:9901"}},
		{"configured", "GET", 200, []string{"Host", "proxy.example.com"}},
		{"none", "GET", 200, []string{"Host", ""}},
		{"rebound", "GET", 403, []string{"Host", "evil.example:9901"}},
		{"looks like localhost", "GET", 403, []string{"Host", "localhost.evil.example"}},
		{"looks like an address", "GET", 403, []string{"Host", "127.0.0.1.evil.example"}},
		{"post", "POST", 200, nil},
		{"post from our page", "POST", 200, []string{"Origin", "http://127.0.0.1:9901", "Sec-Fetch-Site", "same-origin"}},
		{"post from our page, old browser", "POST", 200, []string{"Origin", "http://127.0.0.1:9901"}},
		{"post from another site", "POST", 403, []string{"Sec-Fetch-Site", "cross-site", "Origin", "http://evil.example"}},
		{"post from another port", "POST", 403, []string{"Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:8080"}},
		{"post from another site, old browser", "POST", 403, []string{"Origin", "http://evil.example"}},
		{"post from a sandbox", "POST", 403, []string{"Origin", "null"}},
		{"post to a rebound name", "POST", 403, []string{"Host", "evil.example", "Origin", "http://evil.example", "Sec-Fetch-Site", "same-origin"}},
	} {
		target := "/ready"
		if tt.method == "POST" {
			target = "/reopen_logs"
		}
		res := f.do(t, tt.method, target, tt.header...)
		if res.StatusCode != tt.code {
			t.Errorf("%s: status %d, want %d", tt.name, res.StatusCode, tt.code)
		}
		want := ""
		if tt.method == "POST" && tt.code == 200 {
			want = "reopen"
		}
		f.wantCall(t, want)
	}
	if got := f.want(t, 200, "GET", "/stats?filter=admin.downstream_rq_refused"); got != "http.admin.downstream_rq_refused: 8\n" {
		t.Errorf("refused requests: %q", got)
	}
}

func TestNotOffered(t *testing.T) {
	t.Parallel()
	f := &fixture{srv: New(Deps{Stats: new(stats.Registry)})}
	for _, e := range endpoints() {
		want := 200
		switch {
		case e.hidden:
			want = 404
		case e.needs != nil:
			want = 501
		}
		f.want(t, want, e.method, e.path)
	}
	f.want(t, 404, "GET", "/debug/pprof/heap")
}

func TestAllowPaths(t *testing.T) {
	t.Parallel()
	f := newFixture()
	f.deps.AllowPaths = func(path string) bool { return path == "/ready" }
	f.srv = New(f.deps)
	f.want(t, 200, "GET", "/ready")
	f.want(t, 403, "GET", "/stats")
	f.want(t, 403, "POST", "/quitquitquit")
	f.wantCall(t, "")
}

func TestUnknownPath(t *testing.T) {
	t.Parallel()
	f := newFixture()
	for _, path := range []string{"/nothing", "/stats/", "/Stats", "/ready/..", "/debug/pprof/", "//"} {
		if got := f.want(t, 404, "GET", path); !strings.HasPrefix(got, "invalid path. admin commands are:\n  /: ") {
			t.Errorf("GET %s answers %q", path, got)
		}
	}
}

func TestIndex(t *testing.T) {
	t.Parallel()
	f := newFixture()
	res := f.do(t, "GET", "/")
	text := body(t, res)
	for _, e := range endpoints() {
		if e.path != "/" && !e.hidden && !strings.Contains(text, `action="`+e.path+`"`) {
			t.Errorf("the index page has no form for %s", e.path)
		}
	}
	nonce := f.do(t, "GET", "/").Header.Get("Content-Security-Policy")
	if policy := res.Header.Get("Content-Security-Policy"); policy == nonce || !strings.Contains(policy, "script-src 'nonce-") {
		t.Errorf("policy %q, then %q; want a new nonce each time", policy, nonce)
	}
	for _, bad := range []string{"http://", "https://", "innerHTML"} {
		if strings.Contains(text, bad) {
			t.Errorf("the index page contains %q", bad)
		}
	}
}

func TestPprof(t *testing.T) {
	t.Parallel()
	f := newFixture()
	f.deps.Pprof = true
	f.srv = New(f.deps)
	f.want(t, 200, "GET", "/debug/pprof/")
	f.want(t, 200, "GET", "/debug/pprof/goroutine?debug=1")
	f.want(t, 200, "GET", "/debug/pprof/cmdline")
	f.want(t, 404, "GET", "/debug/pprof/nothing")
	f.want(t, 400, "GET", "/debug/pprof/profile?seconds=3600")
	f.want(t, 405, "POST", "/debug/pprof/symbol")
}

// TestServe goes over real sockets: TCP and Unix, start, use, close.
func TestServe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, address := range []string{"127.0.0.1:0", "unix:" + filepath.Join(dir, "admin.sock")} {
		f := newFixture()
		if err := f.srv.Start(address); err != nil {
			t.Fatal(err)
		}
		addr := f.srv.Addr()
		client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, addr.Network(), addr.String())
		}}}
		host := "127.0.0.1"
		if addr.Network() == "unix" {
			host = "any.name" // no guard: a browser cannot come this way
		}
		res, err := client.Get("http://" + host + "/ready")
		if err != nil {
			t.Fatal(err)
		}
		if text := body(t, res); res.StatusCode != 200 || text != "LIVE\n" {
			t.Errorf("%s: status %d, %q", address, res.StatusCode, text)
		}
		res.Body.Close()
		client.CloseIdleConnections()
		if path, ok := strings.CutPrefix(address, "unix:"); ok {
			wantSocket(t, f, path)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if err := f.srv.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
		cancel()
		if _, err := client.Get("http://" + host + "/ready"); err == nil {
			t.Errorf("%s: still answers after Close", address)
		}
	}
}

// wantSocket checks the mode of the socket, and that a second server does not take it over.
func wantSocket(t *testing.T, f *fixture, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		t.Errorf("mode of the socket is %v", mode)
	}
	if err := New(Deps{Stats: new(stats.Registry)}).Start("unix:" + path); err == nil {
		t.Error("a second server took over a socket in use")
	}
}

func TestListenStale(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	again, err := Listen("unix:" + path)
	if err != nil {
		t.Fatalf("Listen on a stale socket: %v", err)
	}
	again.Close()
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("unix:" + file); err == nil {
		t.Error("Listen replaced a plain file")
	}
	if _, err := Listen("127.0.0.1:notaport"); err == nil {
		t.Error("Listen on a bad address succeeded")
	}
}

// TestGzip: only long pages are compressed, for those who ask.
func TestGzip(t *testing.T) {
	t.Parallel()
	f := newFixture()
	for i := range 600 {
		f.deps.Stats.Add(stats.ClusterScope(fmt.Sprintf("c%03d", i)), &clusterSet{})
	}
	for _, tt := range []struct {
		target, accept string
		zipped         bool
	}{
		{"/stats", "gzip", true},
		{"/stats?format=json", "br, gzip;q=0.5", true},
		{"/stats/prometheus", "deflate,GZIP", true},
		{"/stats", "", false},
		{"/stats", "gzip;q=0", false},
		{"/stats", "br", false},
		{"/stats?filter=c001", "gzip", false},
	} {
		res := f.do(t, "GET", tt.target, "Accept-Encoding", tt.accept)
		if got := res.Header.Get("Content-Encoding") == "gzip"; got != tt.zipped {
			t.Errorf("GET %s accepting %q: compressed is %v, want %v", tt.target, tt.accept, got, tt.zipped)
			continue
		}
		if !tt.zipped {
			continue
		}
		z, err := gzip.NewReader(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil || !bytes.Contains(text, []byte("c299")) {
			t.Errorf("GET %s: %v after %d bytes", tt.target, err, len(text))
		}
	}
}

// TestPanic: a handler that panics cuts its response off, is logged and counted.
func TestPanic(t *testing.T) {
	t.Parallel()
	f := newFixture()
	var log bytes.Buffer
	f.deps.Log = slog.New(slog.NewTextHandler(&log, nil))
	f.deps.Listeners = func() []Listener { panic("broken") }
	f.srv = New(f.deps)
	func() {
		defer func() {
			if recover() != http.ErrAbortHandler {
				t.Error("a panicking handler does not cut the response off")
			}
		}()
		f.do(t, "GET", "/listeners")
	}()
	f.want(t, 200, "POST", "/healthcheck/ok")
	for _, part := range []string{"panic=broken", "path=/listeners", "path=/healthcheck/ok", "status=200"} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log has no %q: %s", part, log.String())
		}
	}
	if got := f.want(t, 200, "GET", "/stats?filter=admin.downstream_rq_5xx"); got != "http.admin.downstream_rq_5xx: 1\n" {
		t.Errorf("counted: %q", got)
	}
}

func TestServerStats(t *testing.T) {
	t.Parallel()
	f := newFixture()
	f.state.Store(StateDraining)
	text := f.want(t, 200, "GET", "/stats?filter=^server")
	for _, line := range []string{"server.concurrency: 2\n", "server.live: 0\n", "server.state: 1\n", "server.uptime: 90\n", "server.version: 255\n",
		"server.hot_restart_epoch: 0\n", "server.memory_outside_heap: 2097152\n"} {
		if !strings.Contains(text, line) {
			t.Errorf("/stats has no line %q in\n%s", line, text)
		}
	}
	for commit, want := range map[string]int64{"": 0, "abc": 0, "zzzzzzzz": 0, "00000a": 10} {
		if got := versionNumber(commit); got != want {
			t.Errorf("versionNumber(%q) = %d, want %d", commit, got, want)
		}
	}
}

// TestConnectionsMax: connections above the limit wait until one ends.
func TestConnectionsMax(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := &limitedListener{Listener: inner, slots: make(chan struct{}, 1), done: make(chan struct{})}
	for range 2 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan error)
	go func() {
		c, err := ln.Accept()
		if err == nil {
			_ = c.Close()
			_ = c.Close() // twice gives one slot back
		}
		second <- err
	}()
	select {
	case err := <-second:
		t.Fatalf("second Accept returned (%v) with the only slot taken", err)
	default:
	}
	_ = first.Close()
	if err := <-second; err != nil {
		t.Errorf("second Accept: %v", err)
	}
	ln.slots <- struct{}{}
	go func() { _, err := ln.Accept(); second <- err }()
	_ = ln.Close()
	if err := <-second; err == nil {
		t.Error("Accept after Close succeeded")
	}
}

// TestReadWhileCounting is for the race detector: pages are built while loops count.
func TestReadWhileCounting(t *testing.T) {
	t.Parallel()
	f := newFixture()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			f.http[0].RqTotal.Inc()
			f.http[0].Time.Record(uint64(i))
			f.cluster[0].Codes.Inc(200 + i%300)
		}
	}()
	for range 20 {
		for _, target := range []string{"/stats", "/stats?format=json", "/stats/prometheus", "/memory", "/"} {
			f.want(t, 200, "GET", target)
		}
		f.want(t, 200, "POST", "/reset_counters")
	}
	close(stop)
	<-done
}

// slowWriter fails after some bytes, as a connection whose peer has left does.
type slowWriter struct {
	http.ResponseWriter
	left, writes int
}

func (w *slowWriter) Write(b []byte) (int, error) {
	w.writes++
	if w.left -= len(b); w.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(b), nil
}

// TestPeerGone: a long page stops being built when its reader has left.
func TestPeerGone(t *testing.T) {
	t.Parallel()
	f := newFixture()
	for i := range 5000 {
		f.deps.Stats.Add(stats.ClusterScope("c"+strings.Repeat("x", i%50)+time.Duration(i).String()), &clusterSet{})
	}
	for _, target := range []string{"/stats", "/stats?format=json", "/stats/prometheus"} {
		w := &slowWriter{ResponseWriter: httptest.NewRecorder(), left: pageChunk * 3}
		r := httptest.NewRequest("GET", target, nil)
		r.Host = ""
		f.srv.ServeHTTP(w, r)
		if w.writes > 5 {
			t.Errorf("%s: %d writes after the peer has left", target, w.writes)
		}
	}
}
