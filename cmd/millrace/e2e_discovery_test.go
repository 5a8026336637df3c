package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// changingDNS is a dnsmasq whose answers a test changes.
type changingDNS struct {
	t     *testing.T
	cmd   *exec.Cmd
	hosts string // a file
	addr  string
}

func startChangingDNS(t *testing.T, hosts string) *changingDNS {
	t.Helper()
	s := &changingDNS{t: t, hosts: filepath.Join(t.TempDir(), "hosts"), addr: loopbackPort(t)}
	s.write(hosts)
	s.cmd = exec.Command(lookPeer(t, "dnsmasq"), "--keep-in-foreground", "--no-resolv", "--no-hosts", "--port="+portOf(s.addr),
		"--listen-address=127.0.0.1", "--bind-interfaces", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--local=/test/", "--addn-hosts="+s.hosts)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	})
	waitListening(t, s.addr)
	return s
}

func (s *changingDNS) write(hosts string) {
	s.t.Helper()
	if err := os.WriteFile(s.hosts, []byte(hosts), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// set changes the answers.
func (s *changingDNS) set(hosts string) {
	s.t.Helper()
	s.write(hosts)
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		s.t.Fatal(err)
	}
}

// originsOnOnePort starts an origin on each address, all on the same port. Each answers with its address and the host asked for.
func originsOnOnePort(t *testing.T, ips ...string) (port string) {
	t.Helper()
	for i, ip := range ips {
		ln, err := net.Listen("tcp", net.JoinHostPort(ip, max(port, "0")))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			port = portOf(ln.Addr().String())
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s %s", ip, r.Host) })}
		go func() { _ = srv.Serve(ln) }()
		t.Cleanup(func() { _ = srv.Close() })
	}
	return port
}

// TestNamesUnderLoad: a real server changes its answers while requests go on. None fails, and all go where they should.
func TestNamesUnderLoad(t *testing.T) {
	t.Parallel()
	const one, two, three = "127.3.0.1 app.test\n", "127.3.0.2 app.test\n", "127.3.0.3 app.test\n"
	port := originsOnOnePort(t, "127.3.0.1", "127.3.0.2", "127.3.0.3")
	dns := startChangingDNS(t, one)
	p := startProxy(t, fmt.Sprintf(`{"listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {"stat_prefix": "e2e",
 "route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app", "auto_host_rewrite": true}}]}}}]}],
 "clusters": [{"name": "app", "type": "strict_dns", "hosts": ["app.test:%s"], "dns_resolvers": [%q], "dns_refresh_rate": "20ms", "dns_lookup_family": "all"}]}`, port, dns.addr))
	seen := make(chan string, 1<<16)
	stop := make(chan struct{})
	ended := make(chan int)
	for range 4 {
		go func() {
			failed := 0
			for {
				select {
				case <-stop:
					ended <- failed
					return
				default:
				}
				resp, err := http.Get(p.url("/"))
				if err != nil {
					failed++
					continue
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				ip, host, _ := strings.Cut(string(body), " ")
				if resp.StatusCode != 200 || host != "app.test" {
					failed++
				}
				select {
				case seen <- ip:
				default:
				}
			}
		}()
	}
	wantHosts := func(want ...string) {
		t.Helper()
		p.wantStat("cluster.app.membership_total", int64(len(want)))
		for len(seen) > 0 {
			<-seen
		}
		left := map[string]bool{}
		for _, ip := range want {
			left[ip] = true
		}
		for timeout := time.After(20 * time.Second); len(left) > 0; {
			select {
			case ip := <-seen:
				delete(left, ip)
			case <-timeout:
				t.Fatalf("no request reached %v", left)
			}
		}
	}
	wantHosts("127.3.0.1")
	for range 5 {
		dns.set(one + two + three)
		wantHosts("127.3.0.1", "127.3.0.2", "127.3.0.3")
		dns.set(two)
		wantHosts("127.3.0.2")
	}
	_ = dns.cmd.Process.Kill() // nobody answers any more
	wantHosts("127.3.0.2")
	close(stop)
	for range 4 {
		if failed := <-ended; failed > 0 {
			t.Errorf("%d requests failed", failed)
		}
	}
	if page := p.adminGet("/clusters"); !strings.Contains(page, "hostname::app.test") {
		t.Errorf("/clusters does not have the name:\n%s", page)
	}
}

// TestDeadResolver: a start without a server that answers is a start, and the cluster has no hosts.
func TestDeadResolver(t *testing.T) {
	t.Parallel()
	p := startProxy(t, fmt.Sprintf(`{"listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {"stat_prefix": "e2e",
 "route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}]}}}]}],
 "clusters": [{"name": "app", "type": "strict_dns", "hosts": ["app.test:80"], "dns_resolvers": [%q]}]}`, loopbackPort(t)))
	resp, err := http.Get(p.url("/"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("status %d", resp.StatusCode)
	}
	if n := strings.Count(p.logText(), "hosts cannot be found"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, p.logText())
	}
}

// TestGoneButWell: a host that its name has lost keeps its requests while its checks pass, and goes when they fail.
func TestGoneButWell(t *testing.T) {
	t.Parallel()
	dns := startChangingDNS(t, "127.5.0.1 app.test\n127.5.0.2 app.test\n")
	var ill atomic.Bool
	port := "0"
	for _, ip := range []string{"127.5.0.1", "127.5.0.2"} {
		ln, err := net.Listen("tcp", net.JoinHostPort(ip, port))
		if err != nil {
			t.Fatal(err)
		}
		port = portOf(ln.Addr().String())
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/healthz" && ip == "127.5.0.2" && ill.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			fmt.Fprint(w, ip)
		})}
		go func() { _ = srv.Serve(ln) }()
		t.Cleanup(func() { _ = srv.Close() })
	}
	p := startProxy(t, fmt.Sprintf(`{"concurrency": 1, "listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {"stat_prefix": "e2e",
 "route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}]}}}]}],
 "clusters": [{"name": "app", "type": "strict_dns", "hosts": ["app.test:%s"], "dns_resolvers": [%q], "dns_refresh_rate": "20ms", "dns_lookup_family": "v4_only",
  "health_checks": [{"type": "http", "path": "/healthz", "interval": "20ms", "no_traffic_interval": "20ms"}]}]}`, port, dns.addr))
	p.wantStat("cluster.app.membership_healthy", 2)
	dns.set("127.5.0.1 app.test\n")
	gone := net.JoinHostPort("127.5.0.2", port)
	if !eventually(func() bool {
		return strings.Contains(p.adminGet("/clusters"), gone+"::health_flags::/pending_dynamic_removal")
	}) {
		t.Errorf("/clusters:\n%s", p.adminGet("/clusters"))
	}
	seen := map[string]int{}
	for range 10 {
		resp, err := http.Get(p.url("/"))
		if err != nil {
			t.Fatal(err)
		}
		seen[bodyOf(t, resp)]++
	}
	if seen["127.5.0.1"] != 5 || seen["127.5.0.2"] != 5 {
		t.Errorf("requests %v", seen)
	}
	ill.Store(true)
	p.wantStat("cluster.app.membership_total", 1)
	checks := p.stat("cluster.app.health_check.failure")
	ill.Store(false)
	dns.set("127.5.0.1 app.test\n127.5.0.2 app.test\n")
	p.wantStat("cluster.app.membership_healthy", 2)
	if n := p.stat("cluster.app.health_check.failure"); n != checks {
		t.Errorf("%d failed checks of a host that was gone", n-checks)
	}
}

// TestUnresolved: while no name of a cluster can be resolved, requests and connections say so.
func TestUnresolved(t *testing.T) {
	t.Parallel()
	dns := startChangingDNS(t, "")
	log := filepath.Join(t.TempDir(), "access.log")
	access := fmt.Sprintf(`"access_log": [{"path": %q, "format": "%%RESPONSE_FLAGS%% %%RESPONSE_CODE_DETAILS%%", "flush_interval": "10ms"}]`, log)
	cluster := `{"name": "app", "type": "strict_dns", "hosts": ["app.test:1"], "dns_resolvers": ["` + dns.addr + `"], "dns_refresh_rate": "20ms"}`
	p := startProxy(t, fmt.Sprintf(`{"listeners": [{"name": "http", "address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {"stat_prefix": "e2e", %[1]s,
 "route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}]}}}]},
 {"name": "tcp", "address": "127.0.0.1:0", "filters": [{"name": "tcp_proxy", "config": {"stat_prefix": "t", "cluster": "app", %[1]s}}]}], "clusters": [%[2]s]}`, access, cluster))
	ask := func() int {
		t.Helper()
		resp, err := http.Get("http://" + p.addr("http") + "/")
		if err != nil {
			t.Fatal(err)
		}
		_ = bodyOf(t, resp)
		return resp.StatusCode
	}
	wantLog := func(want string) {
		t.Helper()
		var got []byte
		if !eventually(func() bool { got, _ = os.ReadFile(log); return strings.HasSuffix(string(got), want) }) {
			t.Errorf("the access log ends with %q, want %q", got, want)
		}
	}
	if status := ask(); status != 503 {
		t.Errorf("status %d", status)
	}
	wantLog("UH,DF no_healthy_upstream{dns_resolution_failure}\n")
	c, err := net.Dial("tcp", p.addr("tcp"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(c)
	c.Close()
	wantLog("UH,DF -\n")
	dns.set("127.0.0.1 app.test\n") // where nobody listens on port 1
	p.wantStat("cluster.app.membership_total", 1)
	ask()
	wantLog("UF upstream_reset_before_response_started{remote_connection_failure}\n")
}
