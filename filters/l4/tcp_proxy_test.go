package l4

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"

	"millrace/engine"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/upstream"
)

// TestTCPProxyRelay: bytes go both ways, and the ends of both directions one after the other.
func TestTCPProxyRelay(t *testing.T) {
	t.Parallel()
	modes(t, []string{"relay"}, func(t *testing.T, _ string, shown bool) {
		w := newTCPWorld(t, nil, nil)
		client, server := w.pair()
		if shown {
			w.show()
		}
		client.Write("hello")
		w.wantRead(server, "hello")
		server.Write("world")
		w.wantRead(client, "world")
		client.CloseWrite()
		w.wantEOF(server)
		server.Write(strings.Repeat("x", 100000))
		w.wantRead(client, strings.Repeat("x", 100000))
		server.Close()
		w.wantEOF(client)
		w.wantGone()
		st, cs := w.proxy.stats, w.stats("c")
		if st.CxTotal.Load() != 1 || st.CxRxBytes.Load() != 5 || st.CxTxBytes.Load() != 100005 || w.left != 1 {
			t.Errorf("total %d, rx %d, tx %d, left %d; want 1, 5, 100005, 1", st.CxTotal.Load(), st.CxRxBytes.Load(), st.CxTxBytes.Load(), w.left)
		}
		if cs.CxTotal.Load() != 1 || cs.CxRxBytes.Load() != 100005 || cs.CxTxBytes.Load() != 5 || cs.CxDestroyRemote.Load() != 1 {
			t.Errorf("upstream: total %d, rx %d, tx %d, destroyed by the host %d; want 1, 100005, 5, 1",
				cs.CxTotal.Load(), cs.CxRxBytes.Load(), cs.CxTxBytes.Load(), cs.CxDestroyRemote.Load())
		}
		w.wantLast(0, "")
	})
}

// TestTCPProxyHostEndsFirst: the host finishes sending, and still gets what the client has.
func TestTCPProxyHostEndsFirst(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, nil, nil)
	client, server := w.pair()
	server.Write("banner")
	server.CloseWrite()
	w.wantRead(client, "banner")
	w.wantEOF(client)
	client.Write("thanks")
	w.wantRead(server, "thanks")
	client.Close()
	w.wantEOF(server)
	w.wantGone()
}

// TestTCPProxyReset: a reset on one side resets the other.
func TestTCPProxyReset(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		ends func(client, server *tcpPeer) (resets, hears *tcpPeer)
		want accesslog.Flags
	}{
		{"by the client", func(client, server *tcpPeer) (*tcpPeer, *tcpPeer) { return client, server }, accesslog.FlagDownstreamConnectionTermination},
		{"by the host", func(client, server *tcpPeer) (*tcpPeer, *tcpPeer) { return server, client }, accesslog.FlagUpstreamConnectionTermination},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newTCPWorld(t, nil, nil)
			resets, hears := tt.ends(w.pair())
			resets.Reset()
			w.wantReset(hears)
			w.wantGone()
			w.wantLast(tt.want, "")
		})
	}
}

// TestTCPProxyResetFlushes: what a host has sent before its reset reaches a client that is slow to read.
func TestTCPProxyResetFlushes(t *testing.T) {
	t.Parallel()
	modes(t, []string{"reset"}, func(t *testing.T, _ string, shown bool) {
		w := newTCPWorld(t, nil, nil)
		client, server := w.narrowPair(shown)
		w.stall(server, client)
		queued := w.proxy.conns.waiting(downstream)
		if queued == 0 {
			t.Fatal("nothing waits for the client")
		}
		server.Reset()
		got, end := 0, error(nil)
		w.loop.Until(func() bool {
			b := make([]byte, 64<<10)
			n, err := unix.Read(client.fd, b)
			got += max(n, 0)
			end = err
			return n == 0 || err != nil && err != unix.EAGAIN
		})
		if end != unix.ECONNRESET || got < queued {
			t.Errorf("the client got %d bytes, then %v; want %d at least, then a reset", got, end, queued)
		}
		w.wantGone()
	})
}

func TestTCPProxyConnectRefused(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, nil, nil)
	w.set("c", nil, closedPort(t))
	client := w.dial()
	w.wantEnd(client)
	w.wantGone()
	w.wantLast(accesslog.FlagUpstreamConnectionFailure|accesslog.FlagUpstreamRetryLimitExceeded, "")
	cs := w.stats("c")
	if cs.CxConnectFail.Load() != 1 || cs.CxAttemptsExceeded.Load() != 1 || cs.CxTotal.Load() != 1 || cs.RqTotal.Load() != 0 {
		t.Errorf("failed %d, exceeded %d, total %d, rq %d; want 1, 1, 1, 0",
			cs.CxConnectFail.Load(), cs.CxAttemptsExceeded.Load(), cs.CxTotal.Load(), cs.RqTotal.Load())
	}
	if got := w.proxy.free.failure; got != unix.ECONNREFUSED.Error() {
		t.Errorf("failure %q, want %q", got, unix.ECONNREFUSED.Error())
	}
}

// TestTCPProxyAttempts: the next host is tried, at once or after a wait.
func TestTCPProxyAttempts(t *testing.T) {
	t.Parallel()
	for _, backoff := range []bool{false, true} {
		w := newTCPWorld(t, func(c *TCPProxyConfig) {
			c.MaxConnectAttempts = 3
			if backoff {
				c.BackoffOptions = &TCPBackoffConfig{BaseInterval: time.Second}
			}
		}, nil)
		w.set("c", nil, closedPort(t), closedPort(t), w.host.addr)
		client := w.dial()
		client.Write("x")
		if backoff {
			for n := range uint16(2) {
				w.loop.Until(func() bool {
					return w.proxy.conns != nil && w.proxy.conns.phase == tcpBackoff && w.proxy.conns.attempts == n+1
				})
				w.loop.Advance(time.Second << n)
			}
		}
		server := w.accept(w.host)
		w.wantRead(server, "x")
		if n := w.stats("c").CxConnectFail.Load(); n != 2 || w.proxy.conns.attempts != 3 {
			t.Errorf("backoff %t: %d failed, %d attempts; want 2, 3", backoff, n, w.proxy.conns.attempts)
		}
		client.Close()
		server.Close()
		w.wantGone()
		w.wantLast(0, "")
	}
}

func TestTCPProxyBackoffEnds(t *testing.T) {
	t.Parallel()
	longest := 3 * time.Second
	w := newTCPWorld(t, func(c *TCPProxyConfig) {
		c.MaxConnectAttempts = 5
		c.BackoffOptions = &TCPBackoffConfig{BaseInterval: 2 * time.Second, MaxInterval: &longest}
	}, nil)
	w.set("c", nil, closedPort(t))
	client := w.dial()
	w.loop.Until(func() bool { return w.proxy.conns != nil && w.proxy.conns.phase == tcpBackoff })
	for range 4 {
		if wait := w.proxy.conns.retryAt - w.loop.Now(); wait > int64(longest) || wait <= 0 {
			t.Errorf("waits %v, want at most %v", time.Duration(wait), longest)
		}
		w.loop.Advance(longest)
		w.loop.Until(func() bool { return w.proxy.conns == nil || w.proxy.conns.phase == tcpBackoff })
	}
	w.wantEnd(client)
	w.wantGone()
	w.wantLast(accesslog.FlagUpstreamConnectionFailure|accesslog.FlagUpstreamRetryLimitExceeded, "")
	if n := w.stats("c").CxTotal.Load(); n != 5 {
		t.Errorf("%d attempts, want 5", n)
	}
}

// TestTCPProxyClientLeaves: a client that resets while there is no host yet takes the attempt with it.
func TestTCPProxyClientLeaves(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, nil, nil)
	w.full()
	client := w.dial()
	w.loop.Until(func() bool { return w.proxy.conns != nil })
	client.Reset()
	w.wantGone()
	w.wantLast(accesslog.FlagDownstreamConnectionTermination, "")
	if cs := w.stats("c"); cs.RqCancelled.Load() != 1 || cs.CxConnectFail.Load() != 0 {
		t.Errorf("cancelled %d, failed %d; want 1, 0", cs.RqCancelled.Load(), cs.CxConnectFail.Load())
	}
}

func TestTCPProxyConnectTimeout(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, nil, nil)
	w.full()
	client := w.dial()
	w.loop.Until(func() bool { return w.proxy.conns != nil })
	w.loop.Advance(4 * time.Second)
	if w.proxy.Conns() != 1 {
		t.Fatal("the connection has ended before connect_timeout")
	}
	w.loop.Advance(2 * time.Second)
	w.wantEnd(client)
	w.wantGone()
	if cs := w.stats("c"); cs.CxConnectTimeout.Load() != 1 || cs.CxConnectFail.Load() != 1 {
		t.Errorf("timed out %d, failed %d; want 1, 1", cs.CxConnectTimeout.Load(), cs.CxConnectFail.Load())
	}
}

// TestTCPProxyRefused: connections that are over before they begin.
func TestTCPProxyRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		edit    func(*TCPProxyConfig)
		cluster func(*upstream.Config)
		conn    func(io *engine.Conn) *filters.Connection
		want    accesslog.Flags
		counter func(w *tcpWorld) uint64
	}{
		{name: "no route", want: accesslog.FlagNoRoute,
			edit: func(c *TCPProxyConfig) {
				c.Cluster, c.RouteConfig = "", &TCPRouteConfig{Routes: []TCPRoute{{Cluster: "c", DestinationPorts: "1"}}}
			},
			counter: func(w *tcpWorld) uint64 { return w.proxy.stats.CxNoRoute.Load() }},
		{name: "unknown cluster", want: accesslog.FlagNoClusterFound,
			conn:    func(io *engine.Conn) *filters.Connection { return &filters.Connection{IO: io, Cluster: "nobody"} },
			counter: func(w *tcpWorld) uint64 { return w.proxy.stats.CxNoRoute.Load() }},
		{name: "no host", want: accesslog.FlagNoHealthyUpstream,
			cluster: func(c *upstream.Config) { c.Hosts = nil },
			counter: func(w *tcpWorld) uint64 { return w.stats("c").CxNoneHealthy.Load() }},
		{name: "overflow", want: accesslog.FlagUpstreamOverflow,
			cluster: func(c *upstream.Config) { c.CircuitBreakers.MaxConnections = 0 },
			counter: func(w *tcpWorld) uint64 { return w.stats("c").CxOverflow.Load() }},
		{name: "pending overflow", want: accesslog.FlagUpstreamOverflow,
			cluster: func(c *upstream.Config) { c.CircuitBreakers.MaxPendingRequests = 0 },
			counter: func(w *tcpWorld) uint64 { return w.stats("c").RqPendingOverflow.Load() }},
		{name: "no socket", want: accesslog.FlagUpstreamConnectionFailure | accesslog.FlagUpstreamRetryLimitExceeded,
			cluster: func(c *upstream.Config) {
				c.UpstreamBindConfig = &upstream.BindConfig{SourceAddress: "192.0.2.1:0"} // not an address of ours
			},
			counter: func(w *tcpWorld) uint64 { return w.stats("c").CxConnectFail.Load() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newTCPWorld(t, tt.edit, tt.cluster)
			w.conn = tt.conn
			client := w.dial()
			w.wantEnd(client)
			w.wantGone()
			w.wantLast(tt.want, "")
			if n := tt.counter(w); n != 1 || w.refused != 1 || w.left != 0 {
				t.Errorf("counted %d, refused %d, left %d; want 1, 1, 0", n, w.refused, w.left)
			}
		})
	}
}

// TestTCPProxyOverflow: the connection beyond max_connections is refused, the next one after an end is not.
func TestTCPProxyOverflow(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, nil, func(c *upstream.Config) { c.CircuitBreakers.MaxConnections = 1 })
	client, server := w.pair()
	w.wantEnd(w.dial())
	if n := w.stats("c").CxOverflow.Load(); n != 1 {
		t.Errorf("overflow %d, want 1", n)
	}
	client.Close()
	server.Close()
	w.wantGone()
	client, server = w.pair()
	client.Write("x")
	w.wantRead(server, "x")
}

// TestTCPProxyCluster: a filter names the cluster, instead of the configuration.
func TestTCPProxyCluster(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, nil, nil)
	other := newTCPHost(t)
	w.set("other", nil, other.addr)
	w.conn = func(io *engine.Conn) *filters.Connection { return &filters.Connection{IO: io, Cluster: "other"} }
	client := w.dial()
	client.Write("x")
	w.wantRead(w.accept(other), "x")
}

func TestTCPProxyIdle(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		edit func(*TCPProxyConfig)
		ends bool
	}{
		{"idle_timeout", func(c *TCPProxyConfig) { c.IdleTimeout = time.Minute }, true},
		{"downstream", func(c *TCPProxyConfig) { c.IdleTimeout, c.DownstreamIdleTimeout = 0, time.Minute }, true},
		{"upstream", func(c *TCPProxyConfig) { c.IdleTimeout, c.UpstreamIdleTimeout = 0, time.Minute }, true},
		{"the earliest", func(c *TCPProxyConfig) { c.DownstreamIdleTimeout, c.UpstreamIdleTimeout = 2*time.Minute, time.Minute }, true},
		{"never", func(c *TCPProxyConfig) { c.IdleTimeout = 0 }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newTCPWorld(t, tt.edit, nil)
			client, server := w.pair()
			for range 3 { // bytes in either direction keep it alive
				w.loop.Advance(40 * time.Second)
				client.Write("x")
				w.wantRead(server, "x")
				w.loop.Advance(40 * time.Second)
				server.Write("y")
				w.wantRead(client, "y")
			}
			w.loop.Advance(59 * time.Second)
			if w.proxy.Conns() != 1 {
				t.Fatal("ended before it was idle for a minute")
			}
			w.loop.Advance(2 * time.Second)
			if !tt.ends {
				if w.loop.Advance(1000 * time.Hour); w.proxy.Conns() != 1 {
					t.Error("ended though there is no timeout")
				}
				return
			}
			w.wantEOF(client)
			w.wantEOF(server)
			w.wantGone()
			w.wantLast(0, "tcp_session_idle_timeout")
			if n := w.proxy.stats.IdleTimeout.Load(); n != 1 {
				t.Errorf("idle_timeout %d, want 1", n)
			}
		})
	}
}

// TestTCPProxyIdleSlow: a client that takes the rest of its bytes slowly is not idle, one that takes none is.
func TestTCPProxyIdleSlow(t *testing.T) {
	t.Parallel()
	modes(t, []string{"slow"}, func(t *testing.T, _ string, shown bool) {
		w := newTCPWorld(t, func(c *TCPProxyConfig) { c.IdleTimeout = time.Minute }, nil)
		client, server := w.narrowPair(shown)
		w.stall(server, client)
		b := make([]byte, 64<<10)
		for range 5 {
			w.loop.Advance(40 * time.Second)
			before := w.proxy.conns.ends[downstream].io.BytesOut()
			w.loop.Until(func() bool {
				server.TryWrite(b)
				client.ReadSome(b)
				return w.proxy.conns.ends[downstream].io.BytesOut() > before
			})
		}
		for range 5 { // the kernel takes some on its own
			w.loop.Advance(61 * time.Second)
		}
		w.wantGone()
		w.wantLast(0, "tcp_session_idle_timeout")
	})
}

func TestTCPProxyMaxDuration(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, func(c *TCPProxyConfig) {
		c.MaxDownstreamConnectionDuration, c.MaxDownstreamConnectionDurationJitterPercentage = time.Minute, 50
	}, nil)
	seen := map[int64]bool{}
	for range 20 {
		client, server := w.pair()
		tun := w.proxy.conns
		d := time.Duration(tun.endAt - tun.start)
		if seen[int64(d)] = true; d < time.Minute || d > 90*time.Second {
			t.Fatalf("lives for %v, want 1m to 1m30s", d)
		}
		client.Write("x")
		w.wantRead(server, "x")
		w.loop.Advance(d - time.Second)
		if w.proxy.Conns() != 1 {
			t.Fatal("ended early")
		}
		w.loop.Advance(2 * time.Second)
		w.wantEOF(client)
		w.wantEOF(server)
		w.wantGone()
		w.wantLast(accesslog.FlagDurationTimeout, "max_connection_duration_reached")
	}
	if n := w.proxy.stats.MaxDuration.Load(); n != 20 || len(seen) < 10 {
		t.Errorf("max_downstream_connection_duration %d, %d different; want 20, many", n, len(seen))
	}
}

// TestTCPProxyStalled: a peer that does not read stops the other one, and what waits for it stays at the watermark.
func TestTCPProxyStalled(t *testing.T) {
	t.Parallel()
	const limit, scratch = 256 << 10, 128 << 10
	modes(t, []string{"client", "host"}, func(t *testing.T, name string, shown bool) {
		w := newTCPWorld(t, nil, func(c *upstream.Config) { c.PerConnectionBufferLimitBytes = limit })
		w.proxy.limit = limit
		client, server := w.narrowPair(shown)
		from, to, end := server, client, downstream
		paused, resumed, gauge := &w.stats("c").FlowPaused, &w.stats("c").FlowResumed, &w.proxy.stats.TxBuffered
		if name == "host" {
			from, to, end = client, server, upstreamer
			paused, resumed, gauge = &w.proxy.stats.FlowPaused, &w.proxy.stats.FlowResumed, &w.proxy.stats.RxBuffered
		}
		sent := w.stall(from, to)
		w.loop.Advance(2 * tcpSweepEvery)
		waits := w.proxy.conns.waiting(end)
		if waits == 0 || waits > limit+scratch {
			t.Errorf("%d bytes wait for it; the watermark is %d", waits, limit)
		}
		if n := w.loop.Arena().Leased(); n > 1<<20 {
			t.Errorf("%d bytes of blocks are leased", n)
		}
		if gauge.Load() != int64(waits) {
			t.Errorf("buffered gauge %d, want %d", gauge.Load(), waits)
		}
		if paused.Load() != resumed.Load()+1 && (!shown || paused.Load() == 0 || waits >= limit) { // below the watermark it goes on
			t.Errorf("paused %d, resumed %d; want one more paused", paused.Load(), resumed.Load())
		}
		from.CloseWrite()
		got := 0
		w.loop.Until(func() bool {
			got += len(to.Read())
			return got >= sent
		})
		w.wantEOF(to)
		if got != sent {
			t.Errorf("%d bytes arrived of %d", got, sent)
		}
		if paused.Load() != resumed.Load() {
			t.Errorf("paused %d, resumed %d; want as many", paused.Load(), resumed.Load())
		}
		to.Close()
		w.wantEOF(from)
		w.wantGone()
		w.loop.Advance(2 * tcpSweepEvery)
		if gauge.Load() != 0 {
			t.Errorf("buffered gauge %d, want 0", gauge.Load())
		}
	})
}

// TestTCPProxyFlush: what a client has sent before it ended reaches a host that is slow to read. While the engine moves
// bytes it says that the client has ended when they have left, so only bytes that are shown can be left over.
func TestTCPProxyFlush(t *testing.T) {
	t.Parallel()
	for _, reads := range []bool{true, false} {
		t.Run(fmt.Sprintf("reads=%t", reads), func(t *testing.T) {
			t.Parallel()
			w := newTCPWorld(t, func(c *TCPProxyConfig) { c.IdleTimeout = time.Minute }, nil)
			client, server := w.narrowPair(true)
			server.CloseWrite()
			w.wantEOF(client)
			sent, b := 0, make([]byte, 8<<10)
			for w.proxy.conns.waiting(upstreamer) == 0 {
				sent += client.TryWrite(b)
				w.loop.Settle()
			}
			client.Close()
			w.loop.Until(func() bool { return w.left == 1 })
			st := w.proxy.stats
			if st.FlushTotal.Load() != 1 || st.FlushActive.Load() != 1 || w.proxy.Conns() != 1 {
				t.Fatalf("flush total %d, active %d, conns %d; want 1 each", st.FlushTotal.Load(), st.FlushActive.Load(), w.proxy.Conns())
			}
			if !reads {
				w.loop.Advance(2 * time.Minute)
				w.loop.Advance(2 * time.Minute)
				w.wantGone()
				w.wantLast(0, "tcp_session_idle_timeout")
				return
			}
			got := 0
			w.loop.Until(func() bool {
				got += len(server.Read())
				return got >= sent
			})
			w.wantEOF(server)
			w.wantGone()
			if got != sent || st.FlushActive.Load() != 0 {
				t.Errorf("%d bytes arrived of %d, active %d; want all, 0", got, sent, st.FlushActive.Load())
			}
		})
	}
}

func TestTCPProxyClose(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, nil, nil)
	client, server := w.pair()
	waits := w.dial()
	w.loop.Until(func() bool { return w.proxy.Conns() == 2 })
	w.proxy.Drain()
	client.Write("x")
	w.wantRead(server, "x")
	w.proxy.Close()
	w.wantEOF(client)
	w.wantEOF(server)
	w.wantEnd(waits)
	w.wantGone()
	w.wantLast(0, "downstream_local_disconnect(drain_time)")
	w.proxy.Release()
}

// TestTCPProxyChainCloses: a network filter ends the connection.
func TestTCPProxyChainCloses(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, nil, nil)
	client, server := w.pair()
	io := w.proxy.conns.ends[downstream].io
	h := (*tcpDown)(w.proxy.conns)
	io.Close() // as conn.RunTask does
	h.OnClose(engine.CloseTransport)
	w.wantEOF(client)
	w.wantEOF(server)
	w.wantGone()
	w.wantLast(0, "")
}

func TestTCPProxyHostFails(t *testing.T) {
	t.Parallel()
	for _, closes := range []bool{false, true} {
		w := newTCPWorld(t, nil, func(c *upstream.Config) { c.CloseConnectionsOnHostHealthFailure = closes })
		client, server := w.pair()
		c := w.table.Cluster(0)
		c.Shared().Hosts()[0].SetHealth(upstream.FailedActiveCheck, true)
		c.Shared().Rebuild()
		w.table.Refresh(0)
		if !closes {
			client.Write("x")
			w.wantRead(server, "x")
			w.set("c", nil) // without hosts: the connection stays
			client.Write("y")
			w.wantRead(server, "y")
			w.table.Remove(0)
			w.table.Forget(0)
			client.Write("z")
			w.wantRead(server, "z")
			continue
		}
		w.wantEOF(client)
		w.wantEOF(server)
		w.wantGone()
		w.wantLast(accesslog.FlagUpstreamConnectionTermination, "non_pooled_tcp_connection_host_health_failure")
	}
}

// TestTCPProxyOnData: with upstream_connect_mode on_downstream_data nothing happens before the first bytes, or the end.
func TestTCPProxyOnData(t *testing.T) {
	t.Parallel()
	onData := func(c *TCPProxyConfig) { c.UpstreamConnectMode, c.IdleTimeout = tcpOnData, time.Minute }
	for _, tt := range []struct {
		name  string
		early int
		end   bool
		bytes string
	}{
		{"bytes", 0, false, "hello"},
		{"bytes and the end", 0, true, "hello"},
		{"the end", 0, true, ""},
		{"more bytes", 1000, false, "hello"},
		{"more bytes and the end", 1000, true, "hello"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newTCPWorld(t, func(c *TCPProxyConfig) { onData(c); c.MaxEarlyDataBytes = tt.early }, nil)
			client := w.dial()
			w.loop.Until(func() bool { return w.proxy.Conns() == 1 })
			w.loop.Settle()
			if n := w.stats("c").CxTotal.Load(); n != 0 {
				t.Fatalf("%d connections to the host before the first byte", n)
			}
			client.Write(tt.bytes)
			if tt.end {
				client.CloseWrite()
			}
			server := w.accept(w.host)
			w.wantRead(server, tt.bytes)
			if tt.end {
				w.wantEOF(server)
			}
			server.Write("answer")
			w.wantRead(client, "answer")
			want := uint64(1)
			if tt.bytes == "" {
				want = 0
			}
			if n := w.proxy.stats.EarlyData.Load(); n != want {
				t.Errorf("early_data_received_count_total %d, want %d", n, want)
			}
		})
	}
	t.Run("silent", func(t *testing.T) {
		t.Parallel()
		w := newTCPWorld(t, onData, nil)
		client := w.dial()
		w.loop.Until(func() bool { return w.proxy.Conns() == 1 })
		w.loop.Advance(61 * time.Second)
		w.wantEOF(client)
		w.wantGone()
		w.wantLast(0, "tcp_session_idle_timeout")
	})
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		w := newTCPWorld(t, onData, func(c *upstream.Config) { c.Hosts = nil })
		client := w.dial()
		client.Write("x")
		w.wantEnd(client)
		w.wantGone()
		w.wantLast(accesslog.FlagNoHealthyUpstream, "")
	})
}

// TestTCPProxyEarlyData: bytes are taken while the host is connected to, up to the limit.
func TestTCPProxyEarlyData(t *testing.T) {
	t.Parallel()
	for _, end := range []bool{false, true} {
		w := newTCPWorld(t, func(c *TCPProxyConfig) {
			c.MaxEarlyDataBytes, c.MaxConnectAttempts = 4, 2
			c.BackoffOptions = &TCPBackoffConfig{BaseInterval: time.Second}
		}, nil)
		w.set("c", nil, closedPort(t), w.host.addr)
		client := w.dial()
		client.Write("ab")
		w.loop.Until(func() bool { return w.proxy.conns != nil && w.proxy.conns.early && w.proxy.conns.phase == tcpBackoff })
		if end {
			client.CloseWrite()
		} else {
			client.Write("cdef")
			w.loop.Until(func() bool { return w.proxy.conns.held })
		}
		w.loop.Settle()
		w.loop.Advance(2 * time.Second)
		server := w.accept(w.host)
		if end {
			w.wantRead(server, "ab")
			w.wantEOF(server)
			continue
		}
		w.wantRead(server, "abcdef")
		client.Write("g")
		w.wantRead(server, "g")
	}
}

// TestTCPProxyHash: the balancer gets the same hash for all connections of an address.
func TestTCPProxyHash(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, func(c *TCPProxyConfig) { c.HashPolicy = []TCPHashPolicy{{SourceIP: &struct{}{}}} }, nil)
	w.pair()
	if p := w.proxy.pick; !p.HashSet || p.Hash != xxhash.Sum64([]byte("127.0.0.1")) {
		t.Errorf("Pick = %+v, want the hash of 127.0.0.1", p)
	}
}
