package server

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

// dnsServer answers each question for an A record with addresses that a test changes; without any it fails.
type dnsServer struct {
	asked atomic.Int64
	mu    sync.Mutex // held by a test that lets questions wait
	addrs []string
}

func (d *dnsServer) set(addrs ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addrs = addrs
}

func (d *dnsServer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	d.asked.Add(1)
	d.mu.Lock()
	defer d.mu.Unlock()
	m := new(dns.Msg).SetReply(q)
	if d.addrs == nil {
		m.Rcode = dns.RcodeServerFailure
	}
	for _, a := range d.addrs {
		rr, _ := dns.NewRR(fmt.Sprintf("%s 1 IN A %s", q.Question[0].Name, a))
		m.Answer = append(m.Answer, rr)
	}
	_ = w.WriteMsg(m)
}

// serveDNS starts a server and returns its address.
func serveDNS(t *testing.T) (*dnsServer, string) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d, started := &dnsServer{}, make(chan struct{})
	s := &dns.Server{PacketConn: pc, Handler: d, NotifyStartedFunc: func() { close(started) }}
	go func() { _ = s.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = s.Shutdown() })
	return d, pc.LocalAddr().String()
}

// TestDiscovery: names are resolved before the listeners accept; hosts outlive failures and reloads, not their cluster.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	d, server := serveDNS(t)
	d.set("127.0.0.1")
	_, port, _ := net.SplitHostPort(origin(t, "found"))
	named := func(kind, more string) string {
		return fmt.Sprintf(`{"name": "web", "type": %q, "hosts": ["app.test:%s"], "dns_resolvers": [%q], "dns_lookup_family": "v4_only", "dns_refresh_rate": "20ms"%s}`,
			kind, port, server, more)
	}
	front := forwards("front", freeAddr(t), "web", "")
	r := start(t, whole([]string{front}, named("strict_dns", "")))
	if !eventually(r.live.Load) {
		t.Fatal("the listeners never accept")
	}
	r.wantGet("front", "found")
	first := r.snapshot.Load().Cluster("web").Hosts()[0]
	if first.Hostname != "app.test" {
		t.Errorf("the host is called %q", first.Hostname)
	}
	d.set() // fails from now on
	failures := r.statOf("cluster.web.update_failure")
	if !eventually(func() bool { return r.statOf("cluster.web.update_failure") > failures+2 }) {
		t.Error("failures are not counted")
	}
	attempts := r.statOf("cluster.web.update_attempt")
	source := r.discovery.running["web"]
	r.mustLoad(whole([]string{front}, named("strict_dns", `, "connect_timeout": "1s"`)))
	if r.discovery.running["web"] != source {
		t.Error("a source whose settings are the same was replaced")
	}
	r.mustLoad(whole([]string{front}, named("strict_dns", `, "dns_jitter": "1ms"`)))
	if r.discovery.running["web"] == source {
		t.Error("a source whose settings differ goes on")
	}
	if !eventually(func() bool { return r.statOf("cluster.web.update_attempt") > attempts+3 }) {
		t.Error("the new source does not run")
	}
	r.wantGet("front", "found")
	if h := r.snapshot.Load().Cluster("web").Hosts(); len(h) != 1 || h[0] != first {
		t.Errorf("hosts %v after failures and reloads", h)
	}
	d.set([]string{}...)
	d.set("127.0.0.1", "127.0.0.2")
	r.wantStat("cluster.web.membership_total", 2)
	r.wantStat("cluster_manager.warming_clusters", 0)
	r.mustLoad(whole([]string{front}, named("logical_dns", "")))
	r.wantStat("cluster.web.membership_total", 1)
	host := r.snapshot.Load().Cluster("web").Hosts()[0]
	d.set("127.0.0.7")
	if !eventually(func() bool { return host.Target().String() == "127.0.0.7:"+port }) {
		t.Errorf("new connections go to %v", host.Target())
	}
	if h := r.snapshot.Load().Cluster("web").Hosts(); len(h) != 1 || h[0] != host {
		t.Errorf("the logical host was replaced: %v", h)
	}
	r.mustLoad(whole(nil))
	if len(r.discovery.running) != 0 {
		t.Error("the source of a removed cluster goes on")
	}
}

// TestHostsFile: a file is in the words of the configuration, and a broken one changes nothing.
func TestHostsFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hosts.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write("[\"127.0.0.1:1\", // one\n {\"address\": \"127.0.0.1:2\", \"weight\": 5}]\n")
	r := start(t, fmt.Sprintf(`{"listeners": [], "clusters": [{"name": "web", "type": "file", "hosts_file": %q}]}`, path))
	r.wantStat("cluster.web.membership_total", 2)
	if w := r.snapshot.Load().Cluster("web").Hosts()[1].Weight(); w != 5 {
		t.Errorf("weight %d", w)
	}
	write(`["127.0.0.1:1", "127.0.0.1:1"]`)
	r.wantStat("cluster.web.update_failure", 1)
	r.wantStat("cluster.web.membership_total", 2)
	write(`["127.0.0.1:1"]`)
	r.wantStat("cluster.web.membership_total", 1)
}
