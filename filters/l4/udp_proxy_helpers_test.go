package l4

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/engine"
	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/upstream"
	"millrace/upstream/pool"
)

// udpWorld is a loop stepped by the test, on a clock of its own, with a udp_proxy on a real socket.
type udpWorld struct {
	t        testing.TB
	loop     *engine.Loop
	now      int64
	table    *pool.Table
	registry *stats.Registry
	sets     map[string]any
	ids      map[string]upstream.ClusterID
	shared   map[string]*upstream.Cluster
	socket   *engine.PacketSocket
	proxy    *udpProxy
	logs     *accesslog.Files
	dir      string

	logsClosed bool
}

// udpTurns is a balancer for tests: by the hash if there is one, else in turn.
type udpTurns struct{ n int }

func (b *udpTurns) Pick(set *upstream.Bucket, p *upstream.Pick) *upstream.Host {
	hosts := set.Hosts
	switch {
	case len(hosts) == 0:
		return nil
	case p.HashSet:
		return hosts[p.Hash%uint64(len(hosts))]
	}
	b.n++
	return hosts[b.n%len(hosts)]
}

func newUDPWorld(t testing.TB, clock bool) *udpWorld {
	t.Helper()
	w := &udpWorld{
		t: t, now: int64(time.Hour), registry: &stats.Registry{}, sets: map[string]any{}, dir: t.TempDir(),
		ids: map[string]upstream.ClusterID{}, shared: map[string]*upstream.Cluster{},
	}
	cfg := engine.DefaultLoopConfig()
	cfg.BlocksMax = 16 << 20
	cfg.OnPanic = func(v any, stack []byte) { t.Errorf("panic on the loop: %v\n%s", v, stack) }
	if clock {
		cfg.Clock = func() int64 { return w.now }
	}
	var err error
	if w.loop, err = engine.NewLoop(0, cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.loop.Close)
	w.table = pool.NewTable(w.loop, func(*upstream.Cluster) upstream.Balancer { return &udpTurns{} })
	w.logs = accesslog.NewFiles(nil)
	return w
}

// cluster adds or replaces a cluster.
func (w *udpWorld) cluster(name string, edit func(*upstream.Config), hosts ...string) *upstream.Cluster {
	w.t.Helper()
	cfg := upstream.DefaultConfig(name)
	for _, h := range hosts {
		cfg.Hosts = append(cfg.Hosts, upstream.HostConfig{Address: h, Weight: 1})
	}
	if edit != nil {
		edit(&cfg)
	}
	id, ok := w.ids[name]
	if !ok {
		id = upstream.ClusterID(len(w.ids))
		w.ids[name] = id
	}
	c, err := upstream.New(id, &cfg, w.shared[name])
	if err != nil {
		w.t.Fatal(err)
	}
	w.shared[name] = c
	w.table.Set(c)
	return c
}

func udpDefaults() *UDPProxyConfig {
	return &UDPProxyConfig{
		StatPrefix: "dns", Cluster: "c", IdleTimeout: time.Minute, MaxSessions: 10000,
		UpstreamSocketConfig:   UDPUpstreamSocketConfig{MaxRxDatagramSize: 1500, PreferGRO: true},
		DownstreamSocketConfig: UDPDownstreamSocketConfig{MaxRxDatagramSize: 1500},
	}
}

// build makes a udp_proxy, without a socket.
func (w *udpWorld) build(edit func(*UDPProxyConfig)) (*udpProxy, error) {
	w.t.Helper()
	cfg := udpDefaults()
	if edit != nil {
		edit(cfg)
	}
	id := func(name string) (upstream.ClusterID, bool) { id, ok := w.ids[name]; return id, ok }
	shared, err := newUDPShared(cfg, &filters.SharedEnv{ClusterID: id, OpenLog: w.logs.Open})
	if err != nil {
		return nil, err
	}
	built, err := newUDPProxy(cfg, shared, &filters.NetworkEnv{
		Loop: w.loop, Clusters: w.table, ClusterByName: id, Address: "127.0.0.1:53", ChainName: "chain",
		Stats: w.register,
	})
	if err != nil {
		return nil, err
	}
	w.t.Cleanup(func() {
		if !w.logsClosed {
			shared.Close()
		}
	})
	return built.(*udpProxy), nil
}

func (w *udpWorld) register(scope stats.Scope, set any) any {
	key := fmt.Sprintf("%s %T", scope.Prefix, set)
	if w.sets[key] == nil {
		w.sets[key] = set
		w.registry.Add(scope, set)
	}
	return w.sets[key]
}

// start makes the udp_proxy of the world and attaches it to a new socket.
func (w *udpWorld) start(listen string, edit func(*UDPProxyConfig)) {
	w.t.Helper()
	p, err := w.build(edit)
	if err != nil {
		w.t.Fatal(err)
	}
	addr, err := engine.ParseAddr(listen)
	if err != nil {
		w.t.Fatal(err)
	}
	fd, err := engine.ListenPacket(addr, engine.PacketOptions{ReceiveBuffer: 1 << 20})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.socket, err = w.loop.AddPacketSocket(fd, p); err != nil {
		w.t.Fatal(err)
	}
	p.Attach(w.socket)
	w.proxy = p
}

// stat returns a counter or gauge.
func (w *udpWorld) stat(name string) int64 {
	w.t.Helper()
	n, found := int64(0), false
	w.registry.Each(func(m *stats.Metric) bool {
		if m.Scope.Prefix+m.Name == name {
			n, found = m.Value, true
		}
		return true
	})
	if !found {
		w.t.Fatalf("no stat %q", name)
	}
	return n
}

func (w *udpWorld) wantStats(want map[string]int64) {
	w.t.Helper()
	for name, n := range want {
		if got := w.stat(name); got != n {
			w.t.Errorf("%s = %d, want %d", name, got, n)
		}
	}
}

func (w *udpWorld) until(what string, cond func() bool) {
	w.t.Helper()
	for start := time.Now(); !cond(); w.turn(5 * time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			w.t.Fatalf("%s: still not after 10 s", what)
		}
	}
}

func (w *udpWorld) turn(wait time.Duration) {
	w.t.Helper()
	if err := w.loop.Turn(wait); err != nil {
		w.t.Fatal(err)
	}
}

// advance moves the clock.
func (w *udpWorld) advance(d time.Duration) {
	w.t.Helper()
	w.now += int64(d)
	w.turn(0)
	w.turn(0)
}

// lines closes the access logs of the proxy, and returns the lines of one.
func (w *udpWorld) lines(name string) []string {
	w.t.Helper()
	if !w.logsClosed {
		w.logsClosed = true
		if err := w.proxy.shared.Close(); err != nil {
			w.t.Fatal(err)
		}
	}
	b, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

// udpPeer is a client, or a host, outside of the loop.
type udpPeer struct {
	t testing.TB
	*net.UDPConn
}

func (p *udpPeer) addr() string { return p.LocalAddr().String() }

func udpHostAt(t testing.TB, addr string) *udpPeer {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &udpPeer{t, c}
}

func newUDPHost(t testing.TB) *udpPeer {
	t.Helper()
	return udpHostAt(t, "127.0.0.1:0")
}

// client returns a client of the world's socket, which may be bound to all addresses.
func (w *udpWorld) client(ip string) *udpPeer {
	w.t.Helper()
	to := netip.AddrPortFrom(netip.MustParseAddr(ip), uint16(w.socket.LocalAddr().Port()))
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return &udpPeer{w.t, c}
}

func (p *udpPeer) say(s string) {
	p.t.Helper()
	if _, err := p.Write([]byte(s)); err != nil {
		p.t.Fatal(err)
	}
}

// hear turns the world until p has heard something, and returns it with whom it came from.
func (w *udpWorld) hear(p *udpPeer) (string, netip.AddrPort) {
	w.t.Helper()
	buf := make([]byte, 65535)
	for start := time.Now(); time.Since(start) < 10*time.Second; {
		w.turn(time.Millisecond)
		p.SetReadDeadline(time.Now().Add(time.Millisecond))
		if n, from, err := p.ReadFromUDPAddrPort(buf); err == nil {
			return string(buf[:n]), from
		}
	}
	w.t.Fatal("nothing heard after 10 s")
	return "", netip.AddrPort{}
}

// wantHeard checks what p hears next, and returns whom it came from.
func (w *udpWorld) wantHeard(p *udpPeer, want string) netip.AddrPort {
	w.t.Helper()
	got, from := w.hear(p)
	if got != want {
		w.t.Fatalf("heard %q, want %q", got, want)
	}
	return from
}

// roundTrip has a client ask and a host answer.
func (w *udpWorld) roundTrip(client, host *udpPeer, ask, answer string) (session netip.AddrPort) {
	w.t.Helper()
	client.say(ask)
	session = w.wantHeard(host, ask)
	if _, err := host.WriteToUDPAddrPort([]byte(answer), session); err != nil {
		w.t.Fatal(err)
	}
	w.wantHeard(client, answer)
	return session
}
