package main

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// udpConfig is a listener for datagrams to one cluster, beside one for TCP on the same address if tcp is an address.
func udpConfig(address, filter string, hosts ...string) string {
	for i := range hosts {
		hosts[i] = fmt.Sprintf("%q", hosts[i])
	}
	return fmt.Sprintf(`{"concurrency": 1, "listeners": [
 {"name": "udp", "address": %q, "protocol": "udp", "filters": [{"name": "udp_proxy", "config": {"stat_prefix": "e2e", "cluster": "dns"%s}}]},
 {"name": "tcp", "address": %[1]q, "filters": [{"name": "tcp_proxy", "config": {"stat_prefix": "e2e", "cluster": "dns"}}]}],
 "clusters": [{"name": "dns", "hosts": [%[3]s]}]}`, address, leadingComma(filter), strings.Join(hosts, ", "))
}

// TestDNS: a real client asks a real server, over UDP and, where the answer is long, over TCP.
func TestDNS(t *testing.T) {
	t.Parallel()
	dig, dnsmasq := lookPeer(t, "dig"), lookPeer(t, "dnsmasq")
	server := loopbackPort(t)
	args := []string{
		"--keep-in-foreground", "--no-resolv", "--no-hosts", "--port=" + portOf(server), "--listen-address=127.0.0.1", "--bind-interfaces",
		"--conf-file=/dev/null", "--pid-file=", "--user=", "--cache-size=0", "--edns-packet-max=1232",
		"--address=/one.test/192.0.2.1", "--address=/six.test/2001:db8::1", "--txt-record=text.test,some text",
	}
	for i := range 40 { // more than a datagram holds
		args = append(args, fmt.Sprintf("--txt-record=long.test,%s%d", strings.Repeat("x", 60), i))
	}
	peer(t, dnsmasq, args...)
	waitListening(t, server)
	address := loopbackPort(t)
	p := startProxy(t, udpConfig(address, "", server))
	ask := func(args ...string) string {
		t.Helper()
		return runPeer(t, dig, append([]string{"@127.0.0.1", "-p", portOf(address), "+tries=5", "+time=5"}, args...)...)
	}
	for _, tt := range []struct{ name, kind, want string }{
		{"one.test", "A", "192.0.2.1\n"}, {"a.one.test", "A", "192.0.2.1\n"}, {"six.test", "AAAA", "2001:db8::1\n"}, {"text.test", "TXT", "\"some text\"\n"},
	} {
		for _, way := range []string{"+notcp", "+tcp"} {
			if got := ask("+short", way, tt.name, tt.kind); got != tt.want {
				t.Errorf("%s %s %s gives %q, want %q", way, tt.name, tt.kind, got, tt.want)
			}
		}
	}
	if got := ask("long.test", "TXT"); strings.Count(got, "\"xxxx") != 40 || !strings.Contains(got, "retrying in TCP mode") {
		t.Errorf("the long answer is\n%s", got)
	}
	if got := ask("+notcp", "nothing.example", "A"); !strings.Contains(got, "status: REFUSED") && !strings.Contains(got, "status: NXDOMAIN") {
		t.Errorf("a name that nobody knows gives\n%s", got)
	}
	p.wantStat("listener_manager.total_listeners_active", 2)
	if n := p.stat("udp.e2e.downstream_sess_total"); n < 6 {
		t.Errorf("%d sessions", n)
	}
}

// udpServer answers each datagram with its name and the datagram.
func udpServer(t *testing.T, name string) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		b := make([]byte, 64<<10)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(append([]byte(name+" "), b[:n]...), from)
		}
	}()
	return c.LocalAddr().String()
}

// udpClient is a socket that asks again if nothing comes: datagrams may get lost.
type udpClient struct {
	t *testing.T
	net.Conn
}

func dialUDP(t *testing.T, addr string) udpClient {
	t.Helper()
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return udpClient{t, c}
}

// ask sends text and returns who answered.
func (c udpClient) ask(text string) string {
	c.t.Helper()
	b := make([]byte, 64<<10)
	for end := time.Now().Add(waitMax); time.Now().Before(end); {
		if _, err := c.Write([]byte(text)); err != nil {
			continue // of an ICMP message for an earlier one
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		n, err := c.Read(b)
		if name, rest, ok := strings.Cut(string(b[:n]), " "); err == nil && ok && rest == text {
			return name
		}
	}
	c.t.Errorf("no answer to %.20q", text)
	return ""
}

// TestDatagrams: a session stays with its host, ends when it is idle, and is written down.
func TestDatagrams(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "access.log")
	p := startProxy(t, udpConfig("127.0.0.1:0", fmt.Sprintf(`"idle_timeout": "1s", "access_log": [{"path": %q, "flush_interval": "20ms", "json_format": {"type": "%%ACCESS_LOG_TYPE%%"}}]`, log),
		udpServer(t, "one"), udpServer(t, "two")))
	hosts := map[string]bool{}
	for i := range 4 {
		c := dialUDP(t, p.addr("udp"))
		host := c.ask("first")
		hosts[host] = true
		for n := range 5 {
			text := fmt.Sprintf("session %d, %d %s", i, n, strings.Repeat("x", n*300))
			if got := c.ask(text); got != host {
				t.Errorf("datagram %d of a session goes to %q, the first to %q", n, got, host)
			}
		}
	}
	if len(hosts) != 2 {
		t.Errorf("the sessions went to %v, want both hosts", hosts)
	}
	p.wantStat("udp.e2e.downstream_sess_active", 0)
	p.wantStat("udp.e2e.idle_timeout", p.stat("udp.e2e.downstream_sess_total"))
	if p.stat("udp.e2e.downstream_sess_total") < 4 {
		t.Error("there were fewer sessions than clients")
	}
	logLines(t, log, int(p.stat("udp.e2e.downstream_sess_total")))
}

// TestReloadOfDatagrams: a reload that does not touch the listener keeps its sessions, one that does moves on.
func TestReloadOfDatagrams(t *testing.T) {
	t.Parallel()
	one, two := udpServer(t, "one"), udpServer(t, "two")
	address := loopbackPort(t)
	p := startProxy(t, udpConfig(address, "", one))
	c := dialUDP(t, address)
	if got := c.ask("hello"); got != "one" {
		t.Errorf("answered by %q", got)
	}
	p.hup()
	if got := c.ask("again"); got != "one" {
		t.Errorf("after a reload of the same file answered by %q", got)
	}
	p.write(udpConfig(address, "", two))
	p.hup()
	if !eventually(func() bool { return dialUDP(t, address).ask("who") == "two" }) {
		t.Error("the reload did not reach new sessions")
	}
}
