package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// load is clients that ask as fast as they can over kept-alive connections, and give them up only
// when a response says so.
type load struct {
	addr     string
	stop     atomic.Bool
	requests atomic.Int64
	closes   atomic.Int64 // responses that said Connection: close
	failures atomic.Int64
	first    atomic.Pointer[string] // the first failure
	clients  sync.WaitGroup
}

// startLoad starts clients that ask addr until wait is called.
func startLoad(t *testing.T, addr string, clients int) *load {
	t.Helper()
	l := &load{addr: addr}
	for range clients {
		l.clients.Go(l.client)
	}
	t.Cleanup(func() { l.stop.Store(true); l.clients.Wait() })
	return l
}

// client is one client. It ends when nobody accepts any more.
func (l *load) client() {
	for !l.stop.Load() {
		c, err := net.Dial("tcp", l.addr)
		if err != nil {
			if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.ECONNRESET) {
				l.fail("dial: %v", err)
			}
			return
		}
		l.connection(c)
		_ = c.Close()
	}
}

// connection asks over one connection until a response says that it ends.
func (l *load) connection(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(3 * waitMax))
	r := bufio.NewReader(c)
	for n := 0; !l.stop.Load(); n++ {
		_, err := io.WriteString(c, "GET /load HTTP/1.1\r\nHost: a\r\n\r\n")
		var resp *http.Response
		if err == nil {
			resp, err = http.ReadResponse(r, nil)
		}
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
		}
		if err != nil {
			l.fail("request %d of a connection: %v", n, err)
			return
		}
		if resp.StatusCode != http.StatusOK {
			l.fail("request %d of a connection: %s", n, resp.Status)
		}
		l.requests.Add(1)
		if resp.Close {
			l.closes.Add(1)
			return
		}
	}
}

func (l *load) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	l.failures.Add(1)
	l.first.CompareAndSwap(nil, &text)
}

// wait ends the load and checks that nothing failed.
func (l *load) wait(t *testing.T) {
	t.Helper()
	l.stop.Store(true)
	l.check(t)
}

// check waits for the clients and checks that nothing failed.
func (l *load) check(t *testing.T) {
	t.Helper()
	l.clients.Wait()
	if n := l.failures.Load(); n > 0 {
		t.Errorf("%d of %d requests failed, the first: %s", n, l.requests.Load(), *l.first.Load())
	}
	if l.requests.Load() == 0 {
		t.Error("the load made no request")
	}
}

// startWrk starts wrk, if it is installed, and returns what waits for it and checks its report.
func startWrk(t *testing.T, url string, seconds int) (check func()) {
	t.Helper()
	path, err := exec.LookPath("wrk")
	if err != nil {
		t.Log("wrk is not installed: only the test's own clients make load")
		return func() {}
	}
	cmd := exec.Command(path, "-t1", "-c8", fmt.Sprintf("-d%ds", seconds), url)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return func() {
		t.Helper()
		if err := <-ended; err != nil {
			t.Fatalf("wrk: %v\n%s", err, out.String())
		}
		if strings.Contains(out.String(), "Socket errors") || strings.Contains(out.String(), "Non-2xx") {
			t.Errorf("wrk:\n%s", out.String())
		}
	}
}

// reloadConfig is the nth configuration of the reload test: sometimes the routes differ, sometimes
// the filters, the clusters, the names.
func reloadConfig(n int, address string, origins [2]string) string {
	name, via, extra := "edge", "", ""
	if n%5 == 1 {
		name = "renamed"
	}
	if n%3 == 1 {
		via = `"via": "edge", `
	}
	if n%4 == 1 {
		extra = fmt.Sprintf(`, {"name": "more-%d", "address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {"stat_prefix": "more",
   "route_config": {"routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]}}}]}`, n%8)
	}
	hosts := fmt.Sprintf("%q", origins[0])
	if n%2 == 1 {
		hosts = fmt.Sprintf("%q, %q", origins[1], origins[0])
	}
	return fmt.Sprintf(`{"concurrency": 2, "listeners": [
 {"name": %q, "address": %q, "filters": [{"name": "http_connection_manager", "config": {"stat_prefix": "e2e", %s
   "route_config": {"routes": [
     {"match": {"path": "/version"}, "direct_response": {"status": 200, "body": "%d"}},
     {"match": {"path": "/chat"}, "route": {"cluster": "chat", "upgrades": ["websocket"], "timeout": "0s"}},
     {"match": {"prefix": "/"}, "route": {"cluster": "web-%d"}}]}}}]}%s],
 "clusters": [{"name": "web-%d", "hosts": [%s]}, {"name": "chat", "hosts": [%q]}]}`,
		name, address, via, n, n/50%2, extra, n/50%2, hosts, origins[1])
}

// webSocketOrigin answers requests, and echoes what comes through an upgraded connection.
func webSocketOrigin(t *testing.T) string {
	t.Helper()
	return origin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			_, _ = io.WriteString(w, "hello")
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(c, rw)
	})
}

// TestReloadsUnderLoad: 1,000 reloads lose no request and no WebSocket, and no memory.
func TestReloadsUnderLoad(t *testing.T) {
	t.Parallel()
	reloads := 1000
	if raceEnabled || testing.Short() {
		reloads = 150
	}
	origins := [2]string{webSocketOrigin(t), webSocketOrigin(t)}
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	p := startProxy(t, reloadConfig(0, address, origins))
	clients := startLoad(t, address, 4)
	wrk := startWrk(t, "http://"+address+"/wrk", 8)

	ws := dial(t, address)
	_ = ws.SetDeadline(time.Now().Add(6 * waitMax))
	ws.send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	ws.wantHead("101 Switching Protocols")

	warm := int64(0)
	for n := 1; n <= reloads; n++ {
		p.write(reloadConfig(n, address, origins))
		if code, body := p.adminPost("/reload"); code != http.StatusOK {
			t.Fatalf("reload %d: %d %s", n, code, body)
		}
		if n%50 == 0 {
			ws.send("ping")
			if got := ws.bytes(4); got != "ping" {
				t.Fatalf("after %d reloads the WebSocket gives %q", n, got)
			}
			if _, body := get(t, "http://"+address+"/version"); body != fmt.Sprint(n) {
				t.Errorf("after reload %d the answer is that of configuration %s", n, body)
			}
		}
		if n == reloads/5 {
			warm = p.collectedRSS()
		}
	}
	clients.wait(t)
	wrk()
	ws.send("last")
	if got := ws.bytes(4); got != "last" {
		t.Errorf("the WebSocket gives %q", got)
	}
	ws.Close()
	p.wantStat("listener_manager.total_listeners_draining", 0)
	rss := p.collectedRSS()
	t.Logf("%d requests, %d connections ended by a reload; resident memory %d KiB after %d reloads, %d KiB after %d",
		clients.requests.Load(), clients.closes.Load(), warm>>10, reloads/5, rss>>10, reloads)
	if rss > warm+warm/10 && !raceEnabled {
		t.Errorf("resident memory grew from %d to %d KiB", warm>>10, rss>>10)
	}
	if clients.closes.Load() == 0 {
		t.Error("no reload replaced a chain: the test is not what it was")
	}
	p.wantStat("server.total_connections", 0)
	p.wantStat("http.e2e.downstream_cx_active", 0)
	p.wantStat("http.e2e.downstream_rq_active", 0)
}

// collectedRSS returns the resident memory after a collection that gives free pages back.
func (p *proxy) collectedRSS() int64 {
	p.t.Helper()
	p.adminPost("/memory/collect?release")
	return p.rss()
}

// sockets returns the inodes of the process's sockets.
func (p *proxy) sockets() map[string]bool {
	p.t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		p.t.Fatal(err)
	}
	m := map[string]bool{}
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			m[to] = true
		}
	}
	return m
}

// hup reloads by SIGHUP and waits for the outcome.
func (p *proxy) hup() {
	p.t.Helper()
	loads := func() string { return regexp.MustCompile(`"loads": \d+`).FindString(p.adminGet("/config_status")) }
	before := loads()
	p.signal(syscall.SIGHUP)
	if !eventually(func() bool { return loads() != before }) {
		p.t.Fatal("no reload after SIGHUP")
	}
}

func TestReloadOfAnUnchangedFile(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(origin(t, echo), "", "", ""))
	c := dial(t, p.addr(""))
	ask := func() {
		t.Helper()
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil || resp.Close {
			t.Fatalf("response %v, %v", resp, err)
		}
		_ = bodyOf(t, resp)
	}
	ask()
	before := p.sockets()
	for range 5 {
		p.hup()
		ask()
	}
	after := p.sockets()
	for s := range before {
		if !after[s] {
			t.Errorf("%s is gone", s)
		}
	}
	if len(after) > len(before)+1 { // one more connection to the admin port
		t.Errorf("%d sockets, were %d", len(after), len(before))
	}
	p.wantStat("cluster.web.upstream_cx_total", 1)
	p.wantStat("cluster.web.upstream_cx_destroy", 0)
	p.wantStat("http.e2e.downstream_cx_total", 1)
	p.wantStat("listener_manager.listener_modified", 0)
	p.wantStat("cluster_manager.cluster_modified", 0)
}

func TestRefusedReload(t *testing.T) {
	t.Parallel()
	p := startProxy(t, oneRoute(origin(t, echo), "", "", ""))
	url := p.url("/")
	dump := p.adminGet("/config_dump")
	p.write(`{"listeners": [{"address": "nowhere", "filters": []}],
 "clusters": [{"name": "web", "lb_polcy": "round_robin"}, {"name": "web"}]}`)
	before := p.sockets()
	p.hup()
	status, log := p.adminGet("/config_status"), p.logText()
	for _, want := range []string{":1:", "nowhere", ":2:", "lb_polcy", "lb_policy", "defined twice"} {
		if !strings.Contains(status, want) || !strings.Contains(log, want) {
			t.Errorf("%q is missing in the log or in /config_status:\n%s", want, status)
		}
	}
	p.wantStat("server.config_rejected", 1)
	for s := range before {
		if !p.sockets()[s] {
			t.Errorf("%s is gone", s)
		}
	}
	if code, _ := get(t, url); code != http.StatusOK || p.adminGet("/config_dump") != dump {
		t.Errorf("a refused file changed something; status %d", code)
	}
	if code, body := p.adminPost("/reload"); code != http.StatusBadRequest || !strings.Contains(body, "unchanged") {
		t.Errorf("/reload = %d %s", code, body)
	}
	if err := os.Remove(p.config); err != nil {
		t.Fatal(err)
	}
	if code, body := p.adminPost("/reload"); code != http.StatusBadRequest || !strings.Contains(body, "no such file") {
		t.Errorf("/reload without a file = %d %s", code, body)
	}
	p.write(oneRoute(origin(t, echo), "", "", ""))
	if code, body := p.adminPost("/reload"); code != http.StatusOK || !strings.Contains(body, "~ cluster web: hosts: 1 added, 1 removed") {
		t.Errorf("/reload of a good file = %d %s", code, body)
	}
	p.wantStat("server.config_rejected", 0)
}

// TestLogRotation: moving the log away and SIGUSR1 lose no line.
func TestLogRotation(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "access.log")
	p := startProxy(t, oneRoute(origin(t, echo), fmt.Sprintf(`"access_log": [{"path": %q, "format": "%%REQ(:PATH)%% %%RESPONSE_CODE%%\n"}]`, path), "", ""))
	clients := startLoad(t, p.addr(""), 2)
	lines := func(file string) (n int64) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if line != "/load 200\n" {
				t.Fatalf("%s has the line %q", file, line)
			}
			n++
		}
		return n
	}
	const rotations = 10
	for i := range rotations {
		had := clients.requests.Load()
		if !eventually(func() bool { return clients.requests.Load() > had+50 || clients.failures.Load() > 0 }) {
			t.Fatal("the load stands still")
		}
		if err := os.Rename(path, fmt.Sprint(path, ".", i)); err != nil {
			t.Fatal(err)
		}
		p.signal(syscall.SIGUSR1)
		if !eventually(func() bool { _, err := os.Stat(path); return err == nil }) {
			t.Fatal("the log was not opened again")
		}
	}
	clients.wait(t)
	p.signal(syscall.SIGTERM)
	p.wantExit(exitFine)
	total := lines(path)
	for i := range rotations {
		total += lines(fmt.Sprint(path, ".", i))
	}
	// A client that is stopped may leave a request behind that was served and logged.
	if asked := clients.requests.Load(); total < asked || total > asked+2 {
		t.Errorf("%d lines for %d requests", total, asked)
	}
}
