package pool

import (
	"net"
	"net/netip"
	"testing"

	"millrace/engine"
	"millrace/upstream"
)

// udpEar is a session's owner that keeps what it hears.
type udpEar struct {
	udp   UDP
	heard []string
}

func (e *udpEar) OnDatagram(_ *engine.PacketSocket, d *engine.Datagram) {
	e.heard = append(e.heard, string(d.Data))
	e.udp.Received(d.Data)
}
func (e *udpEar) OnPacketError(*engine.PacketSocket, engine.PacketError) {}
func (e *udpEar) OnPacketClose(*engine.PacketSocket)                     {}

// udpHost is a host that the test speaks for.
func udpHost(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestUDP(t *testing.T) {
	t.Parallel()
	w, host := newWorld(t), udpHost(t)
	c := w.set(config(func(cfg *upstream.Config) {
		cfg.CircuitBreakers.MaxConnections = 1
		cfg.UpstreamBindConfig = &upstream.BindConfig{SourceAddress: "127.0.0.9:0"}
	}, host.LocalAddr().String()), nil)
	h := c.shared.Hosts()[0]
	var a, b udpEar
	if got := c.OpenUDP(&a.udp, h, &engine.PacketDialOptions{}, &a); got != UDPOpen {
		t.Fatalf("OpenUDP = %d, want UDPOpen", got)
	}
	if got := c.OpenUDP(&b.udp, h, &engine.PacketDialOptions{}, &b); got != UDPOverflow || c.Stats.CxOverflow.Load() != 1 {
		t.Errorf("OpenUDP at max_connections = %d, %d counted", got, c.Stats.CxOverflow.Load())
	}
	a.udp.Send([]byte("ask"))
	w.turn(0)
	buf := make([]byte, 100)
	n, from, err := host.ReadFromUDPAddrPort(buf)
	if err != nil || string(buf[:n]) != "ask" || from.Addr() != netip.MustParseAddr("127.0.0.9") {
		t.Fatalf("the host heard %q from %v, %v; want it from the source address of the cluster", buf[:n], from, err)
	}
	if got := a.udp.LocalAddr().String(); got != from.String() {
		t.Errorf("LocalAddr = %s, want %s", got, from)
	}
	host.WriteToUDPAddrPort([]byte("answer"), from)
	w.until("answer", func() bool { return len(a.heard) == 1 })
	if c.Stats.CxTxBytes.Load() != 3 || c.Stats.CxRxBytes.Load() != 6 || h.CxActive.Load() != 1 || h.RqActive.Load() != 1 {
		t.Errorf("%d bytes out, %d in, %d active", c.Stats.CxTxBytes.Load(), c.Stats.CxRxBytes.Load(), h.CxActive.Load())
	}
	a.udp.Close()
	if h.CxActive.Load() != 0 || h.RqActive.Load() != 0 || c.shared.Budgets[0].Active(upstream.Connections) != 0 || a.udp.Host() != h {
		t.Error("a closed session is counted")
	}
	o := &engine.PacketDialOptions{Source: engine.AddrFrom(netip.MustParseAddr("192.0.2.1"), 0, 0)}
	if got := c.OpenUDP(&b.udp, h, o, &b); got != UDPFailed || c.shared.Budgets[0].Active(upstream.Connections) != 0 || h.CxConnectFail.Load() != 1 {
		t.Errorf("OpenUDP from an address of others = %d, %d counted", got, h.CxConnectFail.Load())
	}
}

func TestUDPStanding(t *testing.T) {
	t.Parallel()
	w, one, two := newWorld(t), udpHost(t).LocalAddr().String(), udpHost(t).LocalAddr().String()
	c := w.set(config(nil, one), nil)
	var e udpEar
	if got := c.OpenUDP(&e.udp, c.shared.Hosts()[0], &engine.PacketDialOptions{}, &e); got != UDPOpen {
		t.Fatalf("OpenUDP = %d", got)
	}
	want := func(what string, s Standing) {
		t.Helper()
		if got := e.udp.Standing(); got != s {
			t.Errorf("%s: Standing = %d, want %d", what, got, s)
		}
	}
	want("at first", HostStays)
	w.set(config(nil, two, one), c.shared)
	want("after a reload that leaves it", HostStays)
	c.shared.Hosts()[1].SetHealth(upstream.FailedActiveCheck, true)
	want("before Refresh", HostStays)
	c.shared.Rebuild()
	w.do(func() { w.table.Refresh(0) })
	want("when it fails", HostUnhealthy)
	want("when asked again", HostUnhealthy)
	c.shared.Hosts()[1].SetHealth(upstream.FailedActiveCheck, false)
	want("when it is well again", HostStays)
	w.set(config(nil, two), c.shared)
	want("after a reload without it", HostGone)
	w.set(config(nil, one, two), c.shared)
	e.udp.Close()
	if got := c.OpenUDP(&e.udp, c.shared.Hosts()[0], &engine.PacketDialOptions{}, &e); got != UDPOpen {
		t.Fatalf("OpenUDP = %d", got)
	}
	w.do(func() { w.table.Remove(0) })
	want("after the cluster was removed", HostGone)
	e.udp.Close()
}
