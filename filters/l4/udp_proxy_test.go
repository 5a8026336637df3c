package l4

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/engine"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/upstream"
)

func TestUDPProxySession(t *testing.T) {
	t.Parallel()
	w, host := newUDPWorld(t, true), newUDPHost(t)
	w.cluster("c", nil, host.addr())
	w.start("127.0.0.1:0", nil)
	a, b := w.client("127.0.0.1"), w.client("127.0.0.1")
	first := w.roundTrip(a, host, "ask", "answer")
	if again := w.roundTrip(a, host, "more", ""); again != first {
		t.Errorf("second datagram of a client came from %v, want %v", again, first)
	}
	if other := w.roundTrip(b, host, "b", "to b"); other == first {
		t.Error("two clients share a session")
	}
	w.wantStats(map[string]int64{
		"udp.dns.downstream_sess_total":                            2,
		"udp.dns.downstream_sess_active":                           2,
		"udp.dns.downstream_sess_rx_datagrams":                     3,
		"udp.dns.downstream_sess_rx_bytes":                         8,
		"udp.dns.downstream_sess_tx_datagrams":                     3,
		"udp.dns.downstream_sess_tx_bytes":                         10,
		"udp.dns.downstream_sess_tx_errors":                        0,
		"cluster.c.udp.sess_tx_datagrams":                          3,
		"cluster.c.udp.sess_rx_datagrams":                          3,
		"listener.127.0.0.1_53.udp.downstream_rx_datagram_dropped": 0,
	})
	cl, h := w.table.Cluster(0), w.shared["c"].Hosts()[0]
	if cl.Stats.CxRxBytes.Load() != 10 || cl.Stats.CxTxBytes.Load() != 8 {
		t.Errorf("cluster counts %d bytes in and %d out", cl.Stats.CxRxBytes.Load(), cl.Stats.CxTxBytes.Load())
	}
	if h.CxActive.Load() != 2 || h.RqActive.Load() != 2 || h.CxTotal.Load() != 2 {
		t.Errorf("host counts %d active of %d", h.CxActive.Load(), h.CxTotal.Load())
	}
	w.proxy.Close()
	if w.proxy.Conns() != 0 || h.CxActive.Load() != 0 || h.RqActive.Load() != 0 || w.shared["c"].Budgets[0].Active(upstream.Connections) != 0 {
		t.Errorf("%d sessions left, %d at the host", w.proxy.Conns(), h.CxActive.Load())
	}
}

// TestUDPProxyIdle: a session ends when nothing has passed in either direction for the time, not earlier.
func TestUDPProxyIdle(t *testing.T) {
	t.Parallel()
	w, host := newUDPWorld(t, true), newUDPHost(t)
	w.cluster("c", nil, host.addr())
	w.start("127.0.0.1:0", func(c *UDPProxyConfig) { c.IdleTimeout = 10 * time.Second })
	client := w.client("127.0.0.1")
	session := w.roundTrip(client, host, "ask", "answer")
	w.advance(9 * time.Second)
	host.WriteToUDPAddrPort([]byte("late"), session) // keeps it alive too
	w.wantHeard(client, "late")
	w.advance(9 * time.Second)
	if w.proxy.Conns() != 1 {
		t.Fatal("the session ended while datagrams passed")
	}
	w.advance(2 * time.Second)
	if w.proxy.Conns() != 0 || len(w.proxy.sessions) != 0 {
		t.Fatalf("%d sessions after the idle timeout", w.proxy.Conns())
	}
	w.wantStats(map[string]int64{"udp.dns.idle_timeout": 1, "udp.dns.downstream_sess_active": 0})
	if again := w.roundTrip(client, host, "again", "yes"); again == session {
		t.Log("the kernel gave the same port again") // allowed
	}
	w.wantStats(map[string]int64{"udp.dns.downstream_sess_total": 2, "udp.dns.downstream_sess_active": 1})
}

// TestUDPProxyLimits: datagrams of spoofed sources, each of which looks like a client, make no more sessions
// than a limit allows, and those that are there go on.
func TestUDPProxyLimits(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		edit    func(*UDPProxyConfig)
		cluster func(*upstream.Config)
		want    int
		stat    string
	}{
		{"max_sessions", func(c *UDPProxyConfig) { c.MaxSessions = 3 }, nil, 3, "udp.dns.downstream_sess_overflow"},
		{"session_rate_limit", func(c *UDPProxyConfig) {
			c.SessionRateLimit = &TokenBucketConfig{MaxTokens: 4, TokensPerFill: 1, FillInterval: time.Second}
		}, nil, 4, "udp.dns.downstream_sess_rate_limited"},
		{"max_connections", nil, func(c *upstream.Config) { c.CircuitBreakers.MaxConnections = 2 }, 2, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, host := newUDPWorld(t, true), newUDPHost(t)
			w.cluster("c", tt.cluster, host.addr())
			w.start("127.0.0.1:0", tt.edit)
			first := w.client("127.0.0.1")
			w.roundTrip(first, host, "ask", "answer")
			const spoofed = 20
			to := netip.MustParseAddrPort(w.socket.LocalAddr().String())
			for range spoofed {
				c := newUDPHost(t) // another port is another client
				c.WriteToUDPAddrPort([]byte("x"), to)
			}
			dropped := func() int64 {
				if tt.stat != "" {
					return w.stat(tt.stat)
				}
				return int64(w.table.Cluster(0).Stats.CxOverflow.Load())
			}
			want := int64(1 + spoofed - tt.want)
			w.until("drops", func() bool { return dropped() == want })
			if w.proxy.Conns() != tt.want || w.stat("udp.dns.downstream_sess_active") != int64(tt.want) {
				t.Errorf("%d sessions, want %d", w.proxy.Conns(), tt.want)
			}
			for range tt.want - 1 {
				w.hear(host)
			}
			w.roundTrip(first, host, "still", "here")
			if tt.name == "session_rate_limit" {
				w.advance(2 * time.Second) // two tokens more
			} else {
				w.advance(2 * time.Minute)
				if w.proxy.Conns() != 0 {
					t.Fatalf("%d sessions after idle_timeout", w.proxy.Conns())
				}
			}
			w.roundTrip(w.client("127.0.0.1"), host, "new", "session")
		})
	}
}

// TestUDPProxyNoSocket: a source that does not exist, as use_original_src_ip without routes has it, is counted.
func TestUDPProxyNoSocket(t *testing.T) {
	t.Parallel()
	w, host := newUDPWorld(t, true), newUDPHost(t)
	w.cluster("c", nil, host.addr())
	w.start("127.0.0.1:0", nil)
	w.proxy.dial.Source = engine.AddrFrom(netip.MustParseAddr("192.0.2.1"), 0, 0)
	w.client("127.0.0.1").say("x")
	w.until("drop", func() bool { return w.stat("udp.dns.downstream_sess_open_failed") == 1 })
	if w.proxy.Conns() != 0 || w.proxy.shared.sessions.Load() != 0 || w.shared["c"].Budgets[0].Active(upstream.Connections) != 0 {
		t.Error("a session that did not open is counted")
	}
}

func TestUDPProxyNoHost(t *testing.T) {
	t.Parallel()
	w := newUDPWorld(t, true)
	w.cluster("c", nil)
	w.start("127.0.0.1:0", nil)
	w.client("127.0.0.1").say("x")
	w.until("drop", func() bool { return w.table.Cluster(0).Stats.CxNoneHealthy.Load() == 1 })
	if w.proxy.Conns() != 0 || w.proxy.shared.sessions.Load() != 0 {
		t.Error("a session without a host is counted")
	}
}

func TestUDPProxyRoutes(t *testing.T) {
	t.Parallel()
	w, one, two := newUDPWorld(t, true), newUDPHost(t), newUDPHost(t)
	w.cluster("c", nil, one.addr())
	w.cluster("d", nil, two.addr())
	w.start("127.0.0.1:0", func(c *UDPProxyConfig) {
		c.Cluster = ""
		c.RouteConfig = &UDPRouteConfig{Routes: []UDPRoute{
			{Cluster: "c", SourceIPList: []string{"127.1.0.0/16"}}, {Cluster: "d", SourceIPList: []string{"127.2.0.0/16", "::1"}},
		}}
	})
	from := func(ip string) *udpPeer { return udpHostAt(t, ip+":0") }
	to := netip.MustParseAddrPort(w.socket.LocalAddr().String())
	from("127.1.2.3").WriteToUDPAddrPort([]byte("one"), to)
	w.wantHeard(one, "one")
	from("127.2.2.3").WriteToUDPAddrPort([]byte("two"), to)
	w.wantHeard(two, "two")
	from("127.3.2.3").WriteToUDPAddrPort([]byte("none"), to)
	w.until("drop", func() bool { return w.stat("udp.dns.downstream_sess_no_route") == 1 })
	w.wantStats(map[string]int64{"cluster.c.udp.sess_tx_datagrams": 1, "cluster.d.udp.sess_tx_datagrams": 1})
	w.table.Remove(w.ids["d"])
	w.table.Forget(w.ids["d"])
	from("127.2.9.9").WriteToUDPAddrPort([]byte("gone"), to)
	w.until("drop", func() bool { return w.stat("udp.dns.downstream_sess_no_route") == 2 })
}

// TestUDPProxyPerPacket: each datagram has a host of its own, and answers of all of them reach the client.
func TestUDPProxyPerPacket(t *testing.T) {
	t.Parallel()
	w, one, two := newUDPWorld(t, true), newUDPHost(t), newUDPHost(t)
	w.cluster("c", nil, one.addr(), two.addr())
	w.start("127.0.0.1:0", func(c *UDPProxyConfig) { c.UsePerPacketLoadBalancing = true })
	client := w.client("127.0.0.1")
	hosts := []*udpPeer{two, one} // in the order of the balancer
	for i := range 6 {
		w.roundTrip(client, hosts[i%2], fmt.Sprint("ask", i), fmt.Sprint("answer", i))
	}
	w.wantStats(map[string]int64{"udp.dns.downstream_sess_total": 2, "cluster.c.udp.sess_tx_datagrams": 6})
}

func TestUDPProxyHash(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		policy UDPHashPolicy
	}{{"source_ip", UDPHashPolicy{SourceIP: true}}, {"key", UDPHashPolicy{Key: "all"}}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, one, two := newUDPWorld(t, true), newUDPHost(t), newUDPHost(t)
			w.cluster("c", nil, one.addr(), two.addr())
			w.start("127.0.0.1:0", func(c *UDPProxyConfig) { c.HashPolicies = []UDPHashPolicy{tt.policy} })
			for range 4 { // four ports of one client
				w.client("127.0.0.1").say("x")
			}
			w.until("datagrams", func() bool { return w.stat("cluster.c.udp.sess_tx_datagrams") == 4 })
			a, b := w.shared["c"].Hosts()[0].CxTotal.Load(), w.shared["c"].Hosts()[1].CxTotal.Load()
			if a != 0 && b != 0 {
				t.Errorf("sessions to the hosts: %d and %d, want all to one", a, b)
			}
		})
	}
	x, y := mustAddr(t, "10.0.0.1:1"), mustAddr(t, "10.0.0.2:1")
	h := newUDPHash([]UDPHashPolicy{{SourceIP: true}})
	if x2 := x.WithPort(99); h.of(&x) == h.of(&y) || h.of(&x) != h.of(&x2) {
		t.Error("source_ip does not hash the address alone")
	}
}

// TestUDPProxyHostGone: sessions to a host that a reload removes end with the next datagram of either side.
func TestUDPProxyHostGone(t *testing.T) {
	t.Parallel()
	w, one, two := newUDPWorld(t, true), newUDPHost(t), newUDPHost(t)
	w.cluster("c", nil, one.addr())
	w.start("127.0.0.1:0", nil)
	asks, hears := w.client("127.0.0.1"), w.client("127.0.0.1")
	w.roundTrip(asks, one, "ask", "answer")
	session := w.roundTrip(hears, one, "ask", "answer")
	w.cluster("c", nil, one.addr(), two.addr()) // a change that leaves the host
	w.roundTrip(asks, one, "stays", "here")
	w.cluster("c", nil, two.addr())
	w.roundTrip(asks, two, "moves", "on")
	one.WriteToUDPAddrPort([]byte("too late"), session)
	w.until("end", func() bool { return w.proxy.Conns() == 1 })
	w.table.Remove(w.ids["c"])
	asks.say("to nobody")
	w.until("end", func() bool { return w.proxy.Conns() == 0 || w.stat("udp.dns.downstream_sess_rx_datagrams") > 4 })
	if h := w.shared["c"].Hosts()[0]; h.CxActive.Load() > 1 {
		t.Errorf("%d sessions at the host", h.CxActive.Load())
	}
}

// TestUDPProxyUnhealthy: a session moves away from a host that is not well, if there is one that is.
func TestUDPProxyUnhealthy(t *testing.T) {
	t.Parallel()
	w, one, two := newUDPWorld(t, true), newUDPHost(t), newUDPHost(t)
	w.cluster("c", nil, one.addr(), two.addr())
	w.start("127.0.0.1:0", nil)
	client := w.client("127.0.0.1")
	w.roundTrip(client, two, "ask", "answer") // the balancer begins there
	hosts := w.shared["c"].Hosts()
	hosts[1].SetHealth(upstream.FailedActiveCheck, true)
	w.shared["c"].Rebuild()
	w.table.Refresh(0)
	w.roundTrip(client, one, "moves", "on")
	w.roundTrip(client, one, "and", "stays")
	hosts[0].SetHealth(upstream.FailedActiveCheck, true) // none is well: it stays
	w.shared["c"].Rebuild()
	w.table.Refresh(0)
	w.roundTrip(client, one, "no", "better")
	if w.proxy.Conns() != 1 || w.stat("udp.dns.downstream_sess_total") != 2 {
		t.Errorf("%d sessions of %d", w.proxy.Conns(), w.stat("udp.dns.downstream_sess_total"))
	}
}

// TestUDPProxyErrors: datagrams too long for either side, and a host where nobody listens, are counted, and the session
// goes on.
func TestUDPProxyErrors(t *testing.T) {
	t.Parallel()
	w, host := newUDPWorld(t, true), newUDPHost(t)
	w.cluster("c", nil, host.addr())
	w.start("127.0.0.1:0", nil)
	client := w.client("127.0.0.1")
	session := w.roundTrip(client, host, "ask", "answer")
	client.say(strings.Repeat("x", 1501))
	w.until("drop", func() bool { return w.stat("listener.127.0.0.1_53.udp.downstream_rx_datagram_dropped") == 1 })
	host.WriteToUDPAddrPort(make([]byte, 1501), session)
	w.until("drop", func() bool { return w.stat("cluster.c.udp.sess_rx_datagrams_dropped") == 1 })
	w.roundTrip(client, host, strings.Repeat("x", 1500), strings.Repeat("y", 1500))
	addr := host.addr()
	host.Close()
	client.say("to nobody")
	w.until("refusal", func() bool { return w.stat("cluster.c.udp.sess_rx_errors") == 1 })
	host = udpHostAt(t, addr)
	w.roundTrip(client, host, "back", "again")
	w.wantStats(map[string]int64{"udp.dns.downstream_sess_total": 1, "cluster.c.udp.sess_tx_errors": 0})
}

// TestUDPProxyReload: the socket goes to a new filter; old sessions answer through it until they are idle.
func TestUDPProxyReload(t *testing.T) {
	t.Parallel()
	w, host := newUDPWorld(t, true), newUDPHost(t)
	w.cluster("c", nil, host.addr())
	w.start("127.0.0.1:0", nil)
	client := w.client("127.0.0.1")
	session := w.roundTrip(client, host, "ask", "answer")
	old := w.proxy
	next, err := w.build(nil)
	if err != nil {
		t.Fatal(err)
	}
	next.Attach(w.socket)
	old.Drain()
	host.WriteToUDPAddrPort([]byte("from before"), session)
	w.wantHeard(client, "from before")
	if again := w.roundTrip(client, host, "now", "new"); again == session {
		t.Error("the new filter uses the session of the old one")
	}
	if old.Conns() != 1 || next.Conns() != 1 || w.stat("udp.dns.downstream_sess_active") != 2 {
		t.Errorf("%d and %d sessions, want 1 and 1", old.Conns(), next.Conns())
	}
	w.advance(2 * time.Minute)
	if old.Conns() != 0 {
		t.Error("the old session is not idle")
	}
	old.Release()
	w.socket.Close()
	next.Close()
	next.Release()
}

// TestUDPProxyDrain: a filter that drains keeps its sessions and makes no more.
func TestUDPProxyDrain(t *testing.T) {
	t.Parallel()
	w, host := newUDPWorld(t, true), newUDPHost(t)
	w.cluster("c", nil, host.addr())
	w.start("127.0.0.1:0", nil)
	client := w.client("127.0.0.1")
	w.roundTrip(client, host, "ask", "answer")
	w.proxy.Drain()
	w.client("127.0.0.1").say("too late")
	w.roundTrip(client, host, "still", "here")
	if w.proxy.Conns() != 1 {
		t.Errorf("%d sessions, want 1", w.proxy.Conns())
	}
}

// TestUDPProxyLoopEnd: sessions end with the loop.
func TestUDPProxyLoopEnd(t *testing.T) {
	t.Parallel()
	w, host := newUDPWorld(t, true), newUDPHost(t)
	w.cluster("c", nil, host.addr())
	w.start("127.0.0.1:0", nil)
	w.roundTrip(w.client("127.0.0.1"), host, "ask", "answer")
	w.roundTrip(w.client("127.0.0.1"), host, "ask", "answer")
	w.loop.Close()
	if w.proxy.Conns() != 0 || w.shared["c"].Hosts()[0].CxActive.Load() != 0 {
		t.Errorf("%d sessions after the end of the loop", w.proxy.Conns())
	}
}

// TestUDPProxyWildcard: answers come from the address that the client asked, of both families.
func TestUDPProxyWildcard(t *testing.T) {
	t.Parallel()
	w, host := newUDPWorld(t, true), newUDPHost(t)
	w.cluster("c", nil, host.addr())
	w.start(":0", nil)
	for _, ip := range []string{"127.0.0.1", "127.4.5.6", "::1"} {
		c, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.ParseIP(ip), Port: w.socket.LocalAddr().Port()})
		if err != nil {
			t.Logf("no %s here: %v", ip, err)
			continue
		}
		t.Cleanup(func() { c.Close() })
		w.roundTrip(&udpPeer{t, c}, host, "ask "+ip, "answer")
	}
}

// TestUDPProxyBatch: what passes does not depend on whether the kernel joins datagrams.
func TestUDPProxyBatch(t *testing.T) {
	t.Parallel()
	for _, gro := range []bool{false, true} {
		t.Run(fmt.Sprintf("gro=%v", gro), func(t *testing.T) {
			t.Parallel()
			w, host := newUDPWorld(t, true), newUDPHost(t)
			w.cluster("c", nil, host.addr())
			w.start("127.0.0.1:0", func(c *UDPProxyConfig) {
				c.DownstreamSocketConfig.PreferGRO, c.UpstreamSocketConfig.PreferGRO = gro, gro
			})
			client := w.client("127.0.0.1")
			client.SetReadBuffer(1 << 20)
			session := w.roundTrip(client, host, "ask", "answer")
			const count = 60
			for i := range count {
				client.say(fmt.Sprintf("up %02d", i))
				host.WriteToUDPAddrPort(fmt.Appendf(nil, "down %02d", i), session)
			}
			for i := range count {
				w.wantHeard(host, fmt.Sprintf("up %02d", i))
			}
			for i := range count {
				w.wantHeard(client, fmt.Sprintf("down %02d", i))
			}
		})
	}
}

func TestUDPProxyLog(t *testing.T) {
	t.Parallel()
	w, host := newUDPWorld(t, true), newUDPHost(t)
	w.cluster("c", nil, host.addr())
	meta := func(space string, keys ...string) map[string]any {
		m := map[string]any{}
		for _, k := range keys {
			m[k] = "%DYNAMIC_METADATA(" + space + ":" + k + ")%"
		}
		return m
	}
	session := meta(udpSessionMetadata, "cluster_name", "bytes_sent", "bytes_received", "datagrams_sent", "datagrams_received")
	for k, v := range map[string]string{
		"type": "%ACCESS_LOG_TYPE%", "remote": "%DOWNSTREAM_REMOTE_ADDRESS%", "local": "%DOWNSTREAM_LOCAL_ADDRESS%",
		"host": "%UPSTREAM_HOST%", "from": "%UPSTREAM_LOCAL_ADDRESS%", "rx": "%BYTES_RECEIVED%", "tx": "%BYTES_SENT%",
		"duration": "%DURATION%", "why": "%DOWNSTREAM_LOCAL_CLOSE_REASON%", "chain": "%FILTER_CHAIN_NAME%",
	} {
		session[k] = v
	}
	entry := func(name string, format map[string]any) []accesslog.Config {
		return []accesslog.Config{{Path: filepath.Join(w.dir, name), JSONFormat: format, BufferSize: 4096, RingSize: 64 << 10}}
	}
	w.start("127.0.0.1:0", func(c *UDPProxyConfig) {
		c.AccessLog = entry("sessions", session)
		c.ProxyAccessLog = entry("proxy", meta(udpProxyMetadata, "bytes_sent", "datagrams_received", "session_total", "idle_timeout", "no_route", "errors_sent"))
	})
	client := w.client("127.0.0.1")
	from := w.roundTrip(client, host, "ask", "answer")
	w.roundTrip(client, host, "more", "")
	w.advance(2 * time.Minute)
	w.roundTrip(client, host, "x", "y")
	w.proxy.Release()
	lines := w.lines("sessions")
	if len(lines) != 2 {
		t.Fatalf("%d lines, want 2: %q", len(lines), lines)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &got); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]any{
		"type": "UdpSessionEnd", "remote": client.addr(), "local": w.socket.LocalAddr().String(), "host": host.addr(),
		"from": from.String(), "rx": 7.0, "tx": 6.0, "why": "idle_timeout", "chain": "chain", "cluster_name": "c",
		"bytes_sent": "6", "bytes_received": "7", "datagrams_sent": "2", "datagrams_received": "2",
	} {
		if got[k] != want {
			t.Errorf("%s = %v, want %v", k, got[k], want)
		}
	}
	want := `{"bytes_sent":"7","datagrams_received":"3","errors_sent":"0","idle_timeout":"1","no_route":"0","session_total":"2"}`
	if got := w.lines("proxy"); len(got) != 1 || got[0] != want {
		t.Errorf("proxy log %q, want %q", got, want)
	}
}

func TestUDPProxyShareFails(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		edit func(*UDPProxyConfig)
		want string
	}{
		{func(c *UDPProxyConfig) { c.Cluster = "nobody" }, `unknown cluster "nobody"`},
		{func(c *UDPProxyConfig) {
			c.RouteConfig = &UDPRouteConfig{Routes: []UDPRoute{{Cluster: "c", SourceIPList: []string{"x"}}}}
		}, `"x" is not an IP address`},
		{func(c *UDPProxyConfig) {
			c.AccessLog = []accesslog.Config{{Path: "/dev/null"}, {Path: "/dev/null/x"}}
		}, "/dev/null/x"},
	} {
		w := newUDPWorld(t, true)
		w.cluster("c", nil)
		if _, err := w.build(tt.edit); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want one with %q", err, tt.want)
		}
	}
}

// TestUDPProxyOriginalSource: hosts see the address of the client, or the configuration is refused with the reason.
func TestUDPProxyOriginalSource(t *testing.T) {
	t.Parallel()
	w, host := newUDPWorld(t, true), newUDPHost(t)
	w.cluster("c", nil, host.addr())
	original := func(c *UDPProxyConfig) { c.UseOriginalSrcIP = true }
	if why := engine.CheckTransparent(); why != nil {
		if _, err := w.build(original); err == nil || !strings.Contains(err.Error(), "use_original_src_ip needs CAP_NET_ADMIN") {
			t.Errorf("error %v, want one that names the capability", err)
		}
		return
	}
	w.start("127.0.0.1:0", original)
	client := udpHostAt(t, "127.7.7.7:0")
	client.WriteToUDPAddrPort([]byte("ask"), netip.MustParseAddrPort(w.socket.LocalAddr().String()))
	from := w.wantHeard(host, "ask")
	if from.Addr() != netip.MustParseAddr("127.7.7.7") {
		t.Errorf("the host sees %v, want 127.7.7.7", from.Addr())
	}
	host.WriteToUDPAddrPort([]byte("answer"), from)
	w.wantHeard(client, "answer")
}

func TestUDPProxyValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		edit func(*UDPProxyConfig)
		want string
	}{
		{"good", func(*UDPProxyConfig) {}, ""},
		{"nowhere", func(c *UDPProxyConfig) { c.Cluster = "" }, ": neither cluster nor route_config says where to"},
		{"both", func(c *UDPProxyConfig) { c.RouteConfig = &UDPRouteConfig{} }, "route_config: cluster and route_config are both given"},
		{"hash nothing", func(c *UDPProxyConfig) { c.HashPolicies = make([]UDPHashPolicy, 1) }, "hash_policies[0]: exactly one"},
		{"hash both", func(c *UDPProxyConfig) { c.HashPolicies = []UDPHashPolicy{{SourceIP: true, Key: "x"}} }, "hash_policies[0]: exactly one"},
		{"hash and packets", func(c *UDPProxyConfig) {
			c.HashPolicies, c.UsePerPacketLoadBalancing = []UDPHashPolicy{{SourceIP: true}}, true
		}, "hash_policies: use_per_packet_load_balancing"},
	} {
		c := udpDefaults()
		tt.edit(c)
		if got := udpProblems(c.Validate); !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s: problems %q, want %q", tt.name, got, tt.want)
		}
	}
	routes := &UDPRouteConfig{Routes: []UDPRoute{{Cluster: "a"}, {Cluster: "b"}}}
	if got := udpProblems(routes.Validate); !strings.Contains(got, "routes[1]: is never reached: routes[0]") {
		t.Errorf("problems %q", got)
	}
	if got := udpProblems((&UDPRouteConfig{}).Validate); !strings.Contains(got, "there is no route") {
		t.Errorf("problems %q", got)
	}
	if got := udpProblems((&UDPRoute{SourceIPList: []string{"10.0.0.0/33"}}).Validate); !strings.Contains(got, "source_ip_list[0]") {
		t.Errorf("problems %q", got)
	}
	var refs []string
	c := &UDPProxyConfig{Cluster: "a", RouteConfig: &UDPRouteConfig{Routes: []UDPRoute{{Cluster: "b"}}}}
	c.References(func(path, kind, name string) { refs = append(refs, path+" "+kind+" "+name) })
	if got, want := strings.Join(refs, ", "), "cluster cluster a, route_config.routes[0].cluster cluster b"; got != want {
		t.Errorf("References = %q, want %q", got, want)
	}
}

func udpProblems(validate func(func(path, problem, hint string))) string {
	var all []string
	validate(func(path, problem, _ string) { all = append(all, path+": "+problem) })
	return strings.Join(all, "\n")
}

func TestUDPProxySpec(t *testing.T) {
	t.Parallel()
	for _, s := range Builtin() {
		if s.Name == "udp_proxy" {
			if !s.UDP || !s.Terminal || s.Kind != filters.KindNetwork || s.Doc == "" {
				t.Errorf("spec %+v", s)
			}
			var _ filters.DatagramTerminal = (*udpProxy)(nil)
			var _ io.Closer = (*udpShared)(nil)
			return
		}
	}
	t.Error("udp_proxy is not in the table")
}

// TestUDPProxyDNS: the resolver of the standard library asks a name server through the proxy, many times at once.
func TestUDPProxyDNS(t *testing.T) {
	t.Parallel()
	server := newUDPHost(t)
	go answerDNS(server.UDPConn)
	w := newUDPWorld(t, false)
	w.cluster("c", nil, server.addr())
	w.start("127.0.0.1:0", nil)
	addr := w.socket.LocalAddr().String()
	ended := make(chan error)
	go func() { ended <- w.loop.Run() }()
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", addr)
	}}
	const resolvers, each = 8, 5
	errs := make(chan error, resolvers)
	for i := range resolvers {
		go func() {
			for k := range each {
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				ips, err := r.LookupNetIP(ctx, "ip4", fmt.Sprintf("host%d-%d.test.", i, k))
				cancel()
				if err == nil && (len(ips) != 1 || ips[0] != netip.MustParseAddr("192.0.2.7")) {
					err = fmt.Errorf("addresses %v", ips)
				}
				if err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range resolvers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	w.loop.Stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if n := w.stat("udp.dns.downstream_sess_tx_datagrams"); n < resolvers*each {
		t.Errorf("%d answers, want %d", n, resolvers*each)
	}
}

// answerDNS answers each question with one address, 192.0.2.7. RFC 1035 section 4.1
func answerDNS(c *net.UDPConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		const headerBytes, a, in = 12, 1, 1
		end := headerBytes
		for end < n && buf[end] != 0 { // the labels of the name
			end += int(buf[end]) + 1
		}
		end += 5 // the root, QTYPE and QCLASS
		if n < headerBytes || end > n {
			continue
		}
		reply := append([]byte(nil), buf[:end]...)
		reply[2], reply[3] = 0x84|buf[2]&1, 0 // a response with authority; RD as asked
		copy(reply[6:headerBytes], []byte{0, 0, 0, 0, 0, 0})
		if binary.BigEndian.Uint16(buf[end-4:]) == a {
			reply[7] = 1
			reply = append(reply, 0xc0, headerBytes, 0, a, 0, in, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7)
		}
		c.WriteToUDPAddrPort(reply, from)
	}
}
