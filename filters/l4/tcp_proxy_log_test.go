package l4

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"millrace/engine"
	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/upstream"
)

// A tunnel is most of what an idle connection costs beside its two conns.
var _ [640 - unsafe.Sizeof(tcpTunnel{})]byte

// logTo makes the proxy anew with an access log, and returns what it has written once it is closed.
func (w *tcpWorld) logTo(format string) (lines func() []string) {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), "log")
	files := accesslog.NewFiles(new(stats.Registry))
	w.cfg.AccessLog = []accesslog.Config{{Path: path, Format: format, BufferSize: 4 << 10, RingSize: 64 << 10}}
	byName := func(name string) (upstream.ClusterID, bool) { id, ok := w.ids[name]; return id, ok }
	s, err := newTCPShared(w.cfg, &filters.SharedEnv{ClusterID: byName, OpenLog: files.Open})
	if err != nil {
		w.t.Fatal(err)
	}
	f, err := newTCPProxy(w.cfg, s, &filters.NetworkEnv{Loop: w.loop.Loop, Clusters: w.table, ClusterByName: byName, Gate: w, ChainName: "chain"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.proxy = f.(*tcpProxy)
	return func() []string {
		w.t.Helper()
		if err := s.Close(); err != nil {
			w.t.Fatal(err)
		}
		if err := files.Close(10 * time.Second); err != nil {
			w.t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			w.t.Fatal(err)
		}
		return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	}
}

func TestTCPProxyAccessLog(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, func(c *TCPProxyConfig) {
		c.AccessLogOptions = TCPAccessLogOptions{AccessLogFlushInterval: time.Minute, FlushAccessLogOnConnected: true}
	}, nil)
	lines := w.logTo("%ACCESS_LOG_TYPE% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %UPSTREAM_CLUSTER% %UPSTREAM_HOST% %FILTER_CHAIN_NAME% " +
		"%UPSTREAM_REQUEST_ATTEMPT_COUNT% %RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS%")
	client, server := w.pair()
	client.Write("hello")
	w.wantRead(server, "hello")
	server.Write("worlds")
	w.wantRead(client, "worlds")
	w.loop.Advance(61 * time.Second)
	client.Close()
	server.Close()
	w.wantGone()
	w.set("c", nil, closedPort(t))
	w.wantEnd(w.dial())
	w.wantGone()
	host := w.host.addr
	want := []string{
		fmt.Sprintf("TcpUpstreamConnected 0 0 0 c %s chain 1 - -", host),
		fmt.Sprintf("TcpPeriodic 5 6 61000 c %s chain 1 - -", host),
		fmt.Sprintf("TcpConnectionEnd 5 6 61000 c %s chain 1 - -", host),
	}
	got := lines()
	if len(got) != 4 || strings.Join(got[:3], "\n") != strings.Join(want, "\n") {
		t.Fatalf("log\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !strings.HasPrefix(got[3], "TcpConnectionEnd 0 0 0 c ") || !strings.HasSuffix(got[3], " chain 1 UF,URX -") {
		t.Errorf("log %q, want a connection that found no host", got[3])
	}
}

// TestTCPProxyHeaders: a connection to a host begins with a PROXY header, and with the TLVs of downstream and of the filter.
func TestTCPProxyHeaders(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"v1", "v2"} {
		w := newTCPWorld(t, func(c *TCPProxyConfig) { c.ProxyProtocolTLVs = []upstream.TLVConfig{{Type: 225, Value: "own"}} },
			func(c *upstream.Config) {
				c.ProxyProtocol = &upstream.ProxyProtocolConfig{Version: version}
				if version == "v2" {
					c.ProxyProtocol.PassThroughTLVs = &upstream.PassThroughTLVs{MatchType: "include_all"}
				}
			})
		w.conn = func(io *engine.Conn) *filters.Connection {
			io.SetRemoteAddr(engine.AddrFrom(tcpLoopback.NetIP(), 1234, 0))
			return &filters.Connection{IO: io, TLVs: []filters.TLV{{Type: 224, Value: []byte("came")}, {Type: 225, Value: []byte("came")}}}
		}
		want := fmt.Sprintf("PROXY TCP4 127.0.0.1 127.0.0.1 1234 %d\r\n", w.addr.Port())
		if version == "v2" {
			want = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x19" + "\x7f\x00\x00\x01\x7f\x00\x00\x01\x04\xd2" +
				string([]byte{byte(w.addr.Port() >> 8), byte(w.addr.Port())}) + "\xe0\x00\x04came" + "\xe1\x00\x03own"
		}
		client, server := w.pair()
		client.Write("hello")
		w.wantRead(server, want+"hello")
		if n := w.proxy.conns.ends[downstream].bytes; n != 5 {
			t.Errorf("%d bytes received, want 5: the header is not of the client", n)
		}
	}
}

// TestTCPProxyAllocs: neither bytes nor connections allocate, once there were as many before.
func TestTCPProxyAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, shown := range []bool{false, true} {
		w := newTCPWorld(t, nil, nil)
		client, server := w.pair()
		if shown {
			w.show()
		}
		msg, buf := make([]byte, 1000), make([]byte, 64<<10)
		pass := func(from, to *tcpPeer) {
			from.TryWrite(msg)
			for to.ReadSome(buf) <= 0 {
				w.loop.Step()
			}
		}
		cycle := func() { pass(client, server); pass(server, client) }
		for range 100 {
			cycle()
		}
		if n := testing.AllocsPerRun(200, cycle); n > 0 {
			t.Errorf("shown %t: %v allocations for a message each way, want 0", shown, n)
		}
	}
}

// TestTCPProxyReuse: tunnels are used again.
func TestTCPProxyReuse(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, nil, nil)
	seen := map[*tcpTunnel]bool{}
	for range 5 {
		client, server := w.pair()
		seen[w.proxy.conns] = true
		client.Write("x")
		w.wantRead(server, "x")
		client.Close()
		server.Close()
		w.wantGone()
	}
	if len(seen) != 1 {
		t.Errorf("%d tunnels for one connection at a time, want 1", len(seen))
	}
}
