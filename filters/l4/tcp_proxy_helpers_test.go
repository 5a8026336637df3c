package l4

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"millrace/engine"
	"millrace/engine/enginetest"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/upstream"
	"millrace/upstream/pool"
)

// tcpWorld is a tcp_proxy on a loop stepped by the test, between sockets that the test holds.
type tcpWorld struct {
	t     testing.TB
	loop  *enginetest.Loop
	table *pool.Table
	proxy *tcpProxy
	addr  engine.Addr // of the listener
	host  *tcpHost
	cfg   *TCPProxyConfig
	conn  func(io *engine.Conn) *filters.Connection // nil: connections have none

	ids      map[string]upstream.ClusterID
	clusters map[string]*upstream.Cluster
	left     int // calls of the gate
	refused  int // connections that Accept has returned nil for
}

// tcpLoopback is where listeners are.
var tcpLoopback = engine.AddrFrom(netip.MustParseAddr("127.0.0.1"), 0, 0)

// tcpHost is a listening socket whose connections the test accepts.
type tcpHost struct {
	t    testing.TB
	fd   int
	addr string
}

func newTCPHost(t testing.TB) *tcpHost {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	h := &tcpHost{t: t, fd: fd}
	t.Cleanup(h.close)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 64); err != nil {
		t.Fatal(err)
	}
	a, err := engine.LocalAddr(fd)
	if err != nil {
		t.Fatal(err)
	}
	h.addr = a.String()
	return h
}

func (h *tcpHost) close() {
	if h.fd >= 0 {
		_ = unix.Close(h.fd)
		h.fd = -1
	}
}

// tcpDefaults is the configuration as the loader would fill it.
func tcpDefaults() *TCPProxyConfig {
	return &TCPProxyConfig{StatPrefix: "t", Cluster: "c", IdleTimeout: time.Hour, MaxConnectAttempts: 1, UpstreamConnectMode: "immediate"}
}

// newTCPWorld makes a proxy of the edited default configuration, to a cluster "c" with one host.
func newTCPWorld(t testing.TB, edit func(*TCPProxyConfig), editCluster func(*upstream.Config)) *tcpWorld {
	t.Helper()
	w := &tcpWorld{t: t, cfg: tcpDefaults(), ids: map[string]upstream.ClusterID{}, clusters: map[string]*upstream.Cluster{}}
	w.loop = enginetest.NewLoop(t, func(c *engine.LoopConfig) {
		if _, ok := t.(*testing.B); ok {
			c.Faults = nil // system calls directly, as for real
		}
		c.OnPanic = func(v any, stack []byte) { t.Errorf("panic on the loop: %v\n%s", v, stack) }
	})
	w.table = pool.NewTable(w.loop.Loop, func(*upstream.Cluster) upstream.Balancer { return &tcpInTurn{rng: w.loop.Rand()} })
	w.host = newTCPHost(t)
	w.set("c", editCluster, w.host.addr)
	if edit != nil {
		edit(w.cfg)
	}
	w.build()
	fd, err := engine.Listen(tcpLoopback, engine.ListenerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ls, err := w.loop.AddListener(fd, engine.ListenerOptions{}, w)
	if err != nil {
		t.Fatal(err)
	}
	w.addr = ls.Addr()
	return w
}

// build makes the proxy anew.
func (w *tcpWorld) build() {
	w.t.Helper()
	w.cfg.Validate(func(path, problem, hint string) { w.t.Errorf("%s: %s; %s", path, problem, hint) })
	byName := func(name string) (upstream.ClusterID, bool) {
		id, ok := w.ids[name]
		return id, ok
	}
	s, err := newTCPShared(w.cfg, &filters.SharedEnv{ClusterID: byName})
	if err != nil {
		w.t.Fatal(err)
	}
	f, err := newTCPProxy(w.cfg, s, &filters.NetworkEnv{Loop: w.loop.Loop, Clusters: w.table, ClusterByName: byName, Gate: w})
	if err != nil {
		w.t.Fatal(err)
	}
	w.proxy = f.(*tcpProxy)
}

// set puts a cluster into the table.
func (w *tcpWorld) set(name string, edit func(*upstream.Config), hosts ...string) {
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
	c, err := upstream.New(id, &cfg, w.clusters[name])
	if err != nil {
		w.t.Fatal(err)
	}
	w.clusters[name] = c
	w.table.Set(c)
}

// stats returns the counters of a cluster.
func (w *tcpWorld) stats(name string) *upstream.ClusterStats {
	return &w.table.Cluster(w.ids[name]).Stats
}

// OnAccept implements engine.Acceptor.
func (w *tcpWorld) OnAccept(io *engine.Conn) engine.Handler {
	var c *filters.Connection
	if w.conn != nil {
		c = w.conn(io)
	}
	h := w.proxy.Accept(io, c)
	if h == nil {
		w.refused++
	}
	return h
}

// Left implements filters.Gate.
func (w *tcpWorld) Left(*engine.Conn, *filters.Connection) { w.left++ }

// tcpInTurn is a balancer that takes one host after the other.
type tcpInTurn struct {
	rng *rand.Rand
	n   int
}

func (b *tcpInTurn) Pick(set *upstream.Bucket, _ *upstream.Pick) *upstream.Host {
	hosts := set.Hosts
	if len(hosts) == 0 {
		return nil
	}
	b.n++
	return hosts[(b.n-1)%len(hosts)]
}

// tcpPeer is a socket of the test.
type tcpPeer struct {
	*enginetest.Peer
	fd int
}

// dial connects a client to the listener.
func (w *tcpWorld) dial() *tcpPeer {
	w.t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	p := &tcpPeer{enginetest.NewPeer(w.t, fd), fd}
	err = unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: w.addr.Port()})
	if err != nil && err != unix.EINPROGRESS {
		w.t.Fatal(err)
	}
	return p
}

// accept waits for the proxy to connect to a host.
func (w *tcpWorld) accept(h *tcpHost) *tcpPeer {
	w.t.Helper()
	fd := -1
	w.loop.Until(func() bool {
		var err error
		fd, _, err = unix.Accept4(h.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		return err == nil
	})
	return &tcpPeer{enginetest.NewPeer(w.t, fd), fd}
}

// pair returns a client and the host's end of its tunnel, which is open.
func (w *tcpWorld) pair() (client, server *tcpPeer) {
	w.t.Helper()
	client = w.dial()
	server = w.accept(w.host)
	w.loop.Until(func() bool { return w.proxy.conns != nil && w.proxy.conns.phase == tcpOpen })
	return client, server
}

// show makes the bytes of the newest tunnel pass through the filter, as if a network filter looked at them.
func (w *tcpWorld) show() {
	for i := range w.proxy.conns.ends {
		e := &w.proxy.conns.ends[i]
		e.io.StopSplice()
		e.shown = true
	}
}

// modes runs a test with both ways in which bytes pass, for each of the names.
func modes(t *testing.T, names []string, run func(t *testing.T, name string, shown bool)) {
	t.Helper()
	for _, name := range names {
		for _, shown := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/shown=%t", name, shown), func(t *testing.T) {
				t.Parallel()
				run(t, name, shown)
			})
		}
	}
}

// narrowPair is pair with small buffers in the kernel, so that little is under way, and with the bytes shown or not.
func (w *tcpWorld) narrowPair(shown bool) (client, server *tcpPeer) {
	w.t.Helper()
	client, server = w.pair()
	for i := range w.proxy.conns.ends {
		fd := w.proxy.conns.ends[i].io.Fd()
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 16<<10)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 256<<10)
	}
	client.SetBuffers(16<<10, 256<<10) // a window below the segments of loopback would wait for timers
	server.SetBuffers(16<<10, 256<<10)
	if shown {
		w.show()
	}
	return client, server
}

// wantRead waits until a peer has received exactly s.
func (w *tcpWorld) wantRead(p *tcpPeer, s string) {
	w.t.Helper()
	got := ""
	w.loop.Until(func() bool {
		got += p.Read()
		return len(got) >= len(s)
	})
	if got != s {
		w.t.Fatalf("received %q, want %q", got, s)
	}
}

// wantEOF waits until a peer has received the end.
func (w *tcpWorld) wantEOF(p *tcpPeer) {
	w.t.Helper()
	w.loop.Until(p.AtEOF)
}

// wantEnd waits until a peer has heard the end, in order or not.
func (w *tcpWorld) wantEnd(p *tcpPeer) {
	w.t.Helper()
	var b [1]byte
	w.loop.Until(func() bool {
		n, err := unix.Read(p.fd, b[:])
		return n == 0 && err == nil || err == unix.ECONNRESET
	})
}

// wantLast checks why the tunnel that ended last did.
func (w *tcpWorld) wantLast(flags accesslog.Flags, details string) {
	w.t.Helper()
	if last := w.proxy.free; last.flags != flags || last.details != details {
		w.t.Errorf("ended with %q, %q; want %q, %q", last.flags, last.details, flags, details)
	}
}

// stall makes one peer send to another that does not read, until nothing moves any more. It returns how much was sent.
func (w *tcpWorld) stall(from, _ *tcpPeer) (sent int) {
	w.t.Helper()
	b := make([]byte, 256<<10)
	for i := range b {
		b[i] = byte(i)
	}
	still := 0
	w.loop.Until(func() bool { // the kernel moves windows in its own time
		n := from.TryWrite(b)
		sent += n
		if still++; n > 0 {
			still = 0
		}
		return still == 50
	})
	return sent
}

// full makes the host take no more connections, and answer none.
func (w *tcpWorld) full() {
	w.t.Helper()
	if err := unix.Listen(w.host.fd, 0); err != nil {
		w.t.Fatal(err)
	}
	sa, err := unix.Getsockname(w.host.fd)
	if err != nil {
		w.t.Fatal(err)
	}
	for range 3 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			w.t.Fatal(err)
		}
		enginetest.NewPeer(w.t, fd)
		_ = unix.Connect(fd, sa)
	}
}

// wantReset waits until a socket is reset.
func (w *tcpWorld) wantReset(p *tcpPeer) {
	w.t.Helper()
	var b [1]byte
	w.loop.Until(func() bool {
		_, err := unix.Read(p.fd, b[:])
		if err == nil {
			w.t.Fatal("received bytes or an orderly end, want a reset")
		}
		return err == unix.ECONNRESET
	})
}

// wantGone waits until no tunnel is left, and checks that nothing is left of it.
func (w *tcpWorld) wantGone() {
	w.t.Helper()
	w.loop.Until(func() bool { return w.proxy.Conns() == 0 })
	w.loop.Settle()
	for _, name := range []string{"c"} {
		c := w.table.Cluster(w.ids[name])
		b := c.Shared().Budgets[upstream.Default]
		st := &c.Stats
		if n := b.Active(upstream.Connections) + b.Active(upstream.Pending); n != 0 {
			w.t.Errorf("%d of the budget is in use, want 0", n)
		}
		if st.CxActive.Load() != 0 || st.RqActive.Load() != 0 || st.RqPendingActive.Load() != 0 {
			w.t.Errorf("gauges: cx %d, rq %d, pending %d; want 0", st.CxActive.Load(), st.RqActive.Load(), st.RqPendingActive.Load())
		}
		for _, h := range c.Shared().Hosts() {
			if h.CxActive.Load() != 0 || h.RqActive.Load() != 0 {
				w.t.Errorf("host %s: %d connections, %d requests; want 0", h.Name, h.CxActive.Load(), h.RqActive.Load())
			}
		}
	}
	if len(w.proxy.active) != 0 || w.proxy.conns != nil || w.proxy.stats.FlushActive.Load() != 0 {
		w.t.Errorf("%d active tunnels, %d flushed; want 0", len(w.proxy.active), w.proxy.stats.FlushActive.Load())
	}
}

// closedPort returns an address that refuses connections.
func closedPort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
