package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestEndsOfTunnels: whoever ends a tunnel, and however, the other side hears of it, and nothing stays behind.
func TestEndsOfTunnels(t *testing.T) {
	t.Parallel()
	type ends struct{ client, origin *rawConn }
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, e ends)
	}{
		{"the client resets", func(t *testing.T, e ends) {
			e.client.reset()
			e.origin.wantClosed()
		}},
		{"the host resets", func(t *testing.T, e ends) {
			e.origin.reset()
			e.client.wantClosed()
		}},
		{"the client closes", func(t *testing.T, e ends) {
			_ = e.client.Close()
			e.origin.wantEnd()
		}},
		{"the host closes", func(t *testing.T, e ends) {
			_ = e.origin.Close()
			e.client.wantEnd()
		}},
		{"the client ends its direction", func(t *testing.T, e ends) {
			e.client.send("the last")
			e.client.closeWrite()
			if got := e.origin.rest(); got != "the last" {
				t.Errorf("the host got %q", got)
			}
			for _, text := range []string{"some", "more", "bytes"} {
				e.origin.send(text)
				if got := e.client.bytes(len(text)); got != text {
					t.Errorf("after its end the client got %q, want %q", got, text)
				}
			}
			_ = e.origin.Close()
			e.client.wantEnd()
		}},
		{"the host ends its direction", func(t *testing.T, e ends) {
			e.origin.send("the last")
			e.origin.closeWrite()
			if got := e.client.rest(); got != "the last" {
				t.Errorf("the client got %q", got)
			}
			for _, text := range []string{"some", "more", "bytes"} {
				e.client.send(text)
				if got := e.origin.bytes(len(text)); got != text {
					t.Errorf("after its end the host got %q, want %q", got, text)
				}
			}
			_ = e.client.Close()
			e.origin.wantEnd()
		}},
		{"both end their directions", func(t *testing.T, e ends) {
			e.client.closeWrite()
			e.origin.closeWrite()
			e.client.wantEnd()
			e.origin.wantEnd()
		}},
		{"the client resets behind bytes that nobody read", func(t *testing.T, e ends) {
			e.origin.send(strings.Repeat("x", 100_000))
			e.client.bytes(1)
			e.client.reset()
			_, _ = io.Copy(io.Discard, e.origin.r)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			origins := make(chan *rawConn, 1)
			done := make(chan struct{})
			defer close(done)
			p := tunnel{hosts: []string{rawOrigin(t, func(c *rawConn) { origins <- c; <-done })}}.start(t)
			client := dial(t, p.addr(""))
			client.send("hello")
			origin := <-origins
			if got := origin.bytes(5); got != "hello" {
				t.Fatalf("the host got %q", got)
			}
			tt.do(t, ends{client, origin})
			_, _ = client.Close(), origin.Close()
			p.wantStat("listener.front.downstream_cx_active", 0)
			p.wantStat("cluster.db.upstream_cx_active", 0)
			p.wantStat("listener.front.downstream_cx_total", 1)
			p.wantStat("tcp.e2e.downstream_cx_rx_bytes_buffered", 0)
			p.wantStat("tcp.e2e.downstream_cx_tx_bytes_buffered", 0)
		})
	}
}

// The two ways of the bytes: through pipes in the kernel, and through the process where a filter looks at them.
var ways = map[string]string{"spliced": "", "copied": readsAll}

// readsAll is a network filter that looks at all bytes and passes them on.
const readsAll = `{"name": "rbac", "config": {"stat_prefix": "all", "enforcement_type": "continuous",
  "rules": {"action": "allow", "policies": {"all": {"permissions": [{"any": true}], "principals": [{"any": true}]}}}}}`

// flood writes size bytes of noise and counts those that the kernel took.
func flood(c *rawConn, noise []byte, written *atomic.Int64) {
	_ = c.SetDeadline(time.Now().Add(6 * waitMax))
	for b := noise; len(b) > 0; {
		n, err := c.Write(b[:min(len(b), 64<<10)])
		written.Add(int64(n))
		if err != nil {
			return
		}
		b = b[n:]
	}
	c.closeWrite()
}

// atRest waits until a number has not changed for a while, and returns it.
func atRest(n *atomic.Int64) int64 {
	last, since := n.Load(), time.Now()
	eventually(func() bool {
		if now := n.Load(); now != last {
			last, since = now, time.Now()
		}
		return last > 0 && time.Since(since) > time.Second
	})
	return last
}

// TestStalledReader: whoever does not read stops the other side, at the watermark and not beyond; what it gets in
// the end is whole.
func TestStalledReader(t *testing.T) {
	t.Parallel()
	const tunnels, limit = 4, 64 << 10
	body := noise(32 << 20) // more than the sockets on the way hold
	sum := sha256.Sum256(body)
	for way, before := range ways {
		for _, direction := range []string{"down", "up"} {
			t.Run(way+" "+direction, func(t *testing.T) {
				t.Parallel()
				var written atomic.Int64
				readers := make(chan *rawConn, tunnels)
				done := make(chan struct{})
				defer close(done)
				host := rawOrigin(t, func(c *rawConn) {
					if direction == "down" {
						flood(c, body, &written)
					} else {
						readers <- c
					}
					<-done
				})
				p := tunnel{hosts: []string{host}, listener: fmt.Sprintf(`"per_connection_buffer_limit_bytes": %d`, limit), before: before,
					cluster: fmt.Sprintf(`"per_connection_buffer_limit_bytes": %d`, limit)}.start(t)
				base := p.collectedRSS()
				for range tunnels {
					c := dial(t, p.addr(""))
					if direction == "down" {
						readers <- c
					} else {
						go flood(c, body, &written)
					}
				}
				stalled := atRest(&written)
				rss, queued := p.rss(), p.stat("server.loop_queued_bytes")
				if stalled >= int64(tunnels*len(body)) {
					t.Skip("the kernel takes everything")
				}
				// A read goes up to its own end beyond the watermark.
				if most := int64(tunnels * (limit + 256<<10)); queued > most {
					t.Errorf("%d bytes are queued, want at most %d", queued, most)
				}
				if grown := rss - base; grown > 16<<20 && !raceEnabled {
					t.Errorf("resident memory grew by %d KiB with %d MiB on their way", grown>>10, stalled>>20)
				}
				if spliced := p.stat("server.loop_spliced_bytes"); (spliced > 0) != (way == "spliced") {
					t.Errorf("%d bytes were spliced", spliced)
				}
				paused := map[string]string{"down": "cluster.db.upstream_flow_control_paused_reading_total", "up": "tcp.e2e.downstream_flow_control_paused_reading_total"}[direction]
				if n := p.stat(paused); n == 0 {
					t.Errorf("%s = 0", paused)
				}
				t.Logf("%d KiB taken, %d KiB queued, resident memory from %d to %d KiB", stalled>>10, queued>>10, base>>10, rss>>10)
				for range tunnels {
					c := <-readers
					_ = c.SetDeadline(time.Now().Add(6 * waitMax))
					got := sha256.New()
					if n, err := io.Copy(got, c.r); err != nil || n != int64(len(body)) || [32]byte(got.Sum(nil)) != sum {
						t.Errorf("%d bytes, %v; want the %d that were sent", n, err, len(body))
					}
				}
				p.wantStat("server.loop_queued_bytes", 0)
			})
		}
	}
}

// TestStalledReaderLeaves: a full tunnel that is reset gives all it held back.
func TestStalledReaderLeaves(t *testing.T) {
	t.Parallel()
	var written atomic.Int64
	body := noise(32 << 20)
	host := rawOrigin(t, func(c *rawConn) { flood(c, body, &written) })
	p := tunnel{hosts: []string{host}}.start(t)
	descriptors := func() int {
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	p.stat("x") // opens the connection to the admin port
	before := descriptors()
	for round := range 3 {
		var clients []*rawConn
		for range 8 {
			clients = append(clients, dial(t, p.addr("")))
		}
		atRest(&written)
		for _, c := range clients {
			c.reset()
		}
		p.wantStat("cluster.db.upstream_cx_active", 0)
		p.wantStat("server.loop_queued_bytes", 0)
		// Pipes that are empty may be kept: a pair of descriptors each, and not more with each round.
		if now := descriptors(); now > before+2*16+2 {
			t.Errorf("round %d: %d descriptors, at the start %d", round, now, before)
		}
	}
}

// TestHostRefuses: connections that no host takes are closed, and tried elsewhere where that is asked for.
func TestHostRefuses(t *testing.T) {
	t.Parallel()
	nobody := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	dir := t.TempDir()
	log := filepath.Join(dir, "access.log")
	access := fmt.Sprintf(`"access_log": [{"path": %q, "flush_interval": "20ms", "json_format": {"flags": "%%RESPONSE_FLAGS%%", "host": "%%UPSTREAM_HOST%%",
		"cluster": "%%UPSTREAM_CLUSTER%%", "in": "%%BYTES_RECEIVED%%", "out": "%%BYTES_SENT%%", "attempts": "%%UPSTREAM_REQUEST_ATTEMPT_COUNT%%"}}]`, log)
	p := tunnel{hosts: []string{nobody}, filter: access}.start(t)
	c := dial(t, p.addr(""))
	c.wantClosed()
	p.wantStat("cluster.db.upstream_cx_connect_fail", 1)
	p.wantStat("listener.front.downstream_cx_active", 0)
	if line := logLines(t, log, 1); len(line) == 1 && (!strings.Contains(fmt.Sprint(line[0]["flags"]), "UF") || line[0]["cluster"] != "db") {
		t.Errorf("the log says %v", line[0])
	}

	// One host of two is there; enough attempts find it.
	p = tunnel{hosts: []string{nobody, echoServer(t)}, filter: `"max_connect_attempts": 4, ` + access}.start(t)
	for range 6 {
		c := dial(t, p.addr(""))
		c.wantEcho("hello")
		_ = c.Close()
	}
	p.wantStat("cluster.db.upstream_cx_connect_attempts_exceeded", 0)
	if p.stat("cluster.db.upstream_cx_connect_fail") == 0 {
		t.Error("nobody tried the host that refuses")
	}

	// None of them.
	p = tunnel{hosts: []string{nobody}, filter: `"max_connect_attempts": 3`}.start(t)
	dial(t, p.addr("")).wantClosed()
	p.wantStat("cluster.db.upstream_cx_connect_fail", 3)
	p.wantStat("cluster.db.upstream_cx_connect_attempts_exceeded", 1)
}

// fullListener is an address on which the kernel answers no connection: the queue of its listener is full.
func fullListener(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", sa.(*syscall.SockaddrInet4).Port)
	for range 8 {
		c, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Skip("the kernel queues more connections than it was told to")
	return ""
}

// TestHostDoesNotAnswer: connect_timeout ends an attempt.
func TestHostDoesNotAnswer(t *testing.T) {
	t.Parallel()
	full := fullListener(t)
	p := tunnel{hosts: []string{full}, cluster: `"connect_timeout": "150ms"`}.start(t)
	c := dial(t, p.addr(""))
	c.send("early")
	c.wantClosed()
	p.wantStat("cluster.db.upstream_cx_connect_timeout", 1)
	p.wantStat("cluster.db.upstream_cx_active", 0)

	// A client that does not wait that long.
	p = tunnel{hosts: []string{full}, cluster: `"connect_timeout": "60s"`}.start(t)
	c = dial(t, p.addr(""))
	p.wantStat("cluster.db.upstream_cx_active", 1)
	c.reset()
	p.wantStat("cluster.db.upstream_cx_active", 0)
	p.wantStat("listener.front.downstream_cx_active", 0)
}

// TestTunnelLimits: connections beyond a limit are closed at once, and room is made again.
func TestTunnelLimits(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		c    tunnel
		stat string
	}{
		{"of the listener", tunnel{listener: `"connection_limit": 2`}, "listener.front.downstream_cx_overflow"},
		{"of the process", tunnel{more: `"overload": {"max_active_downstream_connections": 2}`}, "listener.front.downstream_global_cx_overflow"},
		{"of the chain", tunnel{before: `{"name": "connection_limit", "config": {"stat_prefix": "few", "max_connections": 2}}`}, "connection_limit.few.limited_connections"},
		{"of the cluster", tunnel{cluster: `"circuit_breakers": {"max_connections": 2}`}, "cluster.db.upstream_cx_overflow"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.c.hosts = []string{echoServer(t)}
			p := tt.c.start(t)
			a, b := dial(t, p.addr("")), dial(t, p.addr(""))
			a.wantEcho("a")
			b.wantEcho("b")
			dial(t, p.addr("")).wantClosed()
			p.wantStat(tt.stat, 1)
			a.wantEcho("still")
			_ = b.Close()
			p.wantStat("listener.front.downstream_cx_active", 1)
			p.wantStat("cluster.db.upstream_cx_active", 1)
			dial(t, p.addr("")).wantEcho("again")
		})
	}
}

// TestTunnelTimeouts: silence and age end a tunnel, and the log says which.
func TestTunnelTimeouts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, filter, stat, flag string
		talk                     bool
	}{
		{"idle", `"idle_timeout": "300ms"`, "tcp.e2e.idle_timeout", "", false},
		{"idle upstream", `"idle_timeout": "1h", "upstream_idle_timeout": "300ms"`, "tcp.e2e.idle_timeout", "", false},
		{"idle downstream", `"idle_timeout": "1h", "downstream_idle_timeout": "300ms"`, "tcp.e2e.idle_timeout", "", false},
		{"old", `"idle_timeout": "1h", "max_downstream_connection_duration": "500ms"`, "tcp.e2e.max_downstream_connection_duration", "DT", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			log := filepath.Join(t.TempDir(), "access.log")
			p := tunnel{hosts: []string{echoServer(t)}, filter: tt.filter + fmt.Sprintf(
				`, "access_log": [{"path": %q, "flush_interval": "20ms", "json_format": {"flags": "%%RESPONSE_FLAGS%%", "details": "%%CONNECTION_TERMINATION_DETAILS%%"}}]`, log)}.start(t)
			start := time.Now()
			c := dial(t, p.addr(""))
			c.wantEcho("hello")
			for tt.talk {
				if _, err := c.Write([]byte("x")); err != nil {
					break
				}
				if _, err := c.r.ReadByte(); err != nil {
					break
				}
			}
			if !tt.talk {
				c.wantClosed()
			}
			if lived := time.Since(start); lived < 290*time.Millisecond {
				t.Errorf("it lived for %v only", lived)
			}
			p.wantStat(tt.stat, 1)
			p.wantStat("cluster.db.upstream_cx_active", 0)
			if line := logLines(t, log, 1); len(line) == 1 && (tt.flag != "" && line[0]["flags"] != tt.flag || line[0]["details"] == nil) {
				t.Errorf("the log says %v, want flag %q and details", line[0], tt.flag)
			}
		})
	}
}

// TestTunnelPrefersActivity: a tunnel that is used lives on, also when its bytes are spliced.
func TestTunnelPrefersActivity(t *testing.T) {
	t.Parallel()
	p := tunnel{hosts: []string{echoServer(t)}, filter: `"idle_timeout": "2s"`}.start(t)
	c := dial(t, p.addr(""))
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		c.wantEcho("still there")
		if t.Failed() {
			return
		}
	}
	p.wantStat("tcp.e2e.idle_timeout", 0)
}
