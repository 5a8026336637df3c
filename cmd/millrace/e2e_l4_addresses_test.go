package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTunnelAddresses: every kind of address to listen on, and to forward to.
func TestTunnelAddresses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "front.sock")
	abstract := "@millrace-e2e-" + filepath.Base(t.TempDir()) + fmt.Sprint(os.Getpid())
	for _, tt := range []struct {
		name, listen, host string
		dial               []string // with %s for the port that was bound
		listener           string
	}{
		{"IPv4", "127.0.0.1:0", "tcp4", []string{"127.0.0.1:%s"}, ""},
		{"IPv6", "[::1]:0", "tcp6", []string{"[::1]:%s"}, ""},
		{"all addresses", ":0", "tcp4", []string{"127.0.0.1:%s", "[::1]:%s"}, ""},
		{"dual stack", "[::]:0", "tcp6", []string{"127.0.0.1:%s", "[::1]:%s"}, `"ipv4_compat": true`},
		{"Unix socket", "unix:" + path, "unix", []string{"unix:" + path}, `"unix_mode": "0600"`},
		{"abstract socket", "unix:" + abstract, "abstract", []string{"unix:" + abstract}, ""},
		{"two addresses", "127.0.0.1:0", "tcp4", []string{"127.0.0.1:%s", "unix:" + path + "2"}, fmt.Sprintf(`"additional_addresses": ["unix:%s2"]`, path)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if strings.Contains(tt.listen+tt.host, "::") && !hasIPv6() {
				t.Skip("there is no IPv6 here")
			}
			p := tunnel{address: tt.listen, hosts: []string{echoOn(t, tt.host)}, listener: tt.listener}.start(t)
			for i, to := range tt.dial {
				if strings.Contains(to, "%s") {
					to = fmt.Sprintf(to, portOf(p.addr("")))
				}
				c := dialAddr(t, to)
				c.wantEcho("through " + tt.name)
				p.wantStat("listener.front.downstream_cx_total", int64(i+1))
			}
			if info, err := os.Stat(path); tt.host == "unix" && (err != nil || info.Mode().Perm() != 0o600) {
				t.Errorf("the socket's mode is %v, %v; want 0600", info.Mode(), err)
			}
		})
	}
}

// TestIPv6Only: "[::]" without ipv4_compat leaves IPv4 to others.
func TestIPv6Only(t *testing.T) {
	t.Parallel()
	if !hasIPv6() {
		t.Skip("there is no IPv6 here")
	}
	p := tunnel{address: "[::]:0", hosts: []string{echoServer(t)}}.start(t)
	dialAddr(t, "[::1]:"+portOf(p.addr(""))).wantEcho("six")
	if c, err := net.Dial("tcp", "127.0.0.1:"+portOf(p.addr(""))); err == nil {
		_ = c.Close()
		t.Error("IPv4 is taken as well")
	}
}

// hasIPv6 reports whether the loopback has an IPv6 address.
func hasIPv6() bool {
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		return false
	}
	_ = ln.Close()
	return true
}

// echoOn is echoServer on another kind of address, as the configuration writes it.
func echoOn(t *testing.T, kind string) string {
	t.Helper()
	network, at := kind, ""
	switch kind {
	case "tcp4":
		at = "127.0.0.1:0"
	case "tcp6":
		at = "[::1]:0"
	case "unix":
		at = filepath.Join(t.TempDir(), "host.sock")
	case "abstract":
		network, at = "unix", "@millrace-host-"+fmt.Sprint(os.Getpid())
	}
	ln, err := net.Listen(network, at)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 4096)
				for {
					n, err := c.Read(b)
					if err != nil {
						return
					}
					_, _ = c.Write(b[:n])
				}
			}()
		}
	}()
	if network == "unix" {
		return "unix:" + at
	}
	return ln.Addr().String()
}

// TestReusePort: one socket for all loops, or one for each; connections reach all loops either way.
func TestReusePort(t *testing.T) {
	t.Parallel()
	for _, reuse := range []bool{true, false} {
		c := tunnel{hosts: []string{echoServer(t)}, listener: fmt.Sprintf(`"enable_reuse_port": %v`, reuse)}
		p := startProxy(t, strings.Replace(c.config(), `"concurrency": 1`, `"concurrency": 2`, 1))
		for range 20 {
			dial(t, p.addr("")).wantEcho("x")
		}
		p.wantStat("listener.front.downstream_cx_total", 20)
		p.wantStat("listener.front.downstream_cx_active", 20)
	}
}
