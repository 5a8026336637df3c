package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// passThrough is a configuration that routes TLS by what its ClientHello says, without terminating it.
func passThrough(chains, clusters string) string {
	return fmt.Sprintf(`{"concurrency": 1, "listeners": [{"name": "tls", "address": "127.0.0.1:0", "stat_prefix": "front",
  "listener_filters": [{"name": "tls_inspector"}], "filter_chains": [%s]}], "clusters": [%s]}`, chains, clusters)
}

func chain(match, cluster string) string {
	if match != "" {
		match = `"match": {` + match + `}, `
	}
	return fmt.Sprintf(`{"name": %q, %s"filters": [{"name": "tcp_proxy", "config": {"stat_prefix": "e2e", "cluster": %[1]q}}]}`, cluster, match)
}

func cluster(name, host string) string { return fmt.Sprintf(`{"name": %q, "hosts": [%q]}`, name, host) }

// TestRoutingByServerName: names, wildcards and protocols choose the chain; what comes out is the server's own TLS.
func TestRoutingByServerName(t *testing.T) {
	t.Parallel()
	cert := newCertificate(t, "a.example.com", "*.example.com", "*.b.example.com", "other.test")
	servers := map[string]string{}
	var clusters []string
	for _, name := range []string{"exact", "wild", "wilder", "h2", "rest"} {
		servers[name] = tlsServer(t, name, cert, "h2", "http/1.1")
		clusters = append(clusters, cluster(name, servers[name]))
	}
	clusters = append(clusters, cluster("plain", nameServer(t, "plain")))
	p := startProxy(t, passThrough(strings.Join([]string{
		chain(`"server_names": ["a.example.com"]`, "exact"), chain(`"server_names": ["*.example.com"]`, "wild"),
		chain(`"server_names": ["*.b.example.com"]`, "wilder"), chain(`"server_names": ["h2.test"], "application_protocols": ["h2"]`, "h2"),
		chain(`"transport_protocol": "tls"`, "rest"), chain(`"transport_protocol": "raw_buffer"`, "plain"),
	}, ",\n"), strings.Join(clusters, ", ")))
	for _, tt := range []struct {
		name      string
		protocols []string
		want      string
	}{
		{"a.example.com", nil, "exact a.example.com "},
		{"A.Example.COM", nil, "exact "},
		{"c.example.com", nil, "wild c.example.com "},
		{"x.b.example.com", nil, "wilder x.b.example.com "},
		{"y.x.b.example.com", nil, "wilder y.x.b.example.com "},
		{"b.example.com", nil, "wild b.example.com "},
		{"example.com", nil, "rest example.com "},
		{"h2.test", []string{"h2", "http/1.1"}, "h2 h2.test h2"},
		{"h2.test", []string{"http/1.1"}, ""}, // no way back from a name that matched to one that does not
		{"other.test", []string{"http/1.1"}, "rest other.test http/1.1"},
		{"", nil, "rest  "},
	} {
		config := &tls.Config{ServerName: tt.name, InsecureSkipVerify: true, NextProtos: tt.protocols}
		c, err := tls.DialWithDialer(&net.Dialer{Timeout: waitMax}, "tcp", p.addr(""), config)
		if err != nil {
			if tt.want != "" {
				t.Errorf("%q %q: %v", tt.name, tt.protocols, err)
			}
			continue
		}
		_ = c.SetDeadline(time.Now().Add(waitMax))
		got, err := io.ReadAll(c)
		if err != nil || tt.want == "" || !strings.HasPrefix(string(got), tt.want) {
			t.Errorf("%q %q: reached %q, %v; want %q", tt.name, tt.protocols, got, err, tt.want)
		}
		if !c.ConnectionState().PeerCertificates[0].Equal(cert.parsed) {
			t.Errorf("%q: the certificate is not the server's", tt.name)
		}
		_ = c.Close()
	}
	c := dial(t, p.addr(""))
	c.send("no TLS\n")
	c.wantLine("plain")
	p.wantStat("listener.front.no_filter_chain_match", 1)
	for name, want := range map[string]int64{"tls_found": 11, "tls_not_found": 1, "sni_found": 10, "sni_not_found": 1, "alpn_found": 3} {
		p.wantStat("tls_inspector."+name, want)
	}
}

// recorded is the ClientHello of one handshake.
func recorded(t *testing.T, name string) []byte {
	t.Helper()
	a, b := net.Pipe()
	go func() {
		_ = tls.Client(a, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
	}()
	defer a.Close()
	_ = b.SetDeadline(time.Now().Add(waitMax))
	buf := make([]byte, 16<<10)
	n, err := b.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

// TestClientHelloInPieces: wherever it is cut, the chain is found, and the server gets each byte once.
func TestClientHelloInPieces(t *testing.T) {
	t.Parallel()
	hello := recorded(t, "a.example.com")
	got := make(chan string, 64)
	host := rawOrigin(t, func(c *rawConn) { got <- c.bytes(len(hello) + 4) })
	p := startProxy(t, passThrough(chain(`"server_names": ["a.example.com"]`, "a"), cluster("a", host)))
	cuts := []int{1, 2, 3, 4, 5, 6, 9, 43, len(hello) / 2, len(hello) - 1, len(hello)}
	for _, at := range cuts {
		c := dial(t, p.addr(""))
		_, _ = c.Write(hello[:at])
		if at < len(hello) {
			p.wantStat("listener.front.downstream_pre_cx_active", 1)
		}
		_, _ = c.Write(hello[at:])
		c.send("more")
		select {
		case b := <-got:
			if b != string(hello)+"more" {
				t.Errorf("cut at %d the server gets %d bytes that differ from the %d sent", at, len(b), len(hello)+4)
			}
		case <-time.After(waitMax):
			t.Fatalf("cut at %d the server gets nothing", at)
		}
		_ = c.Close()
		p.wantStat("listener.front.downstream_cx_active", 0)
	}
	// A client that leaves in the middle of it.
	for _, at := range cuts[:len(cuts)-1] {
		c := dial(t, p.addr(""))
		_, _ = c.Write(hello[:at])
		_ = c.Close()
	}
	p.wantStat("listener.front.downstream_cx_active", 0)
	p.wantStat("listener.front.downstream_pre_cx_active", 0)
}

// TestClusterByServerName: sni_cluster takes the name itself for the cluster.
func TestClusterByServerName(t *testing.T) {
	t.Parallel()
	cert := newCertificate(t, "one.test")
	p := startProxy(t, fmt.Sprintf(`{"concurrency": 1, "listeners": [{"name": "tls", "address": "127.0.0.1:0", "listener_filters": [{"name": "tls_inspector"}],
  "filters": [{"name": "sni_cluster"}, {"name": "tcp_proxy", "config": {"stat_prefix": "e2e", "cluster": "fallback"}}]}], "clusters": [%s, %s, %s]}`,
		cluster("one.test", tlsServer(t, "one", cert)), cluster("two.test", tlsServer(t, "two", cert)), cluster("fallback", tlsServer(t, "fallback", cert))))
	for name, want := range map[string]string{"one.test": "one one.test ", "two.test": "two two.test ", "": "fallback  "} {
		c, err := tls.DialWithDialer(&net.Dialer{Timeout: waitMax}, "tcp", p.addr(""), &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		_ = c.SetDeadline(time.Now().Add(waitMax))
		if got, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(got), want) {
			t.Errorf("%q reaches %q, %v; want %q", name, got, err, want)
		}
		_ = c.Close()
	}
	// There is no cluster of this name.
	if c, err := tls.DialWithDialer(&net.Dialer{Timeout: waitMax}, "tcp", p.addr(""), &tls.Config{ServerName: "none.test", InsecureSkipVerify: true}); err == nil {
		_ = c.Close()
		t.Error("none.test reaches a server")
	}
	p.wantStat("tcp.e2e.downstream_cx_no_route", 1)
}

// TestOnePortForAll: HTTP is routed here, TLS passed through, and what is neither goes to whoever takes the rest.
func TestOnePortForAll(t *testing.T) {
	t.Parallel()
	secure := tlsServer(t, "secure", newCertificate(t, "a.test"))
	p := startProxy(t, fmt.Sprintf(`{"concurrency": 1, "listeners": [{"name": "all", "address": "127.0.0.1:0", "stat_prefix": "front",
  "listener_filters": [{"name": "tls_inspector"}, {"name": "http_inspector"}], "filter_chains": [
    {"match": {"transport_protocol": "tls"}, "filters": [{"name": "tcp_proxy", "config": {"stat_prefix": "e2e", "cluster": "secure"}}]},
    {"match": {"application_protocols": ["http/1.1", "http/1.0"]}, "filters": [{"name": "http_connection_manager", "config": {"stat_prefix": "e2e",
      "route_config": {"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "web"}}]}}}]}],
  "default_filter_chain": {"filters": [{"name": "tcp_proxy", "config": {"stat_prefix": "e2e", "cluster": "rest"}}]}}],
 "clusters": [%s, %s, %s]}`, cluster("secure", secure), cluster("web", origin(t, echo)), cluster("rest", nameServer(t, "rest"))))
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: waitMax}, "tcp", p.addr(""), &tls.Config{ServerName: "a.test", InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(waitMax))
	if got, err := io.ReadAll(c); err != nil || string(got) != "secure a.test \n" {
		t.Errorf("TLS reaches %q, %v", got, err)
	}
	for range 3 {
		if code, body := get(t, "http://"+p.addr("")+"/hello"); code != 200 || !strings.HasPrefix(body, "GET /hello") {
			t.Errorf("HTTP gives %d %q", code, body)
		}
	}
	other := dial(t, p.addr(""))
	other.send("SSH-2.0-x\r\n")
	other.wantLine("rest")
	if got := other.bytes(11); got != "SSH-2.0-x\r\n" {
		t.Errorf("the rest gets %q", got)
	}
	p.wantStat("http_inspector.http11_found", 3)
	p.wantStat("http.e2e.downstream_rq_total", 3)
}

// TestOpenSSL: its client reaches its servers by name, through every version of TLS it has.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	openssl := lookPeer(t, "openssl")
	var chains, clusters []string
	for _, name := range []string{"one.test", "two.test"} {
		c := newCertificate(t, name)
		addr := loopbackPort(t)
		peer(t, openssl, "s_server", "-accept", portOf(addr), "-cert", c.cert, "-key", c.key, "-www", "-quiet", "-alpn", "http/1.1")
		waitListening(t, addr)
		chains, clusters = append(chains, chain(fmt.Sprintf(`"server_names": [%q]`, name), name)), append(clusters, cluster(name, addr))
	}
	p := startProxy(t, passThrough(strings.Join(chains, ", "), strings.Join(clusters, ", ")))
	for _, name := range []string{"one.test", "two.test"} {
		for _, version := range []string{"-tls1_2", "-tls1_3"} {
			out := openSSLClient(t, openssl, "-connect", p.addr(""), "-servername", name, version, "-alpn", "h2,http/1.1")
			if !strings.Contains(out, "CN = "+name) || !strings.Contains(out, "ALPN protocol: http/1.1") {
				t.Errorf("%s %s:\n%s", name, version, out)
			}
		}
	}
	p.wantStat("listener.front.no_filter_chain_match", 0)
}

// openSSLClient makes a handshake and returns what the client tells of it.
func openSSLClient(t *testing.T, openssl string, args ...string) string {
	t.Helper()
	cmd := exec.Command(openssl, append([]string{"s_client"}, args...)...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = strings.NewReader("Q\n"), &out, &out, time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		t.Errorf("openssl %q: %v", args, err)
	}
	return out.String()
}
