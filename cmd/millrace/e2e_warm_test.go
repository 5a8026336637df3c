package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/miekg/dns"
)

// slowDNS answers each question for an A record with 127.0.0.1, once it may.
type slowDNS struct {
	asked atomic.Int64
	may   chan struct{} // closed when it may
}

func (d *slowDNS) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	d.asked.Add(1)
	<-d.may
	m := new(dns.Msg).SetReply(q)
	if rr, err := dns.NewRR(q.Question[0].Name + " 1 IN A 127.0.0.1"); err == nil && q.Question[0].Qtype == dns.TypeA {
		m.Answer = append(m.Answer, rr)
	}
	_ = w.WriteMsg(m)
}

// startSlowDNS starts a server and returns its address.
func startSlowDNS(t *testing.T) (*slowDNS, string) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d, started := &slowDNS{may: make(chan struct{})}, make(chan struct{})
	s := &dns.Server{PacketConn: pc, Handler: d, NotifyStartedFunc: func() { close(started) }}
	go func() { _ = s.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = s.Shutdown() })
	return d, pc.LocalAddr().String()
}

// Reloads that bring clusters whose names resolve slowly, and whose hosts answer their first check slowly, under traffic: no
// request is without a host, and the process says what it waits for.
func TestReloadWarms(t *testing.T) {
	t.Parallel()
	resolver, at := startSlowDNS(t)
	old := origin(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "old") })
	well := make(chan struct{})
	var checks atomic.Int64
	_, port, _ := net.SplitHostPort(origin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			checks.Add(1)
			<-well
			return
		}
		fmt.Fprint(w, "new")
	}))
	named := func(more string) string {
		return fmt.Sprintf(`, {"name": "names", "type": "strict_dns", "hosts": ["app.test:%s"], "dns_resolvers": [%q], "dns_lookup_family": "v4_only"%s}`, port, at, more)
	}
	config := func(cluster, more string) string {
		return fmt.Sprintf(`{"concurrency": 2, "listeners": [{"name": "front", "address": "127.0.0.1:0", "filters": [{"name": "http_connection_manager", "config": {
 "stat_prefix": "e2e", "route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": %q}}]}}}]}],
 "clusters": [{"name": "web", "hosts": [%q]}%s]}`, cluster, old, more)
	}
	const check = `, "health_checks": [{"type": "http", "path": "/healthz", "timeout": "10s"}]`
	p := startProxy(t, config("web", ""))
	stop := traffic(t, p.url("/"))
	p.write(config("names", named(check)))
	done := make(chan string, 1)
	go func() { _, report := p.adminPost("/reload"); done <- report }()
	if !eventually(func() bool { return resolver.asked.Load() > 0 }) {
		t.Fatal("the name is not resolved")
	}
	p.wantStat("cluster_manager.warming_clusters", 1)
	p.wantStat("listener_manager.total_listeners_warming", 1)
	if status := p.adminGet("/config_status"); !strings.Contains(status, `"warming": {`) || !strings.Contains(status, `"names"`) || !strings.Contains(status, `"front"`) {
		t.Errorf("/config_status while a cluster is warmed:\n%s", status)
	}
	close(resolver.may)
	if !eventually(func() bool { return checks.Load() > 0 }) {
		t.Fatal("the host is not checked")
	}
	p.wantStat("cluster_manager.warming_clusters", 1)
	close(well)
	if report := <-done; !strings.HasPrefix(report, "reloaded in ") || !strings.Contains(report, "1 clusters were warmed in ") {
		t.Errorf("report %q", report)
	}
	p.wantStat("cluster_manager.warming_clusters", 0)
	p.wantStat("listener_manager.total_listeners_warming", 0)
	if !eventually(func() bool { return p.stat("cluster.names.upstream_rq_total") > 100 }) {
		t.Error("the new cluster gets no requests")
	}
	if good, bad := stop(); bad != "" || good < p.stat("cluster.names.upstream_rq_total") || p.stat("cluster.web.upstream_rq_total") == 0 {
		t.Errorf("%d good answers, and %q", good, bad)
	}
}

// SIGTERM and another reload do not wait for clusters that are warmed.
func TestWarmingEnds(t *testing.T) {
	t.Parallel()
	resolver, at := startSlowDNS(t)
	defer close(resolver.may)
	config := func(clusters string) string {
		return fmt.Sprintf(`{"listeners": [{"address": "127.0.0.1:0", "filters": [{"name": "direct_response", "config": {"response": "hello"}}]}], "clusters": [%s]}`, clusters)
	}
	slow := config(fmt.Sprintf(`{"name": "names", "type": "strict_dns", "hosts": ["app.test:80"], "dns_resolvers": [%q]}`, at))
	p := startProxy(t, config(""))
	p.write(slow)
	dropped := make(chan string, 1)
	go func() { _, report := p.adminPost("/reload"); dropped <- report }()
	p.wantStat("cluster_manager.warming_clusters", 1)
	p.write(config(`{"name": "other", "hosts": ["127.0.0.1:1"]}`))
	if code, report := p.adminPost("/reload"); code != http.StatusOK {
		t.Errorf("a reload in place of the one that waits: %d %s", code, report)
	}
	if report := <-dropped; !strings.HasSuffix(report, "dropped; the configuration was not in force yet\n") {
		t.Errorf("the one that waited: %q", report)
	}
	if status := p.adminGet("/config_status"); strings.Contains(status, "warming") || !strings.Contains(status, `"refusals": 0`) {
		t.Errorf("/config_status:\n%s", status)
	}
	p.write(slow)
	p.signal(syscall.SIGHUP)
	p.wantStat("cluster_manager.warming_clusters", 1)
	p.signal(os.Interrupt)
	p.wantExit(exitFine)
}
