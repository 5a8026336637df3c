package main

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// l4Listener is one listener of a configuration, to one cluster.
func l4Listener(name, address, cluster, more string) string {
	return fmt.Sprintf(`{"name": %q, "address": %q, "stat_prefix": %[1]q%[3]s, "filters": [{"name": "tcp_proxy", "config": {"stat_prefix": %[1]q, "cluster": %[4]q}}]}`,
		name, address, leadingComma(more), cluster)
}

func l4Config(more string, clusters map[string]string, listeners ...string) string {
	var cs []string
	for name, host := range clusters {
		cs = append(cs, fmt.Sprintf(`{"name": %q, "hosts": [%q]}`, name, host))
	}
	return fmt.Sprintf(`{"concurrency": 2%s, "listeners": [%s], "clusters": [%s]}`, leadingComma(more), strings.Join(listeners, ",\n"), strings.Join(cs, ", "))
}

// TestReloadOfTunnels: listeners are added, changed and removed under tunnels that go on.
func TestReloadOfTunnels(t *testing.T) {
	t.Parallel()
	clusters := map[string]string{"one": nameServer(t, "one"), "two": nameServer(t, "two")}
	addr := func() string { return fmt.Sprintf("127.0.0.1:%d", freePort(t)) }
	a, b, d, e := addr(), addr(), addr(), addr()
	p := startProxy(t, l4Config("", clusters, l4Listener("a", a, "one", ""), l4Listener("b", b, "one", ""), l4Listener("d", d, "one", "")))
	open := func(addr, want string) *rawConn {
		t.Helper()
		c := dial(t, addr)
		_ = c.SetDeadline(time.Now().Add(6 * waitMax))
		c.wantLine(want)
		return c
	}
	ca, cb, cd := open(a, "one"), open(b, "one"), open(d, "one")
	before := p.sockets()

	// The cluster of b changes, d goes, e comes.
	p.write(l4Config("", clusters, l4Listener("a", a, "one", ""), l4Listener("b", b, "two", ""), l4Listener("e", e, "two", "")))
	p.hup()
	for name, c := range map[string]*rawConn{"a": ca, "b": cb, "d": cd} {
		c.wantEcho("after the reload of " + name)
	}
	open(a, "one")
	cb2 := open(b, "two")
	ce := open(e, "two")
	if !eventually(func() bool {
		c, err := net.Dial("tcp", d)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	}) {
		t.Error("the listener that was removed still accepts")
	}
	p.wantStat("listener_manager.listener_added", 4) // three of them at the start
	p.wantStat("listener_manager.listener_removed", 1)
	kept := 0
	for s := range p.sockets() {
		if before[s] {
			kept++
		}
	}
	if kept < 6 { // at least those of the three tunnels
		t.Errorf("%d sockets of before are left", kept)
	}

	// Once more, with another address for b: its tunnels go on too.
	p.write(l4Config("", clusters, l4Listener("a", a, "two", ""), l4Listener("b", d, "one", "")))
	p.hup()
	for _, c := range []*rawConn{ca, cb, cb2, cd, ce} {
		c.wantEcho("and again")
	}
	open(a, "two")
	open(d, "one")
	// A refused file changes nothing.
	p.write(strings.Replace(l4Config("", clusters, l4Listener("a", a, "three", "")), "three", "nowhere", 1))
	p.hup()
	ca.wantEcho("still")
	open(d, "one")
	p.wantStat("server.config_rejected", 1)
}

// talk keeps a tunnel busy, and opens a short one beside it now and then, until stop. It returns what went wrong first.
func talk(addr string, stop *atomic.Bool, said *atomic.Int64) error {
	long, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer long.Close()
	echo := func(c net.Conn, text string) error {
		_ = c.SetDeadline(time.Now().Add(waitMax))
		if _, err := io.WriteString(c, text); err != nil {
			return err
		}
		b := make([]byte, len(text))
		if _, err := io.ReadFull(c, b); err != nil || string(b) != text {
			return fmt.Errorf("sent %q, got %q: %w", text, b, err)
		}
		return nil
	}
	for n := 0; !stop.Load(); n++ {
		if err := echo(long, fmt.Sprintf("message %d over the long tunnel", n)); err != nil {
			return err
		}
		said.Add(1)
		if n%50 != 0 {
			continue
		}
		short, err := net.Dial("tcp", addr)
		if err == nil {
			err = echo(short, "a short one")
			_ = short.Close()
		}
		if err != nil {
			return fmt.Errorf("a short tunnel: %w", err)
		}
	}
	return nil
}

// TestReloadsUnderTunnels: no reload breaks a tunnel or refuses a new one, whatever it changes; nothing is left of it.
func TestReloadsUnderTunnels(t *testing.T) {
	t.Parallel()
	clusters := map[string]string{"one": echoServer(t), "two": echoServer(t)}
	addr := loopbackPort(t)
	config := func(n int) string {
		more := []string{"", `"connection_limit": 1000`, `"per_connection_buffer_limit_bytes": "64KiB"`, `"listener_filters": [{"name": "original_dst"}]`}[n%4]
		return fmt.Sprintf(`{"concurrency": 2, "listeners": [%s], "clusters": [{"name": "one", "hosts": [%q]}, {"name": "two", "hosts": [%q]}]}`,
			strings.Join([]string{l4Listener("front", addr, []string{"one", "two"}[n%2], more), l4Listener(fmt.Sprint("other-", n%3), "127.0.0.1:0", "one", "")}, ", "),
			clusters["one"], clusters["two"])
	}
	p := startProxy(t, config(0))
	var stop atomic.Bool
	var said atomic.Int64
	failed := make(chan error, 4)
	for range cap(failed) {
		go func() { failed <- talk(addr, &stop, &said) }()
	}
	for n := 1; n <= 40; n++ {
		before := said.Load()
		p.write(config(n))
		if code, body := p.adminPost("/reload"); code != 200 {
			t.Fatalf("reload %d: %d %s", n, code, body)
		}
		if !eventually(func() bool { return said.Load() > before+20 || len(failed) > 0 }) {
			t.Errorf("after reload %d the tunnels stand still", n)
		}
	}
	stop.Store(true)
	for range cap(failed) {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	p.wantStat("server.total_connections", 0)
	p.wantStat("listener_manager.total_listeners_draining", 0)
	p.wantStat("cluster.one.upstream_cx_active", 0)
	p.wantStat("cluster.two.upstream_cx_active", 0)
}

// TestDrainOfTunnels: a process that is told to leave accepts no more, and waits for its tunnels.
func TestDrainOfTunnels(t *testing.T) {
	t.Parallel()
	p := tunnel{hosts: []string{echoServer(t)}}.start(t)
	c := dial(t, p.addr(""))
	c.wantEcho("before")
	p.signal(syscall.SIGTERM)
	if !eventually(func() bool {
		other, err := net.Dial("tcp", p.addr(""))
		if err == nil {
			_ = other.Close()
		}
		return err != nil
	}) {
		t.Error("it still accepts")
	}
	c.wantEcho("while it drains")
	_ = c.Close()
	p.wantExit(exitFine)
}

// TestDrainTimeOfTunnels: but not longer than the drain time.
func TestDrainTimeOfTunnels(t *testing.T) {
	t.Parallel()
	p := tunnel{hosts: []string{echoServer(t)}}.start(t, "--drain-time", "300ms")
	c := dial(t, p.addr(""))
	c.wantEcho("before")
	p.signal(syscall.SIGTERM)
	c.wantClosed()
	p.wantExit(exitFine)
}

// TestRemovedListenerDrains: tunnels of a listener that was removed end at the drain time, those of others do not.
func TestRemovedListenerDrains(t *testing.T) {
	t.Parallel()
	clusters := map[string]string{"one": nameServer(t, "one")}
	p := startProxy(t, l4Config(`"drain_time": "400ms"`, clusters, l4Listener("a", "127.0.0.1:0", "one", ""), l4Listener("b", "127.0.0.1:0", "one", "")))
	a, b := dial(t, p.addr("a")), dial(t, p.addr("b"))
	a.wantLine("one")
	b.wantLine("one")
	p.write(l4Config(`"drain_time": "400ms"`, clusters, l4Listener("a", "127.0.0.1:0", "one", "")))
	p.hup()
	b.wantClosed()
	a.wantEcho("still here")
	p.wantStat("listener_manager.total_listeners_draining", 0)
}
