package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// spaces are network namespaces: a client, a router on which millrace runs, and a server.
//
//	client 10.99.0.2 ── veth ── 10.99.0.1 router 10.98.0.1 ── veth ── 10.98.0.2 server
//	       fd99::2              fd99::1
//
// Whatever the client sends to other addresses, and the server answers, arrives at the router.
type spaces struct {
	t                      *testing.T
	client, router, server int // file descriptors
	home                   int // the namespace of the test
}

// spacesMade tells the namespaces of tests apart.
var spacesMade atomic.Int32

// newSpaces makes the namespaces. The goroutine of the test keeps its thread: it enters and leaves them.
func newSpaces(t *testing.T) *spaces {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: network namespaces and packet filters")
	}
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s (packages iproute2 and nftables): %v", tool, err)
		}
	}
	runtime.LockOSThread()
	n := &spaces{t: t, home: openNamespace(t, "/proc/thread-self/ns/net")}
	t.Cleanup(func() {
		// The thread is given back only at home. If it ended, the processes of other tests that it has
		// started would be killed: Pdeathsig means the thread.
		if unix.Setns(n.home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	})
	names := [3]string{}
	for i, fd := range []*int{&n.client, &n.router, &n.server} {
		names[i] = fmt.Sprintf("mr-%d-%d", os.Getpid(), spacesMade.Add(1))
		if out, err := exec.Command("ip", "netns", "add", names[i]).CombinedOutput(); err != nil {
			t.Skipf("no network namespaces here: %s", out)
		}
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", names[i]).Run() })
		*fd = openNamespace(t, "/run/netns/"+names[i])
	}
	n.run("ip", "link", "add", "mr0", "netns", names[0], "type", "veth", "peer", "name", "mr1", "netns", names[1])
	n.run("ip", "link", "add", "mr2", "netns", names[1], "type", "veth", "peer", "name", "mr3", "netns", names[2])
	n.in(n.client, func() {
		n.run("ip", "addr", "add", "10.99.0.2/24", "dev", "mr0")
		n.run("ip", "addr", "add", "fd99::2/64", "dev", "mr0", "nodad")
		n.run("ip", "link", "set", "mr0", "up")
		n.run("ip", "route", "add", "default", "via", "10.99.0.1")
		n.run("ip", "-6", "route", "add", "default", "via", "fd99::1")
	})
	n.in(n.router, func() {
		n.run("ip", "addr", "add", "10.99.0.1/24", "dev", "mr1")
		n.run("ip", "addr", "add", "fd99::1/64", "dev", "mr1", "nodad")
		n.run("ip", "addr", "add", "10.98.0.1/24", "dev", "mr2")
		for _, link := range []string{"mr1", "mr2", "lo"} {
			n.run("ip", "link", "set", link, "up")
		}
	})
	n.in(n.server, func() {
		n.run("ip", "addr", "add", "10.98.0.2/24", "dev", "mr3")
		n.run("ip", "link", "set", "mr3", "up")
		n.run("ip", "route", "add", "default", "via", "10.98.0.1")
	})
	return n
}

func openNamespace(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// in runs f in a namespace: processes that it starts and sockets that it opens are there.
func (n *spaces) in(fd int, f func()) {
	n.t.Helper()
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		n.t.Fatalf("setns: %v", err)
	}
	defer func() {
		if err := unix.Setns(n.home, unix.CLONE_NEWNET); err != nil {
			n.t.Fatalf("setns back: %v", err)
		}
	}()
	f()
}

func (n *spaces) run(name string, args ...string) {
	n.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		n.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// rules loads packet filter rules on the router.
func (n *spaces) rules(text string) {
	n.t.Helper()
	n.in(n.router, func() {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			n.t.Skipf("the kernel does not take these rules: %s", out)
		}
	})
}

// markedIsLocal makes packets with mark 1 end at the router, whomever they are for.
func (n *spaces) markedIsLocal() {
	n.t.Helper()
	n.in(n.router, func() {
		n.run("ip", "rule", "add", "fwmark", "1", "lookup", "100")
		n.run("ip", "route", "add", "local", "0.0.0.0/0", "dev", "lo", "table", "100")
	})
}

// ask connects from a namespace and returns all that comes until the end.
func (n *spaces) ask(from int, to string) string {
	n.t.Helper()
	var c net.Conn
	var err error
	n.in(from, func() { c, err = net.DialTimeout("tcp", to, waitMax) })
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	if err != nil {
		return string(b) + err.Error()
	}
	return string(b)
}

// stat returns a counter of a millrace on the router.
func (n *spaces) stat(p *proxy, name string) string {
	n.t.Helper()
	var c net.Conn
	var err error
	n.in(n.router, func() { c, err = net.DialTimeout("tcp", p.admin, waitMax) })
	if err != nil {
		n.t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /stats?filter=^%s$ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", name)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		n.t.Fatal(err)
	}
	return strings.TrimSpace(bodyOf(n.t, resp))
}

// greet tells each client its address, after a text.
func greet(ln net.Listener, text string) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, text+c.RemoteAddr().(*net.TCPAddr).IP.String())
		_ = c.Close()
	}
}

// say is a filter chain that answers with its name.
func say(name, match string) string {
	return fmt.Sprintf(`{"name": %q, "match": {%s}, "filters": [{"name": "direct_response", "config": {"response": %q}}]}`, name, match, name)
}

// Connections to any address are redirected to millrace, which finds out where they wanted to go: the filter chain,
// the access log and the listener follow that. A real redirect, in network namespaces.
func TestOriginalDst(t *testing.T) {
	t.Parallel()
	n := newSpaces(t)
	n.rules(`
table ip millrace {
  chain pre {
    type nat hook prerouting priority dstnat;
    tcp dport { 5432, 6379, 7000 } redirect to :15001
  }
}
table ip6 millrace {
  chain pre {
    type nat hook prerouting priority dstnat;
    tcp dport { 5432, 6379, 7000 } redirect to :15001
  }
}`)
	log := filepath.Join(t.TempDir(), "access.log")
	config := fmt.Sprintf(`{"concurrency": 1, "listeners": [
 {"name": "in", "address": ":15001", "stat_prefix": "in", "use_original_dst": true, "listener_filters": [{"name": "original_dst"}],
  "access_log": [{"path": %q, "format": "%%DOWNSTREAM_LOCAL_ADDRESS%% %%DOWNSTREAM_DIRECT_LOCAL_ADDRESS%% %%FILTER_CHAIN_NAME%%", "flush_interval": "10ms"}],
  "filter_chains": [%s, %s, %s, %s]},
 {"name": "seven", "address": "0.0.0.0:7000", "stat_prefix": "seven", "bind_to_port": false, "filter_chains": [%s]}
 ]}`, log,
		say("postgres", `"destination_port": 5432`),
		say("redis-50", `"destination_port": 6379, "prefix_ranges": ["192.0.2.50"]`),
		say("redis-six", `"destination_port": 6379, "prefix_ranges": ["2001:db8::/32"]`),
		say("direct", `"destination_port": 15001`),
		say("handed over", ""))
	var p *proxy
	n.in(n.router, func() { p = startProxy(t, config) })
	for _, tt := range []struct{ to, want string }{
		{"192.0.2.50:5432", "postgres"},
		{"198.51.100.1:5432", "postgres"},
		{"192.0.2.50:6379", "redis-50"},
		{"192.0.2.51:6379", ""}, // no chain
		{"[2001:db8::7]:6379", "redis-six"},
		{"[2001:db8::7]:5432", "postgres"},
		{"10.99.0.1:15001", "direct"}, // not redirected
		{"192.0.2.50:7000", "handed over"},
	} {
		if got := n.ask(n.client, tt.to); got != tt.want {
			t.Errorf("a client of %s got %q, want %q", tt.to, got, tt.want)
		}
	}
	want := []string{
		"192.0.2.50:5432 10.99.0.1:15001 postgres", "192.0.2.51:6379 10.99.0.1:15001 -",
		"[2001:db8::7]:6379 [fd99::1]:15001 redis-six", "10.99.0.1:15001 10.99.0.1:15001 direct",
	}
	var logged []byte
	all := eventually(func() bool {
		logged, _ = os.ReadFile(log)
		for _, line := range want {
			if !strings.Contains(string(logged), line+"\n") {
				return false
			}
		}
		return true
	})
	if !all {
		t.Errorf("the access log has\n%s\nwant\n%s", logged, strings.Join(want, "\n"))
	}
	if got := n.stat(p, "listener.in.no_filter_chain_match"); !strings.HasSuffix(got, ": 1") {
		t.Errorf("stats %q", got)
	}
	if got := n.stat(p, "listener.seven.downstream_cx_total"); !strings.HasSuffix(got, ": 1") {
		t.Errorf("stats %q", got)
	}
}

// A transparent listener is given connections with their addresses as they are: TPROXY. They go on to where they wanted to go, but
// for one that wanted the listener itself: that would come back for ever.
func TestOriginalDstTransparent(t *testing.T) {
	t.Parallel()
	n := newSpaces(t)
	n.rules(`
table ip millrace {
  chain pre {
    type filter hook prerouting priority mangle;
    tcp dport { 5432, 6379, 7000 } tproxy to :15002 meta mark set 1 accept
  }
}`)
	n.markedIsLocal()
	n.in(n.server, func() {
		ln, err := net.Listen("tcp", "10.98.0.2:7000")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ln.Close() })
		go greet(ln, "server for ")
	})
	config := fmt.Sprintf(`{"concurrency": 1, "listeners": [
 {"name": "in", "address": "0.0.0.0:15002", "transparent": true, "listener_filters": [{"name": "original_dst"}],
  "filter_chains": [%s, %s],
  "default_filter_chain": {"filters": [{"name": "tcp_proxy", "config": {"stat_prefix": "t", "cluster": "dst"}}]}}],
 "clusters": [%s]}`,
		say("postgres", `"destination_port": 5432, "prefix_ranges": ["192.0.2.0/24"]`), say("redis", `"destination_port": 6379`), destinationCluster(""))
	var p *proxy
	n.in(n.router, func() { p = startProxy(t, config) })
	for _, tt := range []struct{ to, want string }{
		{"192.0.2.50:5432", "postgres"}, {"203.0.113.9:6379", "redis"}, {"203.0.113.9:5432", ""},
		{"10.98.0.2:7000", "server for 10.98.0.1"}, {"10.99.0.1:15002", ""},
	} {
		if got := n.ask(n.client, tt.to); got != tt.want {
			t.Errorf("a client of %s got %q, want %q", tt.to, got, tt.want)
		}
	}
	for name, want := range map[string]string{"upstream_cx_total": "2", "upstream_cx_none_healthy": "1"} {
		if got := n.stat(p, "cluster.dst."+name); !strings.HasSuffix(got, ": "+want) {
			t.Errorf("stats %q, want %s", got, want)
		}
	}
}

// The server sees the client's own address, though it is millrace that connects: original_src.
func TestOriginalSrc(t *testing.T) {
	t.Parallel()
	n := newSpaces(t)
	n.rules(`
table ip millrace {
  chain pre {
    type filter hook prerouting priority mangle;
    socket transparent 1 meta mark set 1 accept
  }
}`)
	n.markedIsLocal()
	var ln net.Listener
	n.in(n.server, func() {
		var err error
		if ln, err = net.Listen("tcp", "10.98.0.2:9000"); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { _ = ln.Close() })
	go greet(ln, "")
	proxyTo := `"filters": [{"name": "tcp_proxy", "config": {"stat_prefix": "t", "cluster": "s"}}]`
	config := fmt.Sprintf(`{"concurrency": 1, "listeners": [
 {"name": "own", "address": "10.99.0.1:15003", %[1]s},
 {"name": "clients", "address": "10.99.0.1:15004", "listener_filters": [{"name": "original_src"}], %[1]s},
 {"name": "marked", "address": "10.99.0.1:15005", "listener_filters": [{"name": "original_src", "config": {"mark": 7}}], %[1]s}],
 "clusters": [{"name": "s", "hosts": ["10.98.0.2:9000"]}]}`, proxyTo)
	n.in(n.router, func() { startProxy(t, config) })
	for _, tt := range []struct{ to, want string }{
		{"10.99.0.1:15003", "10.98.0.1"}, {"10.99.0.1:15004", "10.99.0.2"}, {"10.99.0.1:15005", "10.99.0.2"},
	} {
		if got := n.ask(n.client, tt.to); got != tt.want {
			t.Errorf("the server sees a client of %s as %q, want %q", tt.to, got, tt.want)
		}
	}
}

// Connections that are redirected go on to where their clients wanted to go, HTTP and bytes: docs/examples/original-dst.json as
// it stands, with a real redirect.
func TestOriginalDstCluster(t *testing.T) {
	t.Parallel()
	n := newSpaces(t)
	n.rules(`
table ip millrace {
  chain pre {
    type nat hook prerouting priority dstnat;
    ip saddr 10.99.0.2 tcp dport { 80, 5432 } redirect to :15001
  }
}`)
	n.in(n.server, func() {
		web, err := net.Listen("tcp", "10.98.0.2:80")
		if err != nil {
			t.Fatal(err)
		}
		raw, err := net.Listen("tcp", "10.98.0.2:5432")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			host, _, _ := net.SplitHostPort(r.RemoteAddr)
			fmt.Fprintf(w, "%s by way of %s", r.Host, host)
		})}
		go func() { _ = srv.Serve(web) }()
		go greet(raw, "raw for ")
		t.Cleanup(func() { _, _ = srv.Close(), raw.Close() })
	})
	text, err := os.ReadFile(filepath.Join(exampleDir, "original-dst.json"))
	if err != nil {
		t.Fatal(err)
	}
	var p *proxy
	n.in(n.router, func() { p = startProxy(t, string(text), "--concurrency", "1") })
	if got, want := n.ask(n.client, "10.98.0.2:5432"), "raw for 10.98.0.1"; got != want {
		t.Errorf("bytes: %q, want %q", got, want)
	}
	for range 2 { // one connection to the server
		var c net.Conn
		n.in(n.client, func() { c, err = net.DialTimeout("tcp", "10.98.0.2:80", waitMax) })
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := bodyOf(t, resp), "shop.example by way of 10.98.0.1"; got != want {
			t.Errorf("HTTP: %q, want %q", got, want)
		}
		c.Close()
	}
	if got := n.ask(n.client, "10.99.0.1:15001"); got != "" {
		t.Errorf("a connection that was not redirected got %q", got)
	}
	for name, want := range map[string]string{
		"upstream_cx_http1_total": "1", "upstream_cx_none_healthy": "1", "membership_total": "2",
	} {
		if !eventually(func() bool { return strings.HasSuffix(n.stat(p, "cluster.wherever."+name), ": "+want) }) {
			t.Errorf("stats %q, want %s", n.stat(p, "cluster.wherever."+name), want)
		}
	}
}

// driveOriginalDstExample asks by the field, which needs no redirect: see TestOriginalDstCluster for the rest.
func driveOriginalDstExample(t *testing.T, p *proxy) {
	t.Helper()
	at := origin(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "there") })
	req, err := http.NewRequest("GET", "http://"+p.addr("named")+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("x-envoy-original-dst-host", at)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if got := bodyOf(t, resp); got != "there" {
		t.Errorf("by the field: %q", got)
	}
	c, err := net.DialTimeout("tcp", p.addr("redirected"), waitMax)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if b, err := io.ReadAll(c); len(b) > 0 {
		t.Errorf("a connection that was not redirected got %q, %v", b, err)
	}
}
