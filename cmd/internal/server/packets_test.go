package server

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"millrace/cmd/internal/admin"
)

// udpEcho is a host that answers each datagram with its name and the datagram.
func udpEcho(t *testing.T, name string) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = c.Close(); <-done })
	go func() {
		defer close(done)
		b := make([]byte, 2048)
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

// ask sends a datagram until it is answered: one may be lost while a socket changes hands.
func ask(t *testing.T, c net.Conn, text string) string {
	t.Helper()
	b := make([]byte, 2048)
	for end := time.Now().Add(waitMax); time.Now().Before(end); {
		if _, err := c.Write([]byte(text)); err != nil {
			continue // nobody is there now
		}
		_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if n, err := c.Read(b); err == nil && strings.HasSuffix(string(b[:n]), text) {
			return string(b[:n])
		}
	}
	return ""
}

func dialUDP(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// forwardsUDP is a listener that forwards datagrams to a cluster.
func forwardsUDP(name, address, cluster, idle string) string {
	return fmt.Sprintf(`{"name": %q, "address": %q, "protocol": "udp", "filters": [{"name": "udp_proxy", "config": {
		"stat_prefix": "u", "cluster": %q, "idle_timeout": %q}}]}`, name, address, cluster, idle)
}

// TestUDPListener: beside a TCP listener on the same address; a reload moves new datagrams to the new chain, a renamed
// listener keeps its sockets, and a removed one is gone when its sessions are.
func TestUDPListener(t *testing.T) {
	addr := freeAddr(t)
	tcp := chainsOf("tcp", addr, "", sayChain("tcp"))
	clusters := []string{cluster("a", udpEcho(t, "a")), cluster("b", udpEcho(t, "b"))}
	conf := func(listeners ...string) string { return whole(append(listeners, tcp), clusters...) }
	r := start(t, conf(forwardsUDP("dns", addr, "a", "60s")))
	wantAll(t, dialFrom(t, 1, addr), "tcp")
	c := dialUDP(t, addr)
	want := func(text, answer string) {
		t.Helper()
		if got := ask(t, c, text); got != answer+" "+text {
			t.Errorf("%q is answered with %q, want %q of host %q", text, got, answer, answer)
		}
	}
	want("one", "a")
	if n := r.openConns(); n == 0 {
		t.Error("a session does not count as open")
	}
	fds := r.packetFds()
	r.mustLoad(conf(forwardsUDP("dns", addr, "b", "60s")))
	want("two", "b")
	r.mustLoad(conf(forwardsUDP("renamed", addr, "a", "60s")))
	want("three", "a")
	if now := r.packetFds(); fmt.Sprint(now) != fmt.Sprint(fds) {
		t.Errorf("the sockets are %v, were %v", now, fds)
	}
	r.mustLoad(conf())
	if !eventually(func() bool { return strings.Join(r.packetFds(), "") == "" }) {
		t.Errorf("sockets of a removed listener are open: %v", r.packetFds())
	}
	r.mustLoad(conf(forwardsUDP("dns", addr, "b", "60s")))
	want("four", "b")
	r.mustLoad(conf())
	r.mustLoad(conf(forwardsUDP("dns", addr, "a", "60s"))) // while the old one drains
	want("five", "a")
	wantAll(t, dialFrom(t, 1, addr), "tcp")
	rep := r.load(conf(forwardsUDP("dns", addr, "b", "60s"), forwardsUDP("more", freeAddr(t), "a", "1s"), chainsOf("bad", "192.0.2.1:80", "", sayChain("x"))))
	if rep.Applied {
		t.Error("a listener on an address of others was opened")
	}
	want("six", "a")
	if err := r.drainListeners(admin.DrainOptions{}); err != nil {
		t.Fatal(err)
	}
	want("seven", "a") // the session goes on
}

// packetFds returns the addresses of the UDP sockets by loop, those that drain too.
func (r *running) packetFds() []string {
	return each(r.Server, func(w *worker) string {
		s := ""
		for key, p := range w.packets {
			s += fmt.Sprintf("%s %p;", key, p.PacketSocket)
		}
		for _, p := range w.closing {
			s += fmt.Sprintf("%s %p drains;", p.key, p.PacketSocket)
		}
		return s
	})
}

// TestUDPOneSocket: without enable_reuse_port one loop has the socket, so that a flow cannot come to two of them; raw options
// are set on it, and the counters of the cluster are where alt_stat_name says.
func TestUDPOneSocket(t *testing.T) {
	addr := freeAddr(t)
	listener := fmt.Sprintf(`{"name": "dns", "address": %q, "protocol": "udp", "enable_reuse_port": false,
		"socket_options": [{"level": %d, "name": %d, "int_value": 5}],
		"filters": [{"name": "udp_proxy", "config": {"stat_prefix": "u", "cluster": "a"}}]}`,
		addr, unix.SOL_SOCKET, unix.SO_PRIORITY)
	host := fmt.Sprintf(`{"name": "a", "alt_stat_name": "resolvers", "hosts": [%q]}`, udpEcho(t, "a"))
	r := start(t, whole([]string{listener}, host))
	if have := strings.Join(r.packetFds(), "|"); strings.Count(have, addr) != 1 {
		t.Errorf("sockets of the loops: %q, want one", have)
	}
	for i := range 8 {
		if text := fmt.Sprint("from ", i); ask(t, dialUDP(t, addr), text) != "a "+text {
			t.Errorf("%q is not answered", text)
		}
	}
	priorities := each(r.Server, func(w *worker) (s string) {
		for _, p := range w.packets {
			n, err := unix.GetsockoptInt(p.Fd(), unix.SOL_SOCKET, unix.SO_PRIORITY)
			s += fmt.Sprint(n, " ", err)
		}
		return s
	})
	if got := strings.Join(priorities, ""); got != "5 <nil>" {
		t.Errorf("SO_PRIORITY is %q", got)
	}
	if n := r.statOf("cluster.resolvers.udp.sess_tx_datagrams"); n < 8 {
		t.Errorf("cluster.resolvers.udp.sess_tx_datagrams = %d, want 8", n)
	}
}
